//! What an image consists of, and which of several is for this machine.

use oci_spec::image::{Descriptor, Digest, ImageConfiguration, ImageIndex, ImageManifest};
use serde::Deserialize;

use super::{ImageError, digest};

/// Manifests, as the distribution specification bounds them, and indexes.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;
pub const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// As many as overlayfs stacks.
const MAX_LAYERS: usize = 500;

/// What is asked for: images and lists of them, as OCI and as Docker name them.
pub const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A machine's kind, in the words of images.
#[derive(Debug, Clone, Copy)]
pub struct Platform {
    pub architecture: &'static str,
    /// Where an architecture has several: `v8` of arm64.
    pub variant: &'static str,
}

impl Platform {
    pub fn current() -> Self {
        match std::env::consts::ARCH {
            "x86_64" => Self { architecture: "amd64", variant: "" },
            "aarch64" => Self { architecture: "arm64", variant: "v8" },
            "arm" => Self { architecture: "arm", variant: "v7" },
            "powerpc64" => Self { architecture: "ppc64le", variant: "" },
            other => Self { architecture: other, variant: "" },
        }
    }

    fn describe(self) -> String {
        format!("linux/{}", self.architecture)
    }
}

/// Either of the two, told apart by what is in it: media types are often missing and sometimes wrong.
pub enum Parsed {
    Index(Box<ImageIndex>),
    Manifest(Box<ImageManifest>),
}

pub fn parse(bytes: &[u8]) -> Result<Parsed, ImageError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        schema_version: Option<u32>,
        manifests: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
    }
    let malformed = |why: serde_json::Error| ImageError::malformed("manifest", why);
    let shape: Shape = serde_json::from_slice(bytes).map_err(malformed)?;
    match shape {
        Shape { schema_version: Some(1), .. } => {
            Err(ImageError::malformed("manifest", "schema version 1 is not supported, only 2"))
        }
        // One that is both would be one image to us and another to others.
        Shape { manifests: Some(_), config: Some(_), .. } => {
            Err(ImageError::malformed("manifest", "it has both manifests and a config"))
        }
        Shape { manifests: Some(_), .. } => {
            serde_json::from_slice(bytes).map(|one| Parsed::Index(Box::new(one))).map_err(malformed)
        }
        _ => serde_json::from_slice(bytes).map(|one| Parsed::Manifest(Box::new(one))).map_err(malformed),
    }
}

/// The first entry for the platform, of the same variant if there is one. One that names no platform is for all.
pub fn choose<'a>(index: &'a ImageIndex, platform: Platform, name: &str) -> Result<&'a Descriptor, ImageError> {
    let fits = |entry: &&Descriptor| match entry.platform() {
        None => true,
        Some(of) => of.os().to_string() == "linux" && of.architecture().to_string() == platform.architecture,
    };
    let is_exact = |entry: &&Descriptor| {
        let variant = entry.platform().as_ref().and_then(|of| of.variant().as_deref()).unwrap_or_default();
        variant == platform.variant || variant.is_empty()
    };
    let fitting: Vec<&Descriptor> = index.manifests().iter().filter(fits).collect();
    let best = fitting.iter().copied().find(is_exact).or(fitting.first().copied());
    best.ok_or_else(|| ImageError::NoPlatform { name: name.to_owned(), platform: platform.describe() })
}

/// The digest of each layer's content, unpacked, from below; as many as there are layers.
pub fn diff_ids(config: &ImageConfiguration, layers: usize) -> Result<Vec<Digest>, ImageError> {
    let texts = config.rootfs().diff_ids();
    if texts.len() != layers {
        let why = format!("it names {} layers, and the image has {layers}", texts.len());
        return Err(ImageError::malformed("image configuration", why));
    }
    if layers > MAX_LAYERS {
        return Err(ImageError::TooLarge { what: "image".to_owned(), limit: format!("{MAX_LAYERS} layers") });
    }
    texts.iter().map(|text| digest::parse("layer", text)).collect()
}

pub fn configuration(bytes: &[u8]) -> Result<ImageConfiguration, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::malformed("image configuration", error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(number: u8, platform: &serde_json::Value) -> serde_json::Value {
        let digest = format!("sha256:{}", format!("{number:02x}").repeat(32));
        let mut entry = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 7});
        if !platform.is_null() {
            entry["platform"] = platform.clone();
        }
        entry
    }

    #[test]
    fn the_image_for_the_machine_is_chosen() {
        let amd64 = Platform { architecture: "amd64", variant: "" };
        let arm64 = Platform { architecture: "arm64", variant: "v8" };
        let of = |architecture: &str| json!({"os": "linux", "architecture": architecture});
        let variant =
            |architecture: &str, name: &str| json!({"os": "linux", "architecture": architecture, "variant": name});
        let unknown = json!({"os": "unknown", "architecture": "unknown"});
        for (platforms, platform, expect) in [
            (vec![of("arm64"), of("amd64")], amd64, Some(1)),
            (vec![unknown.clone(), of("amd64"), of("amd64")], amd64, Some(1)),
            (vec![json!({"os": "windows", "architecture": "amd64"})], amd64, None),
            (vec![variant("arm64", "v9"), variant("arm64", "v8")], arm64, Some(1)),
            (vec![variant("arm64", "v9")], arm64, Some(0)),
            (vec![json!(null)], arm64, Some(0)),
            (vec![], amd64, None),
        ] {
            let manifests: Vec<_> = (0..).zip(&platforms).map(|(number, of)| entry(number, of)).collect();
            let bytes = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": manifests})).unwrap();
            let Parsed::Index(index) = parse(&bytes).unwrap() else { panic!("an index") };
            let chosen = choose(&index, platform, "web").ok();
            let at = chosen.and_then(|one| index.manifests().iter().position(|entry| entry == one));
            assert_eq!(at, expect, "{platforms:?}");
        }
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        for (text, why) in [
            ("[]", "invalid length"),
            ("7", "invalid type"),
            ("{\"schemaVersion\":1,\"fsLayers\":[]}", "schema version 1"),
            ("{\"schemaVersion\":2,\"manifests\":[],\"config\":{},\"layers\":[]}", "both"),
            ("{\"schemaVersion\":2,\"layers\":[]}", "missing field `config`"),
        ] {
            let Err(error) = parse(text.as_bytes()) else { panic!("{text} is taken") };
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }
}
