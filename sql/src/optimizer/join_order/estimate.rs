//! Estimates the rows of any logical plan from what was gathered about its scans.
//!
//! The containment assumption throughout: the values of the side with fewer are among those of the side with more, so
//! `|L ⋈ R| = |L| · |R| / max(distinct values)`.

use super::facts::{ColumnFacts, Facts};
use super::gather::Gathered;
use super::selectivity::selectivity;
use datafusion::common::{DFSchema, JoinType};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Join, LogicalPlan, Union};

/// Rows of a table that says nothing.
pub(super) const UNKNOWN_ROWS: f64 = 1000.0;
/// Share of the rows that a semi join keeps at least, or an anti join.
const SEMI_AT_LEAST: f64 = 0.05;

/// Returns what is known of a plan's rows.
pub(super) fn estimate(plan: &LogicalPlan, known: &Gathered) -> Facts {
    let n_columns = plan.schema().fields().len();
    match plan {
        LogicalPlan::TableScan(scan) => known.scan(scan),
        LogicalPlan::Filter(filter) => {
            let input = estimate(&filter.input, known);
            let n_rows = known.filtered(filter).unwrap_or_else(|| {
                input.n_rows * selectivity(&filter.predicate, &input, filter.input.schema())
            });
            input.with_rows(n_rows)
        }
        LogicalPlan::Projection(projection) => {
            let input = estimate(&projection.input, known);
            let schema = projection.input.schema();
            let columns =
                projection.expr.iter().map(|expr| of_expr(expr, &input, schema)).collect();
            Facts { columns, ..input }
        }
        LogicalPlan::SubqueryAlias(alias) => estimate(&alias.input, known),
        LogicalPlan::Sort(sort) => {
            let input = estimate(&sort.input, known);
            let n_rows = sort.fetch.map_or(input.n_rows, |n| input.n_rows.min(n as f64));
            input.with_rows(n_rows)
        }
        LogicalPlan::Limit(limit) => {
            let input = estimate(&limit.input, known);
            let n_rows = plan.max_rows().map_or(input.n_rows, |n| input.n_rows.min(n as f64));
            input.with_rows(n_rows)
        }
        LogicalPlan::Repartition(node) => estimate(&node.input, known),
        LogicalPlan::Window(window) => {
            let mut input = estimate(&window.input, known);
            input.columns.resize(n_columns, ColumnFacts::default());
            input
        }
        LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate, known, n_columns),
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let input = estimate(input, known);
            let columns: Vec<_> = (0..n_columns).collect();
            grouped(&input, &columns.into_iter().map(Some).collect::<Vec<_>>(), n_columns)
        }
        LogicalPlan::Join(join) => of_join(join, known),
        LogicalPlan::Union(union) => of_union(union, known, n_columns),
        LogicalPlan::EmptyRelation(empty) => {
            let n_rows = if empty.produce_one_row { 1.0 } else { 0.0 };
            Facts { is_known: true, ..Facts::unknown(n_rows, n_columns) }
        }
        LogicalPlan::Values(values) => {
            Facts { is_known: true, ..Facts::unknown(values.values.len() as f64, n_columns) }
        }
        // A shared plan has the columns of its only input.
        LogicalPlan::Extension(extension) if extension.node.name() == "Shared" => {
            extension.node.inputs().first().map_or_else(
                || Facts::unknown(UNKNOWN_ROWS, n_columns),
                |input| estimate(input, known),
            )
        }
        _ => {
            let inputs = plan.inputs();
            let n_rows = inputs.iter().map(|input| estimate(input, known).n_rows);
            Facts::unknown(n_rows.reduce(f64::max).unwrap_or(UNKNOWN_ROWS), n_columns)
        }
    }
}

