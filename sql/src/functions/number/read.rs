//! `to_number`: a text read as a pattern says.
//!
//! The result has as many digits behind the point as the pattern, which has to be a constant for that; ten otherwise.

use super::pattern::{Part, Pattern, Shape};
use crate::functions::given::{Call, calculated, failed, is_text, no_function};
use arrow::array::types::Decimal128Type;
use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, FieldRef};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

/// Digits behind the point where the pattern is not known when a statement is planned.
const UNKNOWN_SCALE: i8 = 10;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ToNumber {
    signature: Signature,
}

impl Default for ToNumber {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for ToNumber {
    fn name(&self) -> &str {
        "to_number"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [text, pattern] if is_text(text) && is_text(pattern) => Ok(vec![DataType::Utf8; 2]),
            _ => no_function(self.name(), types),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(DECIMAL128_MAX_PRECISION, UNKNOWN_SCALE))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let pattern = args.scalar_arguments.get(1).copied().flatten();
        let scale = match pattern.and_then(|pattern| pattern.try_as_str().flatten()) {
            Some(pattern) => i8::try_from(Pattern::parse(pattern)?.scale()).ok(),
            None => Some(UNKNOWN_SCALE),
        };
        let scale = scale.filter(|scale| *scale <= DECIMAL128_MAX_PRECISION as i8);
        let scale = scale.ok_or_else(|| failed("a pattern of that many digits is out of range"))?;
        let data_type = DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale);
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let result = args.return_field.data_type();
        let call = Call { time_zone: "", result, n_rows: args.number_rows };
        calculated(&args.args, call, run)
    }
}

fn run(arrays: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let DataType::Decimal128(_, scale) = call.result else {
        return exec_err!("to_number gives a decimal, not {}", call.result);
    };
    let (texts, patterns) = (arrays[0].as_string::<i32>(), arrays[1].as_string::<i32>());
    let mut last: Option<(&str, Pattern)> = None;
    let numbers = texts.iter().zip(patterns).map(|(text, pattern)| {
        let (Some(text), Some(pattern)) = (text, pattern) else { return Ok(None) };
        let parsed = match last.take() {
            Some((known, parsed)) if known == pattern => parsed,
            _ => Pattern::parse(pattern)?,
        };
        let number = read(&parsed, text)?;
        let scaled = number.scaled(*scale);
        last = Some((pattern, parsed));
        scaled.map(Some).ok_or_else(|| failed("numeric field overflow, out of range"))
    });
    let numbers = numbers.collect::<Result<PrimitiveArray<Decimal128Type>>>()?;
    Ok(Arc::new(numbers.with_data_type(call.result.clone())))
}

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Number {
    is_negative: bool,
    /// Digits without the point.
    digits: String,
    /// How many of them are behind it.
    n_behind: usize,
    /// Digits behind a `V`.
    n_shift: usize,
}

impl Number {
    /// Returns it as a decimal of a scale; digits that the scale has not are zeros, or it does not fit.
    fn scaled(&self, scale: i8) -> Option<i128> {
        let n_behind = self.n_behind + self.n_shift;
        let value: i128 = self.digits.parse().ok()?;
        let n_missing = i32::from(scale) - i32::try_from(n_behind).ok()?;
        let value = match u32::try_from(n_missing) {
            Ok(n_missing) => value.checked_mul(10_i128.checked_pow(n_missing)?)?,
            Err(_) => {
                let divisor = 10_i128.checked_pow(n_missing.unsigned_abs())?;
                (value % divisor == 0).then_some(value / divisor)?
            }
        };
        let fits = value < 10_i128.pow(u32::from(DECIMAL128_MAX_PRECISION));
        fits.then_some(if self.is_negative { -value } else { value })
    }
}

/// Where reading is.
struct Reader<'a> {
    shape: &'a Shape,
    text: &'a [u8],
    at: usize,
    sign: Option<u8>,
    has_point: bool,
    number: Number,
}

