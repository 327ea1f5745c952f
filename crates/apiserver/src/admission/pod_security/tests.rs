//! Pods against standards, and the words in which they are refused.

use serde_json::json;

use super::*;
use crate::{
    admission::testing::{Case, cluster},
    cluster::FixedCluster,
};

fn labels(labels: &[(&str, &str)]) -> Value {
    labels.iter().map(|(name, value)| (format!("pod-security.kubernetes.io/{name}"), Value::from(*value))).collect()
}

/// What the standard has against a pod with this spec.
fn check(standard: &str, spec: Value, expect: &str) {
    let (level, version) = standard.split_once(':').unwrap();
    let (policy, errors) = Policy::of(&labels(&[("enforce", level), ("enforce-version", version)]));
    assert!(errors.is_empty());
    let pod = json!({"metadata": spec["annotations"].as_object().map_or(json!({}), |map| json!({"annotations": map})), "spec": spec});
    assert_eq!(detail(&violations(&policy.enforce, &pod)), expect, "{standard} {spec}");
}

fn container(context: Value) -> Value {
    json!({"containers": [{"name": "a", "securityContext": context}]})
}

fn safe(edit: impl FnOnce(&mut Value)) -> Value {
    let mut spec = container(json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"},
    }));
    edit(&mut spec);
    spec
}

