//! From a version's file list to the data files that a scan must read, their deletion vectors, and what is known of them.

use super::columns::Columns;
use super::engine::run;
use super::failure::raise;
use super::files::{FileList, Statistic};
use super::place::Resolver;
use super::prune::{self, Located};
use super::version::{Place, Version};
use crate::error::{Error, Result};
use crate::iceberg::{DeleteKind, FILE, FileInfo, ScanDelete};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use chrono::DateTime;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;
use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use delta_kernel::{Engine, KernelResult};
use object_store::ObjectMeta;
use object_store::path::Path;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes around the bitmap of a deletion vector in a file: its length before, its checksum behind.
const VECTOR_FRAME: u64 = 8;
/// Where the first deletion vector of a file begins: behind the version of the file's form.
const FIRST_VECTOR: u64 = 1;

/// A data file to read.
pub(super) struct PlannedFile {
    row: usize,
    /// Rows of the file, deleted ones included; `None` when the log does not tell.
    n_rows: Option<u64>,
    vector: Option<DeletionVectorDescriptor>,
    /// Index into [`Plan::deletes`].
    delete: Option<u32>,
}

impl PlannedFile {
    /// Returns the rows that are left.
    fn n_live(&self) -> Option<u64> {
        let deleted = self.vector.as_ref().map_or(0, |vector| vector.cardinality);
        self.n_rows?.checked_sub(u64::try_from(deleted).ok()?)
    }
}

/// What a scan reads.
pub(super) struct Plan {
    pub(super) files: Vec<PlannedFile>,
    pub(super) deletes: Vec<ScanDelete>,
    /// Files of the version.
    pub(super) n_files: usize,
}

/// Plans a scan of a version.
///
/// # Errors
/// When a deletion vector is described in a way that cannot be, or its file does not say how many rows it has.
pub(super) fn plan(
    version: &Version,
    files: &FileList,
    filters: &[Expr],
    schema: &SchemaRef,
    props: &ExecutionProps,
    located: Option<&Located<'_>>,
) -> Result<Plan> {
    let n_rows = files.n_rows();
    let planned = |row: usize| {
        let vector = files.vector(row)?;
        let n_rows = n_rows.is_valid(row).then(|| u64::try_from(n_rows.value(row)).ok()).flatten();
        if vector.is_some() && n_rows.is_none() {
            return Err(Error::CorruptFile {
                path: files.path(row).to_owned(),
                message: "the log gives it a deletion vector but no number of rows".to_owned(),
            });
        }
        Ok(PlannedFile { row, n_rows, vector, delete: None })
    };
    let kept = prune::files(version, files, filters, schema, props, located)?;
    let kept = kept.into_iter().map(planned).collect::<Result<_>>()?;
    Ok(Plan { files: kept, deletes: vec![], n_files: files.len() })
}

impl Plan {
    /// Keeps the first files that surely hold `limit` rows; returns whether others were left out.
    pub(super) fn cut_to(&mut self, limit: usize) -> bool {
        let mut n_rows = 0_u64;
        for (idx, file) in self.files.iter().enumerate() {
            let Some(live) = file.n_live() else { return false };
            n_rows = n_rows.saturating_add(live);
            if n_rows >= limit as u64 {
                let is_cut = idx + 1 < self.files.len();
                self.files.truncate(idx + 1);
                return is_cut;
            }
        }
        false
    }

    /// Finds out where the deletion vectors of the files are; those that the log holds itself are read.
    ///
    /// # Errors
    /// When one lies where statements may not read, or is not valid.
    pub(super) async fn read_vectors(&mut self, place: &Place, resolver: &Resolver) -> Result<()> {
        let mut inline = vec![];
        for file in &mut self.files {
            let Some(vector) = &file.vector else { continue };
            let number = self.deletes.len();
            let kind = match resolver.vector(&vector.path_or_inline_dv, vector)? {
                Some(path) => persisted(path, vector),
                None => {
                    inline.push((number, vector.clone()));
                    (Path::default(), DeleteKind::Inline(Arc::default()))
                }
            };
            let (path, kind) = kind;
            let n_rows = u64::try_from(vector.cardinality).unwrap_or(0);
            self.deletes.push(ScanDelete { path, size: 0, kind, n_rows });
            file.delete = u32::try_from(number).ok();
        }
        if inline.is_empty() {
            return Ok(());
        }
        for (number, bitmap) in read_inline(place, inline).await? {
            self.deletes[number].kind = DeleteKind::Inline(bitmap);
        }
        Ok(())
    }

