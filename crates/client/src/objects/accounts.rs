//! Service accounts, and the secrets and configuration that go with them: of each only what is decided on, and of
//! secrets none but bootstrap tokens.

use std::{collections::BTreeSet, fmt};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::{Meta, Object};
use crate::{Key, Kind};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ServiceAccount {
    pub metadata: Meta,
}

impl Object for ServiceAccount {
    const KIND: Kind = Kind::namespaced("", "v1", "ServiceAccount", "serviceaccounts");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "WrittenSecret")]
pub struct Secret {
    pub metadata: Meta,
    pub kind: Box<str>,
    pub data: SecretData,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenSecret {
    metadata: Meta,
    #[serde(rename = "type")]
    kind: Box<str>,
    #[serde(deserialize_with = "data")]
    data: SecretData,
}

impl From<WrittenSecret> for Secret {
    fn from(WrittenSecret { metadata, kind, mut data }: WrittenSecret) -> Self {
        if *kind != *BOOTSTRAP_TOKEN {
            data.token = None;
        }
        Self { metadata, kind, data }
    }
}

/// What may be known of a secret.
#[derive(Debug, Clone, Default)]
pub struct SecretData {
    /// The names of what is not empty.
    pub filled: BTreeSet<Box<str>>,
    /// When a token ends, as it is written (base64).
    pub expiration: Box<str>,
    /// Of a bootstrap token, with which what joining nodes may trust is signed.
    pub token: Option<Box<BootstrapToken>>,
}

#[derive(Clone, Default)]
pub struct BootstrapToken {
    pub id: Box<str>,
    pub secret: Box<str>,
    /// Whether anything may be signed with it.
    pub signs: bool,
}

impl fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootstrapToken").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The index by the account whose token a secret is to hold.
const ACCOUNT: &str = "account";
const TOKEN: &str = "kubernetes.io/service-account-token";
pub const BOOTSTRAP_TOKEN: &str = "bootstrap.kubernetes.io/token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

impl Object for Secret {
    const KIND: Kind = Kind::namespaced("", "v1", "Secret", "secrets");

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn index(&self, add: &mut dyn FnMut(&'static str, &str)) {
        if let Some(account) = self.account() {
            add(ACCOUNT, account.as_str());
        }
    }
}

impl Secret {
    /// The account whose token it is to hold, if it is of that type.
    pub fn account(&self) -> Option<Key> {
        let name = self.metadata.annotations.get(ACCOUNT_NAME).filter(|name| !name.is_empty())?;
        (*self.kind == *TOKEN).then(|| Key::new(&self.metadata.namespace, name))
    }

    /// The UID of that account, once it is known.
    pub fn account_uid(&self) -> Option<&str> {
        self.metadata.annotations.get(ACCOUNT_UID).filter(|uid| !uid.is_empty())
    }
}

impl crate::Cache<Secret> {
    /// The secrets that are to hold tokens of that account.
    pub fn of_account(&self, account: &Key) -> Vec<std::sync::Arc<Secret>> {
        self.by(ACCOUNT, account.as_str())
    }
}

/// The ConfigMap of each namespace by which its pods know the API server; others are not kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RootCertificate {
    pub metadata: Meta,
    pub data: RootCertificateData,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, from = "Written")]
pub struct RootCertificateData {
    pub certificate: Box<str>,
    /// The names of what else stands beside it.
    pub others: Vec<Box<str>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Written {
    #[serde(rename = "ca.crt")]
    certificate: Box<str>,
    #[serde(flatten)]
    more: std::collections::BTreeMap<Box<str>, IgnoredAny>,
}

impl From<Written> for RootCertificateData {
    fn from(written: Written) -> Self {
        Self { certificate: written.certificate, others: written.more.into_keys().collect() }
    }
}

impl RootCertificate {
    pub const NAME: &str = "kube-root-ca.crt";
}

impl Object for RootCertificate {
    const KIND: Kind = Kind::namespaced("", "v1", "ConfigMap", "configmaps");
    const SELECTORS: &str = "fieldSelector=metadata.name%3Dkube-root-ca.crt";

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn is_kept(_: &str, name: &str) -> bool {
        name == Self::NAME
    }
}

/// What nodes that join may trust of the cluster; other ConfigMaps are not kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ClusterInfo {
    pub metadata: Meta,
    pub data: ClusterInfoData,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClusterInfoData {
    pub kubeconfig: Option<Box<str>>,
    /// Signatures of it among other texts.
    #[serde(flatten)]
    pub more: std::collections::BTreeMap<Box<str>, Box<str>>,
}

impl ClusterInfo {
    pub const NAMESPACE: &str = "kube-public";
    pub const NAME: &str = "cluster-info";
}

impl Object for ClusterInfo {
    const KIND: Kind = RootCertificate::KIND;
    const SELECTORS: &str = "fieldSelector=metadata.namespace%3Dkube-public,metadata.name%3Dcluster-info";

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn is_kept(namespace: &str, name: &str) -> bool {
        (namespace, name) == (Self::NAMESPACE, Self::NAME)
    }
}

const EXPIRATION: &str = "expiration";
/// The parts of a bootstrap token that are decided on.
const PARTS: [&str; 3] = ["token-id", "token-secret", "usage-bootstrap-signing"];

/// Of base64 what it says; nothing where it says nothing.
fn decoded(written: &str) -> Box<str> {
    let bytes = BASE64_STANDARD.decode(written).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default().into()
}

fn data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretData, D::Error> {
    struct Data;

    impl<'de> Visitor<'de> for Data {
        type Value = SecretData;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a map")
        }

        fn visit_unit<E>(self) -> Result<SecretData, E> {
            Ok(SecretData::default())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretData, A::Error> {
            let mut data = SecretData::default();
            while let Some(name) = map.next_key::<Box<str>>()? {
                if *name == *EXPIRATION {
                    data.expiration = map.next_value::<Option<Box<str>>>()?.unwrap_or_default();
                } else if let Some(part) = PARTS.iter().position(|part| *name == **part) {
                    let written = map.next_value::<Option<Box<str>>>()?.unwrap_or_default();
                    let token = data.token.get_or_insert_default();
                    let text = decoded(&written);
                    match part {
                        0 => token.id = text,
                        1 => token.secret = text,
                        _ => token.signs = *text == *"true",
                    }
                    if !written.is_empty() {
                        data.filled.insert(name);
                    }
                } else if map.next_value::<IsFilled>()?.0 {
                    data.filled.insert(name);
                }
            }
            Ok(data)
        }
    }

    deserializer.deserialize_any(Data)
}

/// Whether there is anything in a text, which is not kept.
struct IsFilled(bool);

impl<'de> Deserialize<'de> for IsFilled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Length;

        impl<'de> Visitor<'de> for Length {
            type Value = IsFilled;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E>(self, text: &str) -> Result<IsFilled, E> {
                Ok(IsFilled(!text.is_empty()))
            }

            fn visit_unit<E>(self) -> Result<IsFilled, E> {
                Ok(IsFilled(false))
            }
        }

        deserializer.deserialize_any(Length)
    }
}
