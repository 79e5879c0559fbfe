//! How the kernel reads commits (JSON) and checkpoints (Parquet): as Arrow, file by file, with the file's name in errors.
//!
//! Matching of columns and types is the kernel's own; this is the reading around it. Commits are fetched some at a time,
//! checkpoints row group by row group, so that a long log need not fit into memory at once.

use super::engine::{READ_CONCURRENCY, TableStorage, path_of};
use super::failure::{from_store, raise};
use crate::error::Error;
use arrow::json::ReaderBuilder;
use arrow::json::reader::Reader;
use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::DefaultParquetFileReaderFactory;
use datafusion::parquet::arrow::ParquetRecordBatchStreamBuilder;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderMetadata;
use datafusion::parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream};
use datafusion::parquet::errors::ParquetError;
use delta_kernel::engine::arrow_conversion::TryFromArrow;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::engine::arrow_utils::{
    self, RowIndexBuilder, build_json_reorder_indices, fixup_json_read, fixup_parquet_read,
    json_arrow_schema, ordering_needs_row_indexes, parquet_read_plan,
};
use delta_kernel::engine::parquet_row_group_skipping::ParquetRowGroupSkipping;
use delta_kernel::engine::reader_options;
use delta_kernel::schema::{SchemaRef, StructType};
use delta_kernel::{
    EngineData, FileDataReadResultIterator, FileMeta, FileSize, FilteredEngineData, JsonHandler,
    KernelError, KernelResult, KernelResultIterator, KernelResultIteratorStatic, ParquetFooter,
    ParquetHandler, PredicateRef,
};
use futures::StreamExt;
use object_store::ObjectStoreExt;
use std::io::Cursor;
use std::sync::Arc;
use url::Url;

type Batch = KernelResult<Box<dyn EngineData>>;

/// Reads commits.
pub(super) struct JsonDocuments(pub(super) Arc<TableStorage>);

/// Reads checkpoints.
pub(super) struct ParquetDocuments(pub(super) Arc<TableStorage>);

fn corrupt(file: &Url, error: impl std::fmt::Display) -> KernelError {
    let text = error.to_string();
    let message = text.lines().next().unwrap_or_default().to_owned();
    let path = path_of(file).map_or_else(|_| file.to_string(), String::from);
    raise(Error::CorruptFile { path, message })
}

fn read_only() -> KernelError {
    raise(Error::NotSupported { feature: "writing the log of a Delta table".to_owned() })
}

/// Returns an iterator over what `next` gives for each of the files; ends after an error.
fn until_error(
    mut next: impl FnMut() -> Option<Batch> + Send + 'static,
) -> FileDataReadResultIterator {
    let mut is_over = false;
    Box::new(std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let item = next();
        is_over = !matches!(item, Some(Ok(_)));
        item
    }))
}

impl JsonHandler for JsonDocuments {
    fn parse_json(
        &self,
        json_strings: Box<dyn EngineData>,
        output_schema: SchemaRef,
    ) -> KernelResult<Box<dyn EngineData>> {
        arrow_utils::parse_json(json_strings, output_schema)
    }

    fn read_json_files(
        &self,
        files: &[FileMeta],
        physical_schema: SchemaRef,
        _: Option<PredicateRef>,
    ) -> KernelResult<FileDataReadResultIterator> {
        let storage = Arc::clone(&self.0);
        let mut names: Vec<Url> = files.iter().rev().map(|file| file.location.clone()).collect();
        let mut fetched: Vec<(Url, Bytes)> = vec![];
        let mut current: Option<Commit> = None;
        Ok(until_error(move || {
            loop {
                if let Some(commit) = &mut current {
                    match commit.next() {
                        Some(batch) => return Some(batch),
                        None => current = None,
                    }
                }
                if fetched.is_empty() {
                    let rest = names.len().saturating_sub(READ_CONCURRENCY);
                    let mut group = names.split_off(rest);
                    group.reverse();
                    match storage.read(&group) {
                        Ok(bytes) => fetched = group.into_iter().zip(bytes).rev().collect(),
                        Err(error) => return Some(Err(error)),
                    }
                }
                let (name, bytes) = fetched.pop()?;
                match Commit::open(name, bytes, &physical_schema) {
                    Ok(commit) => current = Some(commit),
                    Err(error) => return Some(Err(error)),
                }
            }
        }))
    }

    fn write_json_file(
        &self,
        _: &Url,
        _: KernelResultIterator<'_, FilteredEngineData>,
        _: bool,
    ) -> KernelResult<FileSize> {
        Err(read_only())
    }
}

/// A commit that is being read.
struct Commit {
    name: Url,
    reader: Reader<Cursor<Bytes>>,
    order: Vec<arrow_utils::ReorderIndex>,
}

impl Commit {
    fn open(name: Url, bytes: Bytes, schema: &SchemaRef) -> KernelResult<Self> {
        let columns = Arc::new(json_arrow_schema(schema)?);
        let order = build_json_reorder_indices(schema)?;
        let reader = ReaderBuilder::new(columns)
            .with_coerce_primitive(true)
            .build(Cursor::new(bytes))
            .map_err(|error| corrupt(&name, error))?;
        Ok(Self { name, reader, order })
    }

