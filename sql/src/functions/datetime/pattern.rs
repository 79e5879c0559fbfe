//! Patterns of dates and times, `YYYY-MM-DD HH24:MI`, taken apart.
//!
//! `print` and `read` walk the parts. PostgreSQL's rules: the longest field that the text begins with is meant, in the
//! spelling that the table has; `FM` and `TM` before a field and `TH` behind it belong to it; text in double quotes is
//! text; every other character stands for itself.

use crate::functions::literal::{take_plain, take_quoted};

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// A field with what is around it.
    Field(Field),
    /// A space between fields.
    Space(char),
    /// A character between fields that is neither letter nor digit.
    Separator(char),
    /// Any other character.
    Text(char),
}

/// A field of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// What it stands for.
    pub name: Name,
    /// As it is written: its case is that of the words it prints.
    pub spelling: &'static str,
    /// `FM`: without padding.
    pub is_filled: bool,
    /// `TM`: names in the locale's language, which here is C's, and never padded.
    pub is_translated: bool,
    /// `TH` or `th` behind it.
    pub ordinal: Option<Ordinal>,
}

/// The case of `st`, `nd`, `rd`, `th` behind a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::functions) enum Ordinal {
    Upper,
    Lower,
}

/// How a word is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Upper,
    Lower,
    Title,
}

/// What a field stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// `AD`, `A.D.`
    Era,
    /// `AM`, `A.M.`
    Half,
    /// `CC`
    Century,
    /// `DAY`, `DY`
    Weekday { short: bool },
    /// `DDD`
    DayOfYear,
    /// `IDDD`
    IsoDayOfYear,
    /// `DD`
    Day,
    /// `D`, from Sunday
    WeekdayNumber,
    /// `ID`, from Monday
    IsoWeekday,
    /// `FF1` to `FF6`, `MS`, `US`: digits of the second's fraction
    Fraction(usize),
    /// `FX`
    Exact,
    /// `HH24`
    Hour24,
    /// `HH`, `HH12`
    Hour12,
    /// `IW`
    IsoWeek,
    /// `YYYY` to `Y`: digits of the year
    Year(usize),
    /// `IYYY` to `I`
    IsoYear(usize),
    /// `Y,YYY`
    YearWithComma,
    /// `J`
    Julian,
    /// `MI`
    Minute,
    /// `MM`
    Month,
    /// `MONTH`, `MON`
    MonthWord { short: bool },
    /// `OF`
    Offset,
    /// `Q`
    Quarter,
    /// `RM`
    RomanMonth,
    /// `SSSS`, `SSSSS`
    SecondOfDay,
    /// `SS`
    Second,
    /// `TZ`
    Zone,
    /// `TZH`
    ZoneHour,
    /// `TZM`
    ZoneMinute,
    /// `WW`
    WeekOfYear,
    /// `W`
    WeekOfMonth,
}

