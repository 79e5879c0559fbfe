//! `age` and `justify_days`, `justify_hours`, `justify_interval`: spans of time in years, months and days.

use super::{Clocks, DAYS_PER_MONTH, MICROS_PER_DAY, MONTHS_PER_YEAR, Parts};
use crate::functions::given::{Call, Given, Types, failed, is_text};
use arrow::array::types::{IntervalMonthDayNanoType, TimestampMicrosecondType};
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use datafusion::common::Result;
use datafusion::logical_expr::{ScalarUDF, Volatility};
use std::sync::Arc;

use super::civil::days_in_month;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// Returns the functions to register. `age` of one value is spelled with today as the first.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let justify = |name, run| Given {
        name,
        aliases: &[],
        volatility: Volatility::Immutable,
        types: justify_types,
        run,
    };
    let age = Given {
        name: "age",
        aliases: &[],
        volatility: Volatility::Stable,
        types: age_types,
        run: run_age,
    };
    vec![
        age.function(),
        justify("justify_days", |arrays, _| justified(&arrays[0], Span::justify_days)).function(),
        justify("justify_hours", |arrays, _| justified(&arrays[0], Span::justify_hours)).function(),
        justify("justify_interval", |arrays, _| justified(&arrays[0], Span::justify_interval))
            .function(),
    ]
}

fn age_types(types: &[DataType]) -> Types {
    let argument = |data_type: &DataType| match data_type {
        DataType::Timestamp(_, zone) => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
        }
        DataType::Date32 | DataType::Date64 => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, None))
        }
        text if is_text(text) => Some(DataType::Timestamp(TimeUnit::Microsecond, None)),
        _ => None,
    };
    match types {
        [left, right] => Some((vec![argument(left)?, argument(right)?], INTERVAL)),
        _ => None,
    }
}

fn run_age(arrays: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let clocks = Clocks::parse(call.time_zone)?;
    let times =
        [&arrays[0], &arrays[1]].map(|array| array.as_primitive::<TimestampMicrosecondType>());
    let parts = |times: &PrimitiveArray<TimestampMicrosecondType>, row| match matches!(
        times.data_type(),
        DataType::Timestamp(_, Some(_))
    ) {
        true => Parts::of_moment(times.value(row), &clocks),
        false => Some(Parts::of_local(times.value(row))),
    };
    let ages = (0..times[0].len()).map(|row| {
        if times.iter().any(|times| times.is_null(row)) {
            return Ok(None);
        }
        let [Some(later), Some(earlier)] = times.map(|times| parts(times, row)) else {
            return Err(failed("timestamp out of range"));
        };
        age(&later, &earlier).interval().map(Some)
    });
    Ok(Arc::new(ages.collect::<Result<PrimitiveArray<IntervalMonthDayNanoType>>>()?))
}

/// Returns what lies between two times: whole months counted by the calendar, then days, then the clock's time.
fn age(left: &Parts, right: &Parts) -> Span {
    let (is_negative, later, earlier) = match left.micros() < right.micros() {
        true => (true, right, left),
        false => (false, left, right),
    };
    let of_day = |time: &Parts| {
        let seconds = (time.hour * 60 + time.minute) * 60 + time.second;
        seconds * super::MICROS_PER_SECOND + time.micro
    };
    let mut micros = of_day(later) - of_day(earlier);
    let mut days = later.day - earlier.day;
    let mut months = (later.year - earlier.year) * MONTHS_PER_YEAR + later.month - earlier.month;
    if micros < 0 {
        micros += MICROS_PER_DAY;
        days -= 1;
    }
    // The month that is borrowed from is that of the earlier time, even where it is too short.
    while days < 0 {
        days += days_in_month(earlier.year, earlier.month);
        months -= 1;
    }
    let sign = if is_negative { -1 } else { 1 };
    Span { months: sign * months, days: sign * days, micros: sign * micros }
}

fn justify_types(types: &[DataType]) -> Types {
    let is_interval = |data_type: &DataType| {
        matches!(data_type, DataType::Interval(_) | DataType::Duration(_)) || is_text(data_type)
    };
    matches!(types, [data_type] if is_interval(data_type)).then(|| (vec![INTERVAL], INTERVAL))
}

