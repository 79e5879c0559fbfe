//! Runs plans on threads of their own.
//!
//! An operator may compute for long without yielding. Were it polled where connections are served, cancel requests,
//! deadlines and other clients would wait for it. Called by `run`; [`Batches`] hands the rows over a bounded channel.

use crate::error::{Error, Result};
use datafusion::arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Batches ready before the plan waits for its reader.
const READY_BATCHES: usize = 2;

/// Stack of a thread; evaluating an expression recurses along it.
const STACK_BYTES: usize = 16 << 20;

/// The threads.
pub(super) struct QueryThreads {
    /// Taken only when dropped.
    runtime: Option<Runtime>,
}

impl QueryThreads {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(super) fn start(n_threads: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(n_threads)
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|source| Error::Io {
                action: "cannot start the query threads".to_string(),
                source,
            })?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Starts a plan. It ends when [`Batches`] is dropped.
    ///
    /// # Errors
    /// When the threads have ended.
    pub(super) fn execute(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
    ) -> Result<Batches> {
        let ended = || Error::Internal { message: "the query threads have ended".to_string() };
        let runtime = self.runtime.as_ref().ok_or_else(ended)?;
        let (sender, receiver) = mpsc::channel(READY_BATCHES);
        let task = runtime.spawn(async move {
            let mut stream = match execute_stream(plan, context) {
                Ok(stream) => stream,
                Err(error) => {
                    // A reader that has gone away needs no error either.
                    let _ = sender.send(Err(error)).await;
                    return;
                }
            };
            while let Some(batch) = stream.next().await {
                if sender.send(batch).await.is_err() {
                    return;
                }
            }
        });
        Ok(Batches { receiver, task, is_over: false })
    }
}

impl Drop for QueryThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for the threads is not allowed where this may be dropped.
            runtime.shutdown_background();
        }
    }
}

/// The rows of a running plan.
pub(super) struct Batches {
    receiver: mpsc::Receiver<Result<RecordBatch, DataFusionError>>,
    task: JoinHandle<()>,
    /// The task was waited for, which can be done once.
    is_over: bool,
}

impl Batches {
    /// Returns the next batch, or `None` after the last and ever since.
    pub(super) async fn next(&mut self) -> Option<Result<RecordBatch>> {
        if let Some(batch) = self.receiver.recv().await {
            return Some(batch.map_err(Error::from));
        }
        if self.is_over {
            return None;
        }
        self.is_over = true;
        match (&mut self.task).await {
            Err(error) if error.is_panic() => {
                Some(Err(Error::from_panic("execution", error.into_panic().as_ref())))
            }
            _ => None,
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.task.abort();
    }
}
