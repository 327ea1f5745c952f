//! What the server keeps in step with its own objects: the registry with the definitions of custom
//! resources, policies with what is found wrong in them, cluster roles with those they aggregate,
//! namespaces with the account that pods run as, the objects of flow control with what they must be, quotas with what
//! is used of them.
//!
//! Each but the last is a loop over one topic: on any change the whole topic is looked at again, which is idempotent
//! and needs no memory of what was missed; `definitions` remembers what needs no second look.

pub mod definitions;
mod quotas;

use std::{sync::Arc, time::Duration};

use api::status::Status;
use futures_util::{
    FutureExt,
    future::{BoxFuture, select_all},
};
use serde_json::{Value, json};
use store::{Revision, Watch};
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admission::policy::{POLICIES, typecheck},
    api_services,
    authz::aggregation,
    bootstrap::flow_control,
    cluster::Cluster,
    crd::known::DEFINITIONS,
    engine::{Caller, Engine, Target, patch::Change},
    identity::User,
};

const API_SERVICES: &str = "apiservices.apiregistration.k8s.io";
const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";

/// What failed is tried again after this time, or after the next change.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Brings everything in step once, then keeps it so until `stop`.
pub async fn start(engine: &Arc<Engine>, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
    // Custom resources are served, and pods can be created, from the first request on.
    definitions::install(engine);
    let registry_changes = engine.registry_changes.subscribe();
    let seen = |result: Result<(), Status>, what| match result {
        // Until the server listens nobody else writes.
        Ok(()) => Some(engine.store.revision()),
        Err(status) => {
            tracing::warn!(message = status.message, "{what} could not be created");
            None
        }
    };
    let accounts_seen = seen(service_accounts(engine).await, "default service accounts");
    let services_seen = seen(api_services::reconcile(engine, &server()).await, "APIServices");
    let memory = Arc::new(Mutex::new(definitions::Memory::default()));
    let definitions: Step = Box::new(move |engine| {
        let memory = Arc::clone(&memory);
        Box::pin(async move { definitions::keep_in_step(&engine, &mut *memory.lock().await).await })
    });
    let services: Step = Box::new(|engine| {
        Box::pin(async move { api_services::reconcile(&engine, &server()).await.map(|()| Vec::new()) })
    });
    let accounts =
        || -> Step { Box::new(|engine| Box::pin(async move { service_accounts(&engine).await.map(|()| Vec::new()) })) };
    let loops = [
        Loop::new(DEFINITIONS, definitions),
        Loop { seen: services_seen, registry_changes: Some(registry_changes), ..Loop::new(API_SERVICES, services) },
        Loop::new(flow_control::LEVELS, Box::new(|engine| Box::pin(flow_control_objects(engine)))),
        Loop::new(flow_control::SCHEMAS, Box::new(|engine| Box::pin(flow_control_objects(engine)))),
        Loop::new(CLUSTER_ROLES, Box::new(|engine| Box::pin(cluster_roles(engine)))),
        Loop::new(POLICIES, Box::new(|engine| Box::pin(policies(engine)))),
        Loop { seen: accounts_seen, ..Loop::new("namespaces", accounts()) },
        // One that is deleted comes back.
        Loop { seen: accounts_seen, ..Loop::new("serviceaccounts", accounts()) },
    ];
    let mut tasks: Vec<_> =
        loops.into_iter().map(|one| tokio::spawn(one.run(Arc::clone(engine), stop.clone()))).collect();
    tasks.push(tokio::spawn(quotas::keep_in_step(Arc::clone(engine), stop.clone())));
    tasks
}

/// A look at a topic; returns the other topics whose next change asks for another look.
type Step = Box<dyn Fn(Arc<Engine>) -> BoxFuture<'static, Result<Vec<String>, Status>> + Send + Sync>;

struct Loop {
    topic: &'static str,
    step: Step,
    /// Up to here everything is in step already.
    seen: Option<Revision>,
    /// Where what is served is looked at, too.
    registry_changes: Option<watch::Receiver<()>>,
}

