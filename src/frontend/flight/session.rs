//! Which session a call belongs to.
//!
//! Called first by every Flight call. Flight is a protocol of single calls, so a session has to be found again:
//! by the bearer token a handshake gave out, else by the TCP connection the call came on. Clients that never log in
//! therefore keep their settings as long as their connection, and share nothing with each other.
//!
//! Bounds: at most `max_sessions` tokens; a token unused for `session_idle` is forgotten, with its prepared
//! statements. Where there are users, a call must bring the right name and password or a token; else any are accepted.

use super::FlightOptions;
use super::status;
use crate::coordinator::{Coordinator, Prepared, Session, SessionOptions};
use crate::frontend::functions;
use arrow_flight::{BasicAuth, HandshakeRequest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use datafusion::scalar::ScalarValue;
use parking_lot::Mutex;
use prost::Message;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::transport::server::TlsConnectInfo;
use tonic::{Extensions, Status};

/// Prepared statements one session may hold. Drivers hold one per open cursor.
const MAX_PREPARED: usize = 1024;

/// Header that names the catalog a session starts in; the name other Flight SQL servers use.
const DATABASE_HEADER: &str = "database";

/// Header in which clients of Flight's first authentication scheme send the token back.
const LEGACY_TOKEN_HEADER: &str = "auth-token-bin";

/// An unguessable id given to a client: of a prepared statement, of a result, of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(u128);

impl Handle {
    /// Returns a new handle from the system's random source.
    ///
    /// # Errors
    /// When the system has no random source.
    pub fn random() -> Result<Self, Status> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .map_err(|error| Status::internal(format!("no random source: {error}")))?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }

    /// Returns the handle a client sent back, or `None` when it cannot be ours.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }

    /// Returns the handle as a client gets it.
    pub fn to_bytes(self) -> bytes::Bytes {
        self.0.to_be_bytes().to_vec().into()
    }

    /// Returns the handle as text for a header.
    fn to_token(self) -> String {
        format!("{:032x}", self.0)
    }

    /// Reads what [`Handle::to_token`] wrote.
    fn from_token(token: &str) -> Option<Self> {
        u128::from_str_radix(token, 16).ok().map(Self)
    }
}

/// A prepared statement and the parameters bound to it.
pub struct PreparedStatement {
    /// The planned statement.
    pub prepared: Arc<Prepared>,
    /// Values for `$1`, `$2`, …, replaced by every bind.
    pub parameters: Mutex<Vec<ScalarValue>>,
}

/// One client: its session and its prepared statements.
pub struct Client {
    /// The session all calls of this client run in.
    pub session: Arc<Session>,
    /// Name it logged in with.
    user: String,
    prepared: Mutex<HashMap<Handle, Arc<PreparedStatement>>>,
}

impl Client {
    /// Keeps a prepared statement.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when the session holds [`MAX_PREPARED`] already.
    pub fn add_prepared(&self, prepared: Prepared) -> Result<Handle, Status> {
        let handle = Handle::random()?;
        let mut statements = self.prepared.lock();
        if statements.len() >= MAX_PREPARED {
            return Err(status::refuse(
                "53400",
                format!("a session may hold {MAX_PREPARED} prepared statements"),
                Some("close statements that are no longer used"),
            ));
        }
        let parameters = Mutex::new(Vec::new());
        statements.insert(
            handle,
            Arc::new(PreparedStatement { prepared: Arc::new(prepared), parameters }),
        );
        Ok(handle)
    }

    /// Returns the prepared statement of a handle.
    ///
    /// # Errors
    /// NOT_FOUND (26000) when it is closed or belongs to another session.
    pub fn prepared(&self, handle: &[u8]) -> Result<Arc<PreparedStatement>, Status> {
        Handle::parse(handle)
            .and_then(|handle| self.prepared.lock().get(&handle).cloned())
            .ok_or_else(|| status::refuse("26000", "prepared statement does not exist", None))
    }

    /// Forgets a prepared statement; an unknown one is no error, it may have been closed before.
    pub fn close_prepared(&self, handle: &[u8]) {
        if let Some(handle) = Handle::parse(handle) {
            self.prepared.lock().remove(&handle);
        }
    }
}

