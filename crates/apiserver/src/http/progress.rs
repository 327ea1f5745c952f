//! Sees to it that what is sent is taken: a response has one piece under way at a time, and where the peer
//! does not take it within the patience, its HTTP/2 stream is reset and its memory freed. So it is at once where
//! somebody asks for its end; an HTTP/1.1 connection is closed.
//!
//! TCP and pings do not notice such a peer: it acknowledges bytes and answers pings, and only leaves the window
//! of a stream shut. A watch that has nothing to send has nothing under way and is left alone.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, Sleep, sleep},
};

use super::{
    body::{Body, CHUNK_BYTES},
    outgoing::ledger::Taken,
};

/// A body up to this size leaves together with the end of its stream; nothing can be reset afterwards, so
/// these are counted by connection.
const SMALL_BYTES: u64 = 16 * 1024;

tokio::task_local! {
    static STREAM: Stream;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer did not take what was sent")]
pub struct Stalled;

/// What a response leaves by: a stream of HTTP/2, or all of a connection of HTTP/1.1.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Of an HTTP/2 stream.
    progress: Option<Arc<Progress>>,
    connection: Arc<Connection>,
}

/// Of one response.
#[derive(Debug)]
struct Progress {
    /// The number of the piece that is under way; 0 where there is none.
    under_way: AtomicU64,
    /// `LEFT` and `ENDED`.
    state: AtomicU8,
    began: Instant,
    /// When the piece before was taken, in milliseconds from the beginning.
    last_taken: AtomicU64,
    /// Of the stream's task: a piece was taken, or the stream is to end.
    wake: AtomicWaker,
}

/// All of the response is handed over with the end of its stream: what can be ended is its connection.
const LEFT: u8 = 1;
/// The stream is reset as soon as its task looks.
const ENDED: u8 = 2;

/// What the responses of a connection share.
#[derive(Debug)]
pub struct Connection {
    /// The small responses that were handed over and not taken yet: those of this turn of the clock and those of the one
    /// before. Each piece holds a reference.
    small: Mutex<[Arc<()>; 2]>,
    began: Instant,
    /// When HTTP/1.1 asked for a piece last, in milliseconds from the beginning.
    last_taken: AtomicU64,
    cut: Notify,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            small: Mutex::default(),
            began: Instant::now(),
            last_taken: AtomicU64::default(),
            cut: Notify::default(),
        }
    }
}

impl Connection {
    fn hold(&self) -> Arc<()> {
        Arc::clone(&self.small.lock()[0])
    }

    /// Ends once a small response has not been taken for the patience, or up to twice that; or once it is asked for.
    pub async fn stalled(&self, patience: Duration) {
        tokio::select! {
            () = self.cut.notified() => {}
            () = self.small_stalled(patience) => {}
        }
    }

    async fn small_stalled(&self, patience: Duration) {
        loop {
            sleep(patience).await;
            let mut turns = self.small.lock();
            if Arc::strong_count(&turns[1]) > 1 {
                return;
            }
            turns.swap(0, 1);
        }
    }

    /// Runs the connection, which serves HTTP/1.1 in its own task.
    pub async fn scope<T>(self: Arc<Self>, connection: impl Future<Output = T>) -> T {
        STREAM.scope(Stream { progress: None, connection: self }, connection).await
    }
}

impl Stream {
    /// The stream that is being answered; `None` where the caller is in this process.
    pub fn current() -> Option<Self> {
        STREAM.try_with(Clone::clone).ok()
    }

    /// Frees what has been handed over and not taken yet.
    pub fn end(&self) {
        match &self.progress {
            Some(progress) if progress.state.fetch_or(ENDED, Ordering::AcqRel) & LEFT == 0 => progress.wake.wake(),
            _ => self.connection.cut.notify_one(),
        }
    }
}

impl Taken for Stream {
    fn last_taken(&self) -> Instant {
        let (began, after) = match &self.progress {
            Some(progress) => (progress.began, &progress.last_taken),
            None => (self.connection.began, &self.connection.last_taken),
        };
        began + Duration::from_millis(after.load(Ordering::Relaxed))
    }
}

impl Progress {
    fn is_ended(&self) -> bool {
        self.state.load(Ordering::Acquire) & ENDED != 0
    }
}

fn millis_since(began: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(began).as_millis()).unwrap_or(u64::MAX)
}

/// Runs the streams of a connection, each within the patience.
#[derive(Debug, Clone)]
pub struct Streams {
    pub patience: Duration,
    pub connection: Arc<Connection>,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(attend(stream, self.patience, Arc::clone(&self.connection)));
    }
}

