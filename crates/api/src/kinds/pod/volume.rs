//! Volumes: exactly one source each, and what each source must say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    environment::{field_reference, resource_reference},
    path::{file_mode, local_descending, local_non_reserved, no_backsteps},
};
use crate::{
    kinds::{
        check::{FieldRules, Node, elements, text},
        resources as quantities, volume as claims,
    },
    metadata, syntax,
};

/// A source, the fields it cannot be without, and its further rules.
struct Source {
    name: &'static str,
    required: &'static [&'static str],
    rules: fn(&Node<'_>),
}

const fn source(name: &'static str, required: &'static [&'static str], rules: fn(&Node<'_>)) -> Source {
    Source { name, required, rules }
}

fn nothing_more(_: &Node<'_>) {}

/// In the order in which they are looked at: all but the first are refused.
const SOURCES: &[Source] = &[
    source("emptyDir", &[], empty_dir),
    source("hostPath", &["path"], host_path),
    source("gitRepo", &["repository"], |git| local_descending(&git.get("directory"))),
    source("gcePersistentDisk", &["pdName"], partition),
    source("awsElasticBlockStore", &["volumeID"], partition),
    source("secret", &["secretName"], keys_as_files),
    source("nfs", &["server", "path"], nfs),
    source("iscsi", &["targetPortal", "iqn"], iscsi),
    source("glusterfs", &["endpoints", "path"], nothing_more),
    source("flocker", &[], flocker),
    source("persistentVolumeClaim", &["claimName"], nothing_more),
    source("rbd", &["monitors", "image"], nothing_more),
    source("cinder", &["volumeID"], named_secret),
    source("cephfs", &["monitors"], nothing_more),
    source("quobyte", &["registry", "volume"], nothing_more),
    source("downwardAPI", &[], downward_api),
    source("fc", &[], fibre_channel),
    source("flexVolume", &["driver"], flex),
    source("configMap", &["name"], keys_as_files),
    source("azureFile", &["secretName", "shareName"], nothing_more),
    source("vsphereVolume", &["volumePath"], nothing_more),
    source("photonPersistentDisk", &["pdID"], nothing_more),
    source("portworxVolume", &["volumeID"], nothing_more),
    source("azureDisk", &["diskName", "diskURI"], azure_disk),
    source("storageos", &["volumeName"], storage_os),
    source("projected", &[], projected),
    source("scaleIO", &["gateway", "system", "volumeName"], nothing_more),
    source("csi", &[], csi),
    source("ephemeral", &["volumeClaimTemplate"], ephemeral),
    source("image", &[], image),
];

/// The source of a volume that has just one.
pub fn has_source(volume: &Value) -> bool {
    SOURCES.iter().any(|source| !volume[source.name].is_null())
}

/// Checks the volumes of a pod spec; `pod_name` is that of a pod that is not a template. Gives those
/// that are well formed, by name.
pub fn volumes<'a>(list: &Node<'a>, pod_name: &str) -> BTreeMap<&'a str, &'a Value> {
    let value: &'a Value = list.value;
    let mut known: BTreeMap<&'a str, &'a Value> = BTreeMap::new();
    let ephemeral_claims: BTreeSet<String> = elements(value)
        .iter()
        .filter(|volume| !pod_name.is_empty() && !volume["ephemeral"].is_null())
        .map(|volume| format!("{pod_name}-{}", text(volume, "name")))
        .collect();
    for (volume, item) in list.items().zip(elements(value)) {
        let errors_before = volume.error_count();
        volume_source(&volume, pod_name);
        let name = volume.get("name");
        name.required_syntax(syntax::is_dns1123_label);
        if known.contains_key(name.text()) {
            name.duplicate();
        }
        if volume.error_count() == errors_before {
            known.insert(text(item, "name"), item);
        }
        let claim = volume.get("persistentVolumeClaim");
        let claim_name = claim.get("claimName");
        if ephemeral_claims.contains(claim_name.text()) {
            claim_name.invalid("must not reference a PVC that gets created for an ephemeral volume");
        }
    }
    known
}

fn volume_source(volume: &Node<'_>, pod_name: &str) {
    let mut found = false;
    for source in SOURCES {
        let node = volume.get(source.name);
        if !node.is_set() {
            continue;
        }
        if found {
            node.forbidden("may not specify more than 1 volume type");
            continue;
        }
        found = true;
        for field in source.required {
            node.get(field).require();
        }
        (source.rules)(&node);
    }
    if !found {
        volume.required("must specify a volume type");
    }
    let name = volume.get("name");
    if volume.get("ephemeral").is_set() && !pod_name.is_empty() && !name.is_empty() {
        let claim = format!("{pod_name}-{}", name.text());
        for error in syntax::is_dns1123_subdomain(&claim) {
            name.invalid(format!("PVC name {claim:?}: {error}"));
        }
    }
}

