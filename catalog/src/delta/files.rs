//! The live files of a version, as columns: paths, sizes, rows, partition values, statistics, deletion vectors.
//!
//! Made from a replay of the log, or from the list of an earlier version and the commits since then. One record batch for
//! all files, so that pruning is a few vector operations however many there are, and its bytes are what it weighs.

use super::columns::{Columns, DataColumn};
use super::failure::raise;
use crate::error::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, MapArray, RecordBatch,
    StructArray, new_null_array,
};
use arrow::compute::{cast, concat, concat_batches, filter_record_batch, take};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Int64Type, Schema, SchemaRef};
use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use delta_kernel::cancellation::CancellationTokenRef;
use delta_kernel::engine::arrow_conversion::TryFromKernel;
use delta_kernel::engine::arrow_data::{ArrowEngineData, EngineDataArrowExt};
use delta_kernel::log_replay::FileActionKey;
use delta_kernel::scan::StatsOptions;
use delta_kernel::schema::{DataType as KernelType, PrimitiveType, SchemaRef as KernelSchema};
use delta_kernel::{Engine, EngineData, KernelError, KernelResult, SnapshotRef};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Positions of the list's columns; those of partition values follow, and then the statistics.
const PATH: usize = 0;
const SIZE: usize = 1;
const N_ROWS: usize = 2;
const VECTOR: usize = 3;
const PARTITIONS: usize = 4;
/// Fields of a deletion vector's description.
const VECTOR_FIELDS: [(&str, DataType); 5] = [
    ("storageType", DataType::Utf8),
    ("pathOrInlineDv", DataType::Utf8),
    ("offset", DataType::Int32),
    ("sizeInBytes", DataType::Int32),
    ("cardinality", DataType::Int64),
];

/// A statistic of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statistic {
    Lower,
    Upper,
    Nulls,
}

/// The live files of a version.
#[derive(Debug)]
pub(crate) struct FileList {
    batch: RecordBatch,
    n_partitions: usize,
}

impl FileList {
    /// Replays the log up to a snapshot.
    ///
    /// # Errors
    /// When the log cannot be read or holds what it must not.
    pub(super) fn replay(
        snapshot: &SnapshotRef,
        columns: &Columns,
        engine: &dyn Engine,
        token: CancellationTokenRef,
    ) -> KernelResult<Self> {
        let layout = Layout::new(snapshot, columns)?;
        let scan = Arc::clone(snapshot)
            .scan_builder()
            .with_stats(StatsOptions::all_struct())
            .without_row_transforms()
            .with_cancellation_token(token)
            .build()?;
        let mut parts = vec![];
        for files in scan.scan_metadata(engine)? {
            let files = files?.scan_files.apply_selection_vector()?.try_into_record_batch()?;
            if files.num_rows() > 0 {
                parts.push(layout.rows(&Raw::of_replay(&files)?)?);
            }
        }
        layout.list(&parts)
    }

    /// Returns the list of a later snapshot with the same columns, from this one and the commits in between; `None` when
    /// those are no longer there to be read one by one.
    ///
    /// # Errors
    /// As for [`Self::replay`].
    pub(super) fn advance(
        &self,
        version: u64,
        snapshot: &SnapshotRef,
        columns: &Columns,
        engine: &dyn Engine,
    ) -> KernelResult<Option<Self>> {
        let builder = Arc::clone(snapshot).incremental_scan_builder(version);
        let Some(changes) = builder.build(engine)? else { return Ok(None) };
        let changes = changes.into_listing()?;
        let layout = Layout::new(snapshot, columns)?;
        if self.batch.schema() != layout.schema {
            return Ok(None);
        }
        let replaced = changes.summary.removes.iter().chain(&changes.summary.live_adds);
        let replaced: HashSet<&FileActionKey> = replaced.collect();
        let mut parts = vec![];
        for adds in changes.add_files {
            let adds = adds.apply_selection_vector()?.try_into_record_batch()?;
            parts.push(layout.rows(&Raw::of_adds(&adds, layout.stats.as_ref(), engine)?)?);
        }
        parts.push(self.without(&replaced, snapshot)?);
        layout.list(&parts).map(Some)
    }

