//! Names of users, from a file in the form of `/etc/passwd`. Users that only a directory service knows have none.

use collector_core::event::Text;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Users that are remembered at most.
const USERS_MAX: usize = 65_536;
/// Bytes of the file that are read at most.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Longest name that is remembered; the C library's own bound (`LOGIN_NAME_MAX`, without the NUL).
const NAME_BYTES_MAX: usize = 255;
/// A name that is known may be this old.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Changes whenever the file does: tools write another file and rename it.
type Stamp = (u64, i64, i64, u64);

#[derive(Debug)]
pub(super) struct Users {
    file: PathBuf,
    names: HashMap<u32, Text>,
    stamp: Option<Stamp>,
    looked_at: Option<Instant>,
}

impl Users {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, names: HashMap::new(), stamp: None, looked_at: None }
    }

    /// The first name that the file gives this user. Looks at the file's stamp every second, and at once for a user
    /// that is not known.
    pub(super) fn name(&mut self, uid: u32, now: Instant) -> Option<Text> {
        let is_due = self.looked_at.is_none_or(|at| now.duration_since(at) >= LOOK_INTERVAL);
        if is_due || !self.names.contains_key(&uid) {
            self.looked_at = Some(now);
            self.read_if_changed();
        }
        self.names.get(&uid).cloned()
    }

    fn read_if_changed(&mut self) {
        let stamp = std::fs::metadata(&self.file)
            .ok()
            .map(|file| (file.ino(), file.mtime(), file.mtime_nsec(), file.size()));
        if stamp == self.stamp {
            return;
        }
        let mut text = Vec::new();
        let read = File::open(&self.file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut text));
        // Unreadable at this moment: the names that are known stand until it is readable again.
        if read.is_ok() {
            self.names = parsed(&text);
            self.stamp = stamp;
        }
    }
}

/// Lines of `name:password:uid:..`; of several names of one user the first, as the C library does.
fn parsed(text: &[u8]) -> HashMap<u32, Text> {
    let mut names = HashMap::new();
    for line in text.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b':');
        let (name, uid) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
        let uid = std::str::from_utf8(uid).ok().and_then(|uid| uid.parse().ok());
        if let Some(uid) = uid
            && (1..=NAME_BYTES_MAX).contains(&name.len())
            && names.len() < USERS_MAX
        {
            names.entry(uid).or_insert_with(|| Text::from(name));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(users: &mut Users, uid: u32, now: Instant) -> Option<String> {
        users.name(uid, now).map(|name| name.to_string_lossy().into_owned())
    }

    #[test]
    fn odd_lines_do_no_harm() {
        let text = b"root:x:0:0:root:/root:/bin/sh\n\n+::::::\ntoor:x:0:0::/:/bin/sh\nshort:x\nneg:x:-1:0\n:x:5:5\nlast:x:7";
        let mut names: Vec<_> = parsed(text).into_iter().collect();
        names.sort_by_key(|(uid, _)| *uid);
        assert_eq!(names, [(0, "root".into()), (7, "last".into())]);
    }

    #[test]
    fn users_beyond_the_bound_are_left_out() {
        let text: String =
            (0..u32::try_from(USERS_MAX).unwrap() + 5).map(|uid| format!("u{uid}:x:{uid}:\n")).collect();
        assert_eq!(parsed(text.as_bytes()).len(), USERS_MAX);
    }

    #[test]
    fn a_name_that_is_too_long_is_none() {
        let [longest, longer] = [NAME_BYTES_MAX, NAME_BYTES_MAX + 1].map(|len| "n".repeat(len));
        let names = parsed(format!("{longer}:x:1:\n{longest}:x:2:\n").as_bytes());
        assert_eq!((names.len(), names[&2].as_bytes()), (1, longest.as_bytes()));
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_missing_one_is_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwd");
        let mut users = Users::new(file.clone());
        let start = Instant::now();
        assert_eq!(named(&mut users, 0, start), None);
        std::fs::write(&file, "root:x:0:0\n").unwrap();
        assert_eq!(
            named(&mut users, 0, start).as_deref(),
            Some("root"),
            "an unknown user is looked for at once"
        );
        std::fs::write(&file, "admin:x:0:0\nnew:x:1000:1000\n").unwrap();
        assert_eq!(named(&mut users, 0, start).as_deref(), Some("root"), "a known one within the interval");
        assert_eq!(named(&mut users, 0, start + LOOK_INTERVAL).as_deref(), Some("admin"));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(named(&mut users, 1000, start + 2 * LOOK_INTERVAL).as_deref(), Some("new"));
    }
}
