//! Tells a lost worker from every other failure.
//!
//! Called before an error is described, and by the coordinator to decide on its one retry. A worker's own errors arrive
//! as typed engine errors; what vanishes with a worker is the connection, so this looks for transport errors: a
//! [`tonic::Status`] here, and its text where another worker met it and sent it on. Object stores have
//! connections too: their errors end the search.

use datafusion::error::DataFusionError;
use std::error::Error;
use std::io::ErrorKind;
use tonic::{Code, Status};

/// How errors about a worker's connection read when only their text is left. Each is raised by datafusion-distributed,
/// tonic, hyper or h2 for a transport that broke or never stood.
const WORKER_TEXTS: [&str; 4] = [
    "Error connecting to Distributed DataFusion worker",
    "Error waiting for Distributed DataFusion channel",
    "Worker::execute_task timed-out while waiting for the plan",
    "cannot connect to worker",
];

/// How a status that a broken transport made reads. Only looked for inside a status.
const TRANSPORT_TEXTS: [&str; 12] = [
    "transport error",
    "tcp connect error",
    "h2 protocol error",
    "http2 error",
    "error reading a body from connection",
    "error sending request",
    "connection reset",
    "connection refused",
    "connection closed",
    "broken pipe",
    "keep-alive timed out",
    "channel closed",
];

/// How a printed status begins.
const STATUS_PREFIX: &str = "code: '";

/// How the printed status `Unavailable` begins.
const UNAVAILABLE_PREFIX: &str = "code: 'The service is currently unavailable'";

/// Returns whether the error comes from a worker that cannot be reached any more.
pub(super) fn is_cause_of(error: &DataFusionError) -> bool {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            is_cause_of(inner)
        }
        DataFusionError::Shared(inner) => is_cause_of(inner),
        DataFusionError::Collection(errors) => errors.iter().any(is_cause_of),
        DataFusionError::External(inner) => is_lost(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => inner.source().is_some_and(is_lost),
        DataFusionError::Execution(text) => is_lost_text(text),
        _ => false,
    }
}

/// Walks the sources of an error of any type.
fn is_lost(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<DataFusionError>() {
        return is_cause_of(error);
    }
    if let Some(status) = error.downcast_ref::<Status>() {
        return is_lost_status(status);
    }
    if error.is::<object_store::Error>() || error.is::<saltlake_catalog::Error>() {
        return false;
    }
    if error.is::<tonic::transport::Error>() {
        return true;
    }
    match error.source() {
        Some(source) => is_lost(source),
        None => is_lost_text(&error.to_string()),
    }
}

fn is_lost_status(status: &Status) -> bool {
    status.code() == Code::Unavailable
        || is_transport_text(status.message())
        || status.source().is_some_and(is_broken_transport)
}

/// Returns whether a status was made from an error of the connection.
fn is_broken_transport(error: &(dyn Error + 'static)) -> bool {
    let broken = error.downcast_ref::<std::io::Error>().is_some_and(|error| {
        matches!(
            error.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::NotConnected
                | ErrorKind::BrokenPipe
                | ErrorKind::TimedOut
                | ErrorKind::UnexpectedEof
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
        )
    });
    broken
        || error.is::<tonic::transport::Error>()
        || error.source().is_some_and(is_broken_transport)
}

/// Reads an error of which only the text is left.
fn is_lost_text(text: &str) -> bool {
    text.starts_with(UNAVAILABLE_PREFIX)
        || (text.starts_with(STATUS_PREFIX) && is_transport_text(text))
        || WORKER_TEXTS.iter().any(|known| text.contains(known))
}

fn is_transport_text(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    TRANSPORT_TEXTS.iter().any(|known| text.contains(known))
}
