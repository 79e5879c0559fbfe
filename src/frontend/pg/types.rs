//! Which PostgreSQL type an Arrow column is announced as, and back.
//!
//! [`TYPES`] is the one table of types: row descriptions, parameters and `pg_type` all read it.
//! An Arrow type without a counterpart that always fits (a struct, a map, a list of lists) is announced as `json`.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
/// Field metadata that overrides the announced type, for catalog columns such as `oid` and `name`.
pub use saltlake_sql::type_names::KEY as TYPE_METADATA;

/// Metadata key of Arrow's canonical extension types.
const EXTENSION_METADATA: &str = "ARROW:extension:name";

/// A PostgreSQL type as clients know it.
#[derive(Debug, PartialEq, Eq)]
pub struct PgType {
    /// Its OID, fixed by PostgreSQL.
    pub oid: u32,
    /// OID of the array over it; 0 when there is none.
    pub array_oid: u32,
    /// Bytes of a value, -1 when they vary.
    pub len: i16,
    /// Name in `pg_type`.
    pub name: &'static str,
    /// Name as `format_type` prints it.
    pub sql_name: &'static str,
    /// `typcategory`.
    pub category: &'static str,
}

const fn ty(
    oid: u32,
    array_oid: u32,
    len: i16,
    name: &'static str,
    sql_name: &'static str,
    category: &'static str,
) -> PgType {
    PgType { oid, array_oid, len, name, sql_name, category }
}

/// `bool`.
pub static BOOL: PgType = ty(16, 1000, 1, "bool", "boolean", "B");
/// `bytea`.
pub static BYTEA: PgType = ty(17, 1001, -1, "bytea", "bytea", "U");
/// `"char"`, one byte, used by catalogs.
pub static CHAR: PgType = ty(18, 1002, 1, "char", "\"char\"", "Z");
/// `name`, used by catalogs.
pub static NAME: PgType = ty(19, 1003, 64, "name", "name", "S");
/// `int8`.
pub static INT8: PgType = ty(20, 1016, 8, "int8", "bigint", "N");
/// `int2`.
pub static INT2: PgType = ty(21, 1005, 2, "int2", "smallint", "N");
/// `int4`.
pub static INT4: PgType = ty(23, 1007, 4, "int4", "integer", "N");
/// `regproc`, used by catalogs.
pub static REGPROC: PgType = ty(24, 1008, 4, "regproc", "regproc", "N");
/// `text`.
pub static TEXT: PgType = ty(25, 1009, -1, "text", "text", "S");
/// `oid`.
pub static OID: PgType = ty(26, 1028, 4, "oid", "oid", "N");
/// `json`.
pub static JSON: PgType = ty(114, 199, -1, "json", "json", "U");
/// `float4`.
pub static FLOAT4: PgType = ty(700, 1021, 4, "float4", "real", "N");
/// `float8`.
pub static FLOAT8: PgType = ty(701, 1022, 8, "float8", "double precision", "N");
/// `unknown`, the type of an untyped literal.
pub static UNKNOWN: PgType = ty(705, 0, -2, "unknown", "unknown", "X");
/// `bpchar`.
pub static BPCHAR: PgType = ty(1042, 1014, -1, "bpchar", "character", "S");
/// `varchar`.
pub static VARCHAR: PgType = ty(1043, 1015, -1, "varchar", "character varying", "S");
/// `date`.
pub static DATE: PgType = ty(1082, 1182, 4, "date", "date", "D");
/// `time`.
pub static TIME: PgType = ty(1083, 1183, 8, "time", "time without time zone", "D");
/// `timestamp`.
pub static TIMESTAMP: PgType = ty(1114, 1115, 8, "timestamp", "timestamp without time zone", "D");
/// `timestamptz`.
pub static TIMESTAMPTZ: PgType = ty(1184, 1185, 8, "timestamptz", "timestamp with time zone", "D");
/// `interval`.
pub static INTERVAL: PgType = ty(1186, 1187, 16, "interval", "interval", "T");
/// `numeric`.
pub static NUMERIC: PgType = ty(1700, 1231, -1, "numeric", "numeric", "N");
/// `regclass`, used by catalogs.
pub static REGCLASS: PgType = ty(2205, 2210, 4, "regclass", "regclass", "N");
/// `regtype`, used by catalogs.
pub static REGTYPE: PgType = ty(2206, 2211, 4, "regtype", "regtype", "N");
/// `uuid`.
pub static UUID: PgType = ty(2950, 2951, 16, "uuid", "uuid", "U");
/// `jsonb`.
pub static JSONB: PgType = ty(3802, 3807, -1, "jsonb", "jsonb", "U");

