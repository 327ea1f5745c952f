use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use rustix::fs::lgetxattr;
use tar::{Builder, Header};
use tempfile::TempDir;

use super::*;

const LIMITS: Limits = Limits { unpacked_bytes: 1 << 20, entries: 100 };

/// An archive that says whatever it is told to.
struct Written(Builder<Vec<u8>>);

impl Written {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn entry(mut self, kind: EntryType, path: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        // Past the builder's own checks.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o4644 });
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, path, "", content.as_bytes())
    }

    fn directory(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", b"")
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, b"")
    }

    fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn unpacked(archive: &[u8], limits: Limits) -> (TempDir, Result<Unpacked, ImageError>) {
    let outside = TempDir::new().unwrap();
    let root = outside.path().join("root");
    fs::create_dir(&root).unwrap();
    let result = unpack("l1", archive, Hasher::sha256(), &root, limits);
    (outside, result)
}

fn at(outside: &TempDir, path: &str) -> PathBuf {
    outside.path().join("root").join(path)
}

#[test]
fn a_layer_becomes_what_its_archive_says() {
    let archive = Written::new()
        .directory("./")
        .directory("etc/")
        .file("etc/motd", "hello")
        .file("/deep/under/ground", "x")
        .link("bin", "usr/bin")
        .entry(EntryType::Link, "etc/same", "etc/motd", b"")
        .entry(EntryType::Fifo, "pipe", "", b"")
        .file("etc/motd2", "old")
        .file("etc/motd2", "new")
        .bytes();
    let (outside, result) = unpacked(&archive, LIMITS);
    let result = result.unwrap();
    assert_eq!(result, Unpacked { diff_id: crate::image::digest::of(&archive), size_bytes: 5 + 1 + 3 + 3 });
    let motd = fs::metadata(at(&outside, "etc/motd")).unwrap();
    assert_eq!((motd.uid(), motd.gid(), motd.mtime(), motd.nlink()), (7, 8, 1_000_000_000, 2));
    assert_eq!(motd.permissions().mode() & 0o7777, 0o4644, "after its owner was set");
    assert_eq!(fs::read_to_string(at(&outside, "etc/same")).unwrap(), "hello");
    assert_eq!(fs::read_to_string(at(&outside, "etc/motd2")).unwrap(), "new");
    assert_eq!(fs::read_link(at(&outside, "bin")).unwrap(), Path::new("usr/bin"));
    assert_eq!(fs::metadata(at(&outside, "etc")).unwrap().mtime(), 1_000_000_000, "set when all was in it");
    assert!(fs::metadata(at(&outside, "pipe")).unwrap().file_type().is_fifo());
    assert_eq!(fs::metadata(at(&outside, "deep")).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn any_compression_is_known_by_its_first_bytes() {
    let plain = Written::new().file("a", "content").bytes();
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let half = plain.len() / 2;
    let gzip_members = [gzip(&plain[..half]), gzip(&plain[half..])].concat();
    let zstd_frame = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let zstd_frames =
        [b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec(), zstd_frame(&plain[..half]), zstd_frame(&plain[half..])].concat();
    for archive in [plain.clone(), gzip(&plain), gzip_members, zstd_frame(&plain), zstd_frames] {
        let (outside, result) = unpacked(&archive, LIMITS);
        assert_eq!(result.unwrap().diff_id, crate::image::digest::of(&plain));
        assert_eq!(fs::read_to_string(at(&outside, "a")).unwrap(), "content");
    }
}

#[test]
fn whiteouts_hide_lower_layers_and_nothing_of_their_own() {
    let archive = Written::new()
        .file("kept/.wh.gone", "")
        .file("whole/.wh..wh..opq", "")
        .file("here", "x")
        .file(".wh.here", "")
        .directory("both")
        .file(".wh.both", "")
        .file(".wh.again", "")
        .directory("again")
        .file(".wh..wh.plnk", "")
        .bytes();
    let (outside, result) = unpacked(&archive, LIMITS);
    result.unwrap();
    let gone = fs::symlink_metadata(at(&outside, "kept/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    for opaque in ["whole", "both", "again"] {
        let mut value = [0; 1];
        let length = lgetxattr(at(&outside, opaque), "trusted.overlay.opaque", &mut value).unwrap();
        assert_eq!((length, &value), (1, b"y"), "{opaque}");
    }
    assert_eq!(fs::read_to_string(at(&outside, "here")).unwrap(), "x");
    let mut names: Vec<_> = fs::read_dir(at(&outside, "")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["again", "both", "here", "kept", "whole"]);
}

#[test]
fn nothing_leads_out_of_a_layer() {
    for (archive, why) in [
        (Written::new().file("../escaped", "x"), "leads out"),
        (Written::new().file("a/../../escaped", "x"), "leads out"),
        (Written::new().entry(EntryType::Link, "a", "../secret", b""), "leads out"),
        (Written::new().entry(EntryType::Link, "a", "", b""), "link to nothing"),
        (Written::new().entry(EntryType::Link, "a", "/", b""), "links to the root"),
        (Written::new().file("a/.wh...", ""), "hides nothing"),
        (Written::new().file(".wh.", ""), "hides nothing"),
        (Written::new().file("a", "x").file("a/b", "y"), "Not a directory"),
        (Written::new().link("loop", "loop").file("loop/b", "y"), "symbolic links"),
        (Written::new().entry(EntryType::new(b'V'), "a", "", b""), "no place in an image"),
    ] {
        let (outside, result) = unpacked(&archive.bytes(), LIMITS);
        fs::write(outside.path().join("secret"), "s").unwrap();
        let error = result.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(!outside.path().join("escaped").exists());
    }
}

#[test]
fn links_lead_where_they_would_in_a_container() {
    let archive = Written::new()
        .link("up", "../../..")
        .file("up/first", "1")
        .link("absolute", "/etc")
        .directory("etc")
        .file("absolute/second", "2")
        .link("proc", "/proc/self/root")
        .entry(EntryType::Link, "third", "up/first", b"")
        .link("file", "/outside")
        .file("file", "not through the link")
        .bytes();
    let (outside, result) = unpacked(&archive, LIMITS);
    result.unwrap();
    assert_eq!(fs::read_to_string(at(&outside, "first")).unwrap(), "1");
    assert_eq!(fs::read_to_string(at(&outside, "etc/second")).unwrap(), "2");
    assert_eq!(fs::read_to_string(at(&outside, "third")).unwrap(), "1");
    assert!(fs::symlink_metadata(at(&outside, "file")).unwrap().is_file());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "only the layer");
}

#[test]
fn a_layer_has_no_word_with_the_union_file_system() {
    let archive = Written::new()
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", b"/elsewhere"),
            ("SCHILY.xattr.security.selinux", b"any"),
            ("SCHILY.xattr.user.note", b"kept"),
        ])
        .directory("a")
        .bytes();
    let (outside, result) = unpacked(&archive, LIMITS);
    result.unwrap();
    let mut value = [0; 16];
    assert_eq!(lgetxattr(at(&outside, "a"), "user.note", &mut value).unwrap(), 4);
    assert!(lgetxattr(at(&outside, "a"), "trusted.overlay.redirect", &mut value).is_err());
}

