//! CustomResourceDefinition as a kind: its defaults, its validation and what an update may change.

use std::collections::HashSet;

use api::{
    field::{FieldError, FieldErrors, Path},
    strategy::Strategy,
    syntax,
};
use serde_json::{Value, json};

use super::{properties, status};

/// The strategy of `customresourcedefinitions.apiextensions.k8s.io`.
pub const STRATEGY: Strategy = Strategy {
    default,
    prepare_create,
    prepare_update,
    prepare_delete: status::begin_deletion,
    // Its instances go first in any case, and nothing else is its own.
    dependents: api::strategy::Dependents::None,
    validate_create: |definition, errors| validate(definition, None, errors),
    validate_update: |new, old, errors| {
        // One that goes is not judged again: its finalizers must come off whatever it says.
        if new["spec"] == old["spec"] && !old["metadata"]["deletionTimestamp"].is_null() {
            return;
        }
        validate(new, Some(old), errors);
        update(new, old, errors);
    },
    validate_status: |new, _, errors| {
        names(&new["status"]["acceptedNames"], &Path::new("status").child("acceptedNames"), errors)
    },
    counts_generation: true,
    unconditional_update: false,
    ..Strategy::DEFAULT
};

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const MAX_SELECTABLE_FIELDS: usize = 8;
const APPROVAL: &str = "api-approved.kubernetes.io";

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn default(definition: &mut Value) {
    let names = &definition["spec"]["names"];
    let kind = text(names, "kind").to_owned();
    let (singular, list_kind) = (text(names, "singular").is_empty(), text(names, "listKind").is_empty());
    let Some(spec) = definition["spec"].as_object_mut() else { return };
    if !kind.is_empty()
        && let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut)
    {
        if singular {
            names.insert("singular".to_owned(), kind.to_lowercase().into());
        }
        if list_kind {
            names.insert("listKind".to_owned(), format!("{kind}List").into());
        }
    }
    if spec.get("conversion").is_none_or(Value::is_null) {
        spec.insert("conversion".to_owned(), json!({"strategy": "None"}));
    }
}

fn storage_version(definition: &Value) -> Option<&Value> {
    list(&definition["spec"], "versions")
        .iter()
        .find(|version| version["storage"] == true)
        .map(|version| &version["name"])
}

fn prepare_create(definition: &mut Value) {
    let stored: Vec<Value> = storage_version(definition).cloned().into_iter().collect();
    // What nobody has said yet is said so, as by a Go struct without omitempty.
    definition["status"] =
        json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": stored});
}

/// The version that objects are stored in from now on joins those they were stored in.
fn prepare_update(new: &mut Value, old: &Value) {
    new["status"] = old["status"].clone();
    let Some(version) = storage_version(new).cloned() else { return };
    if list(&new["status"], "storedVersions").contains(&version) {
        return;
    }
    match new["status"]["storedVersions"].as_array_mut() {
        Some(stored) => stored.push(version),
        None => new["status"]["storedVersions"] = json!([version]),
    }
}

/// Whether a schema was there before in the same version: it is not judged again.
fn is_unchanged(version: &Value, old: Option<&Value>) -> bool {
    old.is_some_and(|old| {
        let known = list(&old["spec"], "versions").iter().find(|known| known["name"] == version["name"]);
        known.is_some_and(|known| known["schema"] == version["schema"] && has_status(known) == has_status(version))
    })
}

fn has_status(version: &Value) -> bool {
    !version["subresources"]["status"].is_null()
}

