//! Rows as `COPY … TO STDOUT` sends them: PostgreSQL's text, CSV and binary files, byte for byte.
//!
//! One `CopyData` message a row, as PostgreSQL does; the header of a binary file travels with the first row, or with
//! the trailer when there is none.

use super::{Cells, set_length};
use crate::error::Result;
use bytes::{BufMut, BytesMut};

/// What every binary file starts with: signature, flags, length of the extension.
const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const BINARY_TRAILER: i16 = -1;

/// Which of the three forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyKind {
    /// Tab-separated with backslash escapes.
    Text,
    /// Comma-separated with quotes.
    Csv,
    /// Lengths and binary values.
    Binary,
}

/// How the rows of a COPY are written; checked by who builds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFormat {
    /// Which form.
    pub kind: CopyKind,
    /// Whether a line of column names comes first.
    pub header: bool,
    /// Between two values.
    pub delimiter: u8,
    /// What stands for NULL.
    pub null: Vec<u8>,
    /// Around values that need it, in CSV.
    pub quote: u8,
    /// Before a quote inside quotes, in CSV.
    pub escape: u8,
    /// Whether a column is always quoted, in CSV; one entry a column.
    pub force_quote: Vec<bool>,
}

/// A COPY that is being written.
#[derive(Debug)]
pub struct CopyRows {
    format: CopyFormat,
    binary_header_sent: bool,
}

impl CopyRows {
    /// Starts a COPY.
    pub fn new(format: CopyFormat) -> Self {
        Self { format, binary_header_sent: false }
    }

    /// Writes what comes before the rows.
    ///
    /// # Errors
    /// When the names are longer than a message may be.
    pub fn put_header(&self, names: &[&str], out: &mut BytesMut) -> Result<()> {
        if !self.format.header {
            return Ok(());
        }
        message(out, |out| {
            for (idx, name) in names.iter().enumerate() {
                self.put_delimiter(idx, out);
                let start = out.len();
                out.put_slice(name.as_bytes());
                match self.format.kind {
                    CopyKind::Csv => self.quote_csv(false, names.len() == 1, start, out),
                    _ => self.escape_text(start, out),
                }
            }
            out.put_u8(b'\n');
            Ok(())
        })
    }

    /// Writes one row.
    pub(super) fn put_row(
        &mut self,
        columns: &[Cells],
        row: usize,
        out: &mut BytesMut,
    ) -> Result<()> {
        let with_header = !std::mem::replace(&mut self.binary_header_sent, true);
        let this = &*self;
        let written = message(out, |out| match this.format.kind {
            CopyKind::Binary => {
                if with_header {
                    out.put_slice(BINARY_HEADER);
                }
                out.put_u16(columns.len() as u16);
                columns.iter().try_for_each(|cells| cells.put(row, out))
            }
            _ => this.put_line(columns, row, out),
        });
        if written.is_err() && with_header {
            self.binary_header_sent = false;
        }
        written
    }

    /// Writes what comes after the rows.
    ///
    /// # Errors
    /// Never: the trailer is short.
    pub fn put_trailer(&self, out: &mut BytesMut) -> Result<()> {
        if self.format.kind != CopyKind::Binary {
            return Ok(());
        }
        message(out, |out| {
            if !self.binary_header_sent {
                out.put_slice(BINARY_HEADER);
            }
            out.put_i16(BINARY_TRAILER);
            Ok(())
        })
    }

    fn put_line(&self, columns: &[Cells], row: usize, out: &mut BytesMut) -> Result<()> {
        for (idx, cells) in columns.iter().enumerate() {
            self.put_delimiter(idx, out);
            if cells.is_null(row) {
                out.put_slice(&self.format.null);
                continue;
            }
            let start = out.len();
            (cells.body)(row, out)?;
            match self.format.kind {
                CopyKind::Csv => {
                    let forced = self.format.force_quote.get(idx).copied().unwrap_or(false);
                    self.quote_csv(forced, columns.len() == 1, start, out);
                }
                _ => self.escape_text(start, out),
            }
        }
        out.put_u8(b'\n');
        Ok(())
    }

