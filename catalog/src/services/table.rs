//! A table of a catalog service: an Iceberg table whose place is asked for again when a plan is run later.
//!
//! One statement sees one place, however often it names the table ([`crate::pin`]). A prepared statement that
//! runs later asks the service again and keeps the columns of its planning, as tables of the lake do.

use super::ServiceCatalog;
use crate::cache::Caches;
use crate::comments::Description;
use crate::error::Result;
use crate::iceberg::{At, IcebergTable, Inspection, Place};
use crate::pin;
use crate::table::PIN_TIME;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Instant;

/// A table of a service.
#[derive(Debug, Clone)]
pub(crate) struct ServiceTable {
    catalog: Arc<ServiceCatalog>,
    namespace: String,
    name: String,
    table: IcebergTable,
    loaded_at: Instant,
}

impl ServiceTable {
    /// Finds the table and reads its newest metadata.
    ///
    /// # Errors
    /// [`crate::Error::TableNotFound`]; what the service and the metadata can meet.
    pub(crate) async fn load(
        catalog: Arc<ServiceCatalog>,
        namespace: &str,
        name: &str,
        at: At,
        caches: Arc<Caches>,
    ) -> Result<Self> {
        let loaded_at = Instant::now();
        let place = place(&catalog, namespace, name).await?;
        let table = Box::pin(IcebergTable::load(name, place, caches, at)).await?;
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Ok(Self { catalog, namespace, name, table, loaded_at })
    }

    /// Returns what its metadata say of it.
    pub(crate) fn description(&self) -> Description {
        self.table.description()
    }

    /// Returns the table with those of the wanted metadata columns that it has; `None` when it has none of them.
    pub(crate) fn with_reserved(&self, wanted: &[&str]) -> Option<Self> {
        Some(Self { table: self.table.with_reserved(wanted)?, ..self.clone() })
    }

    /// Returns the table as it was found.
    pub(crate) fn table(&self) -> &IcebergTable {
        &self.table
    }

    /// Returns one of the table's metadata tables.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub(crate) async fn inspect(&self, inspection: Inspection) -> Result<Arc<dyn TableProvider>> {
        self.table.inspect(inspection).await
    }

    /// Returns where this run of the statement finds the table.
    async fn place(&self) -> Result<Place> {
        if self.loaded_at.elapsed() >= PIN_TIME {
            return place(&self.catalog, &self.namespace, &self.name).await;
        }
        let key = key(&self.catalog, &self.namespace, &self.name);
        Ok(pin::seen_place(&key).unwrap_or_else(|| pin::note_place(&key, self.table.place())))
    }
}

/// Returns where a table is, as this statement has seen it or as the service says.
async fn place(catalog: &ServiceCatalog, namespace: &str, name: &str) -> Result<Place> {
    let key = key(catalog, namespace, name);
    if let Some(seen) = pin::seen_place(&key) {
        return Ok(seen);
    }
    match catalog.place(namespace, name).await? {
        Some(place) => Ok(pin::note_place(&key, &place)),
        None => Err(catalog.table_not_found(namespace, name).await),
    }
}

fn key(catalog: &ServiceCatalog, namespace: &str, name: &str) -> String {
    format!("{}\0{namespace}\0{name}", catalog.definition.name)
}

impl ServiceTable {
    /// Plans a scan: [`TableProvider::scan`].
    fn plan<'a>(
        &'a self,
        session: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>, DataFusionError>> {
        Box::pin(async move {
            let place = self.place().await?;
            if place.url == self.table.place().url {
                return self.table.scan(session, projection, filters, limit).await;
            }
            let moved = self.table.moved_to(place).await?;
            moved.scan(session, projection, filters, limit).await
        })
    }
}

impl TableProvider for ServiceTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    crate::scan_by!(plan);

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        self.table.supports_filters_pushdown(filters)
    }
}
