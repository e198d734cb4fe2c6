//! The record kinds: one row each. The kind's number, its name and its parser derive from the row.

use crate::hook::Hook;
use crate::record::{
    CgroupRecord, ConnectRecord, ExecFailedRecord, ExecRecord, ExitRecord, ForkRecord, OpenRecord,
    RecordHeader,
};
use zerocopy::FromBytes;

/// Why bytes from a ring are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the fixed part has, or not aligned to 8.
    Short {
        /// Bytes there are.
        len: usize,
        /// Bytes there must be.
        needed: usize,
    },
    /// No such kind.
    UnknownKind(u16),
    /// No such hook.
    UnknownHook(u16),
    /// The header's length is not the record's.
    Length {
        /// What the header says.
        told: u32,
        /// Bytes there are.
        len: usize,
    },
    /// The text parts do not add up to the text.
    Text {
        /// Bytes that the parts need.
        parts: u64,
        /// Bytes there are.
        len: usize,
    },
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short { len, needed } => write!(f, "record has {len} bytes, its fixed part needs {needed}"),
            Self::UnknownKind(kind) => write!(f, "unknown record kind {kind}"),
            Self::UnknownHook(hook) => write!(f, "unknown hook {hook}"),
            Self::Length { told, len } => write!(f, "record says {told} bytes but has {len}"),
            Self::Text { parts, len } => write!(f, "text parts need {parts} bytes, the record has {len}"),
        }
    }
}

impl core::error::Error for DecodeError {}

macro_rules! records {
    ($( $(#[$doc:meta])* $kind:ident = $number:literal: $record:ident, $name:literal, text [$($part:ident $(. $len:ident)?),*]; )*) => {
        /// What a record tells.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u16)]
        pub enum RecordKind { $( $(#[$doc])* $kind = $number, )* }

        impl RecordKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[ $( Self::$kind, )* ];

            /// The kind of a record's number.
            pub const fn from_u16(number: u16) -> Option<Self> {
                match number { $( $number => Some(Self::$kind), )* _ => None }
            }

            /// The event's name in the native format.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$kind => $name, )* }
            }

            /// Bytes of the fixed part.
            pub const fn fixed_len(self) -> usize {
                match self { $( Self::$kind => size_of::<$record>(), )* }
            }
        }

        /// A record borrowed from its ring: the fixed part and the text behind it, whose length was checked against
        /// the parts that the fixed part names.
        #[derive(Debug, Clone, Copy)]
        pub enum Record<'a> { $( $(#[$doc])* $kind(&'a $record, &'a [u8]), )* }

        impl<'a> Record<'a> {
            /// Reads a record in place. `bytes` must be aligned to 8, as a ring's records are.
            ///
            /// # Errors
            /// Says which number or length is wrong; nothing else is trusted.
            pub fn parse(bytes: &'a [u8]) -> Result<(Hook, Self), DecodeError> {
                let header = fixed::<RecordHeader>(bytes)?.0;
                if usize::try_from(header.len) != Ok(bytes.len()) {
                    return Err(DecodeError::Length { told: header.len, len: bytes.len() });
                }
                let hook = Hook::from_u16(header.hook).ok_or(DecodeError::UnknownHook(header.hook))?;
                let kind = RecordKind::from_u16(header.kind).ok_or(DecodeError::UnknownKind(header.kind))?;
                let record = match kind { $( RecordKind::$kind => {
                    let (record, text) = fixed::<$record>(bytes)?;
                    let parts: u64 = 0 $( + u64::from(record.$part $(. $len)?) )*;
                    if u64::try_from(text.len()) != Ok(parts) {
                        return Err(DecodeError::Text { parts, len: text.len() });
                    }
                    Self::$kind(record, text)
                } )* };
                Ok((hook, record))
            }

            /// What every record begins with.
            pub const fn header(&self) -> &'a RecordHeader {
                match self { $( Self::$kind(record, _) => &record.header, )* }
            }
        }
    };
}

fn fixed<T: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable>(
    bytes: &[u8],
) -> Result<(&T, &[u8]), DecodeError> {
    T::ref_from_prefix(bytes).map_err(|_| DecodeError::Short { len: bytes.len(), needed: size_of::<T>() })
}

records! {
    /// A program was started.
    Exec = 1: ExecRecord, "exec",
        text [path.len, cwd.len, script_path.len, filename_len, interp_len, argv_len];
    /// A task was created.
    Fork = 2: ForkRecord, "fork", text [];
    /// A process ended.
    Exit = 3: ExitRecord, "exit", text [];
    /// A connection was asked for.
    Connect = 4: ConnectRecord, "connect", text [text_len];
    /// A connection that was told as pending is decided.
    ConnectResult = 5: ConnectRecord, "connect_result", text [text_len];
    /// A file was opened, or was not.
    Open = 6: OpenRecord, "open", text [path.len, requested_len];
    /// A call of exec failed.
    ExecFailed = 7: ExecFailedRecord, "exec_failed", text [filename_len, argv_len];
    /// A cgroup was made.
    CgroupMade = 8: CgroupRecord, "cgroup", text [path_len];
}
