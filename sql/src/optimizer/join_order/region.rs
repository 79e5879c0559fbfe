//! Takes a region of joins apart: relations, and the predicates between them.
//!
//! A region is what hangs together by inner joins, with the left, semi and anti joins whose left side is part of it:
//! their right side depends on what it is joined to and keeps its own conditions. Projections that only choose or rename
//! columns, aliases and filters in between are dissolved: every column is traced back to the relation it comes from.
//! Anything else is a relation of its own: scans, aggregates, full joins.

use super::set::RelationSet;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, NullEquality, Result, TableReference};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, Operator};
use datafusion::logical_expr::{Filter, Projection};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How a relation takes part.
#[derive(Debug, Clone)]
pub(super) enum Role {
    /// Any order.
    Inner,
    /// The right side of a join with any set that has all of `needs`.
    Dependent(Dependent),
}

/// A relation that is joined alone, by conditions of its own.
#[derive(Debug, Clone)]
pub(super) struct Dependent {
    pub(super) kind: DependentKind,
    pub(super) on: Vec<(Expr, Expr)>,
    pub(super) filter: Option<Expr>,
    pub(super) needs: RelationSet,
}

/// How a relation depends on the rows it is joined to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DependentKind {
    /// Adds its columns, NULL where nothing matches.
    Left,
    /// Keeps rows with a match; gives no columns.
    Semi,
    /// Keeps rows without a match; gives no columns.
    Anti,
}

/// One input of a region.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    /// What EXPLAIN calls it.
    pub(super) label: String,
    pub(super) plan: Arc<LogicalPlan>,
    pub(super) role: Role,
}

/// `left = right` between two expressions, each over one relation.
#[derive(Debug, Clone)]
pub(super) struct Equality {
    pub(super) left: (usize, Expr),
    pub(super) right: (usize, Expr),
}

/// A predicate over several relations that is not an [`Equality`].
#[derive(Debug, Clone)]
pub(super) struct Residual {
    pub(super) predicate: Expr,
    pub(super) relations: RelationSet,
}

/// An order of joins.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum JoinTree {
    /// A relation.
    Leaf(usize),
    /// A join of two sets of relations.
    Join(Box<JoinTree>, Box<JoinTree>),
}

impl JoinTree {
    /// Returns the relations below.
    pub(super) fn relations(&self) -> RelationSet {
        match self {
            Self::Leaf(relation) => RelationSet::one(*relation),
            Self::Join(left, right) => left.relations().union(right.relations()),
        }
    }
}

/// The parts of a region.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) relations: Vec<Relation>,
    pub(super) equalities: Vec<Equality>,
    pub(super) residuals: Vec<Residual>,
    /// Predicates over one relation that a filter between joins held.
    pub(super) single: Vec<(usize, Expr)>,
    /// The order as it was.
    pub(super) original: JoinTree,
    /// For each output column of the region, the column of a relation.
    pub(super) output: Vec<Column>,
    owners: HashMap<Column, usize>,
    /// Names of columns, without their qualifiers.
    names: HashSet<String>,
}

/// Returns whether a join can be part of a region.
pub(super) fn is_reorderable(join: &Join) -> bool {
    let kind = join.join_type == JoinType::Inner || dependent_kind(join.join_type).is_some();
    let exprs = || join.on.iter().flat_map(|(l, r)| [l, r]).chain(&join.filter);
    kind && join.null_equality == NullEquality::NullEqualsNothing
        && !join.null_aware
        && !exprs().any(|expr| expr.is_volatile() || has_subquery(expr))
}

fn dependent_kind(kind: JoinType) -> Option<DependentKind> {
    match kind {
        JoinType::Left => Some(DependentKind::Left),
        JoinType::LeftSemi => Some(DependentKind::Semi),
        JoinType::LeftAnti => Some(DependentKind::Anti),
        _ => None,
    }
}

