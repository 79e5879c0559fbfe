//! Which files can hold a wanted row, by what the log says.
//!
//! Partition values are exact. Bounds are only that: texts are cut, times are cut to milliseconds, NaN is left out, rows
//! may have been deleted since. They rule files out and never answer a query.

use super::columns::DataColumn;
use super::files::{FileList, Statistic};
use super::place::Resolver;
use super::version::Version;
use crate::error::Result;
use crate::iceberg::NAMES;
use crate::pruning;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::Column;
use datafusion::common::pruning::PruningStatistics;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;
use object_store::path::Path;
use std::collections::HashSet;
use std::sync::Arc;

/// What a time in the log may be short of.
const CUT_MICROS: i64 = 999;

/// Returns the files that may hold rows which pass the filters, in order.
///
/// # Errors
/// When the statistics cannot be held against the filters.
pub(super) fn files(
    version: &Version,
    files: &FileList,
    filters: &[Expr],
    schema: &SchemaRef,
    props: &ExecutionProps,
    located: Option<&Located<'_>>,
) -> Result<Vec<usize>> {
    let all = || (0..files.len()).collect();
    let Some(predicate) = pruning::predicate(filters, schema, props) else { return Ok(all()) };
    if files.len() == 0 {
        return Ok(all());
    }
    let kept = predicate.prune(&Facts { version, files, located })?;
    Ok(kept.into_iter().enumerate().filter_map(|(row, is_kept)| is_kept.then_some(row)).collect())
}

/// What tells the locations of files, for statements that name them.
pub(super) struct Located<'a> {
    pub(super) resolver: &'a Resolver,
    pub(super) store_url: &'a ObjectStoreUrl,
}

impl Located<'_> {
    /// Returns the location of a file as statements see it.
    pub(super) fn location(&self, path: &Path) -> String {
        format!("{}{path}", self.store_url.as_str())
    }
}

struct Facts<'a> {
    version: &'a Version,
    files: &'a FileList,
    /// There when the table has the column of locations.
    located: Option<&'a Located<'a>>,
}

impl Facts<'_> {
    fn column(&self, column: &Column) -> Option<&DataColumn> {
        self.version.columns.all.iter().find(|known| known.name == column.name)
    }

    /// The locations of all files, when that is what a column holds.
    fn locations(&self, column: &Column) -> Option<ArrayRef> {
        let located = self.located.filter(|_| column.name == NAMES[0])?;
        let location = |row| {
            let path = located.resolver.resolve(self.files.path(row)).ok()?;
            Some(located.location(&path))
        };
        Some(Arc::new((0..self.files.len()).map(location).collect::<StringArray>()))
    }

    fn bounds(&self, column: &Column, which: Statistic) -> Option<ArrayRef> {
        if let Some(locations) = self.locations(column) {
            return Some(locations);
        }
        let column = self.column(column)?;
        match column.partition {
            Some(idx) => Some(Arc::clone(self.files.partition(idx))),
            None => widened(&self.files.statistic(which, column)?, which),
        }
    }
}

/// Returns bounds that are true also for what writers leave out or cut off; `None` where none are.
fn widened(bounds: &ArrayRef, which: Statistic) -> Option<ArrayRef> {
    let is_upper = which == Statistic::Upper;
    match bounds.data_type() {
        // NaN is above all numbers.
        data_type if data_type.is_floating() && is_upper => None,
        data_type if data_type.is_nested() => None,
        DataType::Timestamp(TimeUnit::Microsecond, zone) if is_upper => {
            let micros = bounds.as_primitive::<TimestampMicrosecondType>();
            let widened =
                micros.unary::<_, TimestampMicrosecondType>(|t| t.saturating_add(CUT_MICROS));
            Some(Arc::new(widened.with_timezone_opt(zone.clone())))
        }
        _ => Some(Arc::clone(bounds)),
    }
}

/// Returns counts that can be counts.
fn counts(array: &ArrayRef) -> Option<ArrayRef> {
    let counts = cast(array, &DataType::Int64).ok()?;
    let counts: &Int64Array = counts.as_primitive();
    Some(Arc::new(counts.iter().map(|n| u64::try_from(n?).ok()).collect::<UInt64Array>()))
}

impl PruningStatistics for Facts<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, Statistic::Lower)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, Statistic::Upper)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let column = self.column(column)?;
        let Some(idx) = column.partition else {
            return counts(&self.files.statistic(Statistic::Nulls, column)?);
        };
        // All rows of a null partition are null, and none of another one.
        let values = self.files.partition(idx);
        let n_rows = self.files.n_rows();
        let count = |row: usize| match values.is_null(row) {
            true => n_rows.is_valid(row).then(|| u64::try_from(n_rows.value(row)).ok()).flatten(),
            false => Some(0),
        };
        Some(Arc::new((0..self.files.len()).map(count).collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let n_rows: ArrayRef = Arc::new(self.files.n_rows().clone());
        counts(&n_rows)
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, TimestampMicrosecondArray};

    #[test]
    fn bounds_leave_room_for_what_writers_leave_out() {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(5000), None]));
        let upper = widened(&times, Statistic::Upper).unwrap();
        let upper = upper.as_primitive::<TimestampMicrosecondType>();
        assert_eq!(upper.iter().collect::<Vec<_>>(), [Some(5999), None]);
        assert_eq!(&widened(&times, Statistic::Lower).unwrap(), &times);
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.5]));
        assert!(widened(&floats, Statistic::Upper).is_none());
        assert!(widened(&floats, Statistic::Lower).is_some());
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        assert_eq!(&widened(&texts, Statistic::Upper).unwrap(), &texts);
    }
}
