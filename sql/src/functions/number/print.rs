//! `to_char` of numbers.
//!
//! The digits of the number are laid under those of the pattern, from the right: where the pattern has more before the
//! point, spaces or zeros are written, where it has fewer, `#`. With `FM` nothing is padded and zeros at the end are
//! left out.

use super::digits::{Fixed, Numbers};
use super::pattern::{Anchor, Part, Pattern, Shape};
use crate::functions::datetime::ordinal_suffix;

/// Roman numbers are written into a field of this width, and go up to what fits it.
const ROMAN_WIDTH: usize = 15;
const MAX_ROMAN: i64 = 3_999;
const ROMAN: [(i64, &str); 13] = [
    (1000, "M"),
    (900, "CM"),
    (500, "D"),
    (400, "CD"),
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
];

impl Pattern {
    /// Writes the number of a row.
    pub(in crate::functions) fn print(&self, numbers: &Numbers, row: usize, out: &mut String) {
        let shape = &self.shape;
        if shape.is_roman {
            return self.print_roman(numbers.whole(row), out);
        }
        if shape.has_exponent {
            let text = numbers.scientific(row, shape.n_behind).unwrap_or_else(|| {
                let behind = "#".repeat(shape.n_behind + 4);
                format!("{}.{behind}", "#".repeat(shape.n_before))
            });
            if !text.starts_with('-') {
                out.push(' ');
            }
            out.push_str(&text);
            return;
        }
        let n_shift = if shape.is_shifted { shape.n_shift } else { 0 };
        let number = numbers.fixed(row, n_shift, shape.n_behind);
        Writer::new(shape, number, out).write(&self.parts);
    }

    fn print_roman(&self, number: Option<i64>, out: &mut String) {
        let number = roman(number);
        for part in &self.parts {
            match part {
                Part::Roman { is_upper } => {
                    let text = if *is_upper { number.clone() } else { number.to_lowercase() };
                    match self.shape.is_filled {
                        true => out.push_str(&text),
                        false => out.push_str(&format!("{text:>ROMAN_WIDTH$}")),
                    }
                }
                Part::Comma | Part::Minus | Part::Plus if !self.shape.is_filled => out.push(' '),
                Part::Currency => out.push(' '),
                Part::Text(character) => out.push(*character),
                _ => {}
            }
        }
    }
}

fn roman(number: Option<i64>) -> String {
    let Some(mut rest) = number.filter(|number| (1..=MAX_ROMAN).contains(number)) else {
        return "#".repeat(ROMAN_WIDTH);
    };
    let mut text = String::new();
    for (value, letters) in ROMAN {
        while rest >= value {
            text.push_str(letters);
            rest -= value;
        }
    }
    text
}

/// What is written, and where in the number and the pattern the writer is.
struct Writer<'a> {
    shape: &'a Shape,
    out: &'a mut String,
    number: Vec<u8>,
    is_negative: bool,
    /// Where in the number it is.
    at: usize,
    /// How many digits and points of the pattern it passed.
    n_passed: usize,
    /// Digits of the pattern before the number's first.
    n_spaces: usize,
    /// The digit of the pattern that is the last to write something.
    n_count: usize,
    sign: Option<Anchor>,
    has_brackets: bool,
    is_sign_written: bool,
    /// Whether the last thing written was a digit.
    is_in_number: bool,
    /// The last digit that `FM` leaves.
    last_kept: Option<usize>,
    /// The number was over before the pattern: what follows is left out.
    is_cut: bool,
}

impl<'a> Writer<'a> {
    fn new(shape: &'a Shape, fixed: Fixed, out: &'a mut String) -> Self {
        let n_before = shape.n_before + if shape.is_shifted { shape.n_shift } else { 0 };
        let Fixed { is_negative, digits, n_behind } = fixed;
        let n_digits = digits.find('.').unwrap_or(digits.len());
        let number = match n_digits > n_before {
            true => format!("{}.{}", "#".repeat(n_before), "#".repeat(n_behind)).into_bytes(),
            false => digits.into_bytes(),
        };
        let n_spaces = n_before.saturating_sub(n_digits);
        let writes_own_sign = shape.has_plus || shape.has_minus;
        let is_sign_written = match writes_own_sign {
            // Only PL leaves a minus to write.
            true => shape.has_minus,
            false => !is_negative && shape.is_filled && shape.sign.is_none(),
        };
        let has_brackets = shape.has_brackets && (is_negative || !shape.is_filled);
        let sign = match shape.sign {
            // An S behind all digits is written there.
            Some(Anchor::Before) if !writes_own_sign && n_before == shape.n_before_sign => {
                Some(Anchor::Behind)
            }
            sign => sign,
        };
        let counts_sign = !is_sign_written && n_spaces == 0;
        let n_count = (n_behind + n_before + usize::from(counts_sign)).saturating_sub(1);
        let last_kept = last_kept(shape, &number, n_spaces);
        Self {
            shape,
            out,
            number,
            is_negative,
            at: 0,
            n_passed: 0,
            n_spaces,
            n_count,
            sign,
            has_brackets,
            is_sign_written,
            is_in_number: false,
            last_kept,
            is_cut: false,
        }
    }

