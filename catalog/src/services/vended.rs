//! Object stores that are opened with credentials from a catalog service, good for one table and for some time.
//!
//! Such a store has a URL of its own, `vended-HASH://bucket`, under which scans name it: the credentials are used for
//! that table and for nothing else, and a process that was not given them knows no such store and fails. On the
//! coordinator they are renewed by asking the service again. With a scan they travel to its workers, which ask the
//! coordinator ([`CredentialSource`]) when they are about to end.
//!
//! Limits: S3 and what speaks its protocol.

use crate::error::{Error, Result};
use crate::store::counted::CountedStore;
use crate::store::{StoreOptions, retry};
use async_trait::async_trait;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::{CredentialProvider, ObjectStore};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Credentials that end within this time are renewed before they are used.
const RENEW_BEFORE: Duration = Duration::from_secs(60);
/// Stores that are kept open. Beyond it those go whose credentials have ended.
const MAX_STORES: usize = 1_000;
/// The region of services that have none.
const DEFAULT_REGION: &str = "us-east-1";

/// How a bucket is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Reach {
    pub(crate) bucket: String,
    /// `None` for AWS.
    pub(crate) endpoint: Option<String>,
    pub(crate) region: String,
    pub(crate) virtual_hosted: bool,
}

/// Keys, and when they end.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
    pub(crate) ends_at: Option<SystemTime>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("ends_at", &self.ends_at).finish_non_exhaustive()
    }
}

impl Keys {
    fn ends_within(&self, time: Duration) -> bool {
        self.ends_at.is_some_and(|ends_at| ends_at <= SystemTime::now() + time)
    }

    fn credential(&self) -> Arc<AwsCredential> {
        Arc::new(AwsCredential {
            key_id: self.id.clone(),
            secret_key: self.secret.clone(),
            token: self.token.clone(),
        })
    }
}

/// What a service hands out for a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The location under which the keys open files.
    pub(crate) root: String,
    pub(crate) reach: Reach,
    pub(crate) keys: Keys,
}

impl Grant {
    /// Reads the settings that come with a table's location; `None` when there are no keys among them.
    ///
    /// # Errors
    /// Says what is missing or what we cannot use.
    pub(crate) fn read(
        location: &str,
        prefix: Option<&str>,
        setting: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, String> {
        let Some(id) = setting("s3.access-key-id") else { return Ok(None) };
        let secret = setting("s3.secret-access-key")
            .ok_or("it hands out an S3 key id without its secret")?;
        let plain = super::plain_location(location);
        let bucket = plain.strip_prefix("s3://").and_then(|rest| rest.split('/').next());
        let bucket = bucket.filter(|bucket| !bucket.is_empty());
        let bucket = bucket.ok_or("it hands out S3 keys for a table that is not in S3")?.to_owned();
        let endpoint = setting("s3.endpoint").filter(|endpoint| !endpoint.is_empty());
        let region = setting("s3.region").or_else(|| setting("client.region"));
        // With an endpoint of its own a service is addressed by path: its host is no bucket's.
        let is_by_path = setting("s3.path-style-access").is_none_or(|text| text != "false");
        let ends_at = setting("s3.session-token-expires-at-ms").and_then(|ms| ms.parse().ok());
        let in_bucket = format!("s3://{bucket}/");
        let root = prefix.map(super::plain_location).filter(|root| root.starts_with(&in_bucket));
        Ok(Some(Self {
            root: root.unwrap_or(in_bucket),
            reach: Reach {
                virtual_hosted: endpoint.is_none() && !is_by_path,
                bucket,
                endpoint,
                region: region.unwrap_or_else(|| DEFAULT_REGION.to_owned()),
            },
            keys: Keys {
                id,
                secret,
                token: setting("s3.session-token").filter(|token| !token.is_empty()),
                ends_at: ends_at.map(|ms| UNIX_EPOCH + Duration::from_millis(ms)),
            },
        }))
    }
}

/// Asks for new keys.
#[async_trait]
pub(crate) trait Renew: fmt::Debug + Send + Sync {
    /// Returns new keys; `None` when the service hands out none any more.
    async fn renew(&self) -> Result<Option<Keys>>;
}

/// Credentials of an object store, as they are sent to who reads from it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    key_id: String,
    secret: String,
    token: Option<String>,
    ends_at_ms: Option<u64>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("ends_at_ms", &self.ends_at_ms).finish_non_exhaustive()
    }
}

