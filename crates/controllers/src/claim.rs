//! Whose a dependent is: which of the objects that match a selector an owner has, takes on, or lets go
//! (the rules of `metadata.ownerReferences`, Kubernetes' garbage collection page).

use std::sync::Arc;

use api::selector::LabelSelector;
use client::{
    Cache, Change, Key,
    objects::{Meta, Object},
    requests::Patch,
};
use serde_json::json;

use crate::plan::{Action, Reference};

/// The dependents of one owner.
pub struct Claimed<T> {
    /// Those it has, with those it is about to take on.
    pub own: Vec<Arc<T>>,
    /// What has to be written so that they are.
    pub actions: Vec<Action>,
}

/// Sorts out those that are the owner's and those that are nobody's, by their labels.
pub fn claim<T: Object>(
    owner: &Reference,
    being_deleted: bool,
    selector: &LabelSelector,
    candidates: &Cache<T>,
) -> Claimed<T> {
    claim_where(owner, being_deleted, &|meta| meta.labels.are_matched_by(selector), candidates)
}

/// The same by any rule. An owner that is being deleted takes nothing on and lets nothing go.
pub fn claim_where<T: Object>(
    owner: &Reference,
    being_deleted: bool,
    is_member: &dyn Fn(&Meta) -> bool,
    candidates: &Cache<T>,
) -> Claimed<T> {
    let (mut own, mut actions) = (Vec::new(), Vec::new());
    let namespace = owner.key.namespace();
    for object in candidates.owned_by(&owner.uid).into_iter().chain(candidates.unmanaged(namespace)) {
        let meta = object.meta();
        let matches = is_member(meta);
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

/// The owners of a kind that changes of their dependents concern: those that manage them, and for a dependent that
/// nobody manages those that `takers` finds.
pub fn concerned<T: Object, D: Object>(
    changes: &[Change<D>],
    takers: &dyn Fn(&Meta) -> Vec<Key>,
    add: &mut dyn FnMut(Key),
) {
    for meta in changes.iter().flat_map(|change| change.states()).map(|dependent| dependent.meta()) {
        match meta.controller() {
            Some(_) => owner_of::<T>(meta).into_iter().for_each(&mut *add),
            None => takers(meta).into_iter().for_each(&mut *add),
        }
    }
}

/// The object's manager, if that is of this kind.
pub fn owner_of<T: Object>(meta: &Meta) -> Option<Key> {
    let owner = meta.controller()?;
    let kind = T::KIND;
    (*owner.kind == *kind.kind && *owner.api_version == *kind.api_version())
        .then(|| Key::new(&meta.namespace, &owner.name))
}

/// The objects of a namespace that would take on one that nobody manages.
pub fn takers<T: Object>(cache: &Cache<T>, orphan: &Meta, selector: impl Fn(&T) -> &LabelSelector) -> Vec<Key> {
    let owners = cache.in_namespace(&orphan.namespace);
    let taking = owners.into_iter().filter(|owner| orphan.labels.are_matched_by(selector(owner)));
    taking.map(|owner| owner.key()).collect()
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
