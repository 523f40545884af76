//! Hostile and odd streams: whatever they say, nothing outside the root changes.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use super::super::write::{Meta, Writer};
use super::*;
use crate::storage::suite::Scratch;

/// A root with a file beside it that nothing may touch.
struct Place {
    scratch: Scratch,
    root: PathBuf,
}

impl Place {
    fn new() -> Place {
        let scratch = Scratch::new();
        let root = scratch.0.join("root");
        fs::create_dir(&root).unwrap();
        fs::write(scratch.0.join("outside"), "precious").unwrap();
        fs::create_dir(scratch.0.join("dir")).unwrap();
        fs::write(scratch.0.join("dir/file"), "precious").unwrap();
        Place { scratch, root }
    }

    fn apply(&self, stream: &[u8], whiteouts: Whiteouts) -> Result<u64> {
        let done = apply(&Root::open(&self.root).unwrap(), &mut &stream[..], whiteouts);
        let read = |p: &str| fs::read_to_string(self.scratch.0.join(p)).unwrap();
        assert_eq!((read("outside"), read("dir/file")), ("precious".into(), "precious".into()));
        let meta = fs::metadata(self.scratch.0.join("outside")).unwrap();
        assert_eq!((meta.nlink(), meta.uid(), meta.mode() & 0o7777), (1, 0, 0o644));
        let mut names: Vec<_> =
            fs::read_dir(&self.scratch.0).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["dir", "outside", "root"]);
        done
    }
}

type Item<'a> = (Kind, &'a str, &'a str);

/// A stream of entries: kind, name, and content or target.
fn stream(items: &[Item<'_>]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (kind, name, text) in items {
        let mut meta = Meta { kind: *kind, mode: 0o777, uid: 5, ..Meta::file(name.as_bytes(), 0) };
        let mut content: &[u8] = b"";
        match kind {
            Kind::File => {
                meta.size = text.len() as u64;
                content = text.as_bytes();
            }
            _ => meta.link = text.as_bytes(),
        }
        writer.entry(&meta, &mut content).unwrap();
    }
    writer.finish().unwrap()
}

const ALL: [Whiteouts; 3] = [Whiteouts::Overlay, Whiteouts::Remove, Whiteouts::Literal];

#[test]
fn names_and_links_end_at_the_root() {
    use Kind::{Dir, File, HardLink, Symlink};
    let outside: [&[Item<'_>]; 12] = [
        &[(File, "../outside", "x")],
        &[(File, "/../../outside", "x")],
        &[(File, "a/../../outside", "x")],
        &[(Symlink, "up", ".."), (File, "up/outside", "x")],
        &[(Symlink, "up", "../../../.."), (File, "up/outside", "x")],
        &[(Symlink, "up", "/"), (Dir, "up/dir/", "")],
        &[(Symlink, "outside", "../outside"), (File, "outside", "x")],
        &[(Symlink, "x", "../outside"), (HardLink, "y", "x"), (File, "y", "x")],
        &[(Symlink, "x", "../dir"), (Dir, "x/", ""), (File, "x/file", "x")],
        &[(Symlink, "a", "b"), (Symlink, "b", "../dir"), (File, "a/b/file", "x")],
        &[(Dir, "d/", ""), (Symlink, "d", "../dir"), (File, "d/.wh.file", "")],
        &[(Symlink, "d", "../dir"), (File, "d/.wh..wh..opq", "")],
    ];
    for items in outside {
        for whiteouts in ALL {
            // An error is as good as a file inside.
            let _ = Place::new().apply(&stream(items), whiteouts);
        }
    }
    for target in
        ["../outside", "/outside", "a/../../outside", "../../../../../etc/passwd", "", "/"]
    {
        for whiteouts in ALL {
            let items = [(HardLink, "link", target)];
            let e = Place::new().apply(&stream(&items), whiteouts).unwrap_err();
            assert!(e.to_string().contains("invalid hardlink target"), "{target}: {e}");
        }
    }
}

#[test]
fn names_are_confined_as_in_dockers_chroot() {
    let place = Place::new();
    let items = [
        (Kind::File, "../../escape", "1"),
        (Kind::File, "/absolute", "2"),
        (Kind::Symlink, "link", "/sub"),
        (Kind::File, "link/below", "3"),
    ];
    assert!(place.apply(&stream(&items[..3]), Whiteouts::Overlay).is_ok());
    // The link leads to what does not exist (yet): nothing is made through it.
    assert!(place.apply(&stream(&items[3..]), Whiteouts::Overlay).is_err());
    fs::create_dir(place.root.join("sub")).unwrap();
    place.apply(&stream(&items[3..]), Whiteouts::Overlay).unwrap();
    for (path, content) in [("escape", "1"), ("absolute", "2"), ("sub/below", "3")] {
        assert_eq!(fs::read_to_string(place.root.join(path)).unwrap(), content);
    }
}

#[test]
fn whiteouts_without_a_name_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh..", "d/.wh..."] {
        for whiteouts in [Whiteouts::Overlay, Whiteouts::Remove] {
            let place = Place::new();
            fs::create_dir(place.root.join("d")).unwrap();
            let e = place.apply(&stream(&[(Kind::File, name, "")]), whiteouts).unwrap_err();
            assert!(e.to_string().contains("whiteout without a name"), "{name}: {e}");
            assert!(place.root.join("d").exists());
        }
    }
}

