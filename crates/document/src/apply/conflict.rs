//! Who is in the way of an apply, in the words kubectl prints and tools parse.

use std::fmt;

/// A field that another manager owns with another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// As in messages: `"kubectl" with subresource "scale" using apps/v1`.
    pub manager: String,
    /// `.spec.replicas`
    pub field: String,
}

/// The conflicts of one apply, those of one manager together. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

impl Conflict {
    /// The message of the cause in the `Status` (its reason is `FieldManagerConflict`).
    pub fn message(&self) -> String {
        format!("conflict with {}", self.manager)
    }
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [conflict] = &self.0[..] {
            return write!(f, "Apply failed with 1 conflict: {}: {}", conflict.message(), conflict.field);
        }
        write!(f, "Apply failed with {} conflicts: ", self.0.len())?;
        let groups = self.0.chunk_by(|a, b| a.manager == b.manager);
        for (index, group) in groups.enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}conflicts with {}:", group[0].manager)?;
            group.iter().try_for_each(|conflict| write!(f, "\n- {}", conflict.field))?;
        }
        Ok(())
    }
}

impl std::error::Error for Conflicts {}
