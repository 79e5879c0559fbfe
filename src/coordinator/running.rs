//! What a session runs, so that a cancel request finds it, and when each query has to end.
//!
//! A query whose client reads no further for now, an open cursor's or a suspended portal's, is suspended: it keeps its
//! place, its clock stands still, and a cancel request does not mean it.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// When a query has to end, if at all, and whether it waits for its client meanwhile.
#[derive(Debug, Default)]
pub(super) struct Deadline {
    until: Mutex<Option<Instant>>,
    is_suspended: AtomicBool,
}

impl Deadline {
    /// Starts the time of a query.
    pub(super) fn after(timeout: Option<Duration>) -> Self {
        Self { until: Mutex::new(until(timeout)), is_suspended: AtomicBool::new(false) }
    }

    /// Returns when the query has to end.
    pub(super) fn get(&self) -> Option<Instant> {
        *self.until.lock()
    }

    /// Notes that the query waits for its client.
    pub(super) fn suspend(&self) {
        self.is_suspended.store(true, Ordering::Release);
    }

    /// Gives the query its full time, and lets cancel requests mean it.
    pub(super) fn restart(&self, timeout: Option<Duration>) {
        *self.until.lock() = until(timeout);
        self.is_suspended.store(false, Ordering::Release);
    }
}

fn until(timeout: Option<Duration>) -> Option<Instant> {
    timeout.map(|timeout| Instant::now() + timeout)
}

/// The queries of a session, each from its admission to its last row.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<Vec<(CancellationToken, Arc<Deadline>)>>);

impl Running {
    /// Adds a query.
    pub(super) fn add(&self, token: CancellationToken, deadline: Arc<Deadline>) {
        let mut queries = self.0.lock();
        // Ended queries have cancelled tokens, so the list holds only what runs.
        queries.retain(|(token, _)| !token.is_cancelled());
        queries.push((token, deadline));
    }

    /// Cancels the queries that do not wait for their client.
    pub(super) fn cancel(&self) {
        for (token, deadline) in self.0.lock().iter() {
            if !deadline.is_suspended.load(Ordering::Acquire) {
                token.cancel();
            }
        }
    }

    /// Cancels all queries.
    pub(super) fn cancel_all(&self) {
        self.0.lock().iter().for_each(|(token, _)| token.cancel());
    }
}
