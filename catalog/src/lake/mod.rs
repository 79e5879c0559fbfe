//! The lake: what is in it, how that changes, and which places statements may name.
//!
//! Shared by all sessions of a coordinator. A relation is looked up in this order: definitions (external tables, views),
//! then folders and files; a definition hides data of the same name. Only definitions can be dropped: data in the lake
//! is deleted by who owns it, never by a statement here.
//!
//! What others call returns a boxed future: the compiler proves once, here, that it may cross threads, and not at each
//! place that awaits it.

mod analyses;
mod changes;
mod delta;
mod iceberg;
mod services;
mod temporary;

pub use services::Catalog;

use crate::analysis::Analyses;
use crate::cache::{CacheUsage, Caches};
use crate::comments::Comments;
use crate::definitions::{DefinitionStore, Definitions, ExternalTable, View};
use crate::discovery::{Discovered, Discovery, Found, PUBLIC};
use crate::error::{Error, Result};
use crate::format::{FileFlavor, FileKind, reader};
use crate::iceberg::At;
use crate::listing::ListingRequest;
use crate::location::{Locations, contains, store_path};
use crate::registry::LakeCatalog;
use crate::services::definition::CatalogDefinition;
use crate::similar::similar;
use crate::store::StoreOptions;
use crate::table::{LakeTable, Source};
use crate::view::{self, ViewName, ViewPlanner};
use datafusion::catalog::{CatalogProvider, TableProvider};
use datafusion::config::TableOptions;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, SessionStateBuilder};
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::{Mutex, RwLock};
use services::Services;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use tokio::runtime::Handle;
use url::Url;

/// Folder of the lake's own files, under the root.
const OWN_FOLDER: &str = "_saltlake";
/// Longest name of a schema or relation in bytes, as object stores and file systems can still hold it.
const MAX_NAME_BYTES: usize = 200;
/// Longest text of a view in bytes.
const MAX_VIEW_BYTES: usize = 1 << 20;

/// What a lake is opened with.
#[derive(Debug, Clone, Default)]
pub struct LakeOptions {
    /// Directory or URL such as `s3://bucket/prefix`.
    pub root: String,
    /// Further directories or URLs that statements may read and write.
    pub allowed_roots: Vec<String>,
    /// Name of the catalog, and so of the PostgreSQL database.
    pub catalog_name: String,
    /// Catalog services of the configuration.
    pub catalogs: Vec<CatalogDefinition>,
    /// How object stores are reached.
    pub stores: StoreOptions,
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RelationKind {
    /// Files of the lake or an external table.
    Table,
    /// A query under a name.
    View,
}

impl RelationKind {
    /// Returns "table" or "view".
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::View => "view",
        }
    }
}

/// A table or view as the catalog lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The schema it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Table or view.
    pub kind: RelationKind,
    /// "parquet", "csv", "json", "iceberg" or "delta"; `None` for a view.
    pub format: Option<String>,
    /// Where its data is; `None` for a view.
    pub location: Option<String>,
    /// What it is for, if a statement said so.
    pub comment: Option<String>,
}

/// What a lake holds at one moment. Reads no columns.
#[derive(Debug, Default)]
pub struct Names {
    /// The names of all schemas, sorted.
    pub schemas: Vec<String>,
    /// All tables and views, sorted by schema and name.
    pub relations: Vec<Relation>,
    /// What statements said of them.
    pub comments: Comments,
}

/// Names, and what they were made of.
struct Listed {
    definitions: Arc<Definitions>,
    discovered: Arc<Discovered>,
    names: Arc<Names>,
}

/// A lake: one root of tables and the catalog that names them.
pub struct Lake {
    catalog_name: String,
    locations: Arc<Locations>,
    discovery: Discovery,
    definitions: DefinitionStore,
    caches: Arc<Caches>,
    listed: Mutex<Option<Listed>>,
    /// Lends its runtime and default options to the reading of schemas, which has no session of its own.
    session: SessionState,
    /// Where waiting calls from outside any runtime are run.
    runtime: Handle,
    services: Services,
    view_planner: RwLock<Option<Arc<dyn ViewPlanner>>>,
    /// One change of views at a time, so that two of them cannot rest on each other.
    view_changes: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Lake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = self.locations.root().as_str();
        f.debug_struct("Lake").field("root", &root).finish_non_exhaustive()
    }
}

