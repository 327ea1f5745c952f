//! Shell sessions with kubectl and Helm, as data: `tests/transcripts/*.txt`.
//!
//! With `REFERENCE_KUBECONFIG` they are played against that cluster in place of ours: what a stock
//! kube-apiserver prints is what ours has to print.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use testkit::{Clients, Server, transcript};

fn play(path: &Path) {
    if let Some(kubeconfig) = std::env::var_os("REFERENCE_KUBECONFIG") {
        return transcript::play(path, &Clients::new(Path::new(&kubeconfig)));
    }
    let server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    transcript::play(path, &server.clients());
}

testkit::transcripts! {
    "transcripts", beside ["chart", "every-kind.yaml", "operations", "whole"];
    objects
    create
    apply
    patch
    delete
    discovery
    custom
    rbac
    watch
    namespaces
    upkept
    quota
    tables
    kinds
    describe
    refused
    helm
}
