//! Tables, locations and metadata caches of a lake. No SQL text is parsed here, no protocol is spoken.
//!
//! [`Lake`] is the way in: it names relations, resolves them to DataFusion table providers, and keeps what statements
//! define. [`store::Stores`] stands alone, because workers need it without a lake.
//!
//! ```text
//! registry ─> lake ─┬─> definitions   what statements defined, in LAKE/_saltlake
//!                   ├─> discovery     what folders and files are there now
//!                   ├─> view          asks the SQL planner, through a trait
//!                   ├─> services      catalogs beside the lake that name Iceberg tables
//!                   ├─> iceberg       tables with metadata: snapshots, manifests, deletes
//!                   ├─> delta         tables with a log: commits, checkpoints, deletion vectors
//!                   └─> table ─┬─> listing   files of one table, now
//!                              ├─> schema    columns of files, merged
//!                              ├─> readers   of Parquet files: footers kept, requests counted
//!                              ├─> pruning   files that cannot hold a wanted row
//!                              ├─> scan_log  what a scan left out, for EXPLAIN
//!                              ├─> analysis  what ANALYZE found out about tables
//!                              └─> cache     columns and statistics of unchanged files
//! ```
//!
//! [`comments`] say what all of these are for, [`metadata_columns`] are what a row of a table says of where it is stored. [`pin`] makes one statement see one version of a table.

pub mod error;
pub mod store;

mod analysis;
mod cache;
mod comments;
mod database;
mod definitions;
mod delta;
mod discovery;
mod floats;
mod format;
mod iceberg;
mod json_array;
mod lake;
mod listing;
mod location;
mod metadata_columns;
mod pin;
mod provider;
mod pruning;
mod readers;
mod registry;
mod scan_log;
mod schema;
mod services;
mod similar;
mod table;
mod view;

#[cfg(test)]
mod tests;

pub use analysis::{Analysis, AnalyzedTable, ColumnAnalysis};
pub use cache::CacheUsage;
pub use comments::{CommentTarget, Comments, Description, description_of};
pub use database::Database;
pub use definitions::{Column, ExternalTable, View};
pub use error::{Error, Result};
pub use format::FileKind;
pub use iceberg::ScanCodec;
pub use lake::{Catalog, Lake, LakeOptions, Names, Relation, RelationKind};
pub use metadata_columns::{METADATA_COLUMNS, with_metadata_columns};
pub use pin::one_snapshot;
pub use readers::{FOOTERS_CACHED, FOOTERS_READ, REQUESTS, with_counted_reads};
pub use scan_log::{ScanLog, TableScan};
pub use services::definition::{CatalogDefinition, CatalogKind, is_secret_option};
pub use services::vended::{CredentialSource, Credentials};
pub use table::LakeTable;
pub use view::ViewPlanner;
