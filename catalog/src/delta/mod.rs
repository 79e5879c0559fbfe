//! Delta Lake tables: the log read by the `delta_kernel` crate, data files by the scan that Iceberg tables have too.
//!
//! ```text
//! table ──> version ─┬─> log              newest version: names in `_delta_log`
//!   │                ├─> columns          schema, column mapping, partition columns
//!   │                └─> files            live files as columns; new commits added to what is known
//!   │                      └─> engine ─┬─> documents   how the kernel reads commits and checkpoints
//!   │                                  └─> failure     its errors in our words
//!   ├────> plan ─> prune, place           files that can hold a wanted row, and where they are
//!   └────> iceberg::{source, codec, …}    columns by id or name, deletion vectors, the way to workers
//! ```
//!
//! The kernel's calls wait for what they read, so they run on threads that may wait, never on those that serve.

mod columns;
mod documents;
mod engine;
mod failure;
mod files;
mod history;
mod log;
mod place;
mod plan;
mod prune;
mod table;
mod version;

pub(crate) use columns::Columns;
pub(crate) use files::FileList;
pub(crate) use table::DeltaTable;
pub(crate) use version::{Known, Place, Version};

/// The folder of a table's log.
pub(crate) const LOG_FOLDER: &str = "_delta_log";
