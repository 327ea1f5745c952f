//! How every part sees the cluster (wall W3): a client in this process or over HTTPS, the objects parts decide
//! on, one cache of them per kind and process, and the queue that says what to look at next.
//!
//! Not here: any decision about the cluster, and any knowledge of how the server keeps what it serves.

pub mod cache;
pub mod caches;
pub mod calls;
mod connect;
pub mod key;
pub mod kind;
pub mod objects;
pub mod queue;
pub mod reading;
pub mod reflector;
pub mod requests;
pub mod shared;

pub use cache::{Cache, Change};
pub use caches::Caches;
pub use calls::Calls;
pub use connect::{ClientError, in_process, remote};
pub use key::Key;
pub use kind::Kind;
pub use queue::{Backoff, Queues, WorkQueue};
pub use requests::{ApiError, Requests};
pub use shared::Shared;
