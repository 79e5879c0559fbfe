//! Merges the columns of a table's files into one schema.
//!
//! Columns meet by name, in the order they are first seen; a column that a file lacks reads as null there. Types are
//! widened where no value is lost for practical purposes (`int` to `bigint`, integers to `double`, text encodings to one,
//! finer timestamps) and DataFusion's readers cast on the way in. Anything else is an error that names file and column.
//! CSV is read by position, so its files must agree on names and order.

use crate::error::{Error, Result};
use crate::format::FileKind;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Merges file schemas, given with their paths.
///
/// # Errors
/// [`Error::SchemaMismatch`] naming the first file that does not fit those before it.
pub(crate) fn merge(kind: FileKind, schemas: &[(String, SchemaRef)]) -> Result<SchemaRef> {
    let mut fields: Vec<Arc<Field>> = vec![];
    let mut index: HashMap<String, usize> = HashMap::new();
    for (position, (path, schema)) in schemas.iter().enumerate() {
        check_unique(path, schema)?;
        if kind == FileKind::Csv && position > 0 {
            check_header(path, &fields, schema)?;
        }
        for field in schema.fields() {
            match index.get(field.name()) {
                None => {
                    index.insert(field.name().clone(), fields.len());
                    // A file before this one may lack the column.
                    let nullable = field.is_nullable() || position > 0;
                    fields.push(Arc::new(field.as_ref().clone().with_nullable(nullable)));
                }
                Some(&idx) => {
                    let merged = merge_field(kind, path, &fields[idx], field)?;
                    fields[idx] = merged;
                }
            }
        }
        relax_missing(&mut fields, schema);
    }
    let fields: Fields = fields.into_iter().map(without_null_type).collect();
    Ok(Arc::new(Schema::new(fields)))
}

fn merge_field(kind: FileKind, path: &str, a: &Arc<Field>, b: &Arc<Field>) -> Result<Arc<Field>> {
    let nullable = a.is_nullable() || b.is_nullable();
    if a.data_type() == b.data_type() && nullable == a.is_nullable() {
        return Ok(Arc::clone(a));
    }
    let widened = widen(a.data_type(), b.data_type());
    // Every CSV field is text, so text always fits.
    let widened = widened.or_else(|| (kind == FileKind::Csv).then_some(DataType::Utf8));
    let data_type = widened.ok_or_else(|| Error::SchemaMismatch {
        path: path.to_owned(),
        column: b.name().clone(),
        message: format!("is {} here and {} in the files before", b.data_type(), a.data_type()),
    })?;
    Ok(Arc::new(a.as_ref().clone().with_data_type(data_type).with_nullable(nullable)))
}

fn relax_missing(fields: &mut [Arc<Field>], schema: &Schema) {
    for field in fields {
        if !field.is_nullable() && schema.column_with_name(field.name()).is_none() {
            *field = Arc::new(field.as_ref().clone().with_nullable(true));
        }
    }
}

fn check_unique(path: &str, schema: &Schema) -> Result<()> {
    let mut seen = HashSet::new();
    match schema.fields().iter().find(|field| !seen.insert(field.name())) {
        None => Ok(()),
        Some(twice) => Err(Error::SchemaMismatch {
            path: path.to_owned(),
            column: twice.name().clone(),
            message: "appears twice".to_owned(),
        }),
    }
}

fn check_header(path: &str, expected: &[Arc<Field>], schema: &Schema) -> Result<()> {
    let mismatch = |column: &str, message: String| {
        Err(Error::SchemaMismatch { path: path.to_owned(), column: column.to_owned(), message })
    };
    for (position, (field, found)) in expected.iter().zip(schema.fields()).enumerate() {
        if field.name() != found.name() {
            let message = format!(
                "is at position {} where other files have \"{}\"",
                position + 1,
                field.name()
            );
            return mismatch(found.name(), message);
        }
    }
    match (expected.get(schema.fields().len()), schema.fields().get(expected.len())) {
        (Some(missing), _) => mismatch(missing.name(), "is missing in the header".to_owned()),
        (_, Some(extra)) => {
            mismatch(extra.name(), "is not in the header of the other files".to_owned())
        }
        (None, None) => Ok(()),
    }
}

