//! The bodies of requests: read within bounds of size, time and memory before a request takes a place, so that
//! those who send slowly keep nobody from being served.

use std::time::Duration;

use api::status::Status;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::{
    budget::{Budget, Claim},
    listener::RequestBody,
};

/// Upstream's limit on the body of a write.
pub const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;

/// What all bodies together may take.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Of all that have been read in part or whole and not been answered. One user may take half.
    total_bytes: usize,
    /// How long one may take to arrive, and how long nothing of it.
    whole: Duration,
    pause: Duration,
}

const BOUNDS: Bounds =
    Bounds { total_bytes: 256 * 1024 * 1024, whole: Duration::from_secs(60), pause: Duration::from_secs(15) };

#[derive(Debug)]
pub struct Uploads {
    bounds: Bounds,
    budget: Budget,
}

/// A body that has arrived; what it takes is given back when it is dropped.
#[derive(Debug, Default)]
pub struct Upload {
    pub bytes: Bytes,
    _claim: Option<Claim>,
}

impl Default for Uploads {
    fn default() -> Self {
        Self::within(BOUNDS)
    }
}

impl Uploads {
    fn within(bounds: Bounds) -> Self {
        Self { bounds, budget: Budget::within(bounds.total_bytes) }
    }

    /// Reads a body. One that is too large is read on a little before it is refused, so that an HTTP/1.1 client
    /// has sent all and reads the refusal.
    pub async fn read(&self, mut body: RequestBody, user: &str) -> Result<Upload, Status> {
        let mut claim = self.budget.claim(user);
        let (mut bytes, mut total) = (BytesMut::new(), 0);
        let end = Instant::now() + self.bounds.whole;
        loop {
            let until = end.min(Instant::now() + self.bounds.pause);
            let late = |_| Status::new(408, "Timeout", "the body did not arrive in time");
            let Some(frame) = timeout_at(until, body.frame()).await.map_err(late)? else { break };
            let frame = frame.map_err(|error| Status::bad_request(format!("the body could not be read: {error}")))?;
            let Some(data) = frame.data_ref() else { continue };
            total += data.len();
            if total <= MAX_BODY_BYTES {
                claim.grow(data.len())?;
                bytes.extend_from_slice(data);
            } else if total > 2 * MAX_BODY_BYTES {
                break;
            }
        }
        if total > MAX_BODY_BYTES {
            return Err(Status::too_large(format!("Request entity too large: limit is {MAX_BODY_BYTES}")));
        }
        Ok(Upload { bytes: bytes.freeze(), _claim: Some(claim) })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use http_body::Frame;
    use http_body_util::{Empty, Full, StreamBody};

    use super::*;

    fn whole(length: usize) -> RequestBody {
        Full::new(Bytes::from(vec![b'x'; length])).map_err(|never| match never {}).boxed()
    }

    /// One byte in every interval, without an end.
    fn trickle(interval: Duration) -> RequestBody {
        let bytes = stream::repeat(()).then(move |()| async move {
            tokio::time::sleep(interval).await;
            Ok(Frame::data(Bytes::from_static(b"x")))
        });
        BodyExt::boxed(StreamBody::new(Box::pin(bytes)))
    }

    fn uploads(total_bytes: usize) -> Uploads {
        Uploads::within(Bounds { total_bytes, ..BOUNDS })
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_arrives_within_size_and_time() {
        let uploads = uploads(BOUNDS.total_bytes);
        let second = Duration::from_secs(1);
        for (body, expected, most) in [
            (Empty::new().map_err(|never| match never {}).boxed(), Ok(0), 0),
            (whole(MAX_BODY_BYTES), Ok(MAX_BODY_BYTES), 0),
            (whole(MAX_BODY_BYTES + 1), Err(413), 0),
            (trickle(20 * second), Err(408), 15),
            (trickle(10 * second), Err(408), 60),
        ] {
            let start = Instant::now();
            let read = uploads.read(body, "jane").await;
            assert_eq!(read.map(|upload| upload.bytes.len()).map_err(|status| status.code), expected);
            assert_eq!(start.elapsed().as_secs(), most);
        }
        assert_eq!(uploads.budget.held(), 0);
    }

    #[tokio::test]
    async fn bodies_together_are_bounded_and_shared_out() {
        let uploads = uploads(4000);
        let one = "jane";
        let other = &*uploads.budget.other_than(one);
        let mut held = Vec::new();
        for (user, length, is_read) in
            [(one, 1500, true), (one, 600, false), (other, 1500, true), (one, 500, true), (other, 600, false)]
        {
            let read = uploads.read(whole(length), user).await;
            assert_eq!(read.as_ref().map_or_else(|status| status.code, |_| 200), if is_read { 200 } else { 429 });
            held.push(read);
        }
        drop(held);
        assert!(uploads.read(whole(2000), one).await.is_ok());
        assert_eq!(uploads.budget.held(), 0);
    }
}
