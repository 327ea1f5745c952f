//! `FieldsV1`: a field set as JSON.
//!
//! Each node is an object whose keys are elements: `f:name`, `k:{"key":"value"}`, `v:value`,
//! `i:index`. An empty object is a member; `.` says that a node with others below it is one too.

use serde_json::{Map, Value};

use super::{Element, FieldSet, Node};

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FieldsError {
    #[error("cannot parse {0:?} as a path element")]
    Key(String),
    #[error("field sets are objects")]
    NotAnObject,
}

impl FieldSet {
    pub fn to_v1(&self) -> Value {
        let nodes = self.nodes.iter().map(|node| {
            let mut below = node.below.to_v1();
            if node.member
                && let Value::Object(below) = &mut below
                && !below.is_empty()
            {
                below.insert(".".to_owned(), Value::Object(Map::new()));
            }
            (node.element.encode(), below)
        });
        Value::Object(nodes.collect())
    }

    /// Reads `FieldsV1`, which is at most as deep as a document may be. Kinds of elements that are not known are
    /// left out.
    pub fn from_v1(fields: &Value) -> Result<Self, FieldsError> {
        let Some(fields) = entries(fields)? else { return Ok(FieldSet::default()) };
        let mut nodes = Vec::with_capacity(fields.len());
        for (key, below) in fields {
            if key == "." {
                continue;
            }
            let Some(element) = Element::decode(key)? else { continue };
            let named = entries(below)?.is_some_and(|below| below.contains_key("."));
            let below = FieldSet::from_v1(below)?;
            nodes.push(Node { element, member: named || below.is_empty(), below });
        }
        Ok(Self::of_nodes(nodes))
    }
}

/// Removes the members of `set` from `FieldsV1`, looking up those and reading nothing else.
pub(crate) fn v1_subtract(fields: &mut Map<String, Value>, set: &FieldSet) {
    for node in &set.nodes {
        let key = node.element.encode();
        let Some(Value::Object(below)) = fields.get_mut(&key) else { continue };
        let named = below.remove(".");
        let member = !node.member && (named.is_some() || below.is_empty());
        v1_subtract(below, &node.below);
        if below.is_empty() && !member {
            fields.remove(&key);
        } else if !below.is_empty() && member {
            below.insert(".".to_owned(), Value::Object(Map::new()));
        }
    }
}

fn entries(fields: &Value) -> Result<Option<&Map<String, Value>>, FieldsError> {
    match fields {
        Value::Object(fields) => Ok(Some(fields)),
        Value::Null => Ok(None),
        _ => Err(FieldsError::NotAnObject),
    }
}
