//! kube-rs, over HTTPS and in the server's own process: the same steps, the same answers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::TryStreamExt;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Namespace},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Error,
    api::{
        ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
    },
    core::GroupVersionKind,
};
use serde_json::json;
use testkit::Server;

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"app": "web"}}, "data": {"value": value},
    }))
    .unwrap()
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, String) {
    match result {
        Err(Error::Api(status)) => (status.code, status.reason),
        other => panic!("{other:?}"),
    }
}

/// Create, read, replace, patch, apply, delete: and what a watch from the start sees of it.
async fn objects(client: &Client) {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let selected = ListParams::default().labels("app=web");
    let from = api.list(&selected).await.unwrap().metadata.resource_version.unwrap();
    let watch = WatchParams::default().labels("app=web");
    let mut events = pin!(api.watch(&watch, &from).await.unwrap());

    let mut created = api.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    assert_eq!(refusal(api.create(&PostParams::default(), &config_map("a", "1")).await), (409, "AlreadyExists".into()));
    assert_eq!(refusal(api.create(&PostParams::default(), &config_map("A", "1")).await), (422, "Invalid".into()));
    assert_eq!(api.get("a").await.unwrap(), created);
    assert_eq!(api.get_opt("b").await.unwrap(), None);

    let stale = created.clone();
    created.data.as_mut().unwrap().insert("value".into(), "2".into());
    api.replace("a", &PostParams::default(), &created).await.unwrap();
    assert_eq!(refusal(api.replace("a", &PostParams::default(), &stale).await), (409, "Conflict".into()));
    let patch = Patch::Merge(json!({"data": {"more": "3"}}));
    let patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.data.unwrap().len(), 2);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&dry, &config_map("dry", "1")).await.unwrap();

    let one = PatchParams::apply("one");
    api.patch("b", &one, &Patch::Apply(config_map("b", "1"))).await.unwrap();
    let two = PatchParams::apply("two");
    let conflict = api.patch("b", &two, &Patch::Apply(config_map("b", "2"))).await;
    assert_eq!(refusal(conflict), (409, "Conflict".into()));
    let forced = api.patch("b", &two.force(), &Patch::Apply(config_map("b", "2"))).await.unwrap();
    assert_eq!(forced.data.unwrap()["value"], "2");

    api.delete("a", &DeleteParams::default()).await.unwrap();
    api.delete_collection(&DeleteParams::default(), &selected).await.unwrap();
    assert_eq!(api.list(&selected).await.unwrap().items.len(), 0);

    streaming_list(&api).await;

    let mut seen = Vec::new();
    while seen.len() < 9 {
        let event = tokio::time::timeout(Duration::from_secs(20), events.try_next()).await.expect("an event in time");
        let (kind, object) = match event.unwrap().expect("the watch goes on") {
            WatchEvent::Added(object) => ("added", object),
            WatchEvent::Modified(object) => ("modified", object),
            WatchEvent::Deleted(object) => ("deleted", object),
            other => panic!("{other:?}"),
        };
        seen.push(format!("{kind} {}", object.metadata.name.unwrap()));
    }
    assert_eq!(
        seen,
        [
            "added a",
            "modified a",
            "modified a",
            "added b",
            "modified b",
            "deleted a",
            "deleted b",
            "added first",
            "deleted first"
        ]
    );
}

