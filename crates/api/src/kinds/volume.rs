//! PersistentVolumes and PersistentVolumeClaims.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::{
    check::{Node, check, elements, is_empty, semantically_equal, text, texts},
    columns, edit, resources, rules,
};
use crate::{field::FieldErrors, resource::Column, strategy::Strategy, syntax};

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

fn access_modes(modes: &Node<'_>) {
    for mode in elements(modes.value) {
        modes.showing(mode).optional_word(ACCESS_MODES);
    }
    let known = texts(modes.value).filter(|mode| ACCESS_MODES.contains(mode));
    let (exclusive, shared): (Vec<&str>, Vec<&str>) = known.partition(|mode| *mode == "ReadWriteOncePod");
    if !exclusive.is_empty() && !shared.is_empty() {
        modes.forbidden("may not use ReadWriteOncePod with other access modes");
    }
}

pub const VOLUME: Strategy = Strategy {
    default: |object| {
        if let Some(status) = edit::object_at(object, &["status"]) {
            status.entry("phase").or_insert_with(|| "Pending".into());
        }
    },
    prepare_create: |object| {
        let status = json!({"phase": "Pending", "lastPhaseTransitionTime": object["metadata"]["creationTimestamp"]});
        edit::set(object, "status", status);
    },
    prepare_update: rules::keep_status,
    validate: |object, errors| check(object, errors, |root| volume_spec(&root.get("spec"), Context::Volume)),
    validate_update: validate_volume_update,
    ..Strategy::DEFAULT
};

/// Where the spec of a volume stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Context {
    Volume,
    /// Inside a VolumeAttachment.
    Inline,
}

