//! Saltlake: a SQL query server over a data lake.
//!
//! The life of a query:
//! 1. `frontend` reads bytes from a socket (PostgreSQL protocol, Flight SQL, HTTP) and finds its session.
//! 2. [`coordinator::session::Session`] parses, plans and optimizes the statement (`saltlake_sql`).
//! 3. Tables come from the lake's catalog (`saltlake_catalog`).
//! 4. `coordinator::dispatch` runs the plan here, or in stages on the workers.
//! 5. Rows stream back through the frontend.

pub mod cli;
pub mod cluster;
pub mod config;
pub mod coordinator;
pub mod demo;
pub mod engine;
pub mod error;
pub mod frontend;
pub mod metrics;
pub mod process;
pub mod serve;
mod shared;
pub mod shell;
pub mod shutdown;
pub mod sqlstate;
pub mod telemetry;
pub mod worker;

pub use error::{Error, Result};
