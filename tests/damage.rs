//! What happens to a server's files, or is wrong with its flags, is told by the server: nothing is lost in silence.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use testkit::{Server, http::Http};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Starts a server that is to refuse, and returns what it says.
fn refusal(data_dir: &Path, kubeconfig: &Path, arguments: &[&str]) -> String {
    let fixed: [&OsStr; 7] = [
        env!("CARGO_BIN_EXE_coracle").as_ref(),
        "server".as_ref(),
        "--api-port=0".as_ref(),
        "--data-dir".as_ref(),
        data_dir.as_ref(),
        "--kubeconfig".as_ref(),
        kubeconfig.as_ref(),
    ];
    let output = Command::new("timeout").arg("60").args(fixed).args(arguments).output().expect("timeout runs");
    assert_eq!(output.status.code(), Some(1), "it is to refuse, at once");
    String::from_utf8(output.stderr).unwrap()
}

fn create(http: &Http, name: &str) -> (u16, serde_json::Value) {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    http.json("POST", MAPS, Some(&map)).unwrap()
}

fn last_segment(server: &Server) -> PathBuf {
    let files = fs::read_dir(server.data_dir().join("state/journal")).unwrap();
    let segments = files.map(|file| file.unwrap().path()).filter(|path| path.extension() == Some("log".as_ref()));
    segments.max().unwrap()
}

#[test]
fn a_damaged_state_is_refused_with_what_can_be_done() {
    let mut server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let http = Http::of(&server);
    for i in 0..20 {
        assert_eq!(create(&http, &format!("map-{i}")).0, 201);
    }
    server.stop();
    let segment = last_segment(&server);
    let whole = fs::read(&segment).unwrap();
    let mut flipped = whole.clone();
    let near_the_end = flipped.len() - 20;
    flipped[near_the_end] ^= 1;
    for bytes in [&whole[..whole.len() * 2 / 3], &whole[..0], &whole[..40], &flipped] {
        fs::write(&segment, bytes).unwrap();
        let said = refusal(&server.data_dir(), &server.kubeconfig(), &[]);
        for part in [segment.to_str().unwrap(), "had been durable", "backup", "--accept-data-loss"] {
            assert!(said.contains(part), "{said}");
        }
    }
    fs::write(&segment, &whole).unwrap();
    let state = server.data_dir().join("state");
    let (journal, moved) = (state.join("journal"), server.data_dir().join("moved"));
    let end = journal.join("end");
    for path in [&segment, &end, &journal, &state] {
        fs::rename(path, &moved).unwrap();
        let said = refusal(&server.data_dir(), &server.kubeconfig(), &[]);
        assert!(said.contains("restore"), "{said}");
        let is_marked =
            ["end is missing", "nothing shows whether any", "--accept-data-loss"].map(|part| said.contains(part));
        assert_eq!(is_marked, [path == &end; 3], "{said}");
        fs::rename(&moved, path).unwrap();
    }
    let version = state.join("version");
    fs::rename(&version, &moved).unwrap();
    let said = refusal(&server.data_dir(), &server.kubeconfig(), &[]);
    assert!(said.contains("state/version is damaged: it says nothing") && said.contains("backup"), "{said}");
    fs::rename(&moved, &version).unwrap();
    let astray = journal.join(format!("{:020}.log", 99_999));
    for (content, what) in [("xy", "does not begin as a segment does"), ("", "does not follow the segment before it")] {
        fs::write(&astray, content).unwrap();
        let said = refusal(&server.data_dir(), &server.kubeconfig(), &[]);
        let parts = [&*format!("99999.log {what}"), "backup", "--accept-data-loss"];
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
    fs::remove_file(&astray).unwrap();
    // A new key would make all credentials void.
    for name in ["pki", "pki/ca.key", "pki/sa.key"] {
        let path = server.data_dir().join(name);
        fs::rename(&path, &moved).unwrap();
        let said = refusal(&server.data_dir(), &server.kubeconfig(), &[]);
        let parts = [".key is missing", "restore the key", "--accept-data-loss", "every kubeconfig"];
        assert!(parts.iter().all(|part| said.contains(part)), "{name}: {said}");
        assert!(!path.exists(), "{name} is not made anew");
        fs::rename(&moved, &path).unwrap();
    }
    server.restart();
    assert_eq!(create(&http, "map-19").0, 409);
}

#[test]
fn a_server_whose_directory_is_removed_refuses_writers_and_is_not_ready() {
    let server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let http = Http::of(&server);
    assert_eq!(create(&http, "before").0, 201);
    let ready = || http.request("GET", "/readyz", &[], b"").unwrap();
    assert_eq!(ready().code, 200);
    fs::remove_dir_all(server.data_dir()).unwrap();
    let (code, status) = create(&http, "after");
    assert_eq!(code, 500, "{status}");
    assert!(status["message"].as_str().unwrap().contains("not there any more"), "{status}");
    assert_eq!(ready().code, 500);
    assert!(ready().body.contains("[-]data-directory failed"), "{}", ready().body);
    assert_eq!(http.json("GET", &format!("{MAPS}/before"), None).unwrap().0, 200);
    assert_eq!(http.json("GET", &format!("{MAPS}/after"), None).unwrap().0, 404);
}

#[test]
fn an_old_segment_that_is_removed_is_noticed_while_the_server_runs() {
    let server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let http = Http::of(&server);
    let ready = || http.request("GET", "/readyz", &[], b"").unwrap();
    let oldest = last_segment(&server);
    // Segments end at 8 MiB.
    let filler = "x".repeat(900_000);
    for i in 0.. {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("map-{i}")}, "data": {"a": filler}});
        assert_eq!(http.json("POST", MAPS, Some(&map)).unwrap().0, 201);
        if last_segment(&server) != oldest {
            break;
        }
    }
    assert_eq!(ready().code, 200);
    let moved = server.data_dir().join("moved");
    fs::rename(&oldest, &moved).unwrap();
    assert_eq!(ready().code, 500);
    assert!(ready().body.contains("[-]data-directory failed"), "{}", ready().body);
    let (code, status) = create(&http, "after");
    assert_eq!(code, 500, "{status}");
    assert!(status["message"].as_str().unwrap().contains(oldest.to_str().unwrap()), "{status}");
    assert_eq!(http.json("GET", &format!("{MAPS}/map-0"), None).unwrap().0, 200);
    fs::rename(&moved, &oldest).unwrap();
    assert_eq!(ready().code, 200);
    assert_eq!(create(&http, "after").0, 201);
}

