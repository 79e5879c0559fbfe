//! Operators that the engine has not, most of them what salted joins are made of.
//!
//! ```text
//! HashJoinExec: on k                              the join itself is a stock one, on its own keys
//! ├ ProjectionExec: without __bucket
//! │ └ RepartitionExec: Hash(saltlake_bucket(salt, __bucket, k))
//! │   └ ReplicateExec                             the side whose heavy rows are copied: writes __bucket
//! └ RepartitionExec: Hash(saltlake_bucket(salt, k))
//!                                                 the side whose heavy rows go round: no operator, no column
//! ```
//!
//! [`bucket`] is the function under the hash, [`replicate`] the operator, [`router`] what both share.
//! Beside them, [`shared`] runs a plan once for several readers, and [`paced`] keeps a join from holding its thread.

pub mod bucket;
pub(crate) mod paced;
pub mod replicate;
pub mod router;
pub(crate) mod shared;
