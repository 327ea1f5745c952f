//! Keeps a [`Cache`], or another [`Sink`], in step with the server: a list, then a watch, then a watch from where the last
//! one ended.
//!
//! Not here: what is done about changes.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    ApiError, Cache, Kind, Requests,
    objects::{Meta, Object},
    reading::{self, ObjectId, Read},
    requests::{Form, parse},
};

/// Objects of a list that are read at once.
const PAGE: usize = 1000;
/// How long a server may keep a watch before it ends it; a new one goes on from there.
const WATCH_SECONDS: u32 = 600;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A watch that ends sooner says that something is wrong: the next one is not begun at once.
const SHORT_WATCH: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct List<T> {
    metadata: ListMeta,
    // A list without items may come as null.
    #[serde(default = "Option::default")]
    items: Option<Vec<T>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ListMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    continue_token: String,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: Meta,
}

/// Of an object its metadata, whatever its kind.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Partial {
    pub metadata: Meta,
}

/// What can be followed.
pub trait Followed: DeserializeOwned + Send + 'static {
    fn meta(&self) -> &Meta;
}

impl<T: Object> Followed for T {
    fn meta(&self) -> &Meta {
        Object::meta(self)
    }
}

impl Followed for Partial {
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// Who is told of what is followed.
pub trait Sink<T>: Send + Sync {
    /// The whole kind as of a revision. Of what is there and cannot be read, what is known stays.
    fn replace(&self, objects: Vec<T>, unread: &[ObjectId], revision: u64);
    fn observe(&self, object: T);
    /// The object is gone; it carries the revision of its end.
    fn ended(&self, object: &ObjectId);
    /// Everything up to this revision has been told.
    fn advance(&self, _revision: u64) {}
}

impl<T: Object> Sink<T> for Cache<T> {
    fn replace(&self, objects: Vec<T>, unread: &[ObjectId], revision: u64) {
        Cache::replace(self, objects, unread, revision);
    }

    fn observe(&self, object: T) {
        Cache::observe(self, object);
    }

    fn ended(&self, object: &ObjectId) {
        Cache::ended(self, object);
    }

    fn advance(&self, revision: u64) {
        Cache::advance(self, revision);
    }
}

/// What is followed, and from whom.
struct Source<'a> {
    requests: &'a Requests,
    kind: &'a Kind,
    form: Form,
    /// Narrows the kind, as a query (`fieldSelector=…`); mostly empty.
    selectors: &'a str,
}

/// A cache of the objects that `selectors` choose, a query (`fieldSelector=…`), kept in step until the tasks are dropped.
pub fn follow<T: Object>(requests: &Requests, selectors: &'static str, tasks: &mut JoinSet<()>) -> Arc<Cache<T>> {
    let cache = Arc::new(Cache::default());
    let (following, requests) = (Arc::clone(&cache), requests.clone());
    tasks.spawn(async move { run(following, requests, selectors).await });
    cache
}

/// Runs until it is dropped. `selectors` narrows the kind, as a query (`fieldSelector=…`); mostly empty.
pub(crate) async fn run<T: Object>(cache: Arc<Cache<T>>, requests: Requests, selectors: &str) {
    let kind = T::KIND;
    let source = Source { requests: &requests, kind: &kind, form: Form::Object, selectors };
    let mut pause = FIRST_PAUSE;
    loop {
        let Err(error) = list_and_watch::<T, _>(&*cache, &source, &mut pause).await;
        source.rest(&error, &mut pause).await;
    }
}

/// Follows the metadata of a kind until the server no longer knows the kind.
pub async fn follow_metadata(requests: &Requests, kind: &Kind, sink: &impl Sink<Partial>) {
    let source = Source { requests, kind, form: Form::Metadata, selectors: "" };
    let mut pause = FIRST_PAUSE;
    loop {
        let Err(error) = list_and_watch::<Partial, _>(sink, &source, &mut pause).await;
        if error.is_not_found() || error.is_unserved() {
            return;
        }
        source.rest(&error, &mut pause).await;
    }
}

impl Source<'_> {
    async fn rest(&self, error: &ApiError, pause: &mut Duration) {
        // A watch that fell behind is ordinary; a server that cannot be reached is worth a line each time.
        if error.is_expired() {
            tracing::debug!(kind = %self.kind.kind, "listing again: {error}");
        } else {
            tracing::warn!(kind = %self.kind.kind, "cannot follow: {error}; trying again in {pause:?}");
        }
        back_off(pause).await;
    }
}

