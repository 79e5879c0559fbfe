//! `to_char` of moments and intervals: a pattern's fields, written out.

use super::civil::{days_of, iso_week, julian, monday_of_week};
use super::pattern::{Case, Field, Name, Ordinal, Part};
use super::{MONTHS_PER_YEAR, Parts};
use crate::functions::given::failed;
use datafusion::common::Result;

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
pub(super) const ROMAN: [&str; 12] =
    ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];
/// Names of months and weekdays are padded to the longest of them.
const NAME_WIDTH: usize = 9;
const ROMAN_WIDTH: usize = 4;

/// Writes a moment or an interval as a pattern says.
///
/// # Errors
/// For a field that an interval does not have.
pub(super) fn print(pattern: &[Part], time: &Parts, out: &mut String) -> Result<()> {
    for part in pattern {
        match part {
            Part::Space(character) | Part::Separator(character) | Part::Text(character) => {
                out.push(*character);
            }
            Part::Field(field) if time.is_interval && !is_of_intervals(field.name) => {
                return Err(failed("invalid format specification for an interval value"));
            }
            Part::Field(field) => print_field(field, time, out),
        }
    }
    Ok(())
}

/// Returns whether an interval has a field: it has no weekday, no era, no zone and no name of a month.
fn is_of_intervals(name: Name) -> bool {
    !matches!(
        name,
        Name::Era
            | Name::Weekday { .. }
            | Name::WeekdayNumber
            | Name::IsoWeekday
            | Name::MonthWord { .. }
            | Name::Zone
            | Name::ZoneHour
            | Name::ZoneMinute
            | Name::Offset
    )
}

fn print_field(field: &Field, time: &Parts, out: &mut String) {
    match field.name {
        Name::Exact => {}
        Name::Era => word(field, if time.year <= 0 { "BC" } else { "AD" }, 0, out),
        Name::Half => {
            word(field, if time.hour % 24 >= 12 { "PM" } else { "AM" }, 0, out);
        }
        Name::Weekday { short } => name(field, WEEKDAYS[time.weekday as usize], short, out),
        Name::MonthWord { short } => {
            if let Some(month) = MONTHS.get((time.month - 1) as usize) {
                name(field, month, short, out);
            }
        }
        Name::RomanMonth => {
            if let Some(month) = roman_month(time) {
                word(field, month, ROMAN_WIDTH, out);
            }
        }
        Name::Zone => {
            let zone = time.zone.as_ref().map_or("", |zone| zone.name.as_str());
            match field.case() {
                Case::Lower => out.push_str(&zone.to_lowercase()),
                _ => out.push_str(&zone.to_uppercase()),
            }
        }
        Name::ZoneHour | Name::ZoneMinute | Name::Offset => offset(field, time, out),
        Name::YearWithComma => {
            let year = shown_year(time.year, time);
            let text = format!("{},{:03}", year / 1_000, year % 1_000);
            out.push_str(&text);
            ordinal(field, out);
        }
        Name::Quarter if time.month == 0 => {}
        _ => {
            let (value, width) = number(field.name, time);
            let is_short = field.is_filled && !matches!(field.name, Name::Fraction(_));
            out.push_str(&padded(value, if is_short { 0 } else { width }));
            ordinal(field, out);
        }
    }
}

/// Returns the value of a field of digits, and how many digits it has at least.
fn number(name: Name, time: &Parts) -> (i64, usize) {
    let signed = |value: i64, width: usize| (value, width + usize::from(value < 0));
    let days = || days_of(time.year, time.month, time.day);
    match name {
        Name::Century => match century(time) {
            century if century.abs() <= 99 => signed(century, 2),
            century => (century, 0),
        },
        Name::DayOfYear => (time.day_of_year, 3),
        Name::IsoDayOfYear => (days() - monday_of_week(iso_week(days()).0, 1) + 1, 3),
        Name::Day => (time.day, 2),
        Name::WeekdayNumber => (time.weekday + 1, 0),
        Name::IsoWeekday => (if time.weekday == 0 { 7 } else { time.weekday }, 0),
        Name::Fraction(digits) => (time.micro / 10_i64.pow(6 - digits as u32), digits),
        Name::Hour24 => signed(time.hour, 2),
        Name::Hour12 => {
            let hour = if time.hour % 12 == 0 { 12 } else { time.hour % 12 };
            (hour, if time.hour < 0 { 3 } else { 2 })
        }
        Name::IsoWeek => (iso_week(days()).1, 2),
        Name::Year(digits) => year(shown_year(time.year, time), digits),
        Name::IsoYear(digits) => year(shown_year(iso_week(days()).0, time), digits),
        Name::Julian => (julian(days()), 0),
        Name::Minute => signed(time.minute, 2),
        Name::Month => signed(time.month, 2),
        Name::Quarter => ((time.month - 1) / 3 + 1, 0),
        Name::SecondOfDay => ((time.hour * 60 + time.minute) * 60 + time.second, 0),
        Name::Second => signed(time.second, 2),
        Name::WeekOfYear => ((time.day_of_year - 1) / 7 + 1, 2),
        Name::WeekOfMonth => ((time.day - 1) / 7 + 1, 0),
        // Printed by the caller.
        _ => (0, 0),
    }
}

