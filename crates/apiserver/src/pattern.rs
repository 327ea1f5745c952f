//! Regular expressions as Kubernetes means them: RE2's syntax as Go reads it, run by an engine that is linear in the text.
//!
//! The engine reads nearly the same syntax. What it would read otherwise is rewritten first: Perl's classes are ASCII, a
//! bracket within a class is a bracket, `\Q…\E` quotes, and a repetition counts to 1000 at most.

use std::{
    collections::HashMap,
    iter::Peekable,
    str::Chars,
    sync::{Arc, LazyLock},
};

use parking_lot::RwLock;
use regex::{Regex, RegexBuilder};

/// Bytes that a compiled pattern may take, and what it may set up for speed while it is used.
const MAX_PROGRAM_BYTES: usize = 1 << 20;
const MAX_SCRATCH_BYTES: usize = 64 << 10;
/// Compiled patterns that are kept: some 20 to 50 KB each. Past that one of them goes for each that comes.
const REMEMBERED: usize = 512;
const MAX_REPETITIONS: u32 = 1000;

/// Compiles a pattern; the error is worded as Go words it.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    #[cfg(test)]
    COMPILED.set(COMPILED.get() + 1);
    let failed = |reason: &str| format!("error parsing regexp: {reason}");
    let rewritten = rewrite(pattern).map_err(|reason| failed(&reason))?;
    RegexBuilder::new(&rewritten)
        .size_limit(MAX_PROGRAM_BYTES)
        .dfa_size_limit(MAX_SCRATCH_BYTES)
        .build()
        .map_err(|error| failed(error.to_string().lines().last().unwrap_or_default().trim()))
}

#[cfg(test)]
thread_local! {
    /// Patterns that this thread has compiled.
    pub static COMPILED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

static KNOWN: LazyLock<RwLock<HashMap<Box<str>, Arc<Regex>>>> = LazyLock::new(RwLock::default);

/// The compiled pattern, if it was used lately. Equal patterns are one, wherever they stand.
pub fn known(pattern: &str) -> Option<Arc<Regex>> {
    KNOWN.read().get(pattern).cloned()
}

/// Compiles a pattern where it is not known, and keeps it. What stands in schemas is compiled when it is first used.
pub fn remember(pattern: &str) -> Result<Arc<Regex>, String> {
    if let Some(regex) = known(pattern) {
        return Ok(regex);
    }
    let regex = Arc::new(compile(pattern)?);
    let mut known = KNOWN.write();
    // Any one: where more are used by turns than are kept, the oldest would always be the one that is wanted next.
    if known.len() >= REMEMBERED
        && let Some(one) = known.keys().next().cloned()
    {
        known.remove(&one);
    }
    known.insert(pattern.into(), Arc::clone(&regex));
    Ok(regex)
}

fn rewrite(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            '\\' => escape(&mut rest, &mut out),
            '[' => class(&mut rest, &mut out),
            '{' if is_repetition(rest.clone())? => out.push('{'),
            '{' => out.push_str(r"\{"),
            other => out.push(other),
        }
    }
    Ok(out)
}

/// The members of a Perl class, for use within brackets.
fn perl_class(letter: char) -> Option<&'static str> {
    match letter.to_ascii_lowercase() {
        'd' => Some("0-9"),
        's' => Some(r"\t\n\f\r "),
        'w' => Some("0-9A-Za-z_"),
        _ => None,
    }
}

/// What follows a backslash outside a class.
fn escape(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    let Some(letter) = rest.next() else { return out.push('\\') };
    if let Some(members) = perl_class(letter) {
        out.push_str(if letter.is_ascii_uppercase() { "[^" } else { "[" });
        out.push_str(members);
        out.push(']');
        return;
    }
    match letter {
        // A name or number in braces belongs to the escape.
        'p' | 'P' | 'x' => {
            out.extend(['\\', letter]);
            if rest.peek() == Some(&'{') {
                for char in rest.by_ref() {
                    out.push(char);
                    if char == '}' {
                        break;
                    }
                }
            }
        }
        'b' => out.push_str(r"(?-u:\b)"),
        'Q' => quote(rest, out),
        other => out.extend(['\\', other]),
    }
}

