//! Columns of a Delta table: the schema of its log, and how its files' fields are found.
//!
//! Made on the coordinator from a snapshot and, from the document that travels with a scan, again on each worker. Columns
//! get ids, because that is how the shared scan tells them apart: the table's own where they count (mode `id`), else
//! numbers in the order of the schema, and files are searched by physical names.

use crate::error::{Error, Result};
use crate::iceberg::{
    Column, ColumnRule, Kind, MappedName, NameMapping, Primitive, ScanDelete, ScanSpec, TableSchema,
};
use delta_kernel::schema::{
    ArrayType, DataType, MapType, MetadataValue, PrimitiveType, StructField, StructType,
};
use delta_kernel::table_configuration::TableConfiguration;
use delta_kernel::table_features::ColumnMappingMode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Metadata of a field that says what it is for.
const COMMENT: &str = "comment";

/// What workers are told of a table's columns.
#[derive(Serialize, Deserialize)]
struct Document {
    mode: ColumnMappingMode,
    schema: StructType,
}

/// A column as pruning and partitions need it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DataColumn {
    pub(super) id: i32,
    pub(super) name: String,
    /// The name it has in files and statistics.
    pub(super) physical: String,
    /// Its type when that is a primitive one.
    pub(super) primitive: Option<PrimitiveType>,
    /// Its position among the partition columns.
    pub(super) partition: Option<usize>,
}

/// The columns of one version of a table.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    pub(super) schema: Arc<TableSchema>,
    mapping: Arc<NameMapping>,
    rule: ColumnRule,
    pub(super) all: Vec<DataColumn>,
}

impl Columns {
    /// Returns the columns of a table.
    ///
    /// # Errors
    /// [`Error::NotSupported`] names a column whose type this reader has not.
    pub(super) fn of(table: &TableConfiguration) -> Result<Self> {
        let schema = table.logical_schema();
        let document =
            Document { mode: table.column_mapping_mode(), schema: schema.as_ref().clone() };
        let mut columns = Self::new(&document)?;
        let partitions = table.logical_partition_columns();
        for column in &mut columns.all {
            column.partition = partitions.iter().position(|name| *name == column.name);
        }
        Ok(columns)
    }

    /// Reads the document that [`Self::scan`] sends along.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn parse(document: &str) -> Result<Self> {
        let document = serde_json::from_str(document).map_err(|error| broken(&error))?;
        Self::new(&document)
    }

    fn new(document: &Document) -> Result<Self> {
        let mode = document.mode;
        let mut walk = Walk { mode, next_id: 1 };
        let (columns, fields) = walk.fields(&document.schema)?;
        let rule = match mode {
            ColumnMappingMode::Id => ColumnRule::DeltaIds,
            ColumnMappingMode::None | ColumnMappingMode::Name => ColumnRule::DeltaNames,
        };
        let all = columns.iter().zip(document.schema.fields()).map(|(column, field)| DataColumn {
            id: column.id,
            name: column.name.clone(),
            physical: field.physical_name(mode).to_owned(),
            primitive: match field.data_type() {
                DataType::Primitive(primitive) => Some(primitive.clone()),
                _ => None,
            },
            partition: None,
        });
        let all = all.collect();
        let json = serde_json::to_string(document).map_err(|error| broken(&error))?;
        let schema = Arc::new(TableSchema { id: 0, columns, json });
        Ok(Self { schema, mapping: Arc::new(NameMapping { fields }), rule, all })
    }

    /// Returns what columns are for, as far as the log says.
    pub(super) fn comments(&self) -> BTreeMap<String, String> {
        let document = serde_json::from_str::<Document>(&self.schema.json).ok();
        let fields = document.iter().flat_map(|document| document.schema.fields());
        let comment = |field: &StructField| match field.metadata().get(COMMENT)? {
            MetadataValue::String(text) => Some((field.name().clone(), text.clone())),
            _ => None,
        };
        fields.filter_map(comment).collect()
    }

    /// Returns partition columns in their order.
    pub(super) fn partitions(&self) -> Vec<&DataColumn> {
        let mut partitions: Vec<_> =
            self.all.iter().filter(|column| column.partition.is_some()).collect();
        partitions.sort_by_key(|column| column.partition);
        partitions
    }

    /// Returns what a scan of the table says beyond a Parquet scan.
    pub(crate) fn scan(&self, deletes: Vec<ScanDelete>, store_key: String) -> ScanSpec {
        ScanSpec {
            vended: None,
            rule: self.rule,
            schema: Arc::clone(&self.schema),
            reserved: None,
            older_schemas: vec![],
            mapping_json: None,
            mapping: Some(Arc::clone(&self.mapping)),
            deletes,
            store_key,
        }
    }
}

