//! Bodies in `cases/protobuf`, as kubectl and Kubernetes' own libraries wrote them, beside the documents
//! that they are; `UPDATE_EXPECT=1` rewrites those. What no client sends is put together here.

use std::{collections::HashSet, fs, path::Path};

use document::{Type, types::Shape};
use serde_json::{Value, json};
use stdx::random::{Random, SeededRandom};

use super::{
    Envelope, ProtobufError, decode, envelope,
    numbers::{Message, Numbers, Slot, numbers},
};
use crate::builtin::{self, types};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

#[test]
fn every_field_of_every_kind_has_a_number() {
    let types = types();
    let mut left: Vec<Type<'_>> = vec![types.named(&format!("{META}DeleteOptions")).unwrap()];
    let mut kinds = HashSet::new();
    let rows: Vec<_> = builtin::groups()
        .iter()
        .flat_map(|group| group.versions.iter().flat_map(|version| group.rows(version.name)))
        .collect();
    for row in &rows {
        let bodies = row.subresources.iter().filter_map(|part| part.body.as_ref());
        let bodies = bodies.filter_map(|(group, version, kind)| builtin::type_name(group, version, kind));
        left.push(types.get(row.root));
        left.extend(bodies.filter_map(|name| types.named(&name)));
    }
    kinds.extend(left.iter().map(|of| of.id()));
    let mut seen = HashSet::new();
    while let Some(of) = left.pop() {
        let Shape::Object(object) = of.shape() else { continue };
        if !seen.insert(of.id()) {
            continue;
        }
        let name = of.name().unwrap_or("a type without a name");
        let message = numbers().message(of.id()).unwrap_or_else(|| panic!("{name} has no numbers"));
        let mut numbered = HashSet::new();
        collect(message, &mut numbered);
        for field in &object.fields {
            let of_envelope = kinds.contains(&of.id()) && matches!(&*field.name, "apiVersion" | "kind");
            assert!(of_envelope || numbered.contains(&*field.name), "{name}.{} has no number", field.name);
            left.push(leaf(of.of(field.id)));
        }
    }
    assert!(seen.len() > 500, "only {} types", seen.len());
}

fn collect(message: &Message, names: &mut HashSet<&'static str>) {
    for slot in message.slots() {
        match slot {
            Slot::Inlined(inner) => collect(inner, names),
            Slot::Field { name, .. } => assert!(names.insert(name), "{name} stands there twice"),
        }
    }
}

fn leaf(of: Type<'_>) -> Type<'_> {
    match of.shape() {
        Shape::List(list) => leaf(of.of(list.item)),
        Shape::Map(map) => leaf(of.of(map.value)),
        _ => of,
    }
}

#[test]
fn a_line_of_the_table_that_names_nothing_is_refused() {
    let check = |table: &'static str, expect: &str| {
        assert_eq!(Numbers::read(table, &types()).expect_err(table), expect);
    };
    check("core.v1.Nothing\n  name\n", "no type \"core.v1.Nothing\"");
    check("core.v1.Pod/nothing\n  name\n", "no type \"core.v1.Pod/nothing\"");
    check("core.v1.Pod\n  metadata nothing\n", "core.v1.Pod: no field \"nothing\"");
    check("core.v1.Pod\n  metadata 1 spec\n", "core.v1.Pod: 1 does not come after 2");
    check("core.v1.Pod\n  metadata:or-nothing\n", "core.v1.Pod: no form \"or-nothing\"");
    check("core.v1.Pod core.v1.Pod\n  metadata\n", "core.v1.Pod stands there twice");
}

#[test]
fn bodies_of_real_clients_are_the_documents_they_are() {
    let cases = cases();
    assert!(cases.len() >= 30, "only {} cases were found", cases.len());
    for case in &cases {
        let document = decode_body(&case.body).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let expected = fs::read_to_string(&case.expected).unwrap_or_default();
        let actual = format!("{document:#}\n");
        if actual == expected {
            continue;
        }
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&case.expected, actual).unwrap();
            continue;
        }
        panic!("{}: (UPDATE_EXPECT=1 rewrites it)\nexpected {expected}\nactual {actual}", case.name);
    }
}

/// Flips, cuts and repeats: what comes out is a document or an error.
#[test]
fn mutilated_bodies_are_errors_or_documents() {
    let random = SeededRandom::new(36);
    let below = |bound: usize| random.below(bound as u64) as usize;
    let mut refused = 0;
    let mut tried = 0;
    for case in cases() {
        for _ in 0..60 {
            let mut body = case.body.clone();
            for _ in 0..=below(3) {
                let at = 4 + below(body.len() - 4);
                match below(3) {
                    0 => body[at] ^= 1 << below(8),
                    1 => body.truncate(at + 1),
                    _ => body[at] = 0xff,
                }
            }
            tried += 1;
            refused += usize::from(decode_body(&body).is_err());
        }
    }
    assert!(refused > tried / 10 && refused < tried, "{refused} of {tried} were refused");
}

