//! Estimates the work of a whole logical plan, to compare two plans of one statement.
//!
//! Counts rows that operators touch, by what a row costs them. A shared plan works once, and its readers copy.

use super::super::share_subplans::Shared;
use super::estimate::estimate;
use super::gather::Gathered;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use std::collections::HashSet;

/// A column of a row that a scan decodes.
const SCAN: f64 = 0.3;
const FILTER: f64 = 0.3;
const GROUP: f64 = 3.0;
const SORT: f64 = 3.0;
const BUILD: f64 = 2.0;
/// A row read from what a shared plan kept.
const SHARED: f64 = 0.2;

/// Returns the work of a plan and of the subqueries in it.
///
/// # Errors
/// When a plan cannot be walked.
pub(super) fn work(plan: &LogicalPlan, known: &Gathered) -> Result<f64> {
    of(plan, known, &mut HashSet::new())
}

fn of(plan: &LogicalPlan, known: &Gathered, seen: &mut HashSet<usize>) -> Result<f64> {
    let n_rows = |plan: &LogicalPlan| estimate(plan, known).n_rows;
    let input = || plan.inputs().first().map_or(0.0, |input| n_rows(input));
    let mut total = match plan {
        LogicalPlan::TableScan(scan) => {
            SCAN * n_rows(plan) * scan.projected_schema.fields().len() as f64
        }
        LogicalPlan::Filter(_) => FILTER * input(),
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => GROUP * input(),
        LogicalPlan::Sort(_) | LogicalPlan::Window(_) => SORT * input(),
        LogicalPlan::Join(join) => BUILD * n_rows(&join.left) + n_rows(&join.right) + n_rows(plan),
        LogicalPlan::Extension(extension) => {
            let shared = extension.node.as_any().downcast_ref::<Shared>();
            if shared.is_some_and(|shared| !seen.insert(shared.number)) {
                return Ok(SHARED * n_rows(plan));
            }
            SHARED * n_rows(plan)
        }
        _ => 0.0,
    };
    for input in plan.inputs() {
        total += of(input, known, seen)?;
    }
    let mut subqueries = vec![];
    plan.apply_subqueries(|query| {
        subqueries.push(query.clone());
        Ok(TreeNodeRecursion::Jump)
    })?;
    for query in &subqueries {
        total += of(query, known, seen)?;
    }
    Ok(total)
}
