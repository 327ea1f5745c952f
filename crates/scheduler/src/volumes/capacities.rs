//! Where there is room to make a volume (KEP-1472): drivers that say so tell for each storage class how much is left on
//! which nodes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use api::selector::{LabelSelector, Operator};
use client::{
    Change, Key,
    objects::{CSIDriver, CSIStorageCapacity, Node, PersistentVolumeClaim},
};
use document::quantity::Quantity;

#[derive(Default)]
pub struct Capacities {
    /// Drivers whose volumes are made only where there is room.
    drivers: HashSet<Box<str>>,
    /// By storage class.
    by_class: HashMap<Box<str>, BTreeMap<Key, Arc<CSIStorageCapacity>>>,
}

/// The nodes from which enough is reached, for one claim.
#[derive(Debug, Clone, Default)]
pub struct Room {
    /// By label, the values of nodes: what most drivers say is one node or one zone.
    values: BTreeMap<Box<str>, HashSet<Box<str>>>,
    others: Vec<LabelSelector>,
}

impl Capacities {
    pub fn set_driver(&mut self, name: &str, driver: Option<&CSIDriver>) {
        if driver.is_some_and(|driver| driver.spec.storage_capacity == Some(true)) {
            self.drivers.insert(name.into());
        } else {
            self.drivers.remove(name);
        }
    }

    pub fn set(&mut self, change: &Change<CSIStorageCapacity>) {
        if let Some(old) = &change.old
            && let Some(capacities) = self.by_class.get_mut(&old.storage_class_name)
        {
            capacities.remove(&change.key);
            if capacities.is_empty() {
                self.by_class.remove(&old.storage_class_name);
            }
        }
        if let Some(new) = &change.new {
            let capacities = self.by_class.entry(new.storage_class_name.clone()).or_default();
            capacities.insert(change.key.clone(), Arc::clone(new));
        }
    }

    /// Where a volume for the claim can be made; none where the driver does not ask.
    pub fn room(&self, driver: &str, claim: &PersistentVolumeClaim) -> Option<Room> {
        let wanted = claim.requested();
        if wanted == Quantity::ZERO || !self.drivers.contains(driver) {
            return None;
        }
        let mut room = Room::default();
        let capacities = self.by_class.get(claim.class()).into_iter().flat_map(BTreeMap::values);
        for capacity in capacities.filter(|capacity| capacity.limit().is_some_and(|limit| limit >= wanted)) {
            if let Some(nodes) = &capacity.node_topology {
                room.add(nodes);
            }
        }
        Some(room)
    }
}

impl Room {
    fn add(&mut self, nodes: &LabelSelector) {
        match nodes.requirements() {
            [one] if matches!(one.operator, Operator::In | Operator::Equals) => {
                self.values.entry(one.key.clone()).or_default().extend(one.values.iter().cloned());
            }
            _ => self.others.push(nodes.clone()),
        }
    }

    pub fn is_reached_from(&self, node: &Node) -> bool {
        let labels = &node.metadata.labels;
        self.values.iter().any(|(key, values)| labels.get(key).is_some_and(|value| values.contains(value)))
            || self.others.iter().any(|nodes| labels.are_matched_by(nodes))
    }
}
