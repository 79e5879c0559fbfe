//! A manifest as columns: what pruning reads lies side by side, file after file.
//!
//! Built by [`super::facade`] from a manifest, kept by the caches, never changed. Nothing in it is made anew for a
//! statement: bounds of a column are one array over all files of the manifest.

use super::metadata::ManifestEntry;
use super::schema::Primitive;
use arrow::array::{
    Array, ArrayRef, Float32Array, Float64Array, StringArray, StringBuilder, UInt64Array,
};
use arrow::compute::nullif;
use std::collections::HashMap;
use std::mem::size_of;
use std::sync::Arc;

/// What a delete file deletes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeleteKind {
    /// Paths and row positions in a Parquet file.
    Position,
    /// Values of the columns with these ids.
    Equality(Vec<i32>),
    /// A bitmap of row positions inside a file.
    Vector { offset: u64, length: u64 },
    /// A bitmap of row positions that a Delta log holds itself.
    Inline(Arc<[u8]>),
}

/// What only delete files have.
#[derive(Debug, Clone)]
pub(crate) struct DeleteRow {
    pub(crate) kind: DeleteKind,
    /// The one data file that all deletes are about, when that is known.
    pub(crate) referenced: Option<String>,
}

/// How many values of a column are null, or NaN, in each file.
#[derive(Debug)]
pub(crate) enum Counts {
    Unknown,
    Zero,
    Values(UInt64Array),
}

impl Counts {
    fn of(values: &[Option<u64>]) -> Self {
        if values.iter().all(|value| *value == Some(0)) {
            return Self::Zero;
        }
        if values.iter().all(Option::is_none) {
            return Self::Unknown;
        }
        Self::Values(values.iter().copied().collect())
    }

    fn weight(&self) -> usize {
        match self {
            Self::Values(values) => values.get_array_memory_size(),
            _ => 0,
        }
    }
}

/// What a manifest says of one column, file by file.
#[derive(Debug)]
pub(crate) struct ColumnStats {
    /// Values that no value of the file is below; null where there is none known. No array when none is known.
    pub(crate) lower: Option<ArrayRef>,
    /// Values that no value of the file is above.
    pub(crate) upper: Option<ArrayRef>,
    pub(crate) nulls: Counts,
    /// Bytes of the column in all files.
    pub(crate) bytes: u64,
}

/// Where an entry comes from; only metadata tables ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) snapshot_id: i64,
    pub(crate) is_added: bool,
}

/// The files of one manifest that are in the table.
#[derive(Debug)]
pub(crate) struct ManifestBlock {
    pub(crate) spec_id: i32,
    pub(crate) is_deletes: bool,
    pub(crate) paths: StringArray,
    pub(crate) sizes: Vec<u64>,
    pub(crate) n_rows: Vec<u64>,
    pub(crate) sequence_numbers: Vec<i64>,
    /// Ids of the files' first rows; none at all before version 3.
    first_row_ids: Vec<Option<i64>>,
    pub(crate) origins: Vec<Origin>,
    /// Partition values, a column for each field of the spec; `None` for a type that we do not know.
    pub(crate) partitions: Vec<Option<ArrayRef>>,
    pub(crate) columns: HashMap<i32, ColumnStats>,
    /// In manifests of delete files, one for each.
    pub(crate) deletes: Vec<DeleteRow>,
    /// Files that cannot be read, and why: another format, or encrypted.
    pub(crate) unreadable: HashMap<usize, String>,
    pub(crate) weight_bytes: usize,
}

impl ManifestBlock {
    /// Returns the number of files.
    pub(crate) fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Returns the id of the first row of a file; `None` when its rows have none.
    pub(crate) fn first_row_id(&self, row: usize) -> Option<i64> {
        self.first_row_ids.get(row).copied().flatten()
    }
}

/// Collects a block.
pub(crate) struct BlockBuilder {
    block: ManifestBlock,
    paths: StringBuilder,
}

impl BlockBuilder {
    pub(crate) fn new(entry: &ManifestEntry) -> Self {
        let block = ManifestBlock {
            spec_id: entry.spec_id,
            is_deletes: entry.is_deletes,
            paths: StringArray::new_null(0),
            sizes: vec![],
            n_rows: vec![],
            sequence_numbers: vec![],
            first_row_ids: vec![],
            origins: vec![],
            partitions: vec![],
            columns: HashMap::new(),
            deletes: vec![],
            unreadable: HashMap::new(),
            weight_bytes: 0,
        };
        Self { block, paths: StringBuilder::new() }
    }

