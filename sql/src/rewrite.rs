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
//! x = ANY (ARRAY[…])    x IN (…)
//! x <> ALL (ARRAY[…])   x NOT IN (…)
//! x LIKE y ESCAPE '/'   x LIKE y, with the usual backslash in y
//! mod(x, y), sign(x)    (x) % (y), signum(x)
//! age(x)                age(current_date, x)
//! extract(second FROM x)        saltlake_extract('second', x), for the fields of that function
//! make_interval(days => 3)      make_interval(0, 0, 0, 3, 0, 0, 0)
//! x::json, JSON '…'     saltlake_json(x), and saltlake_jsonb for jsonb
//! FETCH FIRST n ROWS    LIMIT n
//! INTERVAL '1 day 2:03' INTERVAL '1 day 2 hours 03 minutes'
//! ```

use crate::functions::is_extracted;
use crate::parse::PARSER_RECURSION_LIMIT;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CharacterLength, DataType, Expr, Fetch, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, LimitClause, ObjectNamePart, Query, Value, ValueWithSpan, VisitorMut,
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

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<ParserError> {
        fetch_is_limit(query);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<ParserError> {
        if let Expr::Interval(interval) = expr {
            spell_clock(&mut interval.value);
            return ControlFlow::Continue(());
        }
        let spelled = match expr {
            Expr::Function(function) => spelled_function(function),
            Expr::Like { negated, expr, pattern, escape_char: Some(escape), .. } => {
                escaped(expr, *negated, "LIKE", pattern, escape)
            }
            Expr::ILike { negated, expr, pattern, escape_char: Some(escape), .. } => {
                escaped(expr, *negated, "ILIKE", pattern, escape)
            }
            Expr::Cast { expr: text, data_type, .. } => {
                short_text(text, data_type).or_else(|| json(text, data_type))
            }
            Expr::Extract { field, expr, .. } => extracted(&field.to_string(), expr),
            Expr::TypedString(typed) => json(&Expr::Value(typed.value.clone()), &typed.data_type),
            Expr::AtTimeZone { timestamp, time_zone } => {
                Some(format!("timezone({time_zone}, {timestamp})"))
            }
            Expr::AnyOp { left, compare_op, right, .. } => match right.as_ref() {
                Expr::Subquery(query) if *compare_op != BinaryOperator::Eq => {
                    Some(any(&format!("({left}) {compare_op} {QUERY}.{VALUE}"), query))
                }
                right if *compare_op == BinaryOperator::Eq => in_list(left, false, right),
                _ => None,
            },
            Expr::AllOp { left, compare_op, right } => match right.as_ref() {
                Expr::Subquery(query) => Some(all(left, compare_op, query)),
                right if *compare_op == BinaryOperator::NotEq => in_list(left, true, right),
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

/// Spells a comparison with the elements of an array that is written out; an empty one is left to the planner.
fn in_list(left: &Expr, negated: bool, array: &Expr) -> Option<String> {
    let array = match array {
        Expr::Nested(inner) => inner.as_ref(),
        array => array,
    };
    let Expr::Array(array) = array else { return None };
    let elements: Vec<_> = array.elem.iter().map(ToString::to_string).collect();
    let not = if negated { "NOT " } else { "" };
    (!elements.is_empty()).then(|| format!("(({left}) {not}IN ({}))", elements.join(", ")))
}

/// Spells a pattern whose escape is not the backslash: backslashes are doubled, doubled escapes are the character
/// itself, other escapes become backslashes.
fn escaped(
    text: &Expr,
    negated: bool,
    operator: &str,
    pattern: &Expr,
    escape: &ValueWithSpan,
) -> Option<String> {
    let Value::SingleQuotedString(escape) = &escape.value else { return None };
    let not = if negated { "NOT " } else { "" };
    let doubled = format!("replace({pattern}, '\\', '\\\\')");
    let mut characters = escape.chars();
    let pattern = match (characters.next(), characters.next()) {
        (None, _) => doubled,
        (Some('\\'), _) | (_, Some(_)) => return None,
        (Some(escape), None) => {
            let escape = escape.to_string().replace('\'', "''");
            format!(
                "replace(replace(replace({doubled}, '{escape}{escape}', chr(1)), '{escape}', '\\'), \
                 chr(1), '{escape}')"
            )
        }
    };
    Some(format!("(({text}) {not}{operator} {pattern})"))
}

/// Turns `FETCH FIRST n ROWS ONLY` into `LIMIT n`; `WITH TIES` and `PERCENT` are left for the planner to refuse.
fn fetch_is_limit(query: &mut Query) {
    let Some(Fetch { with_ties: false, percent: false, quantity }) = &query.fetch else { return };
    let one = || Expr::Value(Value::Number("1".to_string(), false).into());
    let n_rows = quantity.clone().unwrap_or_else(one);
    match &mut query.limit_clause {
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(n_rows),
                offset: None,
                limit_by: vec![],
            });
        }
        Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = Some(n_rows),
        Some(_) => return,
    }
    query.fetch = None;
}

/// Spells a function the engine knows under another name; `None` for all others.
fn spelled_function(function: &Function) -> Option<String> {
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    match (name.value.to_ascii_lowercase().as_str(), list.args.as_slice()) {
        ("mod", [left, right]) => Some(format!("(({left}) % ({right}))")),
        ("sign", [value]) => Some(format!("signum({value})")),
        ("date_part" | "datepart", [FunctionArg::Unnamed(field), time]) => {
            let field = field.to_string();
            let spelled = extracted(field.strip_prefix('\'')?.strip_suffix('\'')?, time)?;
            Some(format!("CAST({spelled} AS DOUBLE PRECISION)"))
        }
        ("age", [value]) => Some(format!("age(current_date, {value})")),
        ("make_interval", args) => make_interval(args),
        _ => None,
    }
}

/// Spells a field of a time that the engine has not, or cuts.
fn extracted(field: &str, time: impl std::fmt::Display) -> Option<String> {
    is_extracted(field).then(|| format!("saltlake_extract('{}', {time})", field.to_lowercase()))
}

/// Spells the parts of an interval in their places, where some are named or left out.
fn make_interval(args: &[FunctionArg]) -> Option<String> {
    const PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];
    let is_complete = args.len() == PARTS.len();
    let is_named = args.iter().any(|arg| !matches!(arg, FunctionArg::Unnamed(_)));
    if args.len() > PARTS.len() || (is_complete && !is_named) {
        return None;
    }
    let mut values = PARTS.map(|_| "0".to_string());
    for (idx, arg) in args.iter().enumerate() {
        let (name, value) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::BinaryOp {
                left,
                op: BinaryOperator::Assignment,
                right,
            })) => (Some(left.to_string()), right.to_string()),
            FunctionArg::Unnamed(value) => (None, value.to_string()),
            FunctionArg::Named { name, arg, .. } => (Some(name.to_string()), arg.to_string()),
            FunctionArg::ExprNamed { name, arg, .. } => (Some(name.to_string()), arg.to_string()),
        };
        let place = match name {
            Some(name) => PARTS.iter().position(|part| name.eq_ignore_ascii_case(part))?,
            None => idx,
        };
        values[place] = value;
    }
    Some(format!("make_interval({})", values.join(", ")))
}

