//! The templates that a StatefulSet or DaemonSet has had, as ControllerRevisions: which one is the present template's, and
//! which ones nobody needs any more.
//!
//! A revision holds a patch that puts its template back (`kubectl rollout undo` sends it as it is):
//! `{"spec": {"template": {…, "$patch": "replace"}}}`.

use std::sync::Arc;

use client::{
    Caches,
    objects::{ControllerRevision, Labels, Object},
    requests::{DeleteOptions, Patch},
};
use serde_json::{Map, Value, json};

use crate::{
    plan::{Action, Reference, precondition},
    template_hash::hash,
};

/// Names get no longer than this before the hash is put to them.
const LONGEST_PREFIX: usize = 223;

/// Whose history it is, and what it is a history of.
pub struct Subject<'a> {
    pub owner: &'a Reference,
    pub annotations: &'a Labels,
    pub template: &'a Value,
    pub collision_count: i32,
    /// The label of a revision that holds the hash in its name.
    pub hash_label: &'static str,
}

/// What the history says about the present template.
pub enum Present {
    /// It is this revision's.
    Is(Arc<ControllerRevision>),
    /// This has to be written first; with the number of collisions of names if that has grown.
    ToWrite(Box<Action>, Option<i32>),
}

/// Sorts by number, the latest last.
pub fn sort(revisions: &mut [Arc<ControllerRevision>]) {
    revisions.sort_by(|a, b| {
        let order = |revision: &ControllerRevision| (revision.revision, revision.metadata.creation_timestamp);
        order(a).cmp(&order(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
}

impl Subject<'_> {
    /// Whether a revision holds the present template.
    pub fn is_of(&self, revision: &ControllerRevision) -> bool {
        is_same(&revision.data["spec"]["template"], self.template)
    }

    /// The present template's revision among those that there are, sorted. One that comes back is given the next number.
    pub fn present(&self, revisions: &[Arc<ControllerRevision>], caches: &Caches) -> Present {
        let next = revisions.last().map_or(0, |latest| latest.revision) + 1;
        match revisions.iter().rev().find(|revision| self.is_of(revision)) {
            Some(found) if found.revision + 1 == next => Present::Is(Arc::clone(found)),
            Some(found) => Present::ToWrite(Box::new(renumbered(found, next)), None),
            None => self.create(next, caches),
        }
    }

    fn create(&self, revision: i64, caches: &Caches) -> Present {
        let namespace = self.owner.key.namespace();
        let mut collisions = self.collision_count;
        let (name, hash) = loop {
            let hash = hash(self.template, collisions);
            let name = format!("{}-{hash}", prefix(self.owner.key.name()));
            if caches.controller_revisions.find(namespace, &name).is_none() {
                break (name, hash);
            }
            // The name stands for another template, or is another owner's.
            collisions += 1;
        };
        let mut template = self.template.clone();
        template["$patch"] = json!("replace");
        let mut labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
        labels.insert(self.hash_label.to_owned(), hash.into());
        let mut metadata = json!({"name": name, "labels": labels, "ownerReferences": [self.owner.as_controller()]});
        let annotations: Map<String, Value> =
            self.annotations.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        if !annotations.is_empty() {
            metadata["annotations"] = annotations.into();
        }
        let object = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata,
            "data": {"spec": {"template": template}}, "revision": revision,
        });
        let grown = (collisions != self.collision_count).then_some(collisions);
        let create = Action::Create { kind: ControllerRevision::KIND, namespace: namespace.into(), object, tell: None };
        Present::ToWrite(Box::new(create), grown)
    }
}

/// Of these revisions, the oldest first, those beyond the history that is to be kept.
pub fn surplus<'r>(
    revisions: impl Iterator<Item = &'r Arc<ControllerRevision>>,
    length: usize,
    limit: Option<i32>,
) -> Vec<Action> {
    let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return Vec::new() };
    let surplus = revisions.take(length.saturating_sub(limit));
    surplus.filter(|old| !old.metadata.is_being_deleted()).map(|old| delete(old)).collect()
}

/// The template that a revision holds.
pub fn template(revision: &ControllerRevision) -> Value {
    let mut template = revision.data["spec"]["template"].clone();
    if let Some(template) = template.as_object_mut() {
        template.remove("$patch");
    }
    template
}

pub fn delete(revision: &ControllerRevision) -> Action {
    let options = DeleteOptions { uid: Some(revision.metadata.uid.clone()), ..DeleteOptions::default() };
    Action::Delete { kind: ControllerRevision::KIND, key: revision.key(), options, tell: None }
}

fn renumbered(revision: &ControllerRevision, number: i64) -> Action {
    Action::Patch {
        kind: ControllerRevision::KIND,
        key: revision.key(),
        subresource: "",
        form: Patch::Merge,
        patch: json!({"metadata": precondition(&revision.metadata), "revision": number}),
    }
}

fn prefix(name: &str) -> &str {
    // Names of objects are ASCII; should one not be, it is left as it is.
    name.get(..LONGEST_PREFIX).unwrap_or(name)
}

/// Whether two templates say the same. What is null is not said, and the patch's directive is no part of a template.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let said = |object: &Map<String, Value>| {
                object.iter().filter(|(name, value)| !value.is_null() && *name != "$patch").count()
            };
            let mut fields = a.iter().filter(|(name, value)| !value.is_null() && *name != "$patch");
            said(a) == said(b) && fields.all(|(name, value)| b.get(name).is_some_and(|other| is_same(value, other)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_the_same_whatever_it_does_not_say() {
        let now = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "c"}]}});
        let kept = json!({
            "$patch": "replace", "metadata": {"creationTimestamp": null, "labels": {"a": "1"}},
            "spec": {"containers": [{"name": "c"}]},
        });
        assert!(is_same(&kept, &now));
        for other in [
            json!({"metadata": {"labels": {"a": "2"}}, "spec": {"containers": [{"name": "c"}]}}),
            json!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "c"}, {"name": "d"}]}}),
            json!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "c", "tty": true}]}}),
        ] {
            assert!(!is_same(&kept, &other), "{other}");
            assert!(!is_same(&other, &kept), "{other}");
        }
    }
}
