//! Operators that the engine has not.

pub(crate) mod shared;
