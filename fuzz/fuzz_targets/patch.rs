//! Patches never panic and never make a document that cannot be decoded again. The input is a document
//! and a patch, each a line of JSON.
#![no_main]

use std::sync::LazyLock;

use document::{
    Encoding, Types, decode, patch,
    types::{Field, List, ListPatch, ListTopology, Object, Scalar, Shape},
};
use libfuzzer_sys::fuzz_target;

const LIMIT_BYTES: usize = 1 << 20;

/// An object with a name and a list `items` of such objects, merged by name, and a list `values` of
/// strings, merged as a set.
static TYPES: LazyLock<Types> = LazyLock::new(|| {
    let mut types = Types::default();
    let node = types.add(Shape::Any);
    let string = types.add(Shape::Scalar(Scalar::String));
    let mut list = |item, patch| types.add(Shape::List(List { item, topology: ListTopology::Atomic, patch }));
    let items = list(node, ListPatch::MergeByKey("name".into()));
    let values = list(string, ListPatch::MergeValues);
    let fields = vec![Field::new("name", string), Field::new("items", items), Field::new("values", values)];
    types.set(node, Shape::Object(Object::new(fields)));
    types.name("Node", node);
    types
});

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let mut next = || decode(lines.next().unwrap_or_default(), Encoding::Json, LIMIT_BYTES).ok();
    let (Some(document), Some(change)) = (next(), next()) else { return };
    let (document, change) = (document.value, change.value);
    let node = TYPES.named("Node").expect("the type above");
    let results = [
        {
            let mut it = document.clone();
            patch::merge::apply(&mut it, change.clone()).map(|()| it)
        },
        {
            let mut it = document.clone();
            patch::strategic::apply(&mut it, change.clone(), node).map(|()| it)
        },
        patch::json::Patch::parse(change).and_then(|patch| {
            let mut it = document;
            patch.apply(&mut it).map(|()| it)
        }),
    ];
    for patched in results.into_iter().flatten() {
        let text = patched.to_string();
        assert!(decode(text.as_bytes(), Encoding::Json, usize::MAX).is_ok(), "{text}");
    }
});
