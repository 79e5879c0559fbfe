//! The protocols clients speak: one module per door.
//!
//! A frontend translates a protocol to `coordinator::Session` calls and back. It never talks to a worker,
//! and its protocol's types never leave its module.

pub mod flight;
pub mod http;
pub mod pg;
