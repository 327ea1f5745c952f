//! What is kept: unpacked layers, each once however many images have it, and a record for each image.
//!
//! ```text
//! DIR/layers/HEX/root        what overlayfs stacks; the directory's name is the layer's diff ID
//! DIR/layers/HEX/size_bytes
//! DIR/images/HEX.json        a record; its name is the image's ID, the digest of its configuration
//! ```
//! What is there is whole: it was made beside and renamed. What begins with a dot is not.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures_util::{StreamExt, TryStreamExt, stream};
use oci_spec::image::{Digest, ImageConfiguration, ImageManifest};
use parking_lot::Mutex;
use rustix::fs::statvfs;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::{
    Credentials, ImageError, ImageName, Registry,
    archive::Archive,
    collect::Disk,
    digest,
    layer::{self, Limits},
    manifest::{self, MAX_CONFIG_BYTES, Parsed, Platform},
};

/// Layers of one image that are fetched at the same time.
const AT_ONCE: usize = 3;
const MAX_ENTRIES: u64 = 4_000_000;
/// The part of the disk that no layer may take, in percent.
const RESERVE_PERCENT: u64 = 5;

/// An image that is here.
#[derive(Debug)]
pub struct Image {
    /// The digest of its configuration.
    pub id: String,
    pub configuration: ImageConfiguration,
    /// Full names with tags.
    pub tags: BTreeSet<String>,
    /// `registry/repository@digest`, by which it was pulled.
    pub digests: BTreeSet<String>,
    /// What its layers' files take.
    pub size_bytes: u64,
    /// Diff IDs, from below.
    layers: Vec<Digest>,
    record: Record,
}

/// An image as it is written down.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    id: String,
    tags: BTreeSet<String>,
    digests: BTreeSet<String>,
    /// To the letter, because the ID is its digest.
    configuration: String,
}

/// The images of a node.
pub struct Images {
    directory: PathBuf,
    registry: Arc<Registry>,
    state: Mutex<State>,
    /// Each layer is made by one at a time.
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    numbers: AtomicU64,
}

#[derive(Default)]
struct State {
    images: BTreeMap<String, Arc<Image>>,
    /// Layers of images that are on their way, and how many need them.
    pinned: HashMap<String, usize>,
}

/// Keeps layers that no record names yet.
struct Pins<'a> {
    images: &'a Images,
    layers: Vec<String>,
}

impl Drop for Pins<'_> {
    fn drop(&mut self) {
        let pinned = &mut self.images.state.lock().pinned;
        for layer in &self.layers {
            if let Some(count) = pinned.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    pinned.remove(layer);
                }
            }
        }
    }
}

