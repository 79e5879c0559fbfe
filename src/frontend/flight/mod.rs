//! The Arrow Flight SQL front door.
//!
//! `serve` is called once by the role that accepts statements. The parts, in the order a query meets them:
//! 1. [`session`] finds the session a call belongs to.
//! 2. [`sql`] is the Flight SQL service: one method per command, thin.
//! 3. [`statements`] plans, binds and runs statements through `coordinator::Session`.
//! 4. [`announce`] tells a client of a result (GetFlightInfo, PollFlightInfo); [`results`] holds it until its last row
//!    (DoGet), and [`source`] is where its rows come from.
//! 5. [`wire`] turns batches into messages; [`status`] turns errors into gRPC statuses.
//! 6. [`metadata`] and [`info`] answer what drivers ask about the lake and about the server.
//!
//! arrow-flight's blanket `FlightService` leaves out GetSchema and PollFlightInfo, hence [`Door`] around it.

mod actions;
mod announce;
mod info;
mod metadata;
mod results;
mod session;
mod source;
mod sql;
mod statements;
pub mod status;
pub(in crate::frontend) mod wire;

use crate::coordinator::Coordinator;
use crate::error::{Error, Result};
use crate::frontend::Security;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, PollInfo, SchemaResult, Ticket,
};
use futures::{Stream, StreamExt, future, stream};
use session::Connection;
use sql::FlightSql;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// Largest message a client may send: a statement, or one batch of parameters.
const MAX_REQUEST_BYTES: usize = 16 * 1024 * 1024;

/// How often unused tokens and tickets are looked for.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(5);

/// How often a silent connection is probed, and how long it may take to answer. A client that vanished without
/// closing its connection holds its query this long.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Calls one connection may have open at once.
const MAX_CALLS_PER_CONNECTION: u32 = 256;

/// Limits of the Flight SQL frontend.
#[derive(Debug, Clone)]
pub struct FlightOptions {
    /// Connections that may be open at once; one more is closed as soon as it is accepted.
    pub max_connections: usize,
    /// Sessions with a token that may be open at once.
    pub max_sessions: usize,
    /// How long a token lives without being used.
    pub session_idle: Duration,
    /// How long a result waits to be fetched.
    pub ticket_ttl: Duration,
    /// How long running calls may take to end after shutdown began.
    pub drain: Duration,
    /// Who may come in, and whether they are encrypted.
    pub security: Security,
}

impl Default for FlightOptions {
    fn default() -> Self {
        Self {
            max_connections: 1000,
            max_sessions: 1000,
            session_idle: Duration::from_secs(30 * 60),
            ticket_ttl: Duration::from_secs(60),
            drain: Duration::from_secs(10),
            security: Security::default(),
        }
    }
}

/// Serves Flight SQL on `listener` until `shutdown`, then lets running calls end for `options.drain`.
///
/// # Errors
/// When the listener fails or the static answers about the server cannot be built.
pub async fn serve(
    listener: TcpListener,
    coordinator: Arc<Coordinator>,
    options: FlightOptions,
    shutdown: CancellationToken,
) -> Result<()> {
    let FlightOptions { drain, max_connections, .. } = options;
    let tls = options.security.tls.clone();
    let service = FlightSql::new(coordinator, options)?;
    let door = FlightServiceServer::new(Door(service.clone()))
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let incoming = admit(listener, max_connections);
    let mut builder = Server::builder();
    if let Some(tls) = tls {
        let identity = Identity::from_pem(&tls.certificate_pem, &tls.key_pem);
        builder = builder
            .tls_config(ServerTlsConfig::new().identity(identity))
            .map_err(|error| failed("the certificate cannot be used for Flight SQL", error))?;
    }
    let server = builder
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_CALLS_PER_CONNECTION)
        .add_service(door)
        .serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        served = server => {
            served.map_err(|error| failed("the Flight SQL listener failed", error))
        }
        () = service.expire_forever(EXPIRE_INTERVAL) => Ok(()),
        () = deadline => Ok(()),
    }
}

fn failed(action: &str, error: tonic::transport::Error) -> Error {
    Error::Io { action: action.to_string(), source: io::Error::other(error) }
}

/// Accepts connections, and closes those beyond `max_connections`: gRPC has no message to refuse one with.
fn admit(
    listener: TcpListener,
    max_connections: usize,
) -> impl Stream<Item = io::Result<ClientStream>> {
    let free = Arc::new(Semaphore::new(max_connections));
    TcpListenerStream::new(listener).filter_map(move |accepted| {
        let permit = Arc::clone(&free).try_acquire_owned();
        future::ready(match (accepted, permit) {
            (Ok(io), Ok(permit)) => Some(Ok(ClientStream::new(io, permit))),
            (Ok(_), Err(_)) => {
                tracing::warn!(max_connections, "flight connection closed, too many are open");
                None
            }
            (Err(error), _) => Some(Err(error)),
        })
    })
}

/// A client's connection, with the session of its calls that bring no token.
struct ClientStream {
    io: TcpStream,
    connection: Connection,
    _permit: OwnedSemaphorePermit,
}

impl ClientStream {
    /// Wraps an accepted connection.
    fn new(io: TcpStream, permit: OwnedSemaphorePermit) -> Self {
        // Small answers must not wait for the next packet; a socket that refuses the option still works.
        let _ = io.set_nodelay(true);
        Self { io, connection: Connection::default(), _permit: permit }
    }
}

impl Connected for ClientStream {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        self.connection.clone()
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The Flight service: arrow-flight's dispatch to [`FlightSql`], and the calls it leaves out.
struct Door(FlightSql);

/// A stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl FlightService for Door {
    type HandshakeStream = <FlightSql as FlightService>::HandshakeStream;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = <FlightSql as FlightService>::DoGetStream;
    type DoPutStream = <FlightSql as FlightService>::DoPutStream;
    type DoActionStream = <FlightSql as FlightService>::DoActionStream;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        self.0.handshake(request).await
    }

    async fn list_flights(
        &self,
        request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        self.0.authorize(&request)?;
        // Flights are made by commands; none exist on their own.
        Ok(Response::new(stream::empty().boxed()))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.0.authorize(&request)?;
        self.0.get_flight_info(request).await
    }

    async fn poll_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        self.0.authorize(&request)?;
        self.0.poll(request).await.map(Response::new)
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        self.0.authorize(&request)?;
        self.0.schema_of(request).await.map(Response::new)
    }

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        self.0.authorize(&request)?;
        self.0.do_get(request).await
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        self.0.authorize(&request)?;
        self.0.do_put(request).await
    }

    async fn do_exchange(
        &self,
        _request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(status::refuse("0A000", "DoExchange is not supported", None))
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        self.0.authorize(&request)?;
        self.0.do_action(request).await
    }

    async fn list_actions(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        Ok(Response::new(stream::iter(actions::list().map(Ok)).boxed()))
    }
}
