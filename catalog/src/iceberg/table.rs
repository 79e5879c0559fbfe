//! The table provider of an Iceberg table.
//!
//! Made by the lake when a statement names the table. Its columns are those of the metadata when the statement was
//! planned; its files are chosen when a scan is planned, from the version that the whole statement sees
//! ([`crate::pin`]). A prepared statement that runs later sees the version of then, with the columns of its planning.

use super::block::DeleteKind;
use super::facade;
use super::inspect::{Inspection, inspect};
use super::metadata::{Snapshot, TableMetadata, Transform};
use super::place::{Locator, METADATA_FOLDER, newest_metadata, newest_remote};
use super::plan::{MetadataReader, PlannedFile, ScanPlan, blocking};
use super::prune::Pruner;
use super::reserved::Reserved;
use super::scan::{ColumnRule, FileInfo, ScanDelete, ScanSpec};
use super::schema::{Primitive, TableSchema};
use super::source::TableSource;
use super::statistics::statistics_of;
use crate::analysis::AnalyzedTable;
use crate::cache::{Caches, FileKey};
use crate::comments::{Description, of_iceberg_fields};
use crate::error::{Error, Result};
use crate::location::{Locations, store_path};
use crate::pin;
use crate::readers::is_local;
use crate::scan_log::{ScanLog, TableScan};
use crate::services::vended::VendedStore;
use crate::table::PIN_TIME;
use arrow::datatypes::SchemaRef;
use chrono::DateTime;
use datafusion::catalog::memory::DataSourceExec;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::project_schema;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::scalar::ScalarValue;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Instant;
use url::Url;

/// Most bytes of a metadata document, after decompression.
const MAX_DOCUMENT_BYTES: u64 = 1 << 30;
/// Schemes and first bytes of documents that are compressed.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Where a table is.
#[derive(Clone)]
pub(crate) struct Place {
    /// The table's folder, or one metadata document.
    pub(crate) url: Url,
    pub(crate) is_document: bool,
    pub(crate) store_url: ObjectStoreUrl,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) roots: Arc<Locations>,
    /// The store once more, when it is read with credentials that a catalog service gave.
    pub(crate) vended: Option<Arc<VendedStore>>,
}

/// Which snapshot of a table a statement names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// The current one.
    Newest,
    /// That of a branch or a tag, or the one with this id.
    Named(String),
    /// The one that was current at a time.
    Time { ms: i64 },
}

impl At {
    /// Reads a time; without a zone it is UTC.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn parse_time(text: &str) -> Result<Self> {
        // A time may end with its minutes.
        let found = [text.to_owned(), format!("{text}:00")].into_iter().find_map(|text| {
            let micros = ScalarValue::Utf8(Some(text)).cast_to(&Primitive::Timestamptz.arrow());
            match micros {
                Ok(ScalarValue::TimestampMicrosecond(micros, _)) => micros,
                _ => None,
            }
        });
        match found {
            Some(micros) => Ok(Self::Time { ms: micros.div_euclid(1000) }),
            None => Err(DataFusionError::Plan(format!("\"{text}\" is not a timestamp")).into()),
        }
    }

    /// Returns the snapshot, and whether it is seen with the columns it was written with.
    fn find(&self, table: &str, metadata: &TableMetadata) -> Result<(Option<Arc<Snapshot>>, bool)> {
        let none = |wanted: String| Error::SnapshotNotFound { table: table.to_owned(), wanted };
        match self {
            Self::Newest => Ok((metadata.current_snapshot().cloned(), false)),
            Self::Named(name) => {
                let reference = metadata.refs.get(name);
                let id = match reference {
                    Some(reference) => Some(reference.snapshot_id),
                    None => name.parse().ok(),
                };
                let found = id.and_then(|id| metadata.snapshots.get(&id)).cloned();
                let found = found.ok_or_else(|| none(format!("\"{name}\"")))?;
                Ok((Some(found), !reference.is_some_and(|reference| reference.is_branch)))
            }
            Self::Time { ms } => {
                let then = metadata.history.iter().rev().find(|(at, _)| at <= ms);
                let found = then.and_then(|(_, id)| metadata.snapshots.get(id)).cloned();
                let time = || DateTime::from_timestamp_millis(*ms).unwrap_or_default().to_rfc3339();
                let found = found.ok_or_else(|| none(format!("as of {}", time())))?;
                Ok((Some(found), true))
            }
        }
    }
}

/// One version of a table.
pub(crate) struct Version {
    pub(super) metadata: Arc<TableMetadata>,
    pub(super) locator: Locator,
}

