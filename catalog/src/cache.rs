//! What was read from files that have not changed since: columns and statistics.
//!
//! Every key holds the file's size, time of change and etag, or a fingerprint of all of them, so an entry is never stale:
//! it is only no longer asked for, and evicted in time. Weights are bytes. Several queries that need the same entry wait
//! for one load. Failed loads are not kept.
//!
//! Limit: footers themselves are kept by DataFusion's cache, which tells files apart by path, size and time of change.
//! On a store whose times are whole seconds, an object replaced within a second by one of equal size keeps its old footer.

mod named;

pub(crate) use self::named::Named;

use crate::analysis::Analyses;
use crate::delta::{FileList, Known, Version};
use crate::error::Result;
use crate::iceberg::{DeleteCaches, ManifestBlock, ManifestList, TableMetadata};
use arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::physical_expr::LexOrdering;
use object_store::ObjectMeta;
use object_store::path::Path;
use std::sync::Arc;

/// Bytes each of the caches may hold.
const MAX_WEIGHT_BYTES: u64 = 64 << 20;
/// Bytes of manifests, and of file lists: those of a table of 100,000 files and 100 columns weigh about half of it.
const MAX_MANIFEST_BYTES: u64 = 512 << 20;
/// Heap bytes of table metadata for each byte of the document.
const METADATA_FACTOR: usize = 3;

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

/// How one cache of a lake is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheUsage {
    /// Such as "file_statistics" or "iceberg_manifests".
    pub name: &'static str,
    /// Entries it holds.
    pub n_entries: u64,
    /// What they weigh.
    pub weight_bytes: u64,
    /// What they may weigh.
    pub max_weight_bytes: u64,
    /// Requests it answered.
    pub n_hits: u64,
    /// Requests that had to read files.
    pub n_misses: u64,
    /// Entries that had to go for others.
    pub n_evictions: u64,
}

/// The caches of a lake.
pub(crate) struct Caches {
    table_schemas: Named<ListingKey, SchemaRef>,
    file_schemas: Named<FileKey, SchemaRef>,
    facts: Named<FileKey, Arc<FileFacts>>,
    iceberg_metadata: Named<FileKey, Arc<TableMetadata>>,
    /// The newest metadata documents that were seen in folders of tables, by the folder's URL.
    iceberg_pointers: Named<String, Path>,
    manifest_lists: Named<String, Arc<ManifestList>>,
    manifests: Named<String, Arc<ManifestBlock>>,
    delta_tables: Named<String, Known>,
    delta_versions: Named<FileKey, Arc<Version>>,
    delta_files: Named<FileKey, Arc<FileList>>,
    /// What was read from delete files; shared with scans.
    pub(crate) deletes: Arc<DeleteCaches>,
    /// What ANALYZE found out.
    pub(crate) analyses: Analyses,
}

impl Caches {
    pub(crate) fn new(analyses: Analyses) -> Self {
        let table = |key: &ListingKey, schema: &SchemaRef| key.path.len() + schema_weight(schema);
        let file = |key: &FileKey, schema: &SchemaRef| key.weight() + schema_weight(schema);
        let facts = |key: &FileKey, facts: &Arc<FileFacts>| key.weight() + facts_weight(facts);
        let metadata = |key: &FileKey, metadata: &Arc<TableMetadata>| {
            key.weight() + metadata.document_bytes * METADATA_FACTOR
        };
        let pointer = |url: &String, document: &Path| url.len() + document.as_ref().len();
        let list = |key: &String, list: &Arc<ManifestList>| key.len() + list.weight_bytes;
        let manifest = |key: &String, block: &Arc<ManifestBlock>| key.len() + block.weight_bytes;
        let table_known = |url: &String, known: &Known| url.len() + known.weight_bytes();
        let version = |key: &FileKey, version: &Arc<Version>| key.weight() + version.weight_bytes();
        let files = |key: &FileKey, files: &Arc<FileList>| key.weight() + files.weight_bytes();
        Self {
            table_schemas: Named::new("table_schema", MAX_WEIGHT_BYTES, table),
            file_schemas: Named::new("file_schema", MAX_WEIGHT_BYTES, file),
            facts: Named::new("file_statistics", MAX_WEIGHT_BYTES, facts),
            iceberg_metadata: Named::new("iceberg_metadata", MAX_WEIGHT_BYTES, metadata),
            iceberg_pointers: Named::new("iceberg_pointers", MAX_WEIGHT_BYTES, pointer),
            manifest_lists: Named::new("iceberg_manifest_lists", MAX_WEIGHT_BYTES, list),
            manifests: Named::new("iceberg_manifests", MAX_MANIFEST_BYTES, manifest),
            delta_tables: Named::new("delta_tables", MAX_WEIGHT_BYTES, table_known),
            delta_versions: Named::new("delta_versions", MAX_WEIGHT_BYTES, version),
            delta_files: Named::new("delta_files", MAX_MANIFEST_BYTES, files),
            deletes: Arc::new(DeleteCaches::default()),
            analyses,
        }
    }

