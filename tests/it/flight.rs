//! The Flight SQL door through two real clients: arrow-flight's, call by call, and the ADBC driver that Python uses.
//!
//! What every door must do (errors, memory, lost workers) is tested elsewhere; here is what only Flight has: tickets,
//! prepared statements, tokens, metadata, and that what is advertised is what is streamed.

use crate::harness::{Python, Server, ServerOptions, cpu_load, wait_until};
use crate::lake::Lake;
use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef};
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    CommandGetDbSchemas, CommandGetExportedKeys, CommandGetPrimaryKeys, CommandGetTables,
    CommandStatementQuery, ProstMessageExt, SqlInfo,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor,
    FlightInfo, PollInfo, Ticket,
};
use futures::{StreamExt, TryStreamExt, future};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

type Client = FlightSqlServiceClient<Channel>;

/// Would stream for hours.
const ENDLESS: &str =
    "SELECT a.n, b.m, c.parity FROM numbers a CROSS JOIN numbers b CROSS JOIN numbers c";

/// How long the server may compute after its client is gone.
const CANCEL_DEADLINE: Duration = Duration::from_secs(2);

/// Opens a connection of its own.
async fn connect(server: &Server) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.flight)).unwrap();
    FlightSqlServiceClient::new(endpoint.connect().await.unwrap())
}

fn ticket(info: &FlightInfo) -> Ticket {
    assert_eq!(info.endpoint.len(), 1, "{info:?}");
    info.endpoint[0].ticket.clone().unwrap()
}

/// Fetches all batches of a result, and the schema its stream began with.
async fn fetch(
    client: &mut Client,
    info: &FlightInfo,
) -> Result<(SchemaRef, Vec<RecordBatch>), FlightError> {
    read(client, ticket(info)).await
}

/// Fetches all batches of a ticket, and the schema their stream began with.
async fn read(
    client: &mut Client,
    ticket: Ticket,
) -> Result<(SchemaRef, Vec<RecordBatch>), FlightError> {
    let mut stream = client.do_get(ticket).await?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        batches.push(batch?);
    }
    let schema = stream.schema().expect("a stream begins with its schema");
    Ok((Arc::clone(schema), batches))
}

async fn query(client: &mut Client, sql: &str) -> Vec<RecordBatch> {
    let info = client.execute(sql.into(), None).await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
    fetch(client, &info).await.unwrap_or_else(|e| panic!("{sql}\n{e}")).1
}

/// Returns the only value of the only row, a text.
async fn text(client: &mut Client, sql: &str) -> String {
    let batches = query(client, sql).await;
    let batch = batches.iter().find(|batch| batch.num_rows() > 0).expect(sql);
    assert_eq!((batch.num_rows(), batch.num_columns()), (1, 1), "{sql}");
    let column = arrow::compute::cast(batch.column(0), &DataType::Utf8).unwrap();
    column.as_string::<i32>().value(0).to_owned()
}

