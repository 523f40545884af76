//! Layers and archives as they come: gzip, zstd or plain, told by their first bytes.
//!
//! What a media type or a file name says is not believed: clients have always mixed them up.
//!
//! Spec: RFC 1952 section 2.3.1; RFC 8878 section 3.1.

use std::io::{self, Cursor, Read};

use super::{At, Error, Result};

/// Largest window of a zstd frame, as a power of two: 128 MiB, what `zstd` itself accepts unasked.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all, or in no way that is known.
    None,
    /// gzip, one or several members.
    Gzip,
    /// zstd, one or several frames.
    Zstd,
    /// bzip2, which is not read.
    Bzip2,
    /// xz, which is not read.
    Xz,
}

impl Compression {
    /// Tells the compression from the first six bytes; fewer if the stream is shorter.
    pub fn of(start: &[u8]) -> Compression {
        match start {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            // A skippable frame, as zstd:chunked and parallel compressors write them.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', ..] => Compression::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            _ => Compression::None,
        }
    }
}

/// The uncompressed content of `reader`, which must be at its start.
///
/// # Errors
/// Those of reading, and `Unsupported` for compressions that are not read.
pub fn open<'a, R: Read + Send + 'a>(mut reader: R) -> Result<Box<dyn Read + Send + 'a>> {
    let mut start = [0; 6];
    let mut have = 0;
    while have < start.len() {
        match reader.read(&mut start[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    let whole = Cursor::new(start).take(have as u64).chain(reader);
    Ok(match Compression::of(&start[..have]) {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        Compression::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::new(whole).at("starting the zstd decoder")?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).at("starting the zstd decoder")?;
            Box::new(decoder)
        }
        Compression::Bzip2 => return Err(unsupported("bzip2")),
        Compression::Xz => return Err(unsupported("xz")),
    })
}

fn unsupported(name: &str) -> Error {
    Error::unsupported(format_args!(
        "the data is compressed with {name}, which is not supported; gzip, zstd and none are"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(bytes: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        open(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        e.write_all(bytes).unwrap();
        e.finish().unwrap()
    }

    #[test]
    fn every_form_gives_the_same_content() {
        let data = b"some layer, some more layer".repeat(1000);
        let skippable = [0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let zstd = zstd::encode_all(&data[..], 3).unwrap();
        assert_eq!(read(&data).unwrap(), data);
        assert_eq!(read(&gzip(&data)).unwrap(), data);
        assert_eq!(read(&[gzip(&data), gzip(&data)].concat()).unwrap(), data.repeat(2));
        assert_eq!(read(&zstd).unwrap(), data);
        assert_eq!(
            read(&[&skippable[..], &zstd, &skippable, &zstd].concat()).unwrap(),
            data.repeat(2)
        );
        for short in [&b""[..], b"a", b"abcde"] {
            assert_eq!(read(short).unwrap(), short);
        }
    }

    #[test]
    fn cut_data_is_an_error_and_so_is_an_unknown_compression() {
        let whole = gzip(&b"layer".repeat(1000));
        assert!(read(&whole[..whole.len() - 5]).is_err());
        let whole = zstd::encode_all(&b"layer".repeat(1000)[..], 3).unwrap();
        assert!(read(&whole[..whole.len() - 1]).is_err());
        assert!(read(b"\xfd7zXZ\0....").unwrap_err().to_string().contains("xz"));
        assert!(read(b"BZh9....").unwrap_err().to_string().contains("bzip2"));
    }
}
