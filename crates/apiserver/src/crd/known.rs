//! What the server has to know of each definition without reading it again: a definition can be large, and
//! the cost of a change must not grow with the number of those that have not changed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use api::resource::Origin;
use parking_lot::Mutex;
use serde_json::Value;
use store::{Entry, Snapshot};

use super::status;
use crate::engine::object::Stored;

/// The topic of definitions.
pub const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// One definition at one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    pub modified: u64,
    pub group: Box<str>,
    pub plural: Box<str>,
    pub origin: Origin,
    pub names_accepted: bool,
    pub established: bool,
    /// Deletion has begun.
    pub deleting: bool,
    /// The finalizer that waits for the instances.
    pub has_finalizer: bool,
}

impl Known {
    pub fn read(definition: &Value, modified: u64) -> Self {
        let text = |value: &Value| Box::<str>::from(value.as_str().unwrap_or_default());
        Self {
            modified,
            group: text(&definition["spec"]["group"]),
            plural: text(&definition["spec"]["names"]["plural"]),
            origin: Self::origin(definition),
            names_accepted: status::is_true(definition, "NamesAccepted"),
            established: status::is_true(definition, "Established"),
            deleting: !definition["metadata"]["deletionTimestamp"].is_null(),
            has_finalizer: status::has_finalizer(definition),
        }
    }

    pub fn origin(definition: &Value) -> Origin {
        let metadata = &definition["metadata"];
        Origin {
            uid: metadata["uid"].as_str().unwrap_or_default().into(),
            generation: metadata["generation"].as_i64().unwrap_or(0),
            names: definition["status"]["acceptedNames"].clone(),
        }
    }

    /// Where its instances are kept.
    pub fn topic(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    /// Whether its instances can be read. One that is only kept by others after its instances are gone serves none.
    pub fn is_served(&self) -> bool {
        self.established && (!self.deleting || self.has_finalizer)
    }
}

/// All definitions, each read once for each of its revisions.
#[derive(Debug, Default)]
pub struct Definitions(Mutex<HashMap<Arc<str>, Arc<Known>>>);

impl Definitions {
    /// `None` where the stored definition cannot be decoded.
    pub fn know(&self, entry: &Entry) -> Option<Arc<Known>> {
        if let Some(known) = self.0.lock().get(&entry.key).filter(|known| known.modified == entry.modified) {
            return Some(Arc::clone(known));
        }
        let definition = Stored::of(entry)?.decode().ok()?;
        let known = Arc::new(Known::read(&definition, entry.modified));
        self.0.lock().insert(Arc::clone(&entry.key), Arc::clone(&known));
        Some(known)
    }

    /// All in a snapshot, by key; those that are gone are forgotten.
    pub fn all(&self, snapshot: &Snapshot) -> BTreeMap<Arc<str>, Arc<Known>> {
        let entries = snapshot.range(&format!("{DEFINITIONS}/"), None);
        let all: BTreeMap<_, _> =
            entries.filter_map(|entry| Some((Arc::clone(&entry.key), self.know(entry)?))).collect();
        self.0.lock().retain(|key, _| all.contains_key(key));
        all
    }
}