    fn without(
        &self,
        replaced: &HashSet<&FileActionKey>,
        snapshot: &SnapshotRef,
    ) -> KernelResult<RecordBatch> {
        let paths: HashSet<&str> = replaced.iter().map(|key| key.path()).collect();
        let is_kept = |row: usize| -> KernelResult<bool> {
            let path = self.path(row);
            if !paths.contains(path) {
                return Ok(true);
            }
            let vector = self.vector(row).map_err(raise)?;
            let vector = vector.map(|vector| vector.unique_id_for(snapshot)).transpose()?;
            Ok(!replaced.contains(&FileActionKey::new(path, vector)))
        };
        let kept = (0..self.len()).map(is_kept).collect::<KernelResult<Vec<_>>>()?;
        Ok(filter_record_batch(&self.batch, &BooleanArray::from(kept))?)
    }

    /// Returns the number of files.
    pub(super) fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Returns the bytes that the list holds.
    pub(crate) fn weight_bytes(&self) -> usize {
        self.batch.get_array_memory_size()
    }

    /// Returns a file's path as the log writes it.
    pub(super) fn path(&self, row: usize) -> &str {
        self.batch.column(PATH).as_string::<i32>().value(row)
    }

    /// Returns a file's size in bytes.
    pub(super) fn size(&self, row: usize) -> u64 {
        let sizes = self.batch.column(SIZE).as_primitive::<Int64Type>();
        u64::try_from(sizes.value(row)).unwrap_or(0)
    }

    /// Returns the rows of all files, deleted ones included; null where the log does not tell.
    pub(super) fn n_rows(&self) -> &Int64Array {
        self.batch.column(N_ROWS).as_primitive::<Int64Type>()
    }

    /// Returns a file's deletion vector.
    ///
    /// # Errors
    /// When its description is not valid.
    pub(super) fn vector(&self, row: usize) -> Result<Option<DeletionVectorDescriptor>> {
        let vectors = self.batch.column(VECTOR).as_struct();
        let texts = |idx: usize| vectors.column(idx).as_string::<i32>();
        let ints = |idx: usize| vectors.column(idx).as_primitive::<Int32Type>();
        if texts(0).is_null(row) {
            return Ok(None);
        }
        let broken = |error: &dyn std::fmt::Display| Error::CorruptFile {
            path: self.path(row).to_owned(),
            message: format!("its deletion vector: {error}"),
        };
        let storage = texts(0).value(row).parse().map_err(|error: KernelError| broken(&error))?;
        let offset = ints(2).is_valid(row).then(|| ints(2).value(row));
        let cardinality = vectors.column(4).as_primitive::<Int64Type>().value(row);
        let (path, size) = (texts(1).value(row), ints(3).value(row));
        DeletionVectorDescriptor::try_new(storage, path, offset, size, cardinality)
            .map(Some)
            .map_err(|error| broken(&error))
    }

    /// Returns values of a partition column.
    pub(super) fn partition(&self, idx: usize) -> &ArrayRef {
        self.batch.column(PARTITIONS + idx)
    }

    /// Returns a statistic of a column; `None` when the log keeps none of it.
    pub(super) fn statistic(&self, which: Statistic, column: &DataColumn) -> Option<ArrayRef> {
        let stats = self.batch.columns().get(PARTITIONS + self.n_partitions)?.as_struct_opt()?;
        let name = match which {
            Statistic::Lower => "minValues",
            Statistic::Upper => "maxValues",
            Statistic::Nulls => "nullCount",
        };
        let found = stats.column_by_name(name)?.as_struct_opt()?.column_by_name(&column.physical);
        found.cloned()
    }
}

/// The shape of a list for one version of a table.
struct Layout<'a> {
    partitions: Vec<&'a DataColumn>,
    /// Statistics that the log may keep; `None` for none.
    stats: Option<KernelSchema>,
    schema: SchemaRef,
}

