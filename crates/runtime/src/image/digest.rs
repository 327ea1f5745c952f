//! Content is known by its digest (OCI image specification, "Digests").

use std::{
    fmt::Write,
    io::{self, Read},
};

use oci_spec::image::{Digest, DigestAlgorithm};
use ring::digest::{Context, SHA256, SHA384, SHA512};

use super::ImageError;

/// Takes content in and says its digest.
pub struct Hasher {
    context: Context,
    algorithm: &'static str,
}

impl Hasher {
    pub fn sha256() -> Self {
        Self { context: Context::new(&SHA256), algorithm: "sha256" }
    }

    /// By the algorithm of a digest that is expected.
    pub fn like(expected: &Digest) -> Result<Self, ImageError> {
        let (algorithm, name) = match expected.algorithm() {
            DigestAlgorithm::Sha256 => (&SHA256, "sha256"),
            DigestAlgorithm::Sha384 => (&SHA384, "sha384"),
            DigestAlgorithm::Sha512 => (&SHA512, "sha512"),
            other => return Err(ImageError::malformed("digest", format!("{other} is not known"))),
        };
        Ok(Self { context: Context::new(algorithm), algorithm: name })
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    pub fn finish(self) -> String {
        let mut text = format!("{}:", self.algorithm);
        for byte in self.context.finish().as_ref() {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// Content that is in memory must be what its digest says.
pub fn verify(what: &str, bytes: &[u8], expected: &Digest) -> Result<(), ImageError> {
    let mut hasher = Hasher::like(expected)?;
    hasher.update(bytes);
    compare(what, hasher, expected)
}

/// What went into the hasher must be what the digest says.
pub fn compare(what: &str, hasher: Hasher, expected: &Digest) -> Result<(), ImageError> {
    let found = hasher.finish();
    match found == expected.as_ref() {
        true => Ok(()),
        false => Err(ImageError::Digest { what: what.to_owned(), expected: expected.to_string(), found }),
    }
}

/// The digest of content in memory, by SHA-256.
pub fn of(bytes: &[u8]) -> String {
    let mut hasher = Hasher::sha256();
    hasher.update(bytes);
    hasher.finish()
}

/// Parses what should be a digest, whose hexadecimal part may become the name of a file.
pub fn parse(what: &str, text: &str) -> Result<Digest, ImageError> {
    let malformed = |why: String| ImageError::malformed(format!("digest of the {what}"), why);
    let digest: Digest = text.parse().map_err(|error| malformed(format!("{text:?}: {error}")))?;
    let expected_length = match digest.algorithm() {
        DigestAlgorithm::Sha256 => 64,
        DigestAlgorithm::Sha384 => 96,
        DigestAlgorithm::Sha512 => 128,
        other => return Err(malformed(format!("{other} is not known"))),
    };
    let hex = digest.digest();
    if hex.len() != expected_length || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(malformed(format!("{text:?} has no {expected_length} hexadecimal digits")));
    }
    Ok(digest)
}

/// Reads through, and keeps count.
pub struct HashingReader<R> {
    inner: R,
    pub hasher: Hasher,
    pub size_bytes: u64,
}

impl<R: Read> HashingReader<R> {
    pub fn new(inner: R, hasher: Hasher) -> Self {
        Self { inner, hasher, size_bytes: 0 }
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.size_bytes += count as u64;
        Ok(count)
    }
}
