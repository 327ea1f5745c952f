use serde_json::{Value, json};

use super::compile;

fn document() -> Value {
    json!({
        "metadata": {"name": "web", "labels": {"a.b/c": "dotted", "plain": "x"}},
        "spec": {"replicas": 3, "ratio": 0.5, "paused": false, "ports": [80, 443, 8080, 9090]},
        "status": {"conditions": [
            {"type": "Ready", "status": "True", "count": 2},
            {"type": "Available", "status": "False", "count": 5},
            {"type": "Odd)\"", "status": "Unknown"},
        ], "nothing": null},
    })
}

#[test]
fn finds_values() {
    let document = document();
    let cases = [
        (".spec.replicas", json!([3])),
        ("$.spec.replicas", json!([3])),
        ("@.spec.ratio", json!([0.5])),
        (".spec.missing", json!([])),
        (".spec.replicas.deeper", json!([])),
        (".metadata.labels.plain", json!(["x"])),
        (r".metadata.labels.a\.b/c", json!(["dotted"])),
        (r".metadata.labels['a\.b/c']", json!(["dotted"])),
        (".metadata.labels['plain']", json!(["x"])),
        (".metadata.labels['a.b/c']", json!([])),
        (".spec.ports[0]", json!([80])),
        (".spec.ports[-1]", json!([9090])),
        (".spec.ports[-2]", json!([8080])),
        (".spec.ports[1:3]", json!([443, 8080])),
        (".spec.ports[:2]", json!([80, 443])),
        (".spec.ports[2:]", json!([8080, 9090])),
        (".spec.ports[::2]", json!([80, 8080])),
        (".spec.ports[0:-1]", json!([80, 443, 8080])),
        (".spec.ports[*]", json!([80, 443, 8080, 9090])),
        (".spec.ports[0,2]", json!([80, 8080])),
        (".spec.ports[4]", json!([])),
        (".spec.ports[3:9]", json!([])),
        (".spec.ports[2:2]", json!([])),
        (".spec.ports[::0]", json!([])),
        (".status.nothing[0]", json!([])),
        (".spec[0]", json!([])),
        (".status.conditions[*].type", json!(["Ready", "Available", "Odd)\""])),
        (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
        (".status.conditions[?(@.type=='Ready')].status", json!(["True"])),
        (r#".status.conditions[?(@.type == "Ready")].status"#, json!(["True"])),
        (r#".status.conditions[?(@.type=="Odd)\"")].status"#, json!(["Unknown"])),
        (r#".status.conditions[?(@.type!="Ready")].type"#, json!(["Available", "Odd)\""])),
        (".status.conditions[?(@.count)].type", json!(["Ready", "Available"])),
        (".status.conditions[?(@.count>2)].type", json!(["Available"])),
        (".status.conditions[?(@.count>=2)].type", json!(["Ready", "Available"])),
        (".status.conditions[?(@.count<5)].type", json!(["Ready"])),
        (".status.conditions[?(@.count<=1.5)].type", json!([])),
        (r#".status.conditions[?(@.count=="2")].type"#, json!([])),
        (".status.conditions[?(@.count=>2)].type", json!([])),
        (r#".spec[?(@.type=="Ready")]"#, json!([])),
        ("..replicas", json!([3])),
        ("..type", json!(["Ready", "Available", "Odd)\""])),
        (".spec.*", json!([false, [80, 443, 8080, 9090], 0.5, 3])),
        ("spec.replicas", json!([])),
        ("", json!([document])),
    ];
    for (path, expect) in cases {
        let compiled = compile(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(json!(compiled.find(&document)), expect, "{path}");
    }
}

#[test]
fn refuses_paths() {
    let cases = [
        (".a[", "unterminated array"),
        (".a[x]", "invalid array index x"),
        (".a[-]", "array index - is not a number"),
        (".a[1:2:3:4]", "invalid array index 1:2:3:4"),
        (".a[1-2]", "invalid array index 1-2"),
        (".a[?(@.b", "unterminated filter"),
        (".a[?(@.b)", "unclosed array expect ]"),
        (".a}", "unrecognized character in action: U+007D '}'"),
        ("....a", "invalid multiple recursive descent"),
        ("'abc", "unterminated quoted string"),
        (".a[?(@.b==1.2.3)]", "cannot parse number 1.2.3"),
        (".a\n", "unclosed action"),
    ];
    for (path, expect) in cases {
        assert_eq!(compile(path).map(|_| ()).map_err(|error| error.to_string()), Err(expect.to_owned()), "{path}");
    }
}

#[test]
fn knows_plain_paths() {
    assert_eq!(compile(".spec.template['x']").unwrap().fields(), Some(vec!["spec", "template", "x"]));
    assert_eq!(compile(".spec.ports[0]").unwrap().fields(), None);
}

#[test]
fn repeated_descent_is_bounded() {
    let mut deep = json!({"a": 1});
    for _ in 0..90 {
        deep = json!({ "a": deep });
    }
    assert!(compile("..a..a..a..a..a").unwrap().find(&deep).is_empty());
}
