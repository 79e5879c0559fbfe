//! Statements over `pg_catalog`, from PostgreSQL's SQL to what DataFusion plans with the same answer.
//!
//! Clients such as psql write these statements; nobody can change them. Two kinds of rewriting happen, both only to
//! statements that touch the catalog:
//! - spelling: `OPERATOR(pg_catalog.~)`, `COLLATE`, `pg_catalog.text`, `::regclass`, qualified functions, bare names;
//! - subqueries: a join with a table that never has rows (policies, publications, …) has no rows, so such a query is
//!   replaced by its known, empty answer before DataFusion meets expressions that it cannot plan; a correlated scalar
//!   subquery is put under `max`, which changes nothing for the one row it may give.

mod casts;
mod empty;

use super::tables::TABLES;
use datafusion::sql::parser::Statement as Ast;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, Select, SetExpr, TableFactor,
    Value, ValueWithSpan, Visitor, VisitorMut,
};
use saltlake_sql::walk::{walk, walk_mut};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

const PG_CATALOG: &str = "pg_catalog";
/// Names PostgreSQL reads as functions although they have no parentheses.
const BARE_FUNCTIONS: [&str; 4] =
    ["current_schema", "current_database", "current_catalog", "session_user"];

/// Names of all columns that hold OIDs.
static OID_COLUMNS: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    let columns = TABLES.values().flat_map(|table| &table.columns);
    columns.filter(|column| column.is_oid()).map(|column| column.name).collect()
});

/// Names of all columns that hold functions, by name here and by OID in PostgreSQL.
static FUNCTION_COLUMNS: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    let columns = TABLES.values().flat_map(|table| &table.columns);
    columns.filter(|column| column.type_name == "regproc").map(|column| column.name).collect()
});

/// Rewrites a statement in place; returns whether it touches the catalog.
pub fn rewrite(ast: &mut Ast) -> bool {
    match ast {
        Ast::Statement(statement) => {
            let touches = walk(statement.as_ref(), &mut Touches).is_break();
            if touches {
                let _ = walk_mut(statement.as_mut(), &mut Rewriter);
            } else {
                let _ = walk_mut(statement.as_mut(), &mut BareFunctions);
            }
            touches
        }
        Ast::Explain(explain) => rewrite(&mut explain.statement),
        _ => false,
    }
}

/// Breaks at the first sign of the catalog.
struct Touches;

impl Visitor for Touches {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if is_catalog_name(relation) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let found = match expr {
            Expr::Function(function) => is_qualified(&function.name),
            Expr::Cast { data_type, .. } => casts::is_catalog_type(data_type),
            Expr::BinaryOp { op, .. } => matches!(op, BinaryOperator::PGCustomBinaryOperator(_)),
            _ => false,
        };
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Returns the identifiers of a name; `None` when a part is computed.
fn parts(name: &ObjectName) -> Option<Vec<&str>> {
    name.0.iter().map(|part| part.as_ident().map(|ident| ident.value.as_str())).collect()
}

fn is_qualified(name: &ObjectName) -> bool {
    parts(name).is_some_and(|parts| parts.len() > 1 && parts[parts.len() - 2] == PG_CATALOG)
}

/// Returns the table a name means, written with or without its schema.
fn table_of(name: &ObjectName) -> Option<&'static super::tables::Table> {
    let parts = parts(name)?;
    let (last, before) = parts.split_last()?;
    match before.last() {
        None | Some(&PG_CATALOG) => TABLES.get(last.to_ascii_lowercase().as_str()),
        Some(_) => None,
    }
}

fn is_catalog_name(name: &ObjectName) -> bool {
    is_qualified(name) || table_of(name).is_some()
}

/// Turns bare words that PostgreSQL calls as functions into calls, in any statement.
struct BareFunctions;

impl VisitorMut for BareFunctions {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        bare_function(expr);
        ControlFlow::Continue(())
    }
}

fn bare_function(expr: &mut Expr) {
    match expr {
        Expr::Identifier(ident) if ident.quote_style.is_none() => {
            let name = ident.value.to_ascii_lowercase();
            if BARE_FUNCTIONS.contains(&name.as_str()) {
                *expr = call(&name, Vec::new());
            }
        }
        Expr::Function(function) => {
            let name = parts(&function.name).and_then(|parts| parts.last().copied());
            let is_session = name.is_some_and(|name| {
                let name = name.to_ascii_lowercase();
                BARE_FUNCTIONS.contains(&name.as_str())
                    || matches!(name.as_str(), "current_user" | "current_role" | "user")
            });
            if is_session && matches!(function.args, FunctionArguments::None) {
                function.args = arguments(Vec::new());
            }
        }
        _ => {}
    }
}