/// Returns the command of a statement.
fn descriptor(sql: &str) -> FlightDescriptor {
    let command = CommandStatementQuery { query: sql.into(), transaction_id: None };
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

async fn poll(client: &mut Client, descriptor: FlightDescriptor) -> Result<PollInfo, Status> {
    Ok(client.inner_mut().poll_flight_info(descriptor).await?.into_inner())
}

/// Polls on until the result is there.
async fn poll_on(client: &mut Client, mut polled: PollInfo) -> Result<FlightInfo, Status> {
    while let Some(next) = polled.flight_descriptor.take() {
        assert_running(&polled);
        polled = poll(client, next).await?;
    }
    assert_eq!(polled.progress, Some(1.0));
    Ok(polled.info.expect("a poll tells of the result"))
}

/// Checks what is told of a query that goes on.
fn assert_running(polled: &PollInfo) {
    let info = polled.info.as_ref().expect("a poll tells of the result");
    assert!(info.endpoint.is_empty() && !info.schema.is_empty(), "{polled:?}");
    assert!(polled.progress.is_none_or(|share| (0.0..1.0).contains(&share)), "{polled:?}");
    assert!(polled.expiration_time.is_some(), "{polled:?}");
}

/// Returns the tickets of a result of several endpoints.
async fn tickets(client: &mut Client, sql: &str, n: usize) -> Vec<Ticket> {
    query(client, &format!("SET saltlake.flight_endpoints = {n}")).await;
    let info = client.execute(sql.into(), None).await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
    assert!(!info.ordered, "the order over several endpoints means nothing");
    assert_eq!(info.endpoint.len(), n, "{info:?}");
    info.endpoint.into_iter().map(|endpoint| endpoint.ticket.unwrap()).collect()
}

/// Returns the numbers of a first column, sorted.
fn sorted_numbers<'a>(batches: impl IntoIterator<Item = &'a RecordBatch>) -> Vec<i64> {
    let column =
        |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().to_vec();
    let mut numbers: Vec<i64> = batches.into_iter().flat_map(column).collect();
    numbers.sort_unstable();
    numbers
}

fn status(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("not a status: {other}"),
    }
}

#[tokio::test]
async fn streamed_schema_is_the_advertised_one() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut client = connect(&server).await;
    for sql in [
        "SELECT * FROM dept",
        "SELECT * FROM emp",
        "SELECT * FROM kinds",
        "SELECT * FROM nested",
        "SELECT * FROM no_rows",
        "SELECT * FROM readings",
        "SELECT count(*), sum(salary), min(name), avg(salary) FROM emp",
        "SELECT l.k, r.b FROM left_keys l FULL JOIN right_keys r USING (k)",
        "SELECT parity, count(*) FROM numbers GROUP BY ROLLUP (parity)",
        "SELECT NULL AS nothing, 1 AS one, 'a' AS text, DATE '2024-02-29' AS day",
        "EXPLAIN SELECT 1",
        "SHOW saltlake.distribution",
    ] {
        let info = client.execute(sql.into(), None).await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
        let advertised = Arc::new(Schema::try_from(info.clone()).unwrap());
        let (streamed, batches) = fetch(&mut client, &info).await.unwrap();
        assert_eq!(streamed, advertised, "{sql}");
        assert!(batches.iter().all(|batch| batch.schema() == advertised), "{sql}");
    }
}

