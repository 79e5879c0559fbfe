//! A lake on an S3-compatible store: a real server, reached with credentials from the environment.

use crate::harness::{Cluster, Process, Python, SeaweedFs, Server, ServerOptions};
use crate::lake::Lake;
use std::time::Duration;

const LAKE_URL: &str = "s3://lake/warehouse";

/// Starts the store and puts the standard lake into it; `None` where it cannot be installed.
fn store_with_lake() -> Option<(SeaweedFs, ServerOptions)> {
    let python = Python::find()?;
    let store = SeaweedFs::start()?;
    let lake = Lake::standard();
    let upload = "pyarrow.fs.copy_files(sys.argv[1], sys.argv[2], destination_filesystem=s3)";
    let source = lake.path().display().to_string();
    let output = store.python(&python, upload, &[&source, LAKE_URL.trim_start_matches("s3://")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut options = ServerOptions::default().lake_url(LAKE_URL);
    options.envs.extend(store.env());
    Some((store, options))
}

#[test]
fn lake_on_s3_is_read_written_and_declared() {
    let Some((_store, options)) = store_with_lake() else { return };
    let unused = Lake::empty();
    let mut server = Server::standalone_with(&unused, &options);
    let mut connection = server.connect();
    assert_eq!(connection.scalar("SELECT count(*) FROM sales"), "3000");
    assert_eq!(
        connection.scalar("SELECT count(*) FROM events WHERE year = 2023 AND region = 'eu'"),
        "5"
    );
    assert_eq!(connection.scalar("SELECT sum(budget) FROM dept"), "840000");
    let copied = connection.run("COPY (SELECT * FROM sales WHERE product = 'tea') TO 's3://lake/warehouse/out/tea.parquet' (FORMAT parquet)");
    let n_tea = connection.scalar("SELECT count(*) FROM sales WHERE product = 'tea'");
    assert_eq!(copied.tag, format!("COPY {n_tea}"));
    connection.run("CREATE EXTERNAL TABLE tea STORED AS PARQUET LOCATION 's3://lake/warehouse/out/tea.parquet'");
    assert_eq!(connection.scalar("SELECT count(*) FROM tea"), n_tea);
    assert_eq!(connection.error("SELECT 1 FROM no_such").code, "42P01");
    let outside =
        "CREATE EXTERNAL TABLE other STORED AS PARQUET LOCATION 's3://other/warehouse/x.parquet'";
    assert_eq!(connection.error(outside).code, "42501");
    connection.run("CREATE VIEW teas AS SELECT sale_id FROM tea");
    assert!(server.stop(Duration::from_secs(10)).success());
    let server = Server::standalone_with(&unused, &options);
    assert_eq!(server.scalar("SELECT count(*) FROM teas"), n_tea, "the catalog lives in the store");
}

#[test]
fn cluster_reads_a_lake_on_s3_with_credentials_from_the_environment() {
    let Some((_store, options)) = store_with_lake() else { return };
    let unused = Lake::empty();
    let cluster = Cluster::start_with(&unused, 2, &options);
    let mut connection = cluster.connect_distributed();
    let sql = "SELECT country, count(*) FROM sales JOIN customers USING (customer_id) GROUP BY country ORDER BY country";
    let distributed = connection.rows(sql);
    assert_eq!(distributed.len(), 4);
    connection.run("SET saltlake.distribution = 'never'");
    assert_eq!(connection.rows(sql), distributed);
    let sum = connection.scalar("SELECT sum(n) FROM numbers");
    assert_eq!(sum, "50005000");
}

#[test]
fn wrong_credentials_are_an_error_and_not_a_hang() {
    const WRONG_SECRET: &str = "qwertyuiop-0987";
    let Some((_store, mut options)) = store_with_lake() else { return };
    options.envs.retain(|(name, _)| name != "AWS_SECRET_ACCESS_KEY");
    let options = options.env("AWS_SECRET_ACCESS_KEY", WRONG_SECRET);
    let args = options.command_line("serve", &Lake::empty());
    let mut process = Process::spawn("refused", &args, &options.envs);
    process.expect_error_log("");
    let status = process.wait_exit(Duration::from_secs(30));
    assert!(!status.success(), "a lake that cannot be read is refused at start");
    assert!(!process.log().contains(WRONG_SECRET), "secrets stay out of logs: {}", process.log());
}