/// Every type clients may meet.
pub static TYPES: [&PgType; 26] = [
    &BOOL,
    &BYTEA,
    &CHAR,
    &NAME,
    &INT8,
    &INT2,
    &INT4,
    &REGPROC,
    &TEXT,
    &OID,
    &JSON,
    &FLOAT4,
    &FLOAT8,
    &UNKNOWN,
    &BPCHAR,
    &VARCHAR,
    &DATE,
    &TIME,
    &TIMESTAMP,
    &TIMESTAMPTZ,
    &INTERVAL,
    &NUMERIC,
    &REGCLASS,
    &REGTYPE,
    &UUID,
    &JSONB,
];

/// A type as a column has it: perhaps an array, perhaps with a modifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnType {
    /// The type, or the element's type.
    pub base: &'static PgType,
    /// Whether the column holds arrays of `base`.
    pub is_array: bool,
    /// Type modifier, -1 when there is none.
    pub typmod: i32,
}

impl ColumnType {
    const fn plain(base: &'static PgType) -> Self {
        Self { base, is_array: false, typmod: -1 }
    }

    /// Returns the OID a row description carries.
    pub fn oid(&self) -> u32 {
        if self.is_array { self.base.array_oid } else { self.base.oid }
    }

    /// Returns the byte length a row description carries.
    pub fn byte_len(&self) -> i16 {
        if self.is_array { -1 } else { self.base.len }
    }
}

/// Returns the type a column is announced as, from its Arrow type and its metadata.
pub fn of_field(field: &Field) -> ColumnType {
    let named = field.metadata().get(TYPE_METADATA).and_then(|name| by_name(name));
    if let Some(base) = named {
        let is_array = element_of(field.data_type()).is_some();
        return ColumnType { base, is_array, typmod: -1 };
    }
    match field.metadata().get(EXTENSION_METADATA).map(String::as_str) {
        Some("arrow.uuid") if field.data_type() == &DataType::FixedSizeBinary(16) => {
            ColumnType::plain(&UUID)
        }
        Some("arrow.json") => ColumnType::plain(&JSON),
        _ => of_data_type(field.data_type()),
    }
}

/// Returns the type an Arrow type is announced as.
pub fn of_data_type(data_type: &DataType) -> ColumnType {
    let base = match data_type {
        DataType::Boolean => &BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => &INT2,
        DataType::Int32 | DataType::UInt16 => &INT4,
        DataType::Int64 | DataType::UInt32 => &INT8,
        DataType::UInt64 => &NUMERIC,
        DataType::Float16 | DataType::Float32 => &FLOAT4,
        DataType::Float64 => &FLOAT8,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            return numeric(*precision, *scale);
        }
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            return numeric(*precision, *scale);
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => &BYTEA,
        DataType::FixedSizeBinary(_) => &BYTEA,
        DataType::Date32 | DataType::Date64 => &DATE,
        DataType::Time32(_) | DataType::Time64(_) => &TIME,
        DataType::Timestamp(_, None) => &TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => &TIMESTAMPTZ,
        DataType::Interval(_) | DataType::Duration(_) => &INTERVAL,
        DataType::Struct(_) | DataType::Map(_, _) | DataType::Union(_, _) => &JSON,
        DataType::Dictionary(_, value) => return of_data_type(value),
        DataType::RunEndEncoded(_, values) => return of_field(values),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => &TEXT,
        nested => return array(nested),
    };
    ColumnType::plain(base)
}

/// Returns the element field of a list type.
pub fn element_of(data_type: &DataType) -> Option<&Field> {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _) => Some(field),
        _ => None,
    }
}

/// A list of lists may be ragged, which PostgreSQL's arrays cannot be; JSON can.
fn array(data_type: &DataType) -> ColumnType {
    match element_of(data_type) {
        Some(element) => {
            let element = of_field(element);
            if element.is_array || element.base.array_oid == 0 {
                ColumnType::plain(&JSON)
            } else {
                ColumnType { is_array: true, ..element }
            }
        }
        None => ColumnType::plain(&TEXT),
    }
}

/// PostgreSQL packs precision and an 11-bit signed scale into the modifier, after 4 bytes of header.
fn numeric(precision: u8, scale: i8) -> ColumnType {
    let typmod = ((i32::from(precision) << 16) | (i32::from(scale) & 0x7ff)) + 4;
    ColumnType { base: &NUMERIC, is_array: false, typmod }
}

