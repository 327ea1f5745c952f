//! The life of a definition and of its instances: what was deleted stays deleted, whatever the moment.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{sync::Arc, time::Duration};

use futures_util::TryStreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, Error,
    api::{
        ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
    },
    core::GroupVersionKind,
};
use serde_json::{Value, json};
use testkit::Server;
use tokio::{sync::Notify, task::JoinSet};

const NAME: &str = "sails.shop.example.com";
const PATIENCE: Duration = Duration::from_secs(60);
const CYCLES: usize = 50;

fn definition(schema: Value) -> CustomResourceDefinition {
    serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": "shop.example.com", "scope": "Namespaced",
            "names": {"plural": "sails", "singular": "sail", "kind": "Sail", "listKind": "SailList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    }))
    .unwrap()
}

fn any_spec() -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
}

async fn connect(server: &Server) -> Client {
    client::remote(&server.kubeconfig(), Some("coracle")).await.unwrap()
}

fn definitions(client: &Client) -> Api<CustomResourceDefinition> {
    Api::all(client.clone())
}

fn sail_kind() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("shop.example.com", "v1", "Sail"), "sails")
}

fn sails(client: &Client) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), "default", &sail_kind())
}

fn sail(name: &str, finalizers: &[&str]) -> DynamicObject {
    let mut sail = DynamicObject::new(name, &sail_kind()).data(json!({"spec": {"area": 1}}));
    sail.metadata.finalizers = Some(finalizers.iter().map(ToString::to_string).collect());
    sail
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, String) {
    match result {
        Err(Error::Api(status)) => (status.code, status.message),
        other => panic!("{other:?}"),
    }
}

fn condition(definition: &CustomResourceDefinition, name: &str) -> Option<(String, String)> {
    let conditions = definition.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == name)?;
    Some((condition.status.clone(), condition.reason.clone().unwrap_or_default()))
}

/// Follows the definition until `done` says so of its state; `None` is that it is gone.
async fn until(client: &Client, done: impl Fn(Option<&CustomResourceDefinition>) -> bool) {
    let api = definitions(client);
    let only = format!("metadata.name={NAME}");
    let wait = async {
        let list = api.list(&ListParams::default().fields(&only)).await.unwrap();
        if done(list.items.first()) {
            return;
        }
        let watch = WatchParams::default().fields(&only);
        let from = list.metadata.resource_version.unwrap();
        let mut events = std::pin::pin!(api.watch(&watch, &from).await.unwrap());
        while let Some(event) = events.try_next().await.unwrap() {
            let reached = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => done(Some(&object)),
                WatchEvent::Deleted(_) => done(None),
                other => panic!("{other:?}"),
            };
            if reached {
                return;
            }
        }
        panic!("the watch ended");
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("in time");
}

fn is_established(definition: Option<&CustomResourceDefinition>) -> bool {
    definition.and_then(|definition| condition(definition, "Established")).is_some_and(|(status, _)| status == "True")
}

async fn install(client: &Client) {
    definitions(client).create(&PostParams::default(), &definition(any_spec())).await.unwrap();
    until(client, is_established).await;
}

