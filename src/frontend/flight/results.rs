//! Results between the call that announces them and the call that fetches them.
//!
//! GetFlightInfo plans a statement and puts it here under a ticket; DoGet takes it out and runs it. The one idea: a
//! ticket works once. While its rows stream, the same ticket cancels it. Bounds: at most [`MAX_PENDING`] results
//! wait, each for `ticket_ttl`; then planning again is cheaper than keeping them.

use super::session::{Client, Handle};
use super::{status, wire};
use crate::coordinator::{Coordinator, Outcome, Prepared, Rows};
use crate::error::Error;
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use datafusion::physical_plan::EmptyRecordBatchStream;
use datafusion::scalar::ScalarValue;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use uuid::Uuid;

/// Results that may wait to be fetched, over all clients.
const MAX_PENDING: usize = 4096;

/// What a ticket stands for.
pub enum Work {
    /// A planned statement that runs when it is fetched.
    Planned {
        /// The statement.
        prepared: Arc<Prepared>,
        /// Values of its parameters.
        parameters: Vec<ScalarValue>,
    },
    /// A statement that ran already; what is left of it is to stream its rows, if it has any.
    Done(Option<Rows>),
}

/// A result that waits to be fetched.
pub struct Pending {
    /// Whose session it runs in.
    pub client: Arc<Client>,
    /// How to get its rows.
    pub work: Work,
    /// The schema that was advertised.
    pub schema: SchemaRef,
    /// The command tag of a statement that ran already and has no rows.
    pub tag: Option<String>,
}

/// A result that is being fetched.
struct Running {
    cancel: CancellationToken,
    query_id: Option<Uuid>,
}

/// Whether a cancel reached a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It waited to be fetched and is gone.
    BeforeStart,
    /// It was running and is told to stop.
    Running,
    /// There is no such result any more.
    Unknown,
}

/// Stream of a DoGet.
pub type FlightStream = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

/// All results between announcement and last row.
pub struct Results {
    ticket_ttl: Duration,
    pending: Mutex<HashMap<Handle, (Pending, Instant)>>,
    running: Mutex<HashMap<Handle, Running>>,
}

impl Results {
    /// Returns an empty registry whose tickets live for `ticket_ttl`.
    pub fn new(ticket_ttl: Duration) -> Self {
        let (pending, running) = (Mutex::default(), Mutex::default());
        Self { ticket_ttl, pending, running }
    }

    /// Announces a result and returns its ticket.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when [`MAX_PENDING`] wait already.
    pub fn announce(&self, result: Pending) -> Result<Handle, Status> {
        let handle = Handle::random()?;
        let mut pending = self.pending.lock();
        if pending.len() >= MAX_PENDING {
            return Err(status::refuse(
                "53400",
                "too many results wait to be fetched",
                Some("fetch results, or close cursors that are not read"),
            ));
        }
        pending.insert(handle, (result, Instant::now()));
        Ok(handle)
    }

    /// Runs the result of a ticket and returns its rows, with the query's id when there is a query.
    ///
    /// # Errors
    /// NOT_FOUND when the ticket was used, cancelled or has expired; else what running gives.
    pub async fn fetch(
        self: &Arc<Self>,
        handle: Handle,
    ) -> Result<(FlightStream, Option<Uuid>), Status> {
        let (result, _) = self.pending.lock().remove(&handle).ok_or_else(unknown_ticket)?;
        let cancel = CancellationToken::new();
        let running = Running { cancel: cancel.clone(), query_id: None };
        self.running.lock().insert(handle, running);
        let guard = RunningGuard { results: Arc::clone(self), handle };
        let started = cancel.run_until_cancelled(start(&result.client, result.work)).await;
        let rows = started.unwrap_or_else(|| Err(cancelled()))?;
        let query_id = rows.as_ref().map(|rows| rows.query_id);
        if let Some(entry) = self.running.lock().get_mut(&handle) {
            entry.query_id = query_id;
        }
        let inner = encode(rows, result.schema).boxed();
        let stream = ResultStream {
            inner: Some(inner),
            cancelled: Box::pin(cancel.cancelled_owned()),
            _client: result.client,
            _guard: guard,
        };
        Ok((Box::pin(stream), query_id))
    }

    /// Cancels the result of a ticket, whether it was fetched or not.
    pub fn cancel(&self, handle: Handle, coordinator: &Coordinator) -> Cancelled {
        if self.pending.lock().remove(&handle).is_some() {
            return Cancelled::BeforeStart;
        }
        let query_id = match self.running.lock().get(&handle) {
            Some(running) => {
                running.cancel.cancel();
                running.query_id
            }
            None => return Cancelled::Unknown,
        };
        // The stream stops when it is polled next, which a client that reads slowly may delay.
        if let Some(query_id) = query_id {
            coordinator.cancel_query(query_id);
        }
        Cancelled::Running
    }

    /// Forgets results that were not fetched in time.
    pub fn expire(&self) {
        self.pending.lock().retain(|_, (_, since)| since.elapsed() < self.ticket_ttl);
    }
}

/// Starts what a ticket stands for; `None` when it has no rows.
async fn start(client: &Client, work: Work) -> Result<Option<Rows>, Status> {
    match work {
        Work::Done(rows) => Ok(rows),
        Work::Planned { prepared, parameters } => {
            match client.session.run(&prepared, parameters).await {
                Ok(Outcome::Rows(rows)) => Ok(Some(rows)),
                Ok(Outcome::Done { .. }) => Ok(None),
                Err(error) => Err(status::from_error(&error)),
            }
        }
    }
}

/// Encodes rows under the advertised schema; no rows give the schema alone.
fn encode(
    rows: Option<Rows>,
    schema: SchemaRef,
) -> impl Stream<Item = Result<FlightData, Status>> + Send + 'static {
    let stream = match rows {
        Some(rows) => rows.stream,
        None => Box::pin(EmptyRecordBatchStream::new(Arc::clone(&schema))),
    };
    wire::encode(stream, schema)
}

/// Returns what a client is told when its query was cancelled by an action.
fn cancelled() -> Status {
    status::from_error(&Error::Cancelled { reason: "on the client's request" })
}

/// Returns what a client is told of a ticket that does not work any more.
fn unknown_ticket() -> Status {
    status::refuse(
        "34000",
        "the result was fetched already, was cancelled, or has expired",
        Some("run the statement again"),
    )
}

/// Rows on their way to a client. Dropping it, as a lost connection does, cancels the query.
struct ResultStream {
    /// Gone once the stream has ended, so that the query's memory goes with the last row.
    inner: Option<BoxStream<'static, Result<FlightData, Status>>>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Keeps the session from expiring while its rows are read.
    _client: Arc<Client>,
    _guard: RunningGuard,
}

impl Stream for ResultStream {
    type Item = Result<FlightData, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(mut inner) = self.inner.take() else {
            return Poll::Ready(None);
        };
        if self.cancelled.poll_unpin(cx).is_ready() {
            return Poll::Ready(Some(Err(cancelled())));
        }
        let polled = inner.poll_next_unpin(cx);
        if !matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.inner = Some(inner);
        }
        polled
    }
}

/// Takes a result out of the running ones when its stream is dropped.
struct RunningGuard {
    results: Arc<Results>,
    handle: Handle,
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.results.running.lock().remove(&self.handle);
    }
}
