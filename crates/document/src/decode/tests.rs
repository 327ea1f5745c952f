use super::{DecodeError, Encoding, MAX_DEPTH, decode};

fn nested(open: &str, depth: usize, close: &str) -> String {
    open.repeat(depth) + &close.repeat(depth)
}

#[test]
fn size_is_bounded() {
    let limit_bytes = 8;
    assert!(decode(b"[1,2,3]", Encoding::Json, limit_bytes).is_ok());
    let refused = decode(b"[1,2,3,4]", Encoding::Json, limit_bytes);
    assert_eq!(refused, Err(DecodeError::TooLarge { limit_bytes }));
}

#[test]
fn depth_is_bounded() {
    let within = nested("[", MAX_DEPTH, "]");
    let beyond = nested("[", MAX_DEPTH + 1, "]");
    for encoding in [Encoding::Json, Encoding::Yaml] {
        assert!(decode(within.as_bytes(), encoding, 1 << 20).is_ok());
        assert_eq!(decode(beyond.as_bytes(), encoding, 1 << 20), Err(DecodeError::TooDeep));
    }
    let far_beyond = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    assert_eq!(decode(far_beyond.as_bytes(), Encoding::Json, 1 << 20), Err(DecodeError::TooDeep));
    let flow = format!("{}1{}", "{a: ".repeat(10_000), "}".repeat(10_000));
    assert!(decode(flow.as_bytes(), Encoding::Yaml, 1 << 20).is_err());
    let block: String = (0..3_000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert!(decode(block.as_bytes(), Encoding::Yaml, 1 << 30).is_err());
}

#[test]
fn aliases_do_not_explode() {
    let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..12 {
        let below = level - 1;
        let aliases = vec![format!("*a{below}"); 9].join(", ");
        laughs += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    let refused = decode(laughs.as_bytes(), Encoding::Yaml, 1 << 20);
    assert_eq!(refused, Err(DecodeError::Syntax("yaml: document contains excessive aliasing".to_owned())));

    // Each alias nests the last one, so the depth grows without a deep text.
    let mut ladder = "- &a0 x\n".to_owned();
    for level in 1..=MAX_DEPTH + 1 {
        let below = level - 1;
        ladder += &format!("- &a{level} [*a{below}]\n");
    }
    assert_eq!(decode(ladder.as_bytes(), Encoding::Yaml, 1 << 20), Err(DecodeError::TooDeep));
}

#[test]
fn what_is_not_utf8_is_replaced() {
    let decoded = decode(b"[\"a\xffb\"]", Encoding::Json, 100).unwrap();
    assert_eq!(decoded.value, serde_json::json!(["a\u{fffd}b"]));
}

#[test]
fn yaml_has_no_control_characters() {
    for refused in ["a: \"x\u{1}y\"", "a: x\u{7f}", "# \u{0}\na: 1", "a: \u{9f}", "{a: \u{fffe}}"] {
        let expect = DecodeError::Syntax("yaml: control characters are not allowed".to_owned());
        assert_eq!(decode(refused.as_bytes(), Encoding::Yaml, 100), Err(expect), "{refused:?}");
    }
    for taken in
        ["\u{feff}a: b", "a: \"x\ty\"", "a: b\r\n", "a: \"\u{85}\u{a0}\u{fffd}\u{1f600}\"", "{\"a\": \"\u{7f}\"}"]
    {
        assert!(decode(taken.as_bytes(), Encoding::Yaml, 100).is_ok(), "{taken:?}");
    }
}
