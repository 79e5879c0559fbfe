//! Layers the configuration, checks it, and says clearly what is wrong with it.
//!
//! Called by the command line. Layers, later ones win: defaults, file, environment, flags. The environment is passed in,
//! so that tests need not change the one of the process.

use super::Config;
use super::reference::{Entry, Kind, entries};
use crate::error::{Error, Result, nearest};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use std::path::{Path, PathBuf};

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "saltlake.toml";

/// Start of every variable the server reads.
const PREFIX: &str = "SALTLAKE_";

/// The variable that names the file; the only one that is no key.
const FILE_VARIABLE: &str = "SALTLAKE_CONFIG";

/// What the command line sets.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The file to read; it must exist.
    pub file: Option<PathBuf>,
    /// Keys, as dotted paths, and their values; they win over every other layer.
    pub values: Vec<(&'static str, String)>,
    /// Keys, as dotted paths, and values that the command prefers to the defaults; every other layer wins over them.
    pub defaults: Vec<(&'static str, &'static str)>,
}

/// A configuration and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
}

/// Returns the configuration from all layers; `environment` holds the variables of the process.
///
/// # Errors
/// [`Error::Config`] naming the key and the layer.
pub fn load(
    overrides: &Overrides,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded> {
    let known = entries();
    let variables: Vec<_> =
        environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    let file = find_file(overrides, &variables)?;
    let mut figment = Figment::from(default_layer(overrides));
    if let Some(file) = &file {
        figment = figment.merge(Toml::file_exact(file));
    }
    let figment =
        figment.merge(environment_layer(&variables, &known)?).merge(flag_layer(overrides, &known));
    let config: Config = figment.extract().map_err(|error| explain(&error, &known))?;
    validate(&config)?;
    Ok(Loaded { config, file })
}

/// Returns the file to read: the named one, which must exist, else the default one if it exists.
fn find_file(overrides: &Overrides, variables: &[(String, String)]) -> Result<Option<PathBuf>> {
    let from_variable =
        || variables.iter().find(|(name, _)| name == FILE_VARIABLE).map(|(_, file)| file.into());
    match overrides.file.clone().or_else(from_variable) {
        Some(file) if file.is_file() => Ok(Some(file)),
        Some(file) => Err(Error::Config {
            message: format!("configuration file \"{}\" does not exist", file.display()),
            hint: None,
        }),
        None => Ok(Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.is_file())),
    }
}

/// Keys and values from one place that is not a file.
struct Layer {
    name: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// Returns the layer of `SALTLAKE_…` variables.
///
/// A variable with `__` must be a key. One without is an error only when it reads like a key, because
/// Kubernetes sets `SALTLAKE_PORT_5433_TCP` and the like for a service of our name.
fn environment_layer(variables: &[(String, String)], known: &[Entry]) -> Result<Layer> {
    let mut layer = Layer { name: "the environment".to_string(), values: Dict::new() };
    for (name, value) in variables.iter().filter(|(name, _)| name != FILE_VARIABLE) {
        let path = name[PREFIX.len()..].to_lowercase().replace("__", ".");
        match kind_of(&path, known) {
            Some(kind) => insert(&mut layer.values, &path, parse(kind, value)),
            None if path.contains('.') || reads_like_key(&path, known) => {
                return Err(unknown_variable(name, &path, known));
            }
            None => {}
        }
    }
    Ok(layer)
}

/// Returns what the key at `path` takes, or `None` when there is no such key.
fn kind_of(path: &str, known: &[Entry]) -> Option<Kind> {
    known.iter().find_map(|entry| match entry.kind {
        Kind::Section => None,
        Kind::Map => {
            let name = path.strip_prefix(entry.path.as_str())?.strip_prefix('.')?;
            (!name.is_empty()).then_some(Kind::Text)
        }
        kind => (entry.path == path).then_some(kind),
    })
}

/// Returns whether `path`, which has no dots, is a key with `_` in place of its dots.
fn reads_like_key(path: &str, known: &[Entry]) -> bool {
    known.iter().any(|entry| entry.kind != Kind::Section && entry.path.replace('.', "_") == path)
}

fn unknown_variable(name: &str, path: &str, known: &[Entry]) -> Error {
    let flat = path.replace('.', "_");
    let candidates = known.iter().filter(|entry| entry.kind != Kind::Section);
    let similar = candidates
        .min_by_key(|entry| strsim::levenshtein(&flat, &entry.path.replace('.', "_")))
        .map(|entry| format!("did you mean {}?", entry.variable()));
    Error::Config { message: format!("unknown variable {name} in the environment"), hint: similar }
}

/// Returns the value a variable's text stands for.
fn parse(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::List => {
            let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
            Value::from(texts.map(Value::from).collect::<Vec<_>>())
        }
        Kind::Literal => match (text.parse::<u64>(), text.parse::<bool>()) {
            (Ok(number), _) => Value::from(number),
            (_, Ok(truth)) => Value::from(truth),
            _ => Value::from(text),
        },
        Kind::Section | Kind::Text | Kind::Map => Value::from(text),
    }
}

