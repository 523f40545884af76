//! Content digests, `sha256:` and 64 hexadecimal digits.
//!
//! Spec: OCI image-spec descriptor.md, section Digests. Only sha256 is registered for what Docker and
//! the registries exchange; other algorithms are refused by name.

use std::fmt;
use std::io::{self, Read, Write};

use sha2::Digest as _;

use super::{Error, Result, hex};

/// A sha256 digest. Prints and parses as `sha256:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Parses `sha256:<hex>`.
    ///
    /// # Errors
    /// `InvalidParameter` for another algorithm or a malformed value.
    pub fn parse(text: &str) -> Result<Digest> {
        let (algorithm, value) = text
            .split_once(':')
            .ok_or_else(|| Error::invalid(format_args!("invalid digest {text:?}")))?;
        if algorithm != "sha256" {
            return Err(Error::invalid(format_args!("unsupported digest algorithm {algorithm:?}")));
        }
        Digest::from_hex(value)
            .ok_or_else(|| Error::invalid(format_args!("invalid checksum digest format {text:?}")))
    }

    /// From the 64 lower-case digits alone.
    pub fn from_hex(value: &str) -> Option<Digest> {
        if !hex::is_hex(value, 64) {
            return None;
        }
        hex::decode(value)?.try_into().ok().map(Digest)
    }

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(sha2::Sha256::digest(bytes).into())
    }

    /// The 64 digits without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(&self.0)
    }

    /// The 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Hashes what is written to it.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Hasher {
        Hasher::default()
    }

    /// Takes in `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything seen.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that hashes and counts what passes through it.
pub struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
    count: u64,
}

impl<R: Read> HashingReader<R> {
    /// Wraps `inner`.
    pub fn new(inner: R) -> HashingReader<R> {
        HashingReader { inner, hasher: Hasher::new(), count: 0 }
    }

    /// Bytes that have passed so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The digest and the length, in bytes, of everything that passed.
    pub fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.count)
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hasher.update(&buf[..n]);
        self.count += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_input_has_the_known_digest() {
        let d = Digest::of(b"");
        assert_eq!(
            d.to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(Digest::parse(&d.to_string()).unwrap(), d);
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in ["", "abc", "sha512:00", "sha256:", "sha256:ABC", "sha256:zz"] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
    }
}
