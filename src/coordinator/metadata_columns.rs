//! Plans statements that name metadata columns of tables, such as `_file`.
//!
//! Called by `run` for every statement. One that names none is planned as it is. For one that does, the session's catalog is
//! wrapped, so that each table has those columns that the statement names, and they are left out of its `*`
//! ([`saltlake_sql::metadata_columns`]). Lists of columns read the catalog itself, and views are planned by themselves:
//! neither sees them.

use crate::error::Result;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{LogicalPlan, TableType};
use datafusion::sql::parser::Statement as Ast;
use futures::future::BoxFuture;
use saltlake_catalog::{METADATA_COLUMNS, with_metadata_columns};
use saltlake_sql::metadata_columns::{hide, named};
use std::collections::HashMap;
use std::sync::Arc;

/// Turns a statement into DataFusion's logical plan, as it was planned and not yet analyzed.
pub(super) fn statement_to_plan(
    state: SessionState,
    mut ast: Ast,
) -> BoxFuture<'static, Result<LogicalPlan>> {
    Box::pin(async move {
        let wanted = named(&ast, &METADATA_COLUMNS);
        let state = match wanted.is_empty() {
            true => state,
            false => with_columns(state, &mut ast, wanted).await?,
        };
        Ok(state.statement_to_plan(ast).await?)
    })
}

/// Returns a state in which tables have the wanted columns, and hides them from the statement's wildcards.
async fn with_columns(
    state: SessionState,
    ast: &mut Ast,
    wanted: Vec<&'static str>,
) -> Result<SessionState> {
    let wanted: Arc<[&'static str]> = Arc::from(wanted);
    let mut hidden: HashMap<Vec<String>, Vec<&'static str>> = HashMap::new();
    for reference in state.resolve_table_references(ast)? {
        let options = &state.config_options().catalog;
        let resolved = reference.clone().resolve(&options.default_catalog, &options.default_schema);
        let catalog = state.catalog_list().catalog(&resolved.catalog);
        let Some(schema) = catalog.and_then(|catalog| catalog.schema(&resolved.schema)) else {
            continue;
        };
        // What is wrong with a table is said when it is planned.
        let Ok(Some(table)) = schema.table(&resolved.table).await else { continue };
        hidden.insert(reference.to_vec(), added(&table, &wanted));
    }
    hide(ast, &|name| hidden.get(name).cloned().unwrap_or_default())?;
    let catalogs = Arc::new(Catalogs { inner: Arc::clone(state.catalog_list()), wanted });
    Ok(SessionStateBuilder::new_from_existing(state).with_catalog_list(catalogs).build())
}

/// Returns which of the wanted columns a table gets.
fn added(table: &Arc<dyn TableProvider>, wanted: &[&'static str]) -> Vec<&'static str> {
    let Some(with_columns) = with_metadata_columns(table, wanted) else { return vec![] };
    let (own, all) = (table.schema(), with_columns.schema());
    let is_added =
        |name: &&&str| own.column_with_name(name).is_none() && all.column_with_name(name).is_some();
    wanted.iter().filter(is_added).copied().collect()
}

/// Catalogs whose tables have metadata columns.
#[derive(Debug)]
struct Catalogs {
    inner: Arc<dyn CatalogProviderList>,
    wanted: Arc<[&'static str]>,
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
        self.inner.catalog_names()
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        let (inner, wanted) = (self.inner.catalog(name)?, Arc::clone(&self.wanted));
        Some(Arc::new(Catalog { inner, wanted }))
    }
}

#[derive(Debug)]
struct Catalog {
    inner: Arc<dyn CatalogProvider>,
    wanted: Arc<[&'static str]>,
}

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        self.inner.schema_names()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let (inner, wanted) = (self.inner.schema(name)?, Arc::clone(&self.wanted));
        Some(Arc::new(Schema { inner, wanted }))
    }
}

#[derive(Debug)]
struct Schema {
    inner: Arc<dyn SchemaProvider>,
    wanted: Arc<[&'static str]>,
}

#[async_trait]
impl SchemaProvider for Schema {
    fn table_names(&self) -> Vec<String> {
        self.inner.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let table = self.inner.table(name).await?;
        let with_columns = |table| with_metadata_columns(&table, &self.wanted).unwrap_or(table);
        Ok(table.map(with_columns))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>, DataFusionError> {
        self.inner.table_type(name).await
    }

    fn table_exist(&self, name: &str) -> bool {
        self.inner.table_exist(name)
    }
}
