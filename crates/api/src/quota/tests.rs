//! What objects use, and of which quotas.

use serde_json::json;

use super::*;

const PODS: Counted<'_> = Counted { group: "", plural: "pods" };
const CLAIMS: Counted<'_> = Counted { group: "", plural: "persistentvolumeclaims" };
const NOW: i64 = 1_800_000_000;

fn shown(amounts: &Amounts) -> String {
    amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
}

#[test]
fn objects_use_what_they_ask_for() {
    let check = |group: &str, plural: &str, object: Value, expect: &str| {
        assert_eq!(shown(&Counted { group, plural }.usage(&object, NOW)), expect, "{object}");
    };
    let container =
        |requests: Value, limits: Value| json!({"name": "a", "resources": {"requests": requests, "limits": limits}});
    let one = container(json!({"cpu": "100m", "memory": "1Gi", "a.io/gpu": "2"}), json!({"cpu": "1"}));
    check(
        "",
        "pods",
        json!({"spec": {"containers": [one, one]}}),
        "count/pods=1,cpu=200m,limits.cpu=2,memory=2Gi,pods=1,requests.a.io/gpu=4,requests.cpu=200m,requests.memory=2Gi",
    );
    let big = container(json!({"cpu": "5"}), json!({}));
    let mut sidecar = container(json!({"cpu": "2"}), json!({}));
    sidecar["restartPolicy"] = "Always".into();
    let spec = json!({"initContainers": [sidecar, big], "containers": [one], "overhead": {"cpu": "1"}});
    check(
        "",
        "pods",
        json!({"spec": spec}),
        "count/pods=1,cpu=8,limits.cpu=2,memory=1Gi,pods=1,requests.a.io/gpu=2,requests.cpu=8,requests.memory=1Gi",
    );
    let resized = |reason: &str| {
        let had = json!({"requests": {"cpu": "3"}, "limits": {"cpu": "500m"}});
        let status = json!({"name": "a", "resources": had, "allocatedResources": {"cpu": "4"}});
        let pending = json!({"type": "PodResizePending", "reason": reason});
        let small = container(json!({"cpu": "100m"}), json!({"cpu": "1"}));
        json!({
            "spec": {"containers": [small]}, "status": {"containerStatuses": [status], "conditions": [pending]},
        })
    };
    let deferred = "count/pods=1,cpu=4,limits.cpu=1,pods=1,requests.cpu=4";
    check("", "pods", resized("Deferred"), deferred);
    check("", "pods", resized("Infeasible"), &deferred.replace("limits.cpu=1", "limits.cpu=500m"));
    check("", "pods", json!({"spec": {"containers": [one]}, "status": {"phase": "Failed"}}), "count/pods=1");
    let gone = json!({"deletionTimestamp": "2020-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30});
    check("", "pods", json!({"metadata": gone}), "count/pods=1");
    let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
    let service = |kind: &str| json!({"spec": {"type": kind, "ports": ports}});
    check(
        "",
        "services",
        service("ClusterIP"),
        "count/services=1,services=1,services.loadbalancers=0,services.nodeports=0",
    );
    check(
        "",
        "services",
        service("NodePort"),
        "count/services=1,services=1,services.loadbalancers=0,services.nodeports=2",
    );
    let mut balanced = service("LoadBalancer");
    check(
        "",
        "services",
        balanced.clone(),
        "count/services=1,services=1,services.loadbalancers=1,services.nodeports=2",
    );
    balanced["spec"]["allocateLoadBalancerNodePorts"] = false.into();
    check("", "services", balanced, "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1");
    check(
        "",
        "persistentvolumeclaims",
        json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}}),
        "count/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
         fast.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi",
    );
    check("", "secrets", json!({}), "count/secrets=1,secrets=1");
    check("apps", "deployments", json!({}), "count/deployments.apps=1");
    check("a.io", "pods", json!({}), "count/pods.a.io=1");
    let asks =
        |class: &str, mode: &str, count: i64| json!({"deviceClassName": class, "allocationMode": mode, "count": count});
    check(
        "resource.k8s.io",
        "resourceclaims",
        json!({"spec": {"devices": {"requests": [
            {"exactly": asks("gpu", "ExactCount", 3)},
            {"firstAvailable": [asks("gpu", "ExactCount", 1), asks("gpu", "ExactCount", 2), asks("net", "All", 0)]},
        ]}}}),
        "count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=5,net.deviceclass.resource.k8s.io/devices=32",
    );
}

