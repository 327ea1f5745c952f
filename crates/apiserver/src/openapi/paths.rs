//! The paths of a row and their operations, as version 3 describes them. References are bare names.

use api::resource::{Resource, Subresource, Verbs};
use serde_json::{Map, Value, json};

use super::{
    Row, parameters,
    schemas::{DELETE_OPTIONS, PATCH, RESOURCE_LIST, STATUS, list_name, type_name},
    v3::document_path,
    writer::Each,
};

const MEDIA_TYPES: &[&str] = &["application/json", "application/yaml"];
const WATCH_MEDIA_TYPES: &[&str] = &["application/json", "application/json;stream=watch", "application/yaml"];
const PATCH_MEDIA_TYPES: &[&str] =
    &["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// The path at which discovery answers for a group and version.
pub fn resource_list(path: &str, rows: &[&Row]) -> (String, Value) {
    let tag = rows.first().map(|row| tag(&row.resource)).unwrap_or_default();
    let id = rows.first().map(|row| camel(&row.resource)).unwrap_or_default();
    let get = json!({
        "description": "List the resources of this group and version.",
        "operationId": format!("get{id}APIResources"),
        "tags": [tag],
        "responses": responses(&[("200", "OK")], RESOURCE_LIST, MEDIA_TYPES),
    });
    (format!("/{path}/"), json!({"get": get}))
}

/// Hands over each path of the row.
pub fn of_row(row: &Row, each: &mut Each<'_>) {
    let resource = &*row.resource;
    let root = format!("/{}", document_path(resource));
    let collection = if resource.is_namespaced() {
        format!("{root}/namespaces/{{namespace}}/{}", resource.plural)
    } else {
        format!("{root}/{}", resource.plural)
    };
    let item = format!("{collection}/{{name}}");
    if resource.is_namespaced() && resource.verbs.contains(Verbs::LIST) {
        let mut list = Operations::new(resource, None);
        list.across_namespaces();
        list.hand_over(&format!("{root}/{}", resource.plural), each);
    }
    let mut operations = Operations::new(resource, None);
    operations.collection();
    operations.hand_over(&collection, each);
    let mut operations = Operations::new(resource, None);
    operations.item(resource.verbs);
    operations.hand_over(&item, each);
    for part in &resource.subresources {
        let path = format!("{item}/{}", part.name);
        let mut operations = Operations::new(resource, Some(part));
        match options(part) {
            Some(_) => operations.connect(""),
            None => operations.item(part.verbs),
        }
        operations.hand_over(&path, each);
        if &*part.name == "proxy" {
            let mut operations = Operations::new(resource, Some(part));
            operations.connect("WithPath");
            operations.hand_over(&format!("{path}/{{path}}"), each);
        }
    }
}

/// The kind of a connection's query parameters.
fn options(part: &Subresource) -> Option<&str> {
    part.body.as_ref().map(|(_, _, kind)| &**kind).filter(|kind| kind.ends_with("Options"))
}

/// The operations of one path.
struct Operations<'a> {
    resource: &'a Resource,
    part: Option<&'a Subresource>,
    /// The name of the schema of its body.
    body: String,
    methods: Map<String, Value>,
}

impl<'a> Operations<'a> {
    fn new(resource: &'a Resource, part: Option<&'a Subresource>) -> Self {
        let own = || type_name(resource);
        let body = match part.and_then(|part| part.body.as_ref()) {
            Some((group, version, kind)) => api::builtin::type_name(group, version, kind).unwrap_or_else(own),
            None => own(),
        };
        Self { resource, part, body, methods: Map::new() }
    }

    fn hand_over(mut self, path: &str, each: &mut Each<'_>) {
        if self.methods.is_empty() {
            return;
        }
        let mut shared = parameters::path(path);
        if self.part.and_then(options).is_none() {
            shared.extend(parameters::query(&["pretty"]).as_array().cloned().unwrap_or_default());
        }
        self.methods.insert("parameters".to_owned(), shared.into());
        each(path, self.methods.into());
    }

    fn across_namespaces(&mut self) {
        let id = format!("list{}{}ForAllNamespaces", camel(self.resource), self.resource.kind);
        self.list(id);
    }

