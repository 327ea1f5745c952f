//! The table of groups, versions and kinds. Facts: the discovery documents of Kubernetes 1.36.

use super::{Group, Kind, Part, Selectable, Version};
use crate::resource::{Scope, Verbs};

pub(super) const GROUPS: &[Group] = &[
    Group { name: "", types: "io.k8s.api.core", versions: &[on("v1")], kinds: CORE },
    Group {
        name: "apiregistration.k8s.io",
        types: "io.k8s.kube-aggregator.pkg.apis.apiregistration",
        versions: &[on("v1")],
        kinds: API_REGISTRATION,
    },
    Group { name: "apps", types: "io.k8s.api.apps", versions: &[on("v1")], kinds: APPS },
    Group { name: "events.k8s.io", types: "io.k8s.api.events", versions: &[on("v1")], kinds: EVENTS },
    Group {
        name: "authentication.k8s.io",
        types: "io.k8s.api.authentication",
        versions: &[on("v1")],
        kinds: AUTHENTICATION,
    },
    Group {
        name: "authorization.k8s.io",
        types: "io.k8s.api.authorization",
        versions: &[on("v1")],
        kinds: AUTHORIZATION,
    },
    Group { name: "autoscaling", types: "io.k8s.api.autoscaling", versions: &[on("v2"), on("v1")], kinds: AUTOSCALING },
    Group { name: "batch", types: "io.k8s.api.batch", versions: &[on("v1")], kinds: BATCH },
    Group {
        name: "certificates.k8s.io",
        types: "io.k8s.api.certificates",
        versions: &[on("v1"), off("v1beta1"), off("v1alpha1")],
        kinds: CERTIFICATES,
    },
    Group {
        name: "networking.k8s.io",
        types: "io.k8s.api.networking",
        versions: &[on("v1"), off("v1beta1")],
        kinds: NETWORKING,
    },
    Group { name: "policy", types: "io.k8s.api.policy", versions: &[on("v1")], kinds: POLICY },
    Group { name: "rbac.authorization.k8s.io", types: "io.k8s.api.rbac", versions: &[on("v1")], kinds: RBAC },
    Group {
        name: "storage.k8s.io",
        types: "io.k8s.api.storage",
        versions: &[on("v1"), off("v1beta1")],
        kinds: STORAGE,
    },
    Group {
        name: "admissionregistration.k8s.io",
        types: "io.k8s.api.admissionregistration",
        versions: &[on("v1"), off("v1beta1"), off("v1alpha1")],
        kinds: ADMISSION_REGISTRATION,
    },
    Group {
        name: "apiextensions.k8s.io",
        types: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
        versions: &[on("v1")],
        kinds: API_EXTENSIONS,
    },
    Group {
        name: "scheduling.k8s.io",
        types: "io.k8s.api.scheduling",
        versions: &[on("v1"), off("v1alpha2")],
        kinds: SCHEDULING,
    },
    Group {
        name: "coordination.k8s.io",
        types: "io.k8s.api.coordination",
        versions: &[on("v1"), off("v1beta1"), off("v1alpha2")],
        kinds: COORDINATION,
    },
    Group { name: "node.k8s.io", types: "io.k8s.api.node", versions: &[on("v1")], kinds: NODE },
    Group { name: "discovery.k8s.io", types: "io.k8s.api.discovery", versions: &[on("v1")], kinds: DISCOVERY },
    Group {
        name: "resource.k8s.io",
        types: "io.k8s.api.resource",
        versions: &[on("v1"), off("v1beta2"), off("v1beta1"), off("v1alpha3")],
        kinds: RESOURCE,
    },
    Group {
        name: "flowcontrol.apiserver.k8s.io",
        types: "io.k8s.api.flowcontrol",
        versions: &[on("v1")],
        kinds: FLOW_CONTROL,
    },
    Group {
        name: "internal.apiserver.k8s.io",
        types: "io.k8s.api.apiserverinternal",
        versions: &[off("v1alpha1")],
        kinds: INTERNAL,
    },
    Group {
        name: "storagemigration.k8s.io",
        types: "io.k8s.api.storagemigration",
        versions: &[off("v1beta1")],
        kinds: STORAGE_MIGRATION,
    },
];

