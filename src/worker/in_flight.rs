//! Counts the task streams a worker has open.
//!
//! A tower layer on the worker's server: a request counts from its arrival until its response stream ends or is
//! dropped. The count goes out with each heartbeat, and a drain waits for it to reach zero.

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Status, codegen::http};
use tower::{Layer, Service};

/// How often a drain looks at the count.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The number of open streams.
#[derive(Debug, Clone, Default)]
pub(super) struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    /// Returns the streams open now.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits until no stream was open for `quiet`, at most `limit`. Returns whether that came true.
    pub(super) async fn wait_quiet(&self, quiet: Duration, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut busy = Instant::now();
        while Instant::now() < deadline {
            if self.count() > 0 {
                busy = Instant::now();
            } else if busy.elapsed() >= quiet {
                return true;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        self.count() == 0
    }

    fn enter(&self) -> Guard {
        self.0.fetch_add(1, Ordering::Relaxed);
        Guard(self.clone())
    }
}

/// One open stream.
struct Guard(InFlight);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Adds the count to a server.
#[derive(Clone)]
pub(super) struct InFlightLayer(pub(super) InFlight);

impl<S> Layer<S> for InFlightLayer {
    type Service = InFlightService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        InFlightService { inner, in_flight: self.0.clone() }
    }
}

/// A service whose open streams are counted.
#[derive(Clone)]
pub(super) struct InFlightService<S> {
    inner: S,
    in_flight: InFlight,
}

type ResponseFuture<E> = Pin<Box<dyn Future<Output = Result<http::Response<Body>, E>> + Send>>;

impl<S, R> Service<http::Request<R>> for InFlightService<S>
where
    S: Service<http::Request<R>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<R>) -> Self::Future {
        let guard = self.in_flight.enter();
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await?;
            Ok(response.map(|body| Body::new(Counted { body, _guard: guard })))
        })
    }
}

/// A response body that counts until it is dropped.
struct Counted {
    body: Body,
    _guard: Guard,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_waits_for_open_streams() {
        let in_flight = InFlight::default();
        let guard = in_flight.enter();
        assert!(!in_flight.wait_quiet(Duration::ZERO, Duration::from_millis(60)).await);
        drop(guard);
        assert!(in_flight.wait_quiet(Duration::from_millis(20), Duration::from_secs(5)).await);
        assert_eq!(in_flight.count(), 0);
    }
}