#[tokio::test]
async fn instances_never_outlive_their_definition() {
    let server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let client = connect(&server).await;
    let (definitions, sails) = (definitions(&client), sails(&client));
    for cycle in 0..CYCLES {
        install(&client).await;
        assert_eq!(sails.list(&ListParams::default()).await.unwrap().items.len(), 0, "cycle {cycle}");
        sails.create(&PostParams::default(), &sail("first", &[])).await.unwrap();
        // Writers that go on while the definition is deleted.
        let racing = (0..4).map(|writer| {
            let sails = sails.clone();
            tokio::spawn(async move {
                for index in 0.. {
                    if sails
                        .create(&PostParams::default(), &sail(&format!("racing-{writer}-{index}"), &[]))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            })
        });
        let racing: Vec<_> = racing.collect();
        definitions.delete(NAME, &DeleteParams::default()).await.unwrap();
        for writer in racing {
            writer.await.unwrap();
        }
        until(&client, |definition| definition.is_none()).await;
    }
}

#[tokio::test]
async fn a_definition_waits_for_the_finalizers_of_its_instances() {
    let mut server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let client = connect(&server).await;
    install(&client).await;
    let held = sails(&client).create(&PostParams::default(), &sail("held", &["example.com/hold"])).await.unwrap();
    let deleted = definitions(&client).delete(NAME, &DeleteParams::default()).await.unwrap();
    let deleted = deleted.left().expect("the definition is still there");
    assert_eq!(
        deleted.metadata.finalizers.as_deref(),
        Some(&["customresourcecleanup.apiextensions.k8s.io".to_owned()][..])
    );
    assert_eq!(condition(&deleted, "Terminating"), Some(("True".into(), "InstanceDeletionPending".into())));

    let late = sail("late", &[]);
    let message = "sails.shop.example.com \"late\" is forbidden: create not allowed while custom resource definition is terminating";
    let refused = (403, message.to_owned());
    assert_eq!(refusal(sails(&client).create(&PostParams::default(), &late).await), refused);
    let apply = PatchParams::apply("test");
    assert_eq!(refusal(sails(&client).patch("late", &apply, &Patch::Apply(&late)).await), refused);

    // Deletion goes on where it was after the server was killed.
    server.restart();
    let client = connect(&server).await;
    assert_eq!(refusal(sails(&client).create(&PostParams::default(), &late).await), refused);
    let left = sails(&client).list(&ListParams::default()).await.unwrap().items;
    assert_eq!(left.iter().map(|sail| sail.metadata.uid.clone()).collect::<Vec<_>>(), [held.metadata.uid]);
    assert!(definitions(&client).get_opt(NAME).await.unwrap().is_some());
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    sails(&client).patch("held", &PatchParams::default(), &release).await.unwrap();
    until(&client, |definition| definition.is_none()).await;
    assert_eq!(refusal(sails(&client).list(&ListParams::default()).await).0, 404);
}

#[tokio::test]
async fn a_definition_goes_whatever_becomes_of_dependents() {
    let server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let client = connect(&server).await;
    for how in [DeleteParams::foreground(), DeleteParams::orphan(), DeleteParams::background()] {
        install(&client).await;
        sails(&client).create(&PostParams::default(), &sail("first", &[])).await.unwrap();
        let deleted = definitions(&client).delete(NAME, &how).await.unwrap();
        let finalizers = deleted.left().expect("the definition is still there").metadata.finalizers;
        assert_eq!(finalizers.as_deref(), Some(&["customresourcecleanup.apiextensions.k8s.io".to_owned()][..]));
        until(&client, |definition| definition.is_none()).await;
    }
}

/// What a watch has told from the state on, once it ended by itself.
async fn told(sails: Api<DynamicObject>, began: Arc<Notify>) -> Vec<String> {
    let mut events = std::pin::pin!(sails.watch(&WatchParams::default(), "0").await.unwrap());
    let mut told = Vec::new();
    let wait = async {
        while let Some(event) = events.try_next().await.unwrap() {
            match event {
                WatchEvent::Added(_) => told.push("ADDED".to_owned()),
                WatchEvent::Deleted(_) => told.push("DELETED".to_owned()),
                other => panic!("{other:?}"),
            }
            began.notify_one();
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the watch ends");
    told
}

#[tokio::test]
async fn a_watch_ends_with_the_definition_it_began_with() {
    let server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let client = connect(&server).await;
    install(&client).await;
    sails(&client).create(&PostParams::default(), &sail("first", &[])).await.unwrap();
    let mut watches = JoinSet::new();
    let watch = async |watches: &mut JoinSet<Vec<String>>| {
        let began = Arc::new(Notify::new());
        watches.spawn(told(sails(&client), Arc::clone(&began)));
        began.notified().await;
    };
    let change = async |versions: Value| {
        let patch = Patch::Merge(json!({"spec": {"versions": versions}}));
        definitions(&client).patch(NAME, &PatchParams::default(), &patch).await.unwrap();
    };
    let version = |name: &str, served: bool, storage: bool| json!({"name": name, "served": served, "storage": storage, "schema": {"openAPIV3Schema": any_spec()}});

    // Another schema, or another set of versions: clients begin anew, with what is served now.
    watch(&mut watches).await;
    change(json!([version("v1", true, false), version("v2", true, true)])).await;
    assert_eq!(watches.join_next().await.unwrap().unwrap(), ["ADDED"]);
    // A version that is served no longer.
    watch(&mut watches).await;
    change(json!([version("v1", false, false), version("v2", true, true)])).await;
    assert_eq!(watches.join_next().await.unwrap().unwrap(), ["ADDED"]);
    assert_eq!(refusal(sails(&client).list(&ListParams::default()).await).0, 404);
    change(json!([version("v1", true, false), version("v2", true, true)])).await;
    let served = async {
        while sails(&client).list(&ListParams::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.unwrap();
    // The end of the definition, and before it that of the instances.
    watch(&mut watches).await;
    definitions(&client).delete(NAME, &DeleteParams::default()).await.unwrap();
    assert_eq!(watches.join_next().await.unwrap().unwrap(), ["ADDED", "DELETED"]);
    until(&client, |definition| definition.is_none()).await;
    assert_eq!(refusal(sails(&client).list(&ListParams::default()).await).0, 404);
}

/// A definition of about 80 KB.
fn large(index: usize) -> Value {
    let field = |number: usize| {
        let name = format!("field{number}");
        (
            name,
            json!({"type": "string", "pattern": format!("^[a-z]{{1,{}}}$", number % 60 + 1), "description": "x".repeat(60)}),
        )
    };
    let fields: serde_json::Map<String, Value> = (0..600).map(field).collect();
    let (plural, kind) = (format!("larges{index}"), format!("Large{index}"));
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.shop.example.com")},
        "spec": {
            "group": "shop.example.com", "scope": "Cluster",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}}}],
        },
    })
}

/// The server's processor time, in ticks.
fn ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test]
async fn a_definition_costs_the_same_however_many_there_are() {
    let server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let client = connect(&server).await;
    let api = definitions(&client);
    let mut costs = Vec::new();
    for index in 0..30 {
        let before = ticks(server.process_id());
        api.create(&PostParams::default(), &serde_json::from_value(large(index)).unwrap()).await.unwrap();
        let (kind, plural) = (format!("Large{index}"), format!("larges{index}"));
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("shop.example.com", "v1", &kind), &plural);
        let instances: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let instance = DynamicObject::new("one", &resource).data(json!({"spec": {"field1": "a"}}));
        let served = async {
            while let Err(error) = instances.create(&PostParams::default(), &instance).await {
                assert!(matches!(&error, Error::Api(status) if status.code == 404), "{error}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, served).await.expect("in time");
        costs.push(ticks(server.process_id()) - before);
    }
    let sum = |costs: &[u64]| costs.iter().sum::<u64>();
    let (first, last) = (sum(&costs[..10]), sum(&costs[20..]));
    assert!(last <= first * 3 / 2 + 20, "the first ten cost {first} ticks, the last ten {last}: {costs:?}");
}
