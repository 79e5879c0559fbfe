//! Which worker reads which file: the same one from query to query, so that the footer it knows is of use again.
//!
//! Called by [`super::splits`]. Each file ranks the workers by a hash of both (rendezvous hashing): when a worker leaves,
//! only its files find a new one, and when one joins it takes an equal part from each. Balance goes first: a file goes to
//! the worker it ranks highest of those that read no more than a tenth above the mean then, and one that fits nowhere is
//! cut, where it can be. Large files are placed first, so small ones move for them.
//!
//! Limit: a join of two scans in one stage sends its tasks where the larger one is warm.

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash, Hasher};
use url::Url;

/// A task reads at most the mean of all tasks and this part of it, before its files go elsewhere.
const MAX_ABOVE_MEAN: u64 = 10;

/// A file, or the part of one that is to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    pub(super) hash: u64,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Unit {
    fn bytes(&self) -> u64 {
        self.end - self.start
    }

    /// The tasks, the one whose worker it likes best first.
    fn preferences(&self, seeds: &[u64]) -> Vec<usize> {
        let mut tasks: Vec<usize> = (0..seeds.len()).collect();
        tasks.sort_unstable_by_key(|task| (Reverse(mix(seeds[*task] ^ mix(self.hash))), *task));
        tasks
    }
}

/// What one task reads of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    pub(super) unit: usize,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) task: usize,
}

/// Returns what a file is known by in every query.
pub(super) fn file_hash(store: &str, path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (store, path).hash(&mut hasher);
    hasher.finish()
}

/// The bits of a number, each of which depends on all of them (the finalizer of SplitMix64).
fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// Returns the workers that read these units in `n_tasks` tasks, in the order of the tasks: all of them, or those that
/// most bytes prefer.
pub(super) fn choose(mut workers: Vec<Url>, units: &[Unit], n_tasks: usize) -> Vec<Url> {
    workers.sort_unstable();
    if n_tasks >= workers.len() {
        return workers;
    }
    let seeds = seeds(&workers, workers.len());
    let mut bytes = vec![0_u64; workers.len()];
    for unit in units {
        let best = (0..seeds.len()).max_by_key(|worker| mix(seeds[*worker] ^ mix(unit.hash)));
        if let Some(best) = best {
            // An empty file is worth a footer.
            bytes[best] += unit.bytes().max(1);
        }
    }
    let mut ranked: Vec<(u64, Url)> = bytes.into_iter().zip(workers).collect();
    // Equal ones keep the order of their addresses.
    ranked.sort_by_key(|(bytes, _)| Reverse(*bytes));
    let mut chosen: Vec<Url> = ranked.into_iter().take(n_tasks).map(|(_, url)| url).collect();
    chosen.sort_unstable();
    chosen
}

/// Returns what the workers of the tasks are known by, one for each task. Where there are more tasks than workers, or no
/// worker is known, tasks differ by their number.
pub(super) fn seeds(workers: &[Url], n_tasks: usize) -> Vec<u64> {
    let seed = |task: usize| {
        let mut hasher = DefaultHasher::new();
        let n_workers = workers.len().max(1);
        (workers.get(task % n_workers).map(Url::as_str), task / n_workers).hash(&mut hasher);
        hasher.finish()
    };
    (0..n_tasks).map(seed).collect()
}

/// Gives all units to the tasks with these seeds; no piece of a cut one is smaller than `min_piece_bytes`. The parts come
/// in the order of the units.
pub(super) fn assign(units: &[Unit], seeds: &[u64], min_piece_bytes: u64) -> Vec<Part> {
    let total: u64 = units.iter().map(Unit::bytes).sum();
    let mean = total.div_ceil(seeds.len().max(1) as u64);
    let mut filling = Filling {
        loads: vec![0; seeds.len()],
        parts: Vec::with_capacity(units.len()),
        levels: [mean, mean + mean / MAX_ABOVE_MEAN],
        min_piece_bytes,
    };
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_unstable_by_key(|idx| (Reverse(units[*idx].bytes()), units[*idx].hash, *idx));
    for idx in order {
        filling.place(idx, &units[idx], &units[idx].preferences(seeds));
    }
    filling.parts.sort_unstable();
    filling.parts
}

/// Tasks being filled.
struct Filling {
    /// Bytes of each task so far.
    loads: Vec<u64>,
    parts: Vec<Part>,
    /// Bytes that a task should have, and may have.
    levels: [u64; 2],
    min_piece_bytes: u64,
}

