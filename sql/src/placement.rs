//! Decides where a physical plan runs, and cuts it into stages when it runs on the workers.
//!
//! Called by `Session` after the optimizer. A small query must not pay for distribution: below
//! `saltlake.distribution_min_bytes` of scanned files the plan stays on the coordinator, and so it does above where the
//! workers are predicted to be no faster. The cut itself is datafusion-distributed's; we hand it the finished plan, so every pass before it leaves a plan one process can run.

mod affinity;
mod splits;

pub use splits::{route_scan, split_line, split_scan};

use crate::optimizer::salt_join::settle;
use crate::optimizer::window_sorts::name_partition_columns;
use crate::optimizer::{Part, PassLog};
use crate::settings::{Distribution, SaltlakeOptions};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DistributedExec, DistributedLeafExec,
    SessionStateBuilderExt,
};
use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Instant;

/// Where a plan runs and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// In the process that planned it.
    Local {
        /// Why not on the workers.
        reason: String,
    },
    /// In stages on the workers.
    Distributed {
        /// Workers it may use.
        n_workers: usize,
        /// Why.
        reason: String,
    },
}

impl Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { reason } => write!(f, "local ({reason})"),
            Self::Distributed { n_workers, reason } => {
                let s = if *n_workers == 1 { "" } else { "s" };
                write!(f, "distributed over {n_workers} worker{s} ({reason})")
            }
        }
    }
}

/// A plan ready to execute.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The plan; its root is datafusion-distributed's `DistributedExec` when it runs on workers.
    pub plan: Arc<dyn ExecutionPlan>,
    /// Where it runs.
    pub placement: Placement,
}

/// Files a plan scans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanSize {
    /// Files, counted once per scan.
    pub n_files: usize,
    /// Bytes of those files or of the ranges read, all columns.
    pub file_bytes: u64,
    /// Bytes of the columns that are read, as far as the statistics of the files tell their share.
    pub bytes: u64,
}

