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
}

pub const TARGETS: &[Target] = &[
    Target { name: "json", run: documents::json },
    Target { name: "yaml", run: documents::yaml },
    Target { name: "quantity", run: documents::quantity },
    Target { name: "jsonpath", run: documents::jsonpath },
    Target { name: "json_patch", run: documents::json_patch },
    Target { name: "merge_patch", run: documents::merge_patch },
    Target { name: "strategic_patch", run: objects::strategic_patch },
    Target { name: "apply", run: objects::apply },
    Target { name: "object", run: objects::object },
    Target { name: "protobuf", run: objects::protobuf },
    Target { name: "label_selector", run: requests::label_selector },
    Target { name: "field_selector", run: requests::field_selector },
    Target { name: "request_target", run: requests::request_target },
    Target { name: "cel", run: expressions::cel },
    Target { name: "definition", run: expressions::definition },
    Target { name: "journal", run: journal::simulation::recover_from },
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
