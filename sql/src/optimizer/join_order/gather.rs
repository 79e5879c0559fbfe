//! Gathers what planning can know of the tables of a statement before joins are ordered.
//!
//! Every scan is asked of its provider as the physical planner will ask it again: that reads footers, which are cached,
//! and prunes files. A filter over a table of few rows is run and its rows counted, because a fixed guess about
//! `d_year = 2000` is what makes join orders bad; both the rows of the table and the time are bounded, and counts are
//! kept as long as the files stay the same.

use super::estimate::UNKNOWN_ROWS;
use super::facts::Facts;
use super::region::has_subquery;
use crate::fingerprint::fingerprint;
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, TableScan};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::StreamExt;
use moka::future::Cache;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows of a table up to which a filter over it is run to count what it keeps.
const MAX_COUNTED_ROWS: f64 = 250_000.0;
/// Rows of the largest table from which filters are counted: below, the worst order costs less than the counts.
const MIN_LARGEST_ROWS: f64 = 50_000.0;
/// Time all counts of one statement may take.
const MAX_COUNTING_TIME: Duration = Duration::from_millis(150);
/// Scans of one statement that are looked at.
const MAX_SCANS: usize = 256;

/// Counts kept; each is a few bytes.
const MAX_COUNTS: u64 = 10_000;

/// Rows that filters over small tables were counted to keep, by the fingerprint of the plan that counted them.
///
/// An extension of a session's configuration, shared by all sessions; without one every statement counts anew.
#[derive(Debug)]
pub struct FilterCounts(Cache<u64, usize>);

impl Default for FilterCounts {
    fn default() -> Self {
        Self(Cache::new(MAX_COUNTS))
    }
}

/// Statistics of scans, and counted rows of filters over them. For one statement, whatever becomes of its plan.
#[derive(Debug, Default)]
pub(in crate::optimizer) struct Gathered {
    scans: HashMap<String, Facts>,
    filters: HashMap<String, f64>,
}

