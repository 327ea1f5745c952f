//! Role-based access control: bindings, indexed by whom they name, to the rules of their roles.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

use super::{Authorizer, Decision, rule::Rule};
use crate::{
    authn::service_account,
    cluster::{Cluster, Derived},
    identity::{Attributes, Target, User},
};

pub const GROUP: &str = "rbac.authorization.k8s.io";
pub const ROLES: &str = "roles.rbac.authorization.k8s.io";
pub const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
pub const ROLE_BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";
pub const CLUSTER_ROLE_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";

/// The authorizer. It keeps an index of the bindings, made again after one of them or a role changed.
#[derive(Debug)]
pub struct Rbac {
    index: Derived<Index>,
}

impl Default for Rbac {
    fn default() -> Self {
        Self { index: Derived::new(&[ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS], Index::compile) }
    }
}

impl Authorizer for Rbac {
    fn authorize(&self, attributes: &Attributes<'_>, cluster: &dyn Cluster) -> Decision {
        self.index.get(cluster).decide(attributes)
    }
}

impl Rbac {
    /// All rules that hold for `user` in `namespace` (empty: cluster-wide ones only), and what could not
    /// be resolved.
    pub fn rules_for(&self, user: &User, namespace: &str, cluster: &dyn Cluster) -> (Vec<Rule>, Vec<String>) {
        let index = self.index.get(cluster);
        let mut rules = Vec::new();
        let mut errors = Vec::new();
        for grant in index.grants(user, namespace) {
            match &grant.rules {
                Ok(granted) => rules.extend_from_slice(granted),
                Err(error) => errors.push(error.to_string()),
            }
        }
        (rules, errors)
    }
}

/// What one binding gives to one subject.
#[derive(Debug)]
struct Grant {
    /// `ClusterRoleBinding "x" of ClusterRole "y" to Group "z"`.
    source: String,
    /// The rules of the role, or that there is none.
    rules: Result<Arc<[Rule]>, Arc<str>>,
}

/// The grants of one scope: cluster-wide, or one namespace's.
#[derive(Debug, Default)]
struct Grants {
    users: HashMap<String, Vec<Grant>>,
    groups: HashMap<String, Vec<Grant>>,
}

#[derive(Debug, Default)]
struct Index {
    cluster: Grants,
    namespaces: HashMap<String, Grants>,
}

impl Index {
    fn compile(cluster: &dyn Cluster) -> Self {
        let mut roles = HashMap::new();
        for (topic, is_namespaced) in [(CLUSTER_ROLES, false), (ROLES, true)] {
            for role in cluster.list(topic, None) {
                let namespace = if is_namespaced { text(&role["metadata"]["namespace"]) } else { "" };
                let key = (namespace.to_owned(), text(&role["metadata"]["name"]).to_owned());
                roles.insert(key, Arc::<[Rule]>::from(Rule::list(&role)));
            }
        }
        let mut index = Self::default();
        for (topic, kind) in [(CLUSTER_ROLE_BINDINGS, "ClusterRoleBinding"), (ROLE_BINDINGS, "RoleBinding")] {
            for binding in cluster.list(topic, None) {
                index.add(kind, &binding, &roles);
            }
        }
        index
    }

    fn add(&mut self, kind: &str, binding: &Value, roles: &HashMap<(String, String), Arc<[Rule]>>) {
        let namespace = text(&binding["metadata"]["namespace"]);
        let name = text(&binding["metadata"]["name"]);
        let (role_kind, role) = (text(&binding["roleRef"]["kind"]), text(&binding["roleRef"]["name"]));
        let rules = rules_of(role_kind, role, namespace, roles);
        let shown = if namespace.is_empty() { name.to_owned() } else { format!("{name}/{namespace}") };
        let grants = match namespace {
            "" => &mut self.cluster,
            _ => self.namespaces.entry(namespace.to_owned()).or_default(),
        };
        for subject in binding["subjects"].as_array().into_iter().flatten() {
            let subject_kind = text(&subject["kind"]);
            let mut to = text(&subject["name"]).to_owned();
            let (by, key) = match subject_kind {
                "User" => (&mut grants.users, to.clone()),
                "Group" => (&mut grants.groups, to.clone()),
                "ServiceAccount" => {
                    let home = match text(&subject["namespace"]) {
                        "" => namespace,
                        home => home,
                    };
                    if home.is_empty() {
                        continue;
                    }
                    let key = service_account::user_name(home, &to);
                    to = format!("{to}/{home}");
                    (&mut grants.users, key)
                }
                _ => continue,
            };
            let source = format!("{kind} {shown:?} of {role_kind} {role:?} to {subject_kind} {to:?}");
            by.entry(key).or_default().push(Grant { source, rules: rules.clone() });
        }
    }

    /// The cluster's grants before those of the namespace; those to the user before those to its groups.
    fn grants<'a>(&'a self, user: &'a User, namespace: &str) -> impl Iterator<Item = &'a Grant> {
        let scopes = [Some(&self.cluster), self.namespaces.get(namespace)];
        scopes.into_iter().flatten().flat_map(move |grants| {
            let to_groups = user.groups.iter().filter_map(|group| grants.groups.get(group));
            grants.users.get(&user.name).into_iter().chain(to_groups).flatten()
        })
    }

    fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        let namespace = match attributes.target {
            Target::Resource { namespace, .. } => namespace,
            Target::Path(_) => "",
        };
        let mut errors: Vec<&str> = Vec::new();
        for grant in self.grants(attributes.user, namespace) {
            match &grant.rules {
                Ok(rules) if rules.iter().any(|rule| rule.allows(attributes)) => {
                    return Decision::Allow { reason: format!("RBAC: allowed by {}", grant.source) };
                }
                Ok(_) => {}
                Err(error) if errors.contains(&&**error) => {}
                Err(error) => errors.push(error),
            }
        }
        Decision::NoOpinion {
            reason: match errors.as_slice() {
                [] => String::new(),
                [error] => format!("RBAC: {error}"),
                errors => format!("RBAC: [{}]", errors.join(", ")),
            },
        }
    }
}

fn rules_of(
    kind: &str,
    name: &str,
    namespace: &str,
    roles: &HashMap<(String, String), Arc<[Rule]>>,
) -> Result<Arc<[Rule]>, Arc<str>> {
    let home = match kind {
        "ClusterRole" => "",
        "Role" => namespace,
        _ => return Err(format!("unsupported role reference kind: {kind:?}").into()),
    };
    let found = roles.get(&(home.to_owned(), name.to_owned()));
    found.cloned().ok_or_else(|| format!("{}.{GROUP} {name:?} not found", kind.to_lowercase()).into())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests;
