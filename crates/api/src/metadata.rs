//! Object metadata: what every object's `metadata` must look like, and what of it an update may change
//! (apimachinery, `pkg/api/validation/objectmeta.go`).
//!
//! Not here: generating names and uids, generations, resource versions, merging managed fields.

use std::collections::HashSet;

use serde_json::Value;

use crate::{
    field::{FieldError, FieldErrors, Path},
    kinds::check::{elements, is_empty, text},
    resource::Scope,
    strategy::NameRule,
    syntax,
};

pub const ANNOTATIONS_MAX_BYTES: usize = 256 << 10;
const FIELD_MANAGER_MAX_LENGTH: usize = 128;
const SUBRESOURCE_MAX_LENGTH: usize = 256;
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// Fills in the fields that an update may leave out but not change.
pub fn prepare_update(new: &mut Value, old: &Value) {
    let (Some(metadata), Some(old)) =
        (new.get_mut("metadata").and_then(Value::as_object_mut), old["metadata"].as_object())
    else {
        return;
    };
    metadata.remove("selfLink");
    for (field, always) in [
        ("uid", false),
        ("creationTimestamp", true),
        ("deletionTimestamp", true),
        ("deletionGracePeriodSeconds", false),
    ] {
        let Some(old) = old.get(field).filter(|old| !is_empty(old)) else { continue };
        if always || metadata.get(field).is_none_or(is_empty) {
            metadata.insert(field.to_owned(), old.clone());
        }
    }
}

impl NameRule {
    /// What is wrong with `name`. `prefix`: it is a `generateName`, to which more is appended.
    pub fn check(self, name: &str, prefix: bool) -> Vec<String> {
        let mut masked = name.to_owned();
        if prefix && self != NameRule::PathSegment && name.len() > 1 && name.ends_with('-') {
            masked.pop();
            masked.pop();
            masked.push('a');
        }
        match self {
            NameRule::DnsSubdomain => syntax::is_dns1123_subdomain(&masked),
            NameRule::DnsLabel => syntax::is_dns1123_label(&masked),
            NameRule::Dns1035Label => syntax::is_dns1035_label(&masked),
            NameRule::PathSegment => syntax::is_path_segment(name, prefix),
        }
    }
}

/// The metadata of a new object, after its name was generated.
pub fn validate(object: &Value, scope: Scope, rule: NameRule, errors: &mut FieldErrors) {
    let metadata = &object["metadata"];
    let path = &Path::new("metadata");
    let invalid = |field: &'static str, messages: Vec<String>| {
        let value = &metadata[field];
        messages.into_iter().map(move |message| FieldError::invalid(&path.child(field), value.clone(), message))
    };
    let generate_name = text(metadata, "generateName");
    if !generate_name.is_empty() {
        errors.extend(invalid("generateName", rule.check(generate_name, true)));
    }
    match text(metadata, "name") {
        "" => errors.push(FieldError::required(&path.child("name"), "name or generateName is required")),
        name => errors.extend(invalid("name", rule.check(name, false))),
    }
    match (scope, text(metadata, "namespace")) {
        (Scope::Namespaced, "") => errors.push(FieldError::required(&path.child("namespace"), "")),
        (Scope::Namespaced, namespace) => errors.extend(invalid("namespace", syntax::is_dns1123_label(namespace))),
        (Scope::Cluster, "") => {}
        (Scope::Cluster, _) => errors.push(FieldError::forbidden(&path.child("namespace"), "not allowed on this type")),
    }
    validate_generation(metadata, path, errors);
    validate_common(metadata, path, errors);
}

/// The metadata of a resource inside another (`x-kubernetes-embedded-resource`): it need not have a name, and whether
/// it has a namespace says itself.
pub fn validate_embedded(metadata: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (field, prefix) in [("generateName", true), ("name", false)] {
        let name = text(metadata, field);
        if !name.is_empty() {
            push_all(NameRule::PathSegment.check(name, prefix), name, &path.child(field), errors);
        }
    }
    let namespace = text(metadata, "namespace");
    if !namespace.is_empty() {
        push_all(syntax::is_dns1123_label(namespace), namespace, &path.child("namespace"), errors);
    }
    validate_generation(metadata, path, errors);
    validate_common(metadata, path, errors);
}

