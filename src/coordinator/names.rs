//! The catalog as one session sees it: the lake's schemas, the frontend's (`pg_catalog`), ours (`system`), and
//! `information_schema`.
//!
//! Built by `Session`. Names without a schema are looked up along the session's search path, then in `pg_catalog`, as
//! PostgreSQL does.

use super::information_schema::InformationSchema;
use super::session::Session;
use super::temporary::Temporary;
use crate::error::Error;
use crate::sqlstate;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::TableType;
use datafusion::sql::parser::Statement as Ast;
use parking_lot::RwLock;
use saltlake_catalog::{Database, Lake, RelationKind};
use std::fmt;
use std::sync::Arc;

/// The schema that stands for the search path; not a name a user can write without quotes.
pub(super) const PATH_SCHEMA: &str = "public";

/// The schema of temporary tables and views, searched before all others.
pub(super) const TEMPORARY_SCHEMA: &str = "pg_temp";

/// The schema that describes the others; it is not listed among them.
const INFORMATION_SCHEMA: &str = "information_schema";

/// Names of a catalog at one moment.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// All schemas.
    pub schemas: Vec<String>,
    /// All tables and views.
    pub relations: Vec<Listed>,
}

/// A relation as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Table or view.
    pub kind: TableType,
}

/// The catalog of one session.
#[derive(Clone)]
pub(super) struct SessionCatalog {
    /// The lake, or the catalog service that the client connected to.
    database: Database,
    tables: Arc<dyn CatalogProvider>,
    extra: Vec<(String, Arc<dyn SchemaProvider>)>,
    temporary: Arc<Temporary>,
    path: Arc<RwLock<Vec<String>>>,
}

impl SessionCatalog {
    /// Returns a database with more schemas; `path` is read at each look-up.
    pub(super) fn new(
        database: Database,
        extra: Vec<(String, Arc<dyn SchemaProvider>)>,
        temporary: Arc<Temporary>,
        path: Arc<RwLock<Vec<String>>>,
    ) -> Self {
        let tables = database.provider();
        Self { database, tables, extra, temporary, path }
    }

    /// Returns the name of the database.
    pub(super) fn name(&self) -> &str {
        self.database.catalog_name()
    }

    /// Returns a schema by its own name, whatever the search path.
    pub(super) fn plain_schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            TEMPORARY_SCHEMA => return Some(Arc::clone(&self.temporary) as _),
            INFORMATION_SCHEMA => return Some(Arc::new(InformationSchema::new(self.clone()))),
            _ => {}
        }
        let extra = self.extra.iter().find(|(extra, _)| extra == name);
        extra.map(|(_, schema)| Arc::clone(schema)).or_else(|| self.tables.schema(name))
    }

    /// Lists all relations without reading the columns of any.
    ///
    /// # Errors
    /// When the database cannot be listed.
    pub(super) async fn list(&self) -> Result<Names> {
        let listed = self.database.names().await?;
        let of_database = listed.relations.iter().map(|relation| Listed {
            schema: relation.schema.clone(),
            name: relation.name.clone(),
            kind: kind_of(relation.kind, TableType::Base),
        });
        let mut names = Names { schemas: listed.schemas.clone(), relations: of_database.collect() };
        for (schema, provider) in &self.extra {
            names.schemas.push(schema.clone());
            for name in provider.table_names() {
                if let Some(kind) = provider.table_type(&name).await? {
                    names.relations.push(Listed { schema: schema.clone(), name, kind });
                }
            }
        }
        for name in self.temporary.table_names() {
            let Some(kind) = self.temporary.kind(&name) else { continue };
            let (schema, kind) =
                (TEMPORARY_SCHEMA.to_string(), kind_of(kind, TableType::Temporary));
            names.schemas.push(schema.clone());
            names.relations.push(Listed { schema, name, kind });
        }
        Ok(names)
    }
}

fn kind_of(kind: RelationKind, table: TableType) -> TableType {
    match kind {
        RelationKind::Table => table,
        RelationKind::View => TableType::View,
    }
}

impl fmt::Debug for SessionCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCatalog").field("path", &self.path).finish_non_exhaustive()
    }
}