/// The literal text up to `\E`, or to the end.
fn quote(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    let mut buffer = [0; 4];
    while let Some(char) = rest.next() {
        if char == '\\' && rest.next_if_eq(&'E').is_some() {
            return;
        }
        out.push_str(&regex::escape(char.encode_utf8(&mut buffer)));
    }
}

/// A class in brackets, whose opening one has been read.
fn class(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    out.push('[');
    if rest.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    // A closing bracket that comes first is a member.
    if rest.next_if_eq(&']').is_some() {
        out.push_str(r"\]");
    }
    while let Some(char) = rest.next() {
        match char {
            ']' => return out.push(']'),
            '\\' => match rest.next() {
                Some(letter) => match perl_class(letter) {
                    Some(members) if letter.is_ascii_uppercase() => {
                        out.push_str("[^");
                        out.push_str(members);
                        out.push(']');
                    }
                    Some(members) => out.push_str(members),
                    None => out.extend(['\\', letter]),
                },
                None => out.push('\\'),
            },
            '[' if rest.peek() == Some(&':') => named_class(rest, out),
            // Operators of sets there, plain characters here.
            '[' | '&' | '~' => out.extend(['\\', char]),
            other => out.push(other),
        }
    }
}

/// `[:alpha:]`, which means the same in both; anything else that begins so is plain characters.
fn named_class(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    let name: String = rest.clone().skip(1).take_while(|char| char.is_ascii_lowercase() || *char == '^').collect();
    let mut ahead = rest.clone().skip(1 + name.chars().count());
    if ahead.next() == Some(':') && ahead.next() == Some(']') {
        out.push_str("[:");
        out.push_str(&name);
        out.push_str(":]");
        for _ in 0..name.chars().count() + 3 {
            rest.next();
        }
    } else {
        out.push_str(r"\[");
    }
}

/// Whether what follows a brace is `n}`, `n,}` or `n,m}`, and not just text. Refuses a number above the limit.
fn is_repetition(rest: Peekable<Chars<'_>>) -> Result<bool, String> {
    let ahead: String = rest.take(24).collect();
    let Some((inner, _)) = ahead.split_once('}') else { return Ok(false) };
    let is_count = |text: &str| !text.is_empty() && text.chars().all(|char| char.is_ascii_digit());
    let (low, high) = inner.split_once(',').unwrap_or((inner, ""));
    if !is_count(low) || !(high.is_empty() || is_count(high)) {
        return Ok(false);
    }
    let too_many = |text: &str| !text.is_empty() && text.parse::<u32>().map_or(true, |count| count > MAX_REPETITIONS);
    if too_many(low) || too_many(high) { Err(format!("invalid repeat count: `{{{inner}}}`")) } else { Ok(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_ascii() {
        // pattern, text, whether it matches
        for (pattern, text, matches) in [
            (r"^\w+$", "é", false),
            (r"^\w+$", "a_9", true),
            (r"^\d+$", "٣", false),
            (r"^\s+$", "\u{a0}", false),
            (r"^\W$", "é", true),
            (r"^[\w-]+$", "a-b", true),
            (r"^[\w-]+$", "é", false),
            (r"^[^\d\s]+$", "é", true),
            (r"^[\D]+$", "٣", true),
            (r"\bx\b", "éxé", true),
            (r"^[[:alpha:]]+$", "ab", true),
            ("^[[]$", "[", true),
            ("^[a&&b]+$", "&ab", true),
            ("^[]a]+$", "]a", true),
            (r"^\Qa.b\E.$", "a.bc", true),
            (r"^\Qa.b\E.$", "axbc", false),
            (r"^(\w{0,500}){0,2}$", "abc", true),
            (r"^\p{Greek}+$", "αβγ", true),
            ("^a{2}$", "aa", true),
            ("^x{,3}$", "x{,3}", true),
        ] {
            let regex = compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(regex.is_match(text), matches, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        assert_eq!(compile("a{1001}").unwrap_err(), "error parsing regexp: invalid repeat count: `{1001}`");
        for pattern in ["(", "[a", r"(?=a)", r"a\", "*a", r"((((a{900}){900}){900}){900})"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }
}
