//! The reference of all keys: `saltlake config reference` and `docs/config.md`.
//!
//! Every section and every value type implements [`Describe`]; walking the default [`Config`] gives one
//! [`Entry`] per key. The environment layer uses the same list to know which variables exist and what type they have.

use super::values::{ByteSize, Duration, ListenAddress, Secret, SessionSettings};
use super::{Catalogs, Config, LogFormat};
use std::fmt::Write;

/// What kind of value a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A section: has keys, no value.
    Section,
    /// A text, also one that reads like a number.
    Text,
    /// A number or a bool.
    Literal,
    /// A list of texts; in the environment separated by commas.
    List,
    /// A map whose keys are free.
    Map,
}

/// One key of the configuration, or one section.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Dotted path, such as `frontend.pg.listen`; empty for the root.
    pub path: String,
    /// What it takes.
    pub kind: Kind,
    /// The type in words.
    pub type_name: &'static str,
    /// The default as written in `saltlake.toml`.
    pub default: String,
    /// The doc comment as one text.
    pub doc: String,
}

impl Entry {
    /// Returns the entry of a section.
    pub fn section(path: &str, doc: &[&'static str]) -> Self {
        let (path, doc) = (path.to_string(), flow(doc));
        Self { path, kind: Kind::Section, type_name: "", default: String::new(), doc }
    }

    /// Returns the environment variable that sets this key.
    pub fn variable(&self) -> String {
        format!("SALTLAKE_{}", self.path.replace('.', "__").to_uppercase())
    }
}

/// Something that has entries in the reference: a section or a value.
pub trait Describe {
    /// Appends the entries of `self`, which stands at `path` and is documented by `doc`.
    fn describe(&self, path: &str, doc: &[&'static str], out: &mut Vec<Entry>);
}

/// Implements [`Describe`] for a value type.
macro_rules! describe_value {
    ($type:ty, $kind:ident, $type_name:literal, |$value:ident| $default:expr) => {
        impl Describe for $type {
            fn describe(&self, path: &str, doc: &[&'static str], out: &mut Vec<Entry>) {
                let $value = self;
                let (path, default, doc) = (path.to_string(), $default, flow(doc));
                let (kind, type_name) = (Kind::$kind, $type_name);
                out.push(Entry { path, kind, type_name, default, doc });
            }
        }
    };
}

describe_value!(String, Text, "text", |value| format!("\"{value}\""));
describe_value!(usize, Literal, "number", |value| value.to_string());
describe_value!(bool, Literal, "bool", |value| value.to_string());
describe_value!(ByteSize, Text, "size", |value| format!("\"{value}\""));
describe_value!(Duration, Text, "duration", |value| format!("\"{value}\""));
describe_value!(ListenAddress, Text, "address", |value| format!("\"{value}\""));
describe_value!(Secret, Text, "secret", |value| format!("\"{value}\""));
describe_value!(Vec<String>, List, "list of texts", |value| format!("{value:?}"));
describe_value!(SessionSettings, Map, "map", |value| {
    debug_assert!(value.0.is_empty(), "the default session settings are declared in saltlake-sql");
    "{}".to_string()
});
describe_value!(Catalogs, Map, "map", |value| {
    debug_assert!(value.is_empty(), "no catalog is configured by default");
    "{}".to_string()
});
describe_value!(LogFormat, Text, "`text` or `json`", |value| match value {
    LogFormat::Text => "\"text\"".to_string(),
    LogFormat::Json => "\"json\"".to_string(),
});

/// Returns `path.name`, or `name` at the root.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

/// Returns every key and section, in the order of declaration.
pub fn entries() -> Vec<Entry> {
    let mut out = Vec::new();
    Config::default().describe("", &[], &mut out);
    out
}

/// Returns the text of `docs/config.md`.
pub fn markdown() -> String {
    let mut out = String::from(HEAD);
    for entry in entries() {
        match entry.kind {
            Kind::Section if entry.path.is_empty() => {}
            Kind::Section => write_section(&mut out, &entry),
            Kind::Map => {
                write_section(&mut out, &entry);
                let _ = writeln!(out, "Variables: `{}__NAME`.", entry.variable());
            }
            _ => write_key(&mut out, &entry),
        }
    }
    out
}

const HEAD: &str = "# Configuration

<!-- Written by `saltlake config reference`; do not edit. -->

Layers, later ones win: defaults, the file `saltlake.toml` (`--config FILE` or `SALTLAKE_CONFIG`; without either the one in the current folder, if there is one), environment variables, flags.
A variable is `SALTLAKE_`, then the key in capitals with `__` for each dot; lists are separated by commas.
An unknown key is an error.
`saltlake config check` reads all layers and says what is wrong; `saltlake config print` prints the result, secrets as `***`.

Sizes: `\"512 MiB\"`, `\"2 GiB\"`, `\"1 GB\"`. Durations: `\"500ms\"`, `\"30s\"`, `\"5m\"`. Addresses: `\"host:port\"`.
";

fn write_section(out: &mut String, entry: &Entry) {
    let _ = writeln!(out, "\n## `[{}]`\n\n{}", entry.path, entry.doc);
}

fn write_key(out: &mut String, entry: &Entry) {
    let key = entry.path.rsplit('.').next().unwrap_or(&entry.path);
    let _ = writeln!(
        out,
        "\n### `{key}`\n\n{}\n\nType: {}. Default: `{}`. Variable: `{}`.",
        entry.doc,
        entry.type_name,
        entry.default,
        entry.variable()
    );
}

/// Joins the lines of a doc comment to one text.
fn flow(doc: &[&'static str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_md_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == markdown(),
            "docs/config.md is stale: run `cargo run -- config reference > docs/config.md`"
        );
    }

    #[test]
    fn every_key_is_documented() {
        for entry in entries() {
            assert!(
                entry.doc.ends_with('.'),
                "{} has no doc comment that is a sentence",
                entry.path
            );
        }
    }
}
