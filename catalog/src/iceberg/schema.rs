//! Columns of a table with metadata: fields with ids, and the Arrow types they are read as.
//!
//! Made by [`super::facade`] from an Iceberg table's metadata, by [`crate::delta`] from a Delta table's, on the coordinator
//! and again on each worker. A column is told by its id alone: names and positions may differ from file to file.

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Time zone of timestamps that have one.
const UTC: &str = "UTC";

/// A primitive type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Primitive {
    Boolean,
    /// Delta tables only, like the next one.
    Byte,
    Short,
    Int,
    Long,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: i8,
    },
    Date,
    Time,
    Timestamp,
    Timestamptz,
    TimestampNs,
    TimestamptzNs,
    String,
    Uuid,
    Fixed(i32),
    Binary,
}

impl Primitive {
    /// Returns the Arrow type its values have here.
    pub(crate) fn arrow(self) -> DataType {
        let zone = || Some(Arc::from(UTC));
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Byte => DataType::Int8,
            Self::Short => DataType::Int16,
            Self::Int => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(precision, scale),
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, zone()),
            Self::TimestampNs => DataType::Timestamp(TimeUnit::Nanosecond, None),
            Self::TimestamptzNs => DataType::Timestamp(TimeUnit::Nanosecond, zone()),
            Self::String => DataType::Utf8View,
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::Fixed(length) => DataType::FixedSizeBinary(length),
            Self::Binary => DataType::BinaryView,
        }
    }

    /// Returns the Arrow type of values inside nested columns, where the engine knows no views.
    pub(crate) fn nested_arrow(self) -> DataType {
        match self {
            Self::String => DataType::Utf8,
            Self::Binary => DataType::Binary,
            other => other.arrow(),
        }
    }

    /// Returns whether values are floats, whose bounds leave NaN out.
    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::Float | Self::Double)
    }
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Primitive(Primitive),
    Struct(Vec<Column>),
    List(Box<Column>),
    Map(Box<Column>, Box<Column>),
}

/// A field of a table's schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) is_required: bool,
    pub(crate) kind: Kind,
    /// The value of rows in files that were written before the column was added.
    pub(crate) initial_default: Option<ScalarValue>,
}

impl Column {
    /// Returns the Arrow type of a top-level column, children included.
    pub(crate) fn data_type(&self) -> DataType {
        match &self.kind {
            Kind::Primitive(primitive) => primitive.arrow(),
            _ => self.nested_type(),
        }
    }

    /// Returns the Arrow type that the column has inside another.
    pub(crate) fn nested_type(&self) -> DataType {
        match &self.kind {
            Kind::Primitive(primitive) => primitive.nested_arrow(),
            Kind::Struct(children) => {
                DataType::Struct(children.iter().map(Self::nested_field).collect::<Fields>())
            }
            Kind::List(element) => DataType::List(Arc::new(element.nested_field())),
            Kind::Map(key, value) => {
                let entries = Fields::from(vec![key.nested_field(), value.nested_field()]);
                let entries = Field::new("key_value", DataType::Struct(entries), false);
                DataType::Map(Arc::new(entries), false)
            }
        }
    }

    /// Returns the Arrow field of a column inside another.
    pub(crate) fn nested_field(&self) -> Field {
        Field::new(&self.name, self.nested_type(), !self.is_required)
    }

    /// Returns the Arrow field of a top-level column.
    pub(crate) fn field(&self) -> Field {
        Field::new(&self.name, self.data_type(), !self.is_required)
    }

    /// Returns the primitive type; `None` for nested columns.
    pub(crate) fn primitive(&self) -> Option<Primitive> {
        match self.kind {
            Kind::Primitive(primitive) => Some(primitive),
            _ => None,
        }
    }
}

/// One schema of a table, of whichever format.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableSchema {
    pub(crate) id: i32,
    pub(crate) columns: Vec<Column>,
    /// As the metadata writes it; travels to the workers.
    pub(crate) json: String,
}

impl TableSchema {
    /// Returns the Arrow schema.
    pub(crate) fn arrow(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(Column::field).collect::<Vec<_>>()))
    }

    /// Returns a top-level column by its id.
    pub(crate) fn column(&self, id: i32) -> Option<&Column> {
        self.columns.iter().find(|column| column.id == id)
    }

    /// Returns a top-level column by its name.
    pub(crate) fn column_named(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// Names that stand for field ids in files that have none, as `schema.name-mapping.default` gives them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NameMapping {
    pub(crate) fields: Vec<MappedName>,
}

/// The names of one field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MappedName {
    pub(crate) id: Option<i32>,
    pub(crate) names: Vec<String>,
    pub(crate) children: NameMapping,
}

impl NameMapping {
    /// Returns the mapping of a name in a file.
    pub(crate) fn get(&self, name: &str) -> Option<&MappedName> {
        self.fields.iter().find(|field| field.names.iter().any(|known| known == name))
    }
}
