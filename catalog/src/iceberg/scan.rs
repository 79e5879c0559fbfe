//! What a scan of an Iceberg table says beyond what DataFusion's Parquet scan says.
//!
//! Made by [`super::table`] when a scan is planned, carried to the workers by [`super::codec`], read by
//! [`super::source`]. [`ScanSpec`] is about the scan, [`FileInfo`] is an extension of each of its files.

use super::block::DeleteKind;
use super::schema::{NameMapping, TableSchema};
use datafusion::scalar::ScalarValue;
use object_store::path::Path;
use std::collections::HashMap;
use std::sync::Arc;

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
    /// The columns of the table as the statement sees it.
    pub(crate) schema: Arc<TableSchema>,
    /// Schemas with columns that equality deletes still name.
    pub(crate) older_schemas: Vec<Arc<TableSchema>>,
    /// The name mapping as the table's metadata write it.
    pub(crate) mapping_json: Option<String>,
    pub(crate) mapping: Option<Arc<NameMapping>>,
    pub(crate) deletes: Vec<ScanDelete>,
    /// Tells object stores apart in caches.
    pub(crate) store_key: String,
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
    /// Values of identity partitions by field id: what the column has when the file does not hold it.
    pub(crate) constants: Arc<HashMap<i32, ScalarValue>>,
}