fn empty_dir(node: &Node<'_>) {
    if quantities::sign(&node.value["sizeLimit"]).is_lt() {
        node.get("sizeLimit").forbidden("SizeLimit field must be a valid resource quantity");
    }
}

fn host_path(node: &Node<'_>) {
    if node.get("path").is_empty() {
        return;
    }
    no_backsteps(&node.get("path"));
    let kinds = ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    node.get("type").optional_word(&kinds);
}

fn partition(node: &Node<'_>) {
    let partition = node.get("partition");
    if !(0..=255).contains(&partition.integer()) {
        partition.invalid(syntax::inclusive_range_error(1, 255));
    }
}

fn keys_as_files(node: &Node<'_>) {
    file_mode(&node.get("defaultMode"));
    for item in node.get("items").items() {
        key_to_path(&item);
    }
}

fn key_to_path(item: &Node<'_>) {
    item.get("key").require();
    item.get("path").require();
    local_non_reserved(&item.get("path"));
    file_mode(&item.get("mode"));
}

fn nfs(node: &Node<'_>) {
    let path = node.get("path");
    if !path.text().starts_with('/') {
        path.invalid_value(path.text(), "must be an absolute path");
    }
}

fn lun(lun: &Node<'_>) {
    if !(0..=255).contains(&lun.integer()) {
        lun.invalid(syntax::inclusive_range_error(0, 255));
    }
}

fn iscsi(node: &Node<'_>) {
    let iqn = node.get("iqn");
    if !iqn.is_empty() && !["iqn", "eui", "naa"].iter().any(|prefix| iqn.text().starts_with(prefix)) {
        iqn.invalid("must be valid format starting with iqn, eui, or naa");
    }
    lun(&node.get("lun"));
    if node.get("chapAuthDiscovery").flag() || node.get("chapAuthSession").flag() {
        node.get("secretRef").require();
    }
}

fn flocker(node: &Node<'_>) {
    let (name, uuid) = (node.get("datasetName"), node.get("datasetUUID"));
    match (name.is_empty(), uuid.is_empty()) {
        (true, true) => node.required("one of datasetName and datasetUUID is required"),
        (false, false) => {
            node.invalid_value("resource", "datasetName and datasetUUID can not be specified simultaneously");
        }
        _ => {}
    }
    if name.text().contains('/') {
        name.invalid("must not contain '/'");
    }
}

fn named_secret(node: &Node<'_>) {
    let secret = node.get("secretRef");
    if secret.is_set() {
        secret.get("name").require();
    }
}

fn fibre_channel(node: &Node<'_>) {
    let (targets, ids) = (node.get("targetWWNs"), node.get("wwids"));
    match (targets.is_empty(), ids.is_empty()) {
        (true, true) => targets.required("must specify either targetWWNs or wwids, but not both"),
        (false, false) => targets.invalid("targetWWNs and wwids can not be specified simultaneously"),
        _ => {}
    }
    let number = node.get("lun");
    if !targets.is_empty() && !number.is_set() {
        number.required("lun is required if targetWWNs is specified");
    } else if !targets.is_empty() {
        lun(&number);
    }
}

