//! What is known of the keys of a join's input, and who finds it out.
//!
//! `saltlake` implements [`KeyProfiles`] with a bounded sample and a cache; the decision only reads profiles, so it is
//! tested without data.

use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

/// A key that was seen often.
#[derive(Debug, Clone, PartialEq)]
pub struct HeavyHitter {
    /// The hash of its values, as [`crate::exec`] computes it.
    pub hash: u64,
    /// Its values as people read them.
    pub label: String,
    /// Its share of the rows, 0 to 1.
    pub share: f64,
}

/// Counts of the keys of one input.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeyProfile {
    /// Rows that were looked at.
    pub n_sampled: u64,
    /// Rows of the input, estimated (below a join: rows before it); `None` when not known.
    pub n_rows: Option<u64>,
    /// Share of the rows with a NULL in their key.
    pub null_share: f64,
    /// Rows for each key, on average, estimated.
    pub rows_per_key: f64,
    /// The most frequent keys without NULLs, the heaviest first. Keys seen once are not among them.
    pub heavy: Vec<HeavyHitter>,
    /// Where this is from, such as "sample of 65536 rows".
    pub source: String,
    /// What it cost.
    pub took: Duration,
}

/// Finds profiles.
pub trait KeyProfiles: Send + Sync {
    /// Returns the profile of the columns `keys` of what `input` gives; `None` when it cannot be had cheaply.
    ///
    /// # Errors
    /// When reading a sample fails.
    fn profile<'a>(
        &'a self,
        input: &'a Arc<dyn ExecutionPlan>,
        keys: &'a [usize],
    ) -> BoxFuture<'a, Result<Option<Arc<KeyProfile>>>>;
}
