//! Which requests a policy or webhook is asked about: operations, resources, scope and selectors.
//! Match conditions, which are expressions, are in [`crate::admission::expressions`].

use std::sync::Arc;

use api::{
    resource::{Resource, Scope},
    selector::{LabelSelector, SelectorError},
};
use serde_json::Value;

use super::Request;
use crate::cluster::Cluster;

/// Answers what the registry knows about kinds.
pub trait Kinds: std::fmt::Debug + Send + Sync {
    fn by_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>>;

    /// The rows that serve the same objects in other versions or groups.
    fn equivalents(&self, resource: &Resource) -> Vec<Arc<Resource>>;
}

/// `matchConstraints` and `matchResources` of policies; `rules` and selectors of a webhook.
#[derive(Debug)]
pub struct Matcher {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    namespaces: LabelSelector,
    objects: LabelSelector,
    /// A rule also covers other versions of the resource it names.
    equivalent: bool,
}

/// An entry of `resourceRules` or `rules`.
#[derive(Debug)]
struct Rule {
    operations: Vec<Box<str>>,
    groups: Vec<Box<str>>,
    versions: Vec<Box<str>>,
    resources: Vec<Box<str>>,
    names: Vec<Box<str>>,
    scope: Box<str>,
}

/// The version in which a request matched.
#[derive(Debug, Clone)]
pub enum Matched {
    AsRequested,
    /// The object is shown in this row's version.
    As(Arc<Resource>),
}

impl Matcher {
    /// Reads `resourceRules` (or a webhook's `rules`), `excludeResourceRules`, the selectors and
    /// `matchPolicy`.
    pub fn read(json: &Value) -> Result<Self, SelectorError> {
        let rules = |name: &str| json[name].as_array().into_iter().flatten().map(Rule::read).collect::<Vec<_>>();
        let selector = |name: &str| match &json[name] {
            Value::Null => Ok(LabelSelector::everything()),
            selector => LabelSelector::from_object(selector),
        };
        let mut all = rules("resourceRules");
        all.extend(rules("rules"));
        Ok(Self {
            rules: all,
            excluded: rules("excludeResourceRules"),
            namespaces: selector("namespaceSelector")?,
            objects: selector("objectSelector")?,
            equivalent: json["matchPolicy"] != "Exact",
        })
    }

    /// Whether the request matches, and in which version. A matcher without rules covers all resources.
    pub fn matches(&self, request: &Request<'_>, cluster: &dyn Cluster, kinds: &dyn Kinds) -> Option<Matched> {
        if !self.namespace_matches(request, cluster) || !self.object_matches(request) {
            return None;
        }
        let covers = |rules: &[Rule], resource: &Resource| rules.iter().any(|rule| rule.matches(request, resource));
        let is_direct = self.rules.is_empty() || covers(&self.rules, request.resource);
        if covers(&self.excluded, request.resource) {
            return None;
        }
        if !self.equivalent || is_direct && self.excluded.is_empty() {
            return is_direct.then_some(Matched::AsRequested);
        }
        let others = kinds.equivalents(request.resource);
        if others.iter().any(|other| covers(&self.excluded, other)) {
            return None;
        }
        if is_direct {
            return Some(Matched::AsRequested);
        }
        others.into_iter().find(|other| covers(&self.rules, other)).map(Matched::As)
    }

    /// A namespace is selected by its own labels, what is in it by the same; what is in none is not asked.
    fn namespace_matches(&self, request: &Request<'_>, cluster: &dyn Cluster) -> bool {
        if self.namespaces.is_everything() {
            return true;
        }
        if is_namespace(request.resource) && request.subresource.is_empty() {
            let object: &Value = if request.object.is_null() { request.old } else { &request.object };
            return self.namespaces.matches_labels(&object["metadata"]["labels"]);
        }
        if request.namespace.is_empty() {
            return true;
        }
        let namespace = cluster.get("namespaces", None, request.namespace);
        self.namespaces
            .matches_labels(namespace.as_deref().map_or(&Value::Null, |namespace| &namespace["metadata"]["labels"]))
    }

    /// The object before or after may match: a change of labels does not evade.
    fn object_matches(&self, request: &Request<'_>) -> bool {
        let selected =
            |object: &Value| object.is_object() && self.objects.matches_labels(&object["metadata"]["labels"]);
        self.objects.is_everything() || selected(&request.object) || selected(request.old)
    }
}

impl Rule {
    fn read(json: &Value) -> Self {
        let texts =
            |name: &str| json[name].as_array().into_iter().flatten().filter_map(Value::as_str).map(Box::from).collect();
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            scope: json["scope"].as_str().unwrap_or("*").into(),
        }
    }

    fn matches(&self, request: &Request<'_>, resource: &Resource) -> bool {
        let scope = if resource.scope == Scope::Cluster || is_namespace(resource) { "Cluster" } else { "Namespaced" };
        let holds = |words: &[Box<str>], word: &str| words.iter().any(|known| &**known == "*" || &**known == word);
        holds(&self.operations, request.operation.name())
            && holds(&self.groups, &resource.group)
            && holds(&self.versions, &resource.version)
            && (&*self.scope == "*" || &*self.scope == scope)
            && (self.names.is_empty() || self.names.iter().any(|name| **name == *request.name))
            && self.resources.iter().any(|pattern| covers(pattern, &resource.plural, request.subresource))
    }
}

/// `pods`, `pods/log`, `pods/*`, `*/scale`, `*` (no subresources), `*/*`.
fn covers(pattern: &str, resource: &str, subresource: &str) -> bool {
    let (of_resource, of_subresource) = pattern.split_once('/').unwrap_or((pattern, ""));
    (of_resource == "*" || of_resource == resource) && (of_subresource == subresource || of_subresource == "*")
}

pub fn is_namespace(resource: &Resource) -> bool {
    resource.group.is_empty() && &*resource.plural == "namespaces"
}

/// An object as another version shows it. The body of a subresource that is of a kind of its own stays as it is.
pub fn in_version(object: &Value, from: &Resource, to: &Resource) -> Value {
    let mut object = object.clone();
    if object.is_object() && (object["kind"].is_null() || object["kind"] == *from.kind) {
        if let Some(conversion) = &from.storage.conversion {
            (conversion.to_storage)(&mut object);
        }
        if let Some(conversion) = &to.storage.conversion {
            (conversion.from_storage)(&mut object);
        }
        object["apiVersion"] = to.api_version().into();
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_patterns_cover_as_in_kubernetes() {
        let check = |pattern: &str, resource: &str, subresource: &str, expect: bool| {
            assert_eq!(covers(pattern, resource, subresource), expect, "{pattern} {resource}/{subresource}");
        };
        check("pods", "pods", "", true);
        check("pods", "pods", "log", false);
        check("pods/*", "pods", "log", true);
        check("pods/*", "pods", "", true);
        check("*", "pods", "", true);
        check("*", "pods", "status", false);
        check("*/scale", "deployments", "scale", true);
        check("*/*", "deployments", "scale", true);
        check("pods", "services", "", false);
    }
}