    fn collection(&mut self) {
        let verbs = self.resource.verbs;
        if verbs.contains(Verbs::LIST) {
            self.list(self.id("list"));
        }
        if verbs.contains(Verbs::CREATE) {
            self.create();
        }
        if verbs.contains(Verbs::DELETE_COLLECTION) {
            let description = format!("Delete the objects of kind {} that match.", self.resource.kind);
            let id = format!("delete{}Collection{}", camel(self.resource), self.scoped_kind());
            self.add("delete", "deletecollection", id, &description, |operation| {
                operation.insert("parameters".to_owned(), parameters::query(parameters::DELETE_COLLECTION));
                operation.insert("requestBody".to_owned(), body(DELETE_OPTIONS, &["*/*"], false));
                operation.insert("responses".to_owned(), responses(&[("200", "OK")], STATUS, MEDIA_TYPES));
            });
        }
    }

    fn list(&mut self, id: String) {
        let description = format!("List or watch objects of kind {}.", self.resource.kind);
        let schema = list_name(self.resource);
        self.add("get", "list", id, &description, |operation| {
            operation.insert("parameters".to_owned(), parameters::query(parameters::LIST));
            operation.insert("responses".to_owned(), responses(&[("200", "OK")], &schema, WATCH_MEDIA_TYPES));
        });
    }

    fn create(&mut self) {
        let description = format!("Create {}.", self.subject());
        let schema = self.body.clone();
        let answers = [("200", "OK"), ("201", "Created"), ("202", "Accepted")];
        self.add("post", "post", self.id("create"), &description, |operation| {
            operation.insert("parameters".to_owned(), parameters::query(parameters::WRITE));
            operation.insert("requestBody".to_owned(), body(&schema, &["*/*"], true));
            operation.insert("responses".to_owned(), responses(&answers, &schema, MEDIA_TYPES));
        });
    }

    /// What an object, or a subresource that is a document, answers.
    fn item(&mut self, verbs: Verbs) {
        let schema = self.body.clone();
        let written = [("200", "OK"), ("201", "Created")];
        if verbs.contains(Verbs::GET) {
            let query = self.part.map_or(&[][..], |part| parameters::of_connection(&part.name));
            let description = format!("Read {}.", self.subject());
            self.add("get", "get", self.id("read"), &description, |operation| {
                operation.insert("parameters".to_owned(), parameters::query(query));
                let answer = match query {
                    [] => responses(&[("200", "OK")], &schema, MEDIA_TYPES),
                    _ => text_response(),
                };
                operation.insert("responses".to_owned(), answer);
            });
        }
        if verbs.contains(Verbs::UPDATE) {
            let description = format!("Replace {}.", self.subject());
            self.add("put", "put", self.id("replace"), &description, |operation| {
                operation.insert("parameters".to_owned(), parameters::query(parameters::WRITE));
                operation.insert("requestBody".to_owned(), body(&schema, &["*/*"], true));
                operation.insert("responses".to_owned(), responses(&written, &schema, MEDIA_TYPES));
            });
        }
        if verbs.contains(Verbs::PATCH) {
            let description = format!("Update a part of {}.", self.subject());
            let strategic = self.resource.custom.is_none().then_some(STRATEGIC);
            let formats: Vec<&str> = PATCH_MEDIA_TYPES.iter().copied().chain(strategic).collect();
            self.add("patch", "patch", self.id("patch"), &description, |operation| {
                operation.insert("parameters".to_owned(), parameters::query(parameters::PATCH));
                operation.insert("requestBody".to_owned(), body(PATCH, &formats, true));
                operation.insert("responses".to_owned(), responses(&written, &schema, MEDIA_TYPES));
            });
        }
        if self.part.is_some() && verbs.contains(Verbs::CREATE) {
            self.create();
        }
        if self.part.is_none() && verbs.contains(Verbs::DELETE) {
            let description = format!("Delete {}.", self.subject());
            self.add("delete", "delete", self.id("delete"), &description, |operation| {
                operation.insert("parameters".to_owned(), parameters::query(parameters::DELETE));
                operation.insert("requestBody".to_owned(), body(DELETE_OPTIONS, &["*/*"], false));
                let answers = responses(&[("200", "OK"), ("202", "Accepted")], STATUS, MEDIA_TYPES);
                operation.insert("responses".to_owned(), answers);
            });
        }
    }