/// Returns whether an expression holds a query.
pub(super) fn has_subquery(expr: &Expr) -> bool {
    let is_subquery = |expr: &Expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        ))
    };
    // The closure never fails. An expression that cannot be walked is left where it is.
    expr.exists(is_subquery).unwrap_or(true)
}

impl Region {
    /// Takes the region below a plan apart. `None` when it has too many relations, or columns that cannot be traced.
    pub(super) fn collect(plan: &LogicalPlan) -> Result<Option<Self>> {
        let mut region = Self {
            relations: vec![],
            equalities: vec![],
            residuals: vec![],
            single: vec![],
            original: JoinTree::Leaf(0),
            output: vec![],
            owners: HashMap::new(),
            names: HashSet::new(),
        };
        let Some((output, tree)) = region.flatten(plan)? else { return Ok(None) };
        region.output = output;
        region.original = tree;
        Ok(Some(region))
    }

    /// Returns the relation a column belongs to.
    pub(super) fn owner(&self, column: &Column) -> Option<usize> {
        self.owners.get(column).copied()
    }

    /// Returns the relations an expression reads; `None` for a column of none.
    pub(super) fn relations_of(&self, expr: &Expr) -> Option<RelationSet> {
        let owners = expr.column_refs().into_iter().map(|column| self.owner(column));
        owners
            .map(|owner| Some(RelationSet::one(owner?)))
            .try_fold(RelationSet::default(), |all, owner| Some(all.union(owner?)))
    }

