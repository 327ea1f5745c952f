//! What a reconcile step decides: data that a test can read, a driver can carry out, and a reader can be shown.

use std::time::Duration;

use client::{
    Key, Kind,
    objects::{Meta, Object},
    requests::{DeleteOptions, Patch},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::lookup::Lookup;

/// What is to be done about one object. Steps follow each other, and the actions of a step stand side by side; a
/// failure ends the plan, and the object is looked at again after its back-off.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    pub steps: Vec<Vec<Action>>,
    /// When to look again if nothing changes until then.
    pub again_after: Option<Duration>,
    /// What is tried in this plan and, should it have to be tried again, only after a growing while
    /// ([`crate::attempts::Attempts`]).
    pub attempts: Vec<Box<str>>,
    /// What has to be looked up before anything can be decided; the next plan is made with the answers.
    pub lookups: Vec<Lookup>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Create {
        kind: Kind,
        namespace: Box<str>,
        object: Value,
        /// Who is told about the object's making, or about why it could not be made.
        tell: Option<Reference>,
    },
    /// A merge patch (RFC 7386), or one in the form its kind merges by (strategic).
    Patch {
        kind: Kind,
        key: Key,
        subresource: &'static str,
        form: Patch,
        patch: Value,
    },
    Delete {
        kind: Kind,
        key: Key,
        options: DeleteOptions,
        tell: Option<Reference>,
    },
    /// An action that is told in words of its own: `done` once it went well, `failed` with the reason at its end. What is
    /// there already is no news.
    Told {
        action: Box<Action>,
        done: Event,
        failed: Event,
    },
    Event(Event),
    /// Something to ask first.
    Errand(Errand),
}

/// What depends on an answer of the server that no cache has.
#[derive(Debug, Clone, PartialEq)]
pub enum Errand {
    /// Does something if there is no such object any more: what a cache does not have may only be new. Without a UID any
    /// object of that name counts.
    IfGone { kind: Kind, key: Key, uid: Option<Box<str>>, then: Vec<Action> },
    /// Does something if no pod uses a claim, be it so new that no cache has it.
    IfUnused { claim: Key, then: Box<Action> },
    /// Does the first of these that the user of its `SubjectAccessReview` may do.
    FirstAllowed { choices: Vec<(Value, Action)> },
    /// Lets the server make a token of an account, bound to the secret that is to hold it, and writes it there.
    FillToken { account: Key, secret: Reference, patch: Value },
}

/// An object as events and owner references name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    pub kind: Kind,
    pub key: Key,
    pub uid: Box<str>,
    pub revision: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub about: Reference,
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
}

impl Action {
    pub fn is_status(&self) -> bool {
        matches!(self, Self::Patch { subresource: "status", .. })
    }

    fn event(&self) -> Option<&Event> {
        match self {
            Self::Event(event) => Some(event),
            _ => None,
        }
    }
}

impl Event {
    /// Whether the two are one event, be it about different states of the object.
    fn says_the_same_as(&self, other: &Self) -> bool {
        (&self.about.uid, self.reason, &self.message) == (&other.about.uid, other.reason, &other.message)
    }
}

impl Plan {
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Adds a step, if there is anything in it.
    pub fn then(&mut self, step: Vec<Action>) {
        if !step.is_empty() {
            self.steps.push(step);
        }
    }

    /// Of a plan that was made after `before` failed, what shows the failure: statuses, and the events that `before` did
    /// not have. What else is planned waits for the retry.
    pub fn of_failure(self, before: &Self) -> Self {
        let known: Vec<&Event> = before.steps.iter().flatten().filter_map(Action::event).collect();
        let is_news = |event: &Event| !known.iter().any(|known| known.says_the_same_as(event));
        let shows = |action: &Action| action.is_status() || action.event().is_some_and(is_news);
        let mut plan = Self::nothing();
        self.steps.into_iter().for_each(|step| plan.then(step.into_iter().filter(shows).collect()));
        plan
    }