impl<'a> Layout<'a> {
    fn new(snapshot: &SnapshotRef, columns: &'a Columns) -> KernelResult<Self> {
        let scan = Arc::clone(snapshot).scan_builder().with_stats(StatsOptions::all_struct());
        let stats = scan.stats_output_schemas()?.map(|schemas| schemas.physical);
        let partitions = columns.partitions();
        let mut fields = vec![
            Field::new("path", DataType::Utf8, false),
            Field::new("size", DataType::Int64, false),
            Field::new("n_rows", DataType::Int64, true),
            Field::new("deletion_vector", DataType::Struct(vector_fields()), true),
        ];
        for column in &partitions {
            let data_type = DataType::try_from_kernel(&KernelType::from(type_of(column)?))?;
            fields.push(Field::new(format!("partition {}", column.physical), data_type, true));
        }
        if let Some(stats) = &stats {
            let data_type = KernelType::from(stats.as_ref().clone());
            fields.push(Field::new("stats", DataType::try_from_kernel(&data_type)?, true));
        }
        Ok(Self { partitions, stats, schema: Arc::new(Schema::new(fields)) })
    }

    /// Returns actions in the shape of the list.
    fn rows(&self, raw: &Raw) -> KernelResult<RecordBatch> {
        let stats = raw.stats.as_ref();
        let mut arrays = vec![
            cast(&raw.path, &DataType::Utf8)?,
            cast(&raw.size, &DataType::Int64)?,
            Arc::new(n_rows(stats, &raw.json)?) as ArrayRef,
            Arc::new(vectors(&raw.vector)?),
        ];
        for column in &self.partitions {
            arrays.push(typed(&type_of(column)?, &raw.partition_values(&column.physical)?)?);
        }
        if let (Some(_), Some(field)) = (&self.stats, self.schema.fields().last()) {
            arrays.push(match stats {
                Some(stats) if stats.data_type() == field.data_type() => Arc::clone(stats),
                Some(stats) => cast(stats, field.data_type())?,
                None => new_null_array(field.data_type(), raw.path.len()),
            });
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), arrays)?)
    }

    fn list(&self, parts: &[RecordBatch]) -> KernelResult<FileList> {
        let batch = concat_batches(&self.schema, parts)?;
        Ok(FileList { batch, n_partitions: self.partitions.len() })
    }
}

fn type_of(column: &DataColumn) -> KernelResult<PrimitiveType> {
    column.primitive.clone().ok_or_else(|| {
        raise(Error::NotSupported {
            feature: format!("nested Delta partition column \"{}\"", column.name),
        })
    })
}

fn vector_fields() -> Fields {
    VECTOR_FIELDS.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec().into()
}

/// What actions of the log say, in whatever shape they were read.
struct Raw {
    path: ArrayRef,
    size: ArrayRef,
    /// Statistics as text.
    json: Option<ArrayRef>,
    /// Statistics as columns.
    stats: Option<ArrayRef>,
    vector: StructArray,
    partitions: MapArray,
}

impl Raw {
    fn of_replay(files: &RecordBatch) -> KernelResult<Self> {
        let column = |name: &str| found(files.column_by_name(name), name);
        let constants = column("fileConstantValues")?;
        let partitions =
            constants.as_struct_opt().and_then(|all| all.column_by_name("partitionValues"));
        Ok(Self {
            path: column("path")?,
            size: column("size")?,
            json: files.column_by_name("stats").cloned(),
            stats: files.column_by_name("stats_parsed").cloned(),
            vector: struct_of(&column("deletionVector")?)?,
            partitions: map_of(&found(partitions, "partitionValues")?)?,
        })
    }

