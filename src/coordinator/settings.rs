//! The settings of one session: PostgreSQL's own, `saltlake.*`, and `datafusion.*`.
//!
//! Called by `Session` for SET, SHOW and RESET. PostgreSQL's settings are a table declared here once; `saltlake.*` and
//! `datafusion.*` live in the session's DataFusion configuration, so planner and workers read them from there.

use crate::error::{Error, Result, nearest};
use datafusion::config::{ConfigEntry, ConfigExtension, ConfigField, ConfigOptions};
use datafusion::execution::{FunctionRegistry, SessionState};
use saltlake_sql::settings::SaltlakeOptions;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Any text.
    Text,
    /// on, off.
    Bool,
    /// A whole number in this range.
    Int(i64, i64),
    /// A time in milliseconds, written with or without a unit.
    Time,
    /// One of these words.
    Word(&'static [&'static str]),
    /// An IANA time zone or a fixed offset.
    TimeZone,
    /// Told by the server.
    ReadOnly,
}

/// One of PostgreSQL's settings.
struct Setting {
    name: &'static str,
    start: &'static str,
    kind: Kind,
    about: &'static str,
}

const fn setting(
    name: &'static str,
    start: &'static str,
    kind: Kind,
    about: &'static str,
) -> Setting {
    Setting { name, start, kind, about }
}

/// The version that clients compare with; what they may use depends on it.
pub const PG_VERSION: &str = "15.0";

const MESSAGE_LEVELS: &[&str] =
    &["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"];
const ISOLATION_LEVELS: &[&str] =
    &["read uncommitted", "read committed", "repeatable read", "serializable"];

const SETTINGS: &[Setting] = &[
    setting("application_name", "", Kind::Text, "Name the client gives itself."),
    setting("bytea_output", "hex", Kind::Word(&["hex", "escape"]), "Text form of bytea values."),
    setting(
        "client_encoding",
        "UTF8",
        Kind::Word(&["UTF8", "UTF-8", "UNICODE"]),
        "Encoding of text; always UTF8.",
    ),
    setting(
        "client_min_messages",
        "notice",
        Kind::Word(MESSAGE_LEVELS),
        "Lowest level of messages sent to the client.",
    ),
    setting("DateStyle", "ISO, MDY", Kind::Text, "Text form of dates; always ISO."),
    setting(
        "default_transaction_isolation",
        "repeatable read",
        Kind::Word(ISOLATION_LEVELS),
        "Isolation of new transactions.",
    ),
    setting(
        "default_transaction_read_only",
        "off",
        Kind::Bool,
        "Whether new transactions only read.",
    ),
    setting(
        "extra_float_digits",
        "1",
        Kind::Int(-15, 3),
        "Digits of floats beyond the shortest exact form.",
    ),
    setting(
        "idle_in_transaction_session_timeout",
        "0",
        Kind::Time,
        "Milliseconds a session may idle in a transaction; 0 is no limit.",
    ),
    setting(
        "idle_session_timeout",
        "0",
        Kind::Time,
        "Milliseconds a session may idle outside of a transaction; 0 is no limit.",
    ),
    setting("in_hot_standby", "off", Kind::ReadOnly, "Whether the server is a standby."),
    setting(
        "integer_datetimes",
        "on",
        Kind::ReadOnly,
        "Whether timestamps are integers on the wire.",
    ),
    setting("IntervalStyle", "postgres", Kind::Word(&["postgres"]), "Text form of intervals."),
    setting("is_superuser", "on", Kind::ReadOnly, "Whether the user may do everything."),
    setting("lc_collate", "C", Kind::ReadOnly, "Order of text: by bytes."),
    setting("lc_ctype", "C", Kind::ReadOnly, "Classes of characters."),
    setting("lc_messages", "C", Kind::Text, "Language of messages; always English."),
    setting(
        "lock_timeout",
        "0",
        Kind::Time,
        "Accepted for clients that set it; nothing waits for locks.",
    ),
    setting(
        "max_identifier_length",
        "63",
        Kind::ReadOnly,
        "Longest name PostgreSQL keeps; longer ones are kept whole here.",
    ),
    setting("max_index_keys", "32", Kind::ReadOnly, "Most columns of an index; there are none."),
    setting(
        "search_path",
        "\"$user\", public",
        Kind::Text,
        "Schemas searched for names without one, in order.",
    ),
    setting("server_encoding", "UTF8", Kind::ReadOnly, "Encoding of the server."),
    setting(
        "server_version",
        PG_VERSION,
        Kind::ReadOnly,
        "PostgreSQL version whose behaviour is followed.",
    ),
    setting("server_version_num", "150000", Kind::ReadOnly, "The same as a number."),
    setting("session_authorization", "", Kind::ReadOnly, "The session's user."),
    setting(
        "standard_conforming_strings",
        "on",
        Kind::ReadOnly,
        "Whether backslashes are ordinary characters.",
    ),
    setting(
        "statement_timeout",
        "0",
        Kind::Time,
        "Milliseconds a statement may run; 0 is no limit.",
    ),
    setting("synchronous_commit", "on", Kind::Bool, "Accepted for clients that set it."),
    setting(
        "TimeZone",
        "UTC",
        Kind::TimeZone,
        "Zone in which timestamps with time zone are shown and read.",
    ),
    setting(
        "transaction_isolation",
        "repeatable read",
        Kind::Word(ISOLATION_LEVELS),
        "Isolation of the transaction.",
    ),
    setting("transaction_read_only", "off", Kind::Bool, "Whether the transaction only reads."),
];

