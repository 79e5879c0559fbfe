//! Columns that a statement may name and that its `*` does not show, such as the file that a row is stored in.
//!
//! Called by the session before it plans a statement. The one idea: DataFusion's `*` is all that a table has, so a table
//! that got such columns for this statement loses them again in each `*` over it:
//!
//! ```text
//! SELECT *, _pos FROM t                  SELECT * EXCLUDE (_pos), _pos FROM t
//! SELECT * FROM t JOIN u ON t._pos = …   SELECT t.* EXCLUDE (_pos), u.* EXCLUDE (_pos) FROM …
//! ```
//!
//! A subquery shows what it selects, so its names are columns like others. Limits: no NATURAL JOIN with such a table, whose
//! columns would be compared by these names too, and no `*` over a JOIN … USING of several such tables.

use crate::error::Error;
use crate::parse::{visit, visit_mut};
use datafusion::sql::parser::Statement as Ast;
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, Visitor, VisitorMut,
    WildcardAdditionalOptions,
};
use std::ops::ControlFlow;

/// Returns those of `known` that the statement names as a column.
pub fn named<'n>(ast: &Ast, known: &[&'n str]) -> Vec<&'n str> {
    let mut found = Named { known, named: vec![false; known.len()] };
    let _ = visit(ast, &mut found);
    known.iter().zip(found.named).filter(|(_, named)| *named).map(|(name, _)| *name).collect()
}

/// Takes hidden columns out of every `*` of a statement. `hidden` returns those of a table by the parts of its name.
///
/// # Errors
/// [`Error::NotSupported`] for a join that would compare hidden columns.
pub fn hide<'n>(ast: &mut Ast, hidden: &dyn Fn(&[String]) -> Vec<&'n str>) -> Result<(), Error> {
    let mut hide = Hide { hidden, scopes: vec![] };
    match visit_mut(ast, &mut hide) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(feature) => Err(Error::NotSupported { feature }),
    }
}

struct Named<'a, 'n> {
    known: &'a [&'n str],
    named: Vec<bool>,
}

impl Named<'_, '_> {
    fn note(&mut self, ident: &Ident) {
        let name = folded(ident);
        if let Some(idx) = self.known.iter().position(|known| *known == name) {
            self.named[idx] = true;
        }
    }
}

impl Visitor for Named<'_, '_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.note(ident),
            // The column may stand before its fields, and behind its table.
            Expr::CompoundIdentifier(idents) => idents.iter().for_each(|ident| self.note(ident)),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The names that WITH gives to the queries inside a query.
struct Scope {
    /// With the address of each one's query, which does not move while it is visited.
    names: Vec<(String, usize)>,
    is_recursive: bool,
    /// Those that what is visited now can see.
    n_seen: usize,
}

struct Hide<'a, 'n> {
    hidden: &'a dyn Fn(&[String]) -> Vec<&'n str>,
    scopes: Vec<Scope>,
}

/// One relation of a FROM.
struct Factor<'n> {
    /// The name that its columns go by; `None` when it has none.
    qualifier: Option<ObjectName>,
    hidden: Vec<&'n str>,
}

/// The relations of a FROM, as `*` shows them.
#[derive(Default)]
struct Factors<'n> {
    all: Vec<Factor<'n>>,
    has_natural: bool,
    has_using: bool,
    /// Whether `*` is not simply what the relations have, one after the other.
    is_odd: bool,
}

fn address(query: &Query) -> usize {
    std::ptr::from_ref(query) as usize
}

impl VisitorMut for Hide<'_, '_> {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<&'static str> {
        let here = address(query);
        if let Some(outer) = self.scopes.last_mut()
            && let Some(idx) = outer.names.iter().position(|(_, at)| *at == here)
        {
            outer.n_seen = idx + usize::from(outer.is_recursive);
        }
        let with = query.with.as_ref();
        let names = with.map(|with| {
            let named = with.cte_tables.iter();
            named.map(|cte| (folded(&cte.alias.name), address(&cte.query))).collect()
        });
        self.scopes.push(Scope {
            names: names.unwrap_or_default(),
            is_recursive: with.is_some_and(|with| with.recursive),
            n_seen: 0,
        });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<&'static str> {
        self.scopes.pop();
        let here = address(query);
        if let Some(outer) = self.scopes.last_mut()
            && let Some(idx) = outer.names.iter().position(|(_, at)| *at == here)
        {
            outer.n_seen = idx + 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<&'static str> {
        let mut factors = Factors::default();
        for tables in &select.from {
            self.add_tables(tables, &mut factors);
        }
        if factors.all.iter().all(|factor| factor.hidden.is_empty()) {
            return ControlFlow::Continue(());
        }
        if factors.has_natural {
            return ControlFlow::Break("NATURAL JOIN of a table whose metadata columns are named");
        }
        let mut projection = Vec::with_capacity(select.projection.len());
        for item in select.projection.drain(..) {
            match item {
                SelectItem::Wildcard(options) => match factors.wildcard(options) {
                    Ok(items) => projection.extend(items),
                    Err(feature) => return ControlFlow::Break(feature),
                },
                SelectItem::QualifiedWildcard(kind, options) => {
                    let options = match &kind {
                        SelectItemQualifiedWildcardKind::ObjectName(name) => {
                            without(options, factors.hidden_of(name))
                        }
                        SelectItemQualifiedWildcardKind::Expr(_) => options,
                    };
                    projection.push(SelectItem::QualifiedWildcard(kind, options));
                }
                item => projection.push(item),
            }
        }
        select.projection = projection;
        ControlFlow::Continue(())
    }
}

