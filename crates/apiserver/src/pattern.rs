//! Regular expressions as Kubernetes means them: RE2's syntax as Go reads it, run by an engine that is linear in the text.
//!
//! The engine reads nearly the same syntax. What it would read otherwise is rewritten first: Perl's classes are ASCII, a
//! bracket within a class is a bracket, `\Q…\E` quotes, and a repetition counts to 1000 at most.

use std::{
    cell::RefCell,
    iter::Peekable,
    str::Chars,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use regex_automata::{
    Input,
    meta::{Cache, Config, Regex},
    nfa::thompson::WhichCaptures,
    util::iter::Searcher,
};

pub use self::kept::{known, remember};

mod kept;

/// Bytes that a compiled pattern may take, and what it may set up for speed while it is used.
pub const MAX_PROGRAM_BYTES: usize = 1 << 20;
const MAX_SCRATCH_BYTES: usize = 64 << 10;
/// Patterns whose scratch a thread keeps, those it used last, and what one of them may take.
const MAX_SCRATCHES: usize = 16;
const MAX_KEPT_SCRATCH_BYTES: usize = 2 * MAX_SCRATCH_BYTES;
const MAX_REPETITIONS: u32 = 1000;

/// A compiled pattern: its program alone. What matching sets up belongs to the thread.
#[derive(Debug)]
pub struct Pattern {
    number: u64,
    regex: Regex,
}

/// Compiles a pattern; the error is worded as Go words it.
pub fn compile(pattern: &str) -> Result<Pattern, String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    #[cfg(test)]
    COMPILED.set(COMPILED.get() + 1);
    let failed = |reason: &str| format!("error parsing regexp: {reason}");
    let rewritten = rewrite(pattern).map_err(|reason| failed(&reason))?;
    let config = Config::new()
        .nfa_size_limit(Some(MAX_PROGRAM_BYTES))
        .hybrid_cache_capacity(MAX_SCRATCH_BYTES)
        .which_captures(WhichCaptures::Implicit);
    let regex = Regex::builder().configure(config).build(&rewritten).map_err(|error| {
        let reason = match (error.size_limit(), error.syntax_error()) {
            (Some(limit), _) => format!("Compiled regex exceeds size limit of {limit} bytes."),
            (None, Some(error)) => error.to_string(),
            (None, None) => error.to_string(),
        };
        failed(reason.lines().last().unwrap_or_default().trim())
    })?;
    Ok(Pattern { number: NEXT.fetch_add(1, Relaxed), regex })
}

#[cfg(test)]
thread_local! {
    /// Patterns that this thread has compiled.
    pub static COMPILED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

thread_local! {
    /// By the pattern's number, the latest at the end.
    static SCRATCHES: RefCell<Vec<(u64, Box<Cache>)>> = const { RefCell::new(Vec::new()) };
}

impl Pattern {
    pub fn is_match(&self, text: &str) -> bool {
        self.with_scratch(|scratch| self.regex.search_half_with(scratch, &Input::new(text).earliest(true)).is_some())
    }

    /// What matches first.
    pub fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.find_all(text, 1).pop()
    }

    /// What matches, from the left, so many times at most.
    pub fn find_all<'t>(&self, text: &'t str, limit: usize) -> Vec<&'t str> {
        self.with_scratch(|scratch| {
            let mut found = Vec::new();
            let mut searcher = Searcher::new(Input::new(text));
            while found.len() < limit
                && let Some(next) = searcher.advance(|input| Ok(self.regex.search_with(scratch, input)))
            {
                found.push(&text[next.range()]);
            }
            found
        })
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.regex.memory_usage()
    }

    fn with_scratch<T>(&self, search: impl FnOnce(&mut Cache) -> T) -> T {
        let kept = SCRATCHES.with_borrow_mut(|kept| {
            let at = kept.iter().rposition(|(number, _)| *number == self.number)?;
            Some(kept.remove(at).1)
        });
        let mut scratch = kept.unwrap_or_else(|| Box::new(self.regex.create_cache()));
        let result = search(&mut scratch);
        if scratch.memory_usage() <= MAX_KEPT_SCRATCH_BYTES {
            SCRATCHES.with_borrow_mut(|kept| {
                if kept.len() == MAX_SCRATCHES {
                    kept.remove(0);
                }
                kept.push((self.number, scratch));
            });
        }
        result
    }
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
    while let Some(char) = rest.next() {
        if char == '\\' && rest.next_if_eq(&'E').is_some() {
            return;
        }
        if r"\.+*?()|[]{}^$#&-~".contains(char) {
            out.push('\\');
        }
        out.push(char);
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
        let too_large = compile("((a{900}){900}){900}").unwrap_err();
        assert_eq!(too_large, "error parsing regexp: Compiled regex exceeds size limit of 1048576 bytes.");
    }

    #[test]
    fn all_matches_are_found_from_the_left() {
        // pattern, text, limit, what is found
        for (pattern, text, limit, expect) in [
            ("a+", "aab a b aaa", 9, vec!["aa", "a", "aaa"]),
            ("a+", "aab a b aaa", 2, vec!["aa", "a"]),
            ("a*", "baé", 9, vec!["", "a", ""]),
            ("x", "abc", 9, vec![]),
            (".", "é", 0, vec![]),
        ] {
            let compiled = compile(pattern).unwrap();
            assert_eq!(compiled.find_all(text, limit), expect, "{pattern} {text}");
            assert_eq!(compiled.find(text).is_some(), compiled.is_match(text));
        }
    }

    /// More patterns by turns than a thread keeps something for, and some that set up more than is kept.
    #[test]
    fn threads_keep_little_for_patterns() {
        let patterns: Vec<Pattern> =
            (0..40).map(|number| compile(&format!("^([a-z]{{0,60}}-){{0,{}}}N{number}$", number)).unwrap()).collect();
        for _ in 0..3 {
            for (number, pattern) in patterns.iter().enumerate() {
                assert!(pattern.is_match(&format!("N{number}")), "{number}");
                assert!(!pattern.is_match(&format!("N{number}x")), "{number}");
            }
        }
        SCRATCHES.with_borrow(|kept| {
            assert!((1..=MAX_SCRATCHES).contains(&kept.len()));
            assert!(kept.iter().all(|(_, scratch)| scratch.memory_usage() <= MAX_KEPT_SCRATCH_BYTES));
        });
    }
}
