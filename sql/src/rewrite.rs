//! Says in other words what the planner would get wrong.
//!
//! Called by `parse` for every statement, before it is planned. The one idea: where DataFusion 55 plans an expression to
//! something else than PostgreSQL does, the expression is spelled so that both agree. Columns get the names of the new
//! spelling unless they have an alias.
//!
//! ```text
//! x::varchar(3)         left(x::varchar, 3)
//! x::char(3)            rtrim(left(x::varchar, 3), ' ')
//! x AT TIME ZONE z      timezone(z, x)
//! x < ANY (q)           EXISTS (… q WHERE x < c) OR (NULL AND EXISTS (… q WHERE (x < c) IS NULL)), where c is a
//!                       name that no column of x can have
//! x <> ALL (q)          x NOT IN (q)
//! x < ALL (q)           NOT (… ANY …) of the opposite
//! ```

use crate::parse::PARSER_RECURSION_LIMIT;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CharacterLength, DataType, Expr, Query, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use std::ops::ControlFlow;

/// The query of a comparison, and its column, inside EXISTS. Names of the left side are looked up there too, so neither
/// may be one that a user writes.
const QUERY: &str = "__saltlake_query";
const VALUE: &str = "__saltlake_value";

/// The visitor that spells expressions anew.
pub(crate) struct Rewrite<'a> {
    /// The dialect of the statement.
    pub dialect: &'a dyn Dialect,
}

impl VisitorMut for Rewrite<'_> {
    type Break = ParserError;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<ParserError> {
        let spelled = match expr {
            Expr::Cast { expr: text, data_type, .. } => short_text(text, data_type),
            Expr::AtTimeZone { timestamp, time_zone } => {
                Some(format!("timezone({time_zone}, {timestamp})"))
            }
            Expr::AnyOp { left, compare_op, right, .. } => match right.as_ref() {
                Expr::Subquery(query) if *compare_op != BinaryOperator::Eq => {
                    Some(any(&format!("({left}) {compare_op} {QUERY}.{VALUE}"), query))
                }
                _ => None,
            },
            Expr::AllOp { left, compare_op, right } => match right.as_ref() {
                Expr::Subquery(query) => Some(all(left, compare_op, query)),
                _ => None,
            },
            _ => None,
        };
        let Some(spelled) = spelled else { return ControlFlow::Continue(()) };
        let parsed = Parser::new(self.dialect)
            .with_recursion_limit(PARSER_RECURSION_LIMIT)
            .try_with_sql(&spelled)
            .and_then(|mut parser| parser.parse_expr());
        match parsed {
            Ok(parsed) => {
                *expr = parsed;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// Spells a cast to a text type with a length; `None` for other types.
fn short_text(text: &Expr, data_type: &DataType) -> Option<String> {
    let (length, is_padded) = match data_type {
        DataType::Varchar(length)
        | DataType::CharacterVarying(length)
        | DataType::CharVarying(length) => (length.as_ref()?, false),
        DataType::Char(length) | DataType::Character(length) => (length.as_ref()?, true),
        _ => return None,
    };
    let CharacterLength::IntegerLength { length, .. } = length else { return None };
    Some(match is_padded {
        false => format!("left(CAST({text} AS VARCHAR), {length})"),
        // The spaces that fill up char(n) do not count; we do not keep them.
        true => format!("rtrim(left(CAST({text} AS VARCHAR), {length}), ' ')"),
    })
}

/// Says whether a condition on [`VALUE`] holds for any row of a query: true, else NULL when it is NULL for one.
fn any(condition: &str, query: &Query) -> String {
    let exists = |condition: &str| {
        format!("EXISTS (SELECT 1 FROM ({query}) AS {QUERY} ({VALUE}) WHERE {condition})")
    };
    let (is_true, is_null) = (exists(condition), exists(&format!("({condition}) IS NULL")));
    format!("({is_true} OR (NULL AND {is_null}))")
}

/// Spells a comparison with all rows of a query: there is none for which it does not hold.
fn all(left: &Expr, op: &BinaryOperator, query: &Query) -> String {
    match op {
        BinaryOperator::NotEq => format!("(({left}) NOT IN ({query}))"),
        op => format!("(NOT {})", any(&format!("NOT (({left}) {op} {QUERY}.{VALUE})"), query)),
    }
}

#[cfg(test)]
mod tests {
    use crate::parse::{Limits, parse};

    #[test]
    fn what_the_planner_gets_wrong_is_spelled_anew() {
        for (sql, expected) in [
            ("a::varchar(3)", "left(CAST(a AS VARCHAR), 3)"),
            ("CAST(a AS char(2)) || b", "rtrim(left(CAST(a AS VARCHAR), 2), ' ') || b"),
            ("a::varchar", "a::VARCHAR"),
            ("t AT TIME ZONE 'UTC'", "timezone('UTC', t)"),
            ("a <> ALL (SELECT b FROM q)", "((a) NOT IN (SELECT b FROM q))"),
            ("a = ANY (SELECT b FROM q)", "a = ANY(SELECT b FROM q)"),
        ] {
            let ast = parse(&format!("SELECT {sql}"), Limits::default()).unwrap().remove(0).ast;
            assert_eq!(ast.to_string(), format!("SELECT {expected}"));
        }
    }
}
