//! Delete: at once, gracefully, or as soon as the last finalizer is gone.

use api::{
    field::{FieldError, Path},
    resource::Resource,
    status::{Status, Subject},
    strategy::Dependents,
};
use serde_json::{Value, json};
use store::{CommitError, Durability};

use super::{
    Caller, Engine, Target, Written, addresses,
    commits::Holds,
    document_of,
    options::ListOptions,
    write::{commit_error, replacement},
};
use crate::admission;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// `metav1.DeleteOptions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// What became of the object.
#[derive(Debug)]
pub enum Deleted {
    /// It is gone; its last state.
    Gone(Written),
    /// It is marked, and goes when its grace period or its finalizers end.
    Pending(Written),
}

impl DeleteOptions {
    /// From the body of the request (Null where there is none); query parameters are merged by the caller.
    pub fn parse(body: &Value) -> Result<Self, Status> {
        let mut errors = Vec::new();
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let orphan = body["orphanDependents"].as_bool();
        let policy = text(&body["propagationPolicy"]);
        let propagation = match (orphan, policy.as_deref()) {
            (Some(_), Some(_)) => {
                errors.push(FieldError::invalid(
                    &Path::new("propagationPolicy"),
                    body["propagationPolicy"].clone(),
                    "orphanDependents and deletionPropagation cannot be both set",
                ));
                None
            }
            (Some(true), None) | (None, Some("Orphan")) => Some(Propagation::Orphan),
            (Some(false), None) | (None, Some("Background")) => Some(Propagation::Background),
            (None, Some("Foreground")) => Some(Propagation::Foreground),
            (None, None) => None,
            (None, Some(other)) => {
                let path = Path::new("propagationPolicy");
                errors.push(FieldError::not_supported(&path, other, &["Foreground", "Background", "Orphan", "nil"]));
                None
            }
        };
        if !errors.is_empty() {
            let subject = Subject { group: "meta.k8s.io", resource: "DeleteOptions", name: "" };
            return Err(Status::invalid(subject, &errors));
        }
        Ok(Self {
            grace_period_seconds: body["gracePeriodSeconds"].as_i64(),
            propagation,
            uid: text(&body["preconditions"]["uid"]),
            resource_version: text(&body["preconditions"]["resourceVersion"]),
            dry_run: body["dryRun"].as_array().is_some_and(|words| !words.is_empty()),
        })
    }

    /// The options as admission is shown them.
    fn to_value(&self) -> Value {
        let policy = self.propagation.map(|propagation| format!("{propagation:?}"));
        let mut preconditions = json!({"uid": self.uid, "resourceVersion": self.resource_version});
        without_nulls(&mut preconditions);
        let mut options = json!({
            "kind": "DeleteOptions",
            "apiVersion": "meta.k8s.io/v1",
            "gracePeriodSeconds": self.grace_period_seconds,
            "preconditions": Some(preconditions).filter(|given| *given != json!({})),
            "propagationPolicy": policy,
            "dryRun": self.dry_run.then(|| json!(["All"])),
        });
        without_nulls(&mut options);
        options
    }

    pub(super) fn check(&self, target: &Target, document: &Value) -> Result<(), Status> {
        let metadata = &document["metadata"];
        for (what, fate, expected, actual) in [
            ("UID", "deleted and then recreated", &self.uid, &metadata["uid"]),
            ("ResourceVersion", "modified", &self.resource_version, &metadata["resourceVersion"]),
        ] {
            let actual = actual.as_str().unwrap_or_default();
            if let Some(expected) = expected.as_deref().filter(|expected| *expected != actual) {
                return Err(Status::conflict(
                    target.kind_subject(&target.name),
                    format!(
                        "the {what} in the precondition ({expected}) does not match the {what} in record ({actual}). \
                         The object might have been {fate}"
                    ),
                ));
            }
        }
        Ok(())
    }
}

fn without_nulls(object: &mut Value) {
    if let Some(members) = object.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
}

/// What admission is asked of a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    OfObject,
    /// Its request names no object: each is shown as the old one, without its name in the request.
    OfCollection,
    /// The server clears away what belongs to something deleted, or admission has been asked about the request that
    /// the delete is the outcome of.
    Nobody,
}

impl Engine {
    pub async fn delete(&self, target: &Target, caller: &Caller, options: &DeleteOptions) -> Result<Deleted, Status> {
        self.delete_asking(target, caller, options, Asks::OfObject).await
    }

    pub(crate) async fn delete_asking(
        &self,
        target: &Target,
        caller: &Caller,
        options: &DeleteOptions,
        asks: Asks,
    ) -> Result<Deleted, Status> {
        let mut admitted = asks == Asks::Nobody;
        let shown = options.to_value();
        loop {
            let entry = self.entry(target)?;
            let old = document_of(&target.resource, &entry)?;
            options.check(target, &old)?;
            if !admitted {
                let operation = admission::Operation::Delete;
                let mut request = self.admission_request(operation, target, caller, Value::Null, &old);
                request.options = &shown;
                if asks == Asks::OfCollection {
                    request.name = "";
                }
                request.dry_run |= options.dry_run;
                self.admission.mutate(&mut request, self).await?;
                self.admission.validate(&mut request, self).await?;
                admitted = true;
            }
            let (new, gone) = mark(&target.resource, &old, options, self.clock.now().as_second());
            if !gone && new == old {
                return Ok(Deleted::Pending(Written::unchanged(entry)));
            }
            if options.dry_run || caller.dry_run {
                let written = Written::unsaved(new, false);
                return Ok(if gone { Deleted::Gone(written) } else { Deleted::Pending(written) });
            }
            let mut transaction = replacement(&entry, self.encode(target, new), gone, Durability::Durable);
            if gone {
                addresses::accompany(self, target, &old, &Value::Null, &mut transaction)?;
            }
            match self.commit("delete", &target.resource, transaction, &Holds::default()).await {
                Ok(committed) => {
                    let written = Written::saved(&committed, false);
                    return Ok(if gone { Deleted::Gone(written) } else { Deleted::Pending(written) });
                }
                // Somebody else wrote in between: decide again on what is there now.
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(commit_error(&error)),
            }
        }
    }

