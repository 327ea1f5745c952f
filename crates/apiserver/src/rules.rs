//! Rules of built-in kinds that need more than their documents: definitions of custom resources and
//! policies, whose CEL has to compile. The registry's rows are completed with them when the server starts.

use api::{
    kinds::columns,
    registry::Registry,
    resource::{Column, Resource},
    strategy::Strategy,
};

use crate::{admission::policy, crd::definition};

/// The registry with the rules of this crate in its rows.
pub fn complete(registry: Registry) -> Registry {
    let completed: Vec<Resource> = registry.rows().filter_map(|row| completed(row)).collect();
    registry.with(completed)
}

fn completed(row: &Resource) -> Option<Resource> {
    let mut row = row.clone();
    match &*row.storage.topic {
        "customresourcedefinitions.apiextensions.k8s.io" => {
            row.strategy = definition::STRATEGY;
            row.columns = definition_columns().into();
        }
        "validatingadmissionpolicies.admissionregistration.k8s.io" => {
            row.strategy = Strategy { validate: policy::validate::policy, ..row.strategy };
        }
        "validatingadmissionpolicybindings.admissionregistration.k8s.io" => {
            row.strategy = Strategy { validate: policy::validate::binding, ..row.strategy };
        }
        _ => return None,
    }
    Some(row)
}

fn definition_columns() -> Vec<Column> {
    let created = |definition: &serde_json::Value, _| definition["metadata"]["creationTimestamp"].clone();
    vec![
        columns::name(),
        Column { kind: "date".into(), ..columns::text("Created At", "When it was created.", created) },
    ]
}
