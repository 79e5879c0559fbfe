//! One query's life: its id, states, cancel, timings; and the registry of all of them.
//!
//! `Session` starts a [`Query`] for each statement and ends it; cancel requests and system tables find it here.
//! Bounded: the registry keeps the last [`HISTORY_LENGTH`] finished queries.

use crate::error::Error;
use dashmap::DashMap;
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::Mutex;
use saltlake_sql::progress::scanned_share;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Finished queries kept for `system.queries`.
const HISTORY_LENGTH: usize = 1000;

/// Longest statement text kept in the registry, in bytes.
const KEPT_SQL_BYTES: usize = 10_000;

/// Where a query stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryState {
    /// Waits for its turn.
    Queued,
    /// Is being parsed, planned, optimized.
    Planning,
    /// Produces rows.
    Running,
    /// Gave all its rows.
    Finished,
    /// Ended with an error.
    Failed,
    /// Was cancelled, by the user, a deadline, or because the client went away.
    Cancelled,
}

impl QueryState {
    /// Returns whether nothing more happens.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }

    /// Returns the state's name in `system.queries` and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Planning => "planning",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What is known of a query now.
#[derive(Debug, Clone)]
pub struct QueryInfo {
    /// Its id.
    pub id: Uuid,
    /// The statement, cut to 10,000 bytes.
    pub sql: String,
    /// Who runs it.
    pub user: String,
    /// Which door it came through.
    pub frontend: &'static str,
    /// Session it belongs to.
    pub session_pid: i32,
    /// Where it stands.
    pub state: QueryState,
    /// When it was received.
    pub started: SystemTime,
    /// Time spent planning.
    pub planning: Duration,
    /// Time since it was received, or until it ended.
    pub elapsed: Duration,
    /// Rows given to the client.
    pub n_rows: u64,
    /// Where it runs and why, once planned.
    pub placement: String,
    /// Times it was planned; more than 1 after a lost worker.
    pub attempts: u32,
    /// SQLSTATE and message, when it failed.
    pub error: Option<String>,
}

/// A running query. Ends as cancelled when it is dropped before it ended.
pub struct Query {
    info: Mutex<QueryInfo>,
    received: Instant,
    n_rows: AtomicU64,
    cancel: CancellationToken,
    /// What executes, while it does.
    plan: Mutex<Option<Arc<dyn ExecutionPlan>>>,
    registry: Arc<Queries>,
}

/// What a session says of a statement when it starts a query.
pub struct NewQuery<'a> {
    /// The statement's text.
    pub sql: &'a str,
    /// Who runs it.
    pub user: &'a str,
    /// Which door it came through.
    pub frontend: &'static str,
    /// Session it belongs to.
    pub session_pid: i32,
}

/// All running queries and the last finished ones.
#[derive(Default)]
pub struct Queries {
    running: DashMap<Uuid, (CancellationToken, std::sync::Weak<Query>)>,
    finished: Mutex<VecDeque<QueryInfo>>,
}

impl Queries {
    /// Starts a query and registers it.
    pub fn start(self: &Arc<Self>, new: &NewQuery<'_>) -> Arc<Query> {
        let id = Uuid::now_v7();
        let info = QueryInfo {
            id,
            sql: cut(new.sql, KEPT_SQL_BYTES).to_string(),
            user: new.user.to_string(),
            frontend: new.frontend,
            session_pid: new.session_pid,
            state: QueryState::Queued,
            started: SystemTime::now(),
            planning: Duration::ZERO,
            elapsed: Duration::ZERO,
            n_rows: 0,
            placement: String::new(),
            attempts: 0,
            error: None,
        };
        let query = Arc::new(Query {
            info: Mutex::new(info),
            received: Instant::now(),
            n_rows: AtomicU64::new(0),
            cancel: CancellationToken::new(),
            plan: Mutex::new(None),
            registry: Arc::clone(self),
        });
        self.running.insert(id, (query.cancel.clone(), Arc::downgrade(&query)));
        metrics::gauge!("saltlake_queries_running").increment(1.0);
        query
    }

    /// Asks a query to stop. Returns whether it was running.
    pub fn cancel(&self, id: Uuid) -> bool {
        self.running.get(&id).map(|entry| entry.0.cancel()).is_some()
    }

    /// Asks every query to stop.
    pub fn cancel_all(&self) {
        self.running.iter().for_each(|entry| entry.0.cancel());
    }

    /// Returns how far a running query is, as [`Query::progress`] does; `None` also for one that does not run.
    pub fn progress(&self, id: Uuid) -> Option<f64> {
        // The map's lock is released before the handle is dropped: a last handle unregisters itself.
        let query = self.running.get(&id).and_then(|entry| entry.1.upgrade());
        query?.progress()
    }

    /// Returns the number of running queries.
    pub fn n_running(&self) -> usize {
        self.running.len()
    }

