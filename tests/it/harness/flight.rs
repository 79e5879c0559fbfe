//! A Flight SQL client that blocks, built on the one of arrow-flight.

use super::CLIENT_DEADLINE;
use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use std::fmt;
use std::future::Future;
use tokio::runtime::Runtime;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// A failed Flight call: the gRPC status.
#[derive(Debug, Clone)]
pub struct FlightFailure {
    /// The gRPC code.
    pub code: Code,
    /// The message, as the server wrote it.
    pub message: String,
    /// The status's metadata as text, where a server may put an SQLSTATE.
    pub metadata: String,
}

impl fmt::Display for FlightFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {} {}", self.code, self.message, self.metadata)
    }
}

impl From<FlightError> for FlightFailure {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Tonic(status) => Self {
                code: status.code(),
                message: status.message().to_owned(),
                metadata: format!("{:?}", status.metadata()),
            },
            other => {
                Self { code: Code::Unknown, message: other.to_string(), metadata: String::new() }
            }
        }
    }
}

/// A connection to the Flight SQL door.
pub struct FlightClient {
    runtime: Runtime,
    client: FlightSqlServiceClient<Channel>,
}

impl FlightClient {
    /// Connects to `host:port`.
    pub fn connect(address: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = runtime.block_on(endpoint.timeout(CLIENT_DEADLINE).connect());
        let channel = channel.unwrap_or_else(|e| panic!("connect to {address}: {e}"));
        Self { runtime, client: FlightSqlServiceClient::new(channel) }
    }

    /// Runs `sql` and returns its batches, endpoint by endpoint.
    pub fn query(&mut self, sql: &str) -> Result<Vec<RecordBatch>, FlightFailure> {
        let client = &mut self.client;
        within_deadline(&self.runtime, async {
            let info = client.execute(sql.to_owned(), None).await?;
            let mut batches = Vec::new();
            for endpoint in info.endpoint {
                let ticket = endpoint.ticket.expect("every endpoint has a ticket");
                let stream = client.do_get(ticket).await?;
                batches.extend(stream.try_collect::<Vec<_>>().await?);
            }
            Ok(batches)
        })
    }

    /// Runs `sql` and counts its rows without keeping them; stops after `limit` and drops the stream, as a client does that
    /// has seen enough.
    pub fn count_rows(&mut self, sql: &str, limit: usize) -> Result<usize, FlightFailure> {
        let client = &mut self.client;
        within_deadline(&self.runtime, async {
            let info = client.execute(sql.to_owned(), None).await?;
            let mut n_rows = 0;
            for endpoint in info.endpoint {
                let ticket = endpoint.ticket.expect("every endpoint has a ticket");
                let mut stream = client.do_get(ticket).await?;
                while let Some(batch) = stream.try_next().await? {
                    n_rows += batch.num_rows();
                    if n_rows >= limit {
                        return Ok(n_rows);
                    }
                }
            }
            Ok(n_rows)
        })
    }

    /// Runs `sql`, which must succeed; values print as Arrow displays them, NULL as `NULL`.
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        let batches = self.query(sql).unwrap_or_else(|e| panic!("{sql}\n{e}"));
        batches.iter().flat_map(print_rows).collect()
    }
}

fn within_deadline<T>(
    runtime: &Runtime,
    call: impl Future<Output = Result<T, FlightError>>,
) -> Result<T, FlightFailure> {
    let bounded = runtime.block_on(async { tokio::time::timeout(CLIENT_DEADLINE, call).await });
    let result = bounded.unwrap_or_else(|_| panic!("no answer within {CLIENT_DEADLINE:?}"));
    result.map_err(FlightFailure::from)
}

fn print_rows(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let formatters: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
        .collect();
    let row = |idx: usize| formatters.iter().map(|f| f.value(idx).to_string()).collect();
    (0..batch.num_rows()).map(row).collect()
}