    fn write(mut self, parts: &[Part]) {
        for part in parts {
            match part {
                Part::Nine | Part::Zero | Part::Point => self.digit(*part == Part::Zero),
                Part::Comma if self.is_in_number => self.push(','),
                Part::Comma => self.pad(' '),
                Part::Currency => self.push(' '),
                Part::Suffix(case) => {
                    let is_plain = self.number.first() != Some(&b'#')
                        && !self.is_negative
                        && !self.shape.has_point;
                    if is_plain {
                        let number = String::from_utf8_lossy(&self.number).into_owned();
                        ordinal_suffix(&number, *case).chars().for_each(|c| self.push(c));
                    }
                }
                Part::Minus if self.is_negative => self.push('-'),
                Part::Plus if !self.is_negative => self.push('+'),
                Part::Minus | Part::Plus => self.pad(' '),
                Part::EitherSign => self.push(if self.is_negative { '-' } else { '+' }),
                Part::Text(character) => self.push(*character),
                Part::Silent(_) | Part::Roman { .. } => {}
            }
        }
    }

    fn push(&mut self, character: char) {
        if !self.is_cut {
            self.out.push(character);
        }
    }

    /// Writes what `FM` leaves out.
    fn pad(&mut self, character: char) {
        if !self.shape.is_filled {
            self.push(character);
        }
    }

    fn current(&self) -> Option<u8> {
        self.number.get(self.at).copied()
    }

    /// Whether only the point of the number is kept behind its whole digits.
    fn ends_with_point(&self) -> bool {
        self.last_kept.is_some_and(|last| self.number.get(last) == Some(&b'.'))
    }

    /// Whether the number's zero before the point is left out: `9.9` prints 0.1 as `.1`.
    fn hides_zero(&self) -> bool {
        self.shape.zeros_from.is_none()
            && self.at == 0
            && self.current() == Some(b'0')
            && self.shape.n_behind != 0
    }

    /// Writes the part of the number that belongs to a digit or the point of the pattern.
    fn digit(&mut self, is_zero: bool) {
        self.is_in_number = false;
        let starts_zeros = self.shape.zeros_from == Some(self.n_passed);
        if !self.is_sign_written
            && (self.n_passed >= self.n_spaces || starts_zeros)
            && (!self.hides_zero() || self.ends_with_point())
        {
            self.sign_before();
        }
        let is_before = self.n_passed < self.n_spaces;
        if is_before && self.shape.zeros_from.is_none_or(|from| from > self.n_passed) {
            self.pad(' ');
        } else if is_before {
            self.push('0');
            self.is_in_number = true;
        } else {
            self.number_digit(is_zero);
        }
        self.sign_behind();
        self.n_passed += 1;
    }

    fn number_digit(&mut self, is_zero: bool) {
        let is_dropped = self.last_kept.is_some_and(|last| self.at > last) && !is_zero;
        match self.current() {
            Some(b'.') => self.push('.'),
            _ if is_dropped => {}
            _ if self.hides_zero() => match self.shape.is_filled {
                false => self.push(' '),
                // FM9.9 prints 0 as `0.`
                true if self.ends_with_point() => self.push('0'),
                true => {}
            },
            Some(digit) => {
                self.push(char::from(digit));
                self.is_in_number = true;
            }
            None => {
                self.is_cut = true;
                self.is_in_number = true;
            }
        }
        if self.at < self.number.len() {
            self.at += 1;
        }
    }

    fn sign_before(&mut self) {
        match (self.sign, self.has_brackets, self.is_negative) {
            (Some(Anchor::Before), _, is_negative) => {
                self.push(if is_negative { '-' } else { '+' });
            }
            (Some(Anchor::Behind), _, _) => return,
            (None, true, is_negative) => self.push(if is_negative { '<' } else { ' ' }),
            (None, false, true) => self.push('-'),
            (None, false, false) => self.pad(' '),
        }
        self.is_sign_written = true;
    }

    /// Writes the sign behind the number when this is its last digit.
    fn sign_behind(&mut self) {
        let end = match self.last_kept {
            Some(last) if last == self.at => self.n_passed,
            _ => self.n_count + usize::from(self.n_spaces > 0) + usize::from(self.shape.has_point),
        };
        if self.n_passed + 1 != end {
            return;
        }
        if self.is_sign_written && self.has_brackets {
            self.push(if self.is_negative { '>' } else { ' ' });
        } else if self.sign == Some(Anchor::Behind) {
            self.push(if self.is_negative { '-' } else { '+' });
        }
    }
}

/// Returns the last digit that a filled pattern keeps: what is not zero, and what a `0` asks for.
fn last_kept(shape: &Shape, number: &[u8], n_spaces: usize) -> Option<usize> {
    if !(shape.is_filled && shape.has_point) {
        return None;
    }
    let point = number.iter().position(|byte| *byte == b'.')?;
    let behind = number[point + 1..].iter().rposition(|byte| *byte != b'0');
    let last = behind.map_or(point, |idx| point + 1 + idx);
    match shape.zeros_to > n_spaces {
        true => Some(last.max((number.len() - 1).min(shape.zeros_to - n_spaces))),
        false => Some(last),
    }
}