impl Lake {
    /// Opens a lake. A local root that is missing is created; definitions are read once, to fail early.
    ///
    /// # Errors
    /// When the root cannot be reached or its catalog cannot be read.
    pub async fn open(options: LakeOptions, runtime: Arc<RuntimeEnv>) -> Result<Arc<Self>> {
        let LakeOptions { root, allowed_roots, catalog_name, catalogs, stores } = options;
        let services = Services::new(catalogs, &stores, &catalog_name)?;
        let resolve = move || Locations::new(&root, &allowed_roots);
        let locations = match tokio::task::spawn_blocking(resolve).await {
            Ok(locations) => locations?,
            Err(error) => return Err(object_store::Error::from(error).into()),
        };
        let store = runtime.object_store_registry.get_store(locations.root())?;
        let path = store_path(locations.root())?;
        let is_local = locations.root().scheme() == "file";
        let own_folder = path.clone().join(OWN_FOLDER);
        let analyses = Analyses::new(Arc::clone(&store), own_folder.clone().join("statistics"));
        let own_folder = own_folder.join("catalog");
        let session =
            SessionStateBuilder::new().with_default_features().with_runtime_env(runtime).build();
        let lake = Self {
            catalog_name,
            locations: Arc::new(locations),
            discovery: Discovery::new(Arc::clone(&store), path, is_local),
            definitions: DefinitionStore::new(store, own_folder, is_local),
            caches: Arc::new(Caches::new(analyses)),
            listed: Mutex::new(None),
            session,
            runtime: Handle::current(),
            services,
            view_planner: RwLock::new(None),
            view_changes: tokio::sync::Mutex::new(()),
        };
        let definitions = lake.definitions.read().await?;
        let (n_tables, n_views) = (definitions.tables.len(), definitions.views.len());
        tracing::info!(root = %lake.locations.root(), n_tables, n_views, "lake opened");
        Ok(Arc::new(lake))
    }

    /// Returns DataFusion's view of this lake.
    pub fn catalog_provider(self: &Arc<Self>) -> Arc<dyn CatalogProvider> {
        Arc::new(LakeCatalog::new(Arc::clone(self)))
    }

    /// Returns the name of the catalog.
    pub fn catalog_name(&self) -> &str {
        &self.catalog_name
    }

    /// Returns the root, ending in a slash.
    pub fn root(&self) -> &Url {
        self.locations.root()
    }

    /// Sets who plans the queries of views. Until then views cannot be read.
    pub fn set_view_planner(&self, planner: Arc<dyn ViewPlanner>) {
        *self.view_planner.write() = Some(planner);
    }

    /// Resolves a location, relative ones against the lake's root, and checks that statements may use it.
    ///
    /// # Errors
    /// [`Error::LocationRefused`] when it lies outside the root and the allowed roots, or is where the lake keeps its
    /// definitions: those may hold credentials of catalogs.
    pub fn check_location(&self, location: &str) -> Result<Url> {
        let url = self.locations.check(location)?;
        let own = self.root().join(&format!("{OWN_FOLDER}/catalog/"));
        if own.is_ok_and(|own| contains(&own, &url)) {
            return Err(Error::LocationRefused { location: location.to_owned() });
        }
        Ok(url)
    }

