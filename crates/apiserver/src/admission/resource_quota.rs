//! ResourceQuota: no namespace uses more than its quotas allow. What it uses is counted in `quota`.

use std::sync::Arc;

use api::status::Status;
use serde_json::Value;

use super::{Operation, Plugin, Request};
use crate::{
    cluster::Cluster,
    engine::versions,
    quota::{Usage, Write},
};

pub struct ResourceQuota(pub Arc<Usage>);

#[async_trait::async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    async fn validate(&self, request: &mut Request<'_>, _cluster: &dyn Cluster) -> Result<(), Status> {
        let topic = &*request.resource.storage.topic;
        if request.namespace.is_empty() || matches!(topic, "namespaces" | "events") || !is_charged(request) {
            return Ok(());
        }
        let new = versions::stored_form(request.resource, &request.object);
        let old = match request.old {
            Value::Null => std::borrow::Cow::Borrowed(request.old),
            old => versions::stored_form(request.resource, old),
        };
        let write = Write {
            topic,
            namespace: request.namespace,
            name: request.name,
            new: &new,
            old: &old,
            dry_run: request.dry_run,
        };
        let reservation = self.0.admit(write).await.map_err(|problem| request.forbidden(problem))?;
        request.reservation = reservation;
        Ok(())
    }
}

/// The writes that can change what an object uses.
fn is_charged(request: &Request<'_>) -> bool {
    match (request.operation, request.subresource) {
        (Operation::Create, "") => true,
        (Operation::Update, "resize") => request.is_about("", "pods"),
        (Operation::Update, "") if request.is_on("", "pods") => {
            let deadline = |pod: &Value| pod["spec"]["activeDeadlineSeconds"].is_null();
            deadline(&request.object) != deadline(request.old)
        }
        (Operation::Update, "") => {
            request.is_on("", "services")
                || request.is_on("", "persistentvolumeclaims")
                || request.is_on("resource.k8s.io", "resourceclaims")
        }
        _ => false,
    }
}