impl<'n> Hide<'_, 'n> {
    fn add_tables(&self, tables: &TableWithJoins, factors: &mut Factors<'n>) {
        self.add_factor(&tables.relation, factors);
        for join in &tables.joins {
            use JoinOperator as Op;
            let constraint = match &join.join_operator {
                Op::Join(c) | Op::Inner(c) | Op::Left(c) | Op::LeftOuter(c) => Some(c),
                Op::Right(c) | Op::RightOuter(c) | Op::FullOuter(c) | Op::CrossJoin(c) => Some(c),
                // These show one of their sides, or what we do not know.
                _ => {
                    factors.is_odd = true;
                    None
                }
            };
            match constraint {
                Some(JoinConstraint::Using(_)) => factors.has_using = true,
                Some(JoinConstraint::Natural) => factors.has_natural = true,
                _ => {}
            }
            self.add_factor(&join.relation, factors);
        }
    }

    fn add_factor(&self, factor: &TableFactor, factors: &mut Factors<'n>) {
        let (qualifier, hidden) = match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let qualifier = match alias {
                    Some(alias) => ObjectName::from(vec![alias.name.clone()]),
                    None => name.clone(),
                };
                (Some(qualifier), self.hidden_of_table(name))
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                return self.add_tables(table_with_joins, factors);
            }
            TableFactor::Table { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::UNNEST { alias, .. }
            | TableFactor::NestedJoin { alias, .. } => {
                let alias = alias.as_ref();
                (alias.map(|alias| ObjectName::from(vec![alias.name.clone()])), vec![])
            }
            _ => (None, vec![]),
        };
        factors.all.push(Factor { qualifier, hidden });
    }

    fn hidden_of_table(&self, name: &ObjectName) -> Vec<&'n str> {
        let parts = parts(name);
        if let [name] = parts.as_slice() {
            let mut seen = self.scopes.iter().flat_map(|scope| &scope.names[..scope.n_seen]);
            if seen.any(|(cte, _)| cte == name) {
                return vec![];
            }
        }
        (self.hidden)(&parts)
    }
}

impl<'n> Factors<'n> {
    /// Returns what a `*` becomes.
    fn wildcard(
        &self,
        options: WildcardAdditionalOptions,
    ) -> Result<Vec<SelectItem>, &'static str> {
        let mut hiding = self.all.iter().filter(|factor| !factor.hidden.is_empty());
        let is_plain = options.opt_ilike.is_none()
            && options.opt_exclude.is_none()
            && options.opt_except.is_none()
            && options.opt_replace.is_none()
            && options.opt_rename.is_none();
        let has_names = self.all.iter().all(|factor| factor.qualifier.is_some());
        if self.all.len() > 1 && is_plain && has_names && !self.has_using && !self.is_odd {
            let item = |factor: &Factor<'n>| {
                let name = factor.qualifier.clone()?;
                let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
                let options = without(options.clone(), factor.hidden.clone());
                Some(SelectItem::QualifiedWildcard(kind, options))
            };
            return Ok(self.all.iter().filter_map(item).collect());
        }
        match (hiding.next(), hiding.next()) {
            (Some(only), None) => {
                Ok(vec![SelectItem::Wildcard(without(options, only.hidden.clone()))])
            }
            _ => Err("* over this join of tables whose metadata columns are named"),
        }
    }

    /// Returns the hidden columns of the relation that a name before `.*` means.
    fn hidden_of(&self, name: &ObjectName) -> Vec<&'n str> {
        let wanted = parts(name);
        let is_meant = |factor: &&Factor<'n>| {
            factor.qualifier.as_ref().is_some_and(|qualifier| parts(qualifier).ends_with(&wanted))
        };
        self.all.iter().find(is_meant).map(|factor| factor.hidden.clone()).unwrap_or_default()
    }
}

