//! Mutations that need no coverage: enough to find in seconds what a careless change breaks.

use stdx::Random;

/// Inputs beyond this say nothing that shorter ones do not.
const MAX_BYTES: usize = 1 << 14;
/// What breaks numbers, strings and nesting.
const TOKENS: [&[u8]; 16] = [
    b"-9223372036854775808",
    b"18446744073709551616",
    b"1e999",
    b"-0",
    b"0.1",
    b"null",
    b"\"\"",
    b"{}",
    b"[]",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    "é".as_bytes(),
    b"\0",
    b"\n",
    b" ",
];

/// What has a meaning in one syntax or another.
const MARKS: &[u8] = b"\"'{}[]()<>:,.-+*/=!&|%0179azAZ\\$@#~ \n";

/// A variant of one of the seeds.
pub fn variant(seeds: &[Vec<u8>], random: &dyn Random) -> Vec<u8> {
    let below = |bound: usize| random.below(bound as u64) as usize;
    let mut bytes = seeds[below(seeds.len())].clone();
    for _ in 0..1 + below(4) {
        let at = below(bytes.len() + 1);
        let end = (at + below(24)).min(bytes.len());
        match below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << below(8),
            1 if at < bytes.len() => bytes[at] = MARKS[below(MARKS.len())],
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece.repeat(1 + below(3)));
            }
            4 => drop(bytes.splice(at..end, TOKENS[below(TOKENS.len())].iter().copied())),
            // Nesting, as deep as it goes.
            5 if at < end => {
                let piece = bytes[at..end.min(at + 2)].to_vec();
                bytes.splice(at..at, piece.repeat(1 << below(12)));
            }
            6 => {
                let other = &seeds[below(seeds.len())];
                let from = below(other.len() + 1);
                let to = (from + below(40)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            _ => bytes.truncate(at.max(bytes.len() / 2)),
        }
        bytes.truncate(MAX_BYTES);
    }
    bytes
}