fn broken(error: &serde_json::Error) -> Error {
    Error::CorruptFile { path: "schema of a Delta table".to_owned(), message: error.to_string() }
}

/// Turns fields of the log into columns and the names that files have for them.
struct Walk {
    mode: ColumnMappingMode,
    next_id: i32,
}

impl Walk {
    fn fields(&mut self, fields: &StructType) -> Result<(Vec<Column>, Vec<MappedName>)> {
        let mut columns = vec![];
        let mut names = vec![];
        for field in fields.fields() {
            let id = self.id_of(field)?;
            let (kind, children) = self.kind(field.data_type(), field.name())?;
            names.push(MappedName {
                id: Some(id),
                names: vec![field.physical_name(self.mode).to_owned()],
                children: NameMapping { fields: children },
            });
            columns.push(column(id, field.name(), !field.is_nullable(), kind));
        }
        Ok((columns, names))
    }

    fn id_of(&mut self, field: &StructField) -> Result<i32> {
        if self.mode != ColumnMappingMode::Id {
            return Ok(self.new_id());
        }
        let id = field.column_mapping_id().and_then(|id| i32::try_from(id).ok());
        id.ok_or_else(|| Error::CorruptFile {
            path: "schema of a Delta table".to_owned(),
            message: format!("column \"{}\" has no id, though columns go by ids", field.name()),
        })
    }

    fn new_id(&mut self) -> i32 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Returns what a field holds, and the names of what is inside it.
    fn kind(&mut self, data_type: &DataType, name: &str) -> Result<(Kind, Vec<MappedName>)> {
        match data_type {
            DataType::Primitive(primitive) => {
                Ok((Kind::Primitive(primitive_of(primitive, name)?), vec![]))
            }
            DataType::Struct(inner) => {
                let (columns, names) = self.fields(inner)?;
                Ok((Kind::Struct(columns), names))
            }
            DataType::Array(array) => self.list(array, name),
            DataType::Map(map) => self.map(map, name),
            DataType::Variant(_) => Err(not_supported("variant", name)),
        }
    }

    fn list(&mut self, array: &ArrayType, name: &str) -> Result<(Kind, Vec<MappedName>)> {
        let (element, names) =
            self.part(&array.element_type, "element", !array.contains_null, name)?;
        Ok((Kind::List(Box::new(element)), vec![names]))
    }

    fn map(&mut self, map: &MapType, name: &str) -> Result<(Kind, Vec<MappedName>)> {
        let (key, key_names) = self.part(&map.key_type, "key", true, name)?;
        let (value, value_names) =
            self.part(&map.value_type, "value", !map.value_contains_null, name)?;
        Ok((Kind::Map(Box::new(key), Box::new(value)), vec![key_names, value_names]))
    }

    /// Elements of a list, keys and values of a map: parts that have a place instead of a name.
    fn part(
        &mut self,
        data_type: &DataType,
        part: &str,
        is_required: bool,
        name: &str,
    ) -> Result<(Column, MappedName)> {
        // Files are never searched for it, so it need not be one of the table's ids.
        let id = self.new_id();
        let (kind, children) = self.kind(data_type, name)?;
        let names = MappedName {
            id: Some(id),
            names: vec![part.to_owned()],
            children: NameMapping { fields: children },
        };
        Ok((column(id, part, is_required, kind), names))
    }
}

fn column(id: i32, name: &str, is_required: bool, kind: Kind) -> Column {
    Column { id, name: name.to_owned(), is_required, kind, initial_default: None }
}

