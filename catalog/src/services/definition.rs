//! How a catalog service is named and reached: `CREATE CATALOG … WITH (…)` or `[catalogs.NAME]` of the configuration.
//!
//! Both come here as names and values. Names are taken with `-` or `_`, in any case. Values of [`is_secret_option`] are
//! never printed: not by `SHOW CATALOGS`, not in logs, not in errors.

use crate::error::{Error, Result};
use crate::similar::similar;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use url::Url;

/// Longest value of an option in bytes; tokens are some kilobytes at most.
const MAX_VALUE_BYTES: usize = 64 << 10;
/// Options of every kind.
const COMMON: [&str; 3] = ["type", "uri", "warehouse"];
/// Options of an Iceberg catalog in a database.
const SQL_OPTIONS: [&str; 1] = ["catalog-name"];
/// Options of an Iceberg REST catalog, besides `header.*`.
const REST_OPTIONS: [&str; 6] =
    ["token", "credential", "scope", "oauth2-server-uri", "prefix", "access-delegation"];
/// Options that begin with this are headers of every request to the service.
pub(super) const HEADER: &str = "header.";

/// What kind of service a catalog is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CatalogKind {
    /// An Iceberg catalog in a SQLite database, as pyiceberg's `SqlCatalog` keeps it.
    IcebergSql,
    /// A server of the Iceberg REST catalog protocol.
    IcebergRest,
}

impl CatalogKind {
    /// Returns `iceberg-sql` or `iceberg-rest`.
    pub fn name(self) -> &'static str {
        match self {
            Self::IcebergSql => "iceberg-sql",
            Self::IcebergRest => "iceberg-rest",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().replace('_', "-").as_str() {
            "iceberg-sql" => Some(Self::IcebergSql),
            "iceberg-rest" => Some(Self::IcebergRest),
            _ => None,
        }
    }

    fn takes(self, option: &str) -> bool {
        COMMON.contains(&option)
            || match self {
                Self::IcebergSql => SQL_OPTIONS.contains(&option),
                Self::IcebergRest => REST_OPTIONS.contains(&option) || option.starts_with(HEADER),
            }
    }

    fn options(self) -> impl Iterator<Item = &'static str> {
        let own: &[&str] = match self {
            Self::IcebergSql => &SQL_OPTIONS,
            Self::IcebergRest => &REST_OPTIONS,
        };
        COMMON.iter().chain(own).copied()
    }
}

/// The definition of a catalog service.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogDefinition {
    /// What statements call it.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: CatalogKind,
    /// Where it is: a file, or a URL.
    pub uri: String,
    /// Where its tables are, or what the service calls that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warehouse: Option<String>,
    /// Everything else, by names with `-`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// Returns whether the value of an option must not be seen. Headers may hold anything, so they are all secret.
pub fn is_secret_option(name: &str) -> bool {
    let name = normal(name);
    matches!(name.as_str(), "token" | "credential") || name.starts_with(HEADER)
}

fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

impl CatalogDefinition {
    /// Takes over options, `type` and `uri` among them.
    ///
    /// # Errors
    /// [`Error::InvalidDefinition`] names the option that is missing, unknown, given twice or has a bad value.
    pub fn new(name: &str, options: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut given: BTreeMap<String, String> = BTreeMap::new();
        for (option, value) in options {
            let option = normal(&option);
            if value.len() > MAX_VALUE_BYTES {
                return Err(invalid(name, format!("the value of \"{option}\" is too long")));
            }
            if given.insert(option.clone(), value).is_some() {
                return Err(invalid(name, format!("\"{option}\" is given twice")));
            }
        }
        let mut take = |option: &str| given.remove(option).filter(|value| !value.is_empty());
        let kind = take("type")
            .ok_or_else(|| invalid(name, "type is missing: \"iceberg-sql\" or \"iceberg-rest\""))?;
        let kind = CatalogKind::parse(&kind).ok_or_else(|| {
            let message =
                format!("type \"{kind}\" is neither \"iceberg-sql\" nor \"iceberg-rest\"");
            invalid(name, message)
        })?;
        let uri = take("uri").ok_or_else(|| invalid(name, "uri is missing"))?;
        // The uri is shown to everyone.
        if Url::parse(&uri).is_ok_and(|url| !url.username().is_empty() || url.password().is_some())
        {
            return Err(invalid(name, "uri holds a user or a password; use the option credential"));
        }
        let warehouse = take("warehouse");
        if let Some(unknown) = given.keys().find(|option| !kind.takes(option)) {
            return Err(unknown_option(name, kind, unknown));
        }
        let definition = Self { name: name.to_owned(), kind, uri, warehouse, options: given };
        definition.check_pairs()?;
        Ok(definition)
    }

