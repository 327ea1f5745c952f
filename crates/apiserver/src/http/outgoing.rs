//! What is made for one reader (tables, bare metadata, YAML, refusals, the copies in a chunk) and is under way to it.
//! Stored bytes are shared by all who read them; what is not counts in one account until it has been sent or dropped, and
//! each claim knows the stream that is to be ended where somebody else needs the memory (`ledger`).
//!
//! What a list will take is counted before it is made, as far as that is known, and how much an answer takes when it is
//! there. A list may be larger than the bound and is still served where there is little else, a write is never refused once
//! it is done, and nobody waits for what another keeps. What is small is never refused.
//! Callers in this process take at once what is made for them: nothing of it is under way.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use api::status::Status;
use bytes::Bytes;
use http::Response;
use parking_lot::Mutex;
use tokio::time::Instant;

use self::ledger::{Ledger, Need, Refused};
use super::{
    body::{Body, CHUNK_BYTES},
    load::too_many,
    progress::Stream,
};

pub mod ledger;

const MAX_BYTES: usize = 256 * 1024 * 1024;
/// An answer up to this size is counted, and never refused.
const SMALL_BYTES: usize = 64 * 1024;
/// What is counted without a name, as long as there is little of it: a chunk of a watch.
const CHUNK: usize = 2 * CHUNK_BYTES;
/// What compressing an answer as it is sent keeps: tables and a window.
const COMPRESSOR_BYTES: usize = 512 * 1024;

#[derive(Debug, Clone)]
pub struct Outgoing(Arc<Account>);

#[derive(Debug)]
struct Account {
    /// Of the chunks together that are counted by one addition each. Past it each has a claim, as what is large has.
    chunks_bound: usize,
    chunks: AtomicUsize,
    ledger: Mutex<Ledger<Stream>>,
}

/// For whom something is made, and the stream it leaves by.
#[derive(Debug, Clone)]
pub struct Reader(Arc<Asked>);

#[derive(Debug)]
struct Asked {
    account: Arc<Account>,
    payer: Arc<str>,
    stream: Option<Stream>,
}

/// Bytes that are counted until this is dropped.
#[derive(Debug, Default)]
pub struct Held(Counted);

#[derive(Debug, Default)]
enum Counted {
    #[default]
    Nothing,
    Chunk {
        reader: Reader,
        bytes: usize,
    },
    Claim {
        reader: Reader,
        number: u64,
    },
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::within(MAX_BYTES)
    }
}

impl Outgoing {
    fn within(bound: usize) -> Self {
        let chunks_bound = bound / 4;
        let ledger = Mutex::new(Ledger::within(bound - chunks_bound));
        Self(Arc::new(Account { chunks_bound, chunks: AtomicUsize::new(0), ledger }))
    }

    /// Whoever asked over the stream that the request is served on; `payer` is to whom it is counted.
    pub fn reader(&self, payer: &str) -> Reader {
        Reader(Arc::new(Asked { account: Arc::clone(&self.0), payer: payer.into(), stream: Stream::current() }))
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.0.ledger.lock().held() + self.0.chunks.load(Relaxed)
    }
}

impl Reader {
    /// Nobody, for whom nothing is counted.
    #[cfg(test)]
    pub fn nobody() -> Self {
        Outgoing::default().reader("nobody")
    }

    pub fn payer(&self) -> &str {
        &self.0.payer
    }

    /// Refuses to begin with what may become large.
    pub fn check(&self) -> Result<(), Status> {
        if self.0.stream.is_none() {
            return Ok(());
        }
        let mut ledger = self.0.account.ledger.lock();
        let ending = ledger.give_up(SMALL_BYTES, Instant::now());
        let is_refused = ledger.would_refuse(&self.0.payer, SMALL_BYTES);
        drop(ledger);
        ending.iter().for_each(Stream::end);
        if is_refused { Err(too_many()) } else { Ok(()) }
    }

    /// Counts an answer until it has been sent. A large one to a read is refused where its reader holds most of what
    /// there is.
    pub fn answer(&self, response: Response<Body>, is_read: bool) -> Result<Response<Body>, Status> {
        let bytes = response.body().own_bytes();
        if bytes == 0 {
            return Ok(response);
        }
        let need = if is_read && bytes > SMALL_BYTES { Need::Refusable } else { Need::Granted };
        let held = self.claim(bytes, need).map_err(|Refused| too_many())?;
        Ok(response.map(|body| body.holding(held)))
    }

    /// Counts what is going to be made, until it is there. Much is refused where its reader holds most of what there is.
    pub fn making(&self, bytes: usize) -> Result<Held, Status> {
        if bytes <= SMALL_BYTES {
            return Ok(self.hold(bytes));
        }
        self.claim(bytes, Need::Refusable).map_err(|Refused| too_many())
    }

    /// What was made, counted until the last part of it has been sent.
    pub fn made(&self, bytes: Vec<u8>) -> Bytes {
        if self.0.stream.is_none() || bytes.is_empty() {
            return bytes.into();
        }
        let held = self.hold(bytes.capacity());
        Bytes::from_owner(Made { bytes, _held: held })
    }

    /// Counts bytes that are there and are not refused.
    pub fn hold(&self, bytes: usize) -> Held {
        if bytes == 0 {
            return Held::default();
        }
        self.claim(bytes, Need::Granted).unwrap_or_default()
    }

    /// Counts what a compressor takes, where it is left.
    pub fn compressor(&self) -> Option<Held> {
        let is_left = self.0.account.ledger.lock().has_left(COMPRESSOR_BYTES);
        is_left.then(|| self.hold(COMPRESSOR_BYTES))
    }

    fn claim(&self, bytes: usize, need: Need) -> Result<Held, Refused> {
        let Some(stream) = &self.0.stream else { return Ok(Held::default()) };
        let Account { chunks_bound, chunks, ledger } = &*self.0.account;
        if bytes <= CHUNK && need == Need::Granted {
            if chunks.fetch_add(bytes, Relaxed) < *chunks_bound {
                return Ok(Held(Counted::Chunk { reader: self.clone(), bytes }));
            }
            chunks.fetch_sub(bytes, Relaxed);
        }
        let (ending, entered) = ledger.lock().enter(&self.0.payer, bytes, need, stream.clone(), Instant::now());
        ending.iter().for_each(Stream::end);
        Ok(Held(Counted::Claim { reader: self.clone(), number: entered? }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        match &self.0 {
            Counted::Nothing => {}
            Counted::Chunk { reader, bytes } => {
                reader.0.account.chunks.fetch_sub(*bytes, Relaxed);
            }
            Counted::Claim { reader, number } => {
                // A stream goes when the account is no longer locked: its task may hold further claims.
                let _stream = reader.0.account.ledger.lock().leave(&reader.0.payer, *number);
            }
        }
    }
}

/// Text that is counted as long as any part of it is to be sent.
struct Made {
    bytes: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Made {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests;
