//! Keeps filters that grow while a query runs away from the bounds of float columns.
//!
//! Runs after DataFusion's physical rules. A Parquet footer leaves NaN out of a column's minimum and maximum, so a row
//! group whose largest number is 3 may still hold the largest value of all. The catalog plans scans accordingly, but a
//! TopK and a hash join hand their scan a dynamic filter later (`x > 5`), and row groups are skipped by it whatever the
//! scan's options say. Such a filter only saves reading; without it the rows are the same.
//!
//! ```text
//! SortExec: TopK [x DESC]                        SortExec: TopK [x DESC]
//!   DataSourceExec predicate=DynamicFilter   ──>   DataSourceExec
//! ```

use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::datasource::physical_plan::{
    FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::physical_expr::expressions::{DynamicFilterTracking, lit};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{conjunction, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use std::sync::Arc;

/// Takes dynamic filters out of scans where they would be held against bounds of float columns.
#[derive(Debug)]
pub(super) struct FloatFilters;

impl PhysicalOptimizerRule for FloatFilters {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|node| {
            Ok(match without_unsound_filters(&node) {
                Some(scan) => Transformed::yes(scan),
                None => Transformed::no(node),
            })
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &str {
        "float_filters"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Returns the scan with the filters that stay; `None` when `node` is no such scan or nothing changes.
fn without_unsound_filters(node: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let exec = node.downcast_ref::<DataSourceExec>()?;
    let scan = exec.data_source().downcast_ref::<FileScanConfig>()?;
    let source = scan.file_source().downcast_ref::<ParquetSource>()?;
    let schema = source.table_schema().table_schema();
    let predicate = source.filter()?;
    let is_dynamic = |part: &Arc<dyn PhysicalExpr>| {
        DynamicFilterTracking::classify(part).contains_dynamic_filter()
    };
    let reads_float = |part: &Arc<dyn PhysicalExpr>| {
        collect_columns(part).iter().any(|column| {
            schema.fields().get(column.index()).is_none_or(|field| field.data_type().is_floating())
        })
    };
    let parts = split_conjunction(&predicate);
    if !parts.iter().any(|part| is_dynamic(part)) || !reads_float(&predicate) {
        return None;
    }
    // The whole predicate is held against the bounds again when a dynamic part of it changes. A static part on a float
    // column may not be dropped (it may be what filters the rows), so then every dynamic part goes.
    let static_float = parts.iter().any(|part| !is_dynamic(part) && reads_float(part));
    let kept: Vec<Arc<dyn PhysicalExpr>> = parts
        .into_iter()
        .filter(|part| !is_dynamic(part) || (!static_float && !reads_float(part)))
        .map(Arc::clone)
        .collect();
    let kept = if kept.is_empty() { lit(true) } else { conjunction(kept) };
    let scan = FileScanConfigBuilder::from(scan.clone())
        .with_source(Arc::new(source.with_predicate(kept)))
        .build();
    Some(DataSourceExec::from_data_source(scan))
}
