//! Metadata tables: what an Iceberg table says of itself, as `"table$snapshots"` and its like.
//!
//! Called by the lake for a name with a `$`. Each use reads the metadata as they are when the statement is planned; the
//! rows are held in memory, and scans of them run on the coordinator.

use super::block::{DeleteKind, ManifestBlock};
use super::metadata::{ManifestList, Snapshot, Spec, TableMetadata};
use super::plan::MetadataReader;
use crate::error::Result;
use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A metadata table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inspection {
    Snapshots,
    History,
    Refs,
    Manifests,
    Files,
    Entries,
    Partitions,
}

impl Inspection {
    /// Returns the metadata table of a name after the `$`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "snapshots" => Self::Snapshots,
            "history" => Self::History,
            "refs" => Self::Refs,
            "manifests" => Self::Manifests,
            "files" => Self::Files,
            "entries" => Self::Entries,
            "partitions" => Self::Partitions,
            _ => return None,
        })
    }
}

type Columns = Vec<(&'static str, ArrayRef)>;

/// Returns the rows of a metadata table; `snapshot` is the one that the table is seen at.
///
/// # Errors
/// When the metadata cannot be read.
pub(super) async fn inspect(
    inspection: Inspection,
    reader: &MetadataReader,
    snapshot: Option<&Snapshot>,
) -> Result<RecordBatch> {
    let metadata = &reader.metadata;
    let columns = match inspection {
        Inspection::Snapshots => snapshots(metadata),
        Inspection::History => history(metadata),
        Inspection::Refs => refs(metadata),
        Inspection::Manifests => match snapshot {
            Some(snapshot) => manifests(reader.manifest_list(snapshot).await?.as_ref()),
            None => manifests(&ManifestList::default()),
        },
        Inspection::Files | Inspection::Entries | Inspection::Partitions => {
            let blocks = match snapshot {
                Some(snapshot) => all_blocks(reader, snapshot).await?,
                None => vec![],
            };
            let rows = Rows::new(&blocks, metadata)?;
            match inspection {
                Inspection::Files => rows.files(),
                Inspection::Entries => rows.entries(),
                _ => rows.partitions(),
            }
        }
    };
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )?)
}

fn text<T: Into<String>>(values: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values.map(Into::into)))
}

fn bigint(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn count(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    let values: UInt64Array = values.collect();
    // Counts beyond i64 do not occur; a cast that cannot be made leaves NULL.
    cast(&values, &DataType::Int64).unwrap_or_else(|_| Arc::new(values))
}

fn int(values: impl Iterator<Item = i32>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(values))
}

fn time(values_ms: impl Iterator<Item = i64>) -> ArrayRef {
    let micros = values_ms.map(|ms| ms.saturating_mul(1000));
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}

fn snapshots(metadata: &TableMetadata) -> Columns {
    let mut all: Vec<&Arc<Snapshot>> = metadata.snapshots.values().collect();
    all.sort_by_key(|snapshot| (snapshot.timestamp_ms, snapshot.sequence_number));
    let parents: Int64Array = all.iter().map(|snapshot| snapshot.parent_id).collect();
    let summary =
        |snapshot: &&Arc<Snapshot>| serde_json::to_string(&snapshot.summary).unwrap_or_default();
    vec![
        ("committed_at", time(all.iter().map(|snapshot| snapshot.timestamp_ms))),
        ("snapshot_id", bigint(all.iter().map(|snapshot| snapshot.id))),
        ("parent_id", Arc::new(parents)),
        ("operation", text(all.iter().map(|snapshot| snapshot.operation.as_str()))),
        ("manifest_list", text(all.iter().map(|snapshot| snapshot.manifest_list.as_str()))),
        ("summary", text(all.iter().map(summary))),
    ]
}

