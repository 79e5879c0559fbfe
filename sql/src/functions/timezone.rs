//! `timezone(zone, t)`, which `t AT TIME ZONE zone` is another spelling of.
//!
//! A timestamp with zone becomes the wall clock of `zone`, without one; a timestamp without becomes the moment at which
//! the clocks of `zone` show it. Where they show it twice, the later moment counts, and a time that they skip is read
//! with the offset before the change, as in PostgreSQL. Fixed offsets are refused: PostgreSQL counts them to the west.

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowTimestampType, DataType, Field, FieldRef, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use chrono::offset::LocalResult;
use chrono::{DateTime, Duration, NaiveDateTime, Offset, TimeZone};
use datafusion::common::{Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

/// Zone of a result whose own is only known row by row.
const NO_ZONE: &str = "+00:00";

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Timezone {
    signature: Signature,
}

impl Default for Timezone {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Timezone {
    fn name(&self) -> &str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [zone, time] = types else {
            return plan_err!(
                "timezone takes a zone and a timestamp, not {} arguments",
                types.len()
            );
        };
        if !(zone.is_string() || zone.is_null()) {
            return plan_err!("AT TIME ZONE takes the name of a zone, not a value of type {zone}");
        }
        let time = match time {
            DataType::Timestamp(_, _) => time.clone(),
            DataType::Null => DataType::Timestamp(TimeUnit::Nanosecond, None),
            other => {
                return plan_err!("AT TIME ZONE takes a timestamp, not {other}: write a cast");
            }
        };
        Ok(vec![DataType::Utf8, time])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        plan_err!("the type of timezone depends on its zone")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let zone = args.scalar_arguments[0].and_then(|zone| zone.try_as_str().flatten());
        if let Some(zone) = zone {
            parse_zone(zone)?;
        }
        let data_type = match args.arg_fields[1].data_type() {
            DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, None),
            DataType::Timestamp(unit, None) => {
                DataType::Timestamp(*unit, Some(zone.unwrap_or(NO_ZONE).into()))
            }
            other => return plan_err!("timezone takes a timestamp, not {other}"),
        };
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let result = args.return_field.data_type().clone();
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let (zones, times) = (&arrays[0], &arrays[1]);
        let DataType::Timestamp(unit, _) = &result else {
            return exec_err!("timezone gives a timestamp, not {result}");
        };
        let converted = match unit {
            TimeUnit::Second => convert::<TimestampSecondType>(zones, times, &result),
            TimeUnit::Millisecond => convert::<TimestampMillisecondType>(zones, times, &result),
            TimeUnit::Microsecond => convert::<TimestampMicrosecondType>(zones, times, &result),
            TimeUnit::Nanosecond => convert::<TimestampNanosecondType>(zones, times, &result),
        }?;
        Ok(ColumnarValue::Array(converted))
    }
}

fn convert<T: ArrowTimestampType>(
    zones: &ArrayRef,
    times: &ArrayRef,
    result: &DataType,
) -> Result<ArrayRef> {
    let (zones, times) = (zones.as_string::<i32>(), times.as_primitive::<T>());
    let to_local = matches!(times.data_type(), DataType::Timestamp(_, Some(_)));
    let mut last: Option<(&str, Tz)> = None;
    let mut converted = Vec::with_capacity(times.len());
    for row in 0..times.len() {
        if zones.is_null(row) || times.is_null(row) {
            converted.push(None);
            continue;
        }
        let name = zones.value(row);
        let zone = match last {
            Some((last, zone)) if last == name => zone,
            _ => parse_zone(name)?,
        };
        last = Some((name, zone));
        let value = times.value(row);
        let out_of_range = || exec_datafusion_err!("timestamp out of range: {value}");
        let time = date_time::<T>(value).ok_or_else(out_of_range)?;
        let offset = match to_local {
            true => seconds_east(&zone, time),
            false => -seconds_east_of_local(&zone, time),
        };
        let moved = i64::from(offset).checked_mul(units_per_second::<T>());
        let moved = moved.and_then(|offset| value.checked_add(offset)).ok_or_else(out_of_range)?;
        converted.push(Some(moved));
    }
    let array = PrimitiveArray::<T>::from_iter(converted).with_data_type(result.clone());
    Ok(Arc::new(array))
}

/// Reads the name of a zone.
fn parse_zone(name: &str) -> Result<Tz> {
    let is_offset = name.starts_with(['+', '-']);
    let is_zero = name.chars().all(|c| ['+', '-', ':', '0'].contains(&c));
    if is_offset && !is_zero {
        return plan_err!(
            "time zone \"{name}\" not recognized: name a zone such as Europe/Oslo, or Etc/GMT-2 for two hours east"
        );
    }
    name.parse().or_else(|_| plan_err!("time zone \"{name}\" not recognized"))
}

/// Seconds that the clocks of `zone` are ahead of UTC at a moment.
fn seconds_east<Z: TimeZone>(zone: &Z, utc: NaiveDateTime) -> i32 {
    zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()
}

/// Seconds that the clocks of `zone` are ahead of UTC when they show `local`.
pub(super) fn seconds_east_of_local<Z: TimeZone>(zone: &Z, local: NaiveDateTime) -> i32 {
    match zone.offset_from_local_datetime(&local) {
        LocalResult::Single(offset) | LocalResult::Ambiguous(_, offset) => {
            offset.fix().local_minus_utc()
        }
        // Skipped: no zone moves its clocks twice in a day.
        LocalResult::None => seconds_east(zone, local - Duration::days(1)),
    }
}

fn date_time<T: ArrowTimestampType>(value: i64) -> Option<NaiveDateTime> {
    let per_second = units_per_second::<T>();
    let nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
    let time = DateTime::from_timestamp(value.div_euclid(per_second), u32::try_from(nanos).ok()?)?;
    Some(time.naive_utc())
}

fn units_per_second<T: ArrowTimestampType>() -> i64 {
    match T::UNIT {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap()
    }

    #[test]
    fn clocks_that_change_are_read_as_postgres_reads_them() {
        let oslo = parse_zone("Europe/Oslo").unwrap();
        assert_eq!(seconds_east(&oslo, at("2024-07-01 12:00")), 7200);
        assert_eq!(seconds_east_of_local(&oslo, at("2024-01-01 12:00")), 3600);
        assert_eq!(seconds_east_of_local(&oslo, at("2024-10-27 02:30")), 3600, "shown twice");
        assert_eq!(seconds_east_of_local(&oslo, at("2024-03-31 02:30")), 3600, "skipped");
    }

    #[test]
    fn offsets_and_unknown_names_are_refused() {
        assert!(parse_zone("+02:00").is_err());
        assert!(parse_zone("Europe/Atlantis").is_err());
        assert!(parse_zone("+00:00").is_ok());
    }
}
