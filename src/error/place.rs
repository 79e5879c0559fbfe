//! Places in a statement's text: the parser counts lines and columns, clients count characters.

use datafusion::common::Location;

/// A line and a column, both from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub line: u64,
    pub column: u64,
}

impl Place {
    /// Returns the place a span of the parser starts at; its line 0 means unknown.
    pub fn known(location: Location) -> Option<Self> {
        let Location { line, column } = location;
        (line > 0 && column > 0).then_some(Self { line, column })
    }

    /// Splits a parser's message into its text and the place at its end, `… at Line: 1, Column: 8`.
    pub fn split_off(message: &str) -> (&str, Option<Self>) {
        let split = || {
            let (text, place) = message.rsplit_once(" at Line: ")?;
            let (line, column) = place.split_once(", Column: ")?;
            let place = Self { line: line.parse().ok()?, column: column.trim().parse().ok()? };
            Some((text, Some(place)))
        };
        split().unwrap_or((message, None))
    }

    /// Returns the place as a count of characters from 1, or `None` when `sql` has no such place.
    pub fn offset_in(self, sql: &str) -> Option<usize> {
        let line = usize::try_from(self.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(self.column).ok()?.checked_sub(1)?;
        let mut lines = sql.split('\n');
        let before: usize = lines.by_ref().take(line).map(|line| line.chars().count() + 1).sum();
        let offset = before + column;
        (offset <= sql.chars().count()).then_some(offset + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_characters_over_lines() {
        let sql = "SELECT 'é',\n  nope\nFROM t";
        for (line, column, expected) in [
            (1, 1, Some(1)),
            (1, 11, Some(11)),
            (2, 3, Some(15)),
            (3, 6, Some(25)),
            (3, 7, Some(26)),
            (9, 9, None),
            (0, 0, None),
        ] {
            assert_eq!(Place { line, column }.offset_in(sql), expected, "{line}:{column}");
        }
    }

    #[test]
    fn messages_are_split_from_their_place() {
        let (text, place) = Place::split_off("Expected: x, found: y at Line: 2, Column: 3");
        assert_eq!(text, "Expected: x, found: y");
        assert_eq!(place, Some(Place { line: 2, column: 3 }));
        assert_eq!(Place::split_off("no place"), ("no place", None));
    }
}
