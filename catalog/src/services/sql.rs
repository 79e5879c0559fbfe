//! An Iceberg catalog in a SQLite database, with the tables that pyiceberg's `SqlCatalog` and Java's JDBC catalog make.
//!
//! Read only. The file is opened anew for every question, on the blocking pool: opening costs less than a query of the
//! lake by far, and another process may replace the file. A question that takes [`MAX_TIME`] is interrupted.

use super::definition::CatalogDefinition;
use super::{Listed, Located, MAX_LISTED, Service};
use crate::error::{Error, Result};
use crate::lake::RelationKind;
use crate::location::Locations;
use async_trait::async_trait;
use rusqlite::{Connection, InterruptHandle, OpenFlags, OptionalExtension, params};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a writer's lock is waited for.
const BUSY_TIME: Duration = Duration::from_secs(5);
/// How long a question may take.
const MAX_TIME: Duration = Duration::from_secs(30);

/// A catalog in a SQLite file.
#[derive(Debug)]
pub(super) struct SqlCatalog {
    file: Arc<DatabaseFile>,
}

/// The file, and whose rows of it are read.
#[derive(Debug)]
struct DatabaseFile {
    path: PathBuf,
    /// The name under which writers keep the tables; `None` to take the only one there is.
    catalog_name: Option<String>,
    /// The catalog's name here, for errors.
    name: String,
}

impl SqlCatalog {
    /// Finds the file; `roots` limits where it may be.
    ///
    /// # Errors
    /// For a database other than SQLite, and [`Error::LocationRefused`] for a file outside `roots`.
    pub(super) fn open(definition: &CatalogDefinition, roots: Option<&Locations>) -> Result<Self> {
        let path = match definition.uri.split_once(':') {
            Some(("sqlite" | "sqlite3", rest)) => match rest.strip_prefix("///") {
                // Four slashes, as SQLAlchemy writes an absolute path, are three here.
                Some(path) => format!("/{}", path.trim_start_matches('/')),
                None => return Err(definition.invalid("uri is written as \"sqlite:///path\"")),
            },
            Some((scheme, _)) if definition.uri.contains("://") => {
                let feature = format!("a catalog in a \"{scheme}\" database");
                return Err(Error::NotSupported { feature });
            }
            _ => definition.uri.clone(),
        };
        let path = match roots {
            Some(roots) => local_file(roots.check(&path)?, &path)?,
            None => PathBuf::from(path),
        };
        let catalog_name = definition.option("catalog-name").map(str::to_owned);
        let name = definition.name.clone();
        Ok(Self { file: Arc::new(DatabaseFile { path, catalog_name, name }) })
    }

    /// Asks the database on the blocking pool.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection, &str) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<Option<T>> {
        let file = Arc::clone(&self.file);
        let (send, handle) = oneshot::channel();
        let asking = tokio::task::spawn_blocking(move || file.ask(send, question));
        let interrupt = async {
            let handle: Option<InterruptHandle> = handle.await.ok();
            tokio::time::sleep(MAX_TIME).await;
            if let Some(handle) = handle {
                handle.interrupt();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = asking => match answer {
                Ok(answer) => answer,
                Err(error) => Err(self.file.failed(&error)),
            },
            () = interrupt => Ok(None),
        }
    }
}