impl Loop {
    fn new(topic: &'static str, step: Step) -> Self {
        Self { topic, step, seen: None, registry_changes: None }
    }

    async fn run(mut self, engine: Arc<Engine>, stop: CancellationToken) {
        let topic = self.topic;
        let mut changes = None;
        loop {
            // The watches begin before the look, so that no change falls between the two.
            let revision = self.seen.unwrap_or_else(|| engine.store.revision());
            let watch = |topic: &str| engine.store.watch(&format!("{topic}/"), revision);
            let own = match changes.take() {
                Some(own) => Ok(own),
                None => watch(topic),
            };
            let result = match self.seen.take() {
                Some(_) => Ok(Vec::new()),
                None => (self.step)(Arc::clone(&engine)).await,
            };
            if let Err(status) = &result {
                tracing::warn!(topic, message = status.message, "not in step; trying again");
            }
            let others = result.iter().flatten().map(|topic| watch(topic)).collect::<Result<Vec<Watch>, _>>();
            let (Ok(mut own), Ok(mut others)) = (own, others) else { continue };
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY_INTERVAL), if result.is_err() => changes = Some(own),
                () = any_change(&mut others) => changes = Some(own),
                () = changed(self.registry_changes.as_mut()) => changes = Some(own),
                next = own.next(&mut batch) => match next {
                    Ok(_) => changes = Some(own),
                    Err(store::WatchError::Lagged { .. }) => {}
                    Err(store::WatchError::Closed) => return,
                },
            }
        }
    }
}

async fn changed(registry: Option<&mut watch::Receiver<()>>) {
    if let Some(registry) = registry
        && registry.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Waits for a change that one of the watches sees; where there is none, for ever.
async fn any_change(watches: &mut [Watch]) {
    if watches.is_empty() {
        return std::future::pending().await;
    }
    let changes = watches.iter_mut().map(|watch| async move { watch.next(&mut Vec::new()).await }.boxed());
    // A watch that has ended is a reason to look again, too.
    let _ = select_all(changes).await;
}

fn server() -> Caller {
    Caller {
        user: User { name: "system:apiserver".into(), ..User::default() },
        manager: "coracle".into(),
        ..Caller::default()
    }
}

fn target(engine: &Engine, topic: &str, namespace: &str, name: &str) -> Result<Target, Status> {
    let (plural, group) = topic.split_once('.').unwrap_or((topic, ""));
    let resource = engine.registry.load().find_preferred(group, plural).cloned().ok_or_else(Status::no_such_path)?;
    Ok(Target { resource, subresource: String::new(), namespace: namespace.to_owned(), name: name.to_owned() })
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Writes the status that `status` makes of the object as it then is.
async fn write_status(
    engine: &Engine,
    topic: &str,
    namespace: &str,
    name: &str,
    status: impl Fn(&Value) -> Value + Send + Sync,
) -> Result<(), Status> {
    let mut target = target(engine, topic, namespace, name)?;
    target.subresource = "status".to_owned();
    let edit = move |object: &Value| {
        let mut object = object.clone();
        object["status"] = status(&object);
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

/// Gives aggregating cluster roles the rules of those they select.
async fn cluster_roles(engine: Arc<Engine>) -> Result<Vec<String>, Status> {
    let roles = Cluster::list(&*engine, CLUSTER_ROLES, None);
    let borrowed: Vec<&Value> = roles.iter().map(|role| &**role).collect();
    for role in &borrowed {
        let Some(rules) = aggregation::aggregate(role, &borrowed) else { continue };
        let target = target(&engine, CLUSTER_ROLES, "", name_of(role))?;
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
            write_status(&engine, POLICIES, "", name_of(&policy), move |_| status.clone()).await?;
        }
    }
    Ok(Vec::new())
}

/// Brings back what must be there, and says of schemas whether their levels are.
async fn flow_control_objects(engine: Arc<Engine>) -> Result<Vec<String>, Status> {
    flow_control::keep(&engine, &server()).await.map(|()| Vec::new())
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

#[cfg(test)]
mod tests;
