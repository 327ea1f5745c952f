//! Registries that fail, lie or send too much.

use runtime::image::{Credentials, ImageError, ImageName, Settings};
use tempfile::TempDir;

use crate::{
    made::{Made, content, index, names, sha256, store, tar},
    played::{Answer, Asked, Played},
};

/// The answers of a registry that has an image as `web:v1`.
fn honest(made: &Made) -> impl Fn(&Asked) -> Answer + Send + Sync + 'static {
    let (manifest, blobs) = (made.manifest_bytes(), made.blobs());
    move |asked| {
        let path = asked.path.split('?').next().unwrap();
        if path.ends_with("/manifests/v1") || path.ends_with(&sha256(&manifest)) {
            return Answer::new(200, manifest.clone());
        }
        let Some(blob) = blobs.iter().find(|blob| path.ends_with(&sha256(blob))) else {
            return Answer::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#);
        };
        let range = asked.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        match range.map(|from| from.parse::<usize>().unwrap()) {
            Some(from) => Answer::new(206, &blob[from..]),
            None => Answer::new(200, blob.clone()),
        }
    }
}

fn archives() -> [Vec<u8>; 2] {
    // What does not compress: a layer of many pieces.
    let noise: String = (0..30_000_u32).map(|at| sha256(&at.to_le_bytes()).split_off(7)).collect();
    [tar(&[("etc/motd", "hello"), ("noise", &noise)]), tar(&[("etc/motd", "hello again")])]
}

fn image() -> Made {
    Made::new(&archives())
}

