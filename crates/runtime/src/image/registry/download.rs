//! A blob as it arrives. Where the connection breaks, the download goes on from there.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::StatusCode;
use http_body_util::BodyExt;
use oci_spec::image::Descriptor;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{ANSWER, Credentials, ImageError, ImageName, Registry, Visit, blob_path, with_causes};
use crate::image::digest::{self, Hasher};

/// Pieces that wait for the reader, of some 16 KiB each.
const WAITING: usize = 32;
/// How often a download that makes no way is tried, and the pause before.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// The content of a blob, for one reader on a thread that may block. Its end is reached only if size and digest are right.
pub struct Download {
    pieces: mpsc::Receiver<Result<Bytes, ImageError>>,
    piece: Bytes,
    has_ended: bool,
}

/// What one blob's task knows.
struct Task {
    registry: Arc<Registry>,
    name: ImageName,
    descriptor: Descriptor,
    credentials: Option<Credentials>,
    reader: mpsc::Sender<Result<Bytes, ImageError>>,
    hasher: Hasher,
    offset: u64,
}

/// Why a piece of the work ended.
enum Cut {
    /// It may go on.
    Connection(ImageError),
    Final(ImageError),
    /// Nobody reads any more.
    Unread,
}

impl Download {
    /// Must be called within a run time.
    pub(super) fn start(
        registry: Arc<Registry>,
        name: ImageName,
        descriptor: Descriptor,
        credentials: Option<Credentials>,
    ) -> Result<Self, ImageError> {
        let (reader, pieces) = mpsc::channel(WAITING);
        let hasher = Hasher::like(descriptor.digest())?;
        let task = Task { registry, name, descriptor, credentials, reader, hasher, offset: 0 };
        tokio::spawn(task.run());
        Ok(Self { pieces, piece: Bytes::new(), has_ended: false })
    }
}

impl Task {
    async fn run(mut self) {
        let mut tries = 0;
        loop {
            let from = self.offset;
            match self.some().await {
                Ok(()) => break,
                Err(Cut::Unread) => return,
                Err(Cut::Final(error)) => return self.fail(error).await,
                Err(Cut::Connection(error)) => {
                    tries = if self.offset > from { 1 } else { tries + 1 };
                    if tries >= TRIES {
                        return self.fail(error).await;
                    }
                    tracing::debug!(image = %self.name, blob = %self.descriptor.digest(), at = self.offset, %error, "a download was cut");
                    sleep(PAUSE * tries).await;
                }
            }
        }
        let Self { hasher, descriptor, reader, .. } = self;
        let end = digest::compare("blob", hasher, descriptor.digest()).map(|()| Bytes::new());
        // An empty piece is the proof that everything was right.
        let _ = reader.send(end).await;
    }

    async fn fail(&self, error: ImageError) {
        let _ = self.reader.send(Err(error)).await;
    }

    /// Reads on until the end, or as far as it goes.
    async fn some(&mut self) -> Result<(), Cut> {
        let path = blob_path(&self.name, &self.descriptor);
        let visit = Visit { name: &self.name, credentials: self.credentials.as_ref() };
        let answer = self.registry.get_anywhere(visit, &path, "*/*", self.offset).await;
        let answer = answer.map_err(|error| match error {
            ImageError::Registry { .. } => Cut::Connection(error),
            error => Cut::Final(error),
        })?;
        // Who does not know of ranges begins anew.
        let mut skip = if answer.status() == StatusCode::PARTIAL_CONTENT { 0 } else { self.offset };
        let mut body = answer.into_body();
        let broken = |why: String| Cut::Connection(ImageError::Registry { url: path.clone(), why });
        let size_bytes = self.descriptor.size();
        loop {
            let frame = match timeout(ANSWER, body.frame()).await {
                Err(_) => return Err(broken(format!("nothing came for {} s", ANSWER.as_secs()))),
                Ok(Some(Err(error))) => return Err(broken(with_causes(&error))),
                Ok(Some(Ok(frame))) => frame,
                Ok(None) if self.offset == size_bytes => return Ok(()),
                Ok(None) => return Err(broken(format!("it ends after {} of {size_bytes} bytes", self.offset))),
            };
            let Ok(mut data) = frame.into_data() else { continue };
            let known = skip.min(data.len() as u64);
            skip -= known;
            data.advance(usize::try_from(known).unwrap_or(data.len()));
            if data.is_empty() {
                continue;
            }
            self.offset += data.len() as u64;
            if self.offset > size_bytes {
                let what = format!("blob {}", self.descriptor.digest());
                return Err(Cut::Final(ImageError::TooLarge {
                    what,
                    limit: format!("the {size_bytes} bytes it should have"),
                }));
            }
            self.hasher.update(&data);
            if self.reader.send(Ok(data)).await.is_err() {
                return Err(Cut::Unread);
            }
        }
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.has_ended {
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => {
                    self.has_ended = piece.is_empty();
                    self.piece = piece;
                }
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the download was given up")),
            }
        }
        let count = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
