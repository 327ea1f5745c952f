//! What every cluster has from its first second: namespaces, roles, priorities, the server's own address.

pub mod flow_control;

use std::{net::SocketAddr, sync::Arc};

use api::{registry::Registry, status::Status};
use serde_json::{Value, json};

use crate::{
    authz::{self, bootstrap::Write},
    cluster::Cluster,
    engine::{Caller, Engine, Target, addresses, decode, delete::DeleteOptions, patch::Change},
    identity::{MASTERS, User},
};

/// Where the objects are that this module and `upkeep` write, by group and version.
const NEEDED: [(&str, &str); 6] = [
    ("", "v1"),
    ("apiregistration.k8s.io", "v1"),
    ("flowcontrol.apiserver.k8s.io", "v1"),
    ("networking.k8s.io", "v1"),
    ("rbac.authorization.k8s.io", "v1"),
    ("scheduling.k8s.io", "v1"),
];

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// How others reach the server and know its clients.
pub struct Place<'a> {
    pub address: SocketAddr,
    pub authority_pem: &'a str,
}

/// What the server cannot do without and a registry does not serve.
pub fn first_not_served(registry: &Registry) -> Option<(&'static str, &'static str)> {
    let is_served =
        |group: &str, version: &str| registry.group(group).is_some_and(|group| group.version(version).is_some());
    NEEDED.into_iter().find(|(group, version)| !is_served(group, version))
}

/// Idempotent: what is there already is left alone, or brought up to date where it says so itself.
pub async fn run(engine: &Arc<Engine>, service_cidr: &str, place: &Place<'_>) -> Result<(), Status> {
    let address = place.address;
    let caller = Caller {
        user: User { name: "system:apiserver".into(), groups: vec![MASTERS.into()], ..User::default() },
        manager: "coracle".into(),
        ..Caller::default()
    };
    let mut wanted: Vec<Value> = NAMESPACES
        .iter()
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        .collect();
    wanted.extend(priority_classes());
    wanted.push(service_range(json!([service_cidr])));
    wanted.push(kubernetes_service(engine, address.port()));
    wanted.push(legacy_tokens_tracked_since(engine));
    for document in wanted {
        create(engine, &caller, document).await?;
    }
    tell_of_another_range(engine, service_cidr);
    addresses::repair(engine).await?;
    make_ready(engine, &caller).await?;
    flow_control::keep(engine, &caller).await?;
    keep(engine, &caller, authentication(place.authority_pem)).await?;
    // Endpoints may not be loopback or unspecified; then there is nothing pods could reach yet.
    if !address.ip().is_loopback() && !address.ip().is_unspecified() {
        for document in kubernetes_endpoints(address) {
            keep(engine, &caller, document).await?;
        }
    }
    for write in authz::bootstrap::reconcile(&**engine) {
        match write {
            Write::Create { object, .. } => create(engine, &caller, object).await?,
            Write::Update { object, .. } => {
                let target = target_of(engine, &object)?;
                engine.update(&target, &caller, &Change::Replace(object)).await?;
            }
            Write::Replace { object, .. } => {
                engine.delete(&target_of(engine, &object)?, &caller, &DeleteOptions::default()).await?;
                create(engine, &caller, object).await?;
            }
        }
    }
    Ok(())
}

/// Services keep the addresses that they have, the API's own among them.
fn tell_of_another_range(engine: &Engine, service_cidr: &str) {
    let stored = Cluster::get(engine, "servicecidrs.networking.k8s.io", None, "kubernetes");
    let stored = stored.map(|range| range["spec"]["cidrs"].clone());
    if let Some(cidrs) = stored.filter(|cidrs| *cidrs != json!([service_cidr])) {
        tracing::warn!(%cidrs, service_cidr, "the ServiceCIDR \"kubernetes\" is of another range than is asked for now");
    }
}

