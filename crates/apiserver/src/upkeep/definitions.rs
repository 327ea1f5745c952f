//! Definitions of custom resources: their names are granted, their rows served, and when one is deleted its
//! instances go first.
//!
//! The work is that of the definitions that changed. For the others one comparison of revisions is enough.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use api::{registry::Registry, resource::Resource, status::Status};
use document::{Types, types::Shape};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::{ignore_absent, name_of, server, target, write_status};
use crate::{
    cluster::Cluster,
    crd::{
        known::{DEFINITIONS, Known},
        row,
        status::{self, Termination, UsedNames},
    },
    engine::{
        Engine, Target,
        delete::{self, Asks, DeleteOptions},
        patch::Change,
    },
    http::heavy,
};

/// How many instances are deleted at once, so that they share the syncs of the journal.
const DELETES_AT_ONCE: usize = 32;

/// What was done before, so that it is not done again. Losing it costs work, nothing else.
#[derive(Debug, Default)]
pub struct Memory {
    /// The revisions of definitions that need nothing until they change.
    settled: HashMap<Arc<str>, u64>,
    /// By uid: definitions whose instances have all been told to go. New ones are refused from before that.
    swept: HashSet<Box<str>>,
}

/// Serves what was established before the server started.
pub fn install(engine: &Engine) {
    for definition in Cluster::list(engine, DEFINITIONS, None) {
        serve(engine, &definition);
    }
}

/// Brings all definitions in step. Returns the topics of instances that still hold their definitions.
pub async fn keep_in_step(engine: &Engine, memory: &mut Memory) -> Result<Vec<String>, Status> {
    let all = engine.definitions.all(&engine.store.snapshot());
    withdraw_absent(engine, &all);
    memory.settled.retain(|key, _| all.contains_key(key));
    memory.swept.retain(|uid| all.values().any(|known| known.origin.uid == *uid));
    let (mut holding, mut result) = (Vec::new(), Ok(()));
    for (key, known) in &all {
        if memory.settled.get(key) == Some(&known.modified) {
            continue;
        }
        // What hinders one definition is no matter of the others.
        match keep_one(engine, memory, key).await {
            Ok(topic) => {
                holding.extend(topic);
                // Others wait for names to become free, or for their instances to go.
                if known.names_accepted && known.established && !known.deleting {
                    memory.settled.insert(Arc::clone(key), known.modified);
                }
            }
            Err(status) => result = result.and(Err(status)),
        }
    }
    result.map(|()| holding)
}

async fn keep_one(engine: &Engine, memory: &mut Memory, key: &str) -> Result<Option<String>, Status> {
    let snapshot = engine.store.snapshot();
    let Some(entry) = snapshot.get(key) else { return Ok(None) };
    let (Some(definition), Some(known)) = (engine.decoded.get(entry), engine.definitions.know(entry)) else {
        return Err(Status::internal(format!("the stored definition {key:?} cannot be decoded")));
    };
    if known.deleting {
        return clear(engine, memory, &known, &definition).await;
    }
    let used = used_names(engine, &known);
    let now = engine.now_text();
    let Some(status) = status::reconcile(&definition, &used, &now) else {
        serve(engine, &definition);
        return Ok(None);
    };
    // What becomes established is served before anyone is told.
    let mut granted = (*definition).clone();
    granted["status"] = status;
    serve(engine, &granted);
    write_status(engine, DEFINITIONS, "", name_of(&definition), move |definition| {
        status::reconcile(definition, &used, &now).unwrap_or_else(|| definition["status"].clone())
    })
    .await?;
    Ok(None)
}

/// Names that other definitions of the group, or built-in kinds, have taken.
fn used_names(engine: &Engine, of: &Known) -> UsedNames {
    let mut used = UsedNames::default();
    let all = engine.definitions.all(&engine.store.snapshot());
    for other in all.values().filter(|other| other.group == of.group && other.plural != of.plural) {
        used.add(&other.origin.names);
    }
    let registry = engine.registry.load();
    let builtin = registry.group(&of.group).into_iter().flat_map(|group| &group.versions);
    for row in builtin.flat_map(|version| version.rows()).filter(|row| row.custom.is_none()) {
        used.resources.extend([&row.plural, &row.singular].map(|name| name.to_string()));
        used.kinds.extend([&row.kind, &row.list_kind].map(|name| name.to_string()));
    }
    used
}

