//! Arrow values as the files of the suite print them.
//!
//! Numbers with a fraction have at most 12 digits after the point and no zeros at the end; an empty text is `(empty)`;
//! a last value of several lines becomes numbered lines.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::config::FormatOptions as EngineFormat;
use sqllogictest::ColumnType;

/// Digits after the point of a printed number.
const MAX_FRACTION_DIGITS: usize = 12;

/// The letter of a column type: B, I, R, T, D, P, or ?.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter(char);

impl Letter {
    /// The letter of types without one of their own.
    pub const OTHER: Self = Self('?');
    /// The letter of floats and decimals.
    pub const NUMBER: Self = Self('R');
}

impl ColumnType for Letter {
    fn from_char(letter: char) -> Option<Self> {
        Some(Self(letter))
    }

    fn to_char(&self) -> char {
        self.0
    }
}

/// Returns the letter of a column type.
pub fn column_letter(data_type: &DataType) -> Letter {
    Letter(match data_type {
        DataType::Boolean => 'B',
        data_type if data_type.is_integer() => 'I',
        data_type if data_type.is_floating() || data_type.is_decimal() => 'R',
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => 'T',
        DataType::Date32 | DataType::Date64 | DataType::Time32(_) | DataType::Time64(_) => 'D',
        DataType::Timestamp(_, _) => 'P',
        _ => '?',
    })
}

/// Returns the rows of a batch as text.
pub fn print_rows(batch: &RecordBatch) -> Vec<Vec<String>> {
    let row = |idx: usize| batch.columns().iter().map(|column| print(column, idx)).collect();
    (0..batch.num_rows()).map(row).flat_map(split_lines).collect()
}

fn print(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) || column.data_type().is_null() {
        return "NULL".to_owned();
    }
    match column.data_type() {
        DataType::Float16 => number(column.as_primitive::<Float16Type>().value(row).to_string()),
        DataType::Float32 => number(column.as_primitive::<Float32Type>().value(row).to_string()),
        DataType::Float64 => number(column.as_primitive::<Float64Type>().value(row).to_string()),
        data_type if data_type.is_decimal() => number(display(column, row)),
        DataType::Utf8 => text(column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => text(column.as_string::<i64>().value(row)),
        DataType::Utf8View => text(column.as_string_view().value(row)),
        _ => display(column, row),
    }
}

fn display(column: &ArrayRef, row: usize) -> String {
    let engine = EngineFormat { null: "NULL".to_owned(), ..EngineFormat::default() };
    let options: FormatOptions<'_> = (&engine).try_into().unwrap();
    ArrayFormatter::try_new(column.as_ref(), &options).unwrap().value(row).to_string()
}

fn text(value: &str) -> String {
    match value {
        "" => "(empty)".to_owned(),
        value => value.trim_end_matches('\n').replace('\0', "\\0"),
    }
}

fn number(text: String) -> String {
    match text.as_str() {
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        "NaN" => text,
        _ => rounded(&text),
    }
}

/// Returns a plain decimal number with at most [`MAX_FRACTION_DIGITS`], half to even, without zeros at the end.
fn rounded(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (kept, rest) = fraction.split_at(fraction.len().min(MAX_FRACTION_DIGITS));
    let mut all: Vec<u8> = whole.bytes().chain(kept.bytes()).map(|digit| digit - b'0').collect();
    let is_odd = all.last().is_some_and(|digit| digit % 2 == 1);
    let half = rest.trim_end_matches('0');
    let up = half > "5" || (half == "5" && is_odd);
    if up {
        let mut carry = 1;
        for digit in all.iter_mut().rev() {
            *digit += carry;
            carry = *digit / 10;
            *digit %= 10;
        }
        if carry == 1 {
            all.insert(0, 1);
        }
    }
    let point = all.len() - kept.len();
    let digits: String = all.iter().map(|digit| char::from(digit + b'0')).collect();
    let (whole, fraction) = digits.split_at(point);
    let fraction = fraction.trim_end_matches('0');
    let is_zero = fraction.is_empty() && whole.bytes().all(|digit| digit == b'0');
    let sign = if is_zero { "" } else { sign };
    match fraction {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

/// Splits the lines of the last value into rows of their own: `02)--text`, where dashes stand for leading spaces.
fn split_lines(mut row: Vec<String>) -> Vec<Vec<String>> {
    let Some(last) = row.pop() else { return vec![row] };
    if !last.contains('\n') {
        row.push(last);
        return vec![row];
    }
    let mut rows = vec![row];
    for (idx, line) in last.split('\n').enumerate() {
        let content = line.trim_start();
        let dashes = "-".repeat(line.len() - content.len());
        rows.push(vec![format!("{:02}){dashes}{content}", idx + 1)]);
    }
    rows
}

#[test]
fn numbers_are_rounded_half_to_even() {
    for (given, expected) in [
        ("0.110", "0.11"),
        ("10", "10"),
        ("-0.0", "0"),
        ("1.0000000000011", "1.000000000001"),
        ("0.0000000000005", "0"),
        ("0.0000000000015", "0.000000000002"),
        ("99.9999999999996", "100"),
        ("-1.5", "-1.5"),
    ] {
        assert_eq!(rounded(given), expected, "{given}");
    }
}
