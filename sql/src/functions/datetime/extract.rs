//! Fields of `extract` and `date_part` that the engine has not, or cuts: seconds have their fraction.
//!
//! A statement that asks for one of them is spelled with this function; all other fields are the engine's.

use super::Parts;
use super::civil::{days_of, julian};
use super::times::Times;
use crate::functions::given::{Call, calculated, is_text, no_function};
use arrow::array::types::{Decimal128Type, Int64Type};
use arrow::array::{Array, ArrayRef, PrimitiveArray};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{Result, not_impl_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

/// Digits of a number of seconds or milliseconds.
const PRECISION: u8 = 18;
/// Digits behind the point, down to a microsecond.
const SECONDS_SCALE: i8 = 6;
const MILLIS_SCALE: i8 = 3;

/// Returns whether a field is taken out by this function.
pub(crate) fn is_extracted(field: &str) -> bool {
    Unit::parse(field).is_some()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Second,
    Millisecond,
    Decade,
    Century,
    Millennium,
    Julian,
    Zone,
    ZoneHour,
    ZoneMinute,
}

impl Unit {
    fn parse(field: &str) -> Option<Self> {
        Some(match field.to_ascii_lowercase().as_str() {
            "second" | "seconds" | "sec" | "secs" => Self::Second,
            "millisecond" | "milliseconds" | "msec" | "msecs" | "ms" => Self::Millisecond,
            "decade" | "decades" => Self::Decade,
            "century" | "centuries" => Self::Century,
            "millennium" | "millenniums" | "millennia" => Self::Millennium,
            "julian" => Self::Julian,
            "timezone" => Self::Zone,
            "timezone_hour" => Self::ZoneHour,
            "timezone_minute" => Self::ZoneMinute,
            _ => return None,
        })
    }

    fn result(self) -> DataType {
        match self {
            Self::Second => DataType::Decimal128(PRECISION, SECONDS_SCALE),
            Self::Millisecond => DataType::Decimal128(PRECISION, MILLIS_SCALE),
            _ => DataType::Int64,
        }
    }

    /// Returns the field's value: a whole number, or one of microseconds.
    fn of(self, time: &Parts) -> i64 {
        let seconds_east = time.zone.as_ref().map_or(0, |zone| zone.seconds_east);
        match self {
            Self::Second | Self::Millisecond => time.second * super::MICROS_PER_SECOND + time.micro,
            Self::Decade => years(time, 10, 0),
            Self::Century => years(time, 100, 1),
            Self::Millennium => years(time, 1_000, 1),
            Self::Julian => julian(days_of(time.year, time.month, time.day)),
            Self::Zone => seconds_east,
            Self::ZoneHour => seconds_east / 3_600,
            Self::ZoneMinute => seconds_east % 3_600 / 60,
        }
    }
}

/// Counts years in tens, hundreds or thousands, of which the first begins with year `first`.
fn years(time: &Parts, length: i64, first: i64) -> i64 {
    match time.year {
        year if time.is_interval => year / length,
        year if year >= first => (year + length * first - first) / length,
        // There is no year 0: before Christ they are counted from -1.
        year => (year - length + 1 - first) / length,
    }
}

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Extract {
    signature: Signature,
}

impl Default for Extract {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Stable) }
    }
}

impl ScalarUDFImpl for Extract {
    fn name(&self) -> &str {
        "saltlake_extract"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [field, time] if is_text(field) && time.is_temporal() => {
                Ok(vec![DataType::Utf8, time.clone()])
            }
            [field, time] if is_text(field) && is_text(time) => {
                Ok(vec![DataType::Utf8, DataType::Timestamp(TimeUnit::Microsecond, None)])
            }
            [_, time] => no_function("extract", std::slice::from_ref(time)),
            _ => no_function("extract", types),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        plan_err!("the type of extract depends on its field")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = args.scalar_arguments[0].and_then(|field| field.try_as_str().flatten());
        let Some(unit) = field.and_then(Unit::parse) else {
            return plan_err!("extract takes the name of a field");
        };
        let time = args.arg_fields[1].data_type();
        let is_zoned = matches!(time, DataType::Timestamp(_, Some(_)));
        let is_known = match unit {
            Unit::Zone | Unit::ZoneHour | Unit::ZoneMinute => is_zoned,
            Unit::Julian => matches!(time, DataType::Date32 | DataType::Date64),
            Unit::Decade | Unit::Century | Unit::Millennium => {
                !matches!(time, DataType::Time32(_) | DataType::Time64(_))
            }
            Unit::Second | Unit::Millisecond => true,
        };
        if !is_known {
            return not_impl_err!("unit \"{}\" not supported for type {time}", field.unwrap_or(""));
        }
        Ok(Arc::new(Field::new(self.name(), unit.result(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let field = match args.args.first() {
            Some(ColumnarValue::Scalar(field)) => field.try_as_str().flatten(),
            _ => None,
        };
        let Some(unit) = field.and_then(Unit::parse) else {
            return plan_err!("extract takes the name of a field");
        };
        let time_zone = args.config_options.execution.time_zone.clone();
        let call = Call {
            time_zone: time_zone.as_deref().unwrap_or("UTC"),
            result: args.return_field.data_type(),
            n_rows: args.number_rows,
        };
        calculated(&args.args[1..], call, |arrays, call| run(unit, &arrays[0], call))
    }
}

fn run(unit: Unit, values: &ArrayRef, call: &Call<'_>) -> Result<ArrayRef> {
    let times = Times::new(values, call.time_zone)?;
    let parts = (0..values.len()).map(|row| match values.is_null(row) {
        true => Ok(None),
        false => times.parts(row).map(|time| Some(unit.of(&time))),
    });
    Ok(match call.result {
        DataType::Int64 => Arc::new(parts.collect::<Result<PrimitiveArray<Int64Type>>>()?),
        decimal => {
            let parts = parts.map(|part| part.map(|part| part.map(i128::from)));
            let array = parts.collect::<Result<PrimitiveArray<Decimal128Type>>>()?;
            Arc::new(array.with_data_type(decimal.clone()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(unit: Unit, year: i64) -> i64 {
        unit.of(&Parts { year, ..Parts::of_local(0) })
    }

    #[test]
    fn centuries_begin_with_their_first_year() {
        // SELECT extract(century FROM …) of years 2001, 2000, 1, 1 BC, 100 BC, 101 BC
        let years = [2001, 2000, 1, 0, -99, -100];
        assert_eq!(years.map(|year| of(Unit::Century, year)), [21, 20, 1, -1, -1, -2]);
        assert_eq!(years.map(|year| of(Unit::Millennium, year)), [3, 2, 1, -1, -1, -1]);
        assert_eq!(
            [2009, 2010, 9, 0, -1, -9, -10].map(|year| of(Unit::Decade, year)),
            [200, 201, 0, 0, -1, -1, -1]
        );
    }
}
