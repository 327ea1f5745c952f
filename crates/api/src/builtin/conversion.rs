//! Between the stored form of a kind and the versions whose documents look different. Most versions
//! differ in `apiVersion` alone and need none of this.

mod devices;

use crate::{
    kinds::{autoscaler, event},
    resource::Conversion,
};

/// For objects of the topic, seen as `api_version`.
pub fn find(topic: &str, api_version: &str) -> Option<Conversion> {
    Some(match (topic, api_version) {
        ("events", "events.k8s.io/v1") => event::CONVERSION,
        ("horizontalpodautoscalers.autoscaling", "autoscaling/v1") => autoscaler::V1,
        ("resourceclaims.resource.k8s.io", "resource.k8s.io/v1beta1") => {
            Conversion { from_storage: devices::flatten_claim, to_storage: devices::nest_claim }
        }
        ("resourceclaimtemplates.resource.k8s.io", "resource.k8s.io/v1beta1") => {
            Conversion { from_storage: devices::flatten_template, to_storage: devices::nest_template }
        }
        ("resourceslices.resource.k8s.io", "resource.k8s.io/v1beta1") => {
            Conversion { from_storage: devices::nest_slice, to_storage: devices::flatten_slice }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
