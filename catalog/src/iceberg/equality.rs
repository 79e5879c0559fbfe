//! Equality deletes: rows whose values in some columns are in a set.
//!
//! Called by [`super::apply`]. The set holds the values in Arrow's row format, where NULL equals NULL, as the format of
//! the table wants it. Delete files with the same columns become one set, so that a row is looked up once however many
//! delete files there are.

use super::resolve::{FileFields, id_of};
use super::scan::{FileInfo, ScanSpec};
use super::schema::Column;
use crate::error::{Error, Result};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::row::{RowConverter, SortField};
use chrono::DateTime;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::DefaultParquetFileReaderFactory;
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::async_reader::{
    AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder,
};
use datafusion::parquet::errors::ParquetError;
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use roaring::RoaringTreemap;
use std::collections::HashSet;
use std::sync::Arc;

/// What an entry of the set costs besides its bytes.
const ENTRY_BYTES: usize = 40;

type Batches = ParquetRecordBatchStream<Box<dyn AsyncFileReader>>;
type Builder = ParquetRecordBatchStreamBuilder<Box<dyn AsyncFileReader>>;

/// Reads Parquet files of one table.
pub(super) struct Reader<'a> {
    pub(super) store: &'a Arc<dyn ObjectStore>,
    pub(super) scan: &'a ScanSpec,
}

impl Reader<'_> {
    async fn open(&self, path: &Path, size: u64) -> Result<Builder> {
        let meta = ObjectMeta {
            location: path.clone(),
            last_modified: DateTime::UNIX_EPOCH,
            size,
            e_tag: None,
            version: None,
        };
        let readers = DefaultParquetFileReaderFactory::new(Arc::clone(self.store));
        let (file, metrics) = (PartitionedFile::new_from_meta(meta), Default::default());
        let reader: Box<dyn AsyncFileReader> = readers.create_reader(0, file, None, &metrics)?;
        match Builder::new(reader).await {
            Ok(builder) => Ok(builder),
            // The reader's error does not say whether the file is there.
            Err(error) => match self.store.head(path).await {
                Err(missing @ object_store::Error::NotFound { .. }) => Err(missing.into()),
                _ => Err(self.broken(path, error)),
            },
        }
    }

    /// Opens a delete file and returns where the columns with these ids are in its batches.
    pub(super) async fn open_by_ids(
        &self,
        path: &Path,
        size: u64,
        ids: &[i32],
    ) -> Result<(Batches, Vec<Option<usize>>)> {
        let builder = self.open(path, size).await?;
        let fields = builder.schema().fields().clone();
        let find = |id: &i32| fields.iter().position(|field| id_of(field) == Some(*id));
        let found = ids.iter().map(find).collect();
        self.read(path, builder, found)
    }

    /// Reads some top-level columns; returns where each is in the batches.
    fn read(
        &self,
        path: &Path,
        builder: Builder,
        columns: Vec<Option<usize>>,
    ) -> Result<(Batches, Vec<Option<usize>>)> {
        let mut read: Vec<usize> = columns.iter().flatten().copied().collect();
        read.sort_unstable();
        read.dedup();
        let mask = ProjectionMask::roots(builder.parquet_schema(), read.iter().copied());
        let in_batch = |idx: usize| read.iter().position(|read| *read == idx);
        let columns = columns.into_iter().map(|idx| idx.and_then(in_batch)).collect();
        let batches = builder.with_projection(mask).build();
        Ok((batches.map_err(|error| self.broken(path, error))?, columns))
    }

    /// Names the file that could not be read.
    pub(super) fn broken(&self, path: &Path, error: ParquetError) -> Error {
        Error::from_reading(path, error.into())
    }

    fn column(&self, id: i32) -> Result<&Column> {
        let mut schemas = std::iter::once(&self.scan.schema).chain(&self.scan.older_schemas);
        schemas.find_map(|schema| schema.column(id)).filter(|c| c.primitive().is_some()).ok_or_else(
            || Error::NotSupported { feature: format!("an equality delete by nested field {id}") },
        )
    }
}

