//! CRC-64 with the ISO 3309 polynomial, reflected: what tar-split notes for each file.
//!
//! Spec: Go `hash/crc64`, table ISO.

const POLYNOMIAL: u64 = 0xD800_0000_0000_0000;

/// Eight tables, so that eight bytes are taken at a time.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0u64; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][i] = crc;
        i += 1;
    }
    let mut i = 0;
    while i < 256 {
        let mut table = 1;
        while table < 8 {
            let before = tables[table - 1][i];
            tables[table][i] = tables[0][(before & 0xff) as usize] ^ before >> 8;
            table += 1;
        }
        i += 1;
    }
    tables
}

/// A running sum.
#[derive(Clone, Copy, Debug)]
pub struct Crc64(u64);

impl Default for Crc64 {
    fn default() -> Crc64 {
        Crc64(!0)
    }
}

impl Crc64 {
    /// Takes in `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        let mut crc = self.0;
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0u8; 8];
            word.copy_from_slice(chunk);
            let x = (crc ^ u64::from_le_bytes(word)).to_le_bytes();
            crc = 0;
            for (i, byte) in x.iter().enumerate() {
                crc ^= TABLES[7 - i][usize::from(*byte)];
            }
        }
        for byte in chunks.remainder() {
            crc = TABLES[0][usize::from(crc as u8 ^ byte)] ^ crc >> 8;
        }
        self.0 = crc;
    }

    /// The sum in the order tar-split writes it.
    pub fn finish(self) -> [u8; 8] {
        (!self.0).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_equal_those_of_go() {
        let sum = |b: &[u8]| {
            let mut crc = Crc64::default();
            crc.update(b);
            u64::from_be_bytes(crc.finish())
        };
        // The first two are in the tests of hash/crc64.
        assert_eq!(sum(b""), 0);
        assert_eq!(sum(b"a"), 0x3420_0000_0000_0000);
        assert_eq!(sum(b"abcdefghij"), 0x7f5b_6e21_b002_d367);
        let mut split = Crc64::default();
        let data: Vec<u8> = (0..1000u32).map(|i| i as u8).collect();
        for piece in data.chunks(7) {
            split.update(piece);
        }
        assert_eq!(u64::from_be_bytes(split.finish()), sum(&data));
    }
}