impl Gathered {
    /// Asks the providers of all scans in a plan that are not known yet, and counts what filters over small tables keep.
    ///
    /// # Errors
    /// When a plan cannot be walked. A provider or a count that fails leaves its scan without facts: the real scan will
    /// say what is wrong.
    pub(in crate::optimizer) async fn learn(
        &mut self,
        state: &SessionState,
        plan: &LogicalPlan,
    ) -> Result<()> {
        let mut scans = vec![];
        let mut filters = vec![];
        plan.apply_with_subqueries(|node| {
            match node {
                LogicalPlan::TableScan(scan) => scans.push(scan.clone()),
                LogicalPlan::Filter(filter) => filters.push(filter.clone()),
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        let mut n_largest: f64 = 0.0;
        for scan in scans.into_iter().take(MAX_SCANS) {
            let key = scan_key(&scan);
            if !self.scans.contains_key(&key)
                && let Ok(facts) = scan_facts(state, &scan).await
            {
                self.scans.insert(key, facts);
            }
            n_largest = n_largest.max(self.scan(&scan).n_rows);
        }
        let deadline = Instant::now() + MAX_COUNTING_TIME;
        let is_large = n_largest >= MIN_LARGEST_ROWS;
        for filter in filters.into_iter().take(MAX_SCANS).filter(|_| is_large) {
            let Some(key) = filter_key(&filter) else { continue };
            let wait = deadline.saturating_duration_since(Instant::now());
            if self.filters.contains_key(&key) || wait.is_zero() {
                continue;
            }
            if !self.is_worth_counting(&filter) {
                continue;
            }
            if let Ok(Ok(n_rows)) = tokio::time::timeout(wait, count(state, &filter)).await {
                self.filters.insert(key, n_rows as f64);
            }
        }
        Ok(())
    }

    /// Returns what is known of a scan.
    pub(super) fn scan(&self, scan: &TableScan) -> Facts {
        let n_columns = scan.projected_schema.fields().len();
        let facts = self.scans.get(&scan_key(scan)).cloned();
        facts.unwrap_or_else(|| Facts::unknown(UNKNOWN_ROWS, n_columns))
    }

    /// Returns the rows a filter over a scan keeps, where they were counted.
    pub(super) fn filtered(&self, filter: &Filter) -> Option<f64> {
        self.filters.get(&filter_key(filter)?).copied()
    }

    /// Returns the share of a scan's rows in which a column is NULL, where the scan's rows are known.
    pub(in crate::optimizer) fn null_share(
        &self,
        scan: &TableScan,
        column: &Column,
    ) -> Option<f64> {
        let facts = self.scan(scan);
        let position = scan.projected_schema.maybe_index_of_column(column)?;
        let column = facts.columns.get(position).filter(|_| facts.is_known)?;
        Some(column.null_share)
    }

    fn is_worth_counting(&self, filter: &Filter) -> bool {
        let LogicalPlan::TableScan(scan) = filter.input.as_ref() else { return false };
        let facts = self.scan(scan);
        facts.is_known && facts.n_rows <= MAX_COUNTED_ROWS && !is_only_not_null(&filter.predicate)
    }
}

/// `IS NOT NULL`, which null counts of footers answer.
fn is_only_not_null(predicate: &Expr) -> bool {
    let conjuncts = datafusion::logical_expr::utils::split_conjunction(predicate);
    conjuncts.iter().all(|expr| matches!(expr, Expr::IsNotNull(_)))
}

fn scan_key(scan: &TableScan) -> String {
    format!("{} {:?} {:?}", scan.table_name, scan.projection, scan.filters)
}

fn filter_key(filter: &Filter) -> Option<String> {
    let LogicalPlan::TableScan(scan) = filter.input.as_ref() else { return None };
    let predicate = &filter.predicate;
    let fits = scan.fetch.is_none() && !predicate.is_volatile() && !has_subquery(predicate);
    fits.then(|| format!("{} {:?} {predicate:?}", scan.table_name, scan.filters))
}

async fn scan_facts(state: &SessionState, scan: &TableScan) -> Result<Facts> {
    let plan = scan_plan(state, scan, scan.projection.as_ref()).await?;
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new())?;
    Ok(Facts::of_scan(&statistics, scan.projected_schema.fields().len()))
}

async fn scan_plan(
    state: &SessionState,
    scan: &TableScan,
    projection: Option<&Vec<usize>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let provider = source_as_provider(&scan.source)?;
    let filters = scan.filters.iter().filter(|filter| !has_subquery(filter)).cloned();
    let filters = datafusion::logical_expr::expr_rewriter::unnormalize_cols(filters);
    provider.scan(state, projection, &filters, None).await
}

/// Counts the rows a filter keeps, reading its columns alone, on this thread, unless they were counted before.
async fn count(state: &SessionState, filter: &Filter) -> Result<usize> {
    let LogicalPlan::TableScan(scan) = filter.input.as_ref() else { return Ok(0) };
    let columns = filter.predicate.column_refs();
    let schema = scan.source.schema();
    let mut projection = vec![];
    for column in columns {
        projection.push(schema.index_of(&column.name)?);
    }
    projection.sort_unstable();
    projection.dedup();
    let mut state = state.clone();
    state.config_mut().options_mut().execution.target_partitions = 1;
    let plan = scan_plan(&state, scan, Some(&projection)).await?;
    let fields = projection.iter().map(|i| {
        let field = Arc::new(schema.field(*i).clone());
        (Some(scan.table_name.clone()), field)
    });
    let schema = datafusion::common::DFSchema::new_with_metadata(fields.collect(), HashMap::new())?;
    let predicate = state.create_physical_expr(filter.predicate.clone(), &schema)?;
    let plan: Arc<dyn ExecutionPlan> = Arc::new(FilterExec::try_new(predicate, plan)?);
    let Some(counts) = state.config().get_extension::<FilterCounts>() else {
        return run(plan, &state).await;
    };
    let key = fingerprint(&plan, ());
    if let Some(n_rows) = counts.0.get(&key).await {
        return Ok(n_rows);
    }
    let n_rows = run(plan, &state).await?;
    counts.0.insert(key, n_rows).await;
    Ok(n_rows)
}

async fn run(plan: Arc<dyn ExecutionPlan>, state: &SessionState) -> Result<usize> {
    let mut n_rows = 0;
    for partition in 0..plan.output_partitioning().partition_count() {
        let mut batches = plan.execute(partition, state.task_ctx())?;
        while let Some(batch) = batches.next().await {
            n_rows += batch?.num_rows();
        }
    }
    Ok(n_rows)
}
