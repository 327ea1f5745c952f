use super::*;
use crate::{authz::aggregation::aggregate, cluster::FixedCluster};

fn cluster(objects: impl IntoIterator<Item = (&'static str, Value)>) -> FixedCluster {
    objects.into_iter().fold(FixedCluster::default(), |cluster, (topic, object)| cluster.with(topic, object))
}

fn defaults() -> Vec<(&'static str, Value)> {
    DEFAULTS.iter().map(|entry| (entry.topic, entry.object.clone())).collect()
}

fn object(topic: &str, name: &str) -> Value {
    DEFAULTS.iter().find(|it| it.topic == topic && it.object["metadata"]["name"] == name).unwrap().object.clone()
}

#[test]
fn the_table_has_every_default() {
    let count = |topic: &str| DEFAULTS.iter().filter(|entry| entry.topic == topic).count();
    let counts = [CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS, ROLES, ROLE_BINDINGS].map(count);
    assert_eq!(counts, [70, 51, 7, 7]);
    assert!(DEFAULTS.iter().all(|entry| {
        let has = |field: &str| entry.object[field].as_array().is_some_and(|list| !list.is_empty());
        has("rules") || entry.object["aggregationRule"].is_object() || entry.object["roleRef"].is_object()
    }));
}

#[test]
fn every_binding_refers_to_a_role_of_the_table() {
    for (topic, binding) in defaults().iter().filter(|(topic, _)| topic.contains("binding")) {
        let reference = &binding["roleRef"];
        let roles = if reference["kind"] == "Role" { ROLES } else { CLUSTER_ROLES };
        let found = DEFAULTS.iter().any(|it| {
            it.topic == roles
                && it.object["metadata"]["name"] == reference["name"]
                && (roles == CLUSTER_ROLES || it.object["metadata"]["namespace"] == binding["metadata"]["namespace"])
        });
        assert!(found, "{topic} {}", binding["metadata"]["name"]);
    }
}

#[test]
fn a_rule_of_each_form_is_read() {
    let cases = [
        (
            "  get,list core,apps: pods deployments/scale",
            r#"{"apiGroups":["","apps"],"resources":["pods","deployments/scale"],"verbs":["get","list"]}"#,
        ),
        (
            "  update core: configmaps = a b",
            r#"{"apiGroups":[""],"resourceNames":["a","b"],"resources":["configmaps"],"verbs":["update"]}"#,
        ),
        ("  get urls: /api /api/*", r#"{"nonResourceURLs":["/api","/api/*"],"verbs":["get"]}"#),
        (
            "  get apps:\n     deployments\n     replicasets",
            r#"{"apiGroups":["apps"],"resources":["deployments","replicasets"],"verbs":["get"]}"#,
        ),
    ];
    for (line, expect) in cases {
        let parsed = parse(&format!("ClusterRole x\n{line}")).unwrap();
        assert_eq!(parsed[0].object["rules"][0].to_string(), expect);
    }
    for wrong in
        ["Widget x", "ClusterRole", "  get core: pods", "ClusterRole x\n  get", "ClusterRole x\n  get core pods"]
    {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_empty_cluster_gets_everything_and_a_complete_one_nothing() {
    let writes = reconcile(&FixedCluster::default());
    assert_eq!(writes.len(), DEFAULTS.len());
    assert!(writes.iter().all(|write| matches!(write, Write::Create { .. })));
    assert_eq!(reconcile(&cluster(defaults())), []);
}

/// Changes one default object and returns what reconciling would write.
fn after(topic: &'static str, name: &str, change: impl FnOnce(&mut Value)) -> Vec<Write> {
    let mut changed = object(topic, name);
    change(&mut changed);
    let others = defaults().into_iter().filter(|(t, it)| *t != topic || it["metadata"]["name"] != name);
    reconcile(&cluster(others.chain([(topic, changed)])))
}

#[test]
fn what_is_missing_is_added_and_what_was_added_stays() {
    let own_rule = json!({"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get"]});
    let writes = after(CLUSTER_ROLES, "system:basic-user", |role| {
        role["rules"] = json!([own_rule]);
        role["metadata"]["labels"] = json!({"mine": "yes"});
    });
    let [Write::Update { object, .. }] = writes.as_slice() else { panic!("{writes:?}") };
    let rules = Rule::list(object);
    assert_eq!(rules[0], Rule::from_value(&own_rule));
    assert_eq!(uncovered(&rules, &rules_of("system:basic-user")).unwrap(), []);
    assert_eq!(object["metadata"]["labels"], json!({"mine": "yes", "kubernetes.io/bootstrapping": "rbac-defaults"}));

    let writes = after(CLUSTER_ROLE_BINDINGS, "system:basic-user", |binding| {
        binding["subjects"] = json!([{"apiGroup": GROUP, "kind": "User", "name": "jane"}]);
    });
    let [Write::Update { object, .. }] = writes.as_slice() else { panic!("{writes:?}") };
    assert_eq!(object["subjects"].as_array().unwrap().len(), 2);

    let writes =
        after(CLUSTER_ROLE_BINDINGS, "system:basic-user", |binding| binding["roleRef"]["name"] = "view".into());
    assert!(matches!(writes.as_slice(), [Write::Replace { .. }]));
}

#[test]
fn an_object_that_opts_out_is_left_alone() {
    let writes = after(CLUSTER_ROLES, "system:basic-user", |role| {
        role["rules"] = json!([]);
        role["metadata"]["annotations"][AUTO_UPDATE] = "false".into();
    });
    assert_eq!(writes, []);
}

#[test]
fn aggregated_roles_gather_the_rules_of_the_table() {
    let roles: Vec<Value> =
        defaults().into_iter().filter(|(topic, _)| *topic == CLUSTER_ROLES).map(|(_, it)| it).collect();
    let view = aggregate(&object(CLUSTER_ROLES, "view"), &roles).unwrap();
    let view: Vec<Rule> = view.iter().map(Rule::from_value).collect();
    assert_eq!(uncovered(&view, &rules_of("system:aggregate-to-view")).unwrap(), []);
    assert!(view.iter().all(|rule| !rule.resources.iter().any(|resource| &**resource == "secrets")));

    // `admin` gathers `edit`, which must have been gathered before.
    let mut roles = roles;
    for name in ["view", "edit", "admin"] {
        let rules = aggregate(&object(CLUSTER_ROLES, name), &roles).unwrap();
        roles.iter_mut().find(|role| role["metadata"]["name"] == name).unwrap()["rules"] = rules.into();
    }
    let admin = roles.iter().find(|role| role["metadata"]["name"] == "admin").unwrap();
    assert_eq!(uncovered(&Rule::list(admin), &rules_of("system:aggregate-to-edit")).unwrap(), []);
    assert_eq!(aggregate(admin, &roles), None);
    assert_eq!(aggregate(&object(CLUSTER_ROLES, "system:node"), &roles), None);
}
