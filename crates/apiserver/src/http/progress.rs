//! Sees to it that what is sent is taken: a response has one piece under way at a time, and where the peer
//! does not take it within the patience, its HTTP/2 stream is reset and its memory freed.
//!
//! TCP and pings do not notice such a peer: it acknowledges bytes and answers pings, and only leaves the window
//! of a stream shut. A watch that has nothing to send has nothing under way and is left alone.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep};

use super::body::{Body, CHUNK_BYTES};

/// A body up to this size leaves together with the end of its stream; nothing can be reset afterwards, so
/// these are counted by connection.
const SMALL_BYTES: u64 = 16 * 1024;

tokio::task_local! {
    static PROGRESS: Arc<Progress>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer did not take what was sent")]
pub struct Stalled;

/// Of one response.
#[derive(Debug, Default)]
struct Progress {
    /// The number of the piece that is under way; 0 where there is none.
    under_way: AtomicU64,
    is_stalled: AtomicBool,
    taken: AtomicWaker,
}

/// The small responses of one connection that were handed over and not taken yet: those of this turn of the
/// clock and those of the one before. Each piece holds a reference.
#[derive(Debug, Clone, Default)]
pub struct Outstanding(Arc<Mutex<[Arc<()>; 2]>>);

impl Outstanding {
    fn hold(&self) -> Arc<()> {
        Arc::clone(&self.0.lock()[0])
    }

    /// Ends once a small response has not been taken for the patience, or up to twice that.
    pub async fn stalled(&self, patience: Duration) {
        loop {
            sleep(patience).await;
            let mut turns = self.0.lock();
            if Arc::strong_count(&turns[1]) > 1 {
                return;
            }
            turns.swap(0, 1);
        }
    }
}

/// Runs the streams of a connection, each within the patience.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    pub patience: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(attend(stream, self.patience));
    }
}

/// Runs a stream until it ends or stalls. Pieces are handed out only while it is polled, so that looking
/// afterwards is enough.
async fn attend(stream: impl Future<Output = ()>, patience: Duration) {
    let progress = Arc::new(Progress::default());
    let mut stream = pin!(PROGRESS.scope(Arc::clone(&progress), stream));
    let mut alarm: Pin<&mut Option<Sleep>> = pin!(None);
    let mut watched = 0;
    let ended = poll_fn(|context| {
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        let under_way = progress.under_way.load(Ordering::Acquire);
        if under_way == 0 {
            return Poll::Pending;
        }
        if std::mem::replace(&mut watched, under_way) != under_way {
            match alarm.as_mut().as_pin_mut() {
                Some(alarm) => alarm.reset(Instant::now() + patience),
                None => alarm.set(Some(sleep(patience))),
            }
        }
        let Some(alarm) = alarm.as_mut().as_pin_mut() else { return Poll::Pending };
        alarm.poll(context).map(|()| false)
    })
    .await;
    if !ended {
        // Where a part of the piece is queued already, the body is being asked for more: its error resets the
        // stream and clears the queue. Where all of it waits, dropping the stream does.
        progress.is_stalled.store(true, Ordering::Release);
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
            progress.taken.wake();
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
    Free,
    Small(Outstanding),
    ByPiece { progress: Arc<Progress>, count: u64 },
}

impl Paced {
    /// To be called by what runs inside `Streams`, or by a connection of HTTP/1.1.
    pub fn new(body: Body, outstanding: &Outstanding) -> Self {
        let pace = match PROGRESS.try_with(Arc::clone) {
            Err(_) => Pace::Free,
            Ok(_) if body.size_hint().exact().is_some_and(|size| size <= SMALL_BYTES) => {
                Pace::Small(outstanding.clone())
            }
            Ok(progress) => Pace::ByPiece { progress, count: 0 },
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
        let most = if matches!(self.pace, Pace::ByPiece { .. }) { CHUNK_BYTES } else { usize::MAX };
        Poll::Ready(Some(self.rest.split_to(self.rest.len().min(most))))
    }
}

impl http_body::Body for Paced {
    type Data = Piece;
    type Error = Stalled;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, Stalled>>> {
        let this = self.get_mut();
        if let Pace::ByPiece { progress, .. } = &this.pace {
            if progress.is_stalled.load(Ordering::Acquire) {
                return Poll::Ready(Some(Err(Stalled)));
            }
            if progress.under_way.load(Ordering::Acquire) != 0 {
                progress.taken.register(context.waker());
                if progress.under_way.load(Ordering::Acquire) != 0 {
                    return Poll::Pending;
                }
            }
        }
        let Some(bytes) = ready!(this.poll_bytes(context)) else { return Poll::Ready(None) };
        let hold = match &mut this.pace {
            Pace::Free => Hold::None,
            Pace::Small(outstanding) => Hold::Connection { _turn: outstanding.hold() },
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
