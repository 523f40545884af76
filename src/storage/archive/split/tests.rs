//! Streams of every sort, taken apart and put together again.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::super::apply::{Whiteouts, apply};
use super::super::header::Kind;
use super::super::write::{Meta, Writer};
use super::*;
use crate::storage::suite::Scratch;

/// The record of `stream`, fed in pieces of `piece` bytes.
fn record(stream: &[u8], piece: usize) -> Result<Vec<u8>> {
    let mut recorder = Recorder::new(Vec::new());
    for part in stream.chunks(piece) {
        recorder.record(part)?;
    }
    recorder.finish()
}

fn comes_back(stream: &[u8]) {
    let root = Scratch::new();
    let files = Root::open(&root.0).unwrap();
    apply(&files, &mut &stream[..], Whiteouts::Literal).unwrap();
    let whole = record(stream, stream.len()).unwrap();
    for piece in [1, 7, 512, 1000, 4096] {
        assert!(record(stream, piece).unwrap() == whole, "pieces of {piece} bytes differ");
    }
    assert_eq!(length(whole.as_slice()).unwrap(), stream.len() as u64);
    let mut again = Vec::new();
    assemble(whole.as_slice(), &files, &mut again).unwrap();
    assert!(again == stream);
}

fn writer() -> Writer<Vec<u8>> {
    Writer::new(Vec::new())
}

#[test]
fn streams_of_every_sort_come_back() {
    let mut w = writer();
    let long = "d/".repeat(150) + "file";
    w.entry(&Meta { kind: Kind::Dir, ..Meta::file(b"d/", 0) }, &mut &b""[..]).unwrap();
    w.entry(&Meta::file(long.as_bytes(), 5), &mut &b"12345"[..]).unwrap();
    w.entry(&Meta::file("h\u{e4}\u{df}lich <&>".as_bytes(), 512), &mut &[7u8; 512][..]).unwrap();
    w.entry(&Meta::file(b"not\xffutf8", 3), &mut &b"abc"[..]).unwrap();
    w.entry(&Meta::file(b"empty", 0), &mut &b""[..]).unwrap();
    let link = Meta { kind: Kind::HardLink, link: b"not\xffutf8", ..Meta::file(b"link", 0) };
    w.entry(&link, &mut &b""[..]).unwrap();
    w.entry(&Meta::file(b"big", 300_000), &mut &vec![9u8; 300_000][..]).unwrap();
    let mut stream = w.finish().unwrap();
    comes_back(&stream);
    stream.resize(stream.len() + 200_000, 0);
    comes_back(&stream);
    // Junk after the end belongs to the stream.
    stream.extend_from_slice(b"junk");
    comes_back(&stream);
    // Without an end mark.
    let mut w = writer();
    w.entry(&Meta::file(b"a", 512), &mut &[1u8; 512][..]).unwrap();
    let stream = w.finish().unwrap();
    comes_back(&stream[..1024]);
}