impl DatabaseFile {
    /// `None` when the database holds no table of any catalog.
    fn ask<T>(
        &self,
        handle: oneshot::Sender<InterruptHandle>,
        question: impl FnOnce(&Connection, &str) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(BUSY_TIME)?;
            // Views of a database that someone else wrote must not call anything.
            connection.execute_batch("PRAGMA trusted_schema = OFF")?;
            Ok(connection)
        };
        let connection = open().map_err(|error| self.failed(&error))?;
        // Nobody waits for it any more when it cannot be sent.
        let _ = handle.send(connection.get_interrupt_handle());
        if !has_table(&connection, "iceberg_tables").map_err(|error| self.failed(&error))? {
            return Err(self.failed(&"it has no table iceberg_tables"));
        }
        let Some(name) = self.rows_of(&connection)? else { return Ok(None) };
        question(&connection, &name).map(Some).map_err(|error| self.failed(&error))
    }

    /// Returns under which name the rows are kept.
    fn rows_of(&self, connection: &Connection) -> Result<Option<String>> {
        if self.catalog_name.is_some() {
            return Ok(self.catalog_name.clone());
        }
        let names = || -> rusqlite::Result<Vec<String>> {
            let mut sql = "SELECT catalog_name FROM iceberg_tables".to_owned();
            if has_table(connection, "iceberg_namespace_properties")? {
                sql += " UNION SELECT catalog_name FROM iceberg_namespace_properties";
            }
            let sql = format!("SELECT DISTINCT catalog_name FROM ({sql}) ORDER BY 1 LIMIT 10");
            connection.prepare(&sql)?.query_map([], |row| row.get(0))?.collect()
        };
        let mut names = names().map_err(|error| self.failed(&error))?;
        if names.len() > 1 {
            let message = format!(
                "the database holds the catalogs {}; say which with the option catalog-name",
                names.join(", ")
            );
            return Err(Error::InvalidDefinition { name: self.name.clone(), message });
        }
        Ok(names.pop())
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> Error {
        Error::ServiceFailed {
            catalog: self.name.clone(),
            endpoint: self.path.display().to_string(),
            message: error.to_string(),
        }
    }
}

#[async_trait]
impl Service for SqlCatalog {
    async fn check(&self) -> Result<()> {
        self.ask(|_, _| Ok(())).await.map(drop)
    }

    async fn namespaces(&self) -> Result<Vec<String>> {
        let names = self
            .ask(|connection, catalog| {
                let mut sql =
                    "SELECT table_namespace AS n FROM iceberg_tables WHERE catalog_name = ?1"
                        .to_owned();
                if has_table(connection, "iceberg_namespace_properties")? {
                    sql += " UNION SELECT namespace FROM iceberg_namespace_properties \
                            WHERE catalog_name = ?1";
                }
                let sql = format!("SELECT DISTINCT n FROM ({sql}) ORDER BY 1 LIMIT {MAX_LISTED}");
                let mut statement = connection.prepare(&sql)?;
                statement
                    .query_map([catalog], |row| row.get(0))?
                    .collect::<rusqlite::Result<Vec<String>>>()
            })
            .await?;
        Ok(names.unwrap_or_default())
    }

    async fn tables(&self, namespace: &str) -> Result<Option<Vec<Listed>>> {
        let wanted = namespace.to_owned();
        let listed = self
            .ask(move |connection, catalog| {
                let kind = kind_column(connection)?;
                let sql = format!(
                    "SELECT table_name, {kind} FROM iceberg_tables \
                     WHERE catalog_name = ?1 AND table_namespace = ?2 ORDER BY 1 LIMIT {MAX_LISTED}"
                );
                let mut statement = connection.prepare(&sql)?;
                let listed = |row: &rusqlite::Row<'_>| {
                    Ok(Listed { name: row.get(0)?, kind: kind_of(&row.get::<_, String>(1)?) })
                };
                statement
                    .query_map(params![catalog, wanted], listed)?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?
            .unwrap_or_default();
        if listed.is_empty() && !self.namespaces().await?.iter().any(|name| name == namespace) {
            return Ok(None);
        }
        Ok(Some(listed))
    }

    async fn locate(&self, namespace: &str, table: &str) -> Result<Option<Located>> {
        let (wanted, name) = (namespace.to_owned(), table.to_owned());
        let found = self
            .ask(move |connection, catalog| {
                let kind = kind_column(connection)?;
                let sql = format!(
                    "SELECT metadata_location, {kind} FROM iceberg_tables \
                     WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3"
                );
                let row = |row: &rusqlite::Row<'_>| {
                    Ok((row.get::<_, Option<String>>(0)?, row.get::<_, String>(1)?))
                };
                connection.query_row(&sql, params![catalog, wanted, name], row).optional()
            })
            .await?
            .flatten();
        let Some((location, kind)) = found else { return Ok(None) };
        if kind_of(&kind) == RelationKind::View {
            let feature = format!("the Iceberg view \"{namespace}.{table}\"");
            return Err(Error::NotSupported { feature });
        }
        let metadata_location = location.ok_or_else(|| {
            self.file.failed(&format!("table \"{namespace}.{table}\" has no metadata_location"))
        })?;
        Ok(Some(Located { metadata_location, grant: None }))
    }
}

