//! Passwords over the PostgreSQL protocol: SCRAM-SHA-256, bound to the certificate where there is one.
//!
//! Called once a connection, between its startup packet and its greeting. The password never travels; what the server
//! keeps of it is not enough to log in with.

use super::failure::{Failure, Interrupt, Severity};
use super::socket::Socket;
use crate::frontend::Security;
use pgwire::api::auth::sasl::scram::ScramServerAuth;
use pgwire::messages::PgWireFrontendMessage as Message;
use pgwire::messages::startup::{Authentication, PasswordMessageFamily, Startup};
use tracing::{debug, info};

const SCRAM: &str = "SCRAM-SHA-256";
const SCRAM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Lets a client in that knows its password; everyone when there are no users.
///
/// # Errors
/// When the password is wrong (28P01), the exchange is not SCRAM's, or the client leaves.
pub async fn authenticate(
    socket: &mut Socket,
    startup: &Startup,
    security: &Security,
) -> Result<(), Interrupt> {
    let Some(users) = &security.users else { return Ok(()) };
    let user = startup.parameters.get("user").map_or("", String::as_str);
    socket.end_startup();
    let mut bound = ScramServerAuth::new();
    // A certificate whose signature has no hash to bind to leaves the plain mechanism.
    let can_bind = security
        .tls
        .as_ref()
        .is_some_and(|tls| bound.configure_certificate(&tls.certificate_pem).is_ok());
    let mut mechanisms = vec![SCRAM.to_string()];
    if can_bind {
        mechanisms.insert(0, SCRAM_PLUS.to_string());
    }
    socket.put(&Authentication::SASL(mechanisms.clone()))?;
    socket.flush().await?;
    let first = read(socket).await?.into_sasl_initial_response().map_err(malformed)?;
    if !mechanisms.contains(&first.auth_method) {
        return Err(Failure::protocol("client selected an invalid SASL mechanism").into());
    }
    let server = if can_bind { bound } else { ScramServerAuth::new() };
    let secret = users.scram_secret(user);
    let (challenge, waiting) = server
        .on_client_first_message_with_secret(&first.data.unwrap_or_default(), secret)
        .map_err(malformed)?;
    socket.put(&Authentication::SASLContinue(challenge.into()))?;
    socket.flush().await?;
    let last = read(socket).await?.into_sasl_response().map_err(malformed)?;
    match waiting.on_client_final_message(&last.data) {
        Ok(signature) => socket.put(&Authentication::SASLFinal(signature.into())),
        Err(error) => {
            info!(user, "a password was refused");
            debug!(%error, "SCRAM exchange failed");
            let message = format!("password authentication failed for user \"{user}\"");
            Err(Failure::new(Severity::Fatal, "28P01", message).into())
        }
    }
}

async fn read(socket: &mut Socket) -> Result<PasswordMessageFamily, Interrupt> {
    match socket.read_message().await? {
        Some(Message::PasswordMessageFamily(message)) => Ok(message),
        Some(_) => Err(Failure::protocol("expected SASL response").into()),
        None => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
    }
}

fn malformed(error: pgwire::error::PgWireError) -> Interrupt {
    debug!(%error, "SCRAM exchange failed");
    Failure::protocol("malformed SCRAM message").into()
}
