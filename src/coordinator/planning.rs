//! Threads that plan statements, each with a large stack.
//!
//! Planning recurses along the statement, so a deep one would overflow the stack of an ordinary thread and end the
//! process. Called by `Session`. A slow plan also holds none of the threads that serve connections, and a plan that waits,
//! for an object store or for a catalog service that says nothing, holds none of these.

use crate::error::{Error, Result};
use std::future::{Future, poll_fn};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// A fixed number of planning threads.
pub struct PlanningPool {
    /// There until the pool is dropped.
    threads: Option<Runtime>,
    /// Where what planning starts belongs: connections, timers, tasks.
    home: Handle,
}

impl PlanningPool {
    /// Starts the threads; they end when the pool is dropped.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(n_threads: usize, stack_bytes: usize, runtime: &Handle) -> Result<Self> {
        let threads = Builder::new_multi_thread()
            .worker_threads(n_threads.max(1))
            .thread_stack_size(stack_bytes)
            .thread_name("plan")
            .build()
            .map_err(|source| Error::Io {
                action: "cannot start the planning threads".to_string(),
                source,
            })?;
        Ok(Self { threads: Some(threads), home: runtime.clone() })
    }

    /// Runs a future on the planning threads and returns what it gives. A panic inside becomes an internal error.
    ///
    /// When the caller goes away the future is dropped at its next await point.
    pub async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let Some(threads) = &self.threads else {
            return Err(Error::Internal { message: "the planning threads have ended".to_string() });
        };
        let (home, mut future) = (self.home.clone(), Box::pin(future));
        let at_home = poll_fn(move |context| {
            let _entered = home.enter();
            future.as_mut().poll(context)
        });
        let mut task = AbortOnDrop(threads.spawn(at_home));
        match (&mut task.0).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => {
                Err(Error::from_panic("planning", error.into_panic().as_ref()))
            }
            Err(_) => Err(Error::Internal { message: "a planning thread has ended".to_string() }),
        }
    }
}

impl Drop for PlanningPool {
    fn drop(&mut self) {
        // Waiting for the threads is not allowed where other futures run.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// A task that ends when nobody waits for it any more.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
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
    async fn plans_that_wait_hold_no_thread() {
        let pool = PlanningPool::start(1, 1 << 20, &Handle::current()).unwrap();
        let silent = pool.run(std::future::pending::<Result<()>>());
        let plan = pool.run(async { Ok(42) });
        tokio::select! {
            biased;
            _ = silent => panic!("nothing comes from there"),
            planned = plan => assert_eq!(planned.unwrap(), 42),
        }
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
