//! What the server keeps in step with its own objects: the registry with the definitions of custom
//! resources, policies with what is found wrong in them, cluster roles with those they aggregate,
//! namespaces with the account that pods run as.
//!
//! Each is a loop over one topic: on any change the whole topic is looked at again, which is idempotent
//! and needs no memory of what was missed.

use std::{sync::Arc, time::Duration};

use api::{registry::Registry, resource::Resource, status::Status};
use futures_util::{
    FutureExt,
    future::{BoxFuture, select_all},
};
use serde_json::{Value, json};
use store::Watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    admission::policy::{POLICIES, typecheck},
    api_services,
    authz::aggregation,
    cluster::Cluster,
    crd::{
        row,
        status::{self, Need, UsedNames},
    },
    engine::{Caller, Engine, Target, delete::DeleteOptions, options::ListOptions, patch::Change},
    identity::User,
};

const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
const API_SERVICES: &str = "apiservices.apiregistration.k8s.io";
const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";

/// What failed is tried again after this time, or after the next change.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Brings everything in step once, then keeps it so until `stop`.
pub async fn start(engine: &Arc<Engine>, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
    // Custom resources are served, and pods can be created, from the first request on.
    install(engine);
    if let Err(status) = service_accounts(engine).await {
        tracing::warn!(message = status.message, "default service accounts could not be created");
    }
    if let Err(status) = api_services::reconcile(engine, &server()).await {
        tracing::warn!(message = status.message, "APIServices could not be created");
    }
    vec![
        tokio::spawn(follow(Arc::clone(engine), DEFINITIONS, stop.clone(), |engine| Box::pin(definitions(engine)))),
        tokio::spawn(follow(Arc::clone(engine), API_SERVICES, stop.clone(), |engine| {
            Box::pin(async move { api_services::reconcile(&engine, &server()).await.map(|()| Vec::new()) })
        })),
        tokio::spawn(follow(Arc::clone(engine), CLUSTER_ROLES, stop.clone(), |engine| Box::pin(cluster_roles(engine)))),
        tokio::spawn(follow(Arc::clone(engine), POLICIES, stop.clone(), |engine| Box::pin(policies(engine)))),
        tokio::spawn(follow(Arc::clone(engine), "namespaces", stop.clone(), |engine| {
            Box::pin(async move { service_accounts(&engine).await.map(|()| Vec::new()) })
        })),
    ]
}

/// A look at a topic; returns the other topics whose next change asks for another look.
type Step = fn(Arc<Engine>) -> BoxFuture<'static, Result<Vec<String>, Status>>;

async fn follow(engine: Arc<Engine>, topic: &'static str, stop: CancellationToken, step: Step) {
    let mut changes = None;
    loop {
        // The watches begin before the look, so that no change falls between the two.
        let revision = engine.store.revision();
        let watch = |topic: &str| engine.store.watch(&format!("{topic}/"), revision);
        let own = match changes.take() {
            Some(own) => Ok(own),
            None => watch(topic),
        };
        let result = step(Arc::clone(&engine)).await;
        if let Err(status) = &result {
            tracing::warn!(topic, message = status.message, "not in step; trying again");
        }
        let others = result.iter().flatten().map(|topic| watch(topic)).collect::<Result<Vec<Watch>, _>>();
        let (Ok(mut own), Ok(mut others)) = (own, others) else { continue };
        let mut batch = Vec::new();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY_INTERVAL), if result.is_err() => changes = Some(own),
            () = any_change(&mut others) => changes = Some(own),
            next = own.next(&mut batch) => match next {
                Ok(_) => changes = Some(own),
                Err(store::WatchError::Lagged { .. }) => {}
                Err(store::WatchError::Closed) => return,
            },
        }
    }
}

/// Waits for a change that one of the watches sees; where there is none, for ever.
async fn any_change(watches: &mut [Watch]) {
    if watches.is_empty() {
        return std::future::pending().await;
    }
    let changes = watches.iter_mut().map(|watch| async move { watch.next(&mut Vec::new()).await }.boxed());
    // Whether it lags or ends is a change too: the topic is looked at anew.
    let _ = select_all(changes).await;
}

fn server() -> Caller {
    Caller {
        user: User { name: "system:apiserver".into(), ..User::default() },
        manager: "coracle".into(),
        ..Caller::default()
    }
}

