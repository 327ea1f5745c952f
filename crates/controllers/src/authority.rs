//! What controllers are handed of the cluster's certificate authority, whose key they never see.

use std::time::Duration;

use jiff::Timestamp;

pub trait Authority: Send + Sync + 'static {
    /// What clients trust, PEM.
    fn certificate(&self) -> String;

    /// Certifies a request (PEM) for a while. The answer is PEM; an error says why that cannot be.
    fn sign(&self, request: &[u8], usages: &[&str], life: Duration, now: Timestamp) -> Result<String, String>;
}
