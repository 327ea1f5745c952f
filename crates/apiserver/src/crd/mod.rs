//! Custom resources: what a definition may say, and what it makes the server do.
//!
//! A definition becomes a [`schema::Schema`] once; the type for the document algorithms, the value
//! validation and the CEL rules all come from it. Not here: serving instances, which is the generic
//! path of every resource.

pub mod declare;
pub mod definition;
pub mod formats;
pub mod known;
pub mod row;
pub mod rules;
pub mod schema;
pub mod status;

mod properties;
mod rule_check;
mod structural;
mod validate;

#[cfg(test)]
mod tests;
