//! A PostgreSQL client of 200 lines: simple queries, text values, every error field, row by row if a test wants.
//!
//! Tests use it instead of a driver where they must see the wire as it is: values print as psql prints them, an error
//! keeps its position and hint, and a test can stop reading in the middle of a result.

use super::CLIENT_DEADLINE;
use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// Code of a [`PgError`] that no server sent: the connection broke or nothing came within the deadline.
pub const CONNECTION_LOST: &str = "lost";

/// Bytes read at once.
const READ_BUFFER_BYTES: usize = 1 << 18;

/// An error message of the server, by field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PgError {
    /// SQLSTATE, or [`CONNECTION_LOST`].
    pub code: String,
    /// ERROR or FATAL.
    pub severity: String,
    /// The primary message.
    pub message: String,
    /// More about it, or empty.
    pub detail: String,
    /// What to do, or empty.
    pub hint: String,
    /// Position in the statement in characters, from 1.
    pub position: Option<usize>,
}

impl fmt::Display for PgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.code, self.message)?;
        if !self.detail.is_empty() {
            write!(f, " (detail: {})", self.detail)?;
        }
        if !self.hint.is_empty() {
            write!(f, " (hint: {})", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for PgError {}

/// One column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// OID of its type.
    pub type_oid: u32,
}

/// The answer to a simple query; of several statements, the last one's.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The columns; empty for a command.
    pub columns: Vec<Column>,
    /// The rows; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// The command tag.
    pub tag: String,
}

/// One message of the server.
#[derive(Debug)]
pub enum Message {
    /// Columns of the rows that follow.
    Columns(Vec<Column>),
    /// One row.
    Row(Vec<Option<String>>),
    /// A statement is done; its command tag.
    Complete(String),
    /// A statement failed.
    Error(PgError),
    /// The server waits for the next query.
    Ready,
    /// Anything else.
    Other,
}

/// A connection.
pub struct Pg {
    stream: BufReader<TcpStream>,
    address: String,
    pid: i32,
    secret: i32,
    /// Settings the server reported at start.
    pub parameters: HashMap<String, String>,
}

impl Pg {
    /// Connects as user `test` to database `lake`.
    pub fn connect(address: &str) -> Result<Self, PgError> {
        Self::connect_as(address, "test", "lake")
    }

    /// Connects as `user` to `database`.
    pub fn connect_as(address: &str, user: &str, database: &str) -> Result<Self, PgError> {
        let stream = TcpStream::connect(address).map_err(lost)?;
        stream.set_read_timeout(Some(CLIENT_DEADLINE)).map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        let mut body = 196_608_i32.to_be_bytes().to_vec();
        for text in ["user", user, "database", database, "application_name", "saltlake tests"] {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        let stream = BufReader::with_capacity(READ_BUFFER_BYTES, stream);
        let parameters = HashMap::new();
        let mut pg = Self { stream, address: address.to_owned(), pid: 0, secret: 0, parameters };
        pg.send(None, &body)?;
        loop {
            match pg.next_message()? {
                Message::Ready => return Ok(pg),
                Message::Error(error) => return Err(error),
                _ => {}
            }
        }
    }

    /// Runs `sql` as a simple query.
    pub fn query(&mut self, sql: &str) -> Result<Answer, PgError> {
        self.start(sql)?;
        self.finish()
    }

    /// Sends `sql` and reads nothing: see [`Pg::next_message`] and [`Pg::finish`].
    pub fn start(&mut self, sql: &str) -> Result<(), PgError> {
        let mut body = sql.as_bytes().to_vec();
        body.push(0);
        self.send(Some(b'Q'), &body)
    }

    /// Reads the rest of an answer.
    pub fn finish(&mut self) -> Result<Answer, PgError> {
        let mut answer = Answer::default();
        let mut failed = None;
        loop {
            match self.next_message()? {
                Message::Columns(columns) => answer = Answer { columns, ..Answer::default() },
                Message::Row(row) => answer.rows.push(row),
                Message::Complete(tag) => answer.tag = tag,
                Message::Error(error) => failed = Some(error),
                Message::Ready => return failed.map_or(Ok(answer), Err),
                Message::Other => {}
            }
        }
    }

    /// Reads the rest of an answer and counts its rows without looking into them.
    pub fn count_rows(&mut self) -> Result<u64, PgError> {
        let mut n_rows = 0;
        loop {
            n_rows += self.skip_buffered_rows();
            match self.next_message()? {
                Message::Row(_) => n_rows += 1,
                Message::Error(error) => {
                    self.finish().ok();
                    return Err(error);
                }
                Message::Ready => return Ok(n_rows),
                _ => {}
            }
        }
    }

    /// Skips the rows that lie in the read buffer whole: fifty million of them take seconds, not minutes.
    fn skip_buffered_rows(&mut self) -> u64 {
        let (mut n_rows, mut n_bytes) = (0, 0);
        let mut rest = self.stream.buffer();
        while let [b'D', a, b, c, d, ..] = *rest {
            let length = 1 + u32::from_be_bytes([a, b, c, d]) as usize;
            let Some(after) = rest.get(length..) else { break };
            rest = after;
            n_bytes += length;
            n_rows += 1;
        }
        self.stream.consume(n_bytes);
        n_rows
    }

    /// Runs `sql`, which must succeed.
    pub fn run(&mut self, sql: &str) -> Answer {
        self.query(sql).unwrap_or_else(|e| panic!("{sql}\n{e}"))
    }

    /// Returns the rows of `sql`, which must succeed; NULL prints as `NULL`.
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        let print = |value: Option<String>| value.unwrap_or_else(|| "NULL".to_owned());
        let rows = self.run(sql).rows.into_iter();
        rows.map(|row| row.into_iter().map(print).collect()).collect()
    }

