//! Rows to files.

use super::Lake;
use super::tables::{ColumnType, Table};
use arrow::array::{
    ArrayRef, BooleanArray, Int32Builder, ListBuilder, MapBuilder, RecordBatch, StringArray,
    StringBuilder, StructArray, UInt32Array,
};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Rows of a row group: small, so that even test tables have several.
const ROW_GROUP_ROWS: usize = 1_000;

fn arrow_type(column_type: ColumnType) -> DataType {
    match column_type {
        ColumnType::Bool => DataType::Boolean,
        ColumnType::Smallint => DataType::Int16,
        ColumnType::Int => DataType::Int32,
        ColumnType::Bigint => DataType::Int64,
        ColumnType::Real => DataType::Float32,
        ColumnType::Double => DataType::Float64,
        ColumnType::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
        ColumnType::Text => DataType::Utf8,
        ColumnType::Date => DataType::Date32,
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        ColumnType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    }
}

/// Returns `rows` of `table` as one batch of the table's types.
pub fn text_rows_to_batch(table: &Table, rows: &[Vec<Option<String>>]) -> RecordBatch {
    let columns = table.columns.iter().enumerate().map(|(idx, (name, column_type))| {
        let texts: StringArray = rows.iter().map(|row| row[idx].as_deref()).collect();
        let values = cast(&texts, &arrow_type(*column_type)).unwrap();
        let is_bad = values.null_count() != texts_null_count(rows, idx);
        assert!(!is_bad, "{}.{name}: a text is not a {column_type:?}", table.name);
        (*name, values, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn texts_null_count(rows: &[Vec<Option<String>>], idx: usize) -> usize {
    rows.iter().filter(|row| row[idx].is_none()).count()
}

/// Writes a Parquet file.
pub fn parquet(path: &Path, batches: &[RecordBatch]) {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    let file = File::create(path).unwrap();
    let schema = batches[0].schema();
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties.build())).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
}

/// Writes a CSV file with a header.
pub fn csv(path: &Path, batch: &RecordBatch) {
    arrow::csv::Writer::new(File::create(path).unwrap()).write(batch).unwrap();
}

/// Writes one JSON object a line.
pub fn json(path: &Path, batch: &RecordBatch) {
    let mut writer = arrow::json::LineDelimitedWriter::new(File::create(path).unwrap());
    writer.write(batch).unwrap();
    writer.finish().unwrap();
}

/// Writes a Parquet file for each value of the table's last two columns, which become folders.
pub fn hive(lake: &Lake, table: &Table) {
    let n_columns = table.columns.len();
    let batch = text_rows_to_batch(table, &table.rows);
    let mut folders: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (row_idx, row) in (0u32..).zip(&table.rows) {
        let level = |idx: usize| {
            let value = row[idx].as_ref().expect("partition values are not NULL");
            format!("{}={value}", table.columns[idx].0)
        };
        let folder = format!("{}/{}", level(n_columns - 2), level(n_columns - 1));
        folders.entry(folder).or_default().push(row_idx);
    }
    let kept: Vec<usize> = (0..n_columns - 2).collect();
    let batch = batch.project(&kept).unwrap();
    for (folder, rows) in folders {
        let part = take_record_batch(&batch, &UInt32Array::from(rows)).unwrap();
        lake.write_parquet(&format!("{}/{folder}/data.parquet", table.name), &[part]);
    }
}

/// Returns four rows of lists, structs and maps, with NULL at every level.
pub fn nested_batch() -> RecordBatch {
    let id: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![1, 2, 3, 4]));
    let mut numbers = ListBuilder::new(Int32Builder::new());
    numbers.append_value([Some(1), Some(2), Some(3)]);
    numbers.append_value([Some(10), None]);
    numbers.append_value([]);
    numbers.append_null();
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("red"), Some("blue")]);
    tags.append_value([Some("green")]);
    tags.append_null();
    tags.append_value([Some("red"), Some("red")]);
    let mut counts = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for entries in [vec![("a", 1), ("b", 2)], vec![("a", 5)], vec![], vec![("c", 9)]] {
        for (key, value) in entries {
            counts.keys().append_value(key);
            counts.values().append_value(value);
        }
        counts.append(true).unwrap();
    }
    let fields: [(&str, ArrayRef); 5] = [
        ("id", id),
        ("numbers", Arc::new(numbers.finish())),
        ("tags", Arc::new(tags.finish())),
        ("place", place()),
        ("counts", Arc::new(counts.finish())),
    ];
    let schema: Vec<Field> = fields
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    let columns = fields.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(schema)), columns).unwrap()
}

fn place() -> ArrayRef {
    let city: ArrayRef =
        Arc::new(StringArray::from(vec![Some("Oslo"), None, Some("Rome"), Some("Lima")]));
    let floor: ArrayRef =
        Arc::new(arrow::array::Int32Array::from(vec![Some(3), Some(1), None, Some(0)]));
    let is_open: ArrayRef =
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]));
    let field =
        |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
    let fields = vec![
        (field("city", &city), Arc::clone(&city)),
        (field("floor", &floor), Arc::clone(&floor)),
        (field("is_open", &is_open), Arc::clone(&is_open)),
    ];
    Arc::new(StructArray::from(fields))
}
