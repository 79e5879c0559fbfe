//! Parameters in PostgreSQL's text formats.

use super::binary::{decimal, list};
use super::{bad_text, timestamp_type};
use crate::frontend::pg::failure::{Failure, Severity};
use crate::frontend::pg::types::{self, ColumnType};
use arrow::array::timezone::Tz;
use arrow::datatypes::DataType;
use bytes::Bytes;
use chrono::TimeZone;
use datafusion::scalar::ScalarValue;

/// Decodes one value that is not null.
///
/// # Errors
/// When the text is not of the type (22P02) or not UTF-8 (22021).
pub(super) fn decode(
    column: &ColumnType,
    bytes: &Bytes,
    time_zone: Tz,
) -> Result<ScalarValue, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        let message = "invalid byte sequence for encoding \"UTF8\"";
        Failure::new(Severity::Error, "22021", message)
    })?;
    let decoded = match column.is_array {
        true => array(column, text, time_zone),
        false => scalar(column, text, time_zone),
    };
    decoded.ok_or_else(|| bad_text(&type_name(column), text))
}

fn type_name(column: &ColumnType) -> String {
    let brackets = if column.is_array { "[]" } else { "" };
    format!("{}{brackets}", column.base.sql_name)
}

fn scalar(column: &ColumnType, text: &str, time_zone: Tz) -> Option<ScalarValue> {
    let trimmed = text.trim();
    Some(match column.base.name {
        "bool" => ScalarValue::from(boolean(trimmed)?),
        "int2" => ScalarValue::from(trimmed.parse::<i16>().ok()?),
        "int4" => ScalarValue::from(trimmed.parse::<i32>().ok()?),
        "int8" | "oid" | "regproc" => ScalarValue::from(trimmed.parse::<i64>().ok()?),
        // Rust reads `inf` and `infinity` in any case, as PostgreSQL does.
        "float4" => ScalarValue::from(trimmed.parse::<f32>().ok()?),
        "float8" => ScalarValue::from(trimmed.parse::<f64>().ok()?),
        "numeric" => numeric(trimmed)?,
        "bytea" => ScalarValue::Binary(Some(bytea(text)?)),
        "uuid" => uuid(trimmed)?,
        "date" => cast(day_of(trimmed), &types::to_arrow(column)?)?,
        "time" | "interval" => cast(trimmed, &types::to_arrow(column)?)?,
        "timestamp" => cast(without_offset(trimmed), &timestamp_type(false))?,
        "timestamptz" => timestamptz(trimmed, time_zone)?,
        _ => ScalarValue::from(text),
    })
}

/// Cuts off the time and the offset that drivers send along with a date, which PostgreSQL passes over.
fn day_of(text: &str) -> &str {
    match text.split_at_checked(10) {
        Some((day, rest)) if rest.starts_with([' ', 'T']) && is_clock(rest) => day,
        _ => text,
    }
}

/// Cuts off an offset, which PostgreSQL passes over in a timestamp without time zone.
fn without_offset(text: &str) -> &str {
    let Some((_, clock)) = text.split_at_checked(10).filter(|(_, clock)| is_clock(clock)) else {
        return text;
    };
    let end = clock.find(['+', '-', 'Z', 'z']).unwrap_or(clock.len());
    text[..10 + end].trim_end()
}

fn is_clock(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_digit() || [' ', 'T', ':', '.', '+', '-', 'Z', 'z'].contains(&c))
}

fn cast(text: &str, data_type: &DataType) -> Option<ScalarValue> {
    ScalarValue::from(text).cast_to(data_type).ok().filter(|value| !value.is_null())
}

/// Text with an offset is an instant; text without one means the session's time zone.
fn timestamptz(text: &str, time_zone: Tz) -> Option<ScalarValue> {
    let local = cast(text, &timestamp_type(false));
    let has_offset = text.len() > 10 && text[10..].contains(['+', '-', 'Z', 'z']);
    if has_offset {
        return cast(text, &timestamp_type(true));
    }
    let ScalarValue::TimestampMicrosecond(Some(micros), _) = local? else { return None };
    let naive = chrono::DateTime::from_timestamp_micros(micros)?.naive_utc();
    let instant = time_zone.from_local_datetime(&naive).earliest()?;
    let micros = instant.timestamp_micros();
    Some(ScalarValue::TimestampMicrosecond(Some(micros), Some("+00:00".into())))
}

