//! The published types, before and while the tables are laid over them.

use std::collections::BTreeMap;

use k8s_openapi::schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::roots;

/// By full name: `io.k8s.api.core.v1.Pod`.
pub type Definitions = BTreeMap<String, Definition>;

#[derive(Debug, Default)]
pub struct Definition {
    pub description: String,
    /// The whole schema where this is no object with fields.
    pub scalar: Option<Value>,
    pub fields: BTreeMap<String, Field>,
    pub required: Vec<String>,
    /// Owned and replaced as a whole.
    pub atomic: bool,
}

#[derive(Debug)]
pub struct Field {
    /// The field's own schema, without what stands below.
    pub schema: Map<String, Value>,
    pub list: List,
    /// The field's map or object is owned as a whole; `None` where its type decides.
    pub atomic: Option<bool>,
    pub patch: Patch,
    pub omit_empty: bool,
    /// There even where it was not given.
    pub always_there: bool,
    pub default: Option<Value>,
}

#[derive(Debug, Default, PartialEq)]
pub enum List {
    #[default]
    Atomic,
    Set,
    Map(Vec<String>),
}

#[derive(Debug, Default, PartialEq)]
pub struct Patch {
    pub merge: bool,
    pub merge_key: Option<String>,
    pub retain_keys: bool,
    pub replace: bool,
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";
const REF_PREFIX: &str = "#/definitions/";

pub fn load() -> Definitions {
    let mut generator = SchemaSettings::draft07().into_generator();
    roots::collect(&mut generator);
    let schemas = generator.take_definitions(false);
    schemas.into_iter().map(|(name, schema)| (name, definition(schema))).collect()
}

fn definition(schema: Value) -> Definition {
    let description = text(&schema["description"]);
    let Some(properties) = schema["properties"].as_object() else {
        return Definition { description, scalar: Some(schema), ..Definition::default() };
    };
    // The typed bindings require metadata of every kind; the API does not.
    let is_kind = properties.contains_key("kind") && properties.contains_key("metadata");
    let required: Vec<String> = schema["required"].as_array().into_iter().flatten().map(text).collect();
    let required: Vec<String> = required.into_iter().filter(|name| !(is_kind && name == "metadata")).collect();
    let fields = properties.iter().map(|(name, schema)| (name.clone(), field(schema, required.contains(name))));
    Definition { description, fields: fields.collect(), required, ..Definition::default() }
}

fn field(schema: &Value, required: bool) -> Field {
    let schema = schema.as_object().cloned().unwrap_or_default();
    let leaves_out_empty = matches!(schema.get("type").and_then(Value::as_str), Some("string" | "array" | "object"));
    Field {
        omit_empty: leaves_out_empty && !required,
        always_there: false,
        schema,
        list: List::default(),
        atomic: None,
        patch: Patch::default(),
        default: None,
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The name in a schema's `$ref`.
pub fn reference(schema: &Map<String, Value>) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix(REF_PREFIX)
}

/// What a definition without fields really is; schemas call most of these an object or a string.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    Any,
    /// A schema; the array form has no place in structural schemas.
    Schema,
}

impl Scalar {
    pub fn of(name: &str) -> Scalar {
        let short = name.strip_prefix(META).or_else(|| name.strip_prefix(EXTENSIONS)).unwrap_or(name);
        match short {
            "io.k8s.apimachinery.pkg.api.resource.Quantity" => Scalar::Quantity,
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => Scalar::IntOrString,
            "Time" => Scalar::Time,
            "MicroTime" => Scalar::MicroTime,
            "JSONSchemaPropsOrArray" => Scalar::Schema,
            _ => Scalar::Any,
        }
    }

    /// As OpenAPI 3 writes it; version 2 is derived from that.
    pub fn published(self) -> Value {
        match self {
            Scalar::Quantity => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            Scalar::IntOrString => {
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
            }
            Scalar::Time | Scalar::MicroTime => json!({"type": "string", "format": "date-time"}),
            Scalar::Any | Scalar::Schema => json!({}),
        }
    }
}
