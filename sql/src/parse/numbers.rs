//! Numbers with an exponent, and those that no decimal holds.
//!
//! Called by `parse` for every statement. PostgreSQL reads all of them as numeric, which has no bounds. `1e2` is written
//! out, as `100.0`: DataFusion 55 gives it a negative scale, which its decimal arithmetic cannot calculate with. What has
//! no place in a decimal becomes a double precision: `1e300`, or a hundred digits.
//! Limit: a number beyond a double precision is left to the planner, which refuses it.

use datafusion::sql::sqlparser::ast::{CastKind, DataType, Expr, Value, ValueWithSpan, VisitorMut};
use std::ops::ControlFlow;

/// Digits of the largest decimal that numbers with an exponent become.
const MAX_DIGITS: usize = 38;
/// Digits of the largest decimal there is.
const MAX_WIDE_DIGITS: usize = 76;

/// The visitor that spells numbers anew.
pub(super) struct Numbers;

impl VisitorMut for Numbers {
    type Break = ();

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        if let Value::Number(text, _) = &mut value.value
            && let Some(plain) = plain_number(text)
        {
            *text = plain;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr
            && let Value::Number(text, _) = &value.value
            && let Some(float) = float(text)
        {
            let text = Value::SingleQuotedString(float).with_span(value.span);
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(Expr::Value(text)),
                data_type: DataType::DoublePrecision,
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    }
}

/// Returns a number's text without its exponent, when it has one and the result fits in a decimal.
fn plain_number(text: &str) -> Option<String> {
    let (mantissa, exponent) = text.split_once(['e', 'E'])?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let plain = match usize::try_from(point) {
        Ok(point) if point > MAX_DIGITS => return None,
        Ok(point) if point >= digits.len() => format!("{digits:0<point$}.0"),
        Ok(0) | Err(_) => {
            let zeros = usize::try_from(-point).ok()?;
            format!("0.{}{digits}", "0".repeat(zeros.min(MAX_DIGITS + 1)))
        }
        Ok(point) => format!("{}.{}", &digits[..point], &digits[point..]),
    };
    (plain.len() <= MAX_DIGITS + 1).then_some(plain)
}

/// Returns the text of a double precision for a number that no decimal holds; `None` when one does, or neither.
fn float(text: &str) -> Option<String> {
    let mantissa = text.split(['e', 'E']).next()?;
    let is_decimal = mantissa.len() == text.len()
        && mantissa.chars().filter(char::is_ascii_digit).count() <= MAX_WIDE_DIGITS;
    if is_decimal {
        return None;
    }
    let text = text.replace('_', "");
    let value: f64 = text.parse().ok()?;
    let is_zero = !mantissa.chars().any(|c| ('1'..='9').contains(&c));
    (value.is_finite() && (value != 0.0 || is_zero)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Limits, parse};

    #[test]
    fn exponents_are_written_out() {
        for (text, expected) in [
            ("1e2", Some("100.0")),
            ("1.5E3", Some("1500.0")),
            ("12.345e1", Some("123.45")),
            ("1e-3", Some("0.001")),
            ("25e-1", Some("2.5")),
            ("5e-1", Some("0.5")),
            ("1e300", None),
            ("1e-300", None),
            ("100", None),
        ] {
            assert_eq!(plain_number(text).as_deref(), expected, "{text}");
        }
        let ast = parse("SELECT 1e2 * 2", Limits::default()).unwrap().remove(0).ast;
        assert_eq!(ast.to_string(), "SELECT 100.0 * 2");
    }

    #[test]
    fn what_no_decimal_holds_is_a_float() {
        let long = "9".repeat(77);
        for (text, expected) in [
            ("1e300", Some("1e300")),
            ("2.5E-60", Some("2.5E-60")),
            ("1_0e99", Some("10e99")),
            ("0e999", Some("0e999")),
            // Neither a decimal nor a double precision.
            ("1e999", None),
            ("1e-999", None),
            ("123.45", None),
            (&long[1..], None),
            (&long, Some(&long)),
        ] {
            assert_eq!(float(text).as_deref(), expected, "{text}");
        }
        let ast = parse("SELECT -1e300 < x", Limits::default()).unwrap().remove(0).ast;
        assert_eq!(ast.to_string(), "SELECT -CAST('1e300' AS DOUBLE PRECISION) < x");
    }
}
