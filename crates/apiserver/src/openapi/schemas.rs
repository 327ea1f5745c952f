//! The schemas of a document: those of its rows and all that these refer to. References are bare names
//! here; each version of OpenAPI writes them its own way.

use std::collections::{BTreeMap, BTreeSet};

use api::{
    builtin::{self, published::Published},
    resource::Resource,
};
use serde_json::{Map, Value, json};

use super::{Row, writer::Each};

pub const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
pub const RESOURCE_LIST: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList";
pub const GROUP: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIGroup";
pub const GROUP_LIST: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIGroupList";
pub const VERSIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIVersions";
pub const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
/// Where the descriptions of `apiVersion` and `kind` are taken from.
const ANY_KIND: &str = "io.k8s.api.core.v1.Pod";

pub struct Schemas<'a> {
    published: &'a Published,
    /// All schemas, by name.
    sources: BTreeMap<String, Source<'a>>,
}

enum Source<'a> {
    /// With the group, version and kind, where it is one.
    Published(Option<[&'a str; 3]>),
    Custom(&'a Row),
    List(&'a Resource),
    Patch,
}

/// The name of a kind's schema: `io.k8s.api.apps.v1.Deployment`, `com.example.v1.Widget`.
pub fn type_name(resource: &Resource) -> String {
    match resource.custom {
        None => builtin::type_name(&resource.group, &resource.version, &resource.kind).unwrap_or_default(),
        Some(_) => custom_name(&resource.group, &resource.version, &resource.kind),
    }
}

/// The name of the schema of a kind's lists.
pub fn list_name(resource: &Resource) -> String {
    let name = type_name(resource);
    format!("{}{}", name.strip_suffix(&*resource.kind).unwrap_or(&name), resource.list_kind)
}

fn custom_name(group: &str, version: &str, kind: &str) -> String {
    let mut labels: Vec<&str> = group.split('.').collect();
    labels.reverse();
    format!("{}.{version}.{kind}", labels.join("."))
}

impl<'a> Schemas<'a> {
    pub fn of(rows: &[&'a Row], published: &'a Published) -> Self {
        let mut sources = BTreeMap::new();
        sources.insert(PATCH.to_owned(), Source::Patch);
        for (name, kind) in [(DELETE_OPTIONS, Some("DeleteOptions")), (STATUS, Some("Status"))] {
            sources.insert(name.to_owned(), Source::Published(kind.map(|kind| ["", "v1", kind])));
        }
        for name in [RESOURCE_LIST, LIST_META, OBJECT_META] {
            sources.insert(name.to_owned(), Source::Published(None));
        }
        for row in rows {
            let resource = &*row.resource;
            let source = match resource.custom {
                None => Source::Published(Some([&resource.group, &resource.version, &resource.kind])),
                Some(_) => Source::Custom(row),
            };
            sources.insert(type_name(resource), source);
            sources.insert(list_name(resource), Source::List(resource));
            for (group, version, kind) in resource.subresources.iter().filter_map(|part| part.body.as_ref()) {
                let name = builtin::type_name(group, version, kind).unwrap_or_default();
                if published.contains(&name) {
                    sources.insert(name, Source::Published(Some([group, version, kind])));
                }
            }
        }
        Self::closed(sources, published)
    }

    /// With those of more published types.
    pub fn with<'n>(mut self, names: impl Iterator<Item = &'n str>) -> Self {
        for name in names {
            self.sources.entry(name.to_owned()).or_insert(Source::Published(None));
        }
        self.close();
        self
    }

    /// Without those that are described elsewhere.
    pub fn leave_out(&mut self, others: &Schemas<'_>) {
        self.sources.retain(|name, _| !others.sources.contains_key(name));
    }

    /// Those of published types, and all that these refer to.
    pub fn named(names: &[&str], published: &'a Published) -> Self {
        let sources = names.iter().map(|name| ((*name).to_owned(), Source::Published(None))).collect();
        Self::closed(sources, published)
    }

    fn closed(sources: BTreeMap<String, Source<'a>>, published: &'a Published) -> Self {
        let mut schemas = Self { published, sources };
        schemas.close();
        schemas
    }

    /// Adds what is referred to.
    fn close(&mut self) {
        let mut open: Vec<String> = self.sources.keys().cloned().collect();
        let mut seen: BTreeSet<String> = open.iter().cloned().collect();
        while let Some(name) = open.pop() {
            for reference in self.published.references(&name) {
                if seen.insert(reference.to_owned()) {
                    open.push(reference.to_owned());
                    self.sources.insert(reference.to_owned(), Source::Published(None));
                }
            }
        }
    }

    /// Hands over each schema, by name.
    pub fn each(&self, each: &mut Each<'_>) {
        for (name, source) in &self.sources {
            let (mut schema, kind) = match source {
                Source::Published(kind) => (self.published.schema(name).unwrap_or_default(), *kind),
                Source::Custom(row) => (self.custom(row), Some(kind_of(&row.resource, &row.resource.kind))),
                Source::List(row) => (self.list(row), Some(kind_of(row, &row.list_kind))),
                Source::Patch => {
                    (json!({"type": "object", "description": "A patch, in the format its media type names."}), None)
                }
            };
            if let Some([group, version, kind]) = kind {
                schema["x-kubernetes-group-version-kind"] = json!([{"group": group, "version": version, "kind": kind}]);
            }
            each(name, schema);
        }
    }

    fn list(&self, resource: &Resource) -> Value {
        let mut properties = self.type_meta();
        let items = json!({
            "type": "array",
            "description": "The objects.",
            "items": {"allOf": [{"$ref": type_name(resource)}], "default": {}},
        });
        properties.insert("items".to_owned(), items);
        properties.insert("metadata".to_owned(), reference(LIST_META, "What is true of the list as a whole."));
        json!({
            "type": "object",
            "description": format!("A list of objects of kind {}.", resource.kind),
            "properties": properties,
            "required": ["items"],
        })
    }

    /// The schema of a definition, with what every object has.
    fn custom(&self, row: &Row) -> Value {
        let mut schema = row.schema().as_deref().cloned().unwrap_or_else(|| json!({"type": "object"}));
        visit(&mut schema, &mut |schema| {
            if schema.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true)) {
                self.add_object_fields(schema);
            }
        });
        if let Some(schema) = schema.as_object_mut() {
            self.add_object_fields(schema);
        }
        schema
    }

    fn add_object_fields(&self, schema: &mut Map<String, Value>) {
        let properties = schema.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.extend(self.type_meta());
            let metadata = reference(OBJECT_META, "What is true of every object: its name, labels, owners.");
            properties.insert("metadata".to_owned(), metadata);
        }
    }

    fn type_meta(&self) -> Map<String, Value> {
        let mut schema = self.published.schema(ANY_KIND).unwrap_or_default();
        ["apiVersion", "kind"].map(|name| (name.to_owned(), schema["properties"][name].take())).into_iter().collect()
    }
}

