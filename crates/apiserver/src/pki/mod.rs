//! The cluster's own certificates and keys, in one directory: made at the first start, renewed before they
//! expire, read again at every start.
//!
//! As kubeadm lays them out: `ca` signs the serving certificate (`apiserver`) and the clients'
//! (`admin`, and whatever is requested); `sa` signs service account tokens. A renewed authority keeps
//! its key and its name, so that what it has signed stays valid.

mod certificate;
mod csr;
mod files;
mod key;
mod renewal;
mod tls;
mod usage;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    DistinguishedName,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use x509_cert::{
    Certificate,
    der::{Decode, Encode},
    ext::pkix::SubjectAltName,
    name::Name,
};

pub use self::{
    certificate::{COMMON_NAME, ORGANIZATION, USER_UID, attributes},
    csr::SigningRequest,
    key::PrivateKey,
    renewal::{due_at, is_due},
    usage::{CLIENT_AUTH, DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, SERVER_AUTH},
};
use self::{
    certificate::{Kind, Template},
    files::Access,
    tls::ServingCertificate,
    usage::Usages,
};
use crate::identity::MASTERS;

const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Clocks of clients may be behind.
const BACKDATE: Duration = Duration::from_secs(5 * 60);

const AUTHORITY_NAME: &str = "coracle-ca";
pub const ADMIN: &str = "kubernetes-admin";

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    // Causes are part of the message, and so not sources beside it.
    #[error("{path}: {cause}")]
    File { path: PathBuf, cause: std::io::Error },
    #[error("{path}: {cause}")]
    Content { path: PathBuf, cause: Box<PkiError> },
    #[error("{0} exists without its key {1}: restore the key, or remove both to start anew")]
    KeyMissing(PathBuf, PathBuf),
    #[error("{0} does not hold the public key of {1}")]
    KeyMismatch(PathBuf, PathBuf),
    #[error("{0}")]
    Crypto(&'static str),
    /// A signing request that cannot be served, in words for its author.
    #[error("{0}")]
    Request(String),
    #[error(transparent)]
    Encoding(#[from] x509_cert::der::Error),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// What the serving certificate speaks for, beside `localhost` and the names of the service `kubernetes`.
#[derive(Debug, Clone)]
pub struct Names {
    pub host: String,
    /// The first address of the service network.
    pub service_address: IpAddr,
    pub extra: Vec<String>,
}

/// A client's certificate and key, PEM.
#[derive(Clone)]
pub struct Credentials {
    pub certificate: String,
    pub key: String,
}

/// The cluster's certificates and keys.
#[derive(Debug)]
pub struct Pki {
    directory: PathBuf,
    names: Vec<String>,
    authority_key: PrivateKey,
    authority: ArcSwap<Certificate>,
    serving: Arc<ServingCertificate>,
    admin: ArcSwap<Credentials>,
    service_account_key: PrivateKey,
    accepted_token_keys: String,
}

impl Pki {
    /// The files by whose loss what was signed before becomes void.
    pub const KEYS: [&str; 2] = ["ca.key", "sa.key"];

    /// Reads what is in `directory` and makes what is missing, due or for other names.
    pub fn open(directory: &Path, names: &Names, now: Timestamp) -> Result<Self, PkiError> {
        let at = |path: &Path, result: std::io::Result<()>| {
            result.map_err(|cause| PkiError::File { path: path.to_owned(), cause })
        };
        at(directory, std::fs::create_dir_all(directory))?;
        let authority_key = open_key(directory, "ca", "crt")?;
        let authority = open_authority(directory, &authority_key, now)?;
        let service_account_key = open_key(directory, "sa", "pub")?;
        let accepted_token_keys = open_token_keys(directory, &service_account_key)?;
        let issuer = Issuer { directory, key: &authority_key, certificate: &authority };
        let names = names.all();
        let serving = issuer.open_leaf(&serving_leaf(&names)?, now)?;
        let admin = issuer.open_leaf(&admin_leaf()?, now)?;
        Ok(Self {
            directory: directory.to_owned(),
            names,
            serving: Arc::new(ServingCertificate(ArcSwap::from_pointee(certified(&serving)?))),
            authority: ArcSwap::from_pointee(authority),
            authority_key,
            admin: ArcSwap::from_pointee(admin),
            service_account_key,
            accepted_token_keys,
        })
    }

    /// Replaces what is due at `now`; open connections are not disturbed. To be called at
    /// [`Pki::next_renewal`], and again some time after an error.
    pub fn renew(&self, now: Timestamp) -> Result<(), PkiError> {
        let authority = open_authority(&self.directory, &self.authority_key, now)?;
        let issuer = Issuer { directory: &self.directory, key: &self.authority_key, certificate: &authority };
        let serving = issuer.open_leaf(&serving_leaf(&self.names)?, now)?;
        let admin = issuer.open_leaf(&admin_leaf()?, now)?;
        self.serving.0.store(Arc::new(certified(&serving)?));
        self.admin.store(Arc::new(admin));
        self.authority.store(Arc::new(authority));
        Ok(())
    }

    /// When [`Pki::renew`] has something to do.
    pub fn next_renewal(&self) -> Result<Timestamp, PkiError> {
        let serving = self.serving.0.load_full();
        let serving = Certificate::from_der(serving.end_entity_cert()?)?;
        let admin = certificate::from_pem(&self.admin.load().certificate)?;
        let due = |certificate: &Certificate| {
            let (not_before, not_after) = certificate::validity(certificate);
            due_at(not_before, not_after)
        };
        Ok(due(&self.authority.load()).min(due(&serving)).min(due(&admin)))
    }

    /// What clients trust, PEM.
    pub fn authority_pem(&self) -> Result<String, PkiError> {
        certificate::to_pem(&self.authority.load())
    }

    /// What client certificates are signed by.
    pub fn authority_der(&self) -> Result<CertificateDer<'static>, PkiError> {
        Ok(CertificateDer::from(self.authority.load().to_der()?))
    }

    /// The administrator's credentials, as they go into a kubeconfig.
    pub fn admin(&self) -> Arc<Credentials> {
        self.admin.load_full()
    }

    /// Signs service account tokens.
    pub fn service_account_key(&self) -> &PrivateKey {
        &self.service_account_key
    }

    /// The PEM public keys of `sa.pub`: tokens signed by any of them are accepted. The file may hold
    /// more than the key in use, so that keys can be replaced without invalidating tokens.
    pub fn accepted_token_keys(&self) -> &str {
        &self.accepted_token_keys
    }

    /// TLS for the server's listener.
    pub fn server_config(&self) -> Result<rustls::ServerConfig, PkiError> {
        let subject = self.authority.load().tbs_certificate.subject.to_der()?;
        tls::server_config(Arc::clone(&self.serving), DistinguishedName::from(subject))
    }

    /// As [`Pki::sign_csr`], for a request in PEM.
    pub fn sign_pem(&self, pem: &[u8], usages: &[&str], ttl: Duration, now: Timestamp) -> Result<String, PkiError> {
        self.sign_csr(&csr::der(pem)?, usages, ttl, now)
    }

    /// Certifies a request (DER) for at most `ttl`; `usages` are those of a `CertificateSigningRequest`.
    /// Whether its subject may be certified is the caller's decision. Returns PEM.
    pub fn sign_csr(&self, der: &[u8], usages: &[&str], ttl: Duration, now: Timestamp) -> Result<String, PkiError> {
        let request = SigningRequest::from_der(der)?;
        let authority = self.authority.load();
        let (_, authority_ends) = certificate::validity(&authority);
        let template = Template {
            subject: request.subject,
            public_key: request.public_key,
            kind: Kind::Leaf(Usages::named(usages)?),
            alternative_names: request.alternative_names,
            not_before: before(now, BACKDATE),
            not_after: after(now, ttl).min(authority_ends),
        };
        let certificate = certificate::issue(template, &authority.tbs_certificate.subject, &self.authority_key)?;
        certificate::to_pem(&certificate)
    }
}

impl From<x509_cert::der::pem::Error> for PkiError {
    fn from(error: x509_cert::der::pem::Error) -> Self {
        PkiError::Encoding(error.into())
    }
}

impl Names {
    fn all(&self) -> Vec<String> {
        let fixed = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
            "127.0.0.1",
            "::1",
        ];
        let mut names: Vec<String> = fixed.map(str::to_owned).to_vec();
        for name in [&self.host, &self.service_address.to_string()].into_iter().chain(&self.extra) {
            if !name.is_empty() && !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }
}

/// A certificate that the authority keeps in its directory.
struct Leaf<'a> {
    file: &'a str,
    subject: Name,
    alternative_names: Option<SubjectAltName>,
    usages: [&'a str; 3],
}

fn serving_leaf(names: &[String]) -> Result<Leaf<'static>, PkiError> {
    Ok(Leaf {
        file: "apiserver",
        subject: certificate::subject("kube-apiserver", &[])?,
        alternative_names: Some(certificate::alternative_names(names)?),
        usages: [DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, SERVER_AUTH],
    })
}