/// A set of values that delete.
pub(super) struct EqualityDeletes {
    columns: Vec<Column>,
    rows: HashSet<Box<[u8]>>,
    row_bytes: usize,
}

impl EqualityDeletes {
    /// Returns the bytes that the set holds.
    pub(super) fn weight_bytes(&self) -> usize {
        self.row_bytes + self.rows.len() * ENTRY_BYTES
    }

    /// Reads delete files by the columns `ids` into one set.
    pub(super) async fn read(
        reader: &Reader<'_>,
        ids: &[i32],
        files: &[usize],
    ) -> Result<Arc<Self>> {
        let columns = ids.iter().map(|id| reader.column(*id).cloned()).collect::<Result<_>>()?;
        let mut deletes = Self { columns, rows: HashSet::new(), row_bytes: 0 };
        let converter = deletes.converter()?;
        for idx in files {
            let file = &reader.scan.deletes[*idx];
            let (mut batches, found) = reader.open_by_ids(&file.path, file.size, ids).await?;
            if let Some(missing) = found.iter().position(Option::is_none) {
                return Err(Error::CorruptFile {
                    path: file.path.to_string(),
                    message: format!("an equality delete file without field {}", ids[missing]),
                });
            }
            let next = |error| reader.broken(&file.path, error);
            while let Some(batch) = batches.try_next().await.map_err(next)? {
                let values = deletes.values(&batch, &found, |_| ScalarValue::Null)?;
                for row in &converter.convert_columns(&values)? {
                    let row: Box<[u8]> = row.as_ref().into();
                    let n_bytes = row.len();
                    if deletes.rows.insert(row) {
                        deletes.row_bytes += n_bytes;
                    }
                }
            }
        }
        Ok(Arc::new(deletes))
    }

    /// Returns the positions of a data file's rows that are in the set.
    pub(super) async fn matching_rows(
        &self,
        reader: &Reader<'_>,
        file: &FileInfo,
        path: &Path,
        size: u64,
    ) -> Result<RoaringTreemap> {
        let builder = reader.open(path, size).await?;
        let schema = Arc::clone(builder.schema());
        let fields = FileFields::new(schema, reader.scan.mapping.clone(), &reader.scan.schema);
        let found = self.columns.iter().map(|column| Ok(fields.top_level(column)?));
        let found = found.collect::<Result<Vec<_>>>()?;
        let (mut batches, found) = reader.read(path, builder, found)?;
        let missing = |column: &Column| {
            let known = file.constants.get(&column.id).or(column.initial_default.as_ref());
            known.cloned().unwrap_or(ScalarValue::Null)
        };
        let converter = self.converter()?;
        let mut matching = RoaringTreemap::new();
        let mut position = 0_u64;
        while let Some(batch) = batches.try_next().await.map_err(|e| reader.broken(path, e))? {
            let values = self.values(&batch, &found, missing)?;
            for row in &converter.convert_columns(&values)? {
                if self.rows.contains(row.as_ref()) {
                    matching.insert(position);
                }
                position += 1;
            }
        }
        Ok(matching)
    }

    fn converter(&self) -> Result<RowConverter> {
        let fields = self.columns.iter().map(|column| SortField::new(column.data_type()));
        Ok(RowConverter::new(fields.collect())?)
    }

    /// Returns the columns of a batch in the types of the table.
    fn values(
        &self,
        batch: &RecordBatch,
        found: &[Option<usize>],
        missing: impl Fn(&Column) -> ScalarValue,
    ) -> Result<Vec<ArrayRef>> {
        let value = |(column, found): (&Column, &Option<usize>)| {
            let data_type = column.data_type();
            Ok(match found {
                Some(idx) => cast(batch.column(*idx), &data_type)?,
                None => missing(column).cast_to(&data_type)?.to_array_of_size(batch.num_rows())?,
            })
        };
        self.columns.iter().zip(found).map(value).collect()
    }
}
