//! The objects of one kind as this process knows them, with its own writes in them at once.
//!
//! A watch tells of a write a moment after the writer has its answer. A controller that looked only at the watch would
//! look at a past in which its own write is missing, and write again. Here a writer hands in the answer it got
//! ([`Cache::observe`], [`Cache::forget`]); of two states of an object the later revision wins, so what the watch tells
//! afterwards changes nothing. This takes the place of the expectations that other controllers count.
//!
//! Not here: where objects come from ([`crate::reflector`]).

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::{Key, objects::Object, reading::ObjectId};

/// The index by the UIDs of an object's owners.
pub const OWNER: &str = "owner";
/// The index, by namespace, of the objects that nobody manages.
pub const UNMANAGED: &str = "unmanaged";

/// What became of one object since a subscriber last looked. One of the two is there.
#[derive(Debug)]
pub struct Change<T> {
    pub key: Key,
    pub old: Option<Arc<T>>,
    pub new: Option<Arc<T>>,
}

impl<T> Change<T> {
    /// Both states that there are, the old one first.
    pub fn states(&self) -> impl Iterator<Item = &Arc<T>> {
        self.old.iter().chain(&self.new)
    }
}

type Objects<T> = BTreeMap<Key, Arc<T>>;

pub struct Cache<T> {
    state: RwLock<State<T>>,
    /// Whether the whole kind has been read once.
    synced: AtomicBool,
    /// Told once it has.
    sync: Notify,
}

struct State<T> {
    objects: Objects<T>,
    indexes: HashMap<&'static str, BTreeMap<Box<str>, Objects<T>>>,
    /// UIDs whose end this process knows before the watch does, and the revision below which a list may still show them.
    forgotten: HashMap<Box<str>, u64>,
    subscribers: Vec<Weak<Pending<T>>>,
    /// How far the watch has come.
    revision: u64,
}

/// What one subscriber has not looked at: by key the state it knows. Bounded by the number of objects.
struct Pending<T> {
    known: Mutex<BTreeMap<Key, Option<Arc<T>>>>,
    news: Arc<Notify>,
}

/// A reader of changes. States between two looks are left out: who decides on the present needs no history.
pub struct Subscription<T> {
    cache: Arc<Cache<T>>,
    pending: Arc<Pending<T>>,
}

impl<T: Object> Default for Cache<T> {
    fn default() -> Self {
        let state = State {
            objects: BTreeMap::new(),
            indexes: HashMap::new(),
            forgotten: HashMap::new(),
            subscribers: Vec::new(),
            revision: 0,
        };
        Self { state: RwLock::new(state), synced: AtomicBool::new(false), sync: Notify::new() }
    }
}

impl<T: Object> Cache<T> {
    pub fn get(&self, key: &Key) -> Option<Arc<T>> {
        self.state.read().objects.get(key).cloned()
    }

    /// The object of that name in that namespace (empty for objects of the cluster).
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.get(&Key::new(namespace, name))
    }

    /// All objects, by namespace and name.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.state.read().objects.values().cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.state.read().objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<T>> {
        // '0' follows '/': between the two lie this namespace's names and no others.
        let range = (format!("{namespace}/"), format!("{namespace}0"));
        let bounds = (Bound::Included(&*range.0), Bound::Excluded(&*range.1));
        self.state.read().objects.range::<str, _>(bounds).map(|(_, object)| Arc::clone(object)).collect()
    }

    /// The objects that stand under `value` in `index`, by namespace and name.
    pub fn by(&self, index: &str, value: &str) -> Vec<Arc<T>> {
        let state = self.state.read();
        let found = state.indexes.get(index).and_then(|values| values.get(value));
        found.map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    /// The objects that stand under that one of these values in `index` under which there are fewest.
    pub fn by_fewest(&self, index: &str, values: &[String]) -> Vec<Arc<T>> {
        let state = self.state.read();
        let Some(entries) = state.indexes.get(index) else { return Vec::new() };
        let found = values.iter().map(|value| entries.get(&**value));
        let fewest = found.min_by_key(|objects| objects.map_or(0, BTreeMap::len)).flatten();
        fewest.map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    /// The objects that name this UID among their owners.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<T>> {
        self.by(OWNER, uid)
    }

    /// The objects in that namespace that nobody manages.
    pub fn unmanaged(&self, namespace: &str) -> Vec<Arc<T>> {
        self.by(UNMANAGED, namespace)
    }

    /// The revision up to which the watch has told everything.
    pub fn revision(&self) -> u64 {
        self.state.read().revision
    }

    /// Takes in the answer to a write of this process, or a watch's news: kept if it is later than what is known.
    pub fn observe(&self, object: T) {
        let mut state = self.state.write();
        // What the watch has passed and is not here has ended: an answer may come later than the news of that.
        let revision = object.meta().resource_version;
        if revision == 0 || revision > state.revision || state.objects.contains_key(&object.key()) {
            state.observe(Arc::new(object));
        }
    }

    /// Takes in that the object with this UID is gone by this process's own doing. Does nothing if another object
    /// has taken its name.
    pub fn forget(&self, key: &Key, uid: &str) {
        let mut state = self.state.write();
        let revision = state.revision;
        if state.remove_if(key, uid) {
            state.forgotten.insert(uid.into(), revision);
        }
    }

    /// A reader of what changes from now on; its first look shows every object as new.
    /// `news` is told at each change; several subscriptions may share one.
    pub fn subscribe(self: &Arc<Self>, news: Arc<Notify>) -> Subscription<T> {
        let mut state = self.state.write();
        let known = state.objects.keys().map(|key| (key.clone(), None)).collect();
        let pending = Arc::new(Pending { known: Mutex::new(known), news });
        pending.news.notify_one();
        state.subscribers.retain(|subscriber| subscriber.strong_count() > 0);
        state.subscribers.push(Arc::downgrade(&pending));
        Subscription { cache: Arc::clone(self), pending }
    }

    /// Returns once the whole kind has been read.
    pub async fn synced(&self) {
        let told = self.sync.notified();
        if !self.is_synced() {
            told.await;
        }
    }

    pub fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// The whole kind as of a revision: what is not in it is gone, unless this process wrote it later.
    pub(crate) fn replace(&self, objects: Vec<T>, unread: &[ObjectId], revision: u64) {
        let mut state = self.state.write();
        let unread: BTreeSet<&str> = unread.iter().map(|identity| &*identity.uid).collect();
        let objects: Objects<T> = objects.into_iter().map(|object| (object.key(), Arc::new(object))).collect();
        let gone: Vec<(Key, Box<str>)> = state
            .objects
            .iter()
            .filter(|(key, known)| {
                known.meta().resource_version <= revision
                    && !unread.contains(&*known.meta().uid)
                    && objects.get(*key).is_none_or(|object| object.meta().uid != known.meta().uid)
            })
            .map(|(key, known)| (key.clone(), known.meta().uid.clone()))
            .collect();
        for (key, uid) in gone {
            state.remove_if(&key, &uid);
        }
        for object in objects.into_values() {
            state.observe(object);
        }
        state.forgotten.retain(|_, since| *since >= revision);
        state.revision = state.revision.max(revision);
        drop(state);
        self.synced.store(true, Ordering::Release);
        self.sync.notify_waiters();
    }

    /// The watch's word that an object is gone; `object` carries the revision of its end.
    pub(crate) fn ended(&self, object: &ObjectId) {
        let mut state = self.state.write();
        state.remove_if(&object.key, &object.uid);
        state.forgotten.remove(&object.uid);
        state.revision = state.revision.max(object.revision);
    }

    pub(crate) fn advance(&self, revision: u64) {
        let mut state = self.state.write();
        state.revision = state.revision.max(revision);
    }
}