fn admin_leaf() -> Result<Leaf<'static>, PkiError> {
    Ok(Leaf {
        file: "admin",
        subject: certificate::subject(ADMIN, &[MASTERS])?,
        alternative_names: None,
        usages: [DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, CLIENT_AUTH],
    })
}

struct Issuer<'a> {
    directory: &'a Path,
    key: &'a PrivateKey,
    certificate: &'a Certificate,
}

impl Issuer<'_> {
    /// The leaf as it lies in the directory where it is good, else a new one.
    fn open_leaf(&self, leaf: &Leaf<'_>, now: Timestamp) -> Result<Credentials, PkiError> {
        let certificate_path = self.directory.join(format!("{}.crt", leaf.file));
        let key_path = self.directory.join(format!("{}.key", leaf.file));
        if let (Some(certificate), Some(key)) = (read(&certificate_path)?, read(&key_path)?)
            && self.is_good(&certificate, &key, leaf, now)
        {
            return Ok(Credentials { certificate, key });
        }
        let key = PrivateKey::generate()?;
        let (_, authority_ends) = certificate::validity(self.certificate);
        let template = Template {
            subject: leaf.subject.clone(),
            public_key: key.public_key()?,
            kind: Kind::Leaf(Usages::named(&leaf.usages)?),
            alternative_names: leaf.alternative_names.clone(),
            not_before: before(now, BACKDATE),
            not_after: after(now, LEAF_LIFE).min(authority_ends),
        };
        let certificate = certificate::issue(template, &self.certificate.tbs_certificate.subject, self.key)?;
        let credentials = Credentials { certificate: certificate::to_pem(&certificate)?, key: key.to_pem()? };
        write(&key_path, &credentials.key, Access::OwnerOnly)?;
        write(&certificate_path, &credentials.certificate, Access::Everyone)?;
        Ok(credentials)
    }

    fn is_good(&self, certificate: &str, key: &str, leaf: &Leaf<'_>, now: Timestamp) -> bool {
        let (Ok(certificate), Ok(key)) = (certificate::from_pem(certificate), PrivateKey::from_pem(key)) else {
            return false;
        };
        let names = certificate.tbs_certificate.get::<SubjectAltName>();
        let names_hold =
            matches!(names, Ok(names) if names.as_ref().map(|(_, names)| names) == leaf.alternative_names.as_ref());
        names_hold
            && certificate.tbs_certificate.subject == leaf.subject
            && key.public_key().is_ok_and(|key| key == certificate.tbs_certificate.subject_public_key_info)
            && self.has_signed(&certificate)
            && !is_due(certificate::validity(&certificate), now)
    }

    fn has_signed(&self, certificate: &Certificate) -> bool {
        let (Ok(message), Some(signature)) = (certificate.tbs_certificate.to_der(), certificate.signature.as_bytes())
        else {
            return false;
        };
        self.key.has_signed(&message, signature)
    }
}

