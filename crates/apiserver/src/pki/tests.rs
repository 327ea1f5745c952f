use std::{
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection, pki_types::ServerName};
use x509_cert::request::{CertReq, CertReqInfo};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Certificates are checked against the machine's clock by the TLS library.
fn now() -> Timestamp {
    use stdx::Clock;
    stdx::SystemClock.now()
}

fn names() -> Names {
    Names { host: "box".into(), service_address: [10, 96, 0, 1].into(), extra: vec!["cluster.example".into()] }
}

fn client_config(pki: &Pki, credentials: Option<&Credentials>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(pki.authority_der().unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match credentials {
        None => builder.with_no_client_auth(),
        Some(credentials) => {
            let certified = certified(credentials).unwrap();
            let key = PrivateKey::from_pem(&credentials.key).unwrap();
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()));
            builder.with_client_auth_cert(certified.cert.clone(), key).unwrap()
        }
    }
}

/// Both ends of a connection, after the handshake.
fn connect(
    pki: &Pki,
    name: &str,
    credentials: Option<&Credentials>,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client_config(pki, credentials)), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(pki.server_config().unwrap())).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        pump(&mut client, &mut server)?;
    }
    Ok((client, server))
}

fn pump(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), rustls::Error> {
    let mut wire = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut wire).unwrap();
    }
    let mut wire = wire.as_slice();
    while !wire.is_empty() {
        server.read_tls(&mut wire).unwrap();
        server.process_new_packets()?;
    }
    let mut wire = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut wire).unwrap();
    }
    let mut wire = wire.as_slice();
    while !wire.is_empty() {
        client.read_tls(&mut wire).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn the_server_answers_to_all_its_names() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::open(directory.path(), &names(), now()).unwrap();
    for name in
        ["localhost", "127.0.0.1", "::1", "box", "10.96.0.1", "kubernetes.default.svc.cluster.local", "cluster.example"]
    {
        connect(&pki, name, None).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(connect(&pki, "elsewhere.example", None).is_err());
}

#[test]
fn a_client_certificate_reaches_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::open(directory.path(), &names(), now()).unwrap();
    let (_, server) = connect(&pki, "localhost", Some(&pki.admin())).unwrap();
    let certificate = Certificate::from_der(&server.peer_certificates().unwrap()[0]).unwrap();
    let subject = &certificate.tbs_certificate.subject;
    assert_eq!(attributes(subject, COMMON_NAME).collect::<Vec<_>>(), [ADMIN]);
    assert_eq!(attributes(subject, ORGANIZATION).collect::<Vec<_>>(), [MASTERS]);
}

#[test]
fn a_second_start_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let read_all = || {
        let mut files: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    Pki::open(directory.path(), &names(), now()).unwrap();
    let first = read_all();
    Pki::open(directory.path(), &names(), now()).unwrap();
    assert_eq!(first, read_all());
    let files: Vec<_> = first.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(
        files,
        ["admin.crt", "admin.key", "apiserver.crt", "apiserver.key", "ca.crt", "ca.key", "sa.key", "sa.pub"]
    );
    for (path, _) in first {
        let expect = if path.extension().unwrap() == "key" { 0o600 } else { 0o644 };
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, expect, "{path:?}");
    }
}

#[test]
fn leaves_are_renewed_with_a_third_of_their_life_left_and_connections_live_on() {
    let directory = tempfile::tempdir().unwrap();
    let start = before(now(), 244 * DAY);
    let pki = Pki::open(directory.path(), &names(), start).unwrap();
    let serving = |pki: &Pki| pki.serving.0.load().cert[0].clone();
    let (first, admin) = (serving(&pki), pki.admin());
    let (mut client, mut server) = connect(&pki, "localhost", None).unwrap();

    assert_eq!(pki.next_renewal().unwrap(), due_at(before(start, BACKDATE), after(start, LEAF_LIFE)));
    pki.renew(after(start, 242 * DAY)).unwrap();
    assert_eq!(first, serving(&pki));
    pki.renew(now()).unwrap();
    assert_ne!(first, serving(&pki));
    assert_ne!(admin.certificate, pki.admin().certificate);

    client.writer().write_all(b"hello").unwrap();
    pump(&mut client, &mut server).unwrap();
    let mut received = [0; 5];
    server.reader().read_exact(&mut received).unwrap();
    assert_eq!(&received, b"hello");
    let (client, _) = connect(&pki, "localhost", None).unwrap();
    assert_eq!(client.peer_certificates().unwrap()[0], serving(&pki));
}

#[test]
fn an_authority_is_renewed_under_its_old_key() {
    let directory = tempfile::tempdir().unwrap();
    let old = Pki::open(directory.path(), &names(), before(now(), 2500 * DAY)).unwrap();
    let pki = Pki::open(directory.path(), &names(), now()).unwrap();
    assert_ne!(old.authority_pem().unwrap(), pki.authority_pem().unwrap());
    // A client that trusts the old certificate still trusts the server.
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(client_config(&old, None)), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(pki.server_config().unwrap())).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        pump(&mut client, &mut server).unwrap();
    }
}

