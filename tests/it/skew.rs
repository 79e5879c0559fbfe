//! Skewed joins on a real cluster: found, salted, even, explained, and the same rows.

use crate::harness::{Cluster, Pg, Server, psql_command};
use crate::lake::Lake;

/// Sixteen rows a customer: rows of a heavy key with one match are too cheap to be spread.
const VISITS: &str = "CREATE TEMPORARY TABLE visits AS SELECT customer_id, country FROM customers CROSS JOIN numbers WHERE n BETWEEN 1 AND 16";
const JOIN: &str = "SELECT s.sale_id, v.country FROM sales s JOIN visits v USING (customer_id)";

/// Small tables are joined as large ones are: shuffled, and looked at.
fn as_if_large(mut connection: Pg) -> Pg {
    connection.run("SET datafusion.optimizer.hash_join_single_partition_threshold = 0");
    connection.run("SET datafusion.optimizer.hash_join_single_partition_threshold_rows = 0");
    connection.run("SET saltlake.skew_min_rows = 0");
    connection.run("SET saltlake.skew_min_saving_ms = 0");
    connection.run("SET saltlake.skew = auto");
    connection
}

/// Shuffles every join and salts all that may be salted.
pub fn salted(mut connection: Pg) -> Pg {
    connection.run("SET datafusion.optimizer.hash_join_single_partition_threshold = 0");
    connection.run("SET datafusion.optimizer.hash_join_single_partition_threshold_rows = 0");
    connection.run("SET saltlake.skew = force");
    connection
}

fn text(rows: Vec<Vec<String>>) -> String {
    rows.concat().join("\n")
}

/// Rows that each task of the stage of the join read.
fn rows_of_join_tasks(analyzed: &str) -> Vec<usize> {
    let tasks_of = |stage: &str| -> Vec<usize> {
        let lines = stage.lines().filter(|line| line.trim_start().starts_with("task "));
        let rows_in = |line: &str| line.split(": ").nth(1)?.split(' ').next()?.parse().ok();
        lines.filter_map(rows_in).collect()
    };
    // The join's stage reads what the scans' stages give, so it is the one above them: the last but the coordinator's.
    let stages: Vec<&str> = analyzed.split("\nStage ").skip(1).collect();
    let mut join = stages.iter().map(|stage| tasks_of(stage)).filter(|tasks| tasks.len() == 3);
    join.next_back().unwrap_or_else(|| panic!("{analyzed}"))
}

#[test]
fn a_heavy_key_is_found_spread_and_explained() {
    let lake = Lake::standard();
    let cluster = Cluster::start(&lake, 3);
    let mut connection = as_if_large(cluster.connect_distributed());
    let analyze = format!("EXPLAIN ANALYZE {JOIN}");
    let ordered = format!("{JOIN} ORDER BY 1");
    connection.run(VISITS);
    let salted_rows = connection.rows(&ordered);
    let salted = text(connection.rows(&analyze));
    assert!(salted.contains(": salt (predicted"), "{salted}");
    assert!(salted.contains("heavy hitters: 7 (build"), "{salted}");
    assert!(salted.contains("saltlake_bucket"), "{salted}");
    connection.run("SET saltlake.skew = off");
    let plain = text(connection.rows(&analyze));
    assert!(!plain.contains("saltlake_bucket"), "{plain}");
    assert_eq!(connection.rows(&ordered), salted_rows);
    let max = |analyzed: &str| rows_of_join_tasks(analyzed).into_iter().max().unwrap();
    let n_rows: usize = rows_of_join_tasks(&salted).iter().sum();
    // One of three tasks gets a third of a small table only by and large: the other keys go by their hash.
    assert!(max(&salted) * 10 < n_rows * 5, "uneven:\n{salted}");
    assert!(max(&plain) * 10 > n_rows * 5, "even without salt:\n{plain}");
    let decided = connection.rows(
        "SELECT strategy, heavy_hitters FROM system.join_decisions WHERE strategy = 'salt' LIMIT 1",
    );
    assert_eq!(decided, [["salt", "7"]]);
}

/// What psql prints as notices for a script in front of a join that is salted.
fn notices(cluster: &Cluster, settings: &str) -> Vec<String> {
    let script = format!(
        "SET saltlake.distribution = 'always'; SET saltlake.bytes_per_partition = 1024; SET saltlake.skew = force; \
         SET datafusion.optimizer.hash_join_single_partition_threshold = 0; \
         SET datafusion.optimizer.hash_join_single_partition_threshold_rows = 0; {settings}; \
         SELECT count(*) FROM sales a JOIN sales b USING (customer_id) JOIN customers c USING (customer_id)"
    );
    let mut command = psql_command(&cluster.coordinator.pg);
    for statement in script.split(';') {
        command.args(["--command", statement.trim()]);
    }
    let output = command.output().expect("psql is installed (.ci/run does it)");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn psql_is_told_once_that_joins_were_salted() {
    let lake = Lake::standard();
    let cluster = Cluster::start(&lake, 3);
    let told = notices(&cluster, "SET client_min_messages = notice");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("NOTICE:  join salted: Inner on customer_id"), "{told:?}");
    assert!(told[0].ends_with("see EXPLAIN"), "{told:?}");
    let told = notices(&cluster, "SET client_min_messages = warning");
    assert!(told.is_empty(), "{told:?}");
    let told = notices(&cluster, "SET saltlake.skew = off");
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn a_join_without_skew_is_left_alone_and_says_why() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut connection = as_if_large(server.connect());
    let sql = "EXPLAIN SELECT a.n FROM numbers a JOIN numbers b ON a.n = b.n";
    let explained = text(connection.rows(sql));
    assert!(explained.contains("shuffle (no heavy hitters)"), "{explained}");
    connection.run("SET saltlake.skew_min_rows = 4000000");
    let explained = text(connection.rows(sql));
    assert!(explained.contains("rows are few"), "{explained}");
}