type Rule = fn(&Node<'_>);

/// Every kind of volume, with what it cannot do without.
const SOURCES: [(&str, Rule); 22] = [
    ("hostPath", |source| {
        let path = source.get("path");
        if path.require() {
            no_backsteps(&path);
        }
        const TYPES: &[&str] =
            &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
        source.get("type").optional_word(TYPES);
    }),
    ("gcePersistentDisk", |source| require(source, &["pdName"])),
    ("awsElasticBlockStore", |source| require(source, &["volumeID"])),
    ("glusterfs", |source| require(source, &["endpoints", "path"])),
    ("flocker", |_| {}),
    ("nfs", |source| {
        require(source, &["server", "path"]);
        if !source.get("path").is_empty() && !source.get("path").text().starts_with('/') {
            source.get("path").invalid("must be an absolute path");
        }
    }),
    ("rbd", |source| require(source, &["monitors", "image"])),
    ("quobyte", |source| require(source, &["registry", "volume"])),
    ("cephfs", |source| require(source, &["monitors"])),
    ("iscsi", |source| require(source, &["targetPortal", "iqn"])),
    ("cinder", |source| require(source, &["volumeID"])),
    ("fc", |_| {}),
    ("flexVolume", |source| require(source, &["driver"])),
    ("azureFile", |source| require(source, &["secretName", "shareName"])),
    ("vsphereVolume", |source| require(source, &["volumePath"])),
    ("photonPersistentDisk", |source| require(source, &["pdID"])),
    ("portworxVolume", |source| require(source, &["volumeID"])),
    ("azureDisk", |source| require(source, &["diskName", "diskURI"])),
    ("scaleIO", |source| require(source, &["gateway", "system", "volumeName"])),
    ("local", |source| {
        if source.get("path").require() {
            no_backsteps(&source.get("path"));
        }
    }),
    ("storageos", |_| {}),
    ("csi", csi),
];

fn require(source: &Node<'_>, fields: &[&str]) {
    for field in fields {
        source.get(field).require();
    }
}

fn no_backsteps(path: &Node<'_>) {
    if path.text().split('/').any(|part| part == "..") {
        path.invalid("must not contain '..'");
    }
}

fn csi(source: &Node<'_>) {
    rules::csi_driver_name(&source.get("driver"));
    source.get("volumeHandle").require();
    for field in
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"]
    {
        let secret = source.get(field);
        if secret.is_set() {
            secret.get("name").required_syntax(syntax::is_dns1123_subdomain);
            secret.get("namespace").required_syntax(syntax::is_dns1123_label);
        }
    }
}

/// The spec of a volume, also of one that a VolumeAttachment brings along.
pub fn volume_spec(spec: &Node<'_>, context: Context) {
    let (capacity, csi) = (spec.get("capacity"), spec.get("csi"));
    const NOT_INLINE: &str = "may not be specified in the context of inline volumes";
    if context == Context::Inline {
        for field in ["claimRef", "capacity", "storageClassName"] {
            if !spec.get(field).is_empty() {
                spec.get(field).forbidden(NOT_INLINE);
            }
        }
        if !csi.is_set() {
            csi.required("has to be specified in the context of inline volumes");
        }
    }
    spec.get("accessModes").require();
    access_modes(&spec.get("accessModes"));
    if context == Context::Volume {
        capacity.require();
        if capacity.value["storage"].is_null() || capacity.len() > 1 {
            let value = if capacity.is_set() { capacity.value.clone() } else { json!({}) };
            let path = capacity.path();
            capacity.push(crate::field::FieldError::not_supported(path, value, &["storage"]));
        }
        spec.get("storageClassName").optional_syntax(syntax::is_dns1123_subdomain);
        spec.get("volumeMode").optional_word(VOLUME_MODES);
    }
    for (name, amount) in capacity.entries() {
        if resources::sign(amount.value) != Ordering::Greater {
            amount.invalid("must be greater than zero");
        }
        resources::resource_quantity(name, &amount);
    }
    spec.get("persistentVolumeReclaimPolicy").optional_word(&["Delete", "Recycle", "Retain"]);
    source(spec);
    let class = spec.get("volumeAttributesClassName");
    if class.is_set() {
        if class.require_saying("an empty string is disallowed") {
            class.syntax(syntax::is_dns1123_subdomain);
        }
        if !csi.is_set() {
            csi.required("has to be specified when using volumeAttributesClassName");
        }
    }
}

fn source(spec: &Node<'_>) {
    let affinity = spec.get("nodeAffinity");
    if affinity.is_set() {
        if affinity.get("required").is_set() {
            node_selector(&affinity.get("required"));
        } else {
            affinity.get("required").required("must specify required node constraints");
        }
    }
    let mut count = 0;
    for (field, rule) in SOURCES {
        let source = spec.get(field);
        if !source.is_set() {
            continue;
        }
        count += 1;
        if count > 1 {
            source.forbidden("may not specify more than 1 volume type");
            continue;
        }
        rule(&source);
        if field == "local" && !affinity.is_set() {
            affinity.required("Local volume requires node affinity");
        }
    }
    if count == 0 {
        spec.required("must specify a volume type");
    }
    let path = text(&spec.value["hostPath"], "path");
    let is_root = !path.is_empty() && path.split('/').all(|part| matches!(part, "" | "."));
    let policy = spec.get("persistentVolumeReclaimPolicy");
    if is_root && policy.text() == "Recycle" {
        policy.forbidden("may not be 'recycle' for a hostPath mount of '/'");
    }
}

/// A `NodeSelector`.
pub fn node_selector(selector: &Node<'_>) {
    let terms = selector.get("nodeSelectorTerms");
    terms.require_saying("must have at least one node selector term");
    for term in terms.items() {
        for list in ["matchExpressions", "matchFields"] {
            for requirement in term.get(list).items() {
                node_requirement(&requirement);
            }
        }
    }
}

fn node_requirement(requirement: &Node<'_>) {
    let (operator, values) = (requirement.get("operator"), requirement.get("values"));
    match operator.text() {
        "In" | "NotIn" if values.is_empty() => {
            values.required("must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            values.required("must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => operator.invalid_value(other, "not a valid selector operator"),
    }
    requirement.get("key").syntax(syntax::is_qualified_name);
    for value in values.items() {
        value.syntax(syntax::is_label_value);
    }
}

fn validate_volume_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    check(new, errors, |root| {
        let (new_spec, old_spec) = (&new["spec"], &old["spec"]);
        let is_changed = |field: &str| {
            let (mut new, old) = (new_spec[field].clone(), &old_spec[field]);
            if field == "csi" && old["controllerExpandSecretRef"].is_null() && new.is_object() {
                edit::remove(&mut new, "controllerExpandSecretRef");
            }
            !semantically_equal(&new, old)
        };
        let spec = root.get("spec");
        if SOURCES.iter().any(|(field, _)| is_changed(field)) {
            let message = "spec.persistentvolumesource is immutable after creation";
            spec.get("persistentvolumesource").forbidden(message);
        }
        root.get("volumeMode").showing(&new_spec["volumeMode"]).immutable(&old_spec["volumeMode"]);
        let affinity = &old_spec["nodeAffinity"];
        if !affinity.is_null() {
            root.get("nodeAffinity").showing(&new_spec["nodeAffinity"]).immutable(affinity);
        }
        let class = spec.get("volumeAttributesClassName");
        if !old_spec["volumeAttributesClassName"].is_null() && !class.is_set() {
            class.forbidden("update from non-nil value to nil is forbidden");
        }
    });
}

pub const CLAIM: Strategy = Strategy {
    default: |object| {
        if let Some(status) = edit::object_at(object, &["status"]) {
            status.entry("phase").or_insert_with(|| "Pending".into());
        }
        if let Some(spec) = edit::at_mut(object, &["spec"]) {
            edit::fill(spec, "volumeMode", "Filesystem");
            join_data_sources(spec);
        }
    },
    prepare_create: |object| edit::set(object, "status", json!({"phase": "Pending"})),
    prepare_update: rules::keep_status,
    validate: |object, errors| check(object, errors, |root| claim_spec(&root.get("spec"))),
    validate_update: validate_claim_update,
    validate_status: validate_claim_status,
    ..Strategy::DEFAULT
};

/// `dataSource` and `dataSourceRef` say the same.
fn join_data_sources(spec: &mut Value) {
    // Data from other namespaces is a feature that is off.
    if !is_empty(&spec["dataSourceRef"]["namespace"]) {
        return edit::remove(spec, "dataSourceRef");
    }
    // What `dataSource` alone may not name was always passed over (KEP-1495).
    if spec["dataSourceRef"].is_null() && !is_old_source(&spec["dataSource"]) {
        edit::remove(spec, "dataSource");
    }
    let (source, reference) = (spec["dataSource"].clone(), spec["dataSourceRef"].clone());
    match (source.is_null(), reference.is_null()) {
        (false, true) => edit::set(spec, "dataSourceRef", source),
        (true, false) => edit::set(spec, "dataSource", reference),
        _ => {}
    }
}

fn is_old_source(source: &Value) -> bool {
    matches!(
        (text(source, "apiGroup"), text(source, "kind")),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}

/// The spec of a claim, also of a claim template.
pub fn claim_spec(spec: &Node<'_>) {
    spec.get("accessModes").require_saying("at least 1 access mode is required");
    rules::label_selector(&spec.get("selector"));
    access_modes(&spec.get("accessModes"));
    let (resources, requested) = (spec.get("resources"), &spec.value["resources"]["requests"]["storage"]);
    let storage = resources.key("storage");
    let storage = storage.showing(requested);
    if !storage.is_set() {
        storage.required("");
    } else if resources::sign(requested) != Ordering::Greater {
        storage.invalid("must be greater than zero");
    } else {
        resources::resource_quantity("storage", &storage);
    }
    spec.get("storageClassName").optional_syntax(syntax::is_dns1123_subdomain);
    spec.get("volumeMode").optional_word(VOLUME_MODES);
    let (source, reference) = (spec.get("dataSource"), spec.get("dataSourceRef"));
    for data in [&source, &reference].into_iter().filter(|data| data.is_set()) {
        data.get("name").require();
        data.get("kind").require();
        let (group, kind) = (data.get("apiGroup"), data.get("kind"));
        if group.is_empty() && kind.text() != "PersistentVolumeClaim" {
            data.invalid_value(kind.text(), "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
        }
        group.optional_syntax(syntax::is_dns1123_subdomain);
    }
    reference.get("namespace").optional_syntax(syntax::is_dns1123_label);
    if source.is_set() && reference.is_set() {
        let differs = ["apiGroup", "kind", "name"].iter().any(|field| source.value[field] != reference.value[field]);
        if !reference.get("namespace").is_empty() {
            spec.invalid_value("spec.dataSource", "may not be specified when dataSourceRef.namespace is specified");
        } else if differs {
            spec.invalid_value("spec.dataSource", "must match dataSourceRef");
        }
    }
    spec.get("volumeAttributesClassName").optional_syntax(syntax::is_dns1123_subdomain);
}

fn validate_claim_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let mut comparable = new["spec"].clone();
    let is_bound = new["status"]["phase"] == "Bound";
    let take_old = |spec: &mut Value, field: &str| match &old["spec"][field] {
        Value::Null => edit::remove(spec, field),
        value => edit::set(spec, field, value.clone()),
    };
    if is_empty(&old["spec"]["volumeName"]) {
        take_old(&mut comparable, "volumeName");
    }
    let annotation = &old["metadata"]["annotations"][CLASS_ANNOTATION];
    let class = &new["spec"]["storageClassName"];
    if old["spec"]["storageClassName"].is_null() && !class.is_null() && (annotation.is_null() || annotation == class) {
        take_old(&mut comparable, "storageClassName");
    }
    let old_size = &old["spec"]["resources"]["requests"]["storage"];
    if is_bound {
        take_old(&mut comparable, "volumeAttributesClassName");
        if let Some(requests) = edit::at_mut(&mut comparable, &["resources", "requests"]) {
            edit::set(requests, "storage", old_size.clone());
        }
    }
    check(new, errors, |root| {
        let spec = root.get("spec");
        if !semantically_equal(&comparable, &old["spec"]) {
            let message = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            spec.forbidden(message);
        }
        let resources = spec.get("resources");
        let requests = resources.get("requests");
        let size = requests.get("storage");
        let (new_size, capacity) = (resources::quantity(size.value), &old["status"]["capacity"]["storage"]);
        if new_size < resources::quantity(old_size) && new_size <= resources::quantity(capacity) {
            size.forbidden("field can not be less than status.capacity");
        }
        root.get("volumeMode").showing(&new["spec"]["volumeMode"]).immutable(&old["spec"]["volumeMode"]);
        let class = spec.get("volumeAttributesClassName");
        if !old["status"]["currentVolumeAttributesClassName"].is_null() && class.is_empty() {
            let what = if class.is_set() { "empty string" } else { "nil" };
            let message =
                format!("update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil");
            class.forbidden(message);
        }
    });
}

fn validate_claim_status(new: &Value, _old: &Value, errors: &mut FieldErrors) {
    check(new, errors, |root| {
        let status = root.get("status");
        for list in ["capacity", "allocatedResources"] {
            for (_, amount) in status.get(list).entries() {
                if resources::sign(amount.value) == Ordering::Less {
                    amount.invalid("must be a valid resource quantity");
                }
            }
        }
    });
}

fn shown_modes(modes: &Value) -> String {
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |mode: &str| texts(modes).any(|known| known == mode);
    let shown: Vec<&str> = short.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect();
    shown.join(",")
}

fn phase(object: &Value) -> &str {
    if object["metadata"]["deletionTimestamp"].is_null() { text(&object["status"], "phase") } else { "Terminating" }
}

fn class(object: &Value) -> &str {
    let annotation = &object["metadata"]["annotations"][CLASS_ANNOTATION];
    annotation.as_str().unwrap_or_else(|| text(&object["spec"], "storageClassName"))
}

fn or_unset(value: &Value) -> Value {
    value.as_str().unwrap_or("<unset>").into()
}

fn amount(value: &Value) -> Value {
    if value.is_null() { "0".into() } else { value.clone() }
}

fn class_columns() -> [Column; 2] {
    [
        columns::text("StorageClass", "The class of storage.", |object, _| class(object).into()),
        columns::text("VolumeAttributesClass", "The class of the volume's attributes.", |object, _| {
            or_unset(&object["spec"]["volumeAttributesClassName"])
        }),
    ]
}

fn mode_column() -> Column {
    columns::wide(columns::text("VolumeMode", "A file system or a raw device.", |object, _| {
        or_unset(&object["spec"]["volumeMode"])
    }))
}

pub fn volume_columns() -> Vec<Column> {
    let mut list = vec![
        columns::name(),
        columns::text("Capacity", "How much it holds.", |object, _| amount(&object["spec"]["capacity"]["storage"])),
        columns::text("Access Modes", "Who may mount it at once.", |object, _| {
            shown_modes(&object["spec"]["accessModes"]).into()
        }),
        columns::text("Reclaim Policy", "What becomes of it when released.", |object, _| {
            text(&object["spec"], "persistentVolumeReclaimPolicy").into()
        }),
        columns::text("Status", "Whether it is bound.", |object, _| phase(object).into()),
        columns::text("Claim", "The claim it is bound to.", |object, _| match &object["spec"]["claimRef"] {
            Value::Null => "".into(),
            claim => format!("{}/{}", text(claim, "namespace"), text(claim, "name")).into(),
        }),
    ];
    list.extend(class_columns());
    list.push(columns::text("Reason", "Why it is in this state.", |object, _| {
        text(&object["status"], "reason").into()
    }));
    list.push(columns::age());
    list.push(mode_column());
    list
}

pub fn claim_columns() -> Vec<Column> {
    fn is_bound(object: &Value) -> bool {
        !text(&object["spec"], "volumeName").is_empty()
    }
    let mut list = vec![
        columns::name(),
        columns::text("Status", "Whether it is bound.", |object, _| phase(object).into()),
        columns::text("Volume", "The volume it is bound to.", |object, _| text(&object["spec"], "volumeName").into()),
        columns::text("Capacity", "How much the volume holds.", |object, _| {
            if is_bound(object) { amount(&object["status"]["capacity"]["storage"]) } else { "".into() }
        }),
        columns::text("Access Modes", "Who may mount it at once.", |object, _| {
            if is_bound(object) { shown_modes(&object["status"]["accessModes"]).into() } else { "".into() }
        }),
    ];
    list.extend(class_columns());
    list.push(columns::age());
    list.push(mode_column());
    list
}