impl Place {
    /// Tells places apart. One document may be reached in two ways that do not allow the same locations: what was seen in
    /// one must not be read in the other.
    fn key(&self) -> String {
        format!("{:p} {} {}", Arc::as_ptr(&self.roots), self.store_url, self.url)
    }

    /// Returns the version that the statement sees: the newest one when it has not looked before.
    async fn version(&self, caches: &Arc<Caches>) -> Result<Arc<Version>> {
        let key = self.key();
        if let Some(seen) = pin::seen(&key) {
            return Ok(seen);
        }
        let newest = match self.newest(caches).await {
            // A catalog without a server replaces documents: one that is gone has a successor.
            Err(Error::Store(error)) if matches!(*error, object_store::Error::NotFound { .. }) => {
                self.newest(caches).await?
            }
            newest => newest?,
        };
        Ok(pin::note(&key, Arc::new(newest)))
    }

    async fn newest(&self, caches: &Arc<Caches>) -> Result<Version> {
        let path = store_path(&self.url)?;
        let document = match self.is_document {
            true => self.store.head(&path).await?,
            false if is_local(&self.store_url) => newest_metadata(&self.store, &path).await?,
            false => {
                let known = caches.iceberg_pointer(self.url.as_str()).await;
                let newest = newest_remote(&self.store, &path, known.as_ref()).await?;
                let location = newest.location.clone();
                caches.note_iceberg_pointer(self.url.as_str(), location).await;
                newest
            }
        };
        let key = FileKey::new(&Arc::from(self.store_url.as_str()), &document, 0);
        let load = read_metadata(&self.store, &document);
        let metadata = caches.iceberg_metadata(key, load).await?;
        let folder = match self.is_document {
            true => self.folder_of(&path, &metadata)?,
            false => path,
        };
        let list = metadata.current_snapshot().map(|snapshot| snapshot.manifest_list.as_str());
        let (store_url, roots) = (self.store_url.clone(), Arc::clone(&self.roots));
        let locator = Locator::new(&self.url, store_url, folder, &metadata.location, list, roots);
        Ok(Version { metadata, locator })
    }

    /// What ANALYZE knows the table by: its folder. A document is one version of the table that its metadata name.
    fn analysis_key(&self, metadata: &TableMetadata) -> String {
        match self.is_document {
            true => metadata.location.trim_end_matches('/').to_owned(),
            false => self.url.as_str().to_owned(),
        }
    }

    /// The table's folder when only its metadata document is known.
    fn folder_of(&self, document: &Path, metadata: &TableMetadata) -> Result<Path> {
        let parts: Vec<_> = document.parts().collect();
        if let [folder @ .., metadata, _] = parts.as_slice()
            && metadata.as_ref() == METADATA_FOLDER
        {
            return Ok(folder.iter().cloned().collect());
        }
        store_path(&self.roots.check(&metadata.location)?)
    }
}

async fn read_metadata(
    store: &Arc<dyn ObjectStore>,
    document: &ObjectMeta,
) -> Result<Arc<TableMetadata>> {
    let name = document.location.to_string();
    let bytes = store.get(&document.location).await?.bytes().await?;
    let parse = move || {
        let corrupt = |error: &dyn fmt::Display| Error::CorruptFile {
            path: name.clone(),
            message: error.to_string(),
        };
        if !bytes.starts_with(&GZIP_MAGIC) {
            return facade::parse_metadata(&name, &bytes).map(Arc::new);
        }
        let reader = std::io::Cursor::new(bytes);
        let reader = FileCompressionType::GZIP.convert_read(reader)?;
        let mut plain = vec![];
        reader.take(MAX_DOCUMENT_BYTES).read_to_end(&mut plain).map_err(|error| corrupt(&error))?;
        facade::parse_metadata(&name, &plain).map(Arc::new)
    };
    blocking(parse).await
}

/// An Iceberg table.
#[derive(Clone)]
pub(crate) struct IcebergTable {
    name: String,
    place: Place,
    caches: Arc<Caches>,
    at: At,
    /// With the metadata columns.
    schema: Arc<TableSchema>,
    reserved: Option<Arc<Reserved>>,
    arrow: SchemaRef,
    loaded: Arc<Version>,
    loaded_at: Instant,
}

impl fmt::Debug for IcebergTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IcebergTable")
            .field("table", &self.name)
            .field("location", &self.place.url.as_str())
            .finish_non_exhaustive()
    }
}

