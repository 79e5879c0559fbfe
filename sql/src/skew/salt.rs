//! Where the rows of a salted join go: one description, shared by both inputs and by every task.
//!
//! Made by the decision, carried in the plan, read by [`crate::exec`]. The join stays on its own keys; only the placement
//! of rows changes. Each heavy key gets a grid of salt buckets, one partition each:
//!
//! ```text
//!                    column 0   column 1   column 2     a left row goes round the rows of the grid and is
//!           row 0    p3         p4         p5           copied to every column of its row;
//!           row 1    p6         p7         p0           a right row goes round the columns and is copied to
//!                                                       every row of its column
//! ```
//!
//! So each pair of a left and a right row meets in exactly one bucket. A grid of one column copies no left row, a grid of
//! one row copies no right row. All other keys go where the hash of the key says.
//! A key is known by its hash: two keys with one hash are placed alike on both sides, which is right, only less useful.

use datafusion::common::{JoinType, Result, internal_err};

/// Heavy keys a salt may hold.
pub const MAX_HEAVY_KEYS: usize = 64;

/// Version of the wire form.
const VERSION: u8 = 1;

/// One of the two inputs of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The build side of a hash join.
    Left,
    /// The probe side of a hash join.
    Right,
}

/// The inputs whose rows of heavy keys may be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Copies {
    /// Neither: only rows with NULL keys are spread.
    None,
    /// The left one; rows of the right one are spread.
    Left,
    /// The right one; rows of the left one are spread.
    Right,
    /// Both, by the shape of each key's grid.
    Both,
}

impl Copies {
    /// Returns what a join of this type allows.
    ///
    /// A copied row is seen by several partitions, none of which knows whether it found a match elsewhere. So only rows
    /// that the join neither emits nor drops on their own account may be copied.
    pub fn allowed(join_type: JoinType) -> Self {
        match join_type {
            JoinType::Inner => Self::Both,
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                Self::Right
            }
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                Self::Left
            }
            JoinType::Full => Self::None,
        }
    }

    /// Returns whether rows of `side` may be copied.
    pub fn of(self, side: Side) -> bool {
        match side {
            Side::Left => matches!(self, Self::Left | Self::Both),
            Side::Right => matches!(self, Self::Right | Self::Both),
        }
    }

    /// Returns whether everything `self` copies is allowed by `limit`.
    pub fn is_within(self, limit: Self) -> bool {
        [Side::Left, Side::Right].into_iter().all(|side| limit.of(side) || !self.of(side))
    }
}

/// A key with many rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HeavyKey {
    /// The hash of the key's values, as [`crate::exec`] computes it.
    pub hash: u64,
    /// Rows of the left input that have it, estimated.
    pub left_rows: u64,
    /// Rows of the right input that have it, estimated.
    pub right_rows: u64,
}

/// The buckets of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Groups the left rows go round; copies of each right row.
    pub rows: usize,
    /// Groups the right rows go round; copies of each left row.
    pub columns: usize,
}

impl Grid {
    /// Returns how many groups the rows of `side` go round.
    pub fn groups(self, side: Side) -> usize {
        match side {
            Side::Left => self.rows,
            Side::Right => self.columns,
        }
    }

    /// Returns in how many buckets each row of `side` is.
    pub fn copies(self, side: Side) -> usize {
        match side {
            Side::Left => self.columns,
            Side::Right => self.rows,
        }
    }

    /// Returns the bucket of one copy of a row of `side`, counted over the grid.
    pub fn cell(self, side: Side, group: usize, copy: usize) -> usize {
        match side {
            Side::Left => group * self.columns + copy,
            Side::Right => copy * self.columns + group,
        }
    }
}

/// The placement of the rows of one join.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Salt {
    /// Partitions of the join over all its tasks.
    pub n_partitions: usize,
    /// Inputs whose heavy rows are copied.
    pub copies: Copies,
    /// Whether rows with a NULL in their key go round all partitions: right where NULL equals nothing.
    pub spread_nulls: bool,
    /// The heavy keys, no hash twice.
    pub heavy: Vec<HeavyKey>,
}

impl Salt {
    /// Returns the buckets of a heavy key.
    pub fn grid(&self, key: &HeavyKey) -> Grid {
        let n = self.n_partitions.max(1);
        match self.copies {
            Copies::None => Grid { rows: 1, columns: 1 },
            Copies::Left => Grid { rows: 1, columns: n },
            Copies::Right => Grid { rows: n, columns: 1 },
            Copies::Both => best_grid(n, key.left_rows, key.right_rows),
        }
    }

    /// Returns whether any row of `side` is copied, or may be once the number of partitions is known.
    pub fn copies_rows_of(&self, side: Side) -> bool {
        self.copies.of(side) && !self.heavy.is_empty()
    }

    /// Returns the same placement over another number of partitions.
    pub fn over(&self, n_partitions: usize) -> Self {
        Self { n_partitions, ..self.clone() }
    }

    /// Returns a bound for the rows that copies add, as estimated.
    pub fn replicated_rows(&self) -> u64 {
        let extra = |rows: u64, copies: usize| rows.saturating_mul(copies as u64 - 1);
        let of_key = |key: &HeavyKey| {
            let grid = self.grid(key);
            extra(key.left_rows, grid.columns).saturating_add(extra(key.right_rows, grid.rows))
        };
        self.heavy.iter().map(of_key).fold(0, u64::saturating_add)
    }

