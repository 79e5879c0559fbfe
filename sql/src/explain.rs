//! Shows the plan that really runs: placement, stages, tasks, exchanges; after a run, what each stage and task did.
//!
//! Called by `Session` for EXPLAIN and EXPLAIN ANALYZE. DataFusion's own EXPLAIN would print the plan before it is cut
//! into stages. Every wait for metrics of workers is bounded: a task that never ran never reports.

mod joins;

use crate::optimizer::PassLog;
use crate::placement::{Placed, ScanSize, human_bytes, scan_size, split_line};
use crate::settings::SaltlakeOptions;
use crate::skew::decide::JoinDecision;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{Metric, MetricsSet};
use datafusion_distributed::{
    DISTRIBUTED_DATAFUSION_TASK_ID_LABEL, DistributedExec, DistributedMetricsFormat,
    NetworkBoundaryExt, NetworkBroadcastExec, NetworkCoalesceExec, NetworkShuffleExec, Stage,
    display_plan_ascii, rewrite_distributed_plan_with_metrics,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What one task of a stage did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskReport {
    /// Rows the task read from files and exchanges.
    pub rows_in: usize,
    /// Rows the task gave to the next stage.
    pub rows_out: usize,
    /// Bytes in memory of those rows; 0 when not measured.
    pub bytes_out: usize,
    /// Compute time summed over the task's operators and partitions.
    pub compute: Duration,
    /// Bytes written to spill files.
    pub spilled_bytes: usize,
}

/// What one stage did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StageReport {
    /// Stage number; 0 is the coordinator's own stage.
    pub stage: usize,
    /// One report a task, in task order.
    pub tasks: Vec<TaskReport>,
}

impl StageReport {
    /// Returns the largest over the median number of input rows of the tasks: 1.0 is even; `None` for a single task.
    pub fn skew_ratio(&self) -> Option<f64> {
        if self.tasks.len() < 2 {
            return None;
        }
        let mut rows: Vec<_> = self.tasks.iter().map(|task| task.rows_in).collect();
        rows.sort_unstable();
        let middle = rows.len() / 2;
        let median = match rows.len() % 2 {
            0 => (rows[middle - 1] + rows[middle]) as f64 / 2.0,
            _ => rows[middle] as f64,
        };
        let max = rows.last().copied().unwrap_or_default() as f64;
        (max > 0.0).then(|| max / median.max(1.0))
    }
}

/// What planning left out of one scan of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruning {
    /// The table's name.
    pub table: String,
    /// Files of the table.
    pub n_files: usize,
    /// Files that are read.
    pub n_kept: usize,
    /// What else there is to say, such as the snapshot read.
    pub note: Option<String>,
}

/// What planning has to say besides the plan.
#[derive(Debug, Clone, Copy)]
pub struct Notes<'a> {
    /// What was left out of the scans.
    pub scans: &'a [Pruning],
    /// What was decided for the joins.
    pub joins: &'a [JoinDecision],
    /// What ran.
    pub passes: &'a PassLog,
}

/// The names of metrics in which scans say what they asked of object stores.
#[derive(Debug, Clone, Copy)]
pub struct ScanMetrics {
    /// Requests.
    pub requests: &'static str,
    /// Footers of Parquet files that were in memory.
    pub footers_cached: &'static str,
    /// Footers that were read.
    pub footers_read: &'static str,
}