    fn of_adds(
        actions: &RecordBatch,
        stats: Option<&KernelSchema>,
        engine: &dyn Engine,
    ) -> KernelResult<Self> {
        let adds = struct_of(&found(actions.column_by_name("add"), "add")?)?;
        let column = |name: &str| found(adds.column_by_name(name), name);
        let json = column("stats")?;
        let stats = match stats {
            Some(schema) => {
                let text = RecordBatch::try_from_iter([("stats", Arc::clone(&json))])?;
                let text: Box<dyn EngineData> = Box::new(ArrowEngineData::new(text));
                let parsed = engine.json_handler().parse_json(text, Arc::clone(schema))?;
                let parsed = StructArray::from(parsed.try_into_record_batch()?);
                Some(Arc::new(parsed) as ArrayRef)
            }
            None => None,
        };
        Ok(Self {
            path: column("path")?,
            size: column("size")?,
            json: Some(json),
            stats,
            vector: struct_of(&column("deletionVector")?)?,
            partitions: map_of(&column("partitionValues")?)?,
        })
    }

    /// Returns the texts of a partition column.
    fn partition_values(&self, name: &str) -> KernelResult<Vec<Option<String>>> {
        let keys = cast(self.partitions.keys(), &DataType::Utf8)?;
        let values = cast(self.partitions.values(), &DataType::Utf8)?;
        let (keys, values) = (keys.as_string::<i32>(), values.as_string::<i32>());
        let offsets = self.partitions.value_offsets();
        let entry = |row: usize| {
            let entries = offsets[row] as usize..offsets[row + 1] as usize;
            let idx = entries.into_iter().find(|idx| keys.value(*idx) == name)?;
            values.is_valid(idx).then(|| values.value(idx).to_owned())
        };
        Ok((0..self.partitions.len()).map(entry).collect())
    }
}

fn found(array: Option<&ArrayRef>, name: &str) -> KernelResult<ArrayRef> {
    array.cloned().ok_or_else(|| KernelError::missing_column(name))
}

fn struct_of(array: &ArrayRef) -> KernelResult<StructArray> {
    array.as_struct_opt().cloned().ok_or_else(|| KernelError::unexpected_column_type("struct"))
}

fn map_of(array: &ArrayRef) -> KernelResult<MapArray> {
    array.as_map_opt().cloned().ok_or_else(|| KernelError::unexpected_column_type("map"))
}

/// Returns deletion vectors in the shape of the list; one without a storage type is none.
fn vectors(array: &StructArray) -> KernelResult<StructArray> {
    let child = |(name, data_type): &(&str, DataType)| -> KernelResult<ArrayRef> {
        let child = cast(&found(array.column_by_name(name), name)?, data_type)?;
        // A missing struct may leave anything in its children.
        match array.nulls() {
            Some(nulls) => {
                let is_null = BooleanArray::from(nulls.iter().map(|v| !v).collect::<Vec<_>>());
                Ok(arrow::compute::nullif(&child, &is_null)?)
            }
            None => Ok(child),
        }
    };
    let children = VECTOR_FIELDS.iter().map(child).collect::<KernelResult<Vec<_>>>()?;
    Ok(StructArray::try_new(vector_fields(), children, None)?)
}

/// Returns how many rows files have, from their statistics in whichever form they are there.
fn n_rows(stats: Option<&ArrayRef>, json: &Option<ArrayRef>) -> KernelResult<Int64Array> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Stats {
        num_records: Option<i64>,
    }
    let parsed = stats.and_then(|stats| stats.as_struct_opt()?.column_by_name("numRecords"));
    let parsed = parsed.map(|parsed| cast(parsed, &DataType::Int64)).transpose()?;
    let json = json.as_ref().map(|json| cast(json, &DataType::Utf8)).transpose()?;
    let n = parsed.as_ref().or(json.as_ref()).map_or(0, |array| array.len());
    let count = |row: usize| {
        let parsed = parsed.as_ref().map(|parsed| parsed.as_primitive::<Int64Type>());
        if let Some(parsed) = parsed.filter(|parsed| parsed.is_valid(row)) {
            return Some(parsed.value(row));
        }
        let json = json.as_ref()?.as_string::<i32>();
        let stats = json.is_valid(row).then(|| serde_json::from_str::<Stats>(json.value(row)));
        stats?.ok()?.num_records
    };
    Ok((0..n).map(|row| count(row).filter(|n_rows| *n_rows >= 0)).collect())
}

