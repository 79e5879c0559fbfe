//! What a client is told of a result before it fetches it: FlightInfo, and PollInfo while the query runs.
//!
//! Called by `sql`. A poll starts the query and is answered when its first row is there, so that a client which polls
//! sees how far the query is during the time it would else wait inside DoGet; what follows the first row streams. The
//! descriptor for the next poll is a ticket's command, so polls need no memory of their own.

use super::results::{Endpoint, Pending, Polled, Results};
use super::session::Handle;
use crate::coordinator::Coordinator;
use arrow::datatypes::Schema;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{Any, Command, ProstMessageExt, TicketStatementQuery};
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, PollInfo, Ticket};
use prost::Message;
use std::sync::Arc;
use std::time::SystemTime;
use tonic::Status;

/// Announces a result and returns what is told of it, an endpoint for each of its tickets.
///
/// # Errors
/// RESOURCE_EXHAUSTED when too many results wait already.
pub fn announce(
    results: &Results,
    result: Pending,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let (schema, tag) = (Arc::clone(&result.schema), result.tag.clone());
    // The endpoints of a result share its rows as they come; one alone keeps their order.
    let is_ordered = result.n_endpoints == 1;
    let tickets: Vec<_> = results.announce(result)?.into_iter().map(command).collect();
    let info = flight_info(descriptor, &schema, &tickets)?.with_ordered(is_ordered);
    // Flight SQL has no field for a command tag; clients that do not know of this one lose nothing.
    Ok(info.with_app_metadata(tag.unwrap_or_default()))
}

/// Returns the FlightInfo of endpoints on this server, ordered as the commands are.
///
/// # Errors
/// INTERNAL when the schema cannot be written.
pub fn flight_info<T: ProstMessageExt>(
    descriptor: FlightDescriptor,
    schema: &Schema,
    tickets: &[T],
) -> Result<FlightInfo, Status> {
    let mut info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(FlightError::Arrow)?
        .with_descriptor(descriptor)
        .with_total_records(-1)
        .with_total_bytes(-1)
        .with_ordered(true);
    for ticket in tickets {
        let ticket = Ticket::new(ticket.as_any().encode_to_vec());
        info = info.with_endpoint(FlightEndpoint::new().with_ticket(ticket));
    }
    Ok(info)
}

/// Returns the result that a descriptor of an earlier poll asks for again, if it is one.
pub fn polled(descriptor: &FlightDescriptor) -> Option<Handle> {
    endpoint(&descriptor.cmd).map(|endpoint| endpoint.result)
}

/// Returns the results of a FlightInfo: those of its tickets, and of a poll that gave none yet.
pub fn results_of(info: &FlightInfo) -> impl Iterator<Item = Handle> + '_ {
    let tickets = info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref());
    let fetched = tickets.filter_map(|ticket| endpoint(&ticket.ticket));
    let polled = Endpoint::parse(&info.app_metadata);
    fetched.chain(polled).map(|endpoint| endpoint.result)
}

/// Polls for a result once.
///
/// # Errors
/// NOT_FOUND when it is gone, else what its query failed with.
pub async fn poll(
    results: &Results,
    coordinator: &Coordinator,
    handle: Handle,
) -> Result<PollInfo, Status> {
    let (info, progress) = match results.poll(handle, coordinator).await? {
        Polled::Ready(info) => {
            let poll = PollInfo::new().with_info(info);
            return Ok(poll.try_with_progress(1.0).map_err(FlightError::Arrow)?);
        }
        Polled::Running { info, progress } => (info, progress),
    };
    let again = Endpoint { result: handle, number: 0 };
    // Without endpoints this is how CancelFlightInfo finds the query.
    let info = info.with_app_metadata(again.to_bytes());
    let descriptor = FlightDescriptor::new_cmd(command(again).as_any().encode_to_vec());
    let mut poll = PollInfo::new().with_info(info).with_descriptor(descriptor);
    let expiration = SystemTime::now() + results.ticket_ttl();
    let since = expiration.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time = poll.expiration_time.get_or_insert_default();
    time.seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    time.nanos = i32::try_from(since.subsec_nanos()).unwrap_or_default();
    match progress {
        Some(progress) => Ok(poll.try_with_progress(progress).map_err(FlightError::Arrow)?),
        None => Ok(poll),
    }
}

/// Returns the command a ticket holds.
fn command(endpoint: Endpoint) -> TicketStatementQuery {
    TicketStatementQuery { statement_handle: endpoint.to_bytes() }
}

/// Reads the endpoint of a ticket.
fn endpoint(ticket: &[u8]) -> Option<Endpoint> {
    match Command::try_from(Any::decode(ticket).ok()?).ok()? {
        Command::TicketStatementQuery(ticket) => Endpoint::parse(&ticket.statement_handle),
        _ => None,
    }
}
