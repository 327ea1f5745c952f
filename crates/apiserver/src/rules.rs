//! Rules of built-in kinds that need more than their documents: definitions of custom resources, and all
//! kinds with CEL in them, which has to compile. The registry's rows are completed with them when the server starts.

use api::{
    kinds::columns,
    registry::Registry,
    resource::{Column, Resource},
    strategy::Strategy,
};

use crate::{
    admission::{device, policy},
    crd::definition,
};

/// The registry with the rules of this crate in its rows.
pub fn complete(registry: Registry) -> Registry {
    let completed: Vec<Resource> = registry.rows().filter_map(|row| completed(row)).collect();
    registry.with(completed)
}

fn completed(row: &Resource) -> Option<Resource> {
    let mut row = row.clone();
    let expressions = match &*row.storage.topic {
        "customresourcedefinitions.apiextensions.k8s.io" => {
            row.strategy = definition::STRATEGY;
            row.columns = definition_columns().into();
            return Some(row);
        }
        "validatingadmissionpolicies.admissionregistration.k8s.io" => policy::validate::policy,
        "mutatingwebhookconfigurations.admissionregistration.k8s.io"
        | "validatingwebhookconfigurations.admissionregistration.k8s.io" => policy::validate::webhooks,
        "deviceclasses.resource.k8s.io" => device::class,
        "resourceclaims.resource.k8s.io" => device::claim,
        "resourceclaimtemplates.resource.k8s.io" => device::claim_template,
        _ => return None,
    };
    row.strategy = Strategy { expressions, ..row.strategy };
    Some(row)
}

fn definition_columns() -> Vec<Column> {
    let created = |definition: &serde_json::Value, _| definition["metadata"]["creationTimestamp"].clone();
    vec![
        columns::name(),
        Column { kind: "date".into(), ..columns::text("Created At", "When it was created.", created) },
    ]
}