/// The client of calls that bring no token: one per TCP connection, opened by its first such call.
#[derive(Clone, Default)]
pub struct Connection {
    client: Arc<Mutex<Option<Arc<Client>>>>,
}

/// A client that holds a token, and when it was last seen.
struct Seen {
    client: Arc<Client>,
    last_used: Instant,
}

/// All clients with a token.
pub struct Clients {
    coordinator: Arc<Coordinator>,
    options: FlightOptions,
    by_token: Mutex<HashMap<Handle, Seen>>,
}

impl Clients {
    /// Returns an empty registry.
    pub fn new(coordinator: Arc<Coordinator>, options: FlightOptions) -> Self {
        Self { coordinator, options, by_token: Mutex::new(HashMap::new()) }
    }

    /// Returns whether clients have to say who they are.
    pub fn are_known(&self) -> bool {
        self.options.security.users.is_some()
    }

    /// Opens a session for a handshake and returns its bearer token.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED (53300) when `max_sessions` tokens are in use.
    pub fn log_in(
        &self,
        metadata: &MetadataMap,
        message: Option<&HandshakeRequest>,
    ) -> Result<String, Status> {
        let credentials = basic(metadata).or_else(|| message.and_then(payload));
        let user = self.check(credentials.unwrap_or_default())?;
        let client = self.open(user, metadata)?;
        let token = Handle::random()?;
        let mut by_token = self.by_token.lock();
        if by_token.len() >= self.options.max_sessions {
            return Err(status::refuse("53300", "too many sessions are open", None));
        }
        by_token.insert(token, Seen { client, last_used: Instant::now() });
        Ok(token.to_token())
    }

    /// Returns the client a call belongs to.
    ///
    /// # Errors
    /// UNAUTHENTICATED when the call brings a token that was not given out or has expired; what opening a session
    /// gives otherwise.
    pub fn resolve(
        &self,
        metadata: &MetadataMap,
        extensions: &Extensions,
    ) -> Result<Arc<Client>, Status> {
        if let Some(token) = bearer_token(metadata) {
            return self.with_token(&token);
        }
        let user = self.check(basic(metadata).unwrap_or_default())?;
        let Some(connection) = connection(extensions) else {
            return self.open(user, metadata);
        };
        let mut slot = connection.client.lock();
        match slot.as_ref() {
            Some(client) if client.user == user => Ok(Arc::clone(client)),
            _ => Ok(Arc::clone(slot.insert(self.open(user, metadata)?))),
        }
    }

    /// Closes the session of a call: its settings and prepared statements are gone.
    pub fn log_out(&self, metadata: &MetadataMap, extensions: &Extensions) {
        if let Some(token) = bearer_token(metadata).and_then(|token| Handle::from_token(&token)) {
            self.by_token.lock().remove(&token);
        } else if let Some(connection) = connection(extensions) {
            connection.client.lock().take();
        }
    }

    /// Forgets tokens that were unused too long. A client that is reading a result is in use.
    pub fn expire(&self) {
        let idle = self.options.session_idle;
        self.by_token.lock().retain(|_, seen| {
            Arc::strong_count(&seen.client) > 1 || seen.last_used.elapsed() < idle
        });
    }

    /// Returns the name of a client that may come in.
    fn check(&self, (user, password): Credentials) -> Result<String, Status> {
        match &self.options.security.users {
            Some(users) if !users.accepts(&user, &password) => Err(status::refuse(
                "28P01",
                format!("password authentication failed for user \"{user}\""),
                Some("send a user name and password, or the token a handshake gave"),
            )),
            _ => Ok(user),
        }
    }

    /// Returns the client of a bearer token and marks it as used.
    fn with_token(&self, token: &str) -> Result<Arc<Client>, Status> {
        let mut by_token = self.by_token.lock();
        let seen = Handle::from_token(token).and_then(|token| by_token.get_mut(&token));
        let seen = seen.ok_or_else(|| {
            status::refuse(
                "28000",
                "the session is unknown or has expired",
                Some("connect again with a handshake"),
            )
        })?;
        seen.last_used = Instant::now();
        Ok(Arc::clone(&seen.client))
    }

