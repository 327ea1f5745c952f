//! LIST: one consistent revision, selected without decoding, in pages where the client asks for them.

use std::sync::Arc;

use api::{
    selector::{FieldSelector, LabelSelector},
    status::Status,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use store::{Entry, ReadError, Snapshot};

use super::{
    Engine, Target, document_of,
    object::Stored,
    options::{Freshness, ListOptions},
};
use crate::http::query::Query;

/// Which objects of a collection a client wants to see.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    pub labels: LabelSelector,
    pub fields: FieldSelector,
}

/// One page of a list.
#[derive(Debug)]
pub struct Page {
    pub entries: Vec<Arc<Entry>>,
    pub revision: u64,
    pub continue_token: Option<String>,
    pub remaining: Option<usize>,
}

impl Selection {
    pub fn parse(query: &Query) -> Result<Self, Status> {
        let labels = match query.text("labelSelector") {
            Some(text) => LabelSelector::parse(text).map_err(|error| Status::bad_request(error.to_string()))?,
            None => LabelSelector::default(),
        };
        let fields = match query.text("fieldSelector") {
            Some(text) => FieldSelector::parse(text).map_err(|error| Status::bad_request(error.to_string()))?,
            None => FieldSelector::default(),
        };
        Ok(Self { labels, fields })
    }

    /// Narrows to the object of that name; to nothing more where it is empty.
    pub fn narrow_to(&mut self, name: &str) -> Result<(), Status> {
        match self.fields.exact("metadata.name") {
            _ if name.is_empty() => {}
            None => self.fields.require("metadata.name", name),
            Some(selected) if selected == name => {}
            Some(_) => {
                return Err(Status::bad_request("fieldSelector metadata.name doesn't match requested name"));
            }
        }
        Ok(())
    }

    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Refuses field labels that the resource does not select by.
    pub fn check(&self, target: &Target) -> Result<(), Status> {
        let resource = &target.resource;
        for label in self.fields.fields() {
            let known = label == "metadata.name"
                || (label == "metadata.namespace" && resource.is_namespaced())
                || resource.selectable.iter().any(|field| &*field.label == label);
            if !known {
                // Kinds that select by nothing of their own say what all can be selected by.
                let selects_by_name_only = resource.selectable.is_empty() && resource.custom.is_none();
                return Err(Status::bad_request(match selects_by_name_only {
                    true => {
                        format!(
                            "{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                        )
                    }
                    false => format!("field label not supported: {label}"),
                }));
            }
        }
        Ok(())
    }

    pub fn matches(&self, target: &Target, entry: &Entry) -> bool {
        if self.is_everything() {
            return true;
        }
        let Some(stored) = Stored::of(entry) else { return false };
        self.labels.matches(stored.labels())
            && self.fields.matches(|label| self.field(target, entry, stored, label).unwrap_or_default())
    }

    fn field(&self, target: &Target, entry: &Entry, stored: Stored<'_>, label: &str) -> Option<String> {
        match label {
            "metadata.name" => entry.key.rsplit('/').next().map(str::to_owned),
            "metadata.namespace" => entry.key.split('/').nth(1).map(str::to_owned),
            _ => {
                if let Some((_, value)) = stored.fields().find(|(name, _)| *name == label) {
                    return Some(value.to_owned());
                }
                // Written by another version of the kind, or before the field could be selected by.
                let field = target.resource.selectable.iter().find(|field| &*field.label == label)?;
                let document = document_of(&target.resource, entry).ok()?;
                Some(super::object::field_value(field, &document))
            }
        }
    }
}

impl Engine {
    pub fn page(&self, target: &Target, options: &ListOptions) -> Result<Page, Status> {
        options.selection.check(target)?;
        let (snapshot, after) = match &options.continue_token {
            Some(token) => self.continued(token, &target.prefix())?,
            None => (self.snapshot_for(options.revision)?, None),
        };
        let prefix = target.prefix();
        let mut selected =
            snapshot.range(&prefix, after.as_deref()).filter(|entry| options.selection.matches(target, entry));
        let limit = if options.limit == 0 { usize::MAX } else { options.limit };
        let entries: Vec<Arc<Entry>> = selected.by_ref().take(limit).cloned().collect();
        let more = selected.next().is_some();
        let remaining = (more && options.selection.is_everything()).then(|| selected.count() + 1);
        let continue_token = match entries.last() {
            Some(last) if more => Some(token(snapshot.revision(), &last.key[prefix.len()..])),
            _ => None,
        };
        Ok(Page { revision: snapshot.revision(), entries, continue_token, remaining })
    }

