//! The hosts that can take pods of a class, and which of them is best: kept up host by host, as they change.
//!
//! A host's own worth (what it has left) orders it within its cell; the cell stands for all that is judged by comparison
//! with others (domains, preferred labels, taints, on how many nodes images lie). So a pod costs one look at each cell and one host to put anew.

use std::{collections::HashMap, sync::Arc};

use placement::{Cells, Domain, Host, spread};

use crate::{
    class::{Class, Column},
    cluster::{Cluster, HostState},
    filters::{self, Asker},
    rules::Counts,
    scores::{self, Weights},
    verdict,
};

/// What all hosts of a cell have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CellKey {
    /// For each column the domain, or the count where domains are too many; -1 for none.
    places: Box<[i64]>,
    /// For each column what pods that are promised room there would add; empty where they add nothing.
    promised: Box<[i64]>,
    /// Taints it would rather not bear.
    taints: i64,
    /// The weight of preferred labels.
    labels: i64,
    /// How large each of the pod's images is there; empty where none lies there.
    images: Box<[i64]>,
}

pub struct Ranking {
    class: Arc<Class>,
    cells: Cells<CellKey>,
    /// Up to where changes are taken in.
    position: u64,
    /// For each column whether cells hold counts rather than domains.
    fine: Vec<bool>,
    pub used: u64,
}

/// The hosts that are best, and how good they are.
#[derive(Debug, Default, PartialEq)]
pub struct Best {
    pub score: i64,
    pub hosts: Vec<Host>,
    /// How many hosts could take the pod.
    pub feasible: usize,
}

/// A cell that the rules allow.
struct Allowed<'a> {
    key: &'a CellKey,
    values: Vec<Option<i64>>,
    /// Its best hosts.
    worth: i64,
    hosts: Hosts<'a>,
    feasible: usize,
}

enum Hosts<'a> {
    All(&'a [Host]),
    Some(Vec<Host>),
}

impl Ranking {
    pub fn new(cluster: &Cluster, class: Arc<Class>) -> Self {
        let fine = class.rules.columns.iter().map(|tally| cluster.is_fine(cluster.tally_topology(*tally))).collect();
        let mut ranking = Self { class, cells: Cells::default(), position: cluster.log.end(), fine, used: 0 };
        ranking.put_all(cluster);
        ranking
    }

    fn put_all(&mut self, cluster: &Cluster) {
        for host in 0..cluster.hosts.len() as Host {
            self.put(cluster, host);
        }
        self.position = cluster.log.end();
    }

    /// Takes in what has changed.
    pub fn catch_up(&mut self, cluster: &Cluster) {
        if self.cells.len() > 4 * cluster.hosts.len() + 256 {
            self.cells = Cells::default();
            return self.put_all(cluster);
        }
        match cluster.log.since(self.position) {
            Some(changed) if changed.len() <= cluster.hosts.len() => {
                for (at, host) in changed.iter().enumerate() {
                    // The last word on a host is enough, where it is near.
                    if !changed[at + 1..].iter().take(8).any(|later| later == host) {
                        self.put(cluster, *host);
                    }
                }
                self.position = cluster.log.end();
            }
            _ => self.put_all(cluster),
        }
    }

    fn put(&mut self, cluster: &Cluster, host: Host) {
        let place = standing(cluster, &self.class, cluster.host_state(host)).map(|standing| {
            let places = self.class.rules.columns.iter().zip(&self.fine).map(|(tally, fine)| {
                if *fine {
                    cluster.count_at(*tally, host).unwrap_or(-1)
                } else {
                    cluster.topology_of(cluster.tally_topology(*tally)).domain(host).map_or(-1, i64::from)
                }
            });
            let promised = verdict::promised(cluster, &self.class, Asker::of(&self.class, None), host);
            let Standing { taints, labels, images, worth } = standing;
            (CellKey { places: places.collect(), promised, taints, labels, images }, worth)
        });
        self.cells.put(host, place);
    }

    /// The best hosts of those that `admits` lets through.
    pub fn best(&self, cluster: &Cluster, admits: Option<&dyn Fn(Host) -> bool>) -> Best {
        let rules = &self.class.rules;
        let mut allowed: Vec<Allowed<'_>> = Vec::new();
        for cell in self.cells.iter() {
            let values: Vec<Option<i64>> =
                (0..rules.columns.len()).map(|at| self.value(cluster, &cell.key, at)).collect();
            if !rules.allow(cluster, Counts { here: &values, promised: &cell.key.promised }) {
                continue;
            }
            let first = match admits {
                None => cell.by_worth().next().map(|(worth, hosts)| (worth, Hosts::All(hosts), cell.len())),
                Some(admits) => {
                    let mut best: Option<(i64, Vec<Host>)> = None;
                    let mut feasible = 0;
                    for (worth, hosts) in cell.by_worth() {
                        let hosts: Vec<Host> = hosts.iter().copied().filter(|host| admits(*host)).collect();
                        feasible += hosts.len();
                        if best.is_none() && !hosts.is_empty() {
                            best = Some((worth, hosts));
                        }
                    }
                    best.map(|(worth, hosts)| (worth, Hosts::Some(hosts), feasible))
                }
            };
            if let Some((worth, hosts, feasible)) = first {
                allowed.push(Allowed { key: &cell.key, values, worth, hosts, feasible });
            }
        }
        self.compare(cluster, &allowed)
    }

