use std::os::unix::fs::symlink;

use super::*;

fn credentials() -> Credentials {
    Credentials { certificate: "CERT".into(), key: "KEY".into() }
}

fn with_access<T>(run: impl FnOnce(&Access<'_>) -> T) -> T {
    run(&Access { server: "https://127.0.0.1:6443", authority_pem: "CA", credentials: &credentials() })
}

const OURS: &str = "\
apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority-data: Q0E=
    server: https://127.0.0.1:6443
  name: coracle
users:
- user:
    client-certificate-data: Q0VSVA==
    client-key-data: S0VZ
  name: coracle
contexts:
- context:
    cluster: coracle
    user: coracle
  name: coracle
current-context: coracle
";

const OTHERS: &str = "\
apiVersion: v1
kind: Config
preferences:
  colors: true
unknown:
- {a: 1, b: '007', c: null}
clusters:
- name: prod
  cluster:
    server: https://prod.example
users:
- name: prod
  user:
    exec:
      command: login
      args: [--now, 'yes']
contexts:
- name: prod
  context: {cluster: prod, user: prod}
current-context: prod
";

fn yaml(text: &str) -> Value {
    serde_yaml_ng::from_str(text).unwrap()
}

#[test]
fn an_empty_file_becomes_ours() {
    for text in ["", "# nothing\n", "null\n", "clusters: null\nusers: []\n"] {
        let merged = with_access(|access| merged(text, access)).unwrap();
        assert_eq!(yaml(&merged), yaml(OURS), "{text}");
    }
    assert_eq!(with_access(|access| merged("", access)).unwrap(), OURS);
}

#[test]
fn what_others_wrote_stays() {
    let merged_text = with_access(|access| merged(OTHERS, access)).unwrap();
    let merged = yaml(&merged_text);
    for section in SECTIONS {
        assert_eq!(merged[section][0], yaml(OTHERS)[section][0]);
        assert_eq!(merged[section][1], yaml(OURS)[section][0]);
    }
    for field in ["preferences", "unknown", "current-context", "apiVersion", "kind"] {
        assert_eq!(merged[field], yaml(OTHERS)[field], "{field}");
    }
    assert_eq!(yaml(&removed(&merged_text).unwrap().unwrap()), yaml(OTHERS));
    assert_eq!(removed(OTHERS).unwrap(), None);
}

#[test]
fn a_second_merge_replaces_our_entries_in_place() {
    let older = OURS.replace("6443", "7443").replace("S0VZ", "b2xk");
    assert_eq!(with_access(|access| merged(&older, access)).unwrap(), OURS);
    let with_namespace = OURS.replace("    user: coracle", "    user: coracle\n    namespace: shop");
    assert_eq!(with_access(|access| merged(&with_namespace, access)).unwrap(), with_namespace);
}

#[test]
fn removal_leaves_no_current_context_behind() {
    let rest = removed(OURS).unwrap().unwrap();
    assert_eq!(yaml(&rest)["current-context"], "");
    assert_eq!(yaml(&rest)["clusters"], Value::Sequence(Vec::new()));
}

#[test]
fn what_is_no_kubeconfig_is_refused_and_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config");
    for text in ["a: [", "- 1\n", "text", "clusters: 3\n", "clusters: {a: 1}\n", "a: 1\na: 2\n", "\u{7}"] {
        fs::write(&path, text).unwrap();
        let result = with_access(|access| merge(&path, access));
        assert!(matches!(result, Err(KubeconfigError::Invalid { .. })), "{text}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left lying about");
    }
}

#[test]
fn mode_and_links_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (real, link) = (directory.path().join("real"), directory.path().join("link"));
    fs::write(&real, OTHERS).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real", &link).unwrap();
    with_access(|access| merge(&link, access)).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&real).unwrap().mode() & 0o777, 0o640);
    assert!(fs::read_to_string(&real).unwrap().contains(NAME));
    remove(&link).unwrap();
    assert_eq!(yaml(&fs::read_to_string(&real).unwrap()), yaml(OTHERS));
}

#[test]
fn a_new_file_is_for_its_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".kube/config");
    remove(&path).unwrap();
    assert!(!path.exists());
    with_access(|access| merge(&path, access)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn another_programs_lock_is_respected() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config");
    fs::write(directory.path().join("config.lock"), "").unwrap();
    assert!(matches!(with_access(|access| merge(&path, access)), Err(KubeconfigError::Locked(_))));
    assert!(!path.exists());
}

#[test]
fn the_path_is_kubectls() {
    let check = |kubeconfig: Option<&str>, home: Option<&str>, expect: Option<&str>| {
        let found = path(kubeconfig.map(OsStr::new), home.map(OsStr::new)).ok();
        assert_eq!(found, expect.map(PathBuf::from));
    };
    check(None, Some("/home/me"), Some("/home/me/.kube/config"));
    check(Some(""), Some("/home/me"), Some("/home/me/.kube/config"));
    check(Some("/a:/b"), Some("/home/me"), Some("/a"));
    check(Some(":/b"), None, Some("/b"));
    check(None, None, None);
}
