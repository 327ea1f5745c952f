//! Requests for certificates.

use serde::Deserialize;

use super::{Condition, Json, Meta, Object};
use crate::Kind;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CertificateSigningRequest {
    pub metadata: Meta,
    pub spec: CertificateSigningRequestSpec,
    pub status: CertificateSigningRequestStatus,
}

impl Object for CertificateSigningRequest {
    const KIND: Kind =
        Kind::of_cluster("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CertificateSigningRequestSpec {
    /// PEM in base64.
    pub request: Box<str>,
    pub signer_name: Box<str>,
    pub expiration_seconds: Option<i32>,
    pub usages: Vec<Box<str>>,
    /// Who asked, as the server saw them.
    pub username: Box<str>,
    pub uid: Box<str>,
    pub groups: Vec<Box<str>>,
    pub extra: Json,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CertificateSigningRequestStatus {
    pub conditions: Vec<Condition>,
    /// PEM in base64; empty until it is issued.
    pub certificate: Box<str>,
}

impl CertificateSigningRequest {
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| *condition.kind == *kind)
    }

    pub fn is_issued(&self) -> bool {
        !self.status.certificate.is_empty()
    }
}
