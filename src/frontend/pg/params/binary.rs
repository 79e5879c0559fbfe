//! Parameters in PostgreSQL's binary send formats.

use super::{bad_binary, timestamp_type};
use crate::frontend::pg::failure::{Failure, Severity};
use crate::frontend::pg::types::{self, ColumnType};
use arrow::datatypes::{DataType, IntervalMonthDayNano, i256};
use bytes::{Buf, Bytes};
use datafusion::scalar::ScalarValue;

/// Days and microseconds from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Decimal digits of the widest decimal Arrow has.
const MAX_DIGITS: usize = 76;

/// Decodes one value that is not null.
///
/// # Errors
/// When the bytes are not of the type (22P03) or the type is unknown here (0A000).
pub(super) fn decode(column: &ColumnType, bytes: &Bytes) -> Result<ScalarValue, Failure> {
    if column.is_array { array(column, bytes.clone()) } else { scalar(column, bytes) }
}

fn scalar(column: &ColumnType, bytes: &Bytes) -> Result<ScalarValue, Failure> {
    let name = column.base.name;
    let bad = || bad_binary(column.base.sql_name);
    Ok(match name {
        "bool" => ScalarValue::from(i8::from_be_bytes(fixed(bytes).ok_or_else(bad)?) != 0),
        "int2" => ScalarValue::from(i16::from_be_bytes(fixed(bytes).ok_or_else(bad)?)),
        "int4" => ScalarValue::from(i32::from_be_bytes(fixed(bytes).ok_or_else(bad)?)),
        "int8" => ScalarValue::from(i64::from_be_bytes(fixed(bytes).ok_or_else(bad)?)),
        "oid" | "regproc" | "regclass" | "regtype" => {
            let oid = u32::from_be_bytes(fixed(bytes).ok_or_else(bad)?);
            ScalarValue::from(i64::from(oid))
        }
        "float4" => ScalarValue::from(f32::from_be_bytes(fixed(bytes).ok_or_else(bad)?)),
        "float8" => ScalarValue::from(f64::from_be_bytes(fixed(bytes).ok_or_else(bad)?)),
        "bytea" => ScalarValue::Binary(Some(bytes.to_vec())),
        "uuid" => {
            ScalarValue::FixedSizeBinary(16, Some(fixed::<16>(bytes).ok_or_else(bad)?.to_vec()))
        }
        "date" => {
            let days = i32::from_be_bytes(fixed(bytes).ok_or_else(bad)?);
            ScalarValue::Date32(Some(days.checked_add(EPOCH_DAYS).ok_or_else(bad)?))
        }
        "time" => {
            ScalarValue::Time64Microsecond(Some(i64::from_be_bytes(fixed(bytes).ok_or_else(bad)?)))
        }
        "timestamp" | "timestamptz" => {
            let micros = i64::from_be_bytes(fixed(bytes).ok_or_else(bad)?);
            let micros = micros.checked_add(EPOCH_MICROS).ok_or_else(bad)?;
            match timestamp_type(name == "timestamptz") {
                DataType::Timestamp(_, zone) => {
                    ScalarValue::TimestampMicrosecond(Some(micros), zone)
                }
                _ => return Err(bad()),
            }
        }
        "interval" => interval(fixed(bytes).ok_or_else(bad)?).ok_or_else(bad)?,
        "numeric" => numeric(bytes.clone()).ok_or_else(bad)?,
        "jsonb" => text(bytes.strip_prefix(&[1]).ok_or_else(bad)?).ok_or_else(bad)?,
        _ => text(bytes).ok_or_else(bad)?,
    })
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn text(bytes: &[u8]) -> Option<ScalarValue> {
    std::str::from_utf8(bytes).ok().map(ScalarValue::from)
}

fn interval(bytes: [u8; 16]) -> Option<ScalarValue> {
    let mut bytes = &bytes[..];
    let (micros, days, months) = (bytes.get_i64(), bytes.get_i32(), bytes.get_i32());
    let nanoseconds = micros.checked_mul(1_000)?;
    Some(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano {
        months,
        days,
        nanoseconds,
    })))
}

