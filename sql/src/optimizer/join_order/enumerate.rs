//! Chooses an order: the cheapest of all bushy trees for few relations, greedily for many.
//!
//! Cost counts rows: those put into hash tables, those probed, those that come out. A probe of a table that stays in the
//! processor's caches is cheap, so that small tables are joined first. Cross joins are considered only between parts that
//! nothing links.

use super::graph::JoinGraph;
use super::region::JoinTree;
use super::set::RelationSet;

/// Relations up to which all trees are compared: 3^n pairs of sets.
const MAX_EXHAUSTIVE: usize = 11;
/// A row put into a hash table, against one that comes out.
const BUILD: f64 = 2.0;
const OUTPUT: f64 = 1.0;
/// A probe of a table of one row, and what it costs more for each tenfold number of rows. Measured in TPC-DS q78: 16 ns for a
/// table of 366 rows, 138 ns for one of 288,000 rows and three keys.
const PROBE: f64 = 0.4;
const PROBE_LARGER: f64 = 0.15;
/// One comparison of two rows, where there is no key.
const COMPARE: f64 = 0.5;

/// A tree with what it costs.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) tree: JoinTree,
    pub(super) cost: f64,
    n_rows: f64,
    set: RelationSet,
}

/// Returns the best order found; `None` when the graph cannot be joined up.
pub(super) fn best(graph: &JoinGraph) -> Option<Plan> {
    match graph.all().len() {
        0 | 1 => None,
        n if n <= MAX_EXHAUSTIVE => exhaustive(graph),
        _ => greedy(graph),
    }
}

/// Returns what an order costs.
pub(super) fn cost(graph: &JoinGraph, tree: &JoinTree) -> f64 {
    of_tree(graph, tree).cost
}

fn of_tree(graph: &JoinGraph, tree: &JoinTree) -> Plan {
    match tree {
        JoinTree::Leaf(relation) => leaf(graph, *relation),
        JoinTree::Join(left, right) => {
            let (left, right) = (of_tree(graph, left), of_tree(graph, right));
            let n_rows = graph.n_rows(left.set.union(right.set));
            join(graph, &left, &right, n_rows)
        }
    }
}

fn leaf(graph: &JoinGraph, relation: usize) -> Plan {
    let set = RelationSet::one(relation);
    Plan { tree: JoinTree::Leaf(relation), cost: 0.0, n_rows: graph.n_rows(set), set }
}

fn join_cost(graph: &JoinGraph, left: &Plan, right: &Plan, n_rows: f64) -> f64 {
    let work = if graph.has_keys(left.set, right.set) {
        let (build, probe) = (left.n_rows.min(right.n_rows), left.n_rows.max(right.n_rows));
        BUILD * build + (PROBE + PROBE_LARGER * build.max(1.0).log10()) * probe
    } else {
        COMPARE * left.n_rows * right.n_rows
    };
    left.cost + right.cost + work + OUTPUT * n_rows
}

fn join(graph: &JoinGraph, left: &Plan, right: &Plan, n_rows: f64) -> Plan {
    // A dependent relation is written on the right.
    let (left, right) = if graph.is_dependent(left.set) { (right, left) } else { (left, right) };
    Plan {
        tree: JoinTree::Join(Box::new(left.tree.clone()), Box::new(right.tree.clone())),
        cost: join_cost(graph, left, right, n_rows),
        n_rows,
        set: left.set.union(right.set),
    }
}

/// Compares all trees, by sets from small to large.
fn exhaustive(graph: &JoinGraph) -> Option<Plan> {
    let n = graph.all().len();
    // By the bits of the set.
    let mut best: Vec<Option<Plan>> = vec![None; 1 << n];
    for relation in 0..n {
        best[1 << relation] = Some(leaf(graph, relation));
    }
    for bits in 1..=graph.all().0 {
        let set = RelationSet(bits);
        if set.len() < 2 || !graph.is_complete(set) {
            continue;
        }
        let mut n_rows = None;
        let mut cheapest: Option<(RelationSet, f64)> = None;
        // Every split once: the part with the lowest relation is the left one.
        let lowest = bits & bits.wrapping_neg();
        let mut part = (bits - 1) & bits;
        while part > 0 {
            let (left, right) = (RelationSet(part), RelationSet(bits & !part));
            if part & lowest != 0
                && let (Some(l), Some(r)) = (at(&best, left), at(&best, right))
                && graph.may_join(left, right)
            {
                let n_rows = *n_rows.get_or_insert_with(|| graph.n_rows(set));
                let cost = join_cost(graph, l, r, n_rows);
                if cheapest.is_none_or(|(_, least)| cost < least) {
                    cheapest = Some((left, cost));
                }
            }
            part = (part - 1) & bits;
        }
        let Some((left, _)) = cheapest else { continue };
        if let (Some(l), Some(r)) = (at(&best, left), at(&best, set.without(left))) {
            let plan = join(graph, l, r, n_rows.unwrap_or(1.0));
            best[bits as usize] = Some(plan);
        }
    }
    best.pop().flatten()
}

fn at(best: &[Option<Plan>], set: RelationSet) -> Option<&Plan> {
    best.get(set.0 as usize)?.as_ref()
}

/// Joins the pair with the fewest rows, again and again.
fn greedy(graph: &JoinGraph) -> Option<Plan> {
    let mut parts: Vec<_> = graph.all().iter().map(|relation| leaf(graph, relation)).collect();
    while parts.len() > 1 {
        let mut cheapest: Option<(usize, usize, f64, f64)> = None;
        for left in 0..parts.len() {
            for right in left + 1..parts.len() {
                let (l, r) = (&parts[left], &parts[right]);
                if !graph.may_join(l.set, r.set) {
                    continue;
                }
                let n_rows = graph.n_rows(l.set.union(r.set));
                // By what the join adds: joins with a dimension cost their rows only once.
                let added = join_cost(graph, l, r, n_rows) - l.cost - r.cost;
                if cheapest.is_none_or(|(_, _, least, _)| added < least) {
                    cheapest = Some((left, right, added, n_rows));
                }
            }
        }
        let (left, right, _, n_rows) = cheapest?;
        let right = parts.remove(right);
        let left = parts.remove(left);
        parts.push(join(graph, &left, &right, n_rows));
    }
    parts.pop()
}