impl IcebergTable {
    /// Returns what the metadata that were loaded say of the table.
    pub(crate) fn description(&self) -> Description {
        let metadata = &self.loaded.metadata;
        let snapshot = match self.at.find(&self.name, metadata) {
            Ok((snapshot, _)) => snapshot,
            Err(_) => None,
        };
        let total = |snapshot: &Snapshot, name: &str| snapshot.summary.get(name)?.parse().ok();
        let n_rows = snapshot.and_then(|snapshot| {
            let n_deleted: u64 = total(&snapshot, "total-position-deletes").unwrap_or_default();
            Some(total(&snapshot, "total-records")?.saturating_sub(n_deleted))
        });
        Description {
            comment: metadata.comment.clone(),
            columns: of_iceberg_fields(&self.schema.json),
            n_rows,
        }
    }

    /// Reads the table's newest metadata.
    ///
    /// # Errors
    /// When there are none, they are corrupt, or they have what this reader has not.
    pub(crate) async fn load(
        name: &str,
        place: Place,
        caches: Arc<Caches>,
        at: At,
    ) -> Result<Self> {
        let loaded_at = Instant::now();
        let loaded = place.version(&caches).await?;
        let (snapshot, has_own_schema) = at.find(name, &loaded.metadata)?;
        let own = snapshot.filter(|_| has_own_schema).and_then(|snapshot| snapshot.schema_id);
        let schema = match own {
            Some(id) => Arc::clone(loaded.metadata.schema(id)?),
            None => Arc::clone(loaded.metadata.current_schema()?),
        };
        let arrow = schema.arrow();
        let (name, reserved) = (name.to_owned(), None);
        Ok(Self { name, place, caches, at, schema, reserved, arrow, loaded, loaded_at })
    }

    /// Returns the table with those of the wanted metadata columns that it has; `None` when it has none of them.
    pub(crate) fn with_reserved(&self, wanted: &[&str]) -> Option<Self> {
        let reserved = Reserved::of_iceberg(wanted, &self.schema, &self.loaded.metadata)?;
        let schema = reserved.added_to(&self.schema);
        let arrow = schema.arrow();
        Some(Self { schema, arrow, reserved: Some(Arc::new(reserved)), ..self.clone() })
    }

    /// Returns where the table was found.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Returns the table as it is at another place now, with the columns it was planned with.
    ///
    /// # Errors
    /// As [`IcebergTable::load`].
    pub(crate) async fn moved_to(&self, place: Place) -> Result<Self> {
        let loaded_at = Instant::now();
        let loaded = place.version(&self.caches).await?;
        Ok(Self { place, loaded, loaded_at, ..self.clone() })
    }

