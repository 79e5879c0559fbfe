//! The table provider: files listed for this query, columns merged from them, statistics from their footers.
//!
//! Made by the lake whenever a statement names the table, scanned by DataFusion's planner. It builds a plain
//! `DataSourceExec`, so scans travel to workers with DataFusion's own codec and keep its Parquet pruning. It is not
//! DataFusion's `ListingTable`, because that lists through a cache without expiry, takes one file extension per table,
//! and merges only equal types. A listing is pinned for [`PIN_TIME`]: all scans of one statement see the same files,
//! and a prepared statement that runs later lists again.

use crate::analysis::AnalyzedTable;
use crate::cache::{Caches, FileFacts, FileKey, ListingKey};
use crate::error::{Error, Result};
use crate::floats;
use crate::format::{FileFlavor, FileKind, reader};
use crate::json_array;
use crate::listing::{ListedFile, Listing, ListingRequest, list};
use crate::pruning;
use crate::readers::with_counted_reads;
use crate::scan_log::{ScanLog, TableScan};
use crate::schema::infer::infer_file;
use crate::schema::merge::merge;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaBuilder, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Statistics, project_schema};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchemaBuilder;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::scalar::ScalarValue;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The metadata column of a file's location.
pub(crate) const FILE_COLUMN: &str = "_file";
/// How long a listing serves the scans of a statement. Planning takes less; a later run of the plan lists again.
pub(crate) const PIN_TIME: Duration = Duration::from_millis(200);
/// Files whose columns or statistics are read at the same time.
const READ_CONCURRENCY: usize = 32;

/// Where a table's data is and what its definition says about it.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) store_url: ObjectStoreUrl,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) request: ListingRequest,
    /// Reader options of a definition.
    pub(crate) options: BTreeMap<String, String>,
    /// Columns a definition declares, partition columns included.
    pub(crate) columns: Option<SchemaRef>,
    /// Partition columns a definition declares.
    pub(crate) partition_columns: Vec<String>,
}

impl Source {
    fn store_key(&self) -> Arc<str> {
        Arc::from(self.store_url.as_str())
    }

    fn reader_key(&self, extra: impl Hash) -> u128 {
        let half = |seed: u8| {
            let mut hasher = DefaultHasher::new();
            (seed, &self.options, self.request.kind).hash(&mut hasher);
            extra.hash(&mut hasher);
            u128::from(hasher.finish())
        };
        half(0) << 64 | half(1)
    }
}

/// A table of the lake.
pub struct LakeTable {
    source: Source,
    caches: Arc<Caches>,
    file_schema: SchemaRef,
    /// Values that a whole file shares: its partition's, and [`FILE_COLUMN`].
    partition_fields: Fields,
    has_file_column: bool,
    table_schema: SchemaRef,
    pinned: Mutex<Pinned>,
}

#[derive(Clone)]
struct Pinned {
    listing: Arc<Listing>,
    at: Instant,
}

impl fmt::Debug for LakeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LakeTable")
            .field("table", &self.source.request.table)
            .field("path", &self.source.request.path)
            .finish_non_exhaustive()
    }
}

impl LakeTable {
    /// Lists the table and finds its columns. `None` when it has no files and its columns are not declared.
    pub(crate) async fn load(
        source: Source,
        caches: Arc<Caches>,
        session: &dyn Session,
    ) -> Result<Option<Self>> {
        let at = Instant::now();
        let listing = Arc::new(list(&source.store, &source.request).await?);
        let declared = source.columns.clone();
        let merged = match (&declared, listing.flavor) {
            (Some(columns), _) => Arc::clone(columns),
            (None, Some(flavor)) => {
                merged_schema(&source, &caches, session, &listing, flavor).await?
            }
            (None, None) => return Ok(None),
        };
        let partition_fields = partition_fields(&source, &listing)?;
        let file_schema = without_partitions(&source, &listing, &merged, &partition_fields)?;
        let mut fields: Vec<_> = file_schema.fields().iter().cloned().collect();
        fields.extend(partition_fields.iter().cloned());
        Ok(Some(Self {
            source,
            caches,
            file_schema,
            partition_fields,
            has_file_column: false,
            table_schema: Arc::new(Schema::new(fields)),
            pinned: Mutex::new(Pinned { listing, at }),
        }))
    }

