//! The FlowSchemas and PriorityLevelConfigurations that every cluster has: those that must be there are kept as
//! they are here; the suggested ones are, until their owner says otherwise by an annotation.
//!
//! They are objects only: requests are not queued by them yet.

use std::collections::HashSet;

use api::status::Status;
use serde_json::{Map, Value, json};

use super::{create, target_of};
use crate::{
    cluster::Cluster,
    engine::{Caller, Engine, decode, patch::Change},
};

pub const SCHEMAS: &str = "flowschemas.flowcontrol.apiserver.k8s.io";
pub const LEVELS: &str = "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io";

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
/// Whether the server keeps the specification of a suggested object as its own version has it.
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
const EXEMPT: &str = "exempt";
/// Objects of both kinds that cannot be otherwise.
const MANDATORY: [&str; 2] = [EXEMPT, "catch-all"];

enum Limit {
    Exempt,
    Reject,
    Queue { queues: u32, hand_size: u32, length: u32 },
}
use Limit::{Exempt, Queue, Reject};

struct Level {
    name: &'static str,
    shares: u32,
    lendable_percent: u32,
    limit: Limit,
}

const fn level(name: &'static str, shares: u32, lendable_percent: u32, limit: Limit) -> Level {
    Level { name, shares, lendable_percent, limit }
}

const fn queue(queues: u32, hand_size: u32) -> Limit {
    Queue { queues, hand_size, length: 50 }
}

const ALL_LEVELS: [Level; 8] = [
    level(EXEMPT, 0, 0, Exempt),
    level("catch-all", 5, 0, Reject),
    level("system", 30, 33, queue(64, 6)),
    level("node-high", 40, 25, queue(64, 6)),
    level("leader-election", 10, 0, queue(16, 4)),
    level("workload-high", 40, 50, queue(128, 6)),
    level("workload-low", 100, 90, queue(128, 6)),
    level("global-default", 20, 50, queue(128, 6)),
];

