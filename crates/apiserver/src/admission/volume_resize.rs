//! PersistentVolumeClaimResize: a claim grows only where its class says that volumes can.

use api::{kinds::resources::quantity, status::Status};
use serde_json::Value;

use super::{Operation, Plugin, Request, text};
use crate::cluster::Cluster;

pub struct PersistentVolumeClaimResize;

#[async_trait::async_trait]
impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    async fn validate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        decide(request, cluster)
    }
}

fn decide(request: &Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
    if request.operation != Operation::Update || !request.is_on("", "persistentvolumeclaims") {
        return Ok(());
    }
    let (new, old) = (&*request.object, request.old);
    let size = |claim: &Value| quantity(&claim["spec"]["resources"]["requests"]["storage"]);
    if size(new) <= size(old) {
        return Ok(());
    }
    if old["status"]["phase"] != "Bound" {
        return Err(request.forbidden("Only bound persistent volume claims can be expanded"));
    }
    let class = class_of(new);
    let grows = !class.is_empty()
        && class == class_of(old)
        && cluster
            .get("storageclasses.storage.k8s.io", None, class)
            .is_some_and(|class| class["allowVolumeExpansion"] == true);
    if grows {
        return Ok(());
    }
    Err(request.forbidden(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    ))
}

/// An annotation from before the field was made wins over it.
pub fn class_of(claim: &Value) -> &str {
    let annotation = &claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    annotation.as_str().unwrap_or_else(|| text(&claim["spec"]["storageClassName"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{admission::testing::Case, cluster::FixedCluster};

    #[test]
    fn only_bound_claims_of_classes_that_allow_it_grow() {
        let topic = "storageclasses.storage.k8s.io";
        let cluster = FixedCluster::default()
            .with(topic, json!({"metadata": {"name": "elastic"}, "allowVolumeExpansion": true}))
            .with(topic, json!({"metadata": {"name": "rigid"}}));
        let claim = |class: Option<&str>, size: &str, phase: &str| {
            json!({
                "metadata": {"name": "data"},
                "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}},
                "status": {"phase": phase},
            })
        };
        let check = |class: Option<&str>, size: &str, phase: &str, expect: Option<&str>| {
            let case =
                Case::create("persistentvolumeclaims", claim(class, size, phase)).update(claim(class, "1Gi", phase));
            let found = case.run(|request| decide(request, &cluster)).err().map(|status| status.message);
            assert_eq!(found.as_deref(), expect);
        };
        let unbound =
            r#"persistentvolumeclaims "data" is forbidden: Only bound persistent volume claims can be expanded"#;
        let rigid = r#"persistentvolumeclaims "data" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"#;
        check(Some("elastic"), "2Gi", "Bound", None);
        check(Some("elastic"), "1024Mi", "Pending", None);
        check(Some("elastic"), "2Gi", "Pending", Some(unbound));
        check(Some("rigid"), "2Gi", "Bound", Some(rigid));
        check(Some("missing"), "2Gi", "Bound", Some(rigid));
        check(None, "2Gi", "Bound", Some(rigid));
    }
}
