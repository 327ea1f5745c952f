//! Decoders never panic; what they accept is within the limits and survives YAML.
#![no_main]

use document::{Encoding, decode, yaml};
use libfuzzer_sys::fuzz_target;

const LIMIT_BYTES: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    for encoding in [Encoding::Json, Encoding::Yaml] {
        if let Ok(decoded) = decode(bytes, encoding, LIMIT_BYTES) {
            let text = yaml::encode(&decoded.value);
            assert!(decode(text.as_bytes(), Encoding::Yaml, 64 * LIMIT_BYTES).is_ok(), "{text}");
        }
    }
});