/// Returns what is known of an expression over a plan's rows. One that reads a single column has at most its values.
pub(super) fn of_expr(expr: &Expr, input: &Facts, schema: &DFSchema) -> ColumnFacts {
    let column = |column| {
        let position = schema.maybe_index_of_column(column);
        position.and_then(|position| input.columns.get(position)).cloned().unwrap_or_default()
    };
    match expr {
        Expr::Column(name) => column(name),
        Expr::Alias(alias) => of_expr(&alias.expr, input, schema),
        Expr::Literal(..) => ColumnFacts { n_distinct: Some(1.0), ..ColumnFacts::default() },
        _ => {
            let mut columns = expr.column_refs().into_iter();
            match (columns.next(), columns.next()) {
                (Some(only), None) => ColumnFacts { bounds: None, ..column(only) },
                _ => ColumnFacts::default(),
            }
        }
    }
}

fn of_aggregate(aggregate: &Aggregate, known: &Gathered, n_columns: usize) -> Facts {
    let input = estimate(&aggregate.input, known);
    if aggregate.group_expr.is_empty() {
        return Facts { is_known: true, ..Facts::unknown(1.0, n_columns) };
    }
    let mut with_groups = input.clone();
    let sets = match aggregate.group_expr.as_slice() {
        [Expr::GroupingSet(sets)] => sets.distinct_expr().into_iter().cloned().collect(),
        exprs => exprs.to_vec(),
    };
    let schema = aggregate.input.schema();
    let groups: Vec<_> = (0..sets.len()).map(|i| Some(input.columns.len() + i)).collect();
    with_groups.columns.extend(sets.iter().map(|expr| of_expr(expr, &input, schema)));
    grouped(&with_groups, &groups, n_columns)
}

/// Rows of distinct combinations of columns, at most those of the input.
fn grouped(input: &Facts, groups: &[Option<usize>], n_columns: usize) -> Facts {
    let n_groups: f64 = match groups {
        [Some(group)] => input.n_groups(*group),
        _ => groups.iter().flatten().map(|group| input.n_distinct_left(*group)).product(),
    };
    let n_rows = n_groups.min(input.n_rows).max(1.0);
    let column = |i: usize| match groups.get(i) {
        Some(Some(group)) => ColumnFacts {
            n_distinct: Some(input.n_distinct_left(*group).min(n_rows)),
            ..input.columns[*group].clone()
        },
        _ => ColumnFacts::default(),
    };
    let columns = (0..n_columns).map(column).collect();
    Facts { n_rows, n_base_rows: n_rows, columns, is_known: input.is_known }
}

fn of_union(union: &Union, known: &Gathered, n_columns: usize) -> Facts {
    let inputs: Vec<_> = union.inputs.iter().map(|input| estimate(input, known)).collect();
    let n_rows = inputs.iter().map(|input| input.n_rows).sum();
    let column = |i: usize| {
        let n_distinct = inputs.iter().map(|input| input.n_distinct_left(i)).reduce(f64::max);
        ColumnFacts { n_distinct, ..ColumnFacts::default() }
    };
    let columns = (0..n_columns).map(column).collect();
    let is_known = inputs.iter().all(|input| input.is_known);
    Facts { n_rows, n_base_rows: n_rows, columns, is_known }
}

/// One pair of join keys: values on the left and on the right, before filters and after them.
struct Key {
    left: (f64, f64),
    right: (f64, f64),
    /// Whether nothing is known of the values of either but that they are at most one a row.
    may_be_keys: bool,
    /// The shares of the values of both sides that are between the bounds of the other.
    shares: (f64, f64),
}

