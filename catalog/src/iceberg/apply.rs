//! Deleted rows of a data file, as positions.
//!
//! Called by [`super::source`] where a file is read, on workers as on the coordinator. All kinds of deletes end as one
//! bitmap of row positions, which the Parquet reader skips before it decodes: what stands above the scan (filters,
//! limits, pruning of pages) need not know that there are deletes. Equality deletes cost one pass over their columns of
//! the data file; its result is kept like the rest.

use super::block::DeleteKind;
use super::equality::{EqualityDeletes, Reader};
use super::scan::{FileInfo, ScanSpec};
use super::vector;
use crate::cache::{CacheUsage, Named};
use crate::error::{Error, Result};
use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::datatypes::Int64Type;
use datafusion::parquet::arrow::arrow_reader::RowSelection;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use roaring::RoaringTreemap;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Field ids of the columns of a position delete file.
const PATH_ID: i32 = i32::MAX - 101;
const POSITION_ID: i32 = i32::MAX - 102;
/// Bytes that each kind of delete may hold in memory between queries.
const MAX_WEIGHT_BYTES: u64 = 64 << 20;

/// Positions that a position delete file deletes, by location of the data file.
type PositionDeletes = HashMap<String, Arc<RoaringTreemap>>;

/// What was read from delete files. They never change, so neither do entries.
pub(crate) struct DeleteCaches {
    positions: Named<String, Arc<PositionDeletes>>,
    vectors: Named<String, Arc<RoaringTreemap>>,
    equality: Named<String, Arc<EqualityDeletes>>,
    /// Rows of a data file that equality deletes delete.
    applied: Named<String, Arc<RoaringTreemap>>,
}

impl fmt::Debug for DeleteCaches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeleteCaches")
    }
}

impl Default for DeleteCaches {
    fn default() -> Self {
        let bitmap = |key: &String, rows: &Arc<RoaringTreemap>| key.len() + rows.serialized_size();
        let positions = |key: &String, files: &Arc<PositionDeletes>| {
            let weight = |(path, rows): (&String, &Arc<RoaringTreemap>)| {
                path.len() + rows.serialized_size() + 64
            };
            key.len() + files.iter().map(weight).sum::<usize>()
        };
        let equality =
            |key: &String, deletes: &Arc<EqualityDeletes>| key.len() + deletes.weight_bytes();
        Self {
            positions: Named::new("iceberg_position_deletes", MAX_WEIGHT_BYTES, positions),
            vectors: Named::new("deletion_vectors", MAX_WEIGHT_BYTES, bitmap),
            equality: Named::new("iceberg_equality_deletes", MAX_WEIGHT_BYTES, equality),
            applied: Named::new("iceberg_deleted_rows", MAX_WEIGHT_BYTES, bitmap),
        }
    }
}

impl DeleteCaches {
    /// Returns how each cache is doing.
    pub(crate) fn usage(&self) -> Vec<CacheUsage> {
        let (positions, vectors) = (self.positions.usage(), self.vectors.usage());
        vec![positions, vectors, self.equality.usage(), self.applied.usage()]
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.positions.clear();
        self.vectors.clear();
        self.equality.clear();
        self.applied.clear();
    }

    /// Returns which rows of a data file are left; `None` when all are.
    ///
    /// # Errors
    /// When a delete file cannot be read or is corrupt.
    pub(super) async fn selection(
        &self,
        store: &Arc<dyn ObjectStore>,
        scan: &ScanSpec,
        file: &FileInfo,
        path: &Path,
        size: u64,
    ) -> Result<Option<RowSelection>> {
        let reader = Reader { store, scan };
        let mut deleted = RoaringTreemap::new();
        let mut equality: BTreeMap<&[i32], Vec<usize>> = BTreeMap::new();
        for idx in &file.deletes {
            let idx = *idx as usize;
            let delete = scan.deletes.get(idx).ok_or_else(|| Error::CorruptFile {
                path: file.location.clone(),
                message: format!("the plan names a delete file {idx} that it does not hold"),
            })?;
            let key = format!("{}{}", scan.store_key, delete.path);
            match &delete.kind {
                DeleteKind::Position => {
                    let load = read_positions(&reader, &delete.path, delete.size);
                    let files = self.positions.get(key, load).await?;
                    if let Some(rows) = files.get(&file.location) {
                        deleted |= rows.as_ref();
                    }
                }
                DeleteKind::Vector { offset, length } => {
                    let range = *offset..offset.saturating_add(*length);
                    let key = format!("{key}@{offset}");
                    let load = read_vector(store, &delete.path, range, delete.n_rows);
                    deleted |= self.vectors.get(key, load).await?.as_ref();
                }
                DeleteKind::Inline(bitmap) => deleted |= inline(bitmap, delete.n_rows, file)?,
                DeleteKind::Equality(ids) => equality.entry(ids).or_default().push(idx),
            }
        }
        for (ids, files) in equality {
            deleted |= self.matching_rows(&reader, file, (path, size), ids, &files).await?.as_ref();
        }
        Ok(select(&deleted, file.n_rows))
    }

