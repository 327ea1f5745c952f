//! The kinds of storage.k8s.io: classes, CSI drivers and what they report, attachments.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{
    check::{Node, check, elements, semantically_equal, text, texts},
    columns, edit, resources, rules,
    volume::{Context, volume_spec},
};
use crate::{
    field::{FieldError, FieldErrors, Path},
    resource::{Cell, Column},
    strategy::Strategy,
    syntax,
};

const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETERS_BYTES: usize = 256 << 10;
const MAX_ERROR_BYTES: usize = 1024;
const MAX_NODE_ID_LENGTH: usize = 256;

fn provisioner(name: &Node<'_>) {
    if name.require() {
        let lower = name.text().to_lowercase();
        for error in syntax::is_qualified_name(&lower) {
            name.invalid_value(lower.as_str(), error);
        }
    }
}

fn map_bytes(map: &Node<'_>) -> usize {
    map.entries().map(|(key, value)| key.len() + value.text().len()).sum()
}

fn parameters(map: &Node<'_>) {
    if map.len() > MAX_PARAMETERS {
        return map.too_long(MAX_PARAMETERS);
    }
    if !map.value[""].is_null() {
        map.invalid_value("", "field can not be empty.");
    }
    if map_bytes(map) > MAX_PARAMETERS_BYTES {
        map.too_long(MAX_PARAMETERS_BYTES);
    }
}

pub const CLASS: Strategy = Strategy {
    default: |object| {
        edit::fill(object, "reclaimPolicy", "Delete");
        edit::fill(object, "volumeBindingMode", "Immediate");
    },
    validate: |object, errors| check(object, errors, validate_class),
    validate_update: |new, old, errors| {
        rules::immutable(new, old, &["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"], errors);
    },
    ..Strategy::DEFAULT
};

fn validate_class(root: &Node<'_>) {
    provisioner(&root.get("provisioner"));
    parameters(&root.get("parameters"));
    let policy = root.get("reclaimPolicy");
    if !policy.is_empty() {
        policy.optional_word(&["Delete", "Retain"]);
    }
    root.get("volumeBindingMode").optional_word(&["Immediate", "WaitForFirstConsumer"]);
    let topologies = root.get("allowedTopologies");
    let mut seen = HashSet::new();
    for (index, term) in elements(topologies.value).iter().enumerate() {
        let node = topologies.index(index);
        let expressions = node.get("matchLabelExpressions");
        for expression in expressions.items() {
            expression.get("values").require();
            expression.get("key").syntax(syntax::is_qualified_name);
            rules::distinct(&expression.get("values"));
        }
        rules::unique(&expressions, "key");
        if !seen.insert(term) {
            expressions.push(FieldError::duplicate(expressions.path(), ""));
        }
    }
}

pub fn class_columns() -> Vec<Column> {
    vec![
        Column {
            cell: Cell::Render(|object, _| {
                rules::name_or_default(object, "storageclass.kubernetes.io/is-default-class")
            }),
            ..columns::name()
        },
        columns::text("Provisioner", "Who makes its volumes.", |class, _| text(class, "provisioner").into()),
        columns::text("ReclaimPolicy", "What becomes of released volumes.", |class, _| {
            class["reclaimPolicy"].as_str().unwrap_or("Delete").into()
        }),
        columns::text("VolumeBindingMode", "When volumes are bound.", |class, _| {
            class["volumeBindingMode"].as_str().unwrap_or("Immediate").into()
        }),
        columns::text("AllowVolumeExpansion", "Whether volumes may grow.", |class, _| {
            (class["allowVolumeExpansion"] == true).into()
        }),
        columns::age(),
    ]
}

pub const ATTRIBUTES_CLASS: Strategy = Strategy {
    validate: |object, errors| {
        check(object, errors, |root| {
            provisioner(&root.get("driverName"));
            parameters(&root.get("parameters"));
            root.get("parameters").require_saying("must contain at least one key/value pair");
        });
    },
    validate_update: |new, old, errors| {
        for field in ["driverName", "parameters"] {
            if !semantically_equal(&new[field], &old[field]) {
                errors.push(FieldError::forbidden(&Path::new(field), format!("updates to {field} are forbidden.")));
            }
        }
    },
    ..Strategy::DEFAULT
};

pub fn attributes_class_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("DriverName", "The driver whose volumes it is for.", |class, _| text(class, "driverName").into()),
        columns::age(),
    ]
}