/// What was measured of a run besides the metrics of its plan.
#[derive(Debug)]
pub struct Measured {
    /// Rows of the result.
    pub n_rows: usize,
    /// Time from planning to the last row.
    pub elapsed: Duration,
    /// Requests to object stores while the statement was planned, by kind.
    pub requests: Vec<(&'static str, u64)>,
    /// Where those of the scans are.
    pub scans: ScanMetrics,
}

/// Renders EXPLAIN, one string a line. `verbose` adds each table's scan and the passes with their times.
pub fn explain(placed: &Placed, notes: Notes<'_>, verbose: bool) -> Vec<String> {
    let Notes { passes, .. } = notes;
    let mut lines = header(placed, notes, verbose);
    lines.extend(tree_lines(&display_plan_ascii(placed.plan.as_ref(), false)));
    if verbose {
        lines.extend(pass_lines(passes));
    }
    lines
}

/// Renders EXPLAIN ANALYZE of a plan that has run to its end, one string a line.
pub async fn explain_analyze(
    placed: &Placed,
    notes: Notes<'_>,
    options: &SaltlakeOptions,
    measured: &Measured,
    verbose: bool,
) -> Vec<String> {
    let Notes { passes, .. } = notes;
    let Measured { n_rows, elapsed, .. } = measured;
    let mut lines = header(placed, notes, verbose);
    lines.push(format!("Planning: {:.3} s", passes.total().as_secs_f64()));
    lines.push(format!("Execution: {:.3} s, {n_rows} rows", elapsed.as_secs_f64()));
    let wait = Duration::from_secs(options.metrics_timeout_seconds as u64);
    let rewritten = rewrite_distributed_plan_with_metrics(
        Arc::clone(&placed.plan),
        DistributedMetricsFormat::PerTask,
    );
    match tokio::time::timeout(wait, rewritten).await {
        Ok(Ok(plan)) => {
            lines.extend(store_line(&plan, measured));
            for stage in stage_reports(&plan) {
                lines.extend(stage_lines(&stage));
            }
            lines.extend(tree_lines(&display_plan_ascii(plan.as_ref(), true)));
        }
        Ok(Err(error)) => lines.push(format!("Metrics: not available ({error})")),
        Err(_) => {
            lines.push(format!("Metrics: some tasks did not report within {} s", wait.as_secs()));
            lines.extend(tree_lines(&display_plan_ascii(placed.plan.as_ref(), false)));
        }
    }
    if verbose {
        lines.extend(pass_lines(passes));
    }
    lines
}

/// Placement, scan size, pruning, counts of stages and exchanges, and the joins.
fn header(placed: &Placed, notes: Notes<'_>, verbose: bool) -> Vec<String> {
    let Notes { scans, joins, passes } = notes;
    let size = scan_size(&placed.plan);
    let mut lines = vec![format!("Placement: {}", placed.placement)];
    lines.extend(scan_line(size, scans));
    if verbose {
        lines.extend(scans.iter().map(table_line));
    }
    lines.extend(passes.notes());
    if placed.plan.is::<DistributedExec>() {
        let counts = Counts::of(&placed.plan);
        lines.push(format!(
            "Stages: {} ({} tasks); exchanges: {} shuffle, {} broadcast, {} gather",
            counts.stages, counts.tasks, counts.shuffles, counts.broadcasts, counts.gathers
        ));
        lines.extend(split_line(&placed.plan));
    }
    lines.extend(joins::join_lines(joins));
    lines
}

/// Files and bytes read, of how many: `Scan: 3 files (9 pruned), 14 MB of 56 MB`.
fn scan_line(size: ScanSize, scans: &[Pruning]) -> Option<String> {
    let n_pruned: usize = scans.iter().map(|scan| scan.n_files - scan.n_kept).sum();
    if size.n_files == 0 && n_pruned == 0 {
        return None;
    }
    let s = if size.n_files == 1 { "" } else { "s" };
    let pruned = if n_pruned > 0 { format!(" ({n_pruned} pruned)") } else { String::new() };
    let bytes = human_bytes(size.bytes);
    let of = match human_bytes(size.file_bytes) {
        all if all == bytes => String::new(),
        all => format!(" of {all}"),
    };
    Some(format!("Scan: {} file{s}{pruned}, {bytes}{of}", size.n_files))
}

fn table_line(scan: &Pruning) -> String {
    let note = scan.note.iter().map(|note| format!(", {note}")).collect::<String>();
    format!("Table {}: {} of {} files{note}", scan.table, scan.n_kept, scan.n_files)
}

/// Stages and exchanges of a distributed plan.
#[derive(Debug, Default)]
struct Counts {
    stages: usize,
    tasks: usize,
    shuffles: usize,
    broadcasts: usize,
    gathers: usize,
}

impl Counts {
    fn of(plan: &Arc<dyn ExecutionPlan>) -> Self {
        let mut counts = Self { stages: 1, tasks: 1, ..Self::default() };
        // The closure never fails, so neither does the walk.
        let _ = plan.apply(|node| {
            let Some(boundary) = node.as_network_boundary() else {
                return Ok(TreeNodeRecursion::Continue);
            };
            counts.stages += 1;
            counts.tasks += boundary.input_stage().task_count();
            counts.shuffles += usize::from(node.is::<NetworkShuffleExec>());
            counts.broadcasts += usize::from(node.is::<NetworkBroadcastExec>());
            counts.gathers += usize::from(node.is::<NetworkCoalesceExec>());
            Ok(TreeNodeRecursion::Continue)
        });
        counts
    }
}

/// Returns the stages of an executed plan with metrics per task, the coordinator's stage first. A local plan has none.
pub fn stage_reports(plan: &Arc<dyn ExecutionPlan>) -> Vec<StageReport> {
    if !plan.is::<DistributedExec>() {
        return vec![];
    }
    let mut reports = vec![];
    for child in plan.children() {
        report_stage(0, 1, child, &mut reports);
    }
    reports.sort_by_key(|report| report.stage);
    reports
}

fn report_stage(
    stage: usize,
    n_tasks: usize,
    root: &Arc<dyn ExecutionPlan>,
    reports: &mut Vec<StageReport>,
) {
    let mut tasks: BTreeMap<usize, TaskReport> =
        (0..n_tasks).map(|task| (task, TaskReport::default())).collect();
    let mut rows_out_found = false;
    let _ = root.apply(|node| {
        let metrics = node.metrics().unwrap_or_default();
        let boundary = node.as_network_boundary();
        let is_leaf = boundary.is_some() || node.children().is_empty();
        add_metrics(&metrics, is_leaf, !rows_out_found, &mut tasks);
        rows_out_found |= metrics.iter().any(|metric| metric.value().name() == "output_rows");
        let Some(boundary) = boundary else { return Ok(TreeNodeRecursion::Continue) };
        if let Stage::Local(_) = boundary.input_stage()
            && let Some(plan) = boundary.input_stage().local_plan()
        {
            let input = boundary.input_stage();
            report_stage(input.num(), input.task_count(), plan, reports);
        }
        Ok(TreeNodeRecursion::Jump)
    });
    reports.push(StageReport { stage, tasks: tasks.into_values().collect() });
}

/// Adds one operator's metrics to the tasks they belong to.
fn add_metrics(
    metrics: &MetricsSet,
    is_leaf: bool,
    is_output: bool,
    tasks: &mut BTreeMap<usize, TaskReport>,
) {
    for metric in metrics.iter() {
        let Some(task) = tasks.get_mut(&task_of(metric)) else { continue };
        let value = metric.value().as_usize();
        match metric.value().name() {
            "output_rows" => {
                task.rows_in += if is_leaf { value } else { 0 };
                task.rows_out += if is_output { value } else { 0 };
            }
            "output_bytes" if is_output => task.bytes_out += value,
            "elapsed_compute" => task.compute += Duration::from_nanos(value as u64),
            "spilled_bytes" => task.spilled_bytes += value,
            _ => {}
        }
    }
}

/// The task a metric was measured in; the coordinator's own metrics count as task 0.
fn task_of(metric: &Metric) -> usize {
    metric
        .labels()
        .iter()
        .find(|label| label.name() == DISTRIBUTED_DATAFUSION_TASK_ID_LABEL)
        .and_then(|label| label.value().parse().ok())
        .unwrap_or_default()
}

/// Requests to object stores: `Object store: 3 requests, 1 of planning (1 head); footers: 1 of 1 in memory`.
fn store_line(plan: &Arc<dyn ExecutionPlan>, measured: &Measured) -> Option<String> {
    let scans = measured.scans;
    let planning: u64 = measured.requests.iter().map(|(_, n)| n).sum();
    let requests = planning + total(plan, scans.requests);
    let (cached, read) = (total(plan, scans.footers_cached), total(plan, scans.footers_read));
    let kinds: Vec<_> = measured.requests.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let of_planning = match kinds.is_empty() {
        true => String::new(),
        false => format!(", {planning} of planning ({})", kinds.join(", ")),
    };
    let footers = match (cached + read, requests) {
        (0, 0) => return None,
        // Files of a local disk.
        (footers, 0) => return Some(format!("Footers: {cached} of {footers} in memory")),
        (0, _) => String::new(),
        (footers, _) => format!("; footers: {cached} of {footers} in memory"),
    };
    Some(format!("Object store: {requests} requests{of_planning}{footers}"))
}

/// Adds up a metric over all operators and stages of an executed plan.
fn total(plan: &Arc<dyn ExecutionPlan>, name: &str) -> u64 {
    let mut sum = 0;
    // The closure never fails, so neither does the walk.
    let _ = plan.apply(|node| {
        let metrics = node.metrics().unwrap_or_default();
        let named = metrics.iter().filter(|metric| metric.value().name() == name);
        sum += named.map(|metric| metric.value().as_usize() as u64).sum::<u64>();
        Ok(TreeNodeRecursion::Continue)
    });
    sum
}

fn stage_lines(report: &StageReport) -> Vec<String> {
    let rows_in: usize = report.tasks.iter().map(|task| task.rows_in).sum();
    let rows_out: usize = report.tasks.iter().map(|task| task.rows_out).sum();
    let name = match report.stage {
        0 => "Stage 0 (coordinator)".to_string(),
        stage => format!("Stage {stage}"),
    };
    let skew = report.skew_ratio().map(|ratio| format!(", rows max/median {ratio:.2}"));
    let mut lines = vec![format!(
        "{name}: {} tasks, {rows_in} rows in, {rows_out} rows out{}",
        report.tasks.len(),
        skew.unwrap_or_default()
    )];
    for (i, task) in report.tasks.iter().enumerate() {
        lines.push(format!(
            "  task {i}: {} rows in, {} rows out ({}), compute {:.3} s, spilled {}",
            task.rows_in,
            task.rows_out,
            human_bytes(task.bytes_out as u64),
            task.compute.as_secs_f64(),
            human_bytes(task.spilled_bytes as u64),
        ));
    }
    lines
}

fn tree_lines(tree: &str) -> impl Iterator<Item = String> + '_ {
    tree.lines().map(|line| line.trim_end().to_string()).filter(|line| !line.is_empty())
}

fn pass_lines(passes: &PassLog) -> Vec<String> {
    let mut lines = vec!["Passes:".to_string()];
    for pass in passes.entries() {
        let part = format!("{:?}", pass.part).to_lowercase();
        let ms = pass.elapsed.as_secs_f64() * 1000.0;
        lines.push(format!("  {part:<9} {ms:>9.3} ms  {}", pass.name));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[usize], expected: Option<f64>) {
        let tasks =
            rows.iter().map(|&rows_in| TaskReport { rows_in, ..TaskReport::default() }).collect();
        assert_eq!(StageReport { stage: 1, tasks }.skew_ratio(), expected, "{rows:?}");
    }

    #[test]
    fn skew_ratio_is_max_over_median() {
        check(&[10, 10, 10], Some(1.0));
        check(&[40, 10, 10, 10], Some(4.0));
        check(&[30, 10], Some(1.5));
        check(&[0, 0], None);
        check(&[5], None);
    }
}
