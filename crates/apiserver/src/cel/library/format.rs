//! The named formats of Kubernetes' own names.

use api::syntax;

use super::{Cost, Entry, Outcome, entry};
use crate::{
    cel::{Failure, value::Value},
    crd::formats,
};

type Check = fn(&str) -> Vec<String>;

/// A name of a format, and what is wrong with a text that should have it.
const FORMATS: [(&str, Check); 13] = [
    ("dns1123Label", syntax::is_dns1123_label),
    ("dns1123Subdomain", syntax::is_dns1123_subdomain),
    ("dns1035Label", syntax::is_dns1035_label),
    ("qualifiedName", syntax::is_qualified_name),
    ("dns1123LabelPrefix", |text| syntax::is_dns1123_label(&prefix(text))),
    ("dns1123SubdomainPrefix", |text| syntax::is_dns1123_subdomain(&prefix(text))),
    ("dns1035LabelPrefix", |text| syntax::is_dns1035_label(&prefix(text))),
    ("labelValue", syntax::is_label_value),
    ("uri", |text| known(text, "uri", "invalid URI for request")),
    ("uuid", |text| known(text, "uuid", "does not match the UUID format")),
    ("byte", |text| known(text, "byte", "invalid base64")),
    ("date", |text| known(text, "date", "invalid date")),
    ("datetime", |text| known(text, "date-time", "invalid datetime")),
];

/// `format.dns1123Label()` for each of them, and `format.named`, `validate`.
macro_rules! constants {
    ($($signature:literal => $index:literal),* $(,)?) => {
        &[
            $(entry(&[$signature], Cost::Fixed(1), |_, _| Ok(Value::Format(FORMATS[$index].0))),)*
            entry(&["format.named(string): optional<Format>"], Cost::Passes(1), named),
            entry(&["Format.validate(string): optional<list<string>>"], Cost::Fixed(100), validate),
        ]
    };
}

pub const TABLE: &[Entry] = constants! {
    "format.dns1123Label(): Format" => 0,
    "format.dns1123Subdomain(): Format" => 1,
    "format.dns1035Label(): Format" => 2,
    "format.qualifiedName(): Format" => 3,
    "format.dns1123LabelPrefix(): Format" => 4,
    "format.dns1123SubdomainPrefix(): Format" => 5,
    "format.dns1035LabelPrefix(): Format" => 6,
    "format.labelValue(): Format" => 7,
    "format.uri(): Format" => 8,
    "format.uuid(): Format" => 9,
    "format.byte(): Format" => 10,
    "format.date(): Format" => 11,
    "format.datetime(): Format" => 12,
};

/// A prefix of a name is a name once something follows its dash.
fn prefix(text: &str) -> String {
    if text.ends_with('-') { format!("{text}a") } else { text.to_owned() }
}

fn known(text: &str, format: &str, message: &str) -> Vec<String> {
    if formats::matches(format, text) { Vec::new() } else { vec![message.to_owned()] }
}

fn named<'a>(values: &[Value<'a>], _: &crate::cel::Budget) -> Outcome<'a> {
    let [Value::String(name)] = values else { return Err(Failure::NoOverload) };
    let found = FORMATS.iter().find(|(known, _)| *known == &**name);
    Ok(found.map_or(Value::Optional(None), |(name, _)| Value::some(Value::Format(name))))
}

fn validate<'a>(values: &[Value<'a>], budget: &crate::cel::Budget) -> Outcome<'a> {
    let [Value::Format(name), Value::String(text)] = values else { return Err(Failure::NoOverload) };
    budget.spend(text.len() as u64 / 10)?;
    let (_, check) = FORMATS.iter().find(|(known, _)| known == name).ok_or(Failure::NoOverload)?;
    let problems: Vec<Value<'_>> = check(text).into_iter().map(Value::from).collect();
    Ok(if problems.is_empty() { Value::Optional(None) } else { Value::some(Value::list(problems)) })
}
