//! Who may approve, sign and attest for a signer, and whom no one may certify: CertificateApproval,
//! CertificateSigning, ClusterTrustBundleAttest and CertificateSubjectRestriction.

use std::sync::Arc;

use api::status::Status;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{Operation, Plugin, Request, text};
use crate::{
    authz::Authorizer,
    cluster::Cluster,
    identity::{Attributes, MASTERS, Target},
    pki,
};

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

pub struct CertificateApproval(pub Arc<dyn Authorizer>);

#[async_trait::async_trait]
impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    async fn validate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if !updates(request, "approval") {
            return Ok(());
        }
        let signer = text(&request.old["spec"]["signerName"]);
        let refusal = || format!("user not permitted to approve requests with signerName {signer:?}");
        require(&*self.0, request, cluster, "approve", signer, refusal)
    }
}

pub struct CertificateSigning(pub Arc<dyn Authorizer>);

#[async_trait::async_trait]
impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    async fn validate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let (new, old) = (&request.object["status"], &request.old["status"]);
        let same = |field: &str| new[field] == old[field];
        if !updates(request, "status") || same("certificate") && same("conditions") {
            return Ok(());
        }
        let signer = text(&request.old["spec"]["signerName"]);
        let refusal = || format!("user not permitted to sign requests with signerName {signer:?}");
        require(&*self.0, request, cluster, "sign", signer, refusal)
    }
}

pub struct ClusterTrustBundleAttest(pub Arc<dyn Authorizer>);

#[async_trait::async_trait]
impl Plugin for ClusterTrustBundleAttest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }

    async fn validate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let written = matches!(request.operation, Operation::Create | Operation::Update);
        let signer = text(&request.object["spec"]["signerName"]);
        // What the garbage collector changes attests to nothing.
        let same = request.operation == Operation::Update && request.object["spec"] == request.old["spec"];
        if !written || !request.is_about(GROUP, "clustertrustbundles") || signer.is_empty() || same {
            return Ok(());
        }
        let refusal = || format!("user not permitted to attest for signerName {signer:?}");
        require(&*self.0, request, cluster, "attest", signer, refusal)
    }
}

pub struct CertificateSubjectRestriction;

#[async_trait::async_trait]
impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    async fn validate(&self, request: &mut Request<'_>, _cluster: &dyn Cluster) -> Result<(), Status> {
        let spec = &request.object["spec"];
        if !request.creates(GROUP, REQUESTS) || spec["signerName"] != CLIENT_SIGNER {
            return Ok(());
        }
        let parsed = parse(spec).map_err(|error| request.forbidden(format!("failed to parse CSR: {error}")))?;
        if pki::attributes(&parsed.subject, pki::ORGANIZATION).any(|group| group == MASTERS) {
            let text = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
            return Err(request.forbidden(text));
        }
        Ok(())
    }
}

/// The signing request in a `CertificateSigningRequestSpec`.
pub fn parse(spec: &Value) -> Result<pki::SigningRequest, String> {
    let pem = STANDARD.decode(text(&spec["request"])).map_err(|error| error.to_string())?;
    pki::SigningRequest::from_pem(&pem).map_err(|error| error.to_string())
}

fn updates(request: &Request<'_>, subresource: &str) -> bool {
    request.operation == Operation::Update && request.subresource == subresource && request.is_about(GROUP, REQUESTS)
}

