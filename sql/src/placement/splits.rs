//! Splits the files of a scan over the tasks of a stage, by bytes.
//!
//! Called by datafusion-distributed's planner for each leaf of a stage, once the number of tasks is known. Its own way
//! counts files, cuts files that cannot be read from the middle, and fails when tasks get different numbers of partitions.
//! Here every task has as many partitions as the scan had, some of them empty when there is little to read.
//!
//! ```text
//! files    |     a     | b |c|d|      e        |
//! bins     |   0   |   1   |   2   |   3   |         two tasks of two partitions
//!           a[0..9] a[9..] b   c d e[0..6] e[6..]    a piece goes to the bin that holds its middle
//! ```
//!
//! A partition whose files are read in order (`output_ordering`) is cut into runs that keep it: each task reads one. Files
//! that cannot be read from the middle go whole to the task with the least to read.
//! Limit: a Parquet file is read by row groups, so a piece without the begin of one reads only the footer.

use super::{file_scan, human_bytes};
use crate::settings::{Distribution, SaltlakeOptions};
use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, Statistics};
use datafusion::datasource::listing::{FileRange, PartitionedFile};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};
use datafusion_distributed::{
    DistributedLeafExec, ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse,
};
use std::cmp::Reverse;
use std::sync::Arc;

/// Least bytes of a piece of a file: opening a file once more must not cost more than reading the piece.
const MIN_PIECE_BYTES: u64 = 1 << 20;

/// The partitions of one task.
type Partitions = Vec<Vec<PartitionedFile>>;

/// Gives each task of a stage its part of a file scan; `None` for a leaf of another kind.
pub fn split_scan(event: ScaleUpLeafNodeEvent<'_>) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
    let scan = file_scan(event.plan)?;
    let options = event.session_config.options().extensions.get::<SaltlakeOptions>();
    let min_piece_bytes = match options.map(|options| options.distribution) {
        // Every file is worth a task when distribution is asked for.
        Some(Distribution::Always) => 1,
        _ => MIN_PIECE_BYTES,
    };
    let variants = split(scan, event.task_count, min_piece_bytes);
    let variants = variants.into_iter().map(|scan| DataSourceExec::from_data_source(scan) as _);
    let leaf = DistributedLeafExec::try_new(Arc::clone(event.plan), variants);
    Some(leaf.map(|leaf| ScaleUpLeafNodeEventResponse::new(Arc::new(leaf))))
}

/// Returns whether all of a leaf must be read in one task.
///
/// Operators above a single partition (a limit, a window, a sort) may rely on seeing all rows, and those above partitions
/// that are told apart by values on seeing all rows of a value.
pub(super) fn is_whole(leaf: &Arc<dyn ExecutionPlan>) -> bool {
    let partitioning = leaf.output_partitioning();
    partitioning.partition_count() == 1
        || !matches!(
            partitioning,
            Partitioning::UnknownPartitioning(_) | Partitioning::RoundRobinBatch(_)
        )
}

