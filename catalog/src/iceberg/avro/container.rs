//! Avro's container: a header, then blocks of rows, each of them packed and closed by the file's own marker.
//!
//! The format has no end mark: a file that was cut between two blocks is a shorter file. Who opens it must know its
//! length or how many rows it has.

use super::cursor::Cursor;
use super::schema::{Field, Node};
use super::{Decoded, Malformed};
use flate2::{Decompress, FlushDecompress, Status};
use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

const MAGIC: &[u8] = b"Obj\x01";
const MARKER_BYTES: usize = 16;
/// Most bytes of a block after decompression. Most writers close a block after 16 to 64 KiB, some only at the end.
const MAX_BLOCK_BYTES: usize = if cfg!(test) { 4 << 20 } else { 1 << 30 };
/// A byte of snappy becomes at most 64, and there are a few bytes of overhead.
const MAX_SNAPPY_RATIO: usize = 64;

#[derive(Debug, Clone, Copy)]
enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

/// An Avro file in memory, opened.
pub(crate) struct Container<'a> {
    /// What the header says of the rows.
    pub(crate) meta: HashMap<String, Vec<u8>>,
    /// Fields of each row.
    pub(crate) fields: Arc<[Field]>,
    codec: Codec,
    marker: &'a [u8],
    blocks: Cursor<'a>,
}

impl<'a> Container<'a> {
    /// Reads the header.
    pub(crate) fn open(document: &'a [u8]) -> Decoded<Self> {
        let mut cursor = Cursor::new(document);
        if cursor.take(MAGIC.len()) != Ok(MAGIC) {
            return Err("it does not begin as an Avro file".into());
        }
        let mut meta = HashMap::new();
        cursor.each(|cursor| {
            let key = std::str::from_utf8(cursor.sized()?).map_err(|_| "a key is no UTF-8")?;
            meta.insert(key.to_owned(), cursor.sized()?.to_vec());
            Ok(())
        })?;
        let marker = cursor.take(MARKER_BYTES)?;
        let schema = meta.get("avro.schema").ok_or("the header has no schema")?;
        let Node::Record(fields) = Node::parse(schema)? else {
            return Err("its rows are no records".into());
        };
        let codec = Codec::parse(meta.get("avro.codec").map(Vec::as_slice))?;
        Ok(Self { meta, fields, codec, marker, blocks: cursor })
    }

    /// Calls `read` for each block with the number of its rows, all of which it must read.
    pub(crate) fn blocks(
        &self,
        mut read: impl FnMut(u64, &mut Cursor<'_>) -> Decoded<()>,
    ) -> Decoded<()> {
        let mut file = self.blocks.clone();
        let mut plain = vec![];
        while !file.rest().is_empty() {
            let n_rows = u64::try_from(file.varint()?).map_err(|_| "a negative number of rows")?;
            let packed = file.sized()?;
            if file.take(MARKER_BYTES)? != self.marker {
                return Err("a block does not end with the file's marker".into());
            }
            let rows = self.codec.unpack(packed, &mut plain)?;
            // A row of a manifest takes several bytes, so this bounds what a count can cost.
            if n_rows > rows.len() as u64 {
                return Err("a block is shorter than its rows".into());
            }
            let mut rows = Cursor::new(rows);
            read(n_rows, &mut rows)?;
            if !rows.rest().is_empty() {
                return Err("a block is longer than its rows".into());
            }
        }
        Ok(())
    }
}

impl Codec {
    fn parse(name: Option<&[u8]>) -> Decoded<Self> {
        Ok(match name {
            None | Some(b"null") => Self::Null,
            Some(b"deflate") => Self::Deflate,
            Some(b"snappy") => Self::Snappy,
            Some(b"zstandard") => Self::Zstandard,
            Some(other) => {
                let name = String::from_utf8_lossy(other).into_owned();
                let feature = format!("an Iceberg manifest compressed as {name:?}");
                return Err(Malformed::NotSupported(feature));
            }
        })
    }