const fn on(name: &'static str) -> Version {
    Version { name, served: true }
}

const fn off(name: &'static str) -> Version {
    Version { name, served: false }
}

const STATUS: Part = part("status", Verbs::SUBRESOURCE);
const SCALE: Part =
    Part { scale: true, body: Some(("autoscaling", "v1", "Scale")), ..part("scale", Verbs::SUBRESOURCE) };
const PROXY_VERBS: Verbs = Verbs::CREATE.or(Verbs::DELETE).or(Verbs::SUBRESOURCE);
const STREAM_VERBS: Verbs = Verbs::CREATE.or(Verbs::GET);

const CORE: &[Kind] = &[
    namespaced("bindings", "Binding").verbs(Verbs::CREATE),
    cluster("componentstatuses", "ComponentStatus").short(&["cs"]).verbs(Verbs::GET.or(Verbs::LIST)),
    namespaced("configmaps", "ConfigMap").short(&["cm"]),
    namespaced("endpoints", "Endpoints").short(&["ep"]),
    namespaced("events", "Event").short(&["ev"]).select(EVENT_FIELDS),
    namespaced("limitranges", "LimitRange").short(&["limits"]),
    cluster("namespaces", "Namespace")
        .short(&["ns"])
        .verbs(Verbs::ALL.without(Verbs::DELETE_COLLECTION))
        .parts(&[part("finalize", Verbs::UPDATE), STATUS])
        .select(&[("status.phase", "status.phase", "")]),
    cluster("nodes", "Node")
        .short(&["no"])
        .parts(&[part("proxy", PROXY_VERBS).body("", "v1", "NodeProxyOptions"), STATUS])
        .select(&[("spec.unschedulable", "spec.unschedulable", "false")]),
    namespaced("persistentvolumeclaims", "PersistentVolumeClaim").short(&["pvc"]).parts(&[STATUS]),
    cluster("persistentvolumes", "PersistentVolume").short(&["pv"]).parts(&[STATUS]),
    namespaced("pods", "Pod")
        .short(&["po"])
        .categories(&["all"])
        .parts(&[
            part("attach", STREAM_VERBS).body("", "v1", "PodAttachOptions"),
            part("binding", Verbs::CREATE).body("", "v1", "Binding"),
            part("ephemeralcontainers", Verbs::SUBRESOURCE),
            part("eviction", Verbs::CREATE).body("policy", "v1", "Eviction"),
            part("exec", STREAM_VERBS).body("", "v1", "PodExecOptions"),
            part("log", Verbs::GET),
            part("portforward", STREAM_VERBS).body("", "v1", "PodPortForwardOptions"),
            part("proxy", PROXY_VERBS).body("", "v1", "PodProxyOptions"),
            part("resize", Verbs::SUBRESOURCE),
            STATUS,
        ])
        .select(POD_FIELDS),
    namespaced("podtemplates", "PodTemplate"),
    namespaced("replicationcontrollers", "ReplicationController")
        .short(&["rc"])
        .categories(&["all"])
        .parts(&[SCALE, STATUS])
        .select(&[REPLICAS]),
    namespaced("resourcequotas", "ResourceQuota").short(&["quota"]).parts(&[STATUS]),
    namespaced("secrets", "Secret").select(&[("type", "type", "")]),
    namespaced("serviceaccounts", "ServiceAccount").short(&["sa"]).parts(&[part("token", Verbs::CREATE).body(
        "authentication.k8s.io",
        "v1",
        "TokenRequest",
    )]),
    namespaced("services", "Service")
        .short(&["svc"])
        .categories(&["all"])
        .parts(&[part("proxy", PROXY_VERBS).body("", "v1", "ServiceProxyOptions"), STATUS])
        .select(&[("spec.clusterIP", "spec.clusterIP", ""), ("spec.type", "spec.type", "")]),
];

