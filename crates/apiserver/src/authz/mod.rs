//! Authorization: may this user do that? A chain of authorizers, of which the first with an opinion
//! decides; without one, the answer is no.
//!
//! Not here: who the user is (`authn`), and what the object says (`admission`).

pub mod aggregation;
pub mod bootstrap;
pub mod escalation;
pub mod node;
pub mod rbac;
pub mod review;
pub mod rule;

use api::status::{Status, Subject};

use self::node::Node;
pub use self::{rbac::Rbac, rule::Rule};
use crate::{
    cluster::Cluster,
    identity::{Attributes, MASTERS, Target},
};

/// Each with its reason, which may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Allow { reason: String },
    Deny { reason: String },
    NoOpinion { reason: String },
}

impl Decision {
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allow { .. })
    }

    pub fn reason(&self) -> &str {
        let (Decision::Allow { reason } | Decision::Deny { reason } | Decision::NoOpinion { reason }) = self;
        reason
    }

    fn allowed() -> Self {
        Decision::Allow { reason: String::new() }
    }

    fn no_opinion(reason: impl Into<String>) -> Self {
        Decision::NoOpinion { reason: reason.into() }
    }
}

pub trait Authorizer: Send + Sync {
    fn authorize(&self, attributes: &Attributes<'_>, cluster: &dyn Cluster) -> Decision;
}

/// The chain that a server uses: administrators, then nodes, then roles.
#[derive(Debug, Default)]
pub struct Chain {
    pub node: Node,
    pub rbac: Rbac,
}

impl Authorizer for Chain {
    fn authorize(&self, attributes: &Attributes<'_>, cluster: &dyn Cluster) -> Decision {
        if attributes.user.is_in(MASTERS) {
            return Decision::allowed();
        }
        let mut reasons = Vec::new();
        for authorizer in [&self.node as &dyn Authorizer, &self.rbac] {
            match authorizer.authorize(attributes, cluster) {
                Decision::NoOpinion { reason } if reason.is_empty() => {}
                Decision::NoOpinion { reason } => reasons.push(reason),
                opinion => return opinion,
            }
        }
        Decision::no_opinion(reasons.join("\n"))
    }
}

/// Lets a request through, or says why not in Kubernetes' words.
pub fn require(authorizer: &dyn Authorizer, attributes: &Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
    let decision = authorizer.authorize(attributes, cluster);
    if decision.is_allowed() { Ok(()) } else { Err(forbidden(attributes, decision.reason())) }
}

/// `pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"`.
pub fn forbidden(attributes: &Attributes<'_>, reason: &str) -> Status {
    let user = &attributes.user.name;
    let verb = attributes.verb;
    let (subject, text) = match attributes.target {
        Target::Path(path) => {
            (Subject { group: "", resource: "", name: "" }, format!("User {user:?} cannot {verb} path {path:?}"))
        }
        Target::Resource { group, resource, subresource, namespace, name, .. } => {
            let separator = if subresource.is_empty() { "" } else { "/" };
            let scope = match namespace {
                "" => "at the cluster scope".to_owned(),
                _ => format!("in the namespace {namespace:?}"),
            };
            let what = format!("{resource}{separator}{subresource}");
            let text = format!("User {user:?} cannot {verb} resource {what:?} in API group {group:?} {scope}");
            (Subject { group, resource, name }, text)
        }
    };
    // Nothing that a client sent may read as HTML.
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    Status::forbidden(subject, if reason.is_empty() { text } else { format!("{text}: {reason}") })
}

#[cfg(test)]
mod tests;
