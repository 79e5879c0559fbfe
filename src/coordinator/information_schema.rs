//! `information_schema`: DataFusion's, over names that are listed once and columns that are loaded where they are asked for.
//!
//! By itself DataFusion's provider loads every table of the catalog, one after the other, and fails as a whole when one
//! of them cannot be read. Here a scan lists the names, loads what its filters leave of them, several at a time, and
//! hands both to that provider. A table that cannot be read is listed without columns, and the log says why.

use super::names;
use super::names::{OneCatalog, SessionCatalog};
use super::wanted::Wanted;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::information_schema::{
    INFORMATION_SCHEMA_TABLES, InformationSchemaProvider,
};
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProviderList, SchemaProvider, Session,
    TableProvider,
};
use datafusion::common::{Result, internal_err};
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Tables whose columns are read at the same time.
const READ_CONCURRENCY: usize = 32;

/// The schema of one session.
pub(super) struct InformationSchema {
    catalog: SessionCatalog,
}

impl InformationSchema {
    /// Describes a session's catalog.
    pub(super) fn new(catalog: SessionCatalog) -> Self {
        Self { catalog }
    }
}

impl fmt::Debug for InformationSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InformationSchema")
    }
}

impl InformationSchema {
    /// Finds a table: [`SchemaProvider::table`].
    fn find<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Arc<dyn TableProvider>>>> {
        Box::pin(async move {
            let nothing = Arc::new(MemoryCatalogProviderList::new());
            let Some(table) = InformationSchemaProvider::new(nothing).table(name).await? else {
                return Ok(None);
            };
            let (name, catalog) = (name.to_ascii_lowercase(), self.catalog.clone());
            Ok(Some(Arc::new(Described { name, schema: table.schema(), catalog }) as _))
        })
    }
}

impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        INFORMATION_SCHEMA_TABLES.iter().map(|name| (*name).to_string()).collect()
    }

    saltlake_catalog::table_by!(find);

    fn table_exist(&self, name: &str) -> bool {
        INFORMATION_SCHEMA_TABLES.contains(&name.to_ascii_lowercase().as_str())
    }
}

/// A table of the schema.
struct Described {
    name: String,
    schema: SchemaRef,
    catalog: SessionCatalog,
}

impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Described").field(&self.name).finish()
    }
}

impl Described {
    /// Returns what its rows are made of.
    async fn listing(&self, wanted: &Wanted) -> Result<Listing> {
        let names = self.catalog.list().await?;
        let mut listing = Listing::default();
        for schema in names.schemas {
            listing.schemas.entry(schema).or_default();
        }
        let is_wanted = |relation: &names::Listed| {
            wanted.allows_text("table_schema", &relation.schema)
                && wanted.allows_text("table_name", &relation.name)
        };
        let relations = names.relations.into_iter().filter(is_wanted);
        let loads: Vec<_> = relations.map(|relation| self.load(relation)).collect();
        let mut loads = stream::iter(loads).buffered(READ_CONCURRENCY);
        while let Some((relation, table)) = loads.next().await {
            let names::Listed { schema, name, kind } = relation;
            listing.schemas.entry(schema).or_default().tables.insert(name, (kind, table));
        }
        Ok(listing)
    }

    /// Loads a relation if the rows say more of it than its name.
    async fn load(&self, relation: names::Listed) -> (names::Listed, Arc<dyn TableProvider>) {
        let is_loaded = match self.name.as_str() {
            "columns" => true,
            "views" => relation.kind == TableType::View,
            _ => false,
        };
        let names::Listed { schema, name, .. } = &relation;
        let loaded = match self.catalog.plain_schema(schema) {
            Some(schema) if is_loaded => schema.table(name).await,
            _ => Ok(None),
        };
        let loaded = loaded.unwrap_or_else(|error| {
            tracing::warn!(schema, table = name, %error, "table listed without its columns");
            None
        });
        let table = loaded.unwrap_or_else(|| Arc::new(EmptyTable::new(Arc::new(Schema::empty()))));
        (relation, table)
    }
}

impl Described {
    /// Plans a scan: [`TableProvider::scan`].
    fn plan<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let listing = self.listing(&Wanted::of(filters)).await?;
            let catalogs =
                OneCatalog { name: self.catalog.name().to_string(), catalog: Arc::new(listing) };
            let catalogs: Arc<dyn CatalogProviderList> = Arc::new(catalogs);
            let functions = state.as_any().downcast_ref::<SessionState>();
            let functions =
                functions.map(|state| state.table_functions().clone()).unwrap_or_default();
            let provider = InformationSchemaProvider::new(catalogs).with_table_functions(functions);
            match provider.table(&self.name).await? {
                Some(table) => table.scan(state, projection, &[], limit).await,
                None => internal_err!("information_schema.{} is gone", self.name),
            }
        })
    }
}

impl TableProvider for Described {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    saltlake_catalog::scan_by!(plan);
}

/// Names and the tables loaded for them.
#[derive(Debug, Default)]
struct Listing {
    schemas: BTreeMap<String, ListedSchema>,
}

#[derive(Debug, Default, Clone)]
struct ListedSchema {
    tables: BTreeMap<String, (TableType, Arc<dyn TableProvider>)>,
}

impl CatalogProvider for Listing {
    fn schema_names(&self) -> Vec<String> {
        self.schemas.keys().cloned().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        self.schemas.get(name).map(|schema| Arc::new(schema.clone()) as _)
    }
}

#[async_trait]
impl SchemaProvider for ListedSchema {
    fn table_names(&self) -> Vec<String> {
        self.tables.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.tables.get(name).map(|(_, table)| Arc::clone(table)))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.tables.get(name).map(|(kind, _)| *kind))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name)
    }
}
