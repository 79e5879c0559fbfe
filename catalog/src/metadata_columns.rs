//! Columns that tables have beside their own, and that no list of columns shows: where a row is stored, and its past.
//!
//! DataFusion knows no hidden columns: what a provider's schema holds is what `*` stands for. So a table gets these
//! columns only for a statement that names one, and the server, which reads the statement, leaves them out of its `*`.
//! What they are and where their values come from is told by [`crate::iceberg::Reserved`]; plain files have `_file` alone.

use crate::delta::DeltaTable;
use crate::iceberg::{IcebergTable, NAMES};
use crate::services::table::ServiceTable;
use crate::table::{FILE_COLUMN, LakeTable};
use datafusion::catalog::TableProvider;
use std::sync::Arc;

/// Names of all metadata columns; a table may have some of them.
pub const METADATA_COLUMNS: [&str; 6] = NAMES;

/// Returns a table with those of the wanted metadata columns that it has, behind its own columns; `None` when it has none
/// of them. A column of the table's own hides one of the same name.
pub fn with_metadata_columns(
    table: &Arc<dyn TableProvider>,
    wanted: &[&str],
) -> Option<Arc<dyn TableProvider>> {
    if let Some(table) = table.downcast_ref::<IcebergTable>() {
        return Some(Arc::new(table.with_reserved(wanted)?));
    }
    if let Some(table) = table.downcast_ref::<ServiceTable>() {
        return Some(Arc::new(table.with_reserved(wanted)?));
    }
    if let Some(table) = table.downcast_ref::<DeltaTable>() {
        return Some(Arc::new(table.with_reserved(wanted)?));
    }
    let table = table.downcast_ref::<LakeTable>().filter(|_| wanted.contains(&FILE_COLUMN))?;
    Some(Arc::new(table.with_file_column()?))
}
