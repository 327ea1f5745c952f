//! ServiceAccount: a pod runs as an account that exists, with its token mounted and its pull secrets.

use std::sync::Arc;

use api::{status::Status, syntax};
use serde_json::{Value, json};
use stdx::Random;

use super::{Operation, Plugin, Request, elements, list_at, set, text};
use crate::cluster::Cluster;

pub const MIRROR: &str = "kubernetes.io/config.mirror";
const ENFORCE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// An hour and the seven seconds by which the node tells a token of this volume from others.
const TOKEN_SECONDS: u32 = 3607;

pub struct ServiceAccount {
    random: Arc<dyn Random>,
}

impl ServiceAccount {
    pub fn new(random: Arc<dyn Random>) -> Self {
        Self { random }
    }
}

#[async_trait::async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    async fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if !request.creates("", "pods") || is_mirror(&request.object) || !request.object["spec"].is_object() {
            return Ok(());
        }
        if text(&request.object["spec"]["serviceAccountName"]).is_empty() {
            set(&mut request.object["spec"], "serviceAccountName", "default");
        }
        let account = account_of(request, cluster)?;
        let spec = &mut request.object["spec"];
        // An older client reads the older name of the field.
        let name = spec["serviceAccountName"].clone();
        set(spec, "serviceAccount", name);
        let automount = [&spec["automountServiceAccountToken"], &account["automountServiceAccountToken"]];
        if automount.into_iter().find_map(Value::as_bool).unwrap_or(true) {
            mount_token(spec, &*self.random);
        }
        let secrets = elements(&account["imagePullSecrets"]);
        if elements(&spec["imagePullSecrets"]).is_empty() && !secrets.is_empty() {
            let names: Vec<Value> = secrets.iter().map(|secret| json!({"name": secret["name"]})).collect();
            set(spec, "imagePullSecrets", names);
        }
        Ok(())
    }

    async fn validate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if !request.is_about("", "pods") {
            return Ok(());
        }
        let lists: &[(&str, &str)] = match (request.operation, request.subresource) {
            (Operation::Create, "") if is_mirror(&request.object) => return validate_mirror(request),
            (Operation::Create, "") => &[("initContainers", "init container"), ("containers", "container")],
            (Operation::Update, "ephemeralcontainers") => &[("ephemeralContainers", "ephemeral container")],
            _ => return Ok(()),
        };
        let account = account_of(request, cluster)?;
        let enforced = text(&account["metadata"]["annotations"][ENFORCE_SECRETS]);
        if !["1", "t", "T", "true", "TRUE", "True"].contains(&enforced) {
            return Ok(());
        }
        let whole = request.operation == Operation::Create;
        check_secrets(&request.object["spec"], &account, lists, whole).map_err(|problem| request.forbidden(problem))
    }
}

pub fn is_mirror(pod: &Value) -> bool {
    !pod["metadata"]["annotations"][MIRROR].is_null()
}

fn account_of(request: &Request<'_>, cluster: &dyn Cluster) -> Result<Arc<Value>, Status> {
    let (namespace, name) = (request.namespace, text(&request.object["spec"]["serviceAccountName"]));
    if name.is_empty() {
        return Err(request.forbidden(format!("no service account specified for pod {namespace}/{}", request.name)));
    }
    cluster.get("serviceaccounts", Some(namespace), name).ok_or_else(|| {
        request.forbidden(format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        ))
    })
}

/// Mounts the token in every container that has nothing in its place.
fn mount_token(spec: &mut Value, random: &dyn Random) {
    let own = elements(&spec["volumes"]).iter().map(|volume| text(&volume["name"]));
    let known = own.filter(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned).next();
    let name = known.clone().unwrap_or_else(|| volume_name(random));
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(mounts) = list_at(container, "volumeMounts")
                && !mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH)
            {
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
                used = true;
            }
        }
    }
    if used
        && known.is_none()
        && let Some(volumes) = list_at(spec, "volumes")
    {
        volumes.push(token_volume(&name));
    }
}

fn volume_name(random: &dyn Random) -> String {
    syntax::generated_name(VOLUME_PREFIX, |bound| random.below(bound))
}

fn token_volume(name: &str) -> Value {
    let namespace = json!({"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    json!({
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
        },
    })
}