    fn put_delimiter(&self, idx: usize, out: &mut BytesMut) {
        if idx > 0 {
            out.put_u8(self.format.delimiter);
        }
    }

    /// Escapes what was written from `start` on.
    fn escape_text(&self, start: usize, out: &mut BytesMut) {
        let delimiter = self.format.delimiter;
        let special = |byte: &u8| (8..=13).contains(byte) || *byte == b'\\' || *byte == delimiter;
        let Some(first) = out[start..].iter().position(special) else { return };
        let rest = out[start + first..].to_vec();
        out.truncate(start + first);
        for byte in rest {
            let letter = match byte {
                8 => b'b',
                b'\t' => b't',
                b'\n' => b'n',
                11 => b'v',
                12 => b'f',
                b'\r' => b'r',
                other => other,
            };
            if letter != byte || byte == b'\\' || byte == delimiter {
                out.put_u8(b'\\');
            }
            out.put_u8(letter);
        }
    }

    /// Puts quotes around what was written from `start` on, where it needs them.
    fn quote_csv(&self, forced: bool, is_alone: bool, start: usize, out: &mut BytesMut) {
        let CopyFormat { delimiter, quote, escape, null, .. } = &self.format;
        let special =
            |byte: &u8| byte == delimiter || byte == quote || matches!(byte, b'\n' | b'\r');
        let value = &out[start..];
        // A lone `\.` would end the file for older readers.
        let ends_file = is_alone && value == b"\\.";
        if !forced && value != null.as_slice() && !ends_file && !value.iter().any(special) {
            return;
        }
        let value = value.to_vec();
        out.truncate(start);
        out.put_u8(*quote);
        for byte in value {
            if byte == *quote || byte == *escape {
                out.put_u8(*escape);
            }
            out.put_u8(byte);
        }
        out.put_u8(*quote);
    }
}

/// Writes one `CopyData` message.
fn message(out: &mut BytesMut, content: impl FnOnce(&mut BytesMut) -> Result<()>) -> Result<()> {
    out.put_u8(b'd');
    let start = out.len();
    out.put_i32(0);
    content(out)?;
    set_length(out, start, out.len() - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(kind: CopyKind) -> CopyRows {
        CopyRows::new(CopyFormat {
            kind,
            header: true,
            delimiter: if kind == CopyKind::Csv { b',' } else { b'\t' },
            null: if kind == CopyKind::Csv { vec![] } else { b"\\N".to_vec() },
            quote: b'"',
            escape: b'"',
            force_quote: vec![],
        })
    }

    fn header(kind: CopyKind, names: &[&str]) -> String {
        let mut out = BytesMut::new();
        rows(kind).put_header(names, &mut out).unwrap();
        String::from_utf8(out[5..].to_vec()).unwrap()
    }

    #[test]
    fn text_is_escaped_where_postgres_escapes_it() {
        assert_eq!(header(CopyKind::Text, &["a\tb", "c\\d", "é"]), "a\\tb\tc\\\\d\té\n");
        assert_eq!(header(CopyKind::Text, &["\u{1}\u{8}\u{b}\u{c}\r\n"]), "\u{1}\\b\\v\\f\\r\\n\n");
    }

    #[test]
    fn csv_is_quoted_where_postgres_quotes_it() {
        assert_eq!(
            header(CopyKind::Csv, &["a,b", "c\"d", "", "e f"]),
            "\"a,b\",\"c\"\"d\",\"\",e f\n"
        );
        assert_eq!(header(CopyKind::Csv, &["\\."]), "\"\\.\"\n");
        assert_eq!(header(CopyKind::Csv, &["\\.", "b"]), "\\.,b\n");
    }

    #[test]
    fn an_empty_binary_file_has_header_and_trailer() {
        let mut out = BytesMut::new();
        rows(CopyKind::Binary).put_trailer(&mut out).unwrap();
        assert_eq!(&out[5..], b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\xff\xff");
    }
}