/// Creates the object unless it exists.
async fn create(engine: &Engine, caller: &Caller, document: Value) -> Result<(), Status> {
    let mut target = target_of(engine, &document)?;
    if engine.store.snapshot().get(&target.key()).is_some() {
        return Ok(());
    }
    let mut document = document;
    decode::complete(&target.resource, &mut document)?;
    target.name.clear();
    match engine.create(&target, caller, document).await {
        Err(status) if status.reason == "AlreadyExists" => Ok(()),
        result => result.map(|_| ()),
    }
}

/// Creates the object, or puts it right: the address may be another than at the last start.
async fn keep(engine: &Engine, caller: &Caller, document: Value) -> Result<(), Status> {
    let target = target_of(engine, &document)?;
    if engine.store.snapshot().get(&target.key()).is_none() {
        return create(engine, caller, document).await;
    }
    engine.update(&target, caller, &Change::Replace(document)).await.map(|_| ())
}

/// The range of service addresses is one that can be used, as soon as the server is there.
async fn make_ready(engine: &Engine, caller: &Caller) -> Result<(), Status> {
    let mut target = target_of(engine, &service_range(Value::Null))?;
    target.subresource = "status".to_owned();
    let now = engine.now_text();
    let edit = move |range: &Value| {
        let mut range = range.clone();
        let conditions = range["status"]["conditions"].as_array().into_iter().flatten();
        if !conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] != "Unknown") {
            range["status"]["conditions"] = json!([{
                "type": "Ready", "status": "True", "reason": "", "lastTransitionTime": now,
                "message": "Kubernetes default Service CIDR is ready",
            }]);
        }
        Ok(range)
    };
    engine.update(&target, caller, &Change::Edit(&edit)).await.map(|_| ())
}

/// The default ServiceCIDR.
fn service_range(cidrs: Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": cidrs},
    })
}

fn target_of(engine: &Engine, document: &Value) -> Result<Target, Status> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&document["apiVersion"]), text(&document["kind"]));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let registry = engine.registry.load();
    let resource = registry
        .find_kind(group, version, &kind)
        .cloned()
        .ok_or_else(|| Status::internal(format!("no kind {kind} in {api_version}")))?;
    Ok(Target {
        resource,
        subresource: String::new(),
        namespace: text(&document["metadata"]["namespace"]),
        name: text(&document["metadata"]["name"]),
    })
}

/// The two classes for what a cluster cannot run without (scheduling, `pkg/apis/scheduling`).
fn priority_classes() -> impl Iterator<Item = Value> {
    let class = |name: &str, value: i64, description: &str| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": description,
        })
    };
    [
        class("system-cluster-critical", 2_000_000_000, "For pods that the cluster needs, on whichever node they run."),
        class("system-node-critical", 2_000_001_000, "For pods that their node needs; nothing evicts them."),
    ]
    .into_iter()
}

/// Where servers that trust this one's clients (a controller manager, a scheduler) learn which authority names them.
fn authentication(authority_pem: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {"client-ca-file": authority_pem},
    })
}

/// From which day on it is known when a token kept in a Secret was last used; the cleaner of such tokens asks.
fn legacy_tokens_tracked_since(engine: &Engine) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kube-apiserver-legacy-service-account-token-tracking", "namespace": "kube-system"},
        "data": {"since": engine.clock.now().strftime("%Y-%m-%d").to_string()},
    })
}

/// `default/kubernetes`: how pods find the API server.
fn kubernetes_service(engine: &Engine, port: u16) -> Value {
    let service_ip = engine.allocation.first().to_string();
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": service_ip, "clusterIPs": [service_ip],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    })
}

/// Where that service leads, in its old form and its new one. Nobody mirrors the one to the other.
fn kubernetes_endpoints(address: SocketAddr) -> [Value; 2] {
    let (ip, port) = (address.ip().to_string(), address.port());
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let port = json!({"name": "https", "port": port, "protocol": "TCP"});
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes", "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": [{"ip": ip}], "ports": [port]}],
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": family,
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
        "ports": [port],
    });
    [endpoints, slice]
}
