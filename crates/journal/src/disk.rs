//! The file system as the journal and the store see it: small enough to be replaced by one that fails.

use std::{
    fmt::Debug,
    fs, io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

/// Held while a directory is in use; dropping it lets another process in.
pub trait Lock: Debug + Send + Sync {}

/// Tells a file from every other one that exists, whatever its name: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId(pub u64, pub u64);

/// The file a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub id: FileId,
    /// In bytes.
    pub size: u64,
}

pub trait Disk: Debug + Send + Sync + 'static {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// File names, in no order; names that are not UTF-8 are not ours and are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Creates a file, or empties an existing one. Its name is durable after [`Disk::sync_dir`].
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Which file a path leads to, without opening it.
    fn find(&self, path: &Path) -> io::Result<Found>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Fails with [`io::ErrorKind::WouldBlock`] while another holder lives.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
}

pub trait File: Debug + Send + Sync {
    fn size(&self) -> io::Result<u64>;
    fn id(&self) -> io::Result<FileId>;
    /// May read less than asked for; 0 is the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// May write less than asked for.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    fn truncate(&self, size: u64) -> io::Result<()>;
    /// Makes content and size durable. After an error nothing written since the last success can be relied on.
    fn sync(&self) -> io::Result<()>;
}

impl dyn File + '_ {
    pub fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    buffer = &mut buffer[read..];
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The machine's own file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(dir)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(fs::File::options().read(true).write(true).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(fs::File::options().read(true).write(true).create(true).truncate(true).open(path)?))
    }

    fn find(&self, path: &Path) -> io::Result<Found> {
        let metadata = fs::metadata(path)?;
        Ok(Found { id: FileId(metadata.dev(), metadata.ino()), size: metadata.len() })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = fs::File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock()?;
        Ok(Box::new(file))
    }
}

impl Lock for fs::File {}

impl File for fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn id(&self) -> io::Result<FileId> {
        self.metadata().map(|metadata| FileId(metadata.dev(), metadata.ino()))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
