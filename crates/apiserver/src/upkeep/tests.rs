//! The loops against a server in this process.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use stdx::{SystemClock, SystemRandom};
use tokio::{sync::Notify, time::timeout};

use super::*;
use crate::{
    engine::delete::DeleteOptions,
    server::{Config, Running, Server},
};

const PATIENCE: Duration = Duration::from_secs(20);

async fn server_in(directory: &tempfile::TempDir) -> Running {
    let config = Config::new(directory.path());
    Server::start(config, Arc::new(SystemClock), Arc::new(SystemRandom::default())).await.unwrap()
}

async fn write(engine: &Engine, topic: &str, namespace: &str, mut object: Value) -> Result<(), Status> {
    let mut target = target(engine, topic, namespace, "")?;
    object["apiVersion"] = target.resource.api_version().into();
    object["kind"] = (*target.resource.kind).into();
    crate::engine::decode::complete(&target.resource.clone(), &mut object)?;
    target.name.clear();
    engine.create(&target, &server(), object).await.map(|_| ())
}

/// Waits until what is asked again after each change of the topic is so.
async fn until<T>(engine: &Engine, topic: &str, what: impl Fn() -> Option<T>) -> T {
    let mut changes = engine.store.watch(&format!("{topic}/"), engine.store.revision()).unwrap();
    let wait = async {
        loop {
            match what() {
                Some(found) => return found,
                None => changes.next(&mut Vec::new()).await.unwrap(),
            };
        }
    };
    timeout(PATIENCE, wait).await.unwrap()
}

#[tokio::test]
async fn a_loop_looks_again_after_changes_only() {
    let directory = tempfile::tempdir().unwrap();
    let running = server_in(&directory).await;
    let (engine, stop) = (Arc::clone(&running.server.engine), CancellationToken::new());
    let (looks, looked) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let step: Step = {
        let (looks, looked) = (Arc::clone(&looks), Arc::clone(&looked));
        Box::new(move |_| {
            looks.fetch_add(1, Ordering::SeqCst);
            looked.notify_one();
            Box::pin(async { Ok(Vec::new()) })
        })
    };
    let seen = Loop {
        seen: Some(engine.store.revision()),
        registry_changes: Some(engine.registry_changes.subscribe()),
        ..Loop::new("configmaps", step)
    };
    let task = tokio::spawn(seen.run(Arc::clone(&engine), stop.clone()));
    write(&engine, "configmaps", "default", json!({"metadata": {"name": "a"}})).await.unwrap();
    timeout(PATIENCE, looked.notified()).await.unwrap();
    assert_eq!(looks.load(Ordering::SeqCst), 1, "not before the change");
    engine.serve(Clone::clone);
    timeout(PATIENCE, looked.notified()).await.unwrap();
    stop.cancel();
    task.await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn quotas_say_what_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let running = server_in(&directory).await;
    let engine = &*running.server.engine;
    let status = |name: &str| Cluster::get(engine, "resourcequotas", Some("default"), name).unwrap()["status"].clone();
    let says = async |expect: Value| {
        let as_expected = || (status("small") == expect).then_some(());
        until(engine, "resourcequotas", as_expected).await;
    };
    let hard = json!({"configmaps": "100", "count/deployments.apps": "1"});
    write(engine, "resourcequotas", "default", json!({"metadata": {"name": "small"}, "spec": {"hard": hard}}))
        .await
        .unwrap();
    // The authority's certificate lies in every namespace.
    let present = Cluster::list(engine, "configmaps", Some("default")).len();
    let used =
        |count: usize| json!({"hard": hard, "used": {"configmaps": count.to_string(), "count/deployments.apps": "0"}});
    says(used(present)).await;
    let before = engine.store.revision();
    let many = 60;
    for index in 0..many {
        write(engine, "configmaps", "default", json!({"metadata": {"name": format!("m{index}")}})).await.unwrap();
    }
    says(used(present + many)).await;
    let after = engine.store.revision();
    let statuses = after - before - many as u64;
    assert!((1..many as u64 / 2).contains(&statuses), "{statuses} statuses for {many} objects");
    // Somebody else's word does not stand.
    write_status(engine, "resourcequotas", "default", "small", |_| json!({"hard": {"configmaps": "7"}})).await.unwrap();
    says(used(present + many)).await;
    let map = Target { namespace: "default".into(), ..target(engine, "configmaps", "", "m0").unwrap() };
    engine.delete(&map, &server(), &DeleteOptions::default()).await.unwrap();
    says(used(present + many - 1)).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_at_the_same_time_fill_a_quota_exactly() {
    let directory = tempfile::tempdir().unwrap();
    let running = server_in(&directory).await;
    let engine = Arc::clone(&running.server.engine);
    let (room, writers) = (20, 100);
    let quota = json!({"metadata": {"name": "small"}, "spec": {"hard": {"count/secrets": room.to_string()}}});
    write(&engine, "resourcequotas", "default", quota).await.unwrap();
    for round in 0..5 {
        let create = |index: usize| {
            let engine = Arc::clone(&engine);
            let secret = json!({"metadata": {"name": format!("s{index}")}});
            tokio::spawn(async move { write(&engine, "secrets", "default", secret).await })
        };
        let tasks: Vec<_> = (0..writers).map(create).collect();
        let mut stored = Vec::new();
        for (index, task) in tasks.into_iter().enumerate() {
            match task.await.unwrap() {
                Ok(()) => stored.push(format!("s{index}")),
                Err(status) => assert!(status.message.contains("exceeded quota"), "{}", status.message),
            }
        }
        // Each refusal was right, and none was missing.
        assert_eq!(stored.len(), room, "round {round}");
        for name in stored {
            let secret = Target { namespace: "default".into(), ..target(&engine, "secrets", "", &name).unwrap() };
            engine.delete(&secret, &server(), &DeleteOptions::default()).await.unwrap();
        }
    }
    running.stop().await;
}
