//! The HTTP door: SQL with nothing but HTTP, and what operators ask of a process.

use crate::harness::{Server, cpu_load, wait_until};
use crate::lake::Lake;
use arrow::ipc::reader::StreamReader;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// Would stream for hours.
const ENDLESS: &str = "SELECT a.n, b.m FROM numbers a CROSS JOIN numbers b CROSS JOIN numbers c";

async fn post(server: &Server, path: &str, sql: &str) -> Response {
    let url = format!("http://{}{path}", server.http);
    Client::new().post(url).body(sql.to_owned()).send().await.unwrap()
}

async fn text(server: &Server, path: &str, sql: &str) -> String {
    let response = post(server, path, sql).await;
    assert_eq!(response.status(), 200, "{sql}");
    response.text().await.unwrap()
}

#[test]
fn a_running_server_is_healthy_ready_and_measured() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    server.http_get("/health");
    server.http_get("/ready");
    server.scalar("SELECT count(*) FROM emp");
    let metrics = server.http_get("/metrics");
    assert!(metrics.contains("saltlake_"), "{metrics}");
    assert_eq!(server.http_get_any("/nothing").0, 404);
}

#[tokio::test]
async fn every_format_holds_the_same_rows() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let sql = "SELECT emp_id, name, salary, hired FROM emp WHERE emp_id < 3 ORDER BY emp_id";
    let body: Value = serde_json::from_str(&text(&server, "/v1/sql", sql).await).unwrap();
    let names: Vec<&Value> =
        body["columns"].as_array().unwrap().iter().map(|column| &column["name"]).collect();
    assert_eq!(names, ["emp_id", "name", "salary", "hired"]);
    let expected = json!([[1, "Ada", 9000.00, "2015-03-01"], [2, "Bob", 6500.50, "2016-07-15"]]);
    assert_eq!(body["rows"], expected);
    let lines = text(&server, "/v1/sql?format=ndjson", sql).await;
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let ada = json!({"emp_id": 1, "name": "Ada", "salary": 9000.00, "hired": "2015-03-01"});
    assert_eq!((first, lines.lines().count()), (ada, 2));
    let csv = text(&server, "/v1/sql?format=csv", sql).await;
    assert_eq!(
        csv,
        "emp_id,name,salary,hired\n1,Ada,9000.00,2015-03-01\n2,Bob,6500.50,2016-07-15\n"
    );
    let arrow = post(&server, "/v1/sql?format=arrow", sql).await.bytes().await.unwrap();
    let batches: Vec<_> = StreamReader::try_new(arrow.as_ref(), None).unwrap().collect();
    assert_eq!(batches.iter().map(|batch| batch.as_ref().unwrap().num_rows()).sum::<usize>(), 2);
}

#[tokio::test]
async fn commands_run_and_tell_their_tag() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let url = format!("http://{}/v1/sql", server.http);
    let body = json!({"sql": "CREATE VIEW rich AS SELECT * FROM emp WHERE salary > 6000"});
    let response = Client::new().post(url).json(&body).send().await.unwrap();
    assert_eq!(response.json::<Value>().await.unwrap(), json!({"tag": "CREATE VIEW"}));
    assert_eq!(
        text(&server, "/v1/sql?format=csv", "SELECT count(*) AS n FROM rich").await,
        "n\n4\n"
    );
}

#[tokio::test]
async fn errors_have_a_status_and_an_sqlstate() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    for (sql, status, sqlstate, mentions) in [
        ("SELECT * FROM nowhere", 404, "42P01", "nowhere"),
        ("SELEC 1", 400, "42601", "SELEC"),
        ("SELECT 1 / 0", 400, "22012", "division by zero"),
        ("DELETE FROM emp", 400, "25006", ""),
        ("LISTEN something", 501, "0A000", "not supported"),
    ] {
        let response = post(&server, "/v1/sql", sql).await;
        assert_eq!(response.status(), status, "{sql}");
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["sqlstate"], sqlstate, "{sql}: {error}");
        assert!(error["message"].as_str().unwrap().contains(mentions), "{sql}: {error}");
    }
    let error: Value =
        post(&server, "/v1/sql", "SELECT salry FROM emp").await.json().await.unwrap();
    assert_eq!(error["position"], 8, "{error}");
    assert!(error["hint"].as_str().unwrap().contains("salary"), "{error}");
    assert_eq!(post(&server, "/v1/sql?format=xml", "SELECT 1").await.status(), 406);
}

#[tokio::test]
async fn an_error_after_rows_is_told_in_the_body() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    // The rows before the wrong one fill many batches, so that the answer has begun.
    let sql = "SELECT 100 / (value - 290000) AS q FROM generate_series(1, 300000)";
    let body = text(&server, "/v1/sql?format=ndjson", sql).await;
    let last: Value = serde_json::from_str(body.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"]["sqlstate"], "22012", "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_cancelled_by_its_id() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut response = post(&server, "/v1/sql?format=ndjson", ENDLESS).await;
    let id = response.headers()["x-saltlake-query-id"].to_str().unwrap().to_owned();
    assert!(response.chunk().await.unwrap().is_some());
    let url = format!("http://{}/v1/queries/{id}", server.http);
    let cancelled = Client::new().delete(&url).send().await.unwrap();
    assert_eq!(cancelled.status(), StatusCode::NO_CONTENT);
    let mut rest = Vec::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        rest = chunk.to_vec();
    }
    assert!(String::from_utf8_lossy(&rest).contains("57014"), "the body ends with the error");
    let idle = || cpu_load(server.process.pid()) < 0.2;
    wait_until("the server is idle", Duration::from_secs(2), idle);
    assert_eq!(Client::new().delete(&url).send().await.unwrap().status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_frees_the_server() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut response = post(&server, "/v1/sql?format=csv", ENDLESS).await;
    assert!(response.chunk().await.unwrap().is_some());
    drop(response);
    let idle = || cpu_load(server.process.pid()) < 0.2;
    wait_until("the server is idle", Duration::from_secs(2), idle);
}

#[tokio::test]
async fn queries_are_listed_newest_first() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let response = post(&server, "/v1/sql", "SELECT count(*) FROM emp").await;
    let id = response.headers()["x-saltlake-query-id"].to_str().unwrap().to_owned();
    response.bytes().await.unwrap();
    post(&server, "/v1/sql", "SELECT 1 / 0").await;
    let listed: Value = serde_json::from_str(&server.http_get("/queries")).unwrap();
    let states: Vec<&Value> =
        listed.as_array().unwrap().iter().map(|query| &query["state"]).collect();
    assert_eq!(states, ["failed", "finished"]);
    let (failed, finished) = (&listed[0], &listed[1]);
    assert!(failed["error"].as_str().unwrap().contains("22012"), "{failed}");
    assert_eq!((&finished["query_id"], &finished["rows"]), (&json!(id), &json!(1)), "{finished}");
    assert_eq!(finished["frontend"], "http");
}

#[tokio::test]
async fn web_pages_are_refused() {
    let lake = Lake::empty();
    let server = Server::standalone(&lake);
    let url = format!("http://{}/v1/sql", server.http);
    for (name, value) in [("origin", "http://evil.example"), ("host", "evil.example")] {
        let request = Client::new().post(&url).header(name, value).body("SELECT 1");
        assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN, "{name}");
    }
}
