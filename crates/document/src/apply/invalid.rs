//! What is wrong with a document, field by field, in the words clients know.

use std::fmt::{self, Display};

/// The errors of one document. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(Vec<Problem>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    path: String,
    message: String,
}

impl Invalid {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(vec![Problem { path: String::new(), message: message.into() }])
    }

    /// The same errors seen from one level up.
    pub(super) fn below(mut self, element: &impl Display) -> Self {
        for problem in &mut self.0 {
            problem.path = format!("{element}{}", problem.path);
        }
        self
    }

    pub(super) fn join(problems: Vec<Invalid>) -> Result<(), Self> {
        let problems: Vec<_> = problems.into_iter().flat_map(|invalid| invalid.0).collect();
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [problem] => problem.fmt(f),
            problems => {
                f.write_str("errors:")?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Invalid {}
