//! The syntaxes of names, labels, ports and addresses (apimachinery, `util/validation`).
//!
//! Each check returns what is wrong in Kubernetes' words, and nothing where the text is well formed.
//! Where in a document the text stands is the caller's to say.

use std::{
    fmt::Display,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

pub const DNS1123_LABEL_MAX_LENGTH: usize = 63;
pub const DNS1123_SUBDOMAIN_MAX_LENGTH: usize = 253;

const DNS1123_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const DNS1123_SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const DNS1123_SUBDOMAIN_UNDERSCORE: &str = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";

fn regex_error(what: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{what} (regex used for validation is '{regex}')");
    }
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{what} (e.g. {}regex used for validation is '{regex}')", examples.join(" or "))
}

pub fn max_length_error(length: usize) -> String {
    format!("must be no more than {length} characters")
}

pub fn inclusive_range_error(low: impl Display, high: impl Display) -> String {
    format!("must be between {low} and {high}, inclusive")
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Not empty, all of `inner`, with an `edge` at both ends.
fn is_word(text: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(&first), Some(&last)) if edge(first) && edge(last))
        && bytes.iter().all(|&byte| inner(byte))
}

fn matches_dns1123_label(text: &str) -> bool {
    is_word(text, is_lower_alphanumeric, |byte| is_lower_alphanumeric(byte) || byte == b'-')
}

fn matches_dns1123_subdomain(text: &str) -> bool {
    text.split('.').all(matches_dns1123_label)
}

fn too_long(text: &str, length: usize) -> Vec<String> {
    if text.len() > length { vec![max_length_error(length)] } else { Vec::new() }
}

pub fn is_dns1123_label(text: &str) -> Vec<String> {
    let mut errors = too_long(text, DNS1123_LABEL_MAX_LENGTH);
    if !matches_dns1123_label(text) {
        errors.push(if matches_dns1123_subdomain(text) {
            "must not contain dots".to_owned()
        } else {
            let what = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
                        and must start and end with an alphanumeric character";
            regex_error(what, DNS1123_LABEL, &["my-name", "123-abc"])
        });
    }
    errors
}

pub fn is_dns1123_subdomain(text: &str) -> Vec<String> {
    let mut errors = too_long(text, DNS1123_SUBDOMAIN_MAX_LENGTH);
    if !matches_dns1123_subdomain(text) {
        let what = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                    and must start and end with an alphanumeric character";
        errors.push(regex_error(what, DNS1123_SUBDOMAIN, &["example.com"]));
    }
    errors
}

/// DNS search paths may carry underscores.
pub fn is_dns1123_subdomain_with_underscore(text: &str) -> Vec<String> {
    let mut errors = too_long(text, DNS1123_SUBDOMAIN_MAX_LENGTH);
    let label = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        is_word(label, is_lower_alphanumeric, |byte| is_lower_alphanumeric(byte) || matches!(byte, b'-' | b'_'))
    };
    if !text.split('.').all(label) {
        let what = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', \
                    and must start and end with an alphanumeric character";
        errors.push(regex_error(what, DNS1123_SUBDOMAIN_UNDERSCORE, &["example.com"]));
    }
    errors
}

