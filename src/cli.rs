//! The command line: what `saltlake --help` shows, and which keys the flags set.
//!
//! Called by `main`. A flag is the last layer of the configuration: every one but `--config` is a key of
//! `saltlake.toml` and a variable too.

use crate::config::{ListenAddress, Loaded, Overrides, reference};
use crate::demo::DemoArgs;
use crate::error::Result;
use crate::frontend::auth::users_line;
use crate::shell::ShellArgs;
use clap::{Args, Parser, Subcommand};
use std::io::{BufRead, Write};
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
    /// Serve a lake from this process alone
    Serve {
        /// Where and what to serve.
        #[command(flatten)]
        serve: ServeArgs,
        /// Which configuration.
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Serve a lake with workers: accept statements and place their tasks
    Coordinator {
        /// Where and what to serve.
        #[command(flatten)]
        serve: ServeArgs,
        /// Address for workers [env: SALTLAKE_COORDINATOR__CLUSTER_LISTEN] [default: 127.0.0.1:5436]
        #[arg(long, value_name = "ADDR")]
        cluster: Option<ListenAddress>,
        /// Which configuration.
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Run tasks for a coordinator
    Worker {
        /// Whose tasks.
        #[command(flatten)]
        worker: WorkerArgs,
        /// Which configuration.
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Run SQL from the command line, a file or a prompt
    Sql {
        /// What to run.
        #[command(flatten)]
        shell: ShellArgs,
        /// Which configuration.
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Take a tour over real data on a real cluster of processes
    Demo {
        /// What of it.
        #[command(flatten)]
        demo: DemoArgs,
        /// Which configuration.
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Print the line of the users file for a user; the password is read from standard input
    Password {
        /// The user's name.
        name: String,
        /// Which configuration.
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Show and check the configuration
    Config {
        /// What to do with the configuration.
        #[command(subcommand)]
        action: ConfigAction,
        /// Which configuration.
        #[command(flatten)]
        common: CommonArgs,
    },
}

/// Flags of the roles that accept statements.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Folder or URL whose folders and files are the tables [env: SALTLAKE_LAKE__ROOT] [default: ./lake]
    #[arg(long, value_name = "DIR_OR_URL")]
    pub lake: Option<String>,
    /// Address for psql and PostgreSQL drivers; port 0 takes a free one [env: SALTLAKE_FRONTEND__PG__LISTEN]
    /// [default: 127.0.0.1:5433]
    #[arg(long, value_name = "ADDR")]
    pub pg: Option<ListenAddress>,
    /// Address for Arrow Flight SQL [env: SALTLAKE_FRONTEND__FLIGHT__LISTEN] [default: 127.0.0.1:5434]
    #[arg(long, value_name = "ADDR")]
    pub flight: Option<ListenAddress>,
    /// Address for HTTP: health, metrics, SQL [env: SALTLAKE_FRONTEND__HTTP__LISTEN] [default: 127.0.0.1:5435]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<ListenAddress>,
    /// File to write, as JSON with the real addresses, once statements are accepted
    /// [env: SALTLAKE_PROCESS__READY_FILE]
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<String>,
}

/// Flags of a worker.
#[derive(Debug, Clone, Default, Args)]
pub struct WorkerArgs {
    /// Cluster address of the coordinator, such as http://127.0.0.1:5436 [env: SALTLAKE_WORKER__COORDINATOR]
    #[arg(long, value_name = "URL")]
    pub coordinator: Option<String>,
    /// Address to take tasks on; port 0 takes a free one [env: SALTLAKE_WORKER__LISTEN] [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<ListenAddress>,
    /// File to write, as JSON, once the coordinator knows this worker [env: SALTLAKE_PROCESS__READY_FILE]
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<String>,
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

/// Adds an override when the flag was given.
fn set<T: ToString>(overrides: &mut Overrides, path: &'static str, value: &Option<T>) {
    overrides.values.extend(value.iter().map(|value| (path, value.to_string())));
}

impl ServeArgs {
    fn apply(&self, overrides: &mut Overrides) {
        set(overrides, "lake.root", &self.lake);
        set(overrides, "frontend.pg.listen", &self.pg);
        set(overrides, "frontend.flight.listen", &self.flight);
        set(overrides, "frontend.http.listen", &self.http);
        set(overrides, "process.ready_file", &self.ready_file);
    }
}

impl WorkerArgs {
    fn apply(&self, overrides: &mut Overrides) {
        set(overrides, "worker.coordinator", &self.coordinator);
        set(overrides, "worker.listen", &self.listen);
        set(overrides, "process.ready_file", &self.ready_file);
    }
}

impl Command {
    /// Returns the keys that the flags set.
    pub fn overrides(&self) -> Overrides {
        let mut overrides = Overrides::default();
        let common = match self {
            Self::Serve { serve, common } => {
                serve.apply(&mut overrides);
                common
            }
            Self::Coordinator { serve, cluster, common } => {
                serve.apply(&mut overrides);
                set(&mut overrides, "coordinator.cluster_listen", cluster);
                common
            }
            Self::Worker { worker, common } => {
                worker.apply(&mut overrides);
                common
            }
            Self::Sql { shell, common } => {
                set(&mut overrides, "lake.root", &shell.lake);
                overrides.defaults.push(QUIET);
                common
            }
            Self::Demo { common, .. } => {
                overrides.defaults.push(QUIET);
                common
            }
            Self::Password { common, .. } | Self::Config { common, .. } => common,
        };
        overrides.file.clone_from(&common.config);
        set(&mut overrides, "telemetry.log", &common.log);
        overrides
    }
}

/// Commands that talk to a person log what is wrong and nothing else, unless told otherwise.
const QUIET: (&str, &str) = ("telemetry.log", "warn");

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

/// Runs `saltlake password`: reads the password from `input` and writes the user's line to `out`.
///
/// # Errors
/// When the name cannot be one, there is no password, or reading or writing fails.
pub fn run_password(name: &str, input: &mut dyn BufRead, out: &mut dyn Write) -> Result<()> {
    let failed = |action: &str| {
        let action = action.to_string();
        move |source| crate::Error::Io { action, source }
    };
    let mut password = String::new();
    input.read_line(&mut password).map_err(failed("cannot read the password"))?;
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(crate::Error::Config {
            message: "the password is empty".to_string(),
            hint: Some("write it to standard input, closed by a line end".to_string()),
        });
    }
    let line = users_line(name, password)?;
    writeln!(out, "{line}").map_err(failed("cannot write to standard output"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_the_last_layer() {
        let line = "saltlake coordinator --lake s3://bucket/x --pg 127.0.0.1:0 --cluster [::1]:7 --log debug";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let variables = [("SALTLAKE_FRONTEND__PG__LISTEN", "127.0.0.1:9")];
        let variables = variables.map(|(name, value)| (name.to_string(), value.to_string()));
        let config = crate::config::load(&cli.command.overrides(), variables).unwrap().config;
        assert_eq!(config.lake.root, "s3://bucket/x");
        assert_eq!(config.frontend.pg.listen.port, 0);
        assert_eq!(config.coordinator.cluster_listen.to_string(), "[::1]:7");
        assert_eq!(config.telemetry.log, "debug");
    }

    #[test]
    fn the_shell_is_quiet_unless_told_otherwise() {
        let load = |line: &str, variables: Vec<(String, String)>| {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            crate::config::load(&cli.command.overrides(), variables).unwrap().config.telemetry.log
        };
        let variable = ("SALTLAKE_TELEMETRY__LOG".to_string(), "trace".to_string());
        assert_eq!(load("saltlake sql", vec![]), "warn");
        assert_eq!(load("saltlake sql", vec![variable]), "trace");
        assert_eq!(load("saltlake serve", vec![]), "info");
    }

    #[test]
    fn a_bad_address_is_wrong_use() {
        let error = Cli::try_parse_from(["saltlake", "serve", "--pg", "nowhere"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("is not an address"), "{error}");
    }
}
