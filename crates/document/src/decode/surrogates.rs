//! Halves of surrogate pairs in JSON strings: `"\ud800"` alone is no character. Go's decoder reads U+FFFD there.

const LENGTH: usize = r"\uXXXX".len();

/// The text with every escaped half that has no other half made `\ufffd`. No position changes.
pub fn replace_unpaired(text: &str) -> String {
    let mut mended = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        mended.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = match (escaped(rest), rest.get(LENGTH..).and_then(escaped)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 2 * LENGTH,
            (Some(0xD800..=0xDFFF), _) => {
                mended.push_str(r"\ufffd");
                rest = &rest[LENGTH..];
                continue;
            }
            (Some(_), _) => LENGTH,
            // Another escape; what it escapes may be a backslash, which begins none.
            (None, _) => rest.chars().take(2).map(char::len_utf8).sum(),
        };
        mended.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    mended.push_str(rest);
    mended
}

/// The code unit that the text begins with, as `\uXXXX`.
fn escaped(text: &str) -> Option<u16> {
    let digits = text.strip_prefix(r"\u")?.get(..4)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::decode::{Encoding, decode};

    #[test]
    fn half_a_pair_is_the_replacement_character() {
        for (text, expect) in [
            (r#""\ud800""#, "\u{FFFD}"),
            (r#""\udc00x""#, "\u{FFFD}x"),
            (r#""\ud800\u0041""#, "\u{FFFD}A"),
            (r#""\ud800\n""#, "\u{FFFD}\n"),
            (r#""\ud800\ud83d\ude00""#, "\u{FFFD}\u{1F600}"),
            (r#""\\ud800 \ud800""#, "\\ud800 \u{FFFD}"),
            (r#""\uD800é""#, "\u{FFFD}é"),
        ] {
            let read = decode(text.as_bytes(), Encoding::Json, 100).map(|decoded| decoded.value);
            assert_eq!(read, Ok(json!(expect)), "{text}");
        }
        for text in [r#""\ud800"#, r#""\ud80""#, r#"["\ud800" x]"#, "\"\\"] {
            assert!(decode(text.as_bytes(), Encoding::Json, 100).is_err(), "{text}");
        }
    }
}
