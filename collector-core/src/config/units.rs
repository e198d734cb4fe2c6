//! Times and sizes as a person writes them: `"30s"`, `"8MiB"`.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const SIZE_UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

/// A number of bytes. Written as a number or with a unit: `65536`, `"512KiB"`, `"8MiB"`, `"1GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// So many KiB.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// So many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, factor) = SIZE_UNITS
            .iter()
            .find_map(|&(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), factor)))
            .unwrap_or((text, 1));
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        bytes
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no size; write 65536, \"512KiB\", \"8MiB\" or \"1GiB\""))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let largest = SIZE_UNITS.iter().filter(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        let (unit, factor) = largest.max_by_key(|(_, factor)| *factor).copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Size;
        impl Visitor<'_> for Size {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 65536 or \"8MiB\"")
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes).map(ByteSize).map_err(|_| E::custom(format!("{bytes} is no size")))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        if from.is_human_readable() {
            from.deserialize_any(Size)
        } else {
            u64::deserialize(from).map(ByteSize)
        }
    }
}

/// A duration as text with a unit, or in the form serde gives durations in.
pub(crate) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    struct Time;
    impl<'de> Visitor<'de> for Time {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time with its unit, such as \"30s\" or \"100ms\"")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            humantime::parse_duration(text).map_err(|failure| {
                E::custom(format!("{text:?} is no time ({failure}); write \"30s\" or \"100ms\""))
            })
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Duration, A::Error> {
            Duration::deserialize(MapAccessDeserializer::new(map))
        }
    }
    if from.is_human_readable() { from.deserialize_any(Time) } else { Duration::deserialize(from) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown_with_their_unit() {
        for (text, bytes) in [("65536", 65536), ("512KiB", 512 << 10), ("8 MiB", 8 << 20), ("1GiB", 1 << 30)]
        {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)));
            assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }
        assert_eq!(ByteSize::mib(8).to_string(), "8MiB");
        for wrong in ["", "MiB", "-1", "8mb", "1.5MiB", "99999999999GiB"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_time_is_read_with_its_unit_or_as_serde_writes_it() {
        #[derive(Deserialize)]
        struct Timed {
            #[serde(deserialize_with = "duration")]
            at: Duration,
        }
        let read = |json: &str| serde_json::from_str::<Timed>(json).map(|timed| timed.at);
        assert_eq!(read(r#"{"at":"1m 30s"}"#).unwrap(), Duration::from_secs(90));
        assert_eq!(read(r#"{"at":{"secs":1,"nanos":500}}"#).unwrap(), Duration::new(1, 500));
        for wrong in [r#"{"at":30}"#, r#"{"at":"30"}"#, r#"{"at":"30 parsecs"}"#, r#"{"at":{"secs":1}}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