/// Spells a cast to `json` or `jsonb`, which are texts here.
fn json(text: &Expr, data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::JSON => Some(format!("saltlake_json({text})")),
        DataType::JSONB => Some(format!("saltlake_jsonb({text})")),
        _ => None,
    }
}

/// Spells the clock at the end of an interval, `1 day 02:03:04.5`, in units.
fn spell_clock(interval: &mut Expr) {
    let Expr::Value(value) = interval else { return };
    let Value::SingleQuotedString(text) = &mut value.value else { return };
    let trimmed = text.trim_end();
    let start = trimmed.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let (rest, clock) = trimmed.split_at(start);
    let (sign, digits) = match clock.strip_prefix(['-', '+']) {
        Some(digits) if clock.starts_with('-') => ("-", digits),
        Some(digits) => ("", digits),
        None => ("", clock),
    };
    let parts: Vec<_> = digits.split(':').collect();
    let is_number = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let spelled = match parts.as_slice() {
        [hours, minutes] if is_number(hours) && is_number(minutes) => {
            format!("{rest}{sign}{hours} hours {sign}{minutes} minutes")
        }
        [hours, minutes, seconds]
            if is_number(hours) && is_number(minutes) && seconds.parse::<f64>().is_ok() =>
        {
            format!("{rest}{sign}{hours} hours {sign}{minutes} minutes {sign}{seconds} seconds")
        }
        _ => return,
    };
    *text = spelled;
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
            ("a = ANY (ARRAY[1, b]), a <> ALL (ARRAY[1])", "((a) IN (1, b)), ((a) NOT IN (1))"),
            (
                "a LIKE b ESCAPE '/'",
                r"((a) LIKE replace(replace(replace(replace(b, '\', '\\'), '//', chr(1)), '/', '\'), chr(1), '/'))",
            ),
            ("mod(a, b + 1), sign(c)", "((a) % (b + 1)), signum(c)"),
            (
                "extract(SECOND FROM a), date_part('century', a), extract(year FROM a)",
                "saltlake_extract('second', a), CAST(saltlake_extract('century', a) AS DOUBLE PRECISION), \
                 EXTRACT(YEAR FROM a)",
            ),
            ("age(a), age(a, b)", "age(current_date, a), age(a, b)"),
            (
                "make_interval(days => 3, hours := 4), make_interval(1)",
                "make_interval(0, 0, 0, 3, 4, 0, 0), make_interval(1, 0, 0, 0, 0, 0, 0)",
            ),
            ("a::json, JSONB '{}'", "saltlake_json(a), saltlake_jsonb('{}')"),
            ("a FROM t OFFSET 1 FETCH FIRST ROW ONLY", "a FROM t LIMIT 1 OFFSET 1"),
            (
                "INTERVAL '1 day -02:03:04.5'",
                "INTERVAL '1 day -02 hours -03 minutes -04.5 seconds'",
            ),
        ] {
            let ast = parse(&format!("SELECT {sql}"), Limits::default()).unwrap().remove(0).ast;
            assert_eq!(ast.to_string(), format!("SELECT {expected}"));
        }
    }
}
