//! Finds the rows of heavy keys in a batch and says which value under the hash leads to which partition.
//!
//! Used by [`super::bucket`] and [`super::replicate`], on both sides of a join. The shuffle hashes one number a row: the
//! hash of the key for most rows, or a number that was searched for because it leads to the wanted partition.

use crate::skew::salt::{Grid, Salt, Side};
use arrow::array::{Array, ArrayRef, UInt64Array};
use arrow::buffer::NullBuffer;
use datafusion::common::hash_utils::create_hashes;
use datafusion::common::{Result, internal_err};
use datafusion::physical_plan::repartition::REPARTITION_RANDOM_STATE;
use std::sync::Arc;

/// Partitions a router can serve; far above any cluster, so that a damaged plan cannot ask for endless work.
const MAX_PARTITIONS: usize = 1 << 16;

/// Rows of a heavy key that go to one bucket before the next one has its turn: neighbours stay together.
const MIN_RUN: usize = 8;

/// One row to place by turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Its index in the batch.
    pub row: u32,
    /// Which heavy key; one past the last for a NULL key.
    pub key: u32,
    /// Group of its grid.
    pub group: u32,
}

/// The placement of the rows of one side.
#[derive(Debug)]
pub(crate) struct Router {
    salt: Salt,
    side: Side,
    /// Open addressing on the hash; a slot holds the key's index + 1.
    slots: Vec<(u64, u32)>,
    mask: u64,
    grids: Vec<Grid>,
    /// For each partition a number whose hash leads there.
    values: Vec<u64>,
}

impl Router {
    /// Prepares the placement of `side`.
    pub fn new(salt: Salt, side: Side) -> Result<Self> {
        if !(1..=MAX_PARTITIONS).contains(&salt.n_partitions) {
            return internal_err!("a salt over {} partitions", salt.n_partitions);
        }
        let n_slots = (salt.heavy.len() * 4).next_power_of_two().max(8);
        let mask = n_slots as u64 - 1;
        let mut slots = vec![(0, 0); n_slots];
        for (idx, key) in salt.heavy.iter().enumerate() {
            let mut slot = (key.hash & mask) as usize;
            while slots[slot].1 != 0 {
                slot = (slot + 1) % n_slots;
            }
            slots[slot] = (key.hash, idx as u32 + 1);
        }
        let mut grids: Vec<_> = salt.heavy.iter().map(|key| salt.grid(key)).collect();
        // Rows with NULL keys match nothing, so they go round all partitions without copies.
        let n = salt.n_partitions;
        grids.push(match side {
            Side::Left => Grid { rows: n, columns: 1 },
            Side::Right => Grid { rows: 1, columns: n },
        });
        let values = values_by_partition(n)?;
        Ok(Self { salt, side, slots, mask, grids, values })
    }

    /// Returns the side it places.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Returns the placement.
    pub fn salt(&self) -> &Salt {
        &self.salt
    }

    /// Returns in how many buckets a placed row is.
    pub fn copies(&self, key: u32) -> usize {
        if key as usize == self.salt.heavy.len() {
            1
        } else {
            self.grids[key as usize].copies(self.side)
        }
    }

    /// Returns the partition of one copy of a placed row.
    pub fn partition(&self, placed: Placed, copy: usize) -> usize {
        let idx = placed.key as usize;
        let cell = self.grids[idx].cell(self.side, placed.group as usize, copy);
        // Keys start at different partitions, so that buckets a grid leaves over are not always the same.
        let start = self.salt.heavy.get(idx).map_or(0, |key| key.hash >> 32);
        (cell + (start % self.salt.n_partitions as u64) as usize) % self.salt.n_partitions
    }

    /// Writes for each placed row the number that leads its first copy to its partition.
    pub fn write_first(&self, placed: &[Placed], values: &mut [u64]) {
        // Rows of a run follow each other: the last group of each key is remembered.
        let mut last = vec![(u32::MAX, 0); self.grids.len()];
        for placed in placed {
            let (group, value) = &mut last[placed.key as usize];
            if *group != placed.group {
                (*group, *value) = (placed.group, self.value(self.partition(*placed, 0)));
            }
            values[placed.row as usize] = *value;
        }
    }

