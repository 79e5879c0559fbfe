//! Predicts what each partition of a join has to do.
//!
//! In nanoseconds of one thread, from rows and widths. The constants are fitted to `benches/skew` on a release build.
//! A row of a heavy key is much cheaper than another one: its place in the hash table is in the processor's cache.
//! Cold rows are taken as even over the partitions.

use super::{Facts, KeyProfile};
use crate::optimizer::salt_join::Shuffle;
use crate::skew::salt::{HeavyKey, Salt, Side};
use datafusion::common::JoinType;

/// Receiving a row of the build side and putting it in the table.
const BUILD_NS: f64 = 90.0;
/// Receiving a row of the probe side and looking it up, in the cache.
const PROBE_NS: f64 = 8.0;
/// Looking up a row of a key seldom seen, in a large table.
const MISS_NS: f64 = 45.0;
/// Rows of a partition's table from which lookups miss the cache.
const LARGE_TABLE: f64 = 20_000.0;
/// Receiving a row with a NULL key, which is not looked up.
const NULL_NS: f64 = 3.0;
/// Receiving a byte.
const BYTE_NS: f64 = 0.15;
/// Giving a row.
const OUTPUT_NS: f64 = 2.0;
/// Copying a byte of a row that is given.
const OUTPUT_BYTE_NS: f64 = 0.05;
/// Finding the bucket of a row of a salted side, over its plain hash.
const BUCKET_NS: f64 = 6.0;

/// Work of each partition.
pub(super) struct Work(Vec<f64>);

impl Work {
    /// Returns the time until the last partition is done.
    pub fn time(&self, n_threads: usize) -> f64 {
        self.max().max(self.sum() / n_threads.max(1) as f64)
    }

    pub fn sum(&self) -> f64 {
        self.0.iter().sum()
    }

    fn max(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }

    /// Returns maximum over mean.
    pub fn skew(&self) -> f64 {
        let mean = self.sum() / self.0.len().max(1) as f64;
        if mean > 0.0 { self.max() / mean } else { 1.0 }
    }
}

/// One side of the join.
struct Input<'a> {
    profile: Option<&'a KeyProfile>,
    n_rows: f64,
    row_bytes: f64,
}

impl Input<'_> {
    /// Rows that have a key of this hash: as sampled, or as many as an ordinary key has.
    fn rows_of(&self, hash: u64) -> f64 {
        let Some(profile) = self.profile else { return 1.0 };
        match profile.heavy.iter().find(|key| key.hash == hash) {
            Some(key) => key.share * self.n_rows,
            // Not among the sampled: it has at most about as many rows as two sampled ones stand for.
            None => profile
                .rows_per_key
                .min(2.0 * self.n_rows / profile.n_sampled.max(1) as f64)
                .max(1.0),
        }
    }

    fn null_rows(&self) -> f64 {
        self.profile.map_or(0.0, |profile| profile.null_share * self.n_rows)
    }

    fn rows_per_key(&self) -> f64 {
        self.profile.map_or(1.0, |profile| profile.rows_per_key)
    }
}

/// Both sides, and what a row costs.
pub(super) struct Inputs<'a> {
    left: Input<'a>,
    right: Input<'a>,
    join_type: JoinType,
    output_ns: f64,
    miss_ns: f64,
}

