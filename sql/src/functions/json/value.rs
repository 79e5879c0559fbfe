//! A JSON text taken apart: how `jsonb` prints it, and whether one value is in another.

use super::scan::{Kind, check, members, unescaped};
use crate::functions::given::failed;
use datafusion::common::Result;
use std::fmt::Write;

/// Zeros that a number's exponent may write out.
const MAX_EXPONENT: i64 = 10_000;

/// A value of `jsonb`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Boolean(bool),
    /// Written without an exponent.
    Number(String),
    String(String),
    Array(Vec<Value>),
    /// Keys in PostgreSQL's order: shorter ones first. Each is there once.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Takes a text apart.
    ///
    /// # Errors
    /// When it is not JSON.
    pub(super) fn parse(text: &str) -> Result<Self> {
        Self::of_checked(check(text)?)
    }

    /// Recurses no deeper than `scan` lets a text nest.
    fn of_checked(value: &str) -> Result<Self> {
        Ok(match Kind::of(value) {
            Kind::Null => Self::Null,
            Kind::Boolean => Self::Boolean(value == "true"),
            Kind::Number => Self::Number(plain_number(value)?),
            Kind::String => Self::String(unescaped(value)?),
            Kind::Array => {
                let mut elements = Vec::new();
                members(value, |_, element| elements.push(element))?;
                Self::Array(elements.into_iter().map(Self::of_checked).collect::<Result<_>>()?)
            }
            Kind::Object => {
                let mut found = Vec::new();
                members(value, |key, value| found.extend(key.map(|key| (key, value))))?;
                let mut object: Vec<(String, Self)> = found
                    .into_iter()
                    .map(|(key, value)| Ok((unescaped(key)?, Self::of_checked(value)?)))
                    .collect::<Result<_>>()?;
                // The sort is stable: of equal keys the last one stays.
                object.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
                object.reverse();
                object.dedup_by(|(later, _), (kept, _)| later == kept);
                object.reverse();
                Self::Object(object)
            }
        })
    }

    /// Writes it as PostgreSQL prints `jsonb`.
    pub(super) fn print(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(number) => out.push_str(number),
            Self::String(text) => quote(text, out),
            Self::Array(elements) => {
                out.push('[');
                for (idx, element) in elements.iter().enumerate() {
                    out.push_str(if idx == 0 { "" } else { ", " });
                    element.print(out);
                }
                out.push(']');
            }
            Self::Object(object) => {
                out.push('{');
                for (idx, (key, value)) in object.iter().enumerate() {
                    out.push_str(if idx == 0 { "" } else { ", " });
                    quote(key, out);
                    out.push_str(": ");
                    value.print(out);
                }
                out.push('}');
            }
        }
    }

    /// Returns whether it has all that another value has; an array has what is one of its elements, too.
    pub(super) fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Array(_), Self::Array(_) | Self::Object(_)) | (Self::Object(_), _) => {
                self.holds(other)
            }
            (Self::Array(elements), scalar) => elements.iter().any(|element| element.is(scalar)),
            (scalar, other) => scalar.is(other),
        }
    }

    fn holds(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Array(elements), Self::Array(wanted)) => {
                wanted.iter().all(|wanted| elements.iter().any(|element| element.holds(wanted)))
            }
            (Self::Object(object), Self::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
                let value = object.iter().find(|(known, _)| known == key);
                value.is_some_and(|(_, value)| value.holds(wanted))
            }),
            (value, other) => value.is(other),
        }
    }

    /// Returns whether both are the same scalar.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => shortest(left) == shortest(right),
            (Self::Array(_) | Self::Object(_), _) => false,
            (left, right) => left == right,
        }
    }
}

/// Returns a number without zeros that do not count.
fn shortest(number: &str) -> &str {
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    }
}

/// Writes a number as `numeric` prints it: all digits, and no exponent.
fn plain_number(number: &str) -> Result<String> {
    let (sign, number) = match number.strip_prefix('-') {
        Some(number) => ("-", number),
        None => ("", number),
    };
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(MAX_EXPONENT + 1);
    if exponent.abs() > MAX_EXPONENT {
        return Err(failed("a number in JSON is out of range for type numeric"));
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let point = whole.len() as i64 + exponent;
    let text = match usize::try_from(point) {
        Ok(point) if point >= digits.len() => format!("{digits:0<point$}"),
        Ok(point) if point > 0 => format!("{}.{}", &digits[..point], &digits[point..]),
        _ => format!("0.{}{digits}", "0".repeat(usize::try_from(-point).unwrap_or(0))),
    };
    let text = match text.trim_start_matches('0') {
        trimmed if trimmed.starts_with('.') => format!("0{trimmed}"),
        "" => "0".to_string(),
        trimmed => trimmed.to_string(),
    };
    let is_zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    Ok(format!("{}{text}", if is_zero { "" } else { sign }))
}

/// Writes a string with its quotes.
pub(super) fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            character => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jsonb_prints_as_in_postgres() {
        let text = r#"{"bb":1, "a": 2.50, "b": {"c":[1, 2,{"d":"x\u00e9\n"}]}, "a": 1e3, "e":"\/\u0041", "f": -0}"#;
        let mut printed = String::new();
        Value::parse(text).unwrap().print(&mut printed);
        let expected =
            r#"{"a": 1000, "b": {"c": [1, 2, {"d": "xé\n"}]}, "e": "/A", "f": 0, "bb": 1}"#;
        assert_eq!(printed, expected);
    }

    #[test]
    fn containment_is_that_of_postgres() {
        for (left, right, expected) in [
            (r#"{"a":1,"b":[1,2]}"#, r#"{"b":[2]}"#, true),
            ("[1,[2]]", "[[2]]", true),
            ("[1]", "1", true),
            ("1", "[1]", false),
            (r#"{"a":1.0}"#, r#"{"a":1}"#, true),
            (r#"{"a":[1]}"#, r#"{"a":1}"#, false),
            ("[1,2]", "[2,2,1]", true),
            (r#"[{"a":1}]"#, r#"{"a":1}"#, false),
        ] {
            let [left_value, right_value] = [left, right].map(|text| Value::parse(text).unwrap());
            assert_eq!(left_value.contains(&right_value), expected, "{left} @> {right}");
        }
    }

    #[test]
    fn numbers_have_all_their_digits() {
        for (number, expected) in
            [("1.50", "1.50"), ("1.5e1", "15"), ("12e-3", "0.012"), ("-0.0", "0.0"), ("1E2", "100")]
        {
            assert_eq!(plain_number(number).unwrap(), expected);
        }
        assert!(plain_number("1e999999999999").is_err());
    }
}
