//! The one durable primitive of the house: an append-only log of opaque records.
//!
//! Records get consecutive sequence numbers. A batch of records is written with one checksum and made
//! durable with one `fdatasync`; [`Groups`] collects the writers of a batch. What was acknowledged is
//! found again after any crash, a torn tail is cut off, and damage or loss anywhere else is an error that
//! names the place. Old segments are dropped whole.
//!
//! Not here: what records mean, and when they may be dropped (`store`, `events`, `logs`).

mod appender;
mod disk;
mod end;
mod error;
mod frame;
mod group;
mod log;
mod read;
mod recovery;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
#[cfg(test)]
mod tests;

pub use appender::Appender;
pub use disk::{Disk, File, FileId, Found, Lock, SystemDisk};
pub use error::JournalError;
pub use frame::{MAX_BATCH_BYTES, MAX_RECORD_BYTES};
pub use group::{GroupLimits, Groups};
pub use log::{Config, Journal};
pub use read::{Records, Segments};
pub use recovery::{Dropped, is_unused};
