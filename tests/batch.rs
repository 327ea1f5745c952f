//! Jobs and cron jobs in a simulated cluster, whatever goes wrong.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use client::{
    ApiError,
    objects::{CronJob, Job, Object, Pod},
    requests::{DeleteOptions, Patch},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stdx::Random;
use testkit::cluster::{
    Cluster, START, Setup,
    faults::Faults,
    observer::{Change, World, is_active},
    seeds, simulate,
};

const TRACKING: &str = "batch.kubernetes.io/job-tracking";

fn job(indexed: bool) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "sum"},
        "spec": {
            "completions": 10, "parallelism": 4, "completionMode": if indexed { "Indexed" } else { "NonIndexed" },
            "template": {
                "spec": {
                    "nodeName": "fake-0", "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "c", "image": "sum:1"}],
                },
            },
        },
    })
}

/// The UIDs that a job's status holds and no counter has yet.
fn uncounted(job: &Value) -> BTreeSet<String> {
    let pods = &job["status"]["uncountedTerminatedPods"];
    let lists = ["succeeded", "failed"].iter().filter_map(|list| pods[list].as_array());
    lists.flatten().map(|uid| uid.as_str().unwrap().to_owned()).collect()
}

fn is_tracked(pod: &Value) -> bool {
    pod["metadata"]["finalizers"].as_array().is_some_and(|finalizers| finalizers.iter().any(|one| one == TRACKING))
}

/// Every pod is taken note of once, and let go only then.
fn counts_once(noted: &mut BTreeSet<String>, world: &World, change: &Change<'_>) -> Result<(), String> {
    if change.plural == "jobs" {
        for uid in uncounted(change.new).difference(&uncounted(change.old)) {
            if !noted.insert(uid.clone()) {
                return Err(format!("{uid} is counted twice"));
            }
        }
    } else if change.plural == "pods"
        && is_tracked(change.old)
        && !is_tracked(change.new)
        && change.old["status"]["phase"] == "Succeeded"
    {
        let uid = change.old["metadata"]["uid"].as_str().unwrap();
        // Of an indexed job the index is noted.
        let own = index(change.old).map(|index| index.parse().unwrap());
        let is_complete = own.is_some_and(|index| world.all("jobs").any(|job| completed(job).contains(&index)));
        if !noted.contains(uid) && !is_complete {
            return Err(format!("{uid} is let go uncounted"));
        }
    }
    Ok(())
}

#[test]
fn every_pod_of_a_job_is_counted_once() {
    for seed in seeds(0..16) {
        simulate(Setup { seed, faults: Faults::many(), nodes: 1 }, |cluster| async move {
            let noted = Mutex::new(BTreeSet::new());
            cluster.observer.rule(move |world, change| counts_once(&mut noted.lock().unwrap(), world, change));
            cluster.create(&Job::KIND, "default", job(false)).await;
            let finished = |job: Arc<Job>| job.finished().is_some();
            cluster
                .until("the end of the job", |caches| caches.jobs.find("default", "sum").is_some_and(finished))
                .await;
            let job = cluster.caches.jobs.find("default", "sum").unwrap();
            assert!(job.holds("Complete").is_some());
            assert_eq!((job.status.succeeded, job.status.failed), (10, 0));
        });
    }
}

fn index(pod: &Value) -> Option<&str> {
    pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str()
}

/// The indexes that a job says are complete (`0-2,5`).
fn completed(job: &Value) -> BTreeSet<u32> {
    let ranges = job["status"]["completedIndexes"].as_str().unwrap_or_default().split(',');
    let ends = ranges.filter(|range| !range.is_empty()).map(|range| range.split_once('-').unwrap_or((range, range)));
    ends.flat_map(|(first, last)| first.parse().unwrap()..=last.parse().unwrap()).collect()
}

