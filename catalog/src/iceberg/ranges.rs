//! From partition values back to the values of their source column.
//!
//! Called by [`super::prune`]. A filter is about columns; a partition value says between which values the column lies in
//! a file. So instead of turning every filter into one on partition values, for each transform and each operator, we turn
//! partition values into bounds of the column, and one pruning works for all transforms and all specs a table ever had.
//!
//! ```text
//! identity 5          5 … 5
//! month 2024-02       2024-02-01 … the last moment before 2024-03-01
//! truncate(10) 20     20 … 29;  truncate(3) 'abc'   'abc' … 'abd'
//! bucket              no bounds: told by membership instead
//! ```

use super::metadata::{PartitionField, Transform};
use super::schema::Primitive;
use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, PrimitiveArray, StringViewArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Int32Type, Int64Type};
use chrono::{Datelike, Months, NaiveDate};
use std::sync::Arc;

const MICROS_PER_DAY: i64 = 86_400_000_000;
const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// Which end of the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Lower,
    Upper,
}

/// Returns bounds of the source column for partition values; `None` when the transform gives none.
pub(super) fn source_bounds(
    field: &PartitionField,
    values: &ArrayRef,
    end: End,
) -> Option<ArrayRef> {
    let source = field.source?;
    // Order of partition values of floats leaves NaN out.
    if source.is_float() {
        return None;
    }
    match field.transform {
        Transform::Identity => Some(Arc::clone(values)),
        Transform::Truncate(width) => truncated(values, i64::from(width), end),
        Transform::Year => periods(values, source, end, |n| first_of_month(n.checked_mul(12)?)),
        Transform::Month => periods(values, source, end, first_of_month),
        Transform::Day => periods(values, source, end, Some),
        Transform::Hour => hours(values, source, end),
        Transform::Bucket(_) | Transform::Void | Transform::Unknown => None,
    }
}

/// Days from 1970-01-01 to the first of a month, counted from January 1970.
fn first_of_month(month: i64) -> Option<i64> {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    let n = Months::new(u32::try_from(month.unsigned_abs()).ok()?);
    let first = if month < 0 { epoch.checked_sub_months(n) } else { epoch.checked_add_months(n) }?;
    Some(i64::from(first.num_days_from_ce()) - i64::from(epoch.num_days_from_ce()))
}

/// Bounds of periods that begin at a day. `first_day` gives it for the period's number.
fn periods(
    values: &ArrayRef,
    source: Primitive,
    end: End,
    first_day: impl Fn(i64) -> Option<i64>,
) -> Option<ArrayRef> {
    let numbers = cast(values, &DataType::Int32).ok()?;
    let numbers = numbers.as_primitive::<Int32Type>();
    let day = |number: i32| match end {
        End::Lower => first_day(i64::from(number)),
        End::Upper => first_day(i64::from(number) + 1),
    };
    // The end of a period is the last value before the next one.
    let less = i64::from(end == End::Upper);
    match source {
        Primitive::Date => {
            let days = numbers.iter().map(|n| i32::try_from(day(n?)? - less).ok());
            Some(Arc::new(days.collect::<PrimitiveArray<Date32Type>>()))
        }
        _ => {
            let micros = numbers.iter().map(|n| Some(day(n?)?.checked_mul(MICROS_PER_DAY)? - less));
            as_timestamps(micros.collect(), source)
        }
    }
}

fn hours(values: &ArrayRef, source: Primitive, end: End) -> Option<ArrayRef> {
    let numbers = cast(values, &DataType::Int32).ok()?;
    let (next, less) = if end == End::Upper { (1, 1) } else { (0, 0) };
    let micros = numbers
        .as_primitive::<Int32Type>()
        .iter()
        .map(|n| Some((i64::from(n?) + next).checked_mul(MICROS_PER_HOUR)? - less));
    as_timestamps(micros.collect(), source)
}

/// Makes timestamps of microseconds; for nanoseconds the end is moved to the last one.
fn as_timestamps(micros: Int64Array, source: Primitive) -> Option<ArrayRef> {
    let values: ArrayRef = match source {
        Primitive::Timestamp | Primitive::Timestamptz => Arc::new(micros),
        // A period's end in microseconds is 999 nanoseconds before its real one: a wider range is as true.
        Primitive::TimestampNs | Primitive::TimestamptzNs => {
            let is_end = |micros: i64| micros.rem_euclid(MICROS_PER_HOUR) == MICROS_PER_HOUR - 1;
            let nanos = micros.iter().map(|value| {
                let extra = if is_end(value?) { 999 } else { 0 };
                value?.checked_mul(1000)?.checked_add(extra)
            });
            Arc::new(nanos.collect::<Int64Array>())
        }
        _ => return None,
    };
    cast(&values, &source.arrow()).ok()
}

