//! Discovery: what is served, as clients ask for it before they ask for anything else. A pure rendering
//! of a registry. Two forms: a document per group and version, and one document of all of them
//! ("aggregated", `apidiscovery.k8s.io`), which newer clients prefer.

mod aggregated;
mod documents;

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use api::registry::Registry;
use bytes::Bytes;
use parking_lot::Mutex;
use ring::digest::{SHA512, digest};

/// The discovery of one registry; a changed registry gets a new one.
#[derive(Debug)]
pub struct Discovery {
    registry: Arc<Registry>,
    /// `host:port` at which clients reach the server.
    server_address: Box<str>,
    /// The aggregated documents, which are large and asked for often.
    aggregated: [OnceLock<Arc<Document>>; 4],
    /// The plain ones that have been asked for, by path.
    plain: Mutex<HashMap<Box<str>, Arc<Document>>>,
}

#[derive(Debug)]
pub struct Document {
    pub content_type: &'static str,
    pub body: Bytes,
    /// With its quotes. Only aggregated documents have one; a client that sends it back is answered 304.
    pub etag: Option<String>,
}

/// Which form a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One document for each group and version.
    Plain,
    Aggregated(Version),
}

/// The versions of the aggregated form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V2,
    V2Beta1,
}

impl Form {
    /// The first form in an `Accept` header that is known; clients list them by preference.
    pub fn accepted(accept: &str) -> Form {
        accept.split(',').find_map(Form::of_media_type).unwrap_or(Form::Plain)
    }

    fn of_media_type(text: &str) -> Option<Form> {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next()?;
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let parameter =
            |name: &str| parameters.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| *value);
        match (media_type, parameter("g"), parameter("as"), parameter("v")) {
            ("application/json" | "*/*" | "application/*", "", "", _) => Some(Form::Plain),
            ("application/json", "apidiscovery.k8s.io", "APIGroupDiscoveryList", "v2") => {
                Some(Form::Aggregated(Version::V2))
            }
            ("application/json", "apidiscovery.k8s.io", "APIGroupDiscoveryList", "v2beta1") => {
                Some(Form::Aggregated(Version::V2Beta1))
            }
            _ => None,
        }
    }
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Version::V2 => "v2",
            Version::V2Beta1 => "v2beta1",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Version::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Version::V2Beta1 => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        }
    }
}

impl Discovery {
    pub fn new(registry: Arc<Registry>, server_address: &str) -> Self {
        Self {
            registry,
            server_address: server_address.into(),
            aggregated: Default::default(),
            plain: Mutex::default(),
        }
    }

    /// The document at `/api`, `/api/v1`, `/apis`, `/apis/GROUP` or `/apis/GROUP/VERSION`; a slash at the
    /// end makes no difference. `None` where there is none.
    pub fn document(&self, path: &str, accept: &str) -> Option<Arc<Document>> {
        let path = path.strip_suffix('/').unwrap_or(path);
        match (path, Form::accepted(accept)) {
            ("/api", Form::Aggregated(version)) => Some(self.aggregated(true, version)),
            ("/apis", Form::Aggregated(version)) => Some(self.aggregated(false, version)),
            _ => self.plain(path),
        }
    }

    fn plain(&self, path: &str) -> Option<Arc<Document>> {
        if let Some(known) = self.plain.lock().get(path) {
            return Some(Arc::clone(known));
        }
        let registry = &self.registry;
        let value = match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
            ["api"] => documents::api_versions(registry, &self.server_address)?,
            ["apis"] => documents::group_list(registry),
            ["api", version] => documents::resource_list(registry.group("")?, version)?,
            ["apis", group] if !group.is_empty() => documents::group(registry.group(group)?),
            ["apis", group, version] if !group.is_empty() => documents::resource_list(registry.group(group)?, version)?,
            _ => return None,
        };
        let body = value.to_string().into();
        let document = Arc::new(Document { content_type: "application/json", body, etag: None });
        Some(Arc::clone(self.plain.lock().entry(path.into()).or_insert(document)))
    }

    fn aggregated(&self, core: bool, version: Version) -> Arc<Document> {
        let slot = usize::from(core) * 2 + usize::from(version == Version::V2);
        let make = || {
            let groups = self.registry.groups().filter(|group| group.name.is_empty() == core);
            let body = Bytes::from(aggregated::list(groups, version.name()).to_string());
            let hash: String = digest(&SHA512, &body).as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
            Arc::new(Document { content_type: version.content_type(), body, etag: Some(format!("\"{hash}\"")) })
        };
        Arc::clone(self.aggregated[slot].get_or_init(make))
    }
}

#[cfg(test)]
mod tests;
