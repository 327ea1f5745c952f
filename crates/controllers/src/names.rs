//! Parts of names that follow from what they stand for: the same in every process and version.

use std::hash::{Hash, Hasher};

/// `count` letters and digits that make no words; 13 at most.
pub fn letters(seed: impl Hash, count: usize) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    seed.hash(&mut hasher);
    let mut rest = hasher.finish();
    (0..count)
        .map(|_| {
            let letter = ALPHABET[(rest % 27) as usize];
            rest /= 27;
            char::from(letter)
        })
        .collect()
}

/// FNV-1a: a hash that is the same everywhere, as names have to be.
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