/// Rewrites bottom up, so an outer rule sees inner parts that are already plain.
struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        if relation.0.len() == 1 && table_of(relation).is_some() {
            relation.0.insert(0, ObjectNamePart::Identifier(Ident::new(PG_CATALOG)));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        // A table function is looked up without a schema.
        if let TableFactor::Table { name, args: Some(_), .. } = factor
            && is_qualified(name)
        {
            name.0.drain(..name.0.len() - 1);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        empty::replace(select);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        // Without rows there is no order, and its expressions may name what is gone.
        if empty::is_empty(query) {
            query.order_by = None;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(null) = empty::of_missing_type(expr) {
            *expr = null;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        bare_function(expr);
        match expr {
            Expr::Collate { expr: inner, .. } => *expr = std::mem::replace(inner, null()),
            Expr::BinaryOp { left, op, right } => binary(left, op, right),
            Expr::InList { expr: tested, list, .. } if is_oid_column(tested) => {
                list.iter_mut().for_each(number);
            }
            Expr::Function(function) => {
                if let Some(replacement) = function_call(function) {
                    *expr = replacement;
                }
            }
            Expr::Cast { .. } => casts::rewrite(expr),
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => subquery(expr),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn null() -> Expr {
    Expr::Value(ValueWithSpan::from(Value::Null))
}

fn boolean(value: bool) -> Expr {
    Expr::Value(ValueWithSpan::from(Value::Boolean(value)))
}

/// Builds a call of one of our functions.
fn call(name: &str, values: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: arguments(values),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn arguments(values: Vec<Expr>) -> FunctionArguments {
    let args = values.into_iter().map(|value| FunctionArg::Unnamed(FunctionArgExpr::Expr(value)));
    FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment: None,
        args: args.collect(),
        clauses: Vec::new(),
    })
}

/// Returns the text of a string literal.
fn string_literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        Expr::Nested(inner) => string_literal(inner),
        _ => None,
    }
}

/// Turns `'16386'` into `16386`: clients quote OIDs, and text beside a number would compare as text.
fn number(expr: &mut Expr) {
    let digits = string_literal(expr).filter(|text| text.parse::<u32>().is_ok());
    if let Some(digits) = digits.map(str::to_string) {
        *expr = Expr::Value(ValueWithSpan::from(Value::Number(digits, false)));
    }
}

fn is_oid_column(expr: &Expr) -> bool {
    column_name(expr).is_some_and(|name| OID_COLUMNS.contains(name.as_str()))
}

fn is_function_column(expr: &Expr) -> bool {
    column_name(expr).is_some_and(|name| FUNCTION_COLUMNS.contains(name.as_str()))
}

fn column_name(expr: &Expr) -> Option<String> {
    let name = match expr {
        Expr::Identifier(ident) => ident,
        Expr::CompoundIdentifier(idents) => idents.last()?,
        _ => return None,
    };
    Some(name.value.to_ascii_lowercase())
}

/// Turns the OID 0 into what `regproc` prints for it.
fn no_function(expr: &mut Expr) {
    let is_zero = matches!(expr, Expr::Value(value)
        if matches!(&value.value, Value::Number(digits, _) if digits == "0"));
    if is_zero {
        *expr = Expr::Value(ValueWithSpan::from(Value::SingleQuotedString("-".to_string())));
    }
}

fn binary(left: &mut Expr, op: &mut BinaryOperator, right: &mut Expr) {
    if let BinaryOperator::PGCustomBinaryOperator(name) = op
        && let Some(plain) = name.last().and_then(|name| operator(name))
    {
        *op = plain;
    }
    if is_oid_column(left) {
        number(right);
    } else if is_oid_column(right) {
        number(left);
    } else if is_function_column(left) {
        no_function(right);
    } else if is_function_column(right) {
        no_function(left);
    }
}

fn operator(name: &str) -> Option<BinaryOperator> {
    Some(match name {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "~~*" => BinaryOperator::PGILikeMatch,
        "!~~*" => BinaryOperator::PGNotILikeMatch,
        "=" => BinaryOperator::Eq,
        "<>" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "||" => BinaryOperator::StringConcat,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        "*" => BinaryOperator::Multiply,
        "/" => BinaryOperator::Divide,
        _ => return None,
    })
}

/// Drops the schema of a function's name; `ARRAY(SELECT …)` becomes an aggregate.
fn function_call(function: &mut Function) -> Option<Expr> {
    if is_qualified(&function.name) {
        function.name.0.drain(..function.name.0.len() - 1);
    }
    let FunctionArguments::Subquery(query) = &mut function.args else { return None };
    let is_array = parts(&function.name).is_some_and(|name| name[0].eq_ignore_ascii_case("array"));
    if !is_array {
        return None;
    }
    if empty::is_empty(query) {
        return Some(call("empty_text_array", Vec::new()));
    }
    // The order inside matters little to catalog clients; an aggregate takes it over only where it is planned.
    query.order_by = None;
    empty::aggregate(query, "array_agg")
        .then(|| Expr::Subquery(std::mem::replace(query, empty::no_query())))
}

fn subquery(expr: &mut Expr) {
    match expr {
        Expr::Subquery(query) => match empty::is_empty(query) {
            true => *expr = empty::only_column(query).unwrap_or_else(null),
            false => {
                empty::aggregate(query, "max");
            }
        },
        Expr::Exists { subquery, negated } if empty::is_empty(subquery) => {
            *expr = boolean(*negated);
        }
        Expr::InSubquery { subquery, negated, .. } if empty::is_empty(subquery) => {
            *expr = boolean(*negated);
        }
        _ => {}
    }
}

/// Returns the select of a query that is nothing else.
fn select_of(query: &Query) -> Option<&Select> {
    match query.body.as_ref() {
        SetExpr::Select(select) if query.with.is_none() => Some(select),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