#[tokio::test]
async fn schema_of_a_statement_is_told_without_running_it() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut client = connect(&server).await;
    let sql = "SELECT name, salary FROM emp";
    let advertised = Schema::try_from(client.execute(sql.into(), None).await.unwrap()).unwrap();
    let told = client.inner_mut().get_schema(descriptor(sql)).await.unwrap().into_inner();
    assert_eq!(Schema::try_from(told).unwrap(), advertised);
    let view = "CREATE VIEW must_not_exist AS SELECT 1";
    client.inner_mut().get_schema(descriptor(view)).await.unwrap();
    let error = client.execute("SELECT * FROM must_not_exist".into(), None).await.unwrap_err();
    assert_eq!(status(error).code(), Code::NotFound);
    let polled = poll(&mut client, descriptor(sql)).await.unwrap();
    let info = poll_on(&mut client, polled).await.unwrap();
    assert_eq!(fetch(&mut client, &info).await.unwrap().1[0].num_columns(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_go_on_until_the_result_is_there() {
    let lake = Lake::standard();
    let options = ServerOptions::default().env("SALTLAKE_COORDINATOR__MAX_RUNNING_QUERIES", "1");
    let server = Server::standalone_with(&lake, &options);
    let (mut first, mut client) = (connect(&server).await, connect(&server).await);
    let info = first.execute(ENDLESS.into(), None).await.unwrap();
    let mut running = first.do_get(ticket(&info)).await.unwrap();
    running.next().await.unwrap().unwrap();

    // It cannot end before its turn comes, which is when the other one is gone.
    let sql = "SELECT count(*) FROM numbers WHERE parity = 'even'";
    let mut polled = poll(&mut client, descriptor(sql)).await.unwrap();
    for _ in 0..2 {
        assert_running(&polled);
        let next = polled.flight_descriptor.expect("the query is not done");
        polled = poll(&mut client, next).await.unwrap();
    }
    drop(running);
    let info = poll_on(&mut client, polled).await.unwrap();
    let batches = fetch(&mut client, &info).await.unwrap().1;
    assert_eq!(sorted_numbers(&batches), [5_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_polled_for_can_be_cancelled() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut client = connect(&server).await;
    let sql = format!("SELECT sum(n + m) FROM ({ENDLESS}) AS rows_for_hours");
    let polled = poll(&mut client, descriptor(&sql)).await.unwrap();
    let polled = poll(&mut client, polled.flight_descriptor.unwrap()).await.unwrap();
    assert_running(&polled);
    assert_eq!(cancel(&mut client, &polled.info.unwrap()).await, CancelStatus::Cancelling);
    wait_until("the server is idle", CANCEL_DEADLINE, || cpu_load(server.process.pid()) < 0.2);
    let error = poll(&mut client, polled.flight_descriptor.unwrap()).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound, "{error}");
}

#[tokio::test]
async fn a_poll_tells_what_the_query_failed_with() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut client = connect(&server).await;
    let sql = "SELECT sum(10 / (n - 5000)) FROM numbers";
    let error = match poll(&mut client, descriptor(sql)).await {
        Ok(polled) => poll_on(&mut client, polled).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.metadata().get("x-saltlake-sqlstate").unwrap(), "22012", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_give_each_row_once_in_whatever_order_they_are_read() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut client = connect(&server).await;
    query(&mut client, "SET saltlake.batch_size = 100").await;
    let sql = "SELECT n, repeat('salt', 100) AS text FROM numbers";
    let all: Vec<i64> = (1..=10_000).collect();

    let mut rows = Vec::new();
    for ticket in tickets(&mut client, sql, 3).await {
        rows.extend(read(&mut client, ticket).await.unwrap().1);
    }
    assert_eq!(sorted_numbers(&rows), all, "one after another");

    let reads = tickets(&mut client, sql, 3).await.into_iter().map(|ticket| {
        let mut client = client.clone();
        async move { read(&mut client, ticket).await.unwrap().1 }
    });
    let rows = future::join_all(reads).await;
    assert_eq!(sorted_numbers(rows.iter().flatten()), all, "together");

    // All are open and the one that nobody reads yet holds up no other.
    let mut streams = Vec::new();
    for ticket in tickets(&mut client, sql, 3).await {
        streams.push(client.do_get(ticket).await.unwrap());
    }
    let mut rows = Vec::new();
    for stream in streams.into_iter().rev() {
        rows.extend(stream.try_collect::<Vec<_>>().await.unwrap());
    }
    assert_eq!(sorted_numbers(&rows), all, "the last first");
}

#[tokio::test]
async fn an_ordered_result_has_one_endpoint() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut client = connect(&server).await;
    query(&mut client, "SET saltlake.flight_endpoints = 4").await;
    for (sql, n) in [
        ("SELECT n FROM numbers", 4),
        ("SELECT n FROM numbers ORDER BY n", 1),
        ("SELECT n + 1 FROM numbers ORDER BY n LIMIT 5", 1),
        ("SHOW saltlake.flight_endpoints", 1),
        ("EXPLAIN SELECT n FROM numbers", 1),
    ] {
        let info = client.execute(sql.into(), None).await.unwrap();
        assert_eq!((info.endpoint.len(), info.ordered), (n, n == 1), "{sql}");
    }
    for value in ["0", "65", "'many'"] {
        let sql = format!("SET saltlake.flight_endpoints = {value}");
        let error = status(client.execute(sql, None).await.unwrap_err());
        assert_eq!(error.metadata().get("x-saltlake-sqlstate").unwrap(), "22023", "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_dropped_fails_the_others() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut client = connect(&server).await;
    let tickets = tickets(&mut client, ENDLESS, 3).await;
    let mut dropped = client.do_get(tickets[0].clone()).await.unwrap();
    let mut other = client.do_get(tickets[1].clone()).await.unwrap();
    dropped.next().await.unwrap().unwrap();
    other.next().await.unwrap().unwrap();
    drop(dropped);
    let ended = loop {
        match other.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break status(error),
            None => panic!("the stream ended as if it were whole"),
        }
    };
    assert_eq!(ended.code(), Code::Cancelled, "{ended}");
    let error = status(read(&mut client, tickets[2].clone()).await.unwrap_err());
    assert_eq!(error.code(), Code::NotFound, "{error}");
}

#[tokio::test]
async fn a_ticket_works_once() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut client = connect(&server).await;
    let info = client.execute("SELECT count(*) FROM emp".into(), None).await.unwrap();
    fetch(&mut client, &info).await.unwrap();
    let error = status(fetch(&mut client, &info).await.unwrap_err());
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!(error.metadata().get("x-saltlake-sqlstate").unwrap(), "34000");
}

#[tokio::test]
async fn settings_last_as_long_as_the_session_and_no_further() {
    let lake = Lake::empty();
    let server = Server::standalone(&lake);
    let show = "SHOW saltlake.distribution";
    let mut ada = connect(&server).await;
    ada.handshake("ada", "any").await.unwrap();
    query(&mut ada, "SET saltlake.distribution = 'never'").await;
    assert_eq!(text(&mut ada, show).await, "never");
    let mut elsewhere = connect(&server).await;
    elsewhere.set_token(ada.token().unwrap().clone());
    assert_eq!(text(&mut elsewhere, show).await, "never", "the token is the session");

    let mut nameless = connect(&server).await;
    assert_eq!(text(&mut nameless, show).await, "auto");
    query(&mut nameless, "SET saltlake.distribution = 'always'").await;
    assert_eq!(text(&mut nameless, show).await, "always", "a connection is a session too");
    let mut other = connect(&server).await;
    assert_eq!(text(&mut other, show).await, "auto", "but not another one's");

    let mut closing = ada.inner().clone();
    let mut request = tonic::Request::new(Action::new("CloseSession", ""));
    let bearer = format!("Bearer {}", ada.token().unwrap());
    request.metadata_mut().insert("authorization", bearer.parse().unwrap());
    closing.do_action(request).await.unwrap();
    let error = status(ada.execute("SELECT 1".into(), None).await.unwrap_err());
    assert_eq!(error.code(), Code::Unauthenticated, "{error}");
}

#[tokio::test]
async fn prepared_statements_run_with_new_parameters_each_time() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut client = connect(&server).await;
    let sql = "SELECT n, parity FROM numbers WHERE n > $1 AND n <= $2 ORDER BY n";
    let mut statement = client.prepare(sql.into(), None).await.unwrap();
    let parameters = statement.parameter_schema().unwrap();
    let types: Vec<_> = parameters.fields().iter().map(|field| field.data_type()).collect();
    assert_eq!(types, [&DataType::Int64, &DataType::Int64]);
    let dataset = statement.dataset_schema().unwrap().clone();
    let bind = |low, high| {
        let column = |value| Arc::new(Int64Array::from(vec![value])) as _;
        RecordBatch::try_from_iter([("$1", column(low)), ("$2", column(high))]).unwrap()
    };
    for (low, high) in [(0_i64, 3_i64), (9_998, 10_000), (5, 5)] {
        statement.set_parameters(bind(low, high)).unwrap();
        let info = statement.execute().await.unwrap();
        let (schema, batches) = fetch(&mut client, &info).await.unwrap();
        assert_eq!(schema.as_ref(), &dataset);
        let column =
            |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().to_vec();
        let numbers: Vec<i64> = batches.iter().flat_map(column).collect();
        assert_eq!(numbers, (low + 1..=high).collect::<Vec<_>>());
    }
    statement.close().await.unwrap();
    let mut unbound = client.prepare("SELECT $1 + 1".into(), None).await.unwrap();
    assert_eq!(status(unbound.execute().await.unwrap_err()).code(), Code::InvalidArgument);
}

#[tokio::test]
async fn updates_tell_the_rows_they_affected() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut client = connect(&server).await;
    let view = "CREATE VIEW rich AS SELECT * FROM emp WHERE salary > 6000";
    assert_eq!(client.execute_update(view.into(), None).await.unwrap(), 0);
    assert_eq!(text(&mut client, "SELECT count(*) FROM rich").await, "4");
    let file = lake.path().join("out.parquet");
    let copy = format!("COPY (SELECT * FROM emp) TO '{}' (FORMAT parquet)", file.display());
    assert_eq!(client.execute_update(copy, None).await.unwrap(), 12);
    let info = client.execute("DROP VIEW rich".into(), None).await.unwrap();
    let error = client.execute("SELECT * FROM rich".into(), None).await.unwrap_err();
    assert_eq!(status(error).code(), Code::NotFound, "a command runs when it is announced");
    assert!(fetch(&mut client, &info).await.unwrap().1.is_empty());
}

