//! Which node a pod runs on: the filters and scores of Kubernetes' default profile, its queue and its preemption, on top of
//! `placement`.
//!
//! [`core`] decides and acts on nothing; [`run`] carries its decisions out. What refuses a pod is a typed
//! [`refusal::Refusal`], which the event, the condition, the queue and `coracle why` read alike.
//!
//! Not here: what happens on a node, and profiles other than the default one.

#[cfg(test)]
mod cases;
pub mod class;
pub mod cluster;
pub mod core;
pub mod explain;
pub mod filters;
mod preemption;
mod queue;
mod ranking;
pub mod refusal;
mod rules;
pub mod run;
mod scores;
pub mod verdict;
pub mod volumes;

pub use run::start;
