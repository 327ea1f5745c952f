//! Values against their schema, in the words of the OpenAPI validation that Kubernetes uses.
//!
//! What an update leaves as it was is not judged again: a schema may have become stricter since.

use std::{collections::HashMap, sync::Arc};

use api::{
    field::{FieldError, FieldErrors, Path, Reason},
    syntax,
};
use document::types::ListTopology;
use serde_json::Value;

use super::{
    formats,
    schema::{Additional, Kind, Schema},
};
use crate::{
    http::heavy,
    pattern::{self, Pattern},
};

/// Checks a document; `old` is what it was before an update.
pub fn values(schema: &Schema, new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    Check { path: String::new(), errors, patterns: &mut Patterns::default() }.value(schema, new, old);
}

/// What one document may hold of patterns that the process has forgotten again since.
const MAX_PATTERN_BYTES: usize = 8 << 20;

/// The patterns that a document has met, each looked for once, and compiled once at most as long as all of them are small
/// enough.
#[derive(Default)]
struct Patterns {
    bytes: usize,
    by_text: HashMap<Box<str>, Option<Arc<Pattern>>>,
}

impl Patterns {
    /// `None` where it does not compile.
    fn get(&mut self, text: &str) -> Option<Arc<Pattern>> {
        if let Some(known) = self.by_text.get(text) {
            return known.clone();
        }
        let found = pattern::known(text).or_else(|| heavy::in_turn(|| pattern::remember(text)).ok());
        let bytes = text.len() + found.as_ref().map_or(0, |pattern| pattern.size());
        if self.bytes + bytes <= MAX_PATTERN_BYTES {
            self.bytes += bytes;
            self.by_text.insert(text.into(), found.clone());
        }
        found
    }
}

struct Check<'e> {
    path: String,
    errors: &'e mut FieldErrors,
    patterns: &'e mut Patterns,
}

