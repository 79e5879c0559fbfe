//! The protocols clients speak: one module per door.
//!
//! A frontend translates a protocol to `coordinator::Session` calls and back. It never talks to a worker,
//! and its protocol's types never leave its module.

pub mod auth;
pub mod flight;
pub mod functions;
pub mod http;
pub mod pg;
pub mod tls;

use crate::config::Frontend;
use crate::error::{Error, Result};
use auth::Users;
use std::path::Path;
use std::sync::Arc;
use tls::Tls;

/// Who may come in through the doors, and whether they are encrypted.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// The users; `None` lets everyone in.
    pub users: Option<Arc<Users>>,
    /// The certificate; `None` means clear text.
    pub tls: Option<Arc<Tls>>,
}

impl Security {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// When a file cannot be read or used, or only one of certificate and key is named.
    pub fn read(config: &Frontend) -> Result<Self> {
        let users = match config.auth.users_file.as_str() {
            "" => None,
            file => Some(Arc::new(Users::read(Path::new(file))?)),
        };
        let tls = match (config.tls.certificate.as_str(), config.tls.key.as_str()) {
            ("", "") => None,
            ("", _) | (_, "") => {
                return Err(Error::Config {
                    message: "frontend.tls needs both a certificate and a key".to_string(),
                    hint: Some("set frontend.tls.certificate and frontend.tls.key".to_string()),
                });
            }
            (certificate, key) => {
                Some(Arc::new(Tls::read(Path::new(certificate), Path::new(key))?))
            }
        };
        Ok(Self { users, tls })
    }
}
