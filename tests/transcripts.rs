//! Shell sessions with kubectl and Helm, as data: `tests/transcripts/*.txt`.
//!
//! With `REFERENCE_KUBECONFIG` they are played against that cluster in place of ours: what a stock
//! kube-apiserver prints is what ours has to print.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use testkit::{Clients, Server, transcript};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts").canonicalize().unwrap()
}

fn play(name: &str) {
    let path = folder().join(format!("{name}.txt"));
    if let Some(kubeconfig) = std::env::var_os("REFERENCE_KUBECONFIG") {
        return transcript::play(&path, &Clients::new(Path::new(&kubeconfig)));
    }
    let server = Server::start(env!("CARGO_BIN_EXE_coracle"));
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
            let names = [$(stringify!($name)),*];
            for file in fs::read_dir(folder()).unwrap() {
                let path = file.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap();
                let is_transcript = path.extension().is_some_and(|extension| extension == "txt");
                assert!(!is_transcript || names.contains(&name), "{name} is in no list");
            }
        }
    };
}

transcripts! {
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
