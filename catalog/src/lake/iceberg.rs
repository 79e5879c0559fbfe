//! Iceberg tables of a lake: by folder, by metadata document, at a snapshot, and what they say of themselves. Names with
//! `@` and `$` are read here for Delta tables too ([`super::delta`]).
//!
//! ```text
//! "t@main"  "t@8271638172635"      branch, tag or snapshot id
//! "t@@2024-05-01 00:00:00"         the snapshot that was current then
//! "t$files"  "t@main$files"        a metadata table
//! ```
//!
//! `t FOR VERSION AS OF …` and `t FOR TIMESTAMP AS OF …` are spelled like this before a statement is planned.

use super::{Lake, store_url};
use crate::definitions::Definitions;
use crate::error::{Error, Result};
use crate::format::FileKind;
use crate::iceberg::{At, IcebergTable, Inspection, Place, ScanCodec, is_metadata_file};
use datafusion::catalog::TableProvider;
use std::sync::Arc;
use url::Url;

/// A name that says more than a table.
pub(super) struct Extended<'a> {
    pub(super) table: &'a str,
    pub(super) at: At,
    pub(super) inspection: Option<Inspection>,
}

impl<'a> Extended<'a> {
    /// `None` for a plain name.
    pub(super) fn parse(name: &'a str) -> Result<Option<Self>> {
        let (rest, inspection) = match name.rsplit_once('$') {
            Some((rest, kind)) => match Inspection::parse(kind) {
                Some(inspection) => (rest, Some(inspection)),
                None => return Ok(None),
            },
            None => (name, None),
        };
        let (table, at) = match rest.split_once('@') {
            None => (rest, At::Newest),
            Some((table, at)) => match at.strip_prefix('@') {
                Some(time) => (table, At::parse_time(time)?),
                None => (table, At::Named(at.to_owned())),
            },
        };
        let is_plain = at == At::Newest && inspection.is_none();
        Ok((!is_plain && !table.is_empty()).then_some(Self { table, at, inspection }))
    }
}

impl Lake {
    /// Returns what carries scans of this lake's Iceberg and Delta tables to workers.
    pub fn scan_codec(&self) -> ScanCodec {
        ScanCodec::new(Arc::clone(&self.caches.deletes), self.services.vended().clone())
    }

    /// Loads an Iceberg table by its folder or by one of its metadata documents.
    pub(super) async fn load_iceberg(&self, name: &str, url: Url, at: At) -> Result<IcebergTable> {
        let place = Place {
            is_document: url.path().rsplit('/').next().is_some_and(is_metadata_file),
            store_url: store_url(&url)?,
            store: self.store_of(&url)?,
            roots: Arc::clone(&self.locations),
            vended: None,
            url,
        };
        IcebergTable::load(name, place, Arc::clone(&self.caches), at).await
    }

    /// Returns the table of a name with `@` or `$`; `None` when the name has neither or there is no such table.
    pub(super) async fn extended_table(
        &self,
        definitions: &Definitions,
        schema: &str,
        name: &str,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(Extended { table, at, inspection }) = Extended::parse(name)? else {
            return Ok(None);
        };
        let (kind, url) = match definitions.table(schema, table) {
            Some(def) if def.format.has_metadata() => {
                (def.format, self.check_location(&def.location)?)
            }
            Some(_) => return Err(no_versions(table)),
            None if definitions.view(schema, table).is_some() => return Err(no_versions(table)),
            None => match self.discovery.find(&definitions.schemas, schema, table).await? {
                Some(found) => match found.kind.filter(|kind| kind.has_metadata()) {
                    Some(kind) => (kind, self.folder_url(&found)?),
                    None => return Err(no_versions(table)),
                },
                None => return Ok(None),
            },
        };
        if kind == FileKind::Delta {
            return self.extended_delta(table, url, at, inspection).await.map(Some);
        }
        let loaded = self.load_iceberg(table, url, at).await?;
        Ok(Some(match inspection {
            None => Arc::new(loaded),
            Some(inspection) => loaded.inspect(inspection).await?,
        }))
    }
}

fn no_versions(table: &str) -> Error {
    Error::NotSupported {
        feature: format!(
            "a snapshot or a metadata table of \"{table}\", which is no Iceberg or Delta table,"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<(&str, At, Option<Inspection>)>) {
        let parsed = Extended::parse(name).unwrap();
        assert_eq!(
            parsed.map(|found| (found.table, found.at, found.inspection)),
            expected,
            "{name}"
        );
    }

    #[test]
    fn names_tell_snapshots_and_metadata_tables() {
        check("t", None);
        check("t$nothing", None);
        check("@x", None);
        check("t@main", Some(("t", At::Named("main".to_owned()), None)));
        check("t$files", Some(("t", At::Newest, Some(Inspection::Files))));
        check("t@a@b$refs", Some(("t", At::Named("a@b".to_owned()), Some(Inspection::Refs))));
        check("t@@1970-01-01 00:00:01.5", Some(("t", At::Time { ms: 1500 }, None)));
        check("t@@1970-01-01T02:00:00+02:00", Some(("t", At::Time { ms: 0 }, None)));
        check("t@@1970-01-01 00:01", Some(("t", At::Time { ms: 60_000 }, None)));
        assert!(Extended::parse("t@@yesterday").is_err());
    }
}
