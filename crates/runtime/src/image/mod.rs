//! Images: fetched from registries or read from archives, verified by their digests, and kept as unpacked layers.
//!
//! | file | |
//! |---|---|
//! | `name` | what an image is called |
//! | `registry` | the distribution protocol: mirrors, credentials, downloads that go on where they were cut |
//! | `manifest` | what an image consists of, and which of several is for this machine |
//! | `layer` | a layer's archive becomes a directory that overlayfs can stack |
//! | `archive` | images in a file: what `docker save` writes, and OCI layouts |
//! | `store` | what is kept |
//! | `collect` | what goes when the disk fills up |
//!
//! A layer is unpacked as it arrives: it reaches the disk once, and counts only after both its digests were found right.

mod archive;
pub mod collect;
mod digest;
mod error;
mod layer;
mod manifest;
mod name;
pub mod registry;
mod store;

pub use error::ImageError;
pub use name::ImageName;
pub use registry::{Credentials, Registry, Settings};
pub use store::{Image, Images};
