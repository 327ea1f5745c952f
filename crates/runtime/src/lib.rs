//! Containers: images, their snapshots, and the processes that run in them.
//!
//! Not here: pods. Which container is to run, and when, is decided elsewhere.

pub mod image;