    /// Returns the number to hash for a partition.
    pub fn value(&self, partition: usize) -> u64 {
        self.values[partition]
    }

    /// Returns the rows that are placed by turn, in order; `hashes` gets the hash of each row's key.
    ///
    /// `turn` is where the round starts; it is moved by the groups used.
    pub fn place(
        &self,
        keys: &[ArrayRef],
        hashes: &mut Vec<u64>,
        turn: &mut u64,
    ) -> Result<Vec<Placed>> {
        hash_keys(keys, hashes)?;
        let mut placed = vec![];
        if !self.salt.heavy.is_empty() {
            for (row, hash) in hashes.iter().enumerate() {
                let found = self.find(*hash);
                if found != 0 {
                    placed.push(Placed { row: row as u32, key: found - 1, group: 0 });
                }
            }
        }
        if self.salt.spread_nulls {
            self.add_nulls(keys, &mut placed);
        }
        self.take_turns(&mut placed, turn);
        Ok(placed)
    }

    #[inline]
    fn find(&self, hash: u64) -> u32 {
        let mut slot = (hash & self.mask) as usize;
        loop {
            let (found, idx) = self.slots[slot];
            if idx == 0 || found == hash {
                return idx;
            }
            slot = (slot + 1) & self.mask as usize;
        }
    }

    /// Rows with a NULL in their key are not heavy rows, whatever their hash.
    fn add_nulls(&self, keys: &[ArrayRef], placed: &mut Vec<Placed>) {
        let nulls = keys.iter().filter_map(|key| key.logical_nulls());
        let nulls = nulls.reduce(|a, b| NullBuffer::union(Some(&a), Some(&b)).unwrap_or(a));
        let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else { return };
        let key = self.salt.heavy.len() as u32;
        let is_null = |row: u32| nulls.is_null(row as usize);
        placed.retain(|placed| !is_null(placed.row));
        let n_rows = nulls.len() as u32;
        placed.extend((0..n_rows).filter(|row| is_null(*row)).map(|row| Placed {
            row,
            key,
            group: 0,
        }));
    }

    fn take_turns(&self, placed: &mut [Placed], turn: &mut u64) {
        if placed.is_empty() {
            return;
        }
        let mut counts = vec![0_usize; self.grids.len()];
        placed.iter().for_each(|placed| counts[placed.key as usize] += 1);
        let runs = counts.iter().map(|count| Run {
            n_left: 0,
            n_rows: (count / self.salt.n_partitions).max(MIN_RUN),
            next: *turn,
            group: 0,
        });
        let mut runs: Vec<_> = runs.collect();
        for placed in placed.iter_mut() {
            let key = placed.key as usize;
            let run = &mut runs[key];
            if run.n_left == 0 {
                run.group = (run.next % self.grids[key].groups(self.side) as u64) as u32;
                (run.n_left, run.next) = (run.n_rows, run.next + 1);
            }
            run.n_left -= 1;
            placed.group = run.group;
        }
        *turn = runs.iter().map(|run| run.next).max().unwrap_or(*turn);
    }
}

/// Rows of one key that go to one group of its grid. What needs a division is done once a run, not once a row.
struct Run {
    n_left: usize,
    n_rows: usize,
    /// The turn of the next run.
    next: u64,
    group: u32,
}

/// Computes the hash of each row's key: what heavy keys are known by.
pub(crate) fn hash_keys(keys: &[ArrayRef], hashes: &mut Vec<u64>) -> Result<()> {
    hashes.clear();
    hashes.resize(keys.first().map_or(0, |key| key.len()), 0);
    create_hashes(keys, REPARTITION_RANDOM_STATE.random_state(), hashes.as_mut_slice())?;
    Ok(())
}