pub fn is_dns1035_label(text: &str) -> Vec<String> {
    let mut errors = too_long(text, DNS1123_LABEL_MAX_LENGTH);
    if !(matches_dns1123_label(text) && text.starts_with(|first: char| first.is_ascii_lowercase())) {
        let what = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', \
                    start with an alphabetic character, and end with an alphanumeric character";
        errors.push(regex_error(what, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    errors
}

pub fn is_wildcard_dns1123_subdomain(text: &str) -> Vec<String> {
    let mut errors = too_long(text, DNS1123_SUBDOMAIN_MAX_LENGTH);
    if !text.strip_prefix("*.").is_some_and(matches_dns1123_subdomain) {
        let what = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, \
                    which must consist of lower case alphanumeric characters, '-' or '.' \
                    and end with an alphanumeric character";
        errors.push(regex_error(what, &format!(r"\*\.{DNS1123_SUBDOMAIN}"), &["*.example.com"]));
    }
    errors
}

const QUALIFIED_NAME: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_NAME_RULE: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

fn matches_qualified_name(text: &str) -> bool {
    is_word(
        text,
        |byte| byte.is_ascii_alphanumeric(),
        |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
    )
}

/// The key of a label, a finalizer, a resource name: `name` or `prefix/name`.
pub fn is_qualified_name(text: &str) -> Vec<String> {
    let rule = || regex_error(QUALIFIED_NAME_RULE, QUALIFIED_NAME, &["MyName", "my.name", "123-abc"]);
    let mut errors = Vec::new();
    let name = match text.split_once('/') {
        None => text,
        Some((_, name)) if name.contains('/') => {
            let suffix = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {} {suffix}", rule())];
        }
        Some(("", name)) => {
            errors.push("prefix part must be non-empty".to_owned());
            name
        }
        Some((prefix, name)) => {
            errors.extend(is_dns1123_subdomain(prefix).into_iter().map(|error| format!("prefix part {error}")));
            name
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        errors.push("name part must be no more than 63 bytes".to_owned());
    }
    if !matches_qualified_name(name) {
        errors.push(format!("name part {}", rule()));
    }
    errors
}

pub fn is_label_value(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 63 {
        errors.push("must be no more than 63 bytes".to_owned());
    }
    if !text.is_empty() && !matches_qualified_name(text) {
        let what = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
                    and must start and end with an alphanumeric character";
        errors.push(regex_error(what, &format!("({QUALIFIED_NAME})?"), &["MyValue", "my_value", "12345"]));
    }
    errors
}

pub fn is_c_identifier(text: &str) -> Vec<String> {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !text.is_empty() && text.bytes().all(is_inner) && !text.starts_with(|first: char| first.is_ascii_digit()) {
        return Vec::new();
    }
    let what = "a valid C identifier must start with alphabetic character or '_', \
                followed by a string of alphanumeric characters or '_'";
    vec![regex_error(what, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])]
}

/// Printable ASCII without `=`.
pub fn is_env_var_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.is_empty() {
        errors.push("environment variable name must be non-empty".to_owned());
    }
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=') {
        let what = "a valid environment variable name must consist only of printable ASCII characters other than '='";
        errors.push(what.to_owned());
    }
    errors
}

/// The key of a ConfigMap or Secret: it becomes a file name.
pub fn is_config_map_key(text: &str) -> Vec<String> {
    let mut errors = too_long(text, DNS1123_SUBDOMAIN_MAX_LENGTH);
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || !text.bytes().all(is_inner) {
        let what = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        errors.push(regex_error(what, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    match text {
        "." => errors.push("must not be '.'".to_owned()),
        ".." => errors.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => errors.push("must not start with '..'".to_owned()),
        _ => {}
    }
    errors
}

pub fn is_in_range(number: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&number) { Vec::new() } else { vec![inclusive_range_error(low, high)] }
}

pub fn is_port_num(port: i64) -> Vec<String> {
    is_in_range(port, 1, 65535)
}

/// An IANA service name, as the name of a container's port.
pub fn is_port_name(text: &str) -> Vec<String> {
    let mut errors = too_long(text, 15);
    let mut refuse = |wrong: bool, error: &str| {
        if wrong {
            errors.push(error.to_owned());
        }
    };
    let charset = !text.is_empty() && text.bytes().all(|byte| is_lower_alphanumeric(byte) || byte == b'-');
    refuse(!charset, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    refuse(!text.bytes().any(|byte| byte.is_ascii_lowercase()), "must contain at least one letter (a-z)");
    refuse(text.contains("--"), "must not contain consecutive hyphens");
    refuse(text.starts_with('-') || text.ends_with('-'), "must not begin or end with a hyphen");
    errors
}

pub fn is_user_id(id: i64) -> Vec<String> {
    is_in_range(id, 0, i64::from(i32::MAX))
}

pub fn is_group_id(id: i64) -> Vec<String> {
    is_user_id(id)
}

pub fn is_percent(text: &str) -> Vec<String> {
    let digits = text.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    let what = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![regex_error(what, "[0-9]+%", &["1%", "93%"])]
}

pub fn is_http_header_name(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    let what = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![regex_error(what, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// The path behind the domain of a domain-prefixed path (`acme.io/foo`).
pub fn is_http_path(text: &str) -> Vec<String> {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_inner) {
        return Vec::new();
    }
    vec![regex_error("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[])]
}

/// What may stand as one segment of a URL's path. `prefix`: more will be appended.
pub fn is_path_segment(text: &str, prefix: bool) -> Vec<String> {
    if !prefix && matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    ['/', '%'].iter().filter(|&&c| text.contains(c)).map(|c| format!("may not contain '{c}'")).collect()
}

const IP_ERROR: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const CIDR_ERROR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Reads an address as Go's old parser did: leading zeros in IPv4 are decimal, and an IPv4-mapped IPv6
/// address is the IPv4 address.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical());
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *octet = part.parse::<u8>().ok()?;
    }
    parts.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}

/// An address in a field whose canonical form is not insisted on: no leading zeros, no IPv4 in IPv6.
pub fn is_ip(text: &str) -> Vec<String> {
    let Some(address) = parse_ip(text) else { return vec![IP_ERROR.to_owned()] };
    if text.contains(':') {
        return if address.is_ipv4() { vec!["must not be an IPv4-mapped IPv6 address".to_owned()] } else { Vec::new() };
    }
    if text.parse::<Ipv4Addr>().is_err() { vec!["must not have leading 0s".to_owned()] } else { Vec::new() }
}

/// An address in its one canonical form.
pub fn is_canonical_ip(text: &str) -> Vec<String> {
    let errors = is_ip(text);
    match parse_ip(text).map(|address| address.to_string()) {
        Some(canonical) if errors.is_empty() && text != canonical => {
            vec![format!("must be in canonical form ({canonical:?})")]
        }
        _ => errors,
    }
}

/// Address and prefix length; bits beyond the prefix may be set.
pub fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let v6 = address.contains(':');
    let address = parse_ip(address)?;
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let length: u8 = length.parse().ok()?;
    let bits = if v6 { 128 } else { 32 };
    (length <= bits).then_some((address, length))
}

/// The first address of the range.
pub fn mask(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

/// A range in a field whose canonical form is not insisted on: no leading zeros, no host bits.
pub fn is_cidr(text: &str) -> Vec<String> {
    let Some((address, length)) = parse_cidr(text) else { return vec![CIDR_ERROR.to_owned()] };
    let (address_text, length_text) = text.split_once('/').unwrap_or_default();
    let error = if address_text.parse::<IpAddr>().is_err() || (length_text.len() > 1 && length_text.starts_with('0')) {
        "must not have leading 0s in IP or prefix length"
    } else if address_text.contains(':') && address.is_ipv4() {
        "must not have an IPv4-mapped IPv6 address"
    } else if mask(address, length) != address {
        "must not have bits set beyond the prefix length"
    } else {
        return Vec::new();
    };
    vec![error.to_owned()]
}

/// A range in its one canonical form.
pub fn is_canonical_cidr(text: &str) -> Vec<String> {
    let errors = is_cidr(text);
    match parse_cidr(text).map(|(address, length)| format!("{address}/{length}")) {
        Some(canonical) if errors.is_empty() && text != canonical => {
            vec![format!("must be in canonical form ({canonical:?})")]
        }
        _ => errors,
    }
}

/// Letters and digits of generated names: no vowels, so that no words come out.
pub const GENERATED: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// Generated names are labels as well (RFC 1123): at most 63 characters.
const MAX_GENERATED_BASE: usize = 63 - SUFFIX_LENGTH;

/// The name that `metadata.generateName` leads to. `below` draws a number below its argument.
pub fn generated_name(base: &str, below: impl Fn(u64) -> u64) -> String {
    let mut end = base.len().min(MAX_GENERATED_BASE);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let letter = |_| char::from(GENERATED[below(GENERATED.len() as u64) as usize % GENERATED.len()]);
    base[..end].chars().chain((0..SUFFIX_LENGTH).map(letter)).collect()
}

#[cfg(test)]
mod tests;
