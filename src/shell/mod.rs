//! `saltlake sql`: runs SQL from the command line, a file or a prompt.
//!
//! Called by `cli`. [`run`] picks a [`backend::Backend`] (a server through Flight SQL, or a coordinator inside this
//! process), then hands the text to [`runner::Runner`], statement by statement. The one idea: everything above the
//! backend is the same for both, so what works against a server works without one.
//!
//! Results go to standard output, everything else to standard error; nothing but a terminal gets colours or progress.

pub mod backend;
mod commands;
mod complete;
pub mod diagnostic;
mod embedded;
mod interactive;
pub mod output;
mod password;
pub mod progress;
mod remote;
pub mod runner;
mod script;
pub mod table;
mod target;

use crate::coordinator::Coordinator;
use crate::error::Error;
use backend::Backend;
use clap::{Args, ValueEnum};
use diagnostic::{Failure, Printer};
use runner::{Origin, Runner};
use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::sync::Arc;
use target::Target;

pub use embedded::Embedded;
pub use remote::Remote;

/// Flags of `saltlake sql`.
#[derive(Debug, Clone, Args)]
pub struct ShellArgs {
    /// Run these statements, separated by semicolons, and exit.
    #[arg(short = 'c', long = "command", value_name = "SQL", conflicts_with = "file")]
    pub command: Option<String>,
    /// Run the statements of a file and exit; `-` reads standard input.
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Flight SQL address of a server, such as `http://127.0.0.1:5434` or `https://ann@lake.example:5434`. Without it, no
    /// server is needed: the statements run inside this process, over `--lake`.
    #[arg(long, value_name = "URL", env = "SALTLAKE_URL", conflicts_with = "lake")]
    pub url: Option<String>,
    /// Who logs in there, and whether the connection is encrypted.
    #[command(flatten)]
    pub login: LoginArgs,
    /// Lake to open when there is no server [default: ./lake].
    #[arg(long, value_name = "DIR_OR_URL")]
    pub lake: Option<String>,
    /// How results are written. `json` is one object a line, `arrow` the Arrow IPC stream format.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// File that keeps the history of the prompt [default: ~/.saltlake_history].
    #[arg(long, value_name = "FILE", env = "SALTLAKE_HISTORY")]
    pub history: Option<PathBuf>,
}

/// Flags of a connection to a server, with libpq's variables.
#[derive(Debug, Clone, Default, Args)]
pub struct LoginArgs {
    /// User to log in as; the address may name one too.
    #[arg(short = 'U', long, value_name = "NAME", env = "PGUSER")]
    pub user: Option<String>,
    /// Password; read from its variable, from the address, or at the prompt.
    #[arg(long, hide = true, env = "PGPASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// `disable`, `require` or `verify-full`: the last two encrypt and check the server's certificate.
    #[arg(long, value_name = "MODE", env = "PGSSLMODE")]
    pub sslmode: Option<String>,
    /// Certificates to trust, PEM [default: ~/.postgresql/root.crt].
    #[arg(long, value_name = "FILE", env = "PGSSLROOTCERT")]
    pub sslrootcert: Option<PathBuf>,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns for reading.
    Table,
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object a line.
    Json,
    /// Arrow IPC stream.
    Arrow,
}

/// What the shell was asked to run.
enum Input {
    Text { text: String, origin: Origin },
    Prompt,
}

/// Runs the shell and returns the exit code of the process.
///
/// 0: all statements succeeded. 1: a statement failed. 2: wrong usage. 3: no connection, or the lake cannot be
/// opened. 130: interrupted. Without `--url`, `open_lake` is called for a coordinator over `lake`.
pub async fn run(
    args: ShellArgs,
    lake: String,
    open_lake: impl AsyncFnOnce() -> Result<Arc<Coordinator>, Error>,
) -> u8 {
    let printer = Printer::for_stderr();
    match start(args, lake, open_lake, printer).await {
        Ok(code) => code,
        Err(failure) => {
            printer.failure(&failure, None);
            failure.exit_code()
        }
    }
}

async fn start(
    args: ShellArgs,
    lake: String,
    open_lake: impl AsyncFnOnce() -> Result<Arc<Coordinator>, Error>,
    printer: Printer,
) -> Result<u8, Failure> {
    if args.format == Format::Arrow && std::io::stdout().is_terminal() {
        return Err(Failure::usage("arrow is a binary format: send standard output to a file"));
    }
    let input = read_input(&args)?;
    let backend: Arc<dyn Backend> = match &args.url {
        Some(url) => {
            let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
            let ask = |user: &str| is_terminal.then(|| password::ask(user));
            Arc::new(Remote::log_in(Target::parse(url, &args.login)?, ask).await?)
        }
        None => {
            let coordinator =
                open_lake().await.map_err(|error| embedded::refused(&lake, &error))?;
            Arc::new(Embedded::open(&coordinator, lake)?)
        }
    };
    let mut runner = Runner::new(backend, args.format, printer);
    match input {
        Input::Text { text, origin } => Ok(runner.script(&text, &origin).await),
        Input::Prompt => interactive::run(runner, args.history).await,
    }
}

/// Returns the text to run, or that a prompt is wanted: no flag and a terminal on standard input.
fn read_input(args: &ShellArgs) -> Result<Input, Failure> {
    if let Some(text) = &args.command {
        return Ok(Input::Text { text: text.clone(), origin: Origin::CommandLine });
    }
    let is_stdin = |path: &PathBuf| path.as_os_str() == "-";
    match &args.file {
        Some(path) if !is_stdin(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            Ok(Input::Text { text, origin: Origin::File(path.display().to_string()) })
        }
        None if std::io::stdin().is_terminal() => Ok(Input::Prompt),
        _ => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| Failure::usage(format!("standard input: {error}")))?;
            Ok(Input::Text { text, origin: Origin::File("<stdin>".to_string()) })
        }
    }
}
