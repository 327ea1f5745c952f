//! The kinds: which resources exist, what their documents look like and what is special about each.
//!
//! A resource, built in or custom, is one [`resource::Resource`] row (wall W1). What no table can say
//! about a kind is its [`strategy::Strategy`]: pure functions on the document. Not here: HTTP, storage,
//! authorization, or the algorithms that walk typed documents (`document`).

pub mod builtin;
pub mod field;
pub mod kinds;
pub mod metadata;
pub mod protobuf;
pub mod quota;
pub mod registry;
pub mod resource;
pub mod scale;
pub mod selector;
pub mod status;
pub mod strategy;
pub mod syntax;
