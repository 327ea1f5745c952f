//! The audit log: one line of JSON for each finished request (audit.k8s.io/v1 `Event`, level Metadata).
//!
//! Lines go through a bounded queue to a writer of their own. A full queue makes requests wait, and a
//! failing disk is said in the server's log, once for each time it fails: a gap is never silent.

use std::{
    fs::{File, Metadata},
    io::Write,
    mem,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use api::{status::Status, syntax};
use http::{StatusCode, header, request::Parts};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use stdx::Random;

use crate::{
    http::{listener::Peer, target::Target},
    identity::User,
};

const QUEUE_LINES: usize = 10_000;

/// Where lines go; without a file only the ids of requests are made.
pub struct Audit {
    lines: Option<std::sync::mpsc::SyncSender<String>>,
    /// Lines handed to the writer.
    written: AtomicU64,
    random: Arc<dyn Random>,
}

/// What admission notes about a request; all clones are one list. Without an audit log nothing is kept.
#[derive(Debug, Clone, Default)]
pub struct Annotations(Option<Arc<Mutex<Notes>>>);

/// Keys and values.
type Notes = Vec<(String, String)>;

impl Annotations {
    pub fn kept() -> Self {
        Self(Some(Arc::default()))
    }

    /// Notes a value under a key (`pod-security.kubernetes.io/audit-violations`). What was noted first stays.
    pub fn add(&self, key: &str, value: impl Into<String>) {
        let Some(list) = &self.0 else { return };
        if !syntax::is_qualified_name(key).is_empty() {
            tracing::warn!(key, "not a key of an audit annotation; it is not kept");
            return;
        }
        let mut list = list.lock();
        if list.iter().all(|(known, _)| known != key) {
            list.push((key.to_owned(), value.into()));
        }
    }

    /// What has been noted so far.
    pub fn noted(&self) -> Notes {
        self.0.as_ref().map(|list| list.lock().clone()).unwrap_or_default()
    }
}

/// A request on its way.
pub struct Record {
    id: String,
    pub annotations: Annotations,
    event: Option<Box<Value>>,
}

/// A file that is appended to under one name: one that was renamed or removed, as logs are rotated, is followed by a
/// new one. As long as no new one can be made, the old one is appended to.
struct Log {
    path: PathBuf,
    file: File,
    trouble: Trouble,
}

/// What keeps the log from being as it should. It is told where it begins and ends, not for each line.
#[derive(Debug, Default, PartialEq)]
struct Trouble {
    /// Nothing can be made under the log's name.
    is_away: bool,
    /// Lines that could not be written since the last that could.
    missing: u64,
}

impl Log {
    fn open(path: PathBuf) -> std::io::Result<Self> {
        Ok(Self { file: Self::at(&path)?, path, trouble: Trouble::default() })
    }

    fn at(path: &Path) -> std::io::Result<File> {
        File::options().create(true).append(true).open(path)
    }

    /// Appends a line; returns what is to be told of that.
    fn append(&mut self, line: &[u8]) -> Option<String> {
        let moved = self.follow().err().filter(|_| !mem::replace(&mut self.trouble.is_away, true));
        let moved = moved.map(|error| format!("cannot be opened, the file that was there is written on: {error}"));
        match self.file.write_all(line) {
            Err(error) => {
                self.trouble.missing += 1;
                (self.trouble.missing == 1).then(|| format!("cannot be written, requests are missing there: {error}"))
            }
            Ok(()) => match mem::take(&mut self.trouble.missing) {
                0 => moved,
                missing => Some(format!("is written again, {missing} requests are missing there")),
            },
        }
    }

    /// Has the file that is under the log's name.
    fn follow(&mut self) -> std::io::Result<()> {
        let identity = |file: Metadata| (file.dev(), file.ino());
        if std::fs::metadata(&self.path).map(identity).ok() != self.file.metadata().map(identity).ok() {
            self.file = Self::at(&self.path)?;
        }
        self.trouble.is_away = false;
        Ok(())
    }
}

impl Audit {
    pub fn off(random: Arc<dyn Random>) -> Self {
        Self { lines: None, written: AtomicU64::new(0), random }
    }

    /// How many lines there have been.
    pub fn total(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Appends to `path`; a file that cannot be opened is an error at start, not later.
    pub fn to_file(path: &Path, random: Arc<dyn Random>) -> std::io::Result<Self> {
        let mut log = Log::open(path.to_owned())?;
        let (sender, receiver) = std::sync::mpsc::sync_channel::<String>(QUEUE_LINES);
        thread::Builder::new().name("audit".into()).spawn(move || {
            for mut line in receiver {
                line.push('\n');
                if let Some(told) = log.append(line.as_bytes()) {
                    tracing::error!("the audit log {} {told}", log.path.display());
                }
            }
        })?;
        Ok(Self { lines: Some(sender), written: AtomicU64::new(0), random })
    }

    pub fn begin(&self, parts: &Parts, peer: &Peer, target: &Target, now: Timestamp) -> Record {
        // A client's own id is kept, so that it can be followed through several servers.
        let given = parts.headers.get("audit-id").and_then(|id| id.to_str().ok());
        let id = given.filter(|id| !id.is_empty() && id.len() <= 64).map_or_else(|| self.random.uuid(), str::to_owned);
        let event = self.lines.as_ref().map(|_| Box::new(event(&id, parts, peer, target, now)));
        let annotations = event.as_ref().map(|_| Annotations::kept()).unwrap_or_default();
        Record { id, annotations, event }
    }

    pub fn end(&self, record: Record, status: StatusCode, now: Timestamp) {
        let (Some(lines), Some(mut event)) = (&self.lines, record.event) else { return };
        for (key, value) in record.annotations.noted() {
            event["annotations"][key] = value.into();
        }
        event["stageTimestamp"] = now.to_string().into();
        event["responseStatus"]["code"] = status.as_u16().into();
        let line = event.to_string();
        self.written.fetch_add(1, Ordering::Relaxed);
        if let Err(std::sync::mpsc::TrySendError::Full(line)) = lines.try_send(line) {
            // The disk is slower than the clients: they wait for it.
            let send = || drop(lines.send(line));
            match tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor()) {
                Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(send),
                _ => send(),
            }
        }
    }
}

fn event(id: &str, parts: &Parts, peer: &Peer, target: &Target, now: Timestamp) -> Value {
    let mut event = json!({
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": id,
        "stage": "ResponseComplete",
        "requestURI": parts.uri.path_and_query().map_or("/", |uri| uri.as_str()),
        "sourceIPs": [peer.address.ip().to_string()],
        "requestReceivedTimestamp": now.to_string(),
        "responseStatus": {"metadata": {}},
        "annotations": {},
    });
    if let Some(agent) = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()) {
        event["userAgent"] = agent.into();
    }
    match target {
        Target::Path => event["verb"] = parts.method.as_str().to_ascii_lowercase().into(),
        Target::Resource(resource) => {
            event["verb"] = resource.verb.into();
            let members = [
                ("resource", &resource.resource),
                ("namespace", &resource.namespace),
                ("name", &resource.name),
                ("apiGroup", &resource.group),
                ("apiVersion", &resource.version),
                ("subresource", &resource.subresource),
            ];
            let members = members.into_iter().filter(|(_, value)| !value.is_empty());
            event["objectRef"] = members.map(|(name, value)| (name.to_owned(), Value::from(value.as_str()))).collect();
        }
    }
    event
}

