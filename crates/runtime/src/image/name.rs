//! What an image is called: `[registry/]repository[:tag][@digest]`, as Docker's reference grammar has it.

use std::{fmt, str::FromStr};

use oci_spec::distribution::Reference;

use super::{ImageError, digest};

/// A full name: with its registry, and with a tag or a digest. Where neither is given, the tag is `latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageName(Reference);

impl FromStr for ImageName {
    type Err = ImageError;

    fn from_str(name: &str) -> Result<Self, ImageError> {
        let refuse = |why: String| ImageError::Name { name: name.to_owned(), why };
        let reference: Reference = name.parse().map_err(|error: oci_spec::distribution::ParseError| {
            // The parser of the grammar does not tell this apart.
            let uppercase = name.split(['@', ':']).next().unwrap_or_default();
            let path = uppercase.split_once('/').map_or(uppercase, |(_, path)| path);
            let why = match path.chars().any(|letter| letter.is_ascii_uppercase()) {
                true => "repository name must be lowercase".to_owned(),
                false => error.to_string(),
            };
            refuse(why)
        })?;
        if let Some(text) = reference.digest() {
            digest::parse("image", text).map_err(|error| refuse(error.to_string()))?;
        }
        Ok(Self(reference))
    }
}

impl ImageName {
    /// `docker.io`, `registry.example.com:5000`.
    pub fn registry(&self) -> &str {
        self.0.registry()
    }

    /// Without the registry: `library/nginx`.
    pub fn repository(&self) -> &str {
        self.0.repository()
    }

    pub fn tag(&self) -> Option<&str> {
        self.0.tag()
    }

    pub fn digest(&self) -> Option<&str> {
        self.0.digest()
    }

    /// What the registry is asked for: the digest where there is one.
    pub(super) fn wanted(&self) -> &str {
        self.digest().or(self.tag()).unwrap_or("latest")
    }

    /// `registry/repository`, of which digests and tags are spoken.
    pub fn place(&self) -> String {
        format!("{}/{}", self.registry(), self.repository())
    }

    /// What is kept under its name: without the digest, where there is a tag too.
    pub(super) fn tagged(&self) -> Option<String> {
        self.tag().map(|tag| format!("{}:{tag}", self.place()))
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_full() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let of_digest = format!("quay.io/a/b@{digest}");
        let of_both = format!("quay.io/a/b:v1@{digest}");
        for (given, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("a/b", "docker.io/a/b:latest"),
            ("localhost/web", "localhost/web:latest"),
            ("localhost:5000/web:v1", "localhost:5000/web:v1"),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
            (&of_digest, &of_digest),
            (&of_both, &of_both),
        ] {
            assert_eq!(given.parse::<ImageName>().unwrap().to_string(), full, "{given}");
        }
        let both: ImageName = of_both.parse().unwrap();
        assert_eq!((both.wanted(), both.tagged().as_deref()), (&*digest, Some("quay.io/a/b:v1")));
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        for (given, why) in [
            ("", "repository name must have at least one component"),
            ("Nginx", "repository name must be lowercase"),
            ("quay.io/Web", "repository name must be lowercase"),
            ("a b", "invalid reference format"),
            ("nginx:", "invalid reference format"),
            ("../etc", "invalid reference format"),
            ("nginx@sha256:abc", "invalid reference format"),
        ] {
            let error = given.parse::<ImageName>().unwrap_err().to_string();
            assert!(error.ends_with(why), "{given}: {error}");
        }
        let short = format!("nginx@sha256:{}", "ab".repeat(16));
        assert!(short.parse::<ImageName>().is_err());
    }
}
