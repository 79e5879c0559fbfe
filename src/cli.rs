//! The command line: what `saltlake --help` shows, and which keys the flags set.
//!
//! Called by `main`. A flag is the last layer of the configuration: every one but `--config` is a key of
//! `saltlake.toml` and a variable too.

use crate::config::{Overrides, load::Loaded, reference};
use crate::error::Result;
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;

/// SQL over a data lake, from psql and Arrow Flight SQL: one process or a cluster.
#[derive(Debug, Parser)]
#[command(name = "saltlake", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `saltlake` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show and check the configuration
    Config {
        /// What to do with the configuration.
        #[command(subcommand)]
        action: ConfigAction,
        /// Which file.
        #[command(flatten)]
        common: CommonArgs,
    },
}

/// What `saltlake config` can do.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigAction {
    /// Read all layers and say what is wrong
    Check,
    /// Print the configuration in force as TOML, secrets as ***
    Print,
    /// Print the reference of all keys as Markdown
    Reference,
}

/// Flags of every command that reads the configuration.
#[derive(Debug, Clone, Default, Args)]
pub struct CommonArgs {
    /// Configuration file [env: SALTLAKE_CONFIG] [default: saltlake.toml, if there is one]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Log filter, such as debug or info,saltlake=debug [env: SALTLAKE_TELEMETRY__LOG] [default: info]
    #[arg(long, value_name = "FILTER", global = true)]
    pub log: Option<String>,
}

impl CommonArgs {
    /// Returns the overrides these flags mean.
    pub fn overrides(&self) -> Overrides {
        let mut overrides = Overrides { file: self.config.clone(), values: Vec::new() };
        set(&mut overrides, "telemetry.log", &self.log);
        overrides
    }
}

/// Adds an override when the flag was given.
fn set(overrides: &mut Overrides, path: &'static str, value: &Option<String>) {
    overrides.values.extend(value.clone().map(|value| (path, value)));
}

impl Command {
    /// Returns the keys that the flags set.
    pub fn overrides(&self) -> Overrides {
        match self {
            Self::Config { common, .. } => common.overrides(),
        }
    }
}

/// Runs `saltlake config …`, writing to `out`.
///
/// # Errors
/// When `out` cannot be written.
pub fn run_config(action: ConfigAction, loaded: &Loaded, out: &mut dyn Write) -> Result<()> {
    let text = match action {
        ConfigAction::Check => match &loaded.file {
            Some(file) => format!("{}: ok\n", file.display()),
            None => "no configuration file; defaults, environment and flags: ok\n".to_string(),
        },
        ConfigAction::Print => toml::to_string(&loaded.config).map_err(|error| {
            let source = std::io::Error::other(error);
            crate::Error::Io { action: "cannot print the configuration".to_string(), source }
        })?,
        ConfigAction::Reference => reference::markdown(),
    };
    out.write_all(text.as_bytes()).map_err(|source| crate::Error::Io {
        action: "cannot write to standard output".to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
