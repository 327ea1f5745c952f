//! What a delete makes of an object, and what admission is asked of it.

use std::sync::Mutex;

use api::status::Status;
use async_trait::async_trait;

use super::*;
use crate::{
    admission::{Plugin, Request, expressions::request_document},
    cluster::Cluster,
    engine::testing::{self, engine},
};

#[test]
fn what_is_owned_is_collected_waited_for_or_let_go() {
    use Dependents::{Collected, None as Nothing, Orphaned};
    use Propagation::{Background, Foreground, Orphan};
    for (dependents, asked, before, after) in [
        (Collected, None, &[][..], &[][..]),
        (Collected, None, &["x/y", FOREGROUND], &["x/y", FOREGROUND]),
        (Collected, Some(Foreground), &["x/y"], &["x/y", FOREGROUND]),
        (Collected, Some(Orphan), &[FOREGROUND], &[ORPHAN]),
        (Collected, Some(Background), &[ORPHAN, "x/y"], &["x/y"]),
        (Orphaned, None, &["x/y"], &["x/y", ORPHAN]),
        (Orphaned, None, &[FOREGROUND], &[FOREGROUND]),
        (Orphaned, Some(Background), &[], &[]),
        (Nothing, Some(Foreground), &[], &[]),
        (Nothing, None, &[ORPHAN], &[]),
    ] {
        let mut object = json!({"metadata": {"finalizers": before}});
        set_propagation_finalizers(&mut object, dependents, asked);
        let found: Vec<&str> =
            object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        assert_eq!(found, after, "{dependents:?}, {asked:?}, {before:?}");
    }
}

/// Notes the requests it is asked about.
struct Ear(std::sync::Arc<Mutex<Vec<Value>>>);

#[async_trait]
impl Plugin for Ear {
    fn name(&self) -> &'static str {
        "Ear"
    }

    async fn validate(&self, request: &mut Request<'_>, _cluster: &dyn Cluster) -> Result<(), Status> {
        if request.operation == admission::Operation::Delete {
            let mut document = request_document(request, request.resource);
            document["oldObject"] = request.old["metadata"]["name"].clone();
            self.0.lock().unwrap().push(document);
        }
        Ok(())
    }
}

#[tokio::test]
async fn the_request_for_a_collection_names_no_object() {
    let heard = std::sync::Arc::<Mutex<Vec<Value>>>::default();
    let engine = engine(vec![Box::new(Ear(heard.clone()))]).await;
    for name in ["a", "b"] {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        testing::create(&engine, "", "configmaps", map, false).await.unwrap();
    }
    testing::delete(&engine, "configmaps", "a").await.unwrap();
    let collection = Target {
        resource: testing::resource("configmaps"),
        subresource: String::new(),
        namespace: "default".to_owned(),
        name: String::new(),
    };
    let (caller, options) = (Caller::default(), DeleteOptions::default());
    engine.delete_collection(&collection, &caller, &ListOptions::default(), &options).await.unwrap();
    let heard = heard.lock().unwrap();
    let asked: Vec<_> = heard.iter().map(|request| (request.get("name"), &request["oldObject"])).collect();
    assert_eq!(asked, [(Some(&json!("a")), &json!("a")), (None, &json!("b"))]);
}

#[test]
fn a_pod_that_no_node_runs_says_that_nothing_was_waited_for() {
    let row = testing::resource("pods");
    let pod = json!({"metadata": {"generation": 1}, "spec": {"terminationGracePeriodSeconds": 30}});
    let asked = DeleteOptions { grace_period_seconds: Some(60), ..DeleteOptions::default() };
    let (last, gone) = mark(&row, &pod, &asked, 1_000);
    assert!(gone);
    let time = "1970-01-01T00:16:40Z";
    let expect = json!({"generation": 2, "deletionTimestamp": time, "deletionGracePeriodSeconds": 0});
    assert_eq!(last["metadata"], expect);
}