/// Runs a stream until it ends, stalls or is ended. Pieces are handed out only while it is polled, so that looking
/// afterwards is enough.
async fn attend(stream: impl Future<Output = ()>, patience: Duration, connection: Arc<Connection>) {
    let progress = Arc::new(Progress {
        under_way: AtomicU64::default(),
        state: AtomicU8::default(),
        began: Instant::now(),
        last_taken: AtomicU64::default(),
        wake: AtomicWaker::default(),
    });
    let mut stream = pin!(STREAM.scope(Stream { progress: Some(Arc::clone(&progress)), connection }, stream));
    let mut alarm: Pin<&mut Option<Sleep>> = pin!(None);
    let mut watched = 0;
    let has_finished = poll_fn(|context| {
        progress.wake.register(context.waker());
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        if progress.is_ended() {
            return Poll::Ready(false);
        }
        let under_way = progress.under_way.load(Ordering::Acquire);
        if under_way == 0 {
            return Poll::Pending;
        }
        if std::mem::replace(&mut watched, under_way) != under_way {
            let now = Instant::now();
            progress.last_taken.store(millis_since(progress.began, now), Ordering::Relaxed);
            match alarm.as_mut().as_pin_mut() {
                Some(alarm) => alarm.reset(now + patience),
                None => alarm.set(Some(sleep(patience))),
            }
        }
        let Some(alarm) = alarm.as_mut().as_pin_mut() else { return Poll::Pending };
        alarm.poll(context).map(|()| false)
    })
    .await;
    if !has_finished {
        // Where a part of the piece is queued already, the body is being asked for more: its error resets the
        // stream and clears the queue. Where all of it waits, dropping the stream does.
        progress.state.fetch_or(ENDED, Ordering::AcqRel);
        let _ = futures_util::poll!(stream);
    }
}

/// A part of a body on its way to the peer.
#[derive(Debug)]
pub struct Piece {
    bytes: Bytes,
    hold: Hold,
}

/// Who is told when a piece has been taken.
#[derive(Debug)]
enum Hold {
    /// Nobody: HTTP/1.1 writes to the socket, which has a bound of its own.
    None,
    Stream(Arc<Progress>),
    Connection {
        _turn: Arc<()>,
    },
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Hold::Stream(progress) = &self.hold {
            progress.under_way.store(0, Ordering::Release);
            progress.wake.wake();
        }
    }
}

/// A body that hands out a piece when the one before has been taken.
pub struct Paced {
    body: Body,
    /// What is left of a chunk larger than a piece.
    rest: Bytes,
    pace: Pace,
}

enum Pace {
    Free(Option<Arc<Connection>>),
    Small(Arc<Connection>),
    ByPiece { progress: Arc<Progress>, count: u64 },
}

impl Paced {
    /// To be called by what runs inside `Streams`, or in the scope of a connection of HTTP/1.1.
    pub fn new(body: Body) -> Self {
        let is_small = body.size_hint().exact().is_some_and(|size| size <= SMALL_BYTES);
        let pace = match Stream::current() {
            Some(Stream { progress: Some(progress), connection }) => {
                // One that is to end already is never handed over.
                if is_small && progress.state.fetch_or(LEFT, Ordering::AcqRel) & ENDED == 0 {
                    Pace::Small(connection)
                } else {
                    Pace::ByPiece { progress, count: 0 }
                }
            }
            of_http1 => Pace::Free(of_http1.map(|stream| stream.connection)),
        };
        Self { body, rest: Bytes::new(), pace }
    }

    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while self.rest.is_empty() {
            let next: Option<Result<Frame<Bytes>, Infallible>> = ready!(Pin::new(&mut self.body).poll_frame(context));
            match next.map(|Ok(frame)| frame.into_data()) {
                None => return Poll::Ready(None),
                Some(data) => self.rest = data.unwrap_or_default(),
            }
        }
        Poll::Ready(Some(self.rest.split_to(self.rest.len().min(CHUNK_BYTES))))
    }
}

impl http_body::Body for Paced {
    type Data = Piece;
    type Error = Stalled;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, Stalled>>> {
        let this = self.get_mut();
        if let Pace::ByPiece { progress, .. } = &this.pace {
            if progress.is_ended() {
                return Poll::Ready(Some(Err(Stalled)));
            }
            // Whoever runs the stream is woken when it has been taken.
            if progress.under_way.load(Ordering::Acquire) != 0 {
                return Poll::Pending;
            }
        }
        let Some(bytes) = ready!(this.poll_bytes(context)) else { return Poll::Ready(None) };
        let hold = match &mut this.pace {
            Pace::Free(connection) => {
                if let Some(connection) = connection {
                    let after = millis_since(connection.began, Instant::now());
                    connection.last_taken.store(after, Ordering::Relaxed);
                }
                Hold::None
            }
            Pace::Small(connection) => Hold::Connection { _turn: connection.hold() },
            Pace::ByPiece { progress, count } => {
                *count += 1;
                progress.under_way.store(*count, Ordering::Release);
                Hold::Stream(Arc::clone(progress))
            }
        };
        Poll::Ready(Some(Ok(Frame::data(Piece { bytes, hold }))))
    }

    fn is_end_stream(&self) -> bool {
        let is_under_way = match &self.pace {
            Pace::ByPiece { progress, .. } => progress.under_way.load(Ordering::Acquire) != 0,
            _ => false,
        };
        !is_under_way && self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let Some(size) = self.body.size_hint().exact() else { return SizeHint::default() };
        SizeHint::with_exact(size + self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests;
