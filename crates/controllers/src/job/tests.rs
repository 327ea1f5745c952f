//! Jobs against a server that loses answers, a cache that lags behind others' writes, and ends of the process between
//! any two requests. Whatever happens, a pod is counted once, and its finalizer goes only after the status has it.

use std::collections::{BTreeMap, BTreeSet};

use client::requests::Patch as Form;
use document::patch::merge;
use jiff::SignedDuration;
use serde_json::{Value, json};
use stdx::{Random, SeededRandom};

use super::{indexes::Indexes, *};

const JOB: &str = "shop/sum";

struct World {
    random: SeededRandom,
    now: jiff::Timestamp,
    revision: u64,
    job: Value,
    pods: BTreeMap<String, Value>,
    /// What the controller's caches hold.
    known_job: Value,
    known_pods: BTreeMap<String, Value>,
    /// Faults happen.
    rough: bool,
    counted: [BTreeSet<String>; 2],
    made: u64,
}

enum End {
    Went,
    Stopped,
}

impl World {
    fn new(seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        let indexed = random.below(2) == 1;
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"namespace": "shop", "name": "sum", "uid": "j", "resourceVersion": "1"},
            "spec": {
                "parallelism": 1 + random.below(4), "completions": 1 + random.below(6), "backoffLimit": random.below(6),
                "completionMode": if indexed { "Indexed" } else { "NonIndexed" }, "suspend": false,
                "podReplacementPolicy": if random.below(2) == 1 { "Failed" } else { "TerminatingOrFailed" },
                "selector": {"matchLabels": {"job": "sum"}},
                "template": {"metadata": {"labels": {"job": "sum"}}, "spec": {"containers": [], "restartPolicy": "Never"}},
            },
            "status": {},
        });
        let mut world = Self {
            random,
            now: "2026-11-23T12:00:00Z".parse().unwrap(),
            revision: 1,
            known_job: job.clone(),
            job,
            pods: BTreeMap::new(),
            known_pods: BTreeMap::new(),
            rough: true,
            counted: Default::default(),
            made: 0,
        };
        if indexed && world.chance(2) {
            world.job["spec"]["backoffLimitPerIndex"] = json!(world.random.below(3));
            world.job["spec"]["backoffLimit"] = json!(i32::MAX);
            world.known_job = world.job.clone();
        }
        world
    }

    fn chance(&self, one_in: u64) -> bool {
        self.random.below(one_in) == 0
    }

    fn next_revision(&mut self) -> Value {
        self.revision += 1;
        self.revision.to_string().into()
    }

    fn caches(&self) -> Caches {
        let caches = Caches::default();
        for object in self.known_pods.values().chain([&self.known_job]) {
            caches.observe(object).unwrap();
        }
        caches
    }

    /// A turn of the controller. None once it has nothing more to do.
    fn turn(&mut self) -> Option<Option<std::time::Duration>> {
        let caches = self.caches();
        let plan = Jobs.reconcile(&caches, &Key::new("shop", "sum"), &Turn::at(self.now));
        let orphans = self.known_pods.keys().map(|name| Key::new("shop", name));
        let freed: Vec<Plan> = orphans
            .map(|key| OrphanedPods.reconcile(&caches, &key, &Turn::at(self.now)))
            .filter(|plan| !plan.steps.is_empty())
            .collect();
        if plan.steps.is_empty() && freed.is_empty() {
            return Some(plan.again_after);
        }
        for action in plan.steps.iter().flatten().chain(freed.iter().flat_map(|plan| plan.steps.iter().flatten())) {
            if self.rough && self.chance(12) {
                self.watch_tells();
                return None;
            }
            if matches!(self.act(action), End::Stopped) {
                self.watch_tells();
                return None;
            }
        }
        None
    }

    fn act(&mut self, action: &Action) -> End {
        let answer_is_lost = self.rough && self.chance(15);
        match action {
            Action::Create { object, .. } => {
                let mut pod = object.clone();
                self.made += 1;
                let name = format!("{}{}", pod["metadata"]["generateName"].as_str().unwrap(), self.made);
                pod["metadata"]["name"] = json!(name);
                pod["metadata"]["namespace"] = json!("shop");
                pod["metadata"]["uid"] = json!(format!("uid-{name}"));
                pod["metadata"]["creationTimestamp"] = json!(self.now.to_string());
                pod["status"] = json!({"phase": "Pending"});
                self.write_pod(&name, pod, answer_is_lost);
            }
            Action::Patch { subresource: "status", form: Form::Merge, patch, .. } => {
                if patch["metadata"]["resourceVersion"] != self.job["metadata"]["resourceVersion"] {
                    return End::Stopped;
                }
                self.write_status(patch["status"].clone(), answer_is_lost);
            }
            Action::Patch { key, patch, .. } => {
                let Some(mut pod) = self.pods.get(key.name()).cloned() else { return End::Went };
                let (metadata, known) = (&patch["metadata"], &pod["metadata"]);
                let revision = &metadata["resourceVersion"];
                if metadata["uid"] != known["uid"] || (!revision.is_null() && *revision != known["resourceVersion"]) {
                    return End::Stopped;
                }
                if metadata["finalizers"].is_null() {
                    self.check_release(&pod);
                    pod["metadata"]["finalizers"] = json!([]);
                } else {
                    pod["metadata"]["finalizers"] = metadata["finalizers"].clone();
                }
                self.write_pod(key.name(), pod, answer_is_lost);
            }
            Action::Delete { key, options, .. } => {
                let Some(mut pod) = self.pods.get(key.name()).cloned() else { return End::Went };
                if pod["metadata"]["uid"].as_str() != options.uid.as_deref() {
                    return End::Stopped;
                }
                self.mark_deleted(&mut pod);
                self.write_pod(key.name(), pod, answer_is_lost);
            }
            Action::Event(_) => {}
            other => panic!("a job does no such thing: {other:?}"),
        }
        if answer_is_lost { End::Stopped } else { End::Went }
    }

    fn mark_deleted(&self, pod: &mut Value) {
        if pod["metadata"]["deletionTimestamp"].is_null() {
            let grace = if pod["status"]["phase"] == "Running" { 30 } else { 0 };
            pod["metadata"]["deletionTimestamp"] = json!((self.now + SignedDuration::from_secs(grace)).to_string());
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        }
    }

    fn write_pod(&mut self, name: &str, mut pod: Value, answer_is_lost: bool) {
        pod["metadata"]["resourceVersion"] = self.next_revision();
        let held = pod["metadata"]["deletionTimestamp"].is_null()
            || pod["metadata"]["deletionGracePeriodSeconds"] != 0
            || pod["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
        if held {
            self.pods.insert(name.to_owned(), pod.clone());
        } else {
            self.pods.remove(name);
        }
        if !answer_is_lost {
            self.known_pods.insert(name.to_owned(), pod);
        }
    }

    fn write_status(&mut self, patch: Value, answer_is_lost: bool) {
        let old = self.job.clone();
        merge::apply(&mut self.job["status"], patch).unwrap();
        self.job["metadata"]["resourceVersion"] = self.next_revision();
        let mut errors = Default::default();
        let strategy = api::kinds::strategy("jobs.batch").unwrap();
        (strategy.validate_status)(&self.job, &old, &mut errors);
        assert!(errors.is_empty(), "{errors:?}");
        for (list, counter, counted) in [("succeeded", "succeeded", 0), ("failed", "failed", 1)] {
            let uids = |job: &Value| -> BTreeSet<String> {
                let listed = job["status"]["uncountedTerminatedPods"][list].as_array().cloned().unwrap_or_default();
                listed.iter().map(|uid| uid.as_str().unwrap().to_owned()).collect()
            };
            for uid in uids(&self.job).difference(&uids(&old)) {
                let is_new = self.counted.iter().all(|counted| !counted.contains(uid));
                assert!(is_new, "{uid} is counted a second time");
                self.counted[counted].insert(uid.clone());
            }
            if counter == "failed" || self.job["spec"]["completionMode"] == "NonIndexed" {
                let number = self.job["status"][counter].as_u64().unwrap_or_default() as usize;
                assert_eq!(number + uids(&self.job).len(), self.counted[counted].len(), "{counter}");
            }
        }
        if !answer_is_lost {
            self.known_job = self.job.clone();
        }
    }

    /// A pod that has ended may lose its finalizer only if the status has it.
    fn check_release(&self, pod: &Value) {
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let has_finalizer = pod["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
        let phase = pod["status"]["phase"].as_str().unwrap();
        let index = pod["metadata"]["annotations"][INDEX].as_str().map(|index| index.parse().unwrap());
        let completed = Indexes::parse(self.job["status"]["completedIndexes"].as_str().unwrap_or_default(), u32::MAX);
        let is_counted = self.counted.iter().any(|counted| counted.contains(uid))
            || (phase == "Succeeded" && index.is_some_and(|index| completed.contains(index)));
        // One that the job had no use for may end before it is told to.
        let is_known_ended = self.known_pods[pod["metadata"]["name"].as_str().unwrap()]["status"]["phase"] == phase;
        if has_finalizer && is_known_ended && matches!(phase, "Succeeded" | "Failed") {
            assert!(is_counted, "{uid} is let go uncounted");
        }
    }

    /// What others do: nodes, users.
    fn others(&mut self) {
        let names: Vec<String> = self.pods.keys().cloned().collect();
        for name in names {
            let mut pod = self.pods[&name].clone();
            let is_over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
            let is_going = !pod["metadata"]["deletionTimestamp"].is_null();
            if is_over || !self.chance(3) {
                continue;
            }
            if !is_going && self.rough && self.chance(8) {
                self.mark_deleted(&mut pod);
            } else if pod["status"]["phase"] == "Pending" && !is_going {
                pod["status"]["phase"] = json!("Running");
            } else {
                let failed = self.chance(4);
                pod["status"]["phase"] = json!(if failed { "Failed" } else { "Succeeded" });
                let end = json!({"exitCode": i32::from(failed), "finishedAt": self.now.to_string()});
                pod["status"]["containerStatuses"] = json!([{"name": "c", "state": {"terminated": end}}]);
                if is_going {
                    pod["metadata"]["deletionGracePeriodSeconds"] = json!(0);
                }
            }
            self.write_pod(&name, pod, true);
        }
        if self.rough && self.chance(20) {
            let suspended = self.job["spec"]["suspend"] == true;
            self.job["spec"]["suspend"] = json!(!suspended);
            self.job["metadata"]["resourceVersion"] = self.next_revision();
        }
    }

    fn watch_tells(&mut self) {
        self.known_pods = self.pods.clone();
        self.known_job = self.job.clone();
    }

    fn is_finished(&self) -> bool {
        let conditions = self.job["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Complete" || one["type"] == "Failed"))
    }

    fn run(&mut self) {
        for round in 0..400 {
            self.rough = round < 60;
            if !self.rough {
                self.job["spec"]["suspend"] = json!(false);
                self.watch_tells();
            }
            self.others();
            if self.chance(2) {
                self.watch_tells();
            }
            if let Some(wait) = self.turn() {
                let wait =
                    wait.and_then(|wait| SignedDuration::try_from(wait).ok()).unwrap_or(SignedDuration::from_secs(1));
                self.now += wait;
            }
            if self.is_finished() && !self.rough {
                break;
            }
        }
        // What the job left with finalizers is freed.
        for _ in 0..20 {
            self.watch_tells();
            self.turn();
        }
        assert!(self.is_finished(), "it does not end: {:#}", self.job["status"]);
        let held = self.pods.values().filter(|pod| pod["metadata"]["finalizers"] != json!([]));
        assert_eq!(held.count(), 0, "finalizers are left");
    }
}

#[test]
fn a_pod_is_counted_once_whatever_happens() {
    for seed in 0..300 {
        let result = std::panic::catch_unwind(|| World::new(seed).run());
        assert!(result.is_ok(), "seed {seed} of {JOB}");
    }
}