#[test]
fn things_replace_each_other() {
    use Kind::{Dir, Fifo, File, Symlink};
    let place = Place::new();
    let items = [
        (File, "f", "1"),
        (Dir, "f/", ""),
        (File, "f/x", "2"),
        (Dir, "d/", ""),
        (File, "d/x", "3"),
        (File, "d", "4"),
        (Symlink, "l", "../outside"),
        (File, "l", "5"),
        (Fifo, "p", ""),
        (Dir, "p/", ""),
        (Dir, "again/", ""),
        (File, "again/kept", "6"),
        (Dir, "again/", ""),
    ];
    place.apply(&stream(&items), Whiteouts::Literal).unwrap();
    let read = |p: &str| fs::read_to_string(place.root.join(p)).unwrap();
    assert_eq!((read("f/x"), read("d"), read("l")), ("2".into(), "4".into(), "5".into()));
    assert_eq!(read("again/kept"), "6");
    assert!(place.root.join("p").is_dir());
}

#[test]
fn a_link_to_itself_keeps_its_content() {
    let place = Place::new();
    let items = [(Kind::File, "f", "1"), (Kind::HardLink, "f", "f"), (Kind::HardLink, "g", "./f")];
    place.apply(&stream(&items), Whiteouts::Overlay).unwrap();
    assert_eq!(fs::metadata(place.root.join("f")).unwrap().nlink(), 2);
}

#[test]
fn files_of_aufs_are_no_content() {
    let place = Place::new();
    let items = [
        (Kind::File, ".wh..wh.aufs", "x"),
        (Kind::Dir, ".wh..wh.orph/", ""),
        (Kind::File, ".wh..wh.plnk/12.34", "content"),
        (Kind::HardLink, "f", "/.wh..wh.plnk/12.34"),
        (Kind::HardLink, "g", "/.wh..wh.plnk/12.34"),
    ];
    place.apply(&stream(&items), Whiteouts::Overlay).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(&place.root).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["f", "g"]);
    assert_eq!(fs::metadata(place.root.join("f")).unwrap().nlink(), 2);
}

#[test]
fn marks_of_overlayfs_in_a_stream_have_no_effect() {
    let place = Place::new();
    let mut writer = Writer::new(Vec::new());
    let xattrs = vec![
        (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"trusted.overlay.redirect".to_vec(), b"/../..".to_vec()),
        (b"user.kept".to_vec(), b"1".to_vec()),
    ];
    let meta = Meta { kind: Kind::Dir, mode: 0o755, xattrs, ..Meta::file(b"d/", 0) };
    writer.entry(&meta, &mut &b""[..]).unwrap();
    place.apply(&writer.finish().unwrap(), Whiteouts::Overlay).unwrap();
    assert_eq!(xattr::llist(&place.root.join("d")).unwrap(), vec![b"user.kept".to_vec()]);
}

#[test]
fn what_layers_do_not_have_is_refused_by_name() {
    let mut sparse = stream(&[(Kind::File, "f", "x")]);
    sparse[156] = b'S';
    reseal(&mut sparse);
    let mut unknown = stream(&[(Kind::File, "f", "x")]);
    unknown[156] = b'Q';
    reseal(&mut unknown);
    let long = "n".repeat(5000);
    for (stream, says) in [
        (sparse, "sparse file of an unknown format"),
        (unknown, "unhandled tar header type 81"),
        (stream(&[(Kind::File, &long, "x")]), "file name too long"),
        (stream(&[(Kind::File, &"d/".repeat(3000), "x")]), "file name too long"),
    ] {
        let e = Place::new().apply(&stream, Whiteouts::Overlay).unwrap_err();
        assert!(e.to_string().contains(says), "{says}: {e}");
    }
}

/// Makes the checksum of the first header right again.
fn reseal(stream: &mut [u8]) {
    stream[148..156].fill(b' ');
    let sum: u32 = stream[..512].iter().map(|b| u32::from(*b)).sum();
    stream[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn any_damage_is_an_error_or_harmless() {
    let whole = stream(&[
        (Kind::Dir, "d/", ""),
        (Kind::File, "d/f", "content"),
        (Kind::Symlink, "d/l", "../../outside"),
        (Kind::HardLink, "h", "d/f"),
        (Kind::File, &"n".repeat(150), "long"),
    ]);
    let place = Place::new();
    for at in (0..whole.len()).step_by(3) {
        for bits in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= bits;
            let header = at / 512 * 512;
            if at % 7 == 0 && header + 512 <= damaged.len() {
                reseal(&mut damaged[header..header + 512]);
            }
            let _ = place.apply(&damaged, ALL[at % 3]);
        }
    }
    symlink("x", place.root.join("last")).unwrap();
}
