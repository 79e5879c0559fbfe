//! Samples the keys of joins, and keeps what was found.
//!
//! Implements `saltlake_sql`'s `KeyProfiles` for a query that is being planned. A sample reads the scan behind a join's
//! input with the query's own filters, from places spread over its files. Its rows are capped by
//! `saltlake.skew_sample_rows`, the time of all samples of a query by `saltlake.skew_sample_ms`. Profiles are kept by
//! files, filters and keys: a changed file is another profile. Limits: row groups are read from their start.

use arrow::array::RecordBatch;
use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::execution::{SessionState, TaskContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::future::BoxFuture;
use futures::stream::select_all;
use futures::{StreamExt, TryStreamExt, future};
use moka::future::Cache;
use saltlake_sql::fingerprint::{files_of, fingerprint};
use saltlake_sql::settings::SaltlakeOptions;
use saltlake_sql::skew::profile::{KeyProfile, KeyProfiles};
use saltlake_sql::skew::sample::{Source, isolated, source};
use saltlake_sql::skew::sketch::KeyCounter;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Profiles kept; each is a few kilobytes at most.
const MAX_PROFILES: u64 = 1_000;

/// Places of a table a sample is drawn from.
const MAX_PLACES: usize = 32;

/// Inputs of up to so many times the rows of a sample are read whole.
const WHOLE_BELOW: usize = 4;

/// Bytes of a file that count as one place: row groups are seldom larger.
const PLACE_BYTES: u64 = 16 << 20;

/// Rows below which a sample that ran out of time says nothing.
const MIN_ROWS: u64 = 4_096;

/// Rows of a batch of a sample.
const BATCH_ROWS: usize = 2_048;

/// Profiles of the joins planned lately.
pub(super) struct ProfileCache(Cache<u64, Arc<KeyProfile>>);

impl Default for ProfileCache {
    fn default() -> Self {
        Self(Cache::new(MAX_PROFILES))
    }
}

/// The profiles of one query.
pub(super) struct SampledProfiles<'a> {
    cache: &'a ProfileCache,
    state: &'a SessionState,
    options: &'a SaltlakeOptions,
    /// When all samples of the query must be done.
    deadline: tokio::time::Instant,
}

impl<'a> SampledProfiles<'a> {
    /// Samples with a session's settings.
    pub fn new(
        cache: &'a ProfileCache,
        state: &'a SessionState,
        options: &'a SaltlakeOptions,
    ) -> Self {
        let time = Duration::from_millis(options.skew_sample_ms as u64);
        Self { cache, state, options, deadline: tokio::time::Instant::now() + time }
    }

    async fn sample(
        &self,
        scan: Arc<dyn ExecutionPlan>,
        is_through_join: bool,
    ) -> Result<Option<Arc<KeyProfile>>> {
        let start = Instant::now();
        let n_total = n_scanned(&scan);
        let plan = isolated(spread_over_files(scan)?, &self.state.task_ctx());
        let n_places = plan.output_partitioning().partition_count();
        if n_places == 0 {
            return Ok(None);
        }
        let n_wanted = self.options.skew_sample_rows.max(1);
        // A small input is read whole: a key with a few rows in it decides how much work a heavy one of the other makes.
        let is_small = n_total.is_some_and(|rows| rows <= (n_wanted * WHOLE_BELOW) as u64);
        let limit = if is_small { usize::MAX } else { n_wanted.div_ceil(n_places) };
        let config = self.state.config().clone().with_batch_size(BATCH_ROWS.min(limit));
        let context = Arc::new(TaskContext::from(self.state).with_session_config(config));
        let mut places = vec![];
        for place in 0..n_places {
            let mut n_rows = 0;
            let rows = plan.execute(place, Arc::clone(&context))?.try_take_while(move |batch| {
                let is_wanted = n_rows < limit;
                n_rows += batch.num_rows();
                future::ready(Ok(is_wanted))
            });
            places.push(rows.boxed());
        }
        let mut rows = select_all(places);
        let mut counter = KeyCounter::default();
        let is_whole = loop {
            match tokio::time::timeout_at(self.deadline, rows.next()).await {
                Ok(Some(batch)) => {
                    let batch: RecordBatch = batch?;
                    counter.add(batch.columns().to_vec())?;
                }
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        drop(rows);
        if counter.n_rows() == 0 || (!is_whole && counter.n_rows() < MIN_ROWS) {
            return Ok(None);
        }
        let n_read = n_read(&plan).max(counter.n_rows());
        let n_rows = n_total.map(|n| (n as f64 * counter.n_rows() as f64 / n_read as f64) as u64);
        let mut profile = counter.profile(n_rows);
        let below = if is_through_join { " below a join" } else { "" };
        profile.source = format!("sample of {} rows{below}", counter.n_rows());
        profile.took = start.elapsed();
        Ok(Some(Arc::new(profile)))
    }
}

impl KeyProfiles for SampledProfiles<'_> {
    fn profile<'a>(
        &'a self,
        input: &'a Arc<dyn ExecutionPlan>,
        keys: &'a [usize],
    ) -> BoxFuture<'a, Result<Option<Arc<KeyProfile>>>> {
        Box::pin(self.profile_of(input, keys))
    }
}