    /// Returns running and finished queries, the oldest first.
    pub fn list(&self) -> Vec<QueryInfo> {
        let mut list: Vec<_> = self.finished.lock().iter().cloned().collect();
        // Upgraded handles are dropped only after the map's locks are released: a last handle unregisters itself.
        let running: Vec<_> = self.running.iter().filter_map(|entry| entry.1.upgrade()).collect();
        list.extend(running.iter().map(|query| query.info()));
        list.sort_by_key(|info| info.id);
        list
    }
}

impl Query {
    /// Returns the query's id.
    pub fn id(&self) -> Uuid {
        self.info.lock().id
    }

    /// Returns the token that stops the query.
    pub fn cancel_token(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Returns what is known now.
    pub fn info(&self) -> QueryInfo {
        let mut info = self.info.lock().clone();
        if info.elapsed.is_zero() {
            info.elapsed = self.received.elapsed();
        }
        info.n_rows = self.n_rows.load(Ordering::Relaxed);
        info
    }

    /// Notes that the query is being planned.
    pub fn set_planning(&self) {
        let mut info = self.info.lock();
        info.state = QueryState::Planning;
        info.attempts += 1;
    }

    /// Returns how far the query is, from 0 to 1: 0 until it executes, then the share of its files that was read.
    /// `None` when that is not known, as for a query without files or one on workers.
    pub fn progress(&self) -> Option<f64> {
        let plan = self.plan.lock().clone();
        plan.map_or(Some(0.0), |plan| scanned_share(&plan))
    }

    /// Notes what executes.
    pub fn set_plan(&self, plan: Arc<dyn ExecutionPlan>) {
        *self.plan.lock() = Some(plan);
    }

    /// Notes that the query runs, where, and how long planning took.
    pub fn set_running(&self, placement: String, planning: Duration) {
        let mut info = self.info.lock();
        info.state = QueryState::Running;
        info.planning += planning;
        info.placement = placement;
        metrics::histogram!("saltlake_query_phase_seconds", "phase" => "planning")
            .record(planning.as_secs_f64());
    }

    /// Counts rows given to the client.
    pub fn add_rows(&self, n: usize) {
        self.n_rows.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Ends the query well.
    pub fn finish(&self) {
        self.end(QueryState::Finished, None);
    }

    /// Ends the query with an error.
    pub fn fail(&self, error: &Error) {
        let report = error.report();
        let state = match report.sqlstate {
            "57014" => QueryState::Cancelled,
            _ => QueryState::Failed,
        };
        self.end(state, Some(format!("{} {}", report.sqlstate, report.message)));
    }

    fn end(&self, state: QueryState, error: Option<String>) {
        let mut info = self.info.lock();
        if info.state.has_ended() {
            return;
        }
        info.state = state;
        info.error = error;
        info.elapsed = self.received.elapsed();
        info.n_rows = self.n_rows.load(Ordering::Relaxed);
        let ended = info.clone();
        drop(info);
        self.plan.lock().take();
        self.registry.running.remove(&ended.id);
        metrics::gauge!("saltlake_queries_running").decrement(1.0);
        let labels = [("frontend", ended.frontend), ("outcome", state.name())];
        metrics::counter!("saltlake_queries_total", &labels).increment(1);
        metrics::histogram!("saltlake_query_phase_seconds", "phase" => "total")
            .record(ended.elapsed.as_secs_f64());
        let mut finished = self.registry.finished.lock();
        if finished.len() == HISTORY_LENGTH {
            finished.pop_front();
        }
        finished.push_back(ended);
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.end(QueryState::Cancelled, Some("57014 the client went away".to_string()));
    }
}

/// Returns the longest start of `text` that has at most `max_bytes` bytes.
fn cut(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(queries: &Arc<Queries>) -> Arc<Query> {
        queries.start(&NewQuery { sql: "SELECT 1", user: "ann", frontend: "pg", session_pid: 7 })
    }

    #[test]
    fn a_dropped_query_is_cancelled_and_unregistered() {
        let queries = Arc::new(Queries::default());
        let query = start(&queries);
        let token = query.cancel_token().clone();
        assert_eq!(queries.n_running(), 1);
        drop(query);
        assert!(token.is_cancelled());
        assert_eq!(queries.n_running(), 0);
        assert_eq!(queries.list()[0].state, QueryState::Cancelled);
    }

    #[test]
    fn a_query_ends_once() {
        let queries = Arc::new(Queries::default());
        let query = start(&queries);
        query.add_rows(3);
        query.finish();
        drop(query);
        let list = queries.list();
        assert_eq!((list.len(), list[0].state, list[0].n_rows), (1, QueryState::Finished, 3));
    }

    #[test]
    fn history_is_bounded() {
        let queries = Arc::new(Queries::default());
        for _ in 0..HISTORY_LENGTH + 5 {
            start(&queries).finish();
        }
        assert_eq!(queries.list().len(), HISTORY_LENGTH);
    }
}
