//! What was defined by statement: schemas, external tables, views, catalogs. Kept in the lake itself, so that it survives restarts.
//!
//! The whole catalog is one JSON document, `_saltlake/catalog/00000000000000000042.json`, numbered by version. A change
//! reads the latest version, writes the next one with "create, fail if it exists", and starts over when another writer
//! was faster; so two writers never lose each other's changes, on a local disk as on an object store. Readers take the
//! highest version. The last [`KEPT_VERSIONS`] stay, for readers under way and for who wants to look back.

use crate::comments::{Comment, CommentTarget};
use crate::discovery::PUBLIC;
use crate::error::{Error, Result};
use crate::format::{FileKind, normalize_options};
use crate::services::definition::CatalogDefinition;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::CreateExternalTable;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Version of the document's form. A newer one is refused rather than misread.
const FORM: u32 = 1;
/// Versions that are kept besides the latest.
const KEPT_VERSIONS: u64 = 10;
/// Attempts of a change before it gives up against other writers.
const MAX_ATTEMPTS: usize = 20;
/// How long a remote catalog is served without looking for a newer version. A local one is always looked at.
const REMOTE_FRESH_TIME: Duration = Duration::from_secs(1);

/// The definition of an external table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalTable {
    /// The schema it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Folder or file; a relative path starts at the lake's root.
    pub location: String,
    /// Format of the files.
    pub format: FileKind,
    /// Declared columns, partition columns included; empty to read them from the files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Column>,
    /// Keys of the `key=value` folders. Empty to take those that are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partition_columns: Vec<String>,
    /// Options of the reader, such as `delimiter`, `has_header`, `compression`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

impl ExternalTable {
    /// Returns the declared columns; `None` when there are none.
    ///
    /// # Errors
    /// When a type is not known.
    pub(crate) fn declared_columns(&self) -> Result<Option<SchemaRef>> {
        if self.columns.is_empty() {
            return Ok(None);
        }
        let field = |column: &Column| {
            let data_type =
                DataType::from_str(&column.data_type).map_err(|_| Error::InvalidDefinition {
                    name: self.name.clone(),
                    message: format!("column \"{}\" has no known type", column.name),
                })?;
            Ok(Field::new(&column.name, data_type, column.nullable))
        };
        let fields = self.columns.iter().map(field).collect::<Result<Vec<_>>>()?;
        Ok(Some(Arc::new(Schema::new(fields))))
    }
}

impl TryFrom<&CreateExternalTable> for ExternalTable {
    type Error = Error;

    /// Takes over what DataFusion parsed from `CREATE EXTERNAL TABLE`. Without a schema name the table is in `public`.
    fn try_from(command: &CreateExternalTable) -> Result<Self> {
        let unsupported = |feature: &str| Err(Error::NotSupported { feature: feature.to_owned() });
        let [location] = command.locations.as_slice() else {
            return unsupported("an external table of several locations");
        };
        if command.unbounded {
            return unsupported("an unbounded external table");
        }
        if !command.order_exprs.is_empty() {
            return unsupported("WITH ORDER of an external table");
        }
        if !command.column_defaults.is_empty() {
            return unsupported("a column default of an external table");
        }
        let column = |field: &Arc<Field>| Column {
            name: field.name().clone(),
            data_type: field.data_type().to_string(),
            nullable: field.is_nullable(),
        };
        let mut options: BTreeMap<String, String> = normalize_options(command.options.iter());
        let format = FileKind::parse(&command.file_type)?;
        if format.has_metadata() {
            let has_columns = !command.schema.fields().is_empty();
            if has_columns || !command.table_partition_cols.is_empty() || !options.is_empty() {
                return unsupported(
                    "columns, partitions or options of an external Iceberg or Delta table",
                );
            }
        }
        if command.file_type.eq_ignore_ascii_case("tsv") {
            options.entry("delimiter".to_owned()).or_insert_with(|| "\t".to_owned());
        }
        Ok(Self {
            schema: command.name.schema().unwrap_or(PUBLIC).to_owned(),
            name: command.name.table().to_owned(),
            location: location.clone(),
            format,
            columns: command.schema.fields().iter().map(column).collect(),
            partition_columns: command.table_partition_cols.clone(),
            options,
            comment: None,
        })
    }
}

/// A declared column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its Arrow type, as Arrow prints it.
    pub data_type: String,
    /// Whether it may be null.
    pub nullable: bool,
}

