//! An administrator's daily work on a cluster of fake nodes, with kubectl: shell sessions as data
//! (`tests/transcripts/operations/*.txt`).
//!
//! With `REFERENCE_KUBECONFIG` they are played against that cluster in place of ours, which has three nodes that
//! `coracle fake-nodes` plays: what a stock control plane does is what ours has to do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use testkit::{Clients, Server, transcript};

const BINARY: &str = env!("CARGO_BIN_EXE_coracle");

fn play(path: &Path) {
    if let Some(kubeconfig) = std::env::var_os("REFERENCE_KUBECONFIG") {
        let clients = Clients::new(Path::new(&kubeconfig)).with_binary(Path::new(BINARY));
        return transcript::play_workloads(path, &clients);
    }
    let server = Server::start_whole(BINARY, &["--fake-nodes=3"]);
    transcript::play_workloads(path, &server.clients());
}

testkit::transcripts! {
    "transcripts/operations", beside [];
    rollouts
    drains
    taints
    silence
    limits
}
