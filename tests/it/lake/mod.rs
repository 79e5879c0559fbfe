//! Test lakes, written by code: small, the same on every run, no binary files in the repository.
//!
//! [`tables`] holds the rows of the standard tables as text, so that another engine can be given the same ones;
//! [`write`] turns rows into Parquet, CSV and JSON files.

pub mod tables;
mod tpch;
mod write;

pub use write::{nested_batch, text_rows_to_batch};

use crate::harness::scratch_dir;
use arrow::array::RecordBatch;
use std::path::{Path, PathBuf};
use tables::{Layout, Table};
use tempfile::TempDir;

/// A folder that a server serves; it is removed on drop.
pub struct Lake {
    dir: TempDir,
}

impl Lake {
    /// Makes an empty lake.
    pub fn empty() -> Self {
        let dir = tempfile::Builder::new().prefix("lake").tempdir_in(scratch_dir()).unwrap();
        Self { dir }
    }

    /// Makes a lake with the standard tables of [`tables::standard`], and `nested`.
    pub fn standard() -> Self {
        let lake = Self::empty();
        for table in tables::standard() {
            lake.write_table(&table);
        }
        lake.write_parquet("nested.parquet", &[nested_batch()]);
        lake
    }

    /// Returns the lake's folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes one table in its layout.
    pub fn write_table(&self, table: &Table) {
        let batch = text_rows_to_batch(table, &table.rows);
        match table.layout {
            Layout::Parquet { n_files: 1 } => {
                self.write_parquet(&format!("{}.parquet", table.name), &[batch]);
            }
            Layout::Parquet { n_files } => {
                let n_rows = batch.num_rows().div_ceil(n_files);
                for idx in 0..n_files {
                    let offset = idx * n_rows;
                    let part = batch.slice(offset, n_rows.min(batch.num_rows() - offset));
                    self.write_parquet(&format!("{}/part-{idx}.parquet", table.name), &[part]);
                }
            }
            Layout::Hive => write::hive(self, table),
            Layout::Csv => write::csv(&self.file(&format!("{}.csv", table.name)), &batch),
            Layout::Json => write::json(&self.file(&format!("{}.json", table.name)), &batch),
        }
    }

    /// Writes a Parquet file at a path inside the lake, with row groups of 1,000 rows.
    pub fn write_parquet(&self, path: &str, batches: &[RecordBatch]) {
        write::parquet(&self.file(path), batches);
    }

    /// Writes a file at a path inside the lake.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.file(path), content).unwrap();
    }

    /// Returns a path inside the lake, whose folder is made.
    pub fn file(&self, path: &str) -> PathBuf {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }
}