/// Returns the type with this OID; an array's OID gives the array.
pub fn by_oid(oid: u32) -> Option<ColumnType> {
    TYPES.iter().find_map(|base| match oid {
        0 => None,
        oid if oid == base.oid => Some(ColumnType::plain(base)),
        oid if oid == base.array_oid => Some(ColumnType { base, is_array: true, typmod: -1 }),
        _ => None,
    })
}

/// Returns the type with this `pg_type` or SQL name.
pub fn by_name(name: &str) -> Option<&'static PgType> {
    TYPES.iter().copied().find(|ty| ty.name == name || ty.sql_name == name)
}

/// Returns the type a name means in SQL: aliases, lengths and brackets included. `unknown` has OID 0 here.
pub fn by_sql_name(name: &str) -> Option<ColumnType> {
    let name = name.trim().to_ascii_lowercase();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    let (element, is_array) = match name.strip_suffix("[]") {
        Some(element) => (element.trim(), true),
        None => (name, false),
    };
    let base = match element.split('(').next().unwrap_or_default().trim() {
        "int" => &INT4,
        "float" | "double" => &FLOAT8,
        "decimal" | "dec" => &NUMERIC,
        "char" | "character" => &BPCHAR,
        "char varying" | "nvarchar" => &VARCHAR,
        "string" => &TEXT,
        "timestamp" if element.ends_with("with time zone") => &TIMESTAMPTZ,
        name => by_name(name)?,
    };
    Some(ColumnType { base, is_array, typmod: -1 })
}

/// Returns the Arrow type that values of a PostgreSQL type are held in; `None` for `unknown`.
pub fn to_arrow(column: &ColumnType) -> Option<DataType> {
    let data_type = match column.base.name {
        "bool" => DataType::Boolean,
        "bytea" => DataType::Binary,
        "int2" => DataType::Int16,
        "int4" => DataType::Int32,
        "int8" | "oid" | "regproc" | "regclass" | "regtype" => DataType::Int64,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "numeric" => DataType::Decimal128(38, 10),
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        "interval" => DataType::Interval(IntervalUnit::MonthDayNano),
        "unknown" => return None,
        _ => DataType::Utf8,
    };
    Some(match column.is_array {
        true => DataType::new_list(data_type, true),
        false => data_type,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn check(data_type: DataType, oid: u32, len: i16) {
        let column = of_data_type(&data_type);
        assert_eq!((column.oid(), column.byte_len()), (oid, len), "{data_type}");
    }

    #[test]
    fn arrow_types_have_postgres_oids() {
        check(DataType::Boolean, 16, 1);
        check(DataType::UInt8, 21, 2);
        check(DataType::UInt16, 23, 4);
        check(DataType::UInt32, 20, 8);
        check(DataType::UInt64, 1700, -1);
        check(DataType::Utf8View, 25, -1);
        check(DataType::Timestamp(TimeUnit::Second, None), 1114, 8);
        check(DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), 1184, 8);
        check(DataType::new_list(DataType::Int32, true), 1007, -1);
        let nested = DataType::new_list(DataType::new_list(DataType::Int32, true), true);
        check(nested, 114, -1);
        let dictionary =
            DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::LargeUtf8));
        check(dictionary, 25, -1);
        check(DataType::Struct(vec![Field::new("a", DataType::Int8, true)].into()), 114, -1);
    }

    #[test]
    fn numeric_modifier_keeps_precision_and_scale() {
        assert_eq!(of_data_type(&DataType::Decimal128(10, 2)).typmod, ((10 << 16) | 2) + 4);
        assert_eq!(of_data_type(&DataType::Decimal256(50, -2)).typmod, ((50 << 16) | 0x7fe) + 4);
    }

    #[test]
    fn metadata_names_catalog_types_and_uuids() {
        let oid = Field::new("oid", DataType::Int64, false)
            .with_metadata([(TYPE_METADATA.to_string(), "oid".to_string())].into());
        assert_eq!(of_field(&oid).oid(), 26);
        let uuid = Field::new("id", DataType::FixedSizeBinary(16), false)
            .with_metadata([(EXTENSION_METADATA.to_string(), "arrow.uuid".to_string())].into());
        assert_eq!(of_field(&uuid).oid(), 2950);
        let list = DataType::List(Arc::new(uuid));
        assert_eq!(of_data_type(&list).oid(), 2951);
    }

    #[test]
    fn every_oid_is_found_again() {
        for ty in TYPES {
            assert_eq!(by_oid(ty.oid).map(|found| found.base.name), Some(ty.name));
            assert_eq!(by_name(ty.sql_name).map(|found| found.oid), Some(ty.oid));
        }
        assert!(by_oid(1009).is_some_and(|found| found.is_array && found.base.name == "text"));
        assert_eq!(by_oid(0), None);
    }
}