/// A column without any value yet is text.
fn without_null_type(field: Arc<Field>) -> Arc<Field> {
    if field.data_type() == &DataType::Null {
        return Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8));
    }
    field
}

/// Returns the type that holds the values of both, or `None`.
fn widen(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{
        Date32, Decimal128, Decimal256, Dictionary, Float64, List, Null, Struct, Timestamp,
    };
    if a == b {
        return Some(a.clone());
    }
    if let Some(widened) = widen_number(a, b).or_else(|| widen_text(a, b)) {
        return Some(widened);
    }
    match (a, b) {
        (Null, other) | (other, Null) => Some(other.clone()),
        (Dictionary(_, value), other) | (other, Dictionary(_, value)) => match other {
            Dictionary(_, other) => widen(value, other),
            other => widen(value, other),
        },
        (Timestamp(unit_a, tz_a), Timestamp(unit_b, tz_b)) if tz_a == tz_b => {
            Some(Timestamp(finer(*unit_a, *unit_b), tz_a.clone()))
        }
        (Date32, Timestamp(unit, None)) | (Timestamp(unit, None), Date32) => {
            Some(Timestamp(*unit, None))
        }
        (Decimal128(p1, s1), Decimal128(p2, s2)) => widen_decimal(*p1, *s1, *p2, *s2),
        (Decimal128(p1, s1) | Decimal256(p1, s1), Decimal128(p2, s2) | Decimal256(p2, s2)) => {
            let (precision, scale) = decimal_parts(*p1, *s1, *p2, *s2);
            (precision <= 76).then_some(Decimal256(precision, scale))
        }
        (Decimal128(..) | Decimal256(..), Float64) | (Float64, Decimal128(..) | Decimal256(..)) => {
            Some(Float64)
        }
        (List(a), List(b)) => Some(List(widen_child(a, b)?)),
        (Struct(a), Struct(b)) => Some(Struct(widen_struct(a, b)?)),
        _ => None,
    }
}

fn widen_number(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{
        Float16, Float32, Float64, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64,
    };
    let signed = [Int8, Int16, Int32, Int64];
    let unsigned = [UInt8, UInt16, UInt32, UInt64];
    let floats = [Float16, Float32, Float64];
    let rank = |types: &[DataType], t: &DataType| types.iter().position(|other| other == t);
    if let (Some(a), Some(b)) = (rank(&signed, a), rank(&signed, b)) {
        return Some(signed[a.max(b)].clone());
    }
    if let (Some(a), Some(b)) = (rank(&unsigned, a), rank(&unsigned, b)) {
        return Some(unsigned[a.max(b)].clone());
    }
    if let (Some(a), Some(b)) = (rank(&floats, a), rank(&floats, b)) {
        return Some(floats[a.max(b)].clone());
    }
    let is_integer = |t: &DataType| signed.contains(t) || unsigned.contains(t);
    if is_integer(a) && is_integer(b) {
        // An unsigned number fits the next wider signed one; for the widest there is none.
        let unsigned_rank = rank(&unsigned, a).or_else(|| rank(&unsigned, b))?;
        let signed_rank = rank(&signed, a).or_else(|| rank(&signed, b))?;
        return signed.get((unsigned_rank + 1).max(signed_rank)).cloned();
    }
    let is_number = |t: &DataType| is_integer(t) || floats.contains(t);
    (is_number(a) && is_number(b)).then_some(Float64)
}

fn widen_text(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Utf8, Utf8View};
    let is_text = |t: &DataType| matches!(t, Utf8 | LargeUtf8 | Utf8View);
    let is_bytes = |t: &DataType| matches!(t, Binary | LargeBinary | BinaryView);
    if is_text(a) && is_text(b) {
        return Some(Utf8View);
    }
    (is_bytes(a) && is_bytes(b)).then_some(BinaryView)
}

fn decimal_parts(p1: u8, s1: i8, p2: u8, s2: i8) -> (u8, i8) {
    let scale = s1.max(s2);
    let whole = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
    let precision = whole(p1, s1).max(whole(p2, s2)) + i16::from(scale);
    (u8::try_from(precision).unwrap_or(u8::MAX), scale)
}

