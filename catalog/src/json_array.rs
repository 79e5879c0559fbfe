//! Reads of files that are one JSON array each: `OPTIONS ('newline_delimited' 'false')`.
//!
//! Called by the scan of a plain table. An array has no place where a range of the file could begin, and DataFusion's own
//! source neither says so, which fails large files, nor keeps the form when a scan is sent, which would fail on workers.
//! This source is read as a whole and cannot be sent; `saltlake_sql::obstacle` keeps such plans on the coordinator.

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::physical_plan::{FileOpener, FileScanConfig, FileSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use object_store::ObjectStore;
use std::sync::Arc;

/// A source of files that hold one array of objects each.
struct JsonArraySource {
    json: Arc<dyn FileSource>,
}

/// Whether the files of a format are one JSON array each.
pub(crate) fn is_array(format: &Arc<dyn FileFormat>) -> bool {
    let json = (**format).downcast_ref::<JsonFormat>();
    json.is_some_and(|json| !json.options().newline_delimited)
}

/// Returns what reads the files of a format.
pub(crate) fn file_source(
    format: &Arc<dyn FileFormat>,
    schema: TableSchema,
) -> Arc<dyn FileSource> {
    let source = format.file_source(schema);
    if is_array(format) { Arc::new(JsonArraySource { json: source }) } else { source }
}

impl FileSource for JsonArraySource {
    fn create_file_opener(
        &self,
        object_store: Arc<dyn ObjectStore>,
        base_config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        self.json.create_file_opener(object_store, base_config, partition)
    }

    fn table_schema(&self) -> &TableSchema {
        self.json.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(Self { json: self.json.with_batch_size(batch_size) })
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.json.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.json.metrics()
    }

    /// As EXPLAIN shows it, and `saltlake_sql::obstacle` knows it.
    fn file_type(&self) -> &str {
        "json array"
    }

    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        let json = self.json.try_pushdown_projection(projection)?;
        Ok(json.map(|json| Arc::new(Self { json }) as Arc<dyn FileSource>))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.json.apply_expressions(f)
    }
}