impl SampledProfiles<'_> {
    async fn profile_of(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        keys: &[usize],
    ) -> Result<Option<Arc<KeyProfile>>> {
        let (plan, is_through_join) = match source(input, keys, self.state.config_options())? {
            Source::Unknown => return Ok(None),
            Source::Unique => {
                let source = "grouped by its key".to_string();
                let unique = KeyProfile { rows_per_key: 1.0, source, ..KeyProfile::default() };
                return Ok(Some(Arc::new(unique)));
            }
            Source::Scan { plan, is_through_join } => (plan, is_through_join),
        };
        let options = self.options;
        let sampling = (options.skew_sample_rows, options.skew_sample_ms, is_through_join);
        let key = fingerprint(&plan, sampling);
        if let Some(known) = self.cache.0.get(&key).await {
            let source = format!("{}, cached", known.source);
            let known = KeyProfile { source, took: Duration::ZERO, ..known.as_ref().clone() };
            return Ok(Some(Arc::new(known)));
        }
        let profile = self.sample(plan, is_through_join).await?;
        if let Some(profile) = &profile {
            self.cache.0.insert(key, Arc::clone(profile)).await;
        }
        Ok(profile)
    }
}

/// Rows of the files a plan scans, where their footers say.
fn n_scanned(plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    let mut found = None;
    let _ = plan.apply(|node| {
        if let Some(scan) = files_of(node) {
            found = scan.statistics().num_rows.get_value().map(|rows| *rows as u64);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// Rows that the scan of a sample has read, before filters.
fn n_read(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let mut found = 0;
    let _ = plan.apply(|node| {
        if node.children().is_empty() {
            found += node.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or_default();
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found as u64
}

/// Makes a plan's scan read at most [`MAX_PLACES`] places, each a partition.
fn spread_over_files(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let spread = plan.transform_up(|node| {
        let Some(scan) = files_of(&node) else { return Ok(Transformed::no(node)) };
        let groups = places(scan).into_iter().map(|file| FileGroup::new(vec![file])).collect();
        let places = FileScanConfigBuilder::from(scan.clone())
            .with_file_groups(groups)
            .with_output_ordering(vec![])
            .with_output_partitioning(None)
            .with_limit(None)
            .build();
        Ok(Transformed::yes(DataSourceExec::from_data_source(places)))
    })?;
    Ok(spread.data)
}

/// Picks places evenly over the bytes of all files; the same files give the same places.
fn places(scan: &FileScanConfig) -> Vec<PartitionedFile> {
    let mut all = vec![];
    for file in scan.file_groups.iter().flat_map(|group| group.files()) {
        let (start, end) = match &file.range {
            Some(range) => (range.start.max(0) as u64, range.end.max(0) as u64),
            None => (0, file.object_meta.size),
        };
        let n_parts = (end.saturating_sub(start)).div_ceil(PLACE_BYTES).max(1);
        for part in 0..n_parts {
            let at = |part: u64| (start + part * (end - start) / n_parts) as i64;
            all.push(file.clone().with_range(at(part), at(part + 1)));
        }
    }
    if all.len() > MAX_PLACES {
        // A step of its own in each stride: regular layouts must not decide which places are seen.
        let stride = all.len() as f64 / MAX_PLACES as f64;
        let picked = (0..MAX_PLACES).map(|idx| {
            let shift = (idx * 7 % 11) as f64 / 11.0;
            all[((idx as f64 + shift) * stride) as usize].clone()
        });
        all = picked.collect();
    }
    all
}
