//! One entry of a manifest as the bytes hold it.

use super::super::avro::{Cursor, Decoded, Field, Malformed, Node};
use super::super::facade::PartitionValue;
use super::super::values::Raw;

/// A field of an entry, or of the file that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Status,
    SnapshotId,
    SequenceNumber,
    DataFile,
    Content,
    FilePath,
    FileFormat,
    Partition,
    RecordCount,
    FileSize,
    ColumnSizes,
    NullCounts,
    NanCounts,
    LowerBounds,
    UpperBounds,
    KeyMetadata,
    EqualityIds,
    FirstRowId,
    ReferencedFile,
    ContentOffset,
    ContentSize,
    /// A partition value, by its place in the spec.
    PartitionValue(usize),
    Other,
}

/// Ids and names of the fields of an entry, and whether it must have them.
const ENTRY: [(i32, &str, Part, bool); 4] = [
    (0, "status", Part::Status, true),
    (1, "snapshot_id", Part::SnapshotId, false),
    (3, "sequence_number", Part::SequenceNumber, false),
    (2, "data_file", Part::DataFile, true),
];

/// Ids and names of the fields of a file.
const DATA_FILE: [(i32, &str, Part, bool); 17] = [
    (134, "content", Part::Content, false),
    (100, "file_path", Part::FilePath, true),
    (101, "file_format", Part::FileFormat, true),
    (102, "partition", Part::Partition, true),
    (103, "record_count", Part::RecordCount, true),
    (104, "file_size_in_bytes", Part::FileSize, true),
    (108, "column_sizes", Part::ColumnSizes, false),
    (110, "null_value_counts", Part::NullCounts, false),
    (137, "nan_value_counts", Part::NanCounts, false),
    (125, "lower_bounds", Part::LowerBounds, false),
    (128, "upper_bounds", Part::UpperBounds, false),
    (131, "key_metadata", Part::KeyMetadata, false),
    (135, "equality_ids", Part::EqualityIds, false),
    (142, "first_row_id", Part::FirstRowId, false),
    (143, "referenced_data_file", Part::ReferencedFile, false),
    (144, "content_offset", Part::ContentOffset, false),
    (145, "content_size_in_bytes", Part::ContentSize, false),
];

/// Which fields the entries of one manifest have, in the order of their bytes.
pub(super) struct Layout {
    entry: Vec<(Part, Node)>,
    data_file: Vec<(Part, Node)>,
    partition: Vec<(Part, Node)>,
}

impl Layout {
    /// Finds the known ones among the fields that the manifest was written with.
    ///
    /// # Errors
    /// When one is missing that must be there.
    pub(super) fn new(fields: &[Field], partition: &[PartitionValue]) -> Decoded<Self> {
        let entry = parts(fields, &ENTRY)?;
        let data_file = parts(record(&entry, Part::DataFile)?, &DATA_FILE)?;
        let value = |field: &Field| {
            let by_id = partition.iter().position(|value| field.id == Some(value.id));
            // Version 1 did not always write the ids that fields have.
            let by_name = || partition.iter().position(|value| field.name == value.name);
            let idx = by_id.or_else(by_name);
            (idx.map_or(Part::Other, Part::PartitionValue), field.node.clone())
        };
        let values = record(&data_file, Part::Partition)?;
        let values: Vec<_> = values.iter().map(value).collect();
        for (idx, wanted) in partition.iter().enumerate() {
            if !values.iter().any(|(part, _)| *part == Part::PartitionValue(idx)) {
                return Err(format!("entries have no partition value {:?}", wanted.name).into());
            }
        }
        Ok(Self { entry, data_file, partition: values })
    }
}

