//! The list of what does not hold here, with reasons.
//!
//! A line is `[topology] place  reason`; without a topology it is for both. A place is one of
//!
//! ```text
//! file              every record of a file
//! file:line         one record
//! file/part:line    a record of a part that the file includes
//! ? file:line       one record that passes by luck, as when rows come in another order
//! ~ SQL*TEXT        records whose statement begins so, in upper case and with single spaces; * stands for anything
//! ! message*text    records that fail with a message like this
//! ```
//!
//! Lines that begin with `#` are headings.

use crate::harness::source_root;
use std::collections::BTreeMap;

/// Exceptions of one topology, by the place they name.
pub struct Exceptions {
    by_place: BTreeMap<String, String>,
}

impl Exceptions {
    /// Reads the list.
    pub fn read(topology: &str) -> Self {
        let path = source_root().join("tests/slt/datafusion/exceptions.txt");
        let text = std::fs::read_to_string(path).unwrap();
        let mut by_place = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (only, rest) = match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
                Some((only, rest)) => (Some(only), rest),
                None => (None, line),
            };
            let (place, reason) =
                rest.split_once("  ").unwrap_or_else(|| panic!("no reason: {line}"));
            if only.is_none_or(|only| only == topology) {
                let twice = by_place.insert(place.to_owned(), reason.trim().to_owned());
                assert!(twice.is_none(), "listed twice: {place}");
            }
        }
        Self { by_place }
    }

    /// Returns the entry that excepts a failed record, and its reason: by place, by statement, by message.
    pub fn find(&self, places: [&str; 2], words: &str, message: &str) -> Option<(&str, &str)> {
        let is_for = |entry: &str| match entry.split_at_checked(2) {
            Some(("~ ", pattern)) => fits(pattern, words),
            Some(("! ", pattern)) => fits(&format!("*{pattern}"), message),
            _ => false,
        };
        let by_luck = format!("? {}", places[0]);
        let by_place = places.iter().find_map(|place| self.by_place.get_key_value(*place));
        let by_place = by_place.or_else(|| self.by_place.get_key_value(&by_luck));
        let found = by_place.or_else(|| self.by_place.iter().find(|(entry, _)| is_for(entry)));
        found.map(|(entry, reason)| (entry.as_str(), reason.as_str()))
    }

    /// Returns the places where something must fail.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.by_place.keys().map(String::as_str).filter(|place| !place.starts_with("? "))
    }
}

/// Returns whether a text begins as the pattern says.
fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    pieces.all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

#[test]
fn patterns_stand_for_the_beginning() {
    assert!(fits("UPDATE", "UPDATE T SET A = 1"));
    assert!(fits("CREATE*PRIMARY KEY", "CREATE TABLE T (A INT PRIMARY KEY)"));
    assert!(!fits("CREATE*PRIMARY KEY", "SELECT 1 -- CREATE PRIMARY KEY"));
    assert!(fits("*lost", "a worker was lost"));
}