#[tokio::test]
async fn metadata_lists_what_the_lake_holds() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut client = connect(&server).await;
    query(&mut client, "CREATE SCHEMA nyc").await;
    query(&mut client, "CREATE VIEW nyc.zones AS SELECT 1 AS zone").await;
    let info = client.get_catalogs().await.unwrap();
    assert_eq!(column(&fetch(&mut client, &info).await.unwrap().1, 0), ["lake"]);
    let schemas =
        CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: Some("n_c".into()) };
    let info = client.get_db_schemas(schemas).await.unwrap();
    assert_eq!(column(&fetch(&mut client, &info).await.unwrap().1, 1), ["nyc"]);

    let tables = CommandGetTables {
        db_schema_filter_pattern: Some("public".into()),
        table_name_filter_pattern: Some("%ept".into()),
        include_schema: true,
        ..CommandGetTables::default()
    };
    let info = client.get_tables(tables).await.unwrap();
    let batches = fetch(&mut client, &info).await.unwrap().1;
    assert_eq!(
        (column(&batches, 2), column(&batches, 3)),
        (vec!["dept".into()], vec!["TABLE".into()])
    );
    let listed =
        arrow_flight::IpcMessage(batches[0].column(4).as_binary::<i32>().value(0).to_vec().into());
    let selected = client.execute("SELECT * FROM dept".into(), None).await.unwrap();
    assert_eq!(Schema::try_from(listed).unwrap(), Schema::try_from(selected).unwrap());

    let views =
        CommandGetTables { table_types: vec!["VIEW".into()], ..CommandGetTables::default() };
    let info = client.get_tables(views).await.unwrap();
    assert_eq!(column(&fetch(&mut client, &info).await.unwrap().1, 2), ["zones"]);
    let elsewhere =
        CommandGetTables { catalog: Some("attic".into()), ..CommandGetTables::default() };
    let info = client.get_tables(elsewhere).await.unwrap();
    assert!(column(&fetch(&mut client, &info).await.unwrap().1, 2).is_empty());
}