/// One line of SHOW ALL.
pub struct Shown {
    /// The setting's name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// What it means.
    pub about: String,
}

/// The values a session has changed.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    changed: BTreeMap<&'static str, String>,
    /// Values RESET returns to: what the client sent when it connected.
    start: BTreeMap<&'static str, String>,
}

impl Settings {
    /// Returns a value as SHOW prints it, or `None` for an unknown name.
    pub fn get(&self, options: &ConfigOptions, name: &str) -> Option<String> {
        if let Some(setting) = find(name) {
            let value = self.changed.get(setting.name).or_else(|| self.start.get(setting.name));
            return Some(value.cloned().unwrap_or_else(|| setting.start.to_string()));
        }
        let name = name.to_ascii_lowercase();
        let entry = entries(options).into_iter().find(|entry| entry.key == name)?;
        Some(entry.value.unwrap_or_default())
    }

    /// Sets a value.
    ///
    /// # Errors
    /// For an unknown name, a value it does not take, or a setting that only the server sets.
    pub fn set(&mut self, options: &mut ConfigOptions, name: &str, value: &str) -> Result<()> {
        match find(name) {
            Some(setting) => {
                let value = check(setting, value)?;
                apply(options, setting.name, &value);
                self.changed.insert(setting.name, value);
                Ok(())
            }
            None => set_option(options, name, value),
        }
    }

    /// Sets a value that the server or the client's start message decides; RESET returns to it.
    pub fn set_start(
        &mut self,
        options: &mut ConfigOptions,
        name: &str,
        value: &str,
    ) -> Result<()> {
        let Some(setting) = find(name) else { return set_option(options, name, value) };
        let value = match setting.kind {
            Kind::ReadOnly => value.to_string(),
            _ => check(setting, value)?,
        };
        apply(options, setting.name, &value);
        self.start.insert(setting.name, value);
        Ok(())
    }

    /// Returns a setting to its start value.
    ///
    /// # Errors
    /// For an unknown name.
    pub fn reset(
        &mut self,
        options: &mut ConfigOptions,
        start: &ConfigOptions,
        name: &str,
    ) -> Result<()> {
        if let Some(setting) = find(name) {
            self.changed.remove(setting.name);
            let value = self.get(options, setting.name).unwrap_or_default();
            apply(options, setting.name, &value);
            return Ok(());
        }
        let name = name.to_ascii_lowercase();
        match entries(start).into_iter().find(|entry| entry.key == name) {
            Some(ConfigEntry { value: Some(value), .. }) => set_option(options, &name, &value),
            // A text that is empty is not the same as none.
            Some(_) => Ok(options.reset(&name)?),
            None => Err(unknown(options, &name)),
        }
    }

    /// Returns every setting to its start value.
    pub fn reset_all(&mut self, options: &mut ConfigOptions, start: &ConfigOptions) {
        *options = start.clone();
        self.changed.clear();
        for setting in SETTINGS {
            let value = self.get(options, setting.name).unwrap_or_default();
            apply(options, setting.name, &value);
        }
    }

    /// Returns all settings by name.
    pub fn all(&self, options: &ConfigOptions) -> Vec<Shown> {
        let ours = SETTINGS.iter().map(|setting| Shown {
            name: setting.name.to_string(),
            value: self.get(options, setting.name).unwrap_or_default(),
            about: setting.about.to_string(),
        });
        let engine = entries(options).into_iter().map(|entry| Shown {
            name: entry.key,
            value: entry.value.unwrap_or_default(),
            about: entry.description.to_string(),
        });
        let mut all: Vec<_> = ours.chain(engine).collect();
        all.sort_by_key(|shown| shown.name.to_ascii_lowercase());
        all
    }

