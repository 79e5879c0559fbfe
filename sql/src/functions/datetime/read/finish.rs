//! Puts together what was read of a date and a time.

use super::Read;
use crate::functions::datetime::civil::{
    date_of, days_in_month, days_of, monday_of_week, of_julian,
};
use crate::functions::datetime::{Clocks, MICROS_PER_SECOND, Parts};
use crate::functions::given::failed;
use datafusion::common::{DataFusionError, Result};

/// Offsets of zones are below this many hours.
const MAX_ZONE_HOURS: i64 = 15;

/// A date that is not complete yet.
struct Date {
    year: i64,
    month: i64,
    day: i64,
    /// Whether year, month and day were given.
    given: [bool; 3],
}

impl Read {
    /// Returns the date in days since 1970; `text` is shown in errors.
    ///
    /// # Errors
    /// When there is no such date.
    pub(in crate::functions::datetime) fn date(&self, text: &str) -> Result<i64> {
        let date = self.finish(text)?;
        Ok(days_of(date.year, date.month, date.day))
    }

    /// Returns the moment in microseconds since 1970; without a zone of its own it is that of `clocks`.
    ///
    /// # Errors
    /// When there is no such moment.
    pub(in crate::functions::datetime) fn moment(
        &self,
        text: &str,
        clocks: &Clocks,
    ) -> Result<i64> {
        let local = self.finish(text)?.micros();
        let moment = match self.zone_sign {
            0 => local.and_then(|local| clocks.moment_of(local)),
            sign => {
                let is_valid = (0..=MAX_ZONE_HOURS).contains(&self.zone_hour)
                    && (0..60).contains(&self.zone_minute);
                if !is_valid {
                    return Err(out_of_range(text));
                }
                let seconds_east = sign * (self.zone_hour * 60 + self.zone_minute) * 60;
                local.and_then(|local| local.checked_sub(seconds_east * MICROS_PER_SECOND))
            }
        };
        moment.ok_or_else(|| failed(format!("timestamp out of range: \"{text}\"")))
    }

    fn finish(&self, text: &str) -> Result<Parts> {
        let (hour, minute, second) = self.clock()?;
        let Date { year, month, day, .. } = self.calendar(text)?;
        let micro = self.millis * 1_000 + self.micros;
        let is_valid = (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..60).contains(&second)
            && (0..MICROS_PER_SECOND).contains(&micro);
        if !is_valid {
            return Err(out_of_range(text));
        }
        let date = Parts::of_local(0);
        Ok(Parts { year, month, day, hour, minute, second, micro, ..date })
    }

    fn clock(&self) -> Result<(i64, i64, i64)> {
        let of_day = self.second_of_day;
        let or = |value: i64, other: i64| if value == 0 { other } else { value };
        let mut hour = or(self.hour, of_day / 3_600);
        let (minute, second) = (or(self.minute, of_day / 60 % 60), or(self.second, of_day % 60));
        if self.is_12_hours {
            if !(1..=12).contains(&hour) {
                return Err(failed(format!("hour \"{hour}\" is invalid for the 12-hour clock")));
            }
            hour = hour % 12 + if self.is_afternoon { 12 } else { 0 };
        }
        Ok((hour, minute, second))
    }

    fn calendar(&self, text: &str) -> Result<Date> {
        let (year, has_year) = self.full_year();
        let mut date = Date { year, month: 1, day: 1, given: [has_year, false, false] };
        let mut day_of_year = self.day_of_year;
        if self.julian != 0 {
            date.set(of_julian(self.julian));
        }
        if self.week != 0 && self.is_iso == Some(true) {
            // Days count from Sunday, weeks begin with Monday.
            let day = if self.weekday == 0 { 0 } else { (self.weekday + 5) % 7 };
            date.set(monday_of_week(date.year, self.week) + day);
        } else if self.week != 0 {
            day_of_year = (self.week - 1) * 7 + 1;
        }
        let day = if self.week_of_month == 0 { self.day } else { (self.week_of_month - 1) * 7 + 1 };
        if day != 0 {
            (date.day, date.given[2]) = (day, true);
        }
        if self.month != 0 {
            (date.month, date.given[1]) = (self.month, true);
        }
        if day_of_year != 0 && (date.month <= 1 || date.day <= 1) {
            self.set_day_of_year(&mut date, day_of_year)?;
        }
        if date.is_valid() { Ok(date) } else { Err(out_of_range(text)) }
    }

    /// Returns the year and whether one was given: the 21st century runs from 2001 to 2100.
    fn full_year(&self) -> (i64, bool) {
        let century = if self.is_before_christ { -self.century } else { self.century };
        let year = match (self.year, century) {
            (0, 0) => return (0, false),
            (0, century) if century > 0 => (century - 1) * 100 + 1,
            (0, century) => century * 100 + 1,
            (year, century) if century != 0 && self.n_year_digits <= 2 => {
                match (year % 100, century >= 0) {
                    (0, true) => century * 100,
                    (0, false) => century * 100 + 1,
                    (year, true) => year + (century - 1) * 100,
                    (year, false) => (century + 1) * 100 - year + 1,
                }
            }
            (year, _) => {
                let year = if self.is_before_christ { -year } else { year };
                if year < 0 { year + 1 } else { year }
            }
        };
        (year, true)
    }

    fn set_day_of_year(&self, date: &mut Date, day_of_year: i64) -> Result<()> {
        if date.year == 0 && !self.is_before_christ {
            return Err(failed("cannot calculate day of year without year information"));
        }
        if self.is_iso == Some(true) {
            date.set(monday_of_week(date.year, 1) + day_of_year - 1);
            return Ok(());
        }
        let is_in_year =
            (1..=days_of(date.year + 1, 1, 1) - days_of(date.year, 1, 1)).contains(&day_of_year);
        let (_, month, day) = date_of(days_of(date.year, 1, 1) + day_of_year - 1);
        // No month has room for a day beyond its year.
        let (month, day) = if is_in_year { (month, day) } else { (13, day_of_year) };
        if date.month <= 1 {
            date.month = month;
        }
        if date.day <= 1 {
            date.day = day;
        }
        (date.given[1], date.given[2]) = (true, true);
        Ok(())
    }
}

impl Date {
    fn set(&mut self, days: i64) {
        (self.year, self.month, self.day) = date_of(days);
        self.given = [true; 3];
    }

    fn is_valid(&self) -> bool {
        let n_days = match self.given {
            [true, true, true] if (1..=12).contains(&self.month) => {
                days_in_month(self.year, self.month)
            }
            _ => 31,
        };
        (1..=12).contains(&self.month) && (1..=n_days).contains(&self.day)
    }
}

fn out_of_range(text: &str) -> DataFusionError {
    failed(format!("date/time field value out of range: \"{text}\""))
}
