//! Dates and times as PostgreSQL's functions take and give them.
//!
//! [`Parts`] is what all of them work on: a moment or an interval taken apart into year, month and so on.
//!
//! ```text
//! pattern   'YYYY-MM-DD' to its fields         civil   days to year, month, day and back
//! print     to_char of moments and intervals   read    to_date, to_timestamp
//! age       age, justify_*                     make    make_timestamp, make_interval
//! extract   fields the engine has not           times   arrays, row by row
//! ```

mod age;
mod calls;
pub(super) mod civil;
mod extract;
mod make;
mod pattern;
mod print;
mod read;
mod times;

pub(crate) use extract::is_extracted;

pub(super) use pattern::Ordinal;
pub(super) use print::ordinal_suffix;

use arrow::datatypes::IntervalMonthDayNano;
use chrono::{DateTime, NaiveDateTime, Offset, TimeZone};
use civil::{date_of, day_of_year, days_of, weekday};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::ScalarUDF;
use std::sync::Arc;

pub(super) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(super) const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
const MONTHS_PER_YEAR: i64 = 12;
const DAYS_PER_MONTH: i64 = 30;

/// Returns the functions to register.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let mut all = calls::all();
    all.extend(age::all());
    all.extend(make::all());
    all.push(Arc::new(ScalarUDF::from(extract::Extract::default())));
    all
}

/// A moment or an interval, taken apart. Parts of an interval may be negative, and its hours beyond a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    /// Astronomical: 0 is 1 BC.
    pub year: i64,
    /// From 1, 0 in an interval without one.
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub micro: i64,
    /// From Sunday, which is 0.
    pub weekday: i64,
    /// From 1.
    pub day_of_year: i64,
    /// Where the clock is, for a moment with a zone.
    pub zone: Option<Zone>,
    /// Whether it is a span of time.
    pub is_interval: bool,
}

/// A zone at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Zone {
    /// Seconds that its clocks are ahead of UTC.
    pub seconds_east: i64,
    /// What it is called, such as `CET`.
    pub name: String,
}

impl Parts {
    /// Takes a clock's time apart, in microseconds since 1970.
    pub(super) fn of_local(micros: i64) -> Self {
        let days = micros.div_euclid(MICROS_PER_DAY);
        let (year, month, day) = date_of(days);
        let (hour, minute, second, micro) = clock(micros.rem_euclid(MICROS_PER_DAY));
        let (weekday, day_of_year) = (weekday(days), day_of_year(year, month, day));
        let (zone, is_interval) = (None, false);
        Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
            micro,
            weekday,
            day_of_year,
            zone,
            is_interval,
        }
    }

    /// Takes a moment apart as the clocks of a zone show it; `None` beyond the years that a zone is known for.
    pub(super) fn of_moment(micros: i64, clocks: &Clocks) -> Option<Self> {
        let zone = clocks.at(micros)?;
        let local = micros.checked_add(zone.seconds_east * MICROS_PER_SECOND)?;
        Some(Self { zone: Some(zone), ..Self::of_local(local) })
    }

    /// Takes an interval apart.
    pub(super) fn of_interval(interval: IntervalMonthDayNano) -> Self {
        let (months, day) = (i64::from(interval.months), i64::from(interval.days));
        let (year, month) = (months / MONTHS_PER_YEAR, months % MONTHS_PER_YEAR);
        let (hour, minute, second, micro) = clock(interval.nanoseconds / 1_000);
        let day_of_year = (year * MONTHS_PER_YEAR + month) * DAYS_PER_MONTH + day;
        let (weekday, zone, is_interval) = (0, None, true);
        Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
            micro,
            weekday,
            day_of_year,
            zone,
            is_interval,
        }
    }

    /// Puts a date and a clock's time together, in microseconds since 1970; `None` beyond what fits.
    pub(super) fn micros(&self) -> Option<i64> {
        let seconds = (self.hour * 60 + self.minute) * 60 + self.second;
        let days = days_of(self.year, self.month, self.day);
        days.checked_mul(MICROS_PER_DAY)?.checked_add(seconds * MICROS_PER_SECOND + self.micro)
    }
}

fn clock(micros: i64) -> (i64, i64, i64, i64) {
    let (seconds, micro) = (micros / MICROS_PER_SECOND, micros % MICROS_PER_SECOND);
    (seconds / 3_600, seconds / 60 % 60, seconds % 60, micro)
}

/// The clocks of a time zone: one with a name, or a fixed offset.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clocks {
    Named(chrono_tz::Tz),
    Fixed(chrono::FixedOffset),
}

impl Clocks {
    /// Reads the name of a zone or an offset such as `+02:00`.
    pub(super) fn parse(name: &str) -> Result<Self> {
        if let Ok(zone) = name.parse::<chrono_tz::Tz>() {
            return Ok(Self::Named(zone));
        }
        match name.parse::<arrow::array::timezone::Tz>() {
            Ok(zone) => {
                let offset = zone.offset_from_utc_datetime(&NaiveDateTime::default()).fix();
                Ok(Self::Fixed(offset))
            }
            Err(_) => plan_err!("time zone \"{name}\" not recognized"),
        }
    }

    /// Returns what they show at a moment, in microseconds since 1970.
    fn at(&self, micros: i64) -> Option<Zone> {
        let utc = DateTime::from_timestamp_micros(micros)?.naive_utc();
        Some(match self {
            Self::Named(zone) => {
                let offset = zone.offset_from_utc_datetime(&utc);
                let seconds_east = i64::from(offset.fix().local_minus_utc());
                Zone { seconds_east, name: offset.to_string() }
            }
            Self::Fixed(offset) => {
                let seconds_east = i64::from(offset.local_minus_utc());
                Zone { seconds_east, name: offset_name(seconds_east) }
            }
        })
    }

    /// Returns the moment at which they show a time, in microseconds since 1970.
    pub(super) fn moment_of(&self, local: i64) -> Option<i64> {
        let naive = DateTime::from_timestamp_micros(local)?.naive_utc();
        let seconds_east = match self {
            Self::Named(zone) => super::timezone::seconds_east_of_local(zone, naive),
            Self::Fixed(offset) => offset.local_minus_utc(),
        };
        local.checked_sub(i64::from(seconds_east) * MICROS_PER_SECOND)
    }
}

fn offset_name(seconds_east: i64) -> String {
    let (sign, seconds) = (if seconds_east < 0 { '-' } else { '+' }, seconds_east.abs());
    match (seconds / 3_600, seconds / 60 % 60) {
        (hours, 0) => format!("{sign}{hours:02}"),
        (hours, minutes) => format!("{sign}{hours:02}:{minutes:02}"),
    }
}
