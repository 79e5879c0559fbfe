//! A cache with a name that counts what it does.
//!
//! All caches of a lake are one type below: keys and values are hidden, because each pair of types would compile moka
//! anew, some 100 KB of code apiece.

use super::CacheUsage;
use crate::error::{Error, Result};
use futures::future::BoxFuture;
use metrics::{counter, gauge};
use moka::future::Cache;
use moka::notification::RemovalCause;
use std::any::Any;
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counter of requests, by cache and by result "hit" or "miss".
const CACHE_REQUESTS: &str = "saltlake_cache_requests_total";
/// Gauge of bytes held, by cache.
const CACHE_WEIGHT: &str = "saltlake_cache_weight_bytes";
/// What an entry costs besides its value.
const ENTRY_BYTES: usize = 256;

/// A cache that counts what it does.
pub(crate) struct Named<K, V> {
    hidden: Hidden,
    of: PhantomData<fn(K) -> V>,
}

impl<K, V> Named<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new(
        name: &'static str,
        max_weight_bytes: u64,
        weight: impl Fn(&K, &V) -> usize + Send + Sync + 'static,
    ) -> Self {
        let weigher = move |key: &Key, value: &Value| {
            let key = (key.0.as_ref() as &dyn Any).downcast_ref().expect("keys are of one type");
            ENTRY_BYTES + size_of::<K>() + weight(key, shown(value))
        };
        let hidden = Hidden::new(name, max_weight_bytes, Box::new(weigher));
        Self { hidden, of: PhantomData }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.hidden.cache.invalidate_all();
    }

    /// Returns a value, loaded when it is not there; others who want it meanwhile wait for the same load.
    pub(crate) async fn get(
        &self,
        key: K,
        load: impl Future<Output = Result<V>> + Send,
    ) -> Result<V> {
        let load = async move { load.await.map(|value| Arc::new(value) as Value) };
        let value = self.hidden.get(Key(Box::new(key)), Box::pin(load)).await?;
        Ok(shown::<V>(&value).clone())
    }

    /// Returns a value when it is there.
    pub(crate) async fn known(&self, key: &K) -> Option<V> {
        let value = self.hidden.known(key).await?;
        Some(shown::<V>(&value).clone())
    }

    /// Returns whether a value is there.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.hidden.cache.contains_key(key as &dyn AnyKey)
    }

    /// Keeps a value in place of what was there.
    pub(crate) async fn put(&self, key: K, value: V) {
        self.hidden.cache.insert(Key(Box::new(key)), Arc::new(value)).await;
    }

    /// Returns how the cache is doing.
    pub(crate) fn usage(&self) -> CacheUsage {
        self.hidden.usage()
    }
}

fn shown<V: 'static>(value: &Value) -> &V {
    value.downcast_ref().expect("values are of one type")
}

type Value = Arc<dyn Any + Send + Sync>;
type Weigher = Box<dyn Fn(&Key, &Value) -> usize + Send + Sync>;

/// A key of any type. Two are equal when their types and their values are.
trait AnyKey: Any + Send + Sync {
    fn equals(&self, other: &dyn AnyKey) -> bool;
    fn hash_to(&self, hasher: &mut dyn Hasher);
}

impl<K: Hash + Eq + Send + Sync + 'static> AnyKey for K {
    fn equals(&self, other: &dyn AnyKey) -> bool {
        (other as &dyn Any).downcast_ref().is_some_and(|other: &K| self == other)
    }

    fn hash_to(&self, mut hasher: &mut dyn Hasher) {
        self.hash(&mut hasher);
    }
}

impl PartialEq for dyn AnyKey {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}

impl Eq for dyn AnyKey {}

impl Hash for dyn AnyKey {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.hash_to(hasher);
    }
}

struct Key(Box<dyn AnyKey>);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        // Not `self.0.equals`: a box is a key as well, and equals none that is in one.
        self.0.as_ref().equals(other.0.as_ref())
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.as_ref().hash(hasher);
    }
}

impl Borrow<dyn AnyKey> for Key {
    fn borrow(&self) -> &dyn AnyKey {
        self.0.as_ref()
    }
}

/// What all caches have in common.
struct Hidden {
    name: &'static str,
    max_weight_bytes: u64,
    cache: Cache<Key, Value>,
    n_hits: AtomicU64,
    n_misses: AtomicU64,
    n_evictions: Arc<AtomicU64>,
}

impl Hidden {
    fn new(name: &'static str, max_weight_bytes: u64, weigher: Weigher) -> Self {
        let n_evictions = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&n_evictions);
        let count = move |_: Arc<Key>, _: Value, cause: RemovalCause| {
            if cause == RemovalCause::Size {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        let cache = Cache::builder()
            .max_capacity(max_weight_bytes)
            .weigher(move |key, value| u32::try_from(weigher(key, value)).unwrap_or(u32::MAX))
            .eviction_listener(count)
            .build();
        let (n_hits, n_misses) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { name, max_weight_bytes, cache, n_hits, n_misses, n_evictions }
    }

    async fn get(&self, key: Key, load: BoxFuture<'_, Result<Value>>) -> Result<Value> {
        let mut is_hit = true;
        let loaded = self
            .cache
            .try_get_with(key, async {
                is_hit = false;
                load.await
            })
            .await;
        let (count, result) = if is_hit { (&self.n_hits, "hit") } else { (&self.n_misses, "miss") };
        count.fetch_add(1, Ordering::Relaxed);
        counter!(CACHE_REQUESTS, "cache" => self.name, "result" => result).increment(1);
        if !is_hit {
            let weight = self.cache.weighted_size();
            // Bytes of a cache fit the mantissa of a double.
            gauge!(CACHE_WEIGHT, "cache" => self.name).set(weight as f64);
        }
        loaded.map_err(|error: Arc<Error>| Arc::unwrap_or_clone(error))
    }

    async fn known(&self, key: &dyn AnyKey) -> Option<Value> {
        let known = self.cache.get(key).await;
        if known.is_some() {
            self.n_hits.fetch_add(1, Ordering::Relaxed);
        }
        known
    }

    fn usage(&self) -> CacheUsage {
        CacheUsage {
            name: self.name,
            n_entries: self.cache.entry_count(),
            weight_bytes: self.cache.weighted_size(),
            max_weight_bytes: self.max_weight_bytes,
            n_hits: self.n_hits.load(Ordering::Relaxed),
            n_misses: self.n_misses.load(Ordering::Relaxed),
            n_evictions: self.n_evictions.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_is_loaded_once_for_equal_keys() {
        let cache: Named<String, u32> =
            Named::new("numbers", 1 << 20, |key: &String, _: &u32| key.len());
        for _ in 0..3 {
            assert_eq!(cache.get("one".to_owned(), async { Ok(1) }).await.unwrap(), 1);
        }
        assert_eq!(cache.get("two".to_owned(), async { Ok(2) }).await.unwrap(), 2);
        assert_eq!(cache.known(&"two".to_owned()).await, Some(2));
        assert_eq!(cache.known(&"three".to_owned()).await, None);
        assert!(cache.contains(&"one".to_owned()));
        let usage = cache.usage();
        assert_eq!((usage.n_hits, usage.n_misses), (3, 2));
    }
}
