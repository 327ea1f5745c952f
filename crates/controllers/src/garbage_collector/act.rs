//! Carries out what is decided about objects, and asks the server for owners.
//!
//! Every write names the object by its UID and, where it was decided on its state, by its revision.

use std::sync::Arc;

use client::{
    ApiError, Key, Kind,
    objects::{Meta, OwnerReference},
    reflector::Partial,
    requests::{DeleteOptions, Form, Patch, Propagation, parse},
};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{
    Collector,
    decide::{Action, Target},
    graph::{Answer, Uid},
    reference::Identity,
};

/// Actions of one step that are under way at once.
const AT_ONCE: usize = 32;

impl Collector {
    pub(super) async fn work(self: Arc<Self>) {
        loop {
            let uid = self.objects.next().await;
            let steps = self.graph.lock().decide(&uid);
            match self.carry_out(steps).await {
                Ok(()) => self.objects.forget_failures(&uid),
                Err(error) => {
                    let wait = self.objects.retry_after(Arc::clone(&uid), &error);
                    tracing::debug!(%uid, "not collected: {error}; again in {wait:?}");
                }
            }
            self.objects.done(&uid);
        }
    }

    async fn carry_out(&self, steps: Vec<Vec<Action>>) -> Result<(), ApiError> {
        for actions in steps.iter().flat_map(|step| step.chunks(AT_ONCE)) {
            let results = join_all(actions.iter().map(|action| self.act(action))).await;
            results.into_iter().collect::<Result<(), ApiError>>()?;
        }
        Ok(())
    }

    async fn act(&self, action: &Action) -> Result<(), ApiError> {
        match action {
            Action::Ask(identity) => {
                self.owners.add(identity.clone());
                Ok(())
            }
            Action::Delete(target, propagation) => self.delete(target, *propagation).await,
            Action::Release(target, owners) => self.edit_references(target, owners, Edit::Release).await,
            Action::Unblock(target, owners) => self.edit_references(target, owners, Edit::Unblock).await,
            Action::Finalize(target, finalizer) => self.finalize(target, finalizer).await,
        }
    }