impl From<Keys> for Credentials {
    fn from(keys: Keys) -> Self {
        let ms = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        };
        let Keys { id, secret, token, ends_at } = keys;
        Self { key_id: id, secret, token, ends_at_ms: ends_at.map(ms) }
    }
}

impl From<Credentials> for Keys {
    fn from(credentials: Credentials) -> Self {
        let Credentials { key_id, secret, token, ends_at_ms } = credentials;
        let ends_at = ends_at_ms.map(|ms| UNIX_EPOCH + Duration::from_millis(ms));
        Self { id: key_id, secret, token, ends_at }
    }
}

/// Where a process that was sent credentials gets newer ones.
#[async_trait]
pub trait CredentialSource: fmt::Debug + Send + Sync {
    /// Returns those of a store, by its URL; `None` when there are none any more.
    ///
    /// # Errors
    /// Says why there is no answer.
    async fn credentials(&self, store: &str) -> Result<Option<Credentials>, String>;
}

/// Asks for the credentials of one store.
#[derive(Debug)]
struct AskSource {
    source: Arc<dyn CredentialSource>,
    store: String,
}

#[async_trait]
impl Renew for AskSource {
    async fn renew(&self) -> Result<Option<Keys>> {
        let credentials = self.source.credentials(&self.store).await;
        Ok(credentials.map_err(|message| ended(&message))?.map(Keys::from))
    }
}

/// A store opened with keys from a service.
#[derive(Debug)]
pub(crate) struct VendedStore {
    url: ObjectStoreUrl,
    reach: Reach,
    keys: Arc<LivingKeys>,
    store: Arc<dyn ObjectStore>,
}

/// Everything that another process needs to open the same store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shipment {
    pub(crate) url: String,
    pub(crate) reach: Reach,
    pub(crate) keys: Keys,
}

impl VendedStore {
    /// Returns the URL that names it.
    pub(crate) fn url(&self) -> &ObjectStoreUrl {
        &self.url
    }

    /// Returns the store itself.
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// Returns what a worker needs, with the keys of now.
    pub(crate) fn ship(&self) -> Shipment {
        let url = self.url.as_str().to_owned();
        Shipment { url, reach: self.reach.clone(), keys: self.keys.now.read().clone() }
    }
}

/// Two scans are the same whatever keys they are read with.
impl PartialEq for VendedStore {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

/// Keys that are replaced before they end.
#[derive(Debug)]
struct LivingKeys {
    now: RwLock<Keys>,
    /// `None` where nobody can be asked.
    renew: Option<Arc<dyn Renew>>,
    renewing: tokio::sync::Mutex<()>,
}

impl LivingKeys {
    /// Takes over keys, unless those that are there last longer.
    fn put(&self, keys: Keys) {
        let mut now = self.now.write();
        if keys.ends_at.is_none() || keys.ends_at >= now.ends_at {
            *now = keys;
        }
    }
}

#[async_trait]
impl CredentialProvider for LivingKeys {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let is_good = |keys: &Keys| !keys.ends_within(RENEW_BEFORE);
        if let Some(keys) = Some(self.now.read().clone()).filter(is_good) {
            return Ok(keys.credential());
        }
        let _one_asks = self.renewing.lock().await;
        let keys = self.now.read().clone();
        if is_good(&keys) {
            return Ok(keys.credential());
        }
        let renewed = match &self.renew {
            Some(renew) => renew.renew().await,
            None => Ok(None),
        };
        match renewed {
            Ok(Some(new)) => {
                self.put(new.clone());
                Ok(new.credential())
            }
            // They are good for some seconds more.
            _ if !keys.ends_within(Duration::ZERO) => Ok(keys.credential()),
            Ok(None) => Err(ended("the credentials that the catalog gave have ended")),
            Err(error) => Err(ended(&format!("the credentials were not renewed: {error}"))),
        }
    }
}

fn ended(message: &str) -> object_store::Error {
    object_store::Error::Generic { store: "S3", source: message.to_owned().into() }
}

/// The vended stores that a process has opened.
#[derive(Debug, Clone, Default)]
pub(crate) struct VendedStores {
    open: Arc<Mutex<HashMap<String, Arc<VendedStore>>>>,
    /// Whom a process asks that knows no service.
    source: Option<Arc<dyn CredentialSource>>,
    /// Whether a service may send us to an endpoint without encryption.
    allows_http: bool,
}

impl VendedStores {
    /// Returns no stores yet; how S3 is reached says whether plain HTTP is allowed.
    pub(crate) fn new(options: &StoreOptions) -> Self {
        Self { open: Arc::default(), source: None, allows_http: options.s3.allows_http() }
    }