/// Reads partition values. Each text is read once: partitions have many files.
fn typed(primitive: &PrimitiveType, texts: &[Option<String>]) -> KernelResult<ArrayRef> {
    let mut known: HashMap<&str, Option<i32>> = HashMap::new();
    let mut values: Vec<ArrayRef> = vec![];
    let mut rows = Vec::with_capacity(texts.len());
    for text in texts {
        let Some(text) = text else {
            rows.push(None);
            continue;
        };
        if let Some(idx) = known.get(text.as_str()) {
            rows.push(*idx);
            continue;
        }
        let is_text = matches!(primitive, PrimitiveType::String | PrimitiveType::Binary);
        let idx = match text.is_empty() {
            // An empty text stands for NULL, except where it is a value.
            true if !is_text => None,
            true => Some(empty(primitive)?),
            false => Some(primitive.parse_scalar(text)?.to_array(1)?),
        };
        let idx = idx.map(|value| {
            values.push(value);
            i32::try_from(values.len() - 1).unwrap_or(i32::MAX)
        });
        known.insert(text, idx);
        rows.push(idx);
    }
    if values.is_empty() {
        let data_type = DataType::try_from_kernel(&KernelType::from(primitive.clone()))?;
        return Ok(new_null_array(&data_type, texts.len()));
    }
    let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    Ok(take(&concat(&values)?, &Int32Array::from(rows), None)?)
}

fn empty(primitive: &PrimitiveType) -> KernelResult<ArrayRef> {
    use delta_kernel::expressions::Scalar;
    match primitive {
        PrimitiveType::Binary => Scalar::Binary(vec![]).to_array(1),
        _ => Scalar::String(String::new()).to_array(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringArray;
    use datafusion::scalar::ScalarValue;

    fn check(primitive: PrimitiveType, text: &str, expected: &str) {
        let texts = [None, Some(text.to_owned()), Some(text.to_owned())];
        let array = typed(&primitive, &texts).unwrap();
        assert!(array.is_null(0));
        let value = ScalarValue::try_from_array(&array, 2).unwrap();
        assert_eq!(format!("{value:?}"), expected, "{primitive:?} {text}");
    }

    #[test]
    fn partition_values_are_read_by_their_types() {
        check(PrimitiveType::Integer, "-7", "Int32(-7)");
        check(PrimitiveType::Byte, "", "Int8(NULL)");
        check(PrimitiveType::String, "", "Utf8(\"\")");
        check(PrimitiveType::Boolean, "true", "Boolean(true)");
        check(PrimitiveType::Date, "2024-02-29", "Date32(\"2024-02-29\")");
        check(PrimitiveType::decimal(5, 2).unwrap(), "1.25", "Decimal128(1.25,5,2)");
        let micros = "TimestampMicrosecond(1500000, Some(\"UTC\"))";
        check(PrimitiveType::Timestamp, "1970-01-01 00:00:01.5", micros);
        check(PrimitiveType::Timestamp, "1970-01-01T00:00:01.500000Z", micros);
        check(
            PrimitiveType::TimestampNtz,
            "1970-01-01 00:00:01.5",
            "TimestampMicrosecond(1500000, None)",
        );
        assert!(typed(&PrimitiveType::Date, &[Some("soon".to_owned())]).is_err());
    }

    #[test]
    fn rows_are_counted_from_text_too() {
        let json: ArrayRef = Arc::new(StringArray::from(vec![
            Some("{\"numRecords\":5,\"minValues\":{}}"),
            Some("not json"),
            None,
        ]));
        let counted = n_rows(None, &Some(json)).unwrap();
        assert_eq!(counted.iter().collect::<Vec<_>>(), [Some(5), None, None]);
    }
}
