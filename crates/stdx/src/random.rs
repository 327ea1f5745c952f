//! Chance, handed in. Secrets never come from here: keys and tokens use the TLS library's generator.

use std::{
    fmt::Debug,
    hash::{BuildHasher, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

/// A source of numbers that need not be secret: name suffixes, UIDs, jitter.
pub trait Random: Debug + Send + Sync + 'static {
    fn next_u64(&self) -> u64;

    /// A number in `0..bound`; 0 where `bound` is 0. The bias is below `bound / 2^64`.
    fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A version 4 UUID (RFC 9562).
    fn uuid(&self) -> String {
        let (high, low) = (self.next_u64(), self.next_u64());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | ((low >> 48) & 0x3fff),
            low & 0xffff_ffff_ffff
        )
    }
}

/// SplitMix64 from a fixed seed: the same run every time.
#[derive(Debug)]
pub struct SeededRandom(AtomicU64);

impl SeededRandom {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// [`SeededRandom`] with a seed of the process's own.
#[derive(Debug)]
pub struct SystemRandom(SeededRandom);

impl Default for SystemRandom {
    fn default() -> Self {
        // RandomState draws its keys from the operating system.
        Self(SeededRandom::new(std::hash::RandomState::new().build_hasher().finish()))
    }
}

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        self.0.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let (a, b) = (SeededRandom::new(7), SeededRandom::new(7));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
    }

    #[test]
    fn uuids_have_version_and_variant() {
        let random = SeededRandom::new(1);
        for _ in 0..1000 {
            let uuid = random.uuid();
            assert_eq!(uuid.len(), 36);
            assert_eq!(&uuid[14..15], "4");
            assert!("89ab".contains(&uuid[19..20]), "{uuid}");
        }
    }

    #[test]
    fn below_stays_below() {
        let random = SeededRandom::new(3);
        assert!((1..1000).all(|bound| random.below(bound) < bound));
        assert_eq!(random.below(0), 0);
    }
}
