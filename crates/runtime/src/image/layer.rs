//! A layer's archive becomes a directory that overlayfs can stack (OCI image specification, "Image Layer Filesystem
//! Changeset").
//!
//! Nothing in an archive is trusted. Every path is resolved by the kernel inside the directory (`openat2`), links are never
//! followed out of it, and what an archive may take of memory and disk is bounded.

pub(super) mod content;
#[cfg(test)]
mod tests;

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
        fchmod, fchown, fsetxattr, futimens, linkat, lsetxattr, makedev, mkdirat, mknodat, openat, openat2, statat,
        symlinkat, syncfs, unlinkat, utimensat,
    },
    io::Errno,
};
use tar::{Archive, Entry, EntryType};

use super::{
    ImageError,
    digest::{Hasher, HashingReader},
};
use content::Allowance;

/// Headers of one entry: names and extended attributes.
const MAX_HEADER_BYTES: u64 = 2 << 20;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names of another union file system's own.
const AUFS: &[u8] = b".wh..wh.";
const XATTR: &[u8] = b"SCHILY.xattr.";
const TAKES: usize = 128 << 10;

/// What one layer may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub unpacked_bytes: u64,
    pub entries: u64,
}

/// What has become of an archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// The digest of the archive without its compression.
    pub diff_id: String,
    /// What is in its files.
    pub size_bytes: u64,
}

/// Unpacks an archive, compressed in whatever way, into an empty directory. All is on disk when it returns. After an error
/// the directory is good for nothing. `layer` names the layer in errors.
pub fn unpack(
    layer: &str,
    archive: impl Read,
    hasher: Hasher,
    root: &Path,
    limits: Limits,
) -> Result<Unpacked, ImageError> {
    let broken = |error: io::Error| of_content(layer, error);
    let decoded = content::decoded(archive).map_err(broken)?;
    let allowance = Allowance::default();
    let mut reader = allowance.reader(HashingReader::new(decoded, hasher));
    let directory = File::open(root).map_err(ImageError::at(root))?;
    let mut tree = Tree { layer, root: directory.into(), late: Vec::new(), buffer: vec![0; TAKES] };
    let mut archive = Archive::new(&mut reader);
    let (mut size_bytes, mut count) = (0, 0);
    let mut entries = archive.entries().map_err(broken)?;
    loop {
        allowance.set(MAX_HEADER_BYTES);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(broken)?;
        count += 1;
        size_bytes += entry.size();
        let too_large = |limit: String| ImageError::TooLarge { what: format!("layer {layer}"), limit };
        if count > limits.entries {
            return Err(too_large(format!("{} entries", limits.entries)));
        }
        if size_bytes > limits.unpacked_bytes {
            return Err(too_large(format!("{} bytes, which is what the disk has for it", limits.unpacked_bytes)));
        }
        allowance.set(u64::MAX);
        tree.add(&mut entry)?;
        // What nobody wanted is read past here, so that the next headers are all that the next turn reads.
        io::copy(&mut entry, &mut io::sink()).map_err(broken)?;
    }
    allowance.set(u64::MAX);
    // What follows the archive's end counts for its digest.
    io::copy(&mut reader, &mut io::sink()).map_err(broken)?;
    tree.finish()?;
    Ok(Unpacked { diff_id: reader.into_inner().hasher.finish(), size_bytes })
}

/// The download's own error, if that is what it is.
fn of_content(layer: &str, error: io::Error) -> ImageError {
    match error.downcast::<ImageError>() {
        Ok(error) => error,
        Err(error) => ImageError::malformed(format!("layer {layer}"), error),
    }
}

/// What was in an entry's place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Directory,
    /// The mark that hides what lower layers have there.
    Whiteout,
    Other,
}

/// The directory that comes about.
struct Tree<'a> {
    layer: &'a str,
    root: OwnedFd,
    /// Directories get their times when nothing changes in them any more.
    late: Vec<(PathBuf, i64)>,
    buffer: Vec<u8>,
}

/// Owner, mode and attributes of an entry.
struct Meta {
    owner: (u32, u32),
    mode: Mode,
    modified: i64,
    attributes: Vec<(OsString, Vec<u8>)>,
}

