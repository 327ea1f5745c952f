//! What keeps the cluster as its objects say: one module a controller, each a pure step from what is known to what is to
//! be done ([`plan::Plan`]), and one shell that runs them all ([`driver`]).
//!
//! Not here: scheduling, and anything on a node.

#[cfg(test)]
mod cases;
pub mod driver;
pub mod plan;
pub mod recorder;

mod claim;
pub mod deployment;
mod pods;
pub mod replica_set;
mod replicas;
