//! The backend over Flight SQL: a server elsewhere.
//!
//! One HTTP/2 connection is one session of the server, so `SET` holds as long as the shell runs. A query is
//! announced (GetFlightInfo) and then fetched (DoGet); dropping its stream resets the HTTP/2 stream, and the server
//! cancels the query. A name and a password go with every call, as HTTP's basic authentication.

use super::LoginArgs;
use super::backend::{Backend, Reply};
use super::diagnostic::{Diagnostic, Failure};
use super::target::{Target, Tls};
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::FlightInfo;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// How long the shell waits for a server to accept the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Pings find a server that is gone without a word while a long query runs.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Largest message accepted; a record batch of wide rows is well above tonic's default of 4 MiB.
const MAX_MESSAGE_BYTES: usize = 1 << 30;

type Client = FlightSqlServiceClient<Channel>;

/// Runs statements on a server.
pub struct Remote {
    /// Cloned for each statement: the client's calls take `&mut self`, clones share the connection.
    client: Client,
    address: String,
}

impl Remote {
    /// Connects to a server that asks nobody who they are.
    ///
    /// # Errors
    /// As [`Remote::log_in`].
    pub async fn connect(url: &str) -> Result<Self, Failure> {
        Self::log_in(Target::parse(url, &LoginArgs::default())?, |_| None).await
    }

    /// Connects to a server and logs in; `ask` is asked for a password that is wanted and not known.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a certificate that cannot be read, [`Failure::Connect`] when nobody answers there or the
    /// user is not let in.
    pub(super) async fn log_in(
        target: Target,
        ask: impl Fn(&str) -> Option<Result<String, Failure>>,
    ) -> Result<Self, Failure> {
        let channel = open(&target).await?;
        let inner = arrow_flight::flight_service_client::FlightServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let client = Client::new_from_inner(inner);
        let remote = Self { client, address: target.address.clone() };
        if target.user.is_none() && target.password.is_none() {
            return Ok(remote);
        }
        let user = target.user.clone().unwrap_or_default();
        let first = target.password.clone().unwrap_or_default();
        match remote.logged_in(&user, &first).await {
            Err(error) if target.password.is_none() && is_refusal(&error) => match ask(&user) {
                Some(password) => {
                    let logged_in = remote.logged_in(&user, &password?).await;
                    logged_in.map_err(|error| remote.not_logged_in(&error))
                }
                None => Err(remote.not_logged_in(&error)),
            },
            outcome => outcome.map_err(|error| remote.not_logged_in(&error)),
        }
    }

    /// Returns the connection with a user's name and password on every call, once the server has taken them.
    async fn logged_in(&self, user: &str, password: &str) -> Result<Self, FlightError> {
        let mut client = self.client.clone();
        let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
        client.set_header("authorization", format!("Basic {credentials}"));
        client.clone().get_table_types().await?;
        Ok(Self { client, address: self.address.clone() })
    }

    fn not_logged_in(&self, error: &FlightError) -> Failure {
        let hint = match is_refusal(error) {
            true => "name the user in --url or --user, the password in PGPASSWORD",
            false => "does the server want an encrypted connection? --url https://HOST:PORT",
        };
        Failure::Connect {
            target: self.address.clone(),
            reason: failure(error).to_string(),
            hint: Some(hint.to_string()),
        }
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

impl Remote {
    async fn run(&self, sql: &str) -> Result<Reply, Failure> {
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
}

impl Backend for Remote {
    fn execute<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<Reply, Failure>> {
        Box::pin(self.run(sql))
    }

    fn describe(&self) -> String {
        format!("server {}", self.address)
    }
}

/// Returns whether the server wants to know better who asks.
fn is_refusal(error: &FlightError) -> bool {
    matches!(error, FlightError::Tonic(status) if status.code() == Code::Unauthenticated)
}

/// Opens the connection, encrypted where that is asked for.
async fn open(target: &Target) -> Result<Channel, Failure> {
    let address = &target.address;
    let refused = |error: tonic::transport::Error| Failure::Connect {
        target: address.clone(),
        reason: root_cause(&error),
        hint: Some("is `saltlake serve` running there? --url takes its flight address".into()),
    };
    let scheme = if target.tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(|error| Failure::usage(format!("{address}: {error}")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_while_idle(true);
    if let Some(Tls { root }) = &target.tls {
        let unusable = |reason: &dyn std::fmt::Display| {
            Failure::usage(format!("--sslrootcert {}: {reason}", root.display()))
        };
        let pem = std::fs::read(root).map_err(|error| unusable(&error))?;
        let config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(pem))
            .domain_name(target.host.clone());
        endpoint = endpoint.tls_config(config).map_err(|error| unusable(&error))?;
    }
    endpoint.connect().await.map_err(refused)
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
