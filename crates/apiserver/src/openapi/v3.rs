//! Version 3: one document for each group and version.

use api::{builtin::published::Published, resource::Resource};
use serde_json::json;

use super::{
    Encoding, Row,
    pages::Page,
    paths,
    protobuf::{self, V3, V3_COMPONENTS},
    schemas::{self, Schemas},
    writer,
};

const REFERENCE: &str = "#/components/schemas/";

/// Below `/openapi/v3/`, and below the root for the API itself: `api/v1`, `apis/apps/v1`.
pub fn document_path(resource: &Resource) -> String {
    match &*resource.group {
        "" => format!("api/{}", resource.version),
        group => format!("apis/{group}/{}", resource.version),
    }
}

/// The document of a group and version, compressed.
pub fn render(path: &str, rows: &[&Row], published: &Published, encoding: Encoding) -> Vec<u8> {
    let all_paths = |each: &mut writer::Each<'_>| {
        let (root, mut item) = paths::resource_list(path, rows);
        schemas::refer_within(&mut item, REFERENCE);
        each(&root, item);
        for row in rows {
            paths::of_row(row, &mut |path, mut item| {
                schemas::refer_within(&mut item, REFERENCE);
                each(path, item);
            });
        }
    };
    document(all_paths, &Schemas::of(rows, published), encoding)
}

/// The document of a page, compressed.
pub fn render_page(path: &str, page: &Page, published: &Published, encoding: Encoding) -> Vec<u8> {
    let all_paths = |each: &mut writer::Each<'_>| {
        let (root, mut item) = page.item(path);
        schemas::refer_within(&mut item, REFERENCE);
        each(&root, item);
    };
    let names: Vec<&str> = page.schema().into_iter().collect();
    document(all_paths, &Schemas::named(&names, published), encoding)
}

fn document(all_paths: impl Fn(&mut writer::Each<'_>), schemas: &Schemas<'_>, encoding: Encoding) -> Vec<u8> {
    let info = json!({"title": "Kubernetes", "version": "unversioned"});
    let security = json!({"BearerToken": {
        "description": "A bearer token in the authorization header.",
        "in": "header",
        "name": "authorization",
        "type": "apiKey",
    }});
    let all_schemas = |each: &mut writer::Each<'_>| {
        schemas.each(&mut |name, mut schema| {
            schemas::visit(&mut schema, &mut |schema| schemas::refer(schema, REFERENCE));
            each(name, schema);
        });
    };
    match encoding {
        Encoding::Json => {
            let mut json = writer::Json::new();
            json.value("openapi", &json!("3.0.0"));
            json.value("info", &info);
            json.entries("paths", all_paths);
            json.open("components");
            json.entries("schemas", all_schemas);
            json.value("securitySchemes", &security);
            json.close();
            json.finish()
        }
        Encoding::Protobuf => {
            let mut document = protobuf::Document::new(V3.document);
            document.value("openapi", &json!("3.0.0"));
            document.value("info", &info);
            document.entries("paths", &V3.paths, all_paths);
            let mut components = protobuf::Document::new(V3_COMPONENTS);
            components.entries("schemas", &V3.schemas, all_schemas);
            components.value("securitySchemes", &security);
            document.nested("components", components);
            writer::compress(&document.finish())
        }
    }
}
