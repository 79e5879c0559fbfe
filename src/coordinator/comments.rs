//! `COMMENT ON`: says what a schema, a table, a view or a column is for. Kept with the lake's definitions.

use super::command::{done, not_supported, parts};
use super::session::{Outcome, Session};
use super::temporary::own_name;
use crate::error::Result;
use datafusion::sql::sqlparser::ast::{CommentObject, ObjectName};
use saltlake_catalog::{CommentTarget, RelationKind};

impl Session {
    /// Runs `COMMENT ON object name IS 'text'`. An empty text takes the comment back, as NULL does.
    ///
    /// # Errors
    /// When there is no such object, or it is one that has no comment here.
    pub(super) async fn comment(
        &self,
        object: CommentObject,
        name: &ObjectName,
        text: Option<&str>,
    ) -> Result<Outcome> {
        let (on, kind) = match object {
            CommentObject::Schema => {
                let schema = self.schema_to_change(name).await?;
                (CommentTarget { schema, relation: None, column: None }, None)
            }
            CommentObject::Table => {
                (self.commented_relation(name).await?, Some(RelationKind::Table))
            }
            CommentObject::View => (self.commented_relation(name).await?, Some(RelationKind::View)),
            CommentObject::Column => {
                let mut relation = name.clone();
                let column = relation.0.pop().map(|column| ObjectName(vec![column]));
                let column = column.map_or(Ok(vec![]), |column| parts(&column))?.pop();
                if relation.0.is_empty() {
                    let message = "column name must be qualified".to_string();
                    return Err(saltlake_sql::Error::Syntax { message, line: 0, column: 0 }.into());
                }
                (CommentTarget { column, ..self.commented_relation(&relation).await? }, None)
            }
            other => return not_supported(format!("COMMENT ON {other}")),
        };
        let text = text.filter(|text| !text.is_empty());
        self.coordinator.lake.comment(&on, kind, text).await?;
        done("COMMENT")
    }

    /// Returns the relation that a name means, by the search path when it has no schema.
    async fn commented_relation(&self, name: &ObjectName) -> Result<CommentTarget> {
        if own_name(name)?.is_some_and(|name| self.temporary.kind(&name).is_some()) {
            return not_supported("COMMENT ON a temporary relation");
        }
        let (mut schema, relation) = self.qualified(name).await?;
        if name.0.len() == 1 {
            for candidate in self.search_path() {
                // A schema of the path need not exist.
                let found = self.coordinator.lake.relation_kind(&candidate, &relation).await;
                if found.is_ok_and(|kind| kind.is_some()) {
                    schema = candidate;
                    break;
                }
            }
        }
        Ok(CommentTarget { schema, relation: Some(relation), column: None })
    }
}
