//! The tour: statements, what they show, and the answers they must give.
//!
//! The answers come from another engine over the same files: `data/expected.py` runs the same queries in DuckDB
//! and prints them. Values are compared as the shell shows them.

use super::sample::Layout;
use super::screen::Screen;
use crate::shell::backend::{Backend, Reply};
use crate::shell::diagnostic::{Diagnostic, Failure};
use crate::shell::output::Cells;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use std::time::{Duration, Instant};

/// File the first job writes into the lake; its name is the name of the table it becomes.
const OUTPUT_FILE: &str = "fares_by_zone_and_hour.parquet";

/// One statement of the tour.
struct Step {
    /// Heading; `None` continues the step before.
    title: Option<&'static str>,
    /// Why it is in the tour.
    remark: &'static str,
    sql: &'static str,
    expected: Expected,
}

/// What a statement must give.
enum Expected {
    /// These rows, in this order.
    Rows(&'static [&'static [&'static str]]),
    /// No rows, and afterwards one Parquet file of this name in the lake.
    File(&'static str),
    /// No rows.
    Done,
    /// A plan in whose text all of these appear.
    Plan(&'static [&'static str]),
    /// An error with this SQLSTATE, and a hint that holds this text.
    Error { sqlstate: &'static str, hint: &'static str },
}

/// How the tour went.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// Statements run.
    pub n_steps: usize,
    /// Statements whose result was not as expected.
    pub n_wrong: usize,
    /// Time spent in statements.
    pub took: Duration,
}

const STEPS: &[Step] = &[
    Step {
        title: Some("The lake: files are tables"),
        remark: "120,000 New York taxi trips, their zones, and the dependencies of Debian's packages.",
        sql: "SELECT (SELECT count(*) FROM trips) AS trips,\n       (SELECT count(*) FROM zones) AS zones,\n       (SELECT count(*) FROM debian.deps) AS deps",
        expected: Expected::Rows(&[&["120000", "265", "445214"]]),
    },
    Step {
        title: Some("A job: average fare and trips by zone and hour, written to one Parquet file"),
        remark: "So little data would run on the coordinator alone. This session wants the workers.",
        sql: "SET saltlake.distribution = 'always'",
        expected: Expected::Done,
    },
    Step {
        title: None,
        remark: "Pickup times are local New York time, as the taxi commission records them.",
        sql: "\
COPY (
  SELECT z.borough, z.zone, extract(hour FROM t.pickup_datetime) AS pickup_hour,
         count(*) AS trips, avg(t.fare_amount) AS avg_fare
  FROM trips t JOIN zones z ON t.pickup_location_id = z.location_id
  GROUP BY z.borough, z.zone, extract(hour FROM t.pickup_datetime)
) TO 'fares_by_zone_and_hour.parquet'",
        expected: Expected::File(OUTPUT_FILE),
    },
    Step {
        title: None,
        remark: "The file is a table at once. No trip and no dollar got lost on the way:",
        sql: "\
SELECT count(*) AS cells, sum(trips) AS trips, round(sum(avg_fare * trips), 2) AS fares
FROM fares_by_zone_and_hour",
        expected: Expected::Rows(&[&["2789", "120000", "1594418.6"]]),
    },
    Step {
        title: None,
        remark: "",
        sql: "\
SELECT zone, pickup_hour AS hour, trips, round(avg_fare, 2) AS avg_fare
FROM fares_by_zone_and_hour
ORDER BY trips DESC, zone, hour LIMIT 8",
        expected: Expected::Rows(&[
            &["Midtown Center", "19", "389", "10.38"],
            &["Upper East Side South", "18", "384", "9.47"],
            &["Upper East Side South", "15", "383", "10.73"],
            &["Upper East Side South", "14", "374", "9.86"],
            &["Times Sq/Theatre District", "22", "366", "11.14"],
            &["Upper East Side North", "15", "363", "9.75"],
            &["Upper East Side South", "13", "363", "9.7"],
            &["Upper East Side South", "17", "360", "10.39"],
        ]),
    },
    Step {
        title: Some("How it ran: the stages of the job on three workers"),
        remark: "Rows, bytes and time are measured by the tasks themselves.",
        sql: "\
EXPLAIN ANALYZE
SELECT z.zone, extract(hour FROM t.pickup_datetime) AS hour, count(*), avg(t.fare_amount)
FROM trips t JOIN zones z ON t.pickup_location_id = z.location_id
GROUP BY z.zone, extract(hour FROM t.pickup_datetime)",
        expected: Expected::Plan(&["Stage 1", "Stage 2"]),
    },
    Step {
        title: Some("A skewed join: what do Debian's packages need, two steps away?"),
        remark: "7.5 % of all dependencies point at one package, libc6: one key, one overloaded partition.",
        sql: "\
SELECT b.target AS package, count(*) AS paths, count(DISTINCT a.package) AS needed_by
FROM debian.deps a JOIN debian.deps b ON a.target = b.package
WHERE a.kind = 'Depends' AND b.kind = 'Depends'
GROUP BY b.target
ORDER BY paths DESC, package LIMIT 8",
        expected: Expected::Rows(&[
            &["libc6", "175070", "33935"],
            &["libgcc-s1", "87529", "25784"],
            &["libstdc++6", "44388", "11489"],
            &["zlib1g", "35684", "13334"],
            &["python3", "34388", "5698"],
            &["libglib2.0-0", "27505", "8696"],
            &["libqt5core5a", "19502", "2687"],
            &["libx11-6", "16597", "7521"],
        ]),
    },
    Step {
        title: None,
        remark: "How even was that? Look at rows max/median of the stage with the join:",
        sql: "\
EXPLAIN ANALYZE
SELECT count(*) FROM debian.deps a JOIN debian.deps b ON a.target = b.package
WHERE a.kind = 'Depends' AND b.kind = 'Depends'",
        expected: Expected::Plan(&["rows max/median", "HashJoinExec"]),
    },
    Step {
        title: None,
        remark: "So small a side goes to every task whole. Shuffled and spread by force, to see it at work:",
        sql: "SET datafusion.optimizer.hash_join_single_partition_threshold = 0",
        expected: Expected::Done,
    },
    Step {
        title: None,
        remark: "",
        sql: "SET datafusion.optimizer.hash_join_single_partition_threshold_rows = 0",
        expected: Expected::Done,
    },
    Step { title: None, remark: "", sql: "SET saltlake.skew = 'force'", expected: Expected::Done },
    Step {
        title: None,
        remark: "The heavy hitters go round the tasks, the rows they match are copied to each.",
        sql: "\
EXPLAIN ANALYZE
SELECT count(*) FROM debian.deps a JOIN debian.deps b ON a.target = b.package
WHERE a.kind = 'Depends' AND b.kind = 'Depends'",
        expected: Expected::Plan(&["heavy hitters:", "libc6", "saltlake_bucket"]),
    },
    Step { title: None, remark: "", sql: "RESET saltlake.skew", expected: Expected::Done },
    Step {
        title: None,
        remark: "",
        sql: "RESET datafusion.optimizer.hash_join_single_partition_threshold",
        expected: Expected::Done,
    },
    Step {
        title: None,
        remark: "",
        sql: "RESET datafusion.optimizer.hash_join_single_partition_threshold_rows",
        expected: Expected::Done,
    },
    Step {
        title: Some(
            "A window: the two busiest zones of each borough, and their share of its trips",
        ),
        remark: "",
        sql: "\
SELECT borough, place, zone, trips, share
FROM (
  SELECT z.borough, z.zone, count(*) AS trips,
         rank() OVER (PARTITION BY z.borough ORDER BY count(*) DESC) AS place,
         round(CAST(100 * count(*) AS double precision)
               / sum(count(*)) OVER (PARTITION BY z.borough), 1) AS share
  FROM trips t JOIN zones z ON t.pickup_location_id = z.location_id
  GROUP BY z.borough, z.zone
) ranked
WHERE place <= 2 AND borough IN ('Bronx', 'Brooklyn', 'Manhattan', 'Queens')
ORDER BY borough, place, zone",
        expected: Expected::Rows(&[
            &["Bronx", "1", "Mott Haven/Port Morris", "19", "9.7"],
            &["Bronx", "2", "West Concourse", "18", "9.2"],
            &["Brooklyn", "1", "Downtown Brooklyn/MetroTech", "151", "10.5"],
            &["Brooklyn", "2", "Brooklyn Heights", "119", "8.2"],
            &["Manhattan", "1", "Upper East Side South", "5282", "4.9"],
            &["Manhattan", "2", "Midtown Center", "4904", "4.5"],
            &["Queens", "1", "JFK Airport", "3826", "45.5"],
            &["Queens", "2", "LaGuardia Airport", "3140", "37.4"],
        ]),
    },
    Step {
        title: Some("A mistake, and what the server makes of it"),
        remark: "",
        sql: "SELECT zone, avg(fare_amont)\nFROM trips JOIN zones ON pickup_location_id = location_id\nGROUP BY zone",
        expected: Expected::Error { sqlstate: "42703", hint: "fare_amount" },
    },
];

