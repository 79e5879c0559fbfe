//! Patterns of numbers, `FM999G990D00`, taken apart.

use crate::functions::datetime::Ordinal;
use crate::functions::given::failed;
use crate::functions::literal::{take_plain, take_quoted};
use datafusion::common::Result;

/// A part of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// `9`
    Nine,
    /// `0`
    Zero,
    /// `.` or `D`
    Point,
    /// `,` or `G`
    Comma,
    /// `L`
    Currency,
    /// `RN`, `rn`
    Roman { is_upper: bool },
    /// `TH`, `th`
    Suffix(Ordinal),
    /// `MI`
    Minus,
    /// `PL`
    Plus,
    /// `SG`
    EitherSign,
    /// `S`, `PR`, `FM`, `V`, `EEEE`, `B`, `C`, `SP`: nothing is written where they stand.
    Silent(Silent),
    /// Any other character.
    Text(char),
}

/// What says something about the whole pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silent {
    Sign,
    Brackets,
    Fill,
    Shift,
    Exponent,
    Blank,
    Nothing,
}

const PARTS: &[(&str, Part)] = &[
    (",", Part::Comma),
    (".", Part::Point),
    ("0", Part::Zero),
    ("9", Part::Nine),
    ("B", Part::Silent(Silent::Blank)),
    ("C", Part::Silent(Silent::Nothing)),
    ("D", Part::Point),
    ("EEEE", Part::Silent(Silent::Exponent)),
    ("FM", Part::Silent(Silent::Fill)),
    ("G", Part::Comma),
    ("L", Part::Currency),
    ("MI", Part::Minus),
    ("PL", Part::Plus),
    ("PR", Part::Silent(Silent::Brackets)),
    ("RN", Part::Roman { is_upper: true }),
    ("SG", Part::EitherSign),
    ("SP", Part::Silent(Silent::Nothing)),
    ("S", Part::Silent(Silent::Sign)),
    ("TH", Part::Suffix(Ordinal::Upper)),
    ("V", Part::Silent(Silent::Shift)),
    ("b", Part::Silent(Silent::Blank)),
    ("c", Part::Silent(Silent::Nothing)),
    ("d", Part::Point),
    ("eeee", Part::Silent(Silent::Exponent)),
    ("fm", Part::Silent(Silent::Fill)),
    ("g", Part::Comma),
    ("l", Part::Currency),
    ("mi", Part::Minus),
    ("pl", Part::Plus),
    ("pr", Part::Silent(Silent::Brackets)),
    ("rn", Part::Roman { is_upper: false }),
    ("sg", Part::EitherSign),
    ("sp", Part::Silent(Silent::Nothing)),
    ("s", Part::Silent(Silent::Sign)),
    ("th", Part::Suffix(Ordinal::Lower)),
    ("v", Part::Silent(Silent::Shift)),
];

/// Where the sign of an `S` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Before,
    Behind,
}

/// A pattern of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::functions) struct Pattern {
    pub(super) parts: Vec<Part>,
    pub(super) shape: Shape,
}

/// What the parts of a pattern say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// Digits before the point.
    pub n_before: usize,
    /// Digits behind it.
    pub n_behind: usize,
    /// Digits behind a `V`, by which the number is multiplied.
    pub n_shift: usize,
    /// Where zeros begin to be written: digits before the first `0`.
    pub zeros_from: Option<usize>,
    /// Digits up to the last `0`.
    pub zeros_to: usize,
    pub sign: Option<Anchor>,
    /// Digits before the `S`.
    pub n_before_sign: usize,
    pub has_point: bool,
    pub is_filled: bool,
    pub has_brackets: bool,
    pub has_minus: bool,
    pub has_plus: bool,
    pub is_roman: bool,
    pub is_shifted: bool,
    pub has_exponent: bool,
    is_blank: bool,
}

impl Pattern {
    /// Takes a pattern apart.
    ///
    /// # Errors
    /// With PostgreSQL's words, when its parts do not go together.
    pub(in crate::functions) fn parse(pattern: &str) -> Result<Self> {
        let mut parts = Vec::new();
        let mut shape = Shape::default();
        let mut rest = pattern;
        while !rest.is_empty() {
            if let Some((spelling, part)) = PARTS.iter().find(|(s, _)| rest.starts_with(s)) {
                shape.add(*part)?;
                parts.push(*part);
                rest = &rest[spelling.len()..];
            } else if let Some(quoted) = rest.strip_prefix('"') {
                rest = take_quoted(quoted, |character| parts.push(Part::Text(character)));
            } else {
                let (character, after) = take_plain(rest);
                parts.extend(character.map(Part::Text));
                rest = after;
            }
        }
        Ok(Self { parts, shape })
    }

