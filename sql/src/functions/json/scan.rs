//! Walks over a JSON text without building anything.
//!
//! Every walk checks the whole text, as PostgreSQL's input does. Nesting is bounded, so that what takes a text apart
//! may recurse.

use crate::functions::given::failed;
use datafusion::common::{DataFusionError, Result};

/// Levels of arrays and objects in each other.
const MAX_DEPTH: usize = 512;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    /// Returns the kind of a value that was checked.
    pub(super) fn of(value: &str) -> Self {
        match value.as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'"') => Self::String,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'n') => Self::Null,
            _ => Self::Number,
        }
    }

    /// Returns the name that `json_typeof` gives.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

/// Checks a text and returns its value, without the spaces around it.
///
/// # Errors
/// When it is not JSON.
pub(super) fn check(text: &str) -> Result<&str> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.spaces();
    let start = scanner.at;
    scanner.value(&mut |_, _| {})?;
    let end = scanner.at;
    scanner.spaces();
    match scanner.at == text.len() {
        true => Ok(&text[start..end]),
        false => Err(scanner.invalid()),
    }
}

/// Calls back for each member of a checked object or array: with its key as it is written, or without one.
///
/// # Errors
/// When it is not JSON.
pub(super) fn members<'a>(
    value: &'a str,
    mut member: impl FnMut(Option<&'a str>, &'a str),
) -> Result<()> {
    Scanner { text: value, at: 0 }.value(&mut |key, value| member(key, value))
}

/// Returns the characters of a string as it is written, quotes around it.
///
/// # Errors
/// For an escape that stands for no character.
pub(super) fn unescaped(string: &str) -> Result<String> {
    let inner = &string[1..string.len() - 1];
    if !inner.contains('\\') {
        return Ok(inner.to_string());
    }
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        text.push(match rest.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => unicode(&mut rest)?,
            Some(other) => other,
            None => return Err(invalid(string)),
        });
    }
    Ok(text)
}

/// Reads what follows `\u`: four digits, or twice four for characters beyond the first plane.
fn unicode(rest: &mut std::str::Chars<'_>) -> Result<char> {
    let unsupported = || failed("unsupported Unicode escape sequence");
    let four = |rest: &mut std::str::Chars<'_>| {
        let digits: String = rest.by_ref().take(4).collect();
        u32::from_str_radix(&digits, 16).map_err(|_| unsupported())
    };
    let first = four(rest)?;
    let code = match first {
        0xd800..0xdc00 => {
            if rest.next() != Some('\\') || rest.next() != Some('u') {
                return Err(unsupported());
            }
            match four(rest)? {
                second @ 0xdc00..0xe000 => 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                _ => return Err(unsupported()),
            }
        }
        0 => return Err(unsupported()),
        first => first,
    };
    char::from_u32(code).ok_or_else(unsupported)
}

pub(super) fn invalid(text: &str) -> DataFusionError {
    let shown: String = text.chars().take(100).collect();
    failed(format!("invalid input syntax for type json: \"{shown}\""))
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// An array or object that is open.
struct Open<'a> {
    is_object: bool,
    key: Option<&'a str>,
    /// Where its current member's value begins.
    start: usize,
}

impl<'a> Scanner<'a> {
    fn invalid(&self) -> DataFusionError {
        invalid(self.text)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        match self.peek() == Some(byte) {
            true => {
                self.at += 1;
                Ok(())
            }
            false => Err(self.invalid()),
        }
    }

    /// Passes over one value; members of the outermost one are called back for.
    fn value(&mut self, member: &mut dyn FnMut(Option<&'a str>, &'a str)) -> Result<()> {
        let mut open: Vec<Open<'a>> = Vec::new();
        loop {
            self.spaces();
            let is_closed = match self.peek() {
                Some(bracket @ (b'{' | b'[')) => !self.opens(bracket, &mut open)?,
                _ => {
                    self.scalar()?;
                    true
                }
            };
            if is_closed && self.closes(&mut open, member)? {
                return Ok(());
            }
        }
    }

