//! Response bodies. A list is put together from the stored bytes a chunk at a time; a watch produces chunks
//! as events come. Nothing buffers more than one chunk per client, and in a chunk large objects are not
//! copied but shared with the store.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt::{self, Debug},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Frame, SizeHint};

use super::outgoing::{Held, Reader};

/// How much of a streamed body is handed to the connection at once.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// From here on an object is sent as it lies in the store, in a frame of its own. A smaller one is copied beside
/// its neighbours: that costs less than the frame.
pub const SHARED_BYTES: usize = 16 * 1024;

/// What is sent next: copies and texts, gathered in one buffer, and between them large objects, shared with the
/// store.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Who holds the copies.
    reader: Option<Reader>,
    parts: VecDeque<Bytes>,
    text: Vec<u8>,
    /// Of `parts`.
    bytes: usize,
}

impl Chunk {
    pub fn of(reader: Reader) -> Self {
        Self { reader: Some(reader), ..Self::default() }
    }

    /// The end of what is gathered.
    pub fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Adds a part of a value: copied where it is small, shared where it is large.
    pub fn add(&mut self, value: &Bytes, part: &[u8]) {
        if part.len() < SHARED_BYTES {
            self.text.extend_from_slice(part);
            return;
        }
        if !self.text.is_empty() {
            self.bytes += self.text.len();
            let text = self.take_text();
            self.parts.push_back(text);
        }
        self.bytes += part.len();
        self.parts.push_back(value.slice_ref(part));
    }

    pub fn len(&self) -> usize {
        self.bytes + self.text.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next part, in order.
    pub fn pop(&mut self) -> Option<Bytes> {
        let Some(part) = self.parts.pop_front() else {
            return (!self.text.is_empty()).then(|| self.take_text());
        };
        self.bytes -= part.len();
        Some(part)
    }

    fn take_text(&mut self) -> Bytes {
        let text = std::mem::take(&mut self.text);
        match &self.reader {
            Some(reader) => reader.made(text),
            None => text.into(),
        }
    }
}

pub enum Body {
    Whole(Option<Bytes>),
    /// Pieces whose total length is known.
    Pieces {
        pieces: Box<dyn Iterator<Item = Bytes> + Send>,
        remaining: u64,
        /// What of them is held for this body alone.
        own_bytes: usize,
    },
    /// Pieces that come when they come.
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl Body {
    pub fn empty() -> Self {
        Body::Whole(None)
    }

    /// How much is held for this body alone, and not shared with the store or another body.
    pub fn own_bytes(&self) -> usize {
        match self {
            Body::Whole(Some(bytes)) if bytes.is_unique() => bytes.len(),
            Body::Pieces { own_bytes, .. } => *own_bytes,
            // The chunks of a stream are counted one by one.
            Body::Whole(_) | Body::Stream(_) => 0,
        }
    }

    /// Counts as long as what is counted is there: also where the body is gone and its bytes lie in a queue.
    pub fn holding(self, held: Held) -> Self {
        match self {
            Body::Whole(Some(bytes)) => Body::Whole(Some(Bytes::from_owner(Counted { bytes, _held: held }))),
            Body::Pieces { mut pieces, remaining, own_bytes } => {
                let pieces = std::iter::from_fn(move || {
                    let _held = &held;
                    pieces.next()
                });
                Body::Pieces { pieces: Box::new(pieces), remaining, own_bytes }
            }
            other => other,
        }
    }
}

struct Counted {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Body::Whole(Some(bytes.into()))
    }
}

impl Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Whole(bytes) => write!(f, "Whole({} bytes)", bytes.as_ref().map_or(0, Bytes::len)),
            Body::Pieces { remaining, .. } => write!(f, "Pieces({remaining} bytes)"),
            Body::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let next = match self.get_mut() {
            Body::Whole(bytes) => bytes.take().filter(|bytes| !bytes.is_empty()),
            Body::Pieces { pieces, remaining, .. } => {
                let piece = pieces.next();
                *remaining -= piece.as_ref().map_or(0, |piece| piece.len() as u64).min(*remaining);
                piece
            }
            Body::Stream(stream) => match stream.as_mut().poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(next) => next,
            },
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Body::Pieces { remaining, .. } => *remaining == 0,
            Body::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Body::Pieces { remaining, .. } => SizeHint::with_exact(*remaining),
            Body::Stream(_) => SizeHint::default(),
        }
    }
}
