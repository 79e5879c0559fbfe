//! Threads that plan statements, each with a large stack.
//!
//! Planning recurses along the statement, so a deep one would overflow the stack of an ordinary thread and end the
//! process. Called by `Session`. A slow plan also holds none of the threads that serve connections.

use crate::error::{Error, Result};
use futures::FutureExt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce(&Handle) + Send>;

/// A fixed number of planning threads with one queue.
pub struct PlanningPool {
    jobs: mpsc::Sender<Job>,
}

impl PlanningPool {
    /// Starts the threads; they end when the pool is dropped.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(n_threads: usize, stack_bytes: usize, runtime: &Handle) -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for i in 0..n_threads.max(1) {
            let (queue, runtime) = (Arc::clone(&queue), runtime.clone());
            std::thread::Builder::new()
                .name(format!("plan-{i}"))
                .stack_size(stack_bytes)
                .spawn(move || work(&queue, &runtime))
                .map_err(|source| Error::Io {
                    action: "cannot start a planning thread".to_string(),
                    source,
                })?;
        }
        Ok(Self { jobs })
    }

    /// Runs a future on a planning thread and returns what it gives. A panic inside becomes an internal error.
    ///
    /// When the caller goes away the future is dropped at its next await point.
    pub async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (mut sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |runtime| {
            let outcome = runtime.block_on(async {
                tokio::select! {
                    () = sender.closed() => None,
                    outcome = AssertUnwindSafe(future).catch_unwind() => Some(outcome),
                }
            });
            if let Some(outcome) = outcome {
                // The caller may have gone away meanwhile; then nobody needs the plan.
                let _ = sender.send(outcome);
            }
        });
        if self.jobs.send(job).is_err() {
            return Err(Error::Internal { message: "the planning threads have ended".to_string() });
        }
        match receiver.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(Error::from_panic("planning", panic.as_ref())),
            Err(_) => Err(Error::Internal { message: "a planning thread has ended".to_string() }),
        }
    }
}

fn work(queue: &Mutex<mpsc::Receiver<Job>>, runtime: &Handle) {
    loop {
        // The lock is held while waiting: one thread waits on the queue, the others for the lock.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(runtime),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_is_an_error_and_the_thread_lives_on() {
        let pool = PlanningPool::start(1, 1 << 20, &Handle::current()).unwrap();
        let failed = pool.run(async { panic!("boom") as Result<()> }).await;
        assert!(failed.unwrap_err().to_string().contains("boom"));
        assert_eq!(pool.run(async { Ok(42) }).await.unwrap(), 42);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn deep_recursion_fits_the_stack() {
        fn down(n: usize) -> usize {
            let frame = std::hint::black_box([n; 64]);
            if n == 0 { 0 } else { down(n - 1) + frame[0] - n + 1 }
        }
        let pool = PlanningPool::start(1, 64 << 20, &Handle::current()).unwrap();
        assert_eq!(pool.run(async { Ok(down(20_000)) }).await.unwrap(), 20_000);
    }
}
