//! The only place that names the `iceberg` crate: documents of the format in, our own types out.
//!
//! The crate reads metadata, manifest lists and manifests. Its arrays and its scan are of another Arrow version and stay
//! behind this module; an update of the crate is a change of this file.

use super::block::{BlockBuilder, DeleteKind, DeleteRow, ManifestBlock};
use super::metadata::{
    ManifestEntry, ManifestGroup, ManifestList, PartitionField, Reference, Snapshot, Spec,
    TableMetadata, Transform,
};
use super::schema::{Column, Kind, MappedName, NameMapping, Primitive, TableSchema};
use super::values::{array_of, decode, scalar_of};
use crate::error::{Error, Result};
use arrow::array::ArrayRef;
use datafusion::scalar::ScalarValue;
use iceberg::spec as ice;
use iceberg::transform::create_transform_function;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Field id of a position delete file's column with the path of the data file.
const DELETED_FILE_PATH: i32 = i32::MAX - 101;
/// Types of columns that the format has and this reader has not.
const FOREIGN_TYPES: [&str; 4] = ["variant", "geometry", "geography", "unknown"];
/// The property that maps names to field ids.
const NAME_MAPPING: &str = "schema.name-mapping.default";

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
        name_mapping: metadata.properties().get(NAME_MAPPING).cloned(),
        document_bytes: document.len(),
    })
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
        columns: fields.iter().map(|field| column_of(path, field)).collect::<Result<_>>()?,
        json: serde_json::to_string(schema).map_err(|error| corrupt(path, error))?,
    })
}