#[test]
fn streams_of_the_peers_come_back() {
    let source = Scratch::new();
    let dir = source.0.join("in");
    fs::create_dir_all(dir.join("sub")).unwrap();
    fs::write(dir.join("sub").join("n".repeat(180)), "long").unwrap();
    fs::write(dir.join(OsStr::from_bytes(b"raw\xfe")), "raw").unwrap();
    fs::write(dir.join("plain"), vec![3u8; 70_000]).unwrap();
    std::os::unix::fs::symlink("x".repeat(150), dir.join("symlink")).unwrap();
    fs::hard_link(dir.join("plain"), dir.join("hard")).unwrap();
    for format in ["v7", "ustar", "oldgnu", "gnu", "pax"] {
        let mut names = vec!["plain", "hard"];
        if !matches!(format, "v7" | "ustar") {
            names = vec!["."];
        }
        let output = std::process::Command::new("tar")
            .args(["-c", &format!("--format={format}"), "-C"])
            .arg(&dir)
            .args(names)
            .output()
            .unwrap();
        assert!(output.status.success(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
        comes_back(&output.stdout);
    }
}

#[test]
fn the_record_has_the_form_of_tar_split() {
    let mut w = writer();
    w.entry(&Meta::file(b"a<b", 3), &mut &b"abc"[..]).unwrap();
    w.entry(&Meta::file(b"e\xff", 0), &mut &b""[..]).unwrap();
    let text = String::from_utf8(record(&w.finish().unwrap(), 100).unwrap()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(
        lines[0].starts_with(r#"{"type":2,"payload":""#) && lines[0].ends_with(r#","position":0}"#)
    );
    assert_eq!(
        lines[1],
        r#"{"type":1,"name":"a\u003cb","size":3,"payload":"M5NkZ1NnAAA=","position":1}"#
            .replace("M5NkZ1NnAAA=", &base64::encode(&sum(b"abc")))
    );
    assert_eq!(lines[3], r#"{"type":1,"name_raw":"Zf8=","payload":null,"position":3}"#);
}

fn sum(bytes: &[u8]) -> [u8; 8] {
    let mut crc = Crc64::default();
    crc.update(bytes);
    crc.finish()
}

#[test]
fn two_contents_under_one_name_are_refused() {
    for (first, second) in [("a", "a"), ("a", "./x/../a"), ("d/f", "/d//f")] {
        let mut w = writer();
        for name in [first, second] {
            w.entry(&Meta::file(name.as_bytes(), 1), &mut &b"x"[..]).unwrap();
        }
        let e = record(&w.finish().unwrap(), 512).unwrap_err();
        assert!(e.to_string().contains("duplicates of file paths not supported"), "{e}");
    }
    // Twice the same directory is common and harmless.
    let mut w = writer();
    for _ in 0..2 {
        w.entry(&Meta { kind: Kind::Dir, ..Meta::file(b"d/", 0) }, &mut &b""[..]).unwrap();
    }
    comes_back(&w.finish().unwrap());
}

#[test]
fn changed_files_are_noticed() {
    let root = Scratch::new();
    let files = Root::open(&root.0).unwrap();
    let mut w = writer();
    w.entry(&Meta::file(b"f", 5), &mut &b"12345"[..]).unwrap();
    let stream = w.finish().unwrap();
    apply(&files, &mut stream.as_slice(), Whiteouts::Literal).unwrap();
    let record = record(&stream, 512).unwrap();
    for content in ["12346", "1234", ""] {
        fs::write(root.0.join("f"), content).unwrap();
        let e = assemble(record.as_slice(), &files, &mut Vec::new()).unwrap_err();
        assert!(e.to_string().contains("file integrity checksum failed for \"f\""), "{e}");
    }
    fs::remove_file(root.0.join("f")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.0.join("f")).unwrap();
    assert!(assemble(record.as_slice(), &files, &mut Vec::new()).is_err());
}

#[test]
fn damaged_records_are_errors() {
    let root = Scratch::new();
    let files = Root::open(&root.0).unwrap();
    for text in [
        "junk\n",
        "{\"type\":9,\"payload\":\"\"}\n",
        "{\"type\":2,\"payload\":\"***\"}\n",
        "{\"type\":1,\"name\":\"x\",\"size\":-1,\"payload\":\"\"}\n",
    ] {
        let e = assemble(text.as_bytes(), &files, &mut Vec::new()).unwrap_err();
        assert!(e.to_string().contains("tar-split record is damaged"), "{e}");
    }
}

#[test]
fn files_with_holes_come_back_however_tar_wrote_them() {
    let source = Scratch::new();
    let dir = source.0.join("in");
    fs::create_dir_all(dir.join("sub")).unwrap();
    let long = format!("sub/{}", "n".repeat(120));
    // More pieces than fit into one header, or none; data or a hole at the end.
    for (name, pieces, length) in
        [("many", 40, 5_000_000), ("none", 0, 3_000_000), (&long, 1, 100_000)]
    {
        let file = fs::File::create(dir.join(name)).unwrap();
        for piece in 0..pieces {
            let content = format!("piece {piece}").repeat(100);
            file.write_all_at(content.as_bytes(), piece * 120_000 + 70_000).unwrap();
        }
        file.set_len(length).unwrap();
    }
    let tail = fs::File::create(dir.join("tail")).unwrap();
    tail.write_all_at(b"end", 1_000_000).unwrap();
    fs::write(dir.join("plain"), "plain").unwrap();
    for options in [
        &["--format=gnu"][..],
        &["--format=oldgnu"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let mut tar = std::process::Command::new("tar");
        let tar = tar.args(["-c", "-S", "-C"]).arg(&dir).args(options).arg(".").output().unwrap();
        assert!(tar.status.success(), "{options:?}: {}", String::from_utf8_lossy(&tar.stderr));
        let stream = tar.stdout;
        assert!(stream.len() < 1_000_000, "{options:?}: tar wrote the holes");
        comes_back(&stream);

        let root = Scratch::new();
        let files = Root::open(&root.0).unwrap();
        let size = apply(&files, &mut &stream[..], Whiteouts::Overlay).unwrap();
        assert_eq!(size, 5_000_000 + 3_000_000 + 100_000 + 1_000_003 + 5, "{options:?}");
        for name in ["many", "none", &long, "tail", "plain"] {
            let (made, original) = (root.0.join(name), dir.join(name));
            assert!(fs::read(&made).unwrap() == fs::read(&original).unwrap(), "{options:?} {name}");
            let blocks = |path| fs::metadata(path).unwrap().blocks();
            assert!(blocks(&made) <= blocks(&original) + 8, "{options:?} {name}");
        }
        assert!(!root.0.join("GNUSparseFile.0").exists());
        // A header that is cut off, and content that is.
        for cut in (512..stream.len().min(40_000)).step_by(512) {
            let cut = &stream[..cut];
            let root = Scratch::new();
            let applied = apply(&Root::open(&root.0).unwrap(), &mut &cut[..], Whiteouts::Overlay);
            assert_eq!(applied.is_err(), record(cut, 512).is_err(), "{options:?} {}", cut.len());
        }
    }
}