struct Case {
    name: String,
    body: Vec<u8>,
    expected: std::path::PathBuf,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/protobuf");
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<Case> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .map(|path| Case {
            name: path.file_stem().unwrap().display().to_string(),
            body: hex(&fs::read_to_string(&path).unwrap()),
            expected: path.with_extension("json"),
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|char| char.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// As the server does it: envelope, message, canonical form.
fn decode_body(body: &[u8]) -> Result<Value, String> {
    let types = types();
    let Envelope { api_version, kind, raw } = envelope(body).map_err(|error| error.to_string())?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let name = match &*kind {
        "DeleteOptions" => Some(format!("{META}DeleteOptions")),
        kind => builtin::type_name(group, version, kind),
    };
    let of = name.and_then(|name| types.named(&name)).ok_or("no such kind")?;
    let mut document = decode(raw, of).map_err(|error| error.to_string())?;
    document["apiVersion"] = api_version.into();
    document["kind"] = kind.into();
    let unknown = document::check(&mut document, of).map_err(|error| error.0)?;
    assert_eq!(unknown, Vec::<String>::new());
    Ok(document)
}

/// A field with bytes.
fn part(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 0x7f {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(content);
    bytes
}

/// A field with a small number.
fn int(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn check(name: &str, bytes: &[u8], expect: Value) {
    let types = types();
    let of = types.named(name).expect(name);
    assert_eq!(decode(bytes, of), Ok(expect), "{name} {bytes:x?}");
}

#[test]
fn numbers_come_packed_or_not() {
    let groups = "io.k8s.api.core.v1.PodSecurityContext";
    check(groups, &[int(4, 7), int(4, 8)].concat(), json!({"supplementalGroups": [7, 8]}));
    check(groups, &part(4, &[7, 8]), json!({"supplementalGroups": [7, 8]}));
    check(groups, &[part(4, &[7, 0]), int(4, 9)].concat(), json!({"supplementalGroups": [7, 0, 9]}));
}

#[test]
fn messages_come_in_parts_and_the_last_scalar_counts() {
    let pod = "io.k8s.api.core.v1.Pod";
    let parts = [part(1, &part(1, b"a")), part(1, &part(3, b"ns")), part(1, &part(1, b"b"))].concat();
    check(pod, &parts, json!({"metadata": {"name": "b", "namespace": "ns"}}));
}

#[test]
fn unknown_numbers_are_skipped() {
    let name = "io.k8s.api.core.v1.LocalObjectReference";
    let unknown = [int(9, 1), part(10, b"x"), vec![11 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0], vec![12 << 3 | 5, 0, 0, 0, 0]];
    let group = [vec![13 << 3 | 3], int(1, 1), vec![13 << 3 | 3, 13 << 3 | 4, 13 << 3 | 4]].concat();
    check(name, &[unknown.concat(), group, part(1, b"a")].concat(), json!({"name": "a"}));
}

#[test]
fn entries_may_lack_key_or_value() {
    let config = "io.k8s.api.core.v1.ConfigMap";
    let entries = [part(2, &part(1, b"a")), part(2, &part(2, b"x")), part(2, &[part(1, b"b"), part(2, b"1")].concat())];
    let types = types();
    let mut document = decode(&entries.concat(), types.named(config).unwrap()).unwrap();
    document::check(&mut document, types.named(config).unwrap()).unwrap();
    assert_eq!(document, json!({"data": {"a": "", "": "x", "b": "1"}}));
}

#[test]
fn a_zero_behind_a_pointer_stays() {
    let check = |name: &str, bytes: &[u8], expect: Value| {
        let types = types();
        let mut document = decode(bytes, types.named(name).unwrap()).unwrap();
        document::check(&mut document, types.named(name).unwrap()).unwrap();
        assert_eq!(document, expect, "{name}");
    };
    let deployment = [int(1, 0), int(5, 0), int(6, 0), int(7, 0), int(9, 0)].concat();
    check(
        "io.k8s.api.apps.v1.DeploymentSpec",
        &deployment,
        json!({"replicas": 0, "revisionHistoryLimit": 0, "progressDeadlineSeconds": 0}),
    );
    check("io.k8s.api.core.v1.SecretVolumeSource", &[part(1, b""), int(4, 0)].concat(), json!({"optional": false}));
    check(
        "io.k8s.api.core.v1.Volume",
        &[part(1, b"v"), part(2, &part(2, b""))].concat(),
        json!({"emptyDir": {}, "name": "v"}),
    );
}

#[test]
fn what_is_special_about_values() {
    let time = |bytes: &[u8], expect: Value| {
        check(&format!("{META}ManagedFieldsEntry"), &part(4, bytes), json!({"time": expect}))
    };
    time(&[], Value::Null);
    time(&int(2, 5), json!("1970-01-01T00:00:00Z"));
    let port = |bytes: &[u8], expect: Value| {
        check("io.k8s.api.core.v1.TCPSocketAction", &part(1, bytes), json!({"port": expect}));
    };
    port(&[int(1, 0), int(2, 80), part(3, b"")].concat(), json!(80));
    port(&[int(1, 1), int(2, 0), part(3, b"web")].concat(), json!("web"));
    port(&[], json!(0));
    check("io.k8s.api.core.v1.ResourceFieldSelector", &part(3, &[]), json!({"divisor": "0"}));
    let user = [part(4, &[part(1, b"k"), part(2, &[part(1, b"a"), part(1, b"b")].concat())].concat())].concat();
    check("io.k8s.api.authentication.v1.UserInfo", &user, json!({"extra": {"k": ["a", "b"]}}));
    let schema = |bytes: &[u8], expect: Value| check(SCHEMA, bytes, expect);
    schema(&[0xf2, 0x01, 2, 8, 0], json!({"additionalProperties": false}));
    schema(&[0xf2, 0x01, 4, 8, 1, 18, 0], json!({"additionalProperties": {}}));
    schema(&[0xc2, 0x01, 0], json!({"items": null}));
}

#[test]
fn errors_are_in_the_words_of_go() {
    let of = |name: &str, bytes: &[u8], expect: &str| {
        let types = types();
        let error = decode(bytes, types.named(name).unwrap()).expect_err(expect);
        assert_eq!(error.to_string(), expect, "{bytes:x?}");
    };
    let deployment = "io.k8s.api.apps.v1.Deployment";
    of(deployment, &[0x0a], "unexpected EOF");
    of(deployment, &[0x0a, 5, 1], "unexpected EOF");
    of(deployment, &[0x80], "unexpected EOF");
    of(deployment, &[0xff; 11], "proto: integer overflow");
    of(
        deployment,
        &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        "proto: negative length found during unmarshaling",
    );
    of(deployment, &[0x08, 1], "proto: wrong wireType = 0 for field metadata");
    of(deployment, &[0x0b, 0x0c], "proto: wrong wireType = 3 for field metadata");
    of(deployment, &[0x0b], "unexpected EOF");
    of(deployment, &[0x0c], "proto: unexpected end of group");
    of(deployment, &[0x0e], "proto: illegal wireType 6");
    of(deployment, &[0x02, 0], "proto: illegal tag 0 (wire type 2)");
    of("io.k8s.api.core.v1.TCPSocketAction", &part(1, &int(1, 2)), "impossible IntOrString.Type");
    of("io.k8s.api.apps.v1.ControllerRevision", &part(2, &part(1, b"{")), "unexpected end of JSON input");
    let time = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    of(&format!("{META}ManagedFieldsEntry"), &part(4, &time), "time out of range: 9223372036854775807 seconds");
    of(&format!("{META}APIGroup"), &part(1, b"apps"), "the type has no protobuf encoding");

    assert_eq!(envelope(b""), Err(ProtobufError::Empty));
    assert_eq!(envelope(b"k8s\0"), Err(ProtobufError::EmptyBody));
    let error = envelope(b"{}").expect_err("no magic");
    let expect = "provided data does not appear to be a protobuf message, expected prefix [107, 56, 115, 0]";
    assert_eq!(error.to_string(), expect);
}

#[test]
fn nesting_is_bounded() {
    let types = types();
    let schema = types.named(SCHEMA).unwrap();
    let nested = |levels: usize| {
        let not = |inner: &[u8]| {
            let mut bytes = vec![0xe2, 0x01];
            bytes.extend(&part(1, inner)[1..]);
            bytes
        };
        (0..levels).fold(Vec::new(), |inner, _| not(&inner))
    };
    assert!(decode(&nested(99), schema).is_ok());
    assert_eq!(decode(&nested(100), schema), Err(ProtobufError::TooDeep));
    assert_eq!(decode(&nested(2_000), schema), Err(ProtobufError::TooDeep));
    // JSON in bytes counts from where it stands.
    let data = |levels: usize| part(2, &part(1, format!("{}{}", "[".repeat(levels), "]".repeat(levels)).as_bytes()));
    let revision = types.named("io.k8s.api.apps.v1.ControllerRevision").unwrap();
    assert!(decode(&data(99), revision).is_ok());
    assert_eq!(decode(&data(100), revision), Err(ProtobufError::TooDeep));
}
