//! What the binary does: parse flags, load the configuration, start telemetry, run one role, exit code.
//!
//! Here and not in `main.rs`, where the futures of all roles would be compiled a second time, and last of all.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong use. An error is one line on standard error, and a hint if there is one.

use crate::cli::{self, Cli, Command};
use crate::config::{self, Config};
use crate::coordinator::{Coordinator, Role};
use crate::error::{Error, Result};
use crate::{demo, serve, shell, telemetry};
use clap::Parser;
use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

/// Stack of the threads that run queries. Evaluating an expression recurses along it, and a statement may be as deep as
/// `coordinator.max_expression_depth` allows. It is only reserved until it is used.
const RUN_STACK_BYTES: usize = 16 << 20;

/// Runs the process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    run(cli).unwrap_or_else(|error| {
        print_error(&error);
        ExitCode::FAILURE
    })
}

fn run(cli: Cli) -> Result<ExitCode> {
    let loaded = config::load(&cli.command.overrides(), environment())?;
    let config = &loaded.config;
    if let Command::Config { action, .. } = &cli.command {
        cli::run_config(*action, &loaded, &mut std::io::stdout().lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Password { name, .. } = &cli.command {
        let (mut input, mut out) = (std::io::stdin().lock(), std::io::stdout().lock());
        cli::run_password(name, &mut input, &mut out)?;
        return Ok(ExitCode::SUCCESS);
    }
    telemetry::init(&config.telemetry)?;
    let n_threads = match cli.command {
        Command::Worker { .. } => config.worker.thread_count(),
        _ => config.coordinator.thread_count(),
    };
    block_on(n_threads, run_command(cli.command, config))?
}

async fn run_command(command: Command, config: &Config) -> Result<ExitCode> {
    match command {
        Command::Serve { .. } => serve::coordinator(config, Role::Standalone).await?,
        Command::Coordinator { .. } => serve::coordinator(config, Role::Cluster).await?,
        Command::Worker { .. } => serve::worker(config).await?,
        Command::Sql { shell, .. } => {
            let open_lake = async || Coordinator::start(config, Role::Standalone).await;
            return Ok(shell::run(shell, config.lake.root.clone(), open_lake).await.into());
        }
        Command::Demo { demo, .. } => return Ok(demo::run(demo).await.into()),
        // Done before there was a runtime.
        Command::Password { .. } | Command::Config { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a future to its end on a runtime of its own. Work that blocks and is still running is not waited for.
fn block_on<T>(n_threads: usize, future: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(n_threads)
        .thread_name("saltlake-run")
        .thread_stack_size(RUN_STACK_BYTES)
        .enable_all()
        .build()
        .map_err(|source| Error::Io { action: "cannot start threads".to_string(), source })?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(output)
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
