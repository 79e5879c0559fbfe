//! The tables of `pg_catalog`: names, OIDs and columns, as PostgreSQL 15 has them.
//!
//! `tables.txt` is the one list. Every table of it can be queried; `rows` says which of them have rows here.

use crate::frontend::pg::types::{self, TYPE_METADATA};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

static LIST: &str = include_str!("tables.txt");

/// Every table by its name.
pub static TABLES: LazyLock<BTreeMap<&'static str, Table>> = LazyLock::new(|| {
    let mut tables: BTreeMap<&'static str, Table> = BTreeMap::new();
    let mut current = None;
    for line in LIST.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with(' ') {
            let table = current.and_then(|name| tables.get_mut(name));
            let columns = line.split_whitespace().filter_map(Column::read);
            if let Some(table) = table {
                table.columns.extend(columns);
            }
        } else if let Some(table) = Table::read(line) {
            current = Some(table.name);
            tables.insert(table.name, table);
        }
    }
    tables
});

/// A table of `pg_catalog`.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its OID, fixed by PostgreSQL for tables.
    pub oid: i64,
    /// `relkind`: `r` or `v`.
    pub kind: &'static str,
    /// Its columns, in order.
    pub columns: Vec<Column>,
}

/// A column of such a table.
#[derive(Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type's name in `pg_type`; a leading underscore makes an array.
    pub type_name: &'static str,
    /// Whether PostgreSQL says it holds no nulls.
    pub not_null: bool,
}

impl Table {
    fn read(header: &'static str) -> Option<Self> {
        let mut words = header.split(' ');
        let (name, oid, kind) = (words.next()?, words.next()?, words.next()?);
        Some(Self { name, oid: oid.parse().ok()?, kind, columns: Vec::new() })
    }

    /// Returns the table's Arrow schema; metadata keeps the PostgreSQL types that Arrow has no word for.
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(Column::field).collect::<Vec<_>>()))
    }
}

impl Column {
    fn read(word: &'static str) -> Option<Self> {
        let (name, type_name) = word.split_once(':')?;
        let not_null = type_name.ends_with('!');
        Some(Self { name, type_name: type_name.trim_end_matches('!'), not_null })
    }

    /// Returns the name of the element's type, or of the type itself.
    pub fn element(&self) -> &'static str {
        match self.type_name {
            "int2vector" => "int2",
            "oidvector" => "oid",
            name => name.strip_prefix('_').unwrap_or(name),
        }
    }

    /// Returns whether the column holds arrays.
    pub fn is_array(&self) -> bool {
        self.element() != self.type_name
    }

    /// Returns whether the column holds OIDs.
    pub fn is_oid(&self) -> bool {
        self.type_name == "oid"
    }

    fn field(&self) -> Field {
        let element = self.element();
        let element_type = match element {
            "bool" => DataType::Boolean,
            "int2" => DataType::Int16,
            "int4" | "xid" => DataType::Int32,
            "int8" | "oid" => DataType::Int64,
            "float4" => DataType::Float32,
            "float8" => DataType::Float64,
            "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            _ => DataType::Utf8,
        };
        let data_type = match self.is_array() {
            true => DataType::new_list(element_type, true),
            false => element_type,
        };
        let field = Field::new(self.name, data_type, !self.not_null);
        // Names of functions and types are text here; only OIDs, names and single characters differ from Arrow's types.
        match types::by_name(element) {
            Some(ty) if matches!(ty.name, "oid" | "name" | "char") => {
                field.with_metadata([(TYPE_METADATA.to_string(), ty.name.to_string())].into())
            }
            _ => field,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read() {
        let class = &TABLES["pg_class"];
        assert_eq!((class.oid, class.kind), (1259, "r"));
        assert_eq!(class.columns.len(), 33);
        let schema = class.schema();
        assert_eq!(schema.field(0).data_type(), &DataType::Int64);
        assert_eq!(types::of_field(schema.field(0)).oid(), 26);
        assert_eq!(types::of_field(schema.field_with_name("relname").unwrap()).oid(), 19);
        assert_eq!(types::of_field(schema.field_with_name("reloptions").unwrap()).oid(), 1009);
        assert!(TABLES.values().all(|table| !table.columns.is_empty()));
    }
}
