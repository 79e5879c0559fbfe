//! Runs the files, several at a time, and judges every record.

use super::door::{Answer, Connector, Door, Failure};
use super::exceptions::Exceptions;
use super::rewrite;
use super::source::{OTHER_FOLDERS, Suite};
use super::values::Letter;
use crate::harness::scratch_dir;
use futures::{StreamExt, stream};
use sqllogictest::{Condition, ExpectedError, QueryExpect, Record, SortMode, StatementExpect};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// Files that run side by side.
const CONCURRENCY: usize = 4;

/// What DataFusion's runner calls itself in `onlyif` and `skipif`.
const ENGINE: &str = "DataFusion";

/// What became of a record.
enum Verdict {
    Passed,
    Skipped(String),
    Failed(String),
}

/// What became of all records.
#[derive(Default)]
pub struct Report {
    n_files: usize,
    n_passed: usize,
    skipped: BTreeMap<String, usize>,
    failures: Vec<String>,
    /// Places on the list where something failed.
    needed: BTreeSet<String>,
    stale: Vec<String>,
}

impl Report {
    fn add(&mut self, place: &str, verdict: Verdict) {
        match verdict {
            Verdict::Passed => self.n_passed += 1,
            Verdict::Skipped(reason) => *self.skipped.entry(reason).or_default() += 1,
            Verdict::Failed(text) => self.failures.push(format!("{place}  {text}")),
        }
    }

    fn merge(&mut self, other: Self) {
        self.n_files += other.n_files;
        self.n_passed += other.n_passed;
        for (reason, n) in other.skipped {
            *self.skipped.entry(reason).or_default() += n;
        }
        self.failures.extend(other.failures);
        self.needed.extend(other.needed);
    }

    /// Prints the counts and panics with what failed.
    pub fn assert_good(mut self, topology: &str) {
        self.failures.sort();
        let n_skipped: usize = self.skipped.values().sum();
        let mut text = format!(
            "[{topology}] {} files: {} records passed, {n_skipped} skipped, {} failed\n",
            self.n_files,
            self.n_passed,
            self.failures.len()
        );
        for (reason, n) in &self.skipped {
            let _ = writeln!(text, "{n:6}  {reason}");
        }
        eprintln!("{text}");
        let failures =
            self.failures.iter().chain(&self.stale).cloned().collect::<Vec<_>>().join("\n\n");
        std::fs::write(
            scratch_dir().join(format!("datafusion-suite-{topology}.txt")),
            text + &failures,
        )
        .unwrap();
        assert!(failures.is_empty(), "{} records:\n\n{failures}", self.failures.len());
    }
}

/// Runs every file of the suite.
pub fn run_all(suite: &Suite, connector: &Connector, exceptions: &Exceptions) -> Report {
    let files = suite.files();
    assert!(files.len() > 200, "only {} files", files.len());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let mut report = Report::default();
    runtime.unwrap().block_on(async {
        let runs = files.iter().enumerate().map(|(idx, (name, path))| async move {
            let door = connector.open(&format!("file_{idx}")).await;
            FileRun {
                suite,
                exceptions,
                name,
                door,
                lost: BTreeSet::new(),
                report: Report::default(),
            }
            .run(path)
            .await
        });
        let mut runs = stream::iter(runs).buffer_unordered(CONCURRENCY);
        while let Some(one) = runs.next().await {
            report.merge(one);
        }
    });
    let is_stale = |place: &&str| !report.needed.contains(*place);
    let stale = exceptions.places().filter(is_stale);
    report.stale =
        stale.map(|place| format!("{place}  is on the list, and nothing fails there")).collect();
    report
}

struct FileRun<'a> {
    suite: &'a Suite,
    exceptions: &'a Exceptions,
    name: &'a str,
    door: Door,
    /// Tables that are not as the file wants them, because a statement before was skipped.
    lost: BTreeSet<String>,
    report: Report,
}