/// The last digits of a year; a negative one has its sign before them.
fn year(year: i64, digits: usize) -> (i64, usize) {
    let value = if digits == 4 { year } else { year % 10_i64.pow(digits as u32) };
    let width = if digits == 1 { 1 } else { digits + usize::from(year < 0) };
    (value, width)
}

/// Years before Christ are counted from 1 and have no sign.
fn shown_year(year: i64, time: &Parts) -> i64 {
    if !time.is_interval && year <= 0 { 1 - year } else { year }
}

fn century(time: &Parts) -> i64 {
    match time.year {
        year if time.is_interval => year / 100,
        year if year > 0 => (year - 1) / 100 + 1,
        year => year / 100 - 1,
    }
}

/// Returns the month in Roman digits; a negative one counts from the end of the year.
fn roman_month(time: &Parts) -> Option<&'static str> {
    let months = match time.month {
        0 if time.year == 0 => return None,
        0 if time.year >= 0 => MONTHS_PER_YEAR,
        0 => 1,
        month if month < 0 => MONTHS_PER_YEAR + 1 + month,
        month => month,
    };
    ROMAN.get((months - 1) as usize).copied()
}

/// Writes a name, short or padded to the longest of its kind.
fn name(field: &Field, full: &str, short: bool, out: &mut String) {
    match short {
        true => word(field, &full[..3], 0, out),
        false => word(field, full, if field.is_translated { 0 } else { NAME_WIDTH }, out),
    }
}

/// Writes a word in the case of its field, with the points that the field has.
fn word(field: &Field, text: &str, width: usize, out: &mut String) {
    let start = out.len();
    for (idx, letter) in text.chars().enumerate() {
        let is_upper = match field.case() {
            Case::Upper => true,
            Case::Lower => false,
            Case::Title => idx == 0,
        };
        out.push(if is_upper { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() });
        if field.spelling.contains('.') {
            out.push('.');
        }
    }
    let n_written = out.len() - start;
    if !field.is_filled && n_written < width {
        out.extend(std::iter::repeat_n(' ', width - n_written));
    }
}

fn offset(field: &Field, time: &Parts, out: &mut String) {
    let seconds = time.zone.as_ref().map_or(0, |zone| zone.seconds_east);
    let sign = if seconds < 0 { '-' } else { '+' };
    let (hours, minutes) = (seconds.abs() / 3_600, seconds.abs() % 3_600 / 60);
    let text = match field.name {
        Name::ZoneMinute => format!("{minutes:02}"),
        Name::Offset if field.is_filled => format!("{sign}{hours}"),
        _ => format!("{sign}{hours:02}"),
    };
    out.push_str(&text);
    if field.name == Name::Offset && minutes != 0 {
        out.push_str(&format!(":{minutes:02}"));
    }
}

/// Writes a number with zeros before it; its sign counts as a digit.
fn padded(value: i64, width: usize) -> String {
    match value < 0 {
        true => format!("-{:0width$}", value.unsigned_abs(), width = width.saturating_sub(1)),
        false => format!("{value:0width$}"),
    }
}

fn ordinal(field: &Field, out: &mut String) {
    if let Some(ordinal) = field.ordinal {
        let suffix = ordinal_suffix(out, ordinal);
        out.push_str(suffix);
    }
}

/// Returns the ending of the number that a text ends with: `st`, `nd`, `rd` or `th`.
pub(in crate::functions) fn ordinal_suffix(number: &str, case: Ordinal) -> &'static str {
    let mut digits = number.bytes().rev();
    let (last, before) = (digits.next(), digits.next());
    let suffixes = match (last, before) {
        (_, Some(b'1')) => ["TH", "th"],
        (Some(b'1'), _) => ["ST", "st"],
        (Some(b'2'), _) => ["ND", "nd"],
        (Some(b'3'), _) => ["RD", "rd"],
        _ => ["TH", "th"],
    };
    suffixes[usize::from(case == Ordinal::Lower)]
}
