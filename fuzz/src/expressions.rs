//! What users may bring to run in the server: expressions, and schemas with expressions in them.

use std::sync::LazyLock;

use api::field::FieldErrors;
use apiserver::{
    cel::{self, Budget, Value as CelValue, types::Declared},
    crd::{
        declare, definition,
        row::rows,
        schema::Schema,
        status::{UsedNames, reconcile},
    },
};
use document::{Encoding, decode, types::Shape};
use serde_json::{Value, json};

use crate::{LIMIT_BYTES, lines};

/// Enough to see every function at work; a run takes milliseconds.
const BUDGET: u64 = 200_000;

/// The document of the golden cases, and its schema.
static SELF: LazyLock<(Value, Declared)> = LazyLock::new(|| {
    let bytes = include_bytes!("../../crates/apiserver/cases/cel/self.json");
    let document = decode(bytes, Encoding::Json, LIMIT_BYTES).expect("a document").value;
    let declared = declare::root(&Schema::read(&document["schema"]));
    (document["value"].clone(), declared)
});

/// Parsed, checked and evaluated within a bound; a complaint can be shown.
pub fn cel(bytes: &[u8]) {
    let Ok(source) = str::from_utf8(bytes) else { return };
    let (value, declared) = &*SELF;
    match cel::compile(source, &[("self".into(), declared.clone())]) {
        Ok(program) => {
            let variables = [("self", CelValue::read(value, &declared.ty))];
            if let Ok(result) = program.evaluate(&variables, &Budget::new(BUDGET)) {
                result.to_json();
            }
        }
        Err(error) => {
            assert!(error.at <= source.len(), "{} of {}", error.at, source.len());
            error.describe(source);
        }
    }
}

/// The input is a schema and an instance, each a line of JSON. A definition that is accepted serves: instances
/// are decoded, defaulted, pruned and validated under it.
pub fn definition(bytes: &[u8]) {
    let Some([schema, instance]) = lines(bytes) else { return };
    let mut definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    let types = api::builtin::types();
    let of = types
        .named("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition")
        .expect("the embedded schemas have definitions");
    if document::check(&mut definition, of).is_err() {
        return;
    }
    document::default(&mut definition, of);
    let strategy = definition::STRATEGY;
    (strategy.default)(&mut definition);
    (strategy.prepare_create)(&mut definition);
    let mut errors = FieldErrors::new();
    (strategy.validate)(&definition, &mut errors);
    if !errors.is_empty() {
        return;
    }
    definition["status"] = reconcile(&definition, &UsedNames::default(), "2026-01-01T00:00:00Z").expect("names");
    for row in rows(&definition, &|types| types.add(Shape::Any)) {
        let mut instance = instance.clone();
        if document::check(&mut instance, row.root()).is_ok() {
            document::default(&mut instance, row.root());
            if let Some(custom) = &row.custom {
                custom.validate(&instance, None, &mut errors);
                custom.validate(&instance, Some(&instance), &mut errors);
            }
        }
    }
}