/// The definition of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The schema it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The query.
    pub sql: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Everything that is defined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Definitions {
    form: u32,
    #[serde(default)]
    pub(crate) schemas: BTreeSet<String>,
    #[serde(default)]
    pub(crate) tables: Vec<ExternalTable>,
    #[serde(default)]
    pub(crate) views: Vec<View>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) catalogs: Vec<CatalogDefinition>,
    /// Names of what ANALYZE found out, by the locations of tables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) analyses: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) comments: Vec<Comment>,
}

impl Definitions {
    pub(crate) fn table(&self, schema: &str, name: &str) -> Option<&ExternalTable> {
        self.tables.iter().find(|table| table.schema == schema && table.name == name)
    }

    pub(crate) fn view(&self, schema: &str, name: &str) -> Option<&View> {
        self.views.iter().find(|view| view.schema == schema && view.name == name)
    }

    pub(crate) fn catalog(&self, name: &str) -> Option<&CatalogDefinition> {
        self.catalogs.iter().find(|catalog| catalog.name == name)
    }

    /// Removes a table or view; comments stay, for what takes its place.
    pub(crate) fn remove(&mut self, schema: &str, name: &str) {
        self.tables.retain(|table| !(table.schema == schema && table.name == name));
        self.views.retain(|view| !(view.schema == schema && view.name == name));
    }

    /// Removes the comments on a relation and its columns.
    pub(crate) fn forget_relation(&mut self, schema: &str, name: &str) {
        let is_on =
            |on: &CommentTarget| on.schema == schema && on.relation.as_deref() == Some(name);
        self.comments.retain(|comment| !is_on(&comment.on));
    }

    /// Sets a comment, or removes it; returns whether that changes anything.
    pub(crate) fn comment(&mut self, on: &CommentTarget, text: Option<&str>) -> bool {
        let known = self.comments.iter().position(|comment| comment.on == *on);
        match (known, text) {
            (Some(idx), Some(text)) if self.comments[idx].text == text => return false,
            (Some(idx), Some(text)) => self.comments[idx].text = text.to_owned(),
            (None, Some(text)) => {
                self.comments.push(Comment { on: on.clone(), text: text.to_owned() });
            }
            (Some(idx), None) => _ = self.comments.remove(idx),
            (None, None) => return false,
        }
        true
    }

    pub(crate) fn has_schema_content(&self, schema: &str) -> bool {
        self.tables.iter().any(|table| table.schema == schema)
            || self.views.iter().any(|view| view.schema == schema)
    }
}

/// Reads and changes the definitions of one lake.
pub(crate) struct DefinitionStore {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    fresh_time: Duration,
    latest: Mutex<Option<Latest>>,
}

#[derive(Clone)]
struct Latest {
    version: u64,
    definitions: Arc<Definitions>,
    seen_at: Instant,
}

