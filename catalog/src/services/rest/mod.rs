//! A server of the Iceberg REST catalog protocol, asked for names, locations and credentials.
//!
//! ```text
//! locate("a.b", "t") ── config (once in a while) ── token (when due) ── GET …/namespaces/a%1Fb/tables/t
//! ```
//!
//! Read only, and only what planning needs: the table's metadata are read from their location like those of any other
//! table, so that they are cached and shared. Views are listed and not read.

mod http;
mod messages;
mod token;

#[cfg(test)]
mod tests;

use super::definition::CatalogDefinition;
use super::vended::Grant;
use super::{LIST_CONCURRENCY, Listed, Located, MAX_LISTED, Service};
use crate::error::{Error, Result};
use crate::lake::RelationKind;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use http::{Answer, Http};
use messages::{LoadedTable, Page, Properties, ServerConfig, text};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::StatusCode;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use token::Tokens;
use tokio::sync::Mutex;
use url::Url;

/// How long a server's configuration is believed.
const CONFIG_TIME: Duration = Duration::from_secs(300);
/// What stands between the levels of a namespace in a URL.
const LEVEL_SEPARATOR: &str = "\u{1f}";
/// Levels of namespaces that are listed.
const MAX_LEVELS: usize = 16;
/// Pages of one listing.
const MAX_PAGES: usize = 10_000;
/// The endpoint that servers with views name.
const VIEWS_ENDPOINT: &str = "GET /v1/{prefix}/namespaces/{namespace}/views";
/// Characters of a path segment that stand for themselves.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a path of several segments.
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// A REST catalog.
#[derive(Debug)]
pub(super) struct RestCatalog {
    definition: CatalogDefinition,
    base: Url,
    http: Http,
    tokens: Tokens,
    settings: Mutex<Option<Arc<Settings>>>,
}

/// What the server says of itself.
struct Settings {
    /// URL up to the namespaces, without a slash at the end.
    root: String,
    /// The server's, under the client's own.
    properties: Properties,
    has_views: bool,
    read_at: Instant,
}

/// Servers may send secrets among their properties.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Settings").field(&self.root).finish()
    }
}

impl RestCatalog {
    /// Prepares to ask; nothing is sent yet.
    ///
    /// # Errors
    /// When `uri` is no http(s) URL, or an option has a bad value.
    pub(super) fn open(definition: &CatalogDefinition) -> Result<Self> {
        let url = Url::parse(&definition.uri).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let base = url.ok_or_else(|| definition.invalid("uri is no http(s) URL"))?;
        Ok(Self {
            http: Http::new(definition)?,
            tokens: Tokens::new(definition, &base)?,
            definition: definition.clone(),
            base,
            settings: Mutex::new(None),
        })
    }

    /// Returns the server's settings, asked for anew from time to time.
    async fn settings(&self) -> Result<Arc<Settings>> {
        let mut known = self.settings.lock().await;
        if let Some(settings) = known.as_ref().filter(|s| s.read_at.elapsed() < CONFIG_TIME) {
            return Ok(Arc::clone(settings));
        }
        let base = self.base.as_str().trim_end_matches('/');
        let mut url = self.parse(&format!("{base}/v1/config"))?;
        if let Some(warehouse) = &self.definition.warehouse {
            url.query_pairs_mut().append_pair("warehouse", warehouse);
        }
        let answer = self.get(&url, &[]).await?;
        let config: ServerConfig = self.http.read(&answer)?;
        let settings = Arc::new(self.apply(config, &url)?);
        *known = Some(Arc::clone(&settings));
        Ok(settings)
    }

    /// The server's defaults give way to our options, and those to the server's overrides.
    fn apply(&self, config: ServerConfig, url: &Url) -> Result<Settings> {
        if config.defaults.is_none() && config.overrides.is_none() {
            return Err(self.http.failed(url, "its answer is not that of an Iceberg REST catalog"));
        }
        let mut properties = config.defaults.unwrap_or_default();
        let own = |(name, value): (&String, &String)| (name.clone(), value.as_str().into());
        properties.extend(self.definition.options.iter().map(own));
        properties.extend(config.overrides.unwrap_or_default());
        let base = match text(&properties, "uri") {
            Some(other) => self.moved_to(&other, url)?,
            None => self.base.clone(),
        };
        let prefix = text(&properties, "prefix").unwrap_or_default();
        let prefix = utf8_percent_encode(prefix.trim_matches('/'), PATH).to_string();
        let base = base.as_str().trim_end_matches('/');
        let root = match prefix.as_str() {
            "" => format!("{base}/v1"),
            prefix => format!("{base}/v1/{prefix}"),
        };
        let endpoints = config.endpoints.unwrap_or_default();
        let has_views = endpoints.iter().any(|endpoint| endpoint == VIEWS_ENDPOINT);
        Ok(Settings { root, properties, has_views, read_at: Instant::now() })
    }