/// No index is at work twice or succeeds twice, and none is complete that has not succeeded, or ceases to be.
fn keeps_indexes(succeeded: &mut BTreeSet<u32>, world: &World, change: &Change<'_>) -> Result<(), String> {
    if change.plural == "jobs" {
        let (before, now) = (completed(change.old), completed(change.new));
        return match () {
            () if !change.new.is_null() && !before.is_subset(&now) => Err(format!("{before:?}, then {now:?}")),
            () if !now.is_subset(succeeded) => Err(format!("{now:?} of {succeeded:?}")),
            () => Ok(()),
        };
    }
    let Some(own) = index(change.new) else { return Ok(()) };
    if is_active(change.new) && world.active_pods().filter(|pod| index(pod) == Some(own)).count() > 1 {
        return Err(format!("index {own} is at work twice"));
    }
    if change.new["status"]["phase"] == "Succeeded" {
        succeeded.insert(own.parse().unwrap());
    }
    // One that is deleted is replaced at once, and may succeed all the same.
    let has_succeeded = |pod: &&Value| {
        index(pod) == Some(own)
            && pod["status"]["phase"] == "Succeeded"
            && pod["metadata"]["deletionTimestamp"].is_null()
    };
    if world.all("pods").filter(has_succeeded).count() > 1 {
        return Err(format!("index {own} has succeeded twice"));
    }
    Ok(())
}

/// Ends pods that are at work, so that others have to do theirs.
async fn interrupt(cluster: &Cluster) {
    for _ in 0..5 {
        cluster.sleep(Duration::from_millis(cluster.random.below(3_000))).await;
        if let Some(pod) = cluster.caches.pods.all().iter().find(|pod| pod.is_active()) {
            let result = cluster.requests.delete(&Pod::KIND, &pod.key(), &DeleteOptions::default()).await;
            assert!(result.as_ref().map_or_else(ApiError::is_not_found, |_| true), "{result:?}");
        }
    }
}

#[test]
fn every_index_of_a_job_succeeds_once_whatever_goes_wrong() {
    for seed in seeds(0..16) {
        simulate(Setup { seed, faults: Faults::many(), nodes: 1 }, |cluster| async move {
            let (noted, succeeded) = (Mutex::new(BTreeSet::new()), Mutex::new(BTreeSet::new()));
            cluster.observer.rule(move |world, change| counts_once(&mut noted.lock().unwrap(), world, change));
            cluster.observer.rule(move |world, change| keeps_indexes(&mut succeeded.lock().unwrap(), world, change));
            cluster.create(&Job::KIND, "default", job(true)).await;
            interrupt(&cluster).await;
            let finished = |job: Arc<Job>| job.finished().is_some();
            cluster
                .until("the end of the job", |caches| caches.jobs.find("default", "sum").is_some_and(finished))
                .await;
            let job = cluster.caches.jobs.find("default", "sum").unwrap();
            assert!(job.holds("Complete").is_some());
            assert_eq!(&*job.status.completed_indexes, "0-9");
            assert_eq!(job.status.succeeded, 10);
        });
    }
}

/// Its jobs are suspended: what counts is that they are made, each once and in its hour.
fn hours_of_a_cron_job(setup: Setup, hours: u64) {
    simulate(setup, |cluster| async move {
        let made: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
        let seen = Arc::clone(&made);
        cluster.observer.rule(move |_, change| {
            if change.plural == "jobs" && change.old.is_null() {
                *seen.lock().unwrap().entry(change.new["metadata"]["name"].to_string()).or_default() += 1;
            }
            Ok(())
        });
        let mut spec = job(false)["spec"].clone();
        spec["suspend"] = json!(true);
        let cron_job = json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "report"},
            "spec": {"schedule": "30 * * * *", "concurrencyPolicy": "Replace", "jobTemplate": {"spec": spec}},
        });
        cluster.create(&CronJob::KIND, "default", cron_job).await;
        cluster.sleep(Duration::from_secs(hours * 3600)).await;
        let made = made.lock().unwrap();
        assert_eq!(made.len() as u64, hours);
        assert!(made.values().all(|times| *times == 1), "{made:?}");
        let cron_job = cluster.caches.cron_jobs.find("default", "report").unwrap();
        let last = START.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(60 * hours as i64 - 30);
        assert_eq!(cron_job.status.last_schedule_time, Some(last));
        assert_eq!((cron_job.status.active.len(), cluster.caches.jobs.len()), (1, 1));
    });
}