    /// What is no document but a connection; a proxy passes all methods on.
    fn connect(&mut self, suffix: &str) {
        let Some(part) = self.part else { return };
        let methods: &[&str] = match &*part.name {
            "proxy" => &["delete", "get", "head", "options", "patch", "post", "put"],
            _ => &["get", "post"],
        };
        let query = parameters::query(parameters::of_connection(options(part).unwrap_or_default()));
        for method in methods {
            let verb = format!("connect{}{}{}", camel(self.resource), &method[..1].to_uppercase(), &method[1..]);
            let id = format!("{verb}{}{}{suffix}", self.scoped_kind(), capital(&part.name));
            let description = format!("Connect {} requests to {}.", method.to_uppercase(), self.subject());
            self.add(method, "connect", id, &description, |operation| {
                operation.insert("parameters".to_owned(), query.clone());
                operation.insert("responses".to_owned(), text_response());
            });
        }
    }

    fn add(
        &mut self,
        method: &str,
        action: &str,
        id: String,
        description: &str,
        fill: impl FnOnce(&mut Map<String, Value>),
    ) {
        let resource = self.resource;
        let (group, version, kind) = match self.part.and_then(|part| part.body.as_ref()) {
            Some((group, version, kind)) => (group, version, kind),
            None => (&resource.group, &resource.version, &resource.kind),
        };
        let mut operation = Map::new();
        operation.insert("description".to_owned(), description.into());
        operation.insert("operationId".to_owned(), id.into());
        operation.insert("tags".to_owned(), json!([tag(resource)]));
        operation.insert("x-kubernetes-action".to_owned(), action.into());
        let kind = json!({"group": group, "version": version, "kind": kind});
        operation.insert("x-kubernetes-group-version-kind".to_owned(), kind);
        fill(&mut operation);
        self.methods.insert(method.to_owned(), operation.into());
    }

    /// `readAppsV1NamespacedDeploymentStatus`.
    fn id(&self, verb: &str) -> String {
        let part = self.part.map(|part| capital(&part.name)).unwrap_or_default();
        format!("{verb}{}{}{part}", camel(self.resource), self.scoped_kind())
    }

    fn scoped_kind(&self) -> String {
        let scope = if self.resource.is_namespaced() { "Namespaced" } else { "" };
        format!("{scope}{}", self.resource.kind)
    }

    fn subject(&self) -> String {
        match self.part {
            Some(part) => format!("the {} of an object of kind {}", part.name, self.resource.kind),
            None => format!("an object of kind {}", self.resource.kind),
        }
    }
}

/// The words of a group: `rbac.authorization.k8s.io` has `rbac` and `authorization`.
pub fn words(group: &str) -> impl Iterator<Item = &str> {
    let group = if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) };
    group.split(['.', '-'])
}

/// `RbacAuthorizationV1`: a group and version within the name of an operation.
fn camel(resource: &Resource) -> String {
    words(&resource.group).chain([&*resource.version]).map(capital).collect()
}

/// `rbacAuthorization_v1`.
fn tag(resource: &Resource) -> String {
    let mut words = words(&resource.group);
    let first = words.next().unwrap_or_default();
    format!("{first}{}_{}", words.map(capital).collect::<String>(), resource.version)
}

pub fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn body(schema: &str, media_types: &[&str], required: bool) -> Value {
    let mut body = json!({"content": content(schema, media_types)});
    if required {
        body["required"] = true.into();
    }
    body
}

fn content(schema: &str, media_types: &[&str]) -> Value {
    let entry = |media_type: &&str| ((*media_type).to_owned(), json!({"schema": {"$ref": schema}}));
    Value::Object(media_types.iter().map(entry).collect())
}

pub fn responses(answers: &[(&str, &str)], schema: &str, media_types: &[&str]) -> Value {
    let mut responses = unauthorized();
    for (code, description) in answers {
        responses[*code] = json!({"description": description, "content": content(schema, media_types)});
    }
    responses
}

pub fn text_response() -> Value {
    let mut responses = unauthorized();
    let content = json!({"*/*": {"schema": {"type": "string"}}});
    responses["200"] = json!({"description": "OK", "content": content});
    responses
}

fn unauthorized() -> Value {
    json!({"401": {"description": "Unauthorized"}})
}
