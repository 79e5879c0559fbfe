//! From an accepted socket to an open session: encryption request, startup packet, greeting.

use super::catalog::Catalog;
use super::failure::{Failure, Interrupt, Severity};
use super::socket::Socket;
use crate::coordinator::{Coordinator, Session, SessionOptions};
use crate::frontend::functions;
use crate::frontend::tls::Tls;
use bytes::Buf;
use pgwire::messages::PgWireFrontendMessage;
use pgwire::messages::response::{GssEncResponse, SslResponse};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, GssEncRequest, NegotiateProtocolVersion, ParameterStatus,
    SecretKey, SslRequest, Startup,
};
use saltlake_catalog::Database;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Settings a client is told about at startup and whenever they change, with the value when the session has none.
pub const REPORTED_SETTINGS: [(&str, &str); 8] = [
    ("application_name", ""),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("default_transaction_read_only", "off"),
    ("IntervalStyle", "postgres"),
    ("standard_conforming_strings", "on"),
    ("TimeZone", "UTC"),
    ("search_path", "\"$user\", public"),
];

/// SQLSTATE of a setting that does not exist.
const UNKNOWN_SETTING: &str = "42704";

/// Encryption and startup requests before a client has to come to the point.
const MAX_NEGOTIATIONS: usize = 4;

/// Returns the version clients see: PostgreSQL's number first, which drivers parse.
pub fn server_version() -> String {
    format!("15.0 (Saltlake {})", env!("CARGO_PKG_VERSION"))
}

/// What the first packets were about.
pub enum Greeting {
    /// A client that wants a session.
    Startup(Startup),
    /// The connection is done: a cancel request was handled, or the client left.
    Done,
}

/// Reads packets up to the startup message; answers encryption requests and handles a cancel request.
///
/// # Errors
/// When a packet is malformed or the client is gone.
pub async fn negotiate(
    socket: &mut Socket,
    coordinator: &Coordinator,
    tls: Option<&Tls>,
) -> Result<Greeting, Interrupt> {
    for _ in 0..MAX_NEGOTIATIONS {
        let Some(packet) = socket.read_startup().await? else { return Ok(Greeting::Done) };
        if SslRequest::is_ssl_request_packet(&packet) {
            match tls.filter(|_| !socket.is_encrypted()) {
                Some(tls) => {
                    socket.put(&SslResponse::Accept)?;
                    socket.flush().await?;
                    socket.encrypt(tls).await?;
                }
                None => {
                    socket.put(&SslResponse::Refuse)?;
                    socket.flush().await?;
                }
            }
            continue;
        }
        if GssEncRequest::is_gss_enc_request_packet(&packet) {
            socket.put(&GssEncResponse::Refuse)?;
            socket.flush().await?;
            continue;
        }
        let major = (&packet[4..6]).get_u16();
        match socket.decode_startup(packet) {
            Ok(PgWireFrontendMessage::CancelRequest(request)) => {
                if let Some(secret) = request.secret_key.as_i32() {
                    coordinator.cancel_session(request.pid, secret);
                }
                return Ok(Greeting::Done);
            }
            Ok(PgWireFrontendMessage::Startup(startup)) => {
                if tls.is_some() && !socket.is_encrypted() {
                    return Err(unencrypted());
                }
                return Ok(Greeting::Startup(startup));
            }
            Ok(_) => return Err(Failure::protocol("expected a startup packet").into()),
            Err(_) if major != 3 => return Err(unsupported_protocol(major)),
            Err(error) => return Err(error),
        }
    }
    Err(Failure::protocol("expected a startup packet").into())
}

/// A certificate was configured so that nothing goes over the network in clear text.
fn unencrypted() -> Interrupt {
    let message = "this server accepts encrypted connections only";
    let mut failure = Failure::new(Severity::Fatal, "28000", message);
    failure.report.hint = Some("connect with sslmode=require or stricter".to_string());
    failure.into()
}

fn unsupported_protocol(major: u16) -> Interrupt {
    let message = format!("unsupported frontend protocol {major}: server supports 3.0");
    Failure::new(Severity::Fatal, "0A000", message).into()
}

/// Opens the session the startup message asks for.
///
/// # Errors
/// When there is no user name, or the coordinator refuses: unknown database, too many sessions.
pub fn open_session(
    coordinator: &Arc<Coordinator>,
    startup: &Startup,
    client: SocketAddr,
) -> Result<(Arc<Session>, Arc<Catalog>), Interrupt> {
    let parameter = |name: &str| startup.parameters.get(name).cloned().unwrap_or_default();
    let user = parameter("user");
    if user.is_empty() {
        let message = "no PostgreSQL user name specified in startup packet";
        return Err(Failure::new(Severity::Fatal, "28000", message).into());
    }
    let database = database_of(&parameter("database"), &user);
    let lake = Database::new(Arc::clone(coordinator.lake()), &database);
    let catalog = Catalog::new(lake, &user);
    let options = SessionOptions {
        user: user.clone(),
        database,
        application_name: parameter("application_name"),
        frontend: "pg",
        client: Some(client),
        extra_schemas: catalog.schemas(),
        extra_functions: [functions::all(), catalog.functions()].concat(),
    };
    let session = coordinator.open_session(options).map_err(fatal)?;
    catalog.attach(&session);
    Ok((session, catalog))
}