enum Subject {
    Group(&'static str),
    User(&'static str),
    /// Every service account of `kube-system`.
    SystemAccounts,
}
use Subject::{Group, SystemAccounts, User};

/// Verbs, groups, resources, and whether objects without a namespace are meant too.
type ResourceRule = (&'static [&'static str], &'static str, &'static [&'static str], bool);
/// Verbs and paths.
type PathRule = (&'static [&'static str], &'static [&'static str]);

struct Schema {
    name: &'static str,
    level: &'static str,
    precedence: u32,
    /// By what the requests of a schema are told apart into flows.
    distinguisher: Option<&'static str>,
    subjects: &'static [Subject],
    resources: &'static [ResourceRule],
    paths: &'static [PathRule],
}

const EVERYONE: &[Subject] = &[Group("system:unauthenticated"), Group("system:authenticated")];
const NODES: &[Subject] = &[Group("system:nodes")];
const ALL_RESOURCES: &[ResourceRule] = &[(&["*"], "*", &["*"], true)];
const ALL_PATHS: &[PathRule] = &[(&["*"], &["*"])];
const LEASES: &[&str] = &["leases"];
const COORDINATION: &str = "coordination.k8s.io";
const BY_USER: Option<&str> = Some("ByUser");
const BY_NAMESPACE: Option<&str> = Some("ByNamespace");

/// A schema for all that its subjects do.
const fn all(
    name: &'static str,
    level: &'static str,
    precedence: u32,
    distinguisher: Option<&'static str>,
    subjects: &'static [Subject],
) -> Schema {
    Schema { name, level, precedence, distinguisher, subjects, resources: ALL_RESOURCES, paths: ALL_PATHS }
}

const ALL_SCHEMAS: [Schema; 11] = [
    all(EXEMPT, EXEMPT, 1, None, &[Group("system:masters")]),
    Schema {
        name: "probes",
        level: EXEMPT,
        precedence: 2,
        distinguisher: None,
        subjects: EVERYONE,
        resources: &[],
        paths: &[(&["get"], &["/healthz", "/readyz", "/livez"])],
    },
    Schema {
        name: "system-leader-election",
        level: "leader-election",
        precedence: 100,
        distinguisher: BY_USER,
        subjects: &[User("system:kube-controller-manager"), User("system:kube-scheduler"), SystemAccounts],
        resources: &[(&["get", "create", "update"], COORDINATION, LEASES, false)],
        paths: &[],
    },
    Schema {
        name: "system-node-high",
        level: "node-high",
        precedence: 400,
        distinguisher: BY_USER,
        subjects: NODES,
        resources: &[(&["*"], "", &["nodes", "nodes/status"], true), (&["*"], COORDINATION, LEASES, false)],
        paths: &[],
    },
    all("system-nodes", "system", 500, BY_USER, NODES),
    all("kube-controller-manager", "workload-high", 800, BY_NAMESPACE, &[User("system:kube-controller-manager")]),
    all("kube-scheduler", "workload-high", 800, BY_NAMESPACE, &[User("system:kube-scheduler")]),
    all("kube-system-service-accounts", "workload-high", 900, BY_NAMESPACE, &[SystemAccounts]),
    all("service-accounts", "workload-low", 9_000, BY_USER, &[Group("system:serviceaccounts")]),
    all("global-default", "global-default", 9_900, BY_USER, EVERYONE),
    all("catch-all", "catch-all", 10_000, BY_USER, EVERYONE),
];

/// Makes what is missing, puts right what is to be kept, and says of every schema whether its level exists.
pub async fn keep(engine: &Engine, caller: &Caller) -> Result<(), Status> {
    for (topic, document) in wanted() {
        let target = target_of(engine, &document)?;
        let Some(current) = Cluster::get(engine, topic, None, &target.name) else {
            create(engine, caller, document).await?;
            continue;
        };
        let mut wanted = document;
        decode::complete(&target.resource, &mut wanted)?;
        if let Some(revised) = revise(&current, &wanted) {
            ignore_race(engine.update(&target, caller, &Change::Replace(revised)).await.map(|_| ()))?;
        }
    }
    let levels = Cluster::list(engine, LEVELS, None);
    let levels: HashSet<&str> = levels.iter().filter_map(|level| level["metadata"]["name"].as_str()).collect();
    for schema in Cluster::list(engine, SCHEMAS, None) {
        if let Some(conditions) = dangling(&schema, &levels, &engine.now_text()) {
            let mut target = target_of(engine, &named("FlowSchema", &schema["metadata"]["name"], Value::Null))?;
            target.subresource = "status".to_owned();
            let edit = move |schema: &Value| {
                let mut schema = schema.clone();
                schema["status"]["conditions"] = conditions.clone();
                Ok(schema)
            };
            ignore_race(engine.update(&target, caller, &Change::Edit(&edit)).await.map(|_| ()))?;
        }
    }
    Ok(())
}

/// What another has removed or changed meanwhile is looked at again after that change.
fn ignore_race(result: Result<(), Status>) -> Result<(), Status> {
    match result {
        Err(status) if matches!(status.code, 404 | 409) => Ok(()),
        other => other,
    }
}

fn wanted() -> impl Iterator<Item = (&'static str, Value)> {
    let levels = ALL_LEVELS.iter().map(|level| (LEVELS, level_document(level)));
    levels.chain(ALL_SCHEMAS.iter().map(|schema| (SCHEMAS, schema_document(schema))))
}

/// What `current` should be, where that is something else.
fn revise(current: &Value, wanted: &Value) -> Option<Value> {
    let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
    let metadata = &current["metadata"];
    let is_kept = MANDATORY.contains(&name)
        || match metadata["annotations"][AUTO_UPDATE].as_str() {
            Some("true") => true,
            Some("false") => false,
            // Nobody has said so, nor changed anything.
            _ => metadata["generation"] == 1,
        };
    let mut revised = current.clone();
    revised["metadata"]["annotations"][AUTO_UPDATE] = if is_kept { "true" } else { "false" }.into();
    if is_kept {
        revised["spec"] = wanted["spec"].clone();
        // How much the exempt level lends is its owner's to say.
        if name == EXEMPT && !current["spec"]["exempt"].is_null() {
            revised["spec"]["exempt"] = current["spec"]["exempt"].clone();
        }
    }
    (revised != *current).then_some(revised)
}

/// The conditions of a schema, where they are not yet so.
fn dangling(schema: &Value, levels: &HashSet<&str>, now: &str) -> Option<Value> {
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
    let subject = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let (status, reason, message) = match levels.contains(level) {
        true => ("False", "Found", format!("{subject} and it exists")),
        false => ("True", "NotFound", format!("{subject} but there is no such object")),
    };
    let condition =
        json!({"type": "Dangling", "status": status, "lastTransitionTime": now, "reason": reason, "message": message});
    let mut conditions = schema["status"]["conditions"].as_array().cloned().unwrap_or_default();
    match conditions.iter_mut().find(|known| known["type"] == "Dangling") {
        Some(known) if ["status", "reason", "message"].iter().all(|field| known[field] == condition[field]) => {
            return None;
        }
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
    Some(conditions.into())
}

fn named(kind: &str, name: &Value, spec: Value) -> Value {
    let annotations = Map::from_iter([(AUTO_UPDATE.to_owned(), "true".into())]);
    json!({
        "apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "annotations": annotations}, "spec": spec,
    })
}

fn level_document(level: &Level) -> Value {
    let Level { name, shares, lendable_percent, limit } = level;
    let mut of_limit = json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable_percent});
    let spec = match limit {
        Exempt => json!({"type": "Exempt", "exempt": of_limit}),
        Reject => {
            of_limit["limitResponse"] = json!({"type": "Reject"});
            json!({"type": "Limited", "limited": of_limit})
        }
        Queue { queues, hand_size, length } => {
            let queuing = json!({"queues": queues, "handSize": hand_size, "queueLengthLimit": length});
            of_limit["limitResponse"] = json!({"type": "Queue", "queuing": queuing});
            json!({"type": "Limited", "limited": of_limit})
        }
    };
    named("PriorityLevelConfiguration", &Value::from(*name), spec)
}