    async fn matching_rows(
        &self,
        reader: &Reader<'_>,
        file: &FileInfo,
        (path, size): (&Path, u64),
        ids: &[i32],
        files: &[usize],
    ) -> Result<Arc<RoaringTreemap>> {
        let names: Vec<&str> =
            files.iter().map(|idx| reader.scan.deletes[*idx].path.as_ref()).collect();
        // The columns' present types decide which values are equal.
        let key = format!(
            "{}{ids:?}{}{}",
            reader.scan.store_key,
            reader.scan.schema.id,
            names.join("\n")
        );
        let applied = format!("{path}\n{key}");
        let load = async {
            let load = EqualityDeletes::read(reader, ids, files);
            let deletes = self.equality.get(key, load).await?;
            deletes.matching_rows(reader, file, path, size).await.map(Arc::new)
        };
        self.applied.get(applied, load).await
    }
}

/// Returns the rows that are left; `None` when none is deleted.
fn select(deleted: &RoaringTreemap, n_rows: u64) -> Option<RowSelection> {
    let total = usize::try_from(n_rows).ok()?;
    let mut kept: Vec<Range<usize>> = vec![];
    let mut next = 0;
    // Positions beyond the file's end delete nothing.
    for row in deleted.iter().map_while(|row| usize::try_from(row).ok().filter(|r| *r < total)) {
        if row > next {
            kept.push(next..row);
        }
        next = row + 1;
    }
    if next == 0 && kept.is_empty() {
        return None;
    }
    if next < total {
        kept.push(next..total);
    }
    Some(RowSelection::from_consecutive_ranges(kept.into_iter(), total))
}

/// Reads a bitmap that came with the plan.
fn inline(bitmap: &[u8], n_rows: u64, file: &FileInfo) -> Result<RoaringTreemap> {
    let corrupt = |message: String| Error::CorruptFile { path: file.location.clone(), message };
    let rows = RoaringTreemap::deserialize_from(bitmap)
        .map_err(|error| corrupt(format!("its deletion vector has no valid bitmap: {error}")))?;
    match rows.len() == n_rows {
        true => Ok(rows),
        false => Err(corrupt(format!(
            "its deletion vector holds {} rows instead of {n_rows}",
            rows.len()
        ))),
    }
}

async fn read_vector(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    range: Range<u64>,
    n_rows: u64,
) -> Result<Arc<RoaringTreemap>> {
    let corrupt = |message: String| Error::CorruptFile { path: path.to_string(), message };
    let n_bytes = range.end - range.start;
    let blob = store.get_range(path, range).await.map_err(|error| short_or(path, error))?;
    if blob.len() as u64 != n_bytes {
        return Err(corrupt("the deletion vector is cut off".to_owned()));
    }
    vector::parse(&blob, n_rows).map(Arc::new).map_err(corrupt)
}

/// A range beyond the end is how a file that was cut shows.
fn short_or(path: &Path, error: object_store::Error) -> Error {
    match error {
        object_store::Error::Generic { source, .. } => Error::CorruptFile {
            path: path.to_string(),
            message: source.to_string().lines().next().unwrap_or_default().to_owned(),
        },
        error => error.into(),
    }
}

async fn read_positions(
    reader: &Reader<'_>,
    path: &Path,
    size: u64,
) -> Result<Arc<PositionDeletes>> {
    let corrupt =
        |message: &str| Error::CorruptFile { path: path.to_string(), message: message.to_owned() };
    let (mut batches, columns) = reader.open_by_ids(path, size, &[PATH_ID, POSITION_ID]).await?;
    let [Some(path_column), Some(position_column)] = columns.as_slice() else {
        return Err(corrupt("a position delete file without its two columns"));
    };
    let mut files: HashMap<String, RoaringTreemap> = HashMap::new();
    while let Some(batch) = batches.try_next().await.map_err(|error| reader.broken(path, error))? {
        let paths = cast(batch.column(*path_column), &DataType::Utf8)?;
        let paths = paths.as_string::<i32>();
        let positions = cast(batch.column(*position_column), &DataType::Int64)?;
        let positions = positions.as_primitive::<Int64Type>();
        if paths.null_count() + positions.null_count() > 0 {
            return Err(corrupt("a position delete without a path or a position"));
        }
        // Deletes of one file follow each other, so its bitmap is looked up once for each run.
        let mut row = 0;
        while row < batch.num_rows() {
            let name = paths.value(row);
            let rows = match files.get_mut(name) {
                Some(rows) => rows,
                None => files.entry(name.to_owned()).or_default(),
            };
            while row < batch.num_rows() && paths.value(row) == name {
                let position = u64::try_from(positions.value(row));
                rows.insert(position.map_err(|_| corrupt("a negative row position"))?);
                row += 1;
            }
        }
    }
    Ok(Arc::new(files.into_iter().map(|(path, rows)| (path, Arc::new(rows))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::parquet::arrow::arrow_reader::RowSelector;

    fn check(deleted: &[u64], n_rows: u64, expected: Option<Vec<RowSelector>>) {
        let deleted: RoaringTreemap = deleted.iter().copied().collect();
        assert_eq!(select(&deleted, n_rows).map(Vec::<RowSelector>::from), expected);
    }

    #[test]
    fn what_is_not_deleted_is_selected() {
        let (skip, take) = (RowSelector::skip, RowSelector::select);
        check(&[], 5, None);
        check(&[7, 9], 5, None);
        check(&[0, 1, 4], 5, Some(vec![skip(2), take(2), skip(1)]));
        check(&[2, 99], 5, Some(vec![take(2), skip(1), take(2)]));
        check(&[0, 1, 2], 3, Some(vec![skip(3)]));
    }
}
