//! Reads manifests: each entry straight from its bytes into the columns of a block.
//!
//! Called by [`super::plan`] on threads that may compute for long, one manifest each. An entry is read whole, as slices of
//! the bytes it lies in, before anything of it is kept: what decides whether it counts may stand anywhere in it. Fields are
//! known by their ids: writers may order them otherwise, leave optional ones out, and add new ones.

mod entry;
#[cfg(test)]
mod tests;

use super::avro::{Container, Decoded, Malformed};
use super::block::{BlockBuilder, DeleteKind, DeleteRow, ManifestBlock};
use super::facade::{self, ManifestHeader};
use super::metadata::ManifestEntry;
use super::schema::Primitive;
use super::values::{Raw, Values};
use crate::error::{Error, Result};
use entry::{Entry, Layout};

/// Field id of a position delete file's column with the path of the data file.
const DELETED_FILE_PATH: i32 = i32::MAX - 101;
/// What `status` and `content` of an entry may say.
const ADDED: i64 = 1;
const REMOVED: i64 = 2;
const POSITION_DELETES: i64 = 1;
const EQUALITY_DELETES: i64 = 2;

/// Reads a manifest into a block. Files that were removed from the table are left out.
///
/// # Errors
/// [`Error::CorruptFile`] when anything in the file does not add up, or it lists fewer files than its manifest list
/// says; [`Error::NotSupported`] for a compression that this reader has not.
pub(super) fn parse(
    path: &str,
    document: &[u8],
    manifest: &ManifestEntry,
) -> Result<ManifestBlock> {
    let in_file = |error: Malformed| error.of_file(path);
    let container = Container::open(document).map_err(in_file)?;
    let header = facade::manifest_header(path, &container.meta)?;
    let layout = Layout::new(&container.fields, &header.partition).map_err(in_file)?;
    let mut collector = Collector::new(manifest, &header);
    let blocks = container.blocks(|n_entries, cursor| {
        let mut entry = Entry::new(header.partition.len());
        for _ in 0..n_entries {
            entry.read(&layout, cursor)?;
            collector.add(&entry)?;
        }
        Ok(())
    });
    blocks.map_err(in_file)?;
    let block = collector.finish();
    let counted = manifest.added_files.zip(manifest.existing_files);
    let counted = counted.map_or(0, |(added, existing)| u64::from(added) + u64::from(existing));
    if (block.len() as u64) < counted {
        let message = format!("it lists {} files instead of {counted}", block.len());
        return Err(Error::CorruptFile { path: path.to_owned(), message });
    }
    Ok(block)
}

/// What the entries so far say of one column. Files that say nothing are filled in when a later one does.
struct Column {
    id: i32,
    lower: Values,
    upper: Values,
    nulls: Vec<Option<u64>>,
    nans: Vec<Option<u64>>,
    bytes: u64,
}

impl Column {
    fn new(id: i32, primitive: Primitive) -> Self {
        let values = || Values::new(primitive);
        let (nulls, nans) = (vec![], vec![]);
        Self { id, lower: values(), upper: values(), nulls, nans, bytes: 0 }
    }
}

/// Adds the value of the file `row`.
fn add_bound(values: &mut Values, row: usize, bytes: &[u8], id: i32) -> Decoded<()> {
    values.pad(row);
    let value = Raw::parse(values.primitive(), bytes).filter(|_| values.len() == row);
    let pushed = value.and_then(|value| values.push(value));
    pushed.ok_or_else(|| format!("a bound of column {id} is none, or given twice").into())
}

/// Adds the count of the file `row`; negative ones mean nothing.
fn add_count(counts: &mut Vec<Option<u64>>, row: usize, count: i64) {
    counts.resize(row, None);
    counts.push(u64::try_from(count).ok());
}

/// Turns entries into a block.
struct Collector {
    builder: BlockBuilder,
    is_deletes: bool,
    is_v1: bool,
    /// What entries that do not say so have from their manifest.
    sequence_number: i64,
    snapshot_id: i64,
    /// The id of the first row of the next file that has none of its own.
    next_row_id: Option<i64>,
    n_files: usize,
    partitions: Vec<Option<Values>>,
    /// By id.
    columns: Vec<Column>,
}

impl Collector {
    fn new(manifest: &ManifestEntry, header: &ManifestHeader) -> Self {
        // Of delete files, bounds of columns are not asked for.
        let columns = header.columns.iter().filter(|_| !manifest.is_deletes);
        let mut columns: Vec<Column> =
            columns.map(|(id, primitive)| Column::new(*id, *primitive)).collect();
        columns.sort_by_key(|column| column.id);
        let partitions = header.partition.iter();
        Self {
            builder: BlockBuilder::new(manifest),
            is_deletes: manifest.is_deletes,
            is_v1: header.is_v1,
            sequence_number: manifest.sequence_number,
            snapshot_id: manifest.added_snapshot_id,
            next_row_id: manifest.first_row_id.filter(|_| !manifest.is_deletes),
            n_files: 0,
            partitions: partitions.map(|field| field.primitive.map(Values::new)).collect(),
            columns,
        }
    }