    /// Returns the schemas of the search path that a statement may name, `$user` replaced.
    pub fn search_path(&self, options: &ConfigOptions, user: &str) -> Vec<String> {
        let path = self.get(options, "search_path").unwrap_or_default();
        let schemas = path.split(',').map(|schema| schema.trim().trim_matches('"'));
        schemas
            .map(|schema| if schema == "$user" { user } else { schema })
            .filter(|schema| !schema.is_empty())
            .map(str::to_string)
            .collect()
    }
}

/// Makes `now()` anew when the time zone is not `made_for`: the zone is in the function's type.
pub(super) fn follow_time_zone(state: &mut SessionState, made_for: &mut Option<String>) {
    let zone = &state.config_options().execution.time_zone;
    if made_for == zone {
        return;
    }
    made_for.clone_from(zone);
    let Ok(now) = state.udf("now") else { return };
    if let Some(now) = now.inner().with_updated_config(state.config_options()) {
        // It takes the place of the one before, which cannot fail.
        let _ = state.register_udf(Arc::new(now));
    }
}

/// Returns whether a name is a setting's as it stands, with nothing to put before it.
pub(super) fn is_full_name(name: &str) -> bool {
    name.contains('.') || find(name).is_some()
}

fn find(name: &str) -> Option<&'static Setting> {
    let name = match name.to_ascii_lowercase().as_str() {
        // SHOW TIME ZONE and SHOW TRANSACTION ISOLATION LEVEL arrive as words.
        "time.zone" => "timezone".to_string(),
        "transaction.isolation.level" => "transaction_isolation".to_string(),
        "session.authorization" => "session_authorization".to_string(),
        name => name.to_string(),
    };
    SETTINGS.iter().find(|setting| setting.name.eq_ignore_ascii_case(&name))
}

/// Returns the engine's options and ours by full name. DataFusion lists those of extensions without their prefix, and
/// the prefixes of other extensions are not for users.
fn entries(options: &ConfigOptions) -> Vec<ConfigEntry> {
    let mut entries = options.entries();
    entries.retain(|entry| entry.key.starts_with("datafusion."));
    let ours = options.extensions.iter().filter(|(prefix, _)| *prefix == SaltlakeOptions::PREFIX);
    entries.extend(ours.flat_map(|(prefix, extension)| {
        extension
            .entries()
            .into_iter()
            .map(move |entry| ConfigEntry { key: format!("{prefix}.{}", entry.key), ..entry })
    }));
    entries
}

fn set_option(options: &mut ConfigOptions, name: &str, value: &str) -> Result<()> {
    let name = name.to_ascii_lowercase();
    if !entries(options).iter().any(|entry| entry.key == name) {
        return Err(unknown(options, &name));
    }
    options.set(&name, value).map_err(|error| Error::BadSettingValue {
        name: name.clone(),
        value: value.to_string(),
        hint: error.strip_backtrace(),
    })?;
    if name == "saltlake.batch_size" {
        // Local plans read DataFusion's option; ours is what travels to the workers.
        options.set("datafusion.execution.batch_size", value)?;
    }
    Ok(())
}

fn unknown(options: &ConfigOptions, name: &str) -> Error {
    let entries = entries(options);
    let known = SETTINGS.iter().map(|setting| setting.name);
    let known = known.chain(entries.iter().map(|entry| entry.key.as_str()));
    let similar = nearest(name, known).map(str::to_string).into_iter().collect();
    Error::UnknownSetting { name: name.to_string(), similar }
}

/// Returns a value in the form it is kept.
fn check(setting: &Setting, value: &str) -> Result<String> {
    let bad = |hint: String| {
        Err(Error::BadSettingValue {
            name: setting.name.to_string(),
            value: value.to_string(),
            hint,
        })
    };
    match setting.kind {
        Kind::Text => Ok(value.to_string()),
        Kind::ReadOnly => bad("this parameter cannot be changed".to_string()),
        Kind::Bool => match value.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" | "1" | "t" => Ok("on".to_string()),
            "off" | "false" | "no" | "0" | "f" => Ok("off".to_string()),
            _ => bad("it takes on or off".to_string()),
        },
        Kind::Int(least, most) => match value.parse::<i64>() {
            Ok(n) if (least..=most).contains(&n) => Ok(n.to_string()),
            _ => bad(format!("it takes a whole number from {least} to {most}")),
        },
        Kind::Time => match milliseconds(value) {
            Some(ms) => Ok(ms.to_string()),
            None => bad("it takes a time such as 500ms, 30s or 5min".to_string()),
        },
        // Drivers send client_encoding with quotes of its own.
        Kind::Word(words) => {
            match words.iter().find(|word| word.eq_ignore_ascii_case(value.trim_matches('\''))) {
                Some(word) if setting.name == "client_encoding" && *word != "UTF8" => {
                    Ok("UTF8".to_string())
                }
                Some(word) => Ok((*word).to_string()),
                None => bad(format!("it takes one of: {}", words.join(", "))),
            }
        }
        Kind::TimeZone => match time_zone(value) {
            Some(zone) => Ok(zone),
            None => bad("it takes an IANA name such as Europe/Paris, or an offset such as +02:00"
                .to_string()),
        },
    }
}

