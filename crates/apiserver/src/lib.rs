//! The Kubernetes API: HTTP surface, authentication, authorization, admission, the resource engine.

pub mod admission;
mod api_services;
pub mod audit;
pub mod authn;
pub mod authority;
pub mod authz;
pub mod bootstrap;
pub mod cel;
pub mod cluster;
pub mod crd;
pub mod discovery;
pub mod engine;
pub mod http;
pub mod identity;
pub mod kubeconfig;
pub mod metrics;
pub mod openapi;
mod pattern;
pub mod pki;
pub mod quota;
mod rules;
pub mod server;
mod upkeep;
pub mod warnings;