#[test]
fn what_a_layer_takes_is_bounded() {
    let large = Written::new().file("a", &"x".repeat(1000)).file("b", &"x".repeat(1000)).bytes();
    let of = |unpacked_bytes, entries| unpacked(&large, Limits { unpacked_bytes, entries }).1;
    assert!(of(2000, 2).is_ok());
    assert!(matches!(of(1999, 2), Err(ImageError::TooLarge { .. })));
    assert!(matches!(of(2000, 1), Err(ImageError::TooLarge { .. })));

    // A header that says it is a whole exabyte, of which nothing comes.
    let mut huge = Header::new_gnu();
    huge.as_old_mut().name[0] = b'a';
    huge.set_entry_type(EntryType::Regular);
    huge.set_size(1 << 60);
    huge.set_cksum();
    let (_outside, result) = unpacked(huge.as_bytes(), LIMITS);
    assert!(matches!(result, Err(ImageError::TooLarge { .. })));

    // A name without end, of which little is sent.
    let name = vec![b'a'; 4 << 20];
    let long = Written::new().entry(EntryType::GNULongName, "././@LongLink", "", &name).file("a", "").bytes();
    let small = zstd::encode_all(&*long, 3).unwrap();
    assert!(small.len() < 4096);
    let (_outside, result) = unpacked(&small, LIMITS);
    assert!(result.unwrap_err().to_string().contains("headers are too long"));
}

#[test]
fn what_is_cut_or_no_archive_is_refused() {
    let archive = Written::new().file("a", &"x".repeat(3000)).bytes();
    for cut in [1, 100, 512, 513, 2000, 3500] {
        let (_outside, result) = unpacked(&archive[..cut], LIMITS);
        assert!(result.is_err(), "{cut}");
    }
    let mut compressed = zstd::encode_all(&*archive, 3).unwrap();
    compressed.truncate(compressed.len() - 5);
    assert!(unpacked(&compressed, LIMITS).1.is_err());
    assert!(unpacked(b"\x1f\x8bno gzip at all", LIMITS).1.is_err());
    assert!(unpacked("<html>".repeat(200).as_bytes(), LIMITS).1.is_err());
}
