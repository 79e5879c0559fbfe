//! Avro files, as far as Iceberg writes its manifests in them: fields by id, straight from bytes.
//!
//! ```text
//! container ── header, blocks, codecs ──> cursor ── values of a block, by the types of schema
//! ```
//!
//! [`super::manifest`] and [`super::manifest_list`] read rows with it. No tree of values is made: a reader asks for the
//! fields it knows and skips the others. What a file says of itself (lengths, counts, sizes after decompression) is held
//! against the bytes that are there before it is believed; whatever does not add up is an error.

mod container;
mod cursor;
mod schema;

use crate::error::Error;
use std::borrow::Cow;

pub(crate) use container::Container;
#[cfg(test)]
pub(crate) use container::tests::rewrite;
pub(crate) use cursor::Cursor;
pub(crate) use schema::{Field, Node};

/// What is wrong with a file; who opened it adds the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The bytes are none of this format.
    Broken(Cow<'static, str>),
    /// The bytes may be good, but not for this reader.
    NotSupported(String),
}

/// What reading comes to.
pub(crate) type Decoded<T> = Result<T, Malformed>;

impl Malformed {
    /// Returns the error for a file.
    pub(super) fn of_file(self, path: &str) -> Error {
        match self {
            Self::Broken(message) => {
                Error::CorruptFile { path: path.to_owned(), message: message.into_owned() }
            }
            Self::NotSupported(feature) => Error::NotSupported { feature },
        }
    }
}

impl From<&'static str> for Malformed {
    fn from(message: &'static str) -> Self {
        Self::Broken(message.into())
    }
}

impl From<String> for Malformed {
    fn from(message: String) -> Self {
        Self::Broken(message.into())
    }
}
