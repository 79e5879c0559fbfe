//! What a planned scan is known to read: rows, bytes, nulls.
//!
//! Called by [`super::table`]. A count is exact when no delete applies, or only deletion vectors, whose size the metadata
//! tell: then `count(*)` needs no file. Bounds of columns are not handed on: metadata promise that no value lies outside,
//! not that there is a row at either end.

use super::block::Counts;
use super::plan::ScanPlan;
use super::schema::TableSchema;
use arrow::array::Array;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};

/// Returns the statistics of a scan, for the table's columns.
pub(super) fn statistics_of(plan: &ScanPlan, schema: &TableSchema) -> Statistics {
    let (n_rows, is_exact) = plan.n_rows();
    let n_rows = usize::try_from(n_rows).unwrap_or(usize::MAX);
    let n_bytes: u64 = plan.files.iter().map(|file| file.block.sizes[file.row]).sum();
    let columns = schema.columns.iter().map(|column| column_of(plan, column.id));
    Statistics {
        num_rows: if is_exact { Precision::Exact(n_rows) } else { Precision::Inexact(n_rows) },
        total_byte_size: Precision::Inexact(usize::try_from(n_bytes).unwrap_or(usize::MAX)),
        column_statistics: columns.collect(),
    }
}

fn column_of(plan: &ScanPlan, id: i32) -> ColumnStatistics {
    let mut bytes = 0_f64;
    let mut nulls = Some(0_u64);
    let has_deletes = plan.files.iter().any(|file| !file.deletes.is_empty());
    for file in &plan.files {
        let Some(stats) = file.block.columns.get(&id) else {
            nulls = None;
            continue;
        };
        bytes += stats.bytes as f64 / file.block.len() as f64;
        let in_file = match &stats.nulls {
            Counts::Zero => Some(0),
            Counts::Values(values) if values.is_valid(file.row) => Some(values.value(file.row)),
            Counts::Values(_) | Counts::Unknown => None,
        };
        nulls = nulls.zip(in_file).map(|(sum, n)| sum + n);
    }
    let nulls = nulls.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    ColumnStatistics {
        null_count: match nulls {
            Some(n) if !has_deletes => Precision::Exact(n),
            Some(n) => Precision::Inexact(n),
            None => Precision::Absent,
        },
        byte_size: match bytes > 0.0 {
            true => Precision::Inexact(bytes as usize),
            false => Precision::Absent,
        },
        ..ColumnStatistics::new_unknown()
    }
}
