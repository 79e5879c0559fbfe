//! The `saltlake` binary: parse flags, load the configuration, start telemetry, run one role, exit code.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong use. An error is one line on standard error, and a hint if there is one.

use clap::Parser;
use saltlake::cli::{self, Cli, Command};
use saltlake::config;
use saltlake::error::{Error, Result};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let loaded = config::load(&cli.command.overrides(), environment())?;
    match &cli.command {
        Command::Config { action, .. } => {
            cli::run_config(*action, &loaded, &mut std::io::stdout().lock())
        }
    }
}

/// Returns the variables of the process that are text.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Writes an error the way a person reads it. Nothing is left to do when standard error is closed.
fn print_error(error: &Error) {
    let report = error.report();
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "error: {}", report.message);
    if let Some(detail) = &report.detail {
        let _ = writeln!(out, "detail: {detail}");
    }
    if let Some(hint) = &report.hint {
        let _ = writeln!(out, "hint: {hint}");
    }
}
