//! Results between the call that announces them and the calls that fetch them.
//!
//! GetFlightInfo plans a statement and puts it here under one ticket an endpoint; DoGet takes a ticket and streams. The
//! one idea: a ticket works once, and the endpoints of a result share one running query, whose batches go to whichever
//! endpoint asks next. So a client may read them side by side or one after another, and nothing is kept for an
//! endpoint that nobody reads. The query starts with the first ticket, or when the result is polled for. Tickets are
//! random and mean nothing elsewhere, so none can be made up. Bounds: at most [`MAX_PENDING`] results wait, each for
//! `ticket_ttl`; then planning again is cheaper than keeping them.

use super::session::{Client, Handle};
use super::source::{Source, Waiting};
use super::{status, wire};
use crate::coordinator::{Coordinator, Prepared, Rows};
use crate::error::Error;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::{FlightData, FlightInfo};
use bytes::Bytes;
use datafusion::scalar::ScalarValue;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt, stream};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use uuid::Uuid;

/// Results that may wait to be fetched, over all clients.
const MAX_PENDING: usize = 4096;

/// How long a poll waits for the result before it tells how far it is.
const POLL_WAIT: Duration = Duration::from_millis(500);

/// Highest progress of a result that is not there yet.
const ALMOST_DONE: f64 = 0.99;

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

/// A result to announce.
pub struct Pending {
    /// Whose session it runs in.
    pub client: Arc<Client>,
    /// How to get its rows.
    pub work: Work,
    /// The schema that was advertised.
    pub schema: SchemaRef,
    /// The command tag of a statement that ran already and has no rows.
    pub tag: Option<String>,
    /// How many endpoints share its rows.
    pub n_endpoints: u16,
}

/// One endpoint of a result, as a ticket names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The result.
    pub result: Handle,
    /// Which of its endpoints, from 0.
    pub number: u16,
}

impl Endpoint {
    /// Returns the endpoint a ticket names, or `None` when it cannot be ours.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (result, number) = bytes.split_last_chunk()?;
        Some(Self { result: Handle::parse(result)?, number: u16::from_be_bytes(*number) })
    }

    /// Returns the endpoint as a ticket has it.
    pub fn to_bytes(self) -> Bytes {
        [&self.result.to_bytes()[..], &self.number.to_be_bytes()[..]].concat().into()
    }
}

/// Whether a cancel reached a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It had not started and is gone.
    BeforeStart,
    /// It was running and is told to stop.
    Running,
    /// There is no such result any more.
    Unknown,
}

/// What a poll found.
#[derive(Debug)]
pub enum Polled {
    /// The result can be fetched without waiting for its first row.
    Ready(FlightInfo),
    /// The query goes on.
    Running {
        /// What will be returned at the end, without endpoints.
        info: FlightInfo,
        /// How far it is, from 0 to 1, when that is known.
        progress: Option<f64>,
    },
}

/// Stream of a DoGet.
pub type FlightStream = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

/// What the endpoints of a result share.
struct Shared {
    source: Mutex<Source>,
    /// Who waits for the source.
    waiting: Arc<Waiting>,
    schema: SchemaRef,
    query_id: OnceLock<Uuid>,
    cancel: CancellationToken,
    /// Keeps the session from expiring while rows wait or are read.
    _client: Arc<Client>,
}

impl Shared {
    /// Takes a step of the source. Nobody holds it between two polls, so that an endpoint whose client reads slowly
    /// does not stop the others.
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        step: impl FnOnce(&mut Source, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.waiting.add(cx.waker());
        let waker = Waker::from(Arc::clone(&self.waiting));
        let polled = step(&mut self.source.lock(), &mut Context::from_waker(&waker));
        if polled.is_ready() {
            // The others wait for what follows, of which the source will tell whoever polls it next.
            self.waiting.remove(cx.waker());
            self.waiting.wake_by_ref();
        }
        polled
    }