pub const ATTACHMENT: Strategy = Strategy {
    prepare_create: |object| edit::set(object, "status", json!({"attached": false})),
    prepare_update: rules::keep_status,
    validate: |object, errors| check(object, errors, validate_attachment),
    validate_update: |new, old, errors| rules::immutable(new, old, &["spec"], errors),
    validate_status: |new, _, errors| check(new, errors, attachment_status),
    unconditional_update: false,
    ..Strategy::DEFAULT
};

fn validate_attachment(root: &Node<'_>) {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let spec = root.get("spec");
    rules::csi_driver_name(&spec.get("attacher"));
    let source = spec.get("source");
    let (inline, name) = (source.get("inlineVolumeSpec"), source.get("persistentVolumeName"));
    match (inline.is_set(), name.is_set()) {
        (false, false) => source.required(ONE),
        (true, true) => source.forbidden(ONE),
        (false, true) => {
            name.require_saying("must specify non empty persistentVolumeName");
        }
        (true, false) => volume_spec(&inline, Context::Inline),
    }
    spec.get("nodeName").syntax(syntax::is_dns1123_subdomain);
    if name.is_set() {
        name.syntax(syntax::is_dns1123_subdomain);
    }
    attachment_status(root);
}

fn attachment_status(root: &Node<'_>) {
    let status = root.get("status");
    if map_bytes(&status.get("attachmentMetadata")) > MAX_PARAMETERS_BYTES {
        status.get("attachmentMetadata").too_long(MAX_PARAMETERS_BYTES);
    }
    for error in ["attachError", "detachError"] {
        let error = status.get(error);
        if error.get("message").text().len() > MAX_ERROR_BYTES {
            error.get("message").too_long(MAX_PARAMETERS_BYTES);
        }
    }
}

pub fn attachment_columns() -> Vec<Column> {
    let attacher = columns::text("Attacher", "Who attaches.", |object, _| text(&object["spec"], "attacher").into());
    vec![
        columns::name(),
        Column { format: "name".into(), ..attacher },
        columns::text("PV", "The volume.", |object, _| text(&object["spec"]["source"], "persistentVolumeName").into()),
        columns::text("Node", "The node.", |object, _| text(&object["spec"], "nodeName").into()),
        columns::boolean("Attached", "Whether it is attached.", |object, _| {
            (object["status"]["attached"] == true).into()
        }),
        columns::age(),
    ]
}

pub const CSI_DRIVER: Strategy = Strategy {
    default: default_driver,
    warnings: driver_warnings,
    validate: |object, errors| check(object, errors, validate_driver),
    validate_update: |new, old, errors| {
        check(new, errors, |root| {
            let spec = root.get("spec");
            spec.get("attachedRequired")
                .showing(&new["spec"]["attachRequired"])
                .immutable(&old["spec"]["attachRequired"]);
            spec.get("volumeLifecycleModes").immutable(&old["spec"]["volumeLifecycleModes"]);
        });
    },
    counts_generation: true,
    unconditional_update: false,
    ..Strategy::DEFAULT
};

fn default_driver(object: &mut Value) {
    let Some(spec) = edit::at_mut(object, &["spec"]) else { return };
    edit::fill(spec, "attachRequired", true);
    for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
        edit::fill(spec, field, false);
    }
    edit::fill(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    rules::fill_empty(spec, "volumeLifecycleModes", vec!["Persistent"]);
}

fn validate_driver(root: &Node<'_>) {
    let spec = root.get("spec");
    for (field, shown) in [
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
        ("seLinuxMount", "seLinuxMount"),
    ] {
        if !spec.get(field).is_set() {
            spec.get(shown).required("");
        }
    }
    spec.get("fsGroupPolicy").optional_word(&["File", "None", "ReadWriteOnceWithFSType"]);
    let tokens = spec.get("tokenRequests");
    for token in tokens.items() {
        let expiration = token.get("expirationSeconds");
        match expiration.value.as_i64() {
            Some(..600) => expiration.invalid("may not specify a duration less than 10 minutes"),
            Some(4_294_967_297..) => expiration.invalid("may not specify a duration larger than 2^32 seconds"),
            _ => {}
        }
    }
    rules::unique(&tokens, "audience");
    let modes = spec.get("volumeLifecycleModes");
    for mode in elements(modes.value) {
        if mode != "Persistent" && mode != "Ephemeral" {
            modes.showing(mode).not_supported(&["Persistent", "Ephemeral"]);
        }
    }
    let period = spec.get("nodeAllocatableUpdatePeriodSeconds");
    if period.is_set() && period.integer() < 10 {
        period.invalid("must be greater than or equal to 10 seconds");
    }
    let in_secrets = spec.get("serviceAccountTokenInSecrets");
    if in_secrets.is_set() && tokens.is_empty() {
        in_secrets.invalid("serviceAccountTokenInSecrets is set but no tokenRequests are specified");
    }
}