impl DefinitionStore {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, folder: Path, is_local: bool) -> Self {
        let fresh_time = if is_local { Duration::ZERO } else { REMOTE_FRESH_TIME };
        Self { store, folder, fresh_time, latest: Mutex::new(None) }
    }

    /// Returns the definitions as they are now.
    pub(crate) async fn read(&self) -> Result<Arc<Definitions>> {
        let is_fresh = |latest: &Latest| latest.seen_at.elapsed() < self.fresh_time;
        let known = self.latest.lock().clone().filter(is_fresh);
        if let Some(latest) = known {
            return Ok(latest.definitions);
        }
        Ok(self.read_latest().await?.definitions)
    }

    /// Changes the definitions. `change` is called again when another writer was faster; what it returns in the
    /// attempt that succeeds is returned. `Ok(None)` from it means that there is nothing to write.
    pub(crate) async fn update<T>(
        &self,
        change: impl Fn(&mut Definitions) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        for _ in 0..MAX_ATTEMPTS {
            let latest = self.read_latest().await?;
            let mut definitions = Definitions::clone(&latest.definitions);
            let Some(outcome) = change(&mut definitions)? else { return Ok(None) };
            definitions.form = FORM;
            let version = latest.version + 1;
            if self.write(version, &definitions).await? {
                self.remember(version, Arc::new(definitions));
                self.remove_old(version).await;
                return Ok(Some(outcome));
            }
        }
        Err(Error::Conflict)
    }

    async fn read_latest(&self) -> Result<Latest> {
        for _ in 0..MAX_ATTEMPTS {
            let Some(version) = self.versions().await?.last().copied() else {
                return Ok(self.remember(0, Arc::new(Definitions::default())));
            };
            let known = self.latest.lock().clone().filter(|latest| latest.version == version);
            if let Some(latest) = known {
                return Ok(self.remember(version, latest.definitions));
            }
            match self.store.get(&self.path(version)).await {
                Ok(found) => {
                    let definitions = self.parse(version, &found.bytes().await?)?;
                    return Ok(self.remember(version, Arc::new(definitions)));
                }
                // Ten versions went by since the listing; the next listing shows newer ones.
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Conflict)
    }

    fn remember(&self, version: u64, definitions: Arc<Definitions>) -> Latest {
        let latest = Latest { version, definitions, seen_at: Instant::now() };
        *self.latest.lock() = Some(latest.clone());
        latest
    }

    fn parse(&self, version: u64, bytes: &[u8]) -> Result<Definitions> {
        let corrupt = |message: String| {
            let path = self.path(version).to_string();
            Error::CorruptFile { path, message }
        };
        let definitions: Definitions =
            serde_json::from_slice(bytes).map_err(|e| corrupt(e.to_string()))?;
        if definitions.form > FORM {
            return Err(corrupt("it was written by a newer version of Saltlake".to_owned()));
        }
        Ok(definitions)
    }

    /// Returns false when another writer took the version.
    async fn write(&self, version: u64, definitions: &Definitions) -> Result<bool> {
        let path = self.path(version);
        let text = serde_json::to_vec_pretty(definitions)
            .map_err(|e| Error::CorruptFile { path: path.to_string(), message: e.to_string() })?;
        let payload = PutPayload::from(text);
        let create = PutOptions::from(PutMode::Create);
        match self.store.put_opts(&path, payload.clone(), create).await {
            Ok(_) => Ok(true),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Ok(false),
            // Stores without conditional writes: the last writer wins.
            Err(object_store::Error::NotImplemented { .. }) => {
                self.store.put(&path, payload).await?;
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Housekeeping: what cannot be removed now is removed after the next change.
    async fn remove_old(&self, version: u64) {
        let Ok(versions) = self.versions().await else { return };
        for old in versions.into_iter().filter(|old| old + KEPT_VERSIONS < version) {
            if let Err(error) = self.store.delete(&self.path(old)).await {
                tracing::debug!(%error, version = old, "old catalog version not removed");
            }
        }
    }

    /// Versions that are there, ascending.
    async fn versions(&self) -> Result<Vec<u64>> {
        let metas: Vec<_> = self.store.list(Some(&self.folder)).try_collect().await?;
        let version = |path: &Path| path.filename()?.strip_suffix(".json")?.parse::<u64>().ok();
        let mut versions: Vec<u64> =
            metas.iter().filter_map(|meta| version(&meta.location)).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    fn path(&self, version: u64) -> Path {
        self.folder.clone().join(format!("{version:020}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    fn open(store: &Arc<InMemory>) -> DefinitionStore {
        let store = Arc::clone(store) as Arc<dyn ObjectStore>;
        DefinitionStore::new(store, Path::from("lake/_saltlake/catalog"), true)
    }

    async fn add(store: &DefinitionStore, schema: String) {
        let change = |definitions: &mut Definitions| {
            Ok(definitions.schemas.insert(schema.clone()).then_some(()))
        };
        store.update(change).await.unwrap();
    }

    #[tokio::test]
    async fn writers_at_the_same_time_lose_nothing() {
        let memory = Arc::new(InMemory::new());
        let (a, b) = (open(&memory), open(&memory));
        let from_a = async {
            for idx in 0..20 {
                add(&a, format!("a{idx}")).await;
            }
        };
        let from_b = async {
            for idx in 0..20 {
                add(&b, format!("b{idx}")).await;
            }
        };
        tokio::join!(from_a, from_b);
        let seen = open(&memory).read().await.unwrap();
        assert_eq!(seen.schemas.len(), 40);
        assert_eq!(a.read().await.unwrap(), b.read().await.unwrap());
        assert_eq!(a.versions().await.unwrap().len() as u64, KEPT_VERSIONS + 1);
    }

    #[tokio::test]
    async fn document_of_a_newer_form_is_refused() {
        let memory = Arc::new(InMemory::new());
        let store = open(&memory);
        let text = r#"{"form": 99, "tables": []}"#;
        memory.put(&store.path(1), text.into()).await.unwrap();
        let error = store.read().await.unwrap_err();
        assert!(error.to_string().contains("newer version"), "{error}");
    }

    #[tokio::test]
    async fn broken_document_is_named() {
        let memory = Arc::new(InMemory::new());
        let store = open(&memory);
        memory.put(&store.path(3), "{".into()).await.unwrap();
        let error = store.read().await.unwrap_err();
        assert!(error.to_string().contains("00000000000000000003.json"), "{error}");
    }
}