/// What a statement gave.
enum Given {
    Rows { schema: SchemaRef, batches: Vec<RecordBatch> },
    Done,
    Error(Box<Diagnostic>),
}

/// Runs all steps; a wrong result is told and counted, and the tour goes on.
///
/// # Errors
/// When the server is gone or the screen cannot be written.
pub async fn run(
    server: &dyn Backend,
    layout: &Layout,
    screen: &mut Screen,
) -> Result<Summary, Failure> {
    let mut summary = Summary { n_steps: STEPS.len(), n_wrong: 0, took: Duration::ZERO };
    for step in STEPS {
        if let Some(title) = step.title {
            screen.title(title)?;
        }
        if !step.remark.is_empty() {
            screen.remark(step.remark)?;
        }
        screen.sql(&format!("{};", step.sql))?;
        let started = Instant::now();
        let given = execute(server, step.sql).await?;
        let took = started.elapsed();
        summary.took += took;
        show(&given, step, screen)?;
        let wrong = compare(&given, &step.expected, layout)?;
        summary.n_wrong += usize::from(wrong.is_some());
        screen.verdict(describe(&step.expected), wrong.as_deref(), took)?;
    }
    Ok(summary)
}

async fn execute(server: &dyn Backend, sql: &str) -> Result<Given, Failure> {
    let rows = async {
        Ok(match server.execute(sql).await? {
            Reply::Done { .. } => Given::Done,
            Reply::Rows { schema, stream } => {
                Given::Rows { schema, batches: stream.try_collect().await? }
            }
        })
    };
    match rows.await {
        Err(Failure::Statement(diagnostic)) => Ok(Given::Error(diagnostic)),
        other => other,
    }
}

