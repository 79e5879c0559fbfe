//! Statistics that ANALYZE keeps with the lake, of its tables and of those of catalogs beside it.

use super::Lake;
use crate::analysis::{Analysis, AnalyzedTable};
use crate::delta::DeltaTable;
use crate::error::Result;
use crate::iceberg::IcebergTable;
use crate::services::table::ServiceTable;
use crate::table::LakeTable;
use datafusion::catalog::TableProvider;
use std::sync::Arc;

impl Lake {
    /// Returns where a table is and which version of it a statement would see now; `None` for what is no table of files.
    ///
    /// # Errors
    /// When the table cannot be looked at.
    pub async fn analyzed_table(
        &self,
        table: &Arc<dyn TableProvider>,
    ) -> Result<Option<AnalyzedTable>> {
        if let Some(table) = table.downcast_ref::<IcebergTable>() {
            return Ok(Some(table.analyzed().await?));
        }
        if let Some(table) = table.downcast_ref::<ServiceTable>() {
            return Ok(Some(table.table().analyzed().await?));
        }
        if let Some(table) = table.downcast_ref::<DeltaTable>() {
            return Ok(Some(table.analyzed().await?));
        }
        let Some(table) = table.downcast_ref::<LakeTable>() else { return Ok(None) };
        Ok(Some(table.analyzed().await?))
    }

    /// Keeps what was found out about a table. Columns that were analyzed before and are not in it stay.
    ///
    /// # Errors
    /// When the store fails, or other writers are faster each time.
    pub async fn keep_analysis(&self, location: &str, new: Analysis) -> Result<()> {
        let known = self.definitions.read().await?;
        self.caches.analyses.follow(&known);
        let mut analysis = match self.caches.analyses.of(location).await {
            Some(before) => Analysis::clone(&before),
            None => Analysis::default(),
        };
        analysis.table = new.table;
        analysis.columns.extend(new.columns);
        let name = self.caches.analyses.write(location, &analysis).await?;
        let point = self.definitions.update(|definitions| {
            Ok(Some(definitions.analyses.insert(location.to_owned(), name.clone())))
        });
        let before = match point.await {
            Ok(before) => before.flatten(),
            Err(error) => {
                self.caches.analyses.remove(&name).await;
                return Err(error);
            }
        };
        if let Some(before) = before {
            self.caches.analyses.remove(&before).await;
        }
        Ok(())
    }

    /// Returns all that is known, by location of the table.
    ///
    /// # Errors
    /// When the definitions cannot be read.
    pub async fn analyses(&self) -> Result<Vec<(String, Arc<Analysis>)>> {
        let definitions = self.definitions.read().await?;
        let mut all = vec![];
        for (location, name) in &definitions.analyses {
            if let Ok(analysis) = self.caches.analyses.read(name).await {
                all.push((location.clone(), analysis));
            }
        }
        Ok(all)
    }
}
