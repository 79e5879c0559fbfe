//! Values of any numeric type as digits, rounded to as many as a pattern has.
//!
//! Decimals and integers round half away from zero and exactly; floats print as C prints them, to no more digits than
//! their type holds.

use crate::functions::given::failed;
use arrow::array::types::{Decimal256Type, Float64Type};
use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::Result;

/// Digits that every value of a float type has.
const FLOAT8_DIGITS: usize = 15;
const FLOAT4_DIGITS: usize = 6;
/// The widest decimal type, into which every exact number fits.
const DECIMAL_PRECISION: u8 = 76;

/// A batch of numbers.
pub(in crate::functions) enum Numbers {
    /// Integers and decimals, with their scale.
    Exact(PrimitiveArray<Decimal256Type>, i32),
    /// Floats, with the digits that count.
    Float(PrimitiveArray<Float64Type>, usize),
}

/// A number with a fixed number of digits behind its point.
pub(super) struct Fixed {
    pub is_negative: bool,
    /// Its digits, and the point if there are any behind it.
    pub digits: String,
    /// Digits behind the point, perhaps fewer than were asked for.
    pub n_behind: usize,
}

impl Numbers {
    /// Reads an array of any numeric type.
    ///
    /// # Errors
    /// For another type.
    pub(in crate::functions) fn new(values: &ArrayRef) -> Result<Self> {
        let floats = || cast(values, &DataType::Float64);
        Ok(match values.data_type() {
            DataType::Float64 => Self::Float(floats()?.as_primitive().clone(), FLOAT8_DIGITS),
            DataType::Float16 | DataType::Float32 => {
                Self::Float(floats()?.as_primitive().clone(), FLOAT4_DIGITS)
            }
            data_type if data_type.is_numeric() => {
                let scale = match data_type {
                    DataType::Decimal32(_, scale)
                    | DataType::Decimal64(_, scale)
                    | DataType::Decimal128(_, scale)
                    | DataType::Decimal256(_, scale) => *scale,
                    _ => 0,
                };
                let exact = cast(values, &DataType::Decimal256(DECIMAL_PRECISION, scale))?;
                Self::Exact(exact.as_primitive().clone(), scale.into())
            }
            other => return Err(failed(format!("{other} is not a number"))),
        })
    }

    /// Returns a number times ten to the `n_shift`, with `n_behind` digits behind the point.
    pub(super) fn fixed(&self, row: usize, n_shift: usize, n_behind: usize) -> Fixed {
        match self {
            Self::Exact(values, scale) => {
                let (is_negative, digits) = split_sign(values.value(row).to_string());
                let digits = rounded(&digits, *scale - n_shift as i32, n_behind);
                let is_zero = digits.bytes().all(|digit| matches!(digit, b'0' | b'.'));
                Fixed { is_negative: is_negative && !is_zero, digits, n_behind }
            }
            Self::Float(values, n_digits) => {
                let value = values.value(row) * 10_f64.powi(n_shift as i32);
                if !value.is_finite() {
                    let word = if value.is_nan() { "NaN" } else { "Infinity" };
                    let digits = word.to_string();
                    return Fixed { is_negative: value < 0.0, digits, n_behind };
                }
                let n_before = format!("{:.0}", value.abs()).len();
                let n_behind = n_behind.min(n_digits.saturating_sub(n_before));
                let (is_negative, digits) = split_sign(format!("{value:.n_behind$}"));
                Fixed { is_negative, digits, n_behind }
            }
        }
    }

    /// Returns a number as `1.23e+04`; `None` when it is not finite.
    pub(super) fn scientific(&self, row: usize, n_behind: usize) -> Option<String> {
        match self {
            Self::Exact(values, scale) => {
                let (is_negative, digits) = split_sign(values.value(row).to_string());
                let sign = if is_negative { "-" } else { "" };
                Some(format!("{sign}{}", exact_scientific(&digits, *scale, n_behind)))
            }
            Self::Float(values, _) => {
                let value = values.value(row);
                let text = value.is_finite().then(|| format!("{value:.n_behind$e}"))?;
                let (mantissa, exponent) = text.split_once('e')?;
                Some(format!("{mantissa}{}", shown_exponent(exponent.parse().ok()?)))
            }
        }
    }

