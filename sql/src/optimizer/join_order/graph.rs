//! The join graph of a region, and the estimated rows of every set of its relations.
//!
//! Columns that must be equal form classes: `a.x = b.x AND b.x = c.x` makes one class of three, so `a` and `c` may be
//! joined directly. The rows of a set are the product of its relations' rows, divided for every class by the number of
//! values that equality picks from. Several classes between the same two relations are one composite key, which has at
//! most as many values as the larger side has rows.

use super::estimate::{estimate, joint, kept, n_values, of_expr};
use super::facts::{ColumnFacts, Facts};
use super::gather::Gathered;
use super::region::{Dependent, DependentKind, Equality, Region, Relation, Role};
use super::set::RelationSet;
use datafusion::logical_expr::Expr;

/// Share of rows a predicate over several relations keeps, of which nothing is known.
const RESIDUAL_SHARE: f64 = 0.3;
/// Share of the rows that a semi join keeps at least, or an anti join.
const SEMI_AT_LEAST: f64 = 0.05;

/// An expression over one relation that equals the others of its class.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) relation: usize,
    pub(super) expr: Expr,
    column: ColumnFacts,
}

/// Expressions that are equal in every row of the region.
#[derive(Debug, Clone, Default)]
pub(super) struct Class {
    pub(super) members: Vec<Member>,
    relations: RelationSet,
}

impl Class {
    /// Returns a member inside a set.
    pub(super) fn member_in(&self, set: RelationSet) -> Option<&Member> {
        self.members.iter().find(|member| set.has(member.relation))
    }
}

/// Relations joined by keys, one pair of relations.
#[derive(Debug)]
struct Edge {
    left: usize,
    right: usize,
    classes: Vec<usize>,
}

/// What the order is chosen by.
#[derive(Debug)]
pub(super) struct JoinGraph {
    facts: Vec<Facts>,
    /// Rows of each relation that can find a match, by the bounds of its keys and of those they must equal.
    n_matchable: Vec<f64>,
    pub(super) classes: Vec<Class>,
    /// For each dependent relation, the rows it makes of one and the relations it needs.
    dependents: Vec<Option<(f64, RelationSet)>>,
    residuals: Vec<RelationSet>,
    edges: Vec<Edge>,
    /// For each relation, those it may be joined with.
    neighbours: Vec<RelationSet>,
    all: RelationSet,
}

impl JoinGraph {
    /// Builds the graph of a region.
    pub(super) fn of(region: &Region, known: &Gathered) -> Self {
        let facts_of = |(i, relation): (usize, &Relation)| {
            let facts = estimate(&relation.plan, known);
            let own = region.single.iter().filter(|(owner, _)| *owner == i);
            let own: Vec<_> = own.map(|(_, predicate)| predicate.clone()).collect();
            let n_rows = facts.n_rows * kept(&own, &facts, relation.plan.schema());
            facts.with_rows(n_rows)
        };
        let facts: Vec<_> = region.relations.iter().enumerate().map(facts_of).collect();
        let mut classes = classes(&region.equalities, &region.relations, &facts);
        let mut graph = Self {
            n_matchable: narrow(&mut classes, &facts),
            classes,
            dependents: vec![],
            residuals: region.residuals.iter().map(|residual| residual.relations).collect(),
            edges: vec![],
            neighbours: vec![RelationSet::default(); region.relations.len()],
            all: RelationSet::first(region.relations.len()),
            facts,
        };
        graph.dependents = region
            .relations
            .iter()
            .enumerate()
            .map(|(relation, _)| graph.dependent(region, relation))
            .collect();
        graph.connect();
        graph
    }

    /// Returns all relations.
    pub(super) fn all(&self) -> RelationSet {
        self.all
    }

    /// Returns whether two sets may be joined: some key or filter links them, and dependent relations have what they need.
    pub(super) fn may_join(&self, left: RelationSet, right: RelationSet) -> bool {
        let linked = left.iter().any(|relation| self.neighbours[relation].meets(right));
        linked && self.is_complete(left.union(right)) && self.is_right_side(left, right)
    }

