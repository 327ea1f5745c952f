//! From an accepted definition to the rows by which it is served, one for each served version.

use std::sync::Arc;

use api::{
    registry::compare_versions,
    resource::{Cell, Column, Resource, ScalePaths, Scope, SelectableField, Storage, StoredSchema, Subresource, Verbs},
    strategy::Strategy,
};
use document::{TypeId, Types, jsonpath};
use serde_json::Value;

use super::{
    known::Known,
    schema::{Schema, Validator},
};

/// Builds the type of `metadata` in the arena of a custom resource.
pub type Metadata<'m> = &'m dyn Fn(&mut Types) -> TypeId;

/// The rows of a definition whose names are accepted. `metadata` adds the type of ObjectMeta.
pub fn rows(definition: &Value, metadata: Metadata<'_>) -> Vec<Resource> {
    let versions = definition["spec"]["versions"].as_array();
    let versions = versions.into_iter().flatten();
    versions.filter(|version| version["served"] == true).map(|version| row(definition, version, metadata)).collect()
}

/// The row of the version that is stored, whether it is served or not.
pub fn stored(definition: &Value, metadata: Metadata<'_>) -> Option<Resource> {
    let versions = definition["spec"]["versions"].as_array()?;
    let version = versions.iter().find(|version| version["storage"] == true)?;
    Some(row(definition, version, metadata))
}

/// Of all that makes the row: a definition that says the same gives the same (FNV-1a).
fn hash(definition: &Value, version: &Value) -> u64 {
    let text = format!("{}{}{}", definition["spec"]["scope"], definition["status"]["acceptedNames"], version);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A version's schema, and the types that documents are read by.
fn structure(version: &Value, metadata: Metadata<'_>) -> (Schema, Arc<Types>, TypeId) {
    let schema = Schema::read(&version["schema"]["openAPIV3Schema"]);
    let mut types = Types::default();
    let metadata = metadata(&mut types);
    let root = schema.root_shape(&mut types, metadata);
    (schema, Arc::new(types), root)
}

fn row(definition: &Value, version: &Value, metadata: Metadata<'_>) -> Resource {
    let spec = &definition["spec"];
    let names = &definition["status"]["acceptedNames"];
    let text = |value: &Value, name: &str| Box::<str>::from(value[name].as_str().unwrap_or_default());
    let texts = |value: &Value| -> Vec<Box<str>> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(Box::from).collect()
    };
    let (group, version_name, kind) = (text(spec, "group"), text(version, "name"), text(names, "kind"));
    let plural = text(names, "plural");
    let (schema, types, root) = structure(version, metadata);
    let versions = spec["versions"].as_array();
    let storage = versions.into_iter().flatten().find(|version| version["storage"] == true);
    let stored_as = storage.map_or(version_name.clone(), |storage| text(storage, "name"));
    let stored_schema = storage.filter(|storage| storage["name"] != version["name"]).map(|storage| {
        let (_, types, root) = structure(storage, metadata);
        StoredSchema { types, root, hash: hash(definition, storage) }
    });
    let has_status = !version["subresources"]["status"].is_null();
    Resource {
        list_kind: text(names, "listKind"),
        singular: text(names, "singular"),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        scope: if spec["scope"] == "Cluster" { Scope::Cluster } else { Scope::Namespaced },
        verbs: Verbs::ALL,
        subresources: subresources(version, has_status),
        types,
        root,
        storage: Storage {
            topic: format!("{plural}.{group}").into(),
            api_version: format!("{group}/{stored_as}").into(),
            kind: (*kind).into(),
            conversion: None,
            schema: stored_schema,
        },
        strategy: Strategy {
            counts_generation: true,
            unconditional_update: false,
            // Without the subresource it is a field like others.
            prepare_create: if has_status { Strategy::DEFAULT.prepare_create } else { |_| {} },
            ..Strategy::DEFAULT
        },
        schema_hash: hash(definition, version),
        columns: columns(version).into(),
        selectable: selectable(version),
        custom: Some(Arc::new(Validator::new(schema, deprecation(spec, version), Known::origin(definition)))),
        group,
        version: version_name,
        kind,
        plural,
    }
}