impl<T: Object> State<T> {
    fn observe(&mut self, object: Arc<T>) {
        let mut key = object.key();
        let meta = object.meta();
        if self.forgotten.contains_key(&meta.uid) {
            return;
        }
        if let Some((known_key, known)) = self.objects.get_key_value(&key) {
            let known = known.meta();
            // Without a number there is nothing to compare, and the last word counts.
            if meta.resource_version != 0 && known.resource_version >= meta.resource_version {
                return;
            }
            // One key in memory for the object, its indexes and whoever is told.
            key = known_key.clone();
        }
        each_index(&*object, |index, value| {
            let values = self.indexes.entry(index).or_default();
            values.entry(value.into()).or_default().insert(key.clone(), Arc::clone(&object));
        });
        let old = self.objects.insert(key.clone(), Arc::clone(&object));
        if let Some(old) = &old {
            self.leave_indexes(&key, old, Some(&object));
        }
        self.tell(&key, old);
    }

    fn remove_if(&mut self, key: &Key, uid: &str) -> bool {
        if self.objects.get(key).is_none_or(|known| *known.meta().uid != *uid) {
            return false;
        }
        let Some(old) = self.objects.remove(key) else { return false };
        self.leave_indexes(key, &old, None);
        self.tell(key, Some(old));
        true
    }

    /// Takes `old` from the entries of the indexes that are not `new`'s too.
    fn leave_indexes(&mut self, key: &Key, old: &T, new: Option<&T>) {
        each_index(old, |index, value| {
            let mut stays = false;
            if let Some(new) = new {
                each_index(new, |i, v| stays |= i == index && v == value);
            }
            if stays {
                return;
            }
            let Some(values) = self.indexes.get_mut(index) else { return };
            let Some(objects) = values.get_mut(value) else { return };
            objects.remove(key);
            if objects.is_empty() {
                values.remove(value);
            }
        });
    }

    fn tell(&mut self, key: &Key, old: Option<Arc<T>>) {
        for subscriber in self.subscribers.iter().filter_map(Weak::upgrade) {
            subscriber.known.lock().entry(key.clone()).or_insert_with(|| old.clone());
            subscriber.news.notify_one();
        }
    }
}

fn each_index<T: Object>(object: &T, mut add: impl FnMut(&'static str, &str)) {
    let meta = object.meta();
    for owner in &meta.owner_references {
        add(OWNER, &owner.uid);
    }
    if meta.controller().is_none() {
        add(UNMANAGED, &meta.namespace);
    }
    object.index(&mut add);
}

impl<T: Object> Subscription<T> {
    /// What has changed since the last look, by namespace and name.
    pub fn changes(&self) -> Vec<Change<T>> {
        // Locked together, in the order in which a writer does: what is taken is neither lost nor seen twice.
        let state = self.cache.state.read();
        let known = std::mem::take(&mut *self.pending.known.lock());
        known
            .into_iter()
            .map(|(key, old)| Change { new: state.objects.get(&key).cloned(), key, old })
            .filter(|change| change.old.is_some() || change.new.is_some())
            .collect()
    }
}
