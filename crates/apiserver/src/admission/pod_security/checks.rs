//! The checks of the Pod Security Standards, as a table: from which minor version of Kubernetes each holds,
//! and which of the restricted level replaces which of the baseline.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    elements,
    policy::{Level, Standard},
    text,
};

/// `privileged (container "web" must not set securityContext.privileged=true)`
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    pub reason: String,
    pub detail: String,
}

struct Check {
    level: Level,
    /// The minor versions in which it holds.
    since: u32,
    /// From then on the restricted level has a stricter check in its place.
    replaced_since: Option<u32>,
    run: fn(&Pod<'_>) -> Option<Violation>,
}

const fn baseline(since: u32, replaced_since: Option<u32>, run: fn(&Pod<'_>) -> Option<Violation>) -> Check {
    Check { level: Level::Baseline, since, replaced_since, run }
}

const fn restricted(since: u32, run: fn(&Pod<'_>) -> Option<Violation>) -> Check {
    Check { level: Level::Restricted, since, replaced_since: None, run }
}

/// The last version that brought a change.
const LATEST: u32 = 35;

/// In the order in which they are reported.
const CHECKS: [Check; 19] = [
    baseline(0, None, app_armor),
    baseline(0, Some(22), capabilities),
    baseline(0, None, host_namespaces),
    baseline(0, Some(0), host_path),
    baseline(0, None, host_ports),
    baseline(34, None, probe_hosts),
    baseline(0, None, privileged),
    baseline(0, Some(35), |pod| if pod.is_relaxed() { None } else { proc_mount(pod) }),
    baseline(0, None, se_linux),
    baseline(0, Some(19), seccomp),
    baseline(0, None, sysctls),
    baseline(0, None, host_process),
    restricted(8, privilege_escalation),
    restricted(22, restricted_capabilities),
    restricted(35, proc_mount),
    restricted(0, restricted_volumes),
    restricted(0, run_as_non_root),
    restricted(23, run_as_user),
    restricted(19, restricted_seccomp),
];

/// What the standard has against a pod or a pod template.
pub fn violations(standard: &Standard, pod: &Value) -> Vec<Violation> {
    let version = standard.version.unwrap_or(LATEST).min(LATEST);
    let pod = Pod { pod, spec: &pod["spec"], version };
    let applies = |check: &&Check| {
        check.level <= standard.level
            && check.since <= version
            && !(standard.level == Level::Restricted && check.replaced_since.is_some_and(|since| since <= version))
    };
    if standard.level == Level::Privileged {
        return Vec::new();
    }
    CHECKS.iter().filter(applies).filter_map(|check| (check.run)(&pod)).collect()
}

struct Pod<'a> {
    pod: &'a Value,
    spec: &'a Value,
    version: u32,
}

impl<'a> Pod<'a> {
    fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|list| elements(&spec[list]))
    }

    /// The names of the containers of which something holds.
    fn named(&self, holds: impl FnMut(&&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(holds).map(|container| text(&container["name"])).collect()
    }

    /// `pod`, `containers "a", "b"`, or both: those whose security context has something.
    fn setters(&self, mut holds: impl FnMut(&'a Value) -> bool) -> Option<String> {
        let pod = holds(&self.spec["securityContext"]).then(|| "pod".to_owned());
        let names = self.named(|container| holds(&container["securityContext"]));
        let containers = (!names.is_empty()).then(|| containers(&names));
        let all: Vec<String> = pod.into_iter().chain(containers).collect();
        (!all.is_empty()).then(|| all.join(" and "))
    }

    /// In a user namespace root is not root (KEP-127).
    fn is_relaxed(&self) -> bool {
        self.version >= 35 && self.spec["hostUsers"] == false
    }

    fn is_windows(&self) -> bool {
        self.version >= 25 && self.spec["os"]["name"] == "windows"
    }
}

fn violation(reason: &str, detail: String) -> Option<Violation> {
    Some(Violation { reason: reason.to_owned(), detail })
}

fn quoted<'s>(items: impl IntoIterator<Item = &'s str>) -> String {
    items.into_iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ")
}

fn plural<'s>(one: &'s str, many: &'s str, count: usize) -> &'s str {
    if count == 1 { one } else { many }
}

fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names.iter().copied()))
}

fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let mut values = BTreeSet::new();
    let setters = pod.setters(|context| {
        let kind = &context["appArmorProfile"]["type"];
        let is_bad = context["appArmorProfile"].is_object() && kind != "RuntimeDefault" && kind != "Localhost";
        if is_bad {
            values.insert(text(kind).to_owned());
        }
        is_bad
    });
    let is_allowed = |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let annotations = pod.pod["metadata"]["annotations"].as_object().into_iter().flatten();
    let annotations: Vec<String> = annotations
        .filter(|(key, value)| key.starts_with(PREFIX) && !is_allowed(text(value)))
        .map(|(key, value)| format!("{key}={:?}", text(value)))
        .collect();
    let word = (!annotations.is_empty()).then(|| plural("annotation", "annotations", annotations.len()).to_owned());
    let setters: Vec<String> = setters.into_iter().chain(word).collect();
    let values: Vec<String> = values.into_iter().chain(annotations).collect();
    if setters.is_empty() {
        return None;
    }
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    let all = quoted(values.iter().map(String::as_str));
    violation(reason, format!("{} must not set AppArmor profile type to {all}", setters.join(" and ")))
}

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Which containers add capabilities that are not allowed, in words.
fn added_capabilities(pod: &Pod<'_>, allowed: &[&str]) -> Option<String> {
    let mut added = BTreeSet::new();
    let names = pod.named(|container| {
        let list = elements(&container["securityContext"]["capabilities"]["add"]);
        let bad: Vec<&str> = list.iter().map(text).filter(|name| !allowed.contains(name)).collect();
        added.extend(bad.iter().copied());
        !bad.is_empty()
    });
    let all = quoted(added.iter().copied());
    (!names.is_empty())
        .then(|| format!("{} must not include {all} in securityContext.capabilities.add", containers(&names)))
}

fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    violation("non-default capabilities", added_capabilities(pod, &DEFAULT_CAPABILITIES)?)
}

fn restricted_capabilities(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let keeps = pod.named(|container| {
        let dropped = elements(&container["securityContext"]["capabilities"]["drop"]);
        !dropped.iter().any(|name| name == "ALL")
    });
    let keeps = (!keeps.is_empty())
        .then(|| format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeps)));
    let all: Vec<String> = keeps.into_iter().chain(added_capabilities(pod, &["NET_BIND_SERVICE"])).collect();
    if all.is_empty() { None } else { violation("unrestricted capabilities", all.join("; ")) }
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| pod.spec[*field] == true);
    let shared: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    if shared.is_empty() { None } else { violation("host namespaces", shared.join(", ")) }
}

fn host_path(pod: &Pod<'_>) -> Option<Violation> {
    let volumes = elements(&pod.spec["volumes"]).iter().filter(|volume| volume["hostPath"].is_object());
    let names: Vec<&str> = volumes.map(|volume| text(&volume["name"])).collect();
    let word = plural("volume", "volumes", names.len());
    if names.is_empty() { None } else { violation("hostPath volumes", format!("{word} {}", quoted(names))) }
}

fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let mut ports = BTreeSet::new();
    let names = pod.named(|container| {
        let list = elements(&container["ports"]).iter().filter_map(|port| port["hostPort"].as_i64());
        let used: Vec<String> = list.filter(|port| *port != 0).map(|port| port.to_string()).collect();
        let any = !used.is_empty();
        ports.extend(used);
        any
    });
    if names.is_empty() {
        return None;
    }
    let (verb, word) = (plural("uses", "use", names.len()), plural("hostPort", "hostPorts", ports.len()));
    let list = ports.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    violation("hostPort", format!("{} {verb} {word} {list}", containers(&names)))
}

fn probe_hosts(pod: &Pod<'_>) -> Option<Violation> {
    const HANDLERS: [&str; 5] =
        ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
    let mut hosts = BTreeSet::new();
    let mut names = pod.named(|container| {
        let handlers = HANDLERS.iter().filter_map(|path| container.pointer(path));
        let found = handlers.flat_map(|handler| ["httpGet", "tcpSocket"].map(|kind| text(&handler[kind]["host"])));
        let found: Vec<&str> = found.filter(|host| !host.is_empty()).collect();
        hosts.extend(found.iter().copied());
        !found.is_empty()
    });
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return None;
    }
    let verb = plural("uses", "use", names.len());
    let word = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
    violation("probe or lifecycle host", format!("{} {verb} {word} {}", containers(&names), quoted(hosts)))
}

fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let names = pod.named(|container| container["securityContext"]["privileged"] == true);
    let detail = || format!("{} must not set securityContext.privileged=true", containers(&names));
    if names.is_empty() { None } else { violation("privileged", detail()) }
}

fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    let mut kinds = BTreeSet::new();
    let names = pod.named(|container| {
        let kind = container["securityContext"]["procMount"].as_str().filter(|kind| *kind != "Default");
        kinds.extend(kind);
        kind.is_some()
    });
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} must not set securityContext.procMount to {}", containers(&names), quoted(kinds));
    violation("procMount", detail)
}

fn se_linux(pod: &Pod<'_>) -> Option<Violation> {
    let allowed: &[&str] = match pod.version {
        31.. => &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"],
        _ => &["", "container_t", "container_init_t", "container_kvm_t"],
    };
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let setters = pod.setters(|context| {
        let options = &context["seLinuxOptions"];
        let kind = text(&options["type"]);
        let is_bad = !allowed.contains(&kind);
        if is_bad {
            types.insert(kind.to_owned());
        }
        let (sets_user, sets_role) = (!text(&options["user"]).is_empty(), !text(&options["role"]).is_empty());
        user |= sets_user;
        role |= sets_role;
        is_bad || sets_user || sets_role
    })?;
    let mut data = Vec::new();
    if !types.is_empty() {
        let word = plural("type", "types", types.len());
        data.push(format!("{word} {}", quoted(types.iter().map(String::as_str))));
    }
    for (is_set, what) in [(user, "user"), (role, "role")] {
        if is_set {
            data.push(format!("{what} may not be set"));
        }
    }
    violation("seLinuxOptions", format!("{setters} set forbidden securityContext.seLinuxOptions: {}", data.join("; ")))
}