/// Puts `value` at the dotted `path`; a free name under a map keeps its dots.
fn insert(values: &mut Dict, path: &str, value: Value) {
    match path.split_once('.') {
        Some((section, rest)) => {
            let inner = values.entry(section.to_string()).or_insert_with(|| Dict::new().into());
            if let Value::Dict(_, inner) = inner {
                insert(inner, rest, value);
            }
        }
        None => {
            values.insert(path.to_string(), value);
        }
    }
}

/// Returns the layer of what a command prefers to the defaults.
fn default_layer(overrides: &Overrides) -> Layer {
    let mut layer = Layer { name: "the defaults".to_string(), values: Dict::new() };
    for (path, text) in &overrides.defaults {
        insert(&mut layer.values, path, Value::from(*text));
    }
    layer
}

/// Returns the layer of the command line.
fn flag_layer(overrides: &Overrides, known: &[Entry]) -> Layer {
    let mut layer = Layer { name: "the command line".to_string(), values: Dict::new() };
    for (path, text) in &overrides.values {
        let kind = kind_of(path, known);
        debug_assert!(kind.is_some(), "flag sets the unknown key {path}");
        insert(&mut layer.values, path, parse(kind.unwrap_or(Kind::Text), text));
    }
    layer
}

/// Turns figment's error into one line that names the key and the layer, and a hint.
fn explain(error: &figment::Error, known: &[Entry]) -> Error {
    let layer = error.metadata.as_ref().map_or_else(String::new, |metadata| {
        let file = metadata.source.as_ref().and_then(|source| source.file_path());
        format!(" in {}", file.map_or(metadata.name.to_string(), show_path))
    });
    let path = error.path.join(".");
    let (message, hint) = match &error.kind {
        figment::error::Kind::UnknownField(name, fields) => {
            let section = path.strip_suffix(name.as_str()).unwrap_or("");
            let hint = suggest_key(section, name, fields, known);
            (format!("unknown key \"{section}{name}\"{layer}"), hint)
        }
        kind if path.is_empty() => (format!("{}{layer}", one_line(&kind.to_string())), None),
        kind => {
            let hint = known.iter().find(|entry| entry.path == path).map(|entry| {
                format!("{path} takes a {}; the default is {}", entry.type_name, entry.default)
            });
            (format!("bad value for \"{path}\"{layer}: {}", one_line(&kind.to_string())), hint)
        }
    };
    Error::Config { message, hint }
}

/// Returns the nearest key: one of the same section, else the one of that name elsewhere.
fn suggest_key(section: &str, name: &str, fields: &[&str], known: &[Entry]) -> Option<String> {
    let nearby = nearest(name, fields.iter().copied()).map(|field| format!("{section}{field}"));
    let elsewhere = || {
        let ends_alike = |entry: &&Entry| entry.path.rsplit('.').next() == Some(name);
        known.iter().find(ends_alike).map(|entry| entry.path.clone())
    };
    let all = || format!("known keys here: {}", fields.join(", "));
    let found = nearby.or_else(elsewhere);
    Some(found.map_or_else(all, |key| format!("did you mean \"{key}\"?")))
}

fn show_path(path: &Path) -> String {
    path.display().to_string()
}

/// Returns the first and the last line of a message that shows its source between them.
fn one_line(message: &str) -> String {
    let mut lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next_back()) {
        (Some(first), Some(last)) => format!("{first}: {last}"),
        (first, _) => first.unwrap_or_default().to_string(),
    }
}

