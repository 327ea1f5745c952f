//! A cursor over a document that knows where it is: what validation is written with.
//!
//! The cursor reads like the field path of the error it may end in. A missing field reads as Go's zero
//! value, as Kubernetes' own validation sees it. Not here: what the kinds' rules are.

use std::{cell::RefCell, mem};

use serde_json::Value;

use crate::field::{FieldError, FieldErrors, Path};

/// A value, where it is, and where its errors go.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    pub value: &'a Value,
    path: Path<'a>,
    errors: &'a RefCell<FieldErrors>,
}

/// A field, and the rules of its value.
pub type FieldRules = (&'static str, fn(&Node<'_>));

/// Runs `rules` over the whole of a document.
pub fn check(document: &Value, errors: &mut FieldErrors, rules: impl FnOnce(&Node<'_>)) {
    let sink = RefCell::new(mem::take(errors));
    rules(&Node { value: document, path: Path::ROOT, errors: &sink });
    *errors = sink.into_inner();
}

/// The texts of a list, a missing one being empty.
pub fn texts(list: &Value) -> impl Iterator<Item = &str> {
    elements(list).iter().filter_map(Value::as_str)
}

pub fn elements(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The text of a field, a missing one being empty.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

/// Null, or empty as Go's `len(x) == 0` has it.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Fields that are values, not pointers, in Kubernetes' types: missing they are false, or 0.
const PLAIN: &[&str] =
    &["hostIPC", "hostNetwork", "hostPID", "hostPort", "initialDelaySeconds", "readOnly", "stdin", "stdinOnce", "tty"];

/// Equal, where a missing value and an empty one are the same (apimachinery's `Semantic.DeepEqual`).
pub fn semantically_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            let missing_is = |key: &str, value: &Value| {
                is_empty(value) || (PLAIN.contains(&key) && (value == false || value.as_i64() == Some(0)))
            };
            a.iter().all(|(key, value)| match b.get(key) {
                Some(other) => semantically_equal(value, other),
                None => missing_is(key, value),
            }) && b.iter().all(|(key, value)| a.contains_key(key) || missing_is(key, value))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| semantically_equal(a, b))
        }
        _ => left == right || (is_empty(left) && is_empty(right)),
    }
}

impl<'a> Node<'a> {
    pub fn get<'b>(&'b self, field: &'b str) -> Node<'b> {
        Node { value: &self.value[field], path: self.path.child(field), errors: self.errors }
    }

    /// The same place, under the name of a map's key.
    pub fn key<'b>(&'b self, key: &'b str) -> Node<'b> {
        Node { value: &self.value[key], path: self.path.key(key), errors: self.errors }
    }

