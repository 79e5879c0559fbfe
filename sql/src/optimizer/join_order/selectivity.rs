//! The share of rows a predicate keeps, from bounds and counts of values; fixed guesses where those say nothing.

use super::facts::{ColumnFacts, Facts, on_a_line};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::expr::{Between, InList, Like};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator, TryCast};
use std::collections::HashMap;

/// A comparison of a column whose bounds are not known.
const RANGE: f64 = 0.3;
/// Equality with a value, where the number of values is not known.
const EQUAL: f64 = 0.05;
/// LIKE with a pattern.
const LIKE: f64 = 0.1;
/// Anything else.
const OTHER: f64 = 0.25;
/// What is kept at least: an estimate of nothing would make everything above it free.
const AT_LEAST: f64 = 1e-6;

/// Returns the share of rows that a predicate over one relation keeps.
pub(super) fn selectivity(predicate: &Expr, facts: &Facts, schema: &DFSchema) -> f64 {
    let mut share = 1.0;
    // Both ends of a range are one condition: their shares do not multiply.
    let mut ranges: HashMap<&Column, (f64, f64)> = HashMap::new();
    for conjunct in split_conjunction(predicate) {
        match range_of(conjunct) {
            Some((column, low, high)) if bounds(column, facts, schema).is_some() => {
                let range = ranges.entry(column).or_insert((f64::NEG_INFINITY, f64::INFINITY));
                *range = (range.0.max(low), range.1.min(high));
            }
            _ => share *= of_conjunct(conjunct, facts, schema),
        }
    }
    for (column, (low, high)) in ranges {
        let Some((min, max)) = bounds(column, facts, schema) else { continue };
        let n_distinct = n_distinct(column, facts, schema).unwrap_or(f64::INFINITY);
        let kept = (high.min(max) - low.max(min)) / (max - min).max(f64::MIN_POSITIVE);
        share *= kept.clamp(0.0, 1.0).max(1.0 / n_distinct);
    }
    share.clamp(AT_LEAST, 1.0)
}

fn of_conjunct(expr: &Expr, facts: &Facts, schema: &DFSchema) -> f64 {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let left = selectivity(left, facts, schema);
            let right = selectivity(right, facts, schema);
            left + right - left * right
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let column = plain(left).or_else(|| plain(right));
            match op {
                Operator::Eq | Operator::IsNotDistinctFrom => equal(column, facts, schema),
                Operator::NotEq | Operator::IsDistinctFrom => 1.0 - equal(column, facts, schema),
                Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => RANGE,
                _ => OTHER,
            }
        }
        Expr::InList(InList { expr, list, negated }) => {
            let share = (equal(plain(expr), facts, schema) * list.len() as f64).min(0.9);
            if *negated { 1.0 - share } else { share }
        }
        Expr::Between(Between { negated, .. }) => {
            if *negated {
                1.0 - RANGE
            } else {
                RANGE
            }
        }
        Expr::Like(Like { negated, .. }) => {
            if *negated {
                1.0 - LIKE
            } else {
                LIKE
            }
        }
        Expr::IsNull(expr) => null_share(expr, facts, schema),
        Expr::IsNotNull(expr) => 1.0 - null_share(expr, facts, schema),
        Expr::Not(expr) => 1.0 - selectivity(expr, facts, schema),
        _ => OTHER,
    }
}

fn equal(column: Option<&Column>, facts: &Facts, schema: &DFSchema) -> f64 {
    column.and_then(|column| n_distinct(column, facts, schema)).map_or(EQUAL, |n| 1.0 / n)
}

fn null_share(expr: &Expr, facts: &Facts, schema: &DFSchema) -> f64 {
    plain(expr).and_then(|column| of_column(column, facts, schema)).map_or(0.0, |c| c.null_share)
}

/// `column < value` and the like as an interval.
fn range_of(expr: &Expr) -> Option<(&Column, f64, f64)> {
    if let Expr::Between(Between { expr, negated: false, low, high }) = expr {
        return Some((plain(expr)?, place(low)?, place(high)?));
    }
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    let (column, op, value) = match (plain(left), plain(right)) {
        (Some(column), None) => (column, *op, place(right)?),
        (None, Some(column)) => (column, op.swap()?, place(left)?),
        _ => return None,
    };
    match op {
        Operator::Lt | Operator::LtEq => Some((column, f64::NEG_INFINITY, value)),
        Operator::Gt | Operator::GtEq => Some((column, value, f64::INFINITY)),
        _ => None,
    }
}

fn place(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Literal(value, _) => on_a_line(value),
        _ => None,
    }
}

/// The column of an expression, through casts.
fn plain(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => plain(expr),
        _ => None,
    }
}

fn of_column<'a>(column: &Column, facts: &'a Facts, schema: &DFSchema) -> Option<&'a ColumnFacts> {
    facts.columns.get(schema.maybe_index_of_column(column)?)
}

fn bounds(column: &Column, facts: &Facts, schema: &DFSchema) -> Option<(f64, f64)> {
    of_column(column, facts, schema)?.bounds.filter(|(min, max)| min < max)
}

fn n_distinct(column: &Column, facts: &Facts, schema: &DFSchema) -> Option<f64> {
    of_column(column, facts, schema)?.n_distinct
}