fn driver_warnings(driver: &Value) -> Vec<String> {
    const LOGGED: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to \
                          prevent possible logging of tokens in volume attributes";
    let spec = &driver["spec"];
    let is_told = !elements(&spec["tokenRequests"]).is_empty() && spec["serviceAccountTokenInSecrets"].is_null();
    is_told.then(|| LOGGED.to_owned()).into_iter().collect()
}

pub fn csi_driver_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::boolean("AttachRequired", "Whether volumes are attached first.", |object, _| {
            (object["spec"]["attachRequired"] != false).into()
        }),
        columns::boolean("PodInfoOnMount", "Whether it is told about the pod.", |object, _| {
            (object["spec"]["podInfoOnMount"] == true).into()
        }),
        columns::boolean("StorageCapacity", "Whether it reports capacity.", |object, _| {
            (object["spec"]["storageCapacity"] == true).into()
        }),
        columns::text("TokenRequests", "The audiences of the tokens it gets.", |object, _| {
            let tokens = &object["spec"]["tokenRequests"];
            let audiences: Vec<&str> = elements(tokens).iter().map(|token| text(token, "audience")).collect();
            if tokens.is_null() { "<unset>".into() } else { audiences.join(",").into() }
        }),
        columns::boolean("RequiresRepublish", "Whether it is called again and again.", |object, _| {
            (object["spec"]["requiresRepublish"] == true).into()
        }),
        columns::text("Modes", "The lifecycles of its volumes.", |object, _| {
            let modes: Vec<&str> = texts(&object["spec"]["volumeLifecycleModes"]).collect();
            if modes.is_empty() { columns::NONE.into() } else { modes.join(",").into() }
        }),
        columns::age(),
    ]
}

pub const CSI_NODE: Strategy = Strategy {
    validate: |object, errors| check(object, errors, validate_csi_node),
    validate_update: validate_csi_node_update,
    unconditional_update: false,
    ..Strategy::DEFAULT
};

fn validate_csi_node(root: &Node<'_>) {
    let spec = root.get("spec");
    let drivers = spec.get("drivers");
    for driver in drivers.items() {
        rules::csi_driver_name(&driver.get("name"));
        let id = driver.get("nodeID");
        if id.require() && id.text().len() > MAX_NODE_ID_LENGTH {
            id.invalid(format!("must be {MAX_NODE_ID_LENGTH} characters or less"));
        }
        let allocatable = driver.get("allocatable");
        allocatable.get("count").non_negative();
        let mut seen: HashSet<&str> = HashSet::new();
        for key in texts(&driver.value["topologyKeys"]) {
            if key.is_empty() {
                driver.required("");
            }
            if !seen.insert(key) {
                driver.push(FieldError::duplicate(driver.path(), key));
            }
            for error in syntax::is_qualified_name(key) {
                driver.invalid_value(key, error);
            }
        }
    }
    rules::unique(&drivers, "name");
}

fn validate_csi_node_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let without_allocatable = |driver: &Value| {
        let mut driver = driver.clone();
        edit::remove(&mut driver, "allocatable");
        driver
    };
    for old in elements(&old["spec"]["drivers"]) {
        for new in elements(&new["spec"]["drivers"]).iter().filter(|new| new["name"] == old["name"]) {
            if !semantically_equal(&without_allocatable(new), &without_allocatable(old)) {
                errors.push(FieldError::invalid(&Path::new("spec.drivers"), new.clone(), super::check::IMMUTABLE));
            }
        }
    }
}

pub fn csi_node_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::integer("Drivers", "How many drivers the node has.", |object, _| {
            elements(&object["spec"]["drivers"]).len().into()
        }),
        columns::age(),
    ]
}

pub const CAPACITY: Strategy = Strategy {
    validate: |object, errors| {
        check(object, errors, |root| {
            rules::label_selector(&root.get("nodeTopology"));
            root.get("storageClassName").syntax(syntax::is_dns1123_subdomain);
            let capacity = root.get("capacity");
            if resources::sign(capacity.value).is_lt() {
                capacity.invalid(super::check::NOT_NEGATIVE);
            }
        });
    },
    validate_update: |new, old, errors| rules::immutable(new, old, &["nodeTopology", "storageClassName"], errors),
    unconditional_update: false,
    ..Strategy::DEFAULT
};

/// Kubernetes prints nothing of its own here.
pub fn capacity_columns() -> Vec<Column> {
    vec![columns::name(), columns::created_at()]
}
