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
const MANAGED_BY_LABEL: &str = "ipaddress.kubernetes.io/managed-by";
/// The server's name among the managers of fields.
const MANAGER: &str = "coracle";

/// Whether an object that belongs to something else holds the address.
pub(super) fn is_held_by_another(engine: &Engine, target: &Target, address: Ipv4Addr) -> bool {
    is_held(engine, target, &address.to_string())
}

fn is_held(engine: &Engine, target: &Target, address: &str) -> bool {
    let Some(resource) = row(engine) else { return false };
    let held = Cluster::get(engine, &resource.storage.topic, None, address);
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
            // Held since it was given to the Service, by an object that a client made: the commit finds that out.
            (Some(_), true) if !had.contains(address) && is_held(engine, target, address) => {
                make(engine, &target_of, target, transaction);
            }
            (Some(entry), false) => release(engine, &target_of, target, &entry, transaction)?,
            _ => {}
        }
    }
    Ok(())
}

/// Makes what Services written by an earlier version, or restored from elsewhere, lack, and frees what is held for
/// Services that are gone.
pub async fn repair(engine: &Engine) -> Result<(), Status> {
    let Some(services) = engine.registry.load().find("", "v1", SERVICES).cloned() else { return Ok(()) };
    let target = |namespace: &str, name: &str| Target {
        resource: Arc::clone(&services),
        subresource: String::new(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    for service in Cluster::list(engine, SERVICES, None) {
        let text = |field: &str| service["metadata"][field].as_str().unwrap_or_default();
        let mut transaction = Transaction::default();
        let target = target(text("namespace"), text("name"));
        accompany(engine, &target, &service, &service, &mut transaction)?;
        commit(engine, transaction).await?;
    }
    let Some(resource) = row(engine) else { return Ok(()) };
    for held in Cluster::list(engine, &resource.storage.topic, None) {
        let parent = &held["spec"]["parentRef"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (namespace, name, address) =
            (text(&parent["namespace"]), text(&parent["name"]), text(&held["metadata"]["name"]));
        let ours = held["metadata"]["labels"][MANAGED_BY_LABEL] == MANAGED_BY && parent["resource"] == SERVICES;
        let service = Cluster::get(engine, SERVICES, Some(&namespace), &name);
        if ours && service.is_none_or(|service| !addresses(&service).contains(&address)) {
            let mut transaction = Transaction::default();
            // As if the Service that had it gave it up now.
            let had = json!({"spec": {"clusterIPs": [address]}});
            accompany(engine, &target(&namespace, &name), &had, &Value::Null, &mut transaction)?;
            commit(engine, transaction).await?;
        }
    }
    Ok(())
}

async fn commit(engine: &Engine, transaction: Transaction) -> Result<(), Status> {
    if transaction.operations.is_empty() {
        return Ok(());
    }
    engine.store.commit(transaction).await.map(|_| ()).map_err(|error| commit_error(&error))
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
                MANAGED_BY_LABEL: MANAGED_BY,
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
