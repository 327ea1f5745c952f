//! How objects reach a client: as stored, in another version, as bare metadata, or as rows of a table.
//!
//! The usual case, JSON in the stored version, copies bytes and decodes nothing.

use std::{collections::HashMap, fmt::Write, sync::Arc};

use api::{
    kinds::columns,
    resource::{Cell, Column, Resource},
};
use bytes::Bytes;
use document::jsonpath::JsonPath;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use store::Entry;

use super::{
    body::{Body, CHUNK_BYTES, Chunk, SHARED_BYTES},
    negotiate::{Accepted, Format, MetaVersion, Shape},
    outgoing::Reader,
    verbs::FALLBACK,
};
use crate::engine::{
    document_of,
    list::Page,
    object::{Stored, type_prefix},
    write::remove,
};

/// The form in which one resource is shown to one client.
#[derive(Debug, Clone)]
pub struct View {
    pub resource: Arc<Resource>,
    pub accepted: Accepted,
    /// What a table's rows carry beside their cells (`includeObject`).
    pub include: Include,
    pub now_seconds: i64,
    pub reader: Reader,
    /// A table on a watch names its columns once.
    columns_told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

impl View {
    pub fn new(
        resource: Arc<Resource>,
        accepted: Accepted,
        include: Include,
        now_seconds: i64,
        reader: Reader,
    ) -> Self {
        Self { resource, accepted, include, now_seconds, reader, columns_told: false }
    }

    /// Whether stored bytes can be sent as they are.
    fn is_verbatim(&self, entry: &Entry) -> bool {
        self.accepted.shape == Shape::Object && is_verbatim(&self.resource, entry)
    }

    /// One object: the body of GET and of every write.
    pub fn entry(&self, status: StatusCode, entry: &Entry) -> Response<Body> {
        if self.accepted.format == Format::Json
            && self.is_verbatim(entry)
            && let Some(stored) = Stored::of(entry)
        {
            return json_response(status, stored.json());
        }
        match document_of(&self.resource, entry) {
            Ok(document) => self.document(status, &document),
            Err(refusal) => value(StatusCode::INTERNAL_SERVER_ERROR, self.accepted.format, &refusal.to_value()),
        }
    }

    pub fn document(&self, status: StatusCode, document: &Value) -> Response<Body> {
        let shown = match self.accepted.shape {
            Shape::Object => return value(status, self.accepted.format, document),
            Shape::Metadata(version) => partial_metadata(document, version),
            Shape::Table(version) => self.table(version, &document["metadata"], std::slice::from_ref(document), true),
        };
        value(status, self.accepted.format, &shown)
    }

    pub fn list(&self, page: Page) -> Response<Body> {
        let metadata = list_metadata(&page);
        if self.accepted == FALLBACK {
            return self.verbatim_list(&metadata, page.entries);
        }
        // One by one: a document takes many times what is shown of it.
        let items = page.entries.iter().filter_map(|entry| Some(self.listed(document_of(&self.resource, entry).ok()?)));
        let (frame, place) = self.frame(metadata);
        let capacity_bytes = self.making_bytes(&page.entries);
        if self.accepted.format == Format::Yaml {
            return yaml_response(StatusCode::OK, document::yaml::encode_list(&frame, place, items, capacity_bytes));
        }
        let mut text = String::with_capacity(capacity_bytes);
        text.push('{');
        for (name, value) in frame.as_object().into_iter().flatten() {
            // Writing to a string does not fail.
            let _ = write!(text, "{}:{value},", Value::from(name.as_str()));
        }
        let _ = write!(text, "\"{place}\":[");
        for (index, item) in items.enumerate() {
            let _ = write!(text, "{}{item}", if index == 0 { "" } else { "," });
        }
        text.push_str("]}");
        json_response(StatusCode::OK, fitted(text))
    }

    /// What a list takes at most while it is made for this reader, as far as that is known before.
    pub fn making_bytes(&self, entries: &[Arc<Entry>]) -> usize {
        const MAX_METADATA_BYTES: usize = 4 * 1024;
        const MAX_CELLS_BYTES: usize = 512;
        // Indentation makes it longer than JSON, and rarely by more.
        const YAML_FACTOR: usize = 2;
        let Accepted { format, shape } = self.accepted;
        let most = match (shape, self.include) {
            (Shape::Object, _) | (Shape::Table(_), Include::Object) => usize::MAX,
            (Shape::Metadata(_), _) | (Shape::Table(_), Include::Metadata) => MAX_METADATA_BYTES,
            (Shape::Table(_), Include::None) => MAX_CELLS_BYTES,
        };
        let is_made = |entry: &Entry| self.accepted != FALLBACK || !self.is_verbatim(entry);
        let made = entries.iter().filter(|entry| is_made(entry)).map(|entry| entry.value.len().min(most));
        made.sum::<usize>() * if format == Format::Yaml { YAML_FACTOR } else { 1 }
    }