    /// Returns a number as a whole one, for Roman digits; `None` when it does not fit.
    pub(super) fn whole(&self, row: usize) -> Option<i64> {
        let Fixed { is_negative, digits, .. } = match self {
            Self::Exact(..) => self.fixed(row, 0, 0),
            Self::Float(values, _) => {
                let value = values.value(row).round_ties_even();
                return (value.abs() <= f64::from(i32::MAX)).then_some(value as i64);
            }
        };
        let value: i64 = digits.parse().ok().filter(|value| *value <= i64::from(i32::MAX))?;
        Some(if is_negative { -value } else { value })
    }
}

fn split_sign(text: String) -> (bool, String) {
    match text.strip_prefix('-') {
        Some(digits) => (true, digits.to_string()),
        None => (false, text),
    }
}

/// Puts a point before the last `scale` digits and rounds to `n_behind` of them.
fn rounded(digits: &str, scale: i32, n_behind: usize) -> String {
    let mut all = digits.as_bytes().to_vec();
    let n_fraction = usize::try_from(scale).unwrap_or(0);
    let n_zeros = usize::try_from(-scale).unwrap_or(0);
    all.extend(std::iter::repeat_n(b'0', n_zeros));
    if all.len() <= n_fraction {
        all.splice(0..0, std::iter::repeat_n(b'0', n_fraction + 1 - all.len()));
    }
    let n_whole = all.len() - n_fraction;
    let rounds_up = all.get(n_whole + n_behind).is_some_and(|digit| *digit >= b'5');
    all.resize(n_whole + n_behind, b'0');
    if rounds_up {
        add_one(&mut all);
    }
    let n_whole = all.len() - n_behind;
    let n_leading = all[..n_whole].iter().take_while(|digit| **digit == b'0').count();
    let whole = &all[n_leading.min(n_whole - 1)..n_whole];
    let text = |digits: &[u8]| String::from_utf8_lossy(digits).into_owned();
    match n_behind {
        0 => text(whole),
        _ => format!("{}.{}", text(whole), text(&all[n_whole..])),
    }
}

fn add_one(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev() {
        match *digit {
            b'9' => *digit = b'0',
            _ => {
                *digit += 1;
                return;
            }
        }
    }
    digits.insert(0, b'1');
}

fn exact_scientific(digits: &str, scale: i32, n_behind: usize) -> String {
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        let zeros = rounded("0", 0, n_behind);
        return format!("{zeros}e+00");
    }
    let exponent = digits.len() as i32 - 1 - scale;
    let mantissa = rounded(digits, digits.len() as i32 - 1, n_behind);
    match mantissa.starts_with("10") {
        // Rounding gave it one more digit.
        true => format!("{}{}", rounded("1", 0, n_behind), shown_exponent(exponent + 1)),
        false => format!("{mantissa}{}", shown_exponent(exponent)),
    }
}

fn shown_exponent(exponent: i32) -> String {
    format!("e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_round_half_away_from_zero() {
        for (digits, scale, n_behind, expected) in [
            ("12345", 2, 1, "123.5"),
            ("12345", 2, 3, "123.450"),
            ("999", 2, 1, "10.0"),
            ("5", 1, 0, "1"),
            ("4", 1, 0, "0"),
            ("7", -2, 0, "700"),
            ("1", 5, 2, "0.00"),
        ] {
            assert_eq!(rounded(digits, scale, n_behind), expected, "{digits} {scale}");
        }
    }

    #[test]
    fn powers_of_ten_follow_the_digits() {
        assert_eq!(exact_scientific("1234567891", 3, 2), "1.23e+06");
        assert_eq!(exact_scientific("9996", 0, 2), "1.00e+04");
        assert_eq!(exact_scientific("000123", 6, 2), "1.23e-04");
        assert_eq!(exact_scientific("0", 0, 1), "0.0e+00");
    }
}