fn has_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM sqlite_master WHERE name = ?1 AND type IN ('table', 'view')";
    connection.query_row(sql, [name], |row| row.get::<_, i64>(0)).map(|n| n > 0)
}

/// Newer JDBC catalogs keep views in the same table and say which is which.
fn kind_column(connection: &Connection) -> rusqlite::Result<&'static str> {
    let sql =
        "SELECT count(*) FROM pragma_table_info('iceberg_tables') WHERE name = 'iceberg_type'";
    let n: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(if n > 0 { "coalesce(iceberg_type, 'TABLE')" } else { "'TABLE'" })
}

fn kind_of(text: &str) -> RelationKind {
    if text.eq_ignore_ascii_case("view") { RelationKind::View } else { RelationKind::Table }
}

fn local_file(url: url::Url, given: &str) -> Result<PathBuf> {
    url.to_file_path().map_err(|()| Error::NotSupported {
        feature: format!("a SQLite catalog in an object store ({given})"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(path: &std::path::Path, name: Option<&str>) -> SqlCatalog {
        let mut options = vec![("type", "iceberg-sql"), ("uri", path.to_str().unwrap())];
        options.extend(name.map(|name| ("catalog-name", name)));
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let definition = CatalogDefinition::new("ice", options.into_iter().map(owned)).unwrap();
        SqlCatalog::open(&definition, None).unwrap()
    }

    fn database(sql: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        Connection::open(file.path()).unwrap().execute_batch(sql).unwrap();
        file
    }

    const TABLES: &str = "CREATE TABLE iceberg_tables (catalog_name VARCHAR, \
        table_namespace VARCHAR, table_name VARCHAR, metadata_location VARCHAR, \
        previous_metadata_location VARCHAR, iceberg_type VARCHAR);
        INSERT INTO iceberg_tables VALUES ('prod', 'a.b', 't', '/x/metadata/1.metadata.json', NULL, NULL),
            ('prod', 'a.b', 'v', '/x/metadata/2.metadata.json', NULL, 'VIEW');";

    #[tokio::test]
    async fn the_only_catalog_is_taken_and_views_are_told_apart() {
        let file = database(TABLES);
        let catalog = catalog(file.path(), None);
        assert_eq!(catalog.namespaces().await.unwrap(), ["a.b"]);
        let listed = catalog.tables("a.b").await.unwrap().unwrap();
        let kinds: Vec<_> = listed.iter().map(|l| (l.name.as_str(), l.kind)).collect();
        assert_eq!(kinds, [("t", RelationKind::Table), ("v", RelationKind::View)]);
        assert!(catalog.tables("none").await.unwrap().is_none());
        let found = catalog.locate("a.b", "t").await.unwrap().unwrap();
        assert_eq!(found.metadata_location, "/x/metadata/1.metadata.json");
        assert!(catalog.locate("a.b", "none").await.unwrap().is_none());
        assert!(matches!(catalog.locate("a.b", "v").await, Err(Error::NotSupported { .. })));
    }

    #[tokio::test]
    async fn several_catalogs_need_a_name() {
        let file = database(&format!(
            "{TABLES} INSERT INTO iceberg_tables VALUES ('test', 'n', 't', '/y', NULL, NULL);"
        ));
        let error = catalog(file.path(), None).check().await.unwrap_err().to_string();
        assert!(error.contains("prod, test"), "{error}");
        assert_eq!(catalog(file.path(), Some("test")).namespaces().await.unwrap(), ["n"]);
    }

    #[tokio::test]
    async fn a_file_that_is_no_catalog_is_named() {
        let other = database("CREATE TABLE x (a INT)");
        let error = catalog(other.path(), None).check().await.unwrap_err().to_string();
        assert!(error.contains("no table iceberg_tables"), "{error}");
        let garbage = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(garbage.path(), "this is no database at all, but a text".repeat(40))
            .unwrap();
        assert!(catalog(garbage.path(), None).check().await.is_err());
        let gone = std::path::Path::new("/no/such/file.db");
        let error = catalog(gone, None).check().await.unwrap_err().to_string();
        assert!(error.contains("/no/such/file.db"), "{error}");
    }
}