fn of_join(join: &Join, known: &Gathered) -> Facts {
    let (left, right) = (estimate(&join.left, known), estimate(&join.right, known));
    let keys: Vec<_> = join.on.iter().map(|on| key(join, on, &left, &right)).collect();
    let matchable = |side: &Facts, share: fn(&Key) -> f64| {
        keys.iter().fold(side.n_rows, |n_rows, key| n_rows.min(share(key) * side.n_base_rows))
    };
    let n_left = joint(keys.iter().map(|key| key.left.0), left.n_base_rows);
    let n_right = joint(keys.iter().map(|key| key.right.0), right.n_base_rows);
    let n_pairs = matchable(&left, |key| key.shares.0) * matchable(&right, |key| key.shares.1);
    let may_be_keys = matches!(keys.as_slice(), [Key { may_be_keys: true, .. }]);
    let mut inner = n_pairs / n_values((n_left, n_right), may_be_keys);
    let columns: Vec<_> = left.columns.iter().chain(&right.columns).cloned().collect();
    if let Some(filter) = &join.filter {
        let both =
            Facts { n_rows: inner, n_base_rows: inner, columns: columns.clone(), is_known: true };
        inner *= match left_and_right(join) {
            Some(schema) => selectivity(filter, &both, &schema),
            None => 0.3,
        };
    }
    // The share of the rows of one side that find a match on the other.
    let matched = |here: fn(&Key) -> (f64, f64), there: fn(&Key) -> (f64, f64)| {
        let shares = keys.iter().map(|key| (there(key).1 / here(key).0.max(1.0)).min(1.0));
        shares.reduce(f64::min).unwrap_or(0.5).clamp(SEMI_AT_LEAST, 1.0)
    };
    let on_left = matched(|key| key.left, |key| key.right);
    let on_right = matched(|key| key.right, |key| key.left);
    let is_known = left.is_known && right.is_known;
    let of = |n_rows: f64, columns: Vec<ColumnFacts>| Facts {
        n_rows,
        n_base_rows: n_rows,
        columns,
        is_known,
    };
    let narrowed = |side: Facts, share: f64| {
        let n_rows = side.n_rows * share;
        Facts { is_known, ..side.with_rows(n_rows) }
    };
    let marked = |side: Facts| {
        let mut columns = side.columns.clone();
        columns.push(ColumnFacts { n_distinct: Some(2.0), ..ColumnFacts::default() });
        Facts { columns, is_known, ..side }
    };
    match join.join_type {
        JoinType::Inner => of(inner, columns),
        JoinType::Left => of(inner.max(left.n_rows), columns),
        JoinType::Right => of(inner.max(right.n_rows), columns),
        JoinType::Full => of(inner.max(left.n_rows).max(right.n_rows), columns),
        JoinType::LeftSemi => narrowed(left, on_left),
        JoinType::RightSemi => narrowed(right, on_right),
        JoinType::LeftAnti => narrowed(left, (1.0 - on_left).max(SEMI_AT_LEAST)),
        JoinType::RightAnti => narrowed(right, (1.0 - on_right).max(SEMI_AT_LEAST)),
        JoinType::LeftMark => marked(left),
        JoinType::RightMark => marked(right),
    }
}

fn key(join: &Join, (l, r): &(Expr, Expr), left: &Facts, right: &Facts) -> Key {
    let mut columns =
        (of_expr(l, left, join.left.schema()), of_expr(r, right, join.right.schema()));
    let bounds = (columns.0.bounds, columns.1.bounds);
    let shares = (
        bounds.1.map_or(1.0, |bounds| columns.0.narrow(bounds)),
        bounds.0.map_or(1.0, |bounds| columns.1.narrow(bounds)),
    );
    let of = |column, facts: &Facts| {
        let facts = Facts { columns: vec![column], ..facts.clone() };
        (facts.n_distinct(0), facts.n_distinct_left(0))
    };
    let may_be_keys = columns.0.may_be_key && columns.1.may_be_key;
    Key { left: of(columns.0, left), right: of(columns.1, right), may_be_keys, shares }
}

fn left_and_right(join: &Join) -> Option<DFSchema> {
    join.left.schema().join(join.right.schema()).ok()
}

/// Returns the values that an equality of two sides picks from, given how many each has at most: those of the side with
/// more, or where neither is counted those of the smaller table, whose key it then is.
pub(super) fn n_values(sides: (f64, f64), may_be_keys: bool) -> f64 {
    let n = if may_be_keys { sides.0.min(sides.1) } else { sides.0.max(sides.1) };
    n.max(1.0)
}

/// Distinct combinations of several keys: at most one for each row.
pub(super) fn joint(n_distinct: impl Iterator<Item = f64>, n_base_rows: f64) -> f64 {
    n_distinct.product::<f64>().min(n_base_rows.max(1.0))
}

/// Returns the share of the rows of a relation that its own predicates keep.
pub(super) fn kept(predicates: &[Expr], facts: &Facts, schema: &DFSchema) -> f64 {
    conjunction(predicates.iter().cloned()).map_or(1.0, |all| selectivity(&all, facts, schema))
}
