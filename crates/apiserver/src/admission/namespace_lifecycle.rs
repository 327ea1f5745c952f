//! NamespaceLifecycle: nothing is made where there is no namespace, or in one that is going; the
//! namespaces the cluster lives on stay.

use api::status::{Status, Subject};
use serde_json::json;

use super::{Operation, Plugin, Request};
use crate::cluster::Cluster;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub struct NamespaceLifecycle;

#[async_trait::async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    async fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        decide(request, cluster)
    }
}

fn decide(request: &Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
    if request.is_about("", "namespaces") {
        let dies = request.operation == Operation::Delete && IMMORTAL.contains(&request.name);
        return if dies { Err(request.forbidden("this namespace may not be deleted")) } else { Ok(()) };
    }
    // What is there may go. Asking who may do what reveals nothing about a namespace.
    let exempt = matches!(request.operation, Operation::Delete | Operation::Connect)
        || request.is_on("authorization.k8s.io", "localsubjectaccessreviews");
    let name = request.namespace;
    if name.is_empty() || exempt {
        return Ok(());
    }
    let namespace = cluster
        .get("namespaces", None, name)
        .ok_or_else(|| Status::not_found(Subject { group: "", resource: "namespaces", name }))?;
    if request.operation != Operation::Create || namespace["status"]["phase"] != "Terminating" {
        return Ok(());
    }
    let mut status =
        request.forbidden(format!("unable to create new content in namespace {name} because it is being terminated"));
    if let Some(details) = &mut status.details {
        details["causes"] = json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {name} is being terminated"),
            "field": "metadata.namespace",
        }]);
    }
    Err(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admission::testing::{Case, cluster},
        cluster::FixedCluster,
    };

    #[test]
    fn namespaces_begin_and_end_as_in_kubernetes() {
        let cluster: FixedCluster =
            cluster().with("namespaces", json!({"metadata": {"name": "going"}, "status": {"phase": "Terminating"}}));
        let check = |case: Case, expect: Option<&str>| {
            let found = case.run(|request| decide(request, &cluster)).err().map(|status| status.message);
            assert_eq!(found.as_deref(), expect, "{case:?}");
        };
        let pod = || Case::create("pods", json!({"metadata": {"name": "web"}}));
        check(pod(), None);
        check(pod().namespace("nowhere"), Some(r#"namespaces "nowhere" not found"#));
        let going = r#"pods "web" is forbidden: unable to create new content in namespace going because it is being terminated"#;
        check(pod().namespace("going"), Some(going));
        check(pod().namespace("going").update(json!({})), None);
        check(pod().namespace("nowhere").update(json!({})), Some(r#"namespaces "nowhere" not found"#));
        check(Case::delete("pods", json!({"metadata": {"name": "web"}})).namespace("nowhere"), None);
        for (name, dies) in [("default", false), ("kube-system", false), ("kube-public", false), ("mine", true)] {
            let message = format!("namespaces {name:?} is forbidden: this namespace may not be deleted");
            let case = Case::delete("namespaces", json!({"metadata": {"name": name}})).namespace("");
            check(case, (!dies).then_some(&*message));
        }
        let review = Case::create("localsubjectaccessreviews.authorization.k8s.io", json!({}));
        check(review.namespace("nowhere"), None);
    }

    #[test]
    fn the_cause_names_the_field() {
        let cluster = FixedCluster::default()
            .with("namespaces", json!({"metadata": {"name": "going"}, "status": {"phase": "Terminating"}}));
        let case = Case::create("pods", json!({"metadata": {"name": "web"}})).namespace("going");
        let status = case.run(|request| decide(request, &cluster)).unwrap_err();
        let cause = &status.details.unwrap()["causes"][0];
        assert_eq!(cause["reason"], "NamespaceTerminating");
        assert_eq!(cause["field"], "metadata.namespace");
    }
}