impl FileRun<'_> {
    async fn run(mut self, path: &Path) -> Report {
        debug_assert!(!OTHER_FOLDERS.iter().any(|(folder, _)| self.name.starts_with(folder)));
        let records = sqllogictest::parse_file::<Letter>(path);
        let records = records.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        self.report.n_files = 1;
        for record in records {
            let (loc, conditions) = match &record {
                Record::Statement { loc, conditions, .. }
                | Record::Query { loc, conditions, .. } => (loc.clone(), conditions),
                _ => continue,
            };
            let is_other = conditions.iter().any(|condition| match condition {
                Condition::OnlyIf { label } => label != ENGINE,
                Condition::SkipIf { label } => label == ENGINE,
            });
            if is_other {
                continue;
            }
            let inner = self.suite.name_of(Path::new(loc.file()));
            let place = match inner == self.name {
                true => format!("{}:{}", self.name, loc.line()),
                false => {
                    let part =
                        Path::new(&inner).file_name().unwrap_or_default().display().to_string();
                    format!("{}/{part}:{}", self.name, loc.line())
                }
            };
            let verdict = self.judge(&place, record).await;
            self.report.add(&place, verdict);
        }
        self.report
    }

    /// Runs a record and weighs what failed against the list.
    async fn judge(&mut self, place: &str, record: Record<Letter>) -> Verdict {
        let (sql, failure) = match record {
            Record::Statement { sql, expected, .. } => {
                let failure = self.statement(&sql, &expected).await;
                (sql, failure)
            }
            Record::Query { sql, expected, .. } => {
                let failure = self.query(&sql, &expected).await;
                (sql, failure)
            }
            _ => return Verdict::Passed,
        };
        if self.reads_missing_file(&sql) {
            self.lost.extend(rewrite::written_table(&sql));
            return Verdict::Skipped("its data file is not in the crate".to_owned());
        }
        let Some(failure) = failure else { return Verdict::Passed };
        let listed = self.exceptions.find([place, self.name], &rewrite::words(&sql), &failure);
        let reason = match listed {
            Some((entry, reason)) => {
                self.report.needed.insert(entry.to_owned());
                Some(reason.to_owned())
            }
            None => {
                let rests = self.lost.iter().any(|table| rewrite::names(&sql, table));
                rests.then(|| "rests on a table that a skipped statement did not make".to_owned())
            }
        };
        let Some(reason) = reason else {
            return Verdict::Failed(format!("{sql}\n{failure}"));
        };
        self.lost.extend(rewrite::written_table(&sql));
        Verdict::Skipped(reason)
    }

    /// Returns whether a table is made over a file of DataFusion's checkout that we do not have.
    fn reads_missing_file(&self, sql: &str) -> bool {
        let location = rewrite::location(sql).filter(|location| location.starts_with("../"));
        location.is_some_and(|location| !self.suite.root().join(location).exists())
    }

    /// Returns what is wrong with a statement's outcome.
    async fn statement(&mut self, sql: &str, expected: &StatementExpect) -> Option<String> {
        let answer = self.door.run(&rewrite::rewrite(sql)).await;
        match (expected, answer) {
            (StatementExpect::Error(expected), answer) => unexpected_success(expected, answer),
            (_, Err(failure)) => Some(failed(&failure)),
            (StatementExpect::Ok, Ok(_)) => None,
            (StatementExpect::Count(n), Ok(answer)) => {
                let found = answer.n_affected.unwrap_or_default();
                (found != *n).then(|| format!("{found} rows affected, expected {n}"))
            }
        }
    }

    /// Returns what is wrong with a query's rows.
    async fn query(&mut self, sql: &str, expected: &QueryExpect<Letter>) -> Option<String> {
        let answer = self.door.run(&rewrite::rewrite(sql)).await;
        let (types, results, sort_mode) = match expected {
            QueryExpect::Error(expected) => return unexpected_success(expected, answer),
            QueryExpect::Results { types, results, sort_mode, .. } => (types, results, *sort_mode),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => return Some(failed(&failure)),
        };
        if rewrite::prints_plan(sql) {
            return None;
        }
        if answer.n_affected.is_none() && !same_types(&answer.letters, types) {
            return Some(format!("columns are {:?}, expected {types:?}", answer.letters));
        }
        let mut rows = match answer.n_affected {
            Some(n) => vec![n.to_string()],
            None => lines(&answer, sort_mode),
        };
        let mut wanted: Vec<String> =
            results.iter().map(|line| line.trim_end().to_owned()).collect();
        let in_any_order = sort_mode.is_some_and(|mode| mode != SortMode::NoSort);
        if in_any_order || (rows != wanted && !rewrite::is_ordered(sql)) {
            rows.sort_unstable();
            wanted.sort_unstable();
        }
        // Which rows a LIMIT takes is open, too; how many is not.
        if rewrite::takes_any_rows(sql) && rows.len() == wanted.len() {
            return None;
        }
        differ(&rows, &wanted, types.contains(&Letter::NUMBER))
    }
}

