//! `pg_catalog` as DataFusion sees it: a schema of tables whose rows are made when they are scanned.
//!
//! Filters that say which values a column may have reach the scan, so asking for one relation's columns loads one relation.

use super::functions::Context;
use super::rows;
use super::snapshot::PIN_TIME;
use super::tables::{TABLES, Table};
use crate::coordinator::Wanted;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use saltlake_catalog::{Database, Names};
use std::fmt;
use std::sync::Arc;

/// What every table of one connection's catalog needs.
pub struct Source {
    /// What is shown.
    pub lake: Database,
    /// Who asks; owns everything that is shown. Its snapshot is refreshed by every scan.
    pub context: Arc<Context>,
}

/// The schema `pg_catalog`.
pub struct PgCatalogSchema {
    source: Arc<Source>,
}

impl PgCatalogSchema {
    /// Creates the schema.
    pub fn new(source: Arc<Source>) -> Self {
        Self { source }
    }
}

impl fmt::Debug for PgCatalogSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PgCatalogSchema")
    }
}

impl PgCatalogSchema {
    /// Finds a table: [`SchemaProvider::table`].
    fn find<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Arc<dyn TableProvider>>>> {
        Box::pin(async move {
            Ok(TABLES.get(name).map(|table| {
                let source = Arc::clone(&self.source);
                let (schema, kept) = (table.schema(), Mutex::default());
                Arc::new(CatalogTable { table, schema, source, kept }) as Arc<_>
            }))
        })
    }
}

impl SchemaProvider for PgCatalogSchema {
    fn table_names(&self) -> Vec<String> {
        TABLES.keys().map(|name| (*name).to_string()).collect()
    }

    saltlake_catalog::table_by!(find);

    fn table_exist(&self, name: &str) -> bool {
        TABLES.contains_key(name)
    }
}

struct CatalogTable {
    table: &'static Table,
    schema: SchemaRef,
    source: Arc<Source>,
    kept: Mutex<Option<Kept>>,
}

/// Rows of a table that is made of names alone. One statement asks for them several times while it is planned.
struct Kept {
    projection: Option<Vec<usize>>,
    filters: Vec<Expr>,
    names: Arc<Names>,
    batch: RecordBatch,
}

impl fmt::Debug for CatalogTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CatalogTable").field(&self.table.name).finish()
    }
}

impl CatalogTable {
    /// Plans a scan: [`TableProvider::scan`].
    fn plan<'a>(
        &'a self,
        _state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        _limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let (lake, context) = (&self.source.lake, &self.source.context);
            let schema = match projection {
                Some(columns) => Arc::new(self.schema.project(columns)?),
                None => Arc::clone(&self.schema),
            };
            let latest = &context.latest;
            let names = match rows::FILLED.contains(&self.table.name) {
                true => {
                    let with_definitions = latest.get().has_definitions;
                    let path = context.search_path();
                    latest.refresh(lake, path, with_definitions, PIN_TIME).await?
                }
                false => latest.get(),
            };
            let wanted = Wanted::of(filters);
            let is_same = |kept: &&Kept| {
                kept.projection.as_ref() == projection
                    && kept.filters == filters
                    && Arc::ptr_eq(&kept.names, &names.names)
            };
            let kept = self.kept.lock().as_ref().filter(is_same).map(|kept| kept.batch.clone());
            let batch = match kept {
                Some(batch) => batch,
                None => {
                    rows::read(self.table, &schema, &wanted, &names.names, lake, context).await?
                }
            };
            // What is asked by its OID is read for it, columns too.
            if rows::OF_NAMES.contains(&self.table.name) && !wanted.names("oid") {
                *self.kept.lock() = Some(Kept {
                    projection: projection.cloned(),
                    filters: filters.to_vec(),
                    names: Arc::clone(&names.names),
                    batch: batch.clone(),
                });
            }
            let plan = MemorySourceConfig::try_new_exec(&[vec![batch]], schema, None)?;
            Ok(plan as Arc<dyn ExecutionPlan>)
        })
    }
}

impl TableProvider for CatalogTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        if self.table.kind == "v" { TableType::View } else { TableType::Base }
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    saltlake_catalog::scan_by!(plan);
}
