//! `regexp_split_to_array`: the pieces of a text between the matches of a pattern.

use super::given::{Call, Given, Types, failed, is_text};
use arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{ScalarUDF, Volatility};
use regex::{Regex, RegexBuilder};
use std::sync::Arc;

/// Returns the function.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let split = Given {
        name: "regexp_split_to_array",
        aliases: &[],
        volatility: Volatility::Immutable,
        types,
        run,
    };
    vec![split.function()]
}

fn types(types: &[DataType]) -> Types {
    let is_known = matches!(types.len(), 2 | 3) && types.iter().all(is_text);
    is_known.then(|| (vec![DataType::Utf8; types.len()], DataType::new_list(DataType::Utf8, true)))
}

fn run(arrays: &[ArrayRef], _: &Call<'_>) -> Result<ArrayRef> {
    let columns: Vec<&StringArray> = arrays.iter().map(|array| array.as_string::<i32>()).collect();
    let (texts, patterns) = (columns[0], columns[1]);
    let mut last: Option<(&str, &str, Regex)> = None;
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..texts.len() {
        if columns.iter().any(|column| column.is_null(row)) {
            lists.append_null();
            continue;
        }
        let (pattern, flags) = (patterns.value(row), columns.get(2).map_or("", |f| f.value(row)));
        let regex = match last.take() {
            Some((known, with, regex)) if known == pattern && with == flags => regex,
            _ => compiled(pattern, flags)?,
        };
        for piece in pieces(&regex, texts.value(row)) {
            lists.values().append_value(piece);
        }
        lists.append(true);
        last = Some((pattern, flags, regex));
    }
    Ok(Arc::new(lists.finish()))
}

/// Compiles a pattern with PostgreSQL's letters for how it matches.
fn compiled(pattern: &str, flags: &str) -> Result<Regex> {
    let mut builder = RegexBuilder::new(pattern);
    // Where nothing else is said a point is any character.
    builder.dot_matches_new_line(true);
    for flag in flags.chars() {
        match flag {
            'i' => _ = builder.case_insensitive(true),
            'c' => _ = builder.case_insensitive(false),
            'x' => _ = builder.ignore_whitespace(true),
            'm' | 'n' => _ = builder.multi_line(true).dot_matches_new_line(false),
            's' => _ = builder.multi_line(false).dot_matches_new_line(true),
            'g' => {
                let message = "regexp_split_to_array() does not support the \"global\" option";
                return Err(failed(message));
            }
            other => {
                let message = format!("invalid regular expression option: \"{other}\"");
                return Err(failed(message));
            }
        }
    }
    builder.build().map_err(|error| failed(format!("invalid regular expression: {error}")))
}

/// Cuts a text at the matches; empty ones count only between two characters that no other match touches.
fn pieces<'a>(regex: &Regex, text: &'a str) -> Vec<&'a str> {
    let (mut pieces, mut start) = (Vec::new(), 0);
    for found in regex.find_iter(text) {
        if found.start() < text.len() && found.end() > start {
            pieces.push(&text[start..found.start()]);
            start = found.end();
        }
    }
    pieces.push(&text[start..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_as_in_postgres() {
        for (text, pattern, flags, expected) in [
            ("hello world", r"\s+", "", "hello|world"),
            ("hello world", r"\s*", "", "h|e|l|l|o|w|o|r|l|d"),
            ("a,b,,c", ",", "", "a|b||c"),
            (",a,", ",", "", "|a|"),
            ("aXbxc", "x", "i", "a|b|c"),
            ("", ",", "", ""),
        ] {
            let regex = compiled(pattern, flags).unwrap();
            assert_eq!(pieces(&regex, text).join("|"), expected, "{text} {pattern}");
        }
        assert!(compiled("a", "g").is_err());
        assert!(compiled("(", "").is_err());
    }
}
