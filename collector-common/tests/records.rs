//! The rows of the contract agree with each other, and no bytes but a record's are taken for one.
//!
//! Here, not in `src`: the committed kernel object is stamped with the sources it was built from, and a test is none.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

use collector_common::{
    CgroupRecord, Config, ConnectRecord, DROP_REASONS, DecodeError, DropReason, ExecFailedRecord, ExecRecord,
    ExitRecord, ForkRecord, Hook, Offsets, OpenRecord, PathLen, Record, RecordHeader, RecordKind, StreamSlot,
    TaskRecord, missing,
};
use std::collections::BTreeSet;
use zerocopy::IntoBytes;

/// Bytes at an address that is a multiple of 8, as a ring's records are.
#[derive(Debug, Clone)]
struct Aligned {
    words: Vec<u64>,
    len: usize,
}

impl Aligned {
    fn new(bytes: &[u8]) -> Self {
        let mut words = vec![0; bytes.len().div_ceil(8) + 1];
        words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        Self { words, len: bytes.len() }
    }

    fn bytes(&self) -> &[u8] {
        &self.words.as_bytes()[..self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.words.as_mut_bytes()[..self.len]
    }

    /// The same bytes, one further.
    fn misaligned(&self) -> Vec<u64> {
        let mut words = vec![0; self.words.len() + 1];
        words.as_mut_bytes()[1..=self.len].copy_from_slice(self.bytes());
        words
    }
}

fn header(kind: RecordKind, hook: Hook, text_len: usize) -> RecordHeader {
    let len = u32::try_from(kind.fixed_len() + text_len).unwrap();
    RecordHeader { len, kind: kind as u16, hook: hook as u16, ..RecordHeader::default() }
}

/// A record of each kind; the exec's text is `path`, `filename` and `argv` one after the other.
fn record(kind: RecordKind) -> Aligned {
    match kind {
        RecordKind::Exec => {
            let text = b"true\0bin\0./true\0true\0";
            let record = ExecRecord {
                header: header(kind, Hook::Exec, text.len()),
                path: PathLen { len: 9, total: 9, flags: 0 },
                filename_len: 7,
                argv_len: 5,
                argv_total: 5,
                ..ExecRecord::default()
            };
            Aligned::new(&[record.as_bytes(), text].concat())
        }
        RecordKind::Fork => {
            Aligned::new(ForkRecord { header: header(kind, Hook::Fork, 0), ..Default::default() }.as_bytes())
        }
        RecordKind::Exit => {
            Aligned::new(ExitRecord { header: header(kind, Hook::Exit, 0), ..Default::default() }.as_bytes())
        }
        RecordKind::Connect | RecordKind::ConnectResult => {
            let text = b"\x01\0/run/socket";
            let header = header(kind, Hook::ConnectExit, text.len());
            let record = ConnectRecord { header, text_len: 13, ..Default::default() };
            Aligned::new(&[record.as_bytes(), text].concat())
        }
        RecordKind::Open => {
            let text = b"passwd\0etc\0passwd\0";
            let record = OpenRecord {
                header: header(kind, Hook::Openat, text.len()),
                path: PathLen { len: 11, total: 11, flags: 0 },
                requested_len: 7,
                ..OpenRecord::default()
            };
            Aligned::new(&[record.as_bytes(), text].concat())
        }
        RecordKind::CgroupMade => {
            let text = b"/docker-a.scope\0";
            let record = CgroupRecord {
                header: header(kind, Hook::CgroupMade, text.len()),
                path_len: 16,
                ..CgroupRecord::default()
            };
            Aligned::new(&[record.as_bytes(), text].concat())
        }
        RecordKind::ExecFailed => {
            let text = b"./no\0no\0";
            let record = ExecFailedRecord {
                header: header(kind, Hook::Execve, text.len()),
                filename_len: 5,
                argv_len: 3,
                ..ExecFailedRecord::default()
            };
            Aligned::new(&[record.as_bytes(), text].concat())
        }
    }
}

fn error(bytes: &[u8]) -> DecodeError {
    Record::parse(bytes).expect_err("this is no record")
}

fn set_len(record: &mut Aligned, len: u32) {
    record.bytes_mut()[16..20].copy_from_slice(&len.to_ne_bytes());
}

#[test]
fn hooks_are_numbered_densely_and_found_by_number() {
    for (number, &hook) in Hook::ALL.iter().enumerate() {
        assert_eq!(hook as usize, number, "slots and streams are indexed by it");
        assert_eq!(Hook::from_u16(hook as u16), Some(hook));
    }
    let known = (0..=u16::MAX).filter(|&number| Hook::from_u16(number).is_some()).count();
    assert_eq!(known, Hook::ALL.len());
}

#[test]
fn hooks_have_targets_and_streams_of_their_own() {
    let targets: BTreeSet<_> =
        Hook::ALL.iter().map(|hook| (hook.rung().name(), hook.target(), hook.program())).collect();
    assert_eq!(targets.len(), Hook::ALL.len());
    let streams: BTreeSet<_> = Hook::ALL.iter().map(|hook| (hook.class(), hook.stream())).collect();
    assert_eq!(streams.len(), Hook::ALL.len());
}

#[test]
fn kinds_are_numbered_densely_from_1_and_found_by_number() {
    for (number, &kind) in (1..).zip(RecordKind::ALL) {
        assert_eq!(kind as u16, number, "0 is no kind: it is what a record that was never written holds");
        assert_eq!(RecordKind::from_u16(number), Some(kind));
    }
    let known = (0..=u16::MAX).filter(|&number| RecordKind::from_u16(number).is_some()).count();
    assert_eq!(known, RecordKind::ALL.len());
}

#[test]
fn kinds_have_names_of_their_own_that_are_json_keys() {
    let names: BTreeSet<_> = RecordKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(names.len(), RecordKind::ALL.len());
    for name in names {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
    }
}

#[test]
fn fixed_parts_are_whole_words_and_begin_with_the_header_and_the_task() {
    for kind in RecordKind::ALL {
        assert_eq!(kind.fixed_len() % 8, 0, "{kind:?}: the text behind it would not begin on a word");
        assert!(kind.fixed_len() >= size_of::<RecordHeader>() + size_of::<TaskRecord>());
        let record = record(*kind);
        assert!(record.len >= kind.fixed_len());
        let (hook, _) = Record::parse(record.bytes()).unwrap();
        assert_eq!(hook as u16, u16::from_ne_bytes([record.bytes()[22], record.bytes()[23]]));
    }
    assert_eq!((size_of::<RecordHeader>(), size_of::<TaskRecord>(), size_of::<PathLen>()), (32, 112, 12));
}

#[test]
fn offsets_have_a_row_for_each_field() {
    assert_eq!(Offsets::FIELDS.len(), size_of::<Offsets>() / 4);
    let names: BTreeSet<_> = Offsets::FIELDS.iter().map(|field| field.name).collect();
    assert_eq!(names.len(), Offsets::FIELDS.len());
    for field in Offsets::FIELDS {
        assert!(!field.paths.is_empty(), "{} is found nowhere", field.name);
        for path in field.paths {
            assert!(path.split('.').count() >= 2 && !path.split('.').any(str::is_empty), "{path}");
        }
    }
    assert!(
        Offsets::NONE.as_bytes().iter().all(|&byte| byte == 0xff),
        "a field is known without having been found"
    );
    assert_eq!(Config::NONE.offsets, Offsets::NONE);
}

#[test]
fn missing_bits_are_one_bit_each_and_named_once() {
    let bits = missing::FIELDS.iter().fold(0_u32, |seen, field| {
        assert_eq!((field.bit.count_ones(), seen & field.bit), (1, 0), "{}", field.field);
        seen | field.bit
    });
    assert_eq!(bits.count_ones() as usize, missing::FIELDS.len());
    let names: BTreeSet<_> = missing::FIELDS.iter().map(|field| field.field).collect();
    assert_eq!(names.len(), missing::FIELDS.len());
}

#[test]
fn drop_reasons_have_a_slot_and_a_name_each() {
    for (slot, &reason) in DropReason::ALL.iter().enumerate() {
        assert_eq!(reason as usize, slot);
    }
    let names: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), DROP_REASONS);
    assert_eq!(size_of::<StreamSlot>(), 64, "two CPUs would share a cache line");
}