async fn list_and_watch<T: Followed, S: Sink<T>>(
    sink: &S,
    source: &Source<'_>,
    pause: &mut Duration,
) -> Result<Infallible, ApiError> {
    let mut revision = list(sink, source).await?;
    loop {
        let began = Instant::now();
        let ended = watch(sink, source, &mut revision).await;
        if began.elapsed() >= SHORT_WATCH {
            *pause = FIRST_PAUSE;
        }
        ended?;
        if began.elapsed() < SHORT_WATCH {
            back_off(pause).await;
        }
    }
}

/// Waits, and the next time for longer.
async fn back_off(pause: &mut Duration) {
    sleep(*pause).await;
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}

/// Reads the whole kind, page by page, as of one revision, which is returned.
async fn list<T: Followed, S: Sink<T>>(sink: &S, source: &Source<'_>) -> Result<String, ApiError> {
    let (mut objects, mut unread, mut token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let from = if token.is_empty() { String::new() } else { format!("&continue={token}") };
        let path = format!("{}?limit={PAGE}{from}&{}", source.kind.collection(""), source.selectors);
        let page = source.requests.get_as(source.form.of_list(), path.trim_end_matches('&')).await?;
        let metadata = match serde_json::from_slice::<List<T>>(&page) {
            Ok(mut list) => {
                objects.append(list.items.get_or_insert_default());
                list.metadata
            }
            // Something in it cannot be read: which one is seen one by one.
            Err(_) => {
                let list: List<Box<RawValue>> = parse(&page)?;
                let (mut read, mut not) = reading::read_all(source.kind, &list.items.unwrap_or_default())?;
                objects.append(&mut read);
                unread.append(&mut not);
                list.metadata
            }
        };
        if metadata.continue_token.is_empty() {
            let revision = metadata.resource_version;
            sink.replace(objects, &unread, revision.parse().unwrap_or(0));
            return Ok(revision);
        }
        token = metadata.continue_token;
    }
}

/// Follows the kind from `revision`, which it moves along, until the server ends the watch, as it may at any time. An error
/// means that what came next is no longer kept, or cannot be read: start from a list.
async fn watch<T: Followed, S: Sink<T>>(sink: &S, source: &Source<'_>, revision: &mut String) -> Result<(), ApiError> {
    let path = format!(
        "{}?watch=true&allowWatchBookmarks=true&resourceVersion={revision}&timeoutSeconds={WATCH_SECONDS}&{}",
        source.kind.collection(""),
        source.selectors,
    );
    let mut body = source.requests.stream_as(source.form, path.trim_end_matches('&')).await?;
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // A connection that breaks is as good as one that is closed: the revision says where to go on.
        let Ok(frame) = frame else { return Ok(()) };
        let Ok(data) = frame.into_data() else { continue };
        let mut seen = buffer.len();
        buffer.extend_from_slice(&data);
        while let Some(end) = memchr::memchr(b'\n', &buffer[seen..]).map(|at| seen + at) {
            *revision = tell(sink, source.kind, &buffer[..end])?.to_string();
            buffer.advance(end + 1);
            seen = 0;
        }
    }
    Ok(())
}

/// Applies one line of a watch and returns its revision.
fn tell<T: Followed, S: Sink<T>>(sink: &S, kind: &Kind, line: &[u8]) -> Result<u64, ApiError> {
    let event: Event<'_> = parse(line)?;
    let object = event.object.get().as_bytes();
    let revision = match event.kind {
        "ADDED" | "MODIFIED" => match reading::read::<T>(kind, object)? {
            Read::Whole(object) => {
                let revision = object.meta().resource_version;
                sink.observe(object);
                revision
            }
            Read::Not(identity) => identity.revision,
        },
        "DELETED" => {
            let identity = reading::identity(object)?;
            sink.ended(&identity);
            return Ok(identity.revision);
        }
        "BOOKMARK" => parse::<Bookmark>(object)?.metadata.resource_version,
        _ => return Err(crate::requests::refusal(object)),
    };
    sink.advance(revision);
    Ok(revision)
}

#[cfg(test)]
mod tests;