    fn flatten(&mut self, plan: &LogicalPlan) -> Result<Option<(Vec<Column>, JoinTree)>> {
        if !reaches_join(plan) {
            return self.add_relation(plan);
        }
        match plan {
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
                self.flatten_inner(join)
            }
            LogicalPlan::Join(join) => self.flatten_dependent(join),
            LogicalPlan::Filter(filter) => {
                let Some((output, tree)) = self.flatten(&filter.input)? else { return Ok(None) };
                let predicate = traced(filter.predicate.clone(), &filter.input, &output)?;
                let added = split_conjunction_owned(predicate)
                    .into_iter()
                    .all(|predicate| self.add_predicate(predicate));
                Ok(added.then_some((output, tree)))
            }
            LogicalPlan::Projection(projection) => {
                let Some((output, tree)) = self.flatten(&projection.input)? else {
                    return Ok(None);
                };
                let column = |expr: &Expr| match plain_column(expr) {
                    Some(column) => trace(column, &projection.input, &output),
                    None => Ok(None),
                };
                let columns = projection.expr.iter().map(column).collect::<Result<Option<_>>>()?;
                Ok(columns.map(|columns| (columns, tree)))
            }
            LogicalPlan::SubqueryAlias(alias) => self.flatten(&alias.input),
            _ => self.add_relation(plan),
        }
    }

    fn flatten_inner(&mut self, join: &Join) -> Result<Option<(Vec<Column>, JoinTree)>> {
        let Some((left, left_tree)) = self.flatten(&join.left)? else { return Ok(None) };
        let Some((right, right_tree)) = self.flatten(&join.right)? else { return Ok(None) };
        let mut added = true;
        for (l, r) in &join.on {
            let l = traced(l.clone(), &join.left, &left)?;
            let r = traced(r.clone(), &join.right, &right)?;
            added &= self.add_equality(l, r);
        }
        let output: Vec<_> = left.into_iter().chain(right).collect();
        if let Some(filter) = &join.filter {
            let filter = traced_in(filter.clone(), join.schema.columns(), &output)?;
            for predicate in split_conjunction_owned(filter) {
                added &= self.add_predicate(predicate);
            }
        }
        let tree = JoinTree::Join(Box::new(left_tree), Box::new(right_tree));
        Ok(added.then_some((output, tree)))
    }

    fn flatten_dependent(&mut self, join: &Join) -> Result<Option<(Vec<Column>, JoinTree)>> {
        let Some(kind) = dependent_kind(join.join_type) else { return Ok(None) };
        let Some((left, left_tree)) = self.flatten(&join.left)? else { return Ok(None) };
        let Some((right, right_tree)) = self.add_relation(&join.right)? else { return Ok(None) };
        let JoinTree::Leaf(relation) = right_tree else { return Ok(None) };
        let mut on = vec![];
        for (l, r) in &join.on {
            let l = traced(l.clone(), &join.left, &left)?;
            on.push((l, traced(r.clone(), &join.right, &right)?));
        }
        let names: Vec<_> =
            [&join.left, &join.right].iter().flat_map(|side| side.schema().columns()).collect();
        if join.filter.is_some() && names.iter().collect::<HashSet<_>>().len() < names.len() {
            return Ok(None);
        }
        let inner: Vec<_> = left.iter().chain(&right).cloned().collect();
        let filter = join.filter.clone().map(|filter| traced_in(filter, names, &inner));
        let filter = filter.transpose()?;
        let mut needs = RelationSet::default();
        for expr in on.iter().map(|(l, _)| l).chain(&filter) {
            let Some(relations) = self.relations_of(expr) else { return Ok(None) };
            needs = needs.union(relations);
        }
        let needs = needs.without(RelationSet::one(relation));
        if needs.is_empty() {
            return Ok(None);
        }
        self.relations[relation].role = Role::Dependent(Dependent { kind, on, filter, needs });
        let tree = JoinTree::Join(Box::new(left_tree), Box::new(JoinTree::Leaf(relation)));
        Ok(Some((if kind == DependentKind::Left { inner } else { left }, tree)))
    }

    /// Adds a plan as one relation.
    fn add_relation(&mut self, plan: &LogicalPlan) -> Result<Option<(Vec<Column>, JoinTree)>> {
        let relation = self.relations.len();
        if relation >= RelationSet::MAX {
            return Ok(None);
        }
        let first = plan.schema().iter().find_map(|(qualifier, _)| qualifier);
        let label = first.map_or_else(|| "a subquery".to_string(), ToString::to_string);
        let plan = self.with_own_names(plan, relation)?;
        let columns = plan.schema().columns();
        for column in &columns {
            self.names.insert(column.name.clone());
            if self.owners.insert(column.clone(), relation).is_some() {
                return Ok(None);
            }
        }
        self.relations.push(Relation { label, plan, role: Role::Inner });
        Ok(Some((columns, JoinTree::Leaf(relation))))
    }

    /// Renames the columns of a relation whose names another one has too.
    ///
    /// Qualifiers tell them apart here, but physical plans have none: the engine pushes filters through projections and
    /// joins by name, and takes the first column of that name.
    fn with_own_names(&self, plan: &LogicalPlan, relation: usize) -> Result<Arc<LogicalPlan>> {
        let mut names = self.names.clone();
        let mut is_renamed = false;
        let mut column = |column: Column| {
            let mut name = column.name.clone();
            while names.contains(&name) {
                name = format!("{name}__{relation}");
            }
            names.insert(name.clone());
            // One without a qualifier could be ambiguous beside one with it.
            if name == column.name && column.relation.is_some() {
                return Expr::Column(column);
            }
            is_renamed = true;
            let qualifier = TableReference::bare(format!("__relation_{relation}"));
            Expr::Column(column).alias_qualified(Some(qualifier), name)
        };
        let columns: Vec<_> = plan.schema().columns().into_iter().map(&mut column).collect();
        let plan = Arc::new(plan.clone());
        if !is_renamed {
            return Ok(plan);
        }
        Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(columns, plan)?)))
    }

    /// Adds a conjunct. Returns false when it reads no column of the region.
    fn add_predicate(&mut self, predicate: Expr) -> bool {
        if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = &predicate {
            let sides = (self.relations_of(left), self.relations_of(right));
            if let (Some(l), Some(r)) = sides
                && let (Some(l), Some(r)) = (l.single(), r.single())
                && l != r
                && self.needs_of(RelationSet::one(l).union(RelationSet::one(r))).is_empty()
                && self.is_same_type(left, l, right, r)
            {
                let (left, right) = (left.as_ref().clone(), right.as_ref().clone());
                self.equalities.push(Equality { left: (l, left), right: (r, right) });
                return true;
            }
        }
        match self.relations_of(&predicate) {
            None => false,
            Some(relations) => {
                // What reads the columns of a left join's right side is due when that join is done.
                let needs = self.needs_of(relations);
                match relations.single().filter(|_| needs.is_empty()) {
                    Some(relation) => self.single.push((relation, predicate)),
                    None => {
                        let relations = relations.union(needs);
                        self.residuals.push(Residual { predicate, relations });
                    }
                }
                !relations.is_empty()
            }
        }
    }

    /// What the dependent relations of a set need.
    fn needs_of(&self, set: RelationSet) -> RelationSet {
        let needs = |relation: usize| match &self.relations[relation].role {
            Role::Dependent(dependent) => dependent.needs,
            Role::Inner => RelationSet::default(),
        };
        set.iter().map(needs).fold(RelationSet::default(), RelationSet::union)
    }

    fn add_equality(&mut self, left: Expr, right: Expr) -> bool {
        self.add_predicate(left.eq(right))
    }

    fn is_same_type(&self, left: &Expr, l: usize, right: &Expr, r: usize) -> bool {
        let type_of = |expr: &Expr, relation: usize| {
            expr.get_type(self.relations[relation].plan.schema().as_ref()).ok()
        };
        type_of(left, l).is_some_and(|found| Some(found) == type_of(right, r))
    }
}

