//! Images from registries and archives: Debian's docker-registry, and registries that do as they are told.
#![allow(clippy::unwrap_used)]

mod archives;
mod hostile;
mod made;
mod played;
mod registry;
