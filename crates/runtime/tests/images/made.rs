//! Images made for a test.

use std::{io::Write, path::Path, sync::Arc};

use ring::digest::{SHA256, digest};
use runtime::image::{Image, Images, Registry, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

pub fn sha256(bytes: &[u8]) -> String {
    let hex: String = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// An archive of files.
pub fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image's parts, as a registry has them.
pub struct Made {
    pub manifest: Value,
    pub config: Vec<u8>,
    /// As they are sent.
    pub layers: Vec<Vec<u8>>,
}

impl Made {
    /// From its layers' archives, compressed with gzip and zstd by turns.
    pub fn new(layers: &[Vec<u8>]) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|layer| sha256(layer)).collect();
        let sent = layers.iter().enumerate().map(|(at, layer)| match at % 2 {
            0 => gzip(layer),
            _ => zstd::encode_all(&**layer, 1).unwrap(),
        });
        Self::of(&diff_ids, sent.collect())
    }

    pub fn of(diff_ids: &[String], layers: Vec<Vec<u8>>) -> Self {
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/web"], "Env": ["A=b"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let describe = |kind: &str, bytes: &[u8]| json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": sha256(bytes), "size": bytes.len()});
        let described: Vec<Value> = layers.iter().map(|layer| describe("layer.v1.tar+gzip", layer)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": describe("config.v1+json", &config), "layers": described,
        });
        Self { manifest, config, layers }
    }

    pub fn manifest_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.manifest).unwrap()
    }

    pub fn blobs(&self) -> Vec<Vec<u8>> {
        self.layers.iter().cloned().chain([self.config.clone()]).collect()
    }
}

/// A list in which the image is the one for this machine.
pub fn index(manifest: &[u8]) -> Vec<u8> {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let entry = |architecture: &str, digest: String| {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": manifest.len(),
            "platform": {"os": "linux", "architecture": architecture},
        })
    };
    let manifests = [entry("s390x", sha256(b"another")), entry(architecture, sha256(manifest))];
    serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
    }))
    .unwrap()
}

pub fn store(directory: &TempDir, settings: Settings) -> Images {
    Images::open(directory.path(), Arc::new(Registry::new(settings))).unwrap()
}

/// What a container would see of a file.
pub fn content(images: &Images, image: &Image, path: &str) -> Option<String> {
    let roots = images.layer_roots(image);
    roots.iter().rev().find_map(|root| std::fs::read_to_string(root.join(path)).ok())
}

/// The names in one of a store's directories.
pub fn names(directory: &Path, part: &str) -> Vec<String> {
    let entries = std::fs::read_dir(directory.join(part)).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
