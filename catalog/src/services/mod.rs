//! Catalog services beside the lake: who knows where Iceberg tables are now.
//!
//! A service answers names and locations only. The location of a table's newest metadata document is asked anew for
//! every statement; everything below it is immutable and read like any Iceberg table of the lake, through the same caches.
//!
//! ```text
//! lake/services ──> definition        CREATE CATALOG, [catalogs.NAME]
//!      │
//!      ├─> provider ──> table         what DataFusion sees; a later run asks the service again
//!      ├─> sql                        a SQLite database, as pyiceberg keeps it
//!      ├─> rest                       the Iceberg REST protocol
//!      └─> vended                     object stores opened with credentials that a service hands out
//! ```
//!
//! A namespace of several levels is the schema `"a.b"`; a level that itself has a dot cannot be named.

pub mod definition;
pub(crate) mod provider;
mod rest;
mod sql;
pub(crate) mod table;
pub(crate) mod vended;

use crate::error::{Error, Result};
use crate::iceberg::Place;
use crate::lake::{Relation, RelationKind, store_url};
use crate::location::Locations;
use crate::similar::similar;
use async_trait::async_trait;
use datafusion::execution::runtime_env::RuntimeEnv;
use definition::{CatalogDefinition, CatalogKind};
use std::fmt;
use std::sync::Arc;
use vended::{Grant, Keys, Renew, VendedStores};

/// Namespaces whose tables are listed at the same time.
pub(crate) const LIST_CONCURRENCY: usize = 8;
/// Namespaces and tables that one listing may bring; beyond it a service is taken to be broken.
const MAX_LISTED: usize = 1_000_000;

/// A table or view as a service lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) kind: RelationKind,
}

/// What a service says of a table.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    /// Where the newest metadata document is.
    pub(crate) metadata_location: String,
    /// Credentials for the table's files, when the service hands some out.
    pub(crate) grant: Option<Grant>,
}

/// A service that knows namespaces and tables.
#[async_trait]
pub(crate) trait Service: fmt::Debug + Send + Sync {
    /// Asks whether the service is there and lets us in.
    async fn check(&self) -> Result<()>;

    /// Returns all namespaces, levels joined with dots.
    async fn namespaces(&self) -> Result<Vec<String>>;

    /// Returns the tables and views of a namespace; `None` when there is no such namespace.
    async fn tables(&self, namespace: &str) -> Result<Option<Vec<Listed>>>;

    /// Returns where a table is; `None` when there is no such table.
    async fn locate(&self, namespace: &str, table: &str) -> Result<Option<Located>>;
}

/// One open catalog.
#[derive(Debug)]
pub(crate) struct ServiceCatalog {
    pub(crate) definition: CatalogDefinition,
    service: Arc<dyn Service>,
    /// Where its tables may be.
    roots: Arc<Locations>,
    runtime: Arc<RuntimeEnv>,
    vended: VendedStores,
}

impl ServiceCatalog {
    /// Opens a catalog. Nothing is asked yet. One of the configuration may have tables in its warehouse although the
    /// lake's roots do not cover it: who writes the configuration decides what is read.
    ///
    /// # Errors
    /// When the uri cannot be used, or a statement's lies outside the lake's roots.
    pub(crate) fn open(
        definition: CatalogDefinition,
        is_configured: bool,
        roots: &Arc<Locations>,
        runtime: Arc<RuntimeEnv>,
        vended: VendedStores,
    ) -> Result<Self> {
        let mut roots = Arc::clone(roots);
        let warehouse = definition.warehouse.as_deref().filter(|text| is_location(text));
        if let (true, Some(warehouse)) = (is_configured, warehouse) {
            roots = Arc::new(roots.with_root(warehouse)?);
        }
        let service: Arc<dyn Service> = match definition.kind {
            CatalogKind::IcebergSql => {
                let lake = (!is_configured).then_some(roots.as_ref());
                Arc::new(sql::SqlCatalog::open(&definition, lake)?)
            }
            CatalogKind::IcebergRest => Arc::new(rest::RestCatalog::open(&definition)?),
        };
        Ok(Self { definition, service, roots, runtime, vended })
    }

    /// Returns the service behind the catalog.
    pub(crate) fn service(&self) -> &Arc<dyn Service> {
        &self.service
    }

