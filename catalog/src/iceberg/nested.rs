//! The expression that reads a nested column of a file as the table's, child by child.
//!
//! Made by [`super::adapter`] when a file is opened; it never travels. Structs take their children by field id: renamed
//! and reordered ones are found, dropped ones left out, new ones filled with their default or NULL.

use super::resolve::child;
use super::schema::{Column, Kind, NameMapping};
use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Reads a nested column of a file as a column of the table.
#[derive(Debug, Clone)]
pub(super) struct NestedCast {
    input: Arc<dyn PhysicalExpr>,
    column: Column,
    mapping: Option<Arc<NameMapping>>,
}

impl NestedCast {
    pub(super) fn new(
        input: Arc<dyn PhysicalExpr>,
        column: Column,
        mapping: Option<Arc<NameMapping>>,
    ) -> Self {
        Self { input, column, mapping }
    }
}

impl PartialEq for NestedCast {
    fn eq(&self, other: &Self) -> bool {
        self.input.eq(&other.input) && self.column == other.column && self.mapping == other.mapping
    }
}

impl Eq for NestedCast {}

impl Hash for NestedCast {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.column.id.hash(state);
    }
}

impl fmt::Display for NestedCast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "iceberg_column({}, {})", self.input, self.column.id)
    }
}

impl PhysicalExpr for NestedCast {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(self.column.data_type())
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(!self.column.is_required)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let array = self.input.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(convert(&array, &self.column, self.mapping.as_deref())?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match children.pop() {
            Some(input) => Ok(Arc::new(Self { input, ..self.as_ref().clone() })),
            None => exec_err!("a nested Iceberg column without its input"),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns values of a file as values of a column.
pub(super) fn convert(
    array: &ArrayRef,
    column: &Column,
    mapping: Option<&NameMapping>,
) -> Result<ArrayRef> {
    match &column.kind {
        Kind::Primitive(primitive) if *array.data_type() == primitive.nested_arrow() => {
            Ok(Arc::clone(array))
        }
        Kind::Primitive(primitive) => Ok(cast(array, &primitive.nested_arrow())?),
        Kind::Struct(children) => convert_struct(array, children, mapping),
        Kind::List(element) => {
            let array = match array.data_type() {
                DataType::LargeList(field) => cast(array, &DataType::List(Arc::clone(field)))?,
                _ => Arc::clone(array),
            };
            let Some(list) = array.as_list_opt::<i32>() else {
                return mismatch(&array, column);
            };
            let names = mapping.and_then(|mapping| mapping.fields.first());
            let names = mapping.map(|_| names.map(|n| n.children.clone()).unwrap_or_default());
            let values = convert(list.values(), element, names.as_ref())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(
                Arc::new(element.nested_field()),
                offsets,
                values,
                nulls,
            )?))
        }
        Kind::Map(key, value) => convert_map(array, column, (key, value), mapping),
    }
}

fn convert_struct(
    array: &ArrayRef,
    children: &[Column],
    mapping: Option<&NameMapping>,
) -> Result<ArrayRef> {
    let Some(found) = array.as_struct_opt() else {
        return exec_err!("a file holds {} where the table has a struct", array.data_type());
    };
    let n = found.len();
    let read = |wanted: &Column| match child(found.fields(), wanted, mapping) {
        Some((idx, names)) => convert(found.column(idx), wanted, names),
        None => match &wanted.initial_default {
            Some(value) => value.cast_to(&wanted.nested_type())?.to_array_of_size(n),
            None => Ok(new_null_array(&wanted.nested_type(), n)),
        },
    };
    let arrays = children.iter().map(read).collect::<Result<Vec<_>>>()?;
    let fields: Fields = children.iter().map(Column::nested_field).collect();
    let nulls = found.nulls().cloned();
    Ok(Arc::new(StructArray::try_new_with_length(fields, arrays, nulls, n)?))
}

fn convert_map(
    array: &ArrayRef,
    column: &Column,
    (key, value): (&Column, &Column),
    mapping: Option<&NameMapping>,
) -> Result<ArrayRef> {
    let Some(map) = array.as_map_opt() else { return mismatch(array, column) };
    let names = |name: &str| {
        let found = mapping.and_then(|mapping| mapping.get(name));
        mapping.map(|_| found.map(|found| found.children.clone()).unwrap_or_default())
    };
    let keys = convert(map.keys(), key, names("key").as_ref())?;
    let values = convert(map.values(), value, names("value").as_ref())?;
    let DataType::Map(entries_field, _) = column.data_type() else {
        return mismatch(array, column);
    };
    let DataType::Struct(fields) = entries_field.data_type() else {
        return mismatch(array, column);
    };
    let entries = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
    let entries_field: Arc<Field> = entries_field;
    let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
    Ok(Arc::new(MapArray::try_new(entries_field, offsets, entries, nulls, false)?))
}

fn mismatch(array: &ArrayRef, column: &Column) -> Result<ArrayRef> {
    exec_err!(
        "a file holds {} where Iceberg column \"{}\" is {}",
        array.data_type(),
        column.name,
        column.data_type()
    )
}