fn named(played: &Played, rest: &str) -> ImageName {
    format!("{}/{rest}", played.address).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_goes_on_where_it_was_cut() {
    for knows_ranges in [true, false] {
        let made = image();
        let large = sha256(&made.layers[0]);
        let answers = honest(&made);
        let played = Played::start(move |asked| {
            let mut asked = asked.clone();
            if !knows_ranges {
                asked.headers.clear();
            }
            let mut answer = answers(&asked);
            let had: usize = asked.header("range").map_or(0, |range| range[6..range.len() - 1].parse().unwrap());
            // Three times a third of it; without ranges all of it at last.
            let piece = if knows_ranges { 700_000 } else { usize::MAX };
            if asked.path.ends_with(&large) && had + piece < answer.length {
                answer.body.truncate(piece);
            }
            answer
        })
        .await;
        let directory = TempDir::new().unwrap();
        let images = store(&directory, Settings::default());
        let pulled = images.pull(&named(&played, "web:v1"), &[]).await.unwrap();
        assert_eq!(content(&images, &pulled, "etc/motd").as_deref(), Some("hello again"));
        let ranges: Vec<String> =
            played.asked().iter().filter_map(|asked| asked.header("range").map(str::to_owned)).collect();
        assert_eq!(ranges.is_empty(), !knows_ranges, "{ranges:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_without_ranges_begins_anew() {
    let made = image();
    let large = sha256(&made.layers[0]);
    let answers = honest(&made);
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let played = Played::start(move |asked| {
        let plain = Asked { headers: Vec::new(), ..asked.clone() };
        let mut answer = answers(&plain);
        if asked.path.ends_with(&large) && tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            answer.body.truncate(100_000);
        }
        answer
    })
    .await;
    let directory = TempDir::new().unwrap();
    let images = store(&directory, Settings::default());
    images.pull(&named(&played, "web:v1"), &[]).await.unwrap();
    assert_eq!(played.count(&sha256(&made.layers[0])), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_of_what_is_not_what_it_should_be() {
    let good = image();
    let (first, layer) = (sha256(&good.layers[0]), sha256(&good.layers[1]));
    let flipped = |of: &str, at: usize| {
        let of = of.to_owned();
        Box::new(move |asked: &Asked, mut answer: Answer| {
            if asked.path.ends_with(&of) {
                answer.body[at] ^= 1;
            }
            answer
        })
    };
    let lies: [(&str, Box<dyn Fn(&Asked, Answer) -> Answer + Send + Sync>); 7] = [
        // When it was compressed, which says nothing about the content.
        ("is not what its digest says", flipped(&first, 5)),
        ("cannot be read", flipped(&layer, 20)),
        ("it should have", {
            let layer = layer.clone();
            Box::new(move |asked, answer| match asked.path.ends_with(&layer) {
                true => Answer::new(200, [&answer.body[..], b"more"].concat()),
                false => answer,
            })
        }),
        ("is not what its digest says", {
            Box::new(move |asked, answer| match asked.path.contains("/manifests/") {
                true => answer.with("docker-content-digest", sha256(b"another")),
                false => answer,
            })
        }),
        ("more than 4194304 bytes", {
            Box::new(move |asked, answer| match asked.path.contains("/manifests/") {
                true => Answer::new(200, vec![b' '; 5 << 20]),
                false => answer,
            })
        }),
        ("cannot be read", {
            Box::new(move |asked, answer| match asked.path.contains("/manifests/") {
                true => Answer::new(200, "<html>log in</html>"),
                false => answer,
            })
        }),
        ("UNAVAILABLE: try later", {
            Box::new(move |_, _| Answer::new(503, r#"{"errors":[{"code":"UNAVAILABLE","message":"try later"}]}"#))
        }),
    ];
    for (why, lie) in lies {
        let answers = honest(&good);
        let played = Played::start(move |asked| lie(asked, answers(asked))).await;
        let directory = TempDir::new().unwrap();
        let images = store(&directory, Settings::default());
        let error = images.pull(&named(&played, "web:v1"), &[]).await.unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
        assert!(images.list().is_empty() && names(directory.path(), "images").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_is_what_the_configuration_says_it_is() {
    let layer = tar(&[("a", "b")]);
    let made = Made::of(&[sha256(b"another")], vec![layer]);
    let played = Played::start(honest(&made)).await;
    let directory = TempDir::new().unwrap();
    let images = store(&directory, Settings::default());
    let error = images.pull(&named(&played, "web:v1"), &[]).await.unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. }), "{error}");
    assert!(names(directory.path(), "layers").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hostile_layer_wants_is_told() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..11].copy_from_slice(b"../../owned");
    header.set_size(1);
    header.set_cksum();
    builder.append(&header, &b"x"[..]).unwrap();
    let layer = builder.into_inner().unwrap();
    let played = Played::start(honest(&Made::new(std::slice::from_ref(&layer)))).await;
    let directory = TempDir::new().unwrap();
    let images = store(&directory, Settings::default());
    let error = images.pull(&named(&played, "web:v1"), &[]).await.unwrap_err().to_string();
    let expect = format!("layer {}: \"../../owned\": it leads out of the layer", sha256(&layer));
    assert_eq!(error, expect);
    assert!(names(directory.path(), "layers").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirrors_come_first_and_get_no_passwords() {
    let made = image();
    let (mirror, origin) = (Played::start(honest(&made)).await, Played::start(honest(&made)).await);
    let dead = "http://127.0.0.1:1".to_owned();
    let settings = Settings {
        mirrors: [(origin.address.clone(), vec![dead, format!("http://{}/", mirror.address)])].into(),
        ..Settings::default()
    };
    let directory = TempDir::new().unwrap();
    let images = store(&directory, settings);
    let user = Credentials { username: "me".into(), password: "secret".into(), ..Credentials::default() };
    let pulled = images.pull(&named(&origin, "web:v1"), std::slice::from_ref(&user)).await.unwrap();
    assert!(pulled.tags.contains(&format!("{}/web:v1", origin.address)));
    assert!(origin.asked().is_empty());
    for asked in mirror.asked() {
        assert!(asked.path.ends_with(&format!("?ns={}", origin.address)), "{}", asked.path);
        assert_eq!(asked.header("authorization"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_fetched_once_and_stay_with_their_host() {
    let made = image();
    let elsewhere = Played::start(honest(&made)).await;
    let to = elsewhere.address.clone();
    let answers = honest(&made);
    let realm = Played::start(|asked| match asked.header("authorization") {
        // me:secret
        Some("Basic bWU6c2VjcmV0") => Answer::new(200, r#"{"token":"let-me-in","expires_in":300}"#),
        _ => Answer::new(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#),
    })
    .await;
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"here\"", realm.address);
    let played = Played::start(move |asked| match asked.header("authorization") {
        Some("Bearer let-me-in") if asked.path.contains("/blobs/") => {
            Answer::new(307, "").with("location", format!("http://{to}{}", asked.path))
        }
        Some("Bearer let-me-in") => answers(asked),
        _ => Answer::new(401, "").with("www-authenticate", challenge.clone()),
    })
    .await;
    let directory = TempDir::new().unwrap();
    let images = store(&directory, Settings::default());
    let stranger = Credentials { username: "you".into(), password: "guess".into(), ..Credentials::default() };
    let user = Credentials { username: "me".into(), password: "secret".into(), ..Credentials::default() };
    let name = named(&played, "web:v1");
    let error = images.pull(&name, std::slice::from_ref(&stranger)).await.unwrap_err();
    assert!(matches!(&error, ImageError::Unauthorized { .. }) && error.to_string().contains("who are you"), "{error}");
    let before = realm.asked().len();
    images.pull(&name, &[stranger, user]).await.unwrap();
    assert_eq!(realm.asked().len() - before, 2, "one refusal and one token");
    let asked = realm.asked().pop().unwrap();
    assert_eq!(asked.path, "/token?scope=repository%3Aweb%3Apull&service=here");
    assert!(elsewhere.asked().iter().all(|asked| asked.header("authorization").is_none()));
    assert_eq!(elsewhere.asked().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_sends_us_round_is_left() {
    let played = Played::start(|asked| Answer::new(307, "").with("location", format!("{}x", asked.path))).await;
    let directory = TempDir::new().unwrap();
    let images = store(&directory, Settings::default());
    let error = images.pull(&named(&played, "web:v1"), &[]).await.unwrap_err().to_string();
    assert!(error.ends_with("more than 5 redirects"), "{error}");
    assert_eq!(played.asked().len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_at_the_same_time_fetch_each_layer_once() {
    let made = image();
    let played = Played::start(honest(&made)).await;
    let directory = TempDir::new().unwrap();
    let images = store(&directory, Settings::default());
    let name = named(&played, "web:v1");
    let pulls = (0..8).map(|_| images.pull(&name, &[]));
    for pulled in futures_util::future::join_all(pulls).await {
        pulled.unwrap();
    }
    for layer in &made.layers {
        assert_eq!(played.count(&sha256(layer)), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_waits_for_any_more_does_not_stay() {
    let made = image();
    let large = sha256(&made.layers[0]);
    let answers = honest(&made);
    let (reached, seen) = tokio::sync::mpsc::unbounded_channel();
    let played = Played::start(move |asked| {
        let mut answer = answers(asked);
        if asked.path.ends_with(&large) {
            answer.body.truncate(300_000);
            reached.send(()).unwrap();
        }
        answer
    })
    .await;
    let mut seen = seen;
    let directory = TempDir::new().unwrap();
    let images = store(&directory, Settings::default());
    let name = named(&played, "web:v1");
    tokio::select! {
        _ = images.pull(&name, &[]) => panic!("it cannot end"),
        _ = seen.recv() => {}
    }
    // The thread that unpacks finds out by itself, and tells nobody.
    let gone = async {
        while names(directory.path(), "layers").iter().any(|name| name.starts_with('.')) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), gone).await.unwrap();
    assert!(!names(directory.path(), "layers").contains(&sha256(&archives()[0])[7..].to_owned()));
    assert!(images.list().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_images_the_one_for_this_machine_is_pulled() {
    let made = image();
    let list = index(&made.manifest_bytes());
    let digest = sha256(&list);
    let answers = honest(&made);
    let played = Played::start(move |asked| match asked.path.ends_with("/manifests/all") {
        true => Answer::new(200, list.clone()),
        false => answers(asked),
    })
    .await;
    let directory = TempDir::new().unwrap();
    let images = store(&directory, Settings::default());
    let pulled = images.pull(&named(&played, "web:all"), &[]).await.unwrap();
    assert_eq!(pulled.id, sha256(&made.config));
    assert_eq!(pulled.digests, [format!("{}/web@{digest}", played.address)].into());
}
