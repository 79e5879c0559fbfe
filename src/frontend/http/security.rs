//! Passwords and encryption of the HTTP door: `Authorization: Basic` on every path but the two probes, TLS below.

use super::{App, refuse, text};
use crate::frontend::tls::{ClientStream, Tls};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// Paths that load balancers ask without a password.
const OPEN_PATHS: [&str; 2] = ["/health", "/ready"];

/// A client has this long for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Handshakes under way at once; more clients wait in the listener's queue.
const MAX_HANDSHAKES: usize = 64;

/// Pause after a failed accept, which usually means that the process is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Who sent a request; empty when nobody is asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller(pub(super) String);

/// Lets requests pass that bring the name and password of a user, all where there are no users.
pub(super) async fn require_password(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Response {
    let (name, password) = basic(request.headers()).unwrap_or_default();
    if let Some(users) = &app.options.security.users
        && !OPEN_PATHS.contains(&request.uri().path())
        && !users.accepts(&name, &password)
    {
        let message = format!("password authentication failed for user \"{name}\"");
        let mut response = refuse(StatusCode::UNAUTHORIZED, "28P01", &message);
        let scheme = HeaderValue::from_static("Basic realm=\"saltlake\", charset=\"UTF-8\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        return response;
    }
    request.extensions_mut().insert(Caller(name));
    next.run(request).await
}

/// Returns name and password of a `Basic` authorization header.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let header = text(headers, header::AUTHORIZATION);
    let (scheme, credentials) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(credentials.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.to_string(), password.to_string()))
}

/// A listener whose clients have shaken hands. A slow one holds up nobody else.
pub(super) struct TlsListener {
    ready: mpsc::Receiver<(ClientStream, SocketAddr)>,
    address: SocketAddr,
    /// Ends with the listener.
    _accepting: JoinSet<()>,
}

impl TlsListener {
    /// Starts to accept clients.
    ///
    /// # Errors
    /// When the listener has no address.
    pub(super) fn new(listener: TcpListener, tls: Arc<Tls>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(MAX_HANDSHAKES);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept_forever(listener, tls, sender));
        Ok(Self { ready, address, _accepting: accepting })
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = ClientStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (ClientStream, SocketAddr) {
        match self.ready.recv().await {
            Some(client) => client,
            // The task that accepts never ends by itself.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

async fn accept_forever(
    listener: TcpListener,
    tls: Arc<Tls>,
    ready: mpsc::Sender<(ClientStream, SocketAddr)>,
) {
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.len() >= MAX_HANDSHAKES {
            handshakes.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (tls, ready) = (Arc::clone(&tls), ready.clone());
                handshakes.spawn(async move {
                    if let Some(stream) = shake_hands(&tls, stream, peer).await {
                        // The server that would serve it has ended.
                        let _ = ready.send((stream, peer)).await;
                    }
                });
            }
            Err(error) => {
                warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
        while handshakes.try_join_next().is_some() {}
    }
}

async fn shake_hands(tls: &Tls, stream: TcpStream, peer: SocketAddr) -> Option<ClientStream> {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            debug!(%peer, %error, "TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authorization_header_gives_name_and_password() {
        let mut headers = HeaderMap::new();
        assert_eq!(basic(&headers), None);
        for (value, expected) in [
            ("Basic YWRhOmE6Yg==", Some(("ada", "a:b"))),
            ("basic YWRhOmE6Yg==", Some(("ada", "a:b"))),
            ("Bearer YWRhOmE6Yg==", None),
            ("Basic %%%", None),
        ] {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            let expected = expected.map(|(name, password)| (name.into(), password.into()));
            assert_eq!(basic(&headers), expected, "{value}");
        }
    }
}