    pub(crate) fn push_file(&mut self, path: &str, size: u64, n_rows: u64, sequence_number: i64) {
        self.paths.append_value(path);
        self.block.sizes.push(size);
        self.block.n_rows.push(n_rows);
        self.block.sequence_numbers.push(sequence_number);
    }

    /// Adds the id of the first row of the file that was pushed last.
    pub(crate) fn push_first_row_id(&mut self, id: Option<i64>) {
        let row = self.block.sizes.len().saturating_sub(1);
        if id.is_some() {
            self.block.first_row_ids.resize(row, None);
            self.block.first_row_ids.push(id);
        }
    }

    pub(crate) fn push_origin(
        &mut self,
        snapshot_id: i64,
        is_added: bool,
        format: &str,
        is_encrypted: bool,
    ) {
        let idx = self.block.origins.len();
        self.block.origins.push(Origin { snapshot_id, is_added });
        let is_readable = format.eq_ignore_ascii_case("parquet")
            || (self.block.is_deletes && format.eq_ignore_ascii_case("puffin"));
        if is_encrypted {
            self.block.unreadable.insert(idx, "an encrypted Iceberg file".to_owned());
        } else if !is_readable {
            let format = format.to_ascii_uppercase();
            self.block.unreadable.insert(idx, format!("an Iceberg file in the format {format}"));
        }
    }

    pub(crate) fn push_delete(&mut self, delete: DeleteRow) {
        self.block.deletes.push(delete);
    }

    pub(crate) fn push_partition(&mut self, values: Option<ArrayRef>) {
        self.block.partitions.push(values);
    }

    pub(crate) fn push_column(
        &mut self,
        id: i32,
        primitive: Primitive,
        (lower, upper): (ArrayRef, ArrayRef),
        nulls: &[Option<u64>],
        nans: Option<&[Option<u64>]>,
        bytes: u64,
    ) {
        let known = |array: ArrayRef| (array.null_count() < array.len()).then_some(array);
        let (mut lower, mut upper) = (lower, upper);
        if primitive.is_float() {
            (lower, upper) = (float_bound(&lower, nans, -0.0), float_bound(&upper, nans, 0.0));
        }
        let stats = ColumnStats {
            lower: known(lower),
            upper: known(upper),
            nulls: Counts::of(nulls),
            bytes,
        };
        self.block.columns.insert(id, stats);
    }

    pub(crate) fn finish(mut self) -> ManifestBlock {
        self.block.paths = self.paths.finish();
        let block = &mut self.block;
        let per_file = 3 * size_of::<u64>() + size_of::<Origin>();
        let arrays = block.partitions.iter().flatten();
        let arrays =
            arrays.chain(block.columns.values().flat_map(|c| c.lower.iter().chain(&c.upper)));
        let array_bytes: usize = arrays.map(|array| array.get_array_memory_size()).sum();
        let count_bytes: usize = block.columns.values().map(|column| column.nulls.weight()).sum();
        let delete_bytes: usize = block
            .deletes
            .iter()
            .map(|delete| {
                size_of::<DeleteRow>() + delete.referenced.as_ref().map_or(0, String::len)
            })
            .sum();
        block.weight_bytes = size_of::<ManifestBlock>()
            + block.paths.get_array_memory_size()
            + block.sizes.len() * per_file
            + block.first_row_ids.len() * size_of::<Option<i64>>()
            + block.columns.len() * size_of::<(i32, ColumnStats)>()
            + array_bytes
            + count_bytes
            + delete_bytes;
        self.block
    }
}

/// Takes out the bounds of files that may hold NaN, which bounds leave out, and gives zero the sign that makes it a bound
/// of both zeros.
fn float_bound(bounds: &ArrayRef, nans: Option<&[Option<u64>]>, zero: f64) -> ArrayRef {
    let may_be_nan = |idx: usize| nans.is_none_or(|nans| nans.get(idx) != Some(&Some(0)));
    let mask: arrow::array::BooleanArray =
        (0..bounds.len()).map(|idx| Some(may_be_nan(idx))).collect();
    let bounds = nullif(bounds, &mask).unwrap_or_else(|_| Arc::clone(bounds));
    if let Some(floats) = bounds.as_any().downcast_ref::<Float64Array>() {
        return Arc::new(floats.unary::<_, arrow::datatypes::Float64Type>(|value| {
            if value == 0.0 { zero } else { value }
        }));
    }
    if let Some(floats) = bounds.as_any().downcast_ref::<Float32Array>() {
        return Arc::new(floats.unary::<_, arrow::datatypes::Float32Type>(|value| {
            if value == 0.0 { zero as f32 } else { value }
        }));
    }
    bounds
}
