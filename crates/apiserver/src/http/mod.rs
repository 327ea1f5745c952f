//! HTTP: what arrives on a connection and what leaves it. Decisions about objects are the engine's.

pub mod body;
mod compress;
mod gather;
pub mod listener;
pub mod load;
pub mod negotiate;
pub mod paths;
pub mod pipeline;
pub mod query;
pub mod render;
pub mod target;
pub mod verbs;
pub mod write_options;
