//! What is read of a request for a certificate (PKCS #10), and the rules of Kubernetes' own signers for it
//! (the page on certificate signing requests).

use base64::{Engine, prelude::BASE64_STANDARD};
use x509_cert::{
    der::{Decode, Tag, Tagged, asn1::ObjectIdentifier, oid::AssociatedOid, pem},
    ext::{
        Extensions,
        pkix::{SubjectAltName, name::GeneralName},
    },
    request::CertReq,
};

pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const LEGACY: &str = "kubernetes.io/legacy-unknown";

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

const DIGITAL_SIGNATURE: &str = "digital signature";
const KEY_ENCIPHERMENT: &str = "key encipherment";
const CLIENT_AUTH: &str = "client auth";
const SERVER_AUTH: &str = "server auth";

/// Who is to be certified.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub common_name: String,
    organizations: Vec<String>,
    dns_names: usize,
    addresses: usize,
    emails: usize,
    uris: usize,
}

/// The bytes (PEM) in `spec.request`.
pub fn decoded(request: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(request).ok()
}

impl Asked {
    /// None for what is no request; the server has refused that.
    pub fn read(request: &[u8]) -> Option<Self> {
        let (_, der) = pem::decode_vec(request).ok()?;
        let request = CertReq::from_der(&der).ok()?;
        let mut asked = Self::default();
        for attribute in request.info.subject.0.iter().flat_map(|part| part.0.iter()) {
            let text = match attribute.value.tag() {
                Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString => {
                    String::from_utf8(attribute.value.value().to_vec()).ok()?
                }
                _ => continue,
            };
            match attribute.oid {
                COMMON_NAME => asked.common_name = text,
                ORGANIZATION => asked.organizations.push(text),
                _ => {}
            }
        }
        let wanted = request.info.attributes.iter().filter(|attribute| attribute.oid == EXTENSION_REQUEST);
        for value in wanted.flat_map(|attribute| attribute.values.iter()) {
            let extensions: Extensions = value.decode_as().ok()?;
            for extension in extensions.iter().filter(|extension| extension.extn_id == SubjectAltName::OID) {
                let names = SubjectAltName::from_der(extension.extn_value.as_bytes()).ok()?;
                names.0.iter().for_each(|name| asked.count(name));
            }
        }
        Some(asked)
    }

    fn count(&mut self, name: &GeneralName) {
        match name {
            GeneralName::DnsName(_) => self.dns_names += 1,
            GeneralName::IpAddress(_) => self.addresses += 1,
            GeneralName::Rfc822Name(_) => self.emails += 1,
            GeneralName::UniformResourceIdentifier(_) => self.uris += 1,
            _ => {}
        }
    }

    /// Whether the signer certifies this for these usages: None where it is none of Kubernetes' own.
    pub fn suits(&self, signer: &str, usages: &[Box<str>]) -> Option<Result<(), String>> {
        Some(match signer {
            KUBELET_CLIENT => self.is_kubelets_client(usages),
            KUBELET_SERVING => self.is_kubelets_serving(usages),
            CLIENT => is_client(usages),
            LEGACY => Ok(()),
            _ => return None,
        })
    }

    pub fn is_kubelets_client(&self, usages: &[Box<str>]) -> Result<(), String> {
        self.is_in_nodes()?;
        refuse(self.dns_names > 0, "DNS subjectAltNames are not allowed")?;
        refuse(self.emails > 0, "Email subjectAltNames are not allowed")?;
        refuse(self.addresses > 0, "IP subjectAltNames are not allowed")?;
        refuse(self.uris > 0, "URI subjectAltNames are not allowed")?;
        self.is_node()?;
        are(usages, CLIENT_AUTH)
    }

    fn is_kubelets_serving(&self, usages: &[Box<str>]) -> Result<(), String> {
        self.is_in_nodes()?;
        refuse(self.dns_names + self.addresses == 0, "DNS or IP subjectAltName is required")?;
        refuse(self.emails > 0, "Email subjectAltNames are not allowed")?;
        refuse(self.uris > 0, "URI subjectAltNames are not allowed")?;
        are(usages, SERVER_AUTH)?;
        self.is_node()
    }

