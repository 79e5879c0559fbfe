//! What things of a lake are for: texts that statements set, and those that Iceberg and Delta tables bring.
//!
//! The first are kept with the definitions and come with every list of names. The second are in a table's metadata, which
//! is read only where a table is loaded anyway ([`description_of`]); where both say something, the first holds.

use crate::delta::DeltaTable;
use crate::iceberg::IcebergTable;
use crate::services::table::ServiceTable;
use datafusion::catalog::TableProvider;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most bytes of a comment.
pub(crate) const MAX_COMMENT_BYTES: usize = 64 << 10;

/// What a comment is on: a schema, a relation of it, or a column of that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommentTarget {
    /// The schema.
    pub schema: String,
    /// The table or view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
    /// Its column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

/// A comment that a statement set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Comment {
    #[serde(flatten)]
    pub(crate) on: CommentTarget,
    pub(crate) text: String,
}

/// Comments that statements set, as names are listed with them.
#[derive(Debug, Default)]
pub struct Comments {
    schemas: BTreeMap<String, String>,
    relations: BTreeMap<(String, String), OfRelation>,
}

#[derive(Debug, Default)]
struct OfRelation {
    itself: Option<String>,
    columns: BTreeMap<String, String>,
}

impl Comments {
    pub(crate) fn of(list: &[Comment]) -> Self {
        let mut comments = Self::default();
        for Comment { on: CommentTarget { schema, relation, column }, text } in list {
            let text = text.clone();
            let Some(relation) = relation else {
                comments.schemas.insert(schema.clone(), text);
                continue;
            };
            let of = comments.relations.entry((schema.clone(), relation.clone())).or_default();
            match column {
                Some(column) => _ = of.columns.insert(column.clone(), text),
                None => of.itself = Some(text),
            }
        }
        comments
    }

    /// Returns every schema that has one, with its comment.
    pub fn schemas(&self) -> impl Iterator<Item = (&str, &str)> {
        self.schemas.iter().map(|(schema, text)| (schema.as_str(), text.as_str()))
    }

    pub(crate) fn relation(&self, schema: &str, name: &str) -> Option<&str> {
        self.relations.get(&(schema.to_owned(), name.to_owned()))?.itself.as_deref()
    }

    /// Returns the comments on a relation's columns, by column; `None` when there are none.
    pub fn columns(&self, schema: &str, name: &str) -> Option<&BTreeMap<String, String>> {
        let of = self.relations.get(&(schema.to_owned(), name.to_owned()))?;
        Some(&of.columns).filter(|columns| !columns.is_empty())
    }
}

/// What the metadata of a table say of it beside its columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// What it is for.
    pub comment: Option<String>,
    /// What its columns are for.
    pub columns: BTreeMap<String, String>,
    /// About how many rows it has.
    pub n_rows: Option<u64>,
}

/// Returns what a loaded table's metadata say of it; nothing for views and plain files.
pub fn description_of(table: &Arc<dyn TableProvider>) -> Description {
    if let Some(table) = table.downcast_ref::<IcebergTable>() {
        return table.description();
    }
    if let Some(table) = table.downcast_ref::<ServiceTable>() {
        return table.description();
    }
    match table.downcast_ref::<DeltaTable>() {
        Some(table) => table.description(),
        None => Description::default(),
    }
}

/// Reads the comments off the fields of an Iceberg schema.
pub(crate) fn of_iceberg_fields(schema: &str) -> BTreeMap<String, String> {
    #[derive(Deserialize)]
    struct Schema {
        fields: Vec<Field>,
    }
    #[derive(Deserialize)]
    struct Field {
        name: String,
        doc: Option<String>,
    }
    let fields = serde_json::from_str::<Schema>(schema).map_or_else(|_| vec![], |s| s.fields);
    fields.into_iter().filter_map(|field| Some((field.name, field.doc?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_found_by_what_they_are_on() {
        let comment = |relation: Option<&str>, column: Option<&str>, text: &str| Comment {
            on: CommentTarget {
                schema: "s".into(),
                relation: relation.map(Into::into),
                column: column.map(Into::into),
            },
            text: text.into(),
        };
        let list = [
            comment(None, None, "of s"),
            comment(Some("t"), None, "of t"),
            comment(Some("t"), Some("a"), "of a"),
            comment(Some("v"), None, "of v"),
        ];
        let json = serde_json::to_string(&list).unwrap();
        assert!(json.starts_with(r#"[{"schema":"s","text":"of s"},"#), "{json}");
        let list: Vec<Comment> = serde_json::from_str(&json).unwrap();
        let comments = Comments::of(&list);
        assert_eq!(comments.schemas().collect::<Vec<_>>(), [("s", "of s")]);
        assert_eq!(comments.relation("s", "t"), Some("of t"));
        assert_eq!(comments.columns("s", "t").unwrap()["a"], "of a");
        assert_eq!(comments.relation("s", "v"), Some("of v"));
        assert!(comments.columns("s", "v").is_none() && comments.relation("t", "s").is_none());
    }

    #[test]
    fn fields_of_iceberg_bring_their_doc() {
        let schema = r#"{"type":"struct","schema-id":0,"fields":[
            {"id":1,"name":"a","required":true,"type":"int","doc":"first"},
            {"id":2,"name":"b","required":false,"type":"string"}]}"#;
        assert_eq!(of_iceberg_fields(schema), [("a".into(), "first".into())].into());
        assert!(of_iceberg_fields("{}").is_empty());
    }
}
