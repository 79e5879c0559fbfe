//! `IS DISTINCT FROM` binds tighter than AND, OR and NOT.
//!
//! Called by `parse` for every statement as it was parsed, before anything else is spelled anew. sqlparser reads all that
//! follows `a IS DISTINCT FROM` as its right side, so that `a IS DISTINCT FROM b AND c` would compare `a` with `b AND c`.
//! What was written in parentheses stays together: it is a node of its own.
//!
//! ```text
//! IS DISTINCT                AND
//!   a                          IS DISTINCT
//!   AND             →            a
//!     b                          b
//!     c                        c
//! ```
//!
//! Once it is turned, an OR may be the right side of an AND or below a NOT, which no other text leads to; those turn too.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value, VisitorMut};
use std::convert::Infallible;
use std::mem::replace;
use std::ops::ControlFlow;

/// The visitor that turns expressions.
pub(super) struct IsDistinct;

impl VisitorMut for IsDistinct {
    type Break = Infallible;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        turn(expr);
        ControlFlow::Continue(())
    }
}

/// Lifts what binds less than an expression out of its right side.
fn turn(expr: &mut Expr) {
    let is_and = matches!(expr, Expr::BinaryOp { .. });
    let right = match expr {
        Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right) => right,
        Expr::UnaryOp { op: UnaryOperator::Not, expr: right }
        | Expr::BinaryOp { op: BinaryOperator::And, right, .. } => right,
        _ => return,
    };
    let is_lower = |expr: &Expr| match expr {
        Expr::BinaryOp { op: BinaryOperator::Or, .. } => true,
        Expr::BinaryOp { op: BinaryOperator::And, .. } => !is_and,
        _ => false,
    };
    if !is_lower(right) {
        return;
    }
    let mut lifted = replace(right.as_mut(), nothing());
    let mut first = &mut lifted;
    while is_lower(first) {
        let Expr::BinaryOp { left, .. } = first else { break };
        first = left;
    }
    **right = replace(first, nothing());
    *first = replace(expr, nothing());
    *expr = lifted;
}

/// Stands where an expression was taken out until another takes its place.
fn nothing() -> Expr {
    Expr::Value(Value::Null.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::walk_mut;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    /// An expression with parentheses around all that belongs together.
    fn grouped(expr: &Expr) -> String {
        match expr {
            Expr::BinaryOp { left, op, right } => {
                format!("({} {op} {})", grouped(left), grouped(right))
            }
            Expr::UnaryOp { op, expr } => format!("({op} {})", grouped(expr)),
            Expr::IsDistinctFrom(left, right) => {
                format!("({} <> {})", grouped(left), grouped(right))
            }
            Expr::IsNotDistinctFrom(left, right) => {
                format!("({} == {})", grouped(left), grouped(right))
            }
            Expr::Nested(expr) => grouped(expr),
            other => other.to_string(),
        }
    }

    #[test]
    fn what_binds_less_is_not_its_right_side() {
        for (text, expected) in [
            ("a IS DISTINCT FROM b AND c", "((a <> b) AND c)"),
            ("a IS NOT DISTINCT FROM b OR c AND d", "((a == b) OR (c AND d))"),
            ("p AND a IS DISTINCT FROM b OR c", "((p AND (a <> b)) OR c)"),
            ("p AND a IS DISTINCT FROM b AND c OR d", "((p AND ((a <> b) AND c)) OR d)"),
            ("p OR a IS DISTINCT FROM b AND c", "(p OR ((a <> b) AND c))"),
            ("NOT a IS DISTINCT FROM b AND c OR d", "(((NOT (a <> b)) AND c) OR d)"),
            (
                "a IS DISTINCT FROM b AND c IS DISTINCT FROM d OR e",
                "(((a <> b) AND (c <> d)) OR e)",
            ),
            ("a IS DISTINCT FROM (b AND c) OR d", "((a <> (b AND c)) OR d)"),
            ("p AND (a OR b) AND NOT (c OR d)", "((p AND (a OR b)) AND (NOT (c OR d)))"),
            ("a IS DISTINCT FROM b + 1", "(a <> (b + 1))"),
        ] {
            let dialect = PostgreSqlDialect {};
            let mut parser = Parser::new(&dialect).try_with_sql(text).unwrap();
            let mut expr = parser.parse_expr().unwrap();
            let _ = walk_mut(&mut expr, &mut IsDistinct);
            assert_eq!(grouped(&expr), expected, "{text}");
        }
    }
}
