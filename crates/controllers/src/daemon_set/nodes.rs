//! On which nodes a set's pods may be, and what a pod for a node looks like.

use std::sync::LazyLock;

use client::objects::{
    Node, Object, Pod,
    apps::DaemonTemplate,
    node::{Effect, Toleration},
};
use serde_json::{Value, json};

use super::{HASH_LABEL, Scene};
use crate::{plan::Action, pods::from_template};

pub(super) const GENERATION_LABEL: &str = "pod-template-generation";

/// What a set does on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// A pod that is not there is made.
    pub run: bool,
    /// A pod that is there may go on.
    pub stay: bool,
}

impl Verdict {
    pub(super) const NOTHING: Self = Self { run: false, stay: false };
}

/// Taints that no daemon is kept from or driven away by: it is there to look after the node.
const BORNE: [(&str, Effect); 6] = [
    ("node.kubernetes.io/not-ready", Effect::NoExecute),
    ("node.kubernetes.io/unreachable", Effect::NoExecute),
    ("node.kubernetes.io/disk-pressure", Effect::NoSchedule),
    ("node.kubernetes.io/memory-pressure", Effect::NoSchedule),
    ("node.kubernetes.io/pid-pressure", Effect::NoSchedule),
    ("node.kubernetes.io/unschedulable", Effect::NoSchedule),
];
/// One that brings its own network does not wait for the node's.
const BORNE_ON_HOST_NETWORK: (&str, Effect) = ("node.kubernetes.io/network-unavailable", Effect::NoSchedule);

static TOLERATIONS: LazyLock<Vec<Toleration>> = LazyLock::new(|| {
    let borne = BORNE.iter().chain([&BORNE_ON_HOST_NETWORK]);
    borne
        .map(|(key, effect)| Toleration {
            key: (*key).into(),
            operator: "Exists".into(),
            effect: effect.as_str().into(),
            ..Toleration::default()
        })
        .collect()
});

pub(super) fn verdict(template: &DaemonTemplate, node: &Node) -> Verdict {
    let more = if template.is_on_host_network() { &TOLERATIONS[..] } else { &TOLERATIONS[..BORNE.len()] };
    let is_for = template.is_for(node);
    Verdict {
        run: is_for && template.bears(node, more, &[Effect::NoSchedule, Effect::NoExecute]),
        stay: is_for && template.bears(node, more, &[Effect::NoExecute]),
    }
}

impl Scene<'_> {
    pub(super) fn create(&self, node: &str) -> Action {
        Action::Create {
            kind: Pod::KIND,
            namespace: self.set.metadata.namespace.clone(),
            object: self.pod(node),
            tell: Some(self.owner.clone()),
        }
    }

    fn pod(&self, node: &str) -> Value {
        let template = &self.set.spec.template;
        let mut pod = from_template(&template.written, &self.owner);
        let labels = &mut pod["metadata"]["labels"];
        labels[HASH_LABEL] = json!(self.hash);
        if let Some(generation) = self.template_generation() {
            labels[GENERATION_LABEL] = json!(generation.to_string());
        }
        let spec = &mut pod["spec"];
        spec["tolerations"] = tolerations(&spec["tolerations"], template.is_on_host_network());
        let by_name = json!({"key": "metadata.name", "operator": "In", "values": [node]});
        // No other requirement would hold after all, or the node would not have been chosen.
        spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!({"nodeSelectorTerms": [{"matchFields": [by_name]}]});
        pod
    }
}

/// The template's tolerations and those that every daemon has; where the two differ in their time, without limit.
fn tolerations(written: &Value, on_host_network: bool) -> Value {
    let mut tolerations = written.as_array().cloned().unwrap_or_default();
    for (key, effect) in BORNE.iter().chain(on_host_network.then_some(&BORNE_ON_HOST_NETWORK)) {
        let borne = json!({"key": key, "operator": "Exists", "effect": effect.as_str()});
        let is_same = |toleration: &&mut Value| {
            let fields = ["key", "operator", "effect"];
            fields.iter().all(|field| toleration[*field] == borne[*field]) && toleration["value"].is_null()
        };
        match tolerations.iter_mut().find(is_same) {
            Some(same) => *same = borne,
            None => tolerations.push(borne),
        }
    }
    tolerations.into()
}