#[test]
fn names_say_what_they_count() {
    let check = |name: &str, expect: (&str, &str)| {
        let counted = Counted::of(name);
        assert_eq!((counted.group, counted.plural), expect, "{name}");
        assert!(counted.covers(name), "{name}");
        assert_eq!(Counted::at(&counted.topic()), counted, "{name}");
    };
    check("count/deployments.apps", ("apps", "deployments"));
    check("count/pods", ("", "pods"));
    check("cpu", ("", "pods"));
    check("requests.example.com/gpu", ("", "pods"));
    check("requests.hugepages-2Mi", ("", "pods"));
    check("services.nodeports", ("", "services"));
    check("requests.storage", ("", "persistentvolumeclaims"));
    check("fast.storageclass.storage.k8s.io/requests.storage", ("", "persistentvolumeclaims"));
    check("secrets", ("", "secrets"));
    check("gpu.deviceclass.resource.k8s.io/devices", ("resource.k8s.io", "resourceclaims"));
    check("count/resourceclaims.resource.k8s.io", ("resource.k8s.io", "resourceclaims"));
}

#[test]
fn scopes_choose_objects() {
    let check = |counted: Counted<'_>, spec: Value, object: Value, expect: bool| {
        let mut quota = json!({"spec": spec});
        quota["spec"]["hard"] = json!({"pods": "1", "persistentvolumeclaims": "1"});
        assert_eq!(counted.is_counted_by(&quota, &object), expect, "{quota} {object}");
    };
    let scopes = |scope: &str| json!({"scopes": [scope]});
    let spec = |field: &str, value: Value| json!({"spec": {field: value}});
    check(PODS, json!({}), json!({}), true);
    check(PODS, scopes("Terminating"), spec("activeDeadlineSeconds", json!(5)), true);
    check(PODS, scopes("NotTerminating"), spec("activeDeadlineSeconds", json!(5)), false);
    check(PODS, scopes("BestEffort"), spec("containers", json!([{"name": "a"}])), true);
    check(PODS, scopes("NotBestEffort"), spec("containers", json!([{"name": "a"}])), false);
    check(PODS, scopes("CrossNamespacePodAffinity"), json!({}), false);
    let term = json!({"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["a"]}]});
    check(PODS, scopes("CrossNamespacePodAffinity"), spec("affinity", json!({"podAntiAffinity": term})), true);
    let priority = |operator: &str, values: Value| json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": values}]}});
    let high = || spec("priorityClassName", json!("high"));
    check(PODS, priority("In", json!(["high", "low"])), high(), true);
    check(PODS, priority("In", json!(["low"])), high(), false);
    check(PODS, priority("NotIn", json!(["low"])), high(), true);
    check(PODS, priority("Exists", json!(null)), high(), true);
    check(PODS, priority("DoesNotExist", json!(null)), high(), false);
    check(CLAIMS, priority("Exists", json!(null)), json!({}), false);
    check(Counted { group: "", plural: "secrets" }, json!({}), json!({}), false);
}

#[test]
fn refusals_read_as_in_kubernetes() {
    let quota = json!({"metadata": {"name": "small"}, "spec": {"hard": {"pods": "2", "requests.cpu": "1", "limits.memory": "1Gi"}}});
    let pod = |cpu: &str| json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]}});
    let units = |units| Quantity::from_units(units, Format::DecimalSi);
    let used = Amounts::from([
        ("limits.memory".to_owned(), units(0)),
        ("pods".to_owned(), units(2)),
        ("requests.cpu".to_owned(), Quantity::parse("750m").unwrap()),
    ]);
    let wanted = increase(PODS, &quota, &pod("500m"), &Value::Null, NOW);
    assert_eq!(
        exceeded(&quota, &used, &wanted).as_deref(),
        Some(
            "exceeded quota: small, requested: pods=1,requests.cpu=500m, used: pods=2,requests.cpu=750m, limited: pods=2,requests.cpu=1"
        )
    );
    let grown = increase(PODS, &quota, &pod("500m"), &pod("250m"), NOW);
    assert_eq!(shown(&grown), "requests.cpu=250m");
    assert_eq!(exceeded(&quota, &used, &grown), None);
    assert_eq!(increase(PODS, &quota, &pod("250m"), &pod("500m"), NOW), Amounts::new());
    assert_eq!(PODS.unstated(&quota, &pod("1")).as_deref(), Some("must specify limits.memory for: a"));
    let two = json!({"spec": {"containers": [{"name": "b"}, {"name": "a"}]}});
    let expect = "must specify limits.memory for: a,b; requests.cpu for: a,b";
    assert_eq!(PODS.unstated(&quota, &two).as_deref(), Some(expect));
    let whole = json!({"spec": {"resources": {"requests": {"cpu": "1"}}, "containers": [{"name": "a"}]}});
    assert_eq!(PODS.unstated(&quota, &whole), None);
}
