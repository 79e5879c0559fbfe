//! What is known of the rows of a plan: how many, and of each column how many values, NULLs, and between which bounds.
//!
//! Numbers are doubles, because estimates multiply and may pass every integer.

use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::scalar::ScalarValue;

/// A column without statistics is taken to have this many rows for each value.
const ROWS_PER_UNKNOWN_VALUE: f64 = 10.0;
/// Values that there can be, against the rows, from which their number says nothing about how many there are.
const SAYS_NOTHING: f64 = 0.5;
/// Rows that are taken to share a value where one groups by a column that may be a key: grouping by one would be idle.
const ROWS_PER_GROUP: f64 = 4.0;
/// What a row of unknown width weighs, for files whose rows are not counted.
const BYTES_PER_UNKNOWN_VALUE: f64 = 16.0;

/// One column.
#[derive(Debug, Clone, Default)]
pub(super) struct ColumnFacts {
    /// Values it may hold, before filters; `None` when not known.
    pub(super) n_distinct: Option<f64>,
    /// Share of NULLs, 0 to 1.
    pub(super) null_share: f64,
    /// Whether `n_distinct` is only a bound, about the number of rows: the column may be a key, or repeat its values.
    pub(super) may_be_key: bool,
    /// Smallest and largest value, where they can be put on a line.
    pub(super) bounds: Option<(f64, f64)>,
}

/// The rows of a plan.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// Estimated rows.
    pub(super) n_rows: f64,
    /// Rows before the filters of this relation: what its columns' distinct values belong to.
    pub(super) n_base_rows: f64,
    /// By position in the plan's schema.
    pub(super) columns: Vec<ColumnFacts>,
    /// Whether the rows are counted or estimated from counts, and not guessed from nothing.
    pub(super) is_known: bool,
}

impl Facts {
    /// Facts of a plan that nothing is known of.
    pub(super) fn unknown(n_rows: f64, n_columns: usize) -> Self {
        let columns = vec![ColumnFacts::default(); n_columns];
        Self { n_rows, n_base_rows: n_rows, columns, is_known: false }
    }

    /// Facts of a scan.
    pub(super) fn of_scan(statistics: &Statistics, n_columns: usize) -> Self {
        let counted = statistics.num_rows.get_value().map(|n| *n as f64);
        let guessed = || {
            let bytes = statistics.total_byte_size.get_value().map(|n| *n as f64)?;
            Some(bytes / (BYTES_PER_UNKNOWN_VALUE * n_columns.max(1) as f64))
        };
        let Some(n_rows) = counted.or_else(guessed) else {
            return Self::unknown(super::estimate::UNKNOWN_ROWS, n_columns);
        };
        let column = |i: usize| match statistics.column_statistics.get(i) {
            Some(column) => column_facts(column, n_rows),
            None => ColumnFacts::default(),
        };
        let columns = (0..n_columns).map(column).collect();
        Self { n_rows, n_base_rows: n_rows, columns, is_known: true }
    }

    /// Returns how many values of a column its relation may hold, before filters.
    pub(super) fn n_distinct(&self, column: usize) -> f64 {
        let known = self.columns.get(column).and_then(|column| column.n_distinct);
        known
            .unwrap_or(self.n_base_rows / ROWS_PER_UNKNOWN_VALUE)
            .clamp(1.0, self.n_base_rows.max(1.0))
    }

    /// Returns how many values of a column are left after filters, if they fell on the rows by chance.
    pub(super) fn n_distinct_left(&self, column: usize) -> f64 {
        let n = self.n_distinct(column);
        if self.n_rows >= self.n_base_rows {
            return n.min(self.n_rows).max(1.0);
        }
        // Each value has n_base_rows / n rows, and goes when all of them do.
        let share = (self.n_rows / self.n_base_rows.max(1.0)).clamp(0.0, 1.0);
        let n_per_value = self.n_base_rows / n;
        (n * (1.0 - (1.0 - share).powf(n_per_value))).clamp(1.0, self.n_rows.max(1.0))
    }

    /// Returns how many groups the values of a column make.
    pub(super) fn n_groups(&self, column: usize) -> f64 {
        let n = self.n_distinct_left(column);
        let may_be_key = self.columns.get(column).is_some_and(|column| column.may_be_key);
        if may_be_key && self.n_distinct(column) >= SAYS_NOTHING * self.n_base_rows {
            n / ROWS_PER_GROUP
        } else {
            n
        }
    }

    /// Returns the same relation with fewer rows.
    pub(super) fn with_rows(mut self, n_rows: f64) -> Self {
        self.n_rows = n_rows.max(0.0);
        self
    }
}

impl ColumnFacts {
    /// Leaves the values between two bounds. Returns the share of the values that are left: those of a date table that
    /// no sale has are in no join with sales.
    pub(super) fn narrow(&mut self, (low, high): (f64, f64)) -> f64 {
        let (Some(n_distinct), Some((min, max))) = (self.n_distinct, self.bounds) else {
            return 1.0;
        };
        let n_left = high.min(max) - low.max(min) + 1.0;
        // More values than whole numbers between the bounds: they are no whole numbers.
        if n_left < 1.0 || n_left >= n_distinct || n_distinct > max - min + 1.0 {
            return 1.0;
        }
        self.n_distinct = Some(n_left);
        n_left / n_distinct
    }
}

