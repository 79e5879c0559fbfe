//! One catalog as clients list it: the lake, or a catalog service beside it.
//!
//! PostgreSQL has one database a connection; here that is one of these. Listing reads names only; columns are read of
//! the relation that is asked for.

use crate::error::Result;
use crate::lake::{Lake, Names, Relation};
use crate::services::LIST_CONCURRENCY;
use datafusion::catalog::{CatalogProvider, TableProvider};
use futures::{StreamExt, TryStreamExt, stream};
use std::sync::Arc;

/// A catalog to list.
#[derive(Debug, Clone)]
pub struct Database {
    lake: Arc<Lake>,
    /// `None` for the lake itself.
    service: Option<String>,
}

impl Database {
    /// Returns the catalog of a name, the lake's for an empty one. Whether there is a service of that name shows when it
    /// is asked.
    pub fn new(lake: Arc<Lake>, name: &str) -> Self {
        let is_lake = name.is_empty() || name == lake.catalog_name();
        Self { lake, service: (!is_lake).then(|| name.to_owned()) }
    }

    /// Returns the lake and all catalogs beside it, the lake first.
    ///
    /// # Errors
    /// When the lake's definitions cannot be read.
    pub async fn all(lake: &Arc<Lake>) -> Result<Vec<Self>> {
        let services = lake.catalogs().await?.into_iter().map(|catalog| catalog.definition.name);
        let names = [String::new()].into_iter().chain(services);
        Ok(names.map(|name| Self::new(Arc::clone(lake), &name)).collect())
    }

    /// Returns the catalog's name.
    pub fn catalog_name(&self) -> &str {
        self.service.as_deref().unwrap_or(self.lake.catalog_name())
    }

    /// Returns whether it is the lake.
    pub fn is_lake(&self) -> bool {
        self.service.is_none()
    }

    /// Returns DataFusion's view of it.
    pub fn provider(&self) -> Arc<dyn CatalogProvider> {
        match &self.service {
            None => self.lake.catalog_provider(),
            Some(name) => self.lake.service_provider(name),
        }
    }

    /// Returns the names of all catalogs, the lake's first.
    ///
    /// # Errors
    /// When the lake's definitions cannot be read.
    pub async fn all_names(&self) -> Result<Vec<String>> {
        let all = Self::all(&self.lake).await?;
        Ok(all.iter().map(|database| database.catalog_name().to_owned()).collect())
    }

    /// Returns the names of all schemas, sorted.
    ///
    /// # Errors
    /// When the store or the service fails.
    pub async fn schemas(&self) -> Result<Vec<String>> {
        match &self.service {
            None => self.lake.schemas().await,
            Some(name) => self.lake.service(name).await?.service().namespaces().await,
        }
    }

    /// Returns all tables and views, sorted by schema and name. Reads no columns.
    ///
    /// # Errors
    /// When the store or the service fails.
    pub async fn relations(&self) -> Result<Vec<Relation>> {
        Ok(self.names().await?.relations.clone())
    }

    /// Returns what is there now. Reads no columns.
    ///
    /// # Errors
    /// When the store or the service fails.
    pub async fn names(&self) -> Result<Arc<Names>> {
        let Some(name) = &self.service else { return self.lake.names().await };
        let catalog = self.lake.service(name).await?;
        let namespaces = catalog.service().namespaces().await?;
        let lists: Vec<_> =
            namespaces.iter().map(|namespace| catalog.relations(namespace)).collect();
        let lists: Vec<Vec<Relation>> =
            stream::iter(lists).buffered(LIST_CONCURRENCY).try_collect().await?;
        let mut relations = lists.concat();
        relations.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        Ok(Arc::new(Names { schemas: namespaces, relations, ..Names::default() }))
    }

    /// Returns the table or view of a name as it is now; `None` when there is none.
    ///
    /// # Errors
    /// As [`Lake::relation_provider`]; when the service fails.
    pub async fn relation_provider(
        &self,
        schema: &str,
        name: &str,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        match &self.service {
            None => self.lake.relation_provider(schema, name).await,
            Some(catalog) => self.lake.service_table(catalog, schema, name).await.map(Some),
        }
    }
}
