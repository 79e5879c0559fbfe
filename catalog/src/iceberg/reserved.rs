//! Metadata columns: what a row says of where it is stored, and of its past.
//!
//! | column | type | value |
//! |---|---|---|
//! | `_file` | text | the location of the row's file |
//! | `_pos` | bigint | the row's position in the file, from 0, deleted rows counted |
//! | `_spec_id` | int | the partition spec of the file |
//! | `_partition` | struct | the file's partition values, a field for each that any spec of the table has |
//! | `_row_id` | bigint | the row's id in a table of version 3, which it keeps when it is rewritten |
//! | `_last_updated_sequence_number` | bigint | when it was added or changed last |
//!
//! A scan has them when its statement names them: they are columns of its schema with the field ids that the format
//! reserves for them. What a whole file shares is a constant of the file ([`super::scan::FileInfo`]); positions come from
//! the Parquet reader ([`super::adapter`]), which counts the rows that it skips. They travel as a schema of their own.

use super::block::ManifestBlock;
use super::facade;
use super::metadata::{Spec, TableMetadata, Transform};
use super::schema::{Column, Kind, Primitive, TableSchema};
use crate::error::Result;
use arrow::array::{ArrayRef, StructArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::Fields;
use datafusion::scalar::ScalarValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Field ids that the format reserves.
pub(crate) const FILE: i32 = i32::MAX - 1;
pub(super) const POSITION: i32 = i32::MAX - 2;
pub(super) const SPEC_ID: i32 = i32::MAX - 4;
const PARTITION: i32 = i32::MAX - 5;
pub(super) const ROW_ID: i32 = i32::MAX - 107;
pub(super) const LAST_UPDATED: i32 = i32::MAX - 108;

/// Names of the metadata columns.
pub(crate) const NAMES: [&str; 6] =
    ["_file", "_pos", "_spec_id", "_partition", "_row_id", "_last_updated_sequence_number"];

/// Returns whether a column is made from the positions of rows.
pub(super) fn needs_position(column: &Column) -> bool {
    matches!(column.id, POSITION | ROW_ID)
}

/// Returns whether all rows of a file have the same value of a column.
pub(super) fn is_constant(id: i32) -> bool {
    matches!(id, FILE | SPEC_ID | PARTITION)
}

/// Columns that are added to a table's own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reserved {
    /// As an Iceberg schema; travels to the workers.
    pub(super) json: String,
    columns: Vec<Column>,
}

impl Reserved {
    /// Returns those of the wanted columns that a table has beside its own; `None` when there are none.
    pub(super) fn of_iceberg(
        wanted: &[&str],
        schema: &TableSchema,
        metadata: &TableMetadata,
    ) -> Option<Self> {
        let is_v3 = metadata.format_version >= 3;
        let fields = wanted.iter().filter_map(|name| match *name {
            "_file" => Some(field(FILE, name, json!("string"))),
            "_pos" => Some(field(POSITION, name, json!("long"))),
            "_spec_id" => Some(field(SPEC_ID, name, json!("int"))),
            "_partition" => Some(field(PARTITION, name, partition_type(metadata)?)),
            "_row_id" if is_v3 => Some(field(ROW_ID, name, json!("long"))),
            "_last_updated_sequence_number" if is_v3 => {
                Some(field(LAST_UPDATED, name, json!("long")))
            }
            _ => None,
        });
        Self::new(fields, schema)
    }

    /// The same of a Delta table, whose files have a location and whose rows a position.
    pub(crate) fn of_delta(wanted: &[&str], schema: &TableSchema) -> Option<Self> {
        let fields = wanted.iter().filter_map(|name| match *name {
            "_file" => Some(field(FILE, name, json!("string"))),
            "_pos" => Some(field(POSITION, name, json!("long"))),
            _ => None,
        });
        Self::new(fields, schema)
    }

    fn new(fields: impl Iterator<Item = Value>, schema: &TableSchema) -> Option<Self> {
        let is_free = |field: &Value| {
            let name = field["name"].as_str().unwrap_or_default();
            schema.column_named(name).is_none()
        };
        let fields: Vec<Value> = fields.filter(is_free).collect();
        if fields.is_empty() {
            return None;
        }
        let document = json!({"type": "struct", "schema-id": 0, "fields": fields});
        // What is made here can be read; if not, the table has no such columns.
        Self::parse(&document.to_string()).ok()
    }

    /// Reads what was sent along with a scan.
    ///
    /// # Errors
    /// When it is no schema.
    pub(super) fn parse(json: &str) -> Result<Self> {
        let TableSchema { columns, .. } = facade::parse_schema(json)?;
        Ok(Self { json: json.to_owned(), columns })
    }

