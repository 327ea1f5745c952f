//! What is made for one reader (tables, bare metadata, YAML, other versions) and is under way to it. Stored bytes are
//! shared by all who read them; of what is not, all readers together hold a bounded number of bytes until these
//! have been sent or dropped.
//!
//! Whether something is left is asked before an answer is made, and how much it takes is counted afterwards. So a
//! list may be larger than the bound and is still served, a write is never refused once it is done, and nobody
//! waits for what another keeps: what exceeds the bound is made by those who were making it already, of whom there
//! are few at once (`heavy`, `load`).

use api::status::Status;
use http::Response;

use super::{
    body::Body,
    budget::{Budget, Claim},
};

const MAX_BYTES: usize = 256 * 1024 * 1024;
/// What compressing an answer as it is sent keeps: tables and a window.
const COMPRESSOR_BYTES: usize = 512 * 1024;

#[derive(Debug)]
pub struct Outgoing(Budget);

impl Default for Outgoing {
    fn default() -> Self {
        Self(Budget::within(MAX_BYTES))
    }
}

impl Outgoing {
    /// Refuses to begin with an answer that is to be made for this user.
    pub fn check(&self, user: &str) -> Result<(), Status> {
        self.0.claim(user).check()
    }

    /// Counts what has been made until it has been sent. A read is still refused where others were faster.
    pub fn hold(&self, response: Response<Body>, user: &str, is_read: bool) -> Result<Response<Body>, Status> {
        let bytes = response.body().own_bytes();
        if bytes == 0 {
            return Ok(response);
        }
        let mut claim = self.0.claim(user);
        if is_read {
            claim.check()?;
        }
        // It is there already: past the bound, it is those to come who are refused.
        let _ = claim.grow(bytes);
        Ok(response.map(|body| body.holding(claim)))
    }

    /// What a compressor takes, where it is left.
    pub fn compressor(&self, user: &str) -> Option<Claim> {
        let mut claim = self.0.claim(user);
        claim.grow(COMPRESSOR_BYTES).ok().map(|()| claim)
    }
}

#[cfg(test)]
mod tests;
