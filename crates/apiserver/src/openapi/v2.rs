//! Version 2 ("Swagger"): one document for everything, derived piece by piece from version 3, and joined of parts that
//! are made and kept apart.

use std::sync::Arc;

use api::builtin::published::Published;
use serde_json::{Map, Value, json};

use super::{
    Encoding, Row,
    pages::Page,
    paths,
    protobuf::{self, Collection, V2},
    run::{self, Run},
    schemas::{self, Schemas},
    v3, writer,
};

const REFERENCE: &str = "#/definitions/";

/// What one group adds to the document, or all groups that are built in.
#[derive(Debug, Default)]
pub struct Section<'a> {
    pub rows: Vec<&'a Row>,
    pub pages: Vec<(&'a str, &'a Page)>,
}

/// A section, rendered.
#[derive(Debug)]
pub struct Part {
    paths: Run,
    definitions: Run,
}

impl Section<'_> {
    /// The paths of the documents of version 3 that say the same.
    pub fn documents(&self) -> impl Iterator<Item = String> {
        let mut of_rows: Vec<String> = self.rows.iter().map(|row| v3::document_path(&row.resource)).collect();
        of_rows.dedup();
        of_rows.into_iter().chain(self.pages.iter().map(|(path, _)| (*path).to_owned()))
    }

    /// Renders the section; `before` is the one that describes what all refer to.
    pub fn render(&self, before: Option<&Self>, published: &Published, encoding: Encoding) -> Part {
        let mut schemas = self.schemas(published);
        if let Some(before) = before {
            schemas.leave_out(&before.schemas(published));
        }
        let all_paths = |each: &mut writer::Each<'_>| {
            for (path, page) in &self.pages {
                let (root, item) = page.item(path);
                each(&root, path_item(item));
            }
            for group_version in
                self.rows.chunk_by(|a, b| v3::document_path(&a.resource) == v3::document_path(&b.resource))
            {
                let path = v3::document_path(&group_version[0].resource);
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
        Part {
            paths: entries("paths", &V2.paths, all_paths, encoding),
            definitions: entries("definitions", &V2.schemas, all_schemas, encoding),
        }
    }

    fn schemas<'s>(&'s self, published: &'s Published) -> Schemas<'s> {
        Schemas::of(&self.rows, published).with(self.pages.iter().filter_map(|(_, page)| page.schema()))
    }
}

/// Entries of a large object: in JSON those alone, in protobuf the field with only them in it. Fields of the same
/// number are one to their reader.
fn entries(
    key: &str,
    collection: &'static Collection,
    all: impl FnOnce(&mut writer::Each<'_>),
    encoding: Encoding,
) -> Run {
    match encoding {
        Encoding::Json => Run::of(|run| {
            let mut comma = "";
            all(&mut |key, value| {
                run.write(format!("{comma}{}:{value}", Value::from(key)).as_bytes());
                comma = ",";
            });
        }),
        Encoding::Protobuf => {
            let mut document = protobuf::Document::new(V2.document);
            document.entries(key, collection, all);
            Run::whole(&document.finish())
        }
    }
}

/// The document of all parts, compressed. None of them is empty.
pub fn join(parts: &[Arc<Part>], encoding: Encoding) -> Vec<u8> {
    let [swagger, info] = [json!("2.0"), json!({"title": "Kubernetes", "version": "unversioned"})];
    let security = json!([{"BearerToken": []}]);
    let definitions = json!({"BearerToken": {
        "description": "A bearer token in the authorization header.",
        "in": "header",
        "name": "authorization",
        "type": "apiKey",
    }});
    let message = |fields: [(&str, &Value); 2]| {
        let mut document = protobuf::Document::new(V2.document);
        fields.into_iter().for_each(|(key, value)| document.value(key, value));
        document.finish()
    };
    let (first, second) =
        ([("swagger", &swagger), ("info", &info)], [("securityDefinitions", &definitions), ("security", &security)]);
    let [head, comma, middle, tail] = match encoding {
        Encoding::Json => [
            format!("{{\"swagger\":{swagger},\"info\":{info},\"paths\":{{").into_bytes(),
            b",".to_vec(),
            b"},\"definitions\":{".to_vec(),
            format!("}},\"securityDefinitions\":{definitions},\"security\":{security}}}").into_bytes(),
        ],
        Encoding::Protobuf => [message(first), Vec::new(), Vec::new(), message(second)],
    };
    let [head, comma, middle, tail] = [head, comma, middle, tail].map(|bytes| Run::whole(&bytes));
    let separated = |run: fn(&Part) -> &Run| {
        let comma = &comma;
        parts
            .iter()
            .enumerate()
            .flat_map(move |(index, part)| (index > 0).then_some(comma).into_iter().chain([run(part)]))
    };
    let all = [&head].into_iter().chain(separated(|part| &part.paths));
    let all = all.chain([&middle]).chain(separated(|part| &part.definitions)).chain([&tail]);
    run::gzip(all)
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