    /// Returns the table with the column of its files' locations; `None` when it has one of that name.
    pub(crate) fn with_file_column(&self) -> Option<Self> {
        if self.table_schema.column_with_name(FILE_COLUMN).is_some() {
            return None;
        }
        let file = Arc::new(Field::new(FILE_COLUMN, DataType::Utf8, false));
        let mut table_fields = SchemaBuilder::from(self.table_schema.fields());
        let mut partition_fields = SchemaBuilder::from(&self.partition_fields);
        table_fields.push(Arc::clone(&file));
        partition_fields.push(file);
        Some(Self {
            source: self.source.clone(),
            caches: Arc::clone(&self.caches),
            file_schema: Arc::clone(&self.file_schema),
            partition_fields: partition_fields.finish().fields,
            has_file_column: true,
            table_schema: Arc::new(table_fields.finish()),
            pinned: Mutex::new(self.pinned.lock().clone()),
        })
    }

    /// Returns the format of the table's files; `None` while it has none.
    pub fn file_kind(&self) -> Option<FileKind> {
        self.pinned.lock().listing.flavor.map(|flavor| flavor.kind)
    }

    async fn listing(&self) -> Result<Arc<Listing>> {
        let pinned = self.pinned.lock().clone();
        if pinned.at.elapsed() < PIN_TIME {
            return Ok(pinned.listing);
        }
        let at = Instant::now();
        let listing = Arc::new(list(&self.source.store, &self.source.request).await?);
        *self.pinned.lock() = Pinned { listing: Arc::clone(&listing), at };
        Ok(listing)
    }

    fn location(&self) -> String {
        format!("{}{}", self.source.store_url.as_str(), self.source.request.path)
    }

    /// Returns what ANALYZE keeps its findings by.
    ///
    /// # Errors
    /// When the table cannot be listed.
    pub(crate) async fn analyzed(&self) -> Result<AnalyzedTable> {
        let version = format!("{:032x}", self.listing().await?.fingerprint());
        Ok(AnalyzedTable { location: self.location(), version })
    }

    fn partition_names(&self) -> Vec<&str> {
        self.partition_fields.iter().map(|field| field.name().as_str()).collect()
    }

    fn partitioned_files(&self, listing: &Listing) -> Result<Vec<PartitionedFile>> {
        let types: Vec<DataType> =
            self.partition_fields.iter().map(|field| field.data_type().clone()).collect();
        let file = |listed: &ListedFile| {
            let mut values = listed.typed_partition_values(&listing.partition_keys, &types)?;
            if self.has_file_column {
                let store_url = self.source.store_url.as_str();
                let location = format!("{store_url}{}", listed.meta.location);
                values.push(ScalarValue::Utf8(Some(location)));
            }
            Ok(PartitionedFile::new_from_meta(listed.meta.clone()).with_partition_values(values))
        };
        listing.files.iter().map(file).collect()
    }

    /// Adds what the footers say. Files that vanished since the listing are left out.
    async fn with_facts(
        &self,
        session: &dyn Session,
        format: &Arc<dyn FileFormat>,
        files: Vec<PartitionedFile>,
    ) -> Result<Vec<PartitionedFile>, DataFusionError> {
        let schema_key = {
            let fields: Vec<_> = self.file_schema.fields().iter().collect();
            self.source.reader_key(fields)
        };
        let store_key = self.source.store_key();
        let load = |file: PartitionedFile| {
            let key = FileKey::new(&store_key, &file.object_meta, schema_key);
            async move {
                let load = self.load_facts(session, format, &file);
                match self.caches.file_facts(key, load).await {
                    Ok(facts) => Ok(Some(attach(file, &facts))),
                    Err(Error::Store(e)) if is_not_found(&e) => Ok(None),
                    Err(error) => Err(DataFusionError::from(error)),
                }
            }
        };
        let loaded: Vec<_> =
            stream::iter(files).map(load).buffered(READ_CONCURRENCY).try_collect().await?;
        Ok(loaded.into_iter().flatten().collect())
    }

