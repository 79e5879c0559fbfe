//! Iceberg tables: read by their metadata, planned on the coordinator, deletes applied where files are read.
//!
//! ```text
//! place ──> facade ──> metadata                 documents of the format, as our own types
//! avro ──> manifest_list, manifest ──> block    files of the format, as columns
//!              │
//! table ──> plan ─┬─> prune ──> ranges          files that can hold a wanted row
//!   │             └─> deletes                   delete files of each data file
//!   └────> source ─┬─> adapter, nested, resolve columns by field id
//!             │    └─> apply, equality, vector  deleted rows as positions
//!             └──> codec                        all of it on the way to workers
//! ```
//!
//! Delta tables ([`crate::delta`]) use what reads files: from source and codec downwards, without facade and plan.
//! Only [`facade`] and [`values`] name the `iceberg` crate, whose Arrow is of another version.

mod adapter;
mod apply;
mod avro;
mod block;
mod codec;
mod deletes;
mod equality;
mod facade;
mod inspect;
mod manifest;
mod manifest_list;
mod metadata;
mod nested;
mod place;
mod plan;
mod prune;
mod ranges;
mod reserved;
mod resolve;
mod scan;
mod schema;
mod source;
mod statistics;
mod table;
mod values;
mod vector;
mod wire;

pub(crate) use apply::DeleteCaches;
pub(crate) use block::{DeleteKind, ManifestBlock};
pub use codec::ScanCodec;
pub(crate) use inspect::Inspection;
pub(crate) use metadata::{ManifestList, TableMetadata};
pub(crate) use place::{Locator, METADATA_FOLDER, is_metadata_file};
pub(crate) use plan::blocking;
pub(crate) use reserved::{FILE, NAMES, Reserved};
pub(crate) use scan::{ColumnRule, FileInfo, ScanDelete, ScanSpec};
pub(crate) use schema::{Column, Kind, MappedName, NameMapping, Primitive, TableSchema};
pub(crate) use source::TableSource;
pub(crate) use table::{At, IcebergTable, Place};
