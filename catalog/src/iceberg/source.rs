//! The file source: DataFusion's Parquet source, with what a table's metadata add to it done when a file is opened.
//!
//! ```text
//! FileStream ─> TableMorselizer::plan_file ─ deletes read? ─> ParquetSource's morselizer
//!                   columns by field id          row selection
//! ```
//!
//! Everything else is left to the Parquet source: projection, filters, dynamic filters, pruning, limits, splitting. The
//! source writes no wire form of itself; [`super::codec`] does, and where that is missing a plan cannot be sent.

use super::adapter::FieldIdAdapters;
use super::apply::DeleteCaches;
use super::reserved;
use super::scan::{FileInfo, ScanSpec};
use super::wire;
use crate::readers::{Readers, counted};
use arrow::datatypes::{DataType, Field};
use datafusion::catalog::Session;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{
    FileOpener, FileScanConfig, FileSource, ParquetSource,
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::functions::core::file_row_index;
use datafusion::physical_expr::expressions::{Column, DynamicFilterTracking, lit};
use datafusion::physical_expr::projection::{ProjectionExpr, ProjectionExprs};
use datafusion::physical_expr::{
    EquivalenceProperties, PhysicalExpr, PhysicalSortExpr, ScalarFunctionExpr,
};
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, SortOrderPushdownResult};
use datafusion_datasource::morsel::{MorselPlan, MorselPlanner, Morselizer};
use object_store::ObjectStore;
use std::fmt;
use std::sync::Arc;

/// Name of the column that makes the reader count; it is in no result.
const COUNT: &str = "__saltlake_position";

/// Reads the Parquet files of an Iceberg or Delta table.
#[derive(Clone)]
pub(crate) struct TableSource {
    parquet: Arc<dyn FileSource>,
    scan: Arc<ScanSpec>,
    caches: Arc<DeleteCaches>,
}

impl TableSource {
    pub(super) fn new(
        parquet: Arc<dyn FileSource>,
        scan: Arc<ScanSpec>,
        caches: Arc<DeleteCaches>,
    ) -> Self {
        Self { parquet, scan, caches }
    }