    /// Returns whether a set holds all that its dependent relations need.
    pub(super) fn is_complete(&self, set: RelationSet) -> bool {
        set.len() == 1
            || set.iter().all(|relation| {
                self.dependents[relation].is_none_or(|(_, needs)| set.contains(needs))
            })
    }

    /// A dependent relation is joined alone, to a set that has all it needs.
    fn is_right_side(&self, left: RelationSet, right: RelationSet) -> bool {
        let alone = |one: RelationSet, other: RelationSet| match one.single() {
            Some(relation) => match self.dependents[relation] {
                Some((_, needs)) => other.contains(needs),
                None => true,
            },
            None => true,
        };
        alone(left, right) && alone(right, left)
    }

    /// Returns whether a set is one dependent relation.
    pub(super) fn is_dependent(&self, set: RelationSet) -> bool {
        set.single().is_some_and(|relation| self.dependents[relation].is_some())
    }

    /// Returns what equality demands inside single relations: `a.x = b.y AND a.z = b.y` makes `a.x = a.z`. Without it
    /// one of several members of a class would go unchecked.
    pub(super) fn within(&self, relation: usize) -> Vec<Expr> {
        let equal = |class: &Class| {
            let members = class.members.iter().filter(|member| member.relation == relation);
            let mut exprs = members.map(|member| member.expr.clone());
            let first = exprs.next();
            first.map_or(vec![], |first| exprs.map(|other| first.clone().eq(other)).collect())
        };
        self.classes.iter().flat_map(equal).collect()
    }

    /// Returns whether keys link two sets; otherwise their join compares every row with every other.
    pub(super) fn has_keys(&self, left: RelationSet, right: RelationSet) -> bool {
        self.is_dependent(left)
            || self.is_dependent(right)
            || self
                .classes
                .iter()
                .any(|class| class.relations.meets(left) && class.relations.meets(right))
    }

    /// Estimates the rows of the join of a set of relations.
    pub(super) fn n_rows(&self, set: RelationSet) -> f64 {
        if let Some(relation) = set.single() {
            return self.facts[relation].n_rows.max(1.0);
        }
        let mut n_rows = 1.0;
        for relation in set.iter() {
            n_rows *= match self.dependents[relation] {
                Some((factor, _)) => factor,
                None => self.n_matchable[relation].max(1.0),
            };
        }
        n_rows /= self.divisor(set);
        for residual in &self.residuals {
            if set.contains(*residual) {
                n_rows *= RESIDUAL_SHARE;
            }
        }
        n_rows.max(1.0)
    }

    /// What equality divides the product of the rows of a set by.
    fn divisor(&self, set: RelationSet) -> f64 {
        let mut joined: Vec<Vec<RelationSet>> = vec![vec![]; self.classes.len()];
        let mut divisor = 1.0;
        for edge in &self.edges {
            if !set.has(edge.left) || !set.has(edge.right) {
                continue;
            }
            let open: Vec<_> = edge
                .classes
                .iter()
                .copied()
                .filter(|class| link(&mut joined[*class], edge.left, edge.right))
                .collect();
            if open.is_empty() {
                continue;
            }
            let side = |relation: usize| {
                let n_distinct = open.iter().map(|class| self.n_distinct(*class, relation));
                joint(n_distinct, self.facts[relation].n_base_rows)
            };
            let may_be_keys = match open.as_slice() {
                [class] => [edge.left, edge.right].iter().all(|r| self.may_be_key(*class, *r)),
                _ => false,
            };
            divisor *= n_values((side(edge.left), side(edge.right)), may_be_keys);
        }
        divisor
    }

