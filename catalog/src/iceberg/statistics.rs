//! What a planned scan is known to read: rows, bytes, nulls.
//!
//! Called by [`super::table`]. A count is exact when no delete applies, or only deletion vectors, whose size the metadata
//! tell: then `count(*)` needs no file. The format promises of bounds that no value lies outside, not that there is a row
//! at either end. Of whole numbers and dates writers record values that are there, and other engines answer `min` and
//! `max` from them, as we do when no delete applies. All other bounds are not handed on: texts are cut, floats leave NaN
//! out, and timestamps that were taken from statistics of Delta are cut to milliseconds.

use super::block::{ColumnStats, Counts, ManifestBlock};
use super::plan::{PlannedFile, ScanPlan};
use super::schema::{Column, Primitive, TableSchema};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Int32Type, Int64Type};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Returns the statistics of a scan, for the table's columns.
pub(super) fn statistics_of(plan: &ScanPlan, schema: &TableSchema) -> Statistics {
    let (n_rows, is_exact) = plan.n_rows();
    let n_rows = usize::try_from(n_rows).unwrap_or(usize::MAX);
    let n_bytes: u64 = plan.files.iter().map(|file| file.block.sizes[file.row]).sum();
    let columns = schema.columns.iter().map(|column| column_of(plan, column));
    Statistics {
        num_rows: if is_exact { Precision::Exact(n_rows) } else { Precision::Inexact(n_rows) },
        total_byte_size: Precision::Inexact(usize::try_from(n_bytes).unwrap_or(usize::MAX)),
        column_statistics: columns.collect(),
    }
}

fn column_of(plan: &ScanPlan, column: &Column) -> ColumnStatistics {
    let id = column.id;
    let mut bytes = 0_f64;
    let mut nulls = Some(0_u64);
    let has_deletes = plan.files.iter().any(|file| !file.deletes.is_empty());
    for (block, files) in by_block(plan) {
        let Some(stats) = block.columns.get(&id) else {
            nulls = None;
            continue;
        };
        bytes += stats.bytes as f64 * files.len() as f64 / block.len() as f64;
        for file in files {
            nulls = nulls.zip(nulls_of(stats, file.row)).map(|(sum, n)| sum.saturating_add(n));
        }
    }
    let nulls = nulls.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let range = column.primitive().and_then(|primitive| range_of(plan, id, primitive)).unzip();
    ColumnStatistics {
        null_count: known(nulls, has_deletes),
        min_value: known(range.0, has_deletes),
        max_value: known(range.1, has_deletes),
        byte_size: match bytes > 0.0 {
            true => Precision::Inexact(bytes as usize),
            false => Precision::Absent,
        },
        ..ColumnStatistics::new_unknown()
    }
}

/// Returns the files of the plan, together those of one manifest that follow each other.
fn by_block(plan: &ScanPlan) -> impl Iterator<Item = (&ManifestBlock, &[PlannedFile])> {
    let runs = plan.files.chunk_by(|a, b| Arc::ptr_eq(&a.block, &b.block));
    runs.filter_map(|files| Some((files.first()?.block.as_ref(), files)))
}

fn known<T: Clone + std::fmt::Debug + PartialEq + Eq + PartialOrd>(
    value: Option<T>,
    has_deletes: bool,
) -> Precision<T> {
    match value {
        Some(value) if !has_deletes => Precision::Exact(value),
        Some(value) => Precision::Inexact(value),
        None => Precision::Absent,
    }
}

fn nulls_of(stats: &ColumnStats, row: usize) -> Option<u64> {
    match &stats.nulls {
        Counts::Zero => Some(0),
        Counts::Values(values) if values.is_valid(row) => Some(values.value(row)),
        Counts::Values(_) | Counts::Unknown => None,
    }
}

/// Returns the least and the greatest value of a column of whole numbers or dates; `None` when a file does not tell.
fn range_of(plan: &ScanPlan, id: i32, primitive: Primitive) -> Option<(ScalarValue, ScalarValue)> {
    if !matches!(primitive, Primitive::Int | Primitive::Long | Primitive::Date) {
        return None;
    }
    let mut range: Option<(i64, i64)> = None;
    for (block, files) in by_block(plan) {
        let stats = block.columns.get(&id)?;
        // A file without a value has no bounds.
        let has_values =
            |file: &&PlannedFile| nulls_of(stats, file.row) != Some(block.n_rows[file.row]);
        for file in files.iter().filter(has_values) {
            let lower = whole_number(stats.lower.as_ref()?, file.row)?;
            let upper = whole_number(stats.upper.as_ref()?, file.row)?;
            let (least, greatest) = range.unwrap_or((lower, upper));
            range = Some((least.min(lower), greatest.max(upper)));
        }
    }
    let (least, greatest) = range?;
    let scalar = |value: i64| match primitive {
        Primitive::Int => Some(ScalarValue::Int32(Some(i32::try_from(value).ok()?))),
        Primitive::Date => Some(ScalarValue::Date32(Some(i32::try_from(value).ok()?))),
        _ => Some(ScalarValue::Int64(Some(value))),
    };
    scalar(least).zip(scalar(greatest))
}

/// Returns a whole number or a date, which may be of a narrower type than its column has by now.
fn whole_number(values: &ArrayRef, row: usize) -> Option<i64> {
    if values.is_null(row) {
        return None;
    }
    match values.data_type() {
        DataType::Int32 => Some(values.as_primitive::<Int32Type>().value(row).into()),
        DataType::Date32 => Some(values.as_primitive::<Date32Type>().value(row).into()),
        DataType::Int64 => Some(values.as_primitive::<Int64Type>().value(row)),
        _ => None,
    }
}
