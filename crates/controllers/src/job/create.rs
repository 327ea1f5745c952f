//! The pods of a job as they are created.

use std::collections::HashSet;

use client::Caches;
use serde_json::{Value, json};

use super::{
    FINALIZER, INDEX, INDEX_FAILURES, INDEX_IGNORED_FAILURES,
    census::{Census, Member},
    policy::Verdict,
};
use crate::{names::letters, plan::Reference, pods};

const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// The longest name, less the letters that are added.
const LONGEST_BASE: usize = 58;
const LETTERS: usize = 5;

pub struct Maker<'c> {
    census: &'c Census<'c>,
    caches: &'c Caches,
    template: Value,
    /// What pods there are and were. A creation whose answer was lost is asked for again under the same name, as long
    /// as nothing new is known, and is then refused.
    seed: (i64, i32, Vec<&'c str>),
    names: HashSet<String>,
}

impl<'c> Maker<'c> {
    pub fn new(census: &'c Census<'_>, caches: &'c Caches) -> Self {
        let mut template = pods::from_template(&census.job.spec.template, &Reference::to(census.job));
        add_to_list(&mut template["metadata"], "finalizers", FINALIZER);
        if census.job.is_indexed() {
            for list in ["/spec/initContainers", "/spec/containers"] {
                let containers = template.pointer_mut(list).and_then(Value::as_array_mut);
                containers.into_iter().flatten().for_each(add_variable);
            }
        }
        let mut uids: Vec<&str> = census.members.iter().map(Member::uid).collect();
        uids.sort_unstable();
        let seed = (census.job.metadata.generation, census.job.status.failed, uids);
        Self { census, caches, template, seed, names: HashSet::new() }
    }

    pub fn pod(&mut self, index: Option<u32>) -> Value {
        let job = &self.census.job.metadata;
        let mut pod = self.template.clone();
        let base = base(&job.name, index);
        pod["metadata"]["name"] = self.name(&base, index).into();
        pod["metadata"]["generateName"] = base.into();
        let Some(index) = index else { return pod };
        pod["metadata"]["labels"][INDEX] = index.to_string().into();
        pod["metadata"]["annotations"][INDEX] = index.to_string().into();
        pod["spec"]["hostname"] = format!("{}-{index}", job.name).into();
        if self.census.has_limit_per_index() {
            let (counted, ignored) = self.failures(index);
            pod["metadata"]["annotations"][INDEX_FAILURES] = counted.to_string().into();
            if ignored > 0 {
                pod["metadata"]["annotations"][INDEX_IGNORED_FAILURES] = ignored.to_string().into();
            }
        }
        pod
    }

    /// The failures of an index, with that of the pod that is replaced.
    fn failures(&self, index: u32) -> (u32, u32) {
        let Some(at) = self.census.to_replace.get(&index) else { return (0, 0) };
        let before = &self.census.members[*at];
        let (counted, ignored) = before.handed_on();
        match self.census.judge(&before.pod) {
            Verdict::IsIgnored => (counted, ignored + 1),
            _ => (counted + 1, ignored),
        }
    }

    fn name(&mut self, base: &str, index: Option<u32>) -> String {
        let job = &self.census.job.metadata;
        let ordinal = self.names.len();
        let mut salt = 0_u32;
        loop {
            let seed = (&*job.uid, &self.seed, index.map_or(ordinal, |index| index as usize), salt);
            let name = format!("{base}{}", letters(seed, LETTERS));
            if self.caches.pods.find(&job.namespace, &name).is_none() && self.names.insert(name.clone()) {
                return name;
            }
            salt += 1;
        }
    }
}

/// `job-` or `job-7-`, where the job's name gives way if it gets too long.
fn base(job: &str, index: Option<u32>) -> String {
    let end = index.map_or("-".to_owned(), |index| format!("-{index}-"));
    format!("{:.*}{end}", LONGEST_BASE - end.len(), job)
}

fn add_to_list(object: &mut Value, list: &str, word: &str) {
    let words = &mut object[list];
    if words.is_null() {
        *words = json!([]);
    }
    if let Some(words) = words.as_array_mut().filter(|words| !words.iter().any(|known| known == word)) {
        words.push(word.into());
    }
}

/// The index as a variable; a container that has one of that name keeps its own.
fn add_variable(container: &mut Value) {
    let variables = &mut container["env"];
    if variables.is_null() {
        *variables = json!([]);
    }
    let Some(variables) = variables.as_array_mut() else { return };
    if variables.iter().all(|variable| variable["name"] != INDEX_VARIABLE) {
        let path = format!("metadata.labels['{INDEX}']");
        variables.push(json!({"name": INDEX_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": path}}}));
    }
}
