//! The IPAddress objects of Services: one for each cluster IP, made and removed in the transaction that writes
//! the Service. Which address a Service gets is not decided here (`allocation`).

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc};

use api::{resource::Resource, status::Status};
use serde_json::{Value, json};
use store::{Entry, Expect, Operation, Transaction};

use super::{Caller, Engine, Target, document_of, metadata, write::commit_error};
use crate::cluster::Cluster;

const SERVICES: &str = "services";
/// Who manages these objects, as Kubernetes' own allocator calls itself: its tools select by it.
const MANAGED_BY: &str = "ipallocator.k8s.io";
/// The server's name among the managers of fields.
const MANAGER: &str = "coracle";

/// Whether an object that belongs to something else holds the address.
pub(super) fn is_held_by_another(engine: &Engine, target: &Target, address: Ipv4Addr) -> bool {
    let Some(resource) = row(engine) else { return false };
    let held = Cluster::get(engine, &resource.storage.topic, None, &address.to_string());
    held.is_some_and(|held| held["spec"]["parentRef"] != parent(target))
}

/// Adds to the transaction of a Service what its addresses ask for: objects for those it has, none for those it
/// gave up. `new` is Null where the Service goes. Other kinds have no such objects.
pub(super) fn accompany(
    engine: &Engine,
    target: &Target,
    old: &Value,
    new: &Value,
    transaction: &mut Transaction,
) -> Result<(), Status> {
    if &*target.resource.storage.topic != SERVICES {
        return Ok(());
    }
    let Some(resource) = row(engine) else { return Ok(()) };
    let (had, has) = (addresses(old), addresses(new));
    for address in had.union(&has) {
        let target_of = Target {
            resource: Arc::clone(&resource),
            subresource: String::new(),
            namespace: String::new(),
            name: address.clone(),
        };
        let stored = engine.store.snapshot().get(&target_of.key()).cloned();
        match (stored, has.contains(address)) {
            (None, true) => make(engine, &target_of, target, transaction),
            (Some(entry), false) => release(engine, &target_of, target, &entry, transaction)?,
            _ => {}
        }
    }
    Ok(())
}

/// Makes what Services written by an earlier version, or restored from elsewhere, lack.
pub async fn repair(engine: &Engine) -> Result<(), Status> {
    let Some(services) = engine.registry.load().find("", "v1", SERVICES).cloned() else { return Ok(()) };
    for service in Cluster::list(engine, SERVICES, None) {
        let text = |field: &str| service["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (name, namespace) = (text("name"), text("namespace"));
        let target = Target { resource: Arc::clone(&services), subresource: String::new(), namespace, name };
        let mut transaction = Transaction::default();
        accompany(engine, &target, &Value::Null, &service, &mut transaction)?;
        if !transaction.operations.is_empty() {
            engine.store.commit(transaction).await.map_err(|error| commit_error(&error))?;
        }
    }
    Ok(())
}

/// `None` where the API is switched off.
fn row(engine: &Engine) -> Option<Arc<Resource>> {
    engine.registry.load().find("networking.k8s.io", "v1", "ipaddresses").cloned()
}

/// The addresses that a Service holds, in canonical form.
fn addresses(service: &Value) -> BTreeSet<String> {
    let list = service["spec"]["clusterIPs"].as_array().into_iter().flatten();
    list.filter_map(|address| address.as_str()?.parse::<Ipv4Addr>().ok()).map(|address| address.to_string()).collect()
}

fn parent(service: &Target) -> Value {
    json!({"resource": SERVICES, "namespace": service.namespace, "name": service.name})
}

fn make(engine: &Engine, target: &Target, service: &Target, transaction: &mut Transaction) {
    let mut document = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": target.name,
            "uid": engine.random.uuid(),
            "creationTimestamp": engine.now_text(),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4",
                "ipaddress.kubernetes.io/managed-by": MANAGED_BY,
            },
        },
        "spec": {"parentRef": parent(service)},
    });
    let caller = Caller { manager: MANAGER.to_owned(), ..Caller::default() };
    metadata::own_fields(engine, target, None, &mut document, &caller);
    let key: Arc<str> = target.key().into();
    transaction.expects.push((Arc::clone(&key), Expect::Absent));
    transaction.operations.push(Operation::Put { key, value: engine.encode(target, document) });
}

fn release(
    engine: &Engine,
    target: &Target,
    service: &Target,
    entry: &Entry,
    transaction: &mut Transaction,
) -> Result<(), Status> {
    let document = document_of(&target.resource, entry)?;
    if document["spec"]["parentRef"] == parent(service) {
        let key = Arc::clone(&entry.key);
        transaction.expects.push((Arc::clone(&key), Expect::Modified(entry.modified)));
        transaction.operations.push(Operation::Delete { key, last: engine.encode(target, document) });
    }
    Ok(())
}