impl CatalogProvider for SessionCatalog {
    fn schema_names(&self) -> Vec<String> {
        let mut names = self.tables.schema_names();
        names.extend(self.extra.iter().map(|(name, _)| name.clone()));
        if !self.temporary.table_names().is_empty() {
            names.push(TEMPORARY_SCHEMA.to_string());
        }
        names.sort();
        names.dedup();
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name != PATH_SCHEMA {
            return self.plain_schema(name);
        }
        let path = self.path.read().clone();
        let own = self.plain_schema(name)?;
        let others = path.iter().map(String::as_str).filter(|other| *other != name);
        let n_before = path.iter().position(|schema| schema == name).unwrap_or(usize::MAX);
        let before: Vec<_> = [TEMPORARY_SCHEMA]
            .into_iter()
            .chain(others.clone().take(n_before))
            .filter_map(|other| self.plain_schema(other))
            .collect();
        let after: Vec<_> = others
            .skip(n_before)
            .chain(["pg_catalog"])
            .filter_map(|other| self.plain_schema(other))
            .collect();
        Some(Arc::new(PathSchema { own, before, after }))
    }
}

/// The schema of names without one: the search path in order.
#[derive(Debug)]
struct PathSchema {
    own: Arc<dyn SchemaProvider>,
    before: Vec<Arc<dyn SchemaProvider>>,
    after: Vec<Arc<dyn SchemaProvider>>,
}

impl PathSchema {
    fn in_order(&self) -> impl Iterator<Item = &Arc<dyn SchemaProvider>> {
        self.before.iter().chain([&self.own]).chain(&self.after)
    }
}

#[async_trait]
impl SchemaProvider for PathSchema {
    fn table_names(&self) -> Vec<String> {
        self.own.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        for schema in self.in_order() {
            match schema.table(name).await {
                Ok(Some(table)) => return Ok(Some(table)),
                Ok(None) => {}
                // The path may name schemas that do not exist; PostgreSQL passes over them.
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.in_order().any(|schema| schema.table_exist(name))
    }
}

fn is_missing(error: &DataFusionError) -> bool {
    matches!(
        saltlake_catalog::Error::find(error),
        Some(
            saltlake_catalog::Error::SchemaNotFound { .. }
                | saltlake_catalog::Error::TableNotFound { .. }
        )
    )
}

/// The catalogs that a session's statements may name.
///
/// Only its own is listed, as PostgreSQL lists one database for a connection: `information_schema` shows that one. Any
/// other can be named; whether it exists is found, and reported, with the table.
#[derive(Debug)]
pub(super) struct Catalogs {
    pub name: String,
    pub catalog: Arc<dyn CatalogProvider>,
    pub lake: Arc<Lake>,
}

impl CatalogProviderList for Catalogs {
    fn register_catalog(
        &self,
        _: String,
        _: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![self.name.clone()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        if name == self.name {
            return Some(Arc::clone(&self.catalog));
        }
        // Another one has no search path and none of this session's tables.
        let database = Database::new(Arc::clone(&self.lake), name);
        let temporary = Arc::new(Temporary::new(Arc::clone(&self.lake)));
        Some(Arc::new(SessionCatalog::new(database, vec![], temporary, Arc::default())))
    }
}

/// A list with one catalog.
#[derive(Debug)]
pub(super) struct OneCatalog {
    pub name: String,
    pub catalog: Arc<dyn CatalogProvider>,
}

impl CatalogProviderList for OneCatalog {
    fn register_catalog(
        &self,
        _: String,
        _: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![self.name.clone()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == self.name).then(|| Arc::clone(&self.catalog))
    }
}

impl Session {
    /// Adds the names of tables, or of catalogs, that look like the one that does not exist.
    pub(super) async fn with_similar(&self, error: Error, ast: &Ast) -> Error {
        let code = error.report().sqlstate;
        if ![sqlstate::UNDEFINED_TABLE, sqlstate::INVALID_CATALOG_NAME].contains(&code) {
            return error;
        }
        let state = self.state();
        let lake = &self.coordinator.lake;
        for reference in state.resolve_table_references(ast).unwrap_or_default() {
            let catalog = reference.catalog().unwrap_or(self.database());
            if catalog != lake.catalog_name() {
                // A catalog service names what looks alike itself.
                match lake.has_catalog(catalog).await {
                    Ok(false) => {
                        let similar = lake.similar_catalogs(catalog).await;
                        return Error::Similar { similar, source: Box::new(error) };
                    }
                    // The planner's words are the same for a catalog and for a table of one that are not there.
                    Ok(true) if code == sqlstate::INVALID_CATALOG_NAME => {
                        return saltlake_catalog::Error::TableNotFound {
                            schema: format!(
                                "{catalog}.{}",
                                reference.schema().unwrap_or(PATH_SCHEMA)
                            ),
                            name: reference.table().to_string(),
                            similar: vec![],
                        }
                        .into();
                    }
                    _ => continue,
                }
            }
            let schema = reference.schema().unwrap_or(PATH_SCHEMA);
            if let Ok(None) = lake.relation_kind(schema, reference.table()).await {
                let similar = lake.similar_tables(schema, reference.table()).await;
                return Error::Similar { similar, source: Box::new(error) };
            }
        }
        error
    }
}