/// What versions may have alike. It is then spoken of once, where definitions had it before they had versions.
#[derive(Clone, Copy)]
struct Part {
    name: &'static str,
    /// Its name beside `versions`.
    shared_name: &'static str,
    validate: fn(&Value, Facts, &Path<'_>, &mut FieldErrors),
}

#[derive(Clone, Copy)]
struct Facts {
    has_status: bool,
    unchanged: bool,
}

const PARTS: [Part; 4] = [
    Part { name: "schema", shared_name: "validation", validate: schema },
    Part { name: "subresources", shared_name: "subresources", validate: subresources },
    Part { name: "additionalPrinterColumns", shared_name: "additionalPrinterColumns", validate: columns },
    Part { name: "selectableFields", shared_name: "selectableFields", validate: selectable_fields },
];

/// `old` on update.
pub fn validate(definition: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let spec = &definition["spec"];
    let path = Path::new("spec");
    let name = text(&definition["metadata"], "name");
    if name != format!("{}.{}", text(&spec["names"], "plural"), text(spec, "group")) {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid(&Path::new("metadata").child("name"), name, detail));
    }
    group(text(spec, "group"), &path.child("group"), errors);
    match text(spec, "scope") {
        "" => errors.push(FieldError::required(&path.child("scope"), "")),
        "Cluster" | "Namespaced" => {}
        other => errors.push(FieldError::not_supported(&path.child("scope"), other, &["Cluster", "Namespaced"])),
    }
    if spec["preserveUnknownFields"] == true {
        errors.push(FieldError::invalid(
            &path.child("preserveUnknownFields"),
            true,
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        ));
    }
    let versions = list(spec, "versions");
    let versions_path = path.child("versions");
    let (shared, own): (Vec<Part>, Vec<Part>) =
        PARTS.iter().partition(|part| versions.iter().all(|version| version[part.name] == versions[0][part.name]));
    for (index, version) in versions.iter().enumerate() {
        let path = versions_path.index(index);
        validate_version(version, &path, errors);
        for part in &own {
            let facts = Facts { has_status: has_status(version), unchanged: is_unchanged(version, old) };
            (part.validate)(version, facts, &path.child(part.name), errors);
        }
    }
    let name_of = |version: &Value| text(version, "name").to_owned();
    let mut unique: Vec<String> = versions.iter().map(name_of).collect();
    unique.sort();
    unique.dedup();
    if unique.len() != versions.len() {
        errors.push(FieldError::invalid(&versions_path, spec["versions"].clone(), "must contain unique version names"));
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(&versions_path, spec["versions"].clone(), detail));
    }
    let names_path = path.child("names");
    for name in ["plural", "singular", "kind", "listKind"] {
        if text(&spec["names"], name).is_empty() {
            errors.push(FieldError::required(&names_path.child(name), ""));
        }
    }
    names(&spec["names"], &names_path, errors);
    if let Some(first) = versions.first() {
        let facts = Facts {
            has_status: versions.iter().any(has_status),
            unchanged: versions.iter().all(|version| is_unchanged(version, old)),
        };
        for part in &shared {
            (part.validate)(first, facts, &path.child(part.shared_name), errors);
        }
    }
    conversion(&spec["conversion"], &path.child("conversion"), errors);
    stored_versions(definition, errors);
    approval(definition, old, errors);
}

fn group(group: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let problems = syntax::is_dns1123_subdomain(group);
    if group.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !problems.is_empty() {
        errors.push(FieldError::invalid(path, group, problems.join(",")));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid(path, group, "should be a domain with at least one dot"));
    }
}

fn validate_version(version: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if !version["schema"]["openAPIV3Schema"].is_object() {
        errors.push(FieldError::required(&path.child("schema").child("openAPIV3Schema"), ""));
    }
    let problems = syntax::is_dns1035_label(text(version, "name"));
    if !problems.is_empty() {
        errors.push(FieldError::invalid(&path.child("name"), text(version, "name"), problems.join(",")));
    }
    if let Some(warning) = version["deprecationWarning"].as_str() {
        let warning_path = path.child("deprecationWarning");
        let wrong = if version["deprecated"] != true {
            Some("can only be set for deprecated versions")
        } else if warning.is_empty() {
            Some("must not be an empty string")
        } else if warning.len() > 256 {
            Some("must be <= 256 characters long")
        } else if warning.chars().any(char::is_control) {
            Some("must only contain printable UTF-8 characters")
        } else {
            None
        };
        if let Some(detail) = wrong {
            errors.push(FieldError::invalid(&warning_path, warning, detail));
        }
    }
}

fn schema(version: &Value, facts: Facts, path: &Path<'_>, errors: &mut FieldErrors) {
    let schema = &version["schema"]["openAPIV3Schema"];
    if schema.is_object() && !facts.unchanged {
        properties::validate(schema, facts.has_status, &path.child("openAPIV3Schema"), errors);
    }
}