impl Tree<'_> {
    fn add(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), ImageError> {
        let named = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        self.place(entry, &named).map_err(|error| match error.downcast::<ImageError>() {
            Ok(error) => error,
            Err(error) => ImageError::Layer { layer: self.layer.to_owned(), path: named, why: error.to_string() },
        })
    }

    fn place(&mut self, entry: &mut Entry<'_, impl Read>, named: &Path) -> io::Result<()> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let path = inside(named)?;
        let meta = Meta::of(entry)?;
        let Some(name) = path.file_name() else {
            return self.set_root(&meta);
        };
        let parent = self.parent(&path)?;
        if name.as_bytes().starts_with(WHITEOUT) {
            return hide(&parent, name.as_bytes());
        }
        let before = clear(&parent, name, kind == EntryType::Directory)?;
        match kind {
            EntryType::Directory => {
                if before != Before::Directory {
                    mkdirat(&parent, name, Mode::RWXU)?;
                }
                if before == Before::Whiteout {
                    lsetxattr(through(&parent, name), "trusted.overlay.opaque", b"y", XattrFlags::empty())?;
                }
                meta.set_at(&parent, name)?;
                self.late.push((path, meta.modified));
            }
            EntryType::Regular | EntryType::Continuous => self.write(entry, &parent, name, &meta)?,
            EntryType::Symlink => {
                symlinkat(target(entry)?, &parent, name)?;
                meta.set_owner_and_time_at(&parent, name)?;
            }
            EntryType::Link => {
                let source = inside(&target(entry)?)?;
                let Some(source_name) = source.file_name() else {
                    return Err(refused("it links to the root"));
                };
                let beside = self.directory(source.parent().unwrap_or(Path::new("")))?;
                linkat(&beside, source_name, &parent, name, AtFlags::empty())?;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let device = |entry: &Entry<'_, _>| -> io::Result<u64> {
                    let header = entry.header();
                    let (major, minor) = (header.device_major()?, header.device_minor()?);
                    Ok(makedev(major.unwrap_or_default(), minor.unwrap_or_default()))
                };
                let (file_type, device) = match kind {
                    EntryType::Char => (FileType::CharacterDevice, device(entry)?),
                    EntryType::Block => (FileType::BlockDevice, device(entry)?),
                    _ => (FileType::Fifo, 0),
                };
                mknodat(&parent, name, file_type, Mode::RUSR | Mode::WUSR, device)?;
                meta.set_owner_and_time_at(&parent, name)?;
                chmodat(&parent, name, meta.mode, AtFlags::empty())?;
            }
            other => return Err(refused(&format!("entries of type {other:?} have no place in an image"))),
        }
        Ok(())
    }

    fn write(&mut self, entry: &mut impl Read, parent: &OwnedFd, name: &OsStr, meta: &Meta) -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?);
        loop {
            match entry.read(&mut self.buffer)? {
                0 => break,
                count => file.write_all(&self.buffer[..count])?,
            }
        }
        let (owner, group) = meta.owner();
        fchown(&file, owner, group)?;
        // After the owner: changing that takes away what lets a file run as somebody else.
        fchmod(&file, meta.mode)?;
        for (name, value) in &meta.attributes {
            fsetxattr(&file, name, value, XattrFlags::empty())?;
        }
        futimens(&file, &times(meta.modified))?;
        Ok(())
    }

    fn set_root(&mut self, meta: &Meta) -> io::Result<()> {
        let (owner, group) = meta.owner();
        fchown(&self.root, owner, group)?;
        fchmod(&self.root, meta.mode)?;
        self.late.push((PathBuf::new(), meta.modified));
        Ok(())
    }

    /// Where an entry goes; directories that the archive left out are made.
    fn parent(&self, path: &Path) -> io::Result<OwnedFd> {
        let above = path.parent().unwrap_or(Path::new(""));
        match self.directory(above) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let mut made = PathBuf::new();
        for part in above.components() {
            let directory = self.directory(&made)?;
            match mkdirat(&directory, part.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => made.push(part),
                Err(error) => return Err(error.into()),
            }
        }
        self.directory(above)
    }

    /// A directory of the tree. Links on the way lead to where they would in a container that has this as its root.
    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&self.root, path, flags, Mode::empty(), resolve)?)
    }

    fn finish(&mut self) -> Result<(), ImageError> {
        let failed = |path: &Path, error: io::Error| ImageError::Layer {
            layer: self.layer.to_owned(),
            path: path.to_owned(),
            why: error.to_string(),
        };
        for (path, modified) in self.late.iter().rev() {
            // One that was replaced since has the time of what replaced it.
            match self.directory(path) {
                Ok(directory) => utimensat(&directory, ".", &times(*modified), AtFlags::empty())
                    .map_err(|error| failed(path, error.into()))?,
                Err(error) if matches!(error.raw_os_error(), Some(2 | 20)) => {}
                Err(error) => return Err(failed(path, error)),
            }
        }
        syncfs(&self.root).map_err(|error| failed(Path::new(""), error.into()))
    }
}

