//! `make_timestamp`, `make_timestamptz` and `make_interval`.

use super::age::Span;
use super::civil::{days_in_month, days_of};
use super::{Clocks, MICROS_PER_DAY, MICROS_PER_SECOND, MONTHS_PER_YEAR};
use crate::functions::given::{Call, Given, Types, failed, is_text};
use arrow::array::types::{
    Float64Type, Int64Type, IntervalMonthDayNanoType, TimestampMicrosecondType,
};
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::Result;
use datafusion::logical_expr::{ScalarUDF, Volatility};
use std::sync::Arc;

const DAYS_PER_WEEK: i64 = 7;
/// Whole numbers before the seconds of a timestamp: year, month, day, hour, minute.
const N_WHOLE: usize = 5;
/// Whole numbers before the seconds of an interval.
const N_WHOLE_OF_INTERVAL: usize = 6;

/// Returns the functions to register.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let given = |name, volatility, types, run| Given { name, aliases: &[], volatility, types, run };
    vec![
        given("make_timestamp", Volatility::Immutable, timestamp_types, run_timestamp).function(),
        given("make_timestamptz", Volatility::Stable, timestamptz_types, run_timestamptz)
            .function(),
        given("make_interval", Volatility::Immutable, interval_types, run_interval).function(),
    ]
}

/// Returns the types of whole numbers followed by seconds.
fn numbers(types: &[DataType], n_whole: usize) -> Option<Vec<DataType>> {
    let is_number = |data_type: &DataType| data_type.is_numeric() || is_text(data_type);
    let is_whole = |data_type: &DataType| data_type.is_integer() || is_text(data_type);
    let (whole, seconds) = types.split_at_checked(n_whole)?;
    if !whole.iter().all(is_whole) || !seconds.iter().all(is_number) {
        return None;
    }
    let mut coerced = vec![DataType::Int64; n_whole];
    coerced.extend(seconds.iter().map(|_| DataType::Float64));
    Some(coerced)
}

fn timestamp_types(types: &[DataType]) -> Types {
    let result = DataType::Timestamp(TimeUnit::Microsecond, None);
    (types.len() == N_WHOLE + 1).then(|| numbers(types, N_WHOLE)).flatten().map(|t| (t, result))
}

fn timestamptz_types(types: &[DataType]) -> Types {
    let result = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let (times, zone) = types.split_at_checked(N_WHOLE + 1)?;
    let mut coerced = numbers(times, N_WHOLE)?;
    match zone {
        [] => {}
        [zone] if is_text(zone) => coerced.push(DataType::Utf8),
        _ => return None,
    }
    Some((coerced, result))
}

fn interval_types(types: &[DataType]) -> Types {
    let result = DataType::Interval(IntervalUnit::MonthDayNano);
    (types.len() == N_WHOLE_OF_INTERVAL + 1)
        .then(|| numbers(types, N_WHOLE_OF_INTERVAL))
        .flatten()
        .map(|types| (types, result))
}

/// Returns the whole numbers and the seconds of a row; `None` when one of them is NULL.
fn row_of<const N: usize>(arrays: &[ArrayRef], row: usize) -> Option<([i64; N], f64)> {
    if arrays.iter().any(|array| array.is_null(row)) {
        return None;
    }
    let whole = std::array::from_fn(|idx| arrays[idx].as_primitive::<Int64Type>().value(row));
    Some((whole, arrays[N].as_primitive::<Float64Type>().value(row)))
}

fn run_timestamp(arrays: &[ArrayRef], _: &Call<'_>) -> Result<ArrayRef> {
    let made = (0..arrays[0].len())
        .map(|row| row_of(arrays, row).map(|(whole, seconds)| local(whole, seconds)).transpose());
    Ok(Arc::new(made.collect::<Result<PrimitiveArray<TimestampMicrosecondType>>>()?))
}

fn run_timestamptz(arrays: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let session = Clocks::parse(call.time_zone)?;
    let zones = arrays.get(N_WHOLE + 1).map(|zones| zones.as_string::<i32>());
    let made = (0..arrays[0].len()).map(|row| {
        let Some((whole, seconds)) = row_of(arrays, row) else { return Ok(None) };
        let clocks = match zones {
            Some(zones) => Clocks::parse(zones.value(row))?,
            None => session,
        };
        let moment = clocks.moment_of(local(whole, seconds)?);
        moment.map(Some).ok_or_else(|| failed("timestamp out of range"))
    });
    let made = made.collect::<Result<PrimitiveArray<TimestampMicrosecondType>>>()?;
    Ok(Arc::new(made.with_data_type(call.result.clone())))
}

/// Returns a clock's time in microseconds since 1970; negative years are before Christ.
fn local([year, month, day, hour, minute]: [i64; N_WHOLE], seconds: f64) -> Result<i64> {
    let astronomical = if year < 0 { year + 1 } else { year };
    let is_date = year != 0
        && (1..=12).contains(&month)
        && year.abs() < 1_000_000
        && (1..=days_in_month(astronomical, month)).contains(&day);
    if !is_date {
        let message = format!("date field value out of range: {year}-{month:02}-{day:02}");
        return Err(failed(message));
    }
    let micros = (seconds * MICROS_PER_SECOND as f64).round_ties_even();
    let is_time = (0..=24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..=60.0 * MICROS_PER_SECOND as f64).contains(&micros);
    let time = (hour * 60 + minute).saturating_mul(60 * MICROS_PER_SECOND);
    let time = time.saturating_add(if is_time { micros as i64 } else { 0 });
    if !is_time || time > MICROS_PER_DAY {
        let message = format!("time field value out of range: {hour}:{minute:02}:{seconds:02}");
        return Err(failed(message));
    }
    let days = days_of(astronomical, month, day);
    let micros = days.checked_mul(MICROS_PER_DAY).and_then(|micros| micros.checked_add(time));
    micros.ok_or_else(|| failed("timestamp out of range"))
}

fn run_interval(arrays: &[ArrayRef], _: &Call<'_>) -> Result<ArrayRef> {
    let out_of_range = || failed("interval out of range");
    let made = (0..arrays[0].len()).map(|row| {
        let Some((whole, seconds)) = row_of::<N_WHOLE_OF_INTERVAL>(arrays, row) else {
            return Ok(None);
        };
        let [years, months, weeks, days, hours, minutes] = whole;
        let micros = (seconds * MICROS_PER_SECOND as f64).round_ties_even();
        // NaN is out of range too.
        if micros.is_nan() || micros.abs() >= i64::MAX as f64 {
            return Err(out_of_range());
        }
        let span = || {
            let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
            let micros = minutes.checked_mul(60 * MICROS_PER_SECOND)?.checked_add(micros as i64)?;
            Some(Span {
                months: years.checked_mul(MONTHS_PER_YEAR)?.checked_add(months)?,
                days: weeks.checked_mul(DAYS_PER_WEEK)?.checked_add(days)?,
                micros,
            })
        };
        span().ok_or_else(out_of_range)?.interval().map(Some)
    });
    Ok(Arc::new(made.collect::<Result<PrimitiveArray<IntervalMonthDayNanoType>>>()?))
}
