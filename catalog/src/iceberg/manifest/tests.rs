//! Manifests that other engines wrote, read by this reader and by the `iceberg` crate's, and damaged.

use super::super::avro::rewrite;
use super::super::block::{Counts, ManifestBlock};
use super::super::metadata::{ManifestGroup, TableMetadata};
use super::super::values::scalar_of;
use super::super::{facade, manifest_list};
use super::*;
use arrow::array::{Array, ArrayRef, new_empty_array};
use datafusion::scalar::ScalarValue;
use iceberg::spec as ice;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A manifest of a golden table, and what its list says of it.
struct Golden {
    path: PathBuf,
    document: Vec<u8>,
    entry: ManifestEntry,
}

/// A golden table: its newest metadata and folder.
struct Table {
    folder: PathBuf,
    metadata: TableMetadata,
    json: Vec<u8>,
}

impl Table {
    fn all() -> Vec<Self> {
        let tables = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/iceberg/tables");
        let table = |folder: PathBuf| {
            let mut documents: Vec<_> = std::fs::read_dir(folder.join("metadata"))
                .unwrap()
                .map(|e| e.unwrap().path())
                .collect();
            documents.retain(|path| path.display().to_string().ends_with(".metadata.json"));
            // Numbers grow longer.
            documents.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
            let json = std::fs::read(documents.last().unwrap()).unwrap();
            let metadata = facade::parse_metadata("test", &json).unwrap();
            Self { folder, metadata, json }
        };
        let folders = std::fs::read_dir(tables).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<_> = folders.map(table).collect();
        all.sort_by(|a, b| a.folder.cmp(&b.folder));
        assert!(all.len() > 5);
        all
    }

    fn read(&self, location: &str) -> (PathBuf, Vec<u8>) {
        let path = self.folder.join("metadata").join(location.rsplit('/').next().unwrap());
        let document = std::fs::read(&path).unwrap();
        (path, document)
    }

    fn lists(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.metadata.snapshots.values().map(|s| self.read(&s.manifest_list)).collect()
    }

    fn manifests(&self) -> Vec<Golden> {
        let mut all: HashMap<PathBuf, Golden> = HashMap::new();
        for (path, list) in self.lists() {
            let list = manifest_list::parse(&path.display().to_string(), &list, &self.metadata);
            for entry in list.unwrap().manifests {
                let (path, document) = self.read(&entry.path);
                all.insert(path.clone(), Golden { path, document, entry });
            }
        }
        let mut all: Vec<_> = all.into_values().collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all
    }
}

fn array_of(primitive: Primitive, values: Vec<Option<&ice::PrimitiveLiteral>>) -> ArrayRef {
    let scalar = |value: &Option<&ice::PrimitiveLiteral>| {
        let scalar = value.and_then(|value| scalar_of(primitive, value));
        scalar.unwrap_or_else(|| ScalarValue::try_from(&primitive.arrow()).unwrap())
    };
    match values.is_empty() {
        true => new_empty_array(&primitive.arrow()),
        false => ScalarValue::iter_to_array(values.iter().map(scalar)).unwrap(),
    }
}

/// Reads a manifest with the `iceberg` crate.
fn oracle(golden: &Golden) -> ManifestBlock {
    let manifest = ice::Manifest::parse_avro(&golden.document).unwrap();
    let (entries, metadata) = manifest.into_parts();
    let header = facade::manifest_header("test", &Container::open(&golden.document).unwrap().meta);
    let header = header.unwrap();
    let live: Vec<_> = entries.iter().filter(|entry| entry.is_alive()).collect();
    let files: Vec<_> = live.iter().map(|live| &live.data_file).collect();
    let mut builder = BlockBuilder::new(&golden.entry);
    for live in &live {
        let file = &live.data_file;
        let number = live.sequence_number.unwrap_or(golden.entry.sequence_number);
        builder.push_file(file.file_path(), file.file_size_in_bytes(), file.record_count(), number);
        builder.push_origin(
            live.snapshot_id.unwrap_or(golden.entry.added_snapshot_id),
            live.status() == ice::ManifestStatus::Added,
            &file.file_format().to_string(),
            file.key_metadata().is_some(),
        );
        if golden.entry.is_deletes {
            builder.push_delete(oracle_delete(file));
        }
    }
    for (idx, field) in header.partition.iter().enumerate() {
        let value = |file: &&ice::DataFile| match file.partition().fields()[idx].clone() {
            Some(ice::Literal::Primitive(value)) => Some(value),
            _ => None,
        };
        let values: Vec<_> = files.iter().map(value).collect();
        let values = values.iter().map(Option::as_ref).collect();
        builder.push_partition(field.primitive.map(|primitive| array_of(primitive, values)));
    }
    assert_eq!(metadata.content() == &ice::ManifestContentType::Deletes, golden.entry.is_deletes);
    for (id, primitive) in header.columns.iter().filter(|_| !golden.entry.is_deletes) {
        let bounds = |pick: fn(&ice::DataFile) -> &HashMap<i32, ice::Datum>| {
            let bounds = files.iter().map(|file| pick(file).get(id).map(ice::Datum::literal));
            array_of(*primitive, bounds.collect())
        };
        let counts = |pick: fn(&ice::DataFile) -> &HashMap<i32, u64>| -> Vec<Option<u64>> {
            files.iter().map(|file| pick(file).get(id).copied()).collect()
        };
        let nans = primitive.is_float().then(|| counts(ice::DataFile::nan_value_counts));
        builder.push_column(
            *id,
            *primitive,
            (bounds(ice::DataFile::lower_bounds), bounds(ice::DataFile::upper_bounds)),
            &counts(ice::DataFile::null_value_counts),
            nans.as_deref(),
            counts(ice::DataFile::column_sizes).into_iter().flatten().sum(),
        );
    }
    builder.finish()
}

