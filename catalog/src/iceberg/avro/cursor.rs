//! Values in Avro's encoding, read from front to back.
//!
//! Nothing is allocated here: texts and bytes are slices of the block that they lie in. A length is held against the
//! bytes that are left before it is used.

use super::schema::Node;
use super::{Decoded, Malformed};

const CUT: &str = "the bytes end inside a value";
const WRONG_TYPE: &str = "a field is of another type than the format says";

/// A place in bytes.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns what was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Returns the next `n` bytes.
    pub(super) fn take(&mut self, n: usize) -> Decoded<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(CUT)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads a number of variable length.
    pub(super) fn varint(&mut self) -> Decoded<i64> {
        let mut value = 0_u64;
        for (idx, byte) in self.rest.iter().take(10).enumerate() {
            if idx == 9 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * idx);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[idx + 1..];
                // Zigzag: the lowest bit is the sign.
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(if self.rest.len() < 10 { CUT.into() } else { "a number of more than 64 bits".into() })
    }

    /// Reads bytes behind their length.
    pub(super) fn sized(&mut self) -> Decoded<&'a [u8]> {
        let length = usize::try_from(self.varint()?).map_err(|_| "a negative length")?;
        self.take(length)
    }

    /// Reads a list or a map, calling `item` for each of its items, which take a byte at least.
    pub(crate) fn each(&mut self, mut item: impl FnMut(&mut Self) -> Decoded<()>) -> Decoded<()> {
        loop {
            let mut n = self.varint()?;
            if n == 0 {
                return Ok(());
            }
            if n < 0 {
                // The block's bytes follow, for those who skip it.
                self.varint()?;
                n = n.checked_neg().ok_or(CUT)?;
            }
            if n as u64 > self.rest.len() as u64 {
                return Err(CUT.into());
            }
            for _ in 0..n {
                item(self)?;
            }
        }
    }

    /// Returns the type of the value that comes next, which for a union is that of one of its branches; `None` for null.
    pub(crate) fn present<'n>(&mut self, node: &'n Node) -> Decoded<Option<&'n Node>> {
        let node = match node {
            Node::Union(branches) => {
                let branch = usize::try_from(self.varint()?).ok().and_then(|idx| branches.get(idx));
                branch.ok_or("a union has no such branch")?
            }
            node => node,
        };
        Ok((!matches!(node, Node::Null)).then_some(node))
    }

    /// Reads a whole number, or null.
    pub(crate) fn number(&mut self, node: &Node) -> Decoded<Option<i64>> {
        match self.present(node)? {
            None => Ok(None),
            Some(Node::Int | Node::Long) => Ok(Some(self.varint()?)),
            Some(_) => Err(WRONG_TYPE.into()),
        }
    }

    /// Reads bytes, or null.
    pub(crate) fn bytes(&mut self, node: &Node) -> Decoded<Option<&'a [u8]>> {
        match self.present(node)? {
            None => Ok(None),
            Some(Node::Bytes | Node::String) => Ok(Some(self.sized()?)),
            Some(Node::Fixed(length)) => Ok(Some(self.take(*length)?)),
            Some(_) => Err(WRONG_TYPE.into()),
        }
    }

    /// Reads a text, or null.
    pub(crate) fn text(&mut self, node: &Node) -> Decoded<Option<&'a str>> {
        let bytes = self.bytes(node)?;
        let text = bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| "a text is no UTF-8"));
        text.transpose().map_err(Malformed::from)
    }

    /// Reads a truth value.
    pub(crate) fn boolean(&mut self) -> Decoded<bool> {
        Ok(self.take(1)?[0] != 0)
    }

    /// Reads a number of four bytes.
    pub(crate) fn float(&mut self) -> Decoded<f32> {
        let bytes: [u8; 4] = self.take(4)?.try_into().map_err(|_| CUT)?;
        Ok(f32::from_le_bytes(bytes))
    }

    /// Reads a number of eight bytes.
    pub(crate) fn double(&mut self) -> Decoded<f64> {
        let bytes: [u8; 8] = self.take(8)?.try_into().map_err(|_| CUT)?;
        Ok(f64::from_le_bytes(bytes))
    }

    /// Reads a list, calling `item` with the type of its items; null has none.
    pub(crate) fn list<'n>(
        &mut self,
        node: &'n Node,
        mut item: impl FnMut(&mut Self, &'n Node) -> Decoded<()>,
    ) -> Decoded<()> {
        match self.present(node)? {
            None => Ok(()),
            Some(Node::Array(items)) => self.each(|cursor| item(cursor, items)),
            Some(_) => Err(WRONG_TYPE.into()),
        }
    }

    fn pass(&mut self, n: usize) -> Decoded<()> {
        self.take(n).map(|_| ())
    }

    /// Passes over a value.
    pub(crate) fn skip(&mut self, node: &Node) -> Decoded<()> {
        let Some(node) = self.present(node)? else { return Ok(()) };
        match node {
            Node::Null => {}
            Node::Int | Node::Long | Node::Enum => {
                self.varint()?;
            }
            Node::Bytes | Node::String => {
                self.sized()?;
            }
            Node::Boolean => self.pass(1)?,
            Node::Float => self.pass(4)?,
            Node::Double => self.pass(8)?,
            Node::Fixed(length) => self.pass(*length)?,
            // The type of a branch is no union.
            Node::Union(_) => return Err(WRONG_TYPE.into()),
            Node::Array(items) => self.each(|cursor| cursor.skip(items))?,
            Node::Map(values) => self.each(|cursor| {
                cursor.sized()?;
                cursor.skip(values)
            })?,
            Node::Record(fields) => {
                for field in fields.iter() {
                    self.skip(&field.node)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_zigzag_of_variable_length() {
        let check = |bytes: &[u8], expected: Option<i64>| {
            assert_eq!(Cursor::new(bytes).varint().ok(), expected, "{bytes:?}");
        };
        check(&[0], Some(0));
        check(&[1], Some(-1));
        check(&[0x80, 1], Some(64));
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Some(i64::MIN));
        check(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Some(i64::MAX));
        check(&[0xff; 10], None);
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], None);
        check(&[0x80], None);
        check(&[], None);
    }

    #[test]
    fn lengths_and_counts_are_not_believed() {
        // A text of 2^40 bytes, and a list of as many items, in a few bytes.
        let long = [0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
        assert!(Cursor::new(&long).bytes(&Node::String).is_err());
        assert!(Cursor::new(&[1]).bytes(&Node::Bytes).is_err());
        let list = Node::Array(Box::new(Node::Int));
        assert!(Cursor::new(&long).skip(&list).is_err());
        // A block whose count is the least number there is.
        let least = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0];
        assert!(Cursor::new(&least).skip(&list).is_err());
        assert!(Cursor::new(&[4]).skip(&Node::Union(vec![Node::Null, Node::Int])).is_err());
    }

    #[test]
    fn lists_have_blocks_with_and_without_their_size() {
        let node = Node::Union(vec![Node::Null, Node::Array(Box::new(Node::Int))]);
        let items = |bytes: &[u8]| {
            let mut items = vec![];
            let mut cursor = Cursor::new(bytes);
            let item = |cursor: &mut Cursor<'_>, node: &Node| {
                items.extend(cursor.number(node)?);
                Ok(())
            };
            cursor.list(&node, item).unwrap();
            assert!(cursor.rest().is_empty());
            items
        };
        assert_eq!(items(&[0]), Vec::<i64>::new());
        assert_eq!(items(&[2, 4, 2, 4, 3, 4, 6, 8, 0]), [1, 2, 3, 4]);
        let mut cursor = Cursor::new(&[2, 4, 2, 4, 3, 4, 6, 8, 0]);
        cursor.skip(&node).unwrap();
        assert!(cursor.rest().is_empty());
    }
}
