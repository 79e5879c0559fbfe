//! HTTP to one catalog service: time limits, retries, and what becomes of an answer that is no success.
//!
//! Every request here may be sent twice. One that was answered with "later" (429, 5xx) or met no listener is sent again,
//! after what the service asks for or after growing pauses, for [`MAX_RETRY_TIME`] at most. A service that accepts a
//! request and says nothing for [`SILENCE`] has failed. Redirects are not followed: they would carry tokens elsewhere.

use super::super::definition::{CatalogDefinition, HEADER};
use crate::error::{Error, Result};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, StatusCode, redirect};
use serde::de::DeserializeOwned;
use std::fmt;
use std::time::{Duration, Instant};
use url::Url;

/// How long a connect may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a service may say nothing.
const SILENCE: Duration = Duration::from_secs(30);
/// How long one answer may take as a whole.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(120);
/// Times a request is sent again.
const MAX_RETRIES: u32 = 4;
/// The pause before the first of them; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// How long requests are sent again.
const MAX_RETRY_TIME: Duration = Duration::from_secs(20);
/// Most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// Characters of a service's own words in an error.
const MAX_MESSAGE: usize = 300;

/// Sends requests to one service.
pub(super) struct Http {
    /// The catalog's name, for errors.
    catalog: String,
    client: Client,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Http").field(&self.catalog).finish()
    }
}

/// What a service answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: Vec<u8>,
    retry_after: Option<Duration>,
    /// The URL without its query.
    endpoint: String,
}

/// A request that got no answer.
struct NoAnswer {
    error: Error,
    is_worth_retrying: bool,
}

/// The error of the protocol, as services send it.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Refusal {
    #[serde(default)]
    pub(super) message: String,
}

impl Http {
    /// Prepares to send the headers of the definition's `header.*` options with every request.
    ///
    /// # Errors
    /// For a header that cannot be sent.
    pub(super) fn new(definition: &CatalogDefinition) -> Result<Self> {
        let mut headers = HeaderMap::new();
        for (option, value) in &definition.options {
            let Some(name) = option.strip_prefix(HEADER) else { continue };
            let bad = || definition.invalid(format!("\"{option}\" is no header"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            headers.insert(name, secret_value(value).ok_or_else(bad)?);
        }
        let client = Client::builder()
            .user_agent(concat!("saltlake/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT_TIME)
            .read_timeout(SILENCE)
            .timeout(MAX_ANSWER_TIME)
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| definition.invalid(format!("no HTTP client: {error}")))?;
        Ok(Self { catalog: definition.name.clone(), client })
    }

    /// Asks for a document.
    pub(super) async fn get(
        &self,
        url: &Url,
        token: Option<&str>,
        headers: &[(&'static str, &str)],
    ) -> Result<Answer> {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let bearer = match bearer.as_deref().map(secret_value) {
            Some(None) => return Err(self.failed(url, "the token cannot be sent in a header")),
            Some(bearer) => bearer,
            None => None,
        };
        let request = || {
            let mut request = self.client.request(Method::GET, url.clone());
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            match &bearer {
                Some(bearer) => request.header(AUTHORIZATION, bearer.clone()),
                None => request,
            }
        };
        self.ask(url, request).await
    }

    /// Sends a form that may be sent twice.
    pub(super) async fn post_form(&self, url: &Url, form: &[(&str, &str)]) -> Result<Answer> {
        self.ask(url, || self.client.request(Method::POST, url.clone()).form(form)).await
    }

    async fn ask(&self, url: &Url, request: impl Fn() -> RequestBuilder) -> Result<Answer> {
        let started = Instant::now();
        for n_retries in 0.. {
            let outcome = self.send(url, request()).await;
            let pause = FIRST_PAUSE * 2_u32.pow(n_retries);
            let pause = match &outcome {
                Ok(answer) if is_later(answer.status) => answer.retry_after.unwrap_or(pause),
                Err(NoAnswer { is_worth_retrying: true, .. }) => pause,
                _ => return outcome.map_err(|none| none.error),
            };
            if n_retries >= MAX_RETRIES || started.elapsed() + pause > MAX_RETRY_TIME {
                return outcome.map_err(|none| none.error);
            }
            tracing::debug!(catalog = self.catalog, n_retries, ?pause, "catalog asked again");
            tokio::time::sleep(pause).await;
        }
        Err(self.failed(url, "it was asked too often"))
    }

    async fn send(&self, url: &Url, request: RequestBuilder) -> Result<Answer, NoAnswer> {
        let none = |error: reqwest::Error| NoAnswer {
            // A service that was silent once would be silent for as long again.
            is_worth_retrying: error.is_connect() && !error.is_timeout(),
            error: self.failed(url, &cause(&error)),
        };
        let mut response = request.send().await.map_err(none)?;
        let mut answer = Answer {
            status: response.status(),
            body: vec![],
            retry_after: response.headers().get(RETRY_AFTER).and_then(seconds),
            endpoint: shown(url),
        };
        while let Some(chunk) = response.chunk().await.map_err(none)? {
            if answer.body.len() + chunk.len() > MAX_ANSWER_BYTES {
                let error = self.failed(url, "its answer is too long");
                return Err(NoAnswer { error, is_worth_retrying: false });
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    /// Reads the document of a successful answer.
    ///
    /// # Errors
    /// [`Error::ServiceRefused`] and [`Error::ServiceFailed`], also for what is no such document.
    pub(super) fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T> {
        if !answer.status.is_success() {
            return Err(self.refused(answer));
        }
        serde_json::from_slice(&answer.body).map_err(|error| {
            let message = format!("its answer is not that of an Iceberg REST catalog: {error}");
            self.failed_at(&answer.endpoint, &message)
        })
    }

    /// Returns the error of an answer that is no success.
    pub(super) fn refused(&self, answer: &Answer) -> Error {
        let said = answer.refusal().map(|refusal| refusal.message).filter(|text| !text.is_empty());
        let status = answer.status;
        let message = match said {
            Some(said) => format!("it answered {status}: {}", plain(&said)),
            None => format!("it answered {status}"),
        };
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let (catalog, endpoint) = (self.catalog.clone(), answer.endpoint.clone());
            return Error::ServiceRefused { catalog, endpoint, message };
        }
        self.failed_at(&answer.endpoint, &message)
    }

    /// Returns the error of a service that failed at `url`.
    pub(super) fn failed(&self, url: &Url, message: &str) -> Error {
        self.failed_at(&shown(url), message)
    }

    fn failed_at(&self, endpoint: &str, message: &str) -> Error {
        Error::ServiceFailed {
            catalog: self.catalog.clone(),
            endpoint: endpoint.to_owned(),
            message: message.to_owned(),
        }
    }
}

impl Answer {
    /// Returns what the service says against a request, if it says so in the protocol's form.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        #[derive(serde::Deserialize)]
        struct Document {
            error: Refusal,
        }
        serde_json::from_slice::<Document>(&self.body).ok().map(|document| document.error)
    }
}

/// Whether an answer means "ask again later".
fn is_later(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

/// Reads `Retry-After` in seconds; a date is left alone.
fn seconds(value: &HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn secret_value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Returns a URL as errors show it: without query, which may hold more than is meant for eyes.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        let limit = if error.is_connect() { CONNECT_TIME } else { SILENCE };
        return format!("it gave no answer within {} s", limit.as_secs());
    }
    // The innermost cause says most, and names no URL.
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    plain(&inner.to_string())
}

/// Cuts foreign words to one short line.
fn plain(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().chars().take(MAX_MESSAGE).collect()
}