fn is_confined(profile: &Value) -> bool {
    profile["type"] == "RuntimeDefault" || profile["type"] == "Localhost"
}

fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if pod.version < 19 {
        return seccomp_annotations(pod);
    }
    let mut values = BTreeSet::new();
    let setters = pod.setters(|context| {
        let profile = &context["seccompProfile"];
        let is_bad = profile.is_object() && !is_confined(profile);
        if is_bad {
            values.insert(text(&profile["type"]).to_owned());
        }
        is_bad
    })?;
    let values = quoted(values.iter().map(String::as_str));
    violation("seccompProfile", format!("{setters} must not set securityContext.seccompProfile.type to {values}"))
}

/// Before there were fields.
fn seccomp_annotations(pod: &Pod<'_>) -> Option<Violation> {
    let is_allowed =
        |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let of_containers = pod
        .containers()
        .map(|container| format!("container.seccomp.security.alpha.kubernetes.io/{}", text(&container["name"])));
    let keys = std::iter::once("seccomp.security.alpha.kubernetes.io/pod".to_owned()).chain(of_containers);
    let annotations = &pod.pod["metadata"]["annotations"];
    let bad: BTreeSet<String> = keys
        .filter_map(|key| {
            let value = annotations[&key].as_str().filter(|value| !is_allowed(value))?;
            Some(format!("{key}={value:?}"))
        })
        .collect();
    if bad.is_empty() {
        return None;
    }
    let word = plural("annotation", "annotations", bad.len());
    violation("seccompProfile", format!("forbidden {word} {}", bad.into_iter().collect::<Vec<_>>().join(", ")))
}

fn restricted_seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    if let Some(explicit) = seccomp(pod) {
        return Some(explicit);
    }
    let is_set = |context: &Value| context["seccompProfile"].is_object();
    let names = pod.named(|container| !is_set(&container["securityContext"]));
    if names.is_empty() || is_set(&pod.spec["securityContext"]) {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        containers(&names)
    );
    violation("seccompProfile", detail)
}

/// With the version from which each is allowed.
const SAFE_SYSCTLS: [(u32, &str); 12] = [
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
];

fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    let is_safe = |name: &&str| SAFE_SYSCTLS.iter().any(|(since, known)| known == name && *since <= pod.version);
    let set = elements(&pod.spec["securityContext"]["sysctls"]).iter().map(|sysctl| text(&sysctl["name"]));
    let unsafe_ones: Vec<&str> = set.filter(|name| !is_safe(name)).collect();
    if unsafe_ones.is_empty() { None } else { violation("forbidden sysctls", unsafe_ones.join(", ")) }
}

fn host_process(pod: &Pod<'_>) -> Option<Violation> {
    let setters = pod.setters(|context| context["windowsOptions"]["hostProcess"] == true)?;
    violation("hostProcess", format!("{setters} must not set securityContext.windowsOptions.hostProcess=true"))
}

fn privilege_escalation(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let names = pod.named(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    let detail = || format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names));
    if names.is_empty() { None } else { violation("allowPrivilegeEscalation != false", detail()) }
}

fn restricted_volumes(pod: &Pod<'_>) -> Option<Violation> {
    const ALLOWED: [&str; 9] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let mut kinds = BTreeSet::new();
    let mut names = Vec::new();
    for volume in elements(&pod.spec["volumes"]) {
        let mut sources =
            volume.as_object().into_iter().flatten().filter(|(field, value)| *field != "name" && !value.is_null());
        let kind = sources.next().map_or("unknown", |(field, _)| field.as_str());
        if !ALLOWED.contains(&kind) {
            names.push(text(&volume["name"]));
            kinds.insert(kind);
        }
    }
    if names.is_empty() {
        return None;
    }
    let (volumes, verb) = (plural("volume", "volumes", names.len()), plural("uses", "use", names.len()));
    let word = plural("restricted volume type", "restricted volume types", kinds.len());
    violation("restricted volume types", format!("{volumes} {} {verb} {word} {}", quoted(names), quoted(kinds)))
}

fn run_as_non_root(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_relaxed() {
        return None;
    }
    const REASON: &str = "runAsNonRoot != true";
    if let Some(setters) = pod.setters(|context| context["runAsNonRoot"] == false) {
        return violation(REASON, format!("{setters} must not set securityContext.runAsNonRoot=false"));
    }
    let names = pod.named(|container| container["securityContext"]["runAsNonRoot"].is_null());
    if names.is_empty() || pod.spec["securityContext"]["runAsNonRoot"] == true {
        return None;
    }
    violation(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&names)))
}

fn run_as_user(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_relaxed() {
        return None;
    }
    let setters = pod.setters(|context| context["runAsUser"] == 0)?;
    violation("runAsUser=0", format!("{setters} must not set runAsUser=0"))
}
