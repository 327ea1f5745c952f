//! StorageObjectInUseProtection: volumes, claims and volume attributes classes go only when no one uses them.

use api::status::Status;

use super::{Operation, Plugin, Request, list_at};
use crate::cluster::Cluster;

const FINALIZERS: [(&str, &str, &str); 3] = [
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

pub struct StorageObjectInUseProtection;

#[async_trait::async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    async fn mutate(&self, request: &mut Request<'_>, _cluster: &dyn Cluster) -> Result<(), Status> {
        let protected = FINALIZERS.iter().find(|(group, plural, _)| request.is_on(group, plural));
        if request.operation == Operation::Create
            && let Some((_, _, finalizer)) = protected
            && let Some(finalizers) =
                request.object.get_mut("metadata").and_then(|metadata| list_at(metadata, "finalizers"))
            && !finalizers.iter().any(|known| known == finalizer)
        {
            finalizers.push((*finalizer).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::admission::testing::{Case, cluster};

    #[tokio::test]
    async fn what_is_in_use_is_protected() {
        let check = async |resource: &str, finalizers: Value, expect: Value| {
            let case = Case::create(resource, json!({"metadata": {"finalizers": finalizers}}));
            let (object, _) = case.admit(&StorageObjectInUseProtection, &cluster()).await.unwrap();
            assert_eq!(object["metadata"]["finalizers"], expect, "{resource}");
        };
        check("persistentvolumes", json!(null), json!(["kubernetes.io/pv-protection"])).await;
        check("persistentvolumeclaims", json!(["a/b"]), json!(["a/b", "kubernetes.io/pvc-protection"])).await;
        check(
            "persistentvolumeclaims",
            json!(["kubernetes.io/pvc-protection"]),
            json!(["kubernetes.io/pvc-protection"]),
        )
        .await;
        check("volumeattributesclasses.storage.k8s.io", json!(null), json!(["kubernetes.io/vac-protection"])).await;
        check("pods", json!(null), json!(null)).await;
    }
}