    /// Looks again after `wait`, or earlier if that is asked for elsewhere.
    pub fn again_after(&mut self, wait: Duration) {
        self.again_after = Some(self.again_after.map_or(wait, |earlier| earlier.min(wait)));
    }
}

impl Reference {
    pub fn to<T: Object>(object: &T) -> Self {
        let meta = object.meta();
        Self { kind: T::KIND, key: object.key(), uid: meta.uid.clone(), revision: meta.resource_version }
    }

    /// As an entry of `metadata.ownerReferences`, for an owner that manages what it owns.
    pub fn as_controller(&self) -> Value {
        json!({
            "apiVersion": self.kind.api_version(), "kind": self.kind.kind, "name": self.key.name(), "uid": self.uid,
            "controller": true, "blockOwnerDeletion": true,
        })
    }
}

/// A status patch that holds only what differs. `known` and `wanted` are the whole status; the patch applies to the state
/// of the object that was looked at, and to no later one.
pub fn status_patch<T: Object, S: Serialize>(object: &T, known: &S, wanted: &S) -> Action {
    let value = |status: &S| serde_json::to_value(status).unwrap_or_default();
    let difference = difference(&value(known), &value(wanted)).unwrap_or_else(|| json!({}));
    Action::Patch {
        kind: T::KIND,
        key: object.key(),
        subresource: "status",
        form: Patch::Merge,
        patch: json!({"metadata": precondition(object.meta()), "status": difference}),
    }
}

/// What a patch's metadata says so that it meets no other object and no later state.
pub fn precondition(meta: &Meta) -> Value {
    json!({"uid": meta.uid, "resourceVersion": meta.resource_version.to_string()})
}

/// The merge patch that leads from `known` to `wanted`; none where they are equal.
pub fn difference(known: &Value, wanted: &Value) -> Option<Value> {
    if known == wanted {
        return None;
    }
    let (Value::Object(known), Value::Object(wanted)) = (known, wanted) else { return Some(wanted.clone()) };
    let mut patch = serde_json::Map::new();
    for (name, value) in wanted {
        match known.get(name) {
            None => drop(patch.insert(name.clone(), value.clone())),
            Some(before) => {
                if let Some(change) = difference(before, value) {
                    patch.insert(name.clone(), change);
                }
            }
        }
    }
    for name in known.keys().filter(|name| !wanted.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use client::objects::Pod;

    use super::*;

    #[test]
    fn a_patch_holds_what_differs_and_no_more() {
        let known = json!({"replicas": 3, "ready": 1, "deep": {"a": 1, "b": 2}, "list": [1]});
        let wanted = json!({"replicas": 3, "ready": 2, "deep": {"a": 1}, "list": [1, 2]});
        assert_eq!(difference(&known, &wanted), Some(json!({"ready": 2, "deep": {"b": null}, "list": [1, 2]})));
        assert_eq!(difference(&wanted, &wanted), None);
    }

    #[test]
    fn after_a_failure_only_what_shows_it_is_done() {
        let about = |revision| Reference { kind: Pod::KIND, key: Key::new("shop", "web"), uid: "u".into(), revision };
        let told = |reason, revision| Action::Event(Event::normal(&about(revision), reason, "words".to_owned()));
        let patch = |subresource| Action::Patch {
            kind: Pod::KIND,
            key: Key::new("shop", "web"),
            subresource,
            form: Patch::Merge,
            patch: json!({}),
        };
        let before = Plan { steps: vec![vec![told("Before", 1)], vec![patch("")]], ..Plan::default() };
        let after = Plan {
            steps: vec![vec![told("Before", 2), told("Failed", 2)], vec![patch("")], vec![patch("status")]],
            again_after: Some(Duration::from_secs(1)),
            ..Plan::default()
        };
        let shown = after.of_failure(&before);
        assert_eq!(shown, Plan { steps: vec![vec![told("Failed", 2)], vec![patch("status")]], ..Plan::default() });
    }
}