/// Adds columns to those that a wildcard leaves out.
fn without(mut options: WildcardAdditionalOptions, hidden: Vec<&str>) -> WildcardAdditionalOptions {
    if hidden.is_empty() {
        return options;
    }
    let mut names = match options.opt_exclude.take() {
        Some(ExcludeSelectItem::Single(name)) => vec![name],
        Some(ExcludeSelectItem::Multiple(names)) => names,
        None => vec![],
    };
    names.extend(hidden.into_iter().map(|name| ObjectName::from(vec![Ident::new(name)])));
    options.opt_exclude = Some(ExcludeSelectItem::Multiple(names));
    options
}

fn parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(|part| part.as_ident()).map(folded).collect()
}

fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Limits, parse};

    const KNOWN: [&str; 2] = ["_file", "_pos"];

    fn hidden(sql: &str) -> String {
        let mut ast = parse(sql, Limits::default()).unwrap().remove(0).ast;
        let wanted = named(&ast, &KNOWN);
        let of = |name: &[String]| match name.last().map(String::as_str) {
            Some("t" | "u") => wanted.clone(),
            _ => vec![],
        };
        match hide(&mut ast, &of) {
            Ok(()) => ast.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn names_of_columns_are_found_wherever_they_stand() {
        let found = |sql: &str| {
            let ast = parse(sql, Limits::default()).unwrap().remove(0).ast;
            named(&ast, &KNOWN).join(" ")
        };
        assert_eq!(found("SELECT a, '_file' FROM t"), "");
        assert_eq!(found("SELECT a AS _file FROM t"), "");
        assert_eq!(found("SELECT _FILE FROM t WHERE x IN (SELECT t._pos FROM t)"), "_file _pos");
        assert_eq!(found("SELECT a FROM t ORDER BY _pos"), "_pos");
        assert_eq!(found("EXPLAIN SELECT \"_File\", _pos.x FROM t"), "_pos");
    }

    #[test]
    fn wildcards_show_no_hidden_columns() {
        for (sql, expected) in [
            ("SELECT *, _pos FROM t", "SELECT * EXCLUDE (_pos), _pos FROM t"),
            ("SELECT T.*, _pos FROM s.t", "SELECT T.* EXCLUDE (_pos), _pos FROM s.t"),
            ("SELECT * FROM a WHERE _pos = 1", "SELECT * FROM a WHERE _pos = 1"),
            (
                "SELECT * FROM t x JOIN u ON x._pos = u._pos, (SELECT *, _file FROM t) AS d",
                "SELECT x.* EXCLUDE (_file, _pos), u.* EXCLUDE (_file, _pos), d.* \
                 FROM t x JOIN u ON x._pos = u._pos, (SELECT * EXCLUDE (_file, _pos), _file FROM t) AS d",
            ),
            (
                "SELECT * FROM t JOIN a USING (k) WHERE _pos = 1",
                "SELECT * EXCLUDE (_pos) FROM t JOIN a USING(k) WHERE _pos = 1",
            ),
        ] {
            assert_eq!(hidden(sql), expected);
        }
    }

    #[test]
    fn names_of_with_hide_tables() {
        for (sql, expected) in [
            (
                "WITH t AS (SELECT *, _pos FROM t), v AS (SELECT * FROM t) SELECT * FROM t, v",
                "WITH t AS (SELECT * EXCLUDE (_pos), _pos FROM t), v AS (SELECT * FROM t) SELECT * FROM t, v",
            ),
            (
                "SELECT * FROM t WHERE _pos IN (WITH t AS (SELECT 1) SELECT * FROM t)",
                "SELECT * EXCLUDE (_pos) FROM t WHERE _pos IN (WITH t AS (SELECT 1) SELECT * FROM t)",
            ),
        ] {
            assert_eq!(hidden(sql), expected);
        }
    }

    #[test]
    fn joins_that_would_compare_hidden_columns_are_refused() {
        let natural = hidden("SELECT a FROM t NATURAL JOIN u WHERE t._pos = 1");
        assert!(natural.starts_with("NATURAL JOIN of a table"), "{natural}");
        let using = hidden("SELECT * FROM t JOIN u USING (k) WHERE t._pos = 1");
        assert!(using.starts_with("* over this join"), "{using}");
    }
}