    /// A list without its items, and where these belong.
    fn frame(&self, metadata: Value) -> (Value, &'static str) {
        match self.accepted.shape {
            Shape::Table(version) => {
                let mut table = self.table(version, &metadata, &[], true);
                remove(&mut table, "rows");
                (table, "rows")
            }
            Shape::Metadata(version) => {
                let kind = "PartialObjectMetadataList";
                (json!({"kind": kind, "apiVersion": version.api_version(), "metadata": metadata}), "items")
            }
            Shape::Object => {
                let (kind, api_version) = (&*self.resource.list_kind, self.resource.api_version());
                (json!({"kind": kind, "apiVersion": api_version, "metadata": metadata}), "items")
            }
        }
    }

    /// An item or a row of a list.
    fn listed(&self, document: Value) -> Value {
        match self.accepted.shape {
            Shape::Table(version) => self.row(&document, version),
            Shape::Metadata(version) => partial_metadata(&document, version),
            Shape::Object => self.item(document),
        }
    }

    /// Items of built-in lists do not repeat their type; those of custom resources do.
    fn item(&self, mut document: Value) -> Value {
        if self.resource.custom.is_none()
            && let Some(members) = document.as_object_mut()
        {
            members.remove("kind");
            members.remove("apiVersion");
        }
        document
    }

    fn verbatim_list(&self, metadata: &Value, entries: Vec<Arc<Entry>>) -> Response<Body> {
        let api_version = self.resource.api_version();
        let is_custom = self.resource.custom.is_some();
        let prefix = if is_custom { 1 } else { type_prefix(&self.resource.kind, &api_version).len() };
        let mut items = Items { entries: Vec::with_capacity(entries.len()), prefix, rewritten: HashMap::new() };
        for entry in entries {
            if !is_verbatim(&self.resource, &entry) {
                let Ok(document) = document_of(&self.resource, &entry) else { continue };
                items.rewritten.insert(items.entries.len(), self.item(document).to_string().into());
            }
            items.entries.push(entry);
        }
        let head = format!(
            "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{metadata},\"items\":[",
            Value::from(&*self.resource.list_kind),
            Value::from(api_version),
        );
        let mut response = Response::new(joined(head, items, self.reader.clone()));
        set_json(&mut response);
        response
    }

    /// Writes one object into a watch event.
    pub fn write_entry(&mut self, out: &mut Chunk, entry: &Entry) {
        if self.is_verbatim(entry)
            && let Some(stored) = Stored::of(entry)
        {
            out.add(&entry.value, stored.json_slice());
            return;
        }
        match document_of(&self.resource, entry) {
            Ok(document) => self.write_document(out.text(), &document),
            Err(refusal) => out.text().extend_from_slice(refusal.to_value().to_string().as_bytes()),
        }
    }

    pub fn write_document(&mut self, out: &mut Vec<u8>, document: &Value) {
        let shown = match self.accepted.shape {
            Shape::Object => document.to_string(),
            Shape::Metadata(version) => partial_metadata(document, version).to_string(),
            Shape::Table(version) => {
                let with_columns = !std::mem::replace(&mut self.columns_told, true);
                let metadata = json!({"resourceVersion": document["metadata"]["resourceVersion"]});
                self.table(version, &metadata, std::slice::from_ref(document), with_columns).to_string()
            }
        };
        out.extend_from_slice(shown.as_bytes());
    }

    /// The object of a bookmark: nothing but its metadata.
    pub fn bookmark(&self, metadata: Value) -> Value {
        match self.accepted.shape {
            Shape::Table(version) => {
                json!({"kind": "Table", "apiVersion": version.api_version(), "metadata": metadata, "columnDefinitions": [], "rows": []})
            }
            Shape::Metadata(version) => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": version.api_version(), "metadata": metadata})
            }
            Shape::Object => {
                json!({"kind": *self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": metadata})
            }
        }
    }

    fn table(&self, version: MetaVersion, metadata: &Value, documents: &[Value], with_columns: bool) -> Value {
        let mut list_metadata = Map::new();
        for field in ["resourceVersion", "continue", "remainingItemCount"] {
            if let Some(value) = metadata.get(field).filter(|value| !value.is_null()) {
                list_metadata.insert(field.to_owned(), value.clone());
            }
        }
        let columns: Vec<Value> =
            if with_columns { self.resource.columns.iter().map(column_definition).collect() } else { Vec::new() };
        let rows: Vec<Value> = documents.iter().map(|document| self.row(document, version)).collect();
        json!({
            "kind": "Table",
            "apiVersion": version.api_version(),
            "metadata": list_metadata,
            "columnDefinitions": columns,
            "rows": rows,
        })
    }

    fn row(&self, document: &Value, version: MetaVersion) -> Value {
        let cells: Vec<Value> =
            self.resource.columns.iter().map(|column| cell(column, document, self.now_seconds)).collect();
        match self.include {
            Include::None => json!({"cells": cells}),
            Include::Metadata => json!({"cells": cells, "object": partial_metadata(document, version)}),
            Include::Object => json!({"cells": cells, "object": document}),
        }
    }
}

fn is_verbatim(resource: &Resource, entry: &Entry) -> bool {
    resource.is_storage_version()
        && Stored::of(entry).is_some_and(|stored| stored.schema_hash() == resource.schema_hash)
}

fn column_definition(column: &Column) -> Value {
    json!({
        "name": *column.name,
        "type": *column.kind,
        "format": *column.format,
        "description": *column.description,
        "priority": column.priority,
    })
}

/// The cell of a custom resource's printer column: the first match, in the column's type, or nothing.
fn custom_cell(path: &JsonPath, kind: &str, document: &Value, now_seconds: i64) -> Value {
    let Some(found) = path.first(document) else { return Value::Null };
    match (kind, found) {
        ("date", Value::String(time)) if !matches!(&**time, "" | "null") && columns::seconds(found).is_none() => {
            "<invalid>".into()
        }
        ("date", Value::String(_)) => columns::since(found, now_seconds).into(),
        ("integer", Value::Number(number)) => number.as_i64().or(number.as_f64().map(|n| n as i64)).into(),
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => found.clone(),
        ("string", Value::String(text)) => text.as_str().into(),
        // As upstream's templates print what is there but null.
        ("string", Value::Null) => "<no value>".into(),
        ("string", other) => other.to_string().into(),
        _ => Value::Null,
    }
}

fn cell(column: &Column, document: &Value, now_seconds: i64) -> Value {
    match &column.cell {
        Cell::Name => document["metadata"]["name"].clone(),
        Cell::Age => columns::age_of(document, now_seconds).into(),
        Cell::Render(render) => render(document, now_seconds),
        Cell::Path(path) => custom_cell(path, &column.kind, document, now_seconds),
        Cell::Nothing => Value::Null,
    }
}

fn partial_metadata(document: &Value, version: MetaVersion) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": version.api_version(),
        "metadata": document["metadata"],
    })
}