impl Check<'_> {
    fn add(&mut self, reason: Reason, value: Option<Value>, detail: impl Into<String>) {
        self.errors.push(FieldError { reason, path: self.path.clone(), value, detail: detail.into() });
    }

    fn invalid(&mut self, value: impl Into<Value>, rule: impl std::fmt::Display) {
        let detail = format!("{} in body {rule}", self.path);
        self.add(Reason::Invalid, Some(value.into()), detail);
    }

    /// A problem that names its place itself.
    fn whole(&mut self, detail: String) {
        self.errors.push(FieldError::invalid(&Path::ROOT, "", detail));
    }

    fn value(&mut self, schema: &Schema, new: &Value, old: Option<&Value>) {
        if old.is_some_and(|old| old == new) {
            return;
        }
        if !self.type_fits(schema, new) {
            return;
        }
        self.combinations(schema, new, old);
        match new {
            Value::String(text) => self.text(schema, text),
            Value::Number(number) => self.number(schema, new, number.as_f64().unwrap_or(f64::NAN)),
            Value::Array(items) => self.list(schema, items, old),
            _ => {}
        }
        if let Some(allowed) = &schema.enumeration
            && !allowed.iter().any(|value| same(value, new))
        {
            let words: Vec<String> =
                allowed.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect();
            let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
            self.add(Reason::NotSupported, Some(new.clone()), format!("supported values: {}", quoted.join(", ")));
        }
        if let Value::Object(fields) = new {
            self.object(schema, fields, old);
        }
    }

    fn type_fits(&mut self, schema: &Schema, value: &Value) -> bool {
        let actual = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let whole = || value.as_f64().is_some_and(|number| number.fract() == 0.0);
        let (fits, expected) = if schema.int_or_string {
            (matches!(actual, "integer" | "string") || (actual == "number" && whole()), "integer,string")
        } else {
            let Some(kind) = schema.kind else { return true };
            let fits = match kind {
                Kind::Integer => actual == "integer" || (actual == "number" && whole()),
                Kind::Number => matches!(actual, "integer" | "number"),
                other => other.name() == actual,
            };
            (fits, kind.name())
        };
        if fits || (actual == "null" && schema.nullable) {
            return true;
        }
        let detail = format!("{} in body must be of type {expected}: {actual:?}", self.path);
        self.add(Reason::TypeInvalid, Some(actual.into()), detail);
        false
    }

    fn combinations(&mut self, schema: &Schema, new: &Value, old: Option<&Value>) {
        if !schema.any_of.is_empty() {
            let (_, best) = self.best(&schema.any_of, new, old);
            if let Some(best) = best {
                self.whole(format!("{:?} must validate at least one schema (anyOf)", self.path));
                self.errors.extend(best);
            }
        }
        if !schema.one_of.is_empty() {
            let (matches, best) = self.best(&schema.one_of, new, old);
            if matches != 1 {
                let count = if matches == 0 {
                    "Found none valid".to_owned()
                } else {
                    format!("Found {matches} valid alternatives")
                };
                self.whole(format!("{:?} must validate one and only one schema (oneOf). {count}", self.path));
                self.errors.extend(best.into_iter().flatten());
            }
        }
        if !schema.all_of.is_empty() {
            let before = self.errors.len();
            let mut valid = 0;
            for part in &schema.all_of {
                let known = self.errors.len();
                self.value(part, new, old);
                valid += usize::from(self.errors.len() == known);
            }
            if self.errors.len() > before {
                let none = if valid == 0 { ". None validated" } else { "" };
                self.whole(format!("{:?} must validate all the schemas (allOf){none}", self.path));
            }
        }
        if let Some(not) = &schema.not
            && self.try_one(not, new, None).is_empty()
        {
            self.whole(format!("{:?} must not validate the schema (not)", self.path));
        }
    }

    fn try_one(&mut self, schema: &Schema, new: &Value, old: Option<&Value>) -> FieldErrors {
        let mut errors = FieldErrors::new();
        Check { path: self.path.clone(), errors: &mut errors, patterns: self.patterns }.value(schema, new, old);
        errors
    }

    /// How many alternatives fit and, if none does, the complaints of the one that fits best.
    fn best(&mut self, alternatives: &[Schema], new: &Value, old: Option<&Value>) -> (usize, Option<FieldErrors>) {
        let mut matches = 0;
        let mut best: Option<FieldErrors> = None;
        for alternative in alternatives {
            let errors = self.try_one(alternative, new, old);
            if errors.is_empty() {
                matches += 1;
            } else if best.as_ref().is_none_or(|best| errors.len() < best.len()) {
                best = Some(errors);
            }
        }
        (matches, if matches == 0 { best } else { None })
    }

    fn fits(&mut self, pattern: &str, text: &str) -> bool {
        // A stored definition may have a pattern that no longer compiles: nothing matches it.
        self.patterns.get(pattern).is_some_and(|pattern| pattern.is_match(text))
    }

    fn text(&mut self, schema: &Schema, text: &str) {
        let length = text.chars().count() as u64;
        if let Some(max) = schema.length.max.filter(|max| length > *max) {
            let plural = if max == 1 { "byte" } else { "bytes" };
            self.add(Reason::TooLong, None, format!("may not be more than {max} {plural}"));
        }
        if let Some(min) = schema.length.min.filter(|min| length < *min) {
            self.invalid(text, format_args!("should be at least {min} chars long"));
        }
        if let Some(pattern) = &schema.pattern
            && !self.fits(pattern, text)
        {
            self.invalid(text, format_args!("should match '{pattern}'"));
        }
        let is_text = matches!(schema.kind, None | Some(Kind::String));
        if is_text && !schema.format.is_empty() && !formats::matches(&schema.format, text) {
            self.invalid(text, format_args!("must be of type {}: {text:?}", schema.format));
        }
    }

    fn number(&mut self, schema: &Schema, shown: &Value, number: f64) {
        let range = schema.number;
        let bits = match &*schema.format {
            "int32" => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
            _ => None,
        };
        if schema.kind == Some(Kind::Integer)
            && let Some((low, high)) = bits
            && !(low..=high).contains(&number)
        {
            self.whole(format!("Checked value must be of type integer with format int32 in {}", self.path));
        }
        if let Some(factor) = schema.multiple_of {
            let quotient = number / factor;
            if factor > 0.0 && (quotient - quotient.round()).abs() > 1e-9 {
                self.invalid(shown.clone(), format_args!("should be a multiple of {factor}"));
            }
        }
        if let Some(max) = range.max {
            if range.exclusive_max && number >= max {
                self.invalid(shown.clone(), format_args!("should be less than {max}"));
            } else if number > max {
                self.invalid(shown.clone(), format_args!("should be less than or equal to {max}"));
            }
        }
        if let Some(min) = range.min {
            if range.exclusive_min && number <= min {
                self.invalid(shown.clone(), format_args!("should be greater than {min}"));
            } else if number < min {
                self.invalid(shown.clone(), format_args!("should be greater than or equal to {min}"));
            }
        }
    }

    fn list(&mut self, schema: &Schema, items: &[Value], old: Option<&Value>) {
        let count = items.len() as u64;
        if let Some(schema_of_item) = &schema.items {
            let length = self.path.len();
            let earlier = Earlier::of(schema, old);
            for (index, item) in items.iter().enumerate() {
                self.path.push_str(&format!("[{index}]"));
                self.value(schema_of_item, item, earlier.of_item(item));
                self.path.truncate(length);
            }
        }
        if let Some(min) = schema.items_count.min.filter(|min| count < *min) {
            self.invalid(count, format_args!("should have at least {min} items"));
        }
        if let Some(max) = schema.items_count.max.filter(|max| count > *max) {
            let plural = if max == 1 { "item" } else { "items" };
            self.add(Reason::TooMany, Some(count.into()), format!("must have at most {max} {plural}"));
        }
    }

    fn object(&mut self, schema: &Schema, fields: &serde_json::Map<String, Value>, old: Option<&Value>) {
        let count = fields.len() as u64;
        if let Some(min) = schema.properties_count.min.filter(|min| count < *min) {
            self.invalid(count, format_args!("should have at least {min} properties"));
        }
        if let Some(max) = schema.properties_count.max.filter(|max| count > *max) {
            let plural = if max == 1 { "item" } else { "items" };
            self.add(Reason::TooMany, Some(count.into()), format!("must have at most {max} {plural}"));
        }
        let length = self.path.len();
        for (name, value) in fields {
            let of_field = schema.properties.get(name.as_str()).or(match &schema.additional {
                Additional::Of(schema) => Some(schema),
                _ => None,
            });
            let Some(of_field) = of_field else { continue };
            self.enter(name);
            self.value(of_field, value, old.and_then(|old| old.get(name)));
            self.path.truncate(length);
        }
        for name in schema.required.iter().filter(|name| !fields.contains_key(&***name)) {
            self.enter(name);
            self.add(Reason::Required, None, "");
            self.path.truncate(length);
        }
    }

    fn enter(&mut self, name: &str) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(name);
    }
}