fn read(pattern: &Pattern, text: &str) -> Result<Number> {
    let shape = &pattern.shape;
    if shape.has_exponent || shape.is_roman {
        let name = if shape.has_exponent { "EEEE" } else { "RN" };
        let message = format!("\"{name}\" not supported for input");
        return Err(datafusion::common::DataFusionError::NotImplemented(message));
    }
    let number = Number { n_shift: shape.n_shift, ..Number::default() };
    let text = text.as_bytes();
    let mut reader = Reader { shape, text, at: 0, sign: None, has_point: false, number };
    for part in &pattern.parts {
        if reader.at >= text.len() {
            break;
        }
        reader.part(*part);
    }
    let Reader { sign, mut number, .. } = reader;
    if number.digits.is_empty() {
        let shown = sign.map_or(' ', char::from);
        return Err(failed(format!("invalid input syntax for type numeric: \"{shown}\"")));
    }
    number.is_negative = sign == Some(b'-');
    Ok(number)
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn part(&mut self, part: Part) {
        match part {
            Part::Nine | Part::Zero => {
                self.digit(true);
                self.at += 1;
            }
            Part::Point => {
                self.digit(false);
                self.at += 1;
            }
            Part::Comma if self.shape.is_filled => {}
            Part::Comma if self.peek() == Some(b',') => self.at += 1,
            Part::Currency => self.skip_other(1),
            Part::Suffix(_) => self.skip_other(2),
            Part::Minus => self.own_sign(b"-"),
            Part::Plus => self.own_sign(b"+"),
            Part::EitherSign => self.own_sign(b"-+"),
            Part::Text(_) => self.skip_character(),
            Part::Comma | Part::Silent(_) | Part::Roman { .. } => {}
        }
    }

    fn own_sign(&mut self, signs: &[u8]) {
        match self.peek() {
            Some(sign) if signs.contains(&sign) => {
                self.sign = Some(sign);
                self.at += 1;
            }
            _ => self.skip_other(1),
        }
    }

    /// Passes over characters that belong to no number.
    fn skip_other(&mut self, n_characters: usize) {
        for _ in 0..n_characters {
            match self.peek() {
                Some(b'0'..=b'9' | b'.' | b',' | b'+' | b'-') | None => return,
                Some(_) => self.skip_character(),
            }
        }
    }

    fn skip_character(&mut self) {
        self.at += 1;
        // A character's later bytes begin with the bits 10.
        while self.peek().is_some_and(|byte| byte & 0xc0 == 0x80) {
            self.at += 1;
        }
    }

    fn n_read(&self) -> usize {
        self.number.digits.len()
    }

    /// Reads a digit, the point, or a sign where one may be; the caller moves on by one.
    fn digit(&mut self, is_digit: bool) {
        if self.peek() == Some(b' ') {
            self.at += 1;
        }
        if self.sign.is_none() && is_digit && self.n_read() == 0 {
            self.sign_before();
        }
        let Some(byte) = self.peek() else { return };
        let mut is_read = false;
        if byte.is_ascii_digit() {
            if self.has_point && self.number.n_behind == self.shape.n_behind {
                return;
            }
            self.number.digits.push(char::from(byte));
            self.number.n_behind += usize::from(self.has_point);
            is_read = true;
        } else if byte == b'.' && self.shape.has_point && !self.has_point {
            self.has_point = true;
            is_read = true;
        }
        if self.sign.is_none() && self.n_read() > 0 {
            self.sign_behind(is_read);
        }
    }

    fn sign_before(&mut self) {
        let sign = match self.peek() {
            Some(sign @ (b'-' | b'+')) => sign,
            Some(b'<') if self.shape.has_brackets => b'-',
            _ => return,
        };
        self.sign = Some(sign);
        self.at += 1;
    }

    fn sign_behind(&mut self, is_read: bool) {
        let next = self.text.get(self.at + 1).copied();
        if self.shape.sign.is_some() {
            if let (true, Some(sign @ (b'-' | b'+'))) = (is_read, next) {
                self.sign = Some(sign);
                self.at += 1;
            }
        } else if !is_read
            && !self.shape.has_plus
            && !self.shape.has_minus
            && let Some(sign @ (b'-' | b'+')) = self.peek()
        {
            self.sign = Some(sign);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_postgres_reads_them() {
        for (text, pattern, scale, expected) in [
            ("12,454.8-", "99G999D9S", 1, -124_548),
            ("$1,234.50", "L9,999.99", 2, 123_450),
            ("1,234", "9,999", 0, 1_234),
            ("12.34", "99.99", 2, 1_234),
            ("<12>", "99PR", 0, -12),
            ("12-", "99MI", 0, -12),
            ("123", "99V9", 1, 123),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            let number = read(&pattern, text).unwrap();
            assert_eq!((pattern.scale(), number.scaled(scale)), (scale as usize, Some(expected)));
        }
        assert!(read(&Pattern::parse("999").unwrap(), "abc").is_err());
        assert!(Pattern::parse("9.9.9").is_err());
    }
}