/// Compares types of columns; what the files call `?` may be a type that Flight clients get as a plainer one.
fn same_types(found: &[Letter], expected: &[Letter]) -> bool {
    let is_same = |(a, b): (&Letter, &Letter)| a == b || *b == Letter::OTHER;
    found.len() == expected.len() && found.iter().zip(expected).all(is_same)
}

/// Returns the rows as lines.
fn lines(answer: &Answer, sort_mode: Option<SortMode>) -> Vec<String> {
    match sort_mode {
        Some(SortMode::ValueSort) => answer.rows.iter().flatten().cloned().collect(),
        _ => answer.rows.iter().map(|row| row.join(" ").trim_end().to_owned()).collect(),
    }
}

fn failed(failure: &Failure) -> String {
    format!("failed: {} {}", failure.sqlstate, failure.message)
}

/// Returns what is wrong when an error is expected: success, or an error that says we have a bug.
fn unexpected_success(expected: &ExpectedError, answer: Result<Answer, Failure>) -> Option<String> {
    match answer {
        Ok(answer) => Some(format!("succeeds, expected {expected:?}, got {:?}", answer.rows)),
        Err(failure) if ["XX000", ""].contains(&failure.sqlstate.as_str()) => {
            Some(failed(&failure))
        }
        Err(_) => None,
    }
}

/// Compares two lines word by word; sums of floats may differ in the last of their digits.
fn same_line(row: &str, wanted: &str) -> bool {
    let same_word = |(a, b): (&str, &str)| match (a.parse::<f64>(), b.parse::<f64>()) {
        _ if a == b => true,
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-13 * b.abs(),
        _ => false,
    };
    row.split(' ').count() == wanted.split(' ').count()
        && row.split(' ').zip(wanted.split(' ')).all(same_word)
}

/// Compares lines; `<slt:ignore>` in the expected ones stands for anything.
fn differ(rows: &[String], wanted: &[String], has_numbers: bool) -> Option<String> {
    const ANYTHING: &str = "<slt:ignore>";
    let is_same = match wanted.iter().any(|line| line.contains(ANYTHING)) {
        false => {
            let mut pairs = rows.iter().zip(wanted);
            rows.len() == wanted.len()
                && pairs.all(|(row, wanted)| row == wanted || has_numbers && same_line(row, wanted))
        }
        true => {
            let text = rows.join("\n");
            let mut rest = text.as_str();
            let wanted = wanted.join("\n");
            wanted.split(ANYTHING).all(|fragment| match rest.find(fragment) {
                Some(at) => {
                    rest = &rest[at + fragment.len()..];
                    true
                }
                None => false,
            })
        }
    };
    if is_same {
        return None;
    }
    let shown = |lines: &[String]| lines.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    Some(format!("--- expected\n{}\n--- got\n{}", shown(wanted), shown(rows)))
}