/// Returns what the leaves of a plan read.
pub fn scan_size(plan: &Arc<dyn ExecutionPlan>) -> ScanSize {
    let mut size = ScanSize::default();
    // The closure never fails, so neither does the walk.
    let _ = plan.apply(|node| {
        // After the cut a leaf holds one variant a task; the original has all files.
        let leaf = node.downcast_ref::<DistributedLeafExec>().map_or(node, |leaf| leaf.original());
        if let Some(scan) = file_scan(leaf) {
            let share = share_of_columns(scan);
            for file in scan.file_groups.iter().flat_map(|group| group.files()) {
                size.n_files += 1;
                size.file_bytes += file.effective_size();
                size.bytes += (file.effective_size() as f64 * share) as u64;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    size
}

/// Returns the scan of files that a leaf is.
pub(crate) fn file_scan(leaf: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    leaf.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref()
}

/// The share of a scan's bytes that are in the columns it reads; 1.0 where the sizes of columns are not known.
///
/// A table of a hundred columns of which a query reads two is a small scan. The sizes are those in memory, so columns
/// that compress better than others count for a little more than they cost.
fn share_of_columns(scan: &FileScanConfig) -> f64 {
    let source = scan.file_source();
    let Some(projection) = source.projection() else { return 1.0 };
    let n_file_columns = source.table_schema().file_schema().fields().len();
    let statistics = scan.statistics();
    let sizes: Option<Vec<usize>> = statistics
        .column_statistics
        .iter()
        .take(n_file_columns)
        .map(|column| column.byte_size.get_value().copied())
        .collect();
    let Some(sizes) = sizes else { return 1.0 };
    let total: usize = sizes.iter().sum();
    let mut columns = projection.column_indices();
    columns.sort_unstable();
    columns.dedup();
    let read: usize = columns.iter().filter_map(|idx| sizes.get(*idx)).sum();
    if total == 0 { 1.0 } else { read as f64 / total as f64 }
}

/// Returns how many tasks the largest stage of a plan will have on `n_workers` workers.
pub fn stage_tasks(
    plan: &Arc<dyn ExecutionPlan>,
    options: &SaltlakeOptions,
    n_threads: usize,
    n_workers: usize,
) -> usize {
    if options.distribution == Distribution::Always {
        return n_workers.max(1);
    }
    let mut n_tasks = 1;
    let _ = plan.apply(|node| {
        if node.children().is_empty() {
            let bytes = scan_size(node).file_bytes as usize;
            let n_partitions = bytes.div_ceil(options.bytes_per_partition.max(1));
            n_tasks = n_tasks.max(n_partitions.div_ceil(n_threads.max(1)));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    n_tasks.min(n_workers.max(1))
}

/// Returns whether a plan holds a node of this name.
pub fn contains(plan: &Arc<dyn ExecutionPlan>, name: &str) -> bool {
    plan.exists(|node| Ok(node.name() == name)).unwrap_or_default()
}

/// Keeps leaves that must be read as a whole in a single task: datafusion-distributed would split them all the same.
pub fn whole_leaves_one_task(
    event: DesiredTaskCountEvent<'_>,
) -> Option<Result<DesiredTaskCountEventResponse>> {
    let is_leaf = event.plan.children().is_empty();
    let is_whole = is_leaf && splits::is_whole(event.plan);
    is_whole.then(|| Ok(DesiredTaskCountEventResponse::maximum(1)))
}

/// Who can run a plan: the coordinator, or its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Threads of the coordinator.
    pub n_threads_here: usize,
    /// Queries that share them, this one included.
    pub n_running: usize,
    /// Workers that take tasks.
    pub n_workers: usize,
    /// Threads of all workers.
    pub n_worker_threads: usize,
}

/// Stored bytes of columns that one thread gets through in a second, in a query with a join and a GROUP BY.
const BYTES_PER_SECOND: f64 = 200e6;
/// Seconds that stages cost whatever they read: a second plan, tasks to send, exchanges to open.
const DISTRIBUTION_SECONDS: f64 = 0.1;
/// Part of a worker's time that is left when exchanges are paid.
const WORKER_SHARE: f64 = 0.7;
/// Bytes from which a scan goes to the workers even where the coordinator would be as fast: it has other clients to serve.
const MAX_LOCAL_BYTES: u64 = 1 << 30;

impl Capacity {
    /// Predicted seconds of a scan on the coordinator and on the workers.
    fn seconds(&self, bytes: u64) -> (f64, f64) {
        let seconds =
            |n_threads: usize| bytes as f64 / (BYTES_PER_SECOND * n_threads.max(1) as f64);
        let here = seconds(self.n_threads_here) * self.n_running.max(1) as f64;
        (here, DISTRIBUTION_SECONDS + seconds(self.n_worker_threads) / WORKER_SHARE)
    }
}

/// Decides where a plan runs. `capacity` is `None` when this process has no cluster.
pub fn decide(size: ScanSize, options: &SaltlakeOptions, capacity: Option<Capacity>) -> Placement {
    let local = |reason: String| Placement::Local { reason };
    let Some(capacity) = capacity else { return local("standalone".to_string()) };
    let n_workers = capacity.n_workers;
    let (scans, least) = (human_bytes(size.bytes), options.distribution_min_bytes as u64);
    let (here, there) = capacity.seconds(size.bytes);
    match options.distribution {
        Distribution::Never => local("saltlake.distribution = never".to_string()),
        _ if size.n_files == 0 => local("scans no files".to_string()),
        Distribution::Always => Placement::Distributed {
            n_workers,
            reason: "saltlake.distribution = always".to_string(),
        },
        Distribution::Auto if size.bytes < least => {
            local(format!("scans {scans}, below {}", human_bytes(least)))
        }
        Distribution::Auto if n_workers > 0 && here <= there && size.bytes < MAX_LOCAL_BYTES => {
            let on_workers =
                format!("{there:.2} s on {} worker threads", capacity.n_worker_threads);
            local(format!("scans {scans}, predicted {here:.2} s here and {on_workers}"))
        }
        Distribution::Auto => {
            Placement::Distributed { n_workers, reason: format!("scans {scans}") }
        }
    }
}

/// Cuts a plan into stages when the placement says so.
///
/// A plan in which datafusion-distributed finds nothing to distribute stays as it is and becomes local; so does one that
/// it cannot plan, with a warning in the log.
///
/// # Errors
/// When a sort under a window cannot be rebuilt.
pub async fn place(
    state: &SessionState,
    plan: Arc<dyn ExecutionPlan>,
    placement: Placement,
    log: &PassLog,
) -> Result<Placed> {
    if matches!(placement, Placement::Local { .. }) {
        return Ok(Placed { plan, placement });
    }
    let start = Instant::now();
    let plan = name_partition_columns(plan)?;
    log.record(Part::Place, "name_partition_columns", start.elapsed());
    let start = Instant::now();
    let cut = cut_into_stages(state, Arc::clone(&plan)).await.and_then(settle);
    log.record(Part::Place, "distribute", start.elapsed());
    let plan = match cut {
        Ok(cut) => cut,
        Err(error) => {
            tracing::warn!(%error, "a plan cannot be cut into stages and stays local");
            let reason = "it cannot be cut into stages".to_string();
            return Ok(Placed { plan, placement: Placement::Local { reason } });
        }
    };
    if plan.is::<DistributedExec>() {
        return Ok(Placed { plan, placement });
    }
    let reason = "one task is enough".to_string();
    Ok(Placed { plan, placement: Placement::Local { reason } })
}

/// Runs datafusion-distributed's planner on a finished plan.
///
/// Its planner wraps the query planner that was set before it, so a planner that only returns the finished plan is
/// set first (the other order would drop datafusion-distributed).
async fn cut_into_stages(
    state: &SessionState,
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let state = SessionStateBuilder::new_from_existing(state.clone())
        .with_query_planner(Arc::new(Finished(plan)))
        .with_distributed_planner()
        .build();
    state.query_planner().create_physical_plan(&no_plan(), &state).await
}

/// A logical plan for a planner that does not look at it.
fn no_plan() -> LogicalPlan {
    LogicalPlan::EmptyRelation(EmptyRelation {
        produce_one_row: false,
        schema: Arc::new(DFSchema::empty()),
    })
}

/// A query planner for a plan that exists already.
#[derive(Debug)]
struct Finished(Arc<dyn ExecutionPlan>);

#[async_trait]
impl QueryPlanner for Finished {
    async fn create_physical_plan(
        &self,
        _: &LogicalPlan,
        _: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::clone(&self.0))
    }
}

/// Returns bytes as people read them: `512 B`, `1.5 KB`, `64 MB` (powers of 1024).
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the placement beside workers of two threads each and a coordinator of two.
    fn check(distribution: Distribution, bytes: u64, n_workers: Option<usize>, expected: &str) {
        let capacity = n_workers.map(|n_workers| Capacity {
            n_threads_here: 2,
            n_running: 1,
            n_workers,
            n_worker_threads: 2 * n_workers,
        });
        check_with(distribution, bytes, capacity, expected);
    }

    fn check_with(
        distribution: Distribution,
        bytes: u64,
        capacity: Option<Capacity>,
        expected: &str,
    ) {
        let options = SaltlakeOptions { distribution, ..SaltlakeOptions::default() };
        let size = ScanSize { n_files: usize::from(bytes > 0), file_bytes: bytes, bytes };
        assert_eq!(decide(size, &options, capacity).to_string(), expected);
    }

    #[test]
    fn small_scans_stay_local() {
        check(Distribution::Auto, 1_572_864, Some(3), "local (scans 1.5 MB, below 64 MB)");
        check(Distribution::Auto, 0, Some(3), "local (scans no files)");
    }

    #[test]
    fn large_scans_go_to_the_workers() {
        let expected = "distributed over 3 workers (scans 210 MB)";
        check(Distribution::Auto, 210 << 20, Some(3), expected);
    }

    #[test]
    fn workers_that_are_no_faster_get_only_what_is_too_large_here() {
        let expected = "local (scans 210 MB, predicted 0.55 s here and 0.89 s on 2 worker threads)";
        check(Distribution::Auto, 210 << 20, Some(1), expected);
        check(Distribution::Auto, 2 << 30, Some(1), "distributed over 1 worker (scans 2 GB)");
    }

    #[test]
    fn a_busy_coordinator_hands_over_earlier() {
        let capacity =
            Capacity { n_threads_here: 2, n_running: 4, n_workers: 1, n_worker_threads: 2 };
        let expected = "distributed over 1 worker (scans 210 MB)";
        check_with(Distribution::Auto, 210 << 20, Some(capacity), expected);
    }

    #[test]
    fn settings_and_role_win_over_size() {
        check(Distribution::Never, 210 << 20, Some(3), "local (saltlake.distribution = never)");
        check(Distribution::Auto, 210 << 20, None, "local (standalone)");
        let always = "distributed over 1 worker (saltlake.distribution = always)";
        check(Distribution::Always, 10, Some(1), always);
    }
}