fn columns(version: &Value, _: Facts, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
        validate_column(column, &path.index(index), errors);
    }
}

fn subresources(version: &Value, _: Facts, path: &Path<'_>, errors: &mut FieldErrors) {
    let scale = &version["subresources"]["scale"];
    if !scale.is_object() {
        return;
    }
    let path = path.child("scale");
    let paths: [(&str, bool, &[&str], &str); 3] = [
        ("specReplicasPath", true, &[".spec."], "should be a json path under .spec"),
        ("statusReplicasPath", true, &[".status."], "should be a json path under .status"),
        ("labelSelectorPath", false, &[".spec.", ".status."], "should be a json path under either .spec or .status"),
    ];
    for (name, required, under, detail) in paths {
        let (value, place) = (text(scale, name), path.child(name));
        if value.is_empty() {
            if required {
                errors.push(FieldError::required(&place, ""));
            }
        } else if !value.starts_with('.') {
            errors.push(FieldError::invalid(&place, value, "must be a simple json path starting with ."));
        } else if !under.iter().any(|prefix| value.starts_with(prefix)) {
            errors.push(FieldError::invalid(&place, value, detail));
        }
    }
}

fn validate_column(column: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if text(column, "name").is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    let (kind, format, json_path) = (text(column, "type"), text(column, "format"), text(column, "jsonPath"));
    let detail = format!("must be one of {}", COLUMN_TYPES.join(","));
    if kind.is_empty() {
        errors.push(FieldError::required(&path.child("type"), detail));
    } else if !COLUMN_TYPES.contains(&kind) {
        errors.push(FieldError::invalid(&path.child("type"), kind, detail));
    }
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let detail = format!("must be one of {}", COLUMN_FORMATS.join(","));
        errors.push(FieldError::invalid(&path.child("format"), format, detail));
    }
    let place = path.child("jsonPath");
    if json_path.is_empty() {
        errors.push(FieldError::required(&place, ""));
    } else if !json_path.starts_with('.') {
        errors.push(FieldError::invalid(&place, json_path, "must be a simple json path starting with ."));
    } else if let Err(problem) = document::jsonpath::compile(json_path) {
        // A column that could never show anything is refused here rather than left empty.
        errors.push(FieldError::invalid(&place, json_path, problem.to_string()));
    }
}

fn selectable_fields(version: &Value, _: Facts, path: &Path<'_>, errors: &mut FieldErrors) {
    let schema = &version["schema"]["openAPIV3Schema"];
    let mut seen: HashSet<Vec<String>> = HashSet::new();
    for (index, field) in list(version, "selectableFields").iter().enumerate() {
        let item = path.index(index);
        let place = item.child("jsonPath");
        let json_path = text(field, "jsonPath");
        if json_path.is_empty() {
            errors.push(FieldError::required(&place, ""));
            continue;
        }
        let (names, found) = match properties::find_path(schema, json_path, false) {
            Ok(found) => found,
            Err(problem) => {
                errors.push(FieldError::invalid(&place, json_path, format!("is an invalid path: {problem}")));
                continue;
            }
        };
        if names.first().is_some_and(|root| root == "metadata") {
            errors.push(FieldError::invalid(&place, json_path, "must not point to fields in metadata"));
        }
        if !matches!(text(found, "type"), "string" | "boolean" | "integer") {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(&place, json_path, detail));
        }
        if !seen.insert(names) {
            errors.push(FieldError::duplicate(&place, json_path));
        }
    }
    if seen.len() > MAX_SELECTABLE_FIELDS {
        errors.push(FieldError::too_many(path, seen.len(), MAX_SELECTABLE_FIELDS));
    }
}