#[test]
fn a_records_text_is_what_stands_behind_its_fixed_part() {
    let bytes = record(RecordKind::Exec);
    let (hook, parsed) = Record::parse(bytes.bytes()).unwrap();
    let Record::Exec(exec, text) = parsed else { panic!("{parsed:?}") };
    assert_eq!((hook, exec.filename_len, text), (Hook::Exec, 7, &b"true\0bin\0./true\0true\0"[..]));
}

#[test]
fn truncated_record_is_rejected_with_both_lengths() {
    for &kind in RecordKind::ALL {
        let whole = record(kind);
        for len in 0..whole.len {
            let told = u32::try_from(whole.len).unwrap();
            let expected = match len < size_of::<RecordHeader>() {
                true => DecodeError::Short { len, needed: size_of::<RecordHeader>() },
                false => DecodeError::Length { told, len },
            };
            assert_eq!(error(&whole.bytes()[..len]), expected, "{kind:?}");
        }
    }
}

#[test]
fn header_that_agrees_with_a_cut_fixed_part_is_rejected_with_both_lengths() {
    for &kind in RecordKind::ALL {
        let whole = record(kind);
        for len in (size_of::<RecordHeader>()..kind.fixed_len()).step_by(8) {
            let mut cut = Aligned::new(&whole.bytes()[..len]);
            set_len(&mut cut, u32::try_from(len).unwrap());
            assert_eq!(error(cut.bytes()), DecodeError::Short { len, needed: kind.fixed_len() }, "{kind:?}");
        }
    }
}

