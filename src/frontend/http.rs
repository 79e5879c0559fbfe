//! The HTTP front door: health, metrics, and SQL for clients that have nothing but HTTP.
//!
//! `serve` is called once by the role that accepts statements. Every request runs in a session of its own, so
//! settings do not last. Rows are streamed: dropping the connection cancels the query. [`mod@format`] writes the rows.
//!
//! | path | what |
//! |---|---|
//! | `GET /health` | the process is alive |
//! | `GET /ready` | queries are accepted |
//! | `GET /metrics` | Prometheus text |
//! | `POST /v1/sql` | runs one statement; body is SQL or `{"sql": …}`; `?format=` or `Accept` choose the form |
//! | `GET /queries` | running and recent queries, the newest first |
//! | `DELETE /v1/queries/{id}` | cancels a query |
//!
//! Browsers are refused (`Origin`, a public `Host` on loopback): otherwise any web page could run statements on
//! the server of whoever opened it.

mod format;
mod security;

use crate::coordinator::query::QueryInfo;
use crate::coordinator::{Coordinator, Outcome, Rows, Session, SessionOptions};
use crate::error::{Class, Error, Report, Result};
use crate::frontend::Security;
use crate::frontend::flight::status;
use crate::frontend::functions;
use arrow::record_batch::RecordBatch;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use chrono::{DateTime, SecondsFormat, Utc};
use datafusion::error::DataFusionError;
use format::{Format, Writer};
use futures::{FutureExt, StreamExt, stream};
use metrics_exporter_prometheus::PrometheusHandle;
use security::{Caller, TlsListener};
use serde::Deserialize;
use serde_json::json;
use std::future::IntoFuture;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use uuid::Uuid;

/// Longest statement accepted.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Header that tells the id of the query whose rows follow.
const QUERY_ID_HEADER: &str = "x-saltlake-query-id";

/// What the HTTP frontend needs from the role that runs it.
#[derive(Clone)]
pub struct HttpOptions {
    /// Where `/metrics` reads; without it the path answers 404.
    pub metrics: Option<PrometheusHandle>,
    /// Whether queries are accepted, for `/ready`.
    pub ready: watch::Receiver<bool>,
    /// How long running requests may take to end after shutdown began.
    pub drain: Duration,
    /// Who may come in, and whether they are encrypted.
    pub security: Security,
}

/// What every request can reach.
#[derive(Clone)]
struct App {
    coordinator: Arc<Coordinator>,
    options: HttpOptions,
    /// Address the server listens on, to tell a foreign `Host`.
    listen: IpAddr,
}

/// Serves HTTP on `listener` until `shutdown`, then lets running requests end for `options.drain`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    coordinator: Arc<Coordinator>,
    options: HttpOptions,
    shutdown: CancellationToken,
) -> Result<()> {
    let drain = options.drain;
    let listen = listener.local_addr().map_err(listener_failed)?.ip();
    let tls = options.security.tls.clone();
    let router = router(App { coordinator, options, listen });
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    let stop = shutdown.clone().cancelled_owned();
    let server = match tls {
        None => axum::serve(listener, router).with_graceful_shutdown(stop).into_future().boxed(),
        Some(tls) => {
            let listener = TlsListener::new(listener, tls).map_err(listener_failed)?;
            axum::serve(listener, router).with_graceful_shutdown(stop).into_future().boxed()
        }
    };
    tokio::select! {
        served = server => served.map_err(listener_failed),
        () = deadline => Ok(()),
    }
}

/// Returns what the role that runs this frontend is told when it cannot go on.
fn listener_failed(source: std::io::Error) -> Error {
    Error::Io { action: "the HTTP listener failed".to_string(), source }
}

/// Returns the paths and what answers them.
fn router(app: App) -> Router {
    Router::new()
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/sql", post(run_statement))
        .route("/queries", get(queries))
        .route("/v1/queries/{id}", delete(cancel_query))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "42704", "there is no such path") })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(app.clone(), security::require_password))
        .layer(middleware::from_fn_with_state(app.clone(), refuse_browsers))
        .with_state(app)
}

/// Answers whether queries are accepted.
async fn ready(State(app): State<App>) -> Response {
    match *app.options.ready.borrow() {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
    }
}

/// Answers with all metrics as Prometheus text.
async fn metrics(State(app): State<App>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    match &app.options.metrics {
        Some(metrics) => (kind, metrics.render()).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "0A000", "metrics are not recorded"),
    }
}

/// Query string of `/v1/sql`.
#[derive(Deserialize)]
struct SqlParameters {
    format: Option<String>,
}

/// JSON body of `/v1/sql`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SqlBody {
    sql: String,
}

