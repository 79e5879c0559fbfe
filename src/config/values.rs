//! Value types of the configuration: sizes, durations, addresses, secrets, session settings.
//!
//! Used by the fields of [`super::Config`]. Each type is parsed once, at the edge, prints the way it
//! is written in `saltlake.toml`, and is read from text or from a plain number.

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A number of bytes, written as `"512 MiB"`, `"2GiB"`, `"1.5 GB"` or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ByteSize(pub u64);

/// Units of [`ByteSize`], larger binary units first: the order in which it looks for one to print.
const BYTE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// Returns the size in bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// Returns the size in bytes, capped at what the machine can address.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split_number(text);
        let expected = || format!("\"{text}\" is not a size; write it as \"512 MiB\" or \"2 GiB\"");
        let number: f64 = number.parse().map_err(|_| expected())?;
        let factor = match unit {
            "" => 1,
            unit => {
                BYTE_UNITS
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                    .ok_or_else(expected)?
                    .1
            }
        };
        Ok(Self((number * factor as f64) as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = BYTE_UNITS
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match unit {
            Some((name, factor)) => write!(f, "{} {name}", self.0 / factor),
            None => write!(f, "0"),
        }
    }
}

/// A span of time, written as `"500ms"`, `"30s"`, `"5m"`, `"1h"` or a plain number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Duration(pub std::time::Duration);

/// Units of [`Duration`] in milliseconds, larger ones first.
const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl std::ops::Deref for Duration {
    type Target = std::time::Duration;

    fn deref(&self) -> &std::time::Duration {
        &self.0
    }
}

impl From<Duration> for std::time::Duration {
    fn from(value: Duration) -> Self {
        value.0
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split_number(text);
        let expected =
            || format!("\"{text}\" is not a duration; write it as \"500ms\", \"30s\" or \"5m\"");
        let number: f64 = number.parse().map_err(|_| expected())?;
        let unit = if unit.is_empty() { "s" } else { unit };
        let (_, factor_ms) =
            TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(expected)?;
        let seconds = number * *factor_ms as f64 / 1_000.0;
        std::time::Duration::try_from_secs_f64(seconds).map(Self).map_err(|_| expected())
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis() as u64;
        let unit = TIME_UNITS
            .iter()
            .find(|(_, factor)| millis >= *factor && millis.is_multiple_of(*factor));
        match unit {
            Some((name, factor)) => write!(f, "{}{name}", millis / factor),
            None => write!(f, "0s"),
        }
    }
}

/// Splits `"1.5 GiB"` into `"1.5"` and `"GiB"`.
fn split_number(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

/// Where to listen: `host:port`; port 0 lets the system choose a free one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl ListenAddress {
    /// Returns whether only programs on this machine can connect.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("\"{text}\" is not an address; write it as \"127.0.0.1:5433\"");
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(expected)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(expected());
        }
        let port = port.parse().map_err(|_| expected())?;
        Ok(Self { host: host.to_string(), port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A text that never appears in logs or in `saltlake config print`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Returns the text itself. Callers hand it on and do not store or print it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns whether no secret was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_string()))
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "" } else { "***" })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({self})")
    }
}

/// Start values of session settings: what `SET name = value` would set in every new session.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct SessionSettings(pub BTreeMap<String, String>);

impl SessionSettings {
    /// Returns the settings and their values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<'de> Deserialize<'de> for SessionSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = BTreeMap::<String, Scalar>::deserialize(deserializer)?;
        Ok(Self(values.into_iter().map(|(name, value)| (name, value.0)).collect()))
    }
}

/// Any scalar of TOML as the text a user would write after `SET name =`.
pub(super) struct Scalar(pub(super) String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(TextVisitor { expected: "a text, a number or a bool" })
            .map(Self)
    }
}

/// Reads text, numbers and bools as text.
struct TextVisitor {
    expected: &'static str,
}

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }
}

/// Implements serde for a type that has `FromStr` and `Display`; numbers are read as their text.
macro_rules! serde_as_text {
    ($type:ty, $expected:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = deserializer.deserialize_any(TextVisitor { expected: $expected })?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

serde_as_text!(ByteSize, "a size such as \"512 MiB\"");
serde_as_text!(Duration, "a duration such as \"30s\"");
serde_as_text!(ListenAddress, "an address such as \"127.0.0.1:5433\"");
serde_as_text!(Secret, "a text");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes, printed) in [
            ("2 GiB", 2 << 30, "2 GiB"),
            ("512mib", 512 << 20, "512 MiB"),
            ("1.5 GB", 1_500_000_000, "1500 MB"),
            ("1000", 1000, "1 KB"),
            ("7 B", 7, "7 B"),
            ("0", 0, "0"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, printed), "{text}");
            assert_eq!(printed.parse::<ByteSize>().unwrap(), size, "{text}");
        }
        for bad in ["", "GiB", "2 apples", "-1 MiB", "1.2.3"] {
            assert!(bad.parse::<ByteSize>().unwrap_err().contains("is not a size"), "{bad}");
        }
    }

    #[test]
    fn durations_read_and_print() {
        for (text, millis, printed) in [
            ("500ms", 500, "500ms"),
            ("30s", 30_000, "30s"),
            ("90 s", 90_000, "90s"),
            ("5m", 300_000, "5m"),
            ("1.5", 1_500, "1500ms"),
            ("2h", 7_200_000, "2h"),
            ("0", 0, "0s"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.as_millis(), millis, "{text}");
            assert_eq!(duration.to_string(), printed, "{text}");
        }
        for bad in ["", "s", "3 years", "1e400s"] {
            assert!(bad.parse::<Duration>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_read_and_know_loopback() {
        for (text, loopback) in [
            ("127.0.0.1:5433", true),
            ("localhost:0", true),
            ("[::1]:5433", true),
            ("0.0.0.0:5433", false),
            ("lake.example.org:5433", false),
        ] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address.is_loopback(), loopback, "{text}");
            assert_eq!(address.to_string(), text);
        }
        for bad in ["5433", ":5433", "host:", "host:99999"] {
            assert!(bad.parse::<ListenAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let secret: Secret = "hunter2".parse().unwrap();
        assert_eq!(format!("{secret} {secret:?}"), "*** Secret(***)");
        assert_eq!(secret.reveal(), "hunter2");
    }
}
