//! The finalizer by which a pod is known not to be counted yet, as it is put on and taken off.

use client::{
    objects::{Object, Pod},
    requests::Patch,
};
use serde_json::{Value, json};

use super::FINALIZER;
use crate::plan::{Action, precondition};

const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/finalizers";

/// Takes the finalizer off, whatever else has happened to the pod.
pub fn release(pod: &Pod) -> Action {
    patch(pod, json!({"uid": pod.metadata.uid, DELETE_FROM_LIST: [FINALIZER]}))
}

/// Takes the finalizer off, if nobody has taken the pod on meanwhile.
pub fn release_orphan(pod: &Pod) -> Action {
    let mut metadata = precondition(&pod.metadata);
    metadata[DELETE_FROM_LIST] = json!([FINALIZER]);
    patch(pod, metadata)
}

/// Puts the finalizer on a pod that runs, if it has not ended meanwhile.
pub fn restore(pod: &Pod) -> Action {
    let mut metadata = precondition(&pod.metadata);
    metadata["finalizers"] = json!([FINALIZER]);
    patch(pod, metadata)
}

/// What is taken on gets the finalizer with its owner, and what is let go loses it.
pub fn with_owner(mut claim: Action) -> Action {
    if let Action::Patch { patch, .. } = &mut claim {
        let is_let_go = patch["metadata"]["ownerReferences"][0]["$patch"] == "delete";
        let list = if is_let_go { DELETE_FROM_LIST } else { "finalizers" };
        patch["metadata"][list] = json!([FINALIZER]);
    }
    claim
}

fn patch(pod: &Pod, metadata: Value) -> Action {
    Action::Patch {
        kind: Pod::KIND,
        key: pod.key(),
        subresource: "",
        form: Patch::Strategic,
        patch: json!({"metadata": metadata}),
    }
}