#[test]
fn a_cron_job_starts_each_hour_of_a_month() {
    hours_of_a_cron_job(Setup::default(), 31 * 24);
}

#[test]
fn a_cron_job_starts_each_hour_whatever_goes_wrong() {
    for seed in seeds(0..3) {
        hours_of_a_cron_job(Setup { seed, faults: Faults::many(), nodes: 0 }, 8);
    }
}

fn is_unfinished(job: &Value) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    let ends = |condition: &Value| {
        matches!(condition["type"].as_str(), Some("Complete" | "Failed")) && condition["status"] == "True"
    };
    job["metadata"]["deletionTimestamp"].is_null() && !conditions.into_iter().flatten().any(ends)
}

/// Its pods end some ten minutes, or some hours, after they began.
async fn end_pods(cluster: Arc<Cluster>) {
    loop {
        cluster.sleep(Duration::from_secs(600)).await;
        for pod in cluster.caches.pods.all() {
            if pod.is_active() && cluster.random.below(6) == 0 {
                let over = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"phase": "Succeeded"}});
                let result = cluster.requests.patch(&Pod::KIND, &pod.key(), "status", (Patch::Merge, &over)).await;
                let is_gone = |error: &ApiError| error.is_not_found() || error.is_conflict();
                assert!(result.as_ref().map_or_else(is_gone, |_| true), "{result:?}");
            }
        }
    }
}

/// Every hour has one job at most, and all but those that were forbidden have one.
fn jobs_of_some_days(seed: u64, policy: &'static str, days: u64) {
    // Watches that end every few seconds would be most of the run.
    let faults = Faults { watch_life: Some(Duration::from_secs(6 * 3600)), ..Faults::many() };
    simulate(Setup { seed, faults, nodes: 0 }, |cluster| async move {
        let made: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let seen = Arc::clone(&made);
        cluster.observer.rule(move |world, change| {
            if change.plural != "jobs" {
                return Ok(());
            }
            if change.old.is_null() && !seen.lock().unwrap().insert(change.new["metadata"]["name"].to_string()) {
                return Err("made twice".to_owned());
            }
            let unfinished = world.all("jobs").filter(|job| is_unfinished(job)).count();
            if policy == "Allow" || unfinished <= 1 { Ok(()) } else { Err(format!("{unfinished} at once")) }
        });
        let pod = json!({
            "restartPolicy": "Never", "schedulerName": "none", "containers": [{"name": "c", "image": "report:1"}],
        });
        let cron_job = json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "report"},
            "spec": {
                "schedule": "30 * * * *", "concurrencyPolicy": policy,
                "jobTemplate": {"spec": {"template": {"spec": pod}}},
            },
        });
        cluster.create(&CronJob::KIND, "default", cron_job).await;
        let hours = 24 * days;
        tokio::select! {
            () = cluster.sleep(Duration::from_secs(hours * 3600)) => {}
            () = end_pods(Arc::clone(&cluster)) => {}
        }
        let made = made.lock().unwrap().len() as u64;
        let least = if policy == "Forbid" { hours / 4 } else { hours };
        assert!((least..=hours).contains(&made), "{made} in {hours} hours");
        cluster
            .until("a short history", |caches| {
                caches.jobs.all().iter().filter(|job| job.finished().is_some()).count() <= 3
            })
            .await;
    });
}

#[test]
fn a_cron_job_keeps_its_policy_whatever_goes_wrong() {
    for seed in seeds(0..3) {
        // A month takes as long as a thousand rollouts.
        let days = if seed % 1000 == 999 { 31 } else { 1 };
        jobs_of_some_days(seed, ["Allow", "Forbid", "Replace"][seed as usize % 3], days);
    }
}