    async fn load_facts(
        &self,
        session: &dyn Session,
        format: &Arc<dyn FileFormat>,
        file: &PartitionedFile,
    ) -> Result<Arc<FileFacts>> {
        let schema = Arc::clone(&self.file_schema);
        let (store, meta) = (&self.source.store, &file.object_meta);
        match format.infer_stats_and_ordering(session, store, schema, meta).await {
            Ok(found) => Ok(Arc::new(FileFacts {
                statistics: Arc::new(floats::forget_bounds(found.statistics, &self.file_schema)),
                ordering: found.ordering,
            })),
            Err(error) if Error::is_file_gone(&error) => Err(gone(file)),
            Err(error) => Err(Error::from_reading(&meta.location, error)),
        }
    }

    async fn files_for_scan(
        &self,
        session: &dyn Session,
        listing: &Listing,
        format: &Arc<dyn FileFormat>,
        filters: &ScanFilters,
        limit: Option<usize>,
    ) -> Result<(Vec<PartitionedFile>, bool), DataFusionError> {
        let props = session.execution_props();
        let files = self.partitioned_files(listing)?;
        let files =
            pruning::by_partition(files, &self.partition_fields, &filters.partition, props)?;
        let has_facts = listing.flavor.is_some_and(|flavor| flavor.kind == FileKind::Parquet);
        if !has_facts || !session.config().collect_statistics() {
            let attach = |file: PartitionedFile| {
                let size = usize::try_from(file.object_meta.size).unwrap_or(usize::MAX);
                let mut statistics = Statistics::new_unknown(&self.file_schema);
                // A guess good enough to tell a small side of a join from a large one.
                statistics.total_byte_size = Precision::Inexact(size);
                file.with_statistics(Arc::new(statistics))
            };
            return Ok((files.into_iter().map(attach).collect(), false));
        }
        let files = self.with_facts(session, format, files).await?;
        let mut files = pruning::by_statistics(files, &self.table_schema, &filters.other, props);
        let needed = limit.and_then(|limit| n_files_for(&files, limit)).unwrap_or(files.len());
        let is_cut = needed < files.len();
        files.truncate(needed);
        Ok((files, is_cut))
    }

    fn split_filters(&self, filters: &[Expr]) -> ScanFilters {
        let names = self.partition_names();
        let (partition, other) =
            filters.iter().cloned().partition(|filter| is_partition_filter(&names, filter));
        ScanFilters { partition, other }
    }
}

/// The filters of a scan.
struct ScanFilters {
    /// Those that read partition columns only.
    partition: Vec<Expr>,
    other: Vec<Expr>,
}

fn is_partition_filter(partition_names: &[&str], filter: &Expr) -> bool {
    !partition_names.is_empty() && expr_applicable_for_cols(partition_names, filter)
}