/// Runs one statement and streams its rows.
async fn run_statement(
    State(app): State<App>,
    Extension(Caller(user)): Extension<Caller>,
    Query(parameters): Query<SqlParameters>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let format = match Format::choose(parameters.format.as_deref(), text(&headers, header::ACCEPT))
    {
        Ok(format) => format,
        Err(message) => return refuse(StatusCode::NOT_ACCEPTABLE, "22023", &message),
    };
    let sql = match statement_of(&headers, body) {
        Ok(sql) => sql,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, "22023", &message),
    };
    let started = start(&app.coordinator, user, &headers, &sql).await;
    match started {
        Ok(Started::Rows(query, first)) => stream_rows(query, first, format),
        Ok(Started::Done(tag)) => Json(json!({ "tag": tag })).into_response(),
        Err(error) => error_response(&error),
    }
}

/// A statement that began well.
enum Started {
    /// A query, with its first batch.
    Rows(Running, Option<RecordBatch>),
    /// A command, with its tag.
    Done(String),
}

/// A query whose rows are being sent.
struct Running {
    rows: Rows,
    /// Held until the last row: closing a session cancels what it runs.
    _session: Arc<Session>,
}

/// Runs a statement up to its first batch, so that an early error still has a status code to be told by.
async fn start(
    coordinator: &Arc<Coordinator>,
    user: String,
    headers: &HeaderMap,
    sql: &str,
) -> Result<Started> {
    let session = coordinator.open_session(SessionOptions {
        user,
        application_name: text(headers, header::USER_AGENT).to_string(),
        frontend: "http",
        extra_functions: functions::all(),
        ..SessionOptions::default()
    })?;
    match session.execute(sql).await? {
        Outcome::Done { tag } => Ok(Started::Done(tag)),
        Outcome::Rows(mut rows) => {
            let first = rows.stream.next().await.transpose()?;
            Ok(Started::Rows(Running { rows, _session: session }, first))
        }
    }
}

/// Returns the response that streams a query's rows.
fn stream_rows(query: Running, first: Option<RecordBatch>, format: Format) -> Response {
    let query_id = query.rows.query_id;
    let writer = match Writer::new(format, &query.rows.schema, query_id) {
        Ok(writer) => writer,
        Err(error) => return error_response(&error),
    };
    let state = Streaming::First(first, query, writer);
    let body = Body::from_stream(stream::try_unfold(state, next_chunk));
    let mut response = ([(header::CONTENT_TYPE, format.media_type())], body).into_response();
    if let Ok(value) = HeaderValue::from_str(&query_id.to_string()) {
        response.headers_mut().insert(QUERY_ID_HEADER, value);
    }
    response
}

/// Where a response is in its rows.
enum Streaming {
    /// The batch that was read before the response began.
    First(Option<RecordBatch>, Running, Writer),
    /// The rest.
    Rest(Running, Writer),
    /// All is written.
    End,
}

/// Returns the next part of a body, or `None` at its end.
///
/// # Errors
/// When rows fail and the form has no place to say so: the connection is then cut, so that the client sees that the
/// body is not complete.
async fn next_chunk(state: Streaming) -> Result<Option<(Vec<u8>, Streaming)>> {
    let (batch, query, mut writer) = match state {
        Streaming::First(batch, query, writer) => (batch.map(Ok), query, writer),
        Streaming::Rest(mut query, writer) => (query.rows.stream.next().await, query, writer),
        Streaming::End => return Ok(None),
    };
    let written = match batch {
        Some(Ok(batch)) => writer.write(&batch),
        Some(Err(error)) => Err(error.into()),
        None => return Ok(Some((writer.finish()?, Streaming::End))),
    };
    match written {
        Ok(chunk) => Ok(Some((chunk, Streaming::Rest(query, writer)))),
        Err(error) => {
            let report = error.report();
            status::log(&report, &error);
            let ending = writer.fail(&report_json(&report)).ok_or(error)?;
            Ok(Some((ending, Streaming::End)))
        }
    }
}

/// Cancels a query by its id.
async fn cancel_query(State(app): State<App>, Path(id): Path<String>) -> Response {
    match Uuid::parse_str(&id) {
        Ok(id) if app.coordinator.cancel_query(id) => StatusCode::NO_CONTENT.into_response(),
        _ => refuse(StatusCode::NOT_FOUND, "42704", "no such query is running"),
    }
}

/// Answers with running and recent queries.
async fn queries(State(app): State<App>) -> Json<serde_json::Value> {
    let queries = app.coordinator.queries();
    Json(queries.iter().rev().map(query_json).collect())
}

