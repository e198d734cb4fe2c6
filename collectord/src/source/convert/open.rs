//! Opens and failed execs.

use super::{Converter, fault, is_place, without_nul};
use collector_common::{
    ExecFailedRecord, FAILED_ARGV_CUT, OPEN_CREATED, OPEN_DIRECT, OpenRecord, PATH_BYTES_MAX, PATH_RACED,
    PATH_TRUNCATED, missing,
};
use collector_core::event::{Errno, ExecFailed, Missing, MissingReason, Open, OpenFlags, Truncated};
use std::borrow::Cow;

/// `ENAMETOOLONG`
const NAME_TOO_LONG: Errno = Errno(36);

impl Converter {
    /// Fills in an open that tells nothing yet.
    pub(super) fn open(
        &mut self,
        record: &OpenRecord,
        text: &[u8],
        open: &mut Open,
        truncated: &mut Vec<Truncated>,
        unseen: &mut Vec<Missing>,
    ) {
        let (path, requested) = text.split_at((record.path.len as usize).min(text.len()));
        let has = |bit| record.header.missing & bit == 0;
        let flags = has(missing::OPEN_FLAGS).then_some(OpenFlags(record.flags));
        let fd = u32::try_from(record.result).ok();
        let errno = fd.is_none().then(|| Errno(record.result.saturating_neg()));
        let file = fd.is_some() && has(missing::OPEN_PATH);
        let mut cut =
            |field, original_len| truncated.push(Truncated { field: Cow::Borrowed(field), original_len });
        if file && record.path.flags & PATH_TRUNCATED != 0 {
            cut("open.path", u64::from(record.path.total));
        }
        // As many bytes as are read of a name: the kernel says whether that was all.
        if errno == Some(NAME_TOO_LONG) && record.requested_len == PATH_BYTES_MAX {
            cut("open.requested", u64::from(PATH_BYTES_MAX));
        }
        if file && record.path.flags & PATH_RACED == 0 && is_place(path, record.path) {
            open.path = Some(self.path(path));
        }
        if !requested.is_empty() {
            open.requested = Some(self.text(without_nul(requested)));
        }
        if file {
            open.dev = Some(record.dev);
            open.ino = Some(record.ino);
            open.created = Some(record.state & OPEN_CREATED != 0 || flags.is_some_and(makes_nameless));
        }
        open.flags = flags;
        open.mode = flags.filter(|flags| flags.has_mode()).map(|_| record.mode);
        open.fd = fd;
        open.errno = errno;
        open.direct = record.state & OPEN_DIRECT != 0;
        let pathless = why_pathless(open, record);
        unseen.extend(pathless.map(|reason| Missing { field: Cow::Borrowed("open.path"), reason }));
        if fd.is_some() && !file {
            unseen.extend(["open.dev", "open.ino", "open.created"].map(fault));
        }
    }

    pub(super) fn exec_failed(
        &mut self,
        record: &ExecFailedRecord,
        text: &[u8],
        truncated: &mut Vec<Truncated>,
    ) -> ExecFailed {
        let (filename, argv) = text.split_at((record.filename_len as usize).min(text.len()));
        let has = |bit| record.header.missing & bit == 0;
        let has_argv = has(missing::EXEC_FAILED_ARGV);
        if has_argv && record.flags & FAILED_ARGV_CUT != 0 {
            // How much more there is, nobody has counted.
            let original_len = u64::from(record.argv_len) + 1;
            truncated.push(Truncated { field: Cow::Borrowed("exec_failed.argv"), original_len });
        }
        ExecFailed {
            filename: has(missing::EXEC_FAILED_FILENAME).then(|| self.text(without_nul(filename))),
            argv: has_argv.then(|| self.text(argv)),
            errno: Errno(i32::try_from(record.errno).unwrap_or(i32::MAX)),
        }
    }
}

/// Whether an open with these flags that came out well has made a file without a name. The kernel marks none of these.
fn makes_nameless(OpenFlags(flags): OpenFlags) -> bool {
    const TMPFILE: u64 = 0o20_000_000;
    const PATH: u64 = 0o10_000_000;
    flags & (TMPFILE | PATH) == TMPFILE
}

