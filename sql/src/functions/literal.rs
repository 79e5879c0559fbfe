//! Text that stands for itself in the patterns of `to_char`, `to_date` and `to_number`.
//!
//! Read the same way in patterns of times and of numbers.

/// Takes text up to the closing quote; a backslash makes the next character plain. Returns what follows.
pub(super) fn take_quoted(quoted: &str, mut take: impl FnMut(char)) -> &str {
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => take(characters.next().unwrap_or('\\')),
            character => take(character),
        }
    }
    characters.as_str()
}

/// Takes one character; a backslash before a quote makes the quote plain. Returns it and what follows.
pub(super) fn take_plain(rest: &str) -> (Option<char>, &str) {
    let text = rest.strip_prefix('\\').filter(|text| text.starts_with('"'));
    let mut characters = text.unwrap_or(rest).chars();
    (characters.next(), characters.as_str())
}