impl LakeTable {
    /// Plans a scan: [`TableProvider::scan`].
    fn plan<'a>(
        &'a self,
        session: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>, DataFusionError>> {
        Box::pin(async move {
            let filters = self.split_filters(filters);
            let file_limit = limit.filter(|_| filters.other.is_empty());

            let listing = self.listing().await?;
            let empty = || -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
                let schema = project_schema(&self.table_schema, projection)?;
                Ok(Arc::new(EmptyExec::new(schema)))
            };
            let Some(flavor) = listing.flavor else { return empty() };
            let options = session.default_table_options();
            let options = floats::scan_options(options, &filters.other, &self.file_schema);
            let format = reader(flavor, &self.source.options, options)?;
            let (files, is_cut) =
                self.files_for_scan(session, &listing, &format, &filters, file_limit).await?;
            let scan = TableScan {
                table: self.source.request.table.clone(),
                n_files: listing.files.len(),
                n_kept: files.len(),
                note: None,
            };
            ScanLog::record(session.config(), scan);
            if files.is_empty() {
                return empty();
            }
            let ordering = common_ordering(&files);
            let groups =
                FileGroup::new(files).split_files(session.config().target_partitions().max(1));
            let (groups, mut statistics) = with_statistics(groups, &self.table_schema, is_cut)?;
            if let Some(analysis) = self.caches.analyses.of(&self.location()).await {
                let version = format!("{:032x}", listing.fingerprint());
                analysis.add_to(&mut statistics, &self.table_schema, &version);
            }

            let schema = TableSchemaBuilder::new(Arc::clone(&self.file_schema))
                .with_table_partition_cols(self.partition_fields.clone())
                .build();
            let config = FileScanConfigBuilder::new(
                self.source.store_url.clone(),
                json_array::file_source(&format, schema),
            )
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .with_output_ordering(ordering.into_iter().collect())
            .build();
            let plan = format.create_physical_plan(session, config).await?;
            with_counted_reads(plan, session.runtime_env())
        })
    }
}

impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.table_schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    crate::scan_by!(plan);

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        let names = self.partition_names();
        let support = |filter: &&Expr| {
            if is_partition_filter(&names, filter) {
                TableProviderFilterPushDown::Exact
            } else {
                TableProviderFilterPushDown::Inexact
            }
        };
        Ok(filters.iter().map(support).collect())
    }
}

async fn merged_schema(
    source: &Source,
    caches: &Caches,
    session: &dyn Session,
    listing: &Listing,
    flavor: FileFlavor,
) -> Result<SchemaRef> {
    let reader_key = source.reader_key(flavor);
    let key = ListingKey {
        store: source.store_key(),
        path: source.request.path.to_string(),
        fingerprint: listing.fingerprint(),
        reader: reader_key,
    };
    let load = async {
        let format = reader(flavor, &source.options, session.default_table_options())?;
        let (format, store_key) = (&format, &source.store_key());
        let infer = |file: &ListedFile| {
            let meta = file.meta.clone();
            async move {
                let key = FileKey::new(store_key, &meta, reader_key);
                let load = infer_file(flavor.kind, format, session, &source.store, &meta);
                let schema = caches.file_schema(key, load).await?;
                Ok::<_, Error>((meta.location.to_string(), schema))
            }
        };
        let reads: Vec<_> = listing.files.iter().map(infer).collect();
        let schemas: Vec<_> = stream::iter(reads).buffered(READ_CONCURRENCY).try_collect().await?;
        merge(flavor.kind, &schemas)
    };
    caches.table_schema(key, load).await
}

/// The partition columns: typed by the definition where it declares them, else by their values.
fn partition_fields(source: &Source, listing: &Listing) -> Result<Fields> {
    let keys =
        if listing.flavor.is_some() { &listing.partition_keys } else { &source.partition_columns };
    if let Some(missing) = source.partition_columns.iter().find(|column| !keys.contains(column)) {
        return Err(Error::InvalidDefinition {
            name: source.request.table.clone(),
            message: format!("partition column \"{missing}\" is no key=value folder of its files"),
        });
    }
    let inferred = listing.partition_types();
    let field = |(idx, key): (usize, &String)| {
        let declared = source.columns.as_ref().and_then(|columns| columns.column_with_name(key));
        let data_type = match declared {
            Some((_, field)) => field.data_type().clone(),
            None => inferred.get(idx).cloned().unwrap_or(DataType::Utf8),
        };
        let has_null = listing.files.iter().any(|file| file.partition_values[idx].is_none());
        Field::new(key, data_type, has_null || listing.files.is_empty())
    };
    Ok(keys.iter().enumerate().map(field).collect())
}

