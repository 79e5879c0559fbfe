//! What an Iceberg table's metadata say, in our own words.
//!
//! Read by [`super::facade`], immutable once read, shared by all statements that see the same version of the table.

use super::schema::{Primitive, TableSchema};
use crate::error::{Error, Result};
use arrow::array::ArrayRef;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A partition transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transform {
    Identity,
    Bucket(u32),
    Truncate(u32),
    Year,
    Month,
    Day,
    Hour,
    Void,
    /// One of a later version of the format: prunes nothing.
    Unknown,
}

/// A field of a partition spec.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PartitionField {
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) source_id: i32,
    pub(crate) transform: Transform,
    /// Type of the source column; `None` when no schema has it any more.
    pub(crate) source: Option<Primitive>,
    /// Type of the partition values.
    pub(crate) result: Option<Primitive>,
}

/// A partition spec.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spec {
    pub(crate) id: i32,
    pub(crate) fields: Vec<PartitionField>,
}

impl Spec {
    /// Returns whether all files of this spec are in one partition.
    pub(crate) fn is_unpartitioned(&self) -> bool {
        self.fields.iter().all(|field| field.transform == Transform::Void)
    }
}

/// A snapshot of the table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) id: i64,
    pub(crate) parent_id: Option<i64>,
    pub(crate) sequence_number: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) manifest_list: String,
    pub(crate) operation: String,
    pub(crate) summary: BTreeMap<String, String>,
    pub(crate) schema_id: Option<i32>,
}

/// A branch or tag.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reference {
    pub(crate) snapshot_id: i64,
    pub(crate) is_branch: bool,
    pub(crate) max_ref_age_ms: Option<i64>,
    pub(crate) min_snapshots_to_keep: Option<i32>,
    pub(crate) max_snapshot_age_ms: Option<i64>,
}

/// A version of a table's metadata.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableMetadata {
    pub(crate) format_version: u8,
    pub(crate) location: String,
    pub(crate) schemas: BTreeMap<i32, Arc<TableSchema>>,
    pub(crate) current_schema_id: i32,
    pub(crate) specs: BTreeMap<i32, Arc<Spec>>,
    pub(crate) snapshots: BTreeMap<i64, Arc<Snapshot>>,
    pub(crate) current_snapshot_id: Option<i64>,
    pub(crate) refs: BTreeMap<String, Reference>,
    /// When each snapshot became the current one, in milliseconds, and its id.
    pub(crate) history: Vec<(i64, i64)>,
    /// The property `schema.name-mapping.default`.
    pub(crate) name_mapping: Option<String>,
    /// Distinct values that statistics files tell, by snapshot and field.
    pub(crate) n_distinct: BTreeMap<i64, BTreeMap<i32, u64>>,
    /// The property `comment`.
    pub(crate) comment: Option<String>,
    /// Bytes of the document, a measure of what this value weighs.
    pub(crate) document_bytes: usize,
}

impl TableMetadata {
    /// Returns the current schema.
    ///
    /// # Errors
    /// When the metadata name one that they do not hold.
    pub(crate) fn current_schema(&self) -> Result<&Arc<TableSchema>> {
        self.schema(self.current_schema_id)
    }

    /// Returns a schema by id.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn schema(&self, id: i32) -> Result<&Arc<TableSchema>> {
        self.schemas.get(&id).ok_or_else(|| Error::CorruptFile {
            path: self.location.clone(),
            message: format!("the table has no schema {id}"),
        })
    }

    /// Returns the current snapshot; `None` for a table without rows.
    pub(crate) fn current_snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshots.get(&self.current_snapshot_id?)
    }

    /// Adds the numbers of distinct values that other engines counted, of this snapshot or the nearest one before it that
    /// was counted. They are estimates, and the older the less true.
    pub(crate) fn add_distinct(
        &self,
        statistics: &mut Statistics,
        schema: &TableSchema,
        snapshot: &Snapshot,
    ) {
        let parent = |id: &i64| self.snapshots.get(id).and_then(|snapshot| snapshot.parent_id);
        // A snapshot that names itself as its parent must not keep us.
        let ids = std::iter::successors(Some(snapshot.id), parent).take(self.snapshots.len());
        let Some(counted) = ids.into_iter().find_map(|id| self.n_distinct.get(&id)) else { return };
        let n_rows = statistics.num_rows.get_value().copied().unwrap_or(usize::MAX);
        for (column, known) in schema.columns.iter().zip(&mut statistics.column_statistics) {
            if let Some(n_distinct) = counted.get(&column.id) {
                let n_distinct = usize::try_from(*n_distinct).unwrap_or(usize::MAX);
                known.distinct_count = Precision::Inexact(n_distinct.min(n_rows));
            }
        }
    }

    /// Returns a partition spec.
    ///
    /// # Errors
    /// When there is none of this id.
    pub(crate) fn spec(&self, id: i32) -> Result<&Arc<Spec>> {
        self.specs.get(&id).ok_or_else(|| Error::CorruptFile {
            path: self.location.clone(),
            message: format!("the table has no partition spec {id}"),
        })
    }
}

/// What a manifest list says of one manifest.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ManifestEntry {
    pub(crate) path: String,
    pub(crate) length: u64,
    pub(crate) spec_id: i32,
    pub(crate) is_deletes: bool,
    pub(crate) sequence_number: i64,
    pub(crate) added_snapshot_id: i64,
    pub(crate) added_files: Option<u32>,
    pub(crate) existing_files: Option<u32>,
    pub(crate) deleted_files: Option<u32>,
    pub(crate) is_encrypted: bool,
    /// The id of the first row of its files that have none of their own; version 3 only.
    pub(crate) first_row_id: Option<i64>,
}

impl ManifestEntry {
    /// Returns whether the manifest may list files that are in the table.
    pub(crate) fn has_live_files(&self) -> bool {
        self.added_files != Some(0) || self.existing_files != Some(0)
    }
}

/// The manifests of one snapshot, with the ranges of their partition values as columns.
#[derive(Debug, Default)]
pub(crate) struct ManifestList {
    pub(crate) manifests: Vec<ManifestEntry>,
    /// Manifests of one spec and one kind, which are pruned together.
    pub(crate) groups: Vec<ManifestGroup>,
    pub(crate) weight_bytes: usize,
}

/// Manifests that share a partition spec.
#[derive(Debug)]
pub(crate) struct ManifestGroup {
    pub(crate) spec_id: i32,
    /// Indexes into [`ManifestList::manifests`].
    pub(crate) members: Vec<usize>,
    /// Least partition values, a column for each field of the spec; unknown ones are null.
    pub(crate) lower: Vec<ArrayRef>,
    /// Greatest partition values.
    pub(crate) upper: Vec<ArrayRef>,
    /// Whether a partition value may be null, by field and member.
    pub(crate) has_null: Vec<Vec<bool>>,
}