    fn n_distinct(&self, class: usize, relation: usize) -> f64 {
        let members = self.classes[class].members.iter();
        let of_relation = members.filter(|member| member.relation == relation);
        let n_distinct = of_relation.map(|member| {
            let columns = vec![member.column.clone()];
            Facts { columns, ..self.facts[relation].clone() }.n_distinct(0)
        });
        n_distinct.reduce(f64::min).unwrap_or(1.0)
    }

    fn may_be_key(&self, class: usize, relation: usize) -> bool {
        let members = &self.classes[class].members;
        members.iter().any(|member| member.relation == relation && member.column.may_be_key)
    }

    /// Returns how many rows a dependent relation makes of one, and what it needs.
    fn dependent(&self, region: &Region, relation: usize) -> Option<(f64, RelationSet)> {
        let Role::Dependent(dependent) = &region.relations[relation].role else { return None };
        let plan = &region.relations[relation].plan;
        let key_of = |(left, right): &(Expr, Expr)| {
            let owner = region.relations_of(left)?.single()?;
            let schema = region.relations[owner].plan.schema();
            let here = distinct_of(left, &self.facts[owner], schema);
            Some((here, distinct_of(right, &self.facts[relation], plan.schema())))
        };
        let keys: Vec<_> = dependent.on.iter().filter_map(key_of).collect();
        let Dependent { kind, needs, .. } = dependent;
        if *kind == DependentKind::Left {
            let facts = &self.facts[relation];
            let n_values = joint(keys.iter().map(|(_, there)| there.0), facts.n_base_rows);
            let n_here = keys.iter().map(|(here, _)| here.0).product::<f64>();
            return Some(((facts.n_rows / n_values.max(n_here).max(1.0)).max(1.0), *needs));
        }
        let shares = keys.iter().map(|(here, there)| (there.1 / here.0.max(1.0)).min(1.0));
        let share = shares.reduce(f64::min).unwrap_or(0.5);
        let share = if *kind == DependentKind::Anti { 1.0 - share } else { share };
        Some((share.clamp(SEMI_AT_LEAST, 1.0), *needs))
    }

    /// Finds edges and neighbours. What keys leave apart is linked by filters, or else by cross joins.
    fn connect(&mut self) {
        let n = self.neighbours.len();
        for left in 0..n {
            for right in left + 1..n {
                let both = RelationSet::one(left).union(RelationSet::one(right));
                let classes: Vec<_> = (0..self.classes.len())
                    .filter(|class| self.classes[*class].relations.contains(both))
                    .collect();
                if !classes.is_empty() {
                    self.edges.push(Edge { left, right, classes });
                    self.link(left, right);
                }
            }
        }
        // Composite keys first: a column they share with other relations must not be counted apart.
        self.edges.sort_by_key(|edge| std::cmp::Reverse(edge.classes.len()));
        for relation in 0..n {
            if let Some((_, needs)) = self.dependents[relation] {
                needs.iter().for_each(|needed| self.link(relation, needed));
            }
        }
        while let Some((one, rest)) = self.apart() {
            let by_filter = self.residuals.clone();
            let filters = by_filter.iter().filter(|set| set.meets(one) && set.meets(rest));
            let pairs: Vec<_> = match filters.copied().reduce(RelationSet::union) {
                Some(set) => pairs(one, rest).filter(|(l, r)| set.has(*l) && set.has(*r)).collect(),
                None => pairs(one, rest).collect(),
            };
            pairs.into_iter().for_each(|(left, right)| self.link(left, right));
        }
    }

    fn link(&mut self, left: usize, right: usize) {
        self.neighbours[left] = self.neighbours[left].union(RelationSet::one(right));
        self.neighbours[right] = self.neighbours[right].union(RelationSet::one(left));
    }