    fn value(&self, cluster: &Cluster, key: &CellKey, column: Column) -> Option<i64> {
        let place = key.places[column];
        if place < 0 {
            return None;
        }
        let tally = cluster.tally_of(self.class.rules.tally(column));
        Some(if self.fine[column] { place } else { tally.count(place as Domain) })
    }

    fn compare(&self, cluster: &Cluster, allowed: &[Allowed<'_>]) -> Best {
        let rules = &self.class.rules;
        let weights = self.soft_weights(cluster, allowed);
        let judged: Vec<scores::Compared> = allowed
            .iter()
            .map(|cell| scores::Compared {
                taints: cell.key.taints,
                labels: cell.key.labels,
                crowding: (!rules.ignores(&cell.values)).then(|| rules.crowding(&cell.values, &weights)),
                liking: rules.liking(&cell.values),
                images: scores::images(cluster, &self.class, &cell.key.images),
            })
            .collect();
        let asked = Weights { spread: !rules.soft.is_empty(), affinity: rules.likes_anyone(cluster) };
        let mut best = Best { feasible: allowed.iter().map(|cell| cell.feasible).sum(), ..Best::default() };
        for (cell, compared) in allowed.iter().zip(scores::compare(&judged, asked)) {
            let score = compared + cell.worth;
            if best.hosts.is_empty() || score > best.score {
                (best.score, best.hosts) = (score, Vec::new());
            }
            if score == best.score {
                best.hosts.extend_from_slice(match &cell.hosts {
                    Hosts::All(hosts) => hosts,
                    Hosts::Some(hosts) => hosts,
                });
            }
        }
        best
    }

    /// What a difference of one counts for each soft rule: by how many domains the feasible hosts are in.
    fn soft_weights(&self, cluster: &Cluster, allowed: &[Allowed<'_>]) -> Vec<f64> {
        let rules = &self.class.rules;
        let compared = || allowed.iter().filter(|cell| !rules.ignores(&cell.values));
        let domains = |column: Column, by_host: bool| {
            let hosts = compared().map(|cell| cell.feasible).sum::<usize>();
            if by_host {
                return hosts;
            }
            if self.fine[column] {
                return hosts.min(cluster.topology_of(cluster.tally_topology(rules.tally(column))).len());
            }
            let mut places: Vec<i64> = compared().map(|cell| cell.key.places[column]).collect();
            places.sort_unstable();
            places.dedup();
            places.len()
        };
        rules.soft.iter().map(|rule| spread::weight(domains(rule.column, rule.by_host))).collect()
    }
}

/// How a host that can take the pod stands, as far as it alone decides.
pub struct Standing {
    pub taints: i64,
    pub labels: i64,
    pub images: Box<[i64]>,
    pub worth: i64,
}

/// None where the host refuses the pod.
fn standing(cluster: &Cluster, class: &Class, host: &HostState) -> Option<Standing> {
    let mut refused = host.node.is_none();
    filters::ask(Asker::of(class, None), host, &cluster.resources, &mut |_| {
        refused = true;
        false
    });
    if refused { None } else { Some(scores::standing(class, host)) }
}

/// Rankings by class, as many as memory allows.
#[derive(Default)]
pub struct Rankings {
    by_class: HashMap<Arc<Class>, Ranking>,
    granularity: u64,
    uses: u64,
}

/// Places that all rankings together may hold: some 32 bytes each.
const PLACES: usize = 1 << 20;

impl Rankings {
    pub fn get(&mut self, cluster: &Cluster, class: &Arc<Class>) -> &mut Ranking {
        if self.granularity != cluster.granularity {
            self.by_class.clear();
            self.granularity = cluster.granularity;
        }
        if !self.by_class.contains_key(class) {
            let most = (PLACES / cluster.hosts.len().max(1)).max(4);
            if self.by_class.len() >= most {
                // A quarter goes at once: finding the eldest costs a walk.
                let mut uses: Vec<u64> = self.by_class.values().map(|ranking| ranking.used).collect();
                uses.sort_unstable();
                let since = uses[uses.len() / 4];
                self.by_class.retain(|_, ranking| ranking.used > since);
            }
        }
        self.uses += 1;
        let uses = self.uses;
        let ranking =
            self.by_class.entry(Arc::clone(class)).or_insert_with(|| Ranking::new(cluster, Arc::clone(class)));
        ranking.used = uses;
        ranking.catch_up(cluster);
        ranking
    }
}
