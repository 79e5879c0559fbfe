//! Logs: one subscriber for the process, to standard error.
//!
//! Called once by `main` before anything else logs. Standard output stays free for addresses and results.
//! The Delta kernel logs each table that it looks at, and as an error what we report as one; it is silent unless the filter
//! names it.

use crate::config::{LogFormat, Telemetry};
use crate::error::{Error, Result};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// The crate that reads Delta logs.
const KERNEL: &str = "delta_kernel";

/// Starts logging.
///
/// # Errors
/// [`Error::Config`] when `telemetry.log` is no filter, or when logging was started before.
pub fn init(config: &Telemetry) -> Result<()> {
    let filter = filter(&config.log)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Text => builder.with_ansi(wants_colours()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Error::Config {
        message: format!("cannot start logs: {error}"),
        hint: None,
    })
}

fn filter(log: &str) -> Result<EnvFilter> {
    let with_kernel = match log.contains(KERNEL) {
        true => log.to_owned(),
        false => format!("{KERNEL}=off,{log}"),
    };
    EnvFilter::try_new(with_kernel).map_err(|error| Error::Config {
        message: format!("bad value for \"telemetry.log\": {error}"),
        hint: Some("write a level, such as debug, or levels by module: info,saltlake=debug".into()),
    })
}

/// Returns whether a person reads the logs on a terminal and did not ask for plain text.
fn wants_colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_silent_unless_it_is_named() {
        let shown = |log: &str| filter(log).unwrap().to_string();
        assert!(shown("info").contains("delta_kernel=off"), "{}", shown("info"));
        assert!(!shown("info,delta_kernel=debug").contains("off"));
    }

    #[test]
    fn a_bad_filter_is_a_clear_error() {
        let config = Telemetry { log: "saltlake=loud".into(), format: LogFormat::Text };
        let error = init(&config).unwrap_err().to_string();
        assert!(error.starts_with("bad value for \"telemetry.log\""), "{error}");
    }
}
