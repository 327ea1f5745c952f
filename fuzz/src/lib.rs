//! What any bytes may be thrown at: one function a target, which panics where a promise is broken.
//!
//! Two things drive them: `tests/seeds.rs`, in every `make test`, with seeded mutations of `seeds/`; and
//! libfuzzer (`make fuzz`), which goes deeper. An input that broke something becomes a seed.
#![allow(clippy::expect_used, reason = "a broken promise is a panic")]

mod documents;
mod expressions;
pub mod mutate;
mod objects;
mod requests;

/// A promise, kept for any input.
pub struct Target {
    /// Also the folder of its seeds.
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// More seeds, of formats that are better written by code than kept in files.
    pub made: fn() -> Vec<Vec<u8>>,
}

impl Target {
    const fn new(name: &'static str, run: fn(&[u8])) -> Self {
        Self { name, run, made: Vec::new }
    }
}

pub const TARGETS: &[Target] = &[
    Target::new("json", documents::json),
    Target::new("yaml", documents::yaml),
    Target::new("quantity", documents::quantity),
    Target::new("jsonpath", documents::jsonpath),
    Target::new("json_patch", documents::json_patch),
    Target::new("merge_patch", documents::merge_patch),
    Target::new("strategic_patch", objects::strategic_patch),
    Target::new("apply", objects::apply),
    Target::new("object", objects::object),
    Target::new("protobuf", objects::protobuf),
    Target::new("label_selector", requests::label_selector),
    Target::new("field_selector", requests::field_selector),
    Target::new("request_target", requests::request_target),
    Target::new("cel", expressions::cel),
    Target::new("definition", expressions::definition),
    Target { made: journal::simulation::segments, ..Target::new("journal", journal::simulation::recover_from) },
];

pub fn names() -> Vec<&'static str> {
    TARGETS.iter().map(|target| target.name).collect()
}

/// Bodies may be as large; inputs here are far smaller.
const LIMIT_BYTES: usize = 1 << 20;

/// The lines of an input, each a document of JSON. None where one is no such thing, or too few are there.
fn lines<const N: usize>(bytes: &[u8]) -> Option<[serde_json::Value; N]> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut documents = [const { serde_json::Value::Null }; N];
    for document in &mut documents {
        *document = document::decode(lines.next()?, document::Encoding::Json, LIMIT_BYTES).ok()?.value;
    }
    Some(documents)
}

/// A document that came out of an operation is one that could have come in.
fn assert_decodable(document: &serde_json::Value) {
    let text = document.to_string();
    if let Err(error) = document::decode(text.as_bytes(), document::Encoding::Json, usize::MAX) {
        // What is put together from parts of allowed depth may be deeper than is allowed.
        assert!(error.to_string().contains("depth"), "{error}: {text}");
    }
}
