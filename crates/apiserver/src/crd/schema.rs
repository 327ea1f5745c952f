//! A schema of a custom resource, read once from its JSONSchemaProps.

use std::collections::BTreeMap;

use api::{
    field::{FieldError, FieldErrors, Path},
    resource::Origin,
};
use document::{
    TypeId, Types,
    types::{Field, List, ListPatch, ListTopology, Map, Null, Object, Scalar, Shape},
};
use serde_json::Value;

use super::{declare, rules::Rules, validate};

/// One level of a schema; also the value validations nested in `allOf` and its like.
#[derive(Debug, Default, Clone)]
pub struct Schema {
    /// `None` for int-or-string and for what has no type at all.
    pub kind: Option<Kind>,
    pub format: Box<str>,
    pub nullable: bool,
    pub default: Option<Value>,
    pub properties: BTreeMap<Box<str>, Schema>,
    pub additional: Additional,
    pub items: Option<Box<Schema>>,
    pub int_or_string: bool,
    pub preserve_unknown: bool,
    pub embedded_resource: bool,
    pub topology: Option<ListTopology>,
    pub atomic_map: bool,
    pub rules: Vec<Rule>,
    pub enumeration: Option<Vec<Value>>,
    pub required: Vec<Box<str>>,
    pub pattern: Option<Box<str>>,
    /// `min…` and `max…` of lengths, items and properties.
    pub length: Bounds,
    pub items_count: Bounds,
    pub properties_count: Bounds,
    pub number: Range,
    pub multiple_of: Option<f64>,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

/// `additionalProperties`.
#[derive(Debug, Default, Clone)]
pub enum Additional {
    #[default]
    Unsaid,
    Allowed,
    Of(Box<Schema>),
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Bounds {
    pub min: Option<u64>,
    pub max: Option<u64>,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Range {
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub exclusive_min: bool,
    pub exclusive_max: bool,
}

/// An entry of `x-kubernetes-validations`.
#[derive(Debug, Default, Clone)]
pub struct Rule {
    pub rule: Box<str>,
    pub message: Box<str>,
    pub message_expression: Box<str>,
    pub reason: Box<str>,
    pub field_path: Box<str>,
    pub optional_old_self: Option<bool>,
}

pub const KINDS: [(&str, Kind); 6] = [
    ("array", Kind::Array),
    ("boolean", Kind::Boolean),
    ("integer", Kind::Integer),
    ("number", Kind::Number),
    ("object", Kind::Object),
    ("string", Kind::String),
];

impl Kind {
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

impl Schema {
    /// Reads what is well-formed; what is not was refused with the definition.
    pub fn read(json: &Value) -> Self {
        let text = |name: &str| Box::<str>::from(json[name].as_str().unwrap_or_default());
        let truth = |name: &str| json[name].as_bool().unwrap_or(false);
        let nested = |name: &str| json[name].is_object().then(|| Box::new(Schema::read(&json[name])));
        let several = |name: &str| json[name].as_array().into_iter().flatten().map(Schema::read).collect();
        let bounds = |min: &str, max: &str| Bounds { min: json[min].as_u64(), max: json[max].as_u64() };
        let kind = json["type"].as_str().and_then(|name| KINDS.iter().find(|(known, _)| *known == name));
        let properties = json["properties"].as_object().into_iter().flatten();
        Self {
            kind: kind.map(|(_, kind)| *kind),
            format: text("format"),
            nullable: truth("nullable"),
            default: json.get("default").cloned(),
            properties: properties.map(|(name, schema)| (name.as_str().into(), Schema::read(schema))).collect(),
            additional: match &json["additionalProperties"] {
                Value::Bool(true) => Additional::Allowed,
                schema @ Value::Object(_) => Additional::Of(Box::new(Schema::read(schema))),
                _ => Additional::Unsaid,
            },
            items: nested("items"),
            int_or_string: truth("x-kubernetes-int-or-string"),
            preserve_unknown: truth("x-kubernetes-preserve-unknown-fields"),
            embedded_resource: truth("x-kubernetes-embedded-resource"),
            topology: topology(json),
            atomic_map: json["x-kubernetes-map-type"] == "atomic",
            rules: json["x-kubernetes-validations"].as_array().into_iter().flatten().map(Rule::read).collect(),
            enumeration: json["enum"].as_array().cloned(),
            required: texts(&json["required"]),
            pattern: json["pattern"].as_str().filter(|text| !text.is_empty()).map(Box::from),
            length: bounds("minLength", "maxLength"),
            items_count: bounds("minItems", "maxItems"),
            properties_count: bounds("minProperties", "maxProperties"),
            number: Range {
                min: json["minimum"].as_f64(),
                max: json["maximum"].as_f64(),
                exclusive_min: truth("exclusiveMinimum"),
                exclusive_max: truth("exclusiveMaximum"),
            },
            multiple_of: json["multipleOf"].as_f64(),
            all_of: several("allOf"),
            any_of: several("anyOf"),
            one_of: several("oneOf"),
            not: nested("not"),
        }
    }

    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
            || self.items.as_ref().is_some_and(|items| items.has_rules())
            || self.properties.values().any(Schema::has_rules)
            || matches!(&self.additional, Additional::Of(value) if value.has_rules())
    }

    /// The type of the documents, for decoding, defaulting, pruning and apply.
    pub fn shape(&self, types: &mut Types) -> TypeId {
        let shape = self.to_shape(types);
        types.add(shape)
    }

    /// The type of a whole resource: its metadata is typed by the generic machinery.
    pub fn root_shape(&self, types: &mut Types, metadata: TypeId) -> TypeId {
        let id = types.add(Shape::Any);
        let Shape::Object(mut object) = self.to_shape(types) else { return id };
        object.fields.retain(|field| !matches!(&*field.name, "apiVersion" | "kind" | "metadata"));
        let text = types.add(Shape::Scalar(Scalar::String));
        object.fields.extend([
            Field::new("apiVersion", text),
            Field::new("kind", text),
            Field::new("metadata", metadata),
        ]);
        let fields = std::mem::take(&mut object.fields);
        types.set(id, Shape::Object(Object { fields: Object::new(fields).fields, ..object }));
        id
    }

    fn to_shape(&self, types: &mut Types) -> Shape {
        if self.int_or_string {
            return Shape::Scalar(Scalar::IntOrString);
        }
        match self.kind {
            None => Shape::Any,
            Some(Kind::Boolean) => Shape::Scalar(Scalar::Boolean),
            Some(Kind::Integer) => Shape::Scalar(Scalar::Int64),
            Some(Kind::Number) => Shape::Scalar(Scalar::Number),
            Some(Kind::String) => Shape::Scalar(Scalar::String),
            Some(Kind::Array) => {
                let item = match &self.items {
                    Some(items) => items.shape(types),
                    None => types.add(Shape::Any),
                };
                let topology = self.topology.clone().unwrap_or(ListTopology::Atomic);
                Shape::List(List { item, topology, patch: ListPatch::Replace })
            }
            Some(Kind::Object) => self.object_shape(types),
        }
    }

    fn object_shape(&self, types: &mut Types) -> Shape {
        let (additional, null) = match &self.additional {
            Additional::Unsaid => (None, Null::Kept),
            Additional::Allowed => (Some(types.add(Shape::Any)), Null::Kept),
            Additional::Of(value) => (Some(value.shape(types)), value.as_null()),
        };
        if let (Some(value), true) = (additional, self.properties.is_empty() && !self.embedded_resource) {
            return Shape::Map(Map { value, atomic: self.atomic_map, null });
        }
        let fields = self.properties.iter().map(|(name, schema)| Field {
            required: self.required.contains(name),
            nullable: schema.nullable,
            default: schema.default.clone(),
            ..Field::new(name, schema.shape(types))
        });
        let fields = fields.collect();
        Shape::Object(Object {
            preserve_unknown: self.preserve_unknown,
            additional,
            additional_null: null,
            atomic: self.atomic_map,
            embedded_resource: self.embedded_resource,
            ..Object::new(fields)
        })
    }

    /// What a null is where a value of this schema may stand under any name.
    fn as_null(&self) -> Null {
        match (&self.default, self.nullable) {
            (_, true) => Null::Kept,
            (Some(default), false) => Null::Replaced(default.clone()),
            (None, false) => Null::Dropped,
        }
    }
}

impl Rule {
    fn read(json: &Value) -> Self {
        let text = |name: &str| Box::<str>::from(json[name].as_str().unwrap_or_default());
        Self {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: text("reason"),
            field_path: text("fieldPath"),
            optional_old_self: json["optionalOldSelf"].as_bool(),
        }
    }
}

fn topology(json: &Value) -> Option<ListTopology> {
    match json["x-kubernetes-list-type"].as_str()? {
        "set" => Some(ListTopology::Set),
        "map" => Some(ListTopology::Map(texts(&json["x-kubernetes-list-map-keys"]))),
        _ => Some(ListTopology::Atomic),
    }
}

fn texts(json: &Value) -> Vec<Box<str>> {
    json.as_array().into_iter().flatten().filter_map(Value::as_str).map(Box::from).collect()
}

/// What the instances of one version of a definition are validated with.
#[derive(Debug)]
pub struct Validator {
    schema: Schema,
    rules: Option<Rules>,
    deprecation: Option<String>,
    origin: Origin,
}

impl Validator {
    pub fn new(schema: Schema, deprecation: Option<String>, origin: Origin) -> Self {
        let rules = schema.has_rules().then(|| Rules::compile(&schema, &declare::root(&schema)));
        Self { schema, rules, deprecation, origin }
    }
}

impl api::resource::Custom for Validator {
    fn origin(&self) -> Option<&Origin> {
        Some(&self.origin)
    }

    fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }

    fn validate(&self, new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let before = errors.len();
        validate::values(&self.schema, new, old, errors);
        validate::embedded(&self.schema, new, errors);
        let mut duplicates = FieldErrors::new();
        validate::lists(&self.schema, new, &mut duplicates);
        if let (Some(old), false) = (old, duplicates.is_empty()) {
            // Duplicates that were there before stay allowed.
            let mut known = FieldErrors::new();
            validate::lists(&self.schema, old, &mut known);
            if !known.is_empty() {
                duplicates.clear();
            }
        }
        errors.extend(duplicates);
        let Some(rules) = &self.rules else { return };
        // Rules assume documents of the right form.
        let hinders = |error: &FieldError| {
            use api::field::Reason::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
            matches!(error.reason, NotSupported | Required | TooLong | TooMany | TypeInvalid)
        };
        if !errors[before..].iter().any(hinders) {
            return rules.validate(new, old, errors);
        }
        let message = "some validation rules were not checked because the object was invalid; \
                       correct the existing errors to complete validation";
        errors.push(FieldError::invalid(&Path::ROOT, Value::Null, message));
    }
}
