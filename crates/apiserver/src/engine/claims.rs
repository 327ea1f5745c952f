//! The addresses and node ports that are not free: what stored Services have, and what was given to writes of
//! Services that are still under way. Admission may take its time over such a write; nobody waits for it, and what
//! it was given is given to nobody else meanwhile. Which one a Service gets is not decided here (`allocation`).

use std::{collections::HashSet, net::Ipv4Addr, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;

use super::{Engine, Target, node_ports};
use crate::cluster::Cluster;

/// What one or more Services have.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub addresses: HashSet<Ipv4Addr>,
    pub ports: HashSet<u16>,
}

impl Taken {
    fn add(&mut self, service: &Value) {
        let spec = &service["spec"];
        self.addresses.extend(items(&spec["clusterIPs"]).filter_map(|ip| ip.as_str()?.parse::<Ipv4Addr>().ok()));
        self.ports.extend(node_ports::of(spec).chain(node_ports::number(&spec["healthCheckNodePort"])));
    }
}

/// What was given to writes that are under way.
#[derive(Debug, Default)]
pub(super) struct Claims(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    last: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    /// The key of the Service. Of all writes of one Service under way only one is stored: they may claim the same.
    owner: String,
    taken: Taken,
}

/// Keeps what a write was given, until the last hold on it is gone.
#[derive(Debug)]
pub(super) struct Claim {
    book: Arc<Mutex<Book>>,
    number: u64,
}

impl Claims {
    /// To be kept from looking at what is taken until what was chosen is claimed, and never while waiting.
    pub fn open(&self) -> OpenClaims<'_> {
        OpenClaims { claims: self, book: self.0.lock() }
    }
}

pub(super) struct OpenClaims<'a> {
    claims: &'a Claims,
    book: MutexGuard<'a, Book>,
}

impl OpenClaims<'_> {
    /// What Services other than the target have, or will have.
    pub fn taken_by_others(&self, engine: &Engine, target: &Target) -> Taken {
        let (mut taken, owner) = (Taken::default(), target.key());
        for service in Cluster::list(engine, "services", None) {
            let metadata = &service["metadata"];
            if metadata["namespace"] != *target.namespace || metadata["name"] != *target.name {
                taken.add(&service);
            }
        }
        for entry in self.book.entries.iter().filter(|entry| entry.owner != owner) {
            taken.addresses.extend(&entry.taken.addresses);
            taken.ports.extend(&entry.taken.ports);
        }
        taken
    }

    pub fn claim(mut self, owner: String, service: &Value) -> Arc<Claim> {
        let mut taken = Taken::default();
        taken.add(service);
        self.book.last += 1;
        let number = self.book.last;
        self.book.entries.push(Entry { number, owner, taken });
        Arc::new(Claim { book: Arc::clone(&self.claims.0), number })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.book.lock().entries.retain(|entry| entry.number != self.number);
    }
}

pub(super) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests;
