//! Where in a document one is, and what strict decoding finds there.

use std::{
    collections::HashSet,
    fmt::{self, Display},
};

use crate::Type;

/// What is remembered of a document's errors, in number and bytes: they are told in the order of the text, so those
/// that are told first need not be found first. How many are told is for who tells them.
const MAX_STRICT_ERRORS: usize = 10_000;
const MAX_STRICT_BYTES: usize = 1024 * 1024;

/// A list on the stack: descending costs nothing, a string is made only for an error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    /// A field, with the type of the object that has it where that is known.
    Field(&'a str, Option<Type<'a>>),
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    pub const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    pub fn field(&'a self, name: &'a str, owner: Type<'a>) -> Path<'a> {
        Path { parent: Some(self), step: Step::Field(name, Some(owner)) }
    }

    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// The type that has the innermost field, and the names of the fields that lead to it.
    pub fn fields(&self) -> Option<(Type<'a>, String)> {
        let mut names = Vec::new();
        let mut innermost = None;
        let mut at = Some(self);
        while let Some(path) = at {
            if let Step::Field(name, owner) = path.step {
                names.push(name);
                innermost = innermost.or(owner);
            }
            at = path.parent;
        }
        names.reverse();
        innermost.map(|owner| (owner, names.join(".")))
    }
}

/// `spec.containers[0].image`, keys of maps like fields.
impl Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = self.parent.filter(|parent| !matches!(parent.step, Step::Root));
        if let Some(parent) = parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name, _) | Step::Key(name) if parent.is_some() => write!(f, ".{name}"),
            Step::Field(name, _) | Step::Key(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// What strict decoding complains of and other decoding tolerates, each once.
#[derive(Debug, Default)]
pub(crate) struct StrictErrors {
    found: Vec<String>,
    known: HashSet<String>,
    bytes: usize,
}

impl StrictErrors {
    pub fn duplicate(&mut self, path: &Path<'_>) {
        self.add("duplicate", path);
    }

    pub fn unknown(&mut self, path: &Path<'_>) {
        self.add("unknown", path);
    }

    fn add(&mut self, what: &str, path: &Path<'_>) {
        if self.found.len() < MAX_STRICT_ERRORS && self.bytes < MAX_STRICT_BYTES {
            let error = format!("{what} field {:?}", path.to_string());
            if self.known.insert(error.clone()) {
                self.bytes += error.len();
                self.found.push(error);
            }
        }
    }

    pub fn into_vec(self) -> Vec<String> {
        self.found
    }
}