    /// Returns a source for a scan of one table with the options of a session.
    pub(crate) fn for_session(
        session: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        store_url: ObjectStoreUrl,
        scan: ScanSpec,
        caches: &Arc<DeleteCaches>,
    ) -> Self {
        let readers = Readers::of_immutable(Arc::clone(store), store_url, session.runtime_env());
        let mut options = session.default_table_options().parquet;
        // The types of both formats are of microseconds, and nanoseconds of 64 bits end in 2262.
        options.global.coerce_int96 = Some("us".to_owned());
        let hint = options.global.metadata_size_hint;
        let mut parquet = ParquetSource::new(scan.schema.arrow())
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(readers));
        if let Some(hint) = hint {
            parquet = parquet.with_metadata_size_hint(hint);
        }
        Self::new(Arc::new(parquet), Arc::new(scan), Arc::clone(caches))
    }

    /// Returns what the scan knows of its files.
    pub(super) fn scan(&self) -> &Arc<ScanSpec> {
        &self.scan
    }

    /// Returns the source that reads the files.
    pub(super) fn parquet(&self) -> &Arc<dyn FileSource> {
        &self.parquet
    }

    fn with_parquet(&self, parquet: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self { parquet, ..self.clone() })
    }

    /// Splits filters into those the Parquet source may apply by itself and others. A filter on a nested column may turn
    /// into one that it cannot apply, once the file's own fields are known, and would then be dropped.
    fn is_flat(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        self.all_columns(filter, |data_type| !data_type.is_nested())
    }

    /// Bounds of floats leave NaN out: pruned by them, rows with NaN would be missed.
    fn reads_float(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        !self.all_columns(filter, |data_type| !data_type.is_floating())
    }

    /// Whether a filter may be held against the bounds of row groups while it grows. The reader does that with the whole
    /// predicate whatever the options say, so neither it nor what is there already may read a float.
    fn may_grow(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        let is_dynamic = DynamicFilterTracking::classify(filter).contains_dynamic_filter();
        let present = self.parquet.filter();
        !is_dynamic
            || (!self.reads_float(filter)
                && present.is_none_or(|present| !self.reads_float(&present)))
    }

    fn all_columns(&self, expr: &Arc<dyn PhysicalExpr>, holds: impl Fn(&DataType) -> bool) -> bool {
        let schema = self.parquet.table_schema().table_schema();
        let mut all = true;
        // The closure never fails, so neither does the walk.
        let _ = expr.apply(|node| {
            if let Some(column) = node.downcast_ref::<Column>() {
                let field = schema.field_with_name(column.name());
                all &= field.is_ok_and(|field| holds(field.data_type()));
            }
            Ok(TreeNodeRecursion::Continue)
        });
        all
    }

    /// Returns the Parquet source in a form that always asks how a file's columns become the table's. Without a filter it
    /// would not ask when a file without field ids has the table's names, though these may mean other columns by now.
    fn adapting(&self) -> Arc<dyn FileSource> {
        match self.parquet.downcast_ref::<ParquetSource>() {
            Some(parquet) if parquet.filter().is_none() => {
                let always = parquet.with_predicate(lit(true));
                Arc::new(always.with_pushdown_filters(false))
            }
            _ => Arc::clone(&self.parquet),
        }
    }

    /// Returns the Parquet source in a form that also counts rows, when a column asks for it. The reader offers that to a
    /// function alone: a projection that calls it is pushed down, and taken off again.
    fn counting(&self, parquet: Arc<dyn FileSource>) -> Result<Arc<dyn FileSource>> {
        if !self.scan.schema.columns.iter().any(reserved::needs_position) {
            return Ok(parquet);
        }
        let columns = parquet
            .projection()
            .map(|all| all.project_schema(parquet.table_schema().table_schema()));
        let Some(schema) = columns.transpose()? else {
            return internal_err!("a scan without a projection");
        };
        let column = |(idx, field): (usize, &Arc<Field>)| ProjectionExpr {
            expr: Arc::new(Column::new(field.name(), idx)),
            alias: field.name().clone(),
        };
        let own: Vec<_> = schema.fields().iter().enumerate().map(column).collect();
        let count = ScalarFunctionExpr::try_new(
            file_row_index(),
            vec![],
            &schema,
            Arc::new(ConfigOptions::default()),
        )?;
        let count = ProjectionExpr { expr: Arc::new(count), alias: COUNT.to_owned() };
        let with_count: ProjectionExprs = own.iter().cloned().chain([count]).collect();
        let counting = parquet.try_pushdown_projection(&with_count)?;
        let without_count: ProjectionExprs = own.into_iter().collect();
        match counting
            .map(|counting| counting.try_pushdown_projection(&without_count))
            .transpose()?
        {
            Some(Some(counting)) => Ok(counting),
            _ => internal_err!("the Parquet reader counts no rows"),
        }
    }

    /// Positions are known only to what stands above the reader.
    fn reads_position(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        let needs =
            |name: &str| self.scan.schema.column_named(name).is_some_and(reserved::needs_position);
        let mut found = false;
        // The closure never fails, so neither does the walk.
        let _ = filter.apply(|node| {
            found |= node.downcast_ref::<Column>().is_some_and(|column| needs(column.name()));
            Ok(TreeNodeRecursion::Continue)
        });
        found
    }

    fn without_pruning(parquet: &Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        let Some(source) = parquet.downcast_ref::<ParquetSource>() else {
            return Arc::clone(parquet);
        };
        let mut options = source.table_parquet_options().clone();
        options.global.pruning = false;
        options.global.enable_page_index = false;
        Arc::new(source.clone().with_table_parquet_options(options))
    }
}

impl FileSource for TableSource {
    fn create_file_opener(
        &self,
        _: Arc<dyn ObjectStore>,
        _: &FileScanConfig,
        _: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        internal_err!("files of tables with metadata are read in morsels")
    }

    fn create_morselizer(
        &self,
        object_store: Arc<dyn ObjectStore>,
        base_config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        let parquet = self.counting(self.adapting())?;
        // Delete files are read beside the readers.
        let (store_url, metrics) = (&base_config.object_store_url, self.parquet.metrics());
        let object_store = counted(object_store, store_url, metrics, partition);
        let mut template = base_config.clone();
        template.file_groups.clear();
        template.file_source = Arc::clone(&parquet);
        Ok(Box::new(TableMorselizer(Arc::new(Opening {
            source: Self { parquet, ..self.clone() },
            store: object_store,
            template,
            partition,
        }))))
    }

    fn table_schema(&self) -> &TableSchema {
        self.parquet.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        self.with_parquet(self.parquet.with_batch_size(batch_size))
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.parquet.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.parquet.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.parquet.metrics()
    }

    fn file_type(&self) -> &str {
        self.scan.rule.format()
    }

    fn fmt_extra(&self, t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        if !self.scan.deletes.is_empty() && !matches!(t, DisplayFormatType::TreeRender) {
            write!(f, ", delete_files={}", self.scan.deletes.len())?;
        }
        self.parquet.fmt_extra(t, f)
    }

