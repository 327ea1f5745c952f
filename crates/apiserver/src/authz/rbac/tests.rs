use serde_json::json;

use super::*;
use crate::{cluster::FixedCluster, identity::AUTHENTICATED};

fn role(kind: &str, namespace: &str, name: &str, rules: &Value) -> Value {
    let mut role = json!({"kind": kind, "metadata": {"name": name}, "rules": rules});
    if !namespace.is_empty() {
        role["metadata"]["namespace"] = namespace.into();
    }
    role
}

fn binding(namespace: &str, name: &str, role: (&str, &str), subjects: &Value) -> Value {
    let mut binding =
        json!({"metadata": {"name": name}, "roleRef": {"kind": role.0, "name": role.1}, "subjects": subjects});
    if !namespace.is_empty() {
        binding["metadata"]["namespace"] = namespace.into();
    }
    binding
}

fn cluster() -> FixedCluster {
    let reader = json!([{"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]}]);
    let named = json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["settings"], "verbs": ["get", "update"]}]);
    let scaler = json!([{"apiGroups": ["apps"], "resources": ["*/scale"], "verbs": ["update"]}]);
    let paths = json!([{"nonResourceURLs": ["/healthz", "/metrics/*"], "verbs": ["get"]}]);
    let all =
        json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}]);
    let user = |name: &str| json!([{"kind": "User", "name": name}]);
    FixedCluster::default()
        .with(CLUSTER_ROLES, role("ClusterRole", "", "reader", &reader))
        .with(CLUSTER_ROLES, role("ClusterRole", "", "named", &named))
        .with(CLUSTER_ROLES, role("ClusterRole", "", "scaler", &scaler))
        .with(CLUSTER_ROLES, role("ClusterRole", "", "paths", &paths))
        .with(CLUSTER_ROLES, role("ClusterRole", "", "all", &all))
        .with(ROLES, role("Role", "shop", "local", &named))
        .with(
            CLUSTER_ROLE_BINDINGS,
            binding("", "readers", ("ClusterRole", "reader"), &json!([{"kind": "Group", "name": "dev"}])),
        )
        .with(
            CLUSTER_ROLE_BINDINGS,
            binding("", "paths", ("ClusterRole", "paths"), &json!([{"kind": "Group", "name": AUTHENTICATED}])),
        )
        .with(CLUSTER_ROLE_BINDINGS, binding("", "root", ("ClusterRole", "all"), &user("root")))
        .with(
            CLUSTER_ROLE_BINDINGS,
            binding(
                "",
                "scalers",
                ("ClusterRole", "scaler"),
                &json!([{"kind": "ServiceAccount", "namespace": "shop", "name": "scaler"}]),
            ),
        )
        .with(CLUSTER_ROLE_BINDINGS, binding("", "dangling", ("ClusterRole", "gone"), &user("eve")))
        .with(ROLE_BINDINGS, binding("shop", "named", ("Role", "local"), &user("jane")))
        .with(
            ROLE_BINDINGS,
            binding("shop", "cluster", ("ClusterRole", "reader"), &json!([{"kind": "ServiceAccount", "name": "bot"}])),
        )
}

/// `verb group/resource/subresource namespace name` or `verb /path`.
fn decide(user: &User, request: &str, cluster: &FixedCluster) -> Decision {
    let words: Vec<&str> = request.split(' ').collect();
    let word = |index: usize| words.get(index).copied().filter(|word| *word != "-").unwrap_or_default();
    let target = if word(1).starts_with('/') {
        Target::Path(word(1))
    } else {
        let mut parts = word(1).split('/');
        let mut part = || parts.next().filter(|part| *part != "core").unwrap_or_default();
        let (group, resource, subresource) = (part(), part(), part());
        Target::Resource { group, version: "v1", resource, subresource, namespace: word(2), name: word(3) }
    };
    Rbac::default().authorize(&Attributes::new(user, word(0), target), cluster)
}

fn user(name: &str, groups: &[&str]) -> User {
    User { name: name.into(), groups: groups.iter().map(|group| (*group).to_owned()).collect(), ..User::default() }
}

#[test]
fn requests_are_decided() {
    let cluster = cluster();
    let dev = user("dan", &["dev", AUTHENTICATED]);
    let jane = user("jane", &[AUTHENTICATED]);
    let bot = user("system:serviceaccount:shop:bot", &[]);
    let scaler = user("system:serviceaccount:shop:scaler", &[]);
    let root = user("root", &[]);
    let cases = [
        (&dev, "get core/pods shop web", true),
        (&dev, "list core/pods", true),
        (&dev, "get core/pods/log shop web", true),
        (&dev, "get core/pods/exec shop web", false),
        (&dev, "delete core/pods shop web", false),
        (&dev, "get apps/pods shop web", false),
        (&dev, "get /healthz", true),
        (&dev, "get /healthz/ping", false),
        (&dev, "get /metrics/slis", true),
        (&dev, "get /metrics", false),
        (&dev, "post /healthz", false),
        (&jane, "get core/configmaps shop settings", true),
        (&jane, "get core/configmaps shop other", false),
        (&jane, "list core/configmaps shop", false),
        (&jane, "get core/configmaps bank settings", false),
        (&jane, "get core/configmaps - settings", false),
        (&bot, "get core/pods shop web", true),
        (&bot, "get core/pods bank web", false),
        (&scaler, "update apps/deployments/scale shop web", true),
        (&scaler, "update apps/deployments shop web", false),
        (&scaler, "update core/replicationcontrollers/scale shop web", false),
        (&root, "escalate rbac.authorization.k8s.io/clusterroles - x", true),
        (&root, "delete /anything", true),
        (&user("system:serviceaccount:shop", &[]), "get core/pods shop web", false),
        (&user("", &[]), "get core/pods shop web", false),
    ];
    for (user, request, expect) in cases {
        assert_eq!(decide(user, request, &cluster).is_allowed(), expect, "{}: {request}", user.name);
    }
}

#[test]
fn decisions_have_reasons() {
    let cluster = cluster();
    let check = |user: &User, request: &str, expect: &str| assert_eq!(decide(user, request, &cluster).reason(), expect);
    check(
        &user("dan", &["dev"]),
        "list core/pods",
        r#"RBAC: allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to Group "dev""#,
    );
    check(
        &user("system:serviceaccount:shop:bot", &[]),
        "get core/pods shop web",
        r#"RBAC: allowed by RoleBinding "cluster/shop" of ClusterRole "reader" to ServiceAccount "bot/shop""#,
    );
    check(&user("eve", &[]), "list core/pods", r#"RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#);
    check(&user("nobody", &[]), "list core/pods", "");
}

#[test]
fn a_change_counts_at_once() {
    let rbac = Rbac::default();
    let ask = |cluster: &FixedCluster| {
        let target =
            Target::Resource { group: "", version: "v1", resource: "pods", subresource: "", namespace: "", name: "" };
        rbac.authorize(&Attributes::new(&user("eve", &[]), "list", target), cluster).is_allowed()
    };
    let cluster = cluster();
    assert!(!ask(&cluster));
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
    assert!(ask(&cluster.with(CLUSTER_ROLES, role("ClusterRole", "", "gone", &rules))));
}
