//! The formats that a string's schema can name. Names compare without dashes; an unknown one demands
//! nothing.

use std::{net::Ipv6Addr, sync::LazyLock};

use api::syntax;
use base64::{Engine, engine::general_purpose::STANDARD};
use regex::Regex;

use crate::cel::{
    library::{duration, url},
    value::timestamp,
};

type Check = fn(&str) -> bool;

const FORMATS: [(&str, Check); 25] = [
    ("bsonobjectid", |text| text.len() == 24 && text.chars().all(|c| c.is_ascii_hexdigit())),
    ("uri", |text| url::parse(text).is_some()),
    ("email", email),
    ("hostname", hostname),
    ("ipv4", ipv4),
    ("ipv6", |text| text.parse::<Ipv6Addr>().is_ok()),
    ("cidr", |text| syntax::parse_cidr(text).is_some()),
    ("mac", mac),
    ("uuid", |text| uuid(text, None)),
    ("uuid3", |text| uuid(text, Some('3'))),
    ("uuid4", |text| uuid(text, Some('4')) && variant(text)),
    ("uuid5", |text| uuid(text, Some('5')) && variant(text)),
    ("isbn", |text| isbn(text, 10) || isbn(text, 13)),
    ("isbn10", |text| isbn(text, 10)),
    ("isbn13", |text| isbn(text, 13)),
    ("creditcard", credit_card),
    ("ssn", |text| SSN.is_match(text)),
    ("hexcolor", |text| HEX_COLOR.is_match(text)),
    ("rgbcolor", |text| RGB_COLOR.is_match(text)),
    ("byte", |text| STANDARD.decode(text).is_ok()),
    ("date", |text| text.len() == 10 && timestamp(text).is_some()),
    ("duration", |text| duration::informal(text).is_some()),
    ("datetime", date_time),
    ("k8sshortname", |text| syntax::is_dns1123_label(text).is_empty()),
    ("k8slongname", |text| syntax::is_dns1123_subdomain(text).is_empty()),
];

static SSN: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\d{3}[- ]?\d{2}[- ]?\d{4}$"));
static HEX_COLOR: LazyLock<Regex> = LazyLock::new(|| pattern("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"));
static RGB_COLOR: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^rgb\(\s*(25[0-5]|2[0-4]\d|1?\d?\d)\s*,\s*(25[0-5]|2[0-4]\d|1?\d?\d)\s*,\s*(25[0-5]|2[0-4]\d|1?\d?\d)\s*\)$",
    )
});
/// The time of day, in small letters. It begins with `t`; a leap second is none.
static TIME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^t([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](.[0-9]+)?(z|[+-][0-9]{2}:[0-9]{2})$"));
static QUOTED: LazyLock<Regex> = LazyLock::new(|| pattern(r#"^"([^"\\\x00-\x1f]|\\[^\x00-\x1f])*"$"#));
static MAIL_LOCAL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern compiles")
}

/// Whether the text has the format.
pub fn matches(format: &str, text: &str) -> bool {
    let format = format.replace('-', "");
    FORMATS.iter().find(|(name, _)| *name == format).is_none_or(|(_, check)| check(text))
}

fn email(text: &str) -> bool {
    let address = text.strip_suffix('>').and_then(|text| text.split_once('<')).map_or(text, |(_, address)| address);
    address.rsplit_once('@').is_some_and(|(local, host)| {
        (MAIL_LOCAL.is_match(local) || QUOTED.is_match(local)) && !host.is_empty() && !host.contains([' ', '<', '>'])
    })
}

/// Leading zeros are decimal, as Go's old parser read them.
fn ipv4(text: &str) -> bool {
    let is_number = |part: &str| {
        let digits = part.trim_start_matches('0');
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (digits.is_empty() || digits.len() <= 3 && digits.parse::<u8>().is_ok())
    };
    let v4 = |text: &str| text.split('.').count() == 4 && text.split('.').all(is_number);
    // An address in IPv6's notation that ends in IPv4's is one too.
    v4(text) || text.contains('.') && text.parse::<Ipv6Addr>().is_ok()
}

fn date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_at_checked(10) else { return false };
    // The pattern alone knows of no 31st of February.
    date.parse::<jiff::civil::Date>().is_ok() && TIME.is_match(&time.to_ascii_lowercase())
}

fn hostname(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    text.len() <= 255 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

fn mac(text: &str) -> bool {
    let parts = |separator: char, width: usize, counts: [usize; 3]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len())
            && parts.iter().all(|part| part.len() == width && part.chars().all(|c| c.is_ascii_hexdigit()))
    };
    parts(':', 2, [6, 8, 20]) || parts('-', 2, [6, 8, 20]) || parts('.', 4, [3, 4, 10])
}

fn digits(text: &str) -> Option<Vec<char>> {
    let digits: Vec<char> = text.chars().filter(|c| *c != '-').collect();
    (digits.len() == 32 && digits.iter().all(char::is_ascii_hexdigit)).then_some(digits)
}

fn uuid(text: &str, version: Option<char>) -> bool {
    let dashes: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
    let placed = dashes.iter().all(|at| {
        let before = text[..*at].matches('-').count();
        [8, 12, 16, 20].contains(&(at - before))
    });
    placed && digits(text).is_some_and(|digits| version.is_none_or(|version| digits[12] == version))
}

fn variant(text: &str) -> bool {
    digits(text).is_some_and(|digits| matches!(digits[16].to_ascii_lowercase(), '8' | '9' | 'a' | 'b'))
}

fn isbn(text: &str, length: usize) -> bool {
    let characters: Vec<char> = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
    if characters.len() != length {
        return false;
    }
    let value = |(position, c): (usize, &char)| match c {
        'X' if length == 10 && position == 9 => Some(10),
        c => c.to_digit(10),
    };
    let Some(values) = characters.iter().enumerate().map(value).collect::<Option<Vec<u32>>>() else { return false };
    let weighted =
        |weight: fn(u32) -> u32| values.iter().zip(0..).map(|(value, position)| value * weight(position)).sum::<u32>();
    if length == 10 {
        weighted(|position| 10 - position) % 11 == 0
    } else {
        weighted(|position| 1 + position % 2 * 2) % 10 == 0
    }
}

fn credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let doubled = |(position, digit): (usize, &u32)| match (position % 2, digit * 2) {
        (0, _) => *digit,
        (_, double) if double > 9 => double - 9,
        (_, double) => double,
    };
    (13..=19).contains(&digits.len()) && digits.iter().rev().enumerate().map(doubled).sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_go_reads_them() {
        for (format, good, bad) in [
            (
                "date-time",
                &["2020-01-01T00:00:00Z", "2020-01-01t00:00:00.5z", "2020-02-29T23:59:59+25:99"][..],
                &["2020-01-01 00:00:00Z", "2020-01-01T00:00:00", "2020-02-30T00:00:00Z", "2020-01-01T24:00:00Z", ""][..],
            ),
            (
                "ipv4",
                &["1.2.3.4", "01.2.3.004", "::ffff:1.2.3.4"],
                &["1.2.3", "1.2.3.256", "1.2.3.4.5", "::1", "1..2.3"],
            ),
            ("email", &["a@b", "A B <a.b@c.de>", r#""x y"@b"#], &["a", "@b", "a b@c", r#""x"y"@b"#, r#""x@b"#]),
        ] {
            good.iter().for_each(|text| assert!(matches(format, text), "{format} {text}"));
            bad.iter().for_each(|text| assert!(!matches(format, text), "{format} {text}"));
        }
    }
}