    /// Returns the names of all schemas, sorted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn schemas(&self) -> Result<Vec<String>> {
        Ok(self.names().await?.schemas.clone())
    }

    /// Returns all tables and views, sorted by schema and name. Reads no columns.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn relations(&self) -> Result<Vec<Relation>> {
        Ok(self.names().await?.relations.clone())
    }

    /// Returns what is there now. As long as nothing changes this is the same value.
    ///
    /// # Errors
    /// When the store fails.
    pub fn names(&self) -> BoxFuture<'_, Result<Arc<Names>>> {
        Box::pin(self.list_names())
    }

    async fn list_names(&self) -> Result<Arc<Names>> {
        let definitions = self.definitions.read().await?;
        let discovered = self.discovery.all(&definitions.schemas).await?;
        if let Some(listed) = self.listed.lock().as_ref()
            && Arc::ptr_eq(&listed.discovered, &discovered)
            && listed.definitions == definitions
        {
            return Ok(Arc::clone(&listed.names));
        }
        let names = Arc::new(self.names_of(&definitions, &discovered));
        let listed = Listed { definitions, discovered, names: Arc::clone(&names) };
        *self.listed.lock() = Some(listed);
        Ok(names)
    }

    fn names_of(&self, definitions: &Definitions, discovered: &Discovered) -> Names {
        let mut relations: Vec<Relation> =
            definitions.tables.iter().map(|table| self.external_relation(table)).collect();
        relations.extend(definitions.views.iter().map(view_relation));
        // Two files of one name are an error when they are read; they are listed once.
        let mut seen: BTreeSet<(String, String)> =
            relations.iter().map(|r| (r.schema.clone(), r.name.clone())).collect();
        for table in &discovered.tables {
            if seen.insert((table.schema.clone(), table.name.clone())) {
                relations.push(self.found_relation(table));
            }
        }
        relations.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        let comments = Comments::of(&definitions.comments);
        for relation in &mut relations {
            if let Some(comment) = comments.relation(&relation.schema, &relation.name) {
                relation.comment = Some(comment.to_owned());
            }
        }
        Names {
            schemas: all_schemas(definitions, &discovered.schemas).into_iter().collect(),
            relations,
            comments,
        }
    }

    /// Returns the table or view of a name as it is now; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::SchemaNotFound`], and everything that reading the table's columns can meet.
    pub fn relation_provider<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<dyn TableProvider>>>> {
        Box::pin(self.find_provider(schema, name))
    }

    async fn find_provider(
        &self,
        schema: &str,
        name: &str,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        let definitions = self.definitions.read().await?;
        self.caches.analyses.follow(&definitions);
        if let Some(view) = definitions.view(schema, name) {
            return Ok(Some(self.plan_view(view).await?));
        }
        self.table_provider(&definitions, schema, name).await
    }

    /// Apart from views, which nest their futures in each other: what is large must not lie on the stack of each.
    fn table_provider<'a>(
        &'a self,
        definitions: &'a Definitions,
        schema: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<dyn TableProvider>>>> {
        Box::pin(self.find_table(definitions, schema, name))
    }

    async fn find_table(
        &self,
        definitions: &Definitions,
        schema: &str,
        name: &str,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = definitions.table(schema, name) {
            return Ok(Some(self.load_external(table).await?));
        }
        if let Some(found) = self.discovery.find(&definitions.schemas, schema, name).await? {
            match self.load_found(&found).await {
                Err(Error::LocationNotFound { .. }) if self.discovery.forget(schema, name) => {}
                loaded => return loaded,
            }
            // It was where the table had been found some time ago.
            if let Some(found) = self.discovery.find(&definitions.schemas, schema, name).await? {
                return self.load_found(&found).await;
            }
        }
        if let Some(table) = self.extended_table(definitions, schema, name).await? {
            return Ok(Some(table));
        }
        self.check_schema(definitions, schema).await?;
        Ok(None)
    }

    /// Returns what a relation is without reading its columns; `None` when there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub fn relation_kind<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<RelationKind>>> {
        Box::pin(self.find_kind(schema, name))
    }

    async fn find_kind(&self, schema: &str, name: &str) -> Result<Option<RelationKind>> {
        let definitions = self.definitions.read().await?;
        if definitions.table(schema, name).is_some() {
            return Ok(Some(RelationKind::Table));
        }
        if definitions.view(schema, name).is_some() {
            return Ok(Some(RelationKind::View));
        }
        match self.discovery.find(&definitions.schemas, schema, name).await {
            Ok(found) => Ok(found.map(|_| RelationKind::Table)),
            // Two things claim the name: something is there.
            Err(Error::MixedFormats { .. }) => Ok(Some(RelationKind::Table)),
            Err(error) => Err(error),
        }
    }

    /// Returns names that look like a table that was not found, best first. Names of other schemas come with theirs.
    pub async fn similar_tables(&self, schema: &str, name: &str) -> Vec<String> {
        let relations = self.relations().await.unwrap_or_default();
        let shown = |relation: &Relation| {
            let is_here = relation.schema == schema;
            let full = format!("{}.{}", relation.schema, relation.name);
            (relation.name.clone(), if is_here { relation.name.clone() } else { full })
        };
        similar(name, relations.iter().map(shown))
    }

    /// Returns the error for a relation that is not there, with names that look alike.
    pub async fn table_not_found(&self, schema: &str, name: &str) -> Error {
        Error::TableNotFound {
            schema: schema.to_owned(),
            name: name.to_owned(),
            similar: self.similar_tables(schema, name).await,
        }
    }

    /// Returns how the caches of columns and statistics are doing.
    pub fn cache_usage(&self) -> Vec<CacheUsage> {
        self.caches.usage()
    }

    /// Forgets everything that was read from metadata, footers and delete files by this process.
    pub fn flush_caches(&self) {
        self.caches.clear();
    }

    /// Returns the runtime the lake was opened on.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    async fn check_schema(&self, definitions: &Definitions, schema: &str) -> Result<()> {
        let is_defined = schema == PUBLIC
            || definitions.schemas.contains(schema)
            || definitions.has_schema_content(schema);
        if is_defined || self.discovery.has_schema(&definitions.schemas, schema).await? {
            return Ok(());
        }
        Err(self.schema_not_found(definitions, schema).await)
    }

    async fn schema_not_found(&self, definitions: &Definitions, schema: &str) -> Error {
        let discovered = self.discovery.all(&definitions.schemas).await;
        let names = match discovered {
            Ok(discovered) => all_schemas(definitions, &discovered.schemas),
            Err(_) => all_schemas(definitions, &BTreeSet::new()),
        };
        let similar = similar(schema, names.into_iter().map(|name| (name.clone(), name)));
        Error::SchemaNotFound { schema: schema.to_owned(), similar }
    }

    fn view_planner(&self) -> Result<Arc<dyn ViewPlanner>> {
        let planner = self.view_planner.read().clone();
        planner
            .ok_or_else(|| Error::NotSupported { feature: "a view without a planner".to_owned() })
    }

    async fn plan_view(&self, view: &View) -> Result<Arc<dyn TableProvider>> {
        let name = ViewName { catalog: &self.catalog_name, schema: &view.schema, name: &view.name };
        let planned = view::plan(self.view_planner()?.as_ref(), &name, &view.sql).await?;
        Ok(planned)
    }

    async fn load_found(&self, found: &Found) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(kind) = found.kind.filter(|kind| kind.has_metadata()) {
            let url = self.folder_url(found)?;
            return self.load_versioned(kind, &found.name, url).await.map(Some);
        }
        let source = Source {
            store_url: store_url(self.root())?,
            store: self.store_of(self.root())?,
            request: ListingRequest {
                table: found.name.clone(),
                path: found.path.clone(),
                is_folder: found.is_folder,
                kind: None,
            },
            options: Default::default(),
            columns: None,
            partition_columns: vec![],
        };
        let table = LakeTable::load(source, Arc::clone(&self.caches), &self.session).await?;
        Ok(table.map(|table| Arc::new(table) as Arc<dyn TableProvider>))
    }

    async fn load_external(&self, def: &ExternalTable) -> Result<Arc<dyn TableProvider>> {
        // Checked on each use: the allowed roots may have changed since the table was defined.
        let url = self.check_location(&def.location)?;
        if def.format.has_metadata() {
            return self.load_versioned(def.format, &def.name, url).await;
        }
        reader(FileFlavor::plain(def.format), &def.options, TableOptions::default())?;
        let store = self.store_of(&url)?;
        let path = store_path(&url)?;
        let is_folder = is_folder(&store, &url, &path).await?;
        let source = Source {
            store_url: store_url(&url)?,
            store,
            request: ListingRequest {
                table: def.name.clone(),
                path,
                is_folder,
                kind: Some(def.format),
            },
            options: def.options.clone(),
            columns: def.declared_columns()?,
            partition_columns: def.partition_columns.clone(),
        };
        let loaded = LakeTable::load(source, Arc::clone(&self.caches), &self.session).await?;
        let loaded = loaded.map(|table| Arc::new(table) as Arc<dyn TableProvider>);
        loaded.ok_or_else(|| Error::LocationNotFound { location: def.location.clone() })
    }

    /// Loads the newest version of a table that has metadata.
    async fn load_versioned(
        &self,
        kind: FileKind,
        name: &str,
        url: Url,
    ) -> Result<Arc<dyn TableProvider>> {
        match kind {
            FileKind::Delta => Ok(Arc::new(self.load_delta(name, url, At::Newest).await?)),
            _ => Ok(Arc::new(self.load_iceberg(name, url, At::Newest).await?)),
        }
    }

    fn store_of(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        Ok(self.session.runtime_env().object_store_registry.get_store(url)?)
    }

    fn external_relation(&self, table: &ExternalTable) -> Relation {
        let location = self.check_location(&table.location).map(String::from);
        Relation {
            schema: table.schema.clone(),
            name: table.name.clone(),
            kind: RelationKind::Table,
            format: Some(table.format.name().to_owned()),
            location: Some(location.unwrap_or_else(|_| table.location.clone())),
            comment: table.comment.clone(),
        }
    }

    fn found_relation(&self, found: &Found) -> Relation {
        Relation {
            location: Some(self.url_of(found)),
            schema: found.schema.clone(),
            name: found.name.clone(),
            kind: RelationKind::Table,
            format: found.kind.map(|kind| kind.name().to_owned()),
            comment: None,
        }
    }

    fn folder_url(&self, found: &Found) -> Result<Url> {
        let location = self.url_of(found);
        Url::parse(&location).map_err(|_| Error::LocationRefused { location })
    }

    fn url_of(&self, found: &Found) -> String {
        let mut url = self.root().clone();
        let slash = if found.is_folder { "/" } else { "" };
        url.set_path(&format!("/{}{slash}", found.path.as_ref().replace('%', "%25")));
        url.to_string()
    }
}

fn view_relation(view: &View) -> Relation {
    Relation {
        schema: view.schema.clone(),
        name: view.name.clone(),
        kind: RelationKind::View,
        format: None,
        location: None,
        comment: view.comment.clone(),
    }
}

fn all_schemas(definitions: &Definitions, discovered: &BTreeSet<String>) -> BTreeSet<String> {
    let mut schemas = discovered.clone();
    schemas.insert(PUBLIC.to_owned());
    schemas.extend(definitions.schemas.iter().cloned());
    schemas.extend(definitions.tables.iter().map(|table| table.schema.clone()));
    schemas.extend(definitions.views.iter().map(|view| view.schema.clone()));
    schemas
}

async fn is_folder(store: &Arc<dyn ObjectStore>, url: &Url, path: &Path) -> Result<bool> {
    if url.path().ends_with('/') {
        return Ok(true);
    }
    match store.head(path).await {
        Ok(_) => Ok(false),
        Err(object_store::Error::NotFound { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Returns the URL of the object store that a URL lies in.
pub(crate) fn store_url(url: &Url) -> Result<ObjectStoreUrl> {
    Ok(ObjectStoreUrl::parse(format!("{}://{}", url.scheme(), url.authority()))?)
}