    fn is_in_nodes(&self) -> Result<(), String> {
        refuse(self.organizations != [NODES], "subject organization is not system:nodes")
    }

    fn is_node(&self) -> Result<(), String> {
        refuse(!self.common_name.starts_with(NODE_PREFIX), "subject common name does not begin with system:node:")
    }
}

fn refuse(refused: bool, why: &str) -> Result<(), String> {
    if refused { Err(why.to_owned()) } else { Ok(()) }
}

/// Exactly what a kubelet needs; RSA keys also encipher.
fn are(usages: &[Box<str>], authenticates: &str) -> Result<(), String> {
    let set = |list: &[&str]| list.iter().all(|usage| usages.iter().any(|has| **has == **usage));
    let known = usages.iter().all(|usage| [DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, authenticates].contains(&&**usage));
    let mut listed = [authenticates, DIGITAL_SIGNATURE, KEY_ENCIPHERMENT];
    listed.sort_unstable();
    let fits = known && set(&[DIGITAL_SIGNATURE, authenticates]);
    refuse(!fits, &format!("usages did not match [{}]", listed.join(" ")))
}

fn is_client(usages: &[Box<str>]) -> Result<(), String> {
    let other = usages.iter().find(|usage| ![DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, CLIENT_AUTH].contains(&&***usage));
    match other {
        Some(usage) => Err(format!("invalid usage for client certificate: {usage}")),
        None if !usages.iter().any(|usage| **usage == *CLIENT_AUTH) => {
            Err(format!("missing required usage for client certificate: {CLIENT_AUTH}"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signer_has_its_rules() {
        let node =
            || Asked { common_name: "system:node:a".into(), organizations: vec![NODES.into()], ..Asked::default() };
        let client = ["digital signature", "key encipherment", "client auth"];
        let serving = ["digital signature", "server auth"];
        let cases: [(Asked, &str, &[&str], Result<(), &str>); 12] = [
            (node(), KUBELET_CLIENT, &client, Ok(())),
            (node(), KUBELET_CLIENT, &["digital signature", "client auth"], Ok(())),
            (Asked { dns_names: 1, ..node() }, KUBELET_CLIENT, &client, Err("DNS subjectAltNames are not allowed")),
            (
                Asked { common_name: "a".into(), ..node() },
                KUBELET_CLIENT,
                &client,
                Err("subject common name does not begin with system:node:"),
            ),
            (
                Asked { organizations: vec![NODES.into(), "system:masters".into()], ..node() },
                KUBELET_CLIENT,
                &client,
                Err("subject organization is not system:nodes"),
            ),
            (
                node(),
                KUBELET_CLIENT,
                &["client auth"],
                Err("usages did not match [client auth digital signature key encipherment]"),
            ),
            (Asked { addresses: 1, ..node() }, KUBELET_SERVING, &serving, Ok(())),
            (node(), KUBELET_SERVING, &serving, Err("DNS or IP subjectAltName is required")),
            (
                Asked { uris: 1, dns_names: 1, ..node() },
                KUBELET_SERVING,
                &serving,
                Err("URI subjectAltNames are not allowed"),
            ),
            (Asked::default(), CLIENT, &client, Ok(())),
            (Asked::default(), CLIENT, &["server auth"], Err("invalid usage for client certificate: server auth")),
            (
                Asked::default(),
                CLIENT,
                &["key encipherment"],
                Err("missing required usage for client certificate: client auth"),
            ),
        ];
        for (asked, signer, usages, expected) in cases {
            let usages: Vec<Box<str>> = usages.iter().map(|usage| Box::from(*usage)).collect();
            assert_eq!(asked.suits(signer, &usages), Some(expected.map_err(str::to_owned)), "{signer} {asked:?}");
        }
        assert_eq!(Asked::default().suits("example.com/own", &[]), None);
        assert_eq!(Asked::default().suits(LEGACY, &[]), Some(Ok(())));
    }
}
