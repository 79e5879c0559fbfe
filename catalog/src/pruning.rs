//! Leaves out files that cannot hold a wanted row, while the statement is planned.
//!
//! First by partition values, exactly: such filters are not evaluated again. Then by the statistics of the footers, as
//! far as they go: those filters stay in the plan. Files left out here are never opened, and the plan that is cut into
//! tasks holds only work that is there. Row groups and pages are pruned later, by DataFusion, when a file is read.

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Fields, Schema, SchemaRef};
use datafusion::common::pruning::PrunableStatistics;
use datafusion::common::{DFSchema, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::error::DataFusionError;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Returns the files whose partition values pass the filters. Every filter reads partition columns only.
pub(crate) fn by_partition(
    files: Vec<PartitionedFile>,
    fields: &Fields,
    filters: &[Expr],
    props: &ExecutionProps,
) -> Result<Vec<PartitionedFile>, DataFusionError> {
    let schema = Arc::new(Schema::new(fields.clone()));
    if files.is_empty() {
        return Ok(files);
    }
    let Some(predicate) = physical(filters, &schema, props)? else { return Ok(files) };
    let columns = (0..fields.len())
        .map(|idx| {
            ScalarValue::iter_to_array(files.iter().map(|file| file.partition_values[idx].clone()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(files.len()));
    let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
    let passes = predicate.evaluate(&batch)?.into_array(files.len())?;
    let passes = passes.as_boolean();
    let is_kept = |idx: usize| passes.is_valid(idx) && passes.value(idx);
    Ok(files.into_iter().enumerate().filter(|(idx, _)| is_kept(*idx)).map(|(_, f)| f).collect())
}

/// Returns the files whose statistics do not rule out the filters.
pub(crate) fn by_statistics(
    files: Vec<PartitionedFile>,
    schema: &SchemaRef,
    filters: &[Expr],
    props: &ExecutionProps,
) -> Vec<PartitionedFile> {
    let statistics: Option<Vec<Arc<Statistics>>> =
        files.iter().map(|file| file.statistics.clone()).collect();
    let Some(statistics) = statistics else { return files };
    // A filter that cannot be judged here prunes nothing.
    let Ok(Some(predicate)) = physical(filters, schema, props) else { return files };
    let Ok(pruning) =
        PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema)).try_build(predicate)
    else {
        return files;
    };
    let statistics = PrunableStatistics::new(statistics, Arc::clone(schema));
    match pruning.prune(&statistics) {
        Ok(kept) => {
            files.into_iter().zip(kept).filter(|(_, is_kept)| *is_kept).map(|(f, _)| f).collect()
        }
        Err(error) => {
            tracing::debug!(%error, "files not pruned by statistics");
            files
        }
    }
}

/// Returns filters over a table's columns in a form that can be held against bounds; `None` when they prune nothing.
pub(crate) fn predicate(
    filters: &[Expr],
    schema: &SchemaRef,
    props: &ExecutionProps,
) -> Option<PruningPredicate> {
    let filter = physical(filters, schema, props).ok().flatten()?;
    let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema));
    builder.try_build(filter).ok().filter(|predicate| !predicate.always_true())
}

fn physical(
    filters: &[Expr],
    schema: &SchemaRef,
    props: &ExecutionProps,
) -> Result<Option<Arc<dyn PhysicalExpr>>, DataFusionError> {
    let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(None) };
    let schema = DFSchema::try_from(Arc::clone(schema))?;
    create_physical_expr(&filter, &schema, props, &PhysicalPlanningContext::default()).map(Some)
}