    /// Another address of the same service; our token must not leave an encrypted connection for it.
    fn moved_to(&self, uri: &str, url: &Url) -> Result<Url> {
        let is_usable = |other: &Url| {
            let is_web = matches!(other.scheme(), "http" | "https") && other.has_host();
            is_web && (self.base.scheme() == "http" || other.scheme() == "https")
        };
        let other = Url::parse(uri).ok().filter(is_usable);
        other.ok_or_else(|| self.http.failed(url, "it sends us to an address we do not go to"))
    }

    fn parse(&self, url: &str) -> Result<Url> {
        Url::parse(url).map_err(|_| self.http.failed(&self.base, "its address has a bad path"))
    }

    /// Asks with a token, and once more with a new one when the first is not accepted.
    async fn get(&self, url: &Url, headers: &[(&'static str, &str)]) -> Result<Answer> {
        let token = self.tokens.get(&self.http).await?;
        let answer = self.http.get(url, token.as_deref(), headers).await?;
        let is_expired = matches!(answer.status.as_u16(), 401 | 419);
        if !is_expired || !self.tokens.reject(token.as_deref()).await {
            return Ok(answer);
        }
        let token = self.tokens.get(&self.http).await?;
        self.http.get(url, token.as_deref(), headers).await
    }

    fn namespace_url(&self, settings: &Settings, namespace: &str, rest: &str) -> Result<Url> {
        let levels = namespace.replace('.', LEVEL_SEPARATOR);
        let levels = utf8_percent_encode(&levels, SEGMENT);
        self.parse(&format!("{}/namespaces/{levels}/{rest}", settings.root))
    }

    /// Returns all pages of a listing; `None` when there is no such namespace.
    async fn pages(&self, url: &Url) -> Result<Option<Vec<Page>>> {
        let mut pages: Vec<Page> = vec![];
        let mut next: Option<String> = None;
        while pages.len() < MAX_PAGES {
            let mut url = url.clone();
            if let Some(token) = &next {
                url.query_pairs_mut().append_pair("pageToken", token);
            }
            let answer = self.get(&url, &[]).await?;
            if answer.status == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let page: Page = self.http.read(&answer)?;
            let token = page.next_page_token.clone().filter(|token| !token.is_empty());
            pages.push(page);
            match token {
                None => return Ok(Some(pages)),
                token if token == next => break,
                token => next = token,
            }
        }
        Err(self.http.failed(url, "its pages do not end"))
    }

    /// Returns the namespaces right below one.
    async fn children(&self, settings: &Settings, parent: &[String]) -> Result<Vec<Vec<String>>> {
        let mut url = self.parse(&format!("{}/namespaces", settings.root))?;
        if !parent.is_empty() {
            url.query_pairs_mut().append_pair("parent", &parent.join(LEVEL_SEPARATOR));
        }
        let pages = match self.pages(&url).await {
            Ok(Some(pages)) => pages,
            // Gone since it was listed, or not ours to look into.
            Ok(None) | Err(Error::ServiceRefused { .. }) if !parent.is_empty() => {
                return Ok(vec![]);
            }
            Ok(None) => return Err(self.http.failed(&url, "it has no list of namespaces")),
            Err(error) => return Err(error),
        };
        let mut children = vec![];
        for page in pages {
            let found = page.namespaces.ok_or_else(|| self.no_list(&url))?;
            // A server without nested namespaces answers with the top ones again.
            let is_child = |levels: &Vec<String>| {
                levels.len() == parent.len() + 1 && levels.starts_with(parent)
            };
            children.extend(found.into_iter().filter(is_child));
        }
        Ok(children)
    }

    async fn names(&self, url: &Url) -> Result<Option<Vec<String>>> {
        let Some(pages) = self.pages(url).await? else { return Ok(None) };
        let mut names = vec![];
        for page in pages {
            let found = page.identifiers.ok_or_else(|| self.no_list(url))?;
            names.extend(found.into_iter().map(|identifier| identifier.name));
        }
        Ok(Some(names))
    }

    fn no_list(&self, url: &Url) -> Error {
        self.http.failed(url, "its answer is not that of an Iceberg REST catalog: it has no list")
    }

    /// Tells a view from nothing, once there is no table.
    async fn refuse_view(&self, settings: &Settings, namespace: &str, name: &str) -> Result<()> {
        if !settings.has_views {
            return Ok(());
        }
        let segment = utf8_percent_encode(name, SEGMENT);
        let url = self.namespace_url(settings, namespace, &format!("views/{segment}"))?;
        let answer = self.get(&url, &[]).await?;
        match answer.status.is_success() {
            true => Err(Error::NotSupported {
                feature: format!("the Iceberg view \"{namespace}.{name}\""),
            }),
            false => Ok(()),
        }
    }

    /// Returns the credentials for a table: those of the longest prefix that covers it, else those of its settings.
    fn grant(&self, loaded: &LoadedTable, location: &str, url: &Url) -> Result<Option<Grant>> {
        let settings = loaded.config.clone().unwrap_or_default();
        let stored = loaded.storage_credentials.as_deref().unwrap_or_default();
        let covering = stored.iter().filter(|stored| location.starts_with(&stored.prefix));
        let longest = covering.max_by_key(|stored| stored.prefix.len());
        let (properties, prefix) = match longest {
            Some(stored) => {
                let mut properties = settings;
                properties.extend(stored.config.clone());
                (properties, Some(stored.prefix.as_str()))
            }
            None => (settings, None),
        };
        Grant::read(location, prefix, |name| text(&properties, name))
            .map_err(|message| self.http.failed(url, &message))
    }
}

#[async_trait]
impl Service for RestCatalog {
    async fn check(&self) -> Result<()> {
        // A fresh look: credentials may have become wrong since the last one.
        *self.settings.lock().await = None;
        let settings = self.settings().await?;
        self.children(&settings, &[]).await.map(drop)
    }

    async fn namespaces(&self) -> Result<Vec<String>> {
        let settings = self.settings().await?;
        let mut names = vec![];
        let mut level = self.children(&settings, &[]).await?;
        for _ in 0..MAX_LEVELS {
            // A level with a dot would read as two.
            let can_name = |levels: &&Vec<String>| !levels.iter().any(|name| name.contains('.'));
            names.extend(level.iter().filter(can_name).map(|levels| levels.join(".")));
            if level.is_empty() || names.len() > MAX_LISTED {
                break;
            }
            let below: Vec<_> =
                level.iter().map(|parent| self.children(&settings, parent)).collect();
            let below: Vec<Vec<Vec<String>>> =
                stream::iter(below).buffered(LIST_CONCURRENCY).try_collect().await?;
            level = below.into_iter().flatten().collect();
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    async fn tables(&self, namespace: &str) -> Result<Option<Vec<Listed>>> {
        let settings = self.settings().await?;
        let url = self.namespace_url(&settings, namespace, "tables")?;
        let Some(tables) = self.names(&url).await? else { return Ok(None) };
        let listed = |kind| move |name| Listed { name, kind };
        let mut all: Vec<Listed> = tables.into_iter().map(listed(RelationKind::Table)).collect();
        if settings.has_views {
            let url = self.namespace_url(&settings, namespace, "views")?;
            let views = self.names(&url).await?.unwrap_or_default();
            all.extend(views.into_iter().map(listed(RelationKind::View)));
        }
        Ok(Some(all))
    }

    async fn locate(&self, namespace: &str, table: &str) -> Result<Option<Located>> {
        let settings = self.settings().await?;
        let segment = utf8_percent_encode(table, SEGMENT);
        let mut url = self.namespace_url(&settings, namespace, &format!("tables/{segment}"))?;
        // The document itself is read from its place; the answer need not repeat its history.
        url.query_pairs_mut().append_pair("snapshots", "refs");
        let delegation = text(&settings.properties, "access-delegation");
        let headers: &[(&str, &str)] = match delegation.as_deref() {
            Some("none") => &[],
            _ => &[("X-Iceberg-Access-Delegation", "vended-credentials")],
        };
        let answer = self.get(&url, headers).await?;
        if answer.status == StatusCode::NOT_FOUND {
            // Anything may answer 404; only the protocol's own words mean that there is no such table.
            return match answer.refusal() {
                Some(_) => self.refuse_view(&settings, namespace, table).await.map(|()| None),
                None => Err(self.http.refused(&answer)),
            };
        }
        let loaded: LoadedTable = self.http.read(&answer)?;
        let Some(metadata_location) = loaded.metadata_location.clone() else {
            return Err(self.http.failed(&url, "its answer has no metadata-location"));
        };
        let grant = self.grant(&loaded, &metadata_location, &url)?;
        Ok(Some(Located { metadata_location, grant }))
    }
}
