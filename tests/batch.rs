//! Jobs and cron jobs in a simulated cluster, whatever goes wrong.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use client::objects::{CronJob, Job, Object};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use testkit::cluster::{START, Setup, faults::Faults, observer::Change, seeds, simulate};

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
fn counts_once(noted: &mut BTreeSet<String>, change: &Change<'_>) -> Result<(), String> {
    if change.plural == "jobs" {
        for uid in uncounted(change.new).difference(&uncounted(change.old)) {
            if !noted.insert(uid.clone()) {
                return Err(format!("{uid} is counted twice"));
            }
        }
    } else if is_tracked(change.old) && !is_tracked(change.new) && change.old["status"]["phase"] == "Succeeded" {
        let uid = change.old["metadata"]["uid"].as_str().unwrap();
        if !noted.contains(uid) {
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
            cluster.observer.rule(move |_, change| counts_once(&mut noted.lock().unwrap(), change));
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

#[test]
fn every_index_of_a_job_has_one_pod_that_succeeds() {
    for seed in seeds(0..16) {
        simulate(Setup { seed, faults: Faults::many(), nodes: 1 }, |cluster| async move {
            cluster.create(&Job::KIND, "default", job(true)).await;
            let finished = |job: Arc<Job>| job.finished().is_some();
            cluster
                .until("the end of the job", |caches| caches.jobs.find("default", "sum").is_some_and(finished))
                .await;
            let job = cluster.caches.jobs.find("default", "sum").unwrap();
            assert_eq!(&*job.status.completed_indexes, "0-9");
            assert_eq!(cluster.caches.pods.len(), 10);
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
