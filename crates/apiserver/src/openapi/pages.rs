//! What is served beside resources and described all the same: the lists of groups and of versions, the level of
//! the API, the token issuer. Each is one path with one GET.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    paths::{capital, responses, text_response, words},
    schemas::{GROUP, GROUP_LIST, VERSIONS},
};

#[derive(Debug, Clone)]
pub struct Page {
    tag: String,
    id: String,
    description: String,
    /// The schema of the answer, where it has one that is published.
    schema: Option<&'static str>,
}

const MEDIA_TYPES: &[&str] = &["application/json", "application/yaml"];

/// The pages of a server of these groups, by their paths below `/openapi/v3/`.
pub fn pages<'a>(groups: impl Iterator<Item = &'a str>) -> BTreeMap<Box<str>, Page> {
    let mut pages: BTreeMap<Box<str>, Page> = FIXED
        .iter()
        .map(|(path, tag, id, description, schema)| {
            let (tag, id) = ((*tag).to_owned(), (*id).to_owned());
            (Box::from(*path), Page { tag, id, description: (*description).to_owned(), schema: *schema })
        })
        .collect();
    for group in groups.filter(|group| !group.is_empty()) {
        let mut all = words(group);
        let first = all.next().unwrap_or_default();
        let page = Page {
            tag: format!("{first}{}", all.map(capital).collect::<String>()),
            id: format!("get{}APIGroup", words(group).map(capital).collect::<String>()),
            description: format!("The versions of the group {group}."),
            schema: Some(GROUP),
        };
        pages.insert(format!("apis/{group}").into(), page);
    }
    pages
}

/// Path, tag, operation, description, schema.
type Fixed = (&'static str, &'static str, &'static str, &'static str, Option<&'static str>);

const FIXED: [Fixed; 5] = [
    ("api", "core", "getCoreAPIVersions", "The versions of the core group.", Some(VERSIONS)),
    ("apis", "apis", "getAPIVersions", "All groups but the core one.", Some(GROUP_LIST)),
    ("version", "version", "getCodeVersion", "The level of the API that is served, and by what.", None),
    (
        ".well-known/openid-configuration",
        "WellKnown",
        "getServiceAccountIssuerOpenIDConfiguration",
        "Who issues the tokens of service accounts.",
        None,
    ),
    (
        "openid/v1/jwks",
        "openid",
        "getServiceAccountIssuerOpenIDKeyset",
        "The keys by which tokens of service accounts are verified.",
        None,
    ),
];

impl Page {
    pub fn schema(&self) -> Option<&'static str> {
        self.schema
    }

    /// The path and its operations; references are bare names.
    pub fn item(&self, path: &str) -> (String, Value) {
        let answers = match self.schema {
            Some(schema) => responses(&[("200", "OK")], schema, MEDIA_TYPES),
            None => text_response(),
        };
        let get = json!({
            "description": self.description,
            "operationId": self.id,
            "tags": [self.tag],
            "responses": answers,
        });
        (format!("/{path}/"), json!({"get": get}))
    }
}
