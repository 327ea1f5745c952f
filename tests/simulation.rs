//! The control plane on one thread under a paused clock: what takes hours takes milliseconds, and what goes wrong goes wrong
//! by a seed.
#![allow(clippy::unwrap_used)]

use client::{
    Caches,
    objects::{Deployment, Object},
};
use serde_json::{Value, json};
use testkit::cluster::{
    Setup,
    faults::Faults,
    observer::{is_active, is_ready},
    seeds, simulate,
};

fn web(replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [{"name": "web", "image": "web:1"}], "terminationGracePeriodSeconds": 5,
                },
            },
        },
    })
}

fn is_complete(caches: &Caches, replicas: i32) -> bool {
    let Some(deployment) = caches.deployments.find("default", "web") else { return false };
    let status = &deployment.status;
    let numbers = [status.replicas, status.updated_replicas, status.available_replicas];
    numbers == [replicas; 3]
        && status.observed_generation == deployment.metadata.generation
        && caches.pods.len() == replicas as usize
}

fn rollout(setup: Setup) -> String {
    let mut trace = String::new();
    let told = &mut trace;
    simulate(setup, |cluster| async move {
        cluster.create(&Deployment::KIND, "default", web(6)).await;
        cluster.until("the first rollout", |caches| is_complete(caches, 6)).await;
        cluster.observer.rule(|world, change| {
            let staying = world.active_pods().count();
            let ready = world.active_pods().filter(|pod| is_ready(pod)).count();
            if is_active(change.new) && !is_active(change.old) && staying > 8 {
                return Err(format!("{staying} pods"));
            }
            if ready < 5 { Err(format!("{ready} pods are ready")) } else { Ok(()) }
        });
        let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}});
        cluster.patch(&Deployment::KIND, "default/web", "", image).await;
        cluster.until("the second rollout", |caches| is_complete(caches, 6)).await;
        for pod in cluster.caches.pods.all() {
            told.push_str(&format!("{} {:?}\n", pod.key(), pod.metadata.creation_timestamp));
        }
        told.push_str(&format!("{} {}", cluster.clock.now(), cluster.store().revision()));
    });
    trace
}

#[test]
fn a_rolling_update_keeps_its_margins_whatever_goes_wrong() {
    for seed in seeds(0..20) {
        rollout(Setup { seed, faults: Faults::many(), nodes: 2 });
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [7, 8, 9] {
        let setup = || Setup { seed, faults: Faults::many(), nodes: 2 };
        assert_eq!(rollout(setup()), rollout(setup()), "seed {seed}");
    }
}
