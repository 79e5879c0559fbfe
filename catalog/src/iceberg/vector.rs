//! Deletion vectors: bitmaps of deleted row positions, as Puffin files hold them, and files of Delta tables alike.
//!
//! ```text
//! length of magic and bitmap   4 bytes, big endian
//! magic                        D1 D3 39 64
//! bitmap                       64-bit roaring, portable form
//! CRC-32 of magic and bitmap   4 bytes, big endian
//! ```

use roaring::RoaringTreemap;

const MAGIC: [u8; 4] = [0xd1, 0xd3, 0x39, 0x64];
/// Bytes around the bitmap.
const FRAME: usize = 12;

/// Reads a deletion vector that must hold `n_rows` positions.
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn parse(blob: &[u8], n_rows: u64) -> Result<RoaringTreemap, String> {
    let number = |at: usize| {
        let bytes = blob.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        bytes.map(u32::from_be_bytes).ok_or("the deletion vector is too short")
    };
    if blob.len() < FRAME {
        return Err("the deletion vector is too short".to_owned());
    }
    let body = &blob[4..blob.len() - 4];
    if number(0)? as usize != body.len() || !body.starts_with(&MAGIC) {
        return Err("the deletion vector has no valid header".to_owned());
    }
    if number(blob.len() - 4)? != crc32fast::hash(body) {
        return Err("the deletion vector has a wrong checksum".to_owned());
    }
    let bitmap = RoaringTreemap::deserialize_from(&body[MAGIC.len()..])
        .map_err(|error| format!("the deletion vector has no valid bitmap: {error}"))?;
    match bitmap.len() == n_rows {
        true => Ok(bitmap),
        false => {
            Err(format!("the deletion vector holds {} rows instead of {n_rows}", bitmap.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(rows: &[u64]) -> Vec<u8> {
        let bitmap: RoaringTreemap = rows.iter().copied().collect();
        let mut body = MAGIC.to_vec();
        bitmap.serialize_into(&mut body).unwrap();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let crc = crc32fast::hash(&body).to_be_bytes();
        [&length[..], &body, &crc].concat()
    }

    #[test]
    fn vector_is_read_and_every_broken_byte_is_noticed() {
        let good = blob(&[0, 5, 1 << 33]);
        assert_eq!(parse(&good, 3).unwrap().iter().collect::<Vec<_>>(), [0, 5, 1 << 33]);
        assert!(parse(&good, 2).unwrap_err().contains("3 rows instead of 2"));
        for idx in 0..good.len() {
            let mut broken = good.clone();
            broken[idx] ^= 1;
            assert!(parse(&broken, 3).is_err(), "byte {idx}");
            assert!(parse(&good[..idx], 3).is_err(), "first {idx} bytes");
        }
    }
}