    /// Returns the wire form, for one side.
    pub fn encode(&self, side: Side) -> Vec<u8> {
        let copies = match self.copies {
            Copies::None => 0,
            Copies::Left => 1,
            Copies::Right => 2,
            Copies::Both => 3,
        };
        let mut bytes =
            vec![VERSION, u8::from(side == Side::Right), copies, u8::from(self.spread_nulls)];
        bytes.extend((self.n_partitions as u64).to_le_bytes());
        for key in &self.heavy {
            for number in [key.hash, key.left_rows, key.right_rows] {
                bytes.extend(number.to_le_bytes());
            }
        }
        bytes
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// When the bytes are not what [`Salt::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Side)> {
        let [VERSION, side @ 0..=1, copies @ 0..=3, nulls @ 0..=1, numbers @ ..] = bytes else {
            return internal_err!("not a salt: {} bytes", bytes.len());
        };
        let (words, rest) = numbers.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let [n_partitions, keys @ ..] = words.as_slice() else {
            return internal_err!("a salt without partitions");
        };
        let (keys, odd) = keys.as_chunks::<3>();
        if !rest.is_empty() || !odd.is_empty() || *n_partitions == 0 || keys.len() > MAX_HEAVY_KEYS
        {
            return internal_err!("a salt of {} bytes is damaged", bytes.len());
        }
        let heavy = |[hash, left_rows, right_rows]: &[u64; 3]| HeavyKey {
            hash: *hash,
            left_rows: *left_rows,
            right_rows: *right_rows,
        };
        let salt = Self {
            n_partitions: usize::try_from(*n_partitions).unwrap_or(usize::MAX),
            copies: [Copies::None, Copies::Left, Copies::Right, Copies::Both][usize::from(*copies)],
            spread_nulls: *nulls == 1,
            heavy: keys.iter().map(heavy).collect(),
        };
        Ok((salt, if *side == 0 { Side::Left } else { Side::Right }))
    }
}

/// Returns the grid of at most `n` buckets in which the fullest one has the least to do: rows of both sides and their
/// pairs.
fn best_grid(n: usize, left_rows: u64, right_rows: u64) -> Grid {
    let (left, right) = (left_rows as f64, right_rows as f64);
    let load = |grid: Grid| {
        let (l, r) = (left / grid.rows as f64, right / grid.columns as f64);
        l + r + l * r
    };
    let grids = (1..=n).map(|rows| Grid { rows, columns: n / rows });
    let best = grids.min_by(|a, b| load(*a).total_cmp(&load(*b)));
    best.unwrap_or(Grid { rows: 1, columns: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn salt(n_partitions: usize, copies: Copies) -> Salt {
        let key = |hash, left_rows, right_rows| HeavyKey { hash, left_rows, right_rows };
        let heavy = vec![key(7, 1, 1_000_000), key(u64::MAX, 9_000, 1), key(0, 5_000, 5_000)];
        Salt { n_partitions, copies, spread_nulls: true, heavy }
    }

    #[test]
    fn every_pair_meets_in_exactly_one_bucket() {
        for n in [1, 2, 3, 4, 7, 8, 16, 30] {
            for copies in [Copies::None, Copies::Left, Copies::Right, Copies::Both] {
                let salt = salt(n, copies);
                for grid in salt.heavy.iter().map(|key| salt.grid(key)) {
                    assert!(grid.rows * grid.columns <= n.max(1), "{grid:?} of {n}");
                    for (left, right) in
                        (0..grid.rows).flat_map(|l| (0..grid.columns).map(move |r| (l, r)))
                    {
                        let cells = |side, group| {
                            (0..grid.copies(side)).map(move |copy| grid.cell(side, group, copy))
                        };
                        let met = cells(Side::Left, left)
                            .filter(|cell| cells(Side::Right, right).any(|other| other == *cell))
                            .count();
                        assert_eq!(met, 1, "{grid:?}, left group {left}, right group {right}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_grid_copies_the_side_with_few_rows() {
        let salt = salt(16, Copies::Both);
        let grids: Vec<_> = salt.heavy.iter().map(|key| salt.grid(key)).collect();
        assert_eq!(grids[0], Grid { rows: 1, columns: 16 });
        assert_eq!(grids[1], Grid { rows: 16, columns: 1 });
        assert_eq!(grids[2], Grid { rows: 4, columns: 4 });
        assert_eq!(salt.replicated_rows(), 15 + 15 + 2 * 5_000 * 3);
    }

    #[test]
    fn the_wire_form_comes_back_and_damage_is_noticed() {
        for copies in [Copies::None, Copies::Left, Copies::Right, Copies::Both] {
            for side in [Side::Left, Side::Right] {
                let bytes = salt(12, copies).encode(side);
                assert_eq!(Salt::decode(&bytes).unwrap(), (salt(12, copies), side));
                assert!(Salt::decode(&bytes[..bytes.len() - 1]).is_err());
                assert!(Salt::decode(&bytes[1..]).is_err());
            }
        }
        assert!(Salt::decode(&[]).is_err());
    }

    #[test]
    fn a_join_type_copies_only_rows_it_does_not_answer_for() {
        assert!(Copies::Right.is_within(Copies::allowed(JoinType::LeftAnti)));
        assert!(!Copies::Left.is_within(Copies::allowed(JoinType::LeftAnti)));
        assert!(!Copies::Both.is_within(Copies::allowed(JoinType::RightSemi)));
        assert!(!Copies::Left.is_within(Copies::allowed(JoinType::Full)));
        assert!(Copies::None.is_within(Copies::allowed(JoinType::Full)));
    }
}