    fn next(&mut self) -> Option<Batch> {
        let batch = match self.reader.next()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(corrupt(&self.name, error))),
        };
        let batch = fixup_json_read(batch, &self.order, self.name.as_str());
        Some(batch.map(|batch| Box::new(batch) as Box<dyn EngineData>))
    }
}

/// A checkpoint that is being read.
struct Checkpoint {
    name: Url,
    batches: ParquetRecordBatchStream<Box<dyn AsyncFileReader>>,
    fix: Box<dyn FnMut(arrow::array::RecordBatch) -> KernelResult<ArrowEngineData> + Send>,
}

impl ParquetDocuments {
    fn metadata(
        &self,
        file: &FileMeta,
    ) -> KernelResult<(Box<dyn AsyncFileReader>, ArrowReaderMetadata)> {
        let path = path_of(&file.location)?;
        // The size tells a file that is gone from one that is broken: the reader's error does not.
        let meta = self.0.wait(self.0.store.head(&path)).map_err(from_store)?;
        let readers = DefaultParquetFileReaderFactory::new(Arc::clone(&self.0.store));
        let (part, metrics) = (PartitionedFile::new_from_meta(meta), Default::default());
        let reader = readers.create_reader(0, part, None, &metrics);
        let mut reader: Box<dyn AsyncFileReader> = reader.map_err(|error| raise(error.into()))?;
        let load = ArrowReaderMetadata::load_async(&mut reader, reader_options());
        match self.0.wait(load) {
            Ok(metadata) => Ok((reader, metadata)),
            Err(error) => Err(broken(&file.location, error)),
        }
    }

    fn open(
        &self,
        file: &FileMeta,
        schema: &SchemaRef,
        predicate: Option<&PredicateRef>,
    ) -> KernelResult<Checkpoint> {
        let (reader, metadata) = self.metadata(file)?;
        let (order, mask) = parquet_read_plan(schema, &metadata)?;
        let mut rows = ordering_needs_row_indexes(&order)
            .then(|| RowIndexBuilder::new(metadata.metadata().row_groups()));
        let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata);
        if let Some(mask) = mask {
            builder = builder.with_projection(mask);
        }
        if let Some(predicate) = predicate {
            builder = builder.with_row_group_filter(predicate, rows.as_mut());
        }
        let mut rows = rows.map(RowIndexBuilder::build).transpose()?;
        let name = file.location.clone();
        let batches = builder.build().map_err(|error| broken(&name, error))?;
        let (schema, location) = (Arc::clone(schema), name.to_string());
        let fix = Box::new(move |batch| {
            fixup_parquet_read(batch, &order, rows.as_mut(), Some(&location), Some(&schema))
        });
        Ok(Checkpoint { name, batches, fix })
    }
}

impl Checkpoint {
    fn next(&mut self, storage: &TableStorage) -> Option<Batch> {
        match storage.wait(self.batches.next())? {
            Ok(batch) => {
                Some((self.fix)(batch).map(|batch| Box::new(batch) as Box<dyn EngineData>))
            }
            Err(error) => Some(Err(broken(&self.name, error))),
        }
    }
}

/// Tells a store that failed from a file that is no Parquet file.
fn broken(file: &Url, error: ParquetError) -> KernelError {
    match error {
        ParquetError::External(source) => match source.downcast::<object_store::Error>() {
            Ok(error) => from_store(*error),
            Err(other) => corrupt(file, other),
        },
        other => corrupt(file, other),
    }
}

impl ParquetHandler for ParquetDocuments {
    fn read_parquet_files(
        &self,
        files: &[FileMeta],
        physical_schema: SchemaRef,
        predicate: Option<PredicateRef>,
    ) -> KernelResult<FileDataReadResultIterator> {
        let documents = Self(Arc::clone(&self.0));
        let mut files: Vec<FileMeta> = files.iter().rev().cloned().collect();
        let mut current: Option<Checkpoint> = None;
        Ok(until_error(move || {
            loop {
                if let Some(checkpoint) = &mut current {
                    match checkpoint.next(&documents.0) {
                        Some(batch) => return Some(batch),
                        None => current = None,
                    }
                }
                match documents.open(&files.pop()?, &physical_schema, predicate.as_ref()) {
                    Ok(checkpoint) => current = Some(checkpoint),
                    Err(error) => return Some(Err(error)),
                }
            }
        }))
    }

    fn read_parquet_footer(&self, file: &FileMeta) -> KernelResult<ParquetFooter> {
        let (_, metadata) = self.metadata(file)?;
        let schema = StructType::try_from_arrow(metadata.schema().as_ref())?;
        Ok(ParquetFooter { schema: Arc::new(schema) })
    }

    fn write_parquet_file(
        &self,
        _: Url,
        _: KernelResultIteratorStatic<Box<dyn EngineData>>,
    ) -> KernelResult<FileSize> {
        Err(read_only())
    }
}
