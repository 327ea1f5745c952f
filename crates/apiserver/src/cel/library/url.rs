//! URLs, split into the parts that expressions ask for.

use std::{collections::BTreeMap, rc::Rc};

use super::{Cost, Entry, entry};
use crate::cel::{
    Failure,
    value::{Key, Value},
};

#[derive(Debug, PartialEq, Eq)]
pub struct Url {
    pub text: Box<str>,
    scheme: Box<str>,
    /// Host and port, as written.
    host: Box<str>,
    path: Box<str>,
    query: Box<str>,
}

pub const TABLE: &[Entry] = &[
    entry(&["url(string): URL"], Cost::Passes(1), |values, _| match values {
        [Value::String(text)] => parse(text).map(|url| Value::Url(Rc::new(url))).ok_or_else(|| {
            Failure::error(format!(
                "URL parse error during conversion from string: parse {:?}: invalid URI for request",
                &**text
            ))
        }),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["isURL(string): bool"], Cost::Passes(1), |values, _| match values {
        [Value::String(text)] => Ok(Value::Bool(parse(text).is_some())),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["URL.getScheme(): string"], Cost::Fixed(1), |values, _| part(values, |url| url.scheme.to_string())),
    entry(&["URL.getHost(): string"], Cost::Fixed(1), |values, _| part(values, |url| url.host.to_string())),
    entry(&["URL.getHostname(): string"], Cost::Fixed(1), |values, _| {
        part(values, |url| url.name_and_port().0.to_owned())
    }),
    entry(&["URL.getPort(): string"], Cost::Fixed(1), |values, _| part(values, |url| url.name_and_port().1.to_owned())),
    entry(&["URL.getEscapedPath(): string"], Cost::Fixed(1), |values, _| part(values, |url| escaped(&url.path))),
    entry(&["URL.getQuery(): map<string, list<string>>"], Cost::Fixed(1), |values, budget| match values {
        [Value::Url(url)] => {
            budget.spend(url.query.len() as u64 / 10)?;
            let mut query: BTreeMap<Key, Vec<Value<'_>>> = BTreeMap::new();
            for pair in url.query.split('&').filter(|pair| !pair.is_empty()) {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                query.entry(Key::String(decoded(name).into())).or_default().push(Value::from(decoded(value)));
            }
            Ok(Value::Map(Rc::new(query.into_iter().map(|(name, values)| (name, Value::list(values))).collect())))
        }
        _ => Err(Failure::NoOverload),
    }),
];

fn part<'a>(values: &[Value<'a>], read: fn(&Url) -> String) -> Result<Value<'a>, Failure> {
    match values {
        [Value::Url(url)] => Ok(Value::from(read(url))),
        _ => Err(Failure::NoOverload),
    }
}

impl Url {
    fn name_and_port(&self) -> (&str, &str) {
        if let Some((name, rest)) = self.host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            return (name, rest.strip_prefix(':').unwrap_or(""));
        }
        self.host.rsplit_once(':').unwrap_or((&self.host, ""))
    }
}

/// An absolute URI or an absolute path, as in a request line.
pub fn parse(text: &str) -> Option<Url> {
    if text.is_empty() || text.chars().any(|c| c.is_control() || c == ' ') {
        return None;
    }
    let scheme_end = text.find(':').filter(|end| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text[..*end].chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    let (scheme, rest) = scheme_end.map_or(("", text), |end| (&text[..end], &text[end + 1..]));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, path) = match rest.strip_prefix("//") {
        Some(rest) if !scheme.is_empty() || !rest.starts_with('/') => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            (authority.rsplit_once('@').map_or(authority, |(_, host)| host), path)
        }
        _ => ("", rest),
    };
    if scheme.is_empty() && !text.starts_with('/') {
        return None;
    }
    let url = Url {
        text: text.into(),
        scheme: scheme.to_ascii_lowercase().into(),
        host: host.into(),
        path: path.into(),
        query: query.into(),
    };
    let (name, port) = url.name_and_port();
    let bracketed = host.starts_with('[') && (!host.contains(']') || name.parse::<std::net::Ipv6Addr>().is_err());
    let bad_host = name.contains(['<', '>', '"', '[', ']']) || bracketed || port.chars().any(|c| !c.is_ascii_digit());
    let bad_escape = path
        .match_indices('%')
        .any(|(at, _)| !path.get(at + 1..at + 3).is_some_and(|hex| hex.chars().all(|c| c.is_ascii_hexdigit())));
    (!bad_host && !bad_escape).then_some(url)
}

/// A path in which everything that needs it is escaped, and nothing twice.
fn escaped(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/%$&+,;=:@!'()*".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = hex.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
