//! Version 2 ("Swagger"): one document for everything, derived piece by piece from version 3.

use std::collections::BTreeMap;

use api::builtin::published::Published;
use serde_json::{Map, Value, json};

use super::{
    Encoding, Row,
    pages::Page,
    paths,
    protobuf::{self, V2},
    schemas::{self, Schemas},
    writer,
};

const REFERENCE: &str = "#/definitions/";

/// The document, compressed.
pub fn render(rows: &[&Row], pages: &BTreeMap<Box<str>, Page>, published: &Published, encoding: Encoding) -> Vec<u8> {
    let schemas = Schemas::of(rows, published).with(pages.values().filter_map(Page::schema));
    let info = json!({"title": "Kubernetes", "version": "unversioned"});
    let security = json!([{"BearerToken": []}]);
    let definitions = json!({"BearerToken": {
        "description": "A bearer token in the authorization header.",
        "in": "header",
        "name": "authorization",
        "type": "apiKey",
    }});
    let all_paths = |each: &mut writer::Each<'_>| {
        for (path, page) in pages {
            let (root, item) = page.item(path);
            each(&root, path_item(item));
        }
        for group_version in
            rows.chunk_by(|a, b| super::v3::document_path(&a.resource) == super::v3::document_path(&b.resource))
        {
            let path = super::v3::document_path(&group_version[0].resource);
            let (root, item) = paths::resource_list(&path, group_version);
            each(&root, path_item(item));
            for row in group_version {
                paths::of_row(row, &mut |path, item| each(path, path_item(item)));
            }
        }
    };
    let all_schemas = |each: &mut writer::Each<'_>| {
        schemas.each(&mut |name, mut schema| {
            schemas::visit(&mut schema, &mut downgrade);
            each(name, schema);
        });
    };
    match encoding {
        Encoding::Json => {
            let mut json = writer::Json::new();
            json.value("swagger", &json!("2.0"));
            json.value("info", &info);
            json.entries("paths", all_paths);
            json.entries("definitions", all_schemas);
            json.value("securityDefinitions", &definitions);
            json.value("security", &security);
            json.finish()
        }
        Encoding::Protobuf => {
            let mut document = protobuf::Document::new(V2.document);
            document.value("swagger", &json!("2.0"));
            document.value("info", &info);
            document.entries("paths", &V2.paths, all_paths);
            document.entries("definitions", &V2.schemas, all_schemas);
            document.value("securityDefinitions", &definitions);
            document.value("security", &security);
            writer::compress(&document.finish())
        }
    }
}

/// Leaves out of a schema what version 2 cannot say.
fn downgrade(schema: &mut Map<String, Value>) {
    if let Some(reference) = schema.get("allOf").and_then(sole_reference) {
        schema.remove("allOf");
        schema.insert("$ref".to_owned(), reference);
    }
    let had_choice = schema.remove("oneOf").is_some();
    let is_nullable = schema.remove("nullable") == Some(Value::Bool(true));
    let is_int_or_string = schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true));
    if had_choice && !is_int_or_string && !schema.contains_key("type") {
        schema.insert("type".to_owned(), "string".into());
    }
    for keyword in ["anyOf", "not", "default"] {
        schema.remove(keyword);
    }
    // Clients of version 2 would refuse null, or fields they do not find.
    if is_nullable || is_int_or_string {
        for keyword in ["type", "items", "properties"] {
            schema.remove(keyword);
        }
    }
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        schema.remove("items");
        schema.remove("properties");
    }
    schemas::refer(schema, REFERENCE);
}

fn sole_reference(all: &Value) -> Option<Value> {
    match all.as_array()?.as_slice() {
        [only] => only.get("$ref").cloned(),
        _ => None,
    }
}

fn path_item(mut item: Value) -> Value {
    let Some(methods) = item.as_object_mut() else { return item };
    for (method, inner) in methods.iter_mut() {
        if method == "parameters" {
            parameters(inner);
        } else {
            operation(inner);
        }
    }
    item
}

fn operation(operation: &mut Value) {
    let Some(operation) = operation.as_object_mut() else { return };
    let mut list = operation.remove("parameters").unwrap_or_else(|| json!([]));
    parameters(&mut list);
    let mut consumes = json!(["*/*"]);
    if let Some(body) = operation.remove("requestBody")
        && let Some((media_types, schema)) = content(&body)
    {
        let mut parameter = json!({"in": "body", "name": "body", "schema": schema});
        if body["required"] == true {
            parameter["required"] = true.into();
        }
        if let Some(list) = list.as_array_mut() {
            list.insert(0, parameter);
        }
        consumes = media_types;
    }
    let mut produces = json!(["*/*"]);
    for response in operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
    {
        if let Some((media_types, schema)) = content(response) {
            produces = media_types;
            response["schema"] = schema;
        }
        response.as_object_mut().and_then(|response| response.remove("content"));
    }
    operation.insert("parameters".to_owned(), list);
    operation.insert("consumes".to_owned(), consumes);
    operation.insert("produces".to_owned(), produces);
    operation.insert("schemes".to_owned(), json!(["https"]));
}

/// The media types of a body or response, and the one schema of them all.
fn content(body: &Value) -> Option<(Value, Value)> {
    let content = body.get("content")?.as_object()?;
    let mut schema = content.values().next()?.get("schema")?.clone();
    schemas::visit(&mut schema, &mut downgrade);
    Some((content.keys().cloned().collect(), schema))
}

/// Parameters say their type without a schema.
fn parameters(list: &mut Value) {
    for parameter in list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(Value::Object(schema)) = parameter.remove("schema") {
            parameter.extend(schema);
        }
    }
}