fn validate_generation(metadata: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if metadata["generation"].as_i64().is_some_and(|generation| generation < 0) {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&path.child("generation"), metadata["generation"].clone(), detail));
    }
}

/// The metadata of an updated object, after [`prepare_update`] and with its resourceVersion filled in.
pub fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old) = (&new["metadata"], &old["metadata"]);
    let (path, object) = (&Path::new("metadata"), new);
    if !is_empty(&old["deletionTimestamp"]) {
        let known: HashSet<&Value> = elements(&old["finalizers"]).iter().collect();
        let is_new = |finalizer: &&Value| !known.contains(finalizer);
        let mut added: Vec<String> =
            new["finalizers"].as_array().into_iter().flatten().filter(is_new).map(Value::to_string).collect();
        added.sort();
        added.dedup();
        if !added.is_empty() {
            let rule = "no new finalizers can be added if the object is being deleted, found new finalizers";
            let message = format!("{rule} []string{{{}}}", added.join(", "));
            errors.push(FieldError::forbidden(&path.child("finalizers"), message));
        }
    }
    if text(new, "resourceVersion").is_empty() {
        errors.push(FieldError::invalid(&path.child("resourceVersion"), "", "must be specified for an update"));
    }
    if new["generation"].as_i64().unwrap_or(0) < old["generation"].as_i64().unwrap_or(0) {
        let generation = new["generation"].as_i64().unwrap_or(0);
        errors.push(FieldError::invalid(&path.child("generation"), generation, "must not be decremented"));
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (new, old) = (&new[field], &old[field]);
        if new != old && !(is_empty(new) && is_empty(old)) {
            // A text that is not there is an empty one, a time that is not there is null.
            let found =
                if matches!(field, "name" | "namespace" | "uid") { text(object, field).into() } else { new.clone() };
            errors.push(FieldError::invalid(&path.child(field), found, "field is immutable"));
        }
    }
    validate_common(new, path, errors);
}

fn validate_common(metadata: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    validate_labels(&metadata["labels"], &path.child("labels"), errors);
    validate_annotations(&metadata["annotations"], &path.child("annotations"), errors);
    validate_owner_references(&metadata["ownerReferences"], &path.child("ownerReferences"), errors);
    validate_finalizers(&metadata["finalizers"], &path.child("finalizers"), errors);
    validate_managed_fields(&metadata["managedFields"], &path.child("managedFields"), errors);
}

fn push_all(messages: Vec<String>, value: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    errors.extend(messages.into_iter().map(|message| FieldError::invalid(path, value, message)));
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &str)> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

/// A map of labels, of an object or of a pod template.
pub fn validate_labels(labels: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (key, value) in entries(labels) {
        push_all(syntax::is_qualified_name(key), key, path, errors);
        push_all(syntax::is_label_value(value), value, path, errors);
    }
}

/// A map of annotations, of an object or of a pod template.
pub fn validate_annotations(annotations: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut size_bytes = 0;
    for (key, value) in entries(annotations) {
        push_all(syntax::is_qualified_name(&key.to_lowercase()), key, path, errors);
        size_bytes += key.len() + value.len();
    }
    if size_bytes > ANNOTATIONS_MAX_BYTES {
        errors.push(FieldError::too_long(path, ANNOTATIONS_MAX_BYTES));
    }
}

fn validate_owner_references(references: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut controller: Option<String> = None;
    for reference in elements(references) {
        let api_version = text(reference, "apiVersion");
        // What is no group and version has none.
        if api_version.rsplit('/').next().is_none_or(str::is_empty) || api_version.matches('/').count() > 1 {
            errors.push(FieldError::invalid(&path.child("apiVersion"), api_version, "version must not be empty"));
        }
        for field in ["kind", "name", "uid"] {
            if text(reference, field).is_empty() {
                errors.push(FieldError::invalid(&path.child(field), "", "must not be empty"));
            }
        }
        if api_version == "v1" && reference["kind"] == "Event" {
            let message = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(path, reference.clone(), message));
        }
        if reference["controller"] == true {
            let this = format!("{}/{}", text(reference, "kind"), text(reference, "name"));
            match &controller {
                Some(first) => {
                    let rule = "Only one reference can have Controller set to true.";
                    let message = format!("{rule} Found \"true\" in references for {first} and {this}");
                    errors.push(FieldError::invalid(path, references.clone(), message));
                }
                None => controller = Some(this),
            }
        }
    }
}

