//! Images in a file or a directory: what `docker save` writes, and OCI image layouts.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use oci_spec::image::{Descriptor, Digest, ImageIndex, ImageManifest};
use serde::Deserialize;

use super::{
    ImageError, ImageName, digest,
    layer::content::{self, Allowance},
    manifest::{self, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Parsed, Platform},
};

/// Files in one archive.
const MAX_MEMBERS: usize = 100_000;
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Names that `docker save` writes, and a layout's.
const DOCKER: &str = "manifest.json";
const LAYOUT: &str = "index.json";
/// Where layouts say what an image is called: in full, or as its writer likes.
const FULL_NAME: &str = "io.containerd.image.name";
const SOME_NAME: &str = "org.opencontainers.image.ref.name";

/// An image in an archive.
#[derive(Debug)]
pub struct Found {
    pub names: Vec<ImageName>,
    /// Docker's own form has none.
    pub manifest: Option<Digest>,
    pub config: Vec<u8>,
    /// Where its layers are, from below.
    pub layers: Vec<String>,
}

/// Files by their names.
#[derive(Clone)]
pub enum Archive {
    Directory(PathBuf),
    File { file: Arc<File>, members: Arc<HashMap<PathBuf, Member>> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    At {
        offset: u64,
        size_bytes: u64,
    },
    /// Docker writes a layer once, and then links to it.
    Link(PathBuf),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Archive {
    /// `scratch` is a directory in which a compressed archive may be unfolded; nothing of it remains.
    pub fn open(path: &Path, scratch: &Path) -> Result<Self, ImageError> {
        if path.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        let given = File::open(path).map_err(ImageError::at(path))?;
        let file = plain(given, scratch).map_err(|error| malformed(path.display(), error))?;
        let members = members(&file).map_err(|error| malformed(path.display(), error))?;
        Ok(Self::File { file: Arc::new(file), members: Arc::new(members) })
    }

    /// The images in it for this platform.
    pub fn images(&self, platform: Platform) -> Result<Vec<Found>, ImageError> {
        let mut found = match self.read(LAYOUT, MAX_MANIFEST_BYTES)? {
            Some(bytes) => self.of_layout(&bytes, platform)?,
            None => Vec::new(),
        };
        if let Some(bytes) = self.read(DOCKER, MAX_MANIFEST_BYTES)? {
            let images: Vec<DockerImage> = serde_json::from_slice(&bytes).map_err(|error| malformed(DOCKER, error))?;
            for image in images {
                self.add_of_docker(image, &mut found)?;
            }
        }
        match found.is_empty() {
            true => Err(malformed("archive", format!("it has no image for this platform in {LAYOUT} or {DOCKER}"))),
            false => Ok(found),
        }
    }

    /// A layer, compressed or not.
    pub fn layer(&self, name: &str) -> Result<Box<dyn Read + Send>, ImageError> {
        self.find(name)?.ok_or_else(|| malformed("archive", format!("{name} is missing")))
    }

    fn of_layout(&self, bytes: &[u8], platform: Platform) -> Result<Vec<Found>, ImageError> {
        let index: ImageIndex = serde_json::from_slice(bytes).map_err(|error| malformed(LAYOUT, error))?;
        let mut found = Vec::new();
        for entry in index.manifests() {
            // Of a list of images only those for this platform are asked for.
            let alone = serde_json::json!({"schemaVersion": 2, "manifests": [entry]});
            let alone: ImageIndex = serde_json::from_value(alone).map_err(|error| malformed(LAYOUT, error))?;
            if manifest::choose(&alone, platform, "").is_err() {
                continue;
            }
            let named = entry.annotations().iter().flatten();
            let names = named.filter(|(key, value)| *key == FULL_NAME || *key == SOME_NAME && is_name(value));
            let names = names.map(|(_, name)| name.parse()).collect::<Result<Vec<ImageName>, _>>()?;
            let (manifest, top) = self.manifest(entry, platform)?;
            let config = self.verified(manifest.config(), MAX_CONFIG_BYTES)?;
            let layers = manifest.layers().iter().map(|layer| blob(layer.digest())).collect();
            found.push(Found { names, manifest: Some(top), config, layers });
        }
        Ok(found)
    }

    /// An image's manifest, and the digest that it is known by: that of a list where it stands in one.
    fn manifest(&self, entry: &Descriptor, platform: Platform) -> Result<(ImageManifest, Digest), ImageError> {
        let bytes = self.verified(entry, MAX_MANIFEST_BYTES)?;
        match manifest::parse(&bytes)? {
            Parsed::Manifest(manifest) => Ok((*manifest, entry.digest().clone())),
            Parsed::Index(index) => {
                let chosen = manifest::choose(&index, platform, entry.digest().as_ref())?;
                match manifest::parse(&self.verified(chosen, MAX_MANIFEST_BYTES)?)? {
                    Parsed::Manifest(manifest) => Ok((*manifest, entry.digest().clone())),
                    Parsed::Index(_) => Err(malformed("manifest", "a list of lists")),
                }
            }
        }
    }

    fn add_of_docker(&self, image: DockerImage, found: &mut Vec<Found>) -> Result<(), ImageError> {
        let tags = image.repo_tags.unwrap_or_default();
        let names = tags.iter().map(|tag| tag.parse()).collect::<Result<Vec<ImageName>, _>>()?;
        let config = self.read(&image.config, MAX_CONFIG_BYTES)?;
        let config = config.ok_or_else(|| malformed("archive", format!("{} is missing", image.config)))?;
        match found.iter_mut().find(|known| known.config == config) {
            Some(known) => known.names.extend(names),
            None => found.push(Found { names, manifest: None, config, layers: image.layers }),
        }
        Ok(())
    }

    fn verified(&self, descriptor: &Descriptor, limit_bytes: u64) -> Result<Vec<u8>, ImageError> {
        let name = blob(descriptor.digest());
        let bytes = self.read(&name, limit_bytes)?;
        let bytes = bytes.ok_or_else(|| malformed("archive", format!("{name} is missing")))?;
        digest::verify(&name, &bytes, descriptor.digest())?;
        Ok(bytes)
    }

    fn read(&self, name: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let Some(content) = self.find(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        content.take(limit_bytes + 1).read_to_end(&mut bytes).map_err(|error| malformed(name, error))?;
        match bytes.len() as u64 > limit_bytes {
            true => Err(ImageError::TooLarge { what: name.to_owned(), limit: format!("{limit_bytes} bytes") }),
            false => Ok(Some(bytes)),
        }
    }

    fn find(&self, name: &str) -> Result<Option<Box<dyn Read + Send>>, ImageError> {
        let path =
            plain_path(Path::new(name)).ok_or_else(|| malformed("archive", format!("{name:?} leads out of it")))?;
        match self {
            Self::Directory(directory) => match File::open(directory.join(&path)) {
                Ok(file) => Ok(Some(Box::new(file))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(ImageError::at(directory.join(path))(error)),
            },
            Self::File { file, members } => {
                let member = match members.get(&path) {
                    Some(Member::Link(target)) => members.get(target),
                    other => other,
                };
                match member {
                    Some(Member::At { offset, size_bytes }) => {
                        let slice = Slice { file: Arc::clone(file), offset: *offset, left_bytes: *size_bytes };
                        Ok(Some(Box::new(slice)))
                    }
                    Some(Member::Link(_)) => Err(malformed("archive", format!("{name} is a link to a link"))),
                    None => Ok(None),
                }
            }
        }
    }
}

fn malformed(what: impl ToString, why: impl ToString) -> ImageError {
    ImageError::malformed(what.to_string(), why)
}

/// Where a layout keeps what has a digest.
fn blob(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.digest())
}

/// A tag alone (`v1`) is no name of an image.
fn is_name(text: &str) -> bool {
    text.contains(['/', ':'])
}

/// Below the root of an archive; `None` if it leads out.
fn plain_path(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::ParentDir if plain.pop() => {}
            _ => return None,
        }
    }
    Some(plain)
}

/// The archive without compression, in which one can jump.
fn plain(mut given: File, scratch: &Path) -> io::Result<File> {
    let mut start = [0; 512];
    let count = given.read(&mut start)?;
    given.seek(SeekFrom::Start(0))?;
    if !content::is_compressed(&start[..count]) {
        return Ok(given);
    }
    let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let mut unfolded = File::from(rustix::fs::open(scratch, flags, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?);
    io::copy(&mut content::decoded(given)?, &mut unfolded)?;
    unfolded.flush()?;
    unfolded.seek(SeekFrom::Start(0))?;
    Ok(unfolded)
}

fn members(file: &File) -> io::Result<HashMap<PathBuf, Member>> {
    let allowance = Allowance::default();
    let mut archive = tar::Archive::new(allowance.reader(file));
    let mut members = HashMap::new();
    let mut entries = archive.entries()?;
    loop {
        allowance.set(MAX_HEADER_BYTES);
        let Some(entry) = entries.next() else { return Ok(members) };
        let mut entry = entry?;
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(&entry.path_bytes()));
        let Some(path) = plain_path(&path) else { continue };
        let above = path.parent().unwrap_or(Path::new(""));
        let link = |entry: &tar::Entry<'_, _>| -> Option<PathBuf> {
            Some(PathBuf::from(std::ffi::OsStr::from_bytes(&entry.link_name_bytes()?)))
        };
        let member = match entry.header().entry_type() {
            tar::EntryType::Regular => Some(Member::At { offset: entry.raw_file_position(), size_bytes: entry.size() }),
            tar::EntryType::Symlink => link(&entry).and_then(|to| plain_path(&above.join(to))).map(Member::Link),
            tar::EntryType::Link => link(&entry).and_then(|to| plain_path(&to)).map(Member::Link),
            _ => None,
        };
        members.extend(member.map(|member| (path, member)));
        if members.len() > MAX_MEMBERS {
            return Err(io::Error::other(format!("more than {MAX_MEMBERS} files")));
        }
        allowance.set(u64::MAX);
        io::copy(&mut entry, &mut io::sink())?;
    }
}

/// A part of a file that others read too.
struct Slice {
    file: Arc<File>,
    offset: u64,
    left_bytes: u64,
}

impl Read for Slice {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left_bytes).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..most], self.offset)?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        self.left_bytes -= count as u64;
        Ok(count)
    }
}