/// Returns a column of texts.
fn column(batches: &[RecordBatch], idx: usize) -> Vec<String> {
    let texts = |batch: &RecordBatch| {
        let column = batch.column(idx).as_string::<i32>().clone();
        (0..batch.num_rows()).map(move |row| column.value(row).to_owned()).collect::<Vec<_>>()
    };
    batches.iter().flat_map(texts).collect()
}

#[tokio::test]
async fn drivers_are_told_what_the_server_is() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut client = connect(&server).await;
    let wanted = vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerTransaction];
    let info = client.get_sql_info(wanted).await.unwrap();
    let facts = fetch(&mut client, &info).await.unwrap().1;
    let values = arrow::util::pretty::pretty_format_batches(&facts).unwrap().to_string();
    assert!(values.contains("{string_value=Saltlake}"), "{values}");
    assert!(values.contains("{int32_bitmask=0}"), "{values}");
    let table = "dept".to_owned();
    let keys = CommandGetPrimaryKeys { table: table.clone(), ..Default::default() };
    let info = client.get_primary_keys(keys).await.unwrap();
    let (schema, batches) = fetch(&mut client, &info).await.unwrap();
    assert_eq!(schema.fields().len(), 6);
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    let keys = CommandGetExportedKeys { table, ..Default::default() };
    let info = client.get_exported_keys(keys).await.unwrap();
    assert_eq!(fetch(&mut client, &info).await.unwrap().0.fields().len(), 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_by_flight_info_ends_the_stream_and_frees_the_server() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut client = connect(&server).await;
    let info = client.execute(ENDLESS.into(), None).await.unwrap();
    let mut stream = client.do_get(ticket(&info)).await.unwrap();
    stream.next().await.unwrap().unwrap();
    assert_eq!(cancel(&mut client, &info).await, CancelStatus::Cancelling);
    let ended = loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break status(error),
            None => panic!("the stream ended as if it were whole"),
        }
    };
    assert_eq!(ended.code(), Code::Cancelled, "{ended}");
    assert_eq!(ended.metadata().get("x-saltlake-sqlstate").unwrap(), "57014");
    wait_until("the server is idle", CANCEL_DEADLINE, || cpu_load(server.process.pid()) < 0.2);
    assert_eq!(cancel(&mut client, &info).await, CancelStatus::NotCancellable);
}