/// The columns stored in the files. A partition column that a file repeats is read from the path.
fn without_partitions(
    source: &Source,
    listing: &Listing,
    merged: &SchemaRef,
    partition_fields: &Fields,
) -> Result<SchemaRef> {
    let is_partition = |field: &Arc<Field>| partition_fields.find(field.name()).is_some();
    let Some(repeated) = merged.fields().iter().find(|field| is_partition(field)) else {
        return Ok(Arc::clone(merged));
    };
    let is_csv = listing.flavor.is_some_and(|flavor| flavor.kind == FileKind::Csv);
    if is_csv && source.columns.is_none() {
        return Err(Error::SchemaMismatch {
            path: source.request.path.to_string(),
            column: repeated.name().clone(),
            message: "is both in the CSV files and a partition key".to_owned(),
        });
    }
    let kept: Vec<_> = merged.fields().iter().filter(|f| !is_partition(f)).cloned().collect();
    Ok(Arc::new(Schema::new(kept)))
}

fn attach(file: PartitionedFile, facts: &FileFacts) -> PartitionedFile {
    let n_file_columns = facts.statistics.column_statistics.len();
    let mut file =
        file.with_statistics(Arc::clone(&facts.statistics)).with_ordering(facts.ordering.clone());
    // DataFusion takes partition values to be never null; ours may be.
    if file.partition_values.iter().any(ScalarValue::is_null)
        && let Some(statistics) = &mut file.statistics
    {
        let statistics = Arc::make_mut(statistics);
        let n_rows = statistics.num_rows;
        for (idx, value) in file.partition_values.iter().enumerate() {
            if value.is_null() {
                let column = &mut statistics.column_statistics[n_file_columns + idx];
                column.null_count = n_rows;
                column.min_value = Precision::Absent;
                column.max_value = Precision::Absent;
                column.distinct_count = Precision::Absent;
            }
        }
    }
    file
}

/// Adds up the statistics of the files, by group and over all.
fn with_statistics(
    groups: Vec<FileGroup>,
    schema: &Schema,
    is_cut: bool,
) -> Result<(Vec<FileGroup>, Statistics), DataFusionError> {
    let of_file = |file: &PartitionedFile| file.statistics.clone();
    let merged = groups
        .iter()
        .map(|group| {
            let files: Vec<Arc<Statistics>> = group.iter().filter_map(of_file).collect();
            Statistics::try_merge_iter(files.iter().map(AsRef::as_ref), schema)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let total = Statistics::try_merge_iter(merged.iter(), schema)?;
    let groups = groups.into_iter().zip(merged);
    let groups = groups.map(|(group, merged)| group.with_statistics(Arc::new(merged)));
    Ok((groups.collect(), if is_cut { total.to_inexact() } else { total }))
}

/// The number of files that surely hold `limit` rows; `None` when that is not known.
fn n_files_for(files: &[PartitionedFile], limit: usize) -> Option<usize> {
    let mut n_rows = 0_usize;
    for (idx, file) in files.iter().enumerate() {
        let Precision::Exact(n) = file.statistics.as_ref()?.num_rows else { return None };
        n_rows = n_rows.saturating_add(n);
        if n_rows >= limit {
            return Some(idx + 1);
        }
    }
    None
}

/// The order that all files state in their footers.
fn common_ordering(files: &[PartitionedFile]) -> Option<LexOrdering> {
    let first = files.first()?.ordering.as_ref()?;
    files.iter().all(|file| file.ordering.as_ref() == Some(first)).then(|| first.clone())
}

fn gone(file: &PartitionedFile) -> Error {
    let path = file.object_meta.location.to_string();
    Error::from(object_store::Error::NotFound {
        path,
        source: "removed since it was listed".into(),
    })
}

fn is_not_found(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. })
}