const API_REGISTRATION: &[Kind] =
    &[cluster("apiservices", "APIService").categories(&["api-extensions"]).parts(&[STATUS])];

const APPS: &[Kind] = &[
    namespaced("controllerrevisions", "ControllerRevision"),
    namespaced("daemonsets", "DaemonSet").short(&["ds"]).categories(&["all"]).parts(&[STATUS]),
    namespaced("deployments", "Deployment").short(&["deploy"]).categories(&["all"]).parts(&[SCALE, STATUS]),
    namespaced("replicasets", "ReplicaSet")
        .short(&["rs"])
        .categories(&["all"])
        .parts(&[SCALE, STATUS])
        .select(&[REPLICAS]),
    namespaced("statefulsets", "StatefulSet").short(&["sts"]).categories(&["all"]).parts(&[SCALE, STATUS]),
];

const EVENTS: &[Kind] = &[namespaced("events", "Event").short(&["ev"]).select(REGARDING_FIELDS).stored("events", "v1")];

const AUTHENTICATION: &[Kind] = &[
    cluster("selfsubjectreviews", "SelfSubjectReview").verbs(Verbs::CREATE),
    cluster("tokenreviews", "TokenReview").verbs(Verbs::CREATE),
];

const AUTHORIZATION: &[Kind] = &[
    namespaced("localsubjectaccessreviews", "LocalSubjectAccessReview").verbs(Verbs::CREATE),
    cluster("selfsubjectaccessreviews", "SelfSubjectAccessReview").verbs(Verbs::CREATE),
    cluster("selfsubjectrulesreviews", "SelfSubjectRulesReview").verbs(Verbs::CREATE),
    cluster("subjectaccessreviews", "SubjectAccessReview").verbs(Verbs::CREATE),
];

const AUTOSCALING: &[Kind] = &[namespaced("horizontalpodautoscalers", "HorizontalPodAutoscaler")
    .short(&["hpa"])
    .categories(&["all"])
    .parts(&[STATUS])];

const BATCH: &[Kind] = &[
    namespaced("cronjobs", "CronJob").short(&["cj"]).categories(&["all"]).parts(&[STATUS]),
    namespaced("jobs", "Job").categories(&["all"]).parts(&[STATUS]).select(&[(
        "status.successful",
        "status.succeeded",
        "0",
    )]),
];

const CERTIFICATES: &[Kind] = &[
    cluster("certificatesigningrequests", "CertificateSigningRequest")
        .short(&["csr"])
        .parts(&[part("approval", Verbs::SUBRESOURCE), STATUS])
        .select(&[("spec.signerName", "spec.signerName", "")])
        .only(&["v1"]),
    cluster("clustertrustbundles", "ClusterTrustBundle")
        .select(&[("spec.signerName", "spec.signerName", "")])
        .only(&["v1beta1", "v1alpha1"]),
    namespaced("podcertificaterequests", "PodCertificateRequest")
        .parts(&[STATUS])
        .select(&[
            ("spec.signerName", "spec.signerName", ""),
            ("spec.podName", "spec.podName", ""),
            ("spec.nodeName", "spec.nodeName", ""),
        ])
        .only(&["v1beta1"]),
];

const NETWORKING: &[Kind] = &[
    cluster("ingressclasses", "IngressClass").only(&["v1"]),
    namespaced("ingresses", "Ingress").short(&["ing"]).parts(&[STATUS]).only(&["v1"]),
    cluster("ipaddresses", "IPAddress").short(&["ip"]),
    namespaced("networkpolicies", "NetworkPolicy").short(&["netpol"]).only(&["v1"]),
    cluster("servicecidrs", "ServiceCIDR").parts(&[STATUS]),
];

const POLICY: &[Kind] = &[namespaced("poddisruptionbudgets", "PodDisruptionBudget").short(&["pdb"]).parts(&[STATUS])];