    async fn delete(&self, target: &Target, propagation: Propagation) -> Result<(), ApiError> {
        let mut options = DeleteOptions {
            uid: Some((*target.uid).into()),
            resource_version: Some(target.revision).filter(|revision| *revision != 0),
            propagation: Some(propagation),
            ..DeleteOptions::default()
        };
        let mut result = self.requests.delete(&target.kind, &target.key, &options).await;
        if result.as_ref().is_err_and(ApiError::is_conflict) {
            // Somebody wrote to it meanwhile. Unless that changed what is decided, it goes all the same: whoever writes often
            // is not to keep it alive.
            let Some(live) = self.live(target).await? else { return Ok(()) };
            self.tell(|graph| graph.see(&target.kind, &live));
            if !self.is_still(target, propagation) {
                self.objects.add(Arc::clone(&target.uid));
                return Ok(());
            }
            options.resource_version = None;
            result = self.requests.delete(&target.kind, &target.key, &options).await;
        }
        match result {
            Ok(answer) => {
                self.shell.caches.observe_deletion(&target.kind, &target.key, &answer);
                Ok(())
            }
            Err(error) if is_absent(&error, &target.key) => {
                self.tell(|graph| graph.end(&target.uid));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a deletion would be decided again.
    fn is_still(&self, target: &Target, propagation: Propagation) -> bool {
        let steps = self.graph.lock().decide(&target.uid);
        let mut actions = steps.iter().flatten();
        actions.any(|action| matches!(action, Action::Delete(_, again) if *again == propagation))
    }

    /// Built-in kinds take references by their UID; custom ones take the whole list, as it is now.
    async fn edit_references(&self, target: &Target, owners: &[Uid], edit: Edit) -> Result<(), ApiError> {
        let references: Vec<Value> = owners.iter().map(|uid| edit.of(uid)).collect();
        let patch = json!({"metadata": {"uid": &*target.uid, "ownerReferences": references}});
        let result = self.patch(target, (Patch::Strategic, &patch)).await;
        if !result.as_ref().is_err_and(ApiError::is_unsupported) {
            return result;
        }
        let Some(live) = self.live(target).await? else { return Ok(()) };
        let references: Vec<Value> =
            live.owner_references.iter().filter_map(|reference| edit.on(reference, owners)).collect();
        let patch = json!({"metadata": {
            "uid": &*target.uid, "resourceVersion": live.resource_version.to_string(), "ownerReferences": references,
        }});
        self.patch(target, (Patch::Merge, &patch)).await
    }

    async fn finalize(&self, target: &Target, finalizer: &str) -> Result<(), ApiError> {
        let Some(live) = self.live(target).await? else { return Ok(()) };
        let others: Vec<&str> =
            live.finalizers.iter().map(|known| &**known).filter(|known| *known != finalizer).collect();
        if others.len() == live.finalizers.len() {
            return Ok(());
        }
        let patch = json!({"metadata": {
            "uid": &*target.uid, "resourceVersion": live.resource_version.to_string(), "finalizers": others,
        }});
        self.patch(target, (Patch::Merge, &patch)).await
    }

    async fn patch(&self, target: &Target, patch: (Patch, &Value)) -> Result<(), ApiError> {
        match self.requests.patch(&target.kind, &target.key, "", patch).await {
            Ok(answer) => {
                let state: Partial = parse(&answer)?;
                // What a patch releases goes at once: the caches and the watch tell of that.
                if !is_deleted(&state.metadata) {
                    self.shell.caches.observe_answer(&target.kind, &answer);
                    self.tell(|graph| graph.see(&target.kind, &state.metadata));
                }
                Ok(())
            }
            Err(error) if is_absent(&error, &target.key) => {
                self.tell(|graph| graph.end(&target.uid));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The object's metadata as it is now. None where it is gone, which the graph is told.
    async fn live(&self, target: &Target) -> Result<Option<Meta>, ApiError> {
        let found = self.read(&target.kind, &target.key).await?.filter(|meta| *meta.uid == *target.uid);
        if found.is_none() {
            self.tell(|graph| graph.end(&target.uid));
        }
        Ok(found)
    }

    async fn read(&self, kind: &Kind, key: &Key) -> Result<Option<Meta>, ApiError> {
        let path = kind.object(key.namespace(), key.name(), "");
        match self.requests.read_as::<Partial>(Form::Metadata, &path).await {
            Ok(object) => Ok(Some(object.metadata)),
            Err(error) if is_absent(&error, key) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for owners that no watch has told of, until one does or they are known not to be.
    pub(super) async fn ask(self: Arc<Self>) {
        loop {
            let identity = self.owners.next().await;
            if self.graph.lock().is_named(&identity) {
                match self.answer_for(&identity).await {
                    Ok(Some(answer)) => {
                        self.tell(|graph| graph.answer(&identity, answer));
                        // It may have gone before its watch began, which then never tells.
                        if self.graph.lock().is_unseen(&identity) {
                            self.owners.retry(identity.clone());
                        } else {
                            self.owners.forget_failures(&identity);
                        }
                    }
                    Ok(None) => {
                        self.unknown.lock().insert(identity.clone());
                        self.owners.forget_failures(&identity);
                    }
                    Err(error) => {
                        let wait = self.owners.retry_after(identity.clone(), &error);
                        tracing::debug!(?identity, "owner not found out: {error}; again in {wait:?}");
                    }
                }
            } else {
                self.owners.forget_failures(&identity);
            }
            self.owners.done(&identity);
        }
    }

    /// None where the kind is not served.
    async fn answer_for(&self, identity: &Identity) -> Result<Option<Answer>, ApiError> {
        let named = {
            let resources = self.resources.borrow();
            let is_named = |kind: &Kind| *kind.kind == *identity.kind && *kind.api_version() == *identity.api_version;
            resources.iter().map(|resource| &resource.kind).find(|kind| is_named(kind)).cloned()
        };
        let Some(kind) = named else { return Ok(None) };
        if kind.namespaced && identity.namespace.is_empty() {
            return Ok(Some(Answer::Impossible));
        }
        let namespace = if kind.namespaced { &*identity.namespace } else { "" };
        let found = self.read(&kind, &Key::new(namespace, &identity.name)).await?;
        Ok(Some(match found {
            Some(meta) if *meta.uid == *identity.uid => Answer::Exists,
            _ => Answer::Absent { everywhere: !kind.namespaced },
        }))
    }
}

/// Whether there is no such object. A kind that is not served is not found either, but then the answer names no object.
fn is_absent(error: &ApiError, key: &Key) -> bool {
    error.is_not_found() && error.to_string().contains(key.name())
}

fn is_deleted(meta: &Meta) -> bool {
    meta.is_being_deleted() && !meta.is_held_up()
}

/// A change of some of an object's owner references.
#[derive(Clone, Copy)]
enum Edit {
    Release,
    Unblock,
}

impl Edit {
    /// As an element of a strategic merge patch.
    fn of(self, uid: &str) -> Value {
        match self {
            Self::Release => json!({"$patch": "delete", "uid": uid}),
            Self::Unblock => json!({"uid": uid, "blockOwnerDeletion": false}),
        }
    }

    /// A reference as it is to be.
    fn on(self, reference: &OwnerReference, owners: &[Uid]) -> Option<Value> {
        let is_meant = owners.iter().any(|uid| **uid == *reference.uid);
        let OwnerReference { api_version, kind, name, uid, controller, block_owner_deletion } = reference;
        let mut wanted = json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid});
        if *controller {
            wanted["controller"] = true.into();
        }
        match (self, is_meant) {
            (Self::Release, true) => return None,
            (Self::Unblock, true) => wanted["blockOwnerDeletion"] = false.into(),
            _ if *block_owner_deletion => wanted["blockOwnerDeletion"] = true.into(),
            _ => {}
        }
        Some(wanted)
    }
}