fn justified(intervals: &ArrayRef, justify: fn(Span) -> Span) -> Result<ArrayRef> {
    let intervals = cast(intervals, &INTERVAL)?;
    let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>().iter();
    let justified = intervals
        .map(|interval| interval.map(|i| justify(Span::of(i)).interval()).transpose())
        .collect::<Result<PrimitiveArray<IntervalMonthDayNanoType>>>()?;
    Ok(Arc::new(justified))
}

/// An interval with room to calculate in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub months: i64,
    pub days: i64,
    pub micros: i64,
}

impl Span {
    fn of(interval: IntervalMonthDayNano) -> Self {
        let IntervalMonthDayNano { months, days, nanoseconds } = interval;
        Self { months: months.into(), days: days.into(), micros: nanoseconds / 1_000 }
    }

    /// Returns the interval.
    ///
    /// # Errors
    /// When a part of it does not fit.
    pub(super) fn interval(self) -> Result<IntervalMonthDayNano> {
        let fits = || {
            Some(IntervalMonthDayNano {
                months: self.months.try_into().ok()?,
                days: self.days.try_into().ok()?,
                nanoseconds: self.micros.checked_mul(1_000)?,
            })
        };
        fits().ok_or_else(|| failed("interval out of range"))
    }

    /// Makes whole days of hours.
    fn justify_hours(mut self) -> Self {
        self.carry_hours();
        self.settle_hours();
        self
    }

    /// Makes whole months of days.
    fn justify_days(mut self) -> Self {
        self.carry_days();
        if self.months > 0 && self.days < 0 {
            self.days += DAYS_PER_MONTH;
            self.months -= 1;
        } else if self.months < 0 && self.days > 0 {
            self.days -= DAYS_PER_MONTH;
            self.months += 1;
        }
        self
    }

    /// Makes both, and gives all parts one sign.
    fn justify_interval(mut self) -> Self {
        self.carry_hours();
        self.carry_days();
        let (days, micros) = (self.days, self.micros);
        if self.months > 0 && (days < 0 || (days == 0 && micros < 0)) {
            self.days += DAYS_PER_MONTH;
            self.months -= 1;
        } else if self.months < 0 && (days > 0 || (days == 0 && micros > 0)) {
            self.days -= DAYS_PER_MONTH;
            self.months += 1;
        }
        self.settle_hours();
        self
    }

    fn carry_hours(&mut self) {
        self.days += self.micros / MICROS_PER_DAY;
        self.micros %= MICROS_PER_DAY;
    }

    fn carry_days(&mut self) {
        self.months += self.days / DAYS_PER_MONTH;
        self.days %= DAYS_PER_MONTH;
    }

    fn settle_hours(&mut self) {
        if self.days > 0 && self.micros < 0 {
            self.micros += MICROS_PER_DAY;
            self.days -= 1;
        } else if self.days < 0 && self.micros > 0 {
            self.micros -= MICROS_PER_DAY;
            self.days += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(left: (i64, i64, i64), right: (i64, i64, i64)) -> (i64, i64, i64) {
        let parts = |(year, month, day)| {
            let days = super::super::civil::days_of(year, month, day);
            Parts::of_local(days * MICROS_PER_DAY)
        };
        let Span { months, days, micros } = age(&parts(left), &parts(right));
        (months, days, micros)
    }

    #[test]
    fn ages_are_those_of_postgres() {
        assert_eq!(between((2001, 4, 10), (1957, 6, 13)), (43 * 12 + 9, 27, 0));
        assert_eq!(between((2024, 3, 1), (2024, 1, 31)), (1, 1, 0));
        assert_eq!(between((2024, 1, 31), (2024, 3, 1)), (-1, -1, 0));
        assert_eq!(between((2024, 1, 31), (2024, 1, 31)), (0, 0, 0));
    }

    #[test]
    fn justified_intervals_have_one_sign() {
        let hour = MICROS_PER_DAY / 24;
        let span = |months, days, micros| Span { months, days, micros };
        assert_eq!(span(0, 35, 0).justify_days(), span(1, 5, 0));
        assert_eq!(span(0, 1, -hour).justify_hours(), span(0, 0, 23 * hour));
        assert_eq!(span(0, 0, 50 * hour).justify_hours(), span(0, 2, 2 * hour));
        assert_eq!(span(1, 0, -hour).justify_interval(), span(0, 29, 23 * hour));
        assert_eq!(span(0, -40, 2 * hour).justify_interval(), span(-1, -9, -22 * hour));
    }
}
