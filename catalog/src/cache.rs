//! What was read from files that have not changed since: columns and statistics.
//!
//! Every key holds the file's size, time of change and etag, or a fingerprint of all of them, so an entry is never stale:
//! it is only no longer asked for, and evicted in time. Weights are bytes. Several queries that need the same entry wait
//! for one load. Failed loads are not kept.

use crate::error::{Error, Result};
use arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::physical_expr::LexOrdering;
use metrics::counter;
use moka::future::Cache;
use object_store::ObjectMeta;
use std::hash::Hash;
use std::mem::size_of;
use std::sync::Arc;

/// Bytes each of the caches may hold.
const MAX_WEIGHT_BYTES: u64 = 64 << 20;
/// What an entry costs besides its value.
const ENTRY_BYTES: usize = 256;

/// One state of one file, read in one way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FileKey {
    store: Arc<str>,
    path: String,
    size: u64,
    modified_ns: Option<i64>,
    e_tag: Option<String>,
    /// Tells apart readers with different options, or different schemas the statistics are for.
    reader: u128,
}

impl FileKey {
    pub(crate) fn new(store: &Arc<str>, meta: &ObjectMeta, reader: u128) -> Self {
        Self {
            store: Arc::clone(store),
            path: meta.location.to_string(),
            size: meta.size,
            modified_ns: meta.last_modified.timestamp_nanos_opt(),
            e_tag: meta.e_tag.clone(),
            reader,
        }
    }

    fn weight(&self) -> usize {
        self.path.len() + self.e_tag.as_ref().map_or(0, String::len)
    }
}

/// One state of a table's listing, read in one way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ListingKey {
    pub(crate) store: Arc<str>,
    pub(crate) path: String,
    pub(crate) fingerprint: u128,
    pub(crate) reader: u128,
}

/// What a file's footer says about its rows.
#[derive(Debug, Clone)]
pub(crate) struct FileFacts {
    pub(crate) statistics: Arc<Statistics>,
    pub(crate) ordering: Option<LexOrdering>,
}

/// The caches of a lake.
#[derive(Debug)]
pub(crate) struct Caches {
    schemas: Cache<ListingKey, SchemaRef>,
    files: Cache<FileKey, SchemaRef>,
    facts: Cache<FileKey, Arc<FileFacts>>,
}

impl Caches {
    pub(crate) fn new() -> Self {
        Self {
            schemas: bounded(|key: &ListingKey, schema: &SchemaRef| {
                key.path.len() + schema_weight(schema)
            }),
            files: bounded(|key: &FileKey, schema: &SchemaRef| {
                key.weight() + schema_weight(schema)
            }),
            facts: bounded(|key: &FileKey, facts: &Arc<FileFacts>| {
                key.weight() + facts_weight(facts)
            }),
        }
    }

    #[cfg(test)]
    pub(crate) async fn n_file_schemas(&self) -> u64 {
        self.files.run_pending_tasks().await;
        self.files.entry_count()
    }

    /// Returns the merged columns of a listing.
    pub(crate) async fn table_schema(
        &self,
        key: ListingKey,
        load: impl Future<Output = Result<SchemaRef>>,
    ) -> Result<SchemaRef> {
        get(&self.schemas, "table_schema", key, load).await
    }

    /// Returns the columns of one file.
    pub(crate) async fn file_schema(
        &self,
        key: FileKey,
        load: impl Future<Output = Result<SchemaRef>>,
    ) -> Result<SchemaRef> {
        get(&self.files, "file_schema", key, load).await
    }

    /// Returns the statistics and the ordering of one file.
    pub(crate) async fn file_facts(
        &self,
        key: FileKey,
        load: impl Future<Output = Result<Arc<FileFacts>>>,
    ) -> Result<Arc<FileFacts>> {
        get(&self.facts, "file_statistics", key, load).await
    }
}

fn bounded<K, V>(weight: impl Fn(&K, &V) -> usize + Send + Sync + 'static) -> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let weigher = move |key: &K, value: &V| {
        u32::try_from(ENTRY_BYTES + size_of::<K>() + weight(key, value)).unwrap_or(u32::MAX)
    };
    Cache::builder().max_capacity(MAX_WEIGHT_BYTES).weigher(weigher).build()
}

async fn get<K, V>(
    cache: &Cache<K, V>,
    name: &'static str,
    key: K,
    load: impl Future<Output = Result<V>>,
) -> Result<V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let mut result = "hit";
    let loaded = cache
        .try_get_with(key, async {
            result = "miss";
            load.await
        })
        .await;
    counter!("saltlake_cache_requests_total", "cache" => name, "result" => result).increment(1);
    loaded.map_err(|error: Arc<Error>| Arc::unwrap_or_clone(error))
}

fn schema_weight(schema: &SchemaRef) -> usize {
    schema.fields().iter().map(|field| field.size()).sum()
}

fn facts_weight(facts: &FileFacts) -> usize {
    let value_weight = |value: &datafusion::common::stats::Precision<_>| {
        value.get_value().map_or(0, datafusion::scalar::ScalarValue::size)
    };
    let columns = &facts.statistics.column_statistics;
    let weight = |column: &datafusion::common::ColumnStatistics| {
        size_of_val(column) + value_weight(&column.min_value) + value_weight(&column.max_value)
    };
    columns.iter().map(weight).sum()
}