const RBAC: &[Kind] = &[
    cluster("clusterrolebindings", "ClusterRoleBinding"),
    cluster("clusterroles", "ClusterRole"),
    namespaced("rolebindings", "RoleBinding"),
    namespaced("roles", "Role"),
];

const STORAGE: &[Kind] = &[
    cluster("csidrivers", "CSIDriver").only(&["v1"]),
    cluster("csinodes", "CSINode").only(&["v1"]),
    namespaced("csistoragecapacities", "CSIStorageCapacity").only(&["v1"]),
    cluster("storageclasses", "StorageClass").short(&["sc"]).only(&["v1"]),
    cluster("volumeattachments", "VolumeAttachment").parts(&[STATUS]).only(&["v1"]),
    cluster("volumeattributesclasses", "VolumeAttributesClass").short(&["vac"]),
];

const ADMISSION_REGISTRATION: &[Kind] = &[
    cluster("mutatingadmissionpolicies", "MutatingAdmissionPolicy").categories(&["api-extensions"]),
    cluster("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding").categories(&["api-extensions"]),
    cluster("mutatingwebhookconfigurations", "MutatingWebhookConfiguration")
        .categories(&["api-extensions"])
        .only(&["v1"]),
    cluster("validatingadmissionpolicies", "ValidatingAdmissionPolicy")
        .categories(&["api-extensions"])
        .parts(&[STATUS])
        .only(&["v1"]),
    cluster("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding")
        .categories(&["api-extensions"])
        .only(&["v1"]),
    cluster("validatingwebhookconfigurations", "ValidatingWebhookConfiguration")
        .categories(&["api-extensions"])
        .only(&["v1"]),
];

const API_EXTENSIONS: &[Kind] = &[cluster("customresourcedefinitions", "CustomResourceDefinition")
    .short(&["crd", "crds"])
    .categories(&["api-extensions"])
    .parts(&[STATUS])];

const SCHEDULING: &[Kind] = &[
    namespaced("podgroups", "PodGroup").parts(&[STATUS]).only(&["v1alpha2"]),
    cluster("priorityclasses", "PriorityClass").short(&["pc"]).only(&["v1"]),
    namespaced("workloads", "Workload").only(&["v1alpha2"]),
];

const COORDINATION: &[Kind] = &[
    namespaced("leasecandidates", "LeaseCandidate").only(&["v1beta1", "v1alpha2"]),
    namespaced("leases", "Lease").only(&["v1"]),
];

const NODE: &[Kind] = &[cluster("runtimeclasses", "RuntimeClass")];

const DISCOVERY: &[Kind] = &[namespaced("endpointslices", "EndpointSlice")];

const RESOURCE: &[Kind] = &[
    cluster("deviceclasses", "DeviceClass").only(&["v1", "v1beta2", "v1beta1"]),
    cluster("devicetaintrules", "DeviceTaintRule").parts(&[STATUS]).only(&["v1beta2", "v1alpha3"]),
    namespaced("resourceclaims", "ResourceClaim").parts(&[STATUS]).only(&["v1", "v1beta2", "v1beta1"]),
    namespaced("resourceclaimtemplates", "ResourceClaimTemplate").only(&["v1", "v1beta2", "v1beta1"]),
    cluster("resourcepoolstatusrequests", "ResourcePoolStatusRequest").parts(&[STATUS]).only(&["v1alpha3"]),
    cluster("resourceslices", "ResourceSlice")
        .select(&[("spec.nodeName", "spec.nodeName", ""), ("spec.driver", "spec.driver", "")])
        .only(&["v1", "v1beta2", "v1beta1"]),
];

const FLOW_CONTROL: &[Kind] = &[
    cluster("flowschemas", "FlowSchema").parts(&[STATUS]),
    cluster("prioritylevelconfigurations", "PriorityLevelConfiguration").parts(&[STATUS]),
];

const INTERNAL: &[Kind] = &[cluster("storageversions", "StorageVersion").parts(&[STATUS])];

