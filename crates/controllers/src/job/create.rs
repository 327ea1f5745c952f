//! The pods of a job as they are created.

use serde_json::{Value, json};

use super::{FINALIZER, INDEX, INDEX_FAILURES, INDEX_IGNORED_FAILURES, census::Census, policy::Verdict};
use crate::{plan::Reference, pods};

const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// The longest name, less the letters that are added to it.
const LONGEST_BASE: usize = 58;

pub struct Maker<'c> {
    census: &'c Census<'c>,
    template: Value,
}

impl<'c> Maker<'c> {
    pub fn new(census: &'c Census<'_>) -> Self {
        let mut template = pods::from_template(&census.job.spec.template, &Reference::to(census.job));
        add_to_list(&mut template["metadata"], "finalizers", FINALIZER);
        if census.job.is_indexed() {
            for list in ["/spec/initContainers", "/spec/containers"] {
                let containers = template.pointer_mut(list).and_then(Value::as_array_mut);
                containers.into_iter().flatten().for_each(add_variable);
            }
        }
        Self { census, template }
    }

    pub fn pod(&self, index: Option<u32>) -> Value {
        let mut pod = self.template.clone();
        let Some(index) = index else { return pod };
        let job = &self.census.job.metadata.name;
        pod["metadata"]["generateName"] = base(job, index).into();
        pod["metadata"]["labels"][INDEX] = index.to_string().into();
        pod["metadata"]["annotations"][INDEX] = index.to_string().into();
        pod["spec"]["hostname"] = format!("{job}-{index}").into();
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
}

/// `job-7-`, where the job's name gives way if it gets too long.
fn base(job: &str, index: u32) -> String {
    let end = format!("-{index}-");
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