    /// Opens a session at the coordinator.
    fn open(&self, user: String, metadata: &MetadataMap) -> Result<Arc<Client>, Status> {
        let text = |key| metadata.get(key).and_then(|value| value.to_str().ok()).unwrap_or("");
        let options = SessionOptions {
            user: user.clone(),
            database: text(DATABASE_HEADER).to_string(),
            application_name: text("user-agent").to_string(),
            frontend: "flight",
            extra_functions: functions::all(),
            ..SessionOptions::default()
        };
        let session =
            self.coordinator.open_session(options).map_err(|error| status::from_error(&error))?;
        Ok(Arc::new(Client { session, user, prepared: Mutex::new(HashMap::new()) }))
    }
}

/// Returns the bearer token of a call.
fn bearer_token(metadata: &MetadataMap) -> Option<String> {
    if let Some(token) = credentials(metadata, "bearer ") {
        return Some(token.to_string());
    }
    let token = metadata.get_bin(LEGACY_TOKEN_HEADER)?.to_bytes().ok()?;
    String::from_utf8(token.to_vec()).ok()
}

/// A user name and a password.
type Credentials = (String, String);

/// Returns the connection of a call, encrypted or not.
fn connection(extensions: &Extensions) -> Option<&Connection> {
    let encrypted = || extensions.get::<TlsConnectInfo<Connection>>().map(TlsConnectInfo::get_ref);
    extensions.get::<Connection>().or_else(encrypted)
}

/// Returns what a `Basic` authorization header says.
fn basic(metadata: &MetadataMap) -> Option<Credentials> {
    let decoded = BASE64_STANDARD.decode(credentials(metadata, "basic ")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':').unwrap_or((&text, ""));
    Some((user.to_string(), password.to_string()))
}

/// Returns what follows `scheme` in the authorization header; schemes ignore case.
fn credentials<'a>(metadata: &'a MetadataMap, scheme: &str) -> Option<&'a str> {
    let header = metadata.get("authorization")?.to_str().ok()?;
    let (start, rest) = header.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// Returns what the payload of Flight's first authentication scheme says.
fn payload(message: &HandshakeRequest) -> Option<Credentials> {
    let BasicAuth { username, password } = BasicAuth::decode(message.payload.as_ref()).ok()?;
    (!username.is_empty()).then_some((username, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(value: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", value.parse().unwrap());
        metadata
    }

    #[test]
    fn a_handle_survives_its_two_forms() {
        let handle = Handle::random().unwrap();
        assert_eq!(Handle::parse(&handle.to_bytes()), Some(handle));
        assert_eq!(Handle::from_token(&handle.to_token()), Some(handle));
        assert_ne!(handle, Handle::random().unwrap());
        assert_eq!(Handle::parse(b"short"), None);
        assert_eq!(Handle::from_token("not hex"), None);
    }

    #[test]
    fn the_authorization_header_gives_user_or_token() {
        let ada = ("ada".to_string(), "a:b".to_string());
        assert_eq!(basic(&metadata("Basic YWRhOmE6Yg==")), Some(ada));
        assert_eq!(basic(&metadata("Bearer abc")), None);
        assert_eq!(basic(&metadata("Basic %%%")), None);
        assert_eq!(bearer_token(&metadata("bearer abc")), Some("abc".into()));
        assert_eq!(bearer_token(&metadata("Basic YWRhOmE6Yg==")), None);
        assert_eq!(bearer_token(&MetadataMap::new()), None);
    }

    #[test]
    fn the_first_authentication_scheme_is_understood() {
        let auth = BasicAuth { username: "ada".into(), password: "secret".into() };
        let message =
            HandshakeRequest { protocol_version: 0, payload: auth.encode_to_vec().into() };
        assert_eq!(payload(&message), Some(("ada".into(), "secret".into())));
        let mut metadata = MetadataMap::new();
        metadata
            .insert_bin(LEGACY_TOKEN_HEADER, tonic::metadata::MetadataValue::from_bytes(b"abc"));
        assert_eq!(bearer_token(&metadata), Some("abc".into()));
    }
}