    /// The same for a process that is sent stores, with credentials that it asks `source` to renew.
    pub(crate) fn for_worker(options: &StoreOptions, source: Arc<dyn CredentialSource>) -> Self {
        Self { source: Some(source), ..Self::new(options) }
    }

    /// Returns the credentials of an open store, renewed when they are about to end; `None` for a store that is not open.
    ///
    /// # Errors
    /// When they have ended and are not renewed.
    pub(crate) async fn credentials(&self, url: &str) -> Result<Option<Credentials>> {
        let Some(store) = self.open.lock().get(url).cloned() else { return Ok(None) };
        store.keys.get_credential().await?;
        let keys = store.keys.now.read().clone();
        Ok(Some(keys.into()))
    }

    /// Returns the store of a grant, opened when it is a new one, and tells the runtime its URL.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn open(
        &self,
        runtime: &RuntimeEnv,
        owner: &str,
        grant: Grant,
        renew: Option<Arc<dyn Renew>>,
    ) -> Result<Arc<VendedStore>> {
        let half = |seed: u8| {
            let mut hasher = DefaultHasher::new();
            (seed, owner, &grant.root, &grant.reach).hash(&mut hasher);
            hasher.finish()
        };
        // With the slash that URLs of stores end in: it is asked for by that name.
        let url = format!("vended-{:016x}{:016x}://{}/", half(0), half(1), grant.reach.bucket);
        self.keep(runtime, Shipment { url, reach: grant.reach, keys: grant.keys }, renew)
    }

    /// Returns the store that another process opened, with the keys that it sent.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn accept(
        &self,
        runtime: &RuntimeEnv,
        shipment: Shipment,
    ) -> Result<Arc<VendedStore>> {
        let renew = self.source.as_ref().map(|source| {
            let ask = AskSource { source: Arc::clone(source), store: shipment.url.clone() };
            Arc::new(ask) as Arc<dyn Renew>
        });
        self.keep(runtime, shipment, renew)
    }

    fn keep(
        &self,
        runtime: &RuntimeEnv,
        shipment: Shipment,
        renew: Option<Arc<dyn Renew>>,
    ) -> Result<Arc<VendedStore>> {
        let mut stores = self.open.lock();
        let Shipment { url, reach, keys } = shipment;
        if let Some(known) = stores.get(&url).filter(|known| known.reach == reach) {
            known.keys.put(keys);
            return Ok(Arc::clone(known));
        }
        if stores.len() >= MAX_STORES {
            stores.retain(|_, store| {
                let is_good = !store.keys.now.read().ends_within(Duration::ZERO);
                if !is_good {
                    // What still reads from it holds the store itself.
                    let _ = runtime.deregister_object_store(store.url.as_ref());
                }
                is_good
            });
        }
        let keys = LivingKeys { now: RwLock::new(keys), renew, renewing: Default::default() };
        let keys = Arc::new(keys);
        let store = self.open_s3(&reach, Arc::clone(&keys))?;
        let store_url = ObjectStoreUrl::parse(&url)?;
        runtime.register_object_store(store_url.as_ref(), Arc::clone(&store));
        let opened = Arc::new(VendedStore { url: store_url, reach, keys, store });
        stores.insert(url, Arc::clone(&opened));
        Ok(opened)
    }

    /// Opens a bucket. Nothing of it comes from the environment: keys and endpoint are the service's.
    fn open_s3(&self, reach: &Reach, keys: Arc<LivingKeys>) -> Result<Arc<dyn ObjectStore>> {
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&reach.bucket)
            .with_region(&reach.region)
            .with_virtual_hosted_style_request(reach.virtual_hosted)
            .with_retry(retry())
            .with_credentials(keys)
            .with_allow_http(self.allows_http);
        if let Some(endpoint) = &reach.endpoint {
            if endpoint.starts_with("http://") && !self.allows_http {
                let feature = format!(
                    "plain HTTP to {endpoint}, where a catalog sends us, without storage.s3.allow_http"
                );
                return Err(Error::NotSupported { feature });
            }
            builder = builder.with_endpoint(endpoint);
        }
        Ok(CountedStore::of_process(Arc::new(builder.build()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn grant(settings: &[(&str, &str)], prefix: Option<&str>) -> Result<Option<Grant>, String> {
        let settings: BTreeMap<_, _> = settings.iter().copied().collect();
        let location = "s3a://bucket/wh/t/metadata/1.metadata.json";
        Grant::read(location, prefix, |name| settings.get(name).map(|value| (*value).to_owned()))
    }

    const KEYS: [(&str, &str); 2] = [("s3.access-key-id", "id"), ("s3.secret-access-key", "hush")];

    #[test]
    fn settings_become_a_grant() {
        assert_eq!(grant(&[("s3.endpoint", "http://h")], None), Ok(None));
        assert!(grant(&KEYS[..1], None).unwrap_err().contains("without its secret"));
        let found = grant(&KEYS, None).unwrap().unwrap();
        assert_eq!(found.root, "s3://bucket/");
        assert_eq!(found.reach.region, "us-east-1");
        assert!(!format!("{found:?}").contains("hush"));
        let narrow = grant(&KEYS, Some("s3://bucket/wh/t")).unwrap().unwrap();
        assert_eq!(narrow.root, "s3://bucket/wh/t");
    }

    #[derive(Debug, Default)]
    struct Counter(AtomicUsize);

    #[async_trait]
    impl Renew for Counter {
        async fn renew(&self) -> Result<Option<Keys>> {
            let n = self.0.fetch_add(1, Ordering::SeqCst);
            let mut new = grant(&KEYS, None).unwrap().unwrap().keys;
            new.id = format!("new-{n}");
            new.ends_at = Some(SystemTime::now() + Duration::from_secs(3600));
            Ok(Some(new))
        }
    }

    fn keys_that_end(after: Option<Duration>, renew: Option<Arc<dyn Renew>>) -> LivingKeys {
        let mut keys = grant(&KEYS, None).unwrap().unwrap().keys;
        keys.ends_at = Some(match after {
            Some(after) => SystemTime::now() + after,
            None => UNIX_EPOCH,
        });
        LivingKeys { now: RwLock::new(keys), renew, renewing: Default::default() }
    }

    #[tokio::test]
    async fn keys_are_renewed_once_before_they_end() {
        let counter = Arc::new(Counter::default());
        let keys = keys_that_end(Some(Duration::from_secs(20)), Some(Arc::clone(&counter) as _));
        for _ in 0..3 {
            assert_eq!(keys.get_credential().await.unwrap().key_id, "new-0");
        }
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn keys_that_ended_where_nobody_can_be_asked_are_an_error() {
        let near = keys_that_end(Some(Duration::from_secs(20)), None);
        assert_eq!(near.get_credential().await.unwrap().key_id, "id");
        let error = keys_that_end(None, None).get_credential().await.unwrap_err();
        assert!(error.to_string().contains("have ended"), "{error}");
    }

    /// A coordinator that has renewed the keys of one store.
    #[derive(Debug)]
    struct OneStore(String, VendedStores);

    #[async_trait]
    impl CredentialSource for OneStore {
        async fn credentials(&self, store: &str) -> Result<Option<Credentials>, String> {
            match store == self.0 {
                true => self.1.credentials(store).await.map_err(|error| error.to_string()),
                false => Ok(None),
            }
        }
    }

    #[tokio::test]
    async fn a_process_that_was_sent_keys_asks_for_newer_ones() {
        let (options, runtime) = (StoreOptions::default(), RuntimeEnv::default());
        let here = VendedStores::new(&options);
        let mut granted = grant(&KEYS, None).unwrap().unwrap();
        granted.keys.ends_at = Some(UNIX_EPOCH);
        let counter: Arc<dyn Renew> = Arc::new(Counter::default());
        let opened = here.open(&runtime, "t", granted, Some(counter)).unwrap();
        let sent = opened.ship();
        let url = opened.url().as_str().to_owned();
        assert_eq!(here.credentials("vended-0://other/").await.unwrap(), None);
        let source = Arc::new(OneStore(url, here.clone()));
        let there = VendedStores::for_worker(&options, source);
        let arrived = there.accept(&runtime, sent.clone()).unwrap();
        assert_eq!(arrived.keys.get_credential().await.unwrap().key_id, "new-0");
        assert_eq!(arrived.keys.get_credential().await.unwrap().key_id, "new-0");
        // A scan that was sent before the keys were renewed does not bring the old ones back.
        let again = there.accept(&runtime, sent.clone()).unwrap();
        assert_eq!(again.keys.get_credential().await.unwrap().key_id, "new-0");
        let elsewhere = Shipment { url: "vended-1://bucket/".to_owned(), ..sent };
        let unknown = there.accept(&runtime, elsewhere).unwrap();
        let error = unknown.keys.get_credential().await.unwrap_err();
        assert!(error.to_string().contains("have ended"), "{error}");
    }
}
