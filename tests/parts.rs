//! The server with its controllers, as users see it: shell sessions with kubectl, as data (`tests/transcripts/whole/*.txt`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::Path};

use testkit::{Server, transcript};

fn play(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts/whole").canonicalize().unwrap();
    let server = Server::start_whole(env!("CARGO_BIN_EXE_coracle"), &[]);
    transcript::play(&folder.join(format!("{name}.txt")), &server.clients());
}

macro_rules! transcripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            play(stringify!($name));
        })*

        #[test]
        fn every_transcript_is_played() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts/whole");
            for file in fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap();
                assert!([$(stringify!($name)),*].contains(&name), "{name} is in no list");
            }
        }
    };
}

transcripts! {
    accounts
    certificates
    services
    volumes
}
