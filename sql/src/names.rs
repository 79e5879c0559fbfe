//! Names of a result's columns as PostgreSQL gives them: `count`, not `count(*)`; `?column?`; one name twice.
//!
//! Called by `parse` on each statement before it is rewritten, and by the session once it is planned. The one idea: the
//! plan keeps DataFusion's names, which must be unique, and the result is announced under PostgreSQL's, by position.
//! Limit: of the columns between two wildcards DataFusion's names stay. Names inside subqueries are DataFusion's; one
//! used twice there is taken by the first column alone.

use crate::walk::walk_mut;
use datafusion::sql::parser::Statement as Ast;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, DataType, Expr, Ident, ObjectName, OrderByKind, Query, Select, SelectItem, SetExpr,
    Statement, Subscript, TrimWhereField, VisitorMut,
};
use std::ops::ControlFlow;

/// Begins the names that stand in for names used twice; no user writes them.
const STAND_IN: &str = "__saltlake_column_";

/// PostgreSQL's name for what has none.
const NO_NAME: &str = "?column?";

/// The names of a result's columns, as far as the statement tells them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputNames {
    /// Before the first wildcard.
    before: Vec<String>,
    /// After the last wildcard; `None` when there is no wildcard.
    after: Option<Vec<String>>,
}

impl OutputNames {
    /// Reads the names off a statement; a statement other than a query has none.
    pub fn of(ast: &Ast) -> Self {
        match query_of(ast) {
            Some(query) => Self::of_query(query),
            None => Self::default(),
        }
    }

    /// Reads the names off a query.
    pub fn of_query(query: &Query) -> Self {
        let Some(select) = first_select(&query.body) else { return Self::default() };
        let mut names = Self::default();
        for item in &select.projection {
            match (item_name(item), &mut names.after) {
                (Some(name), Some(after)) => after.push(name),
                (Some(name), None) => names.before.push(name),
                (None, after) => *after = Some(Vec::new()),
            }
        }
        names
    }

    /// Returns the name of each of `planned` columns, `None` where the planned name stays.
    pub fn resolve(&self, n_planned: usize) -> Vec<Option<&str>> {
        let mut names: Vec<Option<&str>> = vec![None; n_planned];
        let n_after = self.after.as_ref().map_or(0, Vec::len);
        let fits = match self.after {
            None => self.before.len() == n_planned,
            Some(_) => self.before.len() + n_after <= n_planned,
        };
        if fits {
            for (slot, name) in names.iter_mut().zip(&self.before) {
                *slot = Some(name);
            }
            let after = self.after.iter().flatten();
            for (slot, name) in names.iter_mut().skip(n_planned - n_after).zip(after) {
                *slot = Some(name);
            }
        }
        names
    }
}