    /// Returns one of the table's metadata tables.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub(crate) async fn inspect(&self, inspection: Inspection) -> Result<Arc<dyn TableProvider>> {
        let version = self.version().await?;
        let (snapshot, _) = self.at.find(&self.name, &version.metadata)?;
        let rows = inspect(inspection, &self.reader(&version), snapshot.as_deref()).await?;
        Ok(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))
    }

    /// Returns the version that this run of the statement sees.
    async fn version(&self) -> Result<Arc<Version>> {
        let key = self.place.key();
        if let Some(seen) = pin::seen(&key) {
            return Ok(seen);
        }
        if self.loaded_at.elapsed() < PIN_TIME {
            return Ok(pin::note(&key, Arc::clone(&self.loaded)));
        }
        self.place.version(&self.caches).await
    }

    /// Returns what ANALYZE keeps its findings by.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub(crate) async fn analyzed(&self) -> Result<AnalyzedTable> {
        let version = self.version().await?;
        let (snapshot, _) = self.at.find(&self.name, &version.metadata)?;
        Ok(AnalyzedTable {
            location: self.place.analysis_key(&version.metadata),
            version: snapshot.map_or_else(String::new, |snapshot| snapshot.id.to_string()),
        })
    }

    fn reader(&self, version: &Version) -> MetadataReader {
        MetadataReader {
            store: Arc::clone(&self.place.store),
            caches: Arc::clone(&self.caches),
            locator: version.locator.clone(),
            metadata: Arc::clone(&version.metadata),
        }
    }

    fn log(&self, session: &dyn Session, snapshot: &Snapshot, plan: &ScanPlan) {
        let ScanPlan { n_manifests, n_manifests_read, .. } = plan;
        let note = format!(
            "snapshot {}, {n_manifests_read} of {n_manifests} manifests, {} delete files",
            snapshot.id,
            plan.deletes.len()
        );
        let scan = TableScan {
            table: self.name.clone(),
            n_files: plan.n_files,
            n_kept: plan.files.len(),
            note: Some(note),
        };
        ScanLog::record(session.config(), scan);
    }

    /// Returns what the scan says beyond a Parquet scan.
    fn spec(&self, version: &Version, plan: &ScanPlan) -> Result<ScanSpec> {
        let mut older_schemas: Vec<Arc<TableSchema>> = vec![];
        let mut deletes = Vec::with_capacity(plan.deletes.len());
        for delete in plan.deletes.iter() {
            deletes.push(ScanDelete {
                path: version.locator.resolve(&delete.location)?,
                size: delete.size,
                kind: delete.kind.clone(),
                n_rows: delete.n_rows,
            });
            let DeleteKind::Equality(ids) = &delete.kind else { continue };
            for id in ids {
                let has = |schema: &Arc<TableSchema>| schema.column(*id).is_some();
                if has(&self.schema) || older_schemas.iter().any(has) {
                    continue;
                }
                // The newest schema that still had the column.
                let older = version.metadata.schemas.values().rev().find(|schema| has(schema));
                older_schemas.extend(older.cloned());
            }
        }
        let mapping = version.metadata.name_mapping.as_deref();
        Ok(ScanSpec {
            rule: ColumnRule::Iceberg,
            schema: Arc::clone(&self.schema),
            reserved: self.reserved.clone(),
            older_schemas,
            mapping_json: mapping.map(str::to_owned),
            mapping: mapping.map(facade::parse_name_mapping).transpose()?.map(Arc::new),
            deletes,
            store_key: self.place.store_url.as_str().to_owned(),
            vended: self.place.vended.clone(),
        })
    }

    fn file(&self, version: &Version, planned: &PlannedFile) -> Result<PartitionedFile> {
        let (block, row) = (&planned.block, planned.row);
        let location = block.paths.value(row);
        let meta = ObjectMeta {
            location: version.locator.resolve(location)?,
            // Files never change: one time for all keeps their footers valid in caches.
            last_modified: DateTime::UNIX_EPOCH,
            size: block.sizes[row],
            e_tag: None,
            version: None,
        };
        let spec = version.metadata.spec(block.spec_id)?;
        let mut constants: HashMap<i32, ScalarValue> = HashMap::new();
        for (field, values) in spec.fields.iter().zip(&block.partitions) {
            if let (Transform::Identity, Some(values)) = (field.transform, values) {
                let value = ScalarValue::try_from_array(values, row)?;
                constants.insert(field.source_id, value);
            }
        }
        if let Some(reserved) = &self.reserved {
            reserved.add_constants(&mut constants, block, row, spec)?;
        }
        let mut file = PartitionedFile::new_from_meta(meta);
        file.extensions.insert(FileInfo {
            location: location.to_owned(),
            n_rows: block.n_rows[row],
            deletes: planned.deletes.clone(),
            constants: Arc::new(constants),
        });
        Ok(file)
    }
}

impl IcebergTable {
    /// Plans a scan: [`TableProvider::scan`].
    fn plan<'a>(
        &'a self,
        session: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>, DataFusionError>> {
        Box::pin(async move {
            let version = self.version().await?;
            let empty = || -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
                Ok(Arc::new(EmptyExec::new(project_schema(&self.arrow, projection)?)))
            };
            let (snapshot, _) = self.at.find(&self.name, &version.metadata)?;
            let Some(snapshot) = snapshot else { return empty() };
            let props = session.execution_props();
            let pruner = Pruner::new(filters, &self.schema, &self.arrow, props);
            let mut plan = self.reader(&version).plan(&snapshot, &pruner).await?;
            let is_cut =
                limit.filter(|_| filters.is_empty()).is_some_and(|limit| plan.cut_to(limit));
            self.log(session, &snapshot, &plan);
            if plan.files.is_empty() {
                return empty();
            }
            let mut statistics = statistics_of(&plan, &self.schema);
            version.metadata.add_distinct(&mut statistics, &self.schema, &snapshot);
            let location = self.place.analysis_key(&version.metadata);
            if let Some(analysis) = self.caches.analyses.of(&location).await {
                analysis.add_to(&mut statistics, &self.arrow, &snapshot.id.to_string());
            }
            let statistics = if is_cut { statistics.to_inexact() } else { statistics };
            let scan = self.spec(&version, &plan)?;
            let (store, deletes) = (&self.place.store, &self.caches.deletes);
            let store_url = self.place.store_url.clone();
            let source = TableSource::for_session(session, store, store_url, scan, deletes);
            let files = plan.files.iter().map(|planned| self.file(&version, planned));
            let files = files.collect::<Result<Vec<_>>>()?;
            let n_groups = session.config().target_partitions().max(1);
            let config = FileScanConfigBuilder::new(self.place.store_url.clone(), Arc::new(source))
                .with_file_groups(FileGroup::new(files).split_files(n_groups))
                .with_statistics(statistics)
                .with_projection_indices(projection.cloned())?
                .with_limit(limit)
                .build();
            Ok(DataSourceExec::from_data_source(config))
        })
    }
}

impl TableProvider for IcebergTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.arrow)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    crate::scan_by!(plan);

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}
