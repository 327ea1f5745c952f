//! OpenAPI: the documents that describe every path and type, versions 2 and 3, built-in and custom, as
//! JSON and as protobuf. A pure rendering of a registry and the schemas of the custom resources in it.
//!
//! A document is made when it is first asked for, one schema and one path at a time, and kept only
//! compressed. Made of version 3; version 2 is derived from it.

mod pages;
mod parameters;
mod paths;
mod protobuf;
mod run;
mod schemas;
mod v2;
mod v3;
mod writer;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::{self, Write},
    io::Read,
    sync::{Arc, OnceLock, Weak},
};

use api::{
    builtin::published::{COMPRESSED, Published},
    registry::Registry,
    resource::Resource,
};
use bytes::Bytes;
use flate2::read::GzDecoder;
use parking_lot::Mutex;
use ring::digest::{Context, SHA256, digest};
use serde_json::{Value, json};

use pages::Page;

/// The OpenAPI documents of one registry.
#[derive(Debug)]
pub struct OpenApi {
    rows: BTreeMap<Box<str>, Vec<Row>>,
    pages: BTreeMap<Box<str>, Page>,
    /// What identifies the content of each document, by its path below `/openapi/v3/`.
    hashes: OnceLock<BTreeMap<Box<str>, Box<str>>>,
    rendered: Mutex<HashMap<(Box<str>, Encoding), Rendered>>,
    /// Of version 2, by group, with what identifies their content.
    parts: Mutex<HashMap<(Box<str>, Encoding), (Box<str>, Arc<v2::Part>)>>,
}

#[derive(Debug, Clone, Default)]
struct Rendered {
    hash: Box<str>,
    /// Made by the first who asks; others wait for it.
    document: Arc<OnceLock<Arc<Document>>>,
}

/// Gives the schema of a custom row as its definition has it (`openAPIV3Schema`). It can be large, and is
/// looked up only while a document is made of it.
pub type Definitions = Arc<dyn Fn(&Resource) -> Option<Arc<Value>> + Send + Sync>;

#[derive(Clone)]
struct Row {
    resource: Arc<Resource>,
    definitions: Definitions,
}

impl Row {
    fn schema(&self) -> Option<Arc<Value>> {
        (self.definitions)(&self.resource)
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row").field("resource", &self.resource).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub struct Document {
    pub content_type: &'static str,
    pub gzip: Bytes,
    /// With its quotes.
    pub etag: String,
    /// The same for clients that accept no compression: shared by the answers that are under way, and gone with
    /// the last of them.
    plain: Mutex<Weak<Vec<u8>>>,
}

/// One answer's hold on the uncompressed document.
struct Plain(Arc<Vec<u8>>);

impl AsRef<[u8]> for Plain {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    Json,
    Protobuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecVersion {
    V2,
    V3,
}

/// The key of the version 2 document among those of version 3.
const V2: &str = "v2";
/// The key of all built-in groups among the groups.
const BUILT_IN: &str = "";

impl Encoding {
    /// The first encoding in an `Accept` header that the document has; `None`: 406.
    pub fn accepted(accept: &str, version: SpecVersion) -> Option<Encoding> {
        let (at, dot) = match version {
            SpecVersion::V2 => ("v2@v1.0", "v2.v1.0"),
            SpecVersion::V3 => ("v3@v1.0", "v3.v1.0"),
        };
        let of_media_type = |text: &str| match text.split(';').next()?.trim() {
            "application/json" | "application/*" | "*/*" | "" => Some(Encoding::Json),
            other => {
                let other = other.strip_prefix("application/com.github.proto-openapi.spec.")?;
                let other = other.strip_suffix("+protobuf")?;
                (other == at || other == dot).then_some(Encoding::Protobuf)
            }
        };
        accept.split(',').find_map(of_media_type)
    }

    fn content_type(self, version: SpecVersion) -> &'static str {
        match (self, version) {
            (Encoding::Json, _) => "application/json",
            (Encoding::Protobuf, SpecVersion::V2) => "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
            (Encoding::Protobuf, SpecVersion::V3) => "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
        }
    }
}

impl Document {
    fn new(content_type: &'static str, gzip: Vec<u8>, hash: &str) -> Self {
        Self { content_type, gzip: gzip.into(), etag: format!("\"{hash}\""), plain: Mutex::default() }
    }

    /// For clients that accept no compression.
    pub fn plain(&self) -> Bytes {
        let mut kept = self.plain.lock();
        let plain = kept.upgrade().unwrap_or_else(|| {
            let mut plain = Vec::new();
            // What we compressed ourselves, in memory, can be read again.
            let _ = GzDecoder::new(&*self.gzip).read_to_end(&mut plain);
            let plain = Arc::new(plain);
            *kept = Arc::downgrade(&plain);
            plain
        });
        Bytes::from_owner(Plain(plain))
    }
}

impl OpenApi {
    pub fn new(registry: &Registry, definitions: &Definitions) -> Self {
        let mut rows: BTreeMap<Box<str>, Vec<Row>> = BTreeMap::new();
        for resource in registry.rows() {
            let row = Row { resource: Arc::clone(resource), definitions: Arc::clone(definitions) };
            rows.entry(v3::document_path(resource).into()).or_default().push(row);
        }
        let pages = pages::pages(registry.groups().map(|group| &*group.name));
        Self { rows, pages, hashes: OnceLock::new(), rendered: Mutex::default(), parts: Mutex::default() }
    }

    /// The documents of a registry that came after this one; what did not change is not made again.
    pub fn succeed(&self, registry: &Registry, definitions: &Definitions) -> Self {
        let next = Self::new(registry, definitions);
        next.rendered.lock().clone_from(&self.rendered.lock());
        next.parts.lock().clone_from(&self.parts.lock());
        next
    }