/// Every field; of those that a text begins with the first counts.
const FIELDS: &[(&str, Name)] = &[
    ("A.D.", Name::Era),
    ("A.M.", Name::Half),
    ("AD", Name::Era),
    ("AM", Name::Half),
    ("B.C.", Name::Era),
    ("BC", Name::Era),
    ("CC", Name::Century),
    ("DAY", Name::Weekday { short: false }),
    ("DDD", Name::DayOfYear),
    ("DD", Name::Day),
    ("DY", Name::Weekday { short: true }),
    ("Day", Name::Weekday { short: false }),
    ("Dy", Name::Weekday { short: true }),
    ("D", Name::WeekdayNumber),
    ("FF1", Name::Fraction(1)),
    ("FF2", Name::Fraction(2)),
    ("FF3", Name::Fraction(3)),
    ("FF4", Name::Fraction(4)),
    ("FF5", Name::Fraction(5)),
    ("FF6", Name::Fraction(6)),
    ("FX", Name::Exact),
    ("HH24", Name::Hour24),
    ("HH12", Name::Hour12),
    ("HH", Name::Hour12),
    ("IDDD", Name::IsoDayOfYear),
    ("ID", Name::IsoWeekday),
    ("IW", Name::IsoWeek),
    ("IYYY", Name::IsoYear(4)),
    ("IYY", Name::IsoYear(3)),
    ("IY", Name::IsoYear(2)),
    ("I", Name::IsoYear(1)),
    ("J", Name::Julian),
    ("MI", Name::Minute),
    ("MM", Name::Month),
    ("MONTH", Name::MonthWord { short: false }),
    ("MON", Name::MonthWord { short: true }),
    ("MS", Name::Fraction(3)),
    ("Month", Name::MonthWord { short: false }),
    ("Mon", Name::MonthWord { short: true }),
    ("OF", Name::Offset),
    ("P.M.", Name::Half),
    ("PM", Name::Half),
    ("Q", Name::Quarter),
    ("RM", Name::RomanMonth),
    ("SSSSS", Name::SecondOfDay),
    ("SSSS", Name::SecondOfDay),
    ("SS", Name::Second),
    ("TZH", Name::ZoneHour),
    ("TZM", Name::ZoneMinute),
    ("TZ", Name::Zone),
    ("US", Name::Fraction(6)),
    ("WW", Name::WeekOfYear),
    ("W", Name::WeekOfMonth),
    ("Y,YYY", Name::YearWithComma),
    ("YYYY", Name::Year(4)),
    ("YYY", Name::Year(3)),
    ("YY", Name::Year(2)),
    ("Y", Name::Year(1)),
];

/// The same in lower case, where the mixed spellings are not fields of their own.
const LOWER: &[(&str, Name)] = &[
    ("a.d.", Name::Era),
    ("a.m.", Name::Half),
    ("ad", Name::Era),
    ("am", Name::Half),
    ("b.c.", Name::Era),
    ("bc", Name::Era),
    ("cc", Name::Century),
    ("day", Name::Weekday { short: false }),
    ("ddd", Name::DayOfYear),
    ("dd", Name::Day),
    ("dy", Name::Weekday { short: true }),
    ("d", Name::WeekdayNumber),
    ("ff1", Name::Fraction(1)),
    ("ff2", Name::Fraction(2)),
    ("ff3", Name::Fraction(3)),
    ("ff4", Name::Fraction(4)),
    ("ff5", Name::Fraction(5)),
    ("ff6", Name::Fraction(6)),
    ("fx", Name::Exact),
    ("hh24", Name::Hour24),
    ("hh12", Name::Hour12),
    ("hh", Name::Hour12),
    ("iddd", Name::IsoDayOfYear),
    ("id", Name::IsoWeekday),
    ("iw", Name::IsoWeek),
    ("iyyy", Name::IsoYear(4)),
    ("iyy", Name::IsoYear(3)),
    ("iy", Name::IsoYear(2)),
    ("i", Name::IsoYear(1)),
    ("j", Name::Julian),
    ("mi", Name::Minute),
    ("mm", Name::Month),
    ("month", Name::MonthWord { short: false }),
    ("mon", Name::MonthWord { short: true }),
    ("ms", Name::Fraction(3)),
    ("of", Name::Offset),
    ("p.m.", Name::Half),
    ("pm", Name::Half),
    ("q", Name::Quarter),
    ("rm", Name::RomanMonth),
    ("sssss", Name::SecondOfDay),
    ("ssss", Name::SecondOfDay),
    ("ss", Name::Second),
    ("tzh", Name::ZoneHour),
    ("tzm", Name::ZoneMinute),
    ("tz", Name::Zone),
    ("us", Name::Fraction(6)),
    ("ww", Name::WeekOfYear),
    ("w", Name::WeekOfMonth),
    ("y,yyy", Name::YearWithComma),
    ("yyyy", Name::Year(4)),
    ("yyy", Name::Year(3)),
    ("yy", Name::Year(2)),
    ("y", Name::Year(1)),
];