fn parts(fields: &[Field], known: &[(i32, &str, Part, bool)]) -> Decoded<Vec<(Part, Node)>> {
    let part = |field: &Field| {
        let found = known.iter().find(|(id, name, ..)| field.is(*id, name));
        (found.map_or(Part::Other, |(_, _, part, _)| *part), field.node.clone())
    };
    let parts: Vec<_> = fields.iter().map(part).collect();
    for (_, name, wanted, is_required) in known {
        match parts.iter().filter(|(part, _)| part == wanted).count() {
            0 if *is_required => return Err(format!("entries have no field {name}").into()),
            0 | 1 => {}
            _ => return Err(format!("entries have the field {name} twice").into()),
        }
    }
    Ok(parts)
}

/// Returns the fields of a field, which may be written as one that can be null.
fn record(parts: &[(Part, Node)], wanted: Part) -> Decoded<&[Field]> {
    let node = parts.iter().find(|(part, _)| *part == wanted).map(|(_, node)| node);
    let mut records = match node {
        Some(Node::Union(branches)) => branches.iter().collect(),
        node => Vec::from_iter(node),
    };
    records.retain(|node| matches!(node, Node::Record(_)));
    match records.as_slice() {
        [Node::Record(fields)] => Ok(&fields[..]),
        _ => Err("a field of an entry is no record".into()),
    }
}

/// Goes to the first field of a record.
fn enter(cursor: &mut Cursor<'_>, node: &Node) -> Decoded<()> {
    match cursor.present(node)? {
        Some(Node::Record(_)) => Ok(()),
        _ => Err("a record is null that must not be".into()),
    }
}

