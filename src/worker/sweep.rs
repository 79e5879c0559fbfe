//! Lets go of tasks that have ended.
//!
//! datafusion-distributed 4.0.0 keeps a worker's tasks in a moka cache and removes them when their query ends. The
//! cache frees what was removed while it serves a later call, so on a quiet worker the plan of a cancelled query stayed
//! for minutes, with its hash tables, and what it had started (a repartition, say) went on computing. A call every
//! [`INTERVAL`] makes the cache clean up.

use datafusion_distributed::{ExecuteTaskRequest, ProducerHead, TaskKey, Worker};
use std::time::Duration;
use uuid::Uuid;

/// How often. The cache itself does not clean up more often than every 300 ms.
const INTERVAL: Duration = Duration::from_millis(310);

/// How long a call may take: it asks for a task that does not exist, for which the worker would wait.
const PATIENCE: Duration = Duration::from_millis(5);

/// Cleans up until it is dropped.
pub(super) async fn sweep(worker: Worker) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let nothing = ExecuteTaskRequest {
            task_key: TaskKey { query_id: Uuid::nil(), stage_id: 0, task_number: 0 },
            target_partition_start: 0,
            target_partition_end: 0,
            producer_head: ProducerHead::None,
        };
        // Runs out of time, always; the call is made for its side effect.
        let _ = tokio::time::timeout(PATIENCE, worker.execute_task(nothing)).await;
    }
}