fn history(metadata: &TableMetadata) -> Columns {
    let log = &metadata.history;
    let parent = |id: i64| metadata.snapshots.get(&id).and_then(|snapshot| snapshot.parent_id);
    let mut ancestors = BTreeSet::new();
    let mut next = metadata.current_snapshot_id;
    while let Some(id) = next.filter(|id| ancestors.insert(*id)) {
        next = parent(id);
    }
    let parents: Int64Array = log.iter().map(|(_, id)| parent(*id)).collect();
    let is_ancestor: BooleanArray =
        log.iter().map(|(_, id)| Some(ancestors.contains(id))).collect();
    vec![
        ("made_current_at", time(log.iter().map(|(at, _)| *at))),
        ("snapshot_id", bigint(log.iter().map(|(_, id)| *id))),
        ("parent_id", Arc::new(parents)),
        ("is_current_ancestor", Arc::new(is_ancestor)),
    ]
}

fn refs(metadata: &TableMetadata) -> Columns {
    let refs = || metadata.refs.values();
    let kind = |is_branch: bool| if is_branch { "BRANCH" } else { "TAG" };
    let ref_age: Int64Array = refs().map(|found| found.max_ref_age_ms).collect();
    let to_keep: Int32Array = refs().map(|found| found.min_snapshots_to_keep).collect();
    let snapshot_age: Int64Array = refs().map(|found| found.max_snapshot_age_ms).collect();
    vec![
        ("name", text(metadata.refs.keys().map(String::as_str))),
        ("type", text(refs().map(|found| kind(found.is_branch)))),
        ("snapshot_id", bigint(refs().map(|found| found.snapshot_id))),
        ("max_reference_age_in_ms", Arc::new(ref_age)),
        ("min_snapshots_to_keep", Arc::new(to_keep)),
        ("max_snapshot_age_in_ms", Arc::new(snapshot_age)),
    ]
}

fn manifests(list: &ManifestList) -> Columns {
    let all = || list.manifests.iter();
    let files = |files: Option<u32>| files.map(u64::from);
    vec![
        ("content", int(all().map(|manifest| i32::from(manifest.is_deletes)))),
        ("path", text(all().map(|manifest| manifest.path.as_str()))),
        ("length", count(all().map(|manifest| Some(manifest.length)))),
        ("partition_spec_id", int(all().map(|manifest| manifest.spec_id))),
        ("added_snapshot_id", bigint(all().map(|manifest| manifest.added_snapshot_id))),
        ("added_files_count", count(all().map(|manifest| files(manifest.added_files)))),
        ("existing_files_count", count(all().map(|manifest| files(manifest.existing_files)))),
        ("deleted_files_count", count(all().map(|manifest| files(manifest.deleted_files)))),
    ]
}

async fn all_blocks(
    reader: &MetadataReader,
    snapshot: &Snapshot,
) -> Result<Vec<Arc<ManifestBlock>>> {
    let list = reader.manifest_list(snapshot).await?;
    let wanted: Vec<usize> = (0..list.manifests.len()).collect();
    reader.blocks(&list, &wanted).await
}

/// The files of a snapshot, one after the other.
struct Rows<'a> {
    rows: Vec<(&'a ManifestBlock, usize)>,
    partitions: Vec<String>,
}

impl<'a> Rows<'a> {
    fn new(blocks: &'a [Arc<ManifestBlock>], metadata: &TableMetadata) -> Result<Self> {
        let (mut rows, mut partitions) = (vec![], vec![]);
        for block in blocks {
            let spec = metadata.spec(block.spec_id)?;
            for row in 0..block.len() {
                rows.push((block.as_ref(), row));
                partitions.push(partition_text(block, spec, row)?);
            }
        }
        Ok(Self { rows, partitions })
    }

    fn iter(&self) -> impl Iterator<Item = (&'a ManifestBlock, usize)> {
        self.rows.iter().copied()
    }