/// Deletes the instances of a definition that goes, and lets it go when none is left. Returns their topic while
/// finalizers hold some. A server killed on the way begins again where the stored definition says it was.
async fn clear(
    engine: &Engine,
    memory: &mut Memory,
    known: &Known,
    definition: &Value,
) -> Result<Option<String>, Status> {
    if !known.has_finalizer {
        withdraw(engine, known);
        return Ok(None);
    }
    let now = engine.now_text();
    let tell = async |termination| {
        let now = now.clone();
        let tell = move |definition: &Value| status::terminating(definition, termination, &now);
        write_status(engine, DEFINITIONS, "", name_of(definition), tell).await
    };
    if known.established {
        if !memory.swept.contains(&known.origin.uid) {
            tell(Termination::InProgress).await?;
            sweep(engine, known, definition).await?;
            memory.swept.insert(known.origin.uid.clone());
        }
        if engine.store.snapshot().range(&format!("{}/", known.topic()), None).next().is_some() {
            return Ok(Some(known.topic()));
        }
        tell(Termination::Completed).await?;
    } else {
        tell(Termination::NeverEstablished).await?;
    }
    // Not after the definition: by then another of its name may be there.
    withdraw(engine, known);
    let target = target(engine, DEFINITIONS, "", name_of(definition))?;
    let edit = |definition: &Value| Ok(status::without_finalizer(definition));
    ignore_absent(engine.update(&target, &server(), &Change::Edit(&edit)).await.map(|_| ()))?;
    Ok(None)
}

/// Deletes every instance. Those with finalizers are only marked.
async fn sweep(engine: &Engine, known: &Known, definition: &Value) -> Result<(), Status> {
    let served = engine.registry.load().find_preferred(&known.group, &known.plural).cloned();
    let Some(resource) = served.or_else(|| row::stored(definition, &object_meta).map(Arc::new)) else {
        return Ok(());
    };
    let all = Target { resource, subresource: String::new(), namespace: String::new(), name: String::new() };
    let snapshot = engine.store.snapshot();
    let instances: Vec<Target> =
        snapshot.range(&all.prefix(), None).map(|entry| delete::member(&all, &entry.key)).collect();
    let deletes = instances.into_iter().map(|instance| remove(engine, instance));
    stream::iter(deletes).buffer_unordered(DELETES_AT_ONCE).try_collect().await
}

async fn remove(engine: &Engine, instance: Target) -> Result<(), Status> {
    let deleted = engine.delete_asking(&instance, &server(), &DeleteOptions::default(), Asks::Nobody).await;
    ignore_absent(deleted.map(|_| ()))
}

fn object_meta(types: &mut Types) -> document::TypeId {
    match api::builtin::types().named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta") {
        Some(of) => types.import(of),
        None => types.add(Shape::Any),
    }
}

/// Makes the registry serve one definition as it is now, if it is to be served.
fn serve(engine: &Engine, definition: &Value) {
    let known = Known::read(definition, 0);
    if !known.is_served() || is_current(&engine.registry.load(), &known) {
        return;
    }
    // It compiles patterns.
    let rows = heavy::aside(|| row::rows(definition, &object_meta));
    engine.serve(|registry| registry.without(&known.group, &known.plural).with(rows.clone()));
}

fn is_current(registry: &Registry, known: &Known) -> bool {
    let row = registry.find_preferred(&known.group, &known.plural);
    row.and_then(|row| row.custom.as_ref()?.origin()) == Some(&known.origin)
}

fn withdraw(engine: &Engine, known: &Known) {
    if engine.registry.load().find_preferred(&known.group, &known.plural).is_some_and(|row| row.custom.is_some()) {
        engine.serve(|registry| registry.without(&known.group, &known.plural));
    }
}

/// Takes away the rows whose definitions are gone.
fn withdraw_absent(engine: &Engine, all: &BTreeMap<Arc<str>, Arc<Known>>) {
    let names: HashSet<(&str, &str)> =
        all.values().filter(|known| known.is_served()).map(|known| (&*known.group, &*known.plural)).collect();
    let registry = engine.registry.load_full();
    let is_absent = |row: &&Arc<Resource>| row.custom.is_some() && !names.contains(&(&*row.group, &*row.plural));
    for row in registry.rows().filter(is_absent) {
        engine.serve(|registry| registry.without(&row.group, &row.plural));
    }
}

/// The schema of a custom resource as its definition publishes it.
pub fn published_schema(engine: &Engine, row: &Resource) -> Option<Arc<Value>> {
    let name = format!("{}.{}", row.plural, row.group);
    row.custom.as_ref()?;
    let definition = Cluster::get(engine, DEFINITIONS, None, &name)?;
    let versions = definition["spec"]["versions"].as_array()?;
    let version = versions.iter().find(|version| version["name"] == *row.version)?;
    Some(Arc::new(version["schema"]["openAPIV3Schema"].clone()))
}