impl Images {
    /// Reads what is kept in a directory, and removes what was not finished. A record that cannot be read, or that misses a
    /// layer, costs its image, and a line in the log.
    pub fn open(directory: &Path, registry: Arc<Registry>) -> Result<Self, ImageError> {
        let directory = directory.to_owned();
        for part in ["layers", "images"] {
            let part = directory.join(part);
            fs::create_dir_all(&part).map_err(ImageError::at(&part))?;
            for entry in fs::read_dir(&part).map_err(ImageError::at(&part))? {
                let path = entry.map_err(ImageError::at(&part))?.path();
                if is_unfinished(&path) {
                    remove(&path)?;
                }
            }
        }
        let (turns, numbers) = (Mutex::default(), AtomicU64::new(0));
        let images = Self { directory, registry, state: Mutex::default(), turns, numbers };
        let records = images.directory.join("images");
        for entry in fs::read_dir(&records).map_err(ImageError::at(&records))? {
            let path = entry.map_err(ImageError::at(&records))?.path();
            match images.read_record(&path) {
                Ok(image) => drop(images.state.lock().images.insert(image.id.clone(), Arc::new(image))),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "an image is given up");
                    remove(&path)?;
                }
            }
        }
        images.sweep()?;
        Ok(images)
    }

    /// Fetches an image, as the first of the users that may. `None` of them: as nobody.
    pub async fn pull(&self, name: &ImageName, users: &[Credentials]) -> Result<Arc<Image>, ImageError> {
        let everybody = users.iter().map(Some).chain(users.is_empty().then_some(None));
        let mut refused = None;
        for user in everybody {
            match self.pull_as(name, user).await {
                Err(error @ (ImageError::Unauthorized { .. } | ImageError::NotFound { .. })) => refused = Some(error),
                other => return other,
            }
        }
        Err(refused.unwrap_or_else(|| ImageError::NotFound { what: name.to_string() }))
    }

    async fn pull_as(&self, name: &ImageName, user: Option<&Credentials>) -> Result<Arc<Image>, ImageError> {
        let (manifest, found) = self.manifest(name, user).await?;
        let config = self.registry.small_blob(name, manifest.config(), MAX_CONFIG_BYTES, user).await?;
        let configuration = manifest::configuration(&config)?;
        let diff_ids = manifest::diff_ids(&configuration, manifest.layers().len())?;
        let pins = self.pin(&diff_ids);
        let layers = diff_ids.iter().zip(manifest.layers());
        let fetch = layers.map(|(diff_id, descriptor)| {
            let open = move || self.registry.blob(name, descriptor, user);
            self.ensure_layer(diff_id.clone(), open)
        });
        stream::iter(fetch).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let digests = [format!("{}@{found}", name.place())].into();
        let image = self.keep(&config, name.tagged().into_iter().collect(), digests);
        drop(pins);
        image
    }

    async fn manifest(
        &self,
        name: &ImageName,
        user: Option<&Credentials>,
    ) -> Result<(ImageManifest, Digest), ImageError> {
        let (bytes, found) = self.registry.manifest(name, name.wanted(), user).await?;
        let index = match manifest::parse(&bytes)? {
            Parsed::Manifest(manifest) => return Ok((*manifest, found)),
            Parsed::Index(index) => index,
        };
        let chosen = manifest::choose(&index, Platform::current(), &name.to_string())?;
        let (bytes, _) = self.registry.manifest(name, chosen.digest().as_ref(), user).await?;
        match manifest::parse(&bytes)? {
            Parsed::Manifest(manifest) => Ok((*manifest, found)),
            Parsed::Index(_) => Err(ImageError::malformed("manifest", "a list of lists")),
        }
    }

    /// Takes in the images of a file: what `docker save` writes, or an OCI layout, as a directory too.
    pub async fn import(&self, path: &Path) -> Result<Vec<Arc<Image>>, ImageError> {
        let (from, scratch) = (path.to_owned(), self.directory.join("layers"));
        let opened = spawn_blocking(move || {
            let archive = Archive::open(&from, &scratch)?;
            let images = archive.images(Platform::current())?;
            Ok((archive, images))
        });
        let (archive, found) = joined(opened.await)?;
        let mut images = Vec::new();
        for one in found {
            let configuration = manifest::configuration(&one.config)?;
            let diff_ids = manifest::diff_ids(&configuration, one.layers.len())?;
            let pins = self.pin(&diff_ids);
            for (diff_id, layer) in diff_ids.iter().zip(&one.layers) {
                self.ensure_layer(diff_id.clone(), || archive.layer(layer)).await?;
            }
            let tags = one.names.iter().filter_map(ImageName::tagged).collect();
            let digest = |name: &ImageName| one.manifest.as_ref().map(|digest| format!("{}@{digest}", name.place()));
            images.push(self.keep(&one.config, tags, one.names.iter().filter_map(digest).collect())?);
            drop(pins);
        }
        Ok(images)
    }

    /// An image by a name as people write it, or by its ID.
    pub fn find(&self, name: &str) -> Option<Arc<Image>> {
        let state = self.state.lock();
        if let Some(image) = state.images.get(name) {
            return Some(Arc::clone(image));
        }
        let name: ImageName = name.parse().ok()?;
        let by_digest = name.digest().map(|digest| format!("{}@{digest}", name.place()));
        let tagged = name.tagged();
        let has = |image: &&Arc<Image>| match &by_digest {
            Some(digest) => image.digests.contains(digest),
            None => tagged.as_ref().is_some_and(|tag| image.tags.contains(tag)),
        };
        state.images.values().find(has).cloned()
    }

    /// All of them, by their IDs.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.state.lock().images.values().cloned().collect()
    }

    /// Forgets an image, and removes the layers that no other has. Who calls sees to it that no container uses it.
    pub fn remove(&self, id: &str) -> Result<(), ImageError> {
        let Some(image) = self.state.lock().images.remove(id) else { return Ok(()) };
        remove(&self.record_path(&image.id)?)?;
        self.sweep()
    }

    /// The directories of an image's layers, from below.
    pub fn layer_roots(&self, image: &Image) -> Vec<PathBuf> {
        image.layers.iter().map(|layer| self.layer_path(layer).join("root")).collect()
    }

    /// The file system that images are on.
    pub fn disk(&self) -> Result<Disk, ImageError> {
        let found = statvfs(&self.directory).map_err(|error| ImageError::at(&self.directory)(error.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Disk { capacity_bytes: bytes(found.f_blocks), available_bytes: bytes(found.f_bavail) })
    }

    fn pin(&self, layers: &[Digest]) -> Pins<'_> {
        let layers: Vec<String> = layers.iter().map(file_name).collect();
        let mut state = self.state.lock();
        for layer in &layers {
            *state.pinned.entry(layer.clone()).or_default() += 1;
        }
        Pins { images: self, layers }
    }

    /// Makes a layer, if it is not there.
    async fn ensure_layer<R: Read + Send + 'static>(
        &self,
        diff_id: Digest,
        open: impl FnOnce() -> Result<R, ImageError>,
    ) -> Result<(), ImageError> {
        let turn = self.turn(&diff_id);
        let _turn = turn.lock().await;
        let path = self.layer_path(&diff_id);
        if path.exists() {
            return Ok(());
        }
        let new = self.directory.join("layers").join(format!(".new-{}", self.numbers.fetch_add(1, Relaxed)));
        let Disk { capacity_bytes, available_bytes } = self.disk()?;
        let unpacked_bytes = available_bytes.saturating_sub(capacity_bytes / 100 * RESERVE_PERCENT);
        let limits = Limits { unpacked_bytes, entries: MAX_ENTRIES };
        let wanted = Arc::new(());
        let content = Wanted { content: open()?, by: Arc::downgrade(&wanted) };
        let made = spawn_blocking(move || {
            let made = make_layer(&diff_id, content, &new, &path, limits);
            if made.is_err() {
                // Also what nobody waits for any more does not stay.
                let _ = remove(&new);
            }
            made
        });
        joined(made.await)
    }

    fn turn(&self, layer: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock();
        turns.retain(|_, turn| turn.strong_count() > 0);
        let known = turns.get(layer.as_ref()).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turn = Arc::default();
            turns.insert(layer.to_string(), Arc::downgrade(&turn));
            turn
        })
    }

    /// Writes an image down whose layers are there. A tag that another image had is its from now on.
    fn keep(&self, config: &[u8], tags: BTreeSet<String>, digests: BTreeSet<String>) -> Result<Arc<Image>, ImageError> {
        let configuration = String::from_utf8(config.to_vec());
        let configuration = configuration.map_err(|error| ImageError::malformed("image configuration", error))?;
        let mut record = Record { id: digest::of(config), tags, digests, configuration };
        let mut state = self.state.lock();
        if let Some(known) = state.images.get(&record.id) {
            record.tags.extend(known.tags.iter().cloned());
            record.digests.extend(known.digests.iter().cloned());
        }
        let moved = |other: &&Arc<Image>| other.id != record.id && !other.tags.is_disjoint(&record.tags);
        let others: Vec<Arc<Image>> = state.images.values().filter(moved).cloned().collect();
        let image = self.write_record(record)?;
        for other in others {
            let tags = other.tags.difference(&image.tags).cloned().collect();
            let record = Record { tags, ..other.record.clone() };
            let without = self.write_record(record)?;
            state.images.insert(without.id.clone(), without);
        }
        state.images.insert(image.id.clone(), Arc::clone(&image));
        Ok(image)
    }

    fn write_record(&self, record: Record) -> Result<Arc<Image>, ImageError> {
        let path = self.record_path(&record.id)?;
        let number = self.numbers.fetch_add(1, Relaxed);
        let new = path.with_file_name(format!(".new-{number}"));
        let bytes = serde_json::to_vec(&record).map_err(|error| ImageError::malformed("record", error))?;
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(self.directory.join("images"))?.sync_all()
        };
        write().map_err(ImageError::at(&path))?;
        self.image(record).map(Arc::new)
    }

    fn read_record(&self, path: &Path) -> Result<Image, ImageError> {
        let bytes = fs::read(path).map_err(ImageError::at(path))?;
        let record: Record = serde_json::from_slice(&bytes).map_err(|error| ImageError::malformed("record", error))?;
        digest::verify("image configuration", record.configuration.as_bytes(), &digest::parse("image", &record.id)?)?;
        if self.record_path(&record.id)? != path {
            return Err(ImageError::malformed("record", "it has another's name"));
        }
        self.image(record)
    }

    fn image(&self, record: Record) -> Result<Image, ImageError> {
        let configuration = manifest::configuration(record.configuration.as_bytes())?;
        let layers = manifest::diff_ids(&configuration, configuration.rootfs().diff_ids().len())?;
        let mut size_bytes = 0;
        for layer in &layers {
            let path = self.layer_path(layer).join("size_bytes");
            let text = fs::read_to_string(&path).map_err(ImageError::at(&path))?;
            let bytes: u64 = text.parse().map_err(|error| ImageError::malformed("layer's size", error))?;
            size_bytes += bytes;
        }
        let Record { id, tags, digests, .. } = record.clone();
        Ok(Image { id, configuration, tags, digests, size_bytes, layers, record })
    }

    /// Removes the layers that no image has.
    fn sweep(&self) -> Result<(), ImageError> {
        let layers = self.directory.join("layers");
        let mut unused = Vec::new();
        {
            let state = self.state.lock();
            let used: BTreeSet<String> = state.images.values().flat_map(|image| &image.layers).map(file_name).collect();
            for entry in fs::read_dir(&layers).map_err(ImageError::at(&layers))? {
                let entry = entry.map_err(ImageError::at(&layers))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with('.') || used.contains(&name) || state.pinned.contains_key(&name) {
                    continue;
                }
                // Out of the way while nobody can ask for it, and removed when somebody may again.
                let old = layers.join(format!(".old-{}", self.numbers.fetch_add(1, Relaxed)));
                fs::rename(entry.path(), &old).map_err(ImageError::at(&old))?;
                unused.push(old);
            }
        }
        unused.iter().try_for_each(|path| remove(path))
    }

    fn layer_path(&self, layer: &Digest) -> PathBuf {
        self.directory.join("layers").join(file_name(layer))
    }

    fn record_path(&self, id: &str) -> Result<PathBuf, ImageError> {
        let id = digest::parse("image", id)?;
        Ok(self.directory.join("images").join(format!("{}.json", file_name(&id))))
    }
}