    /// Returns the merged columns of a listing.
    pub(crate) async fn table_schema(
        &self,
        key: ListingKey,
        load: impl Future<Output = Result<SchemaRef>> + Send,
    ) -> Result<SchemaRef> {
        self.table_schemas.get(key, load).await
    }

    /// Returns the columns of one file.
    pub(crate) async fn file_schema(
        &self,
        key: FileKey,
        load: impl Future<Output = Result<SchemaRef>> + Send,
    ) -> Result<SchemaRef> {
        self.file_schemas.get(key, load).await
    }

    /// Returns the statistics and the ordering of one file.
    pub(crate) async fn file_facts(
        &self,
        key: FileKey,
        load: impl Future<Output = Result<Arc<FileFacts>>> + Send,
    ) -> Result<Arc<FileFacts>> {
        self.facts.get(key, load).await
    }

    /// Returns a version of an Iceberg table's metadata.
    pub(crate) async fn iceberg_metadata(
        &self,
        key: FileKey,
        load: impl Future<Output = Result<Arc<TableMetadata>>> + Send,
    ) -> Result<Arc<TableMetadata>> {
        self.iceberg_metadata.get(key, load).await
    }

    /// Returns the newest metadata document that was seen in a table's folder, by its URL.
    pub(crate) async fn iceberg_pointer(&self, url: &str) -> Option<Path> {
        self.iceberg_pointers.known(&url.to_owned()).await
    }

    /// Notes the newest metadata document of a table's folder.
    pub(crate) async fn note_iceberg_pointer(&self, url: &str, document: Path) {
        self.iceberg_pointers.put(url.to_owned(), document).await;
    }

    /// Returns the manifest list of a snapshot. Such files never change, so the key is where it is.
    pub(crate) async fn manifest_list(
        &self,
        key: String,
        load: impl Future<Output = Result<Arc<ManifestList>>> + Send,
    ) -> Result<Arc<ManifestList>> {
        self.manifest_lists.get(key, load).await
    }

    /// Returns a manifest. Such files never change, so the key is where it is.
    pub(crate) async fn manifest(
        &self,
        key: String,
        load: impl Future<Output = Result<Arc<ManifestBlock>>> + Send,
    ) -> Result<Arc<ManifestBlock>> {
        self.manifests.get(key, load).await
    }

    /// Returns the newest version of a Delta table that was seen, by its URL.
    pub(crate) async fn delta_table(&self, url: &str) -> Option<Known> {
        self.delta_tables.known(&url.to_owned()).await
    }

    /// Notes the newest version of a Delta table.
    pub(crate) async fn note_delta_table(&self, url: &str, known: Known) {
        self.delta_tables.put(url.to_owned(), known).await;
    }

    /// Returns a version of a Delta table, by the file that made it.
    pub(crate) async fn delta_version(
        &self,
        key: FileKey,
        load: impl Future<Output = Result<Arc<Version>>> + Send,
    ) -> Result<Arc<Version>> {
        self.delta_versions.get(key, load).await
    }

    /// Returns a version of a Delta table when it is there.
    pub(crate) async fn known_delta_version(&self, key: &FileKey) -> Option<Arc<Version>> {
        self.delta_versions.known(key).await
    }

    /// Returns the live files of a version of a Delta table.
    pub(crate) async fn delta_files(
        &self,
        key: FileKey,
        load: impl Future<Output = Result<Arc<FileList>>> + Send,
    ) -> Result<Arc<FileList>> {
        self.delta_files.get(key, load).await
    }

    /// Returns the live files of a version when they are there.
    pub(crate) async fn known_delta_files(&self, key: &FileKey) -> Option<Arc<FileList>> {
        self.delta_files.known(key).await
    }

    /// Returns whether the live files of a version are there.
    pub(crate) fn knows_delta_files(&self, key: &FileKey) -> bool {
        self.delta_files.contains(key)
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.table_schemas.clear();
        self.file_schemas.clear();
        self.facts.clear();
        self.iceberg_metadata.clear();
        self.iceberg_pointers.clear();
        self.manifest_lists.clear();
        self.manifests.clear();
        self.delta_tables.clear();
        self.delta_versions.clear();
        self.delta_files.clear();
        self.deletes.clear();
        self.analyses.cache().clear();
    }

    /// Returns how each cache is doing. Counts of entries lag behind for a moment.
    pub(crate) fn usage(&self) -> Vec<CacheUsage> {
        let files = [self.table_schemas.usage(), self.file_schemas.usage(), self.facts.usage()];
        let iceberg = [
            self.iceberg_pointers.usage(),
            self.iceberg_metadata.usage(),
            self.manifest_lists.usage(),
            self.manifests.usage(),
        ];
        let delta =
            [self.delta_tables.usage(), self.delta_versions.usage(), self.delta_files.usage()];
        let metadata = iceberg.into_iter().chain(delta);
        let analyses = [self.analyses.cache().usage()];
        files.into_iter().chain(metadata).chain(self.deletes.usage()).chain(analyses).collect()
    }
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