fn widen_decimal(p1: u8, s1: i8, p2: u8, s2: i8) -> Option<DataType> {
    match decimal_parts(p1, s1, p2, s2) {
        (precision, scale) if precision <= 38 => Some(DataType::Decimal128(precision, scale)),
        (precision, scale) if precision <= 76 => Some(DataType::Decimal256(precision, scale)),
        _ => None,
    }
}

fn finer(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    let rank = |unit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    };
    if rank(a) >= rank(b) { a } else { b }
}

fn widen_child(a: &Arc<Field>, b: &Arc<Field>) -> Option<Arc<Field>> {
    let data_type = widen(a.data_type(), b.data_type())?;
    let nullable = a.is_nullable() || b.is_nullable();
    Some(Arc::new(a.as_ref().clone().with_data_type(data_type).with_nullable(nullable)))
}

fn widen_struct(a: &Fields, b: &Fields) -> Option<Fields> {
    let mut merged: Vec<Arc<Field>> = vec![];
    for field in a {
        merged.push(match b.find(field.name()) {
            Some((_, other)) => widen_child(field, other)?,
            None => Arc::new(field.as_ref().clone().with_nullable(true)),
        });
    }
    for field in b.iter().filter(|field| a.find(field.name()).is_none()) {
        merged.push(Arc::new(field.as_ref().clone().with_nullable(true)));
    }
    Some(merged.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType::{Boolean, Float64, Int32, Int64, UInt32, UInt64, Utf8, Utf8View};

    fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
        let field = |(name, t): &(&str, DataType)| Field::new(*name, t.clone(), false);
        Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
    }

    fn check(kind: FileKind, a: &[(&str, DataType)], b: &[(&str, DataType)], expected: &str) {
        let merged = merge(kind, &[("f1".into(), schema(a)), ("f2".into(), schema(b))]);
        let text = match merged {
            Ok(schema) => {
                let show = |f: &Arc<Field>| {
                    format!(
                        "{} {}{}",
                        f.name(),
                        f.data_type(),
                        if f.is_nullable() { "?" } else { "" }
                    )
                };
                schema.fields().iter().map(show).collect::<Vec<_>>().join(", ")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn columns_meet_by_name_and_widen() {
        let parquet = FileKind::Parquet;
        check(parquet, &[("a", Int32)], &[("a", Int64)], "a Int64");
        check(
            parquet,
            &[("a", Int64), ("b", Utf8)],
            &[("b", Utf8View), ("c", Int32)],
            "a Int64?, b Utf8View, c Int32?",
        );
        check(parquet, &[("a", Int32)], &[("a", Float64)], "a Float64");
        check(parquet, &[("a", UInt32)], &[("a", Int32)], "a Int64");
        check(
            parquet,
            &[("a", UInt64)],
            &[("a", Int64)],
            "file \"f2\" does not fit its table: column \"a\" is Int64 here and UInt64 in the files before",
        );
        check(parquet, &[("a", DataType::Null)], &[("a", Int64)], "a Int64");
        check(parquet, &[("a", DataType::Null)], &[("a", DataType::Null)], "a Utf8");
        check(
            parquet,
            &[("a", DataType::Decimal128(10, 2))],
            &[("a", DataType::Decimal128(12, 5))],
            "a Decimal128(13, 5)",
        );
        check(
            parquet,
            &[("a", Utf8)],
            &[("a", Int64)],
            "file \"f2\" does not fit its table: column \"a\" is Int64 here and Utf8 in the files before",
        );
    }

    #[test]
    fn csv_is_positional_and_falls_back_to_text() {
        let csv = FileKind::Csv;
        check(csv, &[("a", Int64)], &[("a", Boolean)], "a Utf8");
        check(
            csv,
            &[("a", Int64), ("b", Int64)],
            &[("b", Int64), ("a", Int64)],
            "file \"f2\" does not fit its table: column \"b\" is at position 1 where other files have \"a\"",
        );
        check(
            csv,
            &[("a", Int64), ("b", Int64)],
            &[("a", Int64)],
            "file \"f2\" does not fit its table: column \"b\" is missing in the header",
        );
        check(
            csv,
            &[("a", Int64)],
            &[("a", Int64), ("b", Int64)],
            "file \"f2\" does not fit its table: column \"b\" is not in the header of the other files",
        );
    }
}