/// An entry, as slices of its bytes. One is used for all entries of a block of bytes.
#[derive(Debug, Default)]
pub(super) struct Entry<'a> {
    pub(super) status: i64,
    pub(super) snapshot_id: Option<i64>,
    pub(super) sequence_number: Option<i64>,
    pub(super) content: i64,
    pub(super) path: &'a str,
    pub(super) format: &'a str,
    pub(super) n_rows: i64,
    pub(super) size: i64,
    pub(super) is_encrypted: bool,
    pub(super) partition: Vec<Option<Raw<'a>>>,
    pub(super) column_sizes: Vec<(i32, i64)>,
    pub(super) nulls: Vec<(i32, i64)>,
    pub(super) nans: Vec<(i32, i64)>,
    pub(super) lower: Vec<(i32, &'a [u8])>,
    pub(super) upper: Vec<(i32, &'a [u8])>,
    pub(super) equality_ids: Vec<i32>,
    pub(super) first_row_id: Option<i64>,
    pub(super) referenced: Option<&'a str>,
    pub(super) content_offset: Option<i64>,
    pub(super) content_size: Option<i64>,
}

impl<'a> Entry<'a> {
    pub(super) fn new(n_partition_values: usize) -> Self {
        Self { partition: vec![None; n_partition_values], ..Self::default() }
    }

    /// Reads the next entry into this one.
    pub(super) fn read(&mut self, layout: &Layout, cursor: &mut Cursor<'a>) -> Decoded<()> {
        self.clear();
        for (part, node) in &layout.entry {
            match part {
                Part::Status => self.status = required(cursor.number(node)?)?,
                Part::SnapshotId => self.snapshot_id = cursor.number(node)?,
                Part::SequenceNumber => self.sequence_number = cursor.number(node)?,
                Part::DataFile => {
                    enter(cursor, node)?;
                    for (part, node) in &layout.data_file {
                        self.read_part(*part, node, layout, cursor)?;
                    }
                }
                _ => cursor.skip(node)?,
            }
        }
        Ok(())
    }

    /// Forgets what the last entry had and the next one may not have.
    fn clear(&mut self) {
        self.partition.fill(None);
        self.column_sizes.clear();
        self.nulls.clear();
        self.nans.clear();
        self.lower.clear();
        self.upper.clear();
        self.equality_ids.clear();
        (self.content, self.is_encrypted) = (0, false);
        (self.snapshot_id, self.sequence_number) = (None, None);
        self.first_row_id = None;
        (self.referenced, self.content_offset, self.content_size) = (None, None, None);
    }

    fn read_part(
        &mut self,
        part: Part,
        node: &Node,
        layout: &Layout,
        cursor: &mut Cursor<'a>,
    ) -> Decoded<()> {
        match part {
            Part::Content => self.content = cursor.number(node)?.unwrap_or(0),
            Part::FilePath => self.path = required(cursor.text(node)?)?,
            Part::FileFormat => self.format = required(cursor.text(node)?)?,
            Part::RecordCount => self.n_rows = required(cursor.number(node)?)?,
            Part::FileSize => self.size = required(cursor.number(node)?)?,
            Part::ColumnSizes => numbers_by_id(cursor, node, &mut self.column_sizes)?,
            Part::NullCounts => numbers_by_id(cursor, node, &mut self.nulls)?,
            Part::NanCounts => numbers_by_id(cursor, node, &mut self.nans)?,
            Part::LowerBounds => bytes_by_id(cursor, node, &mut self.lower)?,
            Part::UpperBounds => bytes_by_id(cursor, node, &mut self.upper)?,
            Part::KeyMetadata => self.is_encrypted = cursor.bytes(node)?.is_some(),
            Part::EqualityIds => cursor.list(node, |cursor, node| {
                self.equality_ids.push(id(required(cursor.number(node)?)?)?);
                Ok(())
            })?,
            Part::FirstRowId => self.first_row_id = cursor.number(node)?,
            Part::ReferencedFile => self.referenced = cursor.text(node)?,
            Part::ContentOffset => self.content_offset = cursor.number(node)?,
            Part::ContentSize => self.content_size = cursor.number(node)?,
            Part::Partition => {
                enter(cursor, node)?;
                for (part, node) in &layout.partition {
                    match part {
                        Part::PartitionValue(idx) => self.partition[*idx] = raw(cursor, node)?,
                        _ => cursor.skip(node)?,
                    }
                }
            }
            _ => cursor.skip(node)?,
        }
        Ok(())
    }
}

fn required<T>(value: Option<T>) -> Decoded<T> {
    value.ok_or_else(|| Malformed::from("a field is null that must not be"))
}

fn id(value: i64) -> Decoded<i32> {
    i32::try_from(value).map_err(|_| "a field id of more than 32 bits".into())
}

/// Reads a value of whatever type.
fn raw<'a>(cursor: &mut Cursor<'a>, node: &Node) -> Decoded<Option<Raw<'a>>> {
    let Some(node) = cursor.present(node)? else { return Ok(None) };
    Ok(Some(match node {
        Node::Boolean => Raw::Boolean(cursor.boolean()?),
        Node::Float => Raw::Float(cursor.float()?.into()),
        Node::Double => Raw::Float(cursor.double()?),
        Node::Int | Node::Long => Raw::Number(required(cursor.number(node)?)?),
        node => Raw::Bytes(required(cursor.bytes(node)?)?),
    }))
}

/// Reads a map with field ids as keys, which Avro has not: a list of records of a key and a value.
fn by_id<'a>(
    cursor: &mut Cursor<'a>,
    node: &Node,
    mut add: impl FnMut(&mut Cursor<'a>, i32, &Node) -> Decoded<()>,
) -> Decoded<()> {
    let Some(node) = cursor.present(node)? else { return Ok(()) };
    let (key, value) = node.key_and_value().ok_or("a field is no map by field ids")?;
    cursor.each(|cursor| {
        let key = id(required(cursor.number(key)?)?)?;
        add(cursor, key, value)
    })
}

fn numbers_by_id(cursor: &mut Cursor<'_>, node: &Node, out: &mut Vec<(i32, i64)>) -> Decoded<()> {
    by_id(cursor, node, |cursor, key, node| {
        out.push((key, required(cursor.number(node)?)?));
        Ok(())
    })
}

fn bytes_by_id<'a>(
    cursor: &mut Cursor<'a>,
    node: &Node,
    out: &mut Vec<(i32, &'a [u8])>,
) -> Decoded<()> {
    by_id(cursor, node, |cursor, key, node| {
        out.push((key, required(cursor.bytes(node)?)?));
        Ok(())
    })
}