fn oracle_delete(file: &ice::DataFile) -> DeleteRow {
    let kind = match file.content_type() {
        ice::DataContentType::EqualityDeletes => DeleteKind::Equality(file.equality_ids().unwrap()),
        ice::DataContentType::PositionDeletes => {
            match (file.content_offset(), file.content_size_in_bytes()) {
                (Some(offset), Some(length)) => {
                    DeleteKind::Vector { offset: offset as u64, length: length as u64 }
                }
                _ => DeleteKind::Position,
            }
        }
        ice::DataContentType::Data => panic!("a data file in a manifest of delete files"),
    };
    let bound = |bounds: &HashMap<i32, ice::Datum>| match bounds
        .get(&DELETED_FILE_PATH)
        .map(ice::Datum::literal)
    {
        Some(ice::PrimitiveLiteral::String(path)) => Some(path.clone()),
        _ => None,
    };
    let (lower, upper) = (bound(file.lower_bounds()), bound(file.upper_bounds()));
    let only = lower.filter(|lower| upper.as_ref() == Some(lower));
    DeleteRow { kind, referenced: file.referenced_data_file().or(only) }
}

/// Counts as they were pushed, `None` standing for no count at all.
fn counts_of(counts: &Counts) -> Option<Vec<Option<u64>>> {
    match counts {
        Counts::Unknown => None,
        Counts::Zero => Some(vec![]),
        Counts::Values(values) => Some(values.iter().collect()),
    }
}

#[track_caller]
fn assert_same(found: &ManifestBlock, expected: &ManifestBlock, name: &str) {
    assert_eq!(found.spec_id, expected.spec_id, "{name}");
    assert_eq!(found.paths, expected.paths, "{name}");
    assert_eq!(found.sizes, expected.sizes, "{name}");
    assert_eq!(found.n_rows, expected.n_rows, "{name}");
    assert_eq!(found.sequence_numbers, expected.sequence_numbers, "{name}");
    let show = |block: &ManifestBlock| format!("{:?} {:?}", block.origins, block.deletes);
    assert_eq!(show(found), show(expected), "{name}");
    assert_eq!(found.unreadable, expected.unreadable, "{name}");
    assert_eq!(&found.partitions, &expected.partitions, "{name}");
    assert_eq!(found.columns.len(), expected.columns.len(), "{name}");
    for (id, found) in &found.columns {
        let expected = &expected.columns[id];
        assert_eq!(&found.lower, &expected.lower, "{name}: lower bounds of {id}");
        assert_eq!(&found.upper, &expected.upper, "{name}: upper bounds of {id}");
        assert_eq!(counts_of(&found.nulls), counts_of(&expected.nulls), "{name}: nulls of {id}");
        assert_eq!(found.bytes, expected.bytes, "{name}: bytes of {id}");
    }
}

#[test]
fn both_readers_read_the_same_from_manifests_of_other_engines() {
    let (mut n_files, mut n_deletes, mut n_bounds) = (0, 0, 0);
    for golden in Table::all().iter().flat_map(Table::manifests) {
        let name = golden.path.display().to_string();
        let block = parse(&name, &golden.document, &golden.entry).unwrap();
        assert_same(&block, &oracle(&golden), &name);
        n_files += block.len();
        n_deletes += block.deletes.len();
        n_bounds += block.columns.values().filter(|column| column.lower.is_some()).count();
    }
    assert!(n_files > 50 && n_deletes > 10 && n_bounds > 100, "{n_files} {n_deletes} {n_bounds}");
}

