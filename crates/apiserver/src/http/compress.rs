//! gzip for large answers to clients that ask for it and are not on this machine: on loopback a byte
//! costs less than the cycles that would save it.

use std::io::Write;

use bytes::{Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Body as _;

use super::{
    body::{Body, CHUNK_BYTES},
    listener::Peer,
    outgoing::{Held, Reader},
};

/// Upstream's threshold.
const MIN_BYTES: u64 = 128 * 1024;

/// Where too much is being compressed already, the answer goes out as it is.
pub fn response(asked: &HeaderMap, peer: &Peer, reader: &Reader, response: Response<Body>) -> Response<Body> {
    let size = response.body().size_hint().exact();
    let worthwhile = size.is_some_and(|size| size >= MIN_BYTES) && !peer.address.ip().is_loopback();
    if !worthwhile || !accepts_gzip(asked) || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let Some(held) = reader.compressor() else { return response };
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, compressed(body, held))
}

pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let encodings = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    encodings.flat_map(|value| value.split(',')).any(|encoding| {
        let mut parts = encoding.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|parameter| parameter.replace(' ', "") == "q=0")
    })
}

/// Compresses piece by piece, so that the whole is never held twice.
fn compressed(body: Body, held: Held) -> Body {
    let pieces: Box<dyn Iterator<Item = Bytes> + Send> = match body {
        Body::Whole(bytes) => Box::new(bytes.into_iter()),
        Body::Pieces { pieces, .. } => pieces,
        stream @ Body::Stream(_) => return stream,
    };
    let mut encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
    // A piece may be a large object that is shared with the store; what comes of it is not.
    let mut pieces = pieces.flat_map(|mut piece| {
        std::iter::from_fn(move || (!piece.is_empty()).then(|| piece.split_to(piece.len().min(CHUNK_BYTES))))
    });
    let stream = std::iter::from_fn(move || {
        let _held = &held;
        let mut out = BytesMut::new();
        while out.is_empty() {
            let Some(piece) = pieces.next() else {
                // Writing into memory cannot fail.
                return encoder.take().and_then(|encoder| encoder.finish().ok()).map(Bytes::from);
            };
            let open = encoder.as_mut()?;
            open.write_all(&piece).ok()?;
            out.extend_from_slice(&std::mem::take(open.get_mut()));
        }
        Some(out.freeze())
    });
    Body::Stream(Box::pin(futures_util::stream::iter(stream)))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http_body_util::BodyExt;

    use super::*;

    fn peer(address: &str) -> Peer {
        Peer { address: address.parse().unwrap(), certificates: Vec::new(), user: None }
    }

    fn headers(encoding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(encoding))])
    }

    #[tokio::test]
    async fn large_answers_to_other_machines_are_compressed() {
        let text = "coracle ".repeat(50_000);
        for (encoding, address, compressed) in [
            ("gzip", "192.0.2.1:1", true),
            ("br, gzip;q=0.5", "192.0.2.1:1", true),
            ("gzip;q=0", "192.0.2.1:1", false),
            ("identity", "192.0.2.1:1", false),
            ("gzip", "127.0.0.1:1", false),
        ] {
            let answer = response(
                &headers(encoding),
                &peer(address),
                &Reader::nobody(),
                Response::new(Body::from(text.clone())),
            );
            let encoded = answer.headers().contains_key(header::CONTENT_ENCODING);
            assert_eq!(encoded, compressed, "{encoding} {address}");
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            let mut plain = String::new();
            match encoded {
                true => flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut plain).map(|_| ()).unwrap(),
                false => plain = String::from_utf8(bytes.to_vec()).unwrap(),
            }
            assert!(plain == text);
        }
    }
}