impl Filling {
    fn place(&mut self, idx: usize, unit: &Unit, preferences: &[usize]) {
        let most = self.levels[1];
        let fits = |task: &&usize| self.loads[**task] + unit.bytes() <= most;
        if let Some(task) = preferences.iter().find(fits) {
            return self.put(Part { unit: idx, start: unit.start, end: unit.end, task: *task });
        }
        let mut start = unit.start;
        for level in self.levels {
            for &task in preferences {
                let left = unit.end - start;
                let taken = level.saturating_sub(self.loads[task]).min(left);
                let rest = left - taken;
                if taken >= self.min_piece_bytes && (rest == 0 || rest >= self.min_piece_bytes) {
                    self.put(Part { unit: idx, start, end: start + taken, task });
                    start += taken;
                    if rest == 0 {
                        return;
                    }
                }
            }
        }
        // The first of equal ones is the one it likes best.
        if let Some(&task) = preferences.iter().min_by_key(|task| self.loads[**task]) {
            self.put(Part { unit: idx, start, end: unit.end, task });
        }
    }

    fn put(&mut self, part: Part) {
        self.loads[part.task] += part.end - part.start;
        self.parts.push(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn workers(names: &[&str]) -> Vec<Url> {
        names.iter().map(|name| Url::parse(&format!("http://{name}:1")).unwrap()).collect()
    }

    fn files(n_files: usize, bytes: impl Fn(usize) -> u64) -> Vec<Unit> {
        let unit = |idx: usize| Unit {
            hash: file_hash("s3://lake/", &format!("t/{idx:05}.parquet")),
            start: 0,
            end: bytes(idx),
        };
        (0..n_files).map(unit).collect()
    }

    /// The worker of each file.
    fn placed(names: &[&str], files: &[Unit]) -> Vec<Url> {
        let workers = choose(workers(names), files, names.len());
        let parts = assign(files, &seeds(&workers, names.len()), u64::MAX);
        assert_eq!(parts.len(), files.len());
        parts.iter().map(|part| workers[part.task].clone()).collect()
    }

    fn loads(files: &[Unit], n_tasks: usize, min_piece_bytes: u64) -> Vec<u64> {
        let mut loads = vec![0; n_tasks];
        for part in assign(files, &seeds(&[], n_tasks), min_piece_bytes) {
            loads[part.task] += part.end - part.start;
        }
        loads
    }

    #[test]
    fn only_files_of_a_worker_that_left_move() {
        let files = files(3000, |_| 1 << 20);
        let before = placed(&["a", "b", "c", "d"], &files);
        assert_eq!(before, placed(&["d", "c", "b", "a"], &files), "the order says nothing");
        let after = placed(&["a", "b", "d"], &files);
        let left = workers(&["c"])[0].clone();
        let n_moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        let n_left = before.iter().filter(|worker| **worker == left).count();
        assert_eq!(n_moved, n_left);
        assert!(n_left.abs_diff(750) < 100, "{n_left}");
        let heirs: BTreeSet<&Url> =
            before.iter().zip(&after).filter(|(b, _)| **b == left).map(|(_, a)| a).collect();
        assert_eq!(heirs.len(), 3, "its files are shared out");
    }

    #[test]
    fn new_files_leave_the_others_where_they_are() {
        let files = files(1000, |idx| 1000 + 7 * (idx as u64 % 300));
        let (before, after) =
            (placed(&["a", "b", "c"], &files[..900]), placed(&["a", "b", "c"], &files));
        let n_moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert!(n_moved <= 9, "{n_moved} of 900");
    }

    #[test]
    fn no_task_reads_much_more_than_the_mean() {
        for n_tasks in 2..9 {
            for shape in [|_| 1000, |idx| 1 + idx as u64, |idx| if idx < 3 { 400_000 } else { 100 }]
            {
                let files = files(600, shape);
                let total: u64 = files.iter().map(Unit::bytes).sum();
                let mean = total.div_ceil(n_tasks as u64);
                let largest = loads(&files, n_tasks, 1000).into_iter().max().unwrap();
                assert!(largest <= mean + mean / MAX_ABOVE_MEAN + 1000, "{largest} of {mean}");
            }
        }
    }

    #[test]
    fn files_that_stay_whole_go_where_there_is_least() {
        let loads = loads(&files(2, |_| 1000), 3, u64::MAX);
        assert_eq!(loads.iter().filter(|load| **load == 1000).count(), 2);
    }

    #[test]
    fn a_few_tasks_go_where_most_bytes_are_known() {
        let all = workers(&["a", "b", "c", "d"]);
        let of_all = seeds(&all, 4);
        let mut used = BTreeSet::new();
        for file in files(50, |_| 10) {
            let chosen = choose(all.clone(), &[file], 1);
            assert_eq!(chosen, [all[file.preferences(&of_all)[0]].clone()]);
            used.extend(chosen);
        }
        assert_eq!(used.len(), 4, "small tables are spread over all workers");
        assert_eq!(choose(all.clone(), &[], 2).len(), 2);
        assert_eq!(choose(all.clone(), &[], 9), all);
    }
}
