use super::*;

type Check = fn(&str) -> Vec<String>;

#[test]
fn well_formed_and_malformed_texts() {
    let long63 = "a".repeat(63);
    let long64 = "a".repeat(64);
    let long253 = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    let long254 = format!("{long253}e");
    let table: &[(&str, Check, &[&str], &[&str])] = &[
        ("label", is_dns1123_label, &["a", "0", "a-b", "1-2", &long63], &["", "-", "a-", "A", "a.b", "a_b", &long64]),
        ("subdomain", is_dns1123_subdomain, &["a.b", "a-1.0", &long253], &["", "a..b", ".a", "a.", "A.b", &long254]),
        ("underscore", is_dns1123_subdomain_with_underscore, &["_sip._tcp.a", "a_b"], &["__a", "a_", "_", ""]),
        ("1035", is_dns1035_label, &["a", "a-1", &long63], &["1a", "", "-a", "a-", "a.b", &long64]),
        ("wildcard", is_wildcard_dns1123_subdomain, &["*.a.b"], &["*", "*.", "a.b", "*.*.b", "*a.b"]),
        (
            "qualified",
            is_qualified_name,
            &["a", "A.b_c", "x.y/Z", "1"],
            &["", "/a", "a/", "a/b/c", "X/a", "-a", &long64],
        ),
        ("label value", is_label_value, &["", "a", "A_b.c-1"], &["-a", "a b", "a/", &long64]),
        ("C identifier", is_c_identifier, &["_", "aB9"], &["", "9a", "a-b"]),
        ("environment", is_env_var_name, &["A b", "1", "-"], &["", "a=b", "é", "a\n"]),
        ("config key", is_config_map_key, &["a.b", ".a", "_"], &["", ".", "..", "..a", "a/b", &long254]),
        ("port name", is_port_name, &["http", "h-1"], &["", "123", "a--b", "-a", "a-", "A", "abcdefghijklmnop"]),
        ("percent", is_percent, &["0%", "100%"], &["", "%", "1", "-1%", "a%"]),
        ("header", is_http_header_name, &["X-A"], &["", "a b", "a_b"]),
        ("path", is_http_path, &["/a", "a:b"], &["", "a b", "a?b"]),
        ("segment", |text| is_path_segment(text, false), &["a:b", "..."], &[".", "..", "a/b", "a%b"]),
        (
            "ip",
            is_ip,
            &["1.2.3.4", "::1", "0::1"],
            &["01.2.3.4", "::ffff:1.2.3.4", "", "1.2.3", "1.2.3.256", "1.2.3.4.5", "g::"],
        ),
        ("strict ip", is_canonical_ip, &["1.2.3.4", "::1"], &["01.2.3.4", "::ffff:1.2.3.4", "0::1", "::A", "x"]),
        (
            "cidr",
            is_cidr,
            &["1.0.0.0/8", "::/0", "0::/8"],
            &["1.2.3.4/8", "010.0.0.0/8", "1.2.3.4", "1.2.3.4/33", "::/129", "1.2.3.4/+8"],
        ),
        (
            "strict cidr",
            is_canonical_cidr,
            &["10.0.0.0/8", "::/0"],
            &["10.1.0.0/8", "010.0.0.0/8", "10.0.0.0/08", "0::/8"],
        ),
    ];
    for (name, check, good, bad) in table {
        for text in *good {
            assert_eq!(check(text), Vec::<String>::new(), "{name} {text:?}");
        }
        for text in *bad {
            assert!(!check(text).is_empty(), "{name} {text:?}");
        }
    }
}

#[test]
fn messages_are_those_of_kubernetes() {
    let check = |errors: Vec<String>, expect: &[&str]| assert_eq!(errors, expect);
    check(
        is_dns1123_label("A"),
        &[
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
           with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
           '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ],
    );
    check(is_dns1123_label("a.b"), &["must not contain dots"]);
    check(
        is_qualified_name(""),
        &[
            "name part must be non-empty",
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
             alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
             '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ],
    );
    check(is_port_num(0), &["must be between 1 and 65535, inclusive"]);
    check(is_path_segment("a/b%", true), &["may not contain '/'", "may not contain '%'"]);
    check(is_canonical_ip("2001:DB8::1"), &[r#"must be in canonical form ("2001:db8::1")"#]);
    check(is_http_path(" "), &[r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')"]);
}
