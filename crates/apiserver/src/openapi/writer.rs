//! Writes a large JSON document part by part into compressed bytes, so that it never stands in memory.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

/// Takes the entries of a large object, one by one.
pub type Each<'a> = dyn FnMut(&str, Value) + 'a;

pub struct Json {
    out: GzEncoder<Vec<u8>>,
    /// Nothing stands yet in the object that is being written.
    is_empty: bool,
}

impl Json {
    pub fn new() -> Self {
        let mut json = Self { out: GzEncoder::new(Vec::new(), Compression::default()), is_empty: true };
        json.write(b"{");
        json
    }

    pub fn value(&mut self, key: &str, value: &Value) {
        self.key(key);
        self.write(value.to_string().as_bytes());
    }

    /// An object whose entries `all` hands over.
    pub fn entries(&mut self, key: &str, all: impl FnOnce(&mut Each<'_>)) {
        self.open(key);
        all(&mut |key, value| self.value(key, &value));
        self.close();
    }

    pub fn open(&mut self, key: &str) {
        self.key(key);
        self.write(b"{");
        self.is_empty = true;
    }

    pub fn close(&mut self) {
        self.write(b"}");
        self.is_empty = false;
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.close();
        finish(self.out)
    }

    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.is_empty) {
            self.write(b",");
        }
        self.write(Value::from(key).to_string().as_bytes());
        self.write(b":");
    }

    fn write(&mut self, bytes: &[u8]) {
        // A vector takes whatever is written to it.
        let _ = self.out.write_all(bytes);
    }
}

pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    let _ = out.write_all(bytes);
    finish(out)
}

fn finish(out: GzEncoder<Vec<u8>>) -> Vec<u8> {
    out.finish().unwrap_or_default()
}