fn list_metadata(page: &Page) -> Value {
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some(token) = &page.continue_token {
        metadata["continue"] = token.as_str().into();
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}

/// The items of a list. While the list is under way, each costs a pointer and nothing else.
struct Items {
    entries: Vec<Arc<Entry>>,
    /// What of a stored document is left out.
    prefix: usize,
    /// By their place: the items that cannot be sent as they are stored.
    rewritten: HashMap<usize, Bytes>,
}

impl Items {
    /// An item without its opening brace, and the value it is a part of.
    fn get(&self, at: usize) -> Option<(&Bytes, &[u8])> {
        if let Some(value) = self.rewritten.get(&at) {
            return Some((value, value.get(1..)?));
        }
        let entry = self.entries.get(at)?;
        Some((&entry.value, Stored::of(entry)?.json_slice().get(self.prefix..)?))
    }
}

/// What the pointers to so many objects take that are to be told to one reader. Those of a short list are not worth counting.
pub fn pointer_bytes(count: usize) -> usize {
    const SHORT: usize = 1000;
    if count > SHORT { count * size_of::<Arc<Entry>>() } else { 0 }
}

/// `head`, the items with commas between, `]}`.
fn joined(head: String, items: Items, reader: Reader) -> Body {
    let count = items.entries.len();
    let lengths = (0..count).filter_map(|at| Some(items.get(at)?.1.len()));
    let total = head.len() + lengths.sum::<usize>() + (2 * count).saturating_sub(1) + 2;
    let own_bytes = items.rewritten.values().map(Bytes::len).sum::<usize>() + pointer_bytes(count);
    let mut head = Some(head);
    let mut chunk = Chunk::of(reader);
    let (mut next, mut left) = (0, total);
    let pieces = std::iter::from_fn(move || {
        if chunk.is_empty() && left > 0 {
            chunk.text().reserve(left.min(CHUNK_BYTES));
            chunk.text().extend_from_slice(head.take().unwrap_or_default().as_bytes());
            while let Some((value, item)) = items.get(next) {
                // With what stands before it and may follow.
                if chunk.len() + item.len().min(SHARED_BYTES) + 4 > CHUNK_BYTES {
                    break;
                }
                chunk.text().extend_from_slice(if next == 0 { b"{" } else { b",{" });
                chunk.add(value, item);
                next += 1;
            }
            if next == count {
                chunk.text().extend_from_slice(b"]}");
            }
            left -= chunk.len();
        }
        chunk.pop()
    });
    Body::Pieces { pieces: Box::new(pieces), remaining: total as u64, own_bytes }
}

pub fn json_response(status: StatusCode, json: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    set_json(&mut response);
    response
}

fn set_json(response: &mut Response<Body>) {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
}

/// Any document in the asked format.
pub fn value(status: StatusCode, format: Format, document: &Value) -> Response<Body> {
    match format {
        Format::Json => json_response(status, fitted(document.to_string())),
        Format::Yaml => yaml_response(status, document::yaml::encode(document)),
    }
}

fn yaml_response(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(fitted(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
    response
}

/// A text that takes what it needs: it may have to wait for its reader.
fn fitted(mut text: String) -> Bytes {
    text.shrink_to_fit();
    text.into()
}

#[cfg(test)]
mod tests;
