//! Catalog services beside the lake: how they come, go and are found.
//!
//! Those of the configuration are there from the start and hide one of the same name that a statement defined. The others
//! are kept with the lake's definitions. A catalog is opened when it is first used and stays open, with its tokens, until
//! its definition changes.

use super::Lake;
use super::changes::check_name;
use super::iceberg::Extended;
use crate::error::{Error, Result};
use crate::iceberg::At;
use crate::services::ServiceCatalog;
use crate::services::definition::CatalogDefinition;
use crate::services::provider::ServiceProvider;
use crate::services::table::ServiceTable;
use crate::services::vended::{Credentials, VendedStores};
use crate::similar::similar;
use crate::store::StoreOptions;
use datafusion::catalog::{CatalogProvider, TableProvider};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// A catalog as `SHOW CATALOGS` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// Its definition.
    pub definition: CatalogDefinition,
    /// Whether the configuration defines it, rather than a statement.
    pub is_configured: bool,
}

/// The catalog services of a lake.
#[derive(Debug)]
pub(super) struct Services {
    configured: Vec<CatalogDefinition>,
    open: Mutex<HashMap<String, Arc<ServiceCatalog>>>,
    vended: VendedStores,
}

impl Services {
    /// Takes over the catalogs of the configuration; `lake` is the lake's own name.
    ///
    /// # Errors
    /// For a name that cannot be one.
    pub(super) fn new(
        configured: Vec<CatalogDefinition>,
        stores: &StoreOptions,
        lake: &str,
    ) -> Result<Self> {
        for definition in &configured {
            check_catalog_name(&definition.name, lake)?;
        }
        Ok(Self { configured, open: Mutex::default(), vended: VendedStores::new(stores) })
    }

    /// Returns the stores that services gave credentials for.
    pub(super) fn vended(&self) -> &VendedStores {
        &self.vended
    }

    fn configured(&self, name: &str) -> Option<&CatalogDefinition> {
        self.configured.iter().find(|definition| definition.name == name)
    }
}

fn check_catalog_name(name: &str, lake: &str) -> Result<()> {
    check_name("catalog", name)?;
    if name == lake {
        return Err(Error::AlreadyExists { kind: "catalog", name: name.to_owned() });
    }
    Ok(())
}

impl Lake {
    /// Returns all catalogs beside the lake, by name.
    ///
    /// # Errors
    /// When the lake's definitions cannot be read.
    pub async fn catalogs(&self) -> Result<Vec<Catalog>> {
        let definitions = self.definitions.read().await?;
        let configured = self.services.configured.iter();
        let mut all: Vec<Catalog> = configured
            .map(|definition| Catalog { definition: definition.clone(), is_configured: true })
            .collect();
        let others = definitions.catalogs.iter();
        let others = others.filter(|other| self.services.configured(&other.name).is_none());
        all.extend(others.map(|other| Catalog { definition: other.clone(), is_configured: false }));
        all.sort_by(|a, b| a.definition.name.cmp(&b.definition.name));
        Ok(all)
    }

    /// Returns names of catalogs that look like one that does not exist, the lake's among them, best first.
    pub async fn similar_catalogs(&self, name: &str) -> Vec<String> {
        let all = self.catalogs().await.unwrap_or_default();
        let names = all.into_iter().map(|catalog| catalog.definition.name);
        let names = names.chain([self.catalog_name.clone()]);
        similar(name, names.map(|name| (name.clone(), name)))
    }

    /// Defines a catalog. The service is asked once, so that errors show here.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] unless `if_not_exists`; when the service cannot be reached or does not let us in.
    pub async fn create_catalog(
        &self,
        definition: CatalogDefinition,
        if_not_exists: bool,
    ) -> Result<()> {
        let name = definition.name.clone();
        check_catalog_name(&name, &self.catalog_name)?;
        let taken = || match if_not_exists {
            true => Ok(None),
            false => Err(Error::AlreadyExists { kind: "catalog", name: name.clone() }),
        };
        if self.find_catalog(&name).await?.is_some() {
            return taken().map(|_: Option<()>| ());
        }
        self.open_service(definition.clone(), false)?.service().check().await?;
        let defined = self
            .definitions
            .update(|definitions| {
                if definitions.catalog(&name).is_some() {
                    return taken();
                }
                definitions.catalogs.push(definition.clone());
                Ok(Some(()))
            })
            .await?;
        if defined.is_some() {
            tracing::info!(catalog = name, kind = definition.kind.name(), "catalog defined");
        }
        Ok(())
    }

