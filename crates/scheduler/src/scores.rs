//! What makes one node better than another: the scores of the default profile and their weights.

use client::objects::Node;
use placement::spread;

use crate::{
    class::Class,
    cluster::{CPU, Cluster, HostState, MEMORY},
    filters::selects,
    ranking::Standing,
};

const TAINTS: i64 = 3;
const LABELS: i64 = 2;
const SPREAD: i64 = 2;
const AFFINITY: i64 = 2;

const MIB: i64 = 1 << 20;
/// An image below this counts as this.
const SMALLEST_IMAGE: i64 = 23 * MIB;
/// A container's image above this counts as this.
const LARGEST_IMAGE: i64 = 1000 * MIB;

/// What hosts are compared by.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    pub taints: i64,
    pub labels: i64,
    /// None where the rules on spreading leave the host out.
    pub crowding: Option<i64>,
    pub liking: i64,
    /// What its images are worth, from 0 to 100.
    pub images: i64,
}

/// Which of the comparisons there are.
#[derive(Debug, Clone, Copy)]
pub struct Weights {
    pub spread: bool,
    pub affinity: bool,
}

/// What each is worth beside the others, from 0 to 1000.
pub fn compare(all: &[Compared], asked: Weights) -> Vec<i64> {
    let most = |of: fn(&Compared) -> i64| all.iter().map(of).max().unwrap_or(0);
    let least = |of: fn(&Compared) -> i64| all.iter().map(of).min().unwrap_or(0);
    let (taints, labels) = (most(|one| one.taints), most(|one| one.labels));
    let (disliked, liked) = (least(|one| one.liking), most(|one| one.liking));
    let crowded = all.iter().filter_map(|one| one.crowding).max().unwrap_or(0);
    let empty = all.iter().filter_map(|one| one.crowding).min().unwrap_or(0);
    let score = |one: &Compared| {
        let taints = if taints == 0 { 100 } else { 100 - 100 * one.taints / taints };
        let labels = if labels == 0 { 0 } else { 100 * one.labels / labels };
        let spread = match one.crowding {
            Some(crowding) if asked.spread => spread::preference(crowding, empty, crowded),
            _ => 0,
        };
        let affinity = if !asked.affinity || liked == disliked {
            0
        } else {
            (100.0 * ((one.liking - disliked) as f64 / (liked - disliked) as f64)) as i64
        };
        TAINTS * taints + LABELS * labels + SPREAD * spread + AFFINITY * affinity + one.images
    };
    all.iter().map(score).collect()
}

/// How a host that takes the pod stands, as far as it alone decides.
pub fn standing(class: &Class, host: &HostState) -> Standing {
    let shape = &class.shape;
    let Some(node) = &host.node else {
        return Standing { taints: 0, labels: 0, images: Box::default(), worth: 0 };
    };
    let tolerated = |taint| shape.tolerations.iter().any(|toleration| toleration.tolerates(taint));
    let taints = node.spec.taints.iter().filter(|taint| !crate::filters::is_hard(taint.effect) && !tolerated(taint));
    let labels = shape.preferred_node_affinity.iter().filter(|(_, term)| term.matches(node));
    debug_assert!(selects(&shape.node_selector, shape.required_node_affinity.as_ref(), node));
    Standing {
        taints: taints.count() as i64,
        labels: labels.map(|(weight, _)| i64::from(*weight)).sum(),
        images: image_sizes(class, node),
        worth: least_allocated(class, host) + balanced(class, host),
    }
}

/// The emptier the better.
fn least_allocated(class: &Class, host: &HostState) -> i64 {
    let presumed = class.shape.requests.presumed;
    let share = |dimension, at: usize| {
        let total = host.capacity.total.get(dimension);
        let used = host.presumed[at] + presumed[at];
        (total > 0).then(|| if used > total { 0 } else { (total - used) * 100 / total })
    };
    let shares: Vec<i64> = [share(CPU, 0), share(MEMORY, 1)].into_iter().flatten().collect();
    if shares.is_empty() { 0 } else { shares.iter().sum::<i64>() / shares.len() as i64 }
}

/// The more evenly the resources are used with the pod, compared with before, the better.
fn balanced(class: &Class, host: &HostState) -> i64 {
    let demand = [class.demand.get(CPU), class.demand.get(MEMORY)];
    if demand == [0, 0] {
        return 0;
    }
    let evenness = |more: [i64; 2]| {
        let share = |dimension, at: usize| {
            let total = host.capacity.total.get(dimension);
            let used = host.capacity.used.get(dimension) + more[at];
            (total > 0).then(|| (used as f64 / total as f64).min(1.0))
        };
        let deviation = match (share(CPU, 0), share(MEMORY, 1)) {
            (Some(cpu), Some(memory)) => ((cpu - memory) / 2.0).abs(),
            _ => 0.0,
        };
        ((1.0 - deviation) * 100.0) as i64
    };
    50 + (50 + evenness(demand) - evenness([0, 0])) / 2
}

/// How large each of the pod's images is on the node; empty where none lies there.
fn image_sizes(class: &Class, node: &Node) -> Box<[i64]> {
    let size = |wanted: &str| {
        let mut images = node.status.images.iter();
        images.find(|image| image.names.iter().any(|name| **name == *wanted)).map_or(0, |image| image.size_bytes)
    };
    if node.status.images.is_empty() {
        return Box::default();
    }
    let sizes: Box<[i64]> = class.shape.images.iter().map(|image| size(image)).collect();
    if sizes.iter().all(|size| *size == 0) { Box::default() } else { sizes }
}

/// The more of the images lie there, the better; one that lies on few nodes counts less, not to crowd those.
pub fn images(cluster: &Cluster, class: &Class, sizes: &[i64]) -> i64 {
    if sizes.is_empty() || class.shape.containers == 0 {
        return 0;
    }
    let spread = |image: &str| f64::from(cluster.spread_of_image(image)) / cluster.nodes.max(1) as f64;
    let counted = class.shape.images.iter().zip(sizes).map(|(image, size)| (*size as f64 * spread(image)) as i64);
    let most = LARGEST_IMAGE * i64::from(class.shape.containers);
    let sum = counted.sum::<i64>().clamp(SMALLEST_IMAGE, most);
    100 * (sum - SMALLEST_IMAGE) / (most - SMALLEST_IMAGE)
}