    /// The snapshot that answers for a freshness; waits for a revision that is just being committed.
    pub fn snapshot_for(&self, freshness: Freshness) -> Result<Snapshot, Status> {
        match freshness {
            Freshness::MostRecent | Freshness::NotOlderThan(0) => Ok(self.store.snapshot()),
            Freshness::NotOlderThan(revision) => {
                self.await_revision(revision)?;
                Ok(self.store.snapshot())
            }
            Freshness::Exact(revision) => {
                self.await_revision(revision)?;
                self.store.snapshot_at(revision).map_err(|error| read_error(&error))
            }
        }
    }

    fn await_revision(&self, revision: u64) -> Result<(), Status> {
        let current = self.store.revision();
        if revision <= current {
            return Ok(());
        }
        // Revisions are published before they are told to anyone, so a later one cannot be under way.
        let mut status =
            Status::timeout(format!("Timeout: Too large resource version: {revision}, current: {current}"))
                .with_details(json!({
                    "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                    "retryAfterSeconds": 1,
                }));
        status.retry_after_seconds = Some(1);
        Err(status)
    }

    fn continued(&self, token: &str, prefix: &str) -> Result<(Snapshot, Option<String>), Status> {
        let (revision, start) = parse_token(token)?;
        let after = format!("{prefix}{start}");
        // A negative revision continues at the latest state, at the price of consistency.
        let Ok(revision) = u64::try_from(revision) else { return Ok((self.store.snapshot(), Some(after))) };
        match self.store.snapshot_at(revision) {
            Ok(snapshot) => Ok((snapshot, Some(after))),
            Err(ReadError::Compacted { .. }) => {
                let inconsistent = encode_token(-1, &start);
                Err(Status::expired(
                    "The provided continue parameter is too old to display a consistent list result. You can start a new \
                     list without the continue parameter, or use the continue token in this response to retrieve the \
                     remainder of the results. Continuing with the provided token results in an inconsistent list - \
                     objects that were created, modified, or deleted between the time the first chunk was returned and \
                     now may show up in the list.",
                )
                .with_metadata(json!({"continue": inconsistent})))
            }
            Err(error) => Err(read_error(&error)),
        }
    }
}

pub fn read_error(error: &ReadError) -> Status {
    match error {
        ReadError::Compacted { .. } => Status::expired("The resourceVersion for the provided list is too old."),
        ReadError::Future { current } => {
            Status::timeout(format!("Timeout: Too large resource version, current: {current}"))
        }
    }
}

fn token(revision: u64, last: &str) -> String {
    encode_token(i64::try_from(revision).unwrap_or(i64::MAX), last)
}

/// Kubernetes' own form; `start` is exclusive, which the trailing NUL says to whoever reads it there.
fn encode_token(revision: i64, last: &str) -> String {
    let document =
        json!({"v": "meta.k8s.io/v1", "rv": revision, "start": format!("{}\0", last.trim_end_matches('\0'))});
    URL_SAFE_NO_PAD.encode(document.to_string())
}

fn parse_token(token: &str) -> Result<(i64, String), Status> {
    let invalid =
        |detail: &str| Status::bad_request(format!("invalid continue token: continue key is not valid: {detail}"));
    let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|error| invalid(&error.to_string()))?;
    let document: Value = serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))?;
    if document["v"] != "meta.k8s.io/v1" {
        return Err(invalid("server does not recognize this encoded version"));
    }
    let revision = document["rv"]
        .as_i64()
        .filter(|rv| *rv != 0)
        .ok_or_else(|| invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"))?;
    let start = document["start"]
        .as_str()
        .filter(|start| !start.is_empty())
        .ok_or_else(|| invalid("encoded start key empty (version meta.k8s.io/v1)"))?;
    Ok((revision, start.trim_end_matches('\0').to_owned()))
}
