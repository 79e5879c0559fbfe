//! The backend over Flight SQL: a server elsewhere.
//!
//! One HTTP/2 connection is one session of the server, so `SET` holds as long as the shell runs. A query is
//! announced (GetFlightInfo) and then fetched (DoGet); dropping its stream resets the HTTP/2 stream, and the server
//! cancels the query.

use super::backend::{Backend, Reply};
use super::diagnostic::{Diagnostic, Failure};
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::FlightInfo;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use url::Url;

/// How long the shell waits for a server to accept the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Pings find a server that is gone without a word while a long query runs.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Largest message accepted; a record batch of wide rows is well above tonic's default of 4 MiB.
const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// Default port of the Flight SQL frontend.
const DEFAULT_PORT: u16 = 5434;

type Client = FlightSqlServiceClient<Channel>;

/// Runs statements on a server.
pub struct Remote {
    /// Cloned for each statement: the client's calls take `&mut self`, clones share the connection.
    client: Client,
    address: String,
}

impl Remote {
    /// Connects to a server, given as `http://host:port`, `grpc://host:port` or `host:port`.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a text that is no address, [`Failure::Connect`] when nobody answers there.
    pub async fn connect(url: &str) -> Result<Self, Failure> {
        let address = parse_address(url)?;
        let refused = |error: tonic::transport::Error| Failure::Connect {
            target: address.clone(),
            reason: root_cause(&error),
            hint: Some("is `saltlake serve` running there? --url takes its flight address".into()),
        };
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| Failure::usage(format!("{url}: {error}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_while_idle(true)
            .connect()
            .await
            .map_err(refused)?;
        let inner = arrow_flight::flight_service_client::FlightServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { client: Client::new_from_inner(inner), address })
    }

    /// Returns the rows of all endpoints of an announced result, one after the other.
    fn rows(
        &self,
        info: FlightInfo,
    ) -> BoxStream<'static, Result<arrow::array::RecordBatch, Failure>> {
        let client = self.client.clone();
        let tickets = info.endpoint.into_iter().filter_map(|endpoint| endpoint.ticket);
        stream::iter(tickets)
            .then(move |ticket| {
                let mut client = client.clone();
                async move { client.do_get(ticket).await }
            })
            .try_flatten()
            .map_err(|error| failure(&error))
            .boxed()
    }
}

#[async_trait]
impl Backend for Remote {
    async fn execute(&self, sql: &str) -> Result<Reply, Failure> {
        let mut client = self.client.clone();
        let info = client.execute(sql.to_string(), None).await.map_err(|error| failure(&error))?;
        let schema = info.clone().try_decode_schema().unwrap_or_else(|_| Schema::empty());
        if schema.fields().is_empty() {
            // The statement ran when it was announced. Our servers send its command tag along.
            let tag = String::from_utf8_lossy(&info.app_metadata).into_owned();
            let tag = if tag.is_empty() { "OK".to_string() } else { tag };
            return Ok(Reply::Done { tag });
        }
        let schema: SchemaRef = Arc::new(schema);
        Ok(Reply::Rows { schema, stream: self.rows(info) })
    }

    fn describe(&self) -> String {
        format!("server {}", self.address)
    }
}

/// Returns `host:port` of an address as the user gave it.
fn parse_address(text: &str) -> Result<String, Failure> {
    let with_scheme =
        if text.contains("://") { text.to_string() } else { format!("http://{text}") };
    let url = Url::parse(&with_scheme)
        .map_err(|error| Failure::usage(format!("--url {text}: {error}")))?;
    match url.scheme() {
        "http" | "grpc" | "grpc+tcp" => {}
        "https" | "grpc+tls" => {
            return Err(Failure::usage(format!("--url {text}: TLS is not supported yet")));
        }
        scheme => {
            return Err(Failure::usage(format!(
                "--url {text}: unknown scheme \"{scheme}\", expected http://HOST:PORT"
            )));
        }
    }
    let host = url.host_str().unwrap_or_default();
    if host.is_empty() {
        return Err(Failure::usage(format!("--url {text}: no host, expected http://HOST:PORT")));
    }
    // `Url` hides port 80 because it is the default of http.
    let port = url.port().unwrap_or(if with_scheme.contains(":80") { 80 } else { DEFAULT_PORT });
    Ok(format!("{host}:{port}"))
}

/// Returns the innermost cause: tonic's own text is "transport error" whatever happened.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Returns what the shell makes of an error of the protocol.
fn failure(error: &FlightError) -> Failure {
    match error {
        FlightError::Tonic(status) => Failure::statement(Diagnostic::from(status.as_ref())),
        other => Failure::statement(Diagnostic {
            sqlstate: "08P01".to_string(),
            message: other.to_string(),
            ..Diagnostic::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_documented_form() {
        for (text, expected) in [
            ("http://127.0.0.1:5434", "127.0.0.1:5434"),
            ("grpc://db.example:9000", "db.example:9000"),
            ("127.0.0.1:7", "127.0.0.1:7"),
            ("localhost", "localhost:5434"),
            ("http://[::1]:5434", "[::1]:5434"),
            ("http://lake:80", "lake:80"),
        ] {
            assert_eq!(parse_address(text).expect(text), expected);
        }
    }

    #[test]
    fn wrong_addresses_are_usage_errors() {
        for text in ["ftp://x:1", "https://x:1", "http://", "a b", "x:notaport"] {
            let failure = parse_address(text).expect_err(text);
            assert_eq!(failure.exit_code(), 2, "{text}");
        }
    }
}
