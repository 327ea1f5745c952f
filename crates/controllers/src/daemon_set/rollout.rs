//! Which pods give way to the next template.
//!
//! Without a surge old pods are deleted, never leaving more than `maxUnavailable` nodes without an available pod, and
//! [`super::upkeep`] makes the new ones. With a surge the new pod is made beside the old one, on `maxSurge` nodes at a
//! time, and the old one goes when the new one is available. Old pods that are not available anyway give way at once.

use std::sync::Arc;

use client::objects::Pod;

use super::{
    Place, Scene,
    upkeep::{Work, is_ending},
};
use crate::plan::Plan;

/// The pods of a node that stay, at most one of either kind.
struct Pair<'p> {
    new: Option<&'p Arc<Pod>>,
    old: Option<&'p Arc<Pod>>,
}

impl Scene<'_> {
    fn is_rolling(&self) -> bool {
        *self.set.spec.update_strategy.kind == *"RollingUpdate"
    }

    fn margins(&self, wanted: i32) -> (i32, i32) {
        let update = self.set.spec.update_strategy.rolling_update.clone().unwrap_or_default();
        let of = |margin: Option<client::objects::parts::IntOrPercent>| {
            margin.filter(|_| self.is_rolling()).map_or(0, |margin| margin.of_rounded_up(wanted))
        };
        (of(update.max_surge), of(update.max_unavailable))
    }

    /// Nodes that may have two pods at once; of one node, whether it may.
    pub(super) fn surge(&self) -> i32 {
        self.margins(1).0
    }

    pub(super) fn roll_out(&self, plan: &mut Plan) {
        if !self.is_rolling() {
            return;
        }
        let wanted = self.wanted();
        let work = match self.margins(wanted) {
            (0, 0) => self.replace(1),
            (0, unavailable) => self.replace(unavailable),
            (surge, _) => self.surge_by(surge, wanted),
        };
        self.carry_out(work, plan);
    }

    /// The places where the set has or is to have a pod.
    fn concerned(&self) -> impl Iterator<Item = (&Box<str>, &Place)> {
        self.nodes.iter().filter(|(_, place)| place.is_to_run() || !place.pods.is_empty())
    }

    /// None where there are several of a kind, which is not settled here.
    fn pair<'p>(&self, place: &'p Place) -> Option<Pair<'p>> {
        let mut pair = Pair { new: None, old: None };
        for pod in place.pods.iter().filter(|pod| !is_ending(pod)) {
            let slot = if self.is_updated(pod) { &mut pair.new } else { &mut pair.old };
            if slot.replace(pod).is_some() {
                return None;
            }
        }
        Some(pair)
    }

    fn replace(&self, most_unavailable: i32) -> Work {
        let (mut unavailable, mut dispensable, mut candidates) = (0, Vec::new(), Vec::new());
        for (_, place) in self.concerned() {
            match self.pair(place) {
                Some(Pair { new: None, old: Some(old) }) if self.is_available(old) => candidates.push(Arc::clone(old)),
                Some(Pair { new: None, old: Some(old) }) => {
                    dispensable.push(Arc::clone(old));
                    unavailable += 1;
                }
                Some(Pair { new: Some(new), old: None }) if self.is_available(new) => {}
                _ => unavailable += 1,
            }
        }
        let room = usize::try_from(most_unavailable - unavailable).unwrap_or_default();
        let delete = dispensable.into_iter().chain(candidates.into_iter().take(room)).collect();
        Work { delete, ..Work::default() }
    }

    fn surge_by(&self, most: i32, wanted: i32) -> Work {
        let (mut work, mut surging, mut available) = (Work::default(), 0, 0);
        let (mut candidates, mut unwanted) = (Vec::new(), Vec::new());
        for (name, place) in self.concerned() {
            let Some(Pair { new, old }) = self.pair(place) else {
                surging += 1;
                continue;
            };
            let is_available = old.or(new).is_some_and(|pod| self.is_available(pod));
            available += i32::from(is_available);
            match (old, new) {
                (None, _) => {}
                (Some(old), None) if is_available && !place.is_to_run() => unwanted.push(Arc::clone(old)),
                (Some(_), None) if is_available => candidates.push(name.clone()),
                (Some(old), None) if !place.is_to_run() => work.delete.push(Arc::clone(old)),
                (Some(_), None) => work.create.push(name.clone()),
                (Some(old), Some(new)) if self.is_available(new) => work.delete.push(Arc::clone(old)),
                (Some(_), Some(_)) => surging += 1,
            }
        }
        // Where nodes are no longer wanted, a pod goes there only after one is available elsewhere.
        let spare = usize::try_from(available - wanted).unwrap_or_default();
        work.delete.extend(unwanted.into_iter().take(spare));
        let room = usize::try_from(most - surging).unwrap_or_default();
        work.create.extend(candidates.into_iter().take(room));
        work
    }
}
