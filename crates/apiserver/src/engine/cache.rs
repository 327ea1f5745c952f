//! Decoded objects that the server's own parts read often: authorization, admission. Bounded; a changed
//! object is decoded again when it is next asked for.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use serde_json::Value;
use store::Entry;

use super::object::Stored;

/// Encoded size of what is kept decoded; the decoded form takes a few times as much.
const MAX_BYTES: usize = 4 << 20;

#[derive(Debug, Default)]
pub struct DecodedCache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    objects: HashMap<Arc<str>, (u64, Arc<Value>)>,
    bytes: usize,
}

impl DecodedCache {
    pub fn get(&self, entry: &Entry) -> Option<Arc<Value>> {
        if let Some((revision, document)) = self.0.lock().objects.get(&entry.key)
            && *revision == entry.modified
        {
            return Some(Arc::clone(document));
        }
        let document = Arc::new(Stored::of(entry)?.decode().ok()?);
        let mut kept = self.0.lock();
        if kept.bytes + entry.value.len() > MAX_BYTES {
            *kept = Kept::default();
        }
        kept.bytes += entry.value.len();
        kept.objects.insert(Arc::clone(&entry.key), (entry.modified, Arc::clone(&document)));
        Some(document)
    }
}
