//! Aggregates that can be computed in two steps: what the first computes, and what puts it together.
//!
//! For the passes that put a step before an aggregation ([`super::pregroup`], [`super::distinct_groups`]).
//!
//! ```text
//! count(y)   →   count(y) AS p      then sum(p), no rows are 0
//! avg(d)     →   sum(d) AS p, count(d) AS q      then sum(p) / sum(q)
//! ```
//!
//! Limit: a sum of floats is added up in another order, as every parallel sum is.

use crate::functions::quotient::quotient;
use crate::functions::sum;
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams, Case};
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Cast, Expr, ExprSchemable, cast, lit, when,
};
use std::sync::Arc;

/// Any whole number of 64 bits, in a type in which sums of sums of it fit.
const WIDE: DataType = DataType::Decimal128(20, 0);

/// What the first step computes, and what puts it together in the second.
#[derive(Default)]
pub(super) struct Parts {
    first: Vec<Expr>,
    second: Vec<Arc<AggregateUDF>>,
}

impl Parts {
    /// Adds a part, unless it is there already. Returns its position.
    fn add(&mut self, first: Expr, second: Arc<AggregateUDF>) -> usize {
        let known = self.first.iter().zip(&self.second);
        let known = known.enumerate().find(|(_, (f, s))| **f == first && **s == second);
        if let Some((position, _)) = known {
            return position;
        }
        self.first.push(first);
        self.second.push(second);
        self.first.len() - 1
    }

    /// Returns what the first step computes, under names of its own: `sum(x)` and `sum(CAST(x AS …))` are called the
    /// same.
    pub(super) fn first(&self) -> Vec<Expr> {
        let named = self.first.iter().cloned().enumerate();
        named.map(|(i, part)| part.alias(format!("__part_{i}"))).collect()
    }

    /// Returns what the second step computes over the columns of the first, in the rows of a filter.
    pub(super) fn second(&self, columns: &[Expr], filter: Option<&Expr>) -> Vec<Expr> {
        let filter = || filter.cloned().map(Box::new);
        let seconds = self.second.iter().zip(columns);
        seconds.map(|(func, part)| call(Arc::clone(func), vec![part.clone()], filter())).collect()
    }
}

/// How a result is made of the parts at these positions.
pub(super) enum Value {
    /// The part itself.
    Plain(usize),
    /// A count: no rows are 0.
    Count(usize),
    /// A sum over a count.
    Average(usize, usize),
}

impl Value {
    /// Returns the result as an expression over the columns of the second step.
    ///
    /// # Errors
    /// When a column has no type, which would be our mistake.
    pub(super) fn value(self, parts: &[Expr], to: &DataType, plan: &Aggregate) -> Result<Expr> {
        let of_type = |expr: Expr, data_type: &DataType| {
            let is_same = expr.get_type(&plan.schema)? == *data_type;
            Ok::<_, DataFusionError>(match is_same {
                true => expr,
                false => cast(expr, data_type.clone()),
            })
        };
        Ok(match self {
            Self::Plain(part) => of_type(parts[part].clone(), to)?,
            Self::Count(part) => {
                let count = of_type(parts[part].clone(), to)?;
                let none = lit(ScalarValue::new_zero(to)?);
                when(count.clone().is_not_null(), count).otherwise(none)?
            }
            Self::Average(sum, count) if *to == DataType::Float64 => {
                parts[sum].clone() / cast(parts[count].clone(), DataType::Float64)
            }
            Self::Average(sum, count) => {
                let like = lit(ScalarValue::try_from(to)?);
                let count = of_type(parts[count].clone(), &DataType::Int64)?;
                quotient().call(vec![parts[sum].clone(), count, like])
            }
        })
    }
}

/// Splits one aggregate without DISTINCT into parts; `None` when it has none.
///
/// # Errors
/// When an argument has no type, which would be our mistake.
pub(super) fn split(expr: &Expr, schema: &DFSchema, parts: &mut Parts) -> Result<Option<Value>> {
    let expr = expr.clone().unalias();
    let Expr::AggregateFunction(AggregateFunction { func, params }) = &expr else {
        return Ok(None);
    };
    let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } = params;
    if *distinct || !order_by.is_empty() || null_treatment.is_some() || expr.is_volatile() {
        return Ok(None);
    }
    Ok(match (func.name(), args.as_slice()) {
        ("min" | "max" | "bool_and" | "bool_or" | "bit_and" | "bit_or", [_]) => {
            Some(Value::Plain(parts.add(expr.clone(), Arc::clone(func))))
        }
        ("sum", [value]) => match value.get_type(schema)? {
            // A part may be larger than the sum, and must not fail where the sum fits.
            _ if may_leave_bigint(value, schema)? => {
                let part = call(sum(), vec![cast(value.clone(), WIDE)], filter.clone());
                Some(Value::Plain(parts.add(part, sum())))
            }
            data_type if is_number(&data_type) => {
                Some(Value::Plain(parts.add(expr.clone(), Arc::clone(func))))
            }
            _ => None,
        },
        ("count", _) => Some(Value::Count(parts.add(expr.clone(), sum()))),
        ("avg", [value]) if has_average_of_parts(&value.get_type(schema)?) => {
            let part = |func: Arc<AggregateUDF>| call(func, args.clone(), filter.clone());
            let total = parts.add(part(sum()), sum());
            Some(Value::Average(total, parts.add(part(count_udaf()), sum())))
        }
        _ => None,
    })
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_floating() || data_type.is_decimal()
}

fn is_wide(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int64 | DataType::UInt64)
}

fn has_average_of_parts(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float64 => true,
        // The sum of more digits would not fit.
        DataType::Decimal128(precision, scale) => *precision <= 28 && *scale <= 24,
        _ => false,
    }
}

/// Returns whether a sum of these values, whole numbers, or a part of it may be too large for a `bigint`.
///
/// # Errors
/// When the value has no type, which would be our mistake.
pub(super) fn may_leave_bigint(value: &Expr, schema: &DFSchema) -> Result<bool> {
    Ok(is_wide(&value.get_type(schema)?) && !is_small(value, schema)?)
}

/// Returns whether a whole number has 32 bits at most, so that no table has enough rows for a sum that does not fit.
fn is_small(value: &Expr, schema: &DFSchema) -> Result<bool> {
    Ok(match value {
        Expr::Literal(ScalarValue::Int64(number), _) => {
            number.is_none_or(|number| i32::try_from(number).is_ok())
        }
        Expr::Cast(Cast { expr, .. }) => {
            let from = expr.get_type(schema)?;
            from == DataType::Boolean || (from.is_integer() && !is_wide(&from))
        }
        Expr::Case(Case { when_then_expr, else_expr, .. }) => {
            let results = when_then_expr.iter().map(|(_, then)| then).chain(else_expr);
            let mut is_small_case = true;
            for result in results {
                is_small_case = is_small_case && is_small(result, schema)?;
            }
            is_small_case
        }
        _ => false,
    })
}

/// The sum that workers know by this name.
fn sum() -> Arc<AggregateUDF> {
    Arc::new(sum::exact())
}

/// Returns an aggregate without DISTINCT and order.
pub(super) fn call(func: Arc<AggregateUDF>, args: Vec<Expr>, filter: Option<Box<Expr>>) -> Expr {
    Expr::AggregateFunction(AggregateFunction::new_udf(func, args, false, filter, vec![], None))
}
