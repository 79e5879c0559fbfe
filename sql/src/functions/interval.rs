//! An interval times a number, and divided by one, with PostgreSQL's rule for what does not divide: a part of a month is
//! days of 30 to the month, a part of a day is hours.

use arrow::array::types::{Float64Type, IntervalMonthDayNanoType};
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit};
use arrow::error::ArrowError;
use datafusion::common::{DFSchema, Result, exec_err, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use std::sync::{Arc, LazyLock};

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const DAYS_PER_MONTH: f64 = 30.0;
const SECONDS_PER_DAY: f64 = 86_400.0;
const MICROS_PER_SECOND: f64 = 1e6;

static MULTIPLY: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(ScalarUDF::from(Scale::new("saltlake_interval_multiply"))));
static DIVIDE: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(ScalarUDF::from(Scale::new("saltlake_interval_divide"))));

/// Returns both functions.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::clone(&MULTIPLY), Arc::clone(&DIVIDE)]
}

/// Plans `interval * number`, `number * interval` and `interval / number`, which the engine refuses.
#[derive(Debug)]
pub struct IntervalPlanner;

impl ExprPlanner for IntervalPlanner {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let is_interval =
            |expr: &Expr| expr.get_type(schema).is_ok_and(|ty| matches!(ty, DataType::Interval(_)));
        let is_number =
            |expr: &Expr| expr.get_type(schema).is_ok_and(|data_type| data_type.is_numeric());
        let RawBinaryExpr { op, left, right } = &expr;
        let (function, interval, number) = match op {
            BinaryOperator::Multiply if is_interval(left) && is_number(right) => {
                (&MULTIPLY, left, right)
            }
            BinaryOperator::Multiply if is_number(left) && is_interval(right) => {
                (&MULTIPLY, right, left)
            }
            BinaryOperator::Divide if is_interval(left) && is_number(right) => {
                (&DIVIDE, left, right)
            }
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let args = vec![interval.clone(), number.clone()];
        let call = ScalarFunction::new_udf(Arc::clone(function), args);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

/// One of the functions; the name says which.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Scale {
    name: &'static str,
    signature: Signature,
}

impl Scale {
    fn new(name: &'static str) -> Self {
        Self { name, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn divides(&self) -> bool {
        self.name == DIVIDE.name()
    }
}

impl ScalarUDFImpl for Scale {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [_, _] => Ok(vec![INTERVAL, DataType::Float64]),
            _ => plan_err!("{} takes an interval and a number", self.name),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [intervals, factors] = arrays.as_slice() else {
            return exec_err!("{} was given {} arguments", self.name, arrays.len());
        };
        let intervals = cast(intervals, &INTERVAL)?;
        let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
        let factors = factors.as_primitive::<Float64Type>();
        let scaled = (0..intervals.len()).map(|row| {
            if intervals.is_null(row) || factors.is_null(row) {
                return Ok(None);
            }
            let factor = factors.value(row);
            if self.divides() && factor == 0.0 {
                return Err(ArrowError::DivideByZero.into());
            }
            scale(intervals.value(row), |value| match self.divides() {
                true => value / factor,
                false => value * factor,
            })
            .map(Some)
        });
        let scaled = scaled.collect::<Result<PrimitiveArray<IntervalMonthDayNanoType>>>()?;
        Ok(ColumnarValue::Array(Arc::new(scaled) as ArrayRef))
    }
}

/// PostgreSQL's `interval_mul` and `interval_div`, which differ in `by` alone.
fn scale(interval: IntervalMonthDayNano, by: impl Fn(f64) -> f64) -> Result<IntervalMonthDayNano> {
    let IntervalMonthDayNano { months, days, nanoseconds } = interval;
    let exact_months = by(f64::from(months));
    let exact_days = by(f64::from(days));
    let (whole_months, mut whole_days) = (integer(exact_months)?, integer(exact_days)?);
    let days_of_month = rounded((exact_months - f64::from(whole_months)) * DAYS_PER_MONTH);
    let whole_days_of_month = integer(days_of_month)?;
    let part_of_day =
        exact_days - f64::from(whole_days) + days_of_month - f64::from(whole_days_of_month);
    let mut seconds = rounded(part_of_day * SECONDS_PER_DAY);
    if seconds.abs() >= SECONDS_PER_DAY {
        let cascaded = integer(seconds / SECONDS_PER_DAY)?;
        whole_days = whole_days.checked_add(cascaded).ok_or_else(out_of_range)?;
        seconds -= f64::from(cascaded) * SECONDS_PER_DAY;
    }
    whole_days = whole_days.checked_add(whole_days_of_month).ok_or_else(out_of_range)?;
    let micros = nanoseconds as f64 / 1e3;
    let micros = (by(micros) + seconds * MICROS_PER_SECOND).round_ties_even();
    let nanoseconds = micros * 1e3;
    // The largest float below 2^63 is far from it; what is not below does not fit.
    if nanoseconds.is_nan() || nanoseconds.abs() >= i64::MAX as f64 {
        return Err(out_of_range());
    }
    let nanoseconds = (micros as i64).checked_mul(1_000).ok_or_else(out_of_range)?;
    Ok(IntervalMonthDayNano { months: whole_months, days: whole_days, nanoseconds })
}

/// PostgreSQL's `TSROUND`: to microseconds.
fn rounded(value: f64) -> f64 {
    (value * MICROS_PER_SECOND).round_ties_even() / MICROS_PER_SECOND
}

/// Returns the whole part.
fn integer(value: f64) -> Result<i32> {
    match value.trunc() {
        whole if whole >= f64::from(i32::MIN) && whole <= f64::from(i32::MAX) => Ok(whole as i32),
        _ => Err(out_of_range()),
    }
}

fn out_of_range() -> datafusion::common::DataFusionError {
    ArrowError::ArithmeticOverflow("interval out of range".to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    fn check(from: (i32, i32, i64), by: impl Fn(f64) -> f64, expected: (i32, i32, i64)) {
        let of = |(months, days, nanoseconds)| IntervalMonthDayNano { months, days, nanoseconds };
        assert_eq!(scale(of(from), by).unwrap(), of(expected), "{from:?}");
    }

    #[test]
    fn parts_go_to_the_next_smaller_unit_as_in_postgres() {
        // SELECT interval '1 hour' * 3, interval '1 month' * 1.5, interval '1 day' / 4, interval '1 month' / 3.5
        check((0, 0, HOUR), |v| v * 3.0, (0, 0, 3 * HOUR));
        check((1, 0, 0), |v| v * 1.5, (1, 15, 0));
        check((0, 1, 0), |v| v / 4.0, (0, 0, 6 * HOUR));
        check((1, 0, 0), |v| v / 3.5, (0, 8, 49_371_465_600_000));
        check((1, 1, 0), |v| v * -0.5, (0, -15, -12 * HOUR));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let month = IntervalMonthDayNano { months: 1, days: 0, nanoseconds: 0 };
        assert!(scale(month, |v| v * 1e10).is_err());
        let hour = IntervalMonthDayNano { months: 0, days: 0, nanoseconds: HOUR };
        assert!(scale(hour, |v| v * 1e10).is_err());
        assert!(scale(hour, |v| v * f64::NAN).is_err());
    }
}
