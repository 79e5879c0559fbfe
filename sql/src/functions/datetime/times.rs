//! Arrays of dates, times and intervals, taken apart row by row.

use super::{Clocks, MICROS_PER_DAY, Parts};
use crate::functions::given::failed;
use arrow::array::types::{
    Date32Type, DurationMicrosecondType, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use datafusion::common::{DataFusionError, Result};
use std::sync::Arc;

/// Values of one of the types that say when, or how long.
pub(super) enum Times {
    Moment(PrimitiveArray<TimestampMicrosecondType>, Clocks),
    Local(PrimitiveArray<TimestampMicrosecondType>),
    Date(PrimitiveArray<Date32Type>, Clocks),
    Time(PrimitiveArray<Time64MicrosecondType>),
    Duration(PrimitiveArray<DurationMicrosecondType>),
    Interval(PrimitiveArray<IntervalMonthDayNanoType>),
}

impl Times {
    /// Reads an array; moments are shown by the clocks of a zone.
    ///
    /// # Errors
    /// For a type that says neither, and an unknown zone.
    pub(super) fn new(values: &ArrayRef, time_zone: &str) -> Result<Self> {
        let as_type = |data_type: &DataType| cast(values, data_type);
        Ok(match values.data_type() {
            DataType::Timestamp(_, Some(zone)) => {
                let micros = DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::clone(zone)));
                let clocks = Clocks::parse(time_zone)?;
                Self::Moment(as_type(&micros)?.as_primitive().clone(), clocks)
            }
            DataType::Date32 | DataType::Date64 => {
                let dates = as_type(&DataType::Date32)?.as_primitive().clone();
                Self::Date(dates, Clocks::parse(time_zone)?)
            }
            DataType::Time32(_) | DataType::Time64(_) => {
                let times = as_type(&DataType::Time64(TimeUnit::Microsecond))?;
                Self::Time(times.as_primitive().clone())
            }
            DataType::Duration(_) => {
                let durations = as_type(&DataType::Duration(TimeUnit::Microsecond))?;
                Self::Duration(durations.as_primitive().clone())
            }
            DataType::Interval(_) => {
                let intervals = as_type(&DataType::Interval(IntervalUnit::MonthDayNano))?;
                Self::Interval(intervals.as_primitive().clone())
            }
            _ => {
                let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
                Self::Local(as_type(&micros)?.as_primitive().clone())
            }
        })
    }

    /// Returns the parts of a row that is not NULL.
    ///
    /// # Errors
    /// When it is beyond the years that can be calculated with.
    pub(super) fn parts(&self, row: usize) -> Result<Parts> {
        let parts = match self {
            Self::Moment(moments, clocks) => Parts::of_moment(moments.value(row), clocks),
            Self::Local(times) => Some(Parts::of_local(times.value(row))),
            Self::Date(dates, clocks) => {
                let local = i64::from(dates.value(row)) * MICROS_PER_DAY;
                let moment = clocks.moment_of(local);
                moment.and_then(|moment| Parts::of_moment(moment, clocks))
            }
            Self::Time(times) => of_interval(0, times.value(row)),
            Self::Duration(durations) => {
                let micros = durations.value(row);
                of_interval(micros / MICROS_PER_DAY, micros % MICROS_PER_DAY)
            }
            Self::Interval(intervals) => Some(Parts::of_interval(intervals.value(row))),
        };
        parts.ok_or_else(out_of_range)
    }
}

fn of_interval(days: i64, micros: i64) -> Option<Parts> {
    let (days, nanoseconds) = (days.try_into().ok()?, micros.checked_mul(1_000)?);
    Some(Parts::of_interval(IntervalMonthDayNano { months: 0, days, nanoseconds }))
}

fn out_of_range() -> DataFusionError {
    failed("timestamp out of range")
}
