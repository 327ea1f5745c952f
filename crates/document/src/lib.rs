//! The algebra of typed JSON documents: decode, default, prune, patch, apply.
//!
//! Everything here is a pure function of documents ([`serde_json::Value`]) and their types
//! ([`types::Types`]). Not here: which kinds exist (`api`), HTTP or storage (`apiserver`, `store`).

pub mod apply;
pub mod check;
pub mod decode;
pub mod default;
pub mod fields;
mod go_value;
pub mod jsonpath;
pub mod patch;
mod path;
pub mod quantity;
pub mod time;
pub mod types;
pub mod yaml;

#[cfg(test)]
mod cases;

pub use check::{TypeError, check, check_custom};
pub use decode::{DecodeError, Decoded, Encoding, decode, in_order_of};
pub use default::default;
pub use go_value::GoValue;
pub use quantity::Quantity;
pub use types::{Type, TypeId, Types};
