//! Golden cases: every file under `cases/<topic>/` is a list of them, and adding one needs no Rust.
//!
//! A case has a `name`, what it starts from (`in`, or `text` for decoders), the `type` of that, a `patch`,
//! and what it expects: `out`, `strict` errors, or an `error`.

use std::{fmt::Write as _, fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    Encoding, Type, TypeId, Types, check, check_custom, decode, default, patch,
    types::{Field, List, ListPatch, ListTopology, Map, Object, ObjectPatch, Scalar, Shape},
    yaml,
};

const LIMIT_BYTES: usize = 1 << 20;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases")
}

fn read(path: &std::path::Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let decoded =
        decode(&bytes, Encoding::Yaml, LIMIT_BYTES).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(decoded.strict_errors, Vec::<String>::new(), "{}", path.display());
    decoded.value
}

/// Runs all cases of a topic; `run` gives what a case did: `out` and `strict`, or an error.
fn run_cases(topic: &str, least: usize, run: impl Fn(&Value, &Types) -> Result<(Value, Vec<String>), String>) {
    let types = types();
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder().join(topic)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut count, mut failures) = (0, String::new());
    for file in files {
        for case in read(&file).as_array().expect("a list of cases") {
            count += 1;
            let name = case["name"].as_str().expect("a name");
            let actual = match run(case, &types) {
                Ok((out, strict)) if strict.is_empty() => json!({ "out": out }),
                Ok((out, strict)) => json!({"out": out, "strict": strict}),
                Err(error) => json!({ "error": error }),
            };
            let mut expect = serde_json::Map::new();
            for key in ["out", "strict", "error"] {
                if let Some(value) = case.get(key) {
                    expect.insert(key.to_owned(), value.clone());
                }
            }
            assert!(!expect.is_empty(), "{topic}/{name} expects nothing");
            if actual != Value::Object(expect.clone()) {
                let (actual, expect) = (yaml::encode(&actual), yaml::encode(&expect.into()));
                let _ = write!(failures, "\n== {topic}: {name}\n-- expected\n{expect}-- actual\n{actual}");
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(count >= least, "{topic} has {count} cases, fewer than {least}: were files lost?");
}

fn type_of<'t>(case: &Value, types: &'t Types) -> Type<'t> {
    let name = case["type"].as_str().expect("a type");
    find(types, name).unwrap_or_else(|| panic!("no type {name}"))
}

fn find<'t>(types: &'t Types, name: &str) -> Option<Type<'t>> {
    const GROUPS: [&str; 5] = [
        "",
        "io.k8s.api.core.v1.",
        "io.k8s.api.apps.v1.",
        "io.k8s.apimachinery.pkg.apis.meta.v1.",
        "io.k8s.api.coordination.v1.",
    ];
    GROUPS.iter().find_map(|group| types.named(&format!("{group}{name}")))
}

#[test]
fn decode_cases() {
    run_cases("decode", 60, |case, _| {
        let encoding = if case["yaml"] == true { Encoding::Yaml } else { Encoding::Json };
        let text = case["text"].as_str().expect("a text");
        let decoded = decode(text.as_bytes(), encoding, LIMIT_BYTES).map_err(|error| error.to_string())?;
        Ok((decoded.value, decoded.strict_errors))
    });
}

#[test]
fn check_cases() {
    run_cases("check", 60, |case, types| {
        let mut document = case["in"].clone();
        let strict = check(&mut document, type_of(case, types)).map_err(|error| error.to_string())?;
        Ok((document, strict))
    });
}

#[test]
fn custom_cases() {
    run_cases("custom", 15, |case, types| {
        let mut document = case["in"].clone();
        let object_meta = find(types, "ObjectMeta").unwrap();
        let strict =
            check_custom(&mut document, type_of(case, types), object_meta).map_err(|error| error.to_string())?;
        Ok((document, strict))
    });
}

#[test]
fn default_cases() {
    run_cases("default", 10, |case, types| {
        let mut document = case["in"].clone();
        default(&mut document, type_of(case, types));
        Ok((document, Vec::new()))
    });
}

#[test]
fn json_patch_cases() {
    run_cases("json_patch", 40, |case, _| {
        let mut document = case["in"].clone();
        let patch = patch::json::Patch::parse(case["patch"].clone()).map_err(|error| error.to_string())?;
        let strict = patch.strict_errors.clone();
        patch.apply(&mut document).map_err(|error| error.to_string())?;
        Ok((document, strict))
    });
}

