//! Tokens that let us in: a fixed one, or one that client credentials buy (OAuth 2).
//!
//! A bought token is renewed when four fifths of its time are over, and at once when the service does not accept it. One
//! question buys it, others wait for that.

use super::super::definition::CatalogDefinition;
use super::http::Http;
use crate::error::{Error, Result};
use std::fmt;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use url::Url;

/// The scope asked for when none is given.
const DEFAULT_SCOPE: &str = "catalog";
/// How long a token is kept of which the service says nothing.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

/// Where tokens come from.
enum Source {
    None,
    Fixed(String),
    Credentials { id: Option<String>, secret: String, scope: String, url: Url },
}

/// The tokens of one service.
pub(super) struct Tokens {
    source: Source,
    current: Mutex<Option<Token>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

#[derive(Clone)]
struct Token {
    text: String,
    renew_at: Instant,
}

#[derive(serde::Deserialize)]
struct Bought {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
}

impl Tokens {
    /// Reads where tokens come from; `base` is the service.
    ///
    /// # Errors
    /// When `oauth2-server-uri` is no URL.
    pub(super) fn new(definition: &CatalogDefinition, base: &Url) -> Result<Self> {
        let source = match (definition.option("token"), definition.option("credential")) {
            (Some(token), _) => Source::Fixed(token.to_owned()),
            (None, Some(credential)) => {
                let (id, secret) = match credential.split_once(':') {
                    Some((id, secret)) => (Some(id.to_owned()), secret),
                    None => (None, credential),
                };
                let scope = definition.option("scope").unwrap_or(DEFAULT_SCOPE).to_owned();
                let url = token_url(definition, base)?;
                Source::Credentials { id, secret: secret.to_owned(), scope, url }
            }
            (None, None) => Source::None,
        };
        Ok(Self { source, current: Mutex::new(None) })
    }

    /// Returns a token; `None` when none is needed.
    ///
    /// # Errors
    /// When none can be bought.
    pub(super) async fn get(&self, http: &Http) -> Result<Option<String>> {
        let Source::Credentials { id, secret, scope, url } = &self.source else {
            return Ok(match &self.source {
                Source::Fixed(token) => Some(token.clone()),
                _ => None,
            });
        };
        let mut current = self.current.lock().await;
        if let Some(token) = current.as_ref().filter(|token| token.renew_at > Instant::now()) {
            return Ok(Some(token.text.clone()));
        }
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(id.as_deref().map(|id| ("client_id", id)));
        form.extend([("client_secret", secret.as_str()), ("scope", scope.as_str())]);
        let asked_at = Instant::now();
        let answer = http.post_form(url, &form).await?;
        if answer.status.as_u16() == 400 {
            // OAuth's own way to say that the credentials are wrong.
            return Err(match http.refused(&answer) {
                Error::ServiceFailed { catalog, endpoint, message } => {
                    Error::ServiceRefused { catalog, endpoint, message }
                }
                other => other,
            });
        }
        let bought: Bought = http.read(&answer)?;
        let is_bearer =
            bought.token_type.as_deref().is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
        if !is_bearer {
            return Err(http.failed(url, "its token is no bearer token"));
        }
        let lifetime = bought.expires_in.and_then(|s| Duration::try_from_secs_f64(s).ok());
        let renew_after = lifetime.unwrap_or(DEFAULT_LIFETIME).mul_f64(0.8);
        let renew_at = asked_at.checked_add(renew_after).unwrap_or(asked_at + DEFAULT_LIFETIME);
        *current = Some(Token { text: bought.access_token.clone(), renew_at });
        Ok(Some(bought.access_token))
    }

    /// Forgets a token that was not accepted; returns whether another can be had.
    pub(super) async fn reject(&self, token: Option<&str>) -> bool {
        if !matches!(self.source, Source::Credentials { .. }) {
            return false;
        }
        let mut current = self.current.lock().await;
        if current.as_ref().map(|current| current.text.as_str()) == token {
            *current = None;
        }
        true
    }
}

fn token_url(definition: &CatalogDefinition, base: &Url) -> Result<Url> {
    let bad = || definition.invalid("oauth2-server-uri is no http(s) URL");
    let under = |path: &str| {
        let base = base.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/{}", path.trim_start_matches('/')))
    };
    let url = match definition.option("oauth2-server-uri") {
        Some(uri) if uri.contains("://") => Url::parse(uri),
        Some(path) => under(path),
        None => under("v1/oauth/tokens"),
    };
    url.ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(bad)
}