/// Gives columns that ORDER BY calls by PostgreSQL's name that name, so that it is found.
pub fn name_ordered(ast: &mut Ast) {
    let Some(query) = query_of_mut(ast) else { return };
    let Some(order) = &query.order_by else { return };
    let OrderByKind::Expressions(keys) = &order.kind else { return };
    let wanted: Vec<String> = keys
        .iter()
        .filter_map(|key| match &key.expr {
            Expr::Identifier(ident) => Some(folded(ident)),
            _ => None,
        })
        .collect();
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    for name in wanted {
        let called = |item: &SelectItem| item_name(item).as_deref() == Some(&name);
        let mut found = select.projection.iter_mut().filter(|item| called(item));
        let (Some(item), None) = (found.next(), found.next()) else { continue };
        if let SelectItem::UnnamedExpr(expr) = item
            && !is_column(expr)
        {
            let alias = Ident::with_quote('"', name);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// Gives every column of a query but the first of its name a name of its own; returns whether there is a query.
///
/// Done only when the planner refuses the names as they are: the result is announced under the names it had.
pub fn tell_apart(ast: &mut Ast) -> bool {
    let Ast::Statement(statement) = ast else { return false };
    let _ = walk_mut(statement.as_mut(), &mut TellApart);
    true
}

/// Does so in every query, those inside others too: there a name used twice can only be meant by position.
struct TellApart;

impl VisitorMut for TellApart {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        tell_apart_in(&mut query.body);
        ControlFlow::Continue(())
    }
}

fn tell_apart_in(body: &mut SetExpr) {
    let select = match body {
        SetExpr::Select(select) => select,
        SetExpr::SetOperation { left, right, .. } => {
            tell_apart_in(left);
            return tell_apart_in(right);
        }
        _ => return,
    };
    let has_wildcard = select.projection.iter().any(|item| item_name(item).is_none());
    let mut seen: Vec<String> = Vec::new();
    for (idx, item) in select.projection.iter_mut().enumerate() {
        let Some(name) = item_name(item) else { continue };
        let is_first = !has_wildcard && !seen.contains(&name);
        // The planner's names of two expressions may be one although ours differ.
        let is_named = !matches!(item, SelectItem::UnnamedExpr(expr) if !is_column(expr));
        if is_first && is_named {
            seen.push(name);
            continue;
        }
        let alias = match is_first && name != NO_NAME {
            true => name.clone(),
            false => format!("{STAND_IN}{idx}"),
        };
        seen.push(name);
        let alias = Ident::with_quote('"', alias);
        match item {
            SelectItem::UnnamedExpr(expr) => {
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
            SelectItem::ExprWithAlias { alias: old, .. } => *old = alias,
            _ => {}
        }
    }
}

/// Gives the columns of a query that have no name PostgreSQL's, for a view, where the names are part of what is kept.
pub fn name_columns(query: &mut Query) {
    let names = OutputNames::of_query(query);
    let all: Vec<String> =
        names.before.iter().chain(names.after.iter().flatten()).cloned().collect();
    let Some(select) = first_select_mut(&mut query.body) else { return };
    for item in &mut select.projection {
        let Some(name) = item_name(item) else { continue };
        if let SelectItem::UnnamedExpr(expr) = item
            && !is_column(expr)
            && all.iter().filter(|other| **other == name).count() == 1
        {
            let alias = Ident::with_quote('"', name);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

fn query_of(ast: &Ast) -> Option<&Query> {
    match ast {
        Ast::Statement(statement) => match statement.as_ref() {
            Statement::Query(query) => Some(query),
            _ => None,
        },
        _ => None,
    }
}

fn query_of_mut(ast: &mut Ast) -> Option<&mut Query> {
    match ast {
        Ast::Statement(statement) => match statement.as_mut() {
            Statement::Query(query) => Some(query),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the select whose names a result has: the first of a chain of set operations.
fn first_select(mut body: &SetExpr) -> Option<&Select> {
    loop {
        match body {
            SetExpr::Select(select) => return Some(select),
            SetExpr::SetOperation { left, .. } => body = left,
            SetExpr::Query(query) => body = &query.body,
            _ => return None,
        }
    }
}

fn first_select_mut(mut body: &mut SetExpr) -> Option<&mut Select> {
    loop {
        match body {
            SetExpr::Select(select) => return Some(select),
            SetExpr::SetOperation { left, .. } => body = left,
            SetExpr::Query(query) => body = &mut query.body,
            _ => return None,
        }
    }
}

/// Returns the name of an item, `None` for a wildcard.
fn item_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expr) => Some(name(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    }
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

/// Returns the name PostgreSQL gives to a column.
pub fn name(expr: &Expr) -> String {
    figure(expr).map_or_else(|| NO_NAME.to_string(), |figured| figured.0)
}

/// A name, and whether it is a strong one: one of a weak kind gives way to that of what is around it.
type Figured = (String, bool);

/// PostgreSQL's `FigureColnameInternal`.
fn figure(expr: &Expr) -> Option<Figured> {
    let strong = |name: &str| Some((name.to_string(), true));
    match expr {
        Expr::Identifier(ident) => Some((folded(ident), true)),
        Expr::CompoundIdentifier(idents) => idents.last().map(|ident| (folded(ident), true)),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(ident)) => Some((folded(ident), true)),
                AccessExpr::Subscript(Subscript::Index { .. }) | AccessExpr::Dot(_) => None,
                AccessExpr::Subscript(_) => None,
            });
            field.or_else(|| figure(root))
        }
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure(inner),
        Expr::Function(function) => Some((last_part(&function.name)?, true)),
        Expr::Cast { expr, data_type, .. } => match figure(expr) {
            Some((name, true)) => Some((name, true)),
            _ => type_name(data_type).map(|name| (name, false)),
        },
        Expr::TypedString(typed) => type_name(&typed.data_type).map(|name| (name, false)),
        Expr::Interval(_) => Some(("interval".to_string(), false)),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(figure) {
            Some((name, true)) => Some((name, true)),
            _ => Some(("case".to_string(), false)),
        },
        Expr::Subquery(query) => match OutputNames::of_query(query) {
            OutputNames { before, after: None } if before.len() == 1 => {
                before.into_iter().next().map(|name| (name, true))
            }
            _ => None,
        },
        Expr::Exists { negated: false, .. } => strong("exists"),
        Expr::Array(_) => strong("array"),
        Expr::Tuple(_) => strong("row"),
        Expr::AtTimeZone { .. } => strong("timezone"),
        Expr::Extract { .. } => strong("extract"),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::Position { .. } => strong("position"),
        Expr::Substring { shorthand, .. } => {
            strong(if *shorthand { "substr" } else { "substring" })
        }
        Expr::Overlay { .. } => strong("overlay"),
        Expr::Trim { trim_where, .. } => strong(match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        _ => None,
    }
}

fn last_part(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(folded)
}

/// Returns a type's name inside PostgreSQL, by which a cast constant is called.
fn type_name(data_type: &DataType) -> Option<String> {
    let name = match data_type {
        DataType::Array(_) => return element_name(data_type),
        DataType::Custom(name, _) => return last_part(name),
        DataType::SmallInt(_) | DataType::Int2(_) => "int2",
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4",
        DataType::BigInt(_) | DataType::Int8(_) => "int8",
        DataType::Real | DataType::Float4 => "float4",
        DataType::Float(_) | DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 => {
            "float8"
        }
        DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => "numeric",
        DataType::Boolean | DataType::Bool => "bool",
        DataType::Varchar(_) | DataType::CharacterVarying(_) | DataType::CharVarying(_) => {
            "varchar"
        }
        DataType::Char(_) | DataType::Character(_) => "bpchar",
        DataType::Text => "text",
        DataType::Bytea => "bytea",
        DataType::Date => "date",
        DataType::Time(..) => "time",
        DataType::Timestamp(_, zone) => match zone.to_string().as_str() {
            "" | "WITHOUT TIME ZONE" => "timestamp",
            _ => "timestamptz",
        },
        DataType::Interval { .. } => "interval",
        DataType::Uuid => "uuid",
        DataType::JSON => "json",
        DataType::JSONB => "jsonb",
        DataType::Regclass => "regclass",
        _ => return None,
    };
    Some(name.to_string())
}

/// PostgreSQL calls a constant cast to an array by the name of the element.
fn element_name(data_type: &DataType) -> Option<String> {
    use datafusion::sql::sqlparser::ast::ArrayElemTypeDef;
    match data_type {
        DataType::Array(
            ArrayElemTypeDef::SquareBracket(element, _)
            | ArrayElemTypeDef::AngleBracket(element)
            | ArrayElemTypeDef::Parenthesis(element),
        ) => type_name(element),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Limits, parse};

    fn names(sql: &str, n_planned: usize) -> Vec<String> {
        let statement = parse(sql, Limits::default()).unwrap().remove(0);
        let resolved = statement.names.resolve(n_planned);
        resolved.iter().map(|name| name.unwrap_or("-").to_string()).collect()
    }

    #[test]
    fn expressions_are_called_as_postgres_calls_them() {
        for (sql, expected) in [
            ("count(*), SUM(a), pg_catalog.max(b)", "count sum max"),
            ("1, 'a', a + 1, NOT a, a IS NULL", "?column? ?column? ?column? ?column? ?column?"),
            ("a, t.B, \"C\", a AS D", "a b C d"),
            ("a::int, 1::bigint, '1'::varchar(3), (a + 1)::float", "a int8 varchar float8"),
            (
                "date '2024-01-01', timestamptz '2024-01-01', interval '1 day'",
                "date timestamptz interval",
            ),
            ("CASE WHEN a THEN 1 END, CASE WHEN a THEN 1 ELSE b END", "case b"),
            ("(SELECT max(x) FROM t), EXISTS (SELECT 1), ARRAY[1]", "max exists array"),
            (
                "extract(year FROM a), trim(a), substring(a FROM 1), a AT TIME ZONE 'UTC'",
                "extract btrim substring timezone",
            ),
            ("coalesce(a, b), nullif(a, b), current_date", "coalesce nullif current_date"),
            ("a[1], s.f, count(*)::int", "a f count"),
        ] {
            let expected: Vec<_> = expected.split(' ').collect();
            assert_eq!(names(&format!("SELECT {sql} FROM t"), expected.len()), expected, "{sql}");
        }
    }

    #[test]
    fn wildcards_leave_the_names_around_them() {
        assert_eq!(names("SELECT count(*), * FROM t", 3), ["count", "-", "-"]);
        assert_eq!(names("SELECT *, 1 FROM t", 3), ["-", "-", "?column?"]);
        assert_eq!(
            names("SELECT 1, t.*, 2, u.*, 3 FROM t, u", 5),
            ["?column?", "-", "-", "-", "?column?"]
        );
        assert_eq!(names("SELECT count(*) UNION ALL SELECT 1 AS x", 1), ["count"]);
        assert_eq!(names("SELECT a, b FROM t", 3), ["-", "-", "-"]);
    }

    #[test]
    fn names_used_twice_are_told_apart() {
        let told = |sql: &str| {
            let mut ast = parse(sql, Limits::default()).unwrap().remove(0).ast;
            assert!(tell_apart(&mut ast));
            ast.to_string()
        };
        assert_eq!(
            told("SELECT 1, count(*)"),
            "SELECT 1 AS \"__saltlake_column_0\", count(*) AS \"count\""
        );
        assert_eq!(told("SELECT a, * FROM t"), "SELECT a AS \"__saltlake_column_0\", * FROM t");
        assert_eq!(told("SELECT 1 AS a, 2 AS A"), "SELECT 1 AS a, 2 AS \"__saltlake_column_1\"");
    }

    #[test]
    fn order_by_finds_the_name_of_a_call() {
        let mut ast =
            parse("SELECT a, count(*) FROM t GROUP BY a ORDER BY count", Limits::default())
                .unwrap()
                .remove(0)
                .ast;
        name_ordered(&mut ast);
        assert!(ast.to_string().starts_with("SELECT a, count(*) AS \"count\" FROM"), "{ast}");
    }
}