fn kind_of<'a>(resource: &'a Resource, kind: &'a str) -> [&'a str; 3] {
    [&resource.group, &resource.version, kind]
}

fn reference(name: &str, description: &str) -> Value {
    json!({"allOf": [{"$ref": name}], "default": {}, "description": description})
}

/// Changes a schema and all schemas in it, the outer ones first.
pub fn visit(schema: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Some(schema) = schema.as_object_mut() else { return };
    change(schema);
    for (keyword, inner) in schema.iter_mut() {
        match (keyword.as_str(), inner) {
            ("properties" | "patternProperties" | "definitions", Value::Object(schemas)) => {
                schemas.values_mut().for_each(|schema| visit(schema, change));
            }
            ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => {
                schemas.iter_mut().for_each(|schema| visit(schema, change));
            }
            ("items" | "additionalProperties" | "not", schema) => visit(schema, change),
            _ => {}
        }
    }
}

/// Makes the bare name of a reference a URL.
pub fn refer(schema: &mut Map<String, Value>, prefix: &str) {
    if let Some(Value::String(name)) = schema.get_mut("$ref") {
        name.insert_str(0, prefix);
    }
    // What only wraps a reference needs no wrapping where nothing stands beside it.
    if schema.len() == 1
        && let Some(Value::Array(all)) = schema.get_mut("allOf")
        && let [Value::Object(only)] = all.as_mut_slice()
        && let Some(Value::String(name)) = only.get("$ref")
    {
        let reference = Value::from(format!("{prefix}{name}"));
        schema.clear();
        schema.insert("$ref".to_owned(), reference);
    }
}

/// [`refer`] for all schemas of a path item.
pub fn refer_within(item: &mut Value, prefix: &str) {
    match item {
        Value::Object(map) => {
            for (key, inner) in map {
                if key == "schema" {
                    visit(inner, &mut |schema| refer(schema, prefix));
                } else {
                    refer_within(inner, prefix);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| refer_within(item, prefix)),
        _ => {}
    }
}
