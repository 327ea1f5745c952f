//! `windowsOptions` of security contexts: group-managed accounts, and users by Windows' rules for names.

use crate::{kinds::check::Node, syntax};

const MAX_CREDENTIAL_SPEC_BYTES: usize = 64 * 1024;
/// Longer than any domain there is.
const DOMAIN_BYTES_LIMIT: usize = 256;
const MAX_USER_BYTES: usize = 104;
const MAX_NETBIOS_LENGTH: usize = 15;

pub fn options(node: &Node<'_>) {
    node.get("gmsaCredentialSpecName").optional_syntax(syntax::is_dns1123_subdomain);
    let credentials = node.get("gmsaCredentialSpec");
    match credentials.text().len() {
        _ if !credentials.is_set() => {}
        0 => credentials.invalid("gmsaCredentialSpec cannot be an empty string"),
        1..=MAX_CREDENTIAL_SPEC_BYTES => {}
        _ => credentials.invalid("gmsaCredentialSpec size must be under 64 KiB"),
    }
    let name = node.get("runAsUserName");
    if name.is_set() {
        user_name(name.text()).into_iter().for_each(|problem| name.invalid(format!("runAsUserName{problem}")));
    }
}

/// What is wrong with `USER` or `DOMAIN\USER`.
fn user_name(name: &str) -> Vec<&'static str> {
    let (domain, user) = match name.split_once('\\') {
        _ if name.is_empty() => return vec![" cannot be an empty string"],
        _ if name.bytes().any(|byte| byte.is_ascii_control()) => return vec![" cannot contain control characters"],
        Some((_, user)) if user.contains('\\') => return vec![" cannot contain more than one backslash"],
        Some((domain, user)) => (Some(domain), user),
        None => (None, name),
    };
    let domain_text = domain.unwrap_or_default();
    let rules = [
        (domain_text.len() >= DOMAIN_BYTES_LIMIT, "'s Domain length must be under 256 characters"),
        (
            domain.is_some_and(|domain| !is_netbios(domain) && !is_dns(domain)),
            "'s Domain doesn't match the NetBios nor the DNS format",
        ),
        (user.is_empty(), "'s User cannot be empty"),
        (user.len() > MAX_USER_BYTES, "'s User length must not be longer than 104 characters"),
        (
            !user.is_empty() && user.bytes().all(|byte| matches!(byte, b'.' | b' ')),
            "'s User cannot contain only periods or spaces",
        ),
        (
            user.contains(|letter| r#""/\:;|=,+*?<>@[]"#.contains(letter)),
            r#"'s User cannot contain the following characters: "/\:;|=,+*?<>@[]"#,
        ),
    ];
    rules.into_iter().filter(|(is_broken, _)| *is_broken).map(|(_, problem)| problem).collect()
}

fn is_netbios(domain: &str) -> bool {
    (1..=MAX_NETBIOS_LENGTH).contains(&domain.chars().count())
        && !domain.starts_with('.')
        && !domain.contains(|letter| r#"\/:*?"<>|"#.contains(letter))
}

/// As of a host, in either case.
fn is_dns(domain: &str) -> bool {
    const MAX_LABEL_BYTES: usize = 63;
    domain.split('.').all(|label| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_as_windows_has_it() {
        let check = |name: &str, expect: &[&str]| assert_eq!(user_name(name), expect, "{name:?}");
        check("ContainerUser", &[]);
        check(r"NT AUTHORITY\NETWORK SERVICE", &[]);
        check(r"corp.example-a.com.long.enough\Jane.Doe", &[]);
        check("", &[" cannot be an empty string"]);
        check("a\tb", &[" cannot contain control characters"]);
        check(r"a\b\c", &[" cannot contain more than one backslash"]);
        check(r"CORP\", &["'s User cannot be empty"]);
        check(". .", &["'s User cannot contain only periods or spaces"]);
        check("a/b", &[r#"'s User cannot contain the following characters: "/\:;|=,+*?<>@[]"#]);
        check(r"a*b\c", &["'s Domain doesn't match the NetBios nor the DNS format"]);
        let long = "x".repeat(MAX_USER_BYTES + 1);
        check(&long, &["'s User length must not be longer than 104 characters"]);
    }
}