    /// Passes over an opening bracket; returns whether a member follows.
    fn opens(&mut self, bracket: u8, open: &mut Vec<Open<'a>>) -> Result<bool> {
        if open.len() == MAX_DEPTH {
            return Err(failed(format!("JSON nests deeper than {MAX_DEPTH} levels, out of range")));
        }
        self.at += 1;
        self.spaces();
        let is_object = bracket == b'{';
        if self.peek() == Some(if is_object { b'}' } else { b']' }) {
            self.at += 1;
            return Ok(false);
        }
        let key = if is_object { Some(self.key()?) } else { None };
        self.spaces();
        open.push(Open { is_object, key, start: self.at });
        Ok(true)
    }

    /// Passes over what follows a value; returns whether the outermost one is complete.
    fn closes(
        &mut self,
        open: &mut Vec<Open<'a>>,
        member: &mut dyn FnMut(Option<&'a str>, &'a str),
    ) -> Result<bool> {
        loop {
            let end = self.at;
            let depth = open.len();
            let Some(last) = open.last_mut() else { return Ok(true) };
            if depth == 1 {
                member(last.key, &self.text[last.start..end]);
            }
            self.spaces();
            match (self.peek(), last.is_object) {
                (Some(b','), is_object) => {
                    self.at += 1;
                    self.spaces();
                    let key = if is_object { Some(self.key()?) } else { None };
                    self.spaces();
                    (last.key, last.start) = (key, self.at);
                    return Ok(false);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.at += 1;
                    open.pop();
                }
                _ => return Err(self.invalid()),
            }
        }
    }

    fn key(&mut self) -> Result<&'a str> {
        let start = self.at;
        self.string()?;
        let key = &self.text[start..self.at];
        self.spaces();
        self.expect(b':')?;
        Ok(key)
    }

    fn scalar(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                let rest = &self.text[self.at..];
                let word = ["true", "false", "null"].iter().find(|word| rest.starts_with(**word));
                let word = word.ok_or_else(|| self.invalid())?;
                self.at += word.len();
                match self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric()) {
                    true => Err(self.invalid()),
                    false => Ok(()),
                }
            }
        }
    }

    fn string(&mut self) -> Result<()> {
        self.expect(b'"')?;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0..0x20) | None => return Err(self.invalid()),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<()> {
        let n_bytes = match self.text.as_bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => 6,
            _ => return Err(self.invalid()),
        };
        let bytes = self.text.as_bytes().get(self.at..self.at + n_bytes);
        let digits = bytes.and_then(|bytes| bytes.get(2..)).ok_or_else(|| self.invalid())?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(self.invalid());
        }
        self.at += n_bytes;
        Ok(())
    }

    fn number(&mut self) -> Result<()> {
        self.at += usize::from(self.peek() == Some(b'-'));
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        match self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric()) {
            true => Err(self.invalid()),
            false => Ok(()),
        }
    }

    fn digits(&mut self) -> Result<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.invalid()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_what_is_not() {
        for text in ["1", " \"x\\u00e9\\n\" ", "[]", "{}", "[1,[2,{\"a\":null}] , true]", "-0.5e+3"]
        {
            assert!(check(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "{\"a\"}",
            "1 2",
            "[1,]",
            "{a:1}",
            "01",
            "1.",
            "\"\\x\"",
            "nul",
            "[1",
            "truex",
            "\u{1}",
            "{\"a\":1,}",
            "\"a\nb\"",
            "-",
            "\"\\u12g4\"",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
        assert!(check(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn members_are_those_of_the_outermost_value() {
        let mut found = Vec::new();
        members("{\"a\": [1, {\"b\": 2}] , \"c\":3}", |key, value| found.push((key, value)))
            .unwrap();
        assert_eq!(found, [(Some("\"a\""), "[1, {\"b\": 2}]"), (Some("\"c\""), "3")]);
        let mut found = Vec::new();
        members("[ 1 ,\"x\"]", |key, value| found.push((key, value))).unwrap();
        assert_eq!(found, [(None, "1"), (None, "\"x\"")]);
    }

    #[test]
    fn escapes_are_characters() {
        assert_eq!(unescaped(r#""a\u00e9\n\ud83d\ude00\/""#).unwrap(), "aé\n😀/");
        assert!(unescaped(r#""\u0000""#).is_err());
        assert!(unescaped(r#""\ud83d""#).is_err());
    }
}