/// Returns the relation's plan with its own predicates on top.
pub(super) fn with_filters(
    plan: Arc<LogicalPlan>,
    predicates: Vec<Expr>,
) -> Result<Arc<LogicalPlan>> {
    match datafusion::logical_expr::utils::conjunction(predicates) {
        Some(predicate) => Ok(Arc::new(LogicalPlan::Filter(Filter::try_new(predicate, plan)?))),
        None => Ok(plan),
    }
}

/// Whether a plan is a join of the region, perhaps below nodes that are dissolved.
pub(super) fn reaches_join(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Join(join) => is_reorderable(join),
        LogicalPlan::Filter(filter) => {
            let predicate = &filter.predicate;
            !predicate.is_volatile() && !has_subquery(predicate) && reaches_join(&filter.input)
        }
        LogicalPlan::Projection(projection) => {
            projection.expr.iter().all(|expr| plain_column(expr).is_some())
                && reaches_join(&projection.input)
        }
        LogicalPlan::SubqueryAlias(alias) => reaches_join(&alias.input),
        _ => false,
    }
}

fn plain_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) if alias.metadata.is_none() => plain_column(&alias.expr),
        _ => None,
    }
}

fn trace(column: &Column, input: &LogicalPlan, output: &[Column]) -> Result<Option<Column>> {
    Ok(output.get(input.schema().index_of_column(column)?).cloned())
}

/// Rewrites an expression over a dissolved plan to the columns of the relations.
fn traced(expr: Expr, input: &LogicalPlan, output: &[Column]) -> Result<Expr> {
    let rewrite = |expr| match &expr {
        Expr::Column(column) => Ok(match trace(column, input, output)? {
            Some(traced) => Transformed::yes(Expr::Column(traced)),
            None => Transformed::no(expr),
        }),
        _ => Ok(Transformed::no(expr)),
    };
    Ok(expr.transform(rewrite)?.data)
}

/// As [`traced`], over columns given in order.
fn traced_in(expr: Expr, columns: Vec<Column>, output: &[Column]) -> Result<Expr> {
    let by_name: HashMap<Column, &Column> = columns.into_iter().zip(output).collect();
    let rewrite = |expr| match &expr {
        Expr::Column(column) => Ok(match by_name.get(column) {
            Some(traced) => Transformed::yes(Expr::Column((*traced).clone())),
            None => Transformed::no(expr),
        }),
        _ => Ok(Transformed::no(expr)),
    };
    Ok(expr.transform(rewrite)?.data)
}
