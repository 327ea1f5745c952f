//! How many pods each of a deployment's sets has next.
//!
//! The rules are those of the Deployment reference page: never more than `maxSurge` above, never more than
//! `maxUnavailable` below what is wanted; and a deployment that is scaled in mid-rollout shares the difference out among
//! its sets in proportion.

use std::{cmp::Reverse, sync::Arc};

use client::objects::ReplicaSet;
use serde_json::{Map, Value};

use super::{
    Scene,
    revision::{DESIRED_REPLICAS, MAX_REPLICAS, number},
};

/// A set that is to get another size, or to learn of the deployment's.
pub(super) struct Resize {
    pub set: Arc<ReplicaSet>,
    pub replicas: i32,
}

impl Scene<'_> {
    pub(super) fn wanted(&self) -> i32 {
        self.deployment.spec.replicas
    }

    fn is_rolling(&self) -> bool {
        *self.deployment.spec.strategy.kind == *"RollingUpdate"
    }

    /// Pods above and below what is wanted, while pods are replaced. One of the two is at least one, or nothing could move.
    fn margins(&self) -> (i32, i32) {
        if !self.is_rolling() {
            return (0, 0);
        }
        let update = self.deployment.spec.strategy.rolling_update.clone().unwrap_or_default();
        let surge = update.max_surge.map_or(0, |surge| surge.of_rounded_up(self.wanted()));
        let unavailable = update.max_unavailable.map_or(0, |most| most.of_rounded_down(self.wanted()));
        if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }

    pub(super) fn max_surge(&self) -> i32 {
        self.margins().0
    }

    pub(super) fn max_unavailable(&self) -> i32 {
        self.margins().1.min(self.wanted())
    }

    fn total(&self) -> i32 {
        self.sets.all().map(|set| set.spec.replicas).sum()
    }

    pub(super) fn size_annotations(&self) -> Map<String, Value> {
        let most = self.wanted().saturating_add(self.max_surge());
        [(DESIRED_REPLICAS, self.wanted()), (MAX_REPLICAS, most)]
            .map(|(name, number)| (name.to_owned(), number.to_string().into()))
            .into_iter()
            .collect()
    }

    /// Whether the number of pods wanted has changed since the sets were last sized.
    pub(super) fn is_rescaled(&self) -> bool {
        let active = self.sets.all().filter(|set| set.spec.replicas > 0);
        active
            .filter_map(|set| number(&set.metadata, DESIRED_REPLICAS))
            .any(|desired| desired != i64::from(self.wanted()))
    }

    /// Whether the new set may be made: a deployment that recreates first waits for all old pods to be gone.
    pub(super) fn may_create(&self) -> bool {
        self.is_rolling() || (self.sets.old.iter().all(|set| set.spec.replicas == 0) && !self.old_pods_remain)
    }

    /// The size that the new set, now of `size`, may grow to.
    pub(super) fn room_for_new(&self, size: i32) -> i32 {
        if !self.is_rolling() {
            return self.wanted();
        }
        let room = self.wanted().saturating_add(self.max_surge()) - self.pods;
        if room <= 0 { size } else { size + room.min(self.wanted() - size) }
    }

    /// One step of a rollout: nothing where there is none to take.
    pub(super) fn next_sizes(&self) -> Vec<Resize> {
        let Some(new) = &self.sets.new else {
            // Nothing new before all that is old is gone.
            return self.old_to(|_| 0);
        };
        if !self.is_rolling() {
            let old = self.old_to(|_| 0);
            return if old.is_empty() && !self.old_pods_remain { changed(new, self.wanted()) } else { old };
        }
        let size = new.spec.replicas;
        let grown = if size > self.wanted() { self.wanted() } else { self.room_for_new(size) };
        if grown != size { changed(new, grown) } else { self.shrink_old(new) }
    }

    /// Takes from the old sets what can be done without: first what is not available anyway, then what is.
    fn shrink_old(&self, new: &ReplicaSet) -> Vec<Resize> {
        let least = self.wanted() - self.max_unavailable();
        let new_unavailable = new.spec.replicas - available(new);
        let mut dispensable = self.total() - least - new_unavailable;
        let available_now: i32 = self.sets.all().map(|set| available(set)).sum();
        let mut spare = available_now - least;
        let mut sizes: Vec<i32> = self.sets.old.iter().map(|set| set.spec.replicas).collect();
        if dispensable <= 0 {
            return Vec::new();
        }
        for (set, size) in self.sets.old.iter().zip(&mut sizes) {
            let unavailable = (*size - available(set)).clamp(0, dispensable);
            *size -= unavailable;
            dispensable -= unavailable;
        }
        for size in &mut sizes {
            let taken = (*size).min(spare).max(0);
            *size -= taken;
            spare -= taken;
        }
        let mut sizes = sizes.into_iter();
        self.old_to(|set| sizes.next().unwrap_or(set.spec.replicas))
    }

    fn old_to(&self, mut size: impl FnMut(&ReplicaSet) -> i32) -> Vec<Resize> {
        self.sets.old.iter().flat_map(|set| changed(set, size(set))).collect()
    }

    /// Follows a change of the number of pods, or a pause, without rolling on.
    pub(super) fn rescale(&self) -> Vec<Resize> {
        let active: Vec<&Arc<ReplicaSet>> = self.sets.all().filter(|set| set.spec.replicas > 0).collect();
        let only = match active[..] {
            [] => self.sets.new.as_ref().or(self.sets.old.last()),
            [only] => Some(only),
            _ => None,
        };
        if let Some(only) = only {
            return changed(only, self.wanted());
        }
        if self.sets.new.as_ref().is_some_and(|new| self.is_saturated(new)) {
            return self.old_to(|_| 0);
        }
        if self.is_rolling() && !active.is_empty() { self.share_out(active) } else { Vec::new() }
    }

    fn is_saturated(&self, new: &ReplicaSet) -> bool {
        number(&new.metadata, DESIRED_REPLICAS) == Some(self.wanted().into())
            && new.spec.replicas == self.wanted()
            && new.status.available_replicas == self.wanted()
    }

    /// Gives or takes in proportion to the sets' sizes; the largest one gets what rounding leaves over.
    fn share_out(&self, mut active: Vec<&Arc<ReplicaSet>>) -> Vec<Resize> {
        let allowed = if self.wanted() > 0 { self.wanted().saturating_add(self.max_surge()) } else { 0 };
        let to_add = allowed - self.total();
        if to_add > 0 {
            active.sort_by_key(|set| (Reverse(set.spec.replicas), Reverse(set.metadata.creation_timestamp)));
        } else if to_add < 0 {
            active.sort_by_key(|set| (Reverse(set.spec.replicas), set.metadata.creation_timestamp));
        }
        let (mut sizes, mut added) = (Vec::with_capacity(active.len()), 0);
        for set in &active {
            let left = to_add - added;
            let share = self.share_of(set);
            let share = if to_add > 0 { share.min(left) } else { share.max(left) };
            let share = if to_add == 0 || left == 0 { 0 } else { share };
            sizes.push(set.spec.replicas + share);
            added += share;
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        let annotations = self.size_annotations();
        active
            .into_iter()
            .zip(sizes)
            .filter(|(set, size)| {
                let told = |(name, value): (&String, &Value)| set.metadata.annotations.get(name) == value.as_str();
                set.spec.replicas != *size || !annotations.iter().all(told)
            })
            .map(|(set, replicas)| Resize { set: Arc::clone(set), replicas })
            .collect()
    }

    /// By how much a set would change if all changed alike.
    fn share_of(&self, set: &ReplicaSet) -> i32 {
        if self.wanted() == 0 {
            return -set.spec.replicas;
        }
        let before = number(&set.metadata, MAX_REPLICAS)
            .filter(|most| *most > 0)
            .unwrap_or(self.deployment.status.replicas.into());
        if before == 0 {
            return 0;
        }
        let most = i64::from(self.wanted()) + i64::from(self.max_surge());
        // Rounded to the nearest.
        let size = (2 * i64::from(set.spec.replicas) * most + before) / (2 * before);
        i32::try_from(size).unwrap_or(i32::MAX) - set.spec.replicas
    }
}

/// The pods of a set that are available and stay so: one that shrinks still counts those it is about to give up.
fn available(set: &ReplicaSet) -> i32 {
    set.status.available_replicas.min(set.spec.replicas)
}

fn changed(set: &Arc<ReplicaSet>, replicas: i32) -> Vec<Resize> {
    if set.spec.replicas == replicas { Vec::new() } else { vec![Resize { set: Arc::clone(set), replicas }] }
}