    /// Returns how many digits behind the point `to_number` gives.
    pub(super) fn scale(&self) -> usize {
        self.shape.n_behind + self.shape.n_shift
    }
}

impl Shape {
    fn add(&mut self, part: Part) -> Result<()> {
        if self.has_exponent && !matches!(part, Part::Text(_) | Part::Silent(Silent::Exponent)) {
            return Err(failed("\"EEEE\" must be the last pattern used"));
        }
        match part {
            Part::Nine => self.add_nine(),
            Part::Zero => self.add_zero(),
            Part::Point if self.has_point => Err(failed("multiple decimal points")),
            Part::Point if self.is_shifted => {
                Err(failed("cannot use \"V\" and decimal point together"))
            }
            Part::Point => {
                self.has_point = true;
                Ok(())
            }
            Part::Minus => self.add_sign_part("MI", true, false),
            Part::Plus => self.add_sign_part("PL", false, true),
            Part::EitherSign => self.add_sign_part("SG", true, true),
            Part::Roman { .. } => {
                self.is_roman = true;
                Ok(())
            }
            Part::Silent(silent) => self.add_silent(silent),
            Part::Comma | Part::Currency | Part::Suffix(_) | Part::Text(_) => Ok(()),
        }
    }

    fn add_nine(&mut self) -> Result<()> {
        if self.has_brackets {
            return Err(failed("\"9\" must be ahead of \"PR\""));
        }
        match (self.is_shifted, self.has_point) {
            (true, _) => self.n_shift += 1,
            (false, true) => self.n_behind += 1,
            (false, false) => self.n_before += 1,
        }
        Ok(())
    }

    fn add_zero(&mut self) -> Result<()> {
        if self.has_brackets {
            return Err(failed("\"0\" must be ahead of \"PR\""));
        }
        if !self.has_point {
            self.zeros_from.get_or_insert(self.n_before);
            self.n_before += 1;
        } else {
            self.n_behind += 1;
        }
        self.zeros_to = self.n_before + self.n_behind;
        Ok(())
    }

    fn add_sign_part(&mut self, name: &str, minus: bool, plus: bool) -> Result<()> {
        if self.sign.is_some() {
            return Err(failed(format!("cannot use \"S\" and \"{name}\" together")));
        }
        self.has_minus |= minus;
        self.has_plus |= plus;
        Ok(())
    }

    fn add_silent(&mut self, silent: Silent) -> Result<()> {
        match silent {
            Silent::Sign => {
                if self.sign.is_some() {
                    return Err(failed("cannot use \"S\" twice"));
                }
                if self.has_plus || self.has_minus || self.has_brackets {
                    let message = "cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together";
                    return Err(failed(message));
                }
                self.n_before_sign = self.n_before;
                self.sign = Some(if self.has_point { Anchor::Behind } else { Anchor::Before });
            }
            Silent::Brackets => {
                if self.sign.is_some() || self.has_plus || self.has_minus {
                    let message = "cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together";
                    return Err(failed(message));
                }
                self.has_brackets = true;
            }
            Silent::Fill => self.is_filled = true,
            Silent::Shift if self.has_point => {
                return Err(failed("cannot use \"V\" and decimal point together"));
            }
            Silent::Shift => self.is_shifted = true,
            Silent::Exponent => self.add_exponent()?,
            Silent::Blank => {
                self.is_blank |=
                    self.n_before == 0 && self.n_behind == 0 && self.zeros_from.is_none();
            }
            Silent::Nothing => {}
        }
        Ok(())
    }

    fn add_exponent(&mut self) -> Result<()> {
        if self.has_exponent {
            return Err(failed("cannot use \"EEEE\" twice"));
        }
        let has_other = self.is_blank
            || self.is_filled
            || self.sign.is_some()
            || self.has_brackets
            || self.has_minus
            || self.has_plus
            || self.is_roman
            || self.is_shifted;
        if has_other {
            return Err(failed("\"EEEE\" is incompatible with other formats"));
        }
        self.has_exponent = true;
        Ok(())
    }
}