/// A mirror pod shows what a node runs by itself: it gets nothing of the cluster's.
fn validate_mirror(request: &Request<'_>) -> Result<(), Status> {
    let spec = &request.object["spec"];
    let refuse = |what: &str| Err(request.forbidden(format!("a mirror pod may not {what}")));
    if !text(&spec["serviceAccountName"]).is_empty() {
        return refuse("reference service accounts");
    }
    if references_secrets(spec) {
        return refuse("reference secrets");
    }
    let sources = elements(&spec["volumes"]).iter().flat_map(|volume| elements(&volume["projected"]["sources"]));
    if sources.into_iter().any(|source| !source["serviceAccountToken"].is_null()) {
        return refuse("use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// In any field, whatever its name: all references to a secret are `secretRef`, `secretKeyRef`, `secret`,
/// `imagePullSecrets` or one of the references of a volume's driver.
pub fn references_secrets(spec: &Value) -> bool {
    const FIELDS: [&str; 4] = ["secretRef", "secretKeyRef", "secret", "nodePublishSecretRef"];
    match spec {
        Value::Object(fields) => fields.iter().any(|(name, value)| match name.as_str() {
            "imagePullSecrets" => !elements(value).is_empty(),
            "azureFile" => !text(&value["secretName"]).is_empty(),
            name => FIELDS.contains(&name) && value.is_object() || references_secrets(value),
        }),
        Value::Array(items) => items.iter().any(references_secrets),
        _ => false,
    }
}

/// Only secrets that the account lists may be used.
fn check_secrets(spec: &Value, account: &Value, lists: &[(&str, &str)], whole: bool) -> Result<(), String> {
    let owner = text(&account["metadata"]["name"]);
    let listed = |field: &str, name: &str| elements(&account[field]).iter().any(|secret| secret["name"] == name);
    let unlisted = format!("is not allowed because service account {owner} does not reference that secret");
    for volume in elements(&spec["volumes"]).iter().filter(|volume| whole && volume["secret"].is_object()) {
        let name = text(&volume["secret"]["secretName"]);
        if !listed("secrets", name) {
            return Err(format!("volume with secret.secretName=\"{name}\" {unlisted}"));
        }
    }
    for (list, what) in lists {
        for container in elements(&spec[*list]) {
            let container_name = text(&container["name"]);
            for variable in elements(&container["env"]) {
                let reference = &variable["valueFrom"]["secretKeyRef"];
                let (variable, name) = (text(&variable["name"]), text(&reference["name"]));
                if reference.is_object() && !listed("secrets", name) {
                    return Err(format!(
                        "{what} {container_name} with envVar {variable} referencing secret.secretName=\"{name}\" {unlisted}"
                    ));
                }
            }
            for source in elements(&container["envFrom"]).iter().filter(|source| source["secretRef"].is_object()) {
                let name = text(&source["secretRef"]["name"]);
                if !listed("secrets", name) {
                    return Err(format!(
                        "{what} {container_name} with envFrom referencing secret.secretName=\"{name}\" {unlisted}"
                    ));
                }
            }
        }
    }
    for (index, secret) in elements(&spec["imagePullSecrets"]).iter().enumerate().filter(|_| whole) {
        let name = text(&secret["name"]);
        if !listed("imagePullSecrets", name) {
            return Err(format!(
                "imagePullSecrets[{index}].name=\"{name}\" is not allowed because service account {owner} does not \
                 reference that imagePullSecret"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use stdx::SeededRandom;

    use super::*;
    use crate::{
        admission::testing::{Case, cluster},
        cluster::FixedCluster,
    };

    fn plugin() -> ServiceAccount {
        ServiceAccount::new(Arc::new(SeededRandom::new(1)))
    }

    fn accounts() -> FixedCluster {
        let account = |name: &str, extra: Value| {
            let mut account = json!({"metadata": {"name": name, "namespace": "default"}});
            account.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            account
        };
        cluster()
            .with("serviceaccounts", account("puller", json!({"imagePullSecrets": [{"name": "registry"}]})))
            .with("serviceaccounts", account("tokenless", json!({"automountServiceAccountToken": false})))
            .with(
                "serviceaccounts",
                json!({
                    "metadata": {"name": "strict", "namespace": "default", "annotations": {ENFORCE_SECRETS: "true"}},
                    "secrets": [{"name": "known"}], "automountServiceAccountToken": false,
                }),
            )
    }

    fn pod(spec: Value) -> Case {
        Case::create("pods", json!({"metadata": {"name": "web"}, "spec": spec}))
    }

    #[tokio::test]
    async fn the_token_is_mounted_in_every_container() {
        let spec = json!({
            "initContainers": [{"name": "init"}],
            "containers": [{"name": "web"}, {"name": "own", "volumeMounts": [{"name": "x", "mountPath": MOUNT_PATH}]}],
        });
        let (pod, _) = pod(spec).admit(&plugin(), &accounts()).await.unwrap();
        let spec = &pod["spec"];
        let name = spec["volumes"][0]["name"].as_str().unwrap();
        assert!(name.starts_with(VOLUME_PREFIX) && name.len() == VOLUME_PREFIX.len() + 5, "{name}");
        let mount = json!([{"name": name, "readOnly": true, "mountPath": MOUNT_PATH}]);
        assert_eq!(spec["initContainers"][0]["volumeMounts"], mount);
        assert_eq!(spec["containers"][0]["volumeMounts"], mount);
        assert_eq!(spec["containers"][1]["volumeMounts"][0]["name"], "x");
        assert_eq!(spec["serviceAccountName"], "default");
        assert_eq!(spec["serviceAccount"], "default");
        let token = &spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"];
        assert_eq!(*token, json!({"path": "token", "expirationSeconds": 3607}));
        assert_eq!(spec["volumes"][0]["projected"]["defaultMode"], 420);
    }

    #[tokio::test]
    async fn the_account_decides_what_is_added() {
        let run = async |spec: Value| pod(spec).admit(&plugin(), &accounts()).await.unwrap().0["spec"].clone();
        let containers = json!([{"name": "web"}]);
        let spec = run(json!({"serviceAccountName": "tokenless", "containers": containers})).await;
        assert!(spec["volumes"].is_null());
        let spec = run(
            json!({"serviceAccountName": "tokenless", "automountServiceAccountToken": true, "containers": containers}),
        )
        .await;
        assert!(spec["volumes"].is_array());
        let spec = run(json!({"automountServiceAccountToken": false, "containers": containers})).await;
        assert!(spec["volumes"].is_null());
        let spec = run(json!({"serviceAccountName": "puller", "containers": containers})).await;
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "registry"}]));
        let spec =
            run(json!({"serviceAccountName": "puller", "imagePullSecrets": [{"name": "own"}], "containers": []})).await;
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "own"}]));
        let volumes = json!([{"name": "kube-api-access-mine"}]);
        let spec = run(json!({"volumes": volumes, "containers": containers})).await;
        assert_eq!(spec["volumes"], volumes);
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], "kube-api-access-mine");
    }

    #[tokio::test]
    async fn refusals_read_as_in_kubernetes() {
        let check = async |object: Value, detail: &str| {
            let case = Case::create("pods", object);
            let found = case.admit(&plugin(), &accounts()).await.err();
            assert_eq!(found.as_deref(), Some(&*format!("pods \"web\" is forbidden: {detail}")));
        };
        let of = |spec: Value| json!({"metadata": {"name": "web"}, "spec": spec});
        check(
            of(json!({"serviceAccountName": "ghost"})),
            r#"error looking up service account default/ghost: serviceaccount "ghost" not found"#,
        )
        .await;
        let strict = |field: &str, value: Value| of(json!({"serviceAccountName": "strict", field: value}));
        let unlisted = "is not allowed because service account strict does not reference that secret";
        check(
            strict("volumes", json!([{"name": "a", "secret": {"secretName": "other"}}])),
            &format!("volume with secret.secretName=\"other\" {unlisted}"),
        )
        .await;
        check(
            strict(
                "containers",
                json!([{"name": "web", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "other"}}}]}]),
            ),
            &format!("container web with envVar A referencing secret.secretName=\"other\" {unlisted}"),
        )
        .await;
        check(
            strict("initContainers", json!([{"name": "init", "envFrom": [{"secretRef": {"name": "other"}}]}])),
            &format!("init container init with envFrom referencing secret.secretName=\"other\" {unlisted}"),
        )
        .await;
        check(
            strict("imagePullSecrets", json!([{"name": "other"}])),
            "imagePullSecrets[0].name=\"other\" is not allowed because service account strict does not reference that imagePullSecret",
        )
        .await;
        let mirror = |spec: Value| json!({"metadata": {"name": "web", "annotations": {MIRROR: "1"}}, "spec": spec});
        check(mirror(json!({"serviceAccountName": "default"})), "a mirror pod may not reference service accounts")
            .await;
        check(
            mirror(json!({"volumes": [{"name": "a", "secret": {"secretName": "s"}}]})),
            "a mirror pod may not reference secrets",
        )
        .await;
        check(
            mirror(
                json!({"volumes": [{"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
            ),
            "a mirror pod may not use ServiceAccountToken volume projections",
        )
        .await;
        let fine = strict("volumes", json!([{"name": "a", "secret": {"secretName": "known"}}]));
        assert!(Case::create("pods", fine).admit(&plugin(), &accounts()).await.is_ok());
    }
}
