//! What statements change in a lake: schemas, external tables and views come and go, and get comments.
//!
//! Every change is checked first, against what is there now, and then once more inside the write, against what another
//! writer may have defined meanwhile.

use super::{Lake, MAX_NAME_BYTES, MAX_VIEW_BYTES, RelationKind, all_schemas};
use crate::comments::{CommentTarget, MAX_COMMENT_BYTES};
use crate::definitions::{Definitions, ExternalTable, View};
use crate::discovery::{PUBLIC, RESERVED_SCHEMAS, is_plain_name};
use crate::error::{Error, Result};
use crate::format::normalize_options;
use crate::view::{self, ViewName};
use datafusion::catalog::TableProvider;
use futures::future::BoxFuture;
use std::sync::Arc;

impl Lake {
    /// Creates a schema.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] unless `if_not_exists`.
    pub fn create_schema<'a>(
        &'a self,
        name: &'a str,
        if_not_exists: bool,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.add_schema(name, if_not_exists))
    }

    async fn add_schema(&self, name: &str, if_not_exists: bool) -> Result<()> {
        check_name("schema", name)?;
        let definitions = self.definitions.read().await?;
        let is_folder = self.discovery.all(&definitions.schemas).await?.schemas.contains(name);
        let created = self
            .definitions
            .update(|definitions| {
                let is_taken = name == PUBLIC || is_folder || definitions.schemas.contains(name);
                if is_taken && !if_not_exists {
                    return Err(Error::AlreadyExists { kind: "schema", name: name.to_owned() });
                }
                if is_taken {
                    return Ok(None);
                }
                definitions.schemas.insert(name.to_owned());
                Ok(Some(()))
            })
            .await?;
        if created.is_some() {
            tracing::info!(schema = name, "schema created");
        }
        Ok(())
    }

    /// Drops a schema, with `cascade` also what is defined in it. Data is never dropped.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], [`Error::NotDroppable`] when it holds data, [`Error::SchemaNotFound`] unless `if_exists`.
    pub fn drop_schema<'a>(
        &'a self,
        name: &'a str,
        if_exists: bool,
        cascade: bool,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.remove_schema(name, if_exists, cascade))
    }

    async fn remove_schema(&self, name: &str, if_exists: bool, cascade: bool) -> Result<()> {
        let definitions = self.definitions.read().await?;
        let discovered = self.discovery.all(&definitions.schemas).await?;
        let data = discovered.tables.iter().find(|table| table.schema == name);
        if name == PUBLIC || data.is_some() {
            let location = data.map_or_else(|| self.root().to_string(), |table| self.url_of(table));
            return Err(Error::NotDroppable { kind: "schema", name: name.to_owned(), location });
        }
        if !all_schemas(&definitions, &discovered.schemas).contains(name) {
            if if_exists {
                return Ok(());
            }
            return Err(self.schema_not_found(&definitions, name).await);
        }
        self.definitions
            .update(|definitions| {
                if definitions.has_schema_content(name) && !cascade {
                    return Err(Error::NotEmpty { schema: name.to_owned() });
                }
                definitions.schemas.remove(name);
                definitions.tables.retain(|table| table.schema != name);
                definitions.views.retain(|view| view.schema != name);
                definitions.comments.retain(|comment| comment.on.schema != name);
                Ok(Some(()))
            })
            .await?;
        tracing::info!(schema = name, cascade, "schema dropped");
        Ok(())
    }

    /// Defines an external table. Its location is checked and its files are read once, so that errors show here.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] unless `if_not_exists` or `or_replace`, [`Error::LocationRefused`],
    /// [`Error::LocationNotFound`] when there are no files and no columns are declared.
    pub fn create_external_table(
        &self,
        def: ExternalTable,
        if_not_exists: bool,
        or_replace: bool,
    ) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.add_external_table(def, if_not_exists, or_replace))
    }

    async fn add_external_table(
        &self,
        def: ExternalTable,
        if_not_exists: bool,
        or_replace: bool,
    ) -> Result<()> {
        check_name("table", &def.name)?;
        let mut def = def;
        def.options = normalize_options(&def.options);
        let definitions = self.definitions.read().await?;
        self.check_schema(&definitions, &def.schema).await?;
        if !or_replace && self.relation_kind(&def.schema, &def.name).await?.is_some() {
            return exists(RelationKind::Table, &def.name, if_not_exists);
        }
        self.load_external(&def).await?;
        let defined = self
            .definitions
            .update(|definitions| {
                if definitions.view(&def.schema, &def.name).is_some() {
                    return Err(Error::AlreadyExists { kind: "view", name: def.name.clone() });
                }
                if definitions.table(&def.schema, &def.name).is_some() && !or_replace {
                    return exists(RelationKind::Table, &def.name, if_not_exists).map(|()| None);
                }
                definitions.remove(&def.schema, &def.name);
                definitions.tables.push(def.clone());
                Ok(Some(()))
            })
            .await?;
        if defined.is_some() {
            tracing::info!(schema = def.schema, table = def.name, "external table defined");
        }
        Ok(())
    }

    /// Defines a view. Its query is planned once, so that errors show here.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] unless `or_replace`; planning errors; [`Error::InvalidDefinition`] when the view would
    /// rest on itself.
    pub fn create_view<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
        sql: &'a str,
        or_replace: bool,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.add_view(schema, name, sql, or_replace))
    }

    async fn add_view(&self, schema: &str, name: &str, sql: &str, or_replace: bool) -> Result<()> {
        check_name("view", name)?;
        if sql.len() > MAX_VIEW_BYTES {
            let message = format!("its text is longer than {MAX_VIEW_BYTES} bytes");
            return Err(Error::InvalidDefinition { name: name.to_owned(), message });
        }
        let _one_at_a_time = self.view_changes.lock().await;
        let definitions = self.definitions.read().await?;
        self.check_schema(&definitions, schema).await?;
        let kind = self.relation_kind(schema, name).await?;
        if let Some(kind) = kind.filter(|kind| *kind == RelationKind::Table || !or_replace) {
            return exists(kind, name, false);
        }
        let view_name = ViewName { catalog: &self.catalog_name, schema, name };
        view::check(self.view_planner()?.as_ref(), &view_name, sql).await?;
        let view = View {
            schema: schema.to_owned(),
            name: name.to_owned(),
            sql: sql.to_owned(),
            comment: None,
        };
        self.definitions
            .update(|definitions| {
                let is_table = definitions.table(schema, name).is_some();
                if is_table || (definitions.view(schema, name).is_some() && !or_replace) {
                    let kind = if is_table { "table" } else { "view" };
                    return Err(Error::AlreadyExists { kind, name: name.to_owned() });
                }
                definitions.remove(schema, name);
                definitions.views.push(view.clone());
                Ok(Some(()))
            })
            .await?;
        tracing::info!(schema, view = name, "view defined");
        Ok(())
    }

    /// Drops an external table or a view. The files of an external table stay.
    ///
    /// # Errors
    /// [`Error::TableNotFound`] unless `if_exists`, [`Error::WrongKind`], [`Error::NotDroppable`] for data in the lake.
    pub fn drop_relation<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
        kind: RelationKind,
        if_exists: bool,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.remove_relation(schema, name, kind, if_exists))
    }

    async fn remove_relation(
        &self,
        schema: &str,
        name: &str,
        kind: RelationKind,
        if_exists: bool,
    ) -> Result<()> {
        let wrong_kind = || Error::WrongKind { name: name.to_owned(), expected: kind.name() };
        let dropped = self
            .definitions
            .update(|definitions| {
                let found = match (definitions.table(schema, name), definitions.view(schema, name))
                {
                    (Some(_), _) => RelationKind::Table,
                    (None, Some(_)) => RelationKind::View,
                    (None, None) => return Ok(None),
                };
                if found != kind {
                    return Err(wrong_kind());
                }
                definitions.remove(schema, name);
                definitions.forget_relation(schema, name);
                Ok(Some(()))
            })
            .await?;
        if dropped.is_some() {
            tracing::info!(schema, name, kind = kind.name(), "relation dropped");
            return Ok(());
        }
        let definitions = self.definitions.read().await?;
        match self.discovery.find(&definitions.schemas, schema, name).await? {
            Some(_) if kind == RelationKind::View => Err(wrong_kind()),
            Some(found) => {
                let location = self.url_of(&found);
                Err(Error::NotDroppable { kind: "table", name: name.to_owned(), location })
            }
            None if if_exists => Ok(()),
            None => {
                self.check_schema(&definitions, schema).await?;
                Err(self.table_not_found(schema, name).await)
            }
        }
    }
}

