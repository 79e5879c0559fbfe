//! Dates, times, timestamps and intervals in PostgreSQL's ISO style, and as its binary counts.
//!
//! PostgreSQL counts microseconds and days from 2000-01-01; Arrow counts from 1970-01-01 in four units.
//! Nanoseconds are cut to microseconds, towards the past.

use super::{Body, Format, Style, overflow};
use crate::error::Result;
use arrow::array::timezone::Tz;
use arrow::array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, IntervalDayTimeType, IntervalMonthDayNanoType,
    IntervalYearMonthType, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Offset, TimeZone};
use std::fmt::Write;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
const MILLIS_PER_DAY: i64 = 86_400_000;
/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;

/// Months, days and microseconds, PostgreSQL's own split.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interval {
    pub(super) months: i32,
    pub(super) days: i32,
    pub(super) micros: i64,
}

/// Returns the closure for a date or time column, `None` for any other type.
pub(super) fn body(array: &ArrayRef, style: Style) -> Result<Option<Body>> {
    Ok(Some(match array.data_type() {
        DataType::Date32 => date::<Date32Type>(array, style, i64::from),
        DataType::Date64 => date::<Date64Type>(array, style, |v| v.div_euclid(MILLIS_PER_DAY)),
        DataType::Time32(TimeUnit::Second) => {
            time::<Time32SecondType>(array, style, |v| i64::from(v) * MICROS_PER_SECOND)
        }
        DataType::Time32(_) => {
            time::<Time32MillisecondType>(array, style, |v| i64::from(v) * 1_000)
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            time::<Time64MicrosecondType>(array, style, |v| v)
        }
        DataType::Time64(_) => time::<Time64NanosecondType>(array, style, |v| v / 1_000),
        DataType::Timestamp(unit, zone) => timestamps(array, *unit, zone.is_some(), style),
        DataType::Interval(unit) => intervals(array, *unit, style),
        DataType::Duration(unit) => durations(array, *unit, style),
        _ => return Ok(None),
    }))
}

fn date<T: ArrowPrimitiveType>(array: &ArrayRef, style: Style, days: fn(T::Native) -> i64) -> Body {
    let array: PrimitiveArray<T> = array.as_primitive::<T>().clone();
    let text = style.format == Format::Text;
    Box::new(move |row, out| {
        let days = days(array.value(row));
        if text {
            let before_christ = put_date(days, out);
            put_era(before_christ, out);
        } else {
            let days = i32::try_from(days - EPOCH_DAYS).map_err(|_| out_of_range("date"))?;
            out.put_i32(days);
        }
        Ok(())
    })
}

fn time<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    style: Style,
    micros: fn(T::Native) -> i64,
) -> Body {
    let array: PrimitiveArray<T> = array.as_primitive::<T>().clone();
    let text = style.format == Format::Text;
    Box::new(move |row, out| {
        let micros = micros(array.value(row));
        if text {
            put_time(micros, out)
        } else {
            out.put_i64(micros)
        }
        Ok(())
    })
}

fn timestamps(array: &ArrayRef, unit: TimeUnit, zoned: bool, style: Style) -> Body {
    let zone = zoned.then_some(style.time_zone);
    let text = style.format == Format::Text;
    match unit {
        TimeUnit::Second => timestamp::<TimestampSecondType>(array, text, zone, |v| {
            v.checked_mul(MICROS_PER_SECOND)
        }),
        TimeUnit::Millisecond => {
            timestamp::<TimestampMillisecondType>(array, text, zone, |v| v.checked_mul(1_000))
        }
        TimeUnit::Microsecond => timestamp::<TimestampMicrosecondType>(array, text, zone, Some),
        TimeUnit::Nanosecond => {
            timestamp::<TimestampNanosecondType>(array, text, zone, |v| Some(v.div_euclid(1_000)))
        }
    }
}

fn timestamp<T: ArrowPrimitiveType<Native = i64>>(
    array: &ArrayRef,
    text: bool,
    zone: Option<Tz>,
    micros: fn(i64) -> Option<i64>,
) -> Body {
    let array: PrimitiveArray<T> = array.as_primitive::<T>().clone();
    Box::new(move |row, out| {
        let micros = micros(array.value(row)).ok_or_else(|| out_of_range("timestamp"))?;
        if text {
            put_timestamp(micros, zone, out);
            return Ok(());
        }
        let micros = micros
            .checked_sub(EPOCH_DAYS * MICROS_PER_DAY)
            .ok_or_else(|| out_of_range("timestamp"))?;
        out.put_i64(micros);
        Ok(())
    })
}

fn intervals(array: &ArrayRef, unit: IntervalUnit, style: Style) -> Body {
    match unit {
        IntervalUnit::YearMonth => interval::<IntervalYearMonthType>(array, style, |months| {
            Some(Interval { months, days: 0, micros: 0 })
        }),
        IntervalUnit::DayTime => interval::<IntervalDayTimeType>(array, style, |v| {
            let micros = i64::from(v.milliseconds) * 1_000;
            Some(Interval { months: 0, days: v.days, micros })
        }),
        IntervalUnit::MonthDayNano => interval::<IntervalMonthDayNanoType>(array, style, |v| {
            Some(Interval { months: v.months, days: v.days, micros: v.nanoseconds / 1_000 })
        }),
    }
}

