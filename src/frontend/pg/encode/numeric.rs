//! Floats as PostgreSQL prints them, decimals exactly, both formats.

use bytes::{BufMut, BytesMut};
use std::fmt::{Display, Write};

/// A float of either width; the width decides when PostgreSQL switches to an exponent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Float {
    Single(f32),
    Double(f64),
}

impl Float {
    pub(super) fn put_binary(self, out: &mut BytesMut) {
        match self {
            Self::Single(value) => out.put_f32(value),
            Self::Double(value) => out.put_f64(value),
        }
    }

    /// Writes the shortest text that reads back as the same value, in PostgreSQL's shape.
    pub(super) fn put_text(self, out: &mut BytesMut) {
        // Fixed notation ends at the type's count of exact decimal digits, as printf's %g does.
        let (value, max_exponent) = match self {
            Self::Single(value) => (f64::from(value), 6),
            Self::Double(value) => (value, 15),
        };
        if value.is_nan() {
            return out.put_slice(b"NaN");
        }
        if value.is_infinite() {
            return out.put_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
        }
        let mut text = Text::<32>::default();
        let _ = match self {
            Self::Single(value) => write!(text, "{value:e}"),
            Self::Double(value) => write!(text, "{value:e}"),
        };
        put_shortest(text.as_bytes(), max_exponent, out);
    }
}

/// Rewrites Rust's `-1.25e-7` (shortest digits) the way PostgreSQL places point and exponent.
fn put_shortest(text: &[u8], max_exponent: i32, out: &mut BytesMut) {
    let (mantissa, exponent) = match text.iter().position(|byte| *byte == b'e') {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])),
        None => (text, 0),
    };
    if (-4..max_exponent).contains(&exponent) {
        put_fixed(mantissa, exponent, out);
    } else {
        out.put_slice(mantissa);
        out.put_slice(if exponent < 0 { b"e-" } else { b"e+" });
        let _ = write!(out, "{:02}", exponent.unsigned_abs());
    }
}

fn parse_exponent(text: &[u8]) -> i32 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn put_fixed(mantissa: &[u8], exponent: i32, out: &mut BytesMut) {
    let mut digits = mantissa.iter().copied().filter(u8::is_ascii_digit);
    if mantissa.first() == Some(&b'-') {
        out.put_u8(b'-');
    }
    if exponent < 0 {
        out.put_slice(b"0.");
        out.put_bytes(b'0', exponent.unsigned_abs() as usize - 1);
    } else {
        for _ in 0..=exponent {
            out.put_u8(digits.next().unwrap_or(b'0'));
        }
    }
    let mut rest = digits.peekable();
    if exponent >= 0 && rest.peek().is_some() {
        out.put_u8(b'.');
    }
    out.extend(rest);
}

/// Text on the stack: numbers are formatted once a value, an allocation each would dominate.
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> Text<N> {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        let target = self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?;
        target.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// The decimal digits of an unscaled value and its sign.
pub(super) struct Digits {
    /// A 256-bit integer has 77 digits and a sign.
    text: Text<80>,
    negative: bool,
}

impl Digits {
    pub(super) fn new(value: impl Display) -> Self {
        let mut text = Text::default();
        let _ = write!(text, "{value}");
        let negative = text.as_bytes().first() == Some(&b'-');
        Self { text, negative }
    }

    /// Digits without the sign, most significant first; zero is the single digit 0.
    fn digits(&self) -> &[u8] {
        &self.text.as_bytes()[usize::from(self.negative)..]
    }

    fn is_zero(&self) -> bool {
        self.digits() == b"0"
    }

    /// Returns the digit that counts `10^power` in `digits · 10^-scale`.
    fn digit(&self, power: i32, scale: i32) -> u16 {
        let digits = self.digits();
        let from_end = power + scale;
        match usize::try_from(from_end) {
            Ok(from_end) if from_end < digits.len() => {
                u16::from(digits[digits.len() - 1 - from_end] - b'0')
            }
            _ => 0,
        }
    }

    pub(super) fn put_text(&self, scale: i8, out: &mut BytesMut) {
        if self.negative {
            out.put_u8(b'-');
        }
        let digits = self.digits();
        let Ok(scale) = usize::try_from(scale) else {
            out.put_slice(digits);
            let n_zeros = if self.is_zero() { 0 } else { scale.unsigned_abs() };
            return out.put_bytes(b'0', n_zeros.into());
        };
        if scale == 0 {
            return out.put_slice(digits);
        }
        let point = digits.len().saturating_sub(scale);
        out.put_slice(if point == 0 { b"0" } else { &digits[..point] });
        out.put_u8(b'.');
        out.put_bytes(b'0', scale.saturating_sub(digits.len()));
        out.put_slice(&digits[point..]);
    }

    /// Writes groups of four decimal digits, the most significant first, with PostgreSQL's header.
    pub(super) fn put_binary(&self, scale: i8, out: &mut BytesMut) {
        const NEGATIVE: u16 = 0x4000;
        let scale = i32::from(scale);
        let mut groups = [0_u16; 64];
        let (mut n_groups, mut weight) = (0, 0);
        if !self.is_zero() {
            let top = (self.digits().len() as i32 - 1 - scale).div_euclid(4);
            let bottom = (-scale).div_euclid(4);
            for group in (bottom..=top).rev() {
                let value = (0..4)
                    .rev()
                    .fold(0, |value, power| value * 10 + self.digit(group * 4 + power, scale));
                if n_groups == 0 {
                    if value == 0 {
                        continue;
                    }
                    weight = group;
                }
                groups[n_groups] = value;
                n_groups += 1;
            }
            while n_groups > 0 && groups[n_groups - 1] == 0 {
                n_groups -= 1;
            }
        }
        out.put_u16(n_groups as u16);
        out.put_i16(weight as i16);
        out.put_u16(if self.negative { NEGATIVE } else { 0 });
        out.put_u16(scale.max(0) as u16);
        for group in &groups[..n_groups] {
            out.put_u16(*group);
        }
    }
}
