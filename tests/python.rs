//! The official Python client, whose scripts are in `tests/python/`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use testkit::{Server, clients::run};

fn play(script: &str) {
    let server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python").join(script);
    let pki = server.data_dir().join("pki");
    let output = run(server.clients().command("timeout").args(["120", "python3"]).arg(path).arg(pki), "");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {printed}");
}

#[test]
fn typed() {
    play("typed.py");
}

#[test]
fn dynamic() {
    play("dynamic.py");
}

#[test]
fn webhooks() {
    play("webhooks.py");
}
