//! Images in files.

use std::{fs, path::Path};

use runtime::image::Settings;
use serde_json::json;
use tempfile::TempDir;

use crate::made::{Made, content, gzip, index, names, sha256, store, tar};

fn image() -> Made {
    Made::new(&[tar(&[("etc/motd", "hello")]), tar(&[("app", "x")])])
}

/// Writes an OCI layout, in which the image stands in a list of its own.
fn layout(made: &Made, directory: &Path, annotations: &serde_json::Value) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let list = index(&made.manifest_bytes());
    for blob in made.blobs().into_iter().chain([made.manifest_bytes(), list.clone()]) {
        fs::write(blobs.join(&sha256(&blob)[7..]), blob).unwrap();
    }
    let entry = json!({
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(&list), "size": list.len(),
        "annotations": annotations,
    });
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let top = json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(directory.join("index.json"), serde_json::to_vec(&top).unwrap()).unwrap();
}

/// What `docker save` wrote for long: a directory a layer, and links to those that are there already.
fn saved(made: &Made, plain: &[Vec<u8>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, path, bytes).unwrap();
    };
    add("a/layer.tar", &plain[0]);
    add("b/layer.tar", &plain[1]);
    let config = format!("{}.json", &sha256(&made.config)[7..]);
    add(&config, &made.config);
    let manifest = json!([{
        "Config": config, "RepoTags": ["web:v1", "quay.io/shop/web:v2"], "Layers": ["c/layer.tar", "b/layer.tar"],
    }]);
    add("manifest.json", &serde_json::to_vec(&manifest).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "c/layer.tar", "../a/layer.tar").unwrap();
    builder.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layouts_are_taken_in() {
    let made = image();
    let outside = TempDir::new().unwrap();
    let directory = outside.path().join("layout");
    layout(&made, &directory, &json!({"io.containerd.image.name": "quay.io/shop/web:v1"}));
    let packed = outside.path().join("layout.tar.gz");
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(".", &directory).unwrap();
    fs::write(&packed, gzip(&builder.into_inner().unwrap())).unwrap();
    for path in [directory, packed] {
        let kept = TempDir::new().unwrap();
        let images = store(&kept, Settings::default());
        let found = images.import(&path).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(images.find("quay.io/shop/web:v1").unwrap().id, sha256(&made.config));
        assert_eq!(content(&images, &found[0], "etc/motd").as_deref(), Some("hello"));
        let digest = sha256(&index(&made.manifest_bytes()));
        assert!(images.find(&format!("quay.io/shop/web@{digest}")).is_some());
        assert_eq!(names(kept.path(), "layers").len(), 2, "no scratch");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_docker_saves_is_taken_in() {
    let plain = [tar(&[("etc/motd", "hello")]), tar(&[("app", "x")])];
    let made = image();
    let outside = TempDir::new().unwrap();
    let path = outside.path().join("web.tar");
    fs::write(&path, saved(&made, &plain)).unwrap();
    let kept = TempDir::new().unwrap();
    let images = store(&kept, Settings::default());
    let found = images.import(&path).await.unwrap();
    assert_eq!(content(&images, &found[0], "app").as_deref(), Some("x"));
    assert_eq!(found[0].tags, ["docker.io/library/web:v1".to_owned(), "quay.io/shop/web:v2".to_owned()].into());
    assert!(images.find("web:v1").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archives_that_are_wrong_leave_nothing() {
    let made = image();
    let outside = TempDir::new().unwrap();
    let damaged = |name: &str, damage: &dyn Fn(&Path)| {
        let directory = outside.path().join(name);
        layout(&made, &directory, &json!({}));
        damage(&directory);
        directory
    };
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", &sha256(bytes)[7..]);
    let (layer, config) = (blob(&made.layers[1]), blob(&made.config));
    let changed = |path: std::path::PathBuf| {
        let mut bytes = fs::read(&path).unwrap();
        bytes[10] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let text = outside.path().join("text");
    fs::write(&text, "no archive").unwrap();
    let empty = outside.path().join("empty.tar");
    fs::write(&empty, tar(&[("readme", "nothing")])).unwrap();
    for (path, why) in [
        (damaged("a", &|at| changed(at.join(&config))), "is not what its digest says"),
        (damaged("b", &|at| fs::remove_file(at.join(&layer)).unwrap()), "is missing"),
        (
            damaged("c", &|at| fs::write(at.join(&layer), tar(&[("other", "y")])).unwrap()),
            "is not what its digest says",
        ),
        (damaged("d", &|at| fs::write(at.join("index.json"), "{}").unwrap()), "index.json cannot be read"),
        (damaged("e", &|at| fs::remove_file(at.join("index.json")).unwrap()), "no image for this platform"),
        (empty, "no image for this platform"),
        (text, "cannot be read"),
        (outside.path().join("nowhere"), "No such file"),
    ] {
        let kept = TempDir::new().unwrap();
        let images = store(&kept, Settings::default());
        let error = images.import(&path).await.unwrap_err().to_string();
        assert!(error.contains(why), "{}: {error}", path.display());
        assert!(images.list().is_empty() && names(kept.path(), "images").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_keeps_what_is_whole_and_removes_the_rest() {
    let made = image();
    let outside = TempDir::new().unwrap();
    layout(&made, outside.path(), &json!({"io.containerd.image.name": "quay.io/shop/web:v1"}));
    let kept = TempDir::new().unwrap();
    let images = store(&kept, Settings::default());
    images.import(outside.path()).await.unwrap();
    drop(images);
    fs::create_dir_all(kept.path().join("layers/.new-7/root/etc")).unwrap();
    fs::create_dir_all(kept.path().join("layers").join("0".repeat(64)).join("root")).unwrap();
    fs::write(kept.path().join("images/.new-8"), "{").unwrap();
    fs::write(kept.path().join("images").join(format!("{}.json", "1".repeat(64))), "{}").unwrap();
    let images = store(&kept, Settings::default());
    assert_eq!((images.list().len(), names(kept.path(), "layers").len()), (1, 2));
    assert_eq!(names(kept.path(), "images").len(), 1);
    drop(images);
    // An image that lost a layer is none.
    let layers = names(kept.path(), "layers");
    fs::remove_dir_all(kept.path().join("layers").join(&layers[0])).unwrap();
    let images = store(&kept, Settings::default());
    assert!(images.list().is_empty() && names(kept.path(), "layers").is_empty());
}