/// The items of an old list by their keys, found without a search for each: lists may be long.
pub struct Earlier<'s, 'a> {
    keys: &'s [Box<str>],
    items: HashMap<Vec<Option<&'a Value>>, &'a Value>,
}

impl<'s, 'a> Earlier<'s, 'a> {
    pub fn of(list: &'s Schema, old: Option<&'a Value>) -> Self {
        let (Some(ListTopology::Map(keys)), Some(old)) = (&list.topology, old.and_then(Value::as_array)) else {
            return Self { keys: &[], items: HashMap::new() };
        };
        let mut items = HashMap::with_capacity(old.len());
        for item in old {
            items.entry(keys_of(keys, item)).or_insert(item);
        }
        Self { keys, items }
    }

    /// What an item of the new list is a later state of: only keyed lists can say.
    pub fn of_item(&self, item: &Value) -> Option<&'a Value> {
        self.items.get(&keys_of(self.keys, item)).copied()
    }
}

fn keys_of<'v>(keys: &[Box<str>], item: &'v Value) -> Vec<Option<&'v Value>> {
    keys.iter().map(|key| item.get(&**key)).collect()
}

/// Equal as JSON: `1` is `1.0`.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

/// Duplicates in sets and keyed lists.
pub fn lists(schema: &Schema, value: &Value, errors: &mut FieldErrors) {
    descend(schema, value, &Path::ROOT, errors, &mut |schema, value, path, errors| {
        let (Some(items), Some(topology)) = (value.as_array(), &schema.topology) else { return };
        let identity = |item: &Value| match topology {
            ListTopology::Atomic => None,
            ListTopology::Set => Some(item.clone()),
            ListTopology::Map(keys) => {
                let of_schema = schema.items.as_ref();
                let key = |key: &str| {
                    let default = of_schema.and_then(|schema| schema.properties.get(key)?.default.clone());
                    Some((key.to_string(), item.get(key).cloned().or(default)?))
                };
                Some(Value::Object(keys.iter().filter_map(|name| key(name)).collect()))
            }
        };
        let mut seen = std::collections::HashSet::new();
        for (index, item) in items.iter().enumerate() {
            if let Some(identity) = identity(item)
                && !seen.insert(identity.to_string())
            {
                errors.push(FieldError::duplicate(&path.index(index), identity));
            }
        }
    });
}

