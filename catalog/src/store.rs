//! Object stores by URL, opened when they are first needed.
//!
//! [`Stores`] is the object store registry of the coordinator and of every worker. It holds no lake and no state that
//! outlives the process: a worker that is handed a plan over `s3://bucket/…` opens the bucket from its own options.
//! `file://` is the local disk; `s3://` comes from [`S3Options`], each unset field from the standard `AWS_*` variables.
//! Those that are reached over a network count their requests ([`counted`]).

pub(crate) mod counted;

pub use counted::{Requests, counting, inherit};

use counted::CountedStore;
use dashmap::DashMap;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreRegistry;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::{ClientConfigKey, ObjectStore, RetryConfig};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Retries of a request, and the time after which none is begun, so that a query over a dead store fails in seconds.
const MAX_RETRIES: usize = 5;
const RETRY_TIMEOUT: Duration = Duration::from_secs(15);

/// How object stores are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreOptions {
    /// S3 and services that speak its protocol.
    pub s3: S3Options,
}

/// How S3 buckets are reached. Unset fields are taken from the standard `AWS_*` environment variables.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Options {
    /// URL of a service other than AWS, such as `http://127.0.0.1:8333`.
    pub endpoint: Option<String>,
    /// Region of the buckets.
    pub region: Option<String>,
    /// Key id of the credentials.
    pub access_key_id: Option<String>,
    /// Secret of the credentials; never printed.
    #[serde(skip_serializing)]
    pub secret_access_key: Option<String>,
    /// Token of temporary credentials; never printed.
    #[serde(skip_serializing)]
    pub session_token: Option<String>,
    /// Allows plain HTTP. An `http://` endpoint alone does not.
    pub allow_http: Option<bool>,
    /// Puts the bucket in the host name instead of the path.
    pub virtual_hosted: Option<bool>,
}

impl S3Options {
    /// Returns whether plain HTTP is allowed, here or by the environment.
    pub(crate) fn allows_http(&self) -> bool {
        let key = AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp);
        let environment = || AmazonS3Builder::from_env().get_config_value(&key);
        self.allow_http
            .unwrap_or_else(|| environment().is_some_and(|text| text.eq_ignore_ascii_case("true")))
    }
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| "***");
        f.debug_struct("S3Options")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &hidden(&self.secret_access_key))
            .field("session_token", &hidden(&self.session_token))
            .field("allow_http", &self.allow_http)
            .field("virtual_hosted", &self.virtual_hosted)
            .finish()
    }
}

/// The object stores a process has opened, by scheme and bucket.
pub struct Stores {
    options: StoreOptions,
    local: Arc<dyn ObjectStore>,
    opened: DashMap<String, Arc<dyn ObjectStore>>,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opened: Vec<String> = self.opened.iter().map(|entry| entry.key().clone()).collect();
        f.debug_struct("Stores").field("options", &self.options).field("opened", &opened).finish()
    }
}

impl Stores {
    /// Returns a registry that opens stores with these options.
    pub fn new(options: StoreOptions) -> Self {
        Self { options, local: Arc::new(LocalFileSystem::new()), opened: DashMap::new() }
    }

    fn open_s3(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>> {
        let s3 = &self.options.s3;
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry());
        if let Some(allow_http) = s3.allow_http {
            builder = builder.with_allow_http(allow_http);
        }
        if let Some(endpoint) = &s3.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &s3.region {
            builder = builder.with_region(region);
        }
        if let Some(id) = &s3.access_key_id {
            builder = builder.with_access_key_id(id);
        }
        if let Some(secret) = &s3.secret_access_key {
            builder = builder.with_secret_access_key(secret);
        }
        if let Some(token) = &s3.session_token {
            builder = builder.with_token(token);
        }
        if let Some(virtual_hosted) = s3.virtual_hosted {
            builder = builder.with_virtual_hosted_style_request(virtual_hosted);
        }
        Ok(CountedStore::of_process(Arc::new(builder.build()?)))
    }
}

/// Returns how requests to object stores are sent again.
pub(crate) fn retry() -> RetryConfig {
    RetryConfig { max_retries: MAX_RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() }
}

fn key_of(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.authority())
}

impl ObjectStoreRegistry for Stores {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.opened.insert(key_of(url), store)
    }

    fn deregister_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let removed = self.opened.remove(&key_of(url));
        removed
            .map(|(_, store)| store)
            .ok_or_else(|| DataFusionError::Plan(format!("no object store is open for {url}")))
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let key = key_of(url);
        if let Some(store) = self.opened.get(&key) {
            return Ok(Arc::clone(store.value()));
        }
        match url.scheme() {
            "file" => Ok(Arc::clone(&self.local)),
            "s3" | "s3a" => {
                let bucket = url.host_str().unwrap_or_default();
                let store = self.open_s3(bucket)?;
                Ok(Arc::clone(self.opened.entry(key).or_insert(store).value()))
            }
            scheme => Err(DataFusionError::NotImplemented(format!(
                "object stores of the scheme \"{scheme}\" are not supported"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> StoreOptions {
        StoreOptions {
            s3: S3Options {
                endpoint: Some("http://127.0.0.1:1".into()),
                region: Some("eu-west-1".into()),
                access_key_id: Some("id".into()),
                secret_access_key: Some("hush-hush".into()),
                session_token: Some("token-hush".into()),
                allow_http: Some(true),
                virtual_hosted: None,
            },
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let stores = Stores::new(options());
        let url = Url::parse("s3://bucket/x").unwrap();
        stores.get_store(&url).unwrap();
        let printed = format!("{stores:?} {}", serde_json::to_string(&options()).unwrap());
        assert!(printed.contains("***") && printed.contains("s3://bucket"), "{printed}");
        assert!(!printed.contains("hush"), "{printed}");
    }

    #[test]
    fn one_store_per_bucket() {
        let stores = Stores::new(options());
        let get = |url: &str| stores.get_store(&Url::parse(url).unwrap()).unwrap();
        assert!(Arc::ptr_eq(&get("s3://a/x"), &get("s3://a/y")));
        assert!(!Arc::ptr_eq(&get("s3://a/x"), &get("s3://b/x")));
        assert!(Arc::ptr_eq(&get("file:///a"), &get("file:///b")));
    }

    #[test]
    fn unknown_scheme_is_refused() {
        let stores = Stores::new(StoreOptions::default());
        let error = stores.get_store(&Url::parse("ftp://host/x").unwrap()).unwrap_err();
        assert!(error.to_string().contains("ftp"), "{error}");
    }

    #[test]
    fn options_have_defaults_and_no_unknown_fields() {
        let parsed: StoreOptions = serde_json::from_str(r#"{"s3":{"region":"x"}}"#).unwrap();
        assert_eq!(parsed.s3.region.as_deref(), Some("x"));
        assert!(serde_json::from_str::<StoreOptions>(r#"{"s3":{"regoin":"x"}}"#).is_err());
    }
}
