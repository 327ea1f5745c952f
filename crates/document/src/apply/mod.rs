//! Server-side apply and field ownership: what `metadata.managedFields` says after a write.
//!
//! [`update`] keeps the ownership of a document that is written as a whole; [`apply`] merges what a
//! manager wants into what is there, or says who is in the way. Below them lie the algorithms over
//! one type: [`set_of`], [`merge`], [`compare`], [`remove_items`], [`validate`]. Not here: defaulting
//! and conversion of documents (the caller's), and how field sets work (`fields`).

mod applying;
mod compare;
mod conflict;
mod filter;
mod invalid;
mod last_applied;
mod managed;
mod merge;
mod ownership;
mod prune;
mod scale;
mod schema;
mod set;
mod updating;
mod validate;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::Value;

use crate::types::Type;

pub use applying::{ApplyError, apply};
pub use compare::{Comparison, compare};
pub use conflict::{Conflict, Conflicts};
pub use filter::Filter;
pub use invalid::Invalid;
pub use managed::decode_managed_fields;
pub use merge::{merge, remove_items};
pub use scale::{ReplicasPaths, scale_to_parent, scale_to_subresource};
pub use set::set_of;
pub use updating::{keep_times, update};
pub use validate::validate;

/// One write: who, through which door, and what is known about the kind.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    /// The field manager. Empty: `unknown`.
    pub manager: &'a str,
    /// `status`, `scale`…; empty for the main resource.
    pub subresource: &'a str,
    /// The version written in, which is that of the documents given: `apps/v1`.
    pub api_version: &'a str,
    pub kind: &'a str,
    /// RFC 3339, whole seconds, UTC.
    pub now: &'a str,
    pub of: Type<'a>,
    pub versions: &'a dyn Versions,
    /// What a write through this door can own.
    pub filter: &'a Filter,
}

/// The other versions of a kind, for fields that were set in one of them.
pub trait Versions {
    /// `document`, which is of version `from`, in version `to`, and its type there. None where that version is no
    /// longer known: whoever owns fields in it loses them. A version of the same shape gives back what it was given.
    fn convert<'s, 'd>(&'s self, document: &'d Value, from: &str, to: &str) -> Option<(Cow<'d, Value>, Type<'s>)>;
}

/// Versions that differ in nothing but their name.
pub struct SameShape<'a> {
    pub served: &'a [&'a str],
    pub of: Type<'a>,
}

impl Versions for SameShape<'_> {
    fn convert<'s, 'd>(&'s self, document: &'d Value, _from: &str, to: &str) -> Option<(Cow<'d, Value>, Type<'s>)> {
        self.served.contains(&to).then_some((Cow::Borrowed(document), self.of))
    }
}

impl<'a> Write<'a> {
    fn manager(&self) -> &'a str {
        if self.manager.is_empty() { "unknown" } else { self.manager }
    }

    /// A document of the version written in, in version `to`.
    fn convert<'d>(&self, document: &'d Value, to: &str) -> Option<(Cow<'d, Value>, Type<'a>)> {
        if to == self.api_version {
            return Some((Cow::Borrowed(document), self.of));
        }
        self.versions.convert(document, self.api_version, to)
    }
}
