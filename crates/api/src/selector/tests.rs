use serde_json::json;

use super::{FieldSelector, LabelSelector};

#[test]
fn label_selectors_parse_to_their_canonical_text() {
    let cases = [
        ("", ""),
        ("a", "a"),
        ("!a", "!a"),
        ("! a", "!a"),
        ("a=b", "a=b"),
        ("a==b", "a==b"),
        ("a!=b", "a!=b"),
        ("a=", "a="),
        ("a!=,b", "a!=,b"),
        (" a = b , c != d ", "a=b,c!=d"),
        ("x in (b,a,b)", "x in (a,b)"),
        ("x in ()", "x in ()"),
        ("x notin (,a)", "x notin (,a)"),
        ("x in (a,)", "x in (,a)"),
        ("x in (a,,b)", "x in (,a,b)"),
        ("x>1 , y<2", "x>1,y<2"),
        ("z,a,m", "a,m,z"),
        ("in in (in,notin)", "in in (in,notin)"),
        ("example.com/a=b_c.d-E", "example.com/a=b_c.d-E"),
        ("a\0b", "a"),
    ];
    for (text, expect) in cases {
        assert_eq!(LabelSelector::parse(text).map(|selector| selector.to_string()), Ok(expect.to_owned()), "{text}");
    }
}

#[test]
fn label_selectors_are_refused_in_the_words_of_kubernetes() {
    const NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
        with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
        '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
        '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', \
        regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    let cases = [
        ("=a", "found '=', expected: !, identifier, or 'end of string'".to_owned()),
        (",a", "found ',', expected: !, identifier, or 'end of string'".to_owned()),
        ("a,", "found '', expected: identifier after ','".to_owned()),
        ("a=b c", "found 'c', expected: ',' or 'end of string'".to_owned()),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt".to_owned()),
        ("a=(b)", "unable to parse requirement: found '(', expected: identifier".to_owned()),
        ("!,", "unable to parse requirement: found ',', expected: identifier".to_owned()),
        ("a===b", "unable to parse requirement: found '=', expected: identifier".to_owned()),
        ("a in b", "unable to parse requirement: found 'b' expected: '('".to_owned()),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'".to_owned()),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'".to_owned()),
        ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier".to_owned()),
        ("a in (,=)", "unable to parse requirement: found '=', expected: ',', or identifier".to_owned()),
        ("!a=b", "found '=', expected: ',' or 'end of string'".to_owned()),
        (
            "x>a",
            "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must \
             be an integer"
                .to_owned(),
        ),
        ("a$=b", format!("unable to parse requirement: <nil>: Invalid value: \"a$\": {NAME}")),
        ("a=b$", format!("unable to parse requirement: values[0][a]: Invalid value: \"b$\": {VALUE}")),
    ];
    for (text, expect) in cases {
        assert_eq!(LabelSelector::parse(text).map_err(|error| error.to_string()), Err(expect), "{text}");
    }
}

#[test]
fn label_selectors_match() {
    let labels = [("app", "web"), ("tier", "front"), ("rank", "7"), ("empty", "")];
    let cases = [
        ("", true),
        ("app", true),
        ("!app", false),
        ("missing", false),
        ("!missing", true),
        ("app=web,tier=front", true),
        ("app=web,tier=back", false),
        ("app!=db", true),
        ("missing!=x", true),
        ("app in (db,web)", true),
        ("app notin (db,web)", false),
        ("missing notin (a)", true),
        ("missing in (a)", false),
        ("rank>6", true),
        ("rank>7", false),
        ("rank<8", true),
        ("app>1", false),
        ("missing<1", false),
        ("empty=", true),
        ("empty in ()", true),
        ("missing=", false),
    ];
    let object = json!({"app": "web", "tier": "front", "rank": "7", "empty": ""});
    for (text, expect) in cases {
        let selector = LabelSelector::parse(text).unwrap();
        assert_eq!(selector.matches(labels), expect, "{text}");
        assert_eq!(selector.matches_labels(&object), expect, "{text}");
    }
}

