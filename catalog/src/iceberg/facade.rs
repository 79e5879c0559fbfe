//! The only place that names the `iceberg` crate, beside [`super::values`]: documents of the format in, our own types out.
//!
//! The crate reads table metadata and the headers of manifests; their rows are read by [`super::manifest`]. Its arrays and
//! its scan are of another Arrow version and stay behind this module; an update of the crate is a change of this file.

use super::metadata::{PartitionField, Reference, Snapshot, Spec, TableMetadata, Transform};
use super::schema::{Column, Kind, MappedName, NameMapping, Primitive, TableSchema};
use super::values::scalar_of;
use crate::error::{Error, Result};
use datafusion::scalar::ScalarValue;
use iceberg::spec as ice;
use iceberg::transform::create_transform_function;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Types of columns that the format has and this reader has not.
const FOREIGN_TYPES: [&str; 4] = ["variant", "geometry", "geography", "unknown"];
/// Longest `fixed` values of which manifests are asked.
const MAX_FIXED_BYTES: i32 = 4096;
/// The type of blobs of a statistics file that count distinct values.
const THETA_SKETCH: &str = "apache-datasketches-theta-v1";
/// The property that maps names to field ids.
const NAME_MAPPING: &str = "schema.name-mapping.default";
/// The property that says what a table is for.
const COMMENT: &str = "comment";

fn corrupt(path: &str, error: impl std::fmt::Display) -> Error {
    let text = error.to_string();
    let message = text.lines().next().unwrap_or_default().to_owned();
    Error::CorruptFile { path: path.to_owned(), message }
}

/// Reads a table's metadata document.
///
/// # Errors
/// [`Error::NotSupported`] names a column type or a version that this reader has not; else [`Error::CorruptFile`].
pub(super) fn parse_metadata(path: &str, document: &[u8]) -> Result<TableMetadata> {
    let parsed: Result<ice::TableMetadata, _> = serde_json::from_slice(document);
    let metadata = match parsed {
        Ok(metadata) => metadata,
        Err(error) => return Err(unsupported(document).unwrap_or_else(|| corrupt(path, error))),
    };
    let schemas = metadata
        .schemas_iter()
        .map(|schema| Ok((schema.schema_id(), Arc::new(table_schema(path, schema)?))))
        .collect::<Result<BTreeMap<_, _>>>()?;
    let specs = metadata.partition_specs_iter();
    let specs = specs.map(|spec| (spec.spec_id(), Arc::new(spec_of(&metadata, spec)))).collect();
    let snapshots = metadata.snapshots();
    let snapshots = snapshots.map(|s| (s.snapshot_id(), Arc::new(snapshot_of(s)))).collect();
    Ok(TableMetadata {
        format_version: metadata.format_version() as u8,
        location: metadata.location().to_owned(),
        schemas,
        current_schema_id: metadata.current_schema_id(),
        specs,
        snapshots,
        current_snapshot_id: metadata.current_snapshot_id(),
        refs: references(document),
        history: metadata.history().iter().map(|log| (log.timestamp_ms, log.snapshot_id)).collect(),
        n_distinct: metadata.statistics_iter().map(n_distinct_of).collect(),
        name_mapping: metadata.properties().get(NAME_MAPPING).cloned(),
        comment: metadata.properties().get(COMMENT).cloned(),
        document_bytes: document.len(),
    })
}