/// The warning of a deprecated version: the definition's own, or one that names the version to use.
fn deprecation(spec: &Value, version: &Value) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    if let Some(own) = version["deprecationWarning"].as_str() {
        return Some(own.to_owned());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, kind, name) = (text(&spec["group"]), text(&spec["names"]["kind"]), text(&version["name"]));
    let versions = spec["versions"].as_array().into_iter().flatten();
    let newest = versions
        .filter(|other| other["served"] == true && other["deprecated"] != true)
        .map(|other| text(&other["name"]))
        .min_by(|a, b| compare_versions(a, b))
        .filter(|newest| compare_versions(newest, &name).is_lt());
    let instead = newest.map(|newest| format!("; use {group}/{newest} {kind}")).unwrap_or_default();
    Some(format!("{group}/{name} {kind} is deprecated{instead}"))
}

fn subresources(version: &Value, has_status: bool) -> Vec<Subresource> {
    let plain = |name: &str| Subresource { name: name.into(), verbs: Verbs::SUBRESOURCE, body: None, scale: None };
    let mut found = Vec::new();
    if has_status {
        found.push(plain("status"));
    }
    let scale = &version["subresources"]["scale"];
    if scale.is_object() {
        let path = |name: &str| scale[name].as_str().filter(|path| !path.is_empty()).map(Box::<str>::from);
        found.push(Subresource {
            body: Some(("autoscaling".into(), "v1".into(), "Scale".into())),
            scale: Some(ScalePaths {
                spec_replicas: path("specReplicasPath").unwrap_or_default(),
                status_replicas: path("statusReplicasPath").unwrap_or_default(),
                selector: path("labelSelectorPath"),
            }),
            ..plain("scale")
        });
    }
    found
}

/// The name, then the definition's columns, or the age where it names none.
fn columns(version: &Value) -> Vec<Column> {
    let text = |value: &Value, name: &str| Box::<str>::from(value[name].as_str().unwrap_or_default());
    let mut columns = vec![Column {
        name: "Name".into(),
        kind: "string".into(),
        format: "name".into(),
        description: "Name must be unique within a namespace.".into(),
        priority: 0,
        cell: Cell::Name,
    }];
    let own = version["additionalPrinterColumns"].as_array().map_or(&[][..], Vec::as_slice);
    let described = |column: &Value| match column["description"].as_str() {
        None | Some("") => {
            let path = column["jsonPath"].as_str().unwrap_or_default();
            format!("Custom resource definition column (in JSONPath format): {path}").into()
        }
        Some(text) => Box::<str>::from(text),
    };
    columns.extend(own.iter().map(|column| Column {
        name: text(column, "name"),
        kind: text(column, "type"),
        format: text(column, "format"),
        description: described(column),
        priority: u8::try_from(column["priority"].as_i64().unwrap_or(0).clamp(0, 255)).unwrap_or(0),
        // A path that cannot be read was refused when the definition was written.
        cell:
            column["jsonPath"].as_str().and_then(|path| jsonpath::compile(path).ok()).map_or(Cell::Nothing, Cell::Path),
    }));
    if own.is_empty() {
        columns.push(Column {
            name: "Age".into(),
            kind: "date".into(),
            format: "".into(),
            description: "Time since the object was created.".into(),
            priority: 0,
            cell: Cell::Age,
        });
    }
    columns
}

fn selectable(version: &Value) -> Vec<SelectableField> {
    let fields = version["selectableFields"].as_array().into_iter().flatten();
    let paths = fields.filter_map(|field| field["jsonPath"].as_str()).map(|path| path.trim_start_matches('.'));
    paths
        .map(|path| SelectableField {
            label: path.into(),
            path: path.split('.').map(Box::from).collect(),
            second: Vec::new(),
            default: "".into(),
        })
        .collect()
}
