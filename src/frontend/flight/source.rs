//! Where the rows of a result come from, from before its query starts to its last batch.
//!
//! Called by `results` under a lock, one endpoint at a time and never across a wait. Every step may be given up and
//! taken again, by another endpoint too: what was begun stays in the source and not in the caller. A source tells one
//! waker that it can go on, so [`Waiting`] stands for all who wait.

use super::results::Work;
use super::session::Client;
use super::{status, wire};
use crate::coordinator::{Outcome, Rows};
use arrow::array::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use tonic::Status;
use uuid::Uuid;

/// A query that gives rows, a batch to whoever asks.
pub enum Source {
    /// The statement is on its way to the engine; `None` for one without rows.
    Starting(BoxFuture<'static, Result<Option<Rows>, Status>>),
    /// The query runs.
    Running {
        /// A batch that came while somebody polled.
        first: Option<RecordBatch>,
        /// What follows.
        rows: SendableRecordBatchStream,
    },
    /// All rows are out.
    Ended,
    /// It failed, and this is what every endpoint is told.
    Failed(Status),
}

impl Source {
    /// Returns the source of work that has not started; nothing runs before [`Source::poll_start`].
    pub fn new(client: Arc<Client>, work: Work) -> Self {
        Self::Starting(start(client, work).boxed())
    }

    /// Starts the query unless it has started; returns its id when this call did.
    ///
    /// # Errors
    /// What starting it gave, to this call and to all later ones.
    pub fn poll_start(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Uuid>, Status>> {
        let started = match self {
            Self::Starting(starting) => ready!(starting.poll_unpin(cx)),
            Self::Failed(status) => return Poll::Ready(Err(status.clone())),
            Self::Running { .. } | Self::Ended => return Poll::Ready(Ok(None)),
        };
        Poll::Ready(match started {
            Ok(Some(rows)) => {
                let query_id = rows.query_id;
                *self = Self::Running { first: None, rows: rows.stream };
                Ok(Some(query_id))
            }
            Ok(None) => {
                *self = Self::Ended;
                Ok(None)
            }
            Err(error) => Err(self.fail(error)),
        })
    }

    /// Waits until there is a batch of a query that has started, or none will come.
    ///
    /// # Errors
    /// What the query failed with.
    pub fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        ready!(self.poll_start(cx))?;
        if let Self::Running { first: first @ None, rows } = self {
            match ready!(rows.poll_next_unpin(cx)) {
                Some(Ok(batch)) => *first = Some(batch),
                Some(Err(error)) => {
                    return Poll::Ready(Err(self.fail(wire::from_datafusion(error))));
                }
                None => *self = Self::Ended,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Returns the next batch; a failure is told to every endpoint that asks.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch, Status>>> {
        if let Err(error) = ready!(self.poll_first(cx)) {
            return Poll::Ready(Some(Err(error)));
        }
        Poll::Ready(match self {
            Self::Running { first, .. } => first.take().map(Ok),
            _ => None,
        })
    }

    /// Ends the query with an error and returns it.
    fn fail(&mut self, error: Status) -> Status {
        *self = Self::Failed(error.clone());
        error
    }
}

/// All who wait for a source. Each is woken, since the one that polled last may not look again while its client reads
/// slowly.
#[derive(Default)]
pub struct Waiting(Mutex<Vec<Waker>>);

impl Waiting {
    /// Notes who waits.
    pub fn add(&self, waker: &Waker) {
        let mut wakers = self.0.lock();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    /// Forgets who waits no longer.
    pub fn remove(&self, waker: &Waker) {
        self.0.lock().retain(|known| !known.will_wake(waker));
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let wakers = mem::take(&mut *self.0.lock());
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Starts what a ticket stands for; `None` when it has no rows.
async fn start(client: Arc<Client>, work: Work) -> Result<Option<Rows>, Status> {
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
