//! Keeps a [`Cache`] in step with the server: a list, then a watch, then a watch from where the last one ended.
//!
//! Not here: what is done about changes.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    ApiError, Cache, Kind, Requests,
    objects::{Meta, Object},
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

/// A cache of the objects that `selectors` choose, a query (`fieldSelector=…`), kept in step until the tasks are dropped.
pub fn follow<T: Object>(requests: &Requests, selectors: &'static str, tasks: &mut JoinSet<()>) -> Arc<Cache<T>> {
    let cache = Arc::new(Cache::default());
    let (following, requests) = (Arc::clone(&cache), requests.clone());
    tasks.spawn(async move { run(following, requests, selectors).await });
    cache
}

/// Runs until it is dropped. `selectors` narrows the kind, as a query (`fieldSelector=…`); mostly empty.
pub(crate) async fn run<T: Object>(cache: Arc<Cache<T>>, requests: Requests, selectors: &str) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Err(error) = list_and_watch(&cache, &requests, selectors, &mut pause).await;
        // A watch that fell behind is ordinary; a server that cannot be reached is worth a line each time.
        if error.is_expired() {
            tracing::debug!(kind = %T::KIND.kind, "listing again: {error}");
        } else {
            tracing::warn!(kind = %T::KIND.kind, "cannot follow: {error}; trying again in {pause:?}");
        }
        back_off(&mut pause).await;
    }
}

async fn list_and_watch<T: Object>(
    cache: &Cache<T>,
    requests: &Requests,
    selectors: &str,
    pause: &mut Duration,
) -> Result<std::convert::Infallible, ApiError> {
    let kind = T::KIND;
    let mut revision = list(cache, requests, &kind, selectors).await?;
    loop {
        let began = Instant::now();
        let ended = watch(cache, requests, &kind, selectors, &mut revision).await;
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
async fn list<T: Object>(
    cache: &Cache<T>,
    requests: &Requests,
    kind: &Kind,
    selectors: &str,
) -> Result<String, ApiError> {
    let (mut objects, mut token) = (Vec::new(), String::new());
    loop {
        let from = if token.is_empty() { String::new() } else { format!("&continue={token}") };
        let path = format!("{}?limit={PAGE}{from}&{selectors}", kind.collection(""));
        let list: List<T> = requests.read(path.trim_end_matches('&')).await?;
        objects.append(&mut list.items.unwrap_or_default());
        if list.metadata.continue_token.is_empty() {
            let revision = list.metadata.resource_version;
            cache.replace(objects, revision.parse().unwrap_or(0));
            return Ok(revision);
        }
        token = list.metadata.continue_token;
    }
}

/// Follows the kind from `revision`, which it moves along, until the server ends the watch, as it may at any time. An error
/// means that what came next is no longer kept, or cannot be read: start from a list.
async fn watch<T: Object>(
    cache: &Cache<T>,
    requests: &Requests,
    kind: &Kind,
    selectors: &str,
    revision: &mut String,
) -> Result<(), ApiError> {
    let path = format!(
        "{}?watch=true&allowWatchBookmarks=true&resourceVersion={revision}&timeoutSeconds={WATCH_SECONDS}&{selectors}",
        kind.collection("")
    );
    let mut body = requests.stream(path.trim_end_matches('&')).await?;
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // A connection that breaks is as good as one that is closed: the revision says where to go on.
        let Ok(frame) = frame else { return Ok(()) };
        let Ok(data) = frame.into_data() else { continue };
        let mut seen = buffer.len();
        buffer.extend_from_slice(&data);
        while let Some(end) = memchr::memchr(b'\n', &buffer[seen..]).map(|at| seen + at) {
            *revision = tell(cache, &buffer[..end])?.to_string();
            buffer.advance(end + 1);
            seen = 0;
        }
    }
    Ok(())
}

/// Applies one line of a watch and returns its revision.
fn tell<T: Object>(cache: &Cache<T>, line: &[u8]) -> Result<u64, ApiError> {
    let event: Event<'_> = crate::requests::parse(line)?;
    let object = event.object.get().as_bytes();
    match event.kind {
        "ADDED" | "MODIFIED" => {
            let object: T = crate::requests::parse(object)?;
            let revision = object.meta().resource_version;
            cache.observe(object);
            cache.advance(revision);
            Ok(revision)
        }
        "DELETED" => {
            let object: T = crate::requests::parse(object)?;
            cache.ended(&object);
            Ok(object.meta().resource_version)
        }
        "BOOKMARK" => {
            let bookmark: Bookmark = crate::requests::parse(object)?;
            cache.advance(bookmark.metadata.resource_version);
            Ok(bookmark.metadata.resource_version)
        }
        _ => Err(crate::requests::refusal(object)),
    }
}

#[cfg(test)]
mod tests;
