//! System tests: real `saltlake` processes, asked through real clients.
//!
//! One binary, because every test binary links the engine again. Modules are themes; [`harness`] starts and ends
//! processes, [`lake`] writes the test data. Every server binds port 0 and every wait has a deadline.

#![expect(clippy::result_large_err, reason = "test errors carry every field a client sees")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here, with the line")]
#![allow(clippy::print_stderr, reason = "a test says why it skipped something")]
mod harness;
mod lake;

mod beside;
mod catalogs;
mod churn;
mod clients;
mod compose;
mod delta;
mod demo;
mod dependencies;
mod errors;
mod flight;
mod golden;
mod http;
mod iceberg;
mod memory;
mod metadata_columns;
mod pg;
mod process;
mod readme;
mod round_trips;
mod s3;
mod security;
mod shell;
mod skew;
mod slt;
mod splits;
mod suite;
mod tables;
mod tidy;
mod topology;
mod tpcds;
