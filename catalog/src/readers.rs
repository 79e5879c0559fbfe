//! How Parquet files are read: footers from the process's cache, requests counted for the scan.
//!
//! Set for every scan where it is planned and, since readers do not travel, once more where it arrives. A scan then says
//! in its metrics how many requests it made and how many footers it found in the cache. Files of tables with metadata
//! never change and say no time of change, so their footers are kept by store and path; those of other files by path, as
//! DataFusion's own planning does, and told apart by their times.

use crate::store::counted::CountedStore;
use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{HashMap, Result, TableReference};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{
    FileScanConfig, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadataCache};
use datafusion::execution::cache::{Cache, CacheEntryInfo};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use metrics::counter;
use object_store::ObjectStore;
use object_store::path::Path;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A scan's metric: requests it made.
pub const REQUESTS: &str = "object_store_requests";
/// A scan's metric: footers that were in the cache.
pub const FOOTERS_CACHED: &str = "footers_cached";
/// A scan's metric: footers that had to be read.
pub const FOOTERS_READ: &str = "footers_read";

/// Counter of lookups in caches, as [`crate::cache`] counts them.
const CACHE_REQUESTS: &str = "saltlake_cache_requests_total";

/// Returns a metric of a scan.
fn metric(metrics: &ExecutionPlanMetricsSet, name: &'static str, partition: usize) -> Count {
    MetricBuilder::new(metrics).counter(name, partition)
}

/// Whether a store is the local disk.
pub(crate) fn is_local(store_url: &ObjectStoreUrl) -> bool {
    store_url.as_str().starts_with("file:")
}

/// Returns a store whose requests are counted for a scan, where it makes requests.
pub(crate) fn counted(
    store: Arc<dyn ObjectStore>,
    store_url: &ObjectStoreUrl,
    metrics: &ExecutionPlanMetricsSet,
    partition: usize,
) -> Arc<dyn ObjectStore> {
    match is_local(store_url) {
        true => store,
        false => CountedStore::of_scan(store, metric(metrics, REQUESTS, partition)),
    }
}

/// Makes readers of Parquet files.
pub(crate) struct Readers {
    store: Arc<dyn ObjectStore>,
    store_url: ObjectStoreUrl,
    cache: Arc<FileMetadataCache>,
    /// Footers are kept by store and path.
    are_immutable: bool,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readers").field(&self.store_url.as_str()).finish()
    }
}

impl Readers {
    /// Returns readers of files that never change.
    pub(crate) fn of_immutable(
        store: Arc<dyn ObjectStore>,
        store_url: ObjectStoreUrl,
        runtime: &RuntimeEnv,
    ) -> Self {
        let cache = runtime.cache_manager.get_file_metadata_cache();
        Self { store, store_url, cache, are_immutable: true }
    }
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let store = counted(Arc::clone(&self.store), &self.store_url, metrics, partition);
        let footers = Footers {
            cache: Arc::clone(&self.cache),
            store: self.are_immutable.then(|| self.store_url.clone()),
            n_cached: metric(metrics, FOOTERS_CACHED, partition),
            n_read: metric(metrics, FOOTERS_READ, partition),
        };
        CachedParquetFileReaderFactory::new(store, Arc::new(footers)).create_reader(
            partition,
            file,
            metadata_size_hint,
            metrics,
        )
    }
}

/// Returns a Parquet scan with these readers; a scan of another kind as it is.
pub(crate) fn with_readers(
    config: &FileScanConfig,
    runtime: &RuntimeEnv,
    are_immutable: bool,
) -> Result<Option<FileScanConfig>> {
    let Some(parquet) = config.file_source.downcast_ref::<ParquetSource>() else {
        return Ok(None);
    };
    let readers = Readers {
        store: runtime.object_store(&config.object_store_url)?,
        store_url: config.object_store_url.clone(),
        cache: runtime.cache_manager.get_file_metadata_cache(),
        are_immutable,
    };
    let mut config = config.clone();
    config.file_source =
        Arc::new(parquet.clone().with_parquet_file_reader_factory(Arc::new(readers)));
    Ok(Some(config))
}

/// Returns a plan whose Parquet scans count their requests and their footers.
///
/// # Errors
/// When a scan is in a store that is not known.
pub fn with_counted_reads(
    plan: Arc<dyn ExecutionPlan>,
    runtime: &RuntimeEnv,
) -> Result<Arc<dyn ExecutionPlan>> {
    let counted = plan.transform_up(|node| {
        let scan = node.downcast_ref::<DataSourceExec>();
        let scan = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
        let counted = scan.map(|scan| with_readers(scan, runtime, false)).transpose()?.flatten();
        Ok(match counted {
            Some(config) => Transformed::yes(DataSourceExec::from_data_source(config) as _),
            None => Transformed::no(node),
        })
    });
    Ok(counted?.data)
}

/// The cache of footers as one file's reader sees it.
struct Footers {
    cache: Arc<FileMetadataCache>,
    /// The store whose files these are, where footers are kept by it too.
    store: Option<ObjectStoreUrl>,
    n_cached: Count,
    n_read: Count,
}

impl Footers {
    fn key(&self, path: &Path) -> Path {
        match &self.store {
            Some(store) => Path::from(format!("{}{path}", store.as_str())),
            None => path.clone(),
        }
    }
}

impl Cache<Path, CachedFileMetadataEntry> for Footers {
    fn get(&self, path: &Path) -> Option<CachedFileMetadataEntry> {
        let found = self.cache.get(&self.key(path));
        let (count, result) = match found {
            Some(_) => (&self.n_cached, "hit"),
            None => (&self.n_read, "miss"),
        };
        count.add(1);
        counter!(CACHE_REQUESTS, "cache" => "footers", "result" => result).increment(1);
        found
    }

    fn put(&self, path: &Path, footer: CachedFileMetadataEntry) -> Option<CachedFileMetadataEntry> {
        self.cache.put(&self.key(path), footer)
    }

    fn remove(&self, path: &Path) -> Option<CachedFileMetadataEntry> {
        self.cache.remove(&self.key(path))
    }

    fn contains_key(&self, path: &Path) -> bool {
        self.cache.contains_key(&self.key(path))
    }

    fn len(&self) -> usize {
        self.cache.len()
    }

    fn clear(&self) {
        self.cache.clear();
    }

    fn name(&self) -> String {
        self.cache.name()
    }

    fn cache_limit(&self) -> usize {
        self.cache.cache_limit()
    }

    fn update_cache_limit(&self, limit: usize) {
        self.cache.update_cache_limit(limit);
    }

    fn cache_ttl(&self) -> Option<Duration> {
        self.cache.cache_ttl()
    }

    fn update_cache_ttl(&self, ttl: Option<Duration>) {
        self.cache.update_cache_ttl(ttl);
    }

    fn drop_table_entries(&self, table: &TableReference) -> Result<()> {
        self.cache.drop_table_entries(table)
    }

    fn list_entries(&self) -> HashMap<Path, CacheEntryInfo<CachedFileMetadataEntry>> {
        self.cache.list_entries()
    }
}