    pub fn index(&self, index: usize) -> Node<'_> {
        Node { value: &self.value[index], path: self.path.index(index), errors: self.errors }
    }

    pub fn items(&self) -> impl Iterator<Item = Node<'_>> {
        (0..elements(self.value).len()).map(|index| self.index(index))
    }

    /// The entries of a map, each at `path[key]`.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Node<'_>)> {
        self.value.as_object().into_iter().flatten().map(|(key, _)| (key.as_str(), self.key(key)))
    }

    /// This place, holding another value: for errors that show something else than what stands there.
    pub fn showing<'b>(&'b self, value: &'b Value) -> Node<'b> {
        Node { value, path: self.path, errors: self.errors }
    }

    pub fn path(&self) -> &Path<'a> {
        &self.path
    }

    pub fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    pub fn is_empty(&self) -> bool {
        is_empty(self.value)
    }

    pub fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    pub fn integer(&self) -> i64 {
        self.value.as_i64().unwrap_or_default()
    }

    pub fn flag(&self) -> bool {
        self.value.as_bool().unwrap_or_default()
    }

    pub fn len(&self) -> usize {
        match self.value {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        }
    }

    pub fn error_count(&self) -> usize {
        self.errors.borrow().len()
    }

    /// Applies rules that are written on values and paths.
    pub fn with(&self, rules: fn(&Value, &Path<'_>, &mut FieldErrors)) {
        rules(self.value, &self.path, &mut self.errors.borrow_mut());
    }

    pub fn push(&self, error: FieldError) {
        self.errors.borrow_mut().push(error);
    }

    pub fn required(&self, detail: impl Into<String>) {
        self.push(FieldError::required(&self.path, detail));
    }

    pub fn invalid(&self, detail: impl Into<String>) {
        self.push(FieldError::invalid(&self.path, self.value.clone(), detail));
    }

    /// As [`Self::invalid`], showing `value`.
    pub fn invalid_value(&self, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(FieldError::invalid(&self.path, value, detail));
    }

    /// As [`Self::invalid`], for values that say nothing.
    pub fn invalid_unshown(&self, detail: impl Into<String>) {
        self.push(FieldError { value: None, ..FieldError::invalid(&self.path, Value::Null, detail) });
    }

    pub fn forbidden(&self, detail: impl Into<String>) {
        self.push(FieldError::forbidden(&self.path, detail));
    }

    pub fn duplicate(&self) {
        self.push(FieldError::duplicate(&self.path, self.value.clone()));
    }

    pub fn not_found(&self) {
        self.push(FieldError::not_found(&self.path, self.value.clone()));
    }

    pub fn not_supported(&self, supported: &[&str]) {
        self.push(FieldError::not_supported(&self.path, self.text(), supported));
    }

    pub fn too_long(&self, max_bytes: usize) {
        self.push(FieldError::too_long(&self.path, max_bytes));
    }

    pub fn too_many(&self, max: usize) {
        self.push(FieldError::too_many(&self.path, self.len(), max));
    }

    /// Refuses an empty value; says whether there is one.
    pub fn require(&self) -> bool {
        self.require_saying("")
    }

    pub fn require_saying(&self, detail: &str) -> bool {
        let is_there = !self.is_empty();
        if !is_there {
            self.required(detail);
        }
        is_there
    }

    /// Refuses all but the `supported` words. An empty one is none of them where its field keeps it, as one
    /// does that is a pointer in Kubernetes' types.
    pub fn optional_word(&self, supported: &[&str]) {
        if self.is_set() && !supported.contains(&self.text()) {
            self.not_supported(supported);
        }
    }

    /// Refuses all but the `supported` words, and a missing one as such.
    pub fn word(&self, supported: &[&str]) {
        if self.require() {
            self.optional_word(supported);
        }
    }

    /// Refuses what a syntax refuses, a missing text included.
    pub fn syntax(&self, syntax: fn(&str) -> Vec<String>) {
        for error in syntax(self.text()) {
            self.invalid_value(self.text(), error);
        }
    }

    pub fn optional_syntax(&self, syntax: fn(&str) -> Vec<String>) {
        if !self.is_empty() {
            self.syntax(syntax);
        }
    }

    pub fn required_syntax(&self, syntax: fn(&str) -> Vec<String>) {
        if self.require() {
            self.syntax(syntax);
        }
    }

    /// Applies to each field that is set its rules; says how many are set.
    pub fn apply_set(&self, rules: &[FieldRules]) -> usize {
        let mut count = 0;
        for (field, rules) in rules {
            let field = self.get(field);
            if field.is_set() {
                rules(&field);
                count += 1;
            }
        }
        count
    }

    pub fn non_negative(&self) {
        if self.integer() < 0 {
            self.invalid(NOT_NEGATIVE);
        }
    }

    pub fn positive(&self) {
        if self.integer() <= 0 {
            self.invalid_value(self.integer(), "must be greater than zero");
        }
    }

    pub fn in_range(&self, low: i64, high: i64) {
        if !(low..=high).contains(&self.integer()) {
            self.invalid_value(self.integer(), crate::syntax::inclusive_range_error(low, high));
        }
    }

    pub fn immutable(&self, old: &Value) {
        if !semantically_equal(self.value, old) {
            self.invalid(IMMUTABLE);
        }
    }
}

pub const IMMUTABLE: &str = "field is immutable";
pub const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
