//! Which delete files apply to which data files.
//!
//! Built by [`super::plan`] from the delete manifests of a snapshot. The rules are the format's:
//!
//! | delete file | applies to data files |
//! |---|---|
//! | deletion vector | that it names, of its own or a lower sequence number; then position deletes do not count |
//! | position deletes | of its partition, or the one that it names, of its own or a lower sequence number |
//! | equality deletes | of its partition, of a lower sequence number |
//! | equality deletes without partition | all, of a lower sequence number |

use super::block::{DeleteKind, ManifestBlock};
use super::metadata::{Spec, TableMetadata};
use crate::error::{Error, Result};
use datafusion::scalar::ScalarValue;
use std::collections::HashMap;
use std::sync::Arc;

/// A delete file, as far as a reader of data files needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeleteFile {
    /// As in the metadata.
    pub(crate) location: String,
    pub(crate) size: u64,
    pub(crate) kind: DeleteKind,
    /// Rows that it deletes at most.
    pub(crate) n_rows: u64,
}

struct Entry {
    file: DeleteFile,
    sequence_number: i64,
}

/// The partition of a file: its spec and the values.
type Partition = (i32, Vec<ScalarValue>);

/// The delete files of a snapshot.
#[derive(Default)]
pub(super) struct DeleteIndex {
    entries: Vec<Entry>,
    /// Vectors, and position deletes about one file.
    by_path: HashMap<String, Vec<usize>>,
    by_partition: HashMap<Partition, Vec<usize>>,
    /// Equality deletes without a partition.
    global: Vec<usize>,
}

impl DeleteIndex {
    /// Returns whether there are no deletes at all.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds the delete files of a manifest.
    ///
    /// # Errors
    /// [`Error::NotSupported`] for a file that cannot be read: leaving it out would bring deleted rows back.
    pub(super) fn add(&mut self, block: &ManifestBlock, table: &TableMetadata) -> Result<()> {
        let spec = table.spec(block.spec_id)?;
        for (row, delete) in block.deletes.iter().enumerate() {
            if let Some(feature) = block.unreadable.get(&row) {
                return Err(Error::NotSupported { feature: feature.clone() });
            }
            let file = DeleteFile {
                location: block.paths.value(row).to_owned(),
                size: block.sizes[row],
                kind: delete.kind.clone(),
                n_rows: block.n_rows[row],
            };
            let is_equality = matches!(file.kind, DeleteKind::Equality(_));
            let is_vector = matches!(file.kind, DeleteKind::Vector { .. });
            let idx = self.entries.len();
            let sequence_number = block.sequence_numbers[row];
            match &delete.referenced {
                Some(path) if !is_equality => {
                    self.by_path.entry(path.clone()).or_default().push(idx)
                }
                None if is_vector => {
                    return Err(Error::CorruptFile {
                        path: file.location,
                        message: "a deletion vector names no data file".to_owned(),
                    });
                }
                _ if is_equality && spec.is_unpartitioned() => self.global.push(idx),
                _ => {
                    let partition = partition_of(block, spec, row)?;
                    self.by_partition.entry(partition).or_default().push(idx);
                }
            }
            self.entries.push(Entry { file, sequence_number });
        }
        Ok(())
    }

    /// Returns the delete files that apply to a data file, as indexes for [`Self::file`].
    ///
    /// # Errors
    /// [`Error::CorruptFile`] when two deletion vectors apply.
    pub(super) fn of(&self, block: &ManifestBlock, spec: &Spec, row: usize) -> Result<Vec<usize>> {
        if self.is_empty() {
            return Ok(vec![]);
        }
        let number = block.sequence_numbers[row];
        let path = block.paths.value(row);
        let named = self.by_path.get(path).map(Vec::as_slice).unwrap_or_default();
        let partition = partition_of(block, spec, row)?;
        let near = self.by_partition.get(&partition).map(Vec::as_slice).unwrap_or_default();
        let entry = |idx: &&usize| &self.entries[**idx];
        let is_vector = |idx: &&usize| matches!(entry(idx).file.kind, DeleteKind::Vector { .. });
        let vectors: Vec<usize> = named
            .iter()
            .filter(|idx| is_vector(idx) && entry(idx).sequence_number >= number)
            .copied()
            .collect();
        if vectors.len() > 1 {
            return Err(Error::CorruptFile {
                path: path.to_owned(),
                message: "two deletion vectors apply to one data file".to_owned(),
            });
        }
        let mut found = vectors;
        if found.is_empty() {
            let is_position = |idx: &&usize| entry(idx).file.kind == DeleteKind::Position;
            let positions = named.iter().chain(near);
            let positions =
                positions.filter(|idx| is_position(idx) && entry(idx).sequence_number >= number);
            found.extend(positions.copied());
        }
        let is_equality = |idx: &&usize| matches!(entry(idx).file.kind, DeleteKind::Equality(_));
        let equalities = near.iter().chain(&self.global);
        let equalities =
            equalities.filter(|idx| is_equality(idx) && entry(idx).sequence_number > number);
        found.extend(equalities.copied());
        Ok(found)
    }

    /// Returns a delete file.
    pub(super) fn file(&self, idx: usize) -> &DeleteFile {
        &self.entries[idx].file
    }
}

fn partition_of(block: &ManifestBlock, spec: &Spec, row: usize) -> Result<Partition> {
    let value = |values: &Option<arrow::array::ArrayRef>| match values {
        Some(values) => Ok(ScalarValue::try_from_array(values, row)?),
        None => Err(Error::NotSupported {
            feature: "deletes in an Iceberg table partitioned by a column of an unknown type"
                .to_owned(),
        }),
    };
    let values = block.partitions.iter().map(value).collect::<Result<_>>()?;
    Ok((spec.id, values))
}

/// Delete files that a scan refers to, each once.
#[derive(Default)]
pub(super) struct DeletePool {
    files: Vec<DeleteFile>,
    known: HashMap<usize, u32>,
}

impl DeletePool {
    /// Returns the number of a delete file of the index in this pool.
    pub(super) fn add(&mut self, index: &DeleteIndex, idx: usize) -> u32 {
        *self.known.entry(idx).or_insert_with(|| {
            self.files.push(index.file(idx).clone());
            u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// Returns the files in order of their numbers.
    pub(super) fn finish(self) -> Arc<[DeleteFile]> {
        self.files.into()
    }
}