/// Cancels a result by its FlightInfo.
async fn cancel(client: &mut Client, info: &FlightInfo) -> CancelStatus {
    let body = CancelFlightInfoRequest::new(info.clone()).encode_to_vec();
    let action = Action::new("CancelFlightInfo", body);
    let answers = client.inner_mut().do_action(action).await.unwrap().into_inner();
    let answers: Vec<_> = answers.try_collect().await.unwrap();
    CancelFlightInfoResult::decode(answers[0].body.clone()).unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_dropped_frees_the_server() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut client = connect(&server).await;
    let info = client.execute(ENDLESS.into(), None).await.unwrap();
    let mut stream = client.do_get(ticket(&info)).await.unwrap();
    for _ in 0..10 {
        stream.next().await.unwrap().unwrap();
    }
    drop(stream);
    wait_until("the server is idle", CANCEL_DEADLINE, || cpu_load(server.process.pid()) < 0.2);
    assert_eq!(text(&mut client, "SELECT count(*) FROM emp").await, "12");
}

#[tokio::test]
async fn messages_stay_below_the_limit_of_clients() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut client = connect(&server).await;
    // One batch of the engine holds 8,192 rows, here 32 MB; tonic's client refuses messages above 4 MiB.
    let sql = "SELECT n, repeat('salt', 1000) AS text FROM numbers";
    let batches = query(&mut client, sql).await;
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 10_000);
}

#[tokio::test]
async fn several_statements_are_refused() {
    let lake = Lake::empty();
    let server = Server::standalone(&lake);
    let mut client = connect(&server).await;
    for sql in ["SELECT 1; SELECT 2", "", "-- nothing"] {
        let error = status(client.execute(sql.into(), None).await.unwrap_err());
        assert_eq!(error.code(), Code::InvalidArgument, "{sql}: {error}");
        assert!(error.message().contains("SQLSTATE: 42601"), "{sql}: {error}");
    }
}

#[test]
fn the_adbc_driver_reads_types_metadata_and_errors() {
    let Some(python) = Python::find() else { return };
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let output = python.run(include_str!("flight/adbc.py"), &[&server.flight]);
    let (out, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("all checks passed"), "{out}\n{error}");
}
