//! The documents of the Iceberg REST protocol, as far as we read them.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Settings as services send them; values should be texts.
pub(super) type Properties = BTreeMap<String, Value>;

/// Returns a setting as text.
pub(super) fn text(properties: &Properties, name: &str) -> Option<String> {
    match properties.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// Answer of `/v1/config`.
#[derive(Deserialize)]
pub(super) struct ServerConfig {
    pub(super) defaults: Option<Properties>,
    pub(super) overrides: Option<Properties>,
    pub(super) endpoints: Option<Vec<String>>,
}

/// One page of namespaces, or of tables or views.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Page {
    pub(super) namespaces: Option<Vec<Vec<String>>>,
    pub(super) identifiers: Option<Vec<Identifier>>,
    pub(super) next_page_token: Option<String>,
}

/// A table or view.
#[derive(Debug, Deserialize)]
pub(super) struct Identifier {
    pub(super) name: String,
}

/// Answer to a request for a table. It holds secrets, so it does not print.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LoadedTable {
    pub(super) metadata_location: Option<String>,
    pub(super) config: Option<Properties>,
    pub(super) storage_credentials: Option<Vec<StorageCredential>>,
}

/// Credentials for everything under a prefix.
#[derive(Deserialize)]
pub(super) struct StorageCredential {
    pub(super) prefix: String,
    pub(super) config: Properties,
}
