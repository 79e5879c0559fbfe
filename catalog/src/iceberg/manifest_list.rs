//! Reads manifest lists: the manifests of a snapshot and the ranges of their partition values.
//!
//! Called by [`super::plan`]. Lists of all versions have the same field ids; what an earlier version does not write has
//! the value that the format gives it.

use super::avro::{Container, Cursor, Decoded, Field, Malformed, Node};
use super::metadata::{ManifestEntry, ManifestGroup, ManifestList, Spec, TableMetadata};
use super::values::{Raw, Values};
use crate::error::Result;
use arrow::array::{ArrayRef, NullArray};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a list in memory for each byte of the file.
const WEIGHT_FACTOR: usize = 4;

/// Ids of the fields of a row.
const PATH: i32 = 500;
const LENGTH: i32 = 501;
const SPEC_ID: i32 = 502;
const SNAPSHOT_ID: i32 = 503;
const ADDED: i32 = 504;
const EXISTING: i32 = 505;
const REMOVED: i32 = 506;
const PARTITIONS: i32 = 507;
const SEQUENCE_NUMBER: i32 = 515;
const CONTENT: i32 = 517;
const KEY_METADATA: i32 = 519;
const FIRST_ROW_ID: i32 = 520;
const NAMES: [(i32, &str); 15] = [
    (PATH, "manifest_path"),
    (LENGTH, "manifest_length"),
    (SPEC_ID, "partition_spec_id"),
    (SNAPSHOT_ID, "added_snapshot_id"),
    (ADDED, "added_files_count"),
    (ADDED, "added_data_files_count"),
    (EXISTING, "existing_files_count"),
    (EXISTING, "existing_data_files_count"),
    (REMOVED, "deleted_files_count"),
    (REMOVED, "deleted_data_files_count"),
    (PARTITIONS, "partitions"),
    (SEQUENCE_NUMBER, "sequence_number"),
    (CONTENT, "content"),
    (KEY_METADATA, "key_metadata"),
    (FIRST_ROW_ID, "first_row_id"),
];

/// The range of one partition field in one manifest.
#[derive(Debug, Default)]
struct Summary {
    /// `true` when that is not known.
    has_null: bool,
    lower: Option<Vec<u8>>,
    upper: Option<Vec<u8>>,
}

/// A row of the list.
struct Row {
    manifest: ManifestEntry,
    summaries: Vec<Summary>,
}

/// Reads a manifest list.
///
/// # Errors
/// [`crate::Error::CorruptFile`] when anything in the file does not add up.
pub(super) fn parse(path: &str, document: &[u8], table: &TableMetadata) -> Result<ManifestList> {
    let in_file = |error: Malformed| error.of_file(path);
    let container = Container::open(document).map_err(in_file)?;
    for wanted in [PATH, SPEC_ID] {
        if !container.fields.iter().any(|field| id_of(field) == wanted) {
            return Err(in_file(format!("its rows have no field {wanted}").into()));
        }
    }
    let mut rows = vec![];
    let blocks = container.blocks(|n_rows, cursor| {
        for _ in 0..n_rows {
            rows.push(row(&container.fields, cursor)?);
        }
        Ok(())
    });
    blocks.map_err(in_file)?;
    let mut by_kind: BTreeMap<(i32, bool), Vec<usize>> = BTreeMap::new();
    for (idx, row) in rows.iter().enumerate() {
        let kind = (row.manifest.spec_id, row.manifest.is_deletes);
        by_kind.entry(kind).or_default().push(idx);
    }
    let groups = by_kind.into_iter();
    let groups = groups
        .map(|((spec_id, _), members)| {
            table.spec(spec_id).map(|spec| group_of(spec, &rows, members))
        })
        .collect::<Result<_>>()?;
    let manifests = rows.into_iter().map(|row| row.manifest).collect();
    Ok(ManifestList { manifests, groups, weight_bytes: document.len() * WEIGHT_FACTOR })
}