/// PostgreSQL takes any unambiguous prefix of these words.
fn boolean(text: &str) -> Option<bool> {
    let text = text.to_ascii_lowercase();
    let is_prefix = |word: &str| !text.is_empty() && word.starts_with(&text);
    if is_prefix("true") || is_prefix("yes") || text == "on" || text == "1" {
        return Some(true);
    }
    let off = text.len() > 1 && "off".starts_with(&text);
    (is_prefix("false") || is_prefix("no") || off || text == "0").then_some(false)
}

/// Reads `-12.50` and `1.25e3` exactly.
fn numeric(text: &str) -> Option<ScalarValue> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let unsigned = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(unsigned) || !all_digits(fraction) || unsigned.len() + fraction.len() == 0 {
        return None;
    }
    let sign = if whole.starts_with('-') { "-" } else { "" };
    let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    // A negative scale is written out, so that the value has one that every consumer takes.
    let zeros = usize::try_from(scale.checked_neg()?).ok().filter(|zeros| *zeros < 80);
    let zeros = if scale < 0 { "0".repeat(zeros?) } else { String::new() };
    decimal(&format!("{sign}{unsigned}{fraction}{zeros}"), scale.max(0))
}

fn bytea(text: &str) -> Option<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(hex) => hex_bytes(hex),
        None => escaped_bytes(text),
    }
}

fn hex_bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = hex
        .chars()
        .filter(|character| !character.is_whitespace())
        .map(|character| character.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// The old escape format: `\\` for a backslash, `\ooo` for any byte in octal.
fn escaped_bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let first = rest.next()?;
        if first == b'\\' {
            bytes.push(b'\\');
            continue;
        }
        let mut value = u32::from(first.checked_sub(b'0')?);
        for _ in 0..2 {
            value = value * 8 + u32::from(rest.next()?.checked_sub(b'0')?);
        }
        bytes.push(u8::try_from(value).ok()?);
    }
    Some(bytes)
}

fn uuid(text: &str) -> Option<ScalarValue> {
    let bytes = uuid::Uuid::parse_str(text).ok()?.as_bytes().to_vec();
    Some(ScalarValue::FixedSizeBinary(16, Some(bytes)))
}

fn array(column: &ColumnType, text: &str, time_zone: Tz) -> Option<ScalarValue> {
    let element = ColumnType { is_array: false, ..*column };
    let data_type = types::to_arrow(&element)?;
    let values = elements(text)?
        .iter()
        .map(|item| match item {
            Some(item) => scalar(&element, item, time_zone),
            None => ScalarValue::try_from(&data_type).ok(),
        })
        .collect::<Option<Vec<_>>>()?;
    list(&element, &values).ok()
}

/// Splits `{a,"b c",NULL}` into its elements; one dimension only.
fn elements(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    if inner.trim().is_empty() {
        return Some(elements);
    }
    let mut characters = inner.chars().peekable();
    loop {
        let (mut item, mut quoted) = (String::new(), false);
        loop {
            match characters.peek() {
                None | Some(',') => break,
                Some('{' | '}') => return None,
                Some('"') => {
                    characters.next();
                    quoted = true;
                    item = item.trim_start().to_string();
                    loop {
                        match characters.next()? {
                            '"' => break,
                            '\\' => item.push(characters.next()?),
                            other => item.push(other),
                        }
                    }
                }
                Some('\\') => {
                    characters.next();
                    item.push(characters.next()?);
                }
                Some(_) => item.extend(characters.next()),
            }
        }
        elements.push(match quoted {
            true => Some(item),
            false => {
                let item = item.trim();
                (!item.eq_ignore_ascii_case("null")).then(|| item.to_string())
            }
        });
        if characters.next().is_none() {
            return Some(elements);
        }
    }
}
