//! Whom news may help: a pod wakes only for what could change the answer it got.

use std::collections::{BTreeMap, BTreeSet};

use client::{
    Key,
    objects::{PersistentVolume, Pod},
};
use jiff::Timestamp;
use placement::Host;

use super::Core;
use crate::{class::Class, refusal::Plugin, verdict, volumes::has_volumes};

pub enum News<'a> {
    /// A node has come, has changed, or has more left.
    Host(Host),
    /// A pod has come to where it runs.
    Arrived(&'a Pod),
    /// A pod runs no more, or is no more what it was.
    Left(&'a Pod),
    /// A claim is not what it was.
    Claim(&'a Key),
    Volume(&'a PersistentVolume),
    /// A storage class is not what it was.
    Class(&'a str),
    /// A node can attach more volumes.
    Limits,
    /// There may be more room for new volumes.
    Room,
}

const VOLUMES: [Plugin; 4] =
    [Plugin::VolumeRestrictions, Plugin::NodeVolumeLimits, Plugin::VolumeBinding, Plugin::VolumeZone];

impl Core {
    pub(super) fn wake(&mut self, news: &News<'_>, now: Timestamp) {
        if self.resting.is_empty() {
            return;
        }
        let mut woken: Vec<Key> = Vec::new();
        for (class, pods) in &self.resting {
            // Who was told that there is no node at all is to be told what a node says.
            if matches!(news, News::Host(_)) {
                woken.extend(pods.iter().filter(|(_, refusers)| refusers.is_empty()).map(|(key, _)| key.clone()));
            }
            match news {
                News::Host(host) if self.cluster.host_state(*host).nominated.is_empty() => {
                    if self.may_take(class, None, *host) {
                        woken.extend(self.ready(pods).cloned());
                    }
                }
                News::Host(host) => {
                    woken.extend(self.ready(pods).filter(|key| self.may_take(class, Some(key), *host)).cloned());
                }
                News::Arrived(pod) | News::Left(pod) => {
                    if self.concerns(class, pod) {
                        let by_others = [Plugin::PodTopologySpread, Plugin::InterPodAffinity];
                        woken.extend(refused_by(pods, &by_others));
                    }
                    if matches!(news, News::Left(_)) && has_volumes(pod) {
                        woken.extend(refused_by(pods, &VOLUMES));
                    }
                }
                News::Limits => woken.extend(refused_by(pods, &[Plugin::NodeVolumeLimits])),
                News::Room => woken.extend(refused_by(pods, &[Plugin::VolumeBinding])),
                News::Claim(claim) => {
                    let uses = |pod: &Pod| pod.claims().any(|used| used == **claim);
                    woken.extend(refused_by(pods, &VOLUMES).filter(|key| self.is_pod(key, uses)));
                }
                News::Volume(volume) => {
                    let may_use = |pod: &Pod| self.volumes.may_use(pod, volume);
                    woken.extend(refused_by(pods, &VOLUMES).filter(|key| self.is_pod(key, may_use)));
                }
                News::Class(class) => {
                    let uses = |pod: &Pod| self.volumes.uses_class(pod, class);
                    woken.extend(refused_by(pods, &VOLUMES).filter(|key| self.is_pod(key, uses)));
                }
            }
        }
        for key in woken {
            self.queue.wake(&key, now);
        }
    }

    /// What pods rest as is no longer what it was: all are tried again.
    pub(super) fn wake_all(&mut self, now: Timestamp) {
        self.failures.clear();
        let resting = std::mem::take(&mut self.resting);
        for key in resting.into_values().flat_map(BTreeMap::into_keys) {
            if let Some(known) = self.pods.get_mut(&key) {
                known.resting = None;
            }
            self.queue.wake(&key, now);
        }
    }

    /// Whether the host would take pods of that class, volumes apart.
    fn may_take(&self, class: &Class, key: Option<&Key>, host: Host) -> bool {
        verdict::admits_without_volumes(&self.cluster, class, key, host)
    }

    /// Those whom a node may help: not those whose claims are not ready for any.
    fn ready<'a>(&'a self, pods: &'a BTreeMap<Key, BTreeSet<Plugin>>) -> impl Iterator<Item = &'a Key> {
        let is_ready = |key: &Key| self.is_pod(key, |pod| self.volumes.needs(pod).is_ok());
        let by_volumes = |refusers: &BTreeSet<Plugin>| VOLUMES.iter().any(|plugin| refusers.contains(plugin));
        pods.iter().filter(move |(key, refusers)| !by_volumes(refusers) || is_ready(key)).map(|(key, _)| key)
    }

    /// Whether the class looks at counts that the pod is in.
    fn concerns(&self, class: &Class, pod: &Pod) -> bool {
        let rules = &class.rules;
        if rules.hard.is_empty() && rules.near.is_empty() && rules.apart.is_empty() {
            // What it was kept away by, it does not look at itself.
            return !rules.kept_away.is_empty();
        }
        let labels = (&*pod.metadata.namespace, &pod.metadata.labels);
        rules.columns.iter().any(|tally| self.cluster.is_counted(*tally, labels))
    }

    fn is_pod(&self, key: &Key, which: impl Fn(&Pod) -> bool) -> bool {
        self.pods.get(key).is_some_and(|known| which(&known.pod))
    }
}

fn refused_by<'a>(pods: &'a BTreeMap<Key, BTreeSet<Plugin>>, plugins: &'a [Plugin]) -> impl Iterator<Item = Key> + 'a {
    pods.iter()
        .filter(move |(_, refusers)| plugins.iter().any(|plugin| refusers.contains(plugin)))
        .map(|(key, _)| key.clone())
}