/// What makes an embedded resource one.
pub fn embedded(schema: &Schema, value: &Value, errors: &mut FieldErrors) {
    descend(schema, value, &Path::ROOT, errors, &mut |schema, value, path, errors| {
        if !schema.embedded_resource || !value.is_object() {
            return;
        }
        let (api_version, kind) = (path.child("apiVersion"), path.child("kind"));
        if let Some(version) = named(value, "apiVersion", &api_version, errors)
            && version.matches('/').count() > 1
        {
            let detail = format!("unexpected GroupVersion string: {version}");
            errors.push(FieldError::invalid(&api_version, version, detail));
        }
        if let Some(name) = named(value, "kind", &kind, errors) {
            let problems = syntax::is_dns1035_label(&name.to_lowercase());
            if !problems.is_empty() {
                let detail = format!("may have mixed case, but should otherwise match: {}", problems.join(","));
                errors.push(FieldError::invalid(&kind, name, detail));
            }
        }
        api::metadata::validate_embedded(&value["metadata"], &path.child("metadata"), errors);
    });
}

/// A field that says what an embedded resource is.
fn named<'v>(resource: &'v Value, field: &str, path: &Path<'_>, errors: &mut FieldErrors) -> Option<&'v str> {
    let detail = match resource.get(field) {
        None => {
            errors.push(FieldError::required(path, ""));
            return None;
        }
        Some(Value::String(name)) if name.is_empty() => "must not be empty",
        Some(Value::String(name)) => return Some(name),
        Some(_) => "must be a string",
    };
    errors.push(FieldError::invalid(path, resource[field].clone(), detail));
    None
}

type Visit<'v> = &'v mut dyn FnMut(&Schema, &Value, &Path<'_>, &mut FieldErrors);

fn descend(schema: &Schema, value: &Value, path: &Path<'_>, errors: &mut FieldErrors, visit: Visit<'_>) {
    visit(schema, value, path, errors);
    match value {
        Value::Array(items) => {
            let Some(of_item) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                descend(of_item, item, &path.index(index), errors, visit);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(of_field) = schema.properties.get(name.as_str()) {
                    descend(of_field, value, &path.child(name), errors, visit);
                } else if let Additional::Of(of_value) = &schema.additional {
                    descend(of_value, value, &path.key(name), errors, visit);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of some 100 KB.
    #[test]
    fn a_document_keeps_little_of_large_patterns() {
        let mut patterns = Patterns::default();
        for number in 0..100 {
            let text = format!("^([a-z0-9]{{0,60}}-){{0,20}}D{number}$");
            assert!(patterns.get(&text).unwrap().is_match(&format!("a-D{number}")));
            assert!(patterns.bytes <= MAX_PATTERN_BYTES);
        }
        let sizes = patterns.by_text.iter().map(|(text, pattern)| text.len() + pattern.as_ref().unwrap().size());
        assert_eq!(sizes.sum::<usize>(), patterns.bytes);
        assert!((1..100).contains(&patterns.by_text.len()), "{}", patterns.by_text.len());
    }
}
