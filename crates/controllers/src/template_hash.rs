//! Short names for templates, the same in every process and version.

use std::hash::{Hash, Hasher};

use api::syntax::GENERATED;
use serde_json::Value;

/// A short name for a template: letters and digits that make no words. `collisions` makes another one where the name is
/// taken by another template.
pub fn hash(template: &Value, collisions: i32) -> String {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    template.hash(&mut hasher);
    collisions.hash(&mut hasher);
    let mut rest = hasher.finish();
    (0..10)
        .map(|_| {
            let letter = GENERATED[(rest % 27) as usize];
            rest /= 27;
            char::from(letter)
        })
        .collect()
}

/// FNV-1a: a hash that is the same in every process and version, as names of sets have to be.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