    /// `/openapi/v3`: where the documents are, with hashes, so that clients can keep them.
    pub fn index(&self) -> Value {
        let url = |path: &str, hash: &str| json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")});
        let paths = self.hashes().iter().map(|(path, hash)| (path.to_string(), url(path, hash)));
        let paths: serde_json::Map<String, Value> = paths.collect();
        json!({"paths": paths})
    }

    /// What a client must give as `hash` for the document to be cacheable for ever.
    pub fn hash(&self, path: &str) -> Option<&str> {
        self.hashes().get(path).map(|hash| &**hash)
    }

    /// The document at `/openapi/v3/PATH`: `api/v1`, `apis/apps/v1`.
    pub fn v3(&self, path: &str, encoding: Encoding) -> Option<Arc<Document>> {
        let hash = self.hash(path)?;
        let render = || match (self.rows.get(path), self.pages.get(path)) {
            (Some(rows), _) => v3::render(path, &rows.iter().collect::<Vec<_>>(), &Published::unpack(), encoding),
            (None, Some(page)) => v3::render_page(path, page, &Published::unpack(), encoding),
            (None, None) => Vec::new(),
        };
        Some(self.cached(path, hash, SpecVersion::V3, encoding, render))
    }

    /// The document at `/openapi/v2`: everything.
    pub fn v2(&self, encoding: Encoding) -> Arc<Document> {
        let all: String = self.hashes().values().map(|hash| &**hash).collect();
        let hash = hexadecimal(digest(&SHA256, all.as_bytes()).as_ref());
        self.cached(V2, &hash, SpecVersion::V2, encoding, || v2::join(&self.parts(encoding), encoding))
    }

    /// The parts of version 2, of which only those are made that have changed.
    fn parts(&self, encoding: Encoding) -> Vec<Arc<v2::Part>> {
        let sections = self.sections();
        let published = OnceLock::new();
        let part = |group: &&str, section: &v2::Section<'_>| {
            let hash: String = section.documents().filter_map(|path| self.hash(&path).map(str::to_owned)).collect();
            let key = (Box::from(*group), encoding);
            if let Some((known, part)) = self.parts.lock().get(&key)
                && **known == *hash
            {
                return Arc::clone(part);
            }
            let before = sections.get(BUILT_IN).filter(|_| *group != BUILT_IN);
            let part = Arc::new(section.render(before, published.get_or_init(Published::unpack), encoding));
            self.parts.lock().insert(key, (hash.into(), Arc::clone(&part)));
            part
        };
        let parts = sections.iter().map(|(group, section)| part(group, section)).collect();
        self.parts.lock().retain(|(group, _), _| sections.contains_key(&**group));
        parts
    }

    /// The groups of custom resources, each for itself, and all others together, which come first.
    fn sections(&self) -> BTreeMap<&str, v2::Section<'_>> {
        let rows = || self.rows.values().flatten().map(|row| &*row.resource);
        let built_in: BTreeSet<&str> = rows().filter(|row| row.custom.is_none()).map(|row| &*row.group).collect();
        let custom: BTreeSet<&str> = rows().map(|row| &*row.group).filter(|group| !built_in.contains(group)).collect();
        let section = |group: &str| custom.get(group).copied().unwrap_or(BUILT_IN);
        let mut sections: BTreeMap<&str, v2::Section<'_>> = BTreeMap::new();
        for row in self.rows.values().flatten() {
            sections.entry(section(&row.resource.group)).or_default().rows.push(row);
        }
        for (path, page) in &self.pages {
            let group = path.strip_prefix("apis/").unwrap_or_default();
            sections.entry(section(group)).or_default().pages.push((path, page));
        }
        sections
    }

    fn cached(
        &self,
        path: &str,
        hash: &str,
        version: SpecVersion,
        encoding: Encoding,
        render: impl FnOnce() -> Vec<u8>,
    ) -> Arc<Document> {
        let mut rendered = self.rendered.lock();
        let known = rendered.entry((Box::from(path), encoding)).or_default();
        if &*known.hash != hash {
            *known = Rendered { hash: hash.into(), document: Arc::default() };
        }
        let document = Arc::clone(&known.document);
        drop(rendered);
        let make = || Arc::new(Document::new(encoding.content_type(version), render(), hash));
        Arc::clone(document.get_or_init(make))
    }

    fn hashes(&self) -> &BTreeMap<Box<str>, Box<str>> {
        self.hashes.get_or_init(|| {
            let build = digest(&SHA256, COMPRESSED);
            let hash = |rows: &Vec<Row>| hexadecimal(hash(build.as_ref(), rows).as_ref());
            let of_page =
                |path: &str| hexadecimal(digest(&SHA256, &[build.as_ref(), path.as_bytes()].concat()).as_ref());
            let rows = self.rows.iter().map(|(path, rows)| (path.clone(), hash(rows).into()));
            rows.chain(self.pages.keys().map(|path| (path.clone(), of_page(path).into()))).collect()
        })
    }
}

/// Of everything that a document is made of.
fn hash(build: &[u8], rows: &[Row]) -> ring::digest::Digest {
    let mut context = Context::new(&SHA256);
    context.update(build);
    for Row { resource, .. } in rows {
        let names = (&resource.kind, &resource.list_kind, &resource.plural, resource.scope, resource.verbs);
        context.update(format!("{names:?}{:?}", resource.subresources).as_bytes());
        if resource.custom.is_some() {
            context.update(&resource.schema_hash.to_be_bytes());
        }
    }
    context.finish()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

#[cfg(test)]
mod tests;
