//! What a deployment says about itself: numbers, and whether it is available and getting on.

use client::objects::{Condition, DeploymentStatus, ReplicaSetStatus};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Scene, revision};
use stdx::clock::until;

use crate::plan::{Action, Plan, status_patch};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";

const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

impl Scene<'_> {
    pub(super) fn tell_status(&self, plan: &mut Plan) {
        let known = &self.deployment.status;
        let mut status = self.counts();
        self.availability(&mut status);
        match self.deadline() {
            None => forget(&mut status.conditions, PROGRESSING),
            Some(_) if self.deployment.metadata.is_being_deleted() => {}
            Some(deadline) => self.progress(&mut status, deadline),
        }
        match self.replica_failure() {
            Some(failure) => set(&mut status.conditions, failure),
            None => forget(&mut status.conditions, REPLICA_FAILURE),
        }
        if let Some(deadline) = self.deadline()
            && let Some(wait) = self.until_overdue(&status, deadline)
        {
            plan.again_after(wait);
        }
        let revision = self.sets.new.as_ref().map(|new| revision::of(&new.metadata).max(self.sets.number_of_new()));
        let revision = revision.filter(|number| revision::of(&self.deployment.metadata) != *number);
        if status == *known && revision.is_none() {
            return;
        }
        let mut action = status_patch(self.deployment, known, &status);
        if let (Some(number), Action::Patch { patch, .. }) = (revision, &mut action) {
            patch["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": number.to_string()});
        }
        plan.then(vec![action]);
    }

    fn counts(&self) -> DeploymentStatus {
        let sum = |number: fn(&ReplicaSetStatus) -> i32| self.sets.all().map(|set| number(&set.status)).sum();
        let available: i32 = sum(|status| status.available_replicas);
        let sized: i32 = self.sets.all().map(|set| set.spec.replicas).sum();
        DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: sum(|status| status.replicas),
            updated_replicas: self.sets.new.as_ref().map_or(0, |new| new.status.replicas),
            ready_replicas: sum(|status| status.ready_replicas),
            available_replicas: available,
            unavailable_replicas: (sized - available).max(0),
            terminating_replicas: self.terminating(),
            collision_count: self.deployment.status.collision_count,
            conditions: self.deployment.status.conditions.clone(),
        }
    }

    /// Known only once every set has counted them.
    fn terminating(&self) -> Option<i32> {
        self.sets.all().map(|set| set.status.terminating_replicas).sum()
    }

    fn availability(&self, status: &mut DeploymentStatus) {
        let enough = status.available_replicas >= self.wanted() - self.max_unavailable();
        let condition = if enough {
            self.condition(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.".into())
        } else {
            let message = "Deployment does not have minimum availability.";
            self.condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message.into())
        };
        set(&mut status.conditions, condition);
    }

    fn condition(&self, kind: &str, status: &str, reason: &str, message: String) -> Condition {
        Condition {
            kind: kind.into(),
            status: status.into(),
            last_update_time: Some(self.turn.now),
            last_transition_time: Some(self.turn.now),
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// How long a rollout may stand still; the largest number means for ever.
    fn deadline(&self) -> Option<SignedDuration> {
        let seconds = self.deployment.spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)?;
        Some(SignedDuration::from_secs(seconds.into()))
    }

    fn progress(&self, status: &mut DeploymentStatus, deadline: SignedDuration) {
        let spec = &self.deployment.spec;
        let current = find(&status.conditions, PROGRESSING).cloned();
        let reason = current.as_ref().map_or("", |current| &*current.reason).to_owned();
        if let Some(failure) = self.turn.failure.as_ref().filter(|failure| failure.verb == "create") {
            let message = format!("Failed to create new replica set: {}", failure.message);
            return set(&mut status.conditions, self.condition(PROGRESSING, "False", "ReplicaSetCreateError", message));
        }
        if spec.paused != (reason == PAUSED) && reason != TIMED_OUT {
            let (reason, message) = if spec.paused {
                (PAUSED, "Deployment is paused")
            } else {
                ("DeploymentResumed", "Deployment is resumed")
            };
            return set(&mut status.conditions, self.condition(PROGRESSING, "Unknown", reason, message.into()));
        }
        if spec.paused {
            return;
        }
        let subject = match &self.sets.new {
            Some(new) => format!("ReplicaSet {:?}", &*new.metadata.name),
            None => format!("Deployment {:?}", &*self.deployment.metadata.name),
        };
        let Some(new) = &self.sets.new else { return };
        let of_another = current.as_ref().is_some_and(|current| {
            let is_told = matches!(&*current.reason, COMPLETE | TIMED_OUT) && !current.message.starts_with(&subject);
            // A set that was taken up again is no new one.
            is_told && new.metadata.creation_timestamp.is_some_and(|made| Some(made) >= current.last_update_time)
        });
        if current.is_none() || of_another {
            let (reason, message) = if of_another || new.status.observed_generation == 0 {
                ("NewReplicaSetCreated", format!("Created new replica set {:?}", &*new.metadata.name))
            } else {
                ("FoundNewReplicaSet", format!("Found new replica set {:?}", &*new.metadata.name))
            };
            return set(&mut status.conditions, self.condition(PROGRESSING, "True", reason, message));
        }
        if status.replicas == status.updated_replicas && reason == COMPLETE {
            return;
        }
        if self.is_complete(status) {
            let message = format!("{subject} has successfully progressed.");
            set(&mut status.conditions, self.condition(PROGRESSING, "True", COMPLETE, message));
        } else if self.has_progressed(status) {
            let message = format!("{subject} is progressing.");
            let mut condition = self.condition(PROGRESSING, "True", "ReplicaSetUpdated", message);
            if let Some(current) = current.filter(|current| *current.status == *"True") {
                condition.last_transition_time = current.last_transition_time;
            }
            forget(&mut status.conditions, PROGRESSING);
            status.conditions.push(condition);
        } else if self.is_overdue(current.as_ref(), deadline) {
            let message = format!("{subject} has timed out progressing.");
            set(&mut status.conditions, self.condition(PROGRESSING, "False", TIMED_OUT, message));
        }
    }

    fn is_complete(&self, status: &DeploymentStatus) -> bool {
        [status.updated_replicas, status.replicas, status.available_replicas] == [self.wanted(); 3]
    }

    fn has_progressed(&self, status: &DeploymentStatus) -> bool {
        let known = &self.deployment.status;
        status.updated_replicas > known.updated_replicas
            || status.replicas - status.updated_replicas < known.replicas - known.updated_replicas
            || status.ready_replicas > known.ready_replicas
            || status.available_replicas > known.available_replicas
    }

    fn is_overdue(&self, current: Option<&Condition>, deadline: SignedDuration) -> bool {
        let Some(current) = current else { return false };
        match &*current.reason {
            COMPLETE => false,
            TIMED_OUT => true,
            _ => current.last_update_time.is_some_and(|since| since.duration_since(self.turn.now) < -deadline),
        }
    }

    /// When a rollout that stands still from now on will be overdue.
    fn until_overdue(&self, status: &DeploymentStatus, deadline: SignedDuration) -> Option<std::time::Duration> {
        let current = find(&status.conditions, PROGRESSING)?;
        if self.deployment.spec.paused || self.is_complete(status) || *current.reason == *TIMED_OUT {
            return None;
        }
        let then: Timestamp = current.last_update_time?.checked_add(deadline).ok()?;
        Some(until(then, self.turn.now) + std::time::Duration::from_secs(1))
    }

    /// Why a set cannot make pods; the new set's word counts first.
    fn replica_failure(&self) -> Option<Condition> {
        let mut sets = self.sets.new.iter().chain(&self.sets.old);
        let failure = sets.find_map(|set| find(&set.status.conditions, REPLICA_FAILURE))?;
        Some(Condition { last_update_time: failure.last_transition_time, ..failure.clone() })
    }
}

fn find<'c>(conditions: &'c [Condition], kind: &str) -> Option<&'c Condition> {
    conditions.iter().find(|condition| *condition.kind == *kind)
}

fn forget(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|condition| *condition.kind != *kind);
}

/// Puts a condition at the end, unless it says what is said already. Its time of transition changes with its status.
fn set(conditions: &mut Vec<Condition>, mut condition: Condition) {
    if let Some(known) = find(conditions, &condition.kind) {
        if known.status == condition.status && known.reason == condition.reason {
            return;
        }
        if known.status == condition.status {
            condition.last_transition_time = known.last_transition_time;
        }
    }
    forget(conditions, &condition.kind);
    conditions.push(condition);
}
