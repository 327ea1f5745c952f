//! Debian's docker-registry.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header::LOCATION};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use runtime::image::{Credentials, ImageError, ImageName, Settings};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::made::{Made, content, index, names, sha256, store, tar};

const PATIENCE: Duration = Duration::from_secs(30);
/// `me:secret`, by bcrypt.
const USERS: &str = "me:$2y$05$qDSpFRXfbzmKykyt6osi9eG2wjMu6dowILXgGPYL5.k9Ts0BIysAm\n";
const AUTHORIZATION: &str = "Basic bWU6c2VjcmV0";

struct Server {
    child: Child,
    address: String,
    _directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    async fn start(has_users: bool) -> Self {
        let directory = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let path = directory.path().display();
        std::fs::write(directory.path().join("users"), USERS).unwrap();
        let auth = if has_users {
            format!("auth: {{htpasswd: {{realm: here, path: {path}/users}}}}\n")
        } else {
            String::new()
        };
        let settings = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {path}/data}}}}\n\
             http: {{addr: \"{address}\", secret: any}}\n{auth}"
        );
        let file = directory.path().join("config.yml");
        std::fs::write(&file, settings).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry, which scripts/tools installs");
        let server = Self { child, address, _directory: directory };
        let ready = async {
            while server.send(Method::GET, "/v2/", "", Vec::new()).await.is_none() {
                // It tells nobody when it listens.
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, ready).await.expect("the registry listens");
        server
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> Option<http::Response<hyper::body::Incoming>> {
        let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let url = if path.starts_with("http:") { path.to_owned() } else { format!("http://{}{path}", self.address) };
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header("content-type", kind)
            .header("authorization", AUTHORIZATION)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        client.request(request).await.ok()
    }

    async fn push_blob(&self, repository: &str, blob: &[u8]) {
        let started =
            self.send(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), "", Vec::new()).await.unwrap();
        assert_eq!(started.status(), StatusCode::ACCEPTED);
        let location = started.headers()[LOCATION].to_str().unwrap();
        let joint = if location.contains('?') { '&' } else { '?' };
        let url = format!("{location}{joint}digest={}", sha256(blob));
        let ended = self.send(Method::PUT, &url, "application/octet-stream", blob.to_vec()).await.unwrap();
        assert_eq!(ended.status(), StatusCode::CREATED);
    }

    async fn push_manifest(&self, repository: &str, tag: &str, kind: &str, manifest: Vec<u8>) {
        let kind = format!("application/vnd.oci.image.{kind}.v1+json");
        let path = format!("/v2/{repository}/manifests/{tag}");
        let answer = self.send(Method::PUT, &path, &kind, manifest).await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
    }

    async fn push(&self, repository: &str, tag: &str, made: &Made) {
        for blob in made.blobs() {
            self.push_blob(repository, &blob).await;
        }
        self.push_manifest(repository, tag, "manifest", made.manifest_bytes()).await;
    }

    fn name(&self, rest: &str) -> ImageName {
        format!("{}/{rest}", self.address).parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_are_pulled_shared_and_removed() {
    let server = Server::start(false).await;
    let base = tar(&[("etc/release", "one"), ("etc/motd", "hello")]);
    let first = Made::new(&[base.clone(), tar(&[("app", "first")])]);
    let second = Made::new(&[base, tar(&[("app", "second")])]);
    server.push("shop/first", "v1", &first).await;
    server.push("shop/second", "v1", &second).await;
    let directory = TempDir::new().unwrap();
    let images = store(&directory, Settings::default());
    let one = images.pull(&server.name("shop/first:v1"), &[]).await.unwrap();
    let other = images.pull(&server.name("shop/second:v1"), &[]).await.unwrap();
    assert_eq!(content(&images, &one, "app").as_deref(), Some("first"));
    assert_eq!(content(&images, &other, "app").as_deref(), Some("second"));
    assert_eq!(one.configuration.config().as_ref().unwrap().entrypoint(), &Some(vec!["/web".to_owned()]));
    assert_eq!(one.size_bytes, 3 + 5 + 5);
    assert_eq!(names(directory.path(), "layers").len(), 3, "one of them is shared");

    let digest = sha256(&first.manifest_bytes());
    let by_digest = server.name(&format!("shop/first@{digest}"));
    assert_eq!(images.find(&by_digest.to_string()).unwrap().id, one.id);
    assert_eq!(images.find(&one.id).unwrap().id, one.id);
    let again = images.pull(&by_digest, &[]).await.unwrap();
    assert_eq!(again.tags, one.tags);
    assert!(images.find("shop/first:v1").is_none(), "that is Docker's");

    images.remove(&one.id).unwrap();
    assert_eq!(names(directory.path(), "layers").len(), 2);
    drop(images);
    let images = store(&directory, Settings::default());
    assert_eq!(images.list().len(), 1);
    let kept = images.find(&server.name("shop/second:v1").to_string()).unwrap();
    assert_eq!(content(&images, &kept, "etc/motd").as_deref(), Some("hello"));
    images.remove(&kept.id).unwrap();
    assert!(names(directory.path(), "layers").is_empty() && names(directory.path(), "images").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_belongs_to_the_image_that_was_pulled_last() {
    let server = Server::start(false).await;
    let (old, new) = (Made::new(&[tar(&[("app", "old")])]), Made::new(&[tar(&[("app", "new")])]));
    let directory = TempDir::new().unwrap();
    let images = store(&directory, Settings::default());
    let name = server.name("web:latest");
    server.push("web", "latest", &old).await;
    let before = images.pull(&name, &[]).await.unwrap();
    server.push("web", "latest", &new).await;
    let after = images.pull(&name, &[]).await.unwrap();
    assert_ne!(before.id, after.id);
    assert_eq!(images.find(&name.to_string()).unwrap().id, after.id);
    let known = images.find(&before.id).unwrap();
    assert!(known.tags.is_empty() && known.digests.len() == 1, "{known:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_are_tried_in_turn_and_lists_are_understood() {
    let server = Server::start(true).await;
    let made = Made::new(&[tar(&[("app", "x")])]);
    server.push("private/web", "one", &made).await;
    // A registry wants the images of a list to be there.
    let list = index(&made.manifest_bytes());
    let list = String::from_utf8(list).unwrap().replace(&sha256(b"another"), &sha256(&made.manifest_bytes()));
    server.push_manifest("private/web", "all", "index", list.into_bytes()).await;
    let directory = TempDir::new().unwrap();
    let images = store(&directory, Settings::default());
    let name = server.name("private/web:all");
    let user =
        |password: &str| Credentials { username: "me".into(), password: password.into(), ..Credentials::default() };
    for users in [vec![], vec![user("guess")]] {
        let error = images.pull(&name, &users).await.unwrap_err();
        assert!(matches!(error, ImageError::Unauthorized { .. }), "{error}");
    }
    let pulled = images.pull(&name, &[user("guess"), user("secret")]).await.unwrap();
    assert_eq!(pulled.id, sha256(&made.config));
    let error = images.pull(&server.name("private/web:none"), &[user("secret")]).await.unwrap_err();
    assert!(matches!(error, ImageError::NotFound { .. }), "{error}");
}
