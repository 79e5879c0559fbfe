//! Statements about catalogs: `CREATE CATALOG`, `DROP CATALOG`, `SHOW CATALOGS`.
//!
//! Called by `command`. What a catalog is, and which options it takes, `saltlake_catalog` knows.

use super::command::{done, not_supported, parts};
use super::run::batch_rows;
use super::session::{Outcome, Session};
use crate::error::{Error, Result};
use arrow::array::{RecordBatch, StringArray};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{CreateServerStatement, ObjectName, ShowStatementOptions};
use saltlake_catalog::CatalogDefinition;
use saltlake_sql::parse::catalog_options;
use std::sync::Arc;
use uuid::Uuid;

/// Columns of `SHOW CATALOGS`.
pub(super) const SHOWN: [&str; 6] = ["name", "type", "uri", "warehouse", "options", "defined_by"];

impl Session {
    pub(super) async fn create_catalog(&self, server: &CreateServerStatement) -> Result<Outcome> {
        let Some(options) = catalog_options(server) else { return not_supported("CREATE SERVER") };
        let definition = CatalogDefinition::new(&only_part(&server.name)?, options)?;
        let lake = &self.coordinator.lake;
        Box::pin(lake.create_catalog(definition, server.if_not_exists)).await?;
        done("CREATE CATALOG")
    }

    pub(super) async fn drop_catalogs(
        &self,
        names: &[ObjectName],
        if_exists: bool,
    ) -> Result<Outcome> {
        for name in names {
            let lake = &self.coordinator.lake;
            lake.drop_catalog(&only_part(name)?, if_exists).await?;
        }
        done("DROP CATALOG")
    }

    /// Lists the lake and the catalogs beside it; secrets are not shown.
    pub(super) async fn show_catalogs(&self, options: &ShowStatementOptions) -> Result<Outcome> {
        if *options != PLAIN {
            return not_supported("SHOW CATALOGS with a filter");
        }
        let lake = &self.coordinator.lake;
        let text = |text: &str| Some(text.to_string());
        let root = lake.root().as_str();
        let mut rows: Vec<[Option<String>; 6]> = vec![[
            text(lake.catalog_name()),
            text("lake"),
            text(root),
            None,
            None,
            text("configuration"),
        ]];
        for catalog in lake.catalogs().await? {
            let definition = catalog.definition;
            rows.push([
                text(&definition.name),
                text(definition.kind.name()),
                text(&definition.uri),
                definition.warehouse.clone(),
                Some(definition.shown_options()).filter(|options| !options.is_empty()),
                text(if catalog.is_configured { "configuration" } else { "statement" }),
            ]);
        }
        let column =
            |idx: usize| -> StringArray { rows.iter().map(|row| row[idx].as_deref()).collect() };
        let columns = SHOWN.iter().enumerate();
        let columns = columns.map(|(idx, name)| (*name, Arc::new(column(idx)) as _, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns);
        Ok(Outcome::Rows(batch_rows(Uuid::now_v7(), batch.map_err(DataFusionError::from)?)))
    }
}

/// `SHOW CATALOGS` and nothing more.
const PLAIN: ShowStatementOptions = ShowStatementOptions {
    show_in: None,
    starts_with: None,
    limit: None,
    limit_from: None,
    filter_position: None,
};

fn only_part(name: &ObjectName) -> Result<String> {
    match parts(name)?.as_slice() {
        [name] => Ok(name.clone()),
        _ => Err(Error::NotSupported { feature: format!("the name {name} for a catalog") }),
    }
}