fn names(names: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let prefix = "may have mixed case, but should otherwise match: ";
    for (field, prefix) in [("plural", ""), ("singular", ""), ("kind", prefix), ("listKind", prefix)] {
        let name = text(names, field);
        let lower = if prefix.is_empty() { name.to_owned() } else { name.to_lowercase() };
        let problems = syntax::is_dns1035_label(&lower);
        if !name.is_empty() && !problems.is_empty() {
            errors.push(FieldError::invalid(&path.child(field), name, format!("{prefix}{}", problems.join(","))));
        }
    }
    for field in ["shortNames", "categories"] {
        let list_path = path.child(field);
        for (index, name) in list(names, field).iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            let problems = syntax::is_dns1035_label(name);
            if !problems.is_empty() {
                errors.push(FieldError::invalid(&list_path.index(index), name, problems.join(",")));
            }
        }
    }
    let kind = text(names, "kind");
    if !kind.is_empty() && kind == text(names, "listKind") {
        errors.push(FieldError::invalid(&path.child("listKind"), kind, "kind and listKind may not be the same"));
    }
}

fn conversion(conversion: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let strategy_path = path.child("strategy");
    match text(conversion, "strategy") {
        "" => errors.push(FieldError::required(&strategy_path, "")),
        "None" if !conversion["webhook"].is_null() => {
            let detail = "should not be set when strategy is not set to Webhook";
            errors.push(FieldError::forbidden(&path.child("webhook"), detail));
        }
        "None" => {}
        // A definition whose versions could not be converted would serve wrong objects.
        "Webhook" => errors.push(FieldError::invalid(
            &strategy_path,
            "Webhook",
            "conversion webhooks are not supported by this server, use None",
        )),
        other => errors.push(FieldError::not_supported(&strategy_path, other, &["None", "Webhook"])),
    }
}

fn stored_versions(definition: &Value, errors: &mut FieldErrors) {
    let status = Path::new("status");
    let path = status.child("storedVersions");
    let stored = list(&definition["status"], "storedVersions");
    let shown = || definition["status"]["storedVersions"].clone();
    if stored.is_empty() {
        errors.push(FieldError::invalid(&path, shown(), "must have at least one stored version"));
        return;
    }
    if let Some(version) = storage_version(definition).filter(|version| !stored.contains(version)) {
        let detail = format!("must have the storage version {}", version.as_str().unwrap_or_default());
        errors.push(FieldError::invalid(&path, shown(), detail));
    }
    let versions = list(&definition["spec"], "versions");
    for (index, name) in stored.iter().enumerate() {
        if versions.iter().all(|version| version["name"] != *name) {
            let name = name.as_str().unwrap_or_default();
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.push(FieldError::invalid(&path.index(index), name, detail));
        }
    }
}

/// Groups of Kubernetes itself need an approval, unless the definition had none before.
fn approval(definition: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let group = text(&definition["spec"], "group");
    let is_protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group == *domain || group.strip_suffix(domain).is_some_and(|prefix| prefix.ends_with('.')));
    let annotation = |definition: &Value| text(&definition["metadata"]["annotations"], APPROVAL).to_owned();
    if !is_protected || old.is_some_and(|old| annotation(old) == annotation(definition)) {
        return;
    }
    let annotation = annotation(definition);
    let (metadata, link) = (Path::new("metadata"), "see https://github.com/kubernetes/enhancements/pull/1111");
    let annotations = metadata.child("annotations");
    let path = annotations.key(APPROVAL);
    if annotation.is_empty() {
        let detail = format!("protected groups must have approval annotation {APPROVAL:?}, {link}");
        errors.push(FieldError::required(&path, detail));
    } else if !annotation.starts_with("unapproved")
        && !annotation.starts_with("https://")
        && !annotation.starts_with("http://")
    {
        let detail = format!(
            "protected groups must have approval annotation {APPROVAL:?} with either a URL or a reason starting with \"unapproved\", {link}"
        );
        errors.push(FieldError::invalid(&path, annotation, detail));
    }
}

fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let established = status::is_true(old, "Established");
    let fields: [(&[&str], bool); 4] = [
        (&["scope"], established),
        (&["names", "kind"], established),
        (&["group"], true),
        (&["names", "plural"], true),
    ];
    for (names, immutable) in fields {
        let find =
            |definition: &Value| names.iter().fold(definition["spec"].clone(), |value, name| value[*name].clone());
        let (now, before) = (find(new), find(old));
        if immutable && now != before {
            let spec = Path::new("spec");
            let outer = spec.child(names[0]);
            let path = names.get(1).map_or(outer, |name| outer.child(name));
            errors.push(FieldError::invalid(&path, now, "field is immutable"));
        }
    }
}