fn truncated(values: &ArrayRef, width: i64, end: End) -> Option<ArrayRef> {
    if end == End::Lower {
        return Some(Arc::clone(values));
    }
    match values.data_type() {
        DataType::Int32 => {
            let width = i32::try_from(width - 1).ok()?;
            let values = values.as_primitive::<Int32Type>();
            Some(Arc::new(values.iter().map(|v| v?.checked_add(width)).collect::<Int32Array>()))
        }
        DataType::Int64 => {
            let values = values.as_primitive::<Int64Type>();
            Some(Arc::new(values.iter().map(|v| v?.checked_add(width - 1)).collect::<Int64Array>()))
        }
        DataType::Decimal128(precision, scale) => {
            let values = values.as_primitive::<Decimal128Type>();
            let upper = values.iter().map(|v| v?.checked_add(i128::from(width) - 1));
            let upper = upper.collect::<PrimitiveArray<Decimal128Type>>();
            Some(Arc::new(upper.with_precision_and_scale(*precision, *scale).ok()?))
        }
        DataType::Utf8View => {
            let width = usize::try_from(width).ok()?;
            let values = values.as_string_view();
            let upper = values.iter().map(|value| after_prefix(value?, width));
            Some(Arc::new(upper.collect::<StringViewArray>()))
        }
        // Bytes are not ordered as often as text: no bound.
        _ => None,
    }
}

/// Returns a text that no text with this prefix is above.
fn after_prefix(prefix: &str, width: usize) -> Option<String> {
    // A shorter one was not cut.
    if prefix.chars().count() < width {
        return Some(prefix.to_owned());
    }
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            last => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::scalar::ScalarValue;

    fn bounds(transform: Transform, source: Primitive, value: ScalarValue) -> String {
        let field = PartitionField {
            id: 1000,
            name: "p".to_owned(),
            source_id: 1,
            transform,
            source: Some(source),
            result: None,
        };
        let values = value.to_array().unwrap();
        let end = |end| match source_bounds(&field, &values, end) {
            Some(array) => ScalarValue::try_from_array(&array, 0).unwrap().to_string(),
            None => "none".to_owned(),
        };
        format!("{} {}", end(End::Lower), end(End::Upper))
    }

    #[test]
    fn periods_end_before_the_next_begins() {
        let int = |n| ScalarValue::Int32(Some(n));
        assert_eq!(bounds(Transform::Year, Primitive::Date, int(54)), "2024-01-01 2024-12-31");
        assert_eq!(bounds(Transform::Month, Primitive::Date, int(-1)), "1969-12-01 1969-12-31");
        assert_eq!(bounds(Transform::Day, Primitive::Date, int(0)), "1970-01-01 1970-01-01");
        let micros = bounds(Transform::Month, Primitive::Timestamp, int(1));
        assert_eq!(micros, "2678400000000 5097599999999");
        let nanos = bounds(Transform::Hour, Primitive::TimestampNs, int(1));
        assert_eq!(nanos, "3600000000000 7199999999999");
        let far = bounds(Transform::Day, Primitive::Timestamp, int(i32::MAX));
        assert!(!far.contains("none"), "{far}");
    }

    #[test]
    fn truncated_values_stand_for_their_range() {
        let int = ScalarValue::Int32(Some(-10));
        assert_eq!(bounds(Transform::Truncate(10), Primitive::Int, int), "-10 -1");
        let text = |text: &str| ScalarValue::Utf8View(Some(text.to_owned()));
        let check = |value: &str, expected: &str| {
            assert_eq!(bounds(Transform::Truncate(3), Primitive::String, text(value)), expected);
        };
        check("abc", "abc abd");
        check("ab", "ab ab");
        check("ab\u{10ffff}", "ab\u{10ffff} ac");
        let last = "\u{10ffff}".repeat(3);
        check(&last, &format!("{last} NULL"));
        assert_eq!(
            bounds(Transform::Bucket(4), Primitive::Int, ScalarValue::Int32(Some(1))),
            "none none"
        );
        assert_eq!(
            bounds(Transform::Truncate(5), Primitive::Int, ScalarValue::Int32(None)),
            "NULL NULL"
        );
    }
}