    fn supports_repartitioning(&self) -> bool {
        self.parquet.supports_repartitioning()
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.parquet.reorder_files(files)
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let is_flat: Vec<bool> = filters
            .iter()
            .map(|filter| {
                self.is_flat(filter) && self.may_grow(filter) && !self.reads_position(filter)
            })
            .collect();
        let flat: Vec<_> =
            filters.iter().zip(&is_flat).filter(|(_, flat)| **flat).map(|(f, _)| f).collect();
        let parquet = match flat.iter().any(|filter| self.reads_float(filter)) {
            true => Self::without_pruning(&self.parquet),
            false => Arc::clone(&self.parquet),
        };
        let flat = flat.into_iter().map(Arc::clone).collect();
        let pushed = parquet.try_pushdown_filters(flat, config)?;
        let mut answers = pushed.filters.into_iter();
        let answer = |is_flat| match is_flat {
            true => answers.next().unwrap_or(PushedDown::No),
            false => PushedDown::No,
        };
        let filters = is_flat.into_iter().map(answer).collect();
        let all = FilterPushdownPropagation::with_parent_pushdown_result(filters);
        Ok(match pushed.updated_node {
            Some(parquet) => all.with_updated_node(self.with_parquet(parquet)),
            None => all,
        })
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        eq_properties: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        let pushed = self.parquet.try_pushdown_sort(order, eq_properties)?;
        Ok(match pushed {
            SortOrderPushdownResult::Exact { inner } => {
                SortOrderPushdownResult::Exact { inner: self.with_parquet(inner) }
            }
            // Row groups would be put in order by statistics that go by the file's names of columns.
            SortOrderPushdownResult::Inexact { .. } | SortOrderPushdownResult::Unsupported => {
                SortOrderPushdownResult::Unsupported
            }
        })
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        let pushed = self.parquet.try_pushdown_projection(projection)?;
        Ok(pushed.map(|parquet| self.with_parquet(parquet)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.parquet.apply_expressions(f)
    }
}

/// What opening files of one partition needs.
struct Opening {
    source: TableSource,
    store: Arc<dyn ObjectStore>,
    /// The scan without its files, reading with the Parquet source.
    template: FileScanConfig,
    partition: usize,
}

impl Opening {
    fn plan(&self, file: PartitionedFile, info: &FileInfo) -> Result<Box<dyn MorselPlanner>> {
        let scan = &self.source.scan;
        let mut config = self.template.clone();
        config.expr_adapter_factory = Some(Arc::new(FieldIdAdapters {
            rule: scan.rule,
            schema: Arc::clone(&scan.schema),
            mapping: scan.mapping.clone(),
            constants: Arc::clone(&info.constants),
        }));
        let store = Arc::clone(&self.store);
        self.source.parquet.create_morselizer(store, &config, self.partition)?.plan_file(file)
    }

    async fn plan_with_deletes(&self, mut file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let info = info_of(&file)?;
        let (path, size) = (file.object_meta.location.clone(), file.object_meta.size);
        let (caches, scan) = (&self.source.caches, &self.source.scan);
        let selection = caches.selection(&self.store, scan, &info, &path, size).await;
        if let Some(selection) = selection.map_err(wire::error)? {
            file.extensions.insert(ParquetRowSelection::new(selection));
        }
        self.plan(file, &info)
    }
}

fn info_of(file: &PartitionedFile) -> Result<Arc<FileInfo>> {
    file.extensions.get_arc::<FileInfo>().ok_or_else(|| {
        let path = &file.object_meta.location;
        internal_datafusion_err!("nothing is known of the deletes of file {path}")
    })
}

struct TableMorselizer(Arc<Opening>);

impl fmt::Debug for TableMorselizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TableMorselizer").field(&self.0.partition).finish()
    }
}

impl Morselizer for TableMorselizer {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let info = info_of(&file)?;
        if info.deletes.is_empty() {
            return self.0.plan(file, &info);
        }
        Ok(Box::new(DeletesPlanner { opening: Arc::clone(&self.0), file }))
    }
}

/// Reads the deletes of a file before the file.
struct DeletesPlanner {
    opening: Arc<Opening>,
    file: PartitionedFile,
}

impl fmt::Debug for DeletesPlanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeletesPlanner").field(&self.file.object_meta.location).finish()
    }
}

impl MorselPlanner for DeletesPlanner {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self { opening, file } = *self;
        let read = async move { opening.plan_with_deletes(file).await };
        Ok(Some(MorselPlan::new().with_pending_planner(read)))
    }
}