impl Record {
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn user(&mut self, user: &User) {
        if let Some(event) = &mut self.event {
            event["user"] = user_info(user);
        }
    }

    /// Names who the user acts as, where that is somebody else.
    pub fn acting_as(&mut self, user: &User) {
        if let Some(event) = &mut self.event {
            let acting = user_info(user);
            if event["user"] != acting {
                event["impersonatedUser"] = acting;
            }
        }
    }

    pub fn refused(&mut self, status: &Status) {
        if let Some(event) = &mut self.event {
            event["responseStatus"]["status"] = "Failure".into();
            event["responseStatus"]["reason"] = (&*status.reason).into();
            event["responseStatus"]["message"] = status.message.as_str().into();
        }
    }
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_was_rotated_is_followed_by_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("audit.log"), directory.path().join("audit.log.1"));
        let mut log = Log::open(path.clone()).unwrap();
        let mut append = |line: &[u8]| assert_eq!(log.append(line), None);
        append(b"one\n");
        std::fs::rename(&path, &old).unwrap();
        append(b"two\n");
        append(b"three\n");
        std::fs::remove_file(&path).unwrap();
        append(b"four\n");
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!((read(&old), read(&path)), ("one\n".to_owned(), "four\n".to_owned()));
    }
    #[test]
    fn no_line_is_lost_while_the_directory_is_away_and_that_is_told_once() {
        let root = tempfile::tempdir().unwrap();
        let (there, away) = (root.path().join("logs"), root.path().join("moved"));
        std::fs::create_dir(&there).unwrap();
        let mut log = Log::open(there.join("audit.log")).unwrap();
        let read = |directory: &Path| std::fs::read_to_string(directory.join("audit.log")).unwrap();
        for _ in 0..2 {
            assert_eq!(log.append(b"there\n"), None);
            std::fs::rename(&there, &away).unwrap();
            let told = log.append(b"away\n").unwrap();
            assert!(told.starts_with("cannot be opened, the file that was there is written on: "), "{told}");
            assert_eq!(log.append(b"away\n"), None);
            std::fs::rename(&away, &there).unwrap();
        }
        assert_eq!(log.append(b"back\n"), None);
        assert_eq!(read(&there), "there\naway\naway\nthere\naway\naway\nback\n");
        std::fs::rename(&there, &away).unwrap();
        std::fs::create_dir(&there).unwrap();
        assert_eq!(log.append(b"anew\n"), None);
        assert_eq!(read(&there), "anew\n");
    }

    #[test]
    fn what_is_missing_is_told_where_that_begins_and_ends() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("audit.log");
        let mut log = Log::open(path.clone()).unwrap();
        // Nothing can be written through this one.
        log.file = File::open(&path).unwrap();
        assert!(log.append(b"lost\n").unwrap().starts_with("cannot be written, requests are missing there: "));
        assert_eq!(log.append(b"lost\n"), None);
        log.file = Log::at(&path).unwrap();
        let told = log.append(b"kept\n");
        assert_eq!(told.as_deref(), Some("is written again, 2 requests are missing there"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept\n");
    }
}
