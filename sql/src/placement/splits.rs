//! Splits the files of a scan over the tasks of a stage, by bytes, the same file to the same worker where that is fair.
//!
//! Called by datafusion-distributed's planner for each leaf of a stage, once the number of tasks is known, and again when
//! the tasks are sent to workers. Its own way counts files, cuts files that cannot be read from the middle, fails when tasks
//! get different numbers of partitions, and sends tasks to any worker. Here every task has as many partitions as the scan
//! had, some of them empty when there is little to read; [`affinity`](super::affinity) says which worker reads what.
//!
//! ```text
//! files    |     a     | b |c|d|      e        |
//! tasks     a[0..9] b d e[6..]   a[9..] c e[0..6]   each on the worker that its files prefer
//! bins      a[0..9] | b d e[6..]                    a piece goes to the partition that holds its middle
//! ```
//!
//! Files of a partition that is read in order (`output_ordering`) stay in it and in their order: what is left of an ordered
//! sequence is ordered. Files that cannot be read from the middle stay whole.
//! Limit: a Parquet file is read by row groups, so a piece without the begin of one reads only the footer.

use super::affinity::{Unit, assign, choose, file_hash, seeds};
use super::{file_scan, human_bytes};
use crate::settings::{Distribution, SaltlakeOptions};
use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, Statistics};
use datafusion::datasource::listing::{FileRange, PartitionedFile};
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};
use datafusion::prelude::SessionConfig;
use datafusion_distributed::{
    DistributedGetterExt, DistributedLeafExec, NetworkBoundaryExt, RouteTasksEvent,
    RouteTasksEventResponse, ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse,
};
use std::cmp::Reverse;
use std::sync::Arc;
use url::Url;

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
    let workers = workers_of(event.session_config, scan, event.task_count);
    let variants = split(scan, &seeds(&workers, event.task_count), min_piece_bytes);
    let variants = variants.into_iter().map(|scan| DataSourceExec::from_data_source(scan) as _);
    let leaf = DistributedLeafExec::try_new(Arc::clone(event.plan), variants);
    Some(leaf.map(|leaf| ScaleUpLeafNodeEventResponse::new(Arc::new(leaf))))
}

/// Sends the tasks of a stage that reads files to the workers that these files were split for.
///
/// Where a stage has several such leaves, the largest decides. `None` for a stage that reads none.
pub fn route_scan(event: RouteTasksEvent<'_>) -> Option<Result<RouteTasksEventResponse>> {
    let mut largest: Option<(u64, Arc<dyn ExecutionPlan>)> = None;
    // The closure never fails, so neither does the walk.
    let _ = event.plan.apply(|node| {
        if node.as_network_boundary().is_some() {
            return Ok(TreeNodeRecursion::Jump);
        }
        if let Some(leaf) = node.downcast_ref::<DistributedLeafExec>()
            && let Some(scan) = file_scan(leaf.original())
        {
            let bytes = bytes_of(files(scan));
            if largest.as_ref().is_none_or(|(most, _)| *most < bytes) {
                largest = Some((bytes, Arc::clone(leaf.original())));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let (_, leaf) = largest?;
    let workers = workers_of(event.task_ctx.session_config(), file_scan(&leaf)?, event.task_count);
    let urls: Vec<Url> = workers.iter().cycle().take(event.task_count).cloned().collect();
    (!urls.is_empty()).then(|| Ok(RouteTasksEventResponse::new(urls)))
}

/// The workers that read a scan, in the order of its tasks; none where the query has none.
fn workers_of(config: &SessionConfig, scan: &FileScanConfig, n_tasks: usize) -> Vec<Url> {
    let resolver = config.get_distributed_worker_resolver();
    let urls = resolver.and_then(|resolver| resolver.get_urls()).unwrap_or_default();
    choose(urls, &units(&scan.object_store_url, &joined(files(scan))), n_tasks)
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

/// Splits a scan into one for each task; each has the seed of its worker.
fn split(scan: &FileScanConfig, seeds: &[u64], min_piece_bytes: u64) -> Vec<FileScanConfig> {
    if seeds.len() <= 1 {
        return vec![scan.clone()];
    }
    let is_ordered = scan.preserve_order || !scan.output_ordering.is_empty();
    let can_cut =
        scan.file_source.supports_repartitioning() && !scan.file_compression_type.is_compressed();
    let min_piece_bytes = if can_cut { min_piece_bytes } else { u64::MAX };
    let tasks = match is_ordered {
        true => in_order(scan, seeds, min_piece_bytes),
        false => evenly(scan, seeds, min_piece_bytes),
    };
    let total = bytes_of(files(scan));
    tasks.into_iter().map(|partitions| scan_of_task(scan, partitions, total)).collect()
}

fn units(store: &ObjectStoreUrl, files: &[PartitionedFile]) -> Vec<Unit> {
    let unit = |file: &PartitionedFile| {
        let (start, end) = file.range();
        Unit { hash: file_hash(store.as_str(), file.path().as_ref()), start, end }
    };
    files.iter().map(unit).collect()
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

/// Gives each task its files of each partition, in the partition's order.
fn in_order(scan: &FileScanConfig, seeds: &[u64], min_piece_bytes: u64) -> Vec<Partitions> {
    let groups = scan.file_groups.iter().map(|group| joined(group.iter()));
    let of_groups = groups.enumerate();
    let (groups, files): (Vec<usize>, Vec<PartitionedFile>) = of_groups
        .flat_map(|(group, files)| files.into_iter().map(move |file| (group, file)))
        .unzip();
    let mut tasks = vec![vec![vec![]; scan.file_groups.len()]; seeds.len()];
    for part in assign(&units(&scan.object_store_url, &files), seeds, min_piece_bytes) {
        let file = piece(&files[part.unit], part.start, part.end);
        tasks[part.task][groups[part.unit]].push(file);
    }
    tasks
}

/// Gives each task its files, cut into equal partitions.
fn evenly(scan: &FileScanConfig, seeds: &[u64], min_piece_bytes: u64) -> Vec<Partitions> {
    let files = joined(files(scan));
    let mut tasks = vec![vec![]; seeds.len()];
    for part in assign(&units(&scan.object_store_url, &files), seeds, min_piece_bytes) {
        tasks[part.task].push(piece(&files[part.unit], part.start, part.end));
    }
    let n_partitions = scan.file_groups.len();
    let cut = |files: Vec<PartitionedFile>| match min_piece_bytes {
        u64::MAX => packed(files, n_partitions),
        _ => cut(&files, n_partitions, min_piece_bytes),
    };
    tasks.into_iter().map(cut).collect()
}

/// Gives whole files to the partition with the least to read, the largest files first.
fn packed(mut files: Vec<PartitionedFile>, n_partitions: usize) -> Partitions {
    files.sort_by_key(|file| Reverse(file.effective_size()));
    let mut bins: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, vec![]); n_partitions];
    for file in files {
        // The number of files decides between empty ones.
        let least = bins.iter_mut().min_by_key(|(bytes, files)| (*bytes, files.len()));
        if let Some((bytes, files)) = least {
            *bytes += file.effective_size();
            files.push(file);
        }
    }
    bins.into_iter().map(|(_, files)| files).collect()
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