#[test]
fn overlong_record_is_rejected_with_both_lengths() {
    for &kind in RecordKind::ALL {
        let whole = record(kind);
        let mut longer = Aligned::new(&[whole.bytes(), &[0; 8]].concat());
        let told = u32::try_from(whole.len).unwrap();
        assert_eq!(error(longer.bytes()), DecodeError::Length { told, len: whole.len + 8 }, "{kind:?}");
        // The header agrees, and the text is longer than its parts.
        set_len(&mut longer, told + 8);
        let parts = u64::try_from(whole.len - kind.fixed_len()).unwrap();
        let len = whole.len - kind.fixed_len() + 8;
        assert_eq!(error(longer.bytes()), DecodeError::Text { parts, len }, "{kind:?}");
    }
}

#[test]
fn misaligned_record_is_rejected() {
    for &kind in RecordKind::ALL {
        let whole = record(kind);
        let words = whole.misaligned();
        let bytes = &words.as_bytes()[1..=whole.len];
        assert_eq!(error(bytes), DecodeError::Short { len: whole.len, needed: size_of::<RecordHeader>() });
    }
}

#[test]
fn unknown_kind_and_unknown_hook_are_rejected_by_number() {
    let mut wrong = record(RecordKind::Exit);
    wrong.bytes_mut()[20..22].copy_from_slice(&99_u16.to_ne_bytes());
    assert_eq!(error(wrong.bytes()), DecodeError::UnknownKind(99));
    wrong.bytes_mut()[22..24].copy_from_slice(&98_u16.to_ne_bytes());
    assert_eq!(error(wrong.bytes()), DecodeError::UnknownHook(98));
}