    /// Starts the query unless an endpoint did, and returns its id if there is a query.
    async fn start(&self) -> Result<Option<Uuid>, Status> {
        // The id is noted before another endpoint can see that the query has started.
        let step = |source: &mut Source, cx: &mut Context<'_>| {
            source.poll_start(cx).map_ok(|id| id.map(|id| *self.query_id.get_or_init(|| id)))
        };
        let starting = poll_fn(|cx| self.poll(cx, step));
        let started = self.cancel.run_until_cancelled(starting).await;
        started.unwrap_or_else(|| Err(self.failure()))?;
        Ok(self.query_id.get().copied())
    }

    /// Waits until the first row is there, or the end of a result without rows.
    async fn first(&self) -> Result<(), Status> {
        self.start().await?;
        let first = poll_fn(|cx| self.poll(cx, Source::poll_first));
        self.cancel.run_until_cancelled(first).await.unwrap_or_else(|| Err(self.failure()))
    }

    /// Returns the next batch that no endpoint had.
    async fn next(&self) -> Option<Result<RecordBatch, Status>> {
        poll_fn(|cx| self.poll(cx, Source::poll_next)).await
    }

    /// Returns why a result that was stopped has no more rows.
    fn failure(&self) -> Status {
        match &*self.source.lock() {
            Source::Failed(status) => status.clone(),
            _ => cancelled(),
        }
    }

    /// Ends the query, whichever endpoints still read.
    fn stop(&self) {
        let stopped = {
            let mut source = self.source.lock();
            // What the query itself failed with says more.
            let has_failed = matches!(*source, Source::Failed(_));
            (!has_failed).then(|| mem::replace(&mut *source, Source::Failed(cancelled())))
        };
        self.cancel.cancel();
        drop(stopped);
    }
}

/// A result and what was fetched of it.
struct Entry {
    shared: Arc<Shared>,
    /// Endpoints whose tickets were not used.
    unused: BTreeSet<u16>,
    n_open: usize,
    has_started: bool,
    /// When it was announced, polled for or read last.
    since: Instant,
    /// What a poll returns at the end.
    info: Option<FlightInfo>,
}

/// All results between announcement and last row.
pub struct Results {
    ticket_ttl: Duration,
    entries: Mutex<HashMap<Handle, Entry>>,
}

impl Results {
    /// Returns an empty registry whose tickets live for `ticket_ttl`.
    pub fn new(ticket_ttl: Duration) -> Self {
        Self { ticket_ttl, entries: Mutex::default() }
    }

    /// Returns how long a result waits to be fetched or polled for.
    pub fn ticket_ttl(&self) -> Duration {
        self.ticket_ttl
    }

    /// Announces a result and returns its tickets, one an endpoint.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when [`MAX_PENDING`] wait already.
    pub fn announce(&self, result: Pending) -> Result<Vec<Endpoint>, Status> {
        let handle = Handle::random()?;
        let Pending { client, work, schema, n_endpoints, .. } = result;
        let shared = Arc::new(Shared {
            source: Mutex::new(Source::new(Arc::clone(&client), work)),
            waiting: Arc::default(),
            schema,
            query_id: OnceLock::new(),
            cancel: CancellationToken::new(),
            _client: client,
        });
        let unused: BTreeSet<u16> = (0..n_endpoints).collect();
        let tickets = unused.iter().map(|&number| Endpoint { result: handle, number }).collect();
        let since = Instant::now();
        let entry = Entry { shared, unused, n_open: 0, has_started: false, since, info: None };
        let mut entries = self.entries.lock();
        if entries.len() >= MAX_PENDING
            && entries.values().filter(|entry| entry.n_open == 0).count() >= MAX_PENDING
        {
            return Err(status::refuse(
                "53400",
                "too many results wait to be fetched",
                Some("fetch results, or close cursors that are not read"),
            ));
        }
        entries.insert(handle, entry);
        Ok(tickets)
    }

    /// Keeps what polls for a result return at its end.
    pub fn keep_info(&self, handle: Handle, info: FlightInfo) {
        if let Some(entry) = self.entries.lock().get_mut(&handle) {
            entry.info = Some(info);
        }
    }

    /// Starts a result that is polled for, waits a little for it and tells how far it is.
    ///
    /// # Errors
    /// NOT_FOUND when there is no such result; else what running gives.
    pub async fn poll(&self, handle: Handle, coordinator: &Coordinator) -> Result<Polled, Status> {
        let (shared, info) = {
            let mut entries = self.entries.lock();
            let entry = entries.get_mut(&handle).ok_or_else(unknown_ticket)?;
            entry.since = Instant::now();
            entry.has_started = true;
            (Arc::clone(&entry.shared), entry.info.clone().unwrap_or_default())
        };
        match tokio::time::timeout(POLL_WAIT, shared.first()).await {
            Ok(Ok(())) => Ok(Polled::Ready(info)),
            Ok(Err(error)) => {
                self.entries.lock().remove(&handle);
                Err(error)
            }
            Err(_) => {
                // Forgets this call, which waits no longer; who else is woken looks once more.
                shared.waiting.wake_by_ref();
                let query_id = shared.query_id.get();
                let progress = query_id.map_or(Some(0.0), |id| coordinator.query_progress(*id));
                let progress = progress.map(|share| share.clamp(0.0, ALMOST_DONE));
                Ok(Polled::Running { info: FlightInfo { endpoint: vec![], ..info }, progress })
            }
        }
    }

