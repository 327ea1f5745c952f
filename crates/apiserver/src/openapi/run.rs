//! Compressed bytes that can be joined. A document of which little has changed is made anew without rendering or
//! compressing the rest of it.

use std::{io::Write, mem};

use flate2::{Compression, Crc, write::DeflateEncoder};

/// What a gzip file begins with: the method, no name, no time, no system (RFC 1952).
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty last block (RFC 1951).
const LAST_BLOCK: [u8; 2] = [3, 0];

/// A run of bytes, compressed, which ends where a byte ends and refers to nothing before it.
#[derive(Debug)]
pub struct Run {
    deflated: Vec<u8>,
    sum: Crc,
}

pub struct Writer {
    out: DeflateEncoder<Vec<u8>>,
    sum: Crc,
}

impl Writer {
    pub fn write(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
        // A vector takes whatever is written to it.
        let _ = self.out.write_all(bytes);
    }
}

impl Run {
    pub fn of(fill: impl FnOnce(&mut Writer)) -> Self {
        let mut writer = Writer { out: DeflateEncoder::new(Vec::new(), Compression::default()), sum: Crc::new() };
        fill(&mut writer);
        let _ = writer.out.flush();
        let mut deflated = mem::take(writer.out.get_mut());
        deflated.shrink_to_fit();
        Self { deflated, sum: writer.sum }
    }

    pub fn whole(bytes: &[u8]) -> Self {
        Self::of(|writer| writer.write(bytes))
    }
}

/// One gzip file of all runs.
pub fn gzip<'r>(runs: impl Iterator<Item = &'r Run> + Clone) -> Vec<u8> {
    let mut sum = Crc::new();
    let length: usize = runs.clone().map(|run| run.deflated.len()).sum();
    let mut file = Vec::with_capacity(length + HEAD.len() + LAST_BLOCK.len() + 8);
    file.extend(HEAD);
    for run in runs {
        file.extend(&run.deflated);
        sum.combine(&run.sum);
    }
    file.extend(LAST_BLOCK);
    file.extend(sum.sum().to_le_bytes());
    file.extend(sum.amount().to_le_bytes());
    file
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn joined_runs_are_one_file() {
        let check = |texts: &[&str]| {
            let runs: Vec<Run> = texts.iter().map(|text| Run::whole(text.as_bytes())).collect();
            let mut plain = String::new();
            // It reads one member only, and checks its sum and length.
            GzDecoder::new(&*gzip(runs.iter())).read_to_string(&mut plain).unwrap();
            assert_eq!(plain, texts.concat());
        };
        check(&[]);
        check(&[""]);
        check(&["one", "", "one one one one one one", "and another"]);
        check(&[&"long and dull ".repeat(10_000), "one", &"dull and long ".repeat(10_000)]);
    }
}
