//! What a scan of a table with metadata says beyond what DataFusion's Parquet scan says.
//!
//! Made by [`super::table`], and by [`crate::delta`] for its tables, when a scan is planned, carried to the workers by
//! [`super::codec`], read by [`super::source`]. [`ScanSpec`] is about the scan, [`FileInfo`] is an extension of each of its
//! files.

use super::block::DeleteKind;
use super::reserved::Reserved;
use super::schema::{NameMapping, TableSchema};
use crate::services::vended::VendedStore;
use datafusion::scalar::ScalarValue;
use object_store::path::Path;
use std::collections::HashMap;
use std::sync::Arc;

/// Whose rules say which field of a file is which column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnRule {
    /// Fields by id, else by the name mapping, else by position; constants where a file has no field.
    Iceberg,
    /// Fields by id, by name in files without ids; constants are what they are whatever a file holds.
    DeltaIds,
    /// Fields by name, whatever ids they have; constants as before.
    DeltaNames,
}

impl ColumnRule {
    /// Returns the format's name, as plans show it.
    pub(crate) fn format(self) -> &'static str {
        match self {
            Self::Iceberg => "iceberg",
            Self::DeltaIds | Self::DeltaNames => "delta",
        }
    }
}

/// A delete file of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScanDelete {
    pub(crate) path: Path,
    pub(crate) size: u64,
    pub(crate) kind: DeleteKind,
    pub(crate) n_rows: u64,
}

/// What all files of a scan share.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScanSpec {
    pub(crate) rule: ColumnRule,
    /// The columns of the table as the statement sees it, metadata columns included.
    pub(crate) schema: Arc<TableSchema>,
    /// Metadata columns that the statement names.
    pub(crate) reserved: Option<Arc<Reserved>>,
    /// Schemas with columns that equality deletes still name.
    pub(crate) older_schemas: Vec<Arc<TableSchema>>,
    /// The name mapping as an Iceberg table's metadata write it.
    pub(crate) mapping_json: Option<String>,
    pub(crate) mapping: Option<Arc<NameMapping>>,
    pub(crate) deletes: Vec<ScanDelete>,
    /// Tells object stores apart in caches.
    pub(crate) store_key: String,
    /// The store, when it is read with credentials that a catalog service gave: they must travel along.
    pub(crate) vended: Option<Arc<VendedStore>>,
}

/// What a scan knows of one data file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FileInfo {
    /// The file's location as metadata and position deletes name it.
    pub(crate) location: String,
    /// Rows of the file, deleted ones included.
    pub(crate) n_rows: u64,
    /// Indexes into [`ScanSpec::deletes`].
    pub(crate) deletes: Vec<u32>,
    /// Values of partition columns by field id: what the column has when the file does not hold it.
    pub(crate) constants: Arc<HashMap<i32, ScalarValue>>,
}
