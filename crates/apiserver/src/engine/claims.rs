//! The addresses and node ports that are not free: what stored Services have, and what was given to writes of
//! Services that are still under way. Admission may take its time over such a write; nobody waits for it, and what
//! it was given is given to nobody else meanwhile. Which one a Service gets is not decided here (`allocation`).

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use store::{Entry, EventKind, Watch, WatchError};

use super::{Engine, node_ports};

/// Where Services are stored.
const SERVICES: &str = "services/";

/// What only one Service may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Thing {
    Address(Ipv4Addr),
    Port(u16),
}

fn things(service: &Value) -> Vec<Thing> {
    let spec = &service["spec"];
    let addresses = items(&spec["clusterIPs"]).filter_map(|ip| ip.as_str()?.parse().ok());
    let ports = node_ports::of(spec).chain(node_ports::number(&spec["healthCheckNodePort"]));
    addresses.map(Thing::Address).chain(ports.map(Thing::Port)).collect()
}

/// Who has what, or will have it once a write under way is stored.
#[derive(Debug, Default)]
pub(super) struct Claims(Arc<Mutex<Book>>);

/// Follows the stored Services, so that asking for one thing costs the same however many there are.
#[derive(Debug, Default)]
struct Book {
    /// Sees the changes after those that are in here; `None` before the first look.
    cursor: Option<Watch>,
    /// By the key of the Service.
    stored: HashMap<Arc<str>, Vec<Thing>>,
    /// Of writes under way, by number; with the key of the Service. Of all writes of one Service under way only one
    /// is stored: they may claim the same.
    claimed: HashMap<u64, (Arc<str>, Vec<Thing>)>,
    last: u64,
    /// The owners of each thing, from both of the above: as often as they have it.
    owners: HashMap<Thing, Vec<Arc<str>>>,
}

impl Book {
    fn follow(&mut self, engine: &Engine) {
        let mut batch = Vec::new();
        loop {
            let Some(cursor) = &mut self.cursor else {
                match self.recount(engine) {
                    Some(()) => continue,
                    None => return,
                }
            };
            match cursor.try_next(&mut batch) {
                Ok(_) if batch.is_empty() => return,
                Ok(_) => {}
                Err(WatchError::Lagged { .. }) => self.cursor = None,
                // The server is shutting down: no write is stored any more.
                Err(WatchError::Closed) => return,
            }
            for event in batch.drain(..) {
                match event.kind {
                    EventKind::Put => self.store(engine, &event.entry),
                    EventKind::Delete => self.forget(&event.entry.key),
                }
            }
        }
    }

    /// Counts anew what is stored; `None` where the store cannot be followed.
    fn recount(&mut self, engine: &Engine) -> Option<()> {
        let stored: Vec<Arc<str>> = self.stored.keys().cloned().collect();
        stored.iter().for_each(|key| self.forget(key));
        let snapshot = engine.store.snapshot();
        snapshot.range(SERVICES, None).for_each(|entry| self.store(engine, entry));
        self.cursor = engine.store.watch(SERVICES, snapshot.revision()).ok();
        self.cursor.as_ref().map(|_| ())
    }

    fn store(&mut self, engine: &Engine, entry: &Arc<Entry>) {
        self.forget(&entry.key);
        let things = engine.decoded.get(entry).map(|service| things(&service)).unwrap_or_default();
        self.own(&entry.key, &things);
        self.stored.insert(Arc::clone(&entry.key), things);
    }

    fn forget(&mut self, key: &str) {
        if let Some((key, things)) = self.stored.remove_entry(key) {
            self.disown(&key, &things);
        }
    }

    fn own(&mut self, owner: &Arc<str>, things: &[Thing]) {
        things.iter().for_each(|thing| self.owners.entry(*thing).or_default().push(Arc::clone(owner)));
    }

    fn disown(&mut self, owner: &str, things: &[Thing]) {
        for thing in things {
            let Some(owners) = self.owners.get_mut(thing) else { continue };
            if let Some(at) = owners.iter().position(|other| **other == *owner) {
                owners.swap_remove(at);
            }
            if owners.is_empty() {
                self.owners.remove(thing);
            }
        }
    }
}

/// What Services other than one have or will have, and what that one is given meanwhile.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    book: &'a Book,
    owner: &'a str,
    ports: HashSet<u16>,
}

impl Taken<'_> {
    fn has(&self, thing: Thing) -> bool {
        self.book.owners.get(&thing).is_some_and(|owners| owners.iter().any(|owner| **owner != *self.owner))
    }

    pub fn has_address(&self, address: Ipv4Addr) -> bool {
        self.has(Thing::Address(address))
    }

    /// Takes a port for the Service; not where it is taken.
    pub fn take_port(&mut self, port: u16) -> bool {
        !self.has(Thing::Port(port)) && self.ports.insert(port)
    }
}

/// Keeps what a write was given, until the last hold on it is gone.
#[derive(Debug)]
pub(super) struct Claim {
    book: Arc<Mutex<Book>>,
    number: u64,
}

impl Claims {
    /// To be kept from looking at what is taken until what was chosen is claimed, and never while waiting.
    pub fn open(&self, engine: &Engine) -> OpenClaims<'_> {
        let mut book = self.0.lock();
        // With the lock held: a claim that is gone by now was stored before, or never will be.
        book.follow(engine);
        OpenClaims { claims: self, book }
    }
}

pub(super) struct OpenClaims<'a> {
    claims: &'a Claims,
    book: MutexGuard<'a, Book>,
}

impl OpenClaims<'_> {
    /// What Services other than the one with this key have, or will have.
    pub fn taken_by_others<'b>(&'b self, owner: &'b str) -> Taken<'b> {
        Taken { book: &self.book, owner, ports: HashSet::new() }
    }

    pub fn claim(mut self, owner: String, service: &Value) -> Arc<Claim> {
        let (owner, things) = (Arc::from(owner), things(service));
        self.book.own(&owner, &things);
        self.book.last += 1;
        let number = self.book.last;
        self.book.claimed.insert(number, (owner, things));
        Arc::new(Claim { book: Arc::clone(&self.claims.0), number })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut book = self.book.lock();
        if let Some((owner, things)) = book.claimed.remove(&self.number) {
            book.disown(&owner, &things);
        }
    }
}

pub(super) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests;
