//! ConfigMaps and Secrets.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;

use super::{
    check::{Node, check, text},
    columns, edit, rules,
};
use crate::{
    field::{FieldError, FieldErrors, Path},
    resource::Column,
    strategy::Strategy,
    syntax,
};

const MAX_BYTES: usize = 1 << 20;
const FROZEN: &str = "field is immutable when `immutable` is set";
const REDACTED: &str = "<secret contents redacted>";

pub const CONFIG_MAP: Strategy = Strategy {
    validate: |object, errors| check(object, errors, validate_config_map),
    validate_update: |new, old, errors| validate_frozen(new, old, &["data", "binaryData"], errors),
    ..Strategy::DEFAULT
};

pub const SECRET: Strategy = Strategy {
    default: default_secret,
    prepare_update: |new, old| {
        if text(new, "type").is_empty() {
            rules::keep(new, old, "type");
        }
    },
    validate: |object, errors| check(object, errors, validate_secret),
    validate_update: |new, old, errors| {
        rules::immutable(new, old, &["type"], errors);
        validate_frozen(new, old, &["data"], errors);
    },
    ..Strategy::DEFAULT
};

/// Of the secrets that an account may mount it is said only how they are called.
pub const SERVICE_ACCOUNT: Strategy = Strategy {
    prepare_create: only_names_of_secrets,
    prepare_update: |new, _| only_names_of_secrets(new),
    ..Strategy::DEFAULT
};

fn only_names_of_secrets(account: &mut Value) {
    for secret in edit::each_mut(account, "secrets") {
        if let Some(reference) = secret.as_object_mut() {
            reference.retain(|field, _| field == "name");
        }
    }
}

fn validate_config_map(root: &Node<'_>) {
    let (data, binary) = (root.get("data"), root.get("binaryData"));
    let mut size_bytes = 0;
    for (key, value) in data.entries() {
        size_bytes += value.text().len();
        check_key(key, &value);
        if !binary.value[key].is_null() {
            value.invalid_value(key, "duplicate of key present in binaryData");
        }
    }
    for (key, value) in binary.entries() {
        size_bytes += decoded_length(value.text());
        check_key(key, &value);
    }
    if size_bytes > MAX_BYTES {
        root.push(FieldError::too_long(&Path::new("[]"), MAX_BYTES));
    }
}

fn check_key(key: &str, value: &Node<'_>) {
    for error in syntax::is_config_map_key(key) {
        value.invalid_value(key, error);
    }
}

fn decoded_length(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}

/// What a map or secret with `immutable: true` may not change.
fn validate_frozen(new: &Value, old: &Value, fields: &[&str], errors: &mut FieldErrors) {
    if old["immutable"] != true {
        return;
    }
    if new["immutable"] != true {
        errors.push(FieldError::forbidden(&Path::new("immutable"), FROZEN));
    }
    for field in fields.iter().filter(|field| !super::check::semantically_equal(&new[**field], &old[**field])) {
        errors.push(FieldError::forbidden(&Path::new(field), FROZEN));
    }
}

/// `stringData` is for writing alone: it goes into `data`.
fn default_secret(object: &mut Value) {
    rules::fill_empty(object, "type", "Opaque");
    let Some(Value::Object(plain)) = object.get("stringData").cloned() else { return };
    edit::remove(object, "stringData");
    let Some(data) = edit::object_at(object, &["data"]) else { return };
    for (key, value) in plain {
        data.insert(key, BASE64.encode(value.as_str().unwrap_or_default()).into());
    }
}

fn validate_secret(root: &Node<'_>) {
    let data = root.get("data");
    let mut size_bytes = 0;
    for (key, value) in data.entries() {
        check_key(key, &value);
        size_bytes += decoded_length(value.text());
    }
    if size_bytes > MAX_BYTES {
        data.too_long(MAX_BYTES);
    }
    let require = |key: &str| {
        if data.value[key].is_null() {
            data.key(key).required("");
        }
    };
    match text(root.value, "type") {
        "kubernetes.io/service-account-token" => {
            let metadata = root.get("metadata");
            metadata.get("annotations").key("kubernetes.io/service-account.name").require();
        }
        "kubernetes.io/dockercfg" => docker_config(&data.key(".dockercfg")),
        "kubernetes.io/dockerconfigjson" => docker_config(&data.key(".dockerconfigjson")),
        "kubernetes.io/basic-auth" if data.value["username"].is_null() && data.value["password"].is_null() => {
            require("username");
            require("password");
        }
        "kubernetes.io/ssh-auth" => {
            data.key("ssh-privatekey").require();
        }
        "kubernetes.io/tls" => {
            require("tls.crt");
            require("tls.key");
        }
        _ => {}
    }
}

fn docker_config(value: &Node<'_>) {
    if !value.is_set() {
        return value.required("");
    }
    let bytes = BASE64.decode(value.text()).unwrap_or_default();
    let message = match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Object(_) | Value::Null) => return,
        Ok(other) => {
            let kind = match other {
                Value::Array(_) => "array",
                Value::String(_) => "string",
                Value::Number(_) => "number",
                _ => "bool",
            };
            format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")
        }
        Err(error) if error.is_eof() => "unexpected end of JSON input".to_owned(),
        Err(error) => error.to_string(),
    };
    value.invalid_value(REDACTED, message);
}

fn count(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}

pub fn config_map_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("Data", "How many entries there are.", |object, _| {
            (count(&object["data"]) + count(&object["binaryData"])).into()
        }),
        columns::age(),
    ]
}

pub fn secret_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("Type", "What the secret is for.", |object, _| text(object, "type").into()),
        columns::text("Data", "How many entries there are.", |object, _| count(&object["data"]).into()),
        columns::age(),
    ]
}
