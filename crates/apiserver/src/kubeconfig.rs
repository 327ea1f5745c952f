//! The user's kubeconfig: the entries `coracle` put in and taken out, everything else kept as it is.
//!
//! Comments are lost when the file is written, as with kubectl.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_yaml_ng::{Mapping, Value};

use crate::pki::Credentials;

/// Cluster, user and context all have this name.
pub const NAME: &str = "coracle";
const SECTIONS: [&str; 3] = ["clusters", "users", "contexts"];

#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The cause is part of the message, and so not a source beside it.
    #[error("{path}: {cause}")]
    File { path: PathBuf, cause: io::Error },
    #[error("{path} is not a kubeconfig and was left as it is: {reason}")]
    Invalid { path: PathBuf, reason: String },
    #[error("{0} exists: another program is changing the kubeconfig, or has died while doing so; remove it then")]
    Locked(PathBuf),
    #[error("neither $KUBECONFIG nor $HOME says where the kubeconfig is; give --kubeconfig")]
    NoPath,
}

/// How to reach the cluster, and as whom.
#[derive(Debug)]
pub struct Access<'a> {
    /// `https://127.0.0.1:6443`.
    pub server: &'a str,
    pub authority_pem: &'a str,
    pub credentials: &'a Credentials,
}

/// The file kubectl would write to: the first of `$KUBECONFIG`, else `~/.kube/config`.
pub fn path(kubeconfig: Option<&OsStr>, home: Option<&OsStr>) -> Result<PathBuf, KubeconfigError> {
    let listed = kubeconfig.map(std::env::split_paths).into_iter().flatten().find(|path| !path.as_os_str().is_empty());
    match (listed, home) {
        (Some(path), _) => Ok(path),
        (None, Some(home)) if !home.is_empty() => Ok(Path::new(home).join(".kube/config")),
        (None, _) => Err(KubeconfigError::NoPath),
    }
}

/// Puts the entries into the file, which is made where there is none. `current-context` is set only where
/// nothing is current.
pub fn merge(path: &Path, access: &Access<'_>) -> Result<(), KubeconfigError> {
    change(path, |text| merged(text, access).map(Some))
}

/// Takes the entries out again. A file that is not there stays so.
pub fn remove(path: &Path) -> Result<(), KubeconfigError> {
    if !path.exists() {
        return Ok(());
    }
    change(path, removed)
}

/// The text of a kubeconfig with the entries in it.
fn merged(text: &str, access: &Access<'_>) -> Result<String, String> {
    let mut config = parse(text)?;
    let encoded = |pem: &str| Value::from(BASE64_STANDARD.encode(pem));
    let credentials = access.credentials;
    let cluster = [("certificate-authority-data", encoded(access.authority_pem)), ("server", access.server.into())];
    let user = [
        ("client-certificate-data", encoded(&credentials.certificate)),
        ("client-key-data", encoded(&credentials.key)),
    ];
    let context = [("cluster", NAME.into()), ("user", NAME.into())];
    config.entry("apiVersion".into()).or_insert("v1".into());
    config.entry("kind".into()).or_insert("Config".into());
    let entries = [("cluster", mapping(cluster)), ("user", mapping(user)), ("context", mapping(context))];
    for (section, (field, body)) in SECTIONS.into_iter().zip(entries) {
        put(&mut config, section, field, body)?;
    }
    let current = config.get("current-context").and_then(Value::as_str).unwrap_or_default();
    if current.is_empty() {
        config.insert("current-context".into(), NAME.into());
    }
    serde_yaml_ng::to_string(&config).map_err(|error| error.to_string())
}

/// The text without the entries, where it has any.
fn removed(text: &str) -> Result<Option<String>, String> {
    let mut config = parse(text)?;
    let before = config.clone();
    for section in SECTIONS {
        if let Some(Value::Sequence(list)) = config.get_mut(section) {
            list.retain(|entry| entry.get("name").and_then(Value::as_str) != Some(NAME));
        }
    }
    if config.get("current-context").and_then(Value::as_str) == Some(NAME) {
        config.insert("current-context".into(), "".into());
    }
    if config == before {
        return Ok(None);
    }
    serde_yaml_ng::to_string(&config).map(Some).map_err(|error| error.to_string())
}

fn parse(text: &str) -> Result<Mapping, String> {
    match serde_yaml_ng::from_str(text).map_err(|error| error.to_string())? {
        Value::Null => Ok(Mapping::new()),
        Value::Mapping(config) => Ok(config),
        _ => Err("expected a mapping".to_owned()),
    }
}

/// Replaces or adds the entry of our name in a section. What a user added to our context, such as a
/// namespace, stays.
fn put(config: &mut Mapping, section: &str, field: &str, body: Mapping) -> Result<(), String> {
    let list = config.entry(section.into()).or_insert(Value::Null);
    if list.is_null() {
        *list = Value::Sequence(Vec::new());
    }
    let Value::Sequence(list) = list else { return Err(format!("{section} is not a list")) };
    let existing = list.iter_mut().find(|entry| entry.get("name").and_then(Value::as_str) == Some(NAME));
    match existing.and_then(Value::as_mapping_mut) {
        None => {
            list.push(Value::Mapping(mapping([(field, Value::Mapping(body)), ("name", NAME.into())])));
        }
        Some(entry) => match entry.get_mut(field).and_then(Value::as_mapping_mut) {
            Some(present) if field == "context" => present.extend(body),
            _ => {
                entry.insert(field.into(), Value::Mapping(body));
            }
        },
    }
    Ok(())
}

fn mapping<const N: usize>(fields: [(&str, Value); N]) -> Mapping {
    fields.into_iter().map(|(field, value)| (field.into(), value)).collect()
}

/// Reads, changes and replaces the file under kubectl's lock; `None` leaves it alone.
fn change(path: &Path, to: impl FnOnce(&str) -> Result<Option<String>, String>) -> Result<(), KubeconfigError> {
    let at = |cause| KubeconfigError::File { path: path.to_owned(), cause };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(at)?;
    }
    let _lock = Lock::take(path)?;
    // A symbolic link stays one: what it points to is replaced.
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(at(error)),
    };
    let text = match fs::read_to_string(&target) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(at(error)),
    };
    match to(&text) {
        Ok(None) => Ok(()),
        Ok(Some(new)) if new == text => Ok(()),
        Ok(Some(new)) => replace(&target, &new).map_err(at),
        Err(reason) => Err(KubeconfigError::Invalid { path: path.to_owned(), reason }),
    }
}

/// Replaces a file as a whole; the new one has the old one's mode and owner.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let temporary = sibling(path, ".coracle-new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    let written = (|| {
        if let Ok(old) = fs::metadata(path) {
            file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
            let new = file.metadata()?;
            if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                chown(&temporary, Some(old.uid()), Some(old.gid()))?;
            }
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // The failure to report is the first one.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The lock that kubectl honours: `<file>.lock`, there while the file is being changed.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Self, KubeconfigError> {
        let lock = sibling(path, ".lock");
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&lock) {
            Ok(File { .. }) => Ok(Self(lock)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(KubeconfigError::Locked(lock)),
            Err(cause) => Err(KubeconfigError::File { path: lock, cause }),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Whoever finds it left over is told what to do.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests;
