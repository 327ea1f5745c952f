//! Superseded values, small: LZ4 with the value that superseded them as the dictionary, since the two
//! mostly differ in a few bytes.

use std::cell::RefCell;

use bytes::Bytes;

use crate::Revision;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packed {
    pub bytes: Box<[u8]>,
    /// Of the value.
    pub size: u32,
    /// Whether the successor is needed to unpack.
    pub needs_successor: bool,
}

impl Packed {
    /// Packs a value that can be unpacked alone.
    pub fn alone(value: &[u8]) -> Self {
        Self::pack(value, &[])
    }

    /// Packs the value of revision `modified` by what it has in common with its successor. Every so
    /// often one is packed alone, so that the way back to any value is short.
    pub fn by_successor(value: &[u8], modified: Revision, successor: &[u8]) -> Self {
        // The high bits of a multiplicative hash: about one in sixteen, whatever the pattern of revisions.
        let alone = modified.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60 == 0;
        Self::pack(value, if alone { &[] } else { successor })
    }

    fn pack(value: &[u8], dictionary: &[u8]) -> Self {
        thread_local! {
            static OUTPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        OUTPUT.with_borrow_mut(|output| {
            output.resize(lz4_flex::block::get_maximum_output_size(value.len()), 0);
            // The output is as large as it can need to be, so this does not fail.
            let size = lz4_flex::block::compress_into_with_dict(value, output, dictionary).unwrap_or(0);
            let packed = Self {
                bytes: output[..size].into(),
                size: value.len() as u32,
                needs_successor: !dictionary.is_empty(),
            };
            if output.capacity() > 1 << 20 {
                *output = Vec::new();
            }
            packed
        })
    }

    /// `successor` is not looked at where it is not needed. `None` where the bytes are not a packed value.
    pub fn unpack(&self, successor: &[u8]) -> Option<Bytes> {
        let dictionary = if self.needs_successor { successor } else { &[] };
        let value = lz4_flex::block::decompress_with_dict(&self.bytes, self.size as usize, dictionary).ok()?;
        (value.len() == self.size as usize).then(|| value.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_successors_help() {
        let line = |i: usize| format!("\"field{i}\":\"value {}\",", i * 7919 % 10007);
        let large: String = (0..9000).map(line).collect();
        let small: String = (0..300).map(line).collect();
        for (value, successor) in [("", ""), ("", "abc"), ("a", ""), ("abc", "abd"), (&small, &large), (&large, &small)]
        {
            for modified in 0..40 {
                let packed = Packed::by_successor(value.as_bytes(), modified, successor.as_bytes());
                assert_eq!(packed.unpack(successor.as_bytes()).unwrap(), value);
            }
            assert_eq!(Packed::alone(value.as_bytes()).unpack(b"not looked at").unwrap(), value);
        }
        let edited = small.replace("value 7919", "value 1");
        let packed = Packed::by_successor(small.as_bytes(), 1, edited.as_bytes());
        assert!(packed.needs_successor && packed.bytes.len() < small.len() / 20, "{}", packed.bytes.len());
        assert_eq!(packed.unpack(b"something else").filter(|value| value == small.as_bytes()), None);
    }

    #[test]
    fn some_of_any_pattern_of_revisions_stand_alone() {
        for step in [1, 2, 3, 10, 1000, 65536] {
            let alone = (1..1000_u64).filter(|i| !Packed::by_successor(b"a", i * step, b"b").needs_successor).count();
            assert!((30..100).contains(&alone), "{alone} at step {step}");
        }
    }
}