#[test]
fn selector_objects_compile() {
    let cases = [
        (json!({}), Ok("")),
        (json!({"matchLabels": {"b": "2", "a": "1"}}), Ok("a=1,b=2")),
        (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]}), Ok("a in (x,y)")),
        (
            json!({"matchLabels": {"z": ""}, "matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}),
            Ok("!a,z="),
        ),
        (
            json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}),
            Err("\"Gt\" is not a valid label selector operator"),
        ),
        (
            json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
            Err("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"),
        ),
        (
            json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}),
            Err("values: Invalid value: [\"x\"]: values set must be empty for exists and does not exist"),
        ),
    ];
    for (object, expect) in cases {
        let compiled = LabelSelector::from_object(&object);
        let text = compiled.as_ref().map(ToString::to_string).map_err(ToString::to_string);
        assert_eq!(text, expect.map(str::to_owned).map_err(str::to_owned), "{object}");
    }
    assert!(!LabelSelector::from_object(&json!(null)).unwrap().matches([]));
    assert!(LabelSelector::from_map(&json!({"a": "1"})).unwrap().matches([("a", "1")]));
}

#[test]
fn field_selectors_parse() {
    let cases = [
        ("", Ok("")),
        ("metadata.name=a", Ok("metadata.name=a")),
        ("b==2,a!=1", Ok("a!=1,b=2")),
        (",a=1,", Ok("a=1")),
        ("a=", Ok("a=")),
        (r"a=x\,y\=z\\", Ok(r"a=x\,y\=z\\")),
        ("a", Err("invalid selector: 'a'; can't understand 'a'")),
        ("x=1,b", Err("invalid selector: 'x=1,b'; can't understand 'b'")),
        (r"a=\x", Err(r"invalid field selector: invalid escape sequence: \x")),
        (r"a=b\", Err(r"invalid field selector: invalid escape sequence: \")),
        ("a=b=c", Err("invalid field selector: unescaped character in value: 61")),
    ];
    for (text, expect) in cases {
        let parsed = FieldSelector::parse(text);
        let shown = parsed.as_ref().map(ToString::to_string).map_err(ToString::to_string);
        assert_eq!(shown, expect.map(str::to_owned).map_err(str::to_owned), "{text}");
    }
}

#[test]
fn field_selectors_match() {
    let value_of = |field: &str| match field {
        "metadata.name" => "a",
        "status.phase" => "Running",
        _ => "",
    };
    let cases = [
        ("", true),
        ("metadata.name=a", true),
        ("metadata.name=b", false),
        ("metadata.name=a,status.phase!=Running", false),
        ("status.phase!=Pending", true),
        ("spec.nodeName=", true),
    ];
    for (text, expect) in cases {
        assert_eq!(FieldSelector::parse(text).unwrap().matches(value_of), expect, "{text}");
    }
    assert_eq!(FieldSelector::parse("a!=1,metadata.name=x").unwrap().exact("metadata.name"), Some("x"));
}

#[test]
fn canonical_text_parses_to_the_same_selector() {
    const PIECES: [&str; 18] =
        ["a", "b.c/d", "in", "notin", " ", "(", ")", ",", "!", "=", "==", "!=", ">", "<", "1", "\\", "é", "\0"];
    let mut state = 1_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let mut accepted = 0;
    for _ in 0..50_000 {
        let text: String = (0..below(9)).map(|_| PIECES[below(PIECES.len())]).collect();
        if let Ok(selector) = LabelSelector::parse(&text) {
            assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector), "{text:?}");
            accepted += 1;
        }
        if let Ok(selector) = FieldSelector::parse(&text) {
            assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector), "{text:?}");
        }
    }
    assert!(accepted > 1_000, "only {accepted} texts were accepted");
}