    /// Returns what is linked with the first relation, and what is not, unless all are. Dependent relations link
    /// nothing: they come when what they need is joined already.
    fn apart(&self) -> Option<(RelationSet, RelationSet)> {
        let is_free = |relation: &usize| self.dependents[*relation].is_none();
        let free = self.all.iter().filter(is_free).map(RelationSet::one);
        let free = free.fold(RelationSet::default(), RelationSet::union);
        let mut reached = RelationSet::one(free.iter().next()?);
        loop {
            let more = reached.iter().fold(reached, |all, r| all.union(self.neighbours[r]));
            let more = RelationSet(more.0 & free.0);
            if more == reached {
                break;
            }
            reached = more;
        }
        let rest = free.without(reached);
        (!rest.is_empty()).then_some((reached, rest))
    }
}

/// Joins two relations in the partition of a class. Returns false when they were joined already.
fn link(groups: &mut Vec<RelationSet>, left: usize, right: usize) -> bool {
    let group_of = |groups: &[RelationSet], relation: usize| {
        groups.iter().position(|group| group.has(relation))
    };
    let both = RelationSet::one(left).union(RelationSet::one(right));
    match (group_of(groups, left), group_of(groups, right)) {
        (Some(l), Some(r)) if l == r => return false,
        (Some(l), Some(r)) => {
            let merged = groups[l].union(groups[r]);
            groups[l] = merged;
            groups.remove(r);
        }
        (Some(group), None) | (None, Some(group)) => groups[group] = groups[group].union(both),
        (None, None) => groups.push(both),
    }
    true
}

fn pairs(left: RelationSet, right: RelationSet) -> impl Iterator<Item = (usize, usize)> {
    left.iter().flat_map(move |l| right.iter().map(move |r| (l, r)))
}

fn classes(equalities: &[Equality], relations: &[Relation], facts: &[Facts]) -> Vec<Class> {
    let mut classes: Vec<Class> = vec![];
    let find = |classes: &[Class], (relation, expr): &(usize, Expr)| {
        classes.iter().position(|class| {
            class.members.iter().any(|m| m.relation == *relation && m.expr == *expr)
        })
    };
    let member = |(relation, expr): &(usize, Expr)| Member {
        relation: *relation,
        expr: expr.clone(),
        column: of_expr(expr, &facts[*relation], relations[*relation].plan.schema()),
    };
    for Equality { left, right } in equalities {
        match (find(&classes, left), find(&classes, right)) {
            (Some(l), Some(r)) if l == r => {}
            (Some(l), Some(r)) => {
                let merged = classes.remove(l.max(r));
                classes[l.min(r)].members.extend(merged.members);
            }
            (Some(class), None) => classes[class].members.push(member(right)),
            (None, Some(class)) => classes[class].members.push(member(left)),
            (None, None) => classes
                .push(Class { members: vec![member(left), member(right)], ..Class::default() }),
        }
    }
    for class in &mut classes {
        let relations = class.members.iter().map(|member| RelationSet::one(member.relation));
        class.relations = relations.fold(RelationSet::default(), RelationSet::union);
    }
    classes
}

/// Leaves in every class the values that all its members can have. Returns the rows of each relation that have them.
fn narrow(classes: &mut [Class], facts: &[Facts]) -> Vec<f64> {
    let mut n_rows: Vec<_> = facts.iter().map(|facts| facts.n_rows).collect();
    for class in classes {
        let bounds = class.members.iter().filter_map(|member| member.column.bounds);
        let Some(common) = bounds.reduce(|a, b| (a.0.max(b.0), a.1.min(b.1))) else { continue };
        for Member { relation, column, .. } in &mut class.members {
            let n_left = column.narrow(common) * facts[*relation].n_base_rows;
            // A filter is taken to have kept those that match: who asks for a year asks for one that has rows.
            n_rows[*relation] = n_rows[*relation].min(n_left.max(1.0));
        }
    }
    n_rows
}

/// Values of an expression before and after the relation's filters.
fn distinct_of(expr: &Expr, facts: &Facts, schema: &datafusion::common::DFSchema) -> (f64, f64) {
    let column = of_expr(expr, facts, schema);
    let facts = Facts { columns: vec![column], ..facts.clone() };
    (facts.n_distinct(0), facts.n_distinct_left(0))
}