fn target(engine: &Engine, topic: &str, name: &str) -> Result<Target, Status> {
    let (plural, group) = topic.split_once('.').unwrap_or((topic, ""));
    let resource = engine.registry.load().find_preferred(group, plural).cloned().ok_or_else(Status::no_such_path)?;
    Ok(Target { resource, subresource: String::new(), namespace: String::new(), name: name.to_owned() })
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Gives every definition the status it should have, serves what is established and clears away what goes.
/// Returns the topics of instances that still hold their definitions.
async fn definitions(engine: Arc<Engine>) -> Result<Vec<String>, Status> {
    let all = Cluster::list(&*engine, DEFINITIONS, None);
    let (mut holding, mut result) = (Vec::new(), Ok(()));
    for definition in &all {
        // What hinders one definition is no matter of the others.
        match keep_in_step(&engine, &all, definition).await {
            Ok(topic) => holding.extend(topic),
            Err(status) => result = result.and(Err(status)),
        }
    }
    install(&engine);
    result.and(api_services::reconcile(&engine, &server()).await).map(|()| holding)
}

async fn keep_in_step(engine: &Arc<Engine>, all: &[Arc<Value>], definition: &Value) -> Result<Option<String>, Status> {
    let used = used_names(&engine.registry.load(), all, definition);
    let now = engine.now_text();
    if let Some(status) = status::reconcile(definition, &used, &now) {
        // What becomes established is served before anyone is told.
        let mut granted = definition.clone();
        granted["status"] = status.clone();
        serve(engine, &granted);
        write_status(engine, DEFINITIONS, name_of(definition), status).await?;
    }
    clear(engine, definition).await
}

/// Names that other definitions of the group, or built-in kinds, have taken.
fn used_names(registry: &Registry, all: &[Arc<Value>], definition: &Value) -> UsedNames {
    let group = &definition["spec"]["group"];
    let mut used = UsedNames::default();
    for other in all.iter().filter(|other| other["spec"]["group"] == *group && name_of(other) != name_of(definition)) {
        used.add(other);
    }
    let builtin = registry.group(group.as_str().unwrap_or_default());
    let rows = builtin.into_iter().flat_map(|group| &group.versions).flat_map(|version| version.rows());
    for row in rows.filter(|row| row.custom.is_none()) {
        used.resources.extend([&row.plural, &row.singular].map(|name| name.to_string()));
        used.kinds.extend([&row.kind, &row.list_kind].map(|name| name.to_string()));
    }
    used
}

async fn write_status(engine: &Engine, topic: &str, name: &str, status: Value) -> Result<(), Status> {
    let mut target = target(engine, topic, name)?;
    target.subresource = "status".to_owned();
    let edit = move |object: &Value| {
        let mut object = object.clone();
        object["status"] = status.clone();
        Ok(object)
    };
    ignore_absent(engine.update(&target, &server(), &Change::Edit(&edit)).await.map(|_| ()))
}

fn ignore_absent(result: Result<(), Status>) -> Result<(), Status> {
    match result {
        Err(status) if status.code == 404 => Ok(()),
        other => other,
    }
}

/// The finalizer that makes instances go before their definition does. Returns their topic while some are left.
async fn clear(engine: &Arc<Engine>, definition: &Value) -> Result<Option<String>, Status> {
    let topic = format!(
        "{}.{}",
        definition["spec"]["names"]["plural"].as_str().unwrap_or_default(),
        definition["spec"]["group"].as_str().unwrap_or_default()
    );
    let has_instances = || engine.store.snapshot().range(&format!("{topic}/"), None).next().is_some();
    let finalize = |add: bool| {
        let target = target(engine, DEFINITIONS, name_of(definition));
        async move {
            let edit = move |definition: &Value| Ok(with_finalizer(definition, add));
            ignore_absent(engine.update(&target?, &server(), &Change::Edit(&edit)).await.map(|_| ()))
        }
    };
    match status::need(definition, has_instances()) {
        Need::Nothing => {}
        Need::AddFinalizer => finalize(true).await?,
        Need::RemoveFinalizer => finalize(false).await?,
        Need::DeleteInstances => {
            let now = engine.now_text();
            write_status(engine, DEFINITIONS, name_of(definition), status::terminating(definition, true, &now)).await?;
            if let Some(resource) = served(engine, definition) {
                let all =
                    Target { resource, subresource: String::new(), namespace: String::new(), name: String::new() };
                let everything = (ListOptions::default(), DeleteOptions::default());
                engine.delete_collection(&all, &server(), &everything.0, &everything.1).await?;
            }
            if has_instances() {
                // Finalizers hold them.
                return Ok(Some(topic));
            }
            write_status(engine, DEFINITIONS, name_of(definition), status::terminating(definition, false, &now))
                .await?;
            finalize(false).await?;
        }
    }
    Ok(None)
}

fn with_finalizer(definition: &Value, present: bool) -> Value {
    let mut definition = definition.clone();
    let mut names: Vec<Value> = definition["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    names.retain(|name| name != status::FINALIZER);
    if present {
        names.push(status::FINALIZER.into());
    }
    definition["metadata"]["finalizers"] = json!(names);
    definition
}

fn served(engine: &Engine, definition: &Value) -> Option<Arc<Resource>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, plural) = (text(&definition["spec"]["group"]), text(&definition["spec"]["names"]["plural"]));
    engine.registry.load().find_preferred(&group, &plural).cloned()
}

/// Adds the rows of one established definition to the registry.
fn serve(engine: &Engine, definition: &Value) {
    if status::is_true(definition, "Established") {
        let rows = rows_of(definition);
        engine.registry.rcu(|registry| Arc::new(registry.with(rows.clone())));
    }
}

