//! What Parquet's statistics do not say: whether a float column holds NaN.
//!
//! Called by [`crate::table`]. Minimum and maximum leave NaN out, but in SQL it is a value, above all others. Taken at
//! their word, a column of 1.5 and NaN is constant, and none of its rows is above 2. So float columns have no bounds
//! here, and a scan whose filters read one skips no row groups.

use arrow::datatypes::Schema;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::config::TableOptions;
use datafusion::logical_expr::Expr;

/// Takes the bounds of float columns out of a file's statistics.
pub(crate) fn forget_bounds(mut statistics: Statistics, schema: &Schema) -> Statistics {
    for (column, field) in statistics.column_statistics.iter_mut().zip(schema.fields().iter()) {
        if field.data_type().is_floating() {
            column.min_value = Precision::Absent;
            column.max_value = Precision::Absent;
        }
    }
    statistics
}

/// Returns the options of a scan with these filters.
pub(crate) fn scan_options(
    mut options: TableOptions,
    filters: &[Expr],
    schema: &Schema,
) -> TableOptions {
    let is_float = |name: &str| {
        schema.column_with_name(name).is_some_and(|(_, field)| field.data_type().is_floating())
    };
    let reads_float =
        |filter: &Expr| filter.column_refs().iter().any(|column| is_float(&column.name));
    if filters.iter().any(reads_float) {
        options.parquet.global.pruning = false;
        options.parquet.global.enable_page_index = false;
    }
    options
}
