//! What can go wrong with an image.

use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A kubelet tells of it as `InvalidImageName`.
    #[error("couldn't parse image name {name:?}: {why}")]
    Name { name: String, why: String },
    #[error("{registry} does not let us in: {why}")]
    Unauthorized { registry: String, why: String },
    #[error("{what}: not found")]
    NotFound { what: String },
    /// The registry could not be reached, or gave no proper answer: it may later.
    #[error("{url}: {why}")]
    Registry { url: String, why: String },
    #[error("the {what} cannot be read: {why}")]
    Malformed { what: String, why: String },
    #[error("no image in {name} is for {platform}")]
    NoPlatform { name: String, platform: String },
    #[error("the {what} is not what its digest says: expected {expected}, found {found}")]
    Digest { what: String, expected: String, found: String },
    #[error("the {what} has more than {limit}")]
    TooLarge { what: String, limit: String },
    /// What is in a layer would reach outside of it, or cannot be made.
    #[error("layer {layer}: {path:?}: {why}")]
    Layer { layer: String, path: PathBuf, why: String },
    #[error("{}: {source}", path.display())]
    Storage { path: PathBuf, source: io::Error },
}

impl ImageError {
    /// For `map_err` at a path.
    pub(super) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Storage { path, source }
    }

    pub(super) fn malformed(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Malformed { what: what.into(), why: why.to_string() }
    }
}