/// Checks what types alone cannot.
fn validate(config: &Config) -> Result<()> {
    let coordinator = &config.coordinator;
    let too_small = |key: &str, least: String| {
        Err(Error::Config { message: format!("{key} must be at least {least}"), hint: None })
    };
    for (key, value) in [
        ("coordinator.planning_threads", coordinator.planning_threads),
        ("coordinator.max_running_queries", coordinator.max_running_queries),
        ("coordinator.max_expression_depth", coordinator.max_expression_depth),
        ("coordinator.max_statement_nodes", coordinator.max_statement_nodes),
        ("coordinator.max_statement_bytes", coordinator.max_statement_bytes.as_usize()),
        ("frontend.pg.max_connections", config.frontend.pg.max_connections),
    ] {
        if value == 0 {
            return too_small(key, "1".to_string());
        }
    }
    // Less than a usual main thread has: such a stack overflows on ordinary statements.
    let least_stack = super::ByteSize(8 << 20);
    if coordinator.planning_stack < least_stack {
        return too_small("coordinator.planning_stack", least_stack.to_string());
    }
    if let Err(error) = config.catalogs.definitions() {
        return Err(Error::Config {
            message: format!("bad section in [catalogs]: {error}"),
            hint: None,
        });
    }
    if config.worker.heartbeat_interval.is_zero() {
        return too_small("worker.heartbeat_interval", "1ms".to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn load_text(
        toml: &str,
        variables: &[(&str, &str)],
        flags: &[(&'static str, &str)],
    ) -> Result<Config> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        let overrides = Overrides {
            file: Some(file.path().to_path_buf()),
            values: flags.iter().map(|(path, value)| (*path, value.to_string())).collect(),
            ..Overrides::default()
        };
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        load(&overrides, variables).map(|loaded| loaded.config)
    }

    #[track_caller]
    fn check_error(
        toml: &str,
        variables: &[(&str, &str)],
        expected_message: &str,
        expected_hint: &str,
    ) {
        match load_text(toml, variables, &[]).unwrap_err() {
            Error::Config { message, hint } => {
                assert!(message.contains(expected_message), "message: {message}");
                let hint = hint.unwrap_or_default();
                assert!(hint.contains(expected_hint), "hint: {hint}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn later_layers_win() {
        let toml = "[frontend.pg]\nlisten = \"127.0.0.1:1\"\nmax_connections = 7\n\
                    [coordinator]\ndrain_timeout = \"1m\"\nmemory_limit = 1024";
        let variables = [
            ("SALTLAKE_FRONTEND__PG__LISTEN", "127.0.0.1:2"),
            ("SALTLAKE_COORDINATOR__THREADS", "3"),
        ];
        let config = load_text(toml, &variables, &[("frontend.pg.listen", "127.0.0.1:3")]).unwrap();
        assert_eq!(config.frontend.pg.listen.port, 3);
        assert_eq!(config.frontend.pg.max_connections, 7);
        assert_eq!(config.coordinator.threads, 3);
        assert_eq!(config.coordinator.drain_timeout.as_secs(), 60);
        assert_eq!(config.coordinator.memory_limit_bytes(), 1024);
        assert_eq!(config.frontend.flight, Config::default().frontend.flight);
    }

    #[test]
    fn variables_keep_texts_and_split_lists() {
        let variables = [
            ("SALTLAKE_STORAGE__S3__SECRET_ACCESS_KEY", "007"),
            ("SALTLAKE_STORAGE__S3__ALLOW_HTTP", "true"),
            ("SALTLAKE_LAKE__ALLOWED_ROOTS", "/data, s3://bucket/x"),
            ("SALTLAKE_SESSION__SKEW_RATIO", "4"),
        ];
        let config = load_text("[session]\ntimezone = \"UTC\"", &variables, &[]).unwrap();
        assert_eq!(config.storage.s3.secret_access_key.reveal(), "007");
        assert!(config.storage.s3.allow_http);
        assert_eq!(config.lake.allowed_roots, ["/data", "s3://bucket/x"]);
        let session: Vec<_> = config.session.iter().collect();
        assert_eq!(session, [("skew_ratio", "4"), ("timezone", "UTC")]);
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        check_error(
            "[frontend.pg]\nlisen = 1",
            &[],
            "unknown key \"frontend.pg.lisen\"",
            "\"frontend.pg.listen\"",
        );
        check_error(
            "[cordinator]\nthreads = 1",
            &[],
            "unknown key \"cordinator\"",
            "\"coordinator\"",
        );
        check_error(
            "retry_limit = 1",
            &[],
            "unknown key \"retry_limit\"",
            "\"coordinator.retry_limit\"",
        );
        check_error(
            "",
            &[("SALTLAKE_FRONTEND__PG__LISEN", "x")],
            "SALTLAKE_FRONTEND__PG__LISEN",
            "SALTLAKE_FRONTEND__PG__LISTEN",
        );
        check_error(
            "",
            &[("SALTLAKE_LAKE_ROOT", "x")],
            "SALTLAKE_LAKE_ROOT",
            "SALTLAKE_LAKE__ROOT",
        );
    }

    #[test]
    fn variables_of_others_are_left_alone() {
        load_text("", &[("SALTLAKE_PORT_5433_TCP", "tcp://10.0.0.1"), ("PATH", "/bin")], &[])
            .unwrap();
    }

    #[test]
    fn bad_values_name_key_and_type() {
        check_error(
            "[coordinator]\nmemory_limit = \"2 apples\"",
            &[],
            "\"coordinator.memory_limit\"",
            "takes a size",
        );
        check_error(
            "[frontend.pg]\nmax_connections = \"many\"",
            &[],
            "\"frontend.pg.max_connections\"",
            "number",
        );
        check_error("[telemetry]\nformat = \"xml\"", &[], "\"telemetry.format\"", "json");
        check_error("[coordinator]\nplanning_stack = \"1 MiB\"", &[], "at least 8 MiB", "");
        check_error("[lake\nroot = 1", &[], "line 1", "");
    }

    #[test]
    fn a_named_file_must_exist() {
        let overrides =
            Overrides { file: Some("no/such/file.toml".into()), ..Overrides::default() };
        let message = load(&overrides, []).unwrap_err().to_string();
        assert_eq!(message, "configuration file \"no/such/file.toml\" does not exist");
    }

    #[test]
    fn defaults_survive_print_and_read() {
        let printed = toml::to_string(&Config::default()).unwrap();
        assert_eq!(load_text(&printed, &[], &[]).unwrap(), Config::default());
    }
}
