//! The schema that a file was written with, as types to read by.
//!
//! Names of types are looked up where they are used, so a type cannot hold itself. How many types a schema has, repeated
//! ones counted as often as they are used, and how deep they are nested is bounded: reading a value takes no more calls.

use super::{Decoded, Malformed};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Types of one schema. A manifest of a table with a hundred partition fields has about four hundred.
const MAX_TYPES: usize = 20_000;
/// Types inside each other. Those of a manifest are six deep.
const MAX_DEPTH: usize = 48;

/// A type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Enum,
    /// That many bytes.
    Fixed(usize),
    Union(Vec<Node>),
    Array(Box<Node>),
    Map(Box<Node>),
    Record(Arc<[Field]>),
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// The attribute `field-id`.
    pub(crate) id: Option<i32>,
    pub(crate) node: Node,
}

impl Field {
    /// Returns whether this is the field with an id; without one its name tells.
    pub(crate) fn is(&self, id: i32, name: &str) -> bool {
        match self.id {
            Some(own) => own == id,
            None => self.name == name,
        }
    }
}

impl Node {
    /// Reads a schema.
    ///
    /// # Errors
    /// When it is none, or is beyond the bounds.
    pub(super) fn parse(json: &[u8]) -> Decoded<Self> {
        let json: Value = serde_json::from_slice(json).map_err(|_| "the Avro schema is no JSON")?;
        Parser::default().node(&json, 0)
    }

    /// Returns the types of keys and values of a map that is written as a list of both.
    pub(crate) fn key_and_value(&self) -> Option<(&Self, &Self)> {
        let Self::Array(items) = self else { return None };
        let Self::Record(fields) = items.as_ref() else { return None };
        match fields.as_ref() {
            [key, value] if key.name == "key" && value.name == "value" => {
                Some((&key.node, &value.node))
            }
            _ => None,
        }
    }

    /// Returns whether every value of this type takes a byte at least.
    fn takes_bytes(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Fixed(length) => *length > 0,
            Self::Record(fields) => fields.iter().any(|field| field.node.takes_bytes()),
            _ => true,
        }
    }

    /// Returns how many types this one is made of, and how deep they are nested.
    fn size(&self) -> (usize, usize) {
        let parts: Vec<&Self> = match self {
            Self::Union(branches) => branches.iter().collect(),
            Self::Array(inner) | Self::Map(inner) => vec![inner],
            Self::Record(fields) => fields.iter().map(|field| &field.node).collect(),
            _ => return (1, 0),
        };
        parts
            .into_iter()
            .map(Self::size)
            .fold((1, 0), |(n, depth), (n_inner, inner)| (n + n_inner, depth.max(inner + 1)))
    }
}

#[derive(Default)]
struct Parser {
    named: HashMap<String, Node>,
    n_types: usize,
}

impl Parser {
    fn count(&mut self, n_types: usize, depth: usize) -> Decoded<()> {
        self.n_types += n_types;
        match self.n_types > MAX_TYPES || depth > MAX_DEPTH {
            true => Err("the Avro schema is too large".into()),
            false => Ok(()),
        }
    }

