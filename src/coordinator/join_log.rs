//! The last decisions about joins, as `system.join_decisions` shows them.

use parking_lot::Mutex;
use saltlake_sql::skew::decide::JoinDecision;
use std::collections::VecDeque;
use uuid::Uuid;

/// Decisions kept.
const LENGTH: usize = 1_000;

/// The decisions, the oldest first.
#[derive(Default)]
pub(super) struct JoinLog(Mutex<VecDeque<(Uuid, JoinDecision)>>);

impl JoinLog {
    /// Adds the decisions of a query.
    pub fn record(&self, query_id: Uuid, decisions: &[JoinDecision]) {
        let mut log = self.0.lock();
        for decision in decisions {
            if log.len() == LENGTH {
                log.pop_front();
            }
            log.push_back((query_id, decision.clone()));
        }
    }

    /// Returns what is kept.
    pub fn list(&self) -> Vec<(Uuid, JoinDecision)> {
        self.0.lock().iter().cloned().collect()
    }
}