    /// Deletes what is selected, one object after the other; returns what was there.
    pub async fn delete_collection(
        &self,
        target: &Target,
        caller: &Caller,
        selection: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<Vec<Written>, Status> {
        let page = self.page(target, selection)?;
        let mut deleted = Vec::with_capacity(page.entries.len());
        for entry in page.entries {
            match self.delete_asking(&member(target, &entry.key), caller, options, Asks::OfCollection).await {
                Ok(Deleted::Gone(written) | Deleted::Pending(written)) => deleted.push(written),
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(status),
            }
        }
        Ok(deleted)
    }
}

/// The object of a collection that is stored under a key.
pub(crate) fn member(collection: &Target, key: &str) -> Target {
    let mut one = collection.clone();
    let mut segments = key.rsplit('/');
    one.name = segments.next().unwrap_or_default().to_owned();
    if one.resource.is_namespaced() {
        one.namespace = segments.next().unwrap_or_default().to_owned();
    }
    one
}

/// What a delete makes of an object: its next state, and whether it is gone with it.
fn mark(resource: &Resource, old: &Value, options: &DeleteOptions, now_seconds: i64) -> (Value, bool) {
    let mut new = old.clone();
    set_propagation_finalizers(&mut new, resource.strategy.dependents, options.propagation);
    if old["metadata"]["deletionTimestamp"].is_null() {
        (resource.strategy.prepare_delete)(&mut new, &timestamp(now_seconds));
    }
    let own_seconds = (resource.strategy.grace_period_seconds)(old, options.grace_period_seconds);
    let grace_seconds = own_seconds.unwrap_or(0);
    let metadata = &mut new["metadata"];
    let already = metadata["deletionTimestamp"].is_string();
    let pending_seconds = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    let gone = grace_seconds == 0 && !is_held(resource, &new);
    // What is never waited for goes as it is.
    if gone && own_seconds.is_none() {
        return (new, true);
    }
    let metadata = &mut new["metadata"];
    if !already {
        metadata["deletionTimestamp"] = timestamp(now_seconds + grace_seconds).into();
        // Namespaces are deleted by a rule of their own, which knows no such period.
        if &*resource.storage.topic != "namespaces" {
            metadata["deletionGracePeriodSeconds"] = grace_seconds.into();
        }
        if let Some(generation) = metadata["generation"].as_i64().filter(|generation| *generation > 0) {
            metadata["generation"] = (generation + 1).into();
        }
    } else if grace_seconds < pending_seconds {
        // A shorter grace period, counted from the first request, moves the deadline; a longer one changes nothing.
        let deadline = metadata["deletionTimestamp"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let requested = deadline.map_or(now_seconds, |deadline| deadline.as_second() - pending_seconds);
        metadata["deletionTimestamp"] = timestamp(requested + grace_seconds).into();
        metadata["deletionGracePeriodSeconds"] = grace_seconds.into();
    }
    if &*resource.storage.topic == "namespaces" {
        new["status"]["phase"] = "Terminating".into();
    }
    (new, gone)
}

fn timestamp(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Foreground and orphan deletion are carried out by the garbage collector, which a finalizer asks for. One that is there
/// stays unless the delete says how.
fn set_propagation_finalizers(document: &mut Value, dependents: Dependents, asked: Option<Propagation>) {
    let mut finalizers: Vec<Value> = document["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let is_ours = |finalizer: &Value| finalizer == ORPHAN || finalizer == FOREGROUND;
    let wanted = match (dependents, asked) {
        (Dependents::None, _) | (_, Some(Propagation::Background)) => None,
        (_, Some(Propagation::Orphan)) => Some(ORPHAN),
        (_, Some(Propagation::Foreground)) => Some(FOREGROUND),
        (_, None) if finalizers.iter().any(is_ours) => return,
        (Dependents::Orphaned, None) => Some(ORPHAN),
        (Dependents::Collected, None) => return,
    };
    finalizers.retain(|finalizer| !is_ours(finalizer));
    finalizers.extend(wanted.map(Value::from));
    match finalizers.is_empty() {
        true => super::write::remove(&mut document["metadata"], "finalizers"),
        false => document["metadata"]["finalizers"] = finalizers.into(),
    }
}

/// Whether a finalizer keeps the object, once deleted. Namespaces have a second list of them.
fn is_held(resource: &Resource, document: &Value) -> bool {
    let has = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
    has(&document["metadata"]["finalizers"])
        || (&*resource.storage.topic == "namespaces" && has(&document["spec"]["finalizers"]))
}

/// Whether an update took away the last thing that kept a deleted object.
pub(super) fn is_released(resource: &Resource, document: &Value) -> bool {
    let metadata = &document["metadata"];
    metadata["deletionTimestamp"].is_string()
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !is_held(resource, document)
}

/// The answer to a delete of an object that is gone.
pub fn success(target: &Target, uid: &Value) -> Value {
    let mut details = json!({"name": target.name, "kind": target.resource.plural, "uid": uid});
    if !target.resource.group.is_empty() {
        details["group"] = (*target.resource.group).into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

#[cfg(test)]
mod tests;