#[test]
fn merge_patch_cases() {
    run_cases("merge_patch", 12, |case, _| {
        let mut document = case["in"].clone();
        patch::merge::apply(&mut document, case["patch"].clone()).map_err(|error| error.to_string())?;
        Ok((document, Vec::new()))
    });
}

#[test]
fn strategic_cases() {
    run_cases("strategic", 60, |case, types| {
        let mut document = case["in"].clone();
        let patched = patch::strategic::apply(&mut document, case["patch"].clone(), type_of(case, types));
        patched.map_err(|error| error.to_string())?;
        Ok((document, Vec::new()))
    });
}

#[test]
fn yaml_cases() {
    run_cases("yaml", 15, |case, _| {
        let text = yaml::encode(&case["in"]);
        let back = decode(text.as_bytes(), Encoding::Yaml, LIMIT_BYTES).map_err(|error| error.to_string())?;
        assert_eq!(back.value, case["in"], "{} reads back", case["name"]);
        Ok((text.into(), Vec::new()))
    });
}

/// The types of `cases/types.yaml`.
pub(crate) fn types() -> Types {
    let mut types = Types::default();
    let document = read(&folder().join("types.yaml"));
    let definitions = document.as_object().expect("types by name");
    for name in definitions.keys() {
        let id = types.add(Shape::Any);
        types.name(name, id);
    }
    for (name, fields) in definitions {
        let fields = fields.as_object().expect("fields by name");
        let named = |field: &(&String, &Value)| !field.0.starts_with('$');
        let parsed =
            fields.iter().filter(named).map(|(field, text)| parse_field(&mut types, field, text.as_str().unwrap()));
        let mut object = Object::new(parsed.collect());
        object.preserve_unknown = fields.contains_key("$preserve");
        object.embedded_resource = fields.contains_key("$embedded");
        let id = types.named(name).unwrap().id();
        types.set(id, Shape::Object(object));
    }
    types
}

fn parse_field(types: &mut Types, name: &str, text: &str) -> Field {
    let (text, default) = match text.split_once(" default ") {
        Some((text, default)) => (text, Some(serde_json::from_str(default).unwrap())),
        None => (text, None),
    };
    let mut words = text.split(' ').peekable();
    let of = words.next().unwrap();
    let id = parse_type(types, of);
    let mut field = Field::new(name, id);
    field.always_there = default.as_ref().and_then(Value::as_object).is_some_and(serde_json::Map::is_empty);
    field.default = default;
    let mut patch = ListPatch::Replace;
    while let Some(word) = words.next() {
        match word {
            "by" => patch = ListPatch::MergeByKey(words.next().unwrap().into()),
            "merged" => patch = ListPatch::MergeValues,
            "keep" => field.omit_empty = false,
            "nullable" => field.nullable = true,
            "retainKeys" => field.patch = ObjectPatch::RetainKeys,
            "replace" => field.patch = ObjectPatch::Replace,
            other => panic!("{other} cannot be said of {name}"),
        }
    }
    if let Some(item) = of.strip_prefix('[').and_then(|of| of.strip_suffix(']')) {
        let item = parse_type(types, item);
        field.id = types.add(Shape::List(List { item, topology: ListTopology::Atomic, patch }));
    }
    field
}

fn parse_type(types: &mut Types, text: &str) -> TypeId {
    let scalar = match text {
        "boolean" => Scalar::Boolean,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "number" => Scalar::Number,
        "string" => Scalar::String,
        "bytes" => Scalar::Bytes,
        "intOrString" => Scalar::IntOrString,
        "quantity" => Scalar::Quantity,
        "time" => Scalar::Time,
        "microTime" => Scalar::MicroTime,
        "Any" => return types.add(Shape::Any),
        _ => {
            if let Some(value) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
                let value = parse_type(types, value);
                return types.add(Shape::Map(Map { value, atomic: false, null: crate::types::Null::Kept }));
            }
            if text.starts_with('[') {
                return types.add(Shape::Any);
            }
            return find(types, text).unwrap_or_else(|| panic!("no type {text}")).id();
        }
    };
    types.add(Shape::Scalar(scalar))
}
