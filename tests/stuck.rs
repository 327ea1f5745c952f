//! Clients that begin and never finish: they keep nobody else from being served.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};

use testkit::{
    Server,
    http::{Connection, Http},
};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// More than are written at once.
const UPLOADS: usize = 250;

/// A write whose body the server is waiting for.
fn unfinished(http: &Http) -> BufReader<Connection> {
    let mut connection = http.connect().unwrap();
    write!(
        connection,
        "POST {MAPS} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\
         Expect: 100-continue\r\n\r\n",
        http.address
    )
    .unwrap();
    connection.flush().unwrap();
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "HTTP/1.1 100 Continue");
    reader
}

#[test]
fn uploads_that_do_not_end_keep_no_place() {
    let server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let http = Http::of(&server);
    let uploads: Vec<_> = (0..UPLOADS).map(|_| unfinished(&http)).collect();
    let body = br#"{"metadata":{"name":"a"}}"#;
    let answer = http.request("POST", MAPS, &["Content-Type: application/json"], body).unwrap();
    assert_eq!(answer.code, 201, "{}", answer.body);
    drop(uploads);
}
