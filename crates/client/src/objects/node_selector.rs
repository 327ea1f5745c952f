//! What a pod requires of a node's labels and name: `spec.nodeSelector` and `spec.affinity.nodeAffinity`
//! (the page on assigning pods to nodes).

use api::selector::{LabelSelector, Operator, Requirement};
use serde::Deserialize;

use super::Node;

/// `spec.affinity.nodeAffinity`, as far as it is required.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeAffinity {
    pub required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
}

/// Alternatives, of which one must hold: `nodeSelectorTerms`. Without any it matches no node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "Written")]
pub struct NodeSelector {
    terms: Vec<NodeSelectorTerm>,
}

/// Requirements that must hold together. One that is empty, or cannot be read, matches no node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "WrittenTerm")]
pub struct NodeSelectorTerm {
    labels: LabelSelector,
    /// The name that the node must have, or must not have.
    names: Vec<(bool, Box<str>)>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Written {
    node_selector_terms: Vec<NodeSelectorTerm>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WrittenTerm {
    match_expressions: Vec<WrittenRequirement>,
    match_fields: Vec<WrittenRequirement>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenRequirement {
    key: Box<str>,
    operator: Box<str>,
    values: Vec<Box<str>>,
}

impl From<Written> for NodeSelector {
    fn from(written: Written) -> Self {
        Self { terms: written.node_selector_terms }
    }
}

impl From<WrittenTerm> for NodeSelectorTerm {
    fn from(written: WrittenTerm) -> Self {
        let nothing = Self { labels: LabelSelector::nothing(), names: Vec::new() };
        if written.match_expressions.is_empty() && written.match_fields.is_empty() {
            return nothing;
        }
        let labels: Option<Vec<Requirement>> = written.match_expressions.into_iter().map(on_label).collect();
        let names: Option<Vec<_>> = written.match_fields.into_iter().map(on_name).collect();
        match (labels, names) {
            (Some(labels), Some(names)) => Self { labels: LabelSelector::of(labels), names },
            _ => nothing,
        }
    }
}

fn on_label(written: WrittenRequirement) -> Option<Requirement> {
    let operator = match &*written.operator {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return None,
    };
    Requirement::new(&written.key, operator, written.values).ok()
}

/// `metadata.name` is the only field there is, and takes one value.
fn on_name(written: WrittenRequirement) -> Option<(bool, Box<str>)> {
    let wanted = match &*written.operator {
        "In" => true,
        "NotIn" => false,
        _ => return None,
    };
    let [name] = <[Box<str>; 1]>::try_from(written.values).ok()?;
    (*written.key == *"metadata.name").then_some((wanted, name))
}

impl NodeSelector {
    pub fn terms(&self) -> &[NodeSelectorTerm] {
        &self.terms
    }

    pub fn matches(&self, node: &Node) -> bool {
        self.terms.iter().any(|term| term.matches(node))
    }
}

impl NodeSelectorTerm {
    pub fn matches(&self, node: &Node) -> bool {
        let name = &node.metadata.name;
        node.metadata.labels.are_matched_by(&self.labels)
            && self.names.iter().all(|(wanted, named)| (named == name) == *wanted)
    }

    /// What it asks of labels.
    pub fn labels(&self) -> &LabelSelector {
        &self.labels
    }

    /// The one name that can match, if the term names one.
    pub fn only_name(&self) -> Option<&str> {
        self.names.iter().find(|(wanted, _)| *wanted).map(|(_, name)| &**name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn one_of_the_terms_must_hold_in_all_its_parts() {
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n1", "labels": {"zone": "a", "cores": "8"}}})).unwrap();
        let zone = |zone: &str| json!({"key": "zone", "operator": "In", "values": [zone]});
        let name = |operator: &str, name: &str| json!({"key": "metadata.name", "operator": operator, "values": [name]});
        for (terms, matches) in [
            (json!([{"matchExpressions": [zone("a")]}]), true),
            (json!([{"matchExpressions": [zone("b")]}]), false),
            (json!([{"matchExpressions": [zone("b")]}, {"matchFields": [name("In", "n1")]}]), true),
            (json!([{"matchExpressions": [zone("a")], "matchFields": [name("In", "n2")]}]), false),
            (json!([{"matchFields": [name("NotIn", "n2")]}]), true),
            (json!([{"matchFields": [name("NotIn", "n1")]}]), false),
            (json!([{"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}]), true),
            (json!([{"matchExpressions": [{"key": "cores", "operator": "Lt", "values": ["4"]}]}]), false),
            (json!([{"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}]), true),
            (json!([{"matchExpressions": [{"key": "zone", "operator": "Near"}]}]), false),
            (json!([{}]), false),
            (json!([]), false),
            (Value::Null, false),
        ] {
            let written = if terms.is_null() { json!({}) } else { json!({"nodeSelectorTerms": terms}) };
            let selector: NodeSelector = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(selector.matches(&node), matches, "{written}");
        }
    }
}