impl Field {
    /// Returns how the words it prints are spelled.
    pub(super) fn case(&self) -> Case {
        let mut letters = self.spelling.chars();
        let is_upper =
            |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_uppercase());
        match (is_upper(letters.next()), is_upper(letters.find(char::is_ascii_alphabetic))) {
            (true, true) => Case::Upper,
            (true, false) => Case::Title,
            _ => Case::Lower,
        }
    }

    /// Returns whether it is written in digits, so that a number before it ends where its width does.
    pub(super) fn is_digits(&self) -> bool {
        !matches!(
            self.name,
            Name::Era
                | Name::Half
                | Name::Weekday { .. }
                | Name::Exact
                | Name::MonthWord { .. }
                | Name::Offset
                | Name::RomanMonth
                | Name::Zone
                | Name::ZoneHour
        )
    }
}

/// Takes a pattern apart.
pub(super) fn parse(pattern: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while !rest.is_empty() {
        let is_filled = take_prefix(&mut rest, ["FM", "fm"]);
        let is_translated = !is_filled && take_prefix(&mut rest, ["TM", "tm"]);
        if let Some((spelling, name)) = field(rest) {
            rest = &rest[spelling.len()..];
            let ordinal = take_ordinal(&mut rest);
            parts.push(Part::Field(Field { name, spelling, is_filled, is_translated, ordinal }));
        } else if let Some(quoted) = rest.strip_prefix('"') {
            rest = take_quoted(quoted, |character| parts.push(Part::Text(character)));
        } else {
            let (character, after) = take_plain(rest);
            parts.extend(character.map(plain));
            rest = after;
        }
    }
    parts
}

/// Takes one of two prefixes off; returns whether there was one.
fn take_prefix(rest: &mut &str, prefixes: [&str; 2]) -> bool {
    let after = prefixes.iter().find_map(|prefix| rest.strip_prefix(prefix));
    after.map(|after| *rest = after).is_some()
}

fn field(rest: &str) -> Option<(&'static str, Name)> {
    let mut fields = FIELDS.iter().chain(LOWER);
    fields.find(|(spelling, _)| rest.starts_with(spelling)).copied()
}

fn take_ordinal(rest: &mut &str) -> Option<Ordinal> {
    for (suffix, ordinal) in
        [("TH", Some(Ordinal::Upper)), ("th", Some(Ordinal::Lower)), ("SP", None)]
    {
        if let Some(after) = rest.strip_prefix(suffix) {
            *rest = after;
            return ordinal;
        }
    }
    None
}

fn plain(character: char) -> Part {
    match character {
        character if is_separator(character) => Part::Separator(character),
        character if is_space(character) => Part::Space(character),
        character => Part::Text(character),
    }
}

/// A printable ASCII character that is neither letter nor digit nor space.
pub(super) fn is_separator(character: char) -> bool {
    character.is_ascii_punctuation()
}

/// C's `isspace`.
pub(super) fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pattern: &str) -> String {
        let show = |part: &Part| match part {
            Part::Field(field) => {
                let filled = if field.is_filled { "FM" } else { "" };
                let ordinal = if field.ordinal.is_some() { "th" } else { "" };
                format!("[{filled}{}{ordinal}]", field.spelling)
            }
            Part::Space(c) | Part::Separator(c) | Part::Text(c) => c.to_string(),
        };
        parse(pattern).iter().map(show).collect()
    }

    #[test]
    fn the_longest_field_counts_and_text_stands_for_itself() {
        for (pattern, expected) in [
            ("YYYY-MM-DD HH24:MI:SS", "[YYYY]-[MM]-[DD] [HH24]:[MI]:[SS]"),
            ("FMDDth of FMMonth", "[FMDDth] [of] [FMMonth]"),
            ("YYYYY", "[YYYY][Y]"),
            ("\"year\" YYYY \\\"Q\"", "year [YYYY] \"[Q]"),
            ("Dy DD Mon", "[Dy] [DD] [Mon]"),
            ("FM", ""),
            ("ä\"x\\\"y\"", "äx\"y"),
        ] {
            assert_eq!(shown(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn every_longer_spelling_comes_before_what_it_begins_with() {
        let all: Vec<_> = FIELDS.iter().chain(LOWER).map(|(spelling, _)| *spelling).collect();
        for (idx, spelling) in all.iter().enumerate() {
            let earlier = all[..idx].iter().find(|earlier| spelling.starts_with(**earlier));
            assert_eq!(earlier, None, "{spelling}");
        }
    }
}
