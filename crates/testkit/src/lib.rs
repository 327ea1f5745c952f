//! Tests with the real thing: the built binary as a server, real clients against it, and transcripts; and a whole cluster
//! on one thread, under a paused clock.
//!
//! Not here: assertions about Kubernetes. A missing tool is a failure, never a skipped test.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on stops")]

pub mod clients;
pub mod cluster;
pub mod http;
pub mod server;
pub mod transcript;

pub use clients::Clients;
pub use server::Server;