fn show(given: &Given, step: &Step, screen: &mut Screen) -> Result<(), Failure> {
    match (given, &step.expected) {
        (Given::Rows { batches, .. }, Expected::Plan(_)) => screen.plan(&plan_text(batches)?),
        (Given::Rows { schema, batches }, _) => screen.table(schema, batches),
        (Given::Done, _) => Ok(()),
        (Given::Error(diagnostic), _) => screen.diagnostic(diagnostic, step.sql),
    }
}

fn describe(expected: &Expected) -> &'static str {
    match expected {
        Expected::Rows(_) => "as another engine answers",
        Expected::File(_) => "one file in the lake",
        Expected::Done => "done",
        Expected::Plan(_) => "ran in stages",
        Expected::Error { .. } => "refused with code, place and hint",
    }
}

/// Returns what is wrong with a result, or `None`.
fn compare(given: &Given, expected: &Expected, layout: &Layout) -> Result<Option<String>, Failure> {
    Ok(match (expected, given) {
        (Expected::Rows(rows), Given::Rows { batches, .. }) => {
            let found = cells(batches)?;
            (found != *rows).then(|| format!("expected {rows:?}"))
        }
        (Expected::Done, Given::Done) => None,
        (Expected::File(name), Given::Done | Given::Rows { .. }) => {
            let path = layout.lake().join(name);
            (!path.is_file()).then(|| format!("there is no file {}", path.display()))
        }
        (Expected::Plan(parts), Given::Rows { batches, .. }) => {
            let text = plan_text(batches)?;
            let missing = parts.iter().find(|part| !text.contains(**part));
            missing.map(|part| format!("the plan does not show \"{part}\""))
        }
        (Expected::Error { sqlstate, hint }, Given::Error(diagnostic)) => {
            let has_hint = diagnostic.hint.as_ref().is_some_and(|text| text.contains(hint));
            let is_right = diagnostic.sqlstate == *sqlstate && has_hint;
            (!is_right).then(|| format!("expected {sqlstate} with a hint at \"{hint}\""))
        }
        (Expected::Error { sqlstate, .. }, _) => Some(format!("expected the error {sqlstate}")),
        (_, Given::Error(_)) => Some("expected no error".to_string()),
        (_, Given::Done) => Some("expected rows".to_string()),
        (_, Given::Rows { .. }) => Some("expected no rows".to_string()),
    })
}

fn cells(batches: &[RecordBatch]) -> Result<Vec<Vec<String>>, Failure> {
    let mut rows = Vec::new();
    for batch in batches {
        let cells = Cells::new(batch)?;
        for row in 0..batch.num_rows() {
            let columns = 0..batch.num_columns();
            rows.push(columns.map(|column| cells.text(column, row)).collect::<Result<_, _>>()?);
        }
    }
    Ok(rows)
}

/// Returns the text of a plan: the last column of all rows.
fn plan_text(batches: &[RecordBatch]) -> Result<String, Failure> {
    let lines = cells(batches)?.into_iter().filter_map(|mut row| row.pop());
    Ok(lines.collect::<Vec<_>>().join("\n"))
}
