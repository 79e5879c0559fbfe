//! `[catalogs.NAME]`: catalog services beside the lake.
//!
//! The names of their options are known to `saltlake_catalog`, which `CREATE CATALOG` asks too. Here they are texts; what
//! is secret among them is printed as `***`.

use super::values::Scalar;
use saltlake_catalog::{CatalogDefinition, is_secret_option};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// The options of every catalog, by its name.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Catalogs(BTreeMap<String, BTreeMap<String, String>>);

impl Catalogs {
    /// Returns the definitions, by name.
    ///
    /// # Errors
    /// When an option is missing, unknown or has a bad value.
    pub fn definitions(&self) -> Result<Vec<CatalogDefinition>, saltlake_catalog::Error> {
        self.0.iter().map(|(name, options)| CatalogDefinition::new(name, options.clone())).collect()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn shown(&self) -> BTreeMap<&str, BTreeMap<&str, &str>> {
        let shown = self.0.iter();
        shown.map(|(name, all)| (name.as_str(), all.iter().map(shown_option).collect())).collect()
    }
}

fn shown_option<'a>((name, value): (&'a String, &'a String)) -> (&'a str, &'a str) {
    (name, if is_secret_option(name) { "***" } else { value })
}

impl fmt::Debug for Catalogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Catalogs").field(&self.shown()).finish()
    }
}

impl Serialize for Catalogs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shown().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Catalogs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = BTreeMap::<String, BTreeMap<String, Scalar>>::deserialize(deserializer)?;
        let text = |(name, value): (String, Scalar)| (name, value.0);
        let texts = |(name, options): (String, BTreeMap<String, Scalar>)| {
            (name, options.into_iter().map(text).collect())
        };
        Ok(Self(all.into_iter().map(texts).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let text = "[ice]\ntype = \"iceberg-rest\"\nuri = \"http://h\"\ntoken = \"hush\"";
        let catalogs: Catalogs = toml::from_str(text).unwrap();
        assert_eq!(catalogs.definitions().unwrap()[0].option("token"), Some("hush"));
        let printed = format!("{catalogs:?} {}", toml::to_string(&catalogs).unwrap());
        assert!(printed.contains("***") && !printed.contains("hush"), "{printed}");
    }
}