impl Meta {
    fn of(entry: &mut Entry<'_, impl Read>) -> io::Result<Self> {
        let mut attributes = Vec::new();
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            let Some(name) = extension.key_bytes().strip_prefix(XATTR) else { continue };
            // Others would speak to overlayfs, or to a policy of the host.
            if name == b"security.capability" || name.starts_with(b"user.") {
                attributes.push((OsStr::from_bytes(name).to_owned(), extension.value_bytes().to_vec()));
            }
        }
        let header = entry.header();
        let fields = header.as_old();
        let id = |field: &[u8], id: io::Result<u64>| {
            let id = number(field, id)?;
            u32::try_from(id).map_err(|_| refused(&format!("{id} is no user or group")))
        };
        let mode = number(&fields.mode, header.mode().map(u64::from))?;
        let modified = number(&fields.mtime, header.mtime())?;
        Ok(Self {
            owner: (id(&fields.uid, header.uid())?, id(&fields.gid, header.gid())?),
            mode: Mode::from_raw_mode(u32::try_from(mode & 0o7777).unwrap_or_default()),
            modified: i64::try_from(modified).unwrap_or_default(),
            attributes,
        })
    }

    fn owner(&self) -> (Option<Uid>, Option<Gid>) {
        (Some(Uid::from_raw(self.owner.0)), Some(Gid::from_raw(self.owner.1)))
    }

    fn set_owner_and_time_at(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let (owner, group) = self.owner();
        chownat(parent, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
        utimensat(parent, name, &times(self.modified), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// For what is no link.
    fn set_at(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let (owner, group) = self.owner();
        chownat(parent, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
        chmodat(parent, name, self.mode, AtFlags::empty())?;
        for (attribute, value) in &self.attributes {
            lsetxattr(through(parent, name), attribute, value, XattrFlags::empty())?;
        }
        Ok(())
    }
}

/// A field that its writer left empty is zero, as other readers have it.
fn number(field: &[u8], parsed: io::Result<u64>) -> io::Result<u64> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(0) } else { parsed }
}

fn times(modified: i64) -> Timestamps {
    let time = Timespec { tv_sec: modified, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn refused(why: &str) -> io::Error {
    io::Error::other(why.to_owned())
}

/// A path as it is below the root, without what could lead out of it.
fn inside(path: &Path) -> io::Result<PathBuf> {
    let mut inside = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(refused("it leads out of the layer")),
        }
    }
    Ok(inside)
}

/// What a link names.
fn target(entry: &Entry<'_, impl Read>) -> io::Result<PathBuf> {
    match entry.link_name_bytes() {
        Some(name) if !name.is_empty() => Ok(PathBuf::from(OsStr::from_bytes(&name))),
        _ => Err(refused("it is a link to nothing")),
    }
}

/// A name in an open directory, for calls that only know paths. The name itself must be no link.
fn through(directory: &OwnedFd, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name)
}

/// Makes room for an entry: of two with one name the later counts, and only directories come together.
fn clear(parent: &OwnedFd, name: &OsStr, for_directory: bool) -> io::Result<Before> {
    let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Before::Nothing),
        Err(error) => return Err(error.into()),
    };
    let file_type = FileType::from_raw_mode(stat.st_mode);
    if file_type != FileType::Directory {
        unlinkat(parent, name, AtFlags::empty())?;
        let is_whiteout = file_type == FileType::CharacterDevice && stat.st_rdev == 0;
        return Ok(if is_whiteout { Before::Whiteout } else { Before::Other });
    }
    if for_directory {
        return Ok(Before::Directory);
    }
    fs::remove_dir_all(through(parent, name))?;
    Ok(Before::Other)
}

/// Carries out a whiteout: it hides what the layers below have, and nothing of this one.
fn hide(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    if name == OPAQUE {
        let directory = through(parent, OsStr::new("."));
        return Ok(lsetxattr(directory, "trusted.overlay.opaque", b"y", XattrFlags::empty())?);
    }
    if name.starts_with(AUFS) {
        return Ok(());
    }
    let hidden = OsStr::from_bytes(&name[WHITEOUT.len()..]);
    if hidden.is_empty() || hidden == "." || hidden == ".." {
        return Err(refused("it hides nothing that could be there"));
    }
    match statat(parent, hidden, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0)?),
        Err(error) => Err(error.into()),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            Ok(lsetxattr(through(parent, hidden), "trusted.overlay.opaque", b"y", XattrFlags::empty())?)
        }
        // A file of this layer hides the lower ones by itself.
        Ok(_) => Ok(()),
    }
}
