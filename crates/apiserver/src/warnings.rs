//! What a client is told beside the answer, whatever that is: noted as it comes up, sent as `Warning` headers.

use std::sync::Arc;

use parking_lot::Mutex;

/// More than these are not kept: a request may be about any number of objects.
const KEPT: usize = 256;

/// The warnings of one request; all clones are one list. By default nobody is told, and nothing kept.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Option<Arc<Mutex<Vec<String>>>>);

impl Warnings {
    pub fn kept() -> Self {
        Self(Some(Arc::default()))
    }

    /// Each text once: an update that is tried again meets the same warnings.
    pub fn extend(&self, warnings: impl IntoIterator<Item = String>) {
        let Some(list) = &self.0 else { return };
        let mut list = list.lock();
        for warning in warnings {
            let plain: String = warning.chars().filter(|letter| !letter.is_control()).collect();
            if list.len() < KEPT && !list.contains(&plain) {
                list.push(plain);
            }
        }
    }

    /// What has been noted so far.
    pub fn noted(&self) -> Vec<String> {
        self.0.as_ref().map(|list| list.lock().clone()).unwrap_or_default()
    }
}