    fn files(&self) -> Columns {
        let kind = |(block, row): (&ManifestBlock, usize)| content(block, row);
        let format = |(block, row): (&ManifestBlock, usize)| match block.deletes.get(row) {
            Some(delete) if matches!(delete.kind, DeleteKind::Vector { .. }) => "PUFFIN",
            _ => "PARQUET",
        };
        let ids: StringArray = self.iter().map(|(block, row)| equality_ids(block, row)).collect();
        vec![
            ("content", int(self.iter().map(kind))),
            ("file_path", text(self.iter().map(|(block, row)| block.paths.value(row)))),
            ("file_format", text(self.iter().map(format))),
            ("spec_id", int(self.iter().map(|(block, _)| block.spec_id))),
            ("partition", text(self.partitions.iter().map(String::as_str))),
            ("record_count", count(self.iter().map(|(block, row)| Some(block.n_rows[row])))),
            ("file_size_in_bytes", count(self.iter().map(|(block, row)| Some(block.sizes[row])))),
            ("equality_ids", Arc::new(ids)),
        ]
    }

    fn entries(&self) -> Columns {
        let status = |(block, row): (&ManifestBlock, usize)| i32::from(block.origins[row].is_added);
        let mut columns = vec![
            ("status", int(self.iter().map(status))),
            ("snapshot_id", bigint(self.iter().map(|(b, row)| b.origins[row].snapshot_id))),
            ("sequence_number", bigint(self.iter().map(|(b, row)| b.sequence_numbers[row]))),
        ];
        columns.extend(self.files());
        columns
    }

    fn partitions(&self) -> Columns {
        /// Rows, files, bytes of data; files and rows of position deletes; files and rows of equality deletes.
        type Sums = [u64; 7];
        let mut sums: BTreeMap<(&str, i32), Sums> = BTreeMap::new();
        for ((block, row), partition) in self.iter().zip(&self.partitions) {
            let sum = sums.entry((partition, block.spec_id)).or_default();
            let n_rows = block.n_rows[row];
            match content(block, row) {
                0 => {
                    sum[0] += n_rows;
                    sum[1] += 1;
                    sum[2] += block.sizes[row];
                }
                kind => {
                    let at = if kind == 1 { 3 } else { 5 };
                    sum[at] += 1;
                    sum[at + 1] += n_rows;
                }
            }
        }
        let column = |idx: usize| count(sums.values().map(move |sum| Some(sum[idx])));
        vec![
            ("partition", text(sums.keys().map(|(partition, _)| *partition))),
            ("spec_id", int(sums.keys().map(|(_, spec_id)| *spec_id))),
            ("record_count", column(0)),
            ("file_count", column(1)),
            ("total_data_file_size_in_bytes", column(2)),
            ("position_delete_file_count", column(3)),
            ("position_delete_record_count", column(4)),
            ("equality_delete_file_count", column(5)),
            ("equality_delete_record_count", column(6)),
        ]
    }
}

/// 0 for data, 1 for position deletes and vectors, 2 for equality deletes, as the format numbers them.
fn content(block: &ManifestBlock, row: usize) -> i32 {
    match block.deletes.get(row).map(|delete| &delete.kind) {
        None => 0,
        Some(DeleteKind::Equality(_)) => 2,
        Some(DeleteKind::Position | DeleteKind::Vector { .. } | DeleteKind::Inline(_)) => 1,
    }
}

fn equality_ids(block: &ManifestBlock, row: usize) -> Option<String> {
    match &block.deletes.get(row)?.kind {
        DeleteKind::Equality(ids) => Some(format!("{ids:?}")),
        _ => None,
    }
}

/// A partition as people read it: `ts_month=649, id_bucket=2`; empty without partitions.
fn partition_text(block: &ManifestBlock, spec: &Spec, row: usize) -> Result<String> {
    let mut parts = Vec::with_capacity(spec.fields.len());
    for (field, values) in spec.fields.iter().zip(&block.partitions) {
        let value = match values {
            Some(values) => ScalarValue::try_from_array(values, row)?.to_string(),
            None => "?".to_owned(),
        };
        parts.push(format!("{}={value}", field.name));
    }
    Ok(parts.join(", "))
}
