//! Whose a dependent is: which of the objects that match a selector an owner has, takes on, or lets go
//! (the rules of `metadata.ownerReferences`, Kubernetes' garbage collection page).

use std::sync::Arc;

use api::selector::LabelSelector;
use client::{Cache, objects::Object, requests::Patch};
use serde_json::json;

use crate::plan::{Action, Reference};

/// The dependents of one owner.
pub struct Claimed<T> {
    /// Those it has, with those it is about to take on.
    pub own: Vec<Arc<T>>,
    /// What has to be written so that they are.
    pub actions: Vec<Action>,
}

/// Sorts out those that are the owner's and those that are nobody's. An owner that is being deleted takes nothing on and lets nothing go.
pub fn claim<T: Object>(
    owner: &Reference,
    being_deleted: bool,
    selector: &LabelSelector,
    candidates: &Cache<T>,
) -> Claimed<T> {
    let (mut own, mut actions) = (Vec::new(), Vec::new());
    let namespace = owner.key.namespace();
    for object in candidates.owned_by(&owner.uid).into_iter().chain(candidates.unmanaged(namespace)) {
        let meta = object.meta();
        let matches = meta.labels.are_matched_by(selector);
        match meta.controller() {
            Some(controller) if controller.uid != owner.uid => {}
            Some(_) if matches || being_deleted => own.push(object),
            Some(_) => actions.push(patch(&*object, json!({"$patch": "delete", "uid": owner.uid}))),
            None if matches && !being_deleted && !meta.is_being_deleted() => {
                actions.push(patch(&*object, owner.as_controller()));
                own.push(object);
            }
            None => {}
        }
    }
    Claimed { own, actions }
}

fn patch<T: Object>(object: &T, reference: serde_json::Value) -> Action {
    Action::Patch {
        kind: T::KIND,
        key: object.key(),
        subresource: "",
        form: Patch::Strategic,
        patch: json!({"metadata": {"uid": object.meta().uid, "ownerReferences": [reference]}}),
    }
}
