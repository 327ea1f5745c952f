//! An administrator's daily work on a cluster of fake nodes, with kubectl: shell sessions as data
//! (`tests/transcripts/operations/*.txt`).
//!
//! With `REFERENCE_KUBECONFIG` they are played against that cluster in place of ours, which has three nodes that
//! `coracle fake-nodes` plays: what a stock control plane does is what ours has to do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::Path};

use testkit::{Clients, Server, transcript};

const BINARY: &str = env!("CARGO_BIN_EXE_coracle");

fn play(name: &str) {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts/operations").canonicalize().unwrap();
    let path = folder.join(format!("{name}.txt"));
    if let Some(kubeconfig) = std::env::var_os("REFERENCE_KUBECONFIG") {
        return transcript::play(&path, &Clients::new(Path::new(&kubeconfig)).with_binary(Path::new(BINARY)));
    }
    let server = Server::start_whole(BINARY, &["--fake-nodes=3"]);
    transcript::play(&path, &server.clients());
}

macro_rules! transcripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            play(stringify!($name));
        })*

        #[test]
        fn every_transcript_is_played() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts/operations");
            for file in fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap();
                assert!([$(stringify!($name)),*].contains(&name), "{name} is in no list");
            }
        }
    };
}

transcripts! {
    rollouts
    drains
    taints
    silence
    limits
}