/// Why an open that came out well has no path, if not because reading it failed.
fn why_pathless(open: &Open, record: &OpenRecord) -> Option<MissingReason> {
    let pathless =
        open.fd.is_some() && open.path.is_none() && record.header.missing & missing::OPEN_PATH == 0;
    let raced = record.path.flags & PATH_RACED != 0;
    pathless.then_some(if raced { MissingReason::Raced } else { MissingReason::Unsupported })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{event, exec_failed, leaf_first, open};
    use super::*;
    use collector_common::{Hook, PATH_UNREACHABLE};
    use collector_core::event::{Abi, KernelBody, KernelEvent};

    fn open_of(event: &KernelEvent) -> &Open {
        let KernelBody::Open(open) = &event.body else { panic!("{event:?}") };
        open
    }

    fn passwd() -> Vec<u8> {
        leaf_first(&[b"etc", b"passwd"])
    }

    #[test]
    fn an_open_has_its_file_and_what_was_asked_for() {
        let event = event(&open(&passwd(), b"../etc/passwd\0", |record| {
            record.flags = 0o101;
            record.mode = 0o644;
            record.state = OPEN_CREATED;
        }));
        let expected = Open {
            path: Some(b"/etc/passwd"[..].into()),
            requested: Some(b"../etc/passwd"[..].into()),
            flags: Some(OpenFlags(0o101)),
            mode: Some(0o644),
            dev: Some(8 << 20 | 1),
            ino: Some(77),
            fd: Some(3),
            errno: None,
            created: Some(true),
            direct: false,
        };
        assert_eq!(open_of(&event), &expected);
        assert!(event.missing.is_empty() && event.truncated.is_empty(), "{event:?}");
        if cfg!(target_arch = "x86_64") {
            assert_eq!(event.abi, Some(Abi::X86_64));
        }
    }

    #[test]
    fn a_failed_open_has_its_error_and_no_file() {
        let event = event(&open(b"", b"nowhere\0", |record| record.result = -2));
        let expected = Open {
            requested: Some(b"nowhere"[..].into()),
            flags: Some(OpenFlags(0o2_000_000)),
            errno: Some(Errno(2)),
            ..Open::default()
        };
        assert_eq!(open_of(&event), &expected);
    }

    #[test]
    fn a_slot_of_a_rings_table_is_no_descriptor() {
        let event = event(&open(&passwd(), b"passwd\0", |record| {
            record.header.hook = Hook::UringOpen as u16;
            record.state = OPEN_DIRECT;
        }));
        assert_eq!(
            (open_of(&event).fd, open_of(&event).direct, open_of(&event).created),
            (Some(3), true, Some(false))
        );
        assert_eq!(event.abi, None, "a request is made through no system call's ABI");
    }

    #[test]
    fn what_could_not_be_read_is_absent_and_named() {
        let event = event(&open(b"", b"", |record| {
            record.header.missing = missing::OPEN_PATH | missing::OPEN_REQUESTED | missing::OPEN_FLAGS;
        }));
        let named: Vec<_> = event.missing.iter().map(|missing| missing.field.as_ref()).collect();
        assert_eq!(
            named,
            ["open.path", "open.requested", "open.flags", "open.dev", "open.ino", "open.created"]
        );
        assert_eq!(open_of(&event), &Open { fd: Some(3), ..Open::default() });
    }

    #[test]
    fn a_file_without_a_name_says_so() {
        // A pipe; a namespace, or a file by its handle; a file outside what a bind mount shows.
        for names in [&b"\0"[..], b"/\0", b"shadow\0etc\0/\0"] {
            let event =
                event(&open(names, b"/proc/self/fd/4\0", |record| record.path.flags = PATH_UNREACHABLE));
            assert_eq!((&open_of(&event).path, open_of(&event).ino), (&None, Some(77)));
            assert_eq!(event.missing[0].field, "open.path");
            assert_eq!(event.missing[0].reason, MissingReason::Unsupported);
        }
    }

    #[test]
    fn a_memfd_that_is_opened_again_has_its_name() {
        let event = event(&open(b"memfd:x\0", b"/proc/self/fd/4\0", |record| {
            record.path.flags = PATH_UNREACHABLE;
        }));
        assert_eq!(open_of(&event).path, Some(b"/memfd:x"[..].into()));
        assert!(event.missing.is_empty(), "{event:?}");
    }

    #[test]
    fn a_file_without_a_name_that_the_call_made_is_created() {
        const O_TMPFILE: u64 = 0o20_200_000;
        const O_PATH: u64 = 0o10_000_000;
        let created = |flags| {
            let event = event(&open(b"#7\0tmp\0", b".\0", |record| record.flags = flags));
            open_of(&event).created
        };
        assert_eq!(created(O_TMPFILE | 2), Some(true));
        // The kernel leaves out what does not go with O_PATH.
        assert_eq!(created(O_TMPFILE | O_PATH), Some(false));
    }

    #[test]
    fn a_file_that_was_renamed_at_each_look_has_no_path_and_says_so() {
        let event = event(&open(b"", b"name\0", |record| record.path.flags = PATH_RACED));
        assert_eq!((&open_of(&event).path, open_of(&event).ino), (&None, Some(77)));
        assert_eq!(
            (event.missing[0].field.as_ref(), event.missing[0].reason),
            ("open.path", MissingReason::Raced)
        );
    }

    #[test]
    fn a_cut_path_says_how_long_it_was() {
        let event = event(&open(&passwd(), b"passwd\0", |record| {
            record.path.flags = PATH_TRUNCATED;
            record.path.total = 5000;
        }));
        assert_eq!((event.truncated[0].field.as_ref(), event.truncated[0].original_len), ("open.path", 5000));
    }

    #[test]
    fn a_failed_exec_has_its_arguments_and_error() {
        let event = event(&exec_failed(b"./no\0", b"no\0a b\0\0", |record| record.flags = FAILED_ARGV_CUT));
        let KernelBody::ExecFailed(failed) = &event.body else { panic!("{event:?}") };
        assert_eq!(failed.filename, Some(b"./no"[..].into()));
        assert_eq!(failed.args().collect::<Vec<_>>(), [&b"no"[..], b"a b", b""]);
        assert_eq!(failed.errno, Errno(2));
        assert_eq!(
            (event.truncated[0].field.as_ref(), event.truncated[0].original_len),
            ("exec_failed.argv", 9)
        );
    }
}