fn column_of(path: &str, field: &ice::NestedFieldRef) -> Result<Column> {
    let kind = match field.field_type.as_ref() {
        ice::Type::Primitive(primitive) => {
            Kind::Primitive(primitive_of(primitive).ok_or_else(|| Error::NotSupported {
                feature: format!("type {primitive} of Iceberg column \"{}\"", field.name),
            })?)
        }
        ice::Type::Struct(inner) => Kind::Struct(
            inner.fields().iter().map(|child| column_of(path, child)).collect::<Result<_>>()?,
        ),
        ice::Type::List(list) => Kind::List(Box::new(column_of(path, &list.element_field)?)),
        ice::Type::Map(map) => Kind::Map(
            Box::new(column_of(path, &map.key_field)?),
            Box::new(column_of(path, &map.value_field)?),
        ),
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

/// Reads a manifest list.
///
/// # Errors
/// [`Error::CorruptFile`].
pub(super) fn parse_manifest_list(
    path: &str,
    document: &[u8],
    table: &TableMetadata,
) -> Result<ManifestList> {
    let version = match table.format_version {
        1 => ice::FormatVersion::V1,
        2 => ice::FormatVersion::V2,
        _ => ice::FormatVersion::V3,
    };
    let parse = |version| ice::ManifestList::parse_with_version(document, version);
    // A snapshot from before an upgrade has a list of an earlier version.
    let older = |error| {
        [ice::FormatVersion::V2, ice::FormatVersion::V1]
            .into_iter()
            .filter(|older| *older < version)
            .find_map(|older| parse(older).ok())
            .ok_or(error)
    };
    let list = parse(version).or_else(older).map_err(|error| corrupt(path, error))?;
    let manifests: Vec<ManifestEntry> = list.entries().iter().map(manifest_of).collect();
    let mut by_kind: BTreeMap<(i32, bool), Vec<usize>> = BTreeMap::new();
    for (idx, manifest) in manifests.iter().enumerate() {
        by_kind.entry((manifest.spec_id, manifest.is_deletes)).or_default().push(idx);
    }
    let groups = by_kind
        .into_iter()
        .map(|((spec_id, _), members)| group_of(table.spec(spec_id)?, list.entries(), members))
        .collect::<Result<_>>()?;
    Ok(ManifestList { manifests, groups, weight_bytes: document.len() * 4 })
}

fn manifest_of(manifest: &ice::ManifestFile) -> ManifestEntry {
    ManifestEntry {
        path: manifest.manifest_path.clone(),
        length: u64::try_from(manifest.manifest_length).unwrap_or(0),
        spec_id: manifest.partition_spec_id,
        is_deletes: manifest.content == ice::ManifestContentType::Deletes,
        sequence_number: manifest.sequence_number,
        added_snapshot_id: manifest.added_snapshot_id,
        added_files: manifest.added_files_count,
        existing_files: manifest.existing_files_count,
        deleted_files: manifest.deleted_files_count,
        is_encrypted: manifest.key_metadata.is_some(),
    }
}

fn group_of(
    spec: &Spec,
    manifests: &[ice::ManifestFile],
    members: Vec<usize>,
) -> Result<ManifestGroup> {
    let summary = |member: usize, field: usize| manifests[member].partitions.as_ref()?.get(field);
    let (mut lower, mut upper, mut has_null) = (vec![], vec![], vec![]);
    for (idx, field) in spec.fields.iter().enumerate() {
        let Some(result) = field.result else {
            // A type we do not know: null bounds of any type prune nothing.
            let unknown = || Arc::new(arrow::array::NullArray::new(members.len())) as ArrayRef;
            lower.push(unknown());
            upper.push(unknown());
            has_null.push(vec![true; members.len()]);
            continue;
        };
        // Ranges of floats leave NaN out, which is above all values here: they say nothing.
        let bound = |bytes: Option<&[u8]>| {
            let bytes = bytes.filter(|_| !result.is_float());
            bytes
                .and_then(|bytes| decode(result, bytes))
                .map_or_else(|| ScalarValue::try_from(&result.arrow()).map_err(Error::from), Ok)
        };
        let bounds = |pick: fn(&ice::FieldSummary) -> Option<&[u8]>| -> Result<ArrayRef> {
            let values = members.iter().map(|member| bound(summary(*member, idx).and_then(pick)));
            let values = values.collect::<Result<Vec<_>>>()?;
            Ok(ScalarValue::iter_to_array(values)?)
        };
        lower.push(bounds(|summary| summary.lower_bound.as_ref().map(|bytes| bytes.as_slice()))?);
        upper.push(bounds(|summary| summary.upper_bound.as_ref().map(|bytes| bytes.as_slice()))?);
        let nulls = members
            .iter()
            .map(|member| summary(*member, idx).is_none_or(|summary| summary.contains_null));
        has_null.push(nulls.collect());
    }
    Ok(ManifestGroup { spec_id: spec.id, members, lower, upper, has_null })
}

/// Reads a manifest into a block. Files that were removed from the table are left out.
///
/// # Errors
/// [`Error::CorruptFile`].
pub(super) fn parse_manifest(
    path: &str,
    document: &[u8],
    entry: &ManifestEntry,
) -> Result<ManifestBlock> {
    let manifest = ice::Manifest::parse_avro(document).map_err(|error| corrupt(path, error))?;
    let (entries, metadata) = manifest.into_parts();
    let schema = metadata.schema().as_struct();
    let partition_type = metadata
        .partition_spec()
        .partition_type(metadata.schema())
        .map_err(|error| corrupt(path, error))?;
    let live: Vec<&ice::ManifestEntryRef> = entries.iter().filter(|e| e.is_alive()).collect();
    let mut builder = BlockBuilder::new(entry);
    for live in &live {
        // A number that is missing is that of the manifest: of the commit that wrote it.
        let sequence_number = live.sequence_number.unwrap_or(entry.sequence_number);
        let snapshot_id = live.snapshot_id.unwrap_or(entry.added_snapshot_id);
        let is_added = live.status() == ice::ManifestStatus::Added;
        let file = &live.data_file;
        let format = file.file_format().to_string();
        let is_encrypted = file.key_metadata().is_some();
        builder.push_file(
            file.file_path(),
            file.file_size_in_bytes(),
            file.record_count(),
            sequence_number,
        );
        builder.push_origin(snapshot_id, is_added, &format, is_encrypted);
        if entry.is_deletes {
            builder.push_delete(delete_of(path, file)?);
        }
    }
    let partition = |idx: usize, primitive: Primitive| {
        let values = live.iter().map(|live| match live.data_file.partition().fields().get(idx) {
            Some(Some(ice::Literal::Primitive(value))) => Some(value),
            _ => None,
        });
        array_of(primitive, values)
    };
    for (idx, field) in partition_type.fields().iter().enumerate() {
        let primitive = field.field_type.as_primitive_type().and_then(primitive_of);
        builder.push_partition(primitive.map(|primitive| partition(idx, primitive)));
    }
    if !entry.is_deletes {
        for field in schema.fields() {
            let primitive = field.field_type.as_primitive_type().and_then(primitive_of);
            let Some(primitive) = primitive else { continue };
            add_column(&mut builder, field.id, primitive, &live);
        }
    }
    Ok(builder.finish())
}

fn add_column(
    builder: &mut BlockBuilder,
    id: i32,
    primitive: Primitive,
    live: &[&ice::ManifestEntryRef],
) {
    let files = || live.iter().map(|live| &live.data_file);
    let lower =
        array_of(primitive, files().map(|f| f.lower_bounds().get(&id).map(|b| b.literal())));
    let upper =
        array_of(primitive, files().map(|f| f.upper_bounds().get(&id).map(|b| b.literal())));
    let count = |pick: fn(&ice::DataFile) -> &HashMap<i32, u64>| -> Vec<Option<u64>> {
        files().map(|file| pick(file).get(&id).copied()).collect()
    };
    let nulls = count(ice::DataFile::null_value_counts);
    let nans = primitive.is_float().then(|| count(ice::DataFile::nan_value_counts));
    let bytes = files().filter_map(|file| file.column_sizes().get(&id)).sum();
    builder.push_column(id, primitive, (lower, upper), &nulls, nans.as_deref(), bytes);
}

fn delete_of(path: &str, file: &ice::DataFile) -> Result<DeleteRow> {
    let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    let kind = match file.content_type() {
        ice::DataContentType::EqualityDeletes => DeleteKind::Equality(
            file.equality_ids()
                .filter(|ids| !ids.is_empty())
                .ok_or_else(|| corrupt(path, "an equality delete file names no columns"))?,
        ),
        ice::DataContentType::PositionDeletes
            if file.file_format() == ice::DataFileFormat::Puffin =>
        {
            let offset = number(file.content_offset());
            let length = number(file.content_size_in_bytes());
            let (Some(offset), Some(length)) = (offset, length) else {
                return Err(corrupt(path, "a deletion vector without offset and length"));
            };
            DeleteKind::Vector { offset, length }
        }
        ice::DataContentType::PositionDeletes => DeleteKind::Position,
        ice::DataContentType::Data => {
            return Err(corrupt(path, "a data file in a manifest of delete files"));
        }
    };
    // Equal bounds of the path column name the one data file that the deletes are about.
    let bound = |bounds: &HashMap<i32, ice::Datum>| match bounds.get(&DELETED_FILE_PATH)?.literal()
    {
        ice::PrimitiveLiteral::String(path) => Some(path.clone()),
        _ => None,
    };
    let (lower, upper) = (bound(file.lower_bounds()), bound(file.upper_bounds()));
    let only = lower.filter(|lower| upper.as_ref() == Some(lower));
    Ok(DeleteRow { kind, referenced: file.referenced_data_file().or(only) })
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
