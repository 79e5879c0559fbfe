//! Counts keys of sampled rows.
//!
//! Exact, because a sample is small and bounded by who draws it. Keys are known by the hash the placement uses, so that
//! what is counted as one key is placed as one key.

use super::profile::{HeavyHitter, KeyProfile};
use super::salt::MAX_HEAVY_KEYS;
use crate::exec::router::hash_keys;
use arrow::array::{Array, ArrayRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::Result;
use std::collections::HashMap;

/// Longest label of a key, in characters.
const MAX_LABEL: usize = 40;

/// Counts of the keys seen so far.
#[derive(Debug, Default)]
pub struct KeyCounter {
    n_rows: u64,
    n_null: u64,
    /// Count, and where the key was seen first.
    counts: HashMap<u64, (u64, usize, usize)>,
    /// The key columns, for labels.
    batches: Vec<Vec<ArrayRef>>,
}

impl KeyCounter {
    /// Returns the number of rows added.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Adds rows, given as the columns of their key.
    ///
    /// # Errors
    /// When a column's type has no hash.
    pub fn add(&mut self, keys: Vec<ArrayRef>) -> Result<()> {
        let mut hashes = vec![];
        hash_keys(&keys, &mut hashes)?;
        let nulls: Vec<_> = keys.iter().filter_map(|key| key.logical_nulls()).collect();
        let batch = self.batches.len();
        for (row, hash) in hashes.into_iter().enumerate() {
            self.n_rows += 1;
            if nulls.iter().any(|nulls| nulls.is_null(row)) {
                self.n_null += 1;
                continue;
            }
            self.counts.entry(hash).or_insert((0, batch, row)).0 += 1;
        }
        self.batches.push(keys);
        Ok(())
    }

    /// Returns the profile of what was counted; `n_rows` is the estimated size of the whole input.
    pub fn profile(&self, n_rows: Option<u64>) -> KeyProfile {
        let mut heavy: Vec<_> = self.counts.iter().filter(|(_, seen)| seen.0 > 1).collect();
        heavy.sort_unstable_by_key(|(hash, seen)| (std::cmp::Reverse(seen.0), **hash));
        heavy.truncate(MAX_HEAVY_KEYS);
        let share = |count: u64| count as f64 / self.n_rows.max(1) as f64;
        let heavy = heavy.into_iter().map(|(hash, (count, batch, row))| HeavyHitter {
            hash: *hash,
            label: self.label(*batch, *row),
            share: share(*count),
        });
        KeyProfile {
            n_sampled: self.n_rows,
            n_rows,
            null_share: share(self.n_null),
            rows_per_key: self.rows_per_key(n_rows),
            heavy: heavy.collect(),
            ..KeyProfile::default()
        }
    }

    /// Estimates rows per key of the whole input from how many sampled keys came once and twice (Chao's estimator of
    /// the number of kinds).
    fn rows_per_key(&self, n_rows: Option<u64>) -> f64 {
        let n_rows = n_rows.unwrap_or(self.n_rows).max(self.n_rows) as f64;
        let times = |n: u64| self.counts.values().filter(|seen| seen.0 == n).count() as f64;
        let (once, twice) = (times(1), times(2));
        let n_keys = match twice {
            0.0 if once > 0.0 => n_rows,
            0.0 => self.counts.len() as f64,
            twice => self.counts.len() as f64 + once * once / (2.0 * twice),
        };
        let n_keyed = n_rows * (1.0 - self.n_null as f64 / self.n_rows.max(1) as f64);
        (n_keyed / n_keys.max(1.0)).max(1.0)
    }

    fn label(&self, batch: usize, row: usize) -> String {
        let options = FormatOptions::default();
        let value = |column: &ArrayRef| {
            let formatted = ArrayFormatter::try_new(column.as_ref(), &options);
            formatted.map_or_else(|_| "?".to_string(), |column| column.value(row).to_string())
        };
        let label = self.batches[batch].iter().map(value).collect::<Vec<_>>().join(", ");
        match label.char_indices().nth(MAX_LABEL) {
            Some((end, _)) => format!("{}…", &label[..end]),
            None => label,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn heavy_keys_have_their_share_and_label() {
        let mut counter = KeyCounter::default();
        for part in 0..4 {
            let keys: Int64Array = (0..1_000_i64)
                .map(|row| match row % 10 {
                    0..5 => Some(-7),
                    5 => None,
                    _ => Some(part * 1_000 + row),
                })
                .collect();
            let second = StringArray::from(vec!["x"; 1_000]);
            counter.add(vec![Arc::new(keys), Arc::new(second)]).unwrap();
        }
        let profile = counter.profile(Some(4_000_000));
        assert_eq!(profile.heavy.len(), 1);
        assert_eq!((profile.heavy[0].label.as_str(), profile.heavy[0].share), ("-7, x", 0.5));
        assert!((profile.null_share - 0.1).abs() < 1e-9);
        assert_eq!((profile.n_sampled, profile.n_rows), (4_000, Some(4_000_000)));
    }

    #[test]
    fn unique_keys_count_one_row_each() {
        let mut counter = KeyCounter::default();
        counter.add(vec![Arc::new(Int64Array::from_iter_values(0..5_000))]).unwrap();
        assert!(counter.profile(Some(2_000_000)).heavy.is_empty());
        assert!((counter.profile(Some(2_000_000)).rows_per_key - 1.0).abs() < 0.01);
        let mut counter = KeyCounter::default();
        let few = (0..5_000).map(|row| row % 50);
        counter.add(vec![Arc::new(Int64Array::from_iter_values(few))]).unwrap();
        assert!((counter.profile(Some(2_000_000)).rows_per_key - 40_000.0).abs() < 1.0);
    }
}
