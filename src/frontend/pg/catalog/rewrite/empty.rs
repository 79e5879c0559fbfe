//! Selects that join a table which never has rows: their answer is known to be empty.
//!
//! Such a select keeps its column names, with `WHERE false` and no tables. Selects that aggregate without groups are left
//! alone, because an aggregate has a row even over nothing.

use super::super::rows::FILLED;
use super::super::tables::{TABLES, Table};
use super::super::typed_null;
use super::{boolean, call, null, parts, select_of, string_literal, table_of};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CaseWhen, CastKind, DataType, Expr, FunctionArg,
    FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, JoinOperator, ObjectName, Query,
    Select, SelectItem, SetExpr, TableFactor, TableWithJoins, Value,
};

/// Aggregates that catalog statements use.
const AGGREGATES: [&str; 9] =
    ["count", "max", "min", "sum", "avg", "string_agg", "array_agg", "bool_or", "bool_and"];

/// Kinds of types that `pg_type` holds: base types and pseudo-types.
const TYPE_KINDS: [&str; 2] = ["b", "p"];

/// Replaces a select that has no rows by its columns and nothing else.
pub(super) fn replace(select: &mut Select) {
    let has_rows = !select.from.iter().any(is_empty_source);
    let has_total = is_aggregated(select) && !has_plain_groups(select);
    if has_rows || has_total || has_wildcard(select) {
        return;
    }
    let tables: Vec<&Table> = select.from.iter().flat_map(tables_of).collect();
    let mut names = Vec::new();
    for item in &mut select.projection {
        let (expr, name) = match item {
            SelectItem::ExprWithAlias { expr, alias } => (expr, alias.clone()),
            SelectItem::UnnamedExpr(expr) => {
                let name = output_name(expr);
                (expr, Ident::with_quote('"', name))
            }
            _ => continue,
        };
        let alias = unique(name, &mut names);
        // A bare NULL takes the type of what a UNION puts it under.
        let expr = match is_null(expr) {
            true => null(),
            false => typed_null(data_type(expr, &tables)),
        };
        *item = SelectItem::ExprWithAlias { expr, alias };
    }
    select.from.clear();
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    select.having = None;
    select.distinct = None;
    select.selection = Some(boolean(false));
}

/// Returns whether a query was replaced.
pub(super) fn is_empty(query: &Query) -> bool {
    match query.body.as_ref() {
        SetExpr::Select(select) => {
            select.from.is_empty()
                && !is_aggregated(select)
                && matches!(&select.selection, Some(Expr::Value(value))
                    if value.value == Value::Boolean(false))
        }
        SetExpr::Query(query) => is_empty(query),
        _ => false,
    }
}

/// Returns the only column of a replaced query: a null of its type.
pub(super) fn only_column(query: &Query) -> Option<Expr> {
    match select_of(query)?.projection.as_slice() {
        [SelectItem::ExprWithAlias { expr, .. }] => Some(expr.clone()),
        _ => None,
    }
}

/// Puts the only column of a plain query under an aggregate; returns whether it did.
pub(super) fn aggregate(query: &mut Query, function: &str) -> bool {
    let SetExpr::Select(select) = query.body.as_mut() else { return false };
    let is_plain = query.with.is_none()
        && query.limit_clause.is_none()
        && select.distinct.is_none()
        && !select.from.is_empty()
        && !is_aggregated(select);
    if !is_plain {
        return false;
    }
    match select.projection.as_mut_slice() {
        [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] => {
            let value = std::mem::replace(expr, null());
            *expr = call(function, vec![value]);
            query.order_by = None;
            true
        }
        _ => false,
    }
}

/// A query to leave where one was taken out.
pub(super) fn no_query() -> Box<Query> {
    Box::new(Query {
        with: None,
        body: Box::new(SetExpr::Values(datafusion::sql::sqlparser::ast::Values {
            explicit_row: false,
            value_keyword: false,
            rows: Vec::new(),
        })),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    })
}

/// Inner joins with nothing give nothing; so does a left join that starts with nothing.
fn is_empty_source(source: &TableWithJoins) -> bool {
    let joins_empty = source.joins.iter().any(|join| {
        let inner = matches!(
            join.join_operator,
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_)
        );
        inner && is_empty_factor(&join.relation)
    });
    let keeps_left = source.joins.iter().all(|join| {
        !matches!(
            join.join_operator,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
        )
    });
    keeps_left && (joins_empty || is_empty_factor(&source.relation))
}

fn is_empty_factor(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => {
            table_of(name).is_some_and(|table| !FILLED.contains(&table.name))
        }
        TableFactor::Table { name, args: Some(args), .. } => {
            let is_unnest = parts(name).is_some_and(|parts| parts.last() == Some(&"unnest"));
            is_unnest && args.args.iter().all(is_empty_array)
        }
        TableFactor::UNNEST { array_exprs, .. } => array_exprs.iter().all(is_catalog_array),
        TableFactor::Derived { subquery, .. } => is_empty(subquery),
        _ => false,
    }
}

fn is_empty_array(argument: &FunctionArg) -> bool {
    matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if is_catalog_array(expr))
}

/// No array column of the catalog holds anything in a lake: options and privileges do not exist.
fn is_catalog_array(expr: &Expr) -> bool {
    column_name(expr).is_some_and(|name| {
        let columns = TABLES.values().flat_map(|table| &table.columns);
        columns.filter(|column| column.is_array()).any(|column| column.name == name)
    })
}

fn column_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(ident) => Some(&ident.value),
        Expr::CompoundIdentifier(idents) => idents.last().map(|ident| ident.value.as_str()),
        _ => None,
    }
}

