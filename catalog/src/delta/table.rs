//! The table provider of a Delta table.
//!
//! Made by the lake when a statement names the table. Its columns are those of the version when the statement was planned;
//! its files are chosen when a scan is planned, from the version that the whole statement sees ([`crate::pin`]). A prepared
//! statement that runs later sees the version of then, with the columns of its planning.

use super::history::history;
use super::place::Resolver;
use super::plan::{Plan, plan};
use super::prune::Located;
use super::version::{Place, Version};
use crate::analysis::AnalyzedTable;
use crate::cache::Caches;
use crate::comments::Description;
use crate::error::Result;
use crate::iceberg::{At, FILE, Reserved, TableSource};
use crate::scan_log::{ScanLog, TableScan};
use crate::table::PIN_TIME;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::memory::DataSourceExec;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::{ColumnStatistics, project_schema};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use futures::future::BoxFuture;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// A Delta table.
#[derive(Clone)]
pub(crate) struct DeltaTable {
    name: String,
    place: Place,
    caches: Arc<Caches>,
    at: At,
    loaded: Arc<Version>,
    loaded_at: Instant,
    /// Metadata columns that the statement names.
    reserved: Option<Arc<Reserved>>,
    /// With the metadata columns.
    arrow: SchemaRef,
}

impl fmt::Debug for DeltaTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaTable")
            .field("table", &self.name)
            .field("location", &self.place.url.as_str())
            .finish_non_exhaustive()
    }
}

impl DeltaTable {
    /// Reads what a version of the table says of it. Which files it has is not read yet.
    ///
    /// # Errors
    /// When there is no such version, its log cannot be read or is corrupt, or it asks for what this reader has not.
    pub(crate) async fn load(
        name: &str,
        place: Place,
        caches: Arc<Caches>,
        at: At,
    ) -> Result<Self> {
        let loaded_at = Instant::now();
        let loaded = place.version(name, &at, &caches).await?;
        let arrow = loaded.columns.schema.arrow();
        let (name, reserved) = (name.to_owned(), None);
        Ok(Self { name, place, caches, at, loaded, loaded_at, reserved, arrow })
    }

    /// Returns the table with those of the wanted metadata columns that it has; `None` when it has none of them.
    pub(crate) fn with_reserved(&self, wanted: &[&str]) -> Option<Self> {
        let schema = &self.loaded.columns.schema;
        let reserved = Reserved::of_delta(wanted, schema)?;
        let arrow = reserved.added_to(schema).arrow();
        Some(Self { arrow, reserved: Some(Arc::new(reserved)), ..self.clone() })
    }

    /// Returns what the version that was loaded says of the table.
    pub(crate) fn description(&self) -> Description {
        Description { columns: self.loaded.columns.comments(), ..Description::default() }
    }

    /// Returns the table of the commits that are in the log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn history(&self) -> Result<Arc<dyn TableProvider>> {
        let rows = history(&self.place.store, &self.place.log()?, self.loaded.number()).await?;
        Ok(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))
    }

    /// Returns the version that this run of the statement sees.
    async fn version(&self) -> Result<Arc<Version>> {
        let is_fresh = self.loaded_at.elapsed() < PIN_TIME;
        match self.at {
            At::Newest if is_fresh => Ok(self.place.pin(&self.loaded)),
            At::Time { .. } if is_fresh => Ok(Arc::clone(&self.loaded)),
            At::Named(_) => Ok(Arc::clone(&self.loaded)),
            _ => self.place.version(&self.name, &self.at, &self.caches).await,
        }
    }

    /// Returns what ANALYZE keeps its findings by.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn analyzed(&self) -> Result<AnalyzedTable> {
        let version = self.version().await?;
        let location = self.place.url.as_str().to_owned();
        Ok(AnalyzedTable { location, version: version.number().to_string() })
    }

    fn log(&self, session: &dyn Session, version: &Version, plan: &Plan) {
        let n_vectors = plan.deletes.len();
        let note = format!("version {}, {n_vectors} deletion vectors", version.number());
        let scan = TableScan {
            table: self.name.clone(),
            n_files: plan.n_files,
            n_kept: plan.files.len(),
            note: Some(note),
        };
        ScanLog::record(session.config(), scan);
    }
}

impl DeltaTable {
    /// Plans a scan: [`TableProvider::scan`].
    fn plan_scan<'a>(
        &'a self,
        session: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>, DataFusionError>> {
        Box::pin(async move {
            let version = self.version().await?;
            let files = self.place.files(&version, &self.caches).await?;
            let props = session.execution_props();
            let columns = &self.loaded.columns;
            let resolver = Resolver::new(&self.place)?;
            let has_file = self.reserved.as_ref().is_some_and(|reserved| reserved.has(FILE));
            let located = Located { resolver: &resolver, store_url: &self.place.store_url };
            let located = has_file.then_some(&located);
            let mut plan = plan(&version, &files, filters, &self.arrow, props, located)?;
            let is_cut =
                limit.filter(|_| filters.is_empty()).is_some_and(|limit| plan.cut_to(limit));
            plan.read_vectors(&self.place, &resolver).await?;
            self.log(session, &version, &plan);
            if plan.files.is_empty() {
                let schema = project_schema(&self.arrow, projection)?;
                return Ok(Arc::new(EmptyExec::new(schema)) as Arc<dyn ExecutionPlan>);
            }
            let mut statistics = plan.statistics(&version, &files, columns);
            if let Some(analysis) = self.caches.analyses.of(self.place.url.as_str()).await {
                analysis.add_to(&mut statistics, &self.arrow, &version.number().to_string());
            }
            let n_reserved = self.reserved.as_ref().map_or(0, |reserved| reserved.n_columns());
            let unknown = std::iter::repeat_n(ColumnStatistics::new_unknown(), n_reserved);
            statistics.column_statistics.extend(unknown);
            let statistics = if is_cut { statistics.to_inexact() } else { statistics };
            let partitioned =
                plan.partitioned_files(&version, &files, columns, &resolver, located)?;
            let mut scan = columns.scan(plan.deletes, self.place.store_url.as_str().to_owned());
            if let Some(reserved) = &self.reserved {
                scan.schema = reserved.added_to(&scan.schema);
                scan.reserved = Some(Arc::clone(reserved));
            }
            let (store, store_url) = (&self.place.store, self.place.store_url.clone());
            let source =
                TableSource::for_session(session, store, store_url, scan, &self.caches.deletes);
            let n_groups = session.config().target_partitions().max(1);
            let config = FileScanConfigBuilder::new(self.place.store_url.clone(), Arc::new(source))
                .with_file_groups(FileGroup::new(partitioned).split_files(n_groups))
                .with_statistics(statistics)
                .with_projection_indices(projection.cloned())?
                .with_limit(limit)
                .build();
            Ok(DataSourceExec::from_data_source(config))
        })
    }
}

impl TableProvider for DeltaTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.arrow)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    crate::scan_by!(plan_scan);

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}