    /// Returns the only value of the only row of `sql`.
    pub fn scalar(&mut self, sql: &str) -> String {
        let mut rows = self.rows(sql);
        assert!(rows.len() == 1 && rows[0].len() == 1, "not one value: {sql}: {rows:?}");
        rows.remove(0).remove(0)
    }

    /// Returns the error of `sql`, which must fail.
    pub fn error(&mut self, sql: &str) -> PgError {
        let shown: String = sql.chars().take(200).collect();
        match self.query(sql) {
            Err(error) => error,
            Ok(answer) => panic!("must fail: {shown}\n{:?} {:?}", answer.tag, answer.rows),
        }
    }

    /// Asks the server to cancel what this connection runs, over a second connection as libpq does.
    pub fn canceller(&self) -> impl Fn() + Send + 'static {
        let (address, pid, secret) = (self.address.clone(), self.pid, self.secret);
        move || {
            let mut stream = TcpStream::connect(&address).unwrap();
            let mut message = 16_i32.to_be_bytes().to_vec();
            for number in [80_877_102_i32, pid, secret] {
                message.extend_from_slice(&number.to_be_bytes());
            }
            stream.write_all(&message).unwrap();
            // The server closes without an answer; to wait for it means the request was read.
            let _ = stream.read(&mut [0; 1]);
        }
    }

    /// Reads the next message.
    pub fn next_message(&mut self) -> Result<Message, PgError> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).map_err(lost)?;
        let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        self.stream.read_exact(&mut body).map_err(lost)?;
        let mut fields = Fields(&body);
        Ok(match head[0] {
            b'T' => Message::Columns(fields.columns()),
            b'D' => Message::Row(fields.row()),
            b'C' => Message::Complete(fields.text()),
            b'E' => Message::Error(fields.error()),
            b'Z' => Message::Ready,
            b'S' => {
                self.parameters.insert(fields.text(), fields.text());
                Message::Other
            }
            b'K' => {
                (self.pid, self.secret) = (fields.int32(), fields.int32());
                Message::Other
            }
            _ => Message::Other,
        })
    }

    fn send(&mut self, kind: Option<u8>, body: &[u8]) -> Result<(), PgError> {
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend_from_slice(&i32::try_from(body.len() + 4).unwrap().to_be_bytes());
        message.extend_from_slice(body);
        self.stream.get_mut().write_all(&message).map_err(lost)
    }
}

fn lost(error: std::io::Error) -> PgError {
    let (code, severity) = (CONNECTION_LOST.to_owned(), "CONNECTION".to_owned());
    PgError { code, severity, message: error.to_string(), ..PgError::default() }
}

/// Reads the fields of one message from the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take(&mut self, n_bytes: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(n_bytes);
        self.0 = rest;
        taken
    }

    fn int16(&mut self) -> i16 {
        i16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    fn int32(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    fn text(&mut self) -> String {
        let end = self.0.iter().position(|&byte| byte == 0).expect("texts end with a zero byte");
        let text = String::from_utf8_lossy(self.take(end)).into_owned();
        self.take(1);
        text
    }

    fn columns(&mut self) -> Vec<Column> {
        let n_columns = self.int16();
        let mut columns = Vec::new();
        for _ in 0..n_columns {
            let name = self.text();
            // Table OID and column number, type OID, then length, modifier and format.
            self.take(6);
            let type_oid = self.int32().cast_unsigned();
            self.take(8);
            columns.push(Column { name, type_oid });
        }
        columns
    }

    fn row(&mut self) -> Vec<Option<String>> {
        let n_values = self.int16();
        let mut row = Vec::new();
        for _ in 0..n_values {
            let length = usize::try_from(self.int32()).ok();
            row.push(length.map(|n| String::from_utf8_lossy(self.take(n)).into_owned()));
        }
        row
    }

    fn error(&mut self) -> PgError {
        let mut error = PgError::default();
        while let [kind, ..] = *self.0 {
            if kind == 0 {
                break;
            }
            self.take(1);
            let text = self.text();
            match kind {
                b'S' => error.severity = text,
                b'C' => error.code = text,
                b'M' => error.message = text,
                b'D' => error.detail = text,
                b'H' => error.hint = text,
                b'P' => error.position = text.parse().ok(),
                _ => {}
            }
        }
        error
    }
}