/// Groups of four decimal digits become a decimal of just the precision they need.
fn numeric(mut bytes: Bytes) -> Option<ScalarValue> {
    const NEGATIVE: u16 = 0x4000;
    if bytes.remaining() < 8 {
        return None;
    }
    let n_groups = i32::from(bytes.get_u16());
    let weight = i32::from(bytes.get_i16());
    let sign = bytes.get_u16();
    let scale = i32::from(bytes.get_u16());
    if bytes.remaining() != n_groups as usize * 2 || !matches!(sign, 0 | NEGATIVE) {
        return None;
    }
    let groups: Vec<u16> = (0..n_groups).map(|_| bytes.get_u16()).collect();
    let digit = |power: i32| -> Option<char> {
        let group = weight - power.div_euclid(4);
        let value = usize::try_from(group).ok().and_then(|group| groups.get(group));
        let divisor = 10_u32.pow(power.rem_euclid(4) as u32);
        char::from_digit(u32::from(value.copied().unwrap_or(0)) / divisor % 10, 10)
    };
    let top = (weight * 4 + 3).max(0);
    if (top + scale) as usize > 4 * MAX_DIGITS {
        return None;
    }
    let mut digits = String::new();
    if sign == NEGATIVE {
        digits.push('-');
    }
    for power in (-scale..=top).rev() {
        digits.push(digit(power)?);
    }
    decimal(&digits, scale)
}

/// Returns the decimal `digits · 10^-scale`; `None` when it has more digits than Arrow's widest type.
pub(super) fn decimal(digits: &str, scale: i32) -> Option<ScalarValue> {
    let scale = i8::try_from(scale).ok()?;
    let n_digits = digits.trim_start_matches(['-', '0']).len().max(scale.unsigned_abs().into());
    let precision = u8::try_from(n_digits.max(1)).ok()?;
    if n_digits <= 38 {
        return Some(ScalarValue::Decimal128(Some(digits.parse().ok()?), precision, scale));
    }
    if n_digits > MAX_DIGITS {
        return None;
    }
    Some(ScalarValue::Decimal256(Some(i256::from_string(digits)?), precision, scale))
}

fn array(column: &ColumnType, mut bytes: Bytes) -> Result<ScalarValue, Failure> {
    let bad = || bad_binary(&format!("{}[]", column.base.sql_name));
    if bytes.remaining() < 12 {
        return Err(bad());
    }
    let n_dimensions = bytes.get_i32();
    let _has_null = bytes.get_i32();
    let element_oid = bytes.get_u32();
    let element = types::by_oid(element_oid).filter(|found| !found.is_array).ok_or_else(bad)?;
    let n_elements = match n_dimensions {
        0 => 0,
        1 if bytes.remaining() >= 8 => {
            let n_elements = bytes.get_i32();
            let _lower_bound = bytes.get_i32();
            n_elements
        }
        1 => return Err(bad()),
        _ => {
            let message = "arrays of several dimensions are not supported as parameters";
            return Err(Failure::new(Severity::Error, "0A000", message));
        }
    };
    let mut values = Vec::new();
    for _ in 0..n_elements {
        values.push(element_value(&element, &mut bytes)?.ok_or_else(bad)?);
    }
    list(&element, &values)
}

fn element_value(element: &ColumnType, bytes: &mut Bytes) -> Result<Option<ScalarValue>, Failure> {
    if bytes.remaining() < 4 {
        return Ok(None);
    }
    match usize::try_from(bytes.get_i32()) {
        Err(_) => {
            let data_type = types::to_arrow(element).unwrap_or(DataType::Utf8);
            Ok(ScalarValue::try_from(data_type).ok())
        }
        Ok(length) if length <= bytes.remaining() => {
            scalar(element, &bytes.split_to(length)).map(Some)
        }
        Ok(_) => Ok(None),
    }
}

/// Makes a list of values that were decoded one by one; decimals of several scales are brought to one.
pub(super) fn list(element: &ColumnType, values: &[ScalarValue]) -> Result<ScalarValue, Failure> {
    let data_type = types::to_arrow(element).unwrap_or(DataType::Utf8);
    let values = values
        .iter()
        .map(|value| value.cast_to(&data_type))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::from(crate::Error::from(error)))?;
    Ok(ScalarValue::List(ScalarValue::new_list_nullable(&values, &data_type)))
}