fn validate_finalizers(finalizers: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for finalizer in elements(finalizers) {
        let finalizer = finalizer.as_str().unwrap_or_default();
        push_all(syntax::is_qualified_name(finalizer), finalizer, path, errors);
    }
    let has = |name: &str| elements(finalizers).iter().any(|finalizer| finalizer == name);
    if has(ORPHAN) && has(FOREGROUND) {
        let message = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.push(FieldError::invalid(path, finalizers.clone(), message));
    }
}

fn validate_managed_fields(managed_fields: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, entry) in elements(managed_fields).iter().enumerate() {
        let path = &path.index(index);
        let operation = text(entry, "operation");
        if !matches!(operation, "Apply" | "Update") {
            errors.push(FieldError::invalid(&path.child("operation"), operation, "must be `Apply` or `Update`"));
        }
        let fields_type = text(entry, "fieldsType");
        if !matches!(fields_type, "" | "FieldsV1") {
            errors.push(FieldError::invalid(&path.child("fieldsType"), fields_type, "must be `FieldsV1`"));
        }
        validate_field_manager(text(entry, "manager"), &path.child("manager"), errors);
        if text(entry, "subresource").len() > SUBRESOURCE_MAX_LENGTH {
            errors.push(FieldError::too_long(&path.child("subresource"), SUBRESOURCE_MAX_LENGTH));
        }
    }
}

/// The name of a field manager, in an entry or as a query parameter.
pub fn validate_field_manager(manager: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if manager.len() > FIELD_MANAGER_MAX_LENGTH {
        errors.push(FieldError::too_long(path, FIELD_MANAGER_MAX_LENGTH));
    }
    for (position, character) in manager.char_indices().filter(|(_, character)| character.is_control()) {
        let message = format!("invalid character U+{:04X} (at position {position})", u32::from(character));
        errors.push(FieldError::invalid(path, manager, message));
    }
}

/// A `LabelSelector`; absent is well formed.
pub fn validate_label_selector(selector: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    validate_labels(&selector["matchLabels"], &path.child("matchLabels"), errors);
    let expressions = path.child("matchExpressions");
    for (index, requirement) in elements(&selector["matchExpressions"]).iter().enumerate() {
        let path = &expressions.index(index);
        let values = path.child("values");
        let has_values = !is_empty(&requirement["values"]);
        match text(requirement, "operator") {
            "In" | "NotIn" if !has_values => {
                errors.push(FieldError::required(&values, "must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if has_values => {
                let message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&values, message));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            unknown => {
                errors.push(FieldError::invalid(&path.child("operator"), unknown, "not a valid selector operator"));
            }
        }
        let key = text(requirement, "key");
        push_all(syntax::is_qualified_name(key), key, &path.child("key"), errors);
        for (index, value) in elements(&requirement["values"]).iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            push_all(syntax::is_label_value(value), value, &values.index(index), errors);
        }
    }
}

/// A list of `metav1.Condition`.
pub fn validate_conditions(conditions: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut seen: HashSet<&str> = HashSet::new();
    for (index, condition) in elements(conditions).iter().enumerate() {
        let path = &path.index(index);
        let kind = text(condition, "type");
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
        push_all(syntax::is_qualified_name(kind), kind, &path.child("type"), errors);
        let status = text(condition, "status");
        let known = ["False", "True", "Unknown"];
        if !known.contains(&status) {
            errors.push(FieldError::not_supported(&path.child("status"), status, &known));
        }
        for field in ["lastTransitionTime", "reason"] {
            if text(condition, field).is_empty() {
                errors.push(FieldError::required(&path.child(field), ""));
            }
        }
    }
}

#[cfg(test)]
mod tests;