/// Applies the settings a client sends along with its startup, such as its time zone.
///
/// # Errors
/// When a value is refused. A setting the session does not have is passed over: drivers send some that only say how
/// PostgreSQL itself should print.
pub fn configure(session: &Session, startup: &Startup) -> Result<(), Interrupt> {
    const NOT_SETTINGS: [&str; 5] =
        ["user", "database", "application_name", "replication", "options"];
    let options = startup.parameters.get("options").map_or("", String::as_str);
    for (name, value) in command_line(options)? {
        session.set_start(&name, &value).map_err(fatal)?;
    }
    for (name, value) in &startup.parameters {
        if NOT_SETTINGS.contains(&name.as_str()) || name.starts_with("_pq_.") {
            continue;
        }
        match session.set_start(name, value) {
            Err(error) if error.report().sqlstate != UNKNOWN_SETTING => return Err(fatal(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Reads settings off a client's `options`, a command line: `-c name=value`, `--name=value`; a backslash keeps a blank.
///
/// # Errors
/// For any other option.
fn command_line(options: &str) -> Result<Vec<(String, String)>, Interrupt> {
    let mut words = vec![String::new()];
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        let Some(word) = words.last_mut() else { break };
        match character {
            '\\' => word.extend(characters.next()),
            blank if blank.is_whitespace() => words.push(String::new()),
            other => word.push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let setting = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(setting), _) => setting.to_string(),
            (None, Some("")) => words.next().unwrap_or_default(),
            (None, Some(setting)) => setting.to_string(),
            (None, None) => word.clone(),
        };
        match setting.split_once('=') {
            Some((name, value)) if word.starts_with('-') => {
                settings.push((name.replace('-', "_"), value.to_string()));
            }
            _ => {
                let message = format!("invalid command-line argument for server process: {word}");
                return Err(Failure::new(Severity::Fatal, "42601", message).into());
            }
        }
    }
    Ok(settings)
}

/// A client that names no database asks for one named like its user, libpq's default; that means "the usual one".
fn database_of(database: &str, user: &str) -> String {
    if database == user { String::new() } else { database.to_string() }
}

fn fatal(error: crate::Error) -> Interrupt {
    let failure = Failure { severity: Severity::Fatal, ..Failure::from(error) };
    failure.into()
}

/// Greets the client: version, settings, the key for cancel requests. The caller sends `ReadyForQuery`.
///
/// Returns the settings as the client now knows them.
///
/// # Errors
/// When the client is gone.
pub fn greet(
    socket: &mut Socket,
    startup: &Startup,
    session: &Session,
) -> Result<BTreeMap<&'static str, String>, Interrupt> {
    let unknown_options: Vec<String> =
        startup.parameters.keys().filter(|name| name.starts_with("_pq_.")).cloned().collect();
    if startup.protocol_number_minor > 0 || !unknown_options.is_empty() {
        socket.put(&NegotiateProtocolVersion::new(0, unknown_options))?;
    }
    socket.put(&Authentication::Ok)?;
    let user = startup.parameters.get("user").cloned().unwrap_or_default();
    let fixed = [
        ("server_version", server_version()),
        ("server_encoding", "UTF8".to_string()),
        ("integer_datetimes", "on".to_string()),
        ("is_superuser", "off".to_string()),
        ("session_authorization", user),
    ];
    for (name, value) in fixed {
        socket.put(&ParameterStatus::new(name.to_string(), value))?;
    }
    let mut known = BTreeMap::new();
    for (name, default) in REPORTED_SETTINGS {
        let value = session.setting(name).unwrap_or_else(|| default.to_string());
        socket.put(&ParameterStatus::new(name.to_string(), value.clone()))?;
        known.insert(name, value);
    }
    socket.put(&BackendKeyData::new(session.pid(), SecretKey::I32(session.secret())))?;
    socket.end_startup();
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_a_command_line_of_settings() {
        let read = |text: &str| command_line(text).ok();
        let pairs = |pairs: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_string(), (*value).to_string());
            Some(pairs.iter().map(owned).collect::<Vec<_>>())
        };
        assert_eq!(read(""), pairs(&[]));
        assert_eq!(
            read("-c statement_timeout=300 -csearch_path=a,b --application-name=x\\ y"),
            pairs(&[
                ("statement_timeout", "300"),
                ("search_path", "a,b"),
                ("application_name", "x y")
            ])
        );
        assert_eq!(read("-d 3"), None);
        assert_eq!(read("-c"), None);
    }
}