fn rows_of(definition: &Value) -> Vec<Resource> {
    let builtin = api::builtin::types();
    let metadata = |types: &mut document::Types| match builtin.named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
    {
        Some(of) => types.import(of),
        None => types.add(document::types::Shape::Any),
    };
    row::rows(definition, &metadata)
}

/// Makes the registry serve exactly the established definitions; rows that have not changed stay as they are.
fn install(engine: &Engine) {
    let definitions = Cluster::list(engine, DEFINITIONS, None);
    let established: Vec<&Arc<Value>> =
        definitions.iter().filter(|definition| status::is_true(definition, "Established")).collect();
    let registry = engine.registry.load_full();
    let mut next = (*registry).clone();
    let mut changed = false;
    for row in registry.rows().filter(|row| row.custom.is_some()) {
        let still = established.iter().any(|definition| {
            let spec = &definition["spec"];
            let versions = spec["versions"].as_array().into_iter().flatten();
            spec["group"] == *row.group
                && spec["names"]["plural"] == *row.plural
                && versions.into_iter().any(|version| version["name"] == *row.version && version["served"] == true)
        });
        if !still {
            next = next.without_version(&row.group, &row.version, &row.plural);
            changed = true;
        }
    }
    for definition in established {
        let rows = rows_of(definition);
        let known = |row: &Resource| {
            next.find(&row.group, &row.version, &row.plural).is_some_and(|known| known.schema_hash == row.schema_hash)
        };
        if !rows.iter().all(known) {
            next = next.with(rows);
            changed = true;
        }
    }
    if changed {
        engine.registry.store(Arc::new(next));
    }
}

/// The schemas of custom resources as their definitions publish them.
pub fn published_schema(engine: &Engine, row: &Resource) -> Option<Arc<Value>> {
    let name = format!("{}.{}", row.plural, row.group);
    let definition = engine.get(DEFINITIONS, None, &name)?;
    let versions = definition["spec"]["versions"].as_array()?;
    let version = versions.iter().find(|version| version["name"] == *row.version)?;
    Some(Arc::new(version["schema"]["openAPIV3Schema"].clone()))
}

/// Gives aggregating cluster roles the rules of those they select.
async fn cluster_roles(engine: Arc<Engine>) -> Result<Vec<String>, Status> {
    let roles = Cluster::list(&*engine, CLUSTER_ROLES, None);
    let borrowed: Vec<&Value> = roles.iter().map(|role| &**role).collect();
    for role in &borrowed {
        let Some(rules) = aggregation::aggregate(role, &borrowed) else { continue };
        let target = target(&engine, CLUSTER_ROLES, name_of(role))?;
        let edit = move |role: &Value| {
            let mut role = role.clone();
            role["rules"] = json!(rules);
            Ok(role)
        };
        let caller = Caller {
            user: User {
                name: "system:apiserver".into(),
                groups: vec![crate::identity::MASTERS.into()],
                ..User::default()
            },
            ..server()
        };
        ignore_absent(engine.update(&target, &caller, &Change::Edit(&edit)).await.map(|_| ()))?;
    }
    Ok(Vec::new())
}

/// Tells the authors of policies what does not fit the kinds their policies are about.
async fn policies(engine: Arc<Engine>) -> Result<Vec<String>, Status> {
    for policy in Cluster::list(&*engine, POLICIES, None) {
        let is_checked = policy["status"]["observedGeneration"] == policy["metadata"]["generation"];
        if !is_checked {
            let status = typecheck::status(&policy, &engine.registry.load());
            write_status(&engine, POLICIES, name_of(&policy), status).await?;
        }
    }
    Ok(Vec::new())
}

/// Pods run as the account `default` of their namespace, and are refused without it.
async fn service_accounts(engine: &Arc<Engine>) -> Result<(), Status> {
    let resource =
        engine.registry.load().find("", "v1", "serviceaccounts").cloned().ok_or_else(Status::no_such_path)?;
    for namespace in Cluster::list(&**engine, "namespaces", None) {
        let namespace = name_of(&namespace);
        let is_there = Cluster::get(&**engine, "serviceaccounts", Some(namespace), "default").is_some();
        if is_there || namespace_is_going(engine, namespace) {
            continue;
        }
        let document = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace},
        });
        let target = Target {
            resource: Arc::clone(&resource),
            subresource: String::new(),
            namespace: namespace.to_owned(),
            name: String::new(),
        };
        match engine.create(&target, &server(), document).await {
            Err(status) if !matches!(&*status.reason, "AlreadyExists" | "NotFound" | "Forbidden") => {
                return Err(status);
            }
            _ => {}
        }
    }
    Ok(())
}

fn namespace_is_going(engine: &Engine, name: &str) -> bool {
    Cluster::get(engine, "namespaces", None, name)
        .is_none_or(|namespace| !namespace["metadata"]["deletionTimestamp"].is_null())
}