/// Returns a time in milliseconds, as PostgreSQL reads it: a plain number is milliseconds.
fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let factor = match text[digits..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Returns the zone's name in its own spelling.
fn time_zone(text: &str) -> Option<String> {
    let text = text.trim();
    let named = match text.to_ascii_lowercase().as_str() {
        "utc" | "gmt" | "z" | "zulu" | "local" | "default" => Some("UTC".to_string()),
        lower => chrono_tz::TZ_VARIANTS
            .iter()
            .find(|zone| zone.name().eq_ignore_ascii_case(lower))
            .map(|zone| zone.name().to_string()),
    };
    named.or_else(|| text.parse::<chrono::FixedOffset>().ok().map(|offset| offset.to_string()))
}

/// Carries a setting into the engine's options.
fn apply(options: &mut ConfigOptions, name: &str, value: &str) {
    if name == "TimeZone" {
        options.execution.time_zone = Some(value.to_string());
        if let Some(ours) = options.extensions.get_mut::<SaltlakeOptions>() {
            ours.time_zone = value.to_string();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> ConfigOptions {
        let mut options = ConfigOptions::new();
        options.extensions.insert(SaltlakeOptions::default());
        options
    }

    fn set(name: &str, value: &str) -> Result<String> {
        let (mut settings, mut options) = (Settings::default(), options());
        settings.set(&mut options, name, value)?;
        Ok(settings.get(&options, name).unwrap())
    }

    #[test]
    fn values_are_checked_and_kept_in_one_form() {
        assert_eq!(set("statement_timeout", "30s").unwrap(), "30000");
        assert_eq!(set("timezone", "europe/paris").unwrap(), "Europe/Paris");
        assert_eq!(set("TIMEZONE", "+02:00").unwrap(), "+02:00");
        assert_eq!(set("client_encoding", "utf-8").unwrap(), "UTF8");
        assert_eq!(set("saltlake.distribution", "ALWAYS").unwrap(), "always");
        assert_eq!(set("default_transaction_read_only", "true").unwrap(), "on");
        for (name, value) in [
            ("statement_timeout", "soon"),
            ("TimeZone", "Mars/Olympus"),
            ("client_encoding", "LATIN1"),
            ("server_version", "16"),
            ("saltlake.distribution", "sometimes"),
        ] {
            assert!(matches!(set(name, value), Err(Error::BadSettingValue { .. })), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_gets_a_suggestion() {
        let Err(Error::UnknownSetting { similar, .. }) = set("statement_timeuot", "1") else {
            panic!()
        };
        assert_eq!(similar, ["statement_timeout"]);
        let Err(Error::UnknownSetting { similar, .. }) = set("saltlake.distributon", "auto") else {
            panic!()
        };
        assert_eq!(similar, ["saltlake.distribution"]);
    }

    #[test]
    fn the_time_zone_reaches_engine_and_workers_and_resets() {
        let (mut settings, mut options) = (Settings::default(), options());
        let start = options.clone();
        settings.set(&mut options, "TimeZone", "Asia/Tokyo").unwrap();
        assert_eq!(options.execution.time_zone.as_deref(), Some("Asia/Tokyo"));
        assert_eq!(options.extensions.get::<SaltlakeOptions>().unwrap().time_zone, "Asia/Tokyo");
        settings.reset(&mut options, &start, "timezone").unwrap();
        assert_eq!(options.execution.time_zone.as_deref(), Some("UTC"));
    }

    #[test]
    fn the_search_path_names_the_user_and_drops_quotes() {
        let (mut settings, mut options) = (Settings::default(), options());
        assert_eq!(settings.search_path(&options, "ann"), ["ann", "public"]);
        settings.set(&mut options, "search_path", "nyc, \"Odd\"").unwrap();
        assert_eq!(settings.search_path(&options, "ann"), ["nyc", "Odd"]);
    }
}