impl Lake {
    /// Says what a schema, a relation or a column is for; `None` takes back what was said. `kind` is what a relation is
    /// called.
    ///
    /// # Errors
    /// When it does not exist, or a relation is of another kind ([`Error::WrongKind`]).
    pub fn comment<'a>(
        &'a self,
        on: &'a CommentTarget,
        kind: Option<RelationKind>,
        text: Option<&'a str>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.set_comment(on, kind, text))
    }

    async fn set_comment(
        &self,
        on: &CommentTarget,
        kind: Option<RelationKind>,
        text: Option<&str>,
    ) -> Result<()> {
        let CommentTarget { schema, relation, column } = on;
        if text.is_some_and(|text| text.len() > MAX_COMMENT_BYTES) {
            let message = format!("its comment is longer than {MAX_COMMENT_BYTES} bytes");
            let name = column.as_ref().or(relation.as_ref()).unwrap_or(schema).clone();
            return Err(Error::InvalidDefinition { name, message });
        }
        let definitions = self.definitions.read().await?;
        self.check_schema(&definitions, schema).await?;
        if let Some(name) = relation {
            match (self.relation_kind(schema, name).await?, kind) {
                (None, _) => return Err(self.table_not_found(schema, name).await),
                (Some(found), Some(expected)) if found != expected => {
                    let expected = expected.name();
                    return Err(Error::WrongKind { name: name.clone(), expected });
                }
                _ => {}
            }
        }
        if let (Some(name), Some(column)) = (relation, column) {
            let provider = self.relation_provider(schema, name).await?;
            let has_column =
                |table: Arc<dyn TableProvider>| table.schema().column_with_name(column).is_some();
            if !provider.is_some_and(has_column) {
                let (relation, column) = (name.clone(), column.clone());
                return Err(Error::ColumnNotFound { relation, column });
            }
        }
        let change =
            |definitions: &mut Definitions| Ok(definitions.comment(on, text).then_some(()));
        self.definitions.update(change).await?;
        Ok(())
    }
}

fn exists(kind: RelationKind, name: &str, is_accepted: bool) -> Result<()> {
    if is_accepted {
        return Ok(());
    }
    Err(Error::AlreadyExists { kind: kind.name(), name: name.to_owned() })
}

pub(super) fn check_name(kind: &str, name: &str) -> Result<()> {
    let is_reserved = matches!(kind, "schema" | "catalog") && RESERVED_SCHEMAS.contains(&name);
    if is_plain_name(name) && name.len() <= MAX_NAME_BYTES && !is_reserved {
        return Ok(());
    }
    Err(Error::InvalidDefinition {
        name: name.to_owned(),
        message: format!(
            "a {kind} name has 1 to {MAX_NAME_BYTES} bytes, begins neither with \".\" nor \"_\", holds no \"/\", \
             and is not reserved"
        ),
    })
}