fn column_facts(column: &datafusion::common::ColumnStatistics, n_rows: f64) -> ColumnFacts {
    let ends = (column.min_value.get_value(), column.max_value.get_value());
    let bounds = match ends {
        (Some(min), Some(max)) => on_a_line(min).zip(on_a_line(max)),
        _ => None,
    };
    let is_whole = ends.0.is_some_and(|min| {
        let data_type = min.data_type();
        data_type.is_integer() || matches!(data_type, arrow::datatypes::DataType::Date32)
    });
    let counted = column.distinct_count.get_value().map(|n| *n as f64);
    let in_range = bounds.filter(|_| is_whole).map(|(min, max)| max - min + 1.0);
    // A range says how many values there can be at most; a key has as many as rows.
    let n_distinct = counted.or(in_range).map(|n| n.clamp(1.0, n_rows.max(1.0)));
    let n_null = match column.null_count {
        Precision::Exact(n) | Precision::Inexact(n) => n as f64,
        Precision::Absent => 0.0,
    };
    let null_share = (n_null / n_rows.max(1.0)).clamp(0.0, 1.0);
    let may_be_key = counted.is_none() && in_range.is_some_and(|n| n >= SAYS_NOTHING * n_rows);
    ColumnFacts { n_distinct, may_be_key, null_share, bounds }
}

/// Returns a value's place on a line, where its type has an order that distances follow.
pub(super) fn on_a_line(value: &ScalarValue) -> Option<f64> {
    let whole = |value: i64| Some(value as f64);
    match value {
        ScalarValue::Int8(Some(v)) => whole(i64::from(*v)),
        ScalarValue::Int16(Some(v)) => whole(i64::from(*v)),
        ScalarValue::Int32(Some(v)) | ScalarValue::Date32(Some(v)) => whole(i64::from(*v)),
        ScalarValue::Int64(Some(v))
        | ScalarValue::Date64(Some(v))
        | ScalarValue::TimestampSecond(Some(v), _)
        | ScalarValue::TimestampMillisecond(Some(v), _)
        | ScalarValue::TimestampMicrosecond(Some(v), _)
        | ScalarValue::TimestampNanosecond(Some(v), _) => whole(*v),
        ScalarValue::UInt8(Some(v)) => whole(i64::from(*v)),
        ScalarValue::UInt16(Some(v)) => whole(i64::from(*v)),
        ScalarValue::UInt32(Some(v)) => whole(i64::from(*v)),
        ScalarValue::UInt64(Some(v)) => Some(*v as f64),
        ScalarValue::Float32(Some(v)) => Some(f64::from(*v)).filter(|v| v.is_finite()),
        ScalarValue::Float64(Some(v)) => Some(*v).filter(|v| v.is_finite()),
        ScalarValue::Decimal32(Some(v), _, scale) => Some(f64::from(*v) / pow10(*scale)),
        ScalarValue::Decimal64(Some(v), _, scale) => Some(*v as f64 / pow10(*scale)),
        ScalarValue::Decimal128(Some(v), _, scale) => Some(*v as f64 / pow10(*scale)),
        _ => None,
    }
}

fn pow10(scale: i8) -> f64 {
    10_f64.powi(i32::from(scale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::common::ColumnStatistics;

    /// A table of one whole column, its bounds known from footers.
    fn table(n_rows: usize, min: i64, max: i64) -> Facts {
        let exact = |value| Precision::Exact(ScalarValue::Int64(Some(value)));
        let column = ColumnStatistics {
            min_value: exact(min),
            max_value: exact(max),
            ..ColumnStatistics::new_unknown()
        };
        let statistics = Statistics {
            num_rows: Precision::Exact(n_rows),
            total_byte_size: Precision::Absent,
            column_statistics: vec![column],
        };
        Facts::of_scan(&statistics, 1)
    }

    #[test]
    fn a_wide_range_says_nothing_and_a_narrow_one_counts() {
        // Orders and their lines: keys up to 6,000, of which every fourth is used.
        let (orders, lines) = (table(1_500, 1, 6_000), table(6_000, 1, 6_000));
        assert!(orders.columns[0].may_be_key && lines.columns[0].may_be_key);
        assert_eq!((lines.n_distinct(0), lines.n_groups(0)), (6_000.0, 1_500.0));
        let colours = table(6_000, 1, 10);
        assert!(!colours.columns[0].may_be_key);
        assert_eq!((colours.n_distinct(0), colours.n_groups(0)), (10.0, 10.0));
    }

    #[test]
    fn of_two_columns_that_may_be_keys_the_smaller_table_has_the_key() {
        use super::super::estimate::n_values;
        assert_eq!(n_values((6_000.0, 1_500.0), true), 1_500.0);
        assert_eq!(n_values((6_000.0, 1_500.0), false), 6_000.0);
        assert_eq!(n_values((0.0, 0.0), true), 1.0);
    }
}