#[test]
fn wrong_flags_are_named_before_anything_is_made() {
    let outer = tempfile::tempdir().unwrap();
    let data_dir = outer.path().join("data");
    for (flag, value) in [
        ("--service-cidr", "10.0.0.1/24"),
        ("--service-cidr", "10.0.0.0/31"),
        ("--service-cidr", "fd00::/64"),
        ("--service-cidr", ""),
        ("--cluster-cidr", "10.0.0.0"),
        ("--cluster-cidr", ""),
        ("--advertise", ""),
        ("--advertise", "bad name!"),
        ("--advertise", "example.com:6443"),
    ] {
        let said = refusal(&data_dir, &outer.path().join("kubeconfig"), &[flag, value]);
        assert!(said.contains(&format!("{flag} {value:?}: must be")), "{said}");
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 0, "nothing is made for {flag} {value:?}");
    }
    for (value, missing) in [("v1=false", "v1"), ("api/ga=false,v1=true", "apiregistration.k8s.io/v1")] {
        let said = refusal(&data_dir, &outer.path().join("kubeconfig"), &["--runtime-config", value]);
        assert!(said.contains(&format!("--runtime-config: {missing} cannot be switched off")), "{said}");
        assert!(said.contains(&format!("add {missing}=true")), "{said}");
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 0, "nothing is made for {value}");
    }
}

#[test]
fn causes_are_told_once() {
    let outer = tempfile::tempdir().unwrap();
    let directory = Path::new("/proc/coracle");
    for (data_dir, kubeconfig) in [(directory, outer.path()), (outer.path(), directory)] {
        let said = refusal(data_dir, kubeconfig, &[]);
        assert_eq!(said.matches("(os error").count(), 1, "{said}");
    }
}