/// Returns the distinct values that a statistics file tells, by field. They are written into the metadata too, so that the
/// file itself need not be read.
fn n_distinct_of(file: &ice::StatisticsFile) -> (i64, BTreeMap<i32, u64>) {
    let sketches = file.blob_metadata.iter().filter(|blob| blob.r#type == THETA_SKETCH);
    let counted = sketches.filter_map(|blob| match blob.fields.as_slice() {
        [field] => Some((*field, blob.properties.get("ndv")?.parse().ok()?)),
        _ => None,
    });
    (file.snapshot_id, counted.collect())
}

/// Finds out what a document that cannot be read has that we have not.
fn unsupported(document: &[u8]) -> Option<Error> {
    let json: serde_json::Value = serde_json::from_slice(document).ok()?;
    let not_supported = |feature: String| Some(Error::NotSupported { feature });
    let version = json.get("format-version")?.as_u64()?;
    if version > 3 {
        return not_supported(format!("version {version} of the Iceberg format"));
    }
    let mut pending: Vec<&serde_json::Value> = vec![json.get("schemas").or(json.get("schema"))?];
    while let Some(value) = pending.pop() {
        match value {
            serde_json::Value::Array(values) => pending.extend(values),
            serde_json::Value::Object(fields) => {
                pending.extend(fields.values());
                let name = fields.get("name").and_then(|name| name.as_str());
                let data_type = fields.get("type").and_then(|name| name.as_str());
                let foreign = data_type
                    .filter(|found| FOREIGN_TYPES.iter().any(|known| found.starts_with(known)));
                if let (Some(name), Some(foreign)) = (name, foreign) {
                    return not_supported(format!("type {foreign} of Iceberg column \"{name}\""));
                }
            }
            _ => {}
        }
    }
    None
}

/// Branches and tags. The crate keeps them to itself, so they are read from the document.
fn references(document: &[u8]) -> BTreeMap<String, Reference> {
    #[derive(serde::Deserialize)]
    struct Document {
        #[serde(default)]
        refs: BTreeMap<String, ReferenceDocument>,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct ReferenceDocument {
        snapshot_id: i64,
        r#type: String,
        max_ref_age_ms: Option<i64>,
        min_snapshots_to_keep: Option<i32>,
        max_snapshot_age_ms: Option<i64>,
    }
    let refs = serde_json::from_slice::<Document>(document).map(|document| document.refs);
    let reference = |(name, found): (String, ReferenceDocument)| {
        let reference = Reference {
            snapshot_id: found.snapshot_id,
            is_branch: found.r#type == "branch",
            max_ref_age_ms: found.max_ref_age_ms,
            min_snapshots_to_keep: found.min_snapshots_to_keep,
            max_snapshot_age_ms: found.max_snapshot_age_ms,
        };
        (name, reference)
    };
    refs.unwrap_or_default().into_iter().map(reference).collect()
}

fn snapshot_of(snapshot: &ice::SnapshotRef) -> Snapshot {
    let summary = snapshot.summary();
    Snapshot {
        id: snapshot.snapshot_id(),
        parent_id: snapshot.parent_snapshot_id(),
        sequence_number: snapshot.sequence_number(),
        timestamp_ms: snapshot.timestamp_ms(),
        manifest_list: snapshot.manifest_list().to_owned(),
        operation: summary.operation.as_str().to_owned(),
        summary: summary.additional_properties.clone().into_iter().collect(),
        schema_id: snapshot.schema_id(),
    }
}

fn spec_of(metadata: &ice::TableMetadata, spec: &ice::PartitionSpec) -> Spec {
    let source_type = |id: i32| {
        let current = metadata.current_schema().field_by_id(id);
        let any = || metadata.schemas_iter().find_map(|schema| schema.field_by_id(id));
        current.or_else(any).map(|field| *field.field_type.clone())
    };
    let field = |field: &ice::PartitionField| {
        let source = source_type(field.source_id);
        let result = source.as_ref().and_then(|source| field.transform.result_type(source).ok());
        let primitive = |found: &ice::Type| found.as_primitive_type().and_then(primitive_of);
        PartitionField {
            id: field.field_id,
            name: field.name.clone(),
            source_id: field.source_id,
            transform: transform_of(field.transform),
            source: source.as_ref().and_then(primitive),
            result: result.as_ref().and_then(primitive),
        }
    };
    Spec { id: spec.spec_id(), fields: spec.fields().iter().map(field).collect() }
}

fn transform_of(transform: ice::Transform) -> Transform {
    match transform {
        ice::Transform::Identity => Transform::Identity,
        ice::Transform::Bucket(n) => Transform::Bucket(n),
        ice::Transform::Truncate(width) => Transform::Truncate(width),
        ice::Transform::Year => Transform::Year,
        ice::Transform::Month => Transform::Month,
        ice::Transform::Day => Transform::Day,
        ice::Transform::Hour => Transform::Hour,
        ice::Transform::Void => Transform::Void,
        ice::Transform::Unknown => Transform::Unknown,
    }
}

fn primitive_of(found: &ice::PrimitiveType) -> Option<Primitive> {
    Some(match found {
        ice::PrimitiveType::Boolean => Primitive::Boolean,
        ice::PrimitiveType::Int => Primitive::Int,
        ice::PrimitiveType::Long => Primitive::Long,
        ice::PrimitiveType::Float => Primitive::Float,
        ice::PrimitiveType::Double => Primitive::Double,
        ice::PrimitiveType::Decimal { precision, scale } => Primitive::Decimal {
            precision: u8::try_from(*precision).ok().filter(|precision| *precision <= 38)?,
            scale: i8::try_from(*scale).ok()?,
        },
        ice::PrimitiveType::Date => Primitive::Date,
        ice::PrimitiveType::Time => Primitive::Time,
        ice::PrimitiveType::Timestamp => Primitive::Timestamp,
        ice::PrimitiveType::Timestamptz => Primitive::Timestamptz,
        ice::PrimitiveType::TimestampNs => Primitive::TimestampNs,
        ice::PrimitiveType::TimestamptzNs => Primitive::TimestamptzNs,
        ice::PrimitiveType::String => Primitive::String,
        ice::PrimitiveType::Uuid => Primitive::Uuid,
        ice::PrimitiveType::Fixed(length) => Primitive::Fixed(i32::try_from(*length).ok()?),
        ice::PrimitiveType::Binary => Primitive::Binary,
    })
}

/// Reads a schema as [`TableSchema::json`] holds it.
///
/// # Errors
/// [`Error::CorruptFile`] when it is none.
pub(super) fn parse_schema(json: &str) -> Result<TableSchema> {
    let schema = serde_json::from_str(json).map_err(|error| corrupt("schema", error))?;
    table_schema("schema", &schema)
}

fn table_schema(path: &str, schema: &ice::Schema) -> Result<TableSchema> {
    let fields = schema.as_struct().fields();
    Ok(TableSchema {
        id: schema.schema_id(),
        columns: fields.iter().map(column_of).collect::<Result<_>>()?,
        json: serde_json::to_string(schema).map_err(|error| corrupt(path, error))?,
    })
}

fn column_of(field: &ice::NestedFieldRef) -> Result<Column> {
    let kind = match field.field_type.as_ref() {
        ice::Type::Primitive(primitive) => {
            Kind::Primitive(primitive_of(primitive).ok_or_else(|| Error::NotSupported {
                feature: format!("type {primitive} of Iceberg column \"{}\"", field.name),
            })?)
        }
        ice::Type::Struct(inner) => {
            Kind::Struct(inner.fields().iter().map(column_of).collect::<Result<_>>()?)
        }
        ice::Type::List(list) => Kind::List(Box::new(column_of(&list.element_field)?)),
        ice::Type::Map(map) => {
            Kind::Map(Box::new(column_of(&map.key_field)?), Box::new(column_of(&map.value_field)?))
        }
    };
    let initial_default = match (&field.initial_default, &kind) {
        (None, _) => None,
        (Some(ice::Literal::Primitive(value)), Kind::Primitive(primitive)) => {
            scalar_of(*primitive, value)
        }
        _ => {
            return Err(Error::NotSupported {
                feature: format!("a default of nested Iceberg column \"{}\"", field.name),
            });
        }
    };
    Ok(Column {
        id: field.id,
        name: field.name.clone(),
        is_required: field.required,
        kind,
        initial_default,
    })
}

/// Reads the property `schema.name-mapping.default`.
///
/// # Errors
/// [`Error::CorruptFile`] when it is none.
pub(super) fn parse_name_mapping(json: &str) -> Result<NameMapping> {
    fn mapped(field: &ice::MappedField) -> MappedName {
        let children = field.fields().iter().map(|child| mapped(child)).collect();
        let names = field.names().to_vec();
        MappedName { id: field.field_id(), names, children: NameMapping { fields: children } }
    }
    let mapping: ice::NameMapping =
        serde_json::from_str(json).map_err(|error| corrupt(NAME_MAPPING, error))?;
    Ok(NameMapping { fields: mapping.fields().iter().map(mapped).collect() })
}

/// What the header of a manifest says of its entries.
pub(super) struct ManifestHeader {
    /// Whether entries are those of version 1, which has no sequence numbers.
    pub(super) is_v1: bool,
    /// Top-level columns of a primitive type, of which there may be bounds.
    pub(super) columns: Vec<(i32, Primitive)>,
    pub(super) partition: Vec<PartitionValue>,
}

/// A field of the partition values.
pub(super) struct PartitionValue {
    pub(super) id: i32,
    pub(super) name: String,
    /// `None` for a type that we do not know.
    pub(super) primitive: Option<Primitive>,
}

/// Reads the header of a manifest.
///
/// # Errors
/// [`Error::CorruptFile`].
pub(super) fn manifest_header(
    path: &str,
    meta: &HashMap<String, Vec<u8>>,
) -> Result<ManifestHeader> {
    let metadata = ice::ManifestMetadata::parse(meta).map_err(|error| corrupt(path, error))?;
    let partition = metadata.partition_spec().partition_type(metadata.schema());
    let partition = partition.map_err(|error| corrupt(path, error))?;
    // Values of a fixed length take their bytes even where there are none.
    let is_short =
        |found: &Primitive| !matches!(found, Primitive::Fixed(n) if *n > MAX_FIXED_BYTES);
    let primitive = |field: &ice::NestedFieldRef| {
        field.field_type.as_primitive_type().and_then(primitive_of).filter(is_short)
    };
    let columns = metadata.schema().as_struct().fields().iter();
    let value = |field: &ice::NestedFieldRef| PartitionValue {
        id: field.id,
        name: field.name.clone(),
        primitive: primitive(field),
    };
    Ok(ManifestHeader {
        is_v1: *metadata.format_version() == ice::FormatVersion::V1,
        columns: columns.filter_map(|field| Some((field.id, primitive(field)?))).collect(),
        partition: partition.fields().iter().map(value).collect(),
    })
}

/// Returns the bucket of a value; `None` when the value has none.
pub(super) fn bucket_of(n_buckets: u32, source: Primitive, value: &ScalarValue) -> Option<i32> {
    let datum = datum_of(source, value)?;
    let function = create_transform_function(&ice::Transform::Bucket(n_buckets)).ok()?;
    match function.transform_literal(&datum).ok()??.literal() {
        ice::PrimitiveLiteral::Int(bucket) => Some(*bucket),
        _ => None,
    }
}

fn datum_of(source: Primitive, value: &ScalarValue) -> Option<ice::Datum> {
    let value = value.cast_to(&source.arrow()).ok()?;
    Some(match (source, value) {
        (Primitive::Int, ScalarValue::Int32(Some(value))) => ice::Datum::int(value),
        (Primitive::Long, ScalarValue::Int64(Some(value))) => ice::Datum::long(value),
        (Primitive::Date, ScalarValue::Date32(Some(value))) => ice::Datum::date(value),
        (Primitive::Timestamp, ScalarValue::TimestampMicrosecond(Some(value), _)) => {
            ice::Datum::timestamp_micros(value)
        }
        (Primitive::Timestamptz, ScalarValue::TimestampMicrosecond(Some(value), _)) => {
            ice::Datum::timestamptz_micros(value)
        }
        (Primitive::String, ScalarValue::Utf8View(Some(value))) => ice::Datum::string(value),
        (Primitive::Binary, ScalarValue::BinaryView(Some(value))) => ice::Datum::binary(value),
        // Buckets of the other types are rare; their files are not pruned.
        _ => return None,
    })
}
