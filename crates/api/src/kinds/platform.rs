//! The rows of all kinds that are not workloads.

use super::{
    Row, admission_policy, api_service, certificate, config, device, endpoints, event, flow_control, ingress, lease,
    mutating_policy, namespace, network, node, quota, rbac, rules, service, storage, volume, webhook,
};
use crate::strategy::Strategy;

pub const ROWS: &[Row] = &[
    // core
    ("namespaces", namespace::STRATEGY, namespace::columns),
    ("nodes", node::STRATEGY, node::columns),
    ("services", service::STRATEGY, service::columns),
    ("endpoints", endpoints::ENDPOINTS, endpoints::endpoints_columns),
    ("configmaps", config::CONFIG_MAP, config::config_map_columns),
    ("secrets", config::SECRET, config::secret_columns),
    ("serviceaccounts", config::SERVICE_ACCOUNT, rules::name_and_age_columns),
    ("events", event::STRATEGY, event::columns),
    ("limitranges", quota::LIMIT_RANGE, rules::created_at_columns),
    ("resourcequotas", quota::RESOURCE_QUOTA, quota::resource_quota_columns),
    ("persistentvolumes", volume::VOLUME, volume::volume_columns),
    ("persistentvolumeclaims", volume::CLAIM, volume::claim_columns),
    ("componentstatuses", Strategy::DEFAULT, namespace::component_status_columns),
    // discovery and networking
    ("endpointslices.discovery.k8s.io", endpoints::SLICE, endpoints::slice_columns),
    ("ingresses.networking.k8s.io", ingress::INGRESS, ingress::ingress_columns),
    ("ingressclasses.networking.k8s.io", ingress::CLASS, ingress::class_columns),
    ("networkpolicies.networking.k8s.io", network::POLICY, network::policy_columns),
    ("servicecidrs.networking.k8s.io", network::SERVICE_CIDR, network::service_cidr_columns),
    ("ipaddresses.networking.k8s.io", network::IP_ADDRESS, network::ip_address_columns),
    // storage
    ("storageclasses.storage.k8s.io", storage::CLASS, storage::class_columns),
    ("csidrivers.storage.k8s.io", storage::CSI_DRIVER, storage::csi_driver_columns),
    ("csinodes.storage.k8s.io", storage::CSI_NODE, storage::csi_node_columns),
    ("csistoragecapacities.storage.k8s.io", storage::CAPACITY, storage::capacity_columns),
    ("volumeattachments.storage.k8s.io", storage::ATTACHMENT, storage::attachment_columns),
    ("volumeattributesclasses.storage.k8s.io", storage::ATTRIBUTES_CLASS, storage::attributes_class_columns),
    // access
    ("roles.rbac.authorization.k8s.io", rbac::ROLE, rules::created_at_columns),
    ("clusterroles.rbac.authorization.k8s.io", rbac::CLUSTER_ROLE, rules::created_at_columns),
    ("rolebindings.rbac.authorization.k8s.io", rbac::ROLE_BINDING, rbac::binding_columns),
    ("clusterrolebindings.rbac.authorization.k8s.io", rbac::CLUSTER_ROLE_BINDING, rbac::binding_columns),
    ("certificatesigningrequests.certificates.k8s.io", certificate::STRATEGY, certificate::columns),
    // control
    ("leases.coordination.k8s.io", lease::STRATEGY, lease::columns),
    ("validatingwebhookconfigurations.admissionregistration.k8s.io", webhook::VALIDATING, webhook::columns),
    ("mutatingwebhookconfigurations.admissionregistration.k8s.io", webhook::MUTATING, webhook::columns),
    (
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        admission_policy::POLICY,
        admission_policy::policy_columns,
    ),
    (
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        admission_policy::BINDING,
        admission_policy::binding_columns,
    ),
    (
        "mutatingadmissionpolicies.admissionregistration.k8s.io",
        mutating_policy::POLICY,
        mutating_policy::policy_columns,
    ),
    (
        "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
        mutating_policy::BINDING,
        admission_policy::binding_columns,
    ),
    ("flowschemas.flowcontrol.apiserver.k8s.io", flow_control::SCHEMA, flow_control::schema_columns),
    ("prioritylevelconfigurations.flowcontrol.apiserver.k8s.io", flow_control::LEVEL, flow_control::level_columns),
    ("apiservices.apiregistration.k8s.io", api_service::STRATEGY, api_service::columns),
    // devices
    ("deviceclasses.resource.k8s.io", device::CLASS, rules::name_and_age_columns),
    ("resourceclaims.resource.k8s.io", device::CLAIM, device::claim_columns),
    ("resourceclaimtemplates.resource.k8s.io", device::CLAIM_TEMPLATE, rules::name_and_age_columns),
    ("resourceslices.resource.k8s.io", device::SLICE, device::slice_columns),
];

#[cfg(test)]
mod tests;
