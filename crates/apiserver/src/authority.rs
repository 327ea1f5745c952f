//! Who may do what, answered for the pipeline and for the review kinds: authentication and
//! authorization of one server put together.

use std::sync::Arc;

use api::status::Status;
use http::HeaderMap;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use crate::{
    authn::{self, Authenticator, impersonation},
    authz::{self, Authorizer, Chain},
    cluster::Cluster,
    engine::Target,
    identity::User,
    pki::{Pki, PkiError},
};

pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

#[derive(Debug)]
pub struct Authority {
    authenticator: Authenticator,
    pub chain: Arc<Chain>,
}

impl Authority {
    pub fn new(pki: &Pki) -> Result<Self, PkiError> {
        let config = authn::Config { issuer: ISSUER.to_owned(), audiences: vec![ISSUER.to_owned()] };
        Ok(Self { authenticator: Authenticator::new(pki, config)?, chain: Arc::new(Chain::default()) })
    }

    /// The user of a request: who authenticated, and whom that user acts as, where it asks to.
    pub fn users(
        &self,
        headers: &HeaderMap,
        certificates: &[CertificateDer<'_>],
        cluster: &dyn Cluster,
        now: Timestamp,
    ) -> Result<(User, Option<User>), Status> {
        let certificates = (!certificates.is_empty()).then_some(certificates);
        let user = self.authenticator.authenticate(headers, certificates, cluster, now)?;
        let acting = impersonation::impersonate(headers, &user, &*self.chain, cluster)?;
        Ok((user, acting))
    }

    pub fn write_metrics(&self, out: &mut String) {
        self.authenticator.write_metrics(out);
    }

    pub fn authorizer(&self) -> Arc<dyn Authorizer> {
        Arc::clone(&self.chain) as Arc<dyn Authorizer>
    }

    /// Whether objects of the topic are questions: asked, answered, never stored.
    pub fn reviews(topic: &str) -> bool {
        matches!(
            topic,
            "tokenreviews.authentication.k8s.io"
                | "selfsubjectreviews.authentication.k8s.io"
                | "subjectaccessreviews.authorization.k8s.io"
                | "localsubjectaccessreviews.authorization.k8s.io"
                | "selfsubjectaccessreviews.authorization.k8s.io"
                | "selfsubjectrulesreviews.authorization.k8s.io"
        )
    }

    /// The review with its answer as `status`.
    pub fn review(
        &self,
        target: &Target,
        review: &Value,
        user: &User,
        cluster: &dyn Cluster,
        now: Timestamp,
    ) -> Result<Value, Status> {
        let access = |kind| authz::review::access(kind, review, &*self.chain, cluster);
        let status = match &*target.resource.plural {
            "tokenreviews" => authn::review::token(review, &self.authenticator, cluster, now)?,
            "selfsubjectreviews" => authn::review::own(user),
            "subjectaccessreviews" => access(authz::review::Kind::Any)?,
            "localsubjectaccessreviews" => access(authz::review::Kind::Local(&target.namespace))?,
            "selfsubjectaccessreviews" => access(authz::review::Kind::Own(user))?,
            "selfsubjectrulesreviews" => authz::review::own_rules(review, user, &self.chain.rbac, cluster)?,
            _ => return Err(Status::no_such_path()),
        };
        let mut answered = review.clone();
        answered["status"] = status;
        if answered["metadata"].is_null() {
            answered["metadata"] = json!({});
        }
        if &*target.resource.plural == "selfsubjectreviews" {
            answered["metadata"]["creationTimestamp"] = format!("{now:.0}").into();
        }
        Ok(answered)
    }

    /// The token request with the token in its status.
    pub fn issue_token(
        &self,
        namespace: &str,
        account: &str,
        request: Value,
        cluster: &dyn Cluster,
        now: Timestamp,
    ) -> Result<Value, Status> {
        self.authenticator.tokens.issue(namespace, account, request, cluster, now)
    }

    pub fn openid_configuration(&self, jwks_uri: &str) -> Value {
        self.authenticator.tokens.openid_configuration(jwks_uri)
    }

    pub fn jwks(&self) -> Value {
        self.authenticator.tokens.jwks()
    }
}
