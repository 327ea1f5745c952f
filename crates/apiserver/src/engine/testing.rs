//! What the engine's own tests share.

use std::{net::Ipv4Addr, sync::Arc};

use api::{registry, registry::RuntimeConfig, resource::Resource, status::Status};
use arc_swap::ArcSwap;
use serde_json::{Value, json};
use stdx::{Clock, clock::ManualClock, random::SeededRandom};
use store::{HistoryLimits, Store};
use tokio_util::sync::CancellationToken;

use super::{Caller, Engine, Target, allocation::Allocation, decode, delete::DeleteOptions, patch::Change};
use crate::{
    admission::{Chain, Plugin},
    authority::Authority,
    pki::{Names, Pki},
    quota::Usage,
    rules,
};

/// The stable row of a built-in resource of the core group.
pub fn resource(plural: &str) -> Arc<Resource> {
    let registry = registry::registry(&RuntimeConfig::default());
    registry.find("", "v1", plural).cloned().unwrap()
}

/// An engine with these plug-ins, over an empty store in memory with the namespace `default`.
pub async fn engine(plugins: Vec<Box<dyn Plugin>>) -> Arc<Engine> {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::starting_at("2026-11-23T12:00:00Z".parse().unwrap()));
    let store = Store::in_memory(Arc::clone(&clock), HistoryLimits::default()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let first = Ipv4Addr::new(10, 96, 0, 1);
    let names = Names { host: "test".to_owned(), service_address: first.into(), extra: Vec::new() };
    let pki = Pki::open(directory.path(), &names, clock.now()).unwrap();
    let engine = Arc::new(Engine {
        usage: Arc::new(Usage::new(store.clone(), Arc::clone(&clock))),
        store,
        registry: Arc::new(ArcSwap::from_pointee(rules::complete(registry::registry(&RuntimeConfig::default())))),
        registry_changes: tokio::sync::watch::Sender::new(()),
        admission: Chain::new(plugins),
        authority: Authority::new(&pki).unwrap(),
        allocation: Allocation::parse("10.96.0.0/24", 30_000..=32_767).unwrap(),
        clock,
        random: Arc::new(SeededRandom::new(1)),
        decoded: Default::default(),
        definitions: Default::default(),
        commits: Default::default(),
        stop: CancellationToken::new(),
    });
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
    create(&engine, "", "namespaces", namespace, false).await.unwrap();
    engine
}

fn target(engine: &Engine, group: &str, plural: &str) -> Target {
    let resource = engine.registry.load().find(group, "v1", plural).cloned().unwrap();
    let namespace = if resource.is_namespaced() { "default".to_owned() } else { String::new() };
    Target { resource, subresource: String::new(), namespace, name: String::new() }
}

/// Creates an object, in the namespace `default` where it needs one, and gives what became of it.
pub async fn create(
    engine: &Engine,
    group: &str,
    plural: &str,
    mut document: Value,
    dry_run: bool,
) -> Result<Value, Status> {
    let target = target(engine, group, plural);
    decode::complete(&target.resource, &mut document)?;
    let caller = Caller { dry_run, ..Caller::default() };
    engine.create(&target, &caller, document).await?.into_document(&target.resource)
}

/// Puts an object of the core group in the place of the one with its name.
pub async fn replace(engine: &Engine, plural: &str, mut document: Value) -> Result<Value, Status> {
    let mut target = target(engine, "", plural);
    document["metadata"]["name"].as_str().unwrap_or_default().clone_into(&mut target.name);
    decode::complete(&target.resource, &mut document)?;
    let change = Change::Replace(document);
    engine.update(&target, &Caller::default(), &change).await?.into_document(&target.resource)
}

/// Deletes an object of the core group.
pub async fn delete(engine: &Engine, plural: &str, name: &str) -> Result<(), Status> {
    let target = Target { name: name.to_owned(), ..target(engine, "", plural) };
    engine.delete(&target, &Caller::default(), &DeleteOptions::default()).await.map(drop)
}