    fn check_pairs(&self) -> Result<()> {
        if self.option("token").is_some() && self.option("credential").is_some() {
            return Err(invalid(&self.name, "give either token or credential"));
        }
        match self.option("access-delegation") {
            None | Some("none" | "vended-credentials") => Ok(()),
            Some(_) => {
                Err(invalid(&self.name, "access-delegation is \"vended-credentials\" or \"none\""))
            }
        }
    }

    /// Returns the value of an option; an empty one counts as absent.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns the options as they may be shown, `name=value` by name; secrets are `***`.
    pub fn shown_options(&self) -> String {
        let shown = |(name, value): (&String, &String)| match is_secret_option(name) {
            true => format!("{name}=***"),
            false => format!("{name}={value}"),
        };
        self.options.iter().map(shown).collect::<Vec<_>>().join(", ")
    }

    /// Returns an error of this definition.
    pub(super) fn invalid(&self, message: impl Into<String>) -> Error {
        invalid(&self.name, message)
    }
}

impl fmt::Debug for CatalogDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogDefinition")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("uri", &self.uri)
            .field("warehouse", &self.warehouse)
            .field("options", &self.shown_options())
            .finish()
    }
}

fn invalid(name: &str, message: impl Into<String>) -> Error {
    Error::InvalidDefinition { name: name.to_owned(), message: message.into() }
}

fn unknown_option(name: &str, kind: CatalogKind, option: &str) -> Error {
    let candidates = kind.options().map(|known| (known.to_owned(), known.to_owned()));
    let kind = kind.name();
    let message = match similar(option, candidates).first() {
        Some(known) => {
            format!("{kind} has no option \"{option}\"; did you mean \"{known}\"?")
        }
        None => format!("{kind} has no option \"{option}\""),
    };
    invalid(name, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn define(options: &[(&str, &str)]) -> Result<CatalogDefinition> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        CatalogDefinition::new("ice", options.iter().map(owned))
    }

    #[track_caller]
    fn check_error(options: &[(&str, &str)], expected: &str) {
        let error = define(options).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn names_of_options_are_taken_in_any_form() {
        let definition = define(&[
            ("TYPE", "iceberg_rest"),
            ("uri", "http://h/c"),
            ("Oauth2_Server_Uri", "http://h/t"),
            ("credential", "id:hush"),
            ("header.x-key", "hush"),
        ])
        .unwrap();
        assert_eq!(definition.option("oauth2-server-uri"), Some("http://h/t"));
        let json = serde_json::to_string(&definition).unwrap();
        assert_eq!(serde_json::from_str::<CatalogDefinition>(&json).unwrap(), definition);
        let printed = format!("{definition:?}");
        assert!(printed.contains("credential=***") && !printed.contains("hush"), "{printed}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        check_error(&[("uri", "x")], "type is missing");
        check_error(&[("type", "hive"), ("uri", "x")], "\"hive\" is neither");
        check_error(&[("type", "iceberg-sql")], "uri is missing");
        check_error(
            &[("type", "iceberg-sql"), ("uri", "x"), ("token", "x")],
            "no option \"token\"",
        );
        check_error(
            &[("type", "iceberg-rest"), ("uri", "x"), ("credentials", "x")],
            "did you mean \"credential\"?",
        );
        check_error(&[("type", "iceberg-rest"), ("uri", "http://a:b@h")], "a password");
        check_error(&[("uri", "x"), ("URI", "y")], "given twice");
        check_error(
            &[("type", "iceberg-rest"), ("uri", "x"), ("token", "a"), ("credential", "b")],
            "either token or credential",
        );
        check_error(
            &[("type", "iceberg-rest"), ("uri", "x"), ("access-delegation", "magic")],
            "access-delegation is",
        );
    }
}
