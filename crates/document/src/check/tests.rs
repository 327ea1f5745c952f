use serde_json::{Value, json};

use super::{check, check_custom};
use crate::{Encoding, cases::types, decode, default, patch, yaml};

/// A small generator; the seed of a failure is in its message.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "labels": {"a": "b"}, "creationTimestamp": "2024-01-02T03:04:05+02:00",
            "finalizers": ["a", "b"], "ownerReferences": [{"uid": "1", "name": "o"}]},
        "spec": {
            "containers": [
                {"name": "a", "image": "x", "env": [{"name": "X", "value": "1"}, {"name": "Y"}],
                 "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "0.5", "memory": 1024}}},
                {"name": "b", "livenessProbe": {"httpGet": {"port": "http"}}}
            ],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1024Mi"}}],
            "nodeSelector": {}, "tolerations": [], "terminationGracePeriodSeconds": 0, "overhead": {"cpu": "1500m"}
        }
    })
}

const INTERESTING: [&str; 20] = [
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1.5",
    "1e3",
    "9223372036854775808",
    "\"\"",
    "\"1Gi\"",
    "\"0.1\"",
    "[]",
    "{}",
    "[null]",
    "{\"\":null}",
    "\"2024-01-02T03:04:05Z\"",
    "{\"$patch\":\"delete\"}",
    "{\"$patch\":\"replace\"}",
    "[{\"name\":\"a\",\"$patch\":\"delete\"}]",
    "{\"$retainKeys\":[\"name\"]}",
];

const NAMES: [&str; 10] = [
    "name",
    "unknown",
    "spec",
    "containers",
    "$patch",
    "$retainKeys",
    "$setElementOrder/containers",
    "$deleteFromPrimitiveList/finalizers",
    "metadata",
    "",
];

/// Replaces, adds or removes a value somewhere.
fn mutate(value: &mut Value, random: &mut Random) {
    let descend = random.below(5) > 0;
    match value {
        Value::Object(fields) if descend && !fields.is_empty() => {
            let at = random.below(fields.len());
            if let Some(child) = fields.values_mut().nth(at) {
                mutate(child, random);
            }
        }
        Value::Array(items) if descend && !items.is_empty() => {
            let at = random.below(items.len());
            mutate(&mut items[at], random);
        }
        Value::Object(fields) if random.below(3) == 0 => {
            let name = NAMES[random.below(NAMES.len())].to_owned();
            fields.insert(name, serde_json::from_str(INTERESTING[random.below(INTERESTING.len())]).unwrap());
        }
        other => *other = serde_json::from_str(INTERESTING[random.below(INTERESTING.len())]).unwrap(),
    }
}

fn mutant(seed: u64) -> Value {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut document = pod();
    for _ in 0..=random.below(6) {
        mutate(&mut document, &mut random);
    }
    document
}

#[test]
fn checking_and_defaulting_twice_changes_nothing_more() {
    let types = types();
    let pod = types.named("io.k8s.api.core.v1.Pod").unwrap();
    let object_meta = types.named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap();
    let mut accepted = 0;
    for seed in 0..20_000 {
        let mut built_in = mutant(seed);
        if check(&mut built_in, pod).is_ok() {
            accepted += 1;
            let once = built_in.clone();
            assert_eq!(check(&mut built_in, pod), Ok(Vec::new()), "seed {seed}");
            assert_eq!(built_in, once, "seed {seed}");
            default(&mut built_in, pod);
            let defaulted = built_in.clone();
            default(&mut built_in, pod);
            assert_eq!(built_in, defaulted, "seed {seed}");
        }
        let mut custom = mutant(seed);
        if check_custom(&mut custom, pod, object_meta).is_ok() {
            let once = custom.clone();
            assert_eq!(check_custom(&mut custom, pod, object_meta), Ok(Vec::new()), "seed {seed}");
            assert_eq!(custom, once, "seed {seed}");
        }
    }
    assert!(accepted > 1_000, "only {accepted} mutants were accepted");
}

#[test]
fn patches_never_panic() {
    let types = types();
    let of = types.named("io.k8s.api.core.v1.Pod").unwrap();
    for seed in 0..20_000 {
        let (document, change) = (mutant(seed), mutant(seed + 1_000_000));
        let mut merged = document.clone();
        if patch::merge::apply(&mut merged, change.clone()).is_ok() {
            let once = merged.clone();
            patch::merge::apply(&mut merged, change.clone()).unwrap();
            assert_eq!(merged, once, "seed {seed}");
        }
        let _ = patch::strategic::apply(&mut document.clone(), change.clone(), of);
        let operations = json!([
            {"op": "copy", "from": "/spec", "path": "/metadata/x"},
            {"op": "move", "from": "/spec/containers/0", "path": "/spec/containers/-"},
            {"op": "add", "path": "/spec/containers/0/env/-", "value": change},
        ]);
        let _ = patch::json::Patch::parse(operations).unwrap().apply(&mut document.clone());
    }
}

#[test]
fn every_document_survives_yaml() {
    for seed in 0..5_000 {
        let document = mutant(seed);
        let text = yaml::encode(&document);
        let decoded =
            decode(text.as_bytes(), Encoding::Yaml, 1 << 20).unwrap_or_else(|error| panic!("{error}: {text}"));
        let same = decoded.value == document || text.contains("1000.0") || text.contains("e+");
        assert!(same, "seed {seed}: {text}");
    }
}

#[test]
fn mangled_texts_never_panic() {
    let text = pod().to_string();
    let yaml = yaml::encode(&pod());
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let (original, encoding) = if seed % 2 == 0 { (&text, Encoding::Json) } else { (&yaml, Encoding::Yaml) };
        let mut bytes = original.clone().into_bytes();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] = b"{}[]:,\"'&*!-#\n\t \\0x\xff"[random.below(20)],
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, b"{}[]:,\"'&*!|>?%@\n 9"[random.below(19)]),
            }
        }
        let _ = decode(&bytes, encoding, 1 << 20);
    }
}
