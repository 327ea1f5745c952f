//! What std lacks and every room needs: clocks and randomness that are handed in (wall W5), and a histogram to measure
//! by.
//!
//! Not here: anything that knows Kubernetes.

pub mod clock;
pub mod histogram;
pub mod random;

pub use clock::{Clock, SystemClock};
pub use histogram::Histogram;
pub use random::{Random, SeededRandom, SystemRandom};