/// Returns a query as a client gets it; the names are those of `system.queries`.
fn query_json(query: &QueryInfo) -> serde_json::Value {
    let started = DateTime::<Utc>::from(query.started);
    json!({
        "query_id": query.id.to_string(),
        "state": query.state.name(),
        "user": query.user,
        "frontend": query.frontend,
        "pid": query.session_pid,
        "started": started.to_rfc3339_opts(SecondsFormat::Micros, true),
        "planning_seconds": query.planning.as_secs_f64(),
        "elapsed_seconds": query.elapsed.as_secs_f64(),
        "rows": query.n_rows,
        "attempts": query.attempts,
        "placement": query.placement,
        "error": query.error,
        "sql": query.sql,
    })
}

/// Returns the statement of a body.
fn statement_of(headers: &HeaderMap, body: String) -> Result<String, String> {
    if !text(headers, header::CONTENT_TYPE).starts_with("application/json") {
        return Ok(body);
    }
    let body: SqlBody = serde_json::from_str(&body)
        .map_err(|error| format!("the body is not {{\"sql\": …}}: {error}"))?;
    Ok(body.sql)
}

/// Returns a header as text; empty when it is missing.
fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// Refuses what a web page could have sent.
async fn refuse_browsers(State(app): State<App>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = text(headers, header::HOST);
    if headers.contains_key(header::ORIGIN) || (app.listen.is_loopback() && is_public_name(host)) {
        let message = "requests from web pages are refused";
        return refuse(StatusCode::FORBIDDEN, "42501", message);
    }
    next.run(request).await
}

/// Returns whether a `Host` header is a public DNS name. On a loopback listener only a name that an attacker points
/// at 127.0.0.1 looks so; addresses and names without a dot cannot be theirs.
fn is_public_name(host: &str) -> bool {
    let is_address = host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let in_brackets = name.starts_with('[');
    name.contains('.') && !is_address && !in_brackets && name.parse::<IpAddr>().is_err()
}

/// Returns the response to an error, and logs the error: here it stops.
fn error_response(error: &Error) -> Response {
    let report = error.report();
    status::log(&report, error);
    (http_code(status::code(report.sqlstate)), Json(report_json(&report))).into_response()
}

/// Returns the response to a request that never became a statement.
fn refuse(code: StatusCode, sqlstate: &'static str, message: &str) -> Response {
    let report = Report {
        class: Class::User,
        sqlstate,
        message: message.to_string(),
        detail: None,
        hint: None,
        position: None,
    };
    (code, Json(report_json(&report))).into_response()
}

/// Returns a report as a client gets it.
fn report_json(report: &Report) -> serde_json::Value {
    json!({
        "sqlstate": report.sqlstate,
        "message": report.message,
        "detail": report.detail,
        "hint": report.hint,
        "position": report.position,
    })
}

/// Returns the HTTP status of a gRPC code, as google.rpc.Code maps them.
fn http_code(code: Code) -> StatusCode {
    let number = match code {
        Code::Ok => 200,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::ResourceExhausted => 429,
        Code::Cancelled => 499,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
        Code::Internal | Code::DataLoss | Code::Unknown => 500,
    };
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Returns an error of arrow as one of the server.
fn from_arrow(error: arrow::error::ArrowError) -> Error {
    DataFusionError::from(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dns_names_with_a_dot_are_public() {
        for (host, expected) in [
            ("localhost:5435", false),
            ("127.0.0.1:5435", false),
            ("127.0.0.1", false),
            ("[::1]:5435", false),
            ("[::1]", false),
            ("saltlake:5435", false),
            ("", false),
            ("evil.example:5435", true),
            ("localhost.evil.example", true),
        ] {
            assert_eq!(is_public_name(host), expected, "{host}");
        }
    }

    #[test]
    fn a_json_body_carries_the_statement() {
        let mut headers = HeaderMap::new();
        assert_eq!(statement_of(&headers, "SELECT 1".into()), Ok("SELECT 1".into()));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert_eq!(statement_of(&headers, r#"{"sql": "SELECT 2"}"#.into()), Ok("SELECT 2".into()));
        assert!(statement_of(&headers, r#"{"query": "SELECT 2"}"#.into()).is_err());
    }

    #[test]
    fn statuses_follow_the_sqlstate() {
        let of = |sqlstate| http_code(status::code(sqlstate)).as_u16();
        assert_eq!([of("42601"), of("42P01"), of("42501"), of("53300")], [400, 404, 403, 429]);
        assert_eq!([of("57014"), of("58000"), of("XX000"), of("0A000")], [499, 503, 500, 501]);
    }
}
