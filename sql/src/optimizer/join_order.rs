//! Orders joins by statistics, where DataFusion keeps the order of FROM.
//!
//! ```text
//! before: ((catalog_sales ⋈ inventory) ⋈ warehouse) ⋈ …   783 million rows in the middle
//! after:  (… ⋈ (date_dim ⋈ catalog_sales)) ⋈ inventory
//! ```
//!
//! Runs after DataFusion's logical rules, when filters are at the scans they read. [`gather`] asks the providers for
//! their statistics and counts what filters over small tables keep; [`region`] takes a region of joins apart; [`graph`]
//! estimates the rows of its parts; [`enumerate`] chooses an order, which is taken only when it is clearly cheaper;
//! [`build`] puts the region together again. Full and right joins are boundaries of regions; only their sides are
//! chosen. The smaller side of every join becomes the left one, so DataFusion's own swapping is off for these plans.
//! Limits: 64 relations a region; all trees are compared up to 11 of them, greedy beyond.

mod build;
mod enumerate;
mod estimate;
mod facts;
mod gather;
mod graph;
mod region;
mod selectivity;
mod set;
mod sides;
#[cfg(test)]
mod tests;
mod work;

use super::{Part, PassLog};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::Optimizer;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use estimate::estimate;
pub use gather::FilterCounts;
pub(super) use gather::Gathered;
use graph::JoinGraph;
use region::{JoinTree, Region};
use std::sync::Arc;
use std::time::Instant;

/// The pass's name, as `saltlake.disabled_passes` takes it.
pub(super) const NAME: &str = "join_order";
/// An order must cost less than this share of the one it replaces: estimates are not exact enough for less.
const WORTH_IT: f64 = 0.8;

/// The estimated inputs of one join.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct JoinSize {
    /// Rows of the left input, which becomes the hash table.
    pub(super) n_build_rows: f64,
    /// Rows of the right input.
    pub(super) n_probe_rows: f64,
    /// Pairs of keys.
    pub(super) n_keys: usize,
}

/// A plan whose joins are ordered.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) plan: LogicalPlan,
    /// What each join reads, parents first.
    pub(super) sizes: Vec<JoinSize>,
    /// The estimated work of the whole plan, in rows that operators touch.
    pub(super) work: f64,
    /// What was reordered, a line a region.
    pub(super) notes: Vec<String>,
}

/// Returns a plan whose joins are ordered by statistics.
///
/// # Errors
/// When a plan cannot be walked or put together again.
pub(super) async fn run(
    state: &SessionState,
    plan: LogicalPlan,
    known: &mut Gathered,
    log: &PassLog,
) -> Result<Ordered> {
    if !has_join(&plan)? {
        return Ok(Ordered { plan, sizes: vec![], work: 0.0, notes: vec![] });
    }
    let start = Instant::now();
    known.learn(state, &plan).await?;
    let known = &*known;
    log.record(Part::Logical, "join_statistics", start.elapsed());
    let start = Instant::now();
    let mut pass = JoinOrder { known, notes: vec![] };
    let reordered = pass.rewrite(plan)?;
    let notes = pass.notes;
    let plan = if reordered.transformed {
        // Columns are cut where they are no longer needed, anew.
        let projections = Optimizer::with_rules(vec![Arc::new(OptimizeProjections::new())]);
        projections.optimize(reordered.data, state, |_, _| {})?
    } else {
        reordered.data
    };
    let sizes = sizes(&plan, known)?;
    let work = work::work(&plan, known)?;
    log.record(Part::Logical, NAME, start.elapsed());
    Ok(Ordered { plan, sizes, work, notes })
}

fn sizes(plan: &LogicalPlan, known: &Gathered) -> Result<Vec<JoinSize>> {
    let mut sizes = vec![];
    plan.apply(|node| {
        if let LogicalPlan::Join(join) = node {
            sizes.push(JoinSize {
                n_build_rows: estimate(&join.left, known).n_rows,
                n_probe_rows: estimate(&join.right, known).n_rows,
                n_keys: join.on.len(),
            });
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(sizes)
}

fn has_join(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Join(_));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

struct JoinOrder<'a> {
    known: &'a Gathered,
    notes: Vec<String>,
}

impl JoinOrder<'_> {
    fn rewrite(&mut self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        if region::reaches_join(&plan)
            && let Some(region) = Region::collect(&plan)?
        {
            return self.rewrite_region(plan, region);
        }
        let below = plan.map_subqueries(|plan| self.rewrite(plan))?;
        let below =
            below.transform_sibling(|plan| plan.map_children(|child| self.rewrite(child)))?;
        below.transform_data(|plan| match plan {
            LogicalPlan::Join(join) => sides::choose(join, self.known),
            plan => Ok(Transformed::no(plan)),
        })
    }

    fn rewrite_region(
        &mut self,
        plan: LogicalPlan,
        mut region: Region,
    ) -> Result<Transformed<LogicalPlan>> {
        for relation in &mut region.relations {
            let rewritten = self.rewrite(relation.plan.as_ref().clone())?;
            relation.plan = Arc::new(rewritten.data);
        }
        let graph = JoinGraph::of(&region, self.known);
        let before = enumerate::cost(&graph, &region.original);
        let tree = match enumerate::best(&graph) {
            Some(best) if best.cost < WORTH_IT * before => {
                self.notes.push(note(&region, &best.tree, before, best.cost));
                best.tree
            }
            _ => region.original.clone(),
        };
        Ok(Transformed::yes(build::build(&region, &graph, &tree, &plan)?))
    }
}

/// `Join order: a ⋈ (b ⋈ c), estimated cost 1.2e9 → 3.4e6 rows`.
fn note(region: &Region, tree: &JoinTree, before: f64, after: f64) -> String {
    let order = shown(region, tree, true);
    format!("Join order: {order}, estimated cost {before:.1e} → {after:.1e} rows")
}

fn shown(region: &Region, tree: &JoinTree, is_top: bool) -> String {
    match tree {
        JoinTree::Leaf(relation) => region.relations[*relation].label.clone(),
        JoinTree::Join(left, right) => {
            let both = format!("{} ⋈ {}", shown(region, left, false), shown(region, right, false));
            if is_top { both } else { format!("({both})") }
        }
    }
}
