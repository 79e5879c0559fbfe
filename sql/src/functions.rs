//! Functions that PostgreSQL has and the engine has not, or not so.
//!
//! Registered by both roles, so that a plan finds them wherever it runs.

pub mod checked;
mod datetime;
mod given;
pub mod interval;
pub mod json;
mod literal;
mod number;
pub mod quotient;
mod required;
pub mod rounding;
mod split;
pub mod sum;
mod timezone;

pub(crate) use datetime::is_extracted;

use crate::exec::bucket::Bucket;
use datafusion::logical_expr::ScalarUDF;
use std::sync::Arc;

/// Returns the function that lets no NULL pass.
pub fn required() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(required::Required::default()))
}

/// Returns the functions to register.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    let mut all = checked::all();
    all.extend(interval::all());
    all.extend(datetime::all());
    all.extend(number::all());
    all.extend(json::all());
    all.extend(split::all());
    all.extend([
        quotient::quotient(),
        rounding::round(),
        required(),
        Arc::new(ScalarUDF::from(timezone::Timezone::default())),
        Arc::new(ScalarUDF::from(Bucket::default())),
    ]);
    all
}
