//! `to_date` and `to_timestamp`: a text read as a pattern says.
//!
//! PostgreSQL's rules, which are lenient: spaces before and behind fields are passed over, a separator of the pattern
//! matches any separator or none, other characters of the pattern pass over one of the text, and a number takes as many
//! digits as its field has, or all there are where something else than a digit follows. `FX` turns the leniency off.
//! What was read is put together by [`Read::finish`].

mod finish;

use super::pattern::{Field, Name, Part, is_separator, is_space};
use super::print::{MONTHS, ROMAN, WEEKDAYS};
use crate::functions::given::failed;
use datafusion::common::Result;

/// What a text says; 0 and `None` where it says nothing.
#[derive(Debug, Default)]
pub(super) struct Read {
    is_12_hours: bool,
    is_afternoon: bool,
    is_before_christ: bool,
    hour: i64,
    minute: i64,
    second: i64,
    second_of_day: i64,
    millis: i64,
    micros: i64,
    weekday: i64,
    day: i64,
    day_of_year: i64,
    month: i64,
    year: i64,
    n_year_digits: usize,
    century: i64,
    week: i64,
    week_of_month: i64,
    julian: i64,
    zone_sign: i64,
    zone_hour: i64,
    zone_minute: i64,
    /// Whether weeks and years are those of ISO 8601, once a field says which they are.
    is_iso: Option<bool>,
}

/// Where reading is.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Characters passed over beyond those of the pattern.
    n_extra: i64,
    is_exact: bool,
    read: Read,
}

