//! What every cluster has from its first second: namespaces, roles, priorities, the server's own address.

use std::{net::SocketAddr, sync::Arc};

use api::status::Status;
use serde_json::{Value, json};

use crate::{
    authz::{self, bootstrap::Write},
    engine::{Caller, Engine, Target, decode, delete::DeleteOptions, patch::Change},
    identity::{MASTERS, User},
};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Idempotent: what is there already is left alone, or brought up to date where it says so itself.
pub async fn run(engine: &Arc<Engine>, service_cidr: &str, address: SocketAddr) -> Result<(), Status> {
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
    wanted.push(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": [service_cidr]},
    }));
    wanted.extend(kubernetes_service(engine, address));
    for document in wanted {
        create(engine, &caller, document).await?;
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

/// `default/kubernetes`: how pods find the API server.
fn kubernetes_service(engine: &Engine, address: SocketAddr) -> Vec<Value> {
    let service_ip = engine.allocation.first();
    // Endpoints may not be loopback or unspecified; then there is nothing pods could reach yet.
    let endpoint = (!address.ip().is_loopback() && !address.ip().is_unspecified()).then(|| address.ip().to_string());
    let mut objects = vec![json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": service_ip.to_string(), "clusterIPs": [service_ip.to_string()],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": address.port()}],
        },
    })];
    if let Some(ip) = endpoint {
        objects.push(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
        }));
    }
    objects
}