const STORAGE_MIGRATION: &[Kind] = &[cluster("storageversionmigrations", "StorageVersionMigration").parts(&[STATUS])];

const REPLICAS: Selectable = ("status.replicas", "status.replicas", "0");

const POD_FIELDS: &[Selectable] = &[
    ("spec.hostNetwork", "spec.hostNetwork", "false"),
    ("spec.nodeName", "spec.nodeName", ""),
    ("spec.restartPolicy", "spec.restartPolicy", ""),
    ("spec.schedulerName", "spec.schedulerName", ""),
    ("spec.serviceAccountName", "spec.serviceAccountName", ""),
    ("status.nominatedNodeName", "status.nominatedNodeName", ""),
    ("status.phase", "status.phase", ""),
    ("status.podIP", "status.podIP", ""),
];

const EVENT_FIELDS: &[Selectable] = &[
    ("involvedObject.apiVersion", "involvedObject.apiVersion", ""),
    ("involvedObject.fieldPath", "involvedObject.fieldPath", ""),
    ("involvedObject.kind", "involvedObject.kind", ""),
    ("involvedObject.name", "involvedObject.name", ""),
    ("involvedObject.namespace", "involvedObject.namespace", ""),
    ("involvedObject.resourceVersion", "involvedObject.resourceVersion", ""),
    ("involvedObject.uid", "involvedObject.uid", ""),
    ("reason", "reason", ""),
    ("reportingComponent", "reportingComponent", ""),
    ("source", "source.component|reportingComponent", ""),
    ("type", "type", ""),
];

/// The same fields, by the names that events.k8s.io gives them.
const REGARDING_FIELDS: &[Selectable] = &[
    ("regarding.apiVersion", "involvedObject.apiVersion", ""),
    ("regarding.fieldPath", "involvedObject.fieldPath", ""),
    ("regarding.kind", "involvedObject.kind", ""),
    ("regarding.name", "involvedObject.name", ""),
    ("regarding.namespace", "involvedObject.namespace", ""),
    ("regarding.resourceVersion", "involvedObject.resourceVersion", ""),
    ("regarding.uid", "involvedObject.uid", ""),
    ("reason", "reason", ""),
    ("reportingController", "reportingComponent", ""),
    ("type", "type", ""),
];

const fn namespaced(plural: &'static str, kind: &'static str) -> Kind {
    Kind {
        plural,
        kind,
        scope: Scope::Namespaced,
        short_names: &[],
        categories: &[],
        verbs: Verbs::ALL,
        subresources: &[],
        selectable: &[],
        versions: None,
        stored: None,
    }
}

const fn cluster(plural: &'static str, kind: &'static str) -> Kind {
    Kind { scope: Scope::Cluster, ..namespaced(plural, kind) }
}

const fn part(name: &'static str, verbs: Verbs) -> Part {
    Part { name, verbs, body: None, scale: false }
}

impl Part {
    const fn body(self, group: &'static str, version: &'static str, kind: &'static str) -> Part {
        Part { body: Some((group, version, kind)), ..self }
    }
}

impl Kind {
    const fn short(self, short_names: &'static [&'static str]) -> Kind {
        Kind { short_names, ..self }
    }

    const fn categories(self, categories: &'static [&'static str]) -> Kind {
        Kind { categories, ..self }
    }

    const fn verbs(self, verbs: Verbs) -> Kind {
        Kind { verbs, ..self }
    }

    const fn parts(self, subresources: &'static [Part]) -> Kind {
        Kind { subresources, ..self }
    }

    const fn select(self, selectable: &'static [Selectable]) -> Kind {
        Kind { selectable, ..self }
    }

    const fn only(self, versions: &'static [&'static str]) -> Kind {
        Kind { versions: Some(versions), ..self }
    }

    const fn stored(self, topic: &'static str, api_version: &'static str) -> Kind {
        Kind { stored: Some((topic, api_version)), ..self }
    }
}