/// Content that is read on only while somebody waits for it: a thread cannot be ended from outside.
struct Wanted<R> {
    content: R,
    by: Weak<()>,
}

impl<R: Read> Read for Wanted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.by.strong_count() {
            0 => Err(io::Error::other("nobody waits for it any more")),
            _ => self.content.read(buffer),
        }
    }
}

/// The hexadecimal digits alone: of two algorithms they differ in length.
fn file_name(digest: &Digest) -> String {
    digest.digest().to_owned()
}

fn is_unfinished(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// Unpacks and verifies a layer beside its place, then puts it there.
fn make_layer(diff_id: &Digest, content: impl Read, new: &Path, path: &Path, limits: Limits) -> Result<(), ImageError> {
    let root = new.join("root");
    fs::create_dir_all(&root).map_err(ImageError::at(&root))?;
    let hasher = digest::Hasher::like(diff_id)?;
    let unpacked = layer::unpack(diff_id.as_ref(), content, hasher, &root, limits)?;
    if unpacked.diff_id != diff_id.as_ref() {
        let what = "unpacked layer".to_owned();
        return Err(ImageError::Digest { what, expected: diff_id.to_string(), found: unpacked.diff_id });
    }
    let finish = || {
        let mut size = File::create(new.join("size_bytes"))?;
        size.write_all(unpacked.size_bytes.to_string().as_bytes())?;
        size.sync_all()?;
        File::open(new)?.sync_all()?;
        fs::rename(new, path)?;
        path.parent().map_or(Ok(()), |above| File::open(above)?.sync_all())
    };
    match finish() {
        // Another has made it meanwhile, for somebody who no longer waits.
        Err(_) if path.exists() => remove(new),
        other => other.map_err(ImageError::at(path)),
    }
}

fn remove(path: &Path) -> Result<(), ImageError> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ImageError::at(path)(error)),
        _ => Ok(()),
    }
}

/// A task that was cut off says so; one that panicked goes on here.
fn joined<T>(result: Result<Result<T, ImageError>, tokio::task::JoinError>) -> Result<T, ImageError> {
    match result {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(ImageError::malformed("work", error)),
    }
}