    fn node(&mut self, json: &Value, depth: usize) -> Decoded<Node> {
        self.count(1, depth)?;
        match json {
            Value::String(name) => self.by_name(name, depth),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.node(branch, depth + 1));
                let branches = branches.collect::<Decoded<Vec<_>>>()?;
                match branches.iter().any(|branch| matches!(branch, Node::Union(_))) {
                    true => Err("a union directly inside a union".into()),
                    false => Ok(Node::Union(branches)),
                }
            }
            Value::Object(_) => match &json["type"] {
                Value::String(kind) => self.complex(kind, json, depth),
                inner => self.node(inner, depth + 1),
            },
            _ => Err("the Avro schema names no type".into()),
        }
    }

    fn by_name(&mut self, name: &str, depth: usize) -> Decoded<Node> {
        Ok(match name {
            "null" => Node::Null,
            "boolean" => Node::Boolean,
            "int" => Node::Int,
            "long" => Node::Long,
            "float" => Node::Float,
            "double" => Node::Double,
            "bytes" => Node::Bytes,
            "string" => Node::String,
            name => {
                let unknown = || Malformed::from(format!("unknown Avro type \"{name}\""));
                let node = self.named.get(last(name)).cloned().ok_or_else(unknown)?;
                let (n_types, inner) = node.size();
                self.count(n_types, depth + inner)?;
                node
            }
        })
    }

    fn complex(&mut self, kind: &str, json: &Value, depth: usize) -> Decoded<Node> {
        let node = match kind {
            "array" => {
                let items = self.node(&json["items"], depth + 1)?;
                // Such a list could be of any length without taking a byte.
                if !items.takes_bytes() {
                    return Err("a list of items without bytes".into());
                }
                return Ok(Node::Array(Box::new(items)));
            }
            "map" => return Ok(Node::Map(Box::new(self.node(&json["values"], depth + 1)?))),
            "record" | "error" => Node::Record(self.fields(json, depth)?),
            "enum" => Node::Enum,
            "fixed" => {
                let size = json["size"].as_u64().and_then(|size| usize::try_from(size).ok());
                Node::Fixed(size.ok_or("a fixed type without a size")?)
            }
            name => return self.by_name(name, depth),
        };
        let name = json["name"].as_str().ok_or("an Avro type without a name")?;
        let earlier = self.named.insert(last(name).to_owned(), node.clone());
        match earlier.is_some_and(|earlier| earlier != node) {
            true => Err(format!("two Avro types are called \"{name}\"").into()),
            false => Ok(node),
        }
    }

    fn fields(&mut self, json: &Value, depth: usize) -> Decoded<Arc<[Field]>> {
        let fields = json["fields"].as_array().ok_or("a record without fields")?;
        let field = |field: &Value| -> Decoded<Field> {
            let name = field["name"].as_str().ok_or("a field without a name")?.to_owned();
            let id = field["field-id"].as_i64().and_then(|id| i32::try_from(id).ok());
            Ok(Field { name, id, node: self.node(&field["type"], depth + 1)? })
        };
        fields.iter().map(field).collect()
    }
}

/// A name without its namespace.
fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Decoded<Node> {
        Node::parse(json.as_bytes())
    }

    #[test]
    fn names_stand_for_types_that_were_defined() {
        let json = r#"{"type": "record", "name": "r", "fields": [
            {"name": "a", "field-id": 7, "type": ["null", {"type": "fixed", "name": "x.f", "size": 5}]},
            {"name": "b", "type": "f"},
            {"name": "c", "type": {"type": "int", "logicalType": "date"}}]}"#;
        let Node::Record(fields) = parse(json).unwrap() else { panic!("no record") };
        assert_eq!(fields[0].node, Node::Union(vec![Node::Null, Node::Fixed(5)]));
        assert_eq!((fields[1].node.clone(), &fields[2].node), (Node::Fixed(5), &Node::Int));
        assert!(fields[0].is(7, "z") && !fields[0].is(8, "a") && fields[1].is(8, "b"));
    }

    #[test]
    fn schemas_beyond_bounds_are_refused() {
        let check = |json: &str, expected: &str| {
            let error = parse(json).unwrap_err();
            assert!(format!("{error:?}").contains(expected), "{json}: {error:?}");
        };
        check("[", "no JSON");
        check("7", "names no type");
        check(r#""other""#, "unknown Avro type");
        check(r#"{"type": "array", "items": "null"}"#, "without bytes");
        check(r#"[["null"]]"#, "inside a union");
        let itself = r#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": "r"}]}"#;
        check(itself, "unknown Avro type");
        let deep =
            format!("{}\"int\"{}", r#"{"type": "map", "values": "#.repeat(60), "}".repeat(60));
        check(&deep, "too large");
        // Each type holds the one before twice: 2^30 types in a small document.
        let mut types = vec![r#"{"type": "fixed", "name": "t0", "size": 1}"#.to_owned()];
        for idx in 1..30 {
            let before = idx - 1;
            types.push(format!(
                r#"{{"type": "record", "name": "t{idx}", "fields": [
                    {{"name": "a", "type": "t{before}"}}, {{"name": "b", "type": "t{before}"}}]}}"#
            ));
        }
        check(&format!("[{}]", types.join(",")), "too large");
    }
}