fn flex(node: &Node<'_>) {
    for (key, option) in node.get("options").entries() {
        let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace);
        let namespace = format!(".{}", namespace.to_lowercase());
        if namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io") {
            option.invalid_value(key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

fn azure_disk(node: &Node<'_>) {
    node.get("cachingMode").optional_word(&["None", "ReadOnly", "ReadWrite"]);
    node.get("kind").optional_word(&["Dedicated", "Managed", "Shared"]);
}

fn storage_os(node: &Node<'_>) {
    node.get("volumeName").optional_syntax(syntax::is_dns1123_label);
    node.get("volumeNamespace").optional_syntax(syntax::is_dns1123_label);
    named_secret(node);
}

fn csi(node: &Node<'_>) {
    let driver = node.get("driver");
    if driver.require() {
        if driver.text().len() > 63 {
            driver.too_long(63);
        }
        for error in syntax::is_dns1123_subdomain(&driver.text().to_lowercase()) {
            driver.invalid(error);
        }
    }
    let secret = node.get("nodePublishSecretRef");
    if secret.is_set() {
        secret.get("name").required_syntax(syntax::is_dns1123_subdomain);
    }
}

fn image(node: &Node<'_>) {
    node.get("reference").require();
    node.get("pullPolicy").word(&["Always", "IfNotPresent", "Never"]);
}

fn ephemeral(node: &Node<'_>) {
    let template = node.get("volumeClaimTemplate");
    if !template.is_set() {
        return;
    }
    let metadata = template.get("metadata");
    metadata.get("annotations").with(metadata::validate_annotations);
    metadata.get("labels").with(metadata::validate_labels);
    for (field, _) in metadata.value.as_object().into_iter().flatten() {
        if !matches!(field.as_str(), "annotations" | "labels") {
            metadata.get(field).forbidden("cannot be set");
        }
    }
    claims::claim_spec(&template.get("spec"));
}

fn downward_api(node: &Node<'_>) {
    file_mode(&node.get("defaultMode"));
    for file in node.get("items").items() {
        downward_api_file(&node.showing(file.value));
    }
}

fn downward_api_file(file: &Node<'_>) {
    file.get("path").require();
    local_non_reserved(&file.get("path"));
    let (field, resource) = (file.get("fieldRef"), file.get("resourceFieldRef"));
    match (field.is_set(), resource.is_set()) {
        (true, both) => {
            let fields =
                ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
            field_reference(&field, &fields);
            if both {
                file.invalid_value("resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
        }
        (false, true) => {
            if resource.get("containerName").require() {
                resource_reference(&resource);
            }
        }
        (false, false) => file.required("one of fieldRef and resourceFieldRef is required"),
    }
    file_mode(&file.get("mode"));
}

const PROJECTIONS: &[FieldRules] = &[
    ("secret", projected_keys),
    ("configMap", projected_keys),
    ("downwardAPI", |node| node.get("items").items().for_each(|file| downward_api_file(&node.showing(file.value)))),
    ("serviceAccountToken", service_account_token),
    ("clusterTrustBundle", cluster_trust_bundle),
    ("podCertificate", pod_certificate),
];

fn projected(node: &Node<'_>) {
    file_mode(&node.get("defaultMode"));
    let mut paths: BTreeSet<&str> = BTreeSet::new();
    for source in node.get("sources").items() {
        if source.apply_set(PROJECTIONS) > 1 {
            source.forbidden("may not specify more than 1 volume type per source");
        }
    }
    for source in elements(&node.value["sources"]) {
        for (name, projection) in source.as_object().into_iter().flatten() {
            for path in projected_paths(name, projection) {
                if !path.is_empty() && !paths.insert(path) {
                    let shown = if matches!(&**name, "secret" | "configMap") { text(projection, "name") } else { path };
                    node.invalid_value(shown, "conflicting duplicate paths");
                }
            }
        }
    }
}

/// The files a projection makes. Those of a token are not compared with others.
fn projected_paths<'a>(name: &str, projection: &'a Value) -> Vec<&'a str> {
    match name {
        "secret" | "configMap" | "downwardAPI" => {
            elements(&projection["items"]).iter().map(|item| text(item, "path")).collect()
        }
        "clusterTrustBundle" => vec![text(projection, "path")],
        "podCertificate" => CERTIFICATE_PATHS.map(|field| text(projection, field)).to_vec(),
        _ => Vec::new(),
    }
}

fn projected_keys(node: &Node<'_>) {
    node.get("name").require();
    for item in node.get("items").items() {
        key_to_path(&item);
    }
}

fn service_account_token(node: &Node<'_>) {
    let expiration = node.get("expirationSeconds");
    if expiration.integer() < 600 {
        expiration.invalid_value(expiration.integer(), "may not specify a duration less than 10 minutes");
    }
    if expiration.integer() > 1 << 32 {
        expiration.invalid("may not specify a duration larger than 2^32 seconds");
    }
    if node.get("path").require() {
        local_non_reserved(&node.get("path"));
    }
}

fn cluster_trust_bundle(node: &Node<'_>) {
    match (node.get("name").is_set(), node.get("signerName").is_set()) {
        (true, true) => node.invalid("only one of name and signerName may be used"),
        (true, false) => {
            node.get("name").require_saying("must be a valid object name");
            let selector = node.get("labelSelector");
            if selector.is_set() {
                selector.invalid("labelSelector must be unset if name is specified");
            }
        }
        (false, true) => {
            node.get("signerName").require_saying("must be a valid signer name");
            node.get("labelSelector").with(metadata::validate_label_selector);
        }
        (false, false) => node.required("either name or signerName must be specified"),
    }
    node.get("path").require();
    local_non_reserved(&node.get("path"));
}

const CERTIFICATE_PATHS: [&str; 3] = ["credentialBundlePath", "keyPath", "certificateChainPath"];

fn pod_certificate(node: &Node<'_>) {
    node.get("signerName").require();
    let key_types = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
    let key_type = node.get("keyType");
    if !key_types.contains(&key_type.text()) {
        key_type.not_supported(&key_types);
    }
    let expiration = node.get("maxExpirationSeconds");
    if expiration.is_set() && expiration.integer() < 3600 {
        expiration.invalid("if provided, maxExpirationSeconds must be >= 3600");
    }
    for field in CERTIFICATE_PATHS {
        local_non_reserved(&node.get(field));
    }
    if CERTIFICATE_PATHS.iter().all(|field| node.get(field).is_empty()) {
        node.required("specify at least one of credentialBundlePath, keyPath, and certificateChainPath");
    }
}
