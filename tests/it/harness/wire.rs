//! A PostgreSQL client that shows every message of the server as a line, for comparing two servers.
//!
//! Left out are what must differ: keys, settings, table OIDs, and the texts of errors beyond code and message.

use super::CLIENT_DEADLINE;
use std::fmt::Write as _;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

/// A connection of user `test` to database `lake`.
pub struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    /// Connects.
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(CLIENT_DEADLINE)).unwrap();
        let mut wire = Self { stream: BufReader::new(stream) };
        let mut body = 196_608_i32.to_be_bytes().to_vec();
        body.extend_from_slice(b"user\0test\0database\0lake\0TimeZone\0UTC\0\0");
        wire.send(None, &body);
        wire.until_ready();
        wire
    }

    /// Sends one message written as a line, and returns what the server answered, a line a message.
    ///
    /// ```text
    /// Q sql                       a simple query
    /// P name sql                  Parse; - is the unnamed statement
    /// B portal statement f v …    Bind with result format f (0 or 1) and text values; \N is NULL
    /// DS name, DP name            Describe
    /// E portal n                  Execute with a row limit
    /// CS name, CP name            Close
    /// S                           Sync, and what came back since the last one
    /// ```
    pub fn say(&mut self, line: &str) -> Vec<String> {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split(' ').collect();
        let name = |word: &str| if word == "-" { String::new() } else { word.to_owned() };
        match command {
            "Q" => {
                self.send(Some(b'Q'), format!("{rest}\0").as_bytes());
                return self.until_ready();
            }
            "P" => {
                // The line has lost its trailing blanks where the statement is empty.
                let (statement, sql) = rest.split_once(' ').unwrap_or((rest, ""));
                let body = format!("{}\0{sql}\0\0\0", name(statement));
                self.send(Some(b'P'), body.as_bytes());
            }
            "B" => self.bind(&name(words[0]), &name(words[1]), words[2], &words[3..]),
            "DS" => self.send(Some(b'D'), format!("S{}\0", name(rest)).as_bytes()),
            "DP" => self.send(Some(b'D'), format!("P{}\0", name(rest)).as_bytes()),
            "E" => {
                let mut body = format!("{}\0", name(words[0])).into_bytes();
                body.extend_from_slice(&words[1].parse::<i32>().unwrap().to_be_bytes());
                self.send(Some(b'E'), &body);
            }
            "CS" => self.send(Some(b'C'), format!("S{}\0", name(rest)).as_bytes()),
            "CP" => self.send(Some(b'C'), format!("P{}\0", name(rest)).as_bytes()),
            "S" => {
                self.send(Some(b'S'), b"");
                return self.until_ready();
            }
            other => panic!("unknown command {other}"),
        }
        Vec::new()
    }

    fn bind(&mut self, portal: &str, statement: &str, format: &str, values: &[&str]) {
        let mut body = format!("{portal}\0{statement}\0").into_bytes();
        body.extend_from_slice(&0_i16.to_be_bytes());
        body.extend_from_slice(&i16::try_from(values.len()).unwrap().to_be_bytes());
        for value in values {
            if *value == "\\N" {
                body.extend_from_slice(&(-1_i32).to_be_bytes());
                continue;
            }
            body.extend_from_slice(&i32::try_from(value.len()).unwrap().to_be_bytes());
            body.extend_from_slice(value.as_bytes());
        }
        body.extend_from_slice(&1_i16.to_be_bytes());
        body.extend_from_slice(&format.parse::<i16>().unwrap().to_be_bytes());
        self.send(Some(b'B'), &body);
    }

    fn send(&mut self, kind: Option<u8>, body: &[u8]) {
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend_from_slice(&i32::try_from(body.len() + 4).unwrap().to_be_bytes());
        message.extend_from_slice(body);
        self.stream.get_mut().write_all(&message).unwrap();
    }

    /// Reads up to ReadyForQuery, or to the end of the connection.
    fn until_ready(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut head = [0; 5];
            if let Err(error) = self.stream.read_exact(&mut head) {
                assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
                lines.push("closed".to_owned());
                return lines;
            }
            let length = i32::from_be_bytes(head[1..].try_into().unwrap());
            let mut body = vec![0; usize::try_from(length).unwrap() - 4];
            self.stream.read_exact(&mut body).unwrap();
            lines.extend(shown(head[0], &body));
            if head[0] == b'Z' {
                return lines;
            }
        }
    }
}

/// Returns a message as a line, `None` for one that differs from server to server.
fn shown(kind: u8, body: &[u8]) -> Option<String> {
    let letter = char::from(kind);
    match kind {
        b'S' | b'K' => None,
        b'T' => Some(format!("T {}", columns(body))),
        b'E' | b'N' => Some(format!("{letter} {}", report(body))),
        b'D' => Some(format!("D {}", row(body))),
        _ => Some(format!("{letter} {}", printed(body))),
    }
}

fn columns(body: &[u8]) -> String {
    let mut rest = &body[2..];
    let mut columns = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|&byte| byte == 0).unwrap();
        let name = String::from_utf8_lossy(&rest[..end]).into_owned();
        // Behind the name: table, column number, type, its length, its modifier, format.
        let numbers = &rest[end + 7..end + 19];
        let oid = i32::from_be_bytes(numbers[..4].try_into().unwrap());
        let len = i16::from_be_bytes(numbers[4..6].try_into().unwrap());
        let typmod = i32::from_be_bytes(numbers[6..10].try_into().unwrap());
        let format = i16::from_be_bytes(numbers[10..12].try_into().unwrap());
        columns.push(format!("{name}:{oid}:{len}:{typmod}:{format}"));
        rest = &rest[end + 19..];
    }
    columns.join(" ")
}

fn row(body: &[u8]) -> String {
    let mut rest = &body[2..];
    let mut values = Vec::new();
    while !rest.is_empty() {
        let length = i32::from_be_bytes(rest[..4].try_into().unwrap());
        rest = &rest[4..];
        let Ok(length) = usize::try_from(length) else {
            values.push("NULL".to_owned());
            continue;
        };
        values.push(format!("'{}'", printed(&rest[..length])));
        rest = &rest[length..];
    }
    values.join(" ")
}

fn report(body: &[u8]) -> String {
    let field = |letter: u8| {
        let mut fields = body.split(|&byte| byte == 0).filter(|field| !field.is_empty());
        let found = fields.find(|field| field[0] == letter);
        found.map_or_else(String::new, |field| String::from_utf8_lossy(&field[1..]).into_owned())
    };
    format!("{} {} {}", field(b'S'), field(b'C'), field(b'M'))
}

/// Text as it is, other bytes as `\xNN`.
fn printed(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character.is_control() || character == '\\' {
                true => write!(text, "\\x{:02x}", u32::from(character)).unwrap(),
                false => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").unwrap();
        }
    }
    text
}
