//! Which field of a data file holds a column: by id, by a mapped name, by position.
//!
//! Files that Iceberg writers made carry ids. Files that were taken over from elsewhere carry none; then the table's name
//! mapping says which name stands for which id, and a table without one takes top-level fields by their position. A file
//! in which any field has an id is read by ids alone. Files of most Delta tables are read by names alone, ids or not.

use super::schema::{Column, MappedName, NameMapping, TableSchema};
use arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use datafusion::common::{Result, not_impl_err};
use datafusion::parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use std::sync::Arc;

/// How fields of one file are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Id,
    Name,
    Position,
}

/// The fields of a data file.
#[derive(Debug)]
pub(super) struct FileFields {
    schema: SchemaRef,
    mapping: Option<Arc<NameMapping>>,
    by: By,
    /// Ids that positions stand for, in order.
    ids: Vec<i32>,
}

/// Returns the id that a field carries.
pub(super) fn id_of(field: &Field) -> Option<i32> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()
}

fn has_id(field: &Field) -> bool {
    let inside = |fields: &Fields| fields.iter().any(|field| has_id(field));
    id_of(field).is_some()
        || match field.data_type() {
            DataType::Struct(fields) => inside(fields),
            DataType::List(field) | DataType::LargeList(field) | DataType::Map(field, _) => {
                has_id(field)
            }
            _ => false,
        }
}

impl FileFields {
    pub(super) fn new(
        schema: SchemaRef,
        mapping: Option<Arc<NameMapping>>,
        table: &TableSchema,
    ) -> Self {
        let by = match &mapping {
            _ if schema.fields().iter().any(|field| has_id(field)) => By::Id,
            Some(_) => By::Name,
            None => By::Position,
        };
        let mut ids: Vec<i32> = table.columns.iter().map(|column| column.id).collect();
        ids.sort_unstable();
        Self { schema, mapping, by, ids }
    }

    /// Finds fields by mapped names alone.
    pub(super) fn by_name(schema: SchemaRef, mapping: Option<Arc<NameMapping>>) -> Self {
        Self { schema, mapping, by: By::Name, ids: vec![] }
    }

    /// Returns the file's schema.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns the index of the top-level field that holds a column; `None` when the file has none.
    ///
    /// # Errors
    /// When a nested column would have to be found by position.
    pub(super) fn top_level(&self, column: &Column) -> Result<Option<usize>> {
        match self.by {
            By::Id => Ok(self.schema.fields().iter().position(|f| id_of(f) == Some(column.id))),
            By::Name => Ok(self.schema.fields().iter().position(|field| {
                let mapped = self.mapping.as_ref().and_then(|mapping| mapping.get(field.name()));
                mapped.and_then(|mapped| mapped.id) == Some(column.id)
            })),
            By::Position => {
                if column.primitive().is_none() {
                    return not_impl_err!(
                        "nested Iceberg column \"{}\" in files without field ids and without a name mapping",
                        column.name
                    );
                }
                // The first column of a table has the id 1, the second 2, and so on, as long as none is nested.
                let idx = usize::try_from(column.id - 1).ok();
                Ok(idx.filter(|idx| {
                    *idx < self.schema.fields().len() && self.ids.contains(&column.id)
                }))
            }
        }
    }

    /// Returns the names of a top-level field's children; `None` when ids tell.
    pub(super) fn mapping_of(&self, name: &str) -> Option<Arc<NameMapping>> {
        let mapping = self.mapping.as_ref().filter(|_| self.by == By::Name)?;
        let children = mapping.get(name).map(|mapped| mapped.children.clone());
        Some(Arc::new(children.unwrap_or_default()))
    }
}

/// Returns the child that holds `wanted`, and the names of its own children.
pub(super) fn child<'a>(
    fields: &'a Fields,
    wanted: &Column,
    mapping: Option<&'a NameMapping>,
) -> Option<(usize, Option<&'a NameMapping>)> {
    fields.iter().enumerate().find_map(|(idx, field)| {
        let Some(mapping) = mapping else {
            return (id_of(field) == Some(wanted.id)).then_some((idx, None));
        };
        let mapped: &MappedName = mapping.get(field.name())?;
        (mapped.id == Some(wanted.id)).then_some((idx, Some(&mapped.children)))
    })
}