/// Compares the ranges of partition values; returns how many there are.
fn check_ranges(
    table: &Table,
    oracle: &ice::TableMetadata,
    group: &ManifestGroup,
    expected: &[ice::ManifestFile],
    name: &str,
) -> usize {
    let spec = oracle.partition_spec_by_id(group.spec_id).unwrap();
    // A column that a spec is made from may be gone from the current schema.
    let Ok(types) = spec.partition_type(oracle.current_schema()) else { return 0 };
    let mut n_ranges = 0;
    for (idx, field) in types.fields().iter().enumerate() {
        let data_type = field.field_type.as_primitive_type().unwrap();
        let primitive = table.metadata.spec(group.spec_id).unwrap().fields[idx].result.unwrap();
        for (row, member) in group.members.iter().enumerate() {
            let summary = &expected[*member].partitions.as_ref().unwrap()[idx];
            assert_eq!(group.has_null[idx][row], summary.contains_null, "{name}");
            let Some(bytes) = &summary.lower_bound else { continue };
            let datum = ice::Datum::try_from_bytes(bytes, data_type.clone()).unwrap();
            let found = ScalarValue::try_from_array(&group.lower[idx], row).unwrap();
            assert_eq!(Some(found), scalar_of(primitive, datum.literal()), "{name}");
            n_ranges += 1;
        }
    }
    n_ranges
}

#[test]
fn both_readers_read_the_same_from_manifest_lists_of_other_engines() {
    let mut n_ranges = 0;
    for table in Table::all() {
        let oracle: ice::TableMetadata = serde_json::from_slice(&table.json).unwrap();
        for (path, document) in table.lists() {
            let name = path.display().to_string();
            let list = manifest_list::parse(&name, &document, &table.metadata).unwrap();
            let expected = [ice::FormatVersion::V3, ice::FormatVersion::V2, ice::FormatVersion::V1]
                .into_iter()
                .filter(|version| *version <= oracle.format_version())
                .find_map(|version| ice::ManifestList::parse_with_version(&document, version).ok());
            let expected = expected.unwrap();
            let of = |manifest: &ice::ManifestFile| ManifestEntry {
                path: manifest.manifest_path.clone(),
                length: manifest.manifest_length as u64,
                spec_id: manifest.partition_spec_id,
                is_deletes: manifest.content == ice::ManifestContentType::Deletes,
                sequence_number: manifest.sequence_number,
                added_snapshot_id: manifest.added_snapshot_id,
                added_files: manifest.added_files_count,
                existing_files: manifest.existing_files_count,
                deleted_files: manifest.deleted_files_count,
                is_encrypted: manifest.key_metadata.is_some(),
                first_row_id: manifest.first_row_id.and_then(|id| i64::try_from(id).ok()),
            };
            assert_eq!(list.manifests.len(), expected.entries().len(), "{name}");
            for (found, expected) in list.manifests.iter().zip(expected.entries()) {
                let mut expected = of(expected);
                if oracle.format_version() == ice::FormatVersion::V1 {
                    // The crate knows these fields of version 1 by names that they no longer have.
                    let counts = (found.added_files, found.existing_files, found.deleted_files);
                    assert!(counts.0.is_some() && counts.1.is_some() && counts.2.is_some());
                    (expected.added_files, expected.existing_files) = (counts.0, counts.1);
                    expected.deleted_files = counts.2;
                }
                assert_eq!(*found, expected, "{name}");
            }
            for group in &list.groups {
                n_ranges += check_ranges(&table, &oracle, group, expected.entries(), &name);
            }
        }
    }
    assert!(n_ranges > 10, "{n_ranges}");
}

/// Applies `edit` to every field of a schema.
fn each_field(schema: &mut Value, edit: &dyn Fn(&mut serde_json::Map<String, Value>)) {
    match schema {
        Value::Array(values) => values.iter_mut().for_each(|value| each_field(value, edit)),
        Value::Object(map) => {
            map.values_mut().for_each(|value| each_field(value, edit));
            if map.contains_key("field-id") {
                edit(map);
            }
        }
        _ => {}
    }
}