#[test]
fn a_damaged_or_foreign_leaf_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("apiserver.crt");
    let pki = Pki::open(directory.path(), &names(), now()).unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    let cases = ["", "-----BEGIN CERTIFICATE-----\n", &good[..good.len() / 2], &pki.admin().certificate];
    for content in cases {
        std::fs::write(&path, content).unwrap();
        let pki = Pki::open(directory.path(), &names(), now()).unwrap();
        connect(&pki, "localhost", None).unwrap();
    }
    let other = Names { host: "other".into(), ..names() };
    connect(&Pki::open(directory.path(), &other, now()).unwrap(), "other", None).unwrap();
}

#[test]
fn a_lost_authority_key_is_an_error_not_a_new_cluster() {
    let directory = tempfile::tempdir().unwrap();
    Pki::open(directory.path(), &names(), now()).unwrap();
    std::fs::remove_file(directory.path().join("ca.key")).unwrap();
    assert!(matches!(Pki::open(directory.path(), &names(), now()), Err(PkiError::KeyMissing(..))));
    std::fs::write(directory.path().join("ca.key"), PrivateKey::generate().unwrap().to_pem().unwrap()).unwrap();
    assert!(matches!(Pki::open(directory.path(), &names(), now()), Err(PkiError::KeyMismatch(..))));
    std::fs::write(directory.path().join("ca.key"), "no key").unwrap();
    assert!(matches!(Pki::open(directory.path(), &names(), now()), Err(PkiError::Content { .. })));
}

/// A subject with a UID, which no certificate of our own has.
pub(crate) fn subject(common_name: &str, organizations: &[&str], uid: Option<&str>) -> Name {
    let mut subject = certificate::subject(common_name, organizations).unwrap();
    if let Some(uid) = uid {
        let mut part = subject.0[0].clone();
        let value = x509_cert::der::Any::new(x509_cert::der::Tag::Utf8String, uid.as_bytes()).unwrap();
        part.0 = vec![x509_cert::attr::AttributeTypeAndValue { oid: USER_UID, value }].try_into().unwrap();
        subject.0.push(part);
    }
    subject
}

pub(crate) fn request(key: &PrivateKey, subject: Name) -> Vec<u8> {
    let info = CertReqInfo {
        version: x509_cert::request::Version::V1,
        subject,
        public_key: key.public_key().unwrap(),
        attributes: Default::default(),
    };
    let signature = key.sign(&info.to_der().unwrap()).unwrap();
    let algorithm = x509_cert::spki::AlgorithmIdentifierOwned { oid: key::ECDSA_WITH_SHA256, parameters: None };
    let signature = x509_cert::der::asn1::BitString::from_bytes(&signature).unwrap();
    CertReq { info, algorithm, signature }.to_der().unwrap()
}

/// As a `CertificateSigningRequestSpec` holds it before base64.
pub(crate) fn request_pem(common_name: &str, organizations: &[&str]) -> String {
    let der = request(&PrivateKey::generate().unwrap(), subject(common_name, organizations, None));
    x509_cert::der::pem::encode_string("CERTIFICATE REQUEST", x509_cert::der::pem::LineEnding::LF, &der).unwrap()
}

#[test]
fn a_signed_request_keeps_every_group() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::open(directory.path(), &names(), now()).unwrap();
    let key = PrivateKey::generate().unwrap();
    let der = request(&key, certificate::subject("jane", &["dev", "ops"]).unwrap());
    let pem = pki.sign_csr(&der, &[DIGITAL_SIGNATURE, CLIENT_AUTH], DAY, now()).unwrap();
    let credentials = Credentials { certificate: pem, key: key.to_pem().unwrap() };
    let (_, server) = connect(&pki, "localhost", Some(&credentials)).unwrap();
    let certificate = Certificate::from_der(&server.peer_certificates().unwrap()[0]).unwrap();
    let subject = &certificate.tbs_certificate.subject;
    assert_eq!(attributes(subject, ORGANIZATION).collect::<Vec<_>>(), ["dev", "ops"]);
    let (_, not_after) = certificate::validity(&certificate);
    assert!(not_after <= after(now(), DAY));
}

#[test]
fn requests_that_prove_nothing_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::open(directory.path(), &names(), now()).unwrap();
    let good = request(&PrivateKey::generate().unwrap(), certificate::subject("jane", &[]).unwrap());
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for der in [&flipped[..], &good[..good.len() - 1], &[], b"\x30\x84\xff\xff\xff\xff"] {
        assert!(matches!(pki.sign_csr(der, &[CLIENT_AUTH], DAY, now()), Err(PkiError::Request(_))));
    }
    assert!(matches!(pki.sign_csr(&good, &["cert sign"], DAY, now()), Err(PkiError::Request(_))));
}
