//! Runs the SQL files of `tests/slt`, each on one process and on a coordinator with three workers: the same rows.
//!
//! `standard/` holds SQL that PostgreSQL answers alike; `known_differences/` shows both answers, with `onlyif`, and says
//! why they differ; `lake/` is what only Saltlake has. The first two are checked against a real PostgreSQL by
//! [`postgres`]. `tpch/` holds the 22 TPC-H queries, with PostgreSQL's answers at scale factor 0.01. `known_failures/`
//! holds records that must fail today: one that passes fails the test, so that it moves.

mod postgres;
mod runner;

pub use postgres::load;

use crate::harness::{Cluster, Pg, Server};
use crate::lake::Lake;
use crate::skew::salted;
use runner::{Expectation, Failures};

const ALL_FOLDERS: [(&str, Expectation); 4] = [
    ("standard", Expectation::Passes),
    ("known_differences", Expectation::Passes),
    ("lake", Expectation::Passes),
    ("known_failures", Expectation::Fails),
];

#[test]
fn sql_files_pass_standalone() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    run_all(&lake, "standalone", || server.connect());
}

#[test]
fn sql_files_pass_on_a_coordinator_with_three_workers() {
    let lake = Lake::standard();
    let cluster = Cluster::start(&lake, 3);
    run_all(&lake, "cluster", || cluster.connect_distributed());
}

#[test]
fn tpch_passes_standalone() {
    let lake = Lake::tpch();
    let server = Server::standalone(&lake);
    run_tpch("standalone", || server.connect());
}

#[test]
fn tpch_passes_on_a_coordinator_with_three_workers() {
    let lake = Lake::tpch();
    let cluster = Cluster::start(&lake, 3);
    run_tpch("cluster", || cluster.connect_distributed());
}

#[test]
fn sql_files_pass_with_salted_joins() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let cluster = Cluster::start(&lake, 3);
    let mut failures = Failures::default();
    for folder in ["standard/joins", "standard/subqueries", "standard/sets"] {
        for file in runner::files(folder) {
            let check = |topology, connect: &dyn Fn() -> Pg, failures: &mut Failures| {
                let door = || runner::Door::new("saltlake", salted(connect()));
                runner::run_file(&file, topology, Expectation::Passes, &[], door, failures);
            };
            check("standalone", &|| server.connect(), &mut failures);
            check("cluster", &|| cluster.connect_distributed(), &mut failures);
        }
    }
    failures.assert_none();
    let n_salted = "SELECT count(*) FROM system.join_decisions WHERE strategy = 'salt'";
    for scalar in [server.scalar(n_salted), cluster.scalar(n_salted)] {
        assert!(scalar.parse::<u32>().unwrap() > 50, "{scalar} joins were salted");
    }
}

#[test]
fn tpch_passes_with_salted_joins() {
    let lake = Lake::tpch();
    let cluster = Cluster::start(&lake, 3);
    run_tpch("cluster", || salted(cluster.connect_distributed()));
    let n_salted = "SELECT count(*) FROM system.join_decisions WHERE strategy = 'salt'";
    assert!(cluster.scalar(n_salted).parse::<u32>().unwrap() > 30);
}

fn run_tpch(topology: &'static str, connect: impl Fn() -> Pg) {
    let mut failures = Failures::default();
    for file in runner::files("tpch") {
        let door = || runner::Door::new("saltlake", connect());
        runner::run_file(&file, topology, Expectation::Passes, &[], door, &mut failures);
    }
    failures.assert_none();
}

fn run_all(lake: &Lake, topology: &'static str, connect: impl Fn() -> Pg) {
    let mut failures = Failures::default();
    for (folder, expectation) in ALL_FOLDERS {
        for file in runner::files(folder) {
            let variables = [("lake", lake.path().display().to_string())];
            let door = || runner::Door::new("saltlake", connect());
            runner::run_file(&file, topology, expectation, &variables, door, &mut failures);
        }
    }
    failures.assert_none();
}
