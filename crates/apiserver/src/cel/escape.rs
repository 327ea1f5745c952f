//! How the names of properties are written in expressions, where a property may be called `a-b` or
//! `namespace` and an identifier may not.

use std::borrow::Cow;

use super::parse::RESERVED;

/// Words of the grammar itself, which like the reserved ones are no identifiers.
const KEYWORDS: [&str; 4] = ["true", "false", "null", "in"];

const ESCAPES: [(&str, &str); 4] = [("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")];

/// Whether the word is taken by the language.
pub fn is_reserved(word: &str) -> bool {
    KEYWORDS.contains(&word) || RESERVED.contains(&word)
}

/// The name in an expression; `None` for a property that no expression can name.
pub fn escape(name: &str) -> Option<Cow<'_, str>> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if is_reserved(name) {
        return Some(format!("__{name}__").into());
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c)) {
        return None;
    }
    if !name.contains("__") && !name.contains(['.', '-', '/']) {
        return Some(name.into());
    }
    let mut escaped = String::with_capacity(name.len() + 16);
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        match ESCAPES.iter().find(|(plain, _)| rest.starts_with(plain)) {
            Some((plain, written)) => {
                escaped.push_str(written);
                rest = &rest[plain.len()..];
            }
            None => {
                escaped.push(first);
                rest = &rest[1..];
            }
        }
    }
    Some(escaped.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        let check = |name: &str, expect: Option<&str>| assert_eq!(escape(name).as_deref(), expect, "{name}");
        check("replicas", Some("replicas"));
        check("namespace", Some("__namespace__"));
        check("x-prop", Some("x__dash__prop"));
        check("redact__d", Some("redact__underscores__d"));
        check("example.com/a", Some("example__dot__com__slash__a"));
        check("int", Some("int"));
        check("1st", None);
        check("größe", None);
        check("", None);
    }
}