    /// Returns the files for DataFusion's scan, with what it does not know of them. Partition values go by the names that
    /// columns have in the version, ids by those of the statement. `located` is there when the statement asks for the
    /// files' locations.
    ///
    /// # Errors
    /// When a file lies where statements may not read.
    pub(super) fn partitioned_files(
        &self,
        version: &Version,
        files: &FileList,
        columns: &Columns,
        resolver: &Resolver,
        located: Option<&Located<'_>>,
    ) -> Result<Vec<PartitionedFile>> {
        let partitions: Vec<(i32, &ArrayRef)> = version
            .columns
            .partitions()
            .into_iter()
            .enumerate()
            .filter_map(|(idx, partition)| {
                let column = columns.all.iter().find(|column| column.name == partition.name)?;
                Some((column.id, files.partition(idx)))
            })
            .collect();
        let file = |planned: &PlannedFile| {
            let (row, location) = (planned.row, files.path(planned.row));
            let meta = ObjectMeta {
                location: resolver.resolve(location)?,
                // Files never change: one time for all keeps their footers valid in caches.
                last_modified: DateTime::UNIX_EPOCH,
                size: files.size(row),
                e_tag: None,
                version: None,
            };
            let constant = |(id, values): &(i32, &ArrayRef)| {
                Ok((*id, ScalarValue::try_from_array(values, row)?))
            };
            let mut constants: HashMap<_, _> =
                partitions.iter().map(constant).collect::<Result<_>>()?;
            if let Some(located) = located {
                let location = located.location(&meta.location);
                constants.insert(FILE, ScalarValue::Utf8(Some(location)));
            }
            let mut file = PartitionedFile::new_from_meta(meta);
            file.extensions.insert(FileInfo {
                location: location.to_owned(),
                n_rows: planned.n_rows.unwrap_or(0),
                deletes: planned.delete.into_iter().collect(),
                constants: Arc::new(constants),
            });
            Ok(file)
        };
        self.files.iter().map(file).collect()
    }

    /// Returns the statistics of the scan, for the statement's columns. The number of rows is exact where the log tells it
    /// for all files; counts of NULL are what writers say.
    pub(super) fn statistics(
        &self,
        version: &Version,
        files: &FileList,
        columns: &Columns,
    ) -> Statistics {
        let exact: Option<u64> = self.files.iter().map(PlannedFile::n_live).sum();
        let known: u64 = self.files.iter().filter_map(PlannedFile::n_live).sum();
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let is_nothing_known = self.files.iter().all(|file| file.n_rows.is_none());
        let n_bytes: u64 = self.files.iter().map(|file| files.size(file.row)).sum();
        let column = |name: &str| {
            let nulls = self.n_nulls(version, files, name).map(size);
            let null_count = nulls.map_or(Precision::Absent, Precision::Inexact);
            ColumnStatistics { null_count, ..ColumnStatistics::new_unknown() }
        };
        Statistics {
            num_rows: match exact {
                Some(n_rows) => Precision::Exact(size(n_rows)),
                None if is_nothing_known => Precision::Absent,
                None => Precision::Inexact(size(known)),
            },
            total_byte_size: Precision::Inexact(size(n_bytes)),
            column_statistics: columns.all.iter().map(|c| column(&c.name)).collect(),
        }
    }

    fn n_nulls(&self, version: &Version, files: &FileList, name: &str) -> Option<u64> {
        let column = version.columns.all.iter().find(|column| column.name == name)?;
        if let Some(idx) = column.partition {
            let values = files.partition(idx);
            let nulls = self.files.iter().filter(|file| values.is_null(file.row));
            return nulls.map(PlannedFile::n_live).sum();
        }
        let counts = cast(&files.statistic(Statistic::Nulls, column)?, &DataType::Int64).ok()?;
        let counts = counts.as_primitive::<Int64Type>();
        let count = |file: &PlannedFile| {
            counts.is_valid(file.row).then(|| u64::try_from(counts.value(file.row)).ok()).flatten()
        };
        self.files.iter().map(count).sum()
    }
}

fn persisted(path: Path, vector: &DeletionVectorDescriptor) -> (Path, DeleteKind) {
    let offset = vector.offset.and_then(|offset| u64::try_from(offset).ok());
    let length = u64::try_from(vector.size_in_bytes).unwrap_or(0).saturating_add(VECTOR_FRAME);
    (path, DeleteKind::Vector { offset: offset.unwrap_or(FIRST_VECTOR), length })
}

/// Returns the bitmaps of deletion vectors that the log holds itself.
async fn read_inline(
    place: &Place,
    vectors: Vec<(usize, DeletionVectorDescriptor)>,
) -> Result<Vec<(usize, Arc<[u8]>)>> {
    let (log, table) = (place.log()?.to_string(), place.url.clone());
    run(&place.store, &log, move |engine, _| {
        let read = |(number, vector): (usize, DeletionVectorDescriptor)| {
            let rows = vector.read(engine.storage_handler(), &table)?;
            let mut bitmap = Vec::with_capacity(rows.serialized_size());
            rows.serialize_into(&mut bitmap).map_err(|error| {
                raise(Error::CorruptFile {
                    path: vector.path_or_inline_dv.clone(),
                    message: error.to_string(),
                })
            })?;
            Ok((number, Arc::from(bitmap)))
        };
        vectors.into_iter().map(read).collect::<KernelResult<_>>()
    })
    .await
}