#[test]
fn files_with_other_codecs_and_names_are_the_same_manifest() {
    for golden in Table::all().iter().flat_map(Table::manifests) {
        let name = golden.path.display().to_string();
        let block = parse(&name, &golden.document, &golden.entry).unwrap();
        let check = |codec: &str, edit: &dyn Fn(&mut Value)| {
            let document = rewrite(&golden.document, codec, edit);
            assert_same(&parse(&name, &document, &golden.entry).unwrap(), &block, &name);
        };
        check("null", &|_| {});
        check("deflate", &|_| {});
        check("snappy", &|_| {});
        check("zstandard", &|_| {});
        check("null", &|schema| each_field(schema, &|field| drop(field.remove("field-id"))));
        check("null", &|schema| {
            each_field(schema, &|field| {
                let name = field["name"].as_str().unwrap().to_owned();
                if name != "key" && name != "value" {
                    field.insert("name".to_owned(), Value::String(format!("{name}_x")));
                }
            });
        });
    }
}

#[test]
fn missing_fields_and_missing_files_are_errors() {
    let tables = Table::all();
    let golden = tables.iter().flat_map(Table::manifests).find(|golden| !golden.entry.is_deletes);
    let golden = golden.unwrap();
    let refused = |document: &[u8], entry: &ManifestEntry, expected: &str| {
        let error = parse("m.avro", document, entry).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("m.avro"), "{error}");
    };
    for (id, name) in [(0, "status"), (100, "file_path"), (103, "record_count")] {
        let document = rewrite(&golden.document, "null", |schema| {
            each_field(schema, &|field| {
                if field["field-id"] == id {
                    field.insert("field-id".to_owned(), 9999.into());
                }
            });
        });
        refused(&document, &golden.entry, name);
    }
    let mut entry = golden.entry.clone();
    entry.added_files = entry.added_files.map(|n| n + 1);
    refused(&golden.document, &entry, "files instead of");
    entry = golden.entry.clone();
    entry.is_deletes = true;
    refused(&golden.document, &entry, "a data file in a manifest of delete files");
}

/// A block whose parts fit each other.
fn check_valid(block: &ManifestBlock) {
    let n = block.len();
    assert_eq!((block.paths.len(), block.n_rows.len(), block.origins.len()), (n, n, n));
    assert_eq!(block.sequence_numbers.len(), n);
    assert!(!block.is_deletes || block.deletes.len() == n);
    let bounds = block.columns.values().flat_map(|column| column.lower.iter().chain(&column.upper));
    assert!(block.partitions.iter().flatten().chain(bounds).all(|array| array.len() == n));
}

#[test]
fn damaged_manifests_are_errors_or_whole_blocks() {
    for table in Table::all() {
        // The largest manifest of each kind is damaged in every place, with and without compression.
        for is_deletes in [false, true] {
            let mut manifests = table.manifests();
            manifests.retain(|golden| golden.entry.is_deletes == is_deletes);
            let Some(golden) = manifests.iter().max_by_key(|golden| golden.document.len()) else {
                continue;
            };
            let whole = parse("m.avro", &golden.document, &golden.entry).unwrap();
            for codec in ["deflate", "null"] {
                damage(&rewrite(&golden.document, codec, |_| {}), &golden.entry, whole.len());
            }
        }
    }
}

fn damage(document: &[u8], entry: &ManifestEntry, n_files: usize) {
    // Headers are long and mostly schemas: cut and changed here and there only.
    let rows = document.len() - document.len().min(500);
    let places = (0..rows).step_by(61).chain(rows..document.len());
    for place in places {
        if let Ok(block) = parse("m.avro", &document[..place], entry) {
            assert_eq!(block.len(), n_files, "cut at {place}");
        }
        let mut changed = document.to_vec();
        for bits in [0x01, 0x80] {
            changed[place] ^= bits;
            if let Ok(block) = parse("m.avro", &changed, entry) {
                check_valid(&block);
            }
        }
    }
}

#[test]
fn damaged_manifest_lists_do_not_panic() {
    for table in Table::all() {
        let (_, document) = table.lists().pop().unwrap();
        for document in [rewrite(&document, "null", |_| {}), document] {
            for place in (0..document.len()).step_by(7) {
                let parse = |bytes: &[u8]| manifest_list::parse("l.avro", bytes, &table.metadata);
                let cut = parse(&document[..place]);
                // A list has one block here: what is left of it is nothing or the whole.
                assert!(cut.is_err() || cut.is_ok_and(|list| list.manifests.is_empty()));
                let mut changed = document.clone();
                changed[place] ^= 0x11;
                if let Ok(list) = parse(&changed) {
                    let n_members = list.groups.iter().map(|group| group.members.len());
                    assert_eq!(n_members.sum::<usize>(), list.manifests.len());
                }
            }
        }
    }
}
