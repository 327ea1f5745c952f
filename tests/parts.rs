//! The server with its controllers, as users see it: shell sessions with kubectl, as data (`tests/transcripts/whole/*.txt`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use testkit::{Server, transcript};

fn play(path: &Path) {
    let server = Server::start_whole(env!("CARGO_BIN_EXE_coracle"), &[]);
    transcript::play(path, &server.clients());
}

testkit::transcripts! {
    "transcripts/whole", beside [];
    accounts
    certificates
    services
    volumes
}

#[test]
fn an_address_that_is_held_for_a_service_that_is_gone_is_free_after_a_restart() {
    let mut server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let clients = server.clients();
    clients.kubectl(&["create", "service", "clusterip", "web", "--tcp=80", "--clusterip=10.96.0.77"]);
    for (address, labels) in
        [("10.96.0.78", "{ipaddress.kubernetes.io/managed-by: ipallocator.k8s.io}"), ("10.96.0.79", "{}")]
    {
        let held = format!(
            "{{apiVersion: networking.k8s.io/v1, kind: IPAddress, metadata: {{name: {address}, labels: {labels}}}, \
             spec: {{parentRef: {{resource: services, namespace: default, name: gone}}}}}}"
        );
        clients.kubectl_with(&["create", "-f", "-"], &held);
    }
    server.restart();
    let left = clients.kubectl(&["get", "ipaddresses", "-o", "jsonpath={.items[*].metadata.name}"]);
    assert_eq!(left, "10.96.0.1 10.96.0.77 10.96.0.79", "what others hold is theirs");
}