/// The authority as it lies in the directory; made where there is none, and made again with the same key
/// and name when it is due.
fn open_authority(directory: &Path, key: &PrivateKey, now: Timestamp) -> Result<Certificate, PkiError> {
    let path = directory.join("ca.crt");
    let existing = match read(&path)? {
        None => None,
        Some(text) => Some(
            certificate::from_pem(&text)
                .map_err(|cause| PkiError::Content { path: path.clone(), cause: Box::new(cause) })?,
        ),
    };
    let subject = match existing {
        None => certificate::subject(AUTHORITY_NAME, &[])?,
        Some(certificate) => {
            if certificate.tbs_certificate.subject_public_key_info != key.public_key()? {
                return Err(PkiError::KeyMismatch(directory.join("ca.key"), path));
            }
            if !is_due(certificate::validity(&certificate), now) {
                return Ok(certificate);
            }
            certificate.tbs_certificate.subject
        }
    };
    let template = Template {
        subject: subject.clone(),
        public_key: key.public_key()?,
        kind: Kind::Authority,
        alternative_names: None,
        not_before: before(now, BACKDATE),
        not_after: after(now, AUTHORITY_LIFE),
    };
    let certificate = certificate::issue(template, &subject, key)?;
    write(&path, &certificate::to_pem(&certificate)?, Access::Everyone)?;
    Ok(certificate)
}

/// `<name>.key`, made where neither it nor its public part (`<name>.<public>`) exists.
fn open_key(directory: &Path, name: &str, public: &str) -> Result<PrivateKey, PkiError> {
    let path = directory.join(format!("{name}.key"));
    if let Some(text) = read(&path)? {
        return PrivateKey::from_pem(&text).map_err(|cause| PkiError::Content { path, cause: Box::new(cause) });
    }
    let public = directory.join(format!("{name}.{public}"));
    if read(&public)?.is_some() {
        return Err(PkiError::KeyMissing(public, path));
    }
    let key = PrivateKey::generate()?;
    write(&path, &key.to_pem()?, Access::OwnerOnly)?;
    Ok(key)
}

fn open_token_keys(directory: &Path, key: &PrivateKey) -> Result<String, PkiError> {
    let path = directory.join("sa.pub");
    if let Some(text) = read(&path)? {
        return Ok(text);
    }
    let text = key.public_pem()?;
    write(&path, &text, Access::Everyone)?;
    Ok(text)
}

fn certified(credentials: &Credentials) -> Result<CertifiedKey, PkiError> {
    let certificate = certificate::from_pem(&credentials.certificate)?.to_der()?;
    let key = PrivateKey::from_pem(&credentials.key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()));
    Ok(CertifiedKey::from_der(vec![CertificateDer::from(certificate)], key, &tls::provider())?)
}

fn read(path: &Path) -> Result<Option<String>, PkiError> {
    files::read(path).map_err(|cause| PkiError::File { path: path.to_owned(), cause })
}

fn write(path: &Path, content: &str, access: Access) -> Result<(), PkiError> {
    files::write(path, content, access).map_err(|cause| PkiError::File { path: path.to_owned(), cause })
}

fn before(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_sub(by).unwrap_or(Timestamp::MIN)
}

fn after(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(secret)")
    }
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
pub(crate) use tests::{request as test_request, subject as test_subject};