    /// Returns where a table is now; `None` when there is no such table.
    ///
    /// # Errors
    /// When the service fails, or the table lies where nothing may be read.
    pub(crate) async fn place(&self, namespace: &str, table: &str) -> Result<Option<Place>> {
        let Some(located) = self.service.locate(namespace, table).await? else { return Ok(None) };
        let location = plain_location(&located.metadata_location);
        let Some(grant) = located.grant else {
            let url = self.roots.check(&location)?;
            let store_url = store_url(&url)?;
            let store = self.runtime.object_store_registry.get_store(&url)?;
            let roots = Arc::clone(&self.roots);
            let place = Place { url, is_document: true, store_url, store, roots, vended: None };
            return Ok(Some(place));
        };
        let renew: Arc<dyn Renew> = Arc::new(AskAgain {
            service: Arc::clone(&self.service),
            namespace: namespace.to_owned(),
            table: table.to_owned(),
        });
        let owner = format!(
            "{} {} {namespace} {table}",
            self.definition.uri,
            self.definition.warehouse.as_deref().unwrap_or_default()
        );
        // What the service's own credentials open is for the service to decide: they are none of ours.
        let roots = Arc::new(self.roots.only(&grant.root)?);
        let url = roots.check(&location)?;
        let store = self.vended.open(&self.runtime, &owner, grant, Some(renew))?;
        let store_url = store.url().clone();
        let object_store = store.store();
        let vended = Some(store);
        Ok(Some(Place { url, is_document: true, store_url, store: object_store, roots, vended }))
    }

    /// Returns the tables and views of a namespace. One that we may not look into, or that is gone, has none.
    pub(crate) async fn relations(&self, namespace: &str) -> Result<Vec<Relation>> {
        let listed = match self.service.tables(namespace).await {
            Ok(listed) => listed.unwrap_or_default(),
            Err(Error::ServiceRefused { message, .. }) => {
                tracing::warn!(catalog = self.definition.name, namespace, message, "not listed");
                vec![]
            }
            Err(error) => return Err(error),
        };
        let relation = |Listed { name, kind }| Relation {
            schema: namespace.to_owned(),
            name,
            kind,
            format: (kind == RelationKind::Table).then(|| "iceberg".to_owned()),
            location: None,
            comment: None,
        };
        Ok(listed.into_iter().map(relation).collect())
    }

    /// Returns the error for a table that is not there, with names that look alike.
    pub(crate) async fn table_not_found(&self, namespace: &str, table: &str) -> Error {
        let listed = match self.service.tables(namespace).await {
            Ok(Some(listed)) => listed,
            Ok(None) => return self.namespace_not_found(namespace).await,
            Err(error) => return error,
        };
        let candidates = listed.into_iter().map(|found| (found.name.clone(), found.name));
        Error::TableNotFound {
            schema: format!("{}.{namespace}", self.definition.name),
            name: table.to_owned(),
            similar: similar(table, candidates),
        }
    }

    async fn namespace_not_found(&self, namespace: &str) -> Error {
        let names = self.service.namespaces().await.unwrap_or_default();
        let similar = similar(namespace, names.into_iter().map(|name| (name.clone(), name)));
        let schema = format!("{}.{namespace}", self.definition.name);
        Error::SchemaNotFound { schema, similar }
    }
}

/// Asks the service again, for credentials that are about to end.
#[derive(Debug)]
struct AskAgain {
    service: Arc<dyn Service>,
    namespace: String,
    table: String,
}

#[async_trait]
impl Renew for AskAgain {
    async fn renew(&self) -> Result<Option<Keys>> {
        let located = self.service.locate(&self.namespace, &self.table).await?;
        Ok(located.and_then(|located| located.grant).map(|grant| grant.keys))
    }
}

/// Returns whether a text is a location rather than a name.
fn is_location(text: &str) -> bool {
    text.starts_with('/') || text.contains(":/")
}

/// Returns a location in the form that is checked: metadata write `file:/a` and `s3a://b`, and do not escape.
pub(super) fn plain_location(location: &str) -> String {
    if let Some(path) = location.strip_prefix("file:") {
        return path.strip_prefix("//").unwrap_or(path).to_owned();
    }
    match location.split_once("://") {
        Some(("s3" | "s3a" | "s3n", rest)) => format!("s3://{}", rest.replace('%', "%25")),
        _ => location.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_brought_into_one_form() {
        assert_eq!(plain_location("file:/a/b%20c"), "/a/b%20c");
        assert_eq!(plain_location("file:///a/b"), "/a/b");
        assert_eq!(plain_location("s3a://b/k=%2F"), "s3://b/k=%252F");
        assert_eq!(plain_location("/a"), "/a");
        assert!(is_location("s3://x/y") && is_location("/x") && !is_location("prod"));
    }
}
