//! The three patches that state changes rather than ownership: JSON Patch, merge patch and strategic
//! merge patch. Server-side apply is not here (`apply`).
//!
//! Patches are documents that went through [`crate::decode`], so they are bounded in depth; so are the
//! results.

pub mod json;
pub mod merge;
pub mod strategic;

use std::fmt::{self, Display};

use serde_json::Value;

/// Why a patch was not applied. The document is then to be thrown away: it may be half patched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch makes no sense on any document (400).
    #[error("{0}")]
    Malformed(String),
    /// More than [`json::MAX_OPERATIONS`] (413).
    #[error("The allowed maximum operations in a JSON patch is {max}, got {actual}", max = json::MAX_OPERATIONS)]
    TooManyOperations { actual: usize },
    /// The patch does not fit this document (422).
    #[error("{0}")]
    Inapplicable(String),
}

/// A value as Go's `%v` prints it: `map[name:web ports:[80 443]]`.
#[derive(Debug)]
pub struct Shown<'a>(pub &'a Value);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("<nil>"),
            Value::String(text) => f.write_str(text),
            Value::Array(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    let space = if index == 0 { "" } else { " " };
                    write!(f, "{space}{}", Shown(item))?;
                }
                f.write_str("]")
            }
            Value::Object(fields) => {
                f.write_str("map[")?;
                for (index, (key, value)) in fields.iter().enumerate() {
                    let space = if index == 0 { "" } else { " " };
                    write!(f, "{space}{key}:{}", Shown(value))?;
                }
                f.write_str("]")
            }
            other => write!(f, "{other}"),
        }
    }
}
