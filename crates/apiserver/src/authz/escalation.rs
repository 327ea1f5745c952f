//! Nobody grants what they do not hold: the check on writes of roles and bindings.

use std::collections::BTreeSet;

use api::status::{Status, Subject};
use serde_json::Value;

use super::{
    Authorizer, Rbac,
    rbac::{CLUSTER_ROLES, GROUP, ROLES},
    rule::{Rule, compact, quoted, uncovered},
};
use crate::{
    admission::{Operation, Request},
    cluster::Cluster,
    identity::{Attributes, MASTERS, Target, User},
};

/// Refuses a role or binding that gives more than its author has, unless the author may `escalate` the
/// role or `bind` the role referred to. Other resources pass.
pub fn check(
    request: &Request<'_>,
    authorizer: &dyn Authorizer,
    rbac: &Rbac,
    cluster: &dyn Cluster,
) -> Result<(), Status> {
    if &*request.resource.group != GROUP
        || !matches!(request.operation, Operation::Create | Operation::Update)
        || request.user.is_in(MASTERS)
        || request.operation == Operation::Update && only_collection_fields_differ(&request.object, request.old)
    {
        return Ok(());
    }
    let author = Author { request, authorizer, rbac, cluster };
    match &*request.resource.plural {
        "roles" | "clusterroles" => author.writes_role(),
        "rolebindings" | "clusterrolebindings" => author.writes_binding(),
        _ => Ok(()),
    }
}

struct Author<'a> {
    request: &'a Request<'a>,
    authorizer: &'a dyn Authorizer,
    rbac: &'a Rbac,
    cluster: &'a dyn Cluster,
}

impl Author<'_> {
    fn writes_role(&self) -> Result<(), Status> {
        let Request { object, old, .. } = self.request;
        // A name is part of the request's path only on update.
        let name = if self.request.operation == Operation::Create { "" } else { self.request.name };
        if self.may("escalate", &self.request.resource.plural, name) {
            return Ok(());
        }
        self.holds(&Rule::list(object))?;
        let aggregates = |role: &Value| {
            role["aggregationRule"]["clusterRoleSelectors"].as_array().is_some_and(|selectors| !selectors.is_empty())
        };
        if aggregates(object) || aggregates(old) {
            let star = || vec![Box::from("*")];
            let everything = [
                Rule { verbs: star(), groups: star(), resources: star(), ..Rule::default() },
                Rule { verbs: star(), paths: star(), ..Rule::default() },
            ];
            self.holds(&everything)
                .map_err(|_| self.forbidden("must have cluster-admin privileges to use the aggregationRule"))?;
        }
        Ok(())
    }

    fn writes_binding(&self) -> Result<(), Status> {
        let reference = &self.request.object["roleRef"];
        let (kind, name) = (reference["kind"].as_str(), reference["name"].as_str().unwrap_or_default());
        let (resource, topic, namespace) = match kind {
            Some("ClusterRole") => ("clusterroles", CLUSTER_ROLES, None),
            Some("Role") => ("roles", ROLES, Some(self.request.namespace)),
            // Validation refuses what is neither.
            _ => return Ok(()),
        };
        if self.may("bind", resource, name) {
            return Ok(());
        }
        let role = self.cluster.get(topic, namespace, name);
        let role = role.ok_or_else(|| Status::not_found(Subject { group: GROUP, resource, name }))?;
        self.holds(&Rule::list(&role))
    }

    fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        let namespace = self.request.namespace;
        let target = Target::Resource { group: GROUP, version: "*", resource, subresource: "", namespace, name };
        self.authorizer.authorize(&Attributes::new(self.request.user, verb, target), self.cluster).is_allowed()
    }

    fn holds(&self, wanted: &[Rule]) -> Result<(), Status> {
        let user = self.request.user;
        let (held, errors) = self.rbac.rules_for(user, self.request.namespace, self.cluster);
        let missing = uncovered(&held, wanted)?;
        if missing.is_empty() { Ok(()) } else { Err(self.forbidden(&escalation_text(user, missing, &errors))) }
    }

    fn forbidden(&self, detail: &str) -> Status {
        let resource = self.request.resource;
        let subject = Subject { group: &resource.group, resource: &resource.plural, name: self.request.name };
        Status::forbidden(subject, detail)
    }
}

fn escalation_text(user: &User, missing: Vec<Rule>, errors: &[String]) -> String {
    let missing: BTreeSet<String> = compact(missing).iter().map(Rule::compact_text).collect();
    let missing: Vec<String> = missing.into_iter().collect();
    let mut text = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        quoted(&user.groups),
        missing.join("\n")
    );
    match errors {
        [] => {}
        [error] => text.push_str(&format!("; resolution errors: [{error}]")),
        errors => text.push_str(&format!("; resolution errors: [[{}]]", errors.join(", "))),
    }
    text
}

/// What the garbage collector and finalizers change gives nobody anything.
fn only_collection_fields_differ(new: &Value, old: &Value) -> bool {
    let without = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in ["ownerReferences", "finalizers", "managedFields"] {
                metadata.remove(field);
            }
        }
        object
    };
    without(new) == without(old)
}