    /// Returns a schema with these columns behind its own.
    pub(crate) fn added_to(&self, schema: &TableSchema) -> Arc<TableSchema> {
        let mut schema = schema.clone();
        schema.columns.extend(self.columns.iter().cloned());
        Arc::new(schema)
    }

    /// Returns the number of columns.
    pub(crate) fn n_columns(&self) -> usize {
        self.columns.len()
    }

    /// Returns whether it has a column of an id.
    pub(crate) fn has(&self, id: i32) -> bool {
        self.columns.iter().any(|column| column.id == id)
    }

    /// Adds what all rows of a file share.
    ///
    /// # Errors
    /// When partition values cannot be read.
    pub(super) fn add_constants(
        &self,
        constants: &mut HashMap<i32, ScalarValue>,
        block: &ManifestBlock,
        row: usize,
        spec: &Spec,
    ) -> Result<()> {
        for column in &self.columns {
            let value = match column.id {
                FILE => ScalarValue::Utf8(Some(block.paths.value(row).to_owned())),
                SPEC_ID => ScalarValue::Int32(Some(spec.id)),
                PARTITION => partition_value(column, block, row, spec)?,
                // The id of the file's first row; that of another is by so much greater.
                ROW_ID => ScalarValue::Int64(block.first_row_id(row)),
                LAST_UPDATED => {
                    // Rows without an id have no past either.
                    let number = block.first_row_id(row).map(|_| block.sequence_numbers[row]);
                    ScalarValue::Int64(number)
                }
                _ => continue,
            };
            constants.insert(column.id, value);
        }
        Ok(())
    }
}

fn field(id: i32, name: &str, data_type: Value) -> Value {
    json!({"id": id, "name": name, "required": false, "type": data_type})
}

/// Returns the type of partition values over all specs, by field id; `None` when there is no partition field.
fn partition_type(metadata: &TableMetadata) -> Option<Value> {
    let mut fields: BTreeMap<i32, (&str, String)> = BTreeMap::new();
    for part in metadata.specs.values().flat_map(|spec| &spec.fields) {
        // A field that was dropped from a spec of version 1 is void there: another spec tells its type.
        if part.transform == Transform::Void {
            continue;
        }
        if let Some(primitive) = part.result {
            fields.insert(part.id, (&part.name, type_name(primitive)));
        }
    }
    let is_taken = |id: &i32, name: &str| {
        fields.iter().any(|(other, (taken, _))| other < id && *taken == name)
    };
    let named = |(id, (name, data_type)): (&i32, &(&str, String))| match is_taken(id, name) {
        // Two fields of one name, of different specs.
        true => field(*id, &format!("{name}_{id}"), json!(data_type)),
        false => field(*id, name, json!(data_type)),
    };
    let fields: Vec<Value> = fields.iter().map(named).collect();
    (!fields.is_empty()).then(|| json!({"type": "struct", "fields": fields}))
}

/// Returns the partition values of a file; those that its spec has not are NULL.
fn partition_value(
    column: &Column,
    block: &ManifestBlock,
    row: usize,
    spec: &Spec,
) -> Result<ScalarValue> {
    let Kind::Struct(children) = &column.kind else { return Ok(ScalarValue::Null) };
    let value = |child: &Column| -> Result<ArrayRef> {
        let data_type = child.nested_type();
        let idx = spec.fields.iter().position(|part| part.id == child.id);
        let values = idx.and_then(|idx| block.partitions.get(idx)?.as_ref());
        match values {
            Some(values) => Ok(cast(&values.slice(row, 1), &data_type)?),
            None => Ok(new_null_array(&data_type, 1)),
        }
    };
    let fields: Fields = children.iter().map(Column::nested_field).collect();
    let values = children.iter().map(value).collect::<Result<_>>()?;
    let values = StructArray::try_new(fields, values, None)?;
    Ok(ScalarValue::Struct(Arc::new(values)))
}

/// Returns the name that the format has for a type.
fn type_name(primitive: Primitive) -> String {
    let name = match primitive {
        Primitive::Boolean => "boolean",
        Primitive::Byte | Primitive::Short | Primitive::Int => "int",
        Primitive::Long => "long",
        Primitive::Float => "float",
        Primitive::Double => "double",
        Primitive::Decimal { precision, scale } => return format!("decimal({precision}, {scale})"),
        Primitive::Date => "date",
        Primitive::Time => "time",
        Primitive::Timestamp => "timestamp",
        Primitive::Timestamptz => "timestamptz",
        Primitive::TimestampNs => "timestamp_ns",
        Primitive::TimestamptzNs => "timestamptz_ns",
        Primitive::String => "string",
        Primitive::Uuid => "uuid",
        Primitive::Fixed(length) => return format!("fixed[{length}]"),
        Primitive::Binary => "binary",
    };
    name.to_owned()
}
