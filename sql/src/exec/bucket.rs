//! `saltlake_bucket(salt, [bucket,] key, …)`: the number a salted join's shuffle hashes.
//!
//! A function and not an operator, so that the side whose rows go round costs no column and no copy: the shuffle
//! evaluates it, and it travels as any function does. For most rows it is the hash of the key; for rows of heavy keys a
//! number that leads to the partition whose turn it is.
//! Not for users: without a salt that the planner made it is an error.

use super::router::Router;
use crate::skew::salt::Salt;
use arrow::array::{ArrayRef, UInt16Array, UInt64Array};
use arrow::datatypes::DataType;
use datafusion::common::cast::as_uint16_array;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Name of the function in a plan.
pub const NAME: &str = "saltlake_bucket";

/// Salts kept ready; a task evaluates a few at a time.
const READY_SALTS: usize = 8;

/// The function.
#[derive(Debug)]
pub struct Bucket {
    signature: Signature,
    /// Routers by the wire form of their salt.
    ready: Mutex<Vec<(Vec<u8>, Arc<Router>)>>,
    /// Where the next round starts. Tasks start at random places.
    turn: AtomicU64,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            signature: Signature::variadic_any(Volatility::Volatile),
            ready: Mutex::default(),
            turn: AtomicU64::new(RandomState::new().hash_one(0) >> 1),
        }
    }
}

impl PartialEq for Bucket {
    fn eq(&self, other: &Self) -> bool {
        self.signature == other.signature
    }
}

impl Eq for Bucket {}

impl Hash for Bucket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.signature.hash(state);
    }
}

impl Bucket {
    fn router(&self, bytes: &[u8]) -> Result<Arc<Router>> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, router)) = ready.iter().find(|(known, _)| known == bytes) {
            return Ok(Arc::clone(router));
        }
        let (salt, side) = Salt::decode(bytes)?;
        let router = Arc::new(Router::new(salt, side)?);
        if ready.len() == READY_SALTS {
            ready.remove(0);
        }
        ready.push((bytes.to_vec(), Arc::clone(&router)));
        Ok(router)
    }
}

impl ScalarUDFImpl for Bucket {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::UInt64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let n_rows = args.number_rows;
        let mut args = args.args.into_iter();
        let Some(ColumnarValue::Scalar(ScalarValue::Binary(Some(salt)))) = args.next() else {
            return exec_err!("{NAME} is for the planner");
        };
        let router = self.router(&salt)?;
        let mut columns =
            args.map(|arg| arg.into_array(n_rows)).collect::<Result<Vec<ArrayRef>>>()?;
        if columns.is_empty() {
            return exec_err!("{NAME} takes the columns of a key");
        }
        if router.salt().copies_rows_of(router.side()) {
            let buckets = columns.remove(0);
            return Ok(ColumnarValue::Array(of_buckets(
                &router,
                as_uint16_array(&buckets)?,
                &columns,
            )?));
        }
        let mut turn = self.turn.load(Ordering::Relaxed);
        let mut values = vec![];
        let placed = router.place(&columns, &mut values, &mut turn)?;
        router.write_first(&placed, &mut values);
        self.turn.store(turn, Ordering::Relaxed);
        Ok(ColumnarValue::Array(Arc::new(UInt64Array::from(values))))
    }
}

/// The numbers for rows whose bucket is written beside them: 0 for the key's own, else the partition + 1.
fn of_buckets(router: &Router, buckets: &UInt16Array, keys: &[ArrayRef]) -> Result<ArrayRef> {
    let mut values = vec![];
    super::router::hash_keys(keys, &mut values)?;
    if values.len() != buckets.len() {
        return exec_err!("{} keys for {} rows", values.len(), buckets.len());
    }
    for (value, bucket) in values.iter_mut().zip(buckets.values()) {
        if *bucket > 0 {
            *value = router.value(usize::from(*bucket) - 1);
        }
    }
    Ok(Arc::new(UInt64Array::from(values)))
}