fn primitive_of(primitive: &PrimitiveType, name: &str) -> Result<Primitive> {
    Ok(match primitive {
        PrimitiveType::Boolean => Primitive::Boolean,
        PrimitiveType::Byte => Primitive::Byte,
        PrimitiveType::Short => Primitive::Short,
        PrimitiveType::Integer => Primitive::Int,
        PrimitiveType::Long => Primitive::Long,
        PrimitiveType::Float => Primitive::Float,
        PrimitiveType::Double => Primitive::Double,
        PrimitiveType::Decimal(decimal) => Primitive::Decimal {
            precision: decimal.precision(),
            scale: i8::try_from(decimal.scale()).unwrap_or(i8::MAX),
        },
        PrimitiveType::Date => Primitive::Date,
        PrimitiveType::Timestamp => Primitive::Timestamptz,
        PrimitiveType::TimestampNtz => Primitive::Timestamp,
        PrimitiveType::String => Primitive::String,
        PrimitiveType::Binary => Primitive::Binary,
        PrimitiveType::Void | PrimitiveType::IntervalYearMonth | PrimitiveType::IntervalDayTime => {
            return Err(not_supported(primitive, name));
        }
    })
}

fn not_supported(data_type: impl std::fmt::Display, name: &str) -> Error {
    Error::NotSupported { feature: format!("type {data_type} of Delta column \"{name}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type":"struct","fields":[
        {"name":"a","type":"byte","nullable":false,"metadata":
            {"delta.columnMapping.id":7,"delta.columnMapping.physicalName":"col-a"}},
        {"name":"s","type":{"type":"array","containsNull":true,"elementType":{"type":"struct","fields":[
            {"name":"x","type":"decimal(5,2)","nullable":true,"metadata":
                {"delta.columnMapping.id":9,"delta.columnMapping.physicalName":"col-x"}}]}},
            "nullable":true,"metadata":
            {"delta.columnMapping.id":8,"delta.columnMapping.physicalName":"col-s"}}]}"#;

    fn columns(mode: &str) -> Columns {
        Columns::parse(&format!(r#"{{"mode":"{mode}","schema":{SCHEMA}}}"#)).unwrap()
    }

    fn child(columns: &Columns) -> (i32, &MappedName) {
        let Kind::List(element) = &columns.schema.columns[1].kind else { panic!("no list") };
        let Kind::Struct(fields) = &element.kind else { panic!("no struct") };
        (fields[0].id, &columns.mapping.fields[1].children.fields[0].children.fields[0])
    }

    #[test]
    fn modes_of_column_mapping_tell_ids_and_names() {
        let none = columns("none");
        assert_eq!(none.rule, ColumnRule::DeltaNames);
        assert_eq!(none.all[0].physical, "a");
        assert_eq!(child(&none).1.names, ["x"]);
        let name = columns("name");
        assert_eq!((name.rule, name.all[0].physical.as_str()), (ColumnRule::DeltaNames, "col-a"));
        assert_eq!(child(&name).1.names, ["col-x"]);
        assert_eq!(Some(child(&name).0), child(&name).1.id);
        let id = columns("id");
        assert_eq!((id.rule, id.all[0].id), (ColumnRule::DeltaIds, 7));
        assert_eq!((child(&id).0, child(&id).1.id), (9, Some(9)));
        assert_eq!(
            id.schema.column_named("a").unwrap().data_type(),
            arrow::datatypes::DataType::Int8
        );
    }

    #[test]
    fn the_document_says_it_all() {
        let columns = columns("id");
        let again = Columns::parse(&columns.schema.json).unwrap();
        assert_eq!(again.schema.columns, columns.schema.columns);
        assert_eq!((again.mapping, again.all), (columns.mapping, columns.all));
    }

    #[test]
    fn foreign_types_are_named() {
        let schema = SCHEMA.replace("\"byte\"", "\"void\"");
        let parsed = Columns::parse(&format!(r#"{{"mode":"none","schema":{schema}}}"#));
        let error = parsed.unwrap_err().to_string();
        assert_eq!(error, "type void of Delta column \"a\" is not supported");
    }
}