/// Returns what the tasks of a plan's largest scan read: `Splits: 3 tasks, at most 15 MB, median 14 MB`.
pub fn split_line(plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    let mut largest: Vec<u64> = vec![];
    // The closure never fails, so neither does the walk.
    let _ = plan.apply(|node| {
        if let Some(leaf) = node.downcast_ref::<DistributedLeafExec>() {
            let tasks = leaf.variants().iter().filter_map(file_scan);
            let bytes: Vec<u64> = tasks.map(|scan| bytes_of(files(scan))).collect();
            if bytes.iter().sum::<u64>() > largest.iter().sum() {
                largest = bytes;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    largest.sort_unstable();
    let (most, median) = (*largest.last()?, largest[largest.len() / 2]);
    (largest.len() > 1).then(|| {
        let (most, median) = (human_bytes(most), human_bytes(median));
        format!("Splits: {} tasks, at most {most}, median {median}", largest.len())
    })
}

fn files(scan: &FileScanConfig) -> impl Iterator<Item = &PartitionedFile> {
    scan.file_groups.iter().flat_map(FileGroup::iter)
}

fn bytes_of<'a>(files: impl Iterator<Item = &'a PartitionedFile>) -> u64 {
    files.map(PartitionedFile::effective_size).sum()
}

/// Splits a scan into one for each task.
fn split(scan: &FileScanConfig, n_tasks: usize, min_piece_bytes: u64) -> Vec<FileScanConfig> {
    if n_tasks <= 1 {
        return vec![scan.clone()];
    }
    let is_ordered = scan.preserve_order || !scan.output_ordering.is_empty();
    let can_cut =
        scan.file_source.supports_repartitioning() && !scan.file_compression_type.is_compressed();
    let min_piece_bytes = if can_cut { min_piece_bytes } else { u64::MAX };
    let n_partitions = scan.file_groups.len();
    let tasks = match (is_ordered, can_cut) {
        (true, _) => in_order(&scan.file_groups, n_tasks, min_piece_bytes),
        (false, true) => evenly(files(scan), n_tasks, n_partitions, min_piece_bytes),
        (false, false) => whole(files(scan), n_tasks, n_partitions),
    };
    let total = bytes_of(files(scan));
    tasks.into_iter().map(|partitions| scan_of_task(scan, partitions, total)).collect()
}

/// The scan of one task. Statistics are guesses from here on: they are those of all tasks, by the task's share of bytes.
fn scan_of_task(scan: &FileScanConfig, partitions: Partitions, total: u64) -> FileScanConfig {
    let bytes = bytes_of(partitions.iter().flatten());
    let share = if total == 0 { 0.0 } else { bytes as f64 / total as f64 };
    let part = |n: Precision<usize>| match n.get_value() {
        Some(n) => Precision::Inexact((*n as f64 * share) as usize),
        None => Precision::Absent,
    };
    let all = scan.statistics();
    let statistics = Statistics {
        num_rows: part(all.num_rows),
        total_byte_size: part(all.total_byte_size),
        ..all.to_inexact()
    };
    FileScanConfigBuilder::from(scan.clone())
        .with_file_groups(partitions.into_iter().map(FileGroup::new).collect())
        .with_statistics(statistics)
        .build()
}

/// Cuts each partition into runs, one for each task, so that each of them is as ordered as the partition was.
fn in_order(groups: &[FileGroup], n_tasks: usize, min_piece_bytes: u64) -> Vec<Partitions> {
    let mut tasks = vec![vec![]; n_tasks];
    for group in groups {
        let runs = cut(&joined(group.iter()), n_tasks, min_piece_bytes);
        for (task, run) in tasks.iter_mut().zip(runs) {
            task.push(run);
        }
    }
    tasks
}

/// Cuts all files, one after the other, into equal parts. Neighbours stay in one task, so that few files are opened twice.
fn evenly<'a>(
    files: impl Iterator<Item = &'a PartitionedFile>,
    n_tasks: usize,
    n_partitions: usize,
    min_piece_bytes: u64,
) -> Vec<Partitions> {
    let mut bins = cut(&joined(files), n_tasks * n_partitions, min_piece_bytes).into_iter();
    (0..n_tasks).map(|_| bins.by_ref().take(n_partitions).collect()).collect()
}

/// Gives files to the partition with the least to read, the largest files first.
fn whole<'a>(
    files: impl Iterator<Item = &'a PartitionedFile>,
    n_tasks: usize,
    n_partitions: usize,
) -> Vec<Partitions> {
    let mut files = joined(files);
    files.sort_by_key(|file| Reverse(file.effective_size()));
    let mut bins: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, vec![]); n_tasks * n_partitions];
    for file in files {
        // The number of files decides between empty ones.
        let least = bins.iter_mut().min_by_key(|(bytes, files)| (*bytes, files.len()));
        if let Some((bytes, files)) = least {
            *bytes += file.effective_size();
            files.push(file);
        }
    }
    // Bins are filled in turn, so neighbours belong to different tasks.
    let mut tasks = vec![vec![]; n_tasks];
    for (idx, (_, files)) in bins.into_iter().enumerate() {
        tasks[idx % n_tasks].push(files);
    }
    tasks
}

/// Joins the pieces of a file that follow each other: the planner has cut files for the partitions of one process.
fn joined<'a>(files: impl Iterator<Item = &'a PartitionedFile>) -> Vec<PartitionedFile> {
    let mut joined: Vec<PartitionedFile> = vec![];
    for file in files {
        let (start, end) = file.range();
        match joined.last_mut() {
            Some(last)
                if last.object_meta.location == file.object_meta.location
                    && last.range().1 == start
                    && start > 0 =>
            {
                *last = piece(last, last.range().0, end);
            }
            _ => joined.push(piece(file, start, end)),
        }
    }
    joined
}

/// A range of a file; all of it has no range.
fn piece(file: &PartitionedFile, start: u64, end: u64) -> PartitionedFile {
    let mut piece = file.clone();
    let is_all = start == 0 && end == file.object_meta.size;
    // Sizes of files are within i64.
    piece.range = (!is_all).then_some(FileRange { start: start as i64, end: end as i64 });
    piece
}

/// Cuts a sequence of files at the edges of equal bins, where both pieces have `min_piece_bytes`; keeps their order.
fn cut(files: &[PartitionedFile], n_bins: usize, min_piece_bytes: u64) -> Partitions {
    let total: u64 = files.iter().map(PartitionedFile::effective_size).sum();
    let edge = |bin: usize| (u128::from(total) * bin as u128 / n_bins as u128) as u64;
    let mut bins = vec![vec![]; n_bins];
    let (mut position, mut next_bin) = (0, 1);
    for file in files {
        let (start, end) = file.range();
        let after = position + (end - start);
        let mut from = start;
        while next_bin < n_bins && edge(next_bin) < after {
            // An edge before the file belongs to a file that was not cut there.
            let at = start + edge(next_bin).saturating_sub(position);
            if at - from >= min_piece_bytes && end - at >= min_piece_bytes {
                put(&mut bins, piece(file, from, at), position + (from - start), total);
                from = at;
            }
            next_bin += 1;
        }
        put(&mut bins, piece(file, from, end), position + (from - start), total);
        position = after;
    }
    bins
}

/// Puts a piece that begins at `position` into the bin that holds its middle.
fn put(bins: &mut [Vec<PartitionedFile>], piece: PartitionedFile, position: u64, total: u64) {
    let twice_middle = 2 * u128::from(position) + u128::from(piece.effective_size());
    let bin = twice_middle * bins.len() as u128 / (2 * u128::from(total)).max(1);
    let last = bins.len() - 1;
    bins[usize::try_from(bin).unwrap_or(last).min(last)].push(piece);
}

#[cfg(test)]
mod tests;
