//! The cluster's state: one sequence of revisions, every recent one of them readable and watchable.
//!
//! All reads are from memory, on a persistent map: a [`Snapshot`] is a pointer copy and never waits. A
//! commit is durable before it is acknowledged or seen. A watch is a cursor into a history that all
//! watchers of a topic share. Where the order of commits comes from is behind `backend`.
//!
//! Not here: what keys and values mean (`apiserver`), and bytes on disk below records (`journal`).

mod backend;
mod bell;
mod config;
mod entry;
mod history;
mod lineage;
mod pack;
mod snapshot;
mod store;
mod transaction;
mod unpacked;
mod view;
mod watch;

pub use config::{Config, HistoryLimits, OpenError};
pub use entry::{Entry, Event, EventKind, Revision, Template};
pub use snapshot::Snapshot;
pub use store::Store;
pub use transaction::{CommitError, Committed, Durability, Expect, Operation, ReadError, Transaction, WatchError};
pub use watch::Watch;