    /// Forgets a catalog that a statement defined. What it knows stays as it is.
    ///
    /// # Errors
    /// [`Error::CatalogNotFound`] unless `if_exists`; for the lake and for catalogs of the configuration.
    pub async fn drop_catalog(&self, name: &str, if_exists: bool) -> Result<()> {
        if name == self.catalog_name || self.services.configured(name).is_some() {
            let feature = format!("dropping catalog \"{name}\", which the configuration defines,");
            return Err(Error::NotSupported { feature });
        }
        let dropped = self
            .definitions
            .update(|definitions| {
                let is_there = definitions.catalog(name).is_some();
                definitions.catalogs.retain(|catalog| catalog.name != name);
                Ok(is_there.then_some(()))
            })
            .await?;
        self.services.open.lock().remove(name);
        match dropped {
            Some(()) => tracing::info!(catalog = name, "catalog dropped"),
            None if if_exists => {}
            None => return Err(self.catalog_not_found(name).await),
        }
        Ok(())
    }

    /// Returns whether a name is that of the lake or of a catalog beside it.
    ///
    /// # Errors
    /// When the lake's definitions cannot be read.
    pub async fn has_catalog(&self, name: &str) -> Result<bool> {
        Ok(name == self.catalog_name || self.find_catalog(name).await?.is_some())
    }

    /// As [`Lake::has_catalog`], for who cannot wait for a future.
    ///
    /// # Errors
    /// As [`Lake::has_catalog`].
    pub fn has_catalog_blocking(&self, name: &str) -> Result<bool> {
        crate::registry::wait(&self.runtime, self.has_catalog(name))
    }

    /// Returns DataFusion's view of a catalog service, whether there is one of this name or not: a table of none is not
    /// found.
    pub fn service_provider(self: &Arc<Self>, name: &str) -> Arc<dyn CatalogProvider> {
        Arc::new(ServiceProvider { lake: Arc::clone(self), name: name.to_owned() })
    }

    /// Returns an open catalog service.
    pub(crate) async fn service(&self, name: &str) -> Result<Arc<ServiceCatalog>> {
        let Some(Catalog { definition, is_configured }) = self.find_catalog(name).await? else {
            return Err(self.catalog_not_found(name).await);
        };
        let known = self.services.open.lock().get(name).cloned();
        if let Some(known) = known.filter(|known| known.definition == definition) {
            return Ok(known);
        }
        let opened = Arc::new(self.open_service(definition, is_configured)?);
        self.services.open.lock().insert(name.to_owned(), Arc::clone(&opened));
        Ok(opened)
    }

    /// Returns a table of a catalog service, or one of its metadata tables.
    pub(crate) async fn service_table(
        &self,
        catalog: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<dyn TableProvider>> {
        let service = self.service(catalog).await?;
        self.caches.analyses.follow(&self.definitions.read().await?);
        let caches = Arc::clone(&self.caches);
        let (table, at, inspection) = match Extended::parse(name)? {
            Some(Extended { table, at, inspection }) => (table, at, inspection),
            None => (name, At::Newest, None),
        };
        let table = Box::pin(ServiceTable::load(service, namespace, table, at, caches)).await?;
        match inspection {
            None => Ok(Arc::new(table)),
            Some(inspection) => table.inspect(inspection).await,
        }
    }

    /// Returns the credentials of a store that a service has opened for us, good for some time; `None` for other stores.
    ///
    /// # Errors
    /// When they have ended and are not renewed.
    pub async fn credentials(&self, store: &str) -> Result<Option<Credentials>> {
        self.services.vended.credentials(store).await
    }

    fn open_service(
        &self,
        definition: CatalogDefinition,
        is_configured: bool,
    ) -> Result<ServiceCatalog> {
        let runtime = Arc::clone(self.session.runtime_env());
        let vended = self.services.vended.clone();
        ServiceCatalog::open(definition, is_configured, &self.locations, runtime, vended)
    }

    async fn find_catalog(&self, name: &str) -> Result<Option<Catalog>> {
        if let Some(definition) = self.services.configured(name) {
            return Ok(Some(Catalog { definition: definition.clone(), is_configured: true }));
        }
        let definitions = self.definitions.read().await?;
        let found = definitions.catalog(name).cloned();
        Ok(found.map(|definition| Catalog { definition, is_configured: false }))
    }

    /// Returns the error for a catalog that is not there, with names that look alike.
    pub async fn catalog_not_found(&self, name: &str) -> Error {
        let similar = self.similar_catalogs(name).await;
        Error::CatalogNotFound { name: name.to_owned(), similar }
    }
}