#[test]
fn text_parts_that_do_not_add_up_are_rejected_with_both_lengths() {
    let whole = record(RecordKind::Exec);
    let text_len = whole.len - RecordKind::Exec.fixed_len();
    let lengths: [fn(&mut ExecRecord) -> &mut u32; 6] = [
        |record| &mut record.path.len,
        |record| &mut record.cwd.len,
        |record| &mut record.script_path.len,
        |record| &mut record.filename_len,
        |record| &mut record.interp_len,
        |record| &mut record.argv_len,
    ];
    for (index, length) in lengths.into_iter().enumerate() {
        for added in [1, u32::MAX / 2] {
            let (_, Record::Exec(fixed, text)) = Record::parse(whole.bytes()).unwrap() else { panic!() };
            let mut fixed = *fixed;
            *length(&mut fixed) += added;
            let wrong = Aligned::new(&[fixed.as_bytes(), text].concat());
            let parts = text_len as u64 + u64::from(added);
            assert_eq!(error(wrong.bytes()), DecodeError::Text { parts, len: text_len }, "part {index}");
        }
    }
    // All six at once: their sum does not fit 32 bits, and must not be taken for a small one.
    let (_, Record::Exec(fixed, text)) = Record::parse(whole.bytes()).unwrap() else { panic!() };
    let mut fixed = *fixed;
    for length in lengths {
        *length(&mut fixed) = u32::MAX;
    }
    let wrong = Aligned::new(&[fixed.as_bytes(), text].concat());
    let parts = 6 * u64::from(u32::MAX);
    assert_eq!(error(wrong.bytes()), DecodeError::Text { parts, len: text_len });
}

#[test]
fn errors_say_both_sides() {
    let told = [
        (DecodeError::Short { len: 3, needed: 32 }, "3 bytes", "32"),
        (DecodeError::Length { told: 40, len: 48 }, "40 bytes", "48"),
        (DecodeError::Text { parts: 5, len: 6 }, "5 bytes", "6"),
    ];
    for (error, one, other) in told {
        let text = error.to_string();
        assert!(text.contains(one) && text.contains(other), "{text}");
    }
}

/// SplitMix64: each seed is a case that can be run again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

#[test]
fn no_bytes_make_parse_panic_or_give_text_that_is_not_there() {
    for seed in 0..300_000_u64 {
        let mut random = Random(seed);
        let mut bytes = match random.below(1 + RecordKind::ALL.len()) {
            // Nothing but noise.
            0 => Aligned::new(
                &(0..random.below(400)).map(|_| random.next().to_le_bytes()[0]).collect::<Vec<_>>(),
            ),
            _ => record(RecordKind::ALL[random.below(RecordKind::ALL.len())]),
        };
        for _ in 0..random.below(4).min(bytes.len) {
            let at = random.below(bytes.len);
            bytes.bytes_mut()[at] = random.next().to_le_bytes()[0];
        }
        if random.below(4) == 0 && bytes.len > 0 {
            bytes.len = random.below(bytes.len);
        }
        if random.below(4) == 0 && bytes.len >= 20 {
            let len = u32::try_from(bytes.len).unwrap();
            set_len(&mut bytes, len);
        }
        let Ok((hook, parsed)) = Record::parse(bytes.bytes()) else { continue };
        let (header, fixed_len, text) = match parsed {
            Record::Exec(record, text) => (record.header, RecordKind::Exec.fixed_len(), text),
            Record::Fork(record, text) => (record.header, RecordKind::Fork.fixed_len(), text),
            Record::Exit(record, text) => (record.header, RecordKind::Exit.fixed_len(), text),
            Record::Connect(record, text) | Record::ConnectResult(record, text) => {
                (record.header, RecordKind::Connect.fixed_len(), text)
            }
            Record::Open(record, text) => (record.header, RecordKind::Open.fixed_len(), text),
            Record::ExecFailed(record, text) => (record.header, RecordKind::ExecFailed.fixed_len(), text),
            Record::CgroupMade(record, text) => (record.header, RecordKind::CgroupMade.fixed_len(), text),
        };
        assert_eq!(header.hook, hook as u16, "seed {seed}");
        assert_eq!(header.len as usize, fixed_len + text.len(), "seed {seed}");
        assert_eq!(fixed_len + text.len(), bytes.len, "seed {seed}");
    }
}
