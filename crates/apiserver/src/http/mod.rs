//! HTTP: what arrives on a connection and what leaves it. Decisions about objects are the engine's.

pub mod body;
mod budget;
mod compress;
mod gather;
pub mod heavy;
pub mod listener;
pub mod load;
#[cfg(test)]
mod loopback;
pub mod negotiate;
pub mod outgoing;
pub mod paths;
pub mod pipeline;
mod progress;
pub mod query;
pub mod render;
pub mod target;
pub mod upload;
pub mod verbs;
pub mod write_options;
