//! `SET saltlake.skew_hint`: heavy keys that the user knows of and a sample may miss.
//!
//! ```text
//! orders.customer_id = (17, 42); country = ('DE')
//! ```
//!
//! A hint says which values of a column are heavy, not that a join is salted: the decision weighs them as if each had been
//! sampled with [`HINTED_SHARE`]. The table's name is for people; plans know columns only. Keys of several columns take no
//! hint, and NULLs need none.

use super::profile::{HeavyHitter, KeyProfile};
use crate::exec::router::hash_keys;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use std::fmt::{self, Display};
use std::str::FromStr;

/// Share of the rows that a hinted key is taken to have, all hinted keys of a column together.
const HINTED_SHARE: f64 = 0.5;

/// Values of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Values {
    column: String,
    values: Vec<String>,
}

/// All hints of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SkewHint {
    text: String,
    columns: Vec<Values>,
}

impl FromStr for SkewHint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let columns = parts.map(parse_part).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { text: text.trim().to_string(), columns })
    }
}

fn parse_part(part: &str) -> Result<Values, String> {
    let wrong = || format!("\"{part}\" is not of the form column = (value, value)");
    let (name, list) = part.split_once('=').ok_or_else(wrong)?;
    let list = list.trim().strip_prefix('(').and_then(|list| list.strip_suffix(')'));
    let column = name.trim().rsplit('.').next().unwrap_or_default().trim_matches('"');
    let values: Vec<_> = list
        .ok_or_else(wrong)?
        .split(',')
        .map(|value| value.trim().trim_matches('\'').to_string())
        .filter(|value| !value.is_empty())
        .collect();
    if column.is_empty() || values.is_empty() {
        return Err(wrong());
    }
    Ok(Values { column: column.to_string(), values })
}

impl Display for SkewHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl datafusion::config::ConfigField for SkewHint {
    fn visit<V: datafusion::config::Visit>(&self, v: &mut V, key: &str, doc: &'static str) {
        v.some(key, self, doc);
    }

    fn set(&mut self, _: &str, value: &str) -> Result<()> {
        *self = value.parse().map_err(DataFusionError::Configuration)?;
        Ok(())
    }
}

impl SkewHint {
    /// Adds what the hint says of a column to its profile. Values that are not of its type say nothing.
    pub fn add_to(&self, profile: &mut KeyProfile, column: &str, data_type: &DataType) {
        let Some(hinted) = self.columns.iter().find(|values| values.column == column) else {
            return;
        };
        let share = HINTED_SHARE / hinted.values.len() as f64;
        for value in &hinted.values {
            let Some(hash) = hash_of(value, data_type) else { continue };
            match profile.heavy.iter_mut().find(|key| key.hash == hash) {
                Some(known) => known.share = known.share.max(share),
                None => profile.heavy.push(HeavyHitter { hash, label: value.clone(), share }),
            }
        }
        profile.heavy.sort_by(|a, b| b.share.total_cmp(&a.share));
        profile.source = format!("hint and {}", profile.source);
    }

    /// Returns whether a column has a hint.
    pub fn names(&self, column: &str) -> bool {
        self.columns.iter().any(|values| values.column == column)
    }
}

fn hash_of(value: &str, data_type: &DataType) -> Option<u64> {
    let value = ScalarValue::try_from_string(value.to_string(), data_type).ok()?;
    let mut hashes = vec![];
    hash_keys(&[value.to_array().ok()?], &mut hashes).ok()?;
    hashes.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_checked_when_they_are_set() {
        let hint: SkewHint = "orders.customer_id = (17, 42); \"country\"=('DE')".parse().unwrap();
        assert!(hint.names("customer_id") && hint.names("country") && !hint.names("orders"));
        assert_eq!("".parse::<SkewHint>().unwrap(), SkewHint::default());
        for wrong in ["customer_id", "customer_id = 17", "= (17)", "k = ()", "k = (1); x"] {
            assert!(wrong.parse::<SkewHint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hinted_key_is_heavy_whatever_was_sampled() {
        let hint: SkewHint = "k = (17, soon)".parse().unwrap();
        let mut profile = KeyProfile::default();
        hint.add_to(&mut profile, "other", &DataType::Int64);
        assert!(profile.heavy.is_empty());
        hint.add_to(&mut profile, "k", &DataType::Int64);
        let labels: Vec<_> =
            profile.heavy.iter().map(|key| (key.label.as_str(), key.share)).collect();
        assert_eq!(labels, [("17", 0.25)]);
    }
}