/// A list as a stream, as kube's watchers ask for it: what is there, then a bookmark that says so.
async fn streaming_list(api: &Api<ConfigMap>) {
    api.create(&PostParams::default(), &config_map("first", "1")).await.unwrap();
    let watch = WatchParams::default().labels("app=web").initial_events();
    let mut events = pin!(api.watch(&watch, "0").await.unwrap());
    let mut names = Vec::new();
    let bookmark = loop {
        let event = tokio::time::timeout(Duration::from_secs(20), events.try_next()).await.expect("an event in time");
        match event.unwrap().expect("the watch goes on") {
            WatchEvent::Added(object) => names.push(object.metadata.name.unwrap()),
            WatchEvent::Bookmark(bookmark) => break bookmark,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(names, ["first"]);
    assert_eq!(bookmark.metadata.annotations["k8s.io/initial-events-end"], "true");
    let listed = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    assert_eq!(bookmark.metadata.resource_version, listed);
    api.delete("first", &DeleteParams::default()).await.unwrap();
    let after = events.try_next().await.unwrap().expect("the watch goes on");
    assert!(
        matches!(&after, WatchEvent::Deleted(object) if object.metadata.name.as_deref() == Some("first")),
        "{after:?}"
    );
}

async fn scale_and_status(client: &Client) {
    let api: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx"}]},
            },
        },
    }))
    .unwrap();
    let created = api.create(&PostParams::default(), &deployment).await.unwrap();
    assert_eq!(created.spec.unwrap().replicas, Some(1));
    let patch = Patch::Merge(json!({"spec": {"replicas": 4}}));
    api.patch_scale("web", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(api.get_scale("web").await.unwrap().spec.unwrap().replicas, Some(4));
    let patch = Patch::Merge(json!({"status": {"replicas": 4}, "spec": {"replicas": 9}}));
    let patched = api.patch_status("web", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!((patched.status.unwrap().replicas, patched.spec.unwrap().replicas), (Some(4), Some(4)));
    api.delete("web", &DeleteParams::background()).await.unwrap();
}

async fn custom(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = serde_json::from_value(json!({
        "metadata": {"name": "boats.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "boats", "singular": "boat", "kind": "Boat"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object",
                "properties": {"spec": {"type": "object", "properties": {"oars": {"type": "integer", "default": 2}}}},
            }}}],
        },
    }))
    .unwrap();
    definitions.create(&PostParams::default(), &definition).await.unwrap();
    let watch = WatchParams::default().fields("metadata.name=boats.example.com");
    let mut events = pin!(definitions.watch(&watch, "0").await.unwrap());
    loop {
        let event = tokio::time::timeout(Duration::from_secs(20), events.try_next()).await.expect("an event in time");
        let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event.unwrap().expect("the watch goes on")
        else {
            continue;
        };
        let conditions = object.status.and_then(|status| status.conditions).unwrap_or_default();
        if conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True") {
            break;
        }
    }
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Boat"));
    let boats: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &kind);
    let boat = DynamicObject::new("ann", &kind).data(json!({"spec": {}}));
    assert_eq!(boats.create(&PostParams::default(), &boat).await.unwrap().data["spec"]["oars"], 2);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let names: Vec<String> = namespaces
        .list_metadata(&ListParams::default())
        .await
        .unwrap()
        .into_iter()
        .filter_map(|n| n.metadata.name)
        .collect();
    assert_eq!(names, ["default", "kube-node-lease", "kube-public", "kube-system"]);
    definitions.delete("boats.example.com", &DeleteParams::default()).await.unwrap();
}

async fn everything(client: Client) {
    objects(&client).await;
    scale_and_status(&client).await;
    custom(&client).await;
}

#[tokio::test]
async fn over_https() {
    let server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    everything(client::remote(&server.kubeconfig(), Some("coracle")).await.unwrap()).await;
}

#[tokio::test]
async fn in_process() {
    let directory = tempfile::tempdir().unwrap();
    let config = apiserver::server::Config::new(directory.path());
    let (clock, random) = (Arc::new(stdx::SystemClock), Arc::new(stdx::SystemRandom::default()));
    let running = apiserver::server::Server::start(config, clock, random).await.unwrap();
    let user = apiserver::identity::User {
        name: "system:test".into(),
        groups: vec![apiserver::identity::MASTERS.into()],
        ..apiserver::identity::User::default()
    };
    everything(client::in_process(running.in_process(user))).await;
    running.stop().await;
}