impl<'a> Inputs<'a> {
    pub fn new(
        facts: &Facts<'a>,
        join_type: JoinType,
        shuffle: &Shuffle,
        n_partitions: usize,
    ) -> Self {
        let input = |profile: Option<&'a KeyProfile>, idx: usize| {
            let estimate = facts.estimates[idx];
            let sampled = profile.and_then(|profile| profile.n_rows);
            let n_rows = sampled.or(estimate.n_rows).unwrap_or_default() as f64;
            Input { profile, n_rows, row_bytes: estimate.row_bytes }
        };
        let (left, right) = (input(facts.left, 0), input(facts.right, 1));
        let bytes = match join_type {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left.row_bytes,
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right.row_bytes,
            _ => left.row_bytes + right.row_bytes,
        };
        let output_ns = OUTPUT_NS + OUTPUT_BYTE_NS * bytes + shuffle.above_ns;
        let n_in_table = left.n_rows / n_partitions.max(1) as f64;
        let miss_ns = MISS_NS * (n_in_table / LARGE_TABLE).min(1.0);
        Self { left, right, join_type, output_ns, miss_ns }
    }

    pub fn rows_of(&self, hash: u64) -> (u64, u64) {
        (self.left.rows_of(hash) as u64, self.right.rows_of(hash) as u64)
    }

    pub fn null_rows(&self) -> f64 {
        self.left.null_rows() + self.right.null_rows()
    }

    /// Work of `left` and `right` rows of which all `pairs` match.
    fn work(&self, left: f64, right: f64, pairs: f64) -> f64 {
        let given = match self.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left,
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right,
            _ => pairs,
        };
        left * (BUILD_NS + BYTE_NS * self.left.row_bytes)
            + right * (PROBE_NS + BYTE_NS * self.right.row_bytes)
            + given * self.output_ns
    }

    pub fn key_work(&self, key: &HeavyKey) -> f64 {
        let (left, right) = (key.left_rows as f64, key.right_rows as f64);
        self.work(left, right, left * right)
    }

    /// Work of rows that are in none of the keys.
    fn cold_work(&self, keys: &[HeavyKey]) -> f64 {
        let rest = |input: &Input<'_>, heavy: u64| {
            (input.n_rows - input.null_rows() - heavy as f64).max(0.0)
        };
        let left = rest(&self.left, keys.iter().map(|key| key.left_rows).sum());
        let right = rest(&self.right, keys.iter().map(|key| key.right_rows).sum());
        // Each row finds the rows of one ordinary key; the side with more keys has some that find none.
        let ordinary = |input: &Input<'_>, rows: f64| {
            let n_keys = (input.n_rows / input.rows_per_key()).max(1.0);
            (rows / n_keys).max(1.0)
        };
        let pairs = (right * ordinary(&self.left, left)).min(left * ordinary(&self.right, right));
        self.work(left, right, pairs.max(0.0)) + right * self.miss_ns
    }

    fn null_work(&self, side: Side) -> f64 {
        let input = match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        };
        input.null_rows() * (NULL_NS + BYTE_NS * input.row_bytes)
    }

    pub fn total_work(&self) -> f64 {
        let heavy: Vec<_> = [self.left.profile, self.right.profile]
            .into_iter()
            .flatten()
            .flat_map(|profile| &profile.heavy)
            .map(|key| {
                let (left_rows, right_rows) = self.rows_of(key.hash);
                HeavyKey { hash: key.hash, left_rows, right_rows }
            })
            .fold(vec![], |mut keys: Vec<HeavyKey>, key| {
                if keys.iter().all(|known| known.hash != key.hash) {
                    keys.push(key);
                }
                keys
            });
        self.cold_work(&heavy) + heavy.iter().map(|key| self.key_work(key)).sum::<f64>()
    }

    /// The work without salt: a key is where its hash leads.
    pub fn plain_work(&self, salt: &Salt) -> Work {
        let n = salt.n_partitions;
        let mut work = vec![self.cold_work(&salt.heavy) / n as f64; n];
        for key in &salt.heavy {
            work[(key.hash % n as u64) as usize] += self.key_work(key);
        }
        // All NULLs have one hash.
        work[0] += self.null_work(Side::Left) + self.null_work(Side::Right);
        Work(work)
    }

    /// The work with salt, what it costs to find the buckets included.
    pub fn salted_work(&self, salt: &Salt) -> Work {
        let n = salt.n_partitions;
        let nulls = self.null_work(Side::Left) + self.null_work(Side::Right);
        let finding = BUCKET_NS * (self.left.n_rows + self.right.n_rows);
        let even = (self.cold_work(&salt.heavy) + nulls + finding) / n as f64;
        let mut work = vec![even; n];
        for key in &salt.heavy {
            let grid = salt.grid(key);
            let left = key.left_rows as f64 / grid.rows as f64;
            let right = key.right_rows as f64 / grid.columns as f64;
            let each = self.work(left, right, left * right);
            for cell in 0..grid.rows * grid.columns {
                work[(cell + (key.hash % n as u64) as usize) % n] += each;
            }
        }
        Work(work)
    }
}