fn schema_document(schema: &Schema) -> Value {
    let subjects: Vec<Value> = schema.subjects.iter().map(subject_document).collect();
    let mut rule = json!({"subjects": subjects});
    if !schema.resources.is_empty() {
        let rules = schema.resources.iter().map(|(verbs, group, resources, cluster_scope)| {
            let mut rule = json!({
                "verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"],
            });
            if *cluster_scope {
                rule["clusterScope"] = true.into();
            }
            rule
        });
        rule["resourceRules"] = rules.collect();
    }
    if !schema.paths.is_empty() {
        let rules = schema.paths.iter().map(|(verbs, paths)| json!({"verbs": verbs, "nonResourceURLs": paths}));
        rule["nonResourceRules"] = rules.collect();
    }
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": schema.level},
        "matchingPrecedence": schema.precedence,
        "rules": [rule],
    });
    if let Some(distinguisher) = schema.distinguisher {
        spec["distinguisherMethod"] = json!({"type": distinguisher});
    }
    named("FlowSchema", &Value::from(schema.name), spec)
}

fn subject_document(subject: &Subject) -> Value {
    match subject {
        Group(name) => json!({"kind": "Group", "group": {"name": name}}),
        User(name) => json!({"kind": "User", "user": {"name": name}}),
        SystemAccounts => {
            json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_name_levels_that_exist() {
        let levels: HashSet<&str> = ALL_LEVELS.iter().map(|level| level.name).collect();
        assert!(ALL_SCHEMAS.iter().all(|schema| levels.contains(schema.level)));
        assert!(MANDATORY.iter().all(|name| levels.contains(name)));
    }

    #[test]
    fn the_owner_of_a_suggested_object_may_keep_it_as_it_is() {
        let wanted = level_document(&ALL_LEVELS[2]);
        let with = |annotation: Value, generation: i64, shares: i64| {
            let mut current = wanted.clone();
            current["metadata"]["annotations"] = annotation;
            current["metadata"]["generation"] = generation.into();
            current["spec"]["limited"]["nominalConcurrencyShares"] = shares.into();
            let shares = |level: &Value| level["spec"]["limited"]["nominalConcurrencyShares"].as_i64();
            revise(&current, &wanted).map(|revised| {
                let annotation = revised["metadata"]["annotations"][AUTO_UPDATE].as_str().unwrap().to_owned();
                (annotation, shares(&revised))
            })
        };
        let (kept, left) = (json!({AUTO_UPDATE: "true"}), json!({AUTO_UPDATE: "false"}));
        assert_eq!(with(kept.clone(), 2, 30), None);
        assert_eq!(with(kept, 2, 31), Some(("true".into(), Some(30))));
        assert_eq!(with(left, 2, 31), None);
        assert_eq!(with(json!({}), 1, 31), Some(("true".into(), Some(30))));
        assert_eq!(with(json!({}), 2, 31), Some(("false".into(), Some(31))));
    }

    #[test]
    fn mandatory_objects_are_put_right_but_for_what_the_exempt_level_lends() {
        let mut current = level_document(&ALL_LEVELS[0]);
        current["spec"]["exempt"]["lendablePercent"] = 5.into();
        assert_eq!(revise(&current, &level_document(&ALL_LEVELS[0])), None);
        let wanted = schema_document(&ALL_SCHEMAS[0]);
        let mut current = wanted.clone();
        current["metadata"]["annotations"][AUTO_UPDATE] = "false".into();
        current["spec"]["matchingPrecedence"] = 7.into();
        assert_eq!(revise(&current, &wanted), Some(wanted));
    }

    #[test]
    fn a_schema_without_its_level_dangles_until_there_is_one() {
        let mut schema = schema_document(&ALL_SCHEMAS[0]);
        let lost = dangling(&schema, &HashSet::new(), "1").unwrap();
        assert_eq!((&lost[0]["status"], &lost[0]["reason"]), (&"True".into(), &"NotFound".into()));
        schema["status"]["conditions"] = lost;
        assert_eq!(dangling(&schema, &HashSet::new(), "2"), None);
        let found = dangling(&schema, &HashSet::from([EXEMPT]), "2").unwrap();
        assert_eq!((found.as_array().unwrap().len(), &found[0]["status"]), (1, &"False".into()));
    }
}
