//! What std lacks and every room needs: clocks and randomness that are handed in (wall W5).
//!
//! Not here: anything that knows Kubernetes.

pub mod clock;
pub mod random;

pub use clock::{Clock, SystemClock};
pub use random::{Random, SeededRandom, SystemRandom};
