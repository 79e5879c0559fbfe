//! DataFusion's own SQL tests, run through the Flight SQL door on one process and on a coordinator with three workers.
//!
//! The files come from the published crate `datafusion-sqllogictest`, which cargo fetches and nobody compiles
//! ([`source`]); [`values`] prints values as its runner does, [`run`] judges record by record, and [`exceptions`] reads
//! the list of records that do not hold here, each with its reason: `tests/slt/datafusion/exceptions.txt`. A record on the
//! list that passes fails the test, so that the list only holds what is true.
//!
//! What differs from DataFusion's runner: CREATE TABLE makes a temporary table, because a plain one would change the lake.
//! Where a query has no ORDER BY, rows are compared in any order, and with a LIMIT their number only. An error must be an
//! error; its words are ours. EXPLAIN must succeed; it prints plans in our words.

mod door;
mod exceptions;
mod rewrite;
mod run;
mod source;
mod values;

use crate::harness::{Cluster, Server, ServerOptions, skip};
use door::Connector;
use exceptions::Exceptions;
use source::Suite;

/// Statements for a session that reads SQL as DataFusion's runner does.
const AS_DATAFUSION: [&str; 3] = [
    "SET datafusion.sql_parser.dialect = 'generic'",
    "SET datafusion.sql_parser.parse_float_as_decimal = 'false'",
    "SET datafusion.execution.target_partitions = '4'",
];

/// Statements for a session whose queries run on the workers, in several tasks: tables have a row group every 4 rows.
const DISTRIBUTED: [&str; 3] = [
    "SET saltlake.distribution = 'always'",
    "SET saltlake.bytes_per_partition = 1",
    "SET datafusion.execution.parquet.max_row_group_size = 4",
];

#[test]
fn datafusion_suite_passes_standalone() {
    let Some(suite) = find() else { return };
    let options = options(&suite);
    let mut server = Server::standalone_with(suite.lake(), &options);
    server.process.expect_error_log("inside the server");
    run(&suite, "standalone", &server.flight, &[]);
}

#[test]
fn datafusion_suite_passes_on_a_coordinator_with_three_workers() {
    let Some(suite) = find() else { return };
    let mut cluster = Cluster::start_with(suite.lake(), 3, &options(&suite));
    cluster.process.expect_error_log("inside the server");
    run(&suite, "cluster", &cluster.flight, &DISTRIBUTED);
}

fn find() -> Option<Suite> {
    Suite::find().inspect_err(|reason| skip(reason)).ok()
}

fn options(suite: &Suite) -> ServerOptions {
    let allowed = suite.lake().path().display().to_string();
    let root = suite.root().display().to_string();
    ServerOptions::default().lake_url(&root).env("SALTLAKE_LAKE__ALLOWED_ROOTS", &allowed)
}

fn run(suite: &Suite, topology: &'static str, address: &str, more_settings: &[&'static str]) {
    let settings: Vec<&str> = AS_DATAFUSION.iter().chain(more_settings).copied().collect();
    let connector = Connector::new(address, &settings);
    let exceptions = Exceptions::read(topology);
    let report = run::run_all(suite, &connector, &exceptions);
    report.assert_good(topology);
}
