//! DataFusion's catalog and schema providers over a catalog service.
//!
//! The service is looked up with the table, not with the name of the catalog, so that a failure is reported as its own
//! error. Listing names never loads a table.

use super::Listed;
use crate::discovery::RESERVED_SCHEMAS;
use crate::error::{Error, Result};
use crate::lake::{Lake, RelationKind};
use crate::registry::{or_empty, wait};
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::TableType;
use futures::future::BoxFuture;
use std::sync::Arc;

/// A catalog service as a catalog.
#[derive(Debug)]
pub(crate) struct ServiceProvider {
    pub(crate) lake: Arc<Lake>,
    pub(crate) name: String,
}

impl CatalogProvider for ServiceProvider {
    fn schema_names(&self) -> Vec<String> {
        let names = async { self.lake.service(&self.name).await?.service().namespaces().await };
        or_empty(wait(self.lake.runtime(), names))
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if RESERVED_SCHEMAS.contains(&name) {
            return None;
        }
        let (lake, catalog) = (Arc::clone(&self.lake), self.name.clone());
        Some(Arc::new(Namespace { lake, catalog, name: name.to_owned() }))
    }
}

/// One namespace of a service.
#[derive(Debug)]
struct Namespace {
    lake: Arc<Lake>,
    catalog: String,
    name: String,
}

impl Namespace {
    fn listed(&self) -> Result<Vec<Listed>> {
        let listed = async {
            let listed = self.lake.service(&self.catalog).await?.service().tables(&self.name).await;
            Ok(listed?.unwrap_or_default())
        };
        wait(self.lake.runtime(), listed)
    }
}

impl Namespace {
    /// Finds a table: [`SchemaProvider::table`].
    fn find<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<dyn TableProvider>>, DataFusionError>> {
        Box::pin(async move {
            match self.lake.service_table(&self.catalog, &self.name, name).await {
                Ok(table) => Ok(Some(table)),
                // The planner reports it with its place in the statement.
                Err(Error::CatalogNotFound { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Tells a table from a view, without asking: who lists names asks this of each of them.
    fn kind<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<TableType>, DataFusionError>> {
        Box::pin(async move { Ok(Some(TableType::Base)) })
    }
}

impl SchemaProvider for Namespace {
    fn table_names(&self) -> Vec<String> {
        or_empty(self.listed()).into_iter().map(|listed| listed.name).collect()
    }

    crate::table_by!(find);

    crate::table_type_by!(kind);

    fn table_exist(&self, name: &str) -> bool {
        let found = |listed: &Listed| listed.name == name && listed.kind == RelationKind::Table;
        or_empty(self.listed()).iter().any(found)
    }
}