fn row(fields: &[Field], cursor: &mut Cursor<'_>) -> Decoded<Row> {
    let mut manifest = ManifestEntry {
        path: String::new(),
        length: 0,
        spec_id: 0,
        is_deletes: false,
        sequence_number: 0,
        added_snapshot_id: 0,
        added_files: None,
        existing_files: None,
        deleted_files: None,
        is_encrypted: false,
        first_row_id: None,
    };
    let mut summaries = vec![];
    for field in fields {
        let node = &field.node;
        match id_of(field) {
            PATH => {
                manifest.path = cursor.text(node)?.ok_or("a manifest without a path")?.to_owned();
            }
            LENGTH => {
                let length = cursor.number(node)?.and_then(|length| u64::try_from(length).ok());
                manifest.length = length.unwrap_or(0);
            }
            SPEC_ID => {
                let id = cursor.number(node)?.and_then(|id| i32::try_from(id).ok());
                manifest.spec_id = id.ok_or("a manifest without a partition spec")?;
            }
            CONTENT => manifest.is_deletes = is_deletes(cursor.number(node)?.unwrap_or(0))?,
            SEQUENCE_NUMBER => manifest.sequence_number = cursor.number(node)?.unwrap_or(0),
            SNAPSHOT_ID => manifest.added_snapshot_id = cursor.number(node)?.unwrap_or(0),
            ADDED => manifest.added_files = count(cursor, node)?,
            EXISTING => manifest.existing_files = count(cursor, node)?,
            REMOVED => manifest.deleted_files = count(cursor, node)?,
            PARTITIONS => cursor.list(node, |cursor, node| {
                summaries.push(summary(cursor, node)?);
                Ok(())
            })?,
            FIRST_ROW_ID => manifest.first_row_id = cursor.number(node)?,
            KEY_METADATA => manifest.is_encrypted = cursor.bytes(node)?.is_some(),
            _ => cursor.skip(node)?,
        }
    }
    Ok(Row { manifest, summaries })
}

/// Returns the id of a field; without one its name tells, of which some changed.
fn id_of(field: &Field) -> i32 {
    let by_name = || NAMES.iter().find(|(_, name)| *name == field.name).map(|(id, _)| *id);
    field.id.or_else(by_name).unwrap_or(-1)
}

fn is_deletes(content: i64) -> Decoded<bool> {
    match content {
        0 => Ok(false),
        1 => Ok(true),
        kind => Err(format!("a manifest of the unknown kind {kind}").into()),
    }
}

fn count(cursor: &mut Cursor<'_>, node: &Node) -> Decoded<Option<u32>> {
    let count = cursor.number(node)?.map(u32::try_from);
    count.transpose().map_err(|_| "a number of files that can be none".into())
}

fn summary(cursor: &mut Cursor<'_>, node: &Node) -> Decoded<Summary> {
    let Node::Record(fields) = node else { return Err("a partition range is no record".into()) };
    let mut summary = Summary { has_null: true, ..Summary::default() };
    for field in fields.iter() {
        if field.is(509, "contains_null") {
            summary.has_null = match cursor.present(&field.node)? {
                Some(Node::Boolean) => cursor.boolean()?,
                _ => return Err("a partition range does not tell of nulls".into()),
            };
        } else if field.is(510, "lower_bound") {
            summary.lower = cursor.bytes(&field.node)?.map(<[u8]>::to_vec);
        } else if field.is(511, "upper_bound") {
            summary.upper = cursor.bytes(&field.node)?.map(<[u8]>::to_vec);
        } else {
            cursor.skip(&field.node)?;
        }
    }
    Ok(summary)
}

fn group_of(spec: &Spec, rows: &[Row], members: Vec<usize>) -> ManifestGroup {
    let (mut lower, mut upper, mut has_null) = (vec![], vec![], vec![]);
    for (idx, field) in spec.fields.iter().enumerate() {
        let Some(result) = field.result else {
            // A type we do not know: null bounds of any type prune nothing.
            let unknown = || Arc::new(NullArray::new(members.len())) as ArrayRef;
            lower.push(unknown());
            upper.push(unknown());
            has_null.push(vec![true; members.len()]);
            continue;
        };
        let summary = |member: &usize| rows[*member].summaries.get(idx);
        let bounds = |pick: fn(&Summary) -> Option<&Vec<u8>>| {
            let mut values = Values::new(result);
            for (n, member) in members.iter().enumerate() {
                // Ranges of floats leave NaN out, which is above all values here: they say nothing.
                let bytes = summary(member).and_then(pick).filter(|_| !result.is_float());
                let value = bytes.and_then(|bytes| Raw::parse(result, bytes));
                // What is no value of the type says nothing either.
                let _ = value.and_then(|value| values.push(value));
                values.pad(n + 1);
            }
            values.finish()
        };
        lower.push(bounds(|summary| summary.lower.as_ref()));
        upper.push(bounds(|summary| summary.upper.as_ref()));
        let nulls = members.iter().map(|member| summary(member).is_none_or(|s| s.has_null));
        has_null.push(nulls.collect());
    }
    ManifestGroup { spec_id: spec.id, members, lower, upper, has_null }
}
