//! `docker-compose.yml` works: its services run as plain processes, with the commands and environment of the file.
//!
//! No Docker is needed. Names of services become addresses on loopback, published ports become port 0; everything else
//! is taken as it stands, so a flag or a variable that no longer exists fails here.

use crate::harness::{Pg, Process, Python, SeaweedFs, source_root, wait_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// Prints the file as JSON, with anchors and merges resolved.
const READ_YAML: &str =
    "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";

/// Keys of a service that this test understands; another one is a mistake or wants a check here.
const SERVICE_KEYS: [&str; 10] = [
    "image",
    "build",
    "command",
    "environment",
    "ports",
    "volumes",
    "healthcheck",
    "depends_on",
    "deploy",
    "restart",
];

fn compose_file(python: &Python) -> Value {
    let path = source_root().join("docker-compose.yml");
    let output = python.run(READ_YAML, &[path.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns the command line of a service, with `replace` applied to each word.
fn command(service: &Value, replace: impl Fn(&str) -> String) -> Vec<String> {
    let words = service["command"].as_array().expect("a service lists its command");
    words.iter().map(|word| replace(word.as_str().unwrap())).collect()
}

fn environment(service: &Value, replace: impl Fn(&str) -> String) -> Vec<(String, String)> {
    let Some(pairs) = service["environment"].as_object() else { return Vec::new() };
    pairs.iter().map(|(name, value)| (name.clone(), replace(value.as_str().unwrap()))).collect()
}

/// Returns the names a service waits for: `depends_on` is a list or a map.
fn dependencies(service: &Value) -> Vec<String> {
    let names = &service["depends_on"];
    let listed =
        names.as_array().into_iter().flatten().map(|name| name.as_str().unwrap().to_owned());
    listed.chain(names.as_object().into_iter().flat_map(|map| map.keys().cloned())).collect()
}

#[test]
fn the_file_is_consistent() {
    let Some(python) = Python::find() else { return };
    let file = compose_file(&python);
    let services = file["services"].as_object().unwrap();
    let volumes: BTreeSet<&str> =
        file["volumes"].as_object().unwrap().keys().map(String::as_str).collect();
    for (name, service) in services {
        for key in service.as_object().unwrap().keys() {
            assert!(SERVICE_KEYS.contains(&key.as_str()), "{name}: unknown key {key}");
        }
        for dependency in dependencies(service) {
            assert!(
                services.contains_key(&dependency),
                "{name} waits for {dependency}, which is not there"
            );
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            let port = port.as_str().unwrap();
            assert!(
                port.starts_with("127.0.0.1:"),
                "{name}: {port} is published to the network without a password"
            );
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            assert!(volumes.contains(source), "{name}: the volume {source} is not declared");
        }
    }
    let dockerfile = std::fs::read_to_string(source_root().join("Dockerfile")).unwrap();
    assert!(dockerfile.contains(r#"ENTRYPOINT ["saltlake"]"#), "commands start with the role");
}

#[test]
fn its_services_answer_as_processes() {
    let Some(python) = Python::find() else { return };
    let file = compose_file(&python);
    let services = &file["services"];
    let as_is = |word: &str| word.to_owned();
    let store = SeaweedFs::start_as(
        &python,
        &command(&services["s3"], as_is),
        &environment(&services["s3"], as_is),
    );
    let environment = |service: &Value| {
        environment(service, |value| value.replace("http://s3:8333", &store.endpoint()))
    };

    let on_loopback = |word: &str| match word.split_once("=0.0.0.0:") {
        Some((flag, _)) => format!("{flag}=127.0.0.1:0"),
        None => word.to_owned(),
    };
    let coordinator = &services["coordinator"];
    let (_process, ready) = Process::spawn_ready(
        "coordinator",
        &command(coordinator, on_loopback),
        &environment(coordinator),
    );
    let cluster =
        format!("http://{}", ready["cluster"].as_str().expect("a coordinator has a cluster door"));

    let worker = &services["worker"];
    let n_workers = worker["deploy"]["replicas"].as_u64().unwrap();
    let args =
        command(worker, |word| on_loopback(word).replace("http://coordinator:5436", &cluster));
    let _workers: Vec<Process> = (0..n_workers)
        .map(|idx| Process::spawn(&format!("worker{idx}"), &args, &environment(worker)))
        .collect();

    let mut connection = Pg::connect(ready["pg"].as_str().unwrap()).unwrap();
    wait_until("the workers are members", Duration::from_secs(30), || {
        connection.scalar("SELECT count(*) FROM system.workers") == n_workers.to_string()
    });
    // Many rows in no order: few rows, or rows in order, are read by one task.
    connection.run(
        "COPY (SELECT value * 7919 % 100000 + 1 AS n FROM generate_series(1, 100000)) \
         TO 's3://lake/numbers.parquet' (FORMAT parquet)",
    );
    connection.run("SET saltlake.distribution = 'always'");
    assert_eq!(connection.scalar("SELECT sum(n) FROM numbers"), "5000050000");
    let plan =
        connection.rows("EXPLAIN SELECT n % 7, sum(n) FROM numbers GROUP BY 1").concat().join("\n");
    assert!(plan.contains(&format!("distributed over {n_workers} workers")), "{plan}");
}