/// A user may be trusted with a signer by its name, or with all of a domain (`example.com/*`).
fn require(
    authorizer: &dyn Authorizer,
    request: &Request<'_>,
    cluster: &dyn Cluster,
    verb: &str,
    signer: &str,
    refusal: impl Fn() -> String,
) -> Result<(), Status> {
    let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    let may = |name: &str| {
        let target =
            Target::Resource { group: GROUP, version: "*", resource: "signers", subresource: "", namespace: "", name };
        authorizer.authorize(&Attributes::new(request.user, verb, target), cluster).is_allowed()
    };
    if may(signer) || may(&domain) { Ok(()) } else { Err(request.forbidden(refusal())) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        admission::testing::{Case, cluster},
        authz::Decision,
    };

    /// Allows one verb on one signer.
    struct Only(&'static str, &'static str);

    impl Authorizer for Only {
        fn authorize(&self, attributes: &Attributes<'_>, _cluster: &dyn Cluster) -> Decision {
            match attributes.target {
                Target::Resource { resource: "signers", name, .. } if attributes.verb == self.0 && name == self.1 => {
                    Decision::Allow { reason: String::new() }
                }
                _ => Decision::NoOpinion { reason: String::new() },
            }
        }
    }

    fn request(subresource: &'static str, status: Value) -> Case {
        let request =
            |status: Value| json!({"metadata": {"name": "one"}, "spec": {"signerName": "a.io/b"}, "status": status});
        Case::create("certificatesigningrequests.certificates.k8s.io", request(status))
            .namespace("")
            .update(request(json!({})))
            .subresource(subresource)
    }

    #[tokio::test]
    async fn signers_are_for_those_who_may() {
        let check = async |plugin: &dyn Plugin, case: Case, expect: Option<&str>| {
            assert_eq!(case.admit(plugin, &cluster()).await.err().as_deref(), expect, "{}", plugin.name());
        };
        let approve = |name| CertificateApproval(Arc::new(Only("approve", name)));
        let refusal = r#"certificatesigningrequests.certificates.k8s.io "one" is forbidden: user not permitted to approve requests with signerName "a.io/b""#;
        check(&approve("a.io/b"), request("approval", json!({})), None).await;
        check(&approve("a.io/*"), request("approval", json!({})), None).await;
        check(&approve("other/*"), request("approval", json!({})), Some(refusal)).await;
        check(&approve("other/*"), request("status", json!({})), None).await;
        let sign = |name| CertificateSigning(Arc::new(Only("sign", name)));
        let refusal = r#"certificatesigningrequests.certificates.k8s.io "one" is forbidden: user not permitted to sign requests with signerName "a.io/b""#;
        let signed = || request("status", json!({"certificate": "YQ=="}));
        check(&sign("a.io/*"), signed(), None).await;
        check(&sign("other/*"), signed(), Some(refusal)).await;
        check(&sign("other/*"), request("status", json!({})), None).await;
        let bundle = json!({"metadata": {"name": "roots"}, "spec": {"signerName": "a.io/b"}});
        let case = Case::create("clustertrustbundles.certificates.k8s.io", bundle).namespace("");
        let attest = |name| ClusterTrustBundleAttest(Arc::new(Only("attest", name)));
        let refusal = r#"clustertrustbundles.certificates.k8s.io "roots" is forbidden: user not permitted to attest for signerName "a.io/b""#;
        check(&attest("a.io/b"), case.clone(), None).await;
        check(&attest("other"), case, Some(refusal)).await;
    }

    #[tokio::test]
    async fn nobody_requests_administrators() {
        let check = async |signer: &str, request: &str, expect: Option<&str>| {
            let spec = json!({"signerName": signer, "request": request});
            let case = Case::create(
                "certificatesigningrequests.certificates.k8s.io",
                json!({"metadata": {"name": "one"}, "spec": spec}),
            );
            let found = case.namespace("").admit(&CertificateSubjectRestriction, &cluster()).await.err();
            assert_eq!(found.as_deref(), expect);
        };
        let csr = |groups: &[&str]| STANDARD.encode(pki::tests::request_pem("jane", groups));
        let masters = r#"certificatesigningrequests.certificates.k8s.io "one" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"#;
        let broken = r#"certificatesigningrequests.certificates.k8s.io "one" is forbidden: failed to parse CSR: PEM block type must be CERTIFICATE REQUEST"#;
        check(CLIENT_SIGNER, &csr(&["dev"]), None).await;
        check(CLIENT_SIGNER, &csr(&["dev", MASTERS]), Some(masters)).await;
        check(CLIENT_SIGNER, "YQ==", Some(broken)).await;
        check("example.com/other", &csr(&[MASTERS]), None).await;
    }
}