    fn add(&mut self, entry: &Entry<'_>) -> Decoded<()> {
        match entry.status {
            REMOVED => return Ok(()),
            0 | ADDED => {}
            status => return Err(format!("an entry of the unknown status {status}").into()),
        }
        let count = |value: i64| u64::try_from(value).map_err(|_| "a negative size");
        let own = if self.is_v1 { Some(0) } else { entry.sequence_number };
        // A number that is missing is that of the manifest: of the commit that wrote it.
        let sequence_number = own.unwrap_or(self.sequence_number);
        let snapshot_id = entry.snapshot_id.unwrap_or(self.snapshot_id);
        self.builder.push_file(
            entry.path,
            count(entry.size)?,
            count(entry.n_rows)?,
            sequence_number,
        );
        let first_row_id = self.first_row_id(entry);
        self.builder.push_first_row_id(first_row_id);
        let is_added = entry.status == ADDED;
        self.builder.push_origin(snapshot_id, is_added, entry.format, entry.is_encrypted);
        match (self.is_deletes, entry.content) {
            (true, _) => self.builder.push_delete(delete_of(entry)?),
            (false, 0) => self.add_columns(entry)?,
            (false, _) => return Err("a delete file in a manifest of data files".into()),
        }
        self.add_partition(entry)?;
        self.n_files += 1;
        Ok(())
    }

    /// Returns the id of a file's first row: its own, else the next one of the manifest.
    fn first_row_id(&mut self, entry: &Entry<'_>) -> Option<i64> {
        if entry.first_row_id.is_some() {
            return entry.first_row_id;
        }
        let first = self.next_row_id?;
        self.next_row_id = first.checked_add(entry.n_rows);
        Some(first)
    }

    fn add_partition(&mut self, entry: &Entry<'_>) -> Decoded<()> {
        for (values, value) in self.partitions.iter_mut().zip(&entry.partition) {
            let (Some(values), Some(value)) = (values, value) else { continue };
            values.pad(self.n_files);
            values.push(*value).ok_or("a partition value is none of its type")?;
        }
        Ok(())
    }

    fn add_columns(&mut self, entry: &Entry<'_>) -> Decoded<()> {
        let row = self.n_files;
        // Keys mostly come in one order, so the next key is mostly that of the next column.
        let mut next = 0;
        for (id, bytes) in &entry.lower {
            let Some(column) = find(&mut self.columns, *id, &mut next) else { continue };
            add_bound(&mut column.lower, row, bytes, *id)?;
        }
        next = 0;
        for (id, bytes) in &entry.upper {
            let Some(column) = find(&mut self.columns, *id, &mut next) else { continue };
            add_bound(&mut column.upper, row, bytes, *id)?;
        }
        next = 0;
        for (id, count) in &entry.nulls {
            let Some(column) = find(&mut self.columns, *id, &mut next) else { continue };
            add_count(&mut column.nulls, row, *count);
        }
        next = 0;
        for (id, count) in &entry.nans {
            let Some(column) = find(&mut self.columns, *id, &mut next) else { continue };
            add_count(&mut column.nans, row, *count);
        }
        next = 0;
        for (id, n_bytes) in &entry.column_sizes {
            let Some(column) = find(&mut self.columns, *id, &mut next) else { continue };
            column.bytes = column.bytes.saturating_add(u64::try_from(*n_bytes).unwrap_or(0));
        }
        Ok(())
    }

    fn finish(mut self) -> ManifestBlock {
        let n = self.n_files;
        for values in self.partitions {
            self.builder.push_partition(values.map(|mut values| {
                values.pad(n);
                values.finish()
            }));
        }
        for mut column in self.columns {
            column.lower.pad(n);
            column.upper.pad(n);
            column.nulls.resize(n, None);
            column.nans.resize(n, None);
            let primitive = column.lower.primitive();
            let nans = primitive.is_float().then_some(column.nans.as_slice());
            let bounds = (column.lower.finish(), column.upper.finish());
            self.builder.push_column(
                column.id,
                primitive,
                bounds,
                &column.nulls,
                nans,
                column.bytes,
            );
        }
        self.builder.finish()
    }
}

/// Returns the column of an id; `next` is where it is looked for first.
fn find<'c>(columns: &'c mut [Column], id: i32, next: &mut usize) -> Option<&'c mut Column> {
    let idx = match columns.get(*next) {
        Some(column) if column.id == id => *next,
        _ => columns.binary_search_by_key(&id, |column| column.id).ok()?,
    };
    *next = idx + 1;
    columns.get_mut(idx)
}

fn delete_of(entry: &Entry<'_>) -> Decoded<DeleteRow> {
    let is_puffin = entry.format.eq_ignore_ascii_case("puffin");
    let kind = match entry.content {
        EQUALITY_DELETES if entry.equality_ids.is_empty() => {
            return Err("an equality delete file names no columns".into());
        }
        EQUALITY_DELETES => DeleteKind::Equality(entry.equality_ids.clone()),
        POSITION_DELETES if is_puffin => {
            let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
            let offset = number(entry.content_offset);
            let length = number(entry.content_size);
            let (Some(offset), Some(length)) = (offset, length) else {
                return Err("a deletion vector without offset and length".into());
            };
            DeleteKind::Vector { offset, length }
        }
        POSITION_DELETES => DeleteKind::Position,
        _ => return Err("a data file in a manifest of delete files".into()),
    };
    // Equal bounds of the path column name the one data file that the deletes are about.
    let bound = |bounds: &[(i32, &[u8])]| {
        let bound = bounds.iter().find(|(id, _)| *id == DELETED_FILE_PATH)?;
        std::str::from_utf8(bound.1).ok().map(str::to_owned)
    };
    let (lower, upper) = (bound(&entry.lower), bound(&entry.upper));
    let only = lower.filter(|lower| upper.as_ref() == Some(lower));
    Ok(DeleteRow { kind, referenced: entry.referenced.map(str::to_owned).or(only) })
}