    /// Returns the bytes of a block, which may lie in `plain`.
    fn unpack<'b>(self, packed: &'b [u8], plain: &'b mut Vec<u8>) -> Decoded<&'b [u8]> {
        plain.clear();
        match self {
            Self::Null => return Ok(packed),
            Self::Deflate => inflate(packed, plain)?,
            Self::Snappy => unsnap(packed, plain)?,
            Self::Zstandard => {
                let reader = zstd::stream::read::Decoder::with_buffer(packed);
                let reader = reader.map_err(|error| error.to_string())?;
                let n = reader.take(MAX_BLOCK_BYTES as u64 + 1).read_to_end(plain);
                check_size(n.map_err(|error| format!("a block cannot be decompressed: {error}"))?)?;
            }
        }
        Ok(plain)
    }
}

fn check_size(n_bytes: usize) -> Decoded<()> {
    match n_bytes > MAX_BLOCK_BYTES {
        true => Err(format!("a block of more than {MAX_BLOCK_BYTES} bytes").into()),
        false => Ok(()),
    }
}

fn inflate(packed: &[u8], plain: &mut Vec<u8>) -> Decoded<()> {
    let mut stream = Decompress::new(false);
    plain.reserve(packed.len().saturating_mul(4).clamp(1 << 10, MAX_BLOCK_BYTES));
    loop {
        let (before_in, before_out) = (stream.total_in(), stream.total_out());
        let rest = packed.get(before_in as usize..).unwrap_or_default();
        let status = stream.decompress_vec(rest, plain, FlushDecompress::None);
        let status = status.map_err(|error| format!("a block cannot be decompressed: {error}"))?;
        check_size(plain.len())?;
        if status == Status::StreamEnd {
            return Ok(());
        }
        let is_stuck = (stream.total_in(), stream.total_out()) == (before_in, before_out);
        if plain.len() == plain.capacity() {
            plain.reserve(plain.len());
        } else if is_stuck {
            return Err("a compressed block is cut off".into());
        }
    }
}

fn unsnap(packed: &[u8], plain: &mut Vec<u8>) -> Decoded<()> {
    let (body, checksum) = packed.split_last_chunk().ok_or("a compressed block is cut off")?;
    let broken = |error: snap::Error| format!("a block cannot be decompressed: {error}");
    let n_bytes = snap::raw::decompress_len(body).map_err(broken)?;
    check_size(n_bytes)?;
    if n_bytes > body.len().saturating_mul(MAX_SNAPPY_RATIO) {
        return Err("a compressed block cannot be as long as it says".into());
    }
    plain.resize(n_bytes, 0);
    snap::raw::Decoder::new().decompress(body, plain).map_err(broken)?;
    match crc32fast::hash(plain) == u32::from_be_bytes(*checksum) {
        true => Ok(()),
        false => Err("the checksum of a block is wrong".into()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use std::io::Write;

    fn varint(value: i64) -> Vec<u8> {
        let mut value = ((value << 1) ^ (value >> 63)) as u64;
        let mut bytes = vec![];
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn pack(codec: &str, plain: &[u8]) -> Vec<u8> {
        match codec {
            "deflate" => {
                let mut encoder = DeflateEncoder::new(vec![], Compression::default());
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            "snappy" => {
                let mut packed = snap::raw::Encoder::new().compress_vec(plain).unwrap();
                packed.extend(crc32fast::hash(plain).to_be_bytes());
                packed
            }
            "zstandard" => zstd::stream::encode_all(plain, 0).unwrap(),
            _ => plain.to_vec(),
        }
    }

    /// Writes a file with blocks of rows.
    fn write(meta: &[(&str, &[u8])], codec: &str, blocks: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        let sized = |bytes: &[u8]| [varint(bytes.len() as i64), bytes.to_vec()].concat();
        file.extend(varint(meta.len() as i64 + 1));
        for (key, value) in meta.iter().chain([&("avro.codec", codec.as_bytes())]) {
            file.extend(sized(key.as_bytes()));
            file.extend(sized(value));
        }
        file.extend([0]);
        file.extend(*b"0123456789abcdef");
        for (n_rows, rows) in blocks {
            file.extend(varint(*n_rows as i64));
            file.extend(sized(&pack(codec, rows)));
            file.extend(*b"0123456789abcdef");
        }
        file
    }

    /// Writes the rows of a file anew, with another codec and another schema of the same types.
    pub(crate) fn rewrite(
        document: &[u8],
        codec: &str,
        edit: impl FnOnce(&mut serde_json::Value),
    ) -> Vec<u8> {
        let mut container = Container::open(document).unwrap();
        let mut blocks = vec![];
        let row = Node::Record(Arc::clone(&container.fields));
        let copy = |n_rows: u64, cursor: &mut Cursor<'_>| {
            blocks.push((n_rows, cursor.rest().to_vec()));
            (0..n_rows).try_for_each(|_| cursor.skip(&row))
        };
        container.blocks(copy).unwrap();
        container.meta.remove("avro.codec");
        let schema = container.meta.get_mut("avro.schema").unwrap();
        let mut json = serde_json::from_slice(schema).unwrap();
        edit(&mut json);
        *schema = serde_json::to_vec(&json).unwrap();
        let meta: Vec<_> = container.meta.iter().map(|(k, v)| (k.as_str(), v.as_slice())).collect();
        write(&meta, codec, &blocks)
    }

    const SCHEMA: &[u8] =
        br#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": "long"}]}"#;

    fn sum(document: &[u8]) -> Decoded<i64> {
        let container = Container::open(document)?;
        let mut sum = 0;
        container.blocks(|n_rows, cursor| {
            for _ in 0..n_rows {
                sum += cursor.number(&container.fields[0].node)?.unwrap_or_default();
            }
            Ok(())
        })?;
        Ok(sum)
    }

    #[test]
    fn blocks_of_every_codec_are_read() {
        let numbers = |n: i64| (0..n).flat_map(varint).collect::<Vec<_>>();
        for codec in ["null", "deflate", "snappy", "zstandard"] {
            let blocks = [(3, numbers(3)), (0, vec![]), (1000, numbers(1000))];
            let file = write(&[("avro.schema", SCHEMA)], codec, &blocks);
            assert_eq!(sum(&file), Ok(3 + 499_500), "{codec}");
            let unseen = (0..file.len()).filter(|end| sum(&file[..*end]).is_ok());
            // Between two blocks a cut cannot be seen.
            assert_eq!(unseen.count(), 3, "{codec}");
        }
        let file = write(&[("avro.schema", SCHEMA)], "bzip2", &[]);
        assert!(
            matches!(sum(&file), Err(Malformed::NotSupported(feature)) if feature.contains("bzip2"))
        );
    }

    #[test]
    fn blocks_that_do_not_add_up_are_errors() {
        let check = |blocks: &[(u64, Vec<u8>)], expected: &str| {
            let found = format!("{:?}", sum(&write(&[("avro.schema", SCHEMA)], "snappy", blocks)));
            assert!(found.contains(expected), "{found}");
        };
        check(&[(2, vec![2, 2, 2])], "longer than its rows");
        check(&[(2, vec![2])], "shorter than its rows");
        check(&[(2, vec![0x80, 0x80])], "inside a value");
        let mut file = write(&[("avro.schema", SCHEMA)], "null", &[(1, vec![2])]);
        let end = file.len();
        file[end - 1] ^= 1;
        assert!(format!("{:?}", sum(&file)).contains("marker"));
        let mut file = write(&[("avro.schema", SCHEMA)], "snappy", &[(1, vec![2])]);
        let end = file.len();
        file[end - 17] ^= 1;
        assert!(format!("{:?}", sum(&file)).contains("checksum"));
        // A few bytes that say they are four gigabytes.
        let body = [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0; 8]].concat();
        assert!(unsnap(&body, &mut vec![]).is_err());
        // Zeros that are too many once they are plain.
        let bomb = pack("zstandard", &vec![0; MAX_BLOCK_BYTES + 1]);
        assert!(Codec::Zstandard.unpack(&bomb, &mut vec![]).is_err());
    }
}