fn durations(array: &ArrayRef, unit: TimeUnit, style: Style) -> Body {
    fn micros(micros: i64) -> Interval {
        Interval { months: 0, days: 0, micros }
    }
    match unit {
        TimeUnit::Second => interval::<DurationSecondType>(array, style, |v| {
            v.checked_mul(MICROS_PER_SECOND).map(micros)
        }),
        TimeUnit::Millisecond => {
            interval::<DurationMillisecondType>(array, style, |v| v.checked_mul(1_000).map(micros))
        }
        TimeUnit::Microsecond => {
            interval::<DurationMicrosecondType>(array, style, |v| Some(micros(v)))
        }
        TimeUnit::Nanosecond => {
            interval::<DurationNanosecondType>(array, style, |v| Some(micros(v / 1_000)))
        }
    }
}

fn interval<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    style: Style,
    split: fn(T::Native) -> Option<Interval>,
) -> Body {
    let array: PrimitiveArray<T> = array.as_primitive::<T>().clone();
    let text = style.format == Format::Text;
    Box::new(move |row, out| {
        let interval = split(array.value(row)).ok_or_else(|| out_of_range("interval"))?;
        if text {
            interval.put_text(out);
        } else {
            out.put_i64(interval.micros);
            out.put_i32(interval.days);
            out.put_i32(interval.months);
        }
        Ok(())
    })
}

fn out_of_range(what: &str) -> crate::Error {
    overflow(&format!("{what} out of range"))
}

/// Returns year, month and day of a day count from 1970-01-01 in the proleptic Gregorian calendar.
///
/// Counts in eras of 400 years that start in March, so a leap day is the last day of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Writes a date without its era; returns whether it lies before the year 1.
fn put_date(days: i64, out: &mut BytesMut) -> bool {
    let (year, month, day) = civil(days);
    let before_christ = year < 1;
    let year = if before_christ { 1 - year } else { year };
    let _ = write!(out, "{year:04}-{month:02}-{day:02}");
    before_christ
}

fn put_era(before_christ: bool, out: &mut BytesMut) {
    if before_christ {
        out.put_slice(b" BC");
    }
}

fn put_time(micros: i64, out: &mut BytesMut) {
    let seconds = micros / MICROS_PER_SECOND;
    let _ = write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    put_fraction(micros % MICROS_PER_SECOND, out);
}

/// Writes `.123` for 123000 µs and nothing for 0.
fn put_fraction(micros: i64, out: &mut BytesMut) {
    if micros == 0 {
        return;
    }
    let _ = write!(out, ".{micros:06}");
    while out.last() == Some(&b'0') {
        out.truncate(out.len() - 1);
    }
}

pub(super) fn put_timestamp(micros: i64, zone: Option<Tz>, out: &mut BytesMut) {
    let offset_seconds = zone.map(|zone| offset_at(micros, zone));
    // Near the ends of the 64-bit range an offset could overflow; wider arithmetic keeps the value.
    let local = i128::from(micros)
        + i128::from(offset_seconds.unwrap_or(0)) * i128::from(MICROS_PER_SECOND);
    let days = local.div_euclid(i128::from(MICROS_PER_DAY)) as i64;
    let time = local.rem_euclid(i128::from(MICROS_PER_DAY)) as i64;
    let before_christ = put_date(days, out);
    out.put_u8(b' ');
    put_time(time, out);
    if let Some(offset_seconds) = offset_seconds {
        put_offset(offset_seconds, out);
    }
    put_era(before_christ, out);
}

/// Returns seconds east of UTC at an instant; 0 outside the calendar chrono knows.
fn offset_at(micros: i64, zone: Tz) -> i32 {
    match DateTime::from_timestamp(micros.div_euclid(MICROS_PER_SECOND), 0) {
        Some(instant) => {
            zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc()
        }
        None => 0,
    }
}

/// Writes `+02`, `+05:30` or `-00:01:15`.
fn put_offset(seconds: i32, out: &mut BytesMut) {
    out.put_u8(if seconds < 0 { b'-' } else { b'+' });
    let seconds = seconds.unsigned_abs();
    let _ = write!(out, "{:02}", seconds / 3600);
    if !seconds.is_multiple_of(3600) {
        let _ = write!(out, ":{:02}", seconds / 60 % 60);
    }
    if !seconds.is_multiple_of(60) {
        let _ = write!(out, ":{:02}", seconds % 60);
    }
}

impl Interval {
    /// Writes `1 year -2 mons +3 days 04:05:06.7`: a plus follows a negative part, as PostgreSQL does.
    pub(super) fn put_text(self, out: &mut BytesMut) {
        let start = out.len();
        let mut after_negative = false;
        let parts = [(self.months / 12, "year"), (self.months % 12, "mon"), (self.days, "day")];
        for (value, unit) in parts {
            if value == 0 {
                continue;
            }
            let blank = if out.len() > start { " " } else { "" };
            let plus = if after_negative && value > 0 { "+" } else { "" };
            let plural = if value == 1 { "" } else { "s" };
            let _ = write!(out, "{blank}{plus}{value} {unit}{plural}");
            after_negative = value < 0;
        }
        if self.micros == 0 && out.len() > start {
            return;
        }
        if out.len() > start {
            out.put_u8(b' ');
        }
        match (self.micros < 0, after_negative) {
            (true, _) => out.put_u8(b'-'),
            (false, true) => out.put_u8(b'+'),
            (false, false) => {}
        }
        let micros = self.micros.unsigned_abs();
        let seconds = micros / MICROS_PER_SECOND.unsigned_abs();
        let _ = write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        put_fraction((micros % MICROS_PER_SECOND.unsigned_abs()) as i64, out);
    }
}