#[test]
fn baseline_forbids_known_ways_out() {
    let baseline = |spec: Value, expect: &str| check("baseline:latest", spec, expect);
    baseline(container(json!({})), "");
    baseline(
        container(json!({"privileged": true})),
        r#"privileged (container "a" must not set securityContext.privileged=true)"#,
    );
    baseline(
        container(json!({"capabilities": {"add": ["NET_RAW", "CHOWN", "BPF"]}})),
        r#"non-default capabilities (container "a" must not include "BPF", "NET_RAW" in securityContext.capabilities.add)"#,
    );
    baseline(json!({"hostNetwork": true, "hostIPC": true}), "host namespaces (hostNetwork=true, hostIPC=true)");
    baseline(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}), r#"hostPath volumes (volume "v")"#);
    let ports = |name: &str, port: u16| json!({"name": name, "ports": [{"hostPort": port}]});
    baseline(
        json!({"initContainers": [ports("i", 80)], "containers": [ports("a", 443)]}),
        r#"hostPort (containers "i", "a" use hostPorts 443, 80)"#,
    );
    let probe = json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "10.0.0.1"}}}]});
    baseline(probe.clone(), r#"probe or lifecycle host (container "a" uses probe or lifecycle host "10.0.0.1")"#);
    check("baseline:v1.33", probe, "");
    let mount = json!({"procMount": "Unmasked"});
    baseline(
        container(mount.clone()),
        r#"procMount (container "a" must not set securityContext.procMount to "Unmasked")"#,
    );
    let mut relaxed = container(mount);
    relaxed["hostUsers"] = false.into();
    baseline(relaxed.clone(), "");
    check(
        "baseline:v1.34",
        relaxed,
        r#"procMount (container "a" must not set securityContext.procMount to "Unmasked")"#,
    );
    baseline(
        container(json!({"seLinuxOptions": {"type": "spc_t", "user": "u", "role": "r"}})),
        r#"seLinuxOptions (container "a" set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set; role may not be set)"#,
    );
    let engine = json!({"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}});
    baseline(engine.clone(), "");
    check(
        "baseline:v1.30",
        engine,
        r#"seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "container_engine_t")"#,
    );
    let unconfined = json!({"seccompProfile": {"type": "Unconfined"}});
    let mut both = container(unconfined.clone());
    both["securityContext"] = unconfined;
    baseline(
        both,
        r#"seccompProfile (pod and container "a" must not set securityContext.seccompProfile.type to "Unconfined")"#,
    );
    let annotated = json!({"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}});
    check(
        "baseline:v1.18",
        annotated,
        r#"seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")"#,
    );
    let sysctls = |name: &str| json!({"securityContext": {"sysctls": [{"name": name}]}});
    baseline(sysctls("kernel.msgmax"), "forbidden sysctls (kernel.msgmax)");
    baseline(sysctls("net.ipv4.tcp_rmem"), "");
    check("baseline:v1.31", sysctls("net.ipv4.tcp_rmem"), "forbidden sysctls (net.ipv4.tcp_rmem)");
    baseline(
        json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
        "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
    );
    baseline(
        container(json!({"appArmorProfile": {"type": "Unconfined"}})),
        r#"forbidden AppArmor profile (container "a" must not set AppArmor profile type to "Unconfined")"#,
    );
}

#[test]
fn restricted_demands_confinement() {
    let restricted = |spec: Value, expect: &str| check("restricted:latest", spec, expect);
    restricted(safe(|_| {}), "");
    restricted(
        json!({"containers": [{"name": "a"}]}),
        r#"allowPrivilegeEscalation != false (container "a" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "a" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "a" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#,
    );
    let context =
        |field: &'static str, value: Value| safe(move |spec| spec["containers"][0]["securityContext"][field] = value);
    restricted(
        context("capabilities", json!({"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "CHOWN"]})),
        r#"unrestricted capabilities (container "a" must not include "CHOWN" in securityContext.capabilities.add)"#,
    );
    restricted(
        context("runAsNonRoot", json!(false)),
        r#"runAsNonRoot != true (container "a" must not set securityContext.runAsNonRoot=false)"#,
    );
    restricted(context("runAsUser", json!(0)), r#"runAsUser=0 (container "a" must not set runAsUser=0)"#);
    restricted(
        safe(|spec| {
            spec["hostUsers"] = false.into();
            spec["containers"][0]["securityContext"]["runAsUser"] = 0.into();
        }),
        "",
    );
    let pod_level = json!({"runAsNonRoot": true, "seccompProfile": {"type": "Localhost"}});
    restricted(
        safe(|spec| {
            spec["securityContext"] = pod_level;
            spec["containers"][0]["securityContext"] =
                json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        }),
        "",
    );
    restricted(
        safe(|spec| {
            spec["volumes"] =
                json!([{"name": "n", "nfs": {}}, {"name": "h", "hostPath": {}}, {"name": "e", "emptyDir": {}}])
        }),
        r#"restricted volume types (volumes "n", "h" use restricted volume types "hostPath", "nfs")"#,
    );
    let windows =
        json!({"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true}, "containers": [{"name": "a"}]});
    restricted(windows.clone(), "");
    check("restricted:v1.22", json!({"containers": [], "securityContext": {"runAsUser": 0}}), "");
    check("privileged:latest", json!({"hostNetwork": true}), "");
}

fn namespace(pairs: &[(&str, &str)]) -> FixedCluster {
    FixedCluster::default().with("namespaces", json!({"metadata": {"name": "default", "labels": labels(pairs)}}))
}

#[tokio::test]
async fn pods_are_refused_and_workloads_warned_of() {
    let run = async |cluster: &FixedCluster, case: Case| {
        case.admit(&PodSecurity, cluster).await.map(|(_, warnings)| warnings)
    };
    let bad = json!({"metadata": {"name": "web"}, "spec": {"hostPID": true}});
    let enforced = namespace(&[("enforce", "baseline")]);
    let refusal = r#"pods "web" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)"#;
    assert_eq!(run(&enforced, Case::create("pods", bad.clone())).await, Err(refusal.to_owned()));
    assert_eq!(run(&enforced, Case::create("pods", bad.clone()).update(bad.clone())).await, Ok(vec![]));
    assert_eq!(
        run(&enforced, Case::create("pods", bad.clone()).subresource("status").update(bad.clone())).await,
        Ok(vec![])
    );
    let warning =
        |standard: &str| Ok(vec![format!("would violate PodSecurity {standard:?}: host namespaces (hostPID=true)")]);
    let deployment = json!({"metadata": {"name": "web"}, "spec": {"template": {"spec": {"hostPID": true}}}});
    assert_eq!(run(&enforced, Case::create("deployments.apps", deployment)).await, warning("baseline:latest"));
    let job = json!({"metadata": {"name": "web"}, "spec": {"jobTemplate": {"spec": {"template": {"spec": {"hostPID": true}}}}}});
    assert_eq!(run(&enforced, Case::create("cronjobs.batch", job)).await, warning("baseline:latest"));
    let warned = namespace(&[("warn", "baseline"), ("warn-version", "v1.20")]);
    assert_eq!(run(&warned, Case::create("pods", bad.clone())).await, warning("baseline:v1.20"));
    assert_eq!(run(&cluster(), Case::create("pods", bad)).await, Ok(vec![]));
}

#[tokio::test]
async fn namespaces_state_levels_that_exist() {
    let of = |pairs: &[(&str, &str)]| json!({"metadata": {"name": "default", "labels": labels(pairs)}});
    let create = |pairs: &[(&str, &str)]| Case::create("namespaces", of(pairs)).namespace("");
    let run = async |case: Case| case.admit(&PodSecurity, &cluster()).await.err();
    assert_eq!(run(create(&[("enforce", "baseline"), ("warn-version", "v1.30")])).await, None);
    let level = r#"Namespace "default" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted"#;
    assert_eq!(run(create(&[("enforce", "strict")])).await.as_deref(), Some(level));
    let version = r#"Namespace "default" is invalid: metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "1.30": must be "latest" or "v1.x""#;
    assert_eq!(run(create(&[("warn-version", "1.30")])).await.as_deref(), Some(version));
    // What was wrong before may stay.
    assert_eq!(run(create(&[("enforce", "strict")]).update(of(&[("enforce", "strict")]))).await, None);
    assert_eq!(run(create(&[("enforce", "strict")]).update(of(&[]))).await.as_deref(), Some(level));
}

#[tokio::test]
async fn a_stricter_namespace_warns_of_its_pods() {
    let pod =
        |name: &str, field: &str| json!({"metadata": {"name": name, "namespace": "default"}, "spec": {field: true}});
    let cluster = cluster()
        .with("pods", pod("c", "hostPID"))
        .with("pods", pod("a", "hostNetwork"))
        .with("pods", pod("b", "other"))
        .with("pods", json!({"metadata": {"name": "d", "namespace": "default"}, "spec": {"containers": [{"name": "x", "securityContext": {"privileged": true}}]}}));
    let of = |pairs: &[(&str, &str)]| json!({"metadata": {"name": "default", "labels": labels(pairs)}});
    let case = Case::create("namespaces", of(&[("enforce", "baseline")])).namespace("").update(of(&[]));
    let (_, warnings) = case.admit(&PodSecurity, &cluster).await.unwrap();
    assert_eq!(
        warnings,
        [
            r#"existing pods in namespace "default" violate the new PodSecurity enforce level "baseline:latest""#,
            "a (and 1 other pod): host namespaces",
            "d: privileged",
        ]
    );
    let looser = Case::create("namespaces", of(&[])).namespace("").update(of(&[("enforce", "baseline")]));
    assert_eq!(looser.admit(&PodSecurity, &cluster).await.unwrap().1, Vec::<String>::new());
}