/// Searches for each partition a number that a shuffle over `n` partitions sends there.
fn values_by_partition(n: usize) -> Result<Vec<u64>> {
    let mut found: Vec<Option<u64>> = vec![None; n];
    let mut missing = n;
    let mut start = 0_u64;
    let step = (n as u64 * 4).max(64);
    while missing > 0 {
        let candidates: ArrayRef = Arc::new(UInt64Array::from_iter_values(start..start + step));
        let mut hashes = vec![];
        hash_keys(&[candidates], &mut hashes)?;
        for (value, hash) in (start..).zip(hashes) {
            let slot = &mut found[(hash % n as u64) as usize];
            if slot.is_none() {
                *slot = Some(value);
                missing -= 1;
            }
        }
        start += step;
    }
    Ok(found.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skew::salt::{Copies, HeavyKey};
    use arrow::array::{Int64Array, RecordBatch};
    use datafusion::physical_expr::expressions::Column;
    use datafusion::physical_plan::metrics::Time;
    use datafusion::physical_plan::repartition::BatchPartitioner;

    fn hash_of(key: ArrayRef) -> u64 {
        let mut hashes = vec![];
        hash_keys(&[key], &mut hashes).unwrap();
        hashes[0]
    }

    fn router(n_partitions: usize, heavy: &[i64], side: Side) -> Router {
        let key = |value: &i64| HeavyKey {
            hash: hash_of(Arc::new(Int64Array::from(vec![*value]))),
            left_rows: 1,
            right_rows: 1,
        };
        let heavy = heavy.iter().map(key).collect();
        let salt = Salt { n_partitions, copies: Copies::Right, spread_nulls: true, heavy };
        Router::new(salt, side).unwrap()
    }

    /// The one fact about DataFusion all of this rests on.
    #[test]
    fn a_shuffle_sends_each_value_to_its_partition() {
        for n in [1, 2, 3, 7, 8, 64, 257] {
            let values = values_by_partition(n).unwrap();
            let column: ArrayRef = Arc::new(UInt64Array::from(values));
            let batch = RecordBatch::try_from_iter([("v", column)]).unwrap();
            let expr = Arc::new(Column::new("v", 0)) as _;
            let mut shuffle =
                BatchPartitioner::new_hash_partitioner(vec![expr], n, Time::new()).unwrap();
            let mut seen = 0;
            shuffle
                .partition(batch.clone(), |partition, part| {
                    assert_eq!(
                        (part.num_rows(), part.column(0).as_ref()),
                        (1, batch.column(0).slice(partition, 1).as_ref())
                    );
                    seen += 1;
                    Ok(())
                })
                .unwrap();
            assert_eq!(seen, n);
        }
    }

    #[test]
    fn heavy_rows_and_nulls_go_round_in_runs() {
        let router = router(4, &[7, 9], Side::Left);
        let keys: Vec<Option<i64>> = (0..1000)
            .map(|i| match i % 5 {
                0 => None,
                1 => Some(9),
                2 => Some(i),
                _ => Some(7),
            })
            .collect();
        let n_of = |value: Option<i64>| keys.iter().filter(|key| **key == value).count();
        let column: ArrayRef = Arc::new(Int64Array::from(keys.clone()));
        let (mut hashes, mut turn) = (vec![], 3);
        let placed = router.place(&[column], &mut hashes, &mut turn).unwrap();
        assert_eq!(placed.len(), n_of(Some(7)) + n_of(Some(9)) + n_of(None));
        for key in 0..3 {
            let partitions = placed.iter().filter(|placed| placed.key == key);
            let mut counts = [0_usize; 4];
            partitions.for_each(|placed| counts[router.partition(*placed, 0)] += 1);
            assert!(counts.iter().filter(|count| **count > 0).count() >= 2, "{counts:?}");
        }
        assert!(placed.iter().all(|placed| router.copies(placed.key) == 1));
        assert!(turn > 3);
    }

    #[test]
    fn the_copied_side_reaches_every_partition_once() {
        let router = router(5, &[7], Side::Right);
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 7, 2]));
        let (mut hashes, mut turn) = (vec![], 0);
        let placed = router.place(&[column], &mut hashes, &mut turn).unwrap();
        assert_eq!(placed.len(), 1);
        assert_eq!((placed[0].row, router.copies(placed[0].key)), (1, 5));
        let mut partitions: Vec<_> = (0..5).map(|copy| router.partition(placed[0], copy)).collect();
        partitions.sort_unstable();
        assert_eq!(partitions, [0, 1, 2, 3, 4]);
    }
}
