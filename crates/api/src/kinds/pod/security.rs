//! Security contexts of pods and containers.

use std::collections::BTreeSet;

use super::{path::local_descending, windows};
use crate::kinds::check::{Node, texts};

pub fn container_security_context(node: &Node<'_>, host_users: bool) {
    if !node.is_set() {
        return;
    }
    identity(node, "runAsUser");
    identity(node, "runAsGroup");
    let mount = node.get("procMount");
    mount.optional_word(&["Default", "Unmasked"]);
    if host_users && mount.text() == "Unmasked" {
        mount.invalid("`hostUsers` must be false to use `Unmasked`");
    }
    seccomp(&node.get("seccompProfile"));
    if node.value["allowPrivilegeEscalation"] == false {
        if node.get("privileged").flag() {
            node.invalid("cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        if texts(&node.value["capabilities"]["add"]).any(|capability| capability == "CAP_SYS_ADMIN") {
            node.invalid("cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
        }
    }
    app_armor(&node.get("appArmorProfile"));
    windows::options(&node.get("windowsOptions"));
}

fn identity(node: &Node<'_>, field: &str) {
    let id = node.get(field);
    if id.is_set() {
        id.in_range(0, i64::from(i32::MAX));
    }
}

const LOCALHOST: &str = "Localhost";

fn seccomp(node: &Node<'_>) {
    if !node.is_set() {
        return;
    }
    let (kind, profile) = (node.get("type"), node.get("localhostProfile"));
    if kind.require_saying("type is required when seccompProfile is set") {
        kind.optional_word(&[LOCALHOST, "RuntimeDefault", "Unconfined"]);
    }
    match (kind.text() == LOCALHOST, profile.is_set()) {
        (true, true) => local_descending(&profile),
        (true, false) => profile.required("must be set when seccomp type is Localhost"),
        (false, true) => profile.showing(node.value).invalid("can only be set when seccomp type is Localhost"),
        (false, false) => {}
    }
}

fn app_armor(node: &Node<'_>) {
    if !node.is_set() {
        return;
    }
    const MUST_BE_SET: &str = "must be set when AppArmor type is Localhost";
    let (kind, profile) = (node.get("type"), node.get("localhostProfile"));
    match kind.text() {
        LOCALHOST => {
            if profile.text().trim() != profile.text() {
                profile.invalid("must not be padded with whitespace");
            } else {
                profile.require_saying(MUST_BE_SET);
            }
            if profile.text().len() > 4095 {
                profile.too_long(4095);
            }
        }
        "RuntimeDefault" | "Unconfined" if profile.is_set() => {
            profile.invalid("can only be set when AppArmor type is Localhost");
        }
        "RuntimeDefault" | "Unconfined" => {}
        "" => kind.required("type is required when appArmorProfile is set"),
        _ => kind.not_supported(&[LOCALHOST, "RuntimeDefault", "Unconfined"]),
    }
}

/// The security context of a pod, and what of the spec depends on it.
pub fn pod_security_context(spec: &Node<'_>) {
    let node = spec.get("securityContext");
    identity(&node, "fsGroup");
    identity(&node, "runAsUser");
    identity(&node, "runAsGroup");
    for group in node.get("supplementalGroups").items() {
        group.in_range(0, i64::from(i32::MAX));
    }
    if spec.get("shareProcessNamespace").flag() && spec.get("hostPID").flag() {
        let at_context = node.get("shareProcessNamespace");
        at_context.invalid_value(true, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    sysctls(spec, &node.get("sysctls"));
    node.get("fsGroupChangePolicy").optional_word(&["Always", "OnRootMismatch"]);
    seccomp(&node.get("seccompProfile"));
    app_armor(&node.get("appArmorProfile"));
    node.get("supplementalGroupsPolicy").optional_word(&["Merge", "Strict"]);
    node.get("seLinuxChangePolicy").optional_word(&["Recursive"]);
    windows::options(&node.get("windowsOptions"));
}

const SYSCTL: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
const SYSCTL_MAX_LENGTH: usize = 253;

fn is_sysctl(name: &str) -> bool {
    let is_edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_segment = |segment: &str| {
        let bytes = segment.as_bytes();
        matches!((bytes.first(), bytes.last()), (Some(&first), Some(&last)) if is_edge(first) && is_edge(last))
            && bytes.iter().all(|&byte| is_edge(byte) || matches!(byte, b'-' | b'_'))
    };
    name.len() <= SYSCTL_MAX_LENGTH && name.split(['.', '/']).all(is_segment)
}

fn sysctls(spec: &Node<'_>, list: &Node<'_>) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for sysctl in list.items() {
        let name = sysctl.get("name");
        if name.require() {
            if !is_sysctl(name.text()) {
                name.invalid(format!("must have at most {SYSCTL_MAX_LENGTH} characters and match regex {SYSCTL}"));
            } else if seen.contains(name.text()) {
                name.duplicate();
            }
        }
        let dotted = name.text().replace('/', ".");
        if dotted.starts_with("net.") && spec.get("hostNetwork").flag() {
            name.invalid("may not be specified when 'hostNetwork' is true");
        }
        let is_ipc =
            ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."].iter().any(|prefix| dotted.starts_with(prefix));
        if is_ipc && spec.get("hostIPC").flag() {
            name.invalid("may not be specified when 'hostIPC' is true");
        }
        seen.insert(name.text().to_owned());
    }
}

/// User namespaces of their own exclude the host's other namespaces.
pub fn host_users(spec: &Node<'_>) {
    if spec.value["hostUsers"] != false {
        return;
    }
    const MESSAGE: &str = "when `hostUsers` is false";
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.get(field).flag() {
            spec.get(shown).forbidden(MESSAGE);
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.get(list).items() {
            if !container.get("volumeDevices").is_empty() {
                container.get("volumeDevices").forbidden(MESSAGE);
            }
        }
    }
}

/// Fields that mean nothing to the operating system the pod is for.
pub fn operating_system(spec: &Node<'_>) {
    let os = spec.get("os");
    if !os.is_set() {
        return;
    }
    let name = os.get("name");
    match name.text() {
        "linux" => each_context(spec, &["windowsOptions"], &[], "windows options cannot be set for a linux pod"),
        "windows" => {
            const MESSAGE: &str = "cannot be set for a windows pod";
            for field in ["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"] {
                if !matches!(spec.get(field).value.as_bool(), None | Some(false)) {
                    spec.get(field).forbidden(MESSAGE);
                }
            }
            each_context(spec, WINDOWS_FORBIDDEN, WINDOWS_FORBIDDEN_IN_CONTAINERS, MESSAGE);
        }
        "" => name.required(""),
        _ => os.showing(name.value).not_supported(&["linux", "windows"]),
    }
}

const WINDOWS_FORBIDDEN: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];

const WINDOWS_FORBIDDEN_IN_CONTAINERS: &[&str] =
    &["capabilities", "readOnlyRootFilesystem", "privileged", "allowPrivilegeEscalation", "procMount"];

fn each_context(spec: &Node<'_>, everywhere: &[&str], in_containers: &[&str], message: &str) {
    let refuse = |context: &Node<'_>, fields: &[&str]| {
        for field in fields {
            if context.get(field).is_set() {
                context.get(field).forbidden(message);
            }
        }
    };
    refuse(&spec.get("securityContext"), everywhere);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.get(list).items() {
            let context = container.get("securityContext");
            refuse(&context, everywhere);
            refuse(&context, in_containers);
        }
    }
}