/// Reads a text.
///
/// # Errors
/// With PostgreSQL's words, when it does not have what the pattern asks for.
pub(super) fn read(pattern: &[Part], text: &str) -> Result<Read> {
    let mut reader = Reader { text, at: 0, n_extra: 0, is_exact: false, read: Read::default() };
    for (idx, part) in pattern.iter().enumerate() {
        if reader.rest().is_empty() {
            break;
        }
        reader.step(part, pattern.get(idx + 1), idx == 0)?;
    }
    Ok(reader.read)
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self) {
        self.at += self.peek().map_or(0, char::len_utf8);
    }

    fn skip_spaces(&mut self) -> i64 {
        let start = self.at;
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
        (self.at - start) as i64
    }

    fn step(&mut self, part: &Part, next: Option<&Part>, is_first: bool) -> Result<()> {
        let is_field = matches!(part, Part::Field(_));
        let is_fx = matches!(part, Part::Field(field) if field.name == Name::Exact);
        if !self.is_exact && !is_fx && (is_field || is_first) {
            self.n_extra += self.skip_spaces();
        }
        match part {
            Part::Space(_) | Part::Separator(_) if !self.is_exact => {
                self.n_extra -= 1;
                if self.peek().is_some_and(|c| is_space(c) || is_separator(c)) {
                    self.skip();
                    self.n_extra += 1;
                }
            }
            Part::Text(_) if !self.is_exact && self.n_extra > 0 => self.n_extra -= 1,
            Part::Space(_) | Part::Separator(_) | Part::Text(_) => self.skip(),
            Part::Field(field) => {
                self.field(field, next)?;
                if !self.is_exact {
                    self.n_extra = self.skip_spaces();
                }
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &Field, next: Option<&Part>) -> Result<()> {
        self.read.set_convention(field.name)?;
        let number = |reader: &mut Self, width| reader.number(field, next, width);
        match field.name {
            Name::Exact => self.is_exact = true,
            Name::Half => {
                let found = self.word(field, &dotted(field, ["am", "pm"]))? as i64;
                let mut half = i64::from(self.read.is_12_hours && self.read.is_afternoon);
                set(&mut half, found, field)?;
                self.read.is_afternoon = half == 1;
                self.read.is_12_hours = true;
            }
            Name::Era => {
                self.read.is_before_christ = self.word(field, &dotted(field, ["ad", "bc"]))? == 1;
            }
            Name::Hour12 | Name::Hour24 => {
                let value = number(self, 2)?.0;
                set(&mut self.read.hour, value, field)?;
                self.read.is_12_hours |= field.name == Name::Hour12;
            }
            Name::Fraction(digits) => {
                let (value, n_digits) = number(self, digits)?;
                // 25 and 250 are a quarter, and 025 is not.
                let scaled = |n: usize| value * 10_i64.pow(n.saturating_sub(n_digits) as u32);
                match field.spelling {
                    "MS" | "ms" => set(&mut self.read.millis, scaled(3), field)?,
                    _ => set(&mut self.read.micros, scaled(6), field)?,
                }
            }
            Name::MonthWord { short } => {
                let names = MONTHS.map(|name| if short { &name[..3] } else { name });
                let month = self.word(field, &names)? as i64 + 1;
                set(&mut self.read.month, month, field)?;
            }
            Name::RomanMonth => {
                // The longest first: `VI` begins with `V`.
                let mut numerals = ROMAN;
                numerals.reverse();
                let month = 12 - self.word(field, &numerals)? as i64;
                set(&mut self.read.month, month, field)?;
            }
            Name::Weekday { short } => {
                let names = WEEKDAYS.map(|name| if short { &name[..3] } else { name });
                let day = self.word(field, &names)? as i64;
                set(&mut self.read.weekday, day, field)?;
                self.read.weekday += 1;
            }
            Name::IsoWeekday => {
                let day = number(self, 1)?.0;
                set(&mut self.read.weekday, day, field)?;
                self.read.weekday = if self.read.weekday >= 7 { 1 } else { self.read.weekday + 1 };
            }
            Name::Quarter => _ = number(self, 1)?,
            Name::YearWithComma => self.year_with_comma(field)?,
            Name::Year(digits) | Name::IsoYear(digits) => {
                let (year, n_digits) = number(self, digits)?;
                let is_partial = digits < 4 && n_digits < 4;
                let year = if is_partial { near_2020(year) } else { year };
                set(&mut self.read.year, year, field)?;
                self.read.n_year_digits = digits;
            }
            Name::ZoneHour => self.zone_hour(field, next)?,
            Name::ZoneMinute => {
                if self.read.zone_sign == 0 {
                    self.read.zone_sign = 1;
                }
                let minute = number(self, 2)?.0;
                set(&mut self.read.zone_minute, minute, field)?;
            }
            Name::Zone | Name::Offset => {
                let name = field.spelling;
                let message = format!("formatting field \"{name}\" is only supported in to_char");
                return Err(datafusion::common::DataFusionError::NotImplemented(message));
            }
            name => {
                let value = number(self, field.spelling.len())?.0;
                set(self.read.place(name), value, field)?;
            }
        }
        if field.ordinal.is_some() && !matches!(field.name, Name::Exact) {
            self.skip();
            self.skip();
        }
        Ok(())
    }

    /// Reads a number and returns how many characters it took.
    fn number(&mut self, field: &Field, next: Option<&Part>, width: usize) -> Result<(i64, usize)> {
        let start = self.at;
        self.skip_spaces();
        let rest = self.rest();
        let is_free = field.is_filled || ends_before(field, next);
        let mut digits = leading_number(rest);
        if !is_free {
            digits = &digits[..digits.len().min(width)];
        }
        let shown = || rest.chars().take(width).collect::<String>();
        let name = field.spelling;
        if !is_free && rest.len() < width {
            return Err(failed(format!("source string too short for \"{name}\" formatting field")));
        }
        let is_number = digits.ends_with(|c: char| c.is_ascii_digit());
        if !is_number || (!is_free && digits.len() < width) {
            return Err(failed(format!("invalid value \"{}\" for \"{name}\"", shown())));
        }
        let value = digits.strip_prefix('+').unwrap_or(digits).parse::<i32>();
        let value = value.map_err(|_| {
            failed(format!("value for \"{name}\" in source string is out of range"))
        })?;
        self.at += digits.len();
        Ok((i64::from(value), self.at - start))
    }

    /// Reads one of a few words, in any case, and returns which.
    fn word(&mut self, field: &Field, words: &[&str]) -> Result<usize> {
        let rest = self.rest();
        let is_next = |word: &&str| {
            rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        match words.iter().position(is_next) {
            Some(found) => {
                self.at += words[found].len();
                Ok(found)
            }
            None => {
                let shown = rest.split(is_space).next().unwrap_or_default();
                Err(failed(format!("invalid value \"{shown}\" for \"{}\"", field.spelling)))
            }
        }
    }

    fn year_with_comma(&mut self, field: &Field) -> Result<()> {
        let rest = self.rest();
        let thousands = leading_number(rest);
        let years = rest[thousands.len()..].strip_prefix(',').map(leading_number);
        let years = years.map(|years| &years[..years.len().min(3)]).filter(|y| !y.is_empty());
        let (Some(years), false) = (years, thousands.is_empty()) else {
            return Err(failed("invalid input string for \"Y,YYY\""));
        };
        let n_read = thousands.len() + 1 + years.len();
        let value = |digits: &str| digits.parse::<i32>().map(i64::from);
        let (Ok(thousands), Ok(years)) = (value(thousands), value(years)) else {
            return Err(failed("value for \"Y,YYY\" in source string is out of range"));
        };
        self.at += n_read;
        set(&mut self.read.year, thousands * 1_000 + years, field)?;
        self.read.n_year_digits = 4;
        Ok(())
    }

    /// A sign before it may have been passed over as a separator.
    fn zone_hour(&mut self, field: &Field, next: Option<&Part>) -> Result<()> {
        self.read.zone_sign = match self.peek() {
            Some(sign @ ('+' | '-' | ' ')) => {
                self.skip();
                if sign == '-' { -1 } else { 1 }
            }
            _ if self.n_extra > 0 && self.text[..self.at].ends_with('-') => -1,
            _ => 1,
        };
        let hour = self.number(field, next, 2)?.0;
        set(&mut self.read.zone_hour, hour, field)
    }
}

impl Read {
    /// Notes whether a field counts weeks as ISO 8601 does.
    fn set_convention(&mut self, name: Name) -> Result<()> {
        let is_iso = match name {
            Name::IsoYear(_) | Name::IsoWeek | Name::IsoWeekday | Name::IsoDayOfYear => true,
            Name::Year(_)
            | Name::YearWithComma
            | Name::Month
            | Name::MonthWord { .. }
            | Name::RomanMonth
            | Name::Day
            | Name::DayOfYear
            | Name::WeekdayNumber
            | Name::WeekOfYear
            | Name::WeekOfMonth => false,
            _ => return Ok(()),
        };
        match self.is_iso.replace(is_iso) {
            Some(before) if before != is_iso => {
                Err(failed("invalid combination of date conventions"))
            }
            _ => Ok(()),
        }
    }

    /// Returns where the number of a field goes.
    fn place(&mut self, name: Name) -> &mut i64 {
        match name {
            Name::Minute => &mut self.minute,
            Name::Second => &mut self.second,
            Name::SecondOfDay => &mut self.second_of_day,
            Name::Month => &mut self.month,
            Name::Day => &mut self.day,
            Name::DayOfYear | Name::IsoDayOfYear => &mut self.day_of_year,
            Name::WeekdayNumber => &mut self.weekday,
            Name::WeekOfYear | Name::IsoWeek => &mut self.week,
            Name::WeekOfMonth => &mut self.week_of_month,
            Name::Julian => &mut self.julian,
            _ => &mut self.century,
        }
    }
}

/// Sets what was not set, or not to something else.
fn set(place: &mut i64, value: i64, field: &Field) -> Result<()> {
    if *place != 0 && *place != value {
        let name = field.spelling;
        let message = format!("conflicting values for \"{name}\" field in formatting string");
        return Err(failed(message));
    }
    *place = value;
    Ok(())
}

/// Returns whether something else than a digit follows, so that a number may be as long as it is.
fn ends_before(field: &Field, next: Option<&Part>) -> bool {
    field.ordinal.is_some()
        || match next {
            None => true,
            Some(Part::Field(next)) => !next.is_digits(),
            Some(Part::Space(c) | Part::Separator(c) | Part::Text(c)) => !c.is_ascii_digit(),
        }
}

/// Returns the sign and digits that a text begins with; nothing without a digit.
fn leading_number(text: &str) -> &str {
    let n_sign = usize::from(text.starts_with(['+', '-']));
    let n_digits = text[n_sign..].bytes().take_while(u8::is_ascii_digit).count();
    if n_digits == 0 { "" } else { &text[..n_sign + n_digits] }
}

/// Gives the words the points that a field's spelling has.
fn dotted(field: &Field, words: [&'static str; 2]) -> [&'static str; 2] {
    match (field.spelling.contains('.'), words) {
        (true, ["am", _]) => ["a.m.", "p.m."],
        (true, _) => ["a.d.", "b.c."],
        (false, words) => words,
    }
}

/// Returns the year near 2020 that ends with these digits.
fn near_2020(year: i64) -> i64 {
    match year {
        ..70 => year + 2_000,
        70..100 => year + 1_900,
        100..520 => year + 2_000,
        520..1_000 => year + 1_000,
        _ => year,
    }
}