fn tables_of(source: &TableWithJoins) -> Vec<&'static Table> {
    let factors = std::iter::once(&source.relation).chain(source.joins.iter().map(|j| &j.relation));
    factors
        .filter_map(|factor| match factor {
            TableFactor::Table { name, .. } => table_of(name),
            _ => None,
        })
        .collect()
}

fn is_aggregated(select: &Select) -> bool {
    let has_groups = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(expressions, _) => !expressions.is_empty(),
    };
    has_groups
        || select.having.is_some()
        || select.projection.iter().any(|item| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                is_aggregate(expr)
            }
            _ => false,
        })
}

/// Returns whether every row of a select is one of a group: there is none without rows, and no total of all.
fn has_plain_groups(select: &Select) -> bool {
    let is_set =
        |expr: &Expr| matches!(expr, Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_));
    matches!(&select.group_by, GroupByExpr::Expressions(groups, modifiers)
        if !groups.is_empty() && modifiers.is_empty() && !groups.iter().any(is_set))
}

/// Looks at the outermost call only: an aggregate deeper down belongs to a subquery or is left to DataFusion.
fn is_aggregate(expr: &Expr) -> bool {
    match expr {
        Expr::Function(function) => parts(&function.name)
            .and_then(|parts| parts.last().map(|name| name.to_ascii_lowercase()))
            .is_some_and(|name| AGGREGATES.contains(&name.as_str())),
        Expr::Nested(inner) => is_aggregate(inner),
        Expr::Cast { expr: inner, .. } => is_aggregate(inner),
        _ => false,
    }
}

fn has_wildcard(select: &Select) -> bool {
    select
        .projection
        .iter()
        .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(_, _)))
}

/// PostgreSQL's rule for a column without an alias.
fn output_name(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
            column_name(expr).unwrap_or("?column?").to_string()
        }
        Expr::Function(function) => parts(&function.name)
            .and_then(|parts| parts.last().map(|name| (*name).to_string()))
            .unwrap_or_else(|| "?column?".to_string()),
        Expr::Cast { expr, .. } => output_name(expr),
        Expr::Case { .. } => "case".to_string(),
        _ => "?column?".to_string(),
    }
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if value.value == Value::Null)
}

/// DataFusion wants every output name once.
fn unique(name: Ident, names: &mut Vec<String>) -> Ident {
    let mut value = name.value;
    while names.contains(&value) {
        value.push('_');
    }
    names.push(value.clone());
    Ident::with_quote('"', value)
}

/// A NULL of a column's type; a cast would only tell Arrow's type.
fn typed_null(data_type: DataType) -> Expr {
    if is_named(&data_type) {
        let name = Value::SingleQuotedString(data_type.to_string());
        return call(typed_null::NAME, vec![Expr::Value(name.into())]);
    }
    let kind = CastKind::Cast;
    Expr::Cast { kind, expr: Box::new(null()), data_type, array: false, format: None }
}

/// Returns whether a type is one that [`data_type`] calls by PostgreSQL's name.
fn is_named(data_type: &DataType) -> bool {
    match data_type {
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => is_named(element),
        data_type => matches!(data_type, DataType::Custom(..)),
    }
}

/// Returns what an `array_agg` collects.
fn aggregated_into_array(expr: &Expr) -> Option<&Expr> {
    let Expr::Function(function) = expr else { return None };
    let name = parts(&function.name)?.last().copied()?;
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(element))] => {
            name.eq_ignore_ascii_case("array_agg").then_some(element)
        }
        _ => None,
    }
}

/// Returns the NULL that stands for a subquery about a domain, a row type or a range: `CASE WHEN typtype = 'd' THEN
/// (SELECT …) END`. There are none, and the subquery may be one that cannot be planned.
pub(super) fn of_missing_type(expr: &Expr) -> Option<Expr> {
    let Expr::Case { operand: None, conditions, else_result, .. } = expr else { return None };
    let [CaseWhen { condition, result: Expr::Subquery(query) }] = conditions.as_slice() else {
        return None;
    };
    let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = condition else { return None };
    let is_missing = column_name(left) == Some("typtype")
        && string_literal(right).is_some_and(|kind| !TYPE_KINDS.contains(&kind))
        && else_result.as_deref().is_none_or(is_null);
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] => {
            is_missing.then(|| typed_null(data_type(value, &[])))
        }
        _ => None,
    }
}

/// The type of a column of the select's tables, or of an array of one; else text.
fn data_type(expr: &Expr, tables: &[&Table]) -> DataType {
    if let Some(element) = aggregated_into_array(expr) {
        let element = Box::new(data_type(element, tables));
        return DataType::Array(ArrayElemTypeDef::SquareBracket(element, None));
    }
    let column = column_name(expr).and_then(|name| {
        let ours = tables.iter().flat_map(|table| &table.columns);
        // A column of a subquery keeps the name and so the type it has in its table.
        let all = TABLES.values().flat_map(|table| &table.columns);
        ours.chain(all).find(|column| column.name == name)
    });
    let named = |ident| DataType::Custom(ObjectName::from(vec![ident]), Vec::new());
    match column.map(|column| column.type_name) {
        Some("bool") => DataType::Boolean,
        Some("int2") => DataType::SmallInt(None),
        Some("int4") => DataType::Integer(None),
        Some("int8") => DataType::BigInt(None),
        Some("float4") => DataType::Real,
        Some(name @ ("oid" | "name")) => named(Ident::new(name)),
        Some(name @ "char") => named(Ident::with_quote('"', name)),
        _ => DataType::Text,
    }
}