    /// Runs the result of a ticket, unless it runs already, and returns the rows of this endpoint, with the query's id
    /// when there is a query.
    ///
    /// # Errors
    /// NOT_FOUND when the ticket was used, cancelled or has expired; else what running gives.
    pub async fn fetch(
        self: &Arc<Self>,
        ticket: Endpoint,
    ) -> Result<(FlightStream, Option<Uuid>), Status> {
        let open = self.open(ticket)?;
        let query_id = open.shared.start().await?;
        let shared = Arc::clone(&open.shared);
        let batches = stream::unfold(Arc::clone(&shared), |shared| async move {
            Some((shared.next().await?, shared))
        });
        let inner = wire::encode(batches, Arc::clone(&shared.schema)).boxed();
        let cancelled = Box::pin(shared.cancel.clone().cancelled_owned());
        Ok((Box::pin(ResultStream { inner: Some(inner), cancelled, open }), query_id))
    }

    /// Takes the ticket of an endpoint.
    fn open(self: &Arc<Self>, ticket: Endpoint) -> Result<OpenEndpoint, Status> {
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(&ticket.result).ok_or_else(unknown_ticket)?;
        if !entry.unused.remove(&ticket.number) {
            return Err(unknown_ticket());
        }
        entry.n_open += 1;
        entry.has_started = true;
        let (results, shared) = (Arc::clone(self), Arc::clone(&entry.shared));
        Ok(OpenEndpoint { results, handle: ticket.result, shared, is_complete: false })
    }

    /// Cancels a result, whether it was fetched or not.
    pub fn cancel(&self, handle: Handle, coordinator: &Coordinator) -> Cancelled {
        let Some(entry) = self.entries.lock().remove(&handle) else { return Cancelled::Unknown };
        entry.shared.stop();
        // A stream stops when it is polled next, which a client that reads slowly may delay.
        if let Some(query_id) = entry.shared.query_id.get() {
            coordinator.cancel_query(*query_id);
        }
        if entry.has_started { Cancelled::Running } else { Cancelled::BeforeStart }
    }

    /// Forgets results that were not fetched in time.
    pub fn expire(&self) {
        let is_alive = |entry: &Entry| entry.n_open > 0 || entry.since.elapsed() < self.ticket_ttl;
        let mut expired = Vec::new();
        self.entries.lock().retain(|_, entry| {
            let is_alive = is_alive(entry);
            if !is_alive {
                expired.push(Arc::clone(&entry.shared));
            }
            is_alive
        });
        // Ending queries is not done under the lock.
        expired.iter().for_each(|shared| shared.stop());
    }
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

/// An endpoint on its way to a client. One that is dropped before its end takes the whole result with it: the rows it
/// had are lost, so the others must not look complete.
struct OpenEndpoint {
    results: Arc<Results>,
    handle: Handle,
    shared: Arc<Shared>,
    is_complete: bool,
}

impl Drop for OpenEndpoint {
    fn drop(&mut self) {
        let mut entries = self.results.entries.lock();
        let is_over = match entries.get_mut(&self.handle) {
            Some(entry) => {
                entry.n_open -= 1;
                // A client that reads one endpoint after another opens the next one now.
                entry.since = Instant::now();
                !self.is_complete || (entry.n_open == 0 && entry.unused.is_empty())
            }
            None => false,
        };
        let removed = if is_over { entries.remove(&self.handle) } else { None };
        drop(entries);
        if !self.is_complete {
            self.shared.stop();
        }
        drop(removed);
    }
}

/// Rows of one endpoint. Dropping it, as a lost connection does, cancels the query.
struct ResultStream {
    /// Gone once the stream has ended.
    inner: Option<BoxStream<'static, Result<FlightData, Status>>>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    open: OpenEndpoint,
}

impl Stream for ResultStream {
    type Item = Result<FlightData, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(mut inner) = self.inner.take() else {
            return Poll::Ready(None);
        };
        if self.cancelled.poll_unpin(cx).is_ready() {
            return Poll::Ready(Some(Err(self.open.shared.failure())));
        }
        let polled = inner.poll_next_unpin(cx);
        match polled {
            Poll::Ready(None) => self.open.is_complete = true,
            Poll::Ready(Some(Err(_))) => {}
            _ => self.inner = Some(inner),
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_survives_its_ticket() {
        let endpoint = Endpoint { result: Handle::random().unwrap(), number: 63 };
        assert_eq!(Endpoint::parse(&endpoint.to_bytes()), Some(endpoint));
        assert_eq!(Endpoint::parse(&endpoint.result.to_bytes()), None);
        assert_eq!(Endpoint::parse(b""), None);
    }
}
