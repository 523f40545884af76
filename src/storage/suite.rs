//! What every driver must do, on a real kernel: one suite, run for each entry of the table.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::header::Kind;
use super::archive::read::Reader;
use super::archive::write::{Meta, Writer};
use super::{Change, ChangeKind, DRIVERS, Driver};
use crate::sys::mount::{self, MntFlags};
use crate::sys::{random, xattr};

/// A data root that is unmounted and removed in the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        let dir = std::env::temp_dir().join(format!("store-{:016x}", random::u64()));
        fs::create_dir(&dir).unwrap();
        Scratch(dir)
    }

    fn open(&self, driver: &str) -> Arc<dyn Driver> {
        super::open(driver, &self.0, &[]).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for info in mount::table().unwrap().iter().rev() {
            if info.target.starts_with(&self.0) {
                let _ = mount::unmount(&info.target, MntFlags::MNT_DETACH);
            }
        }
        let _ = super::remove::path(&self.0);
    }
}

/// Runs `check` for every driver in a root of its own.
fn each(check: impl Fn(&dyn Driver, &Scratch)) {
    for def in DRIVERS {
        let root = Scratch::new();
        let driver = root.open(def.name);
        check(driver.as_ref(), &root);
        driver.cleanup().unwrap();
        let left: Vec<_> = mount::table().unwrap();
        assert!(!left.iter().any(|m| m.target.starts_with(&root.0)), "{}", def.name);
    }
}

/// A layer's stream, written by hand.
struct Tar(Writer<Vec<u8>>);

impl Tar {
    fn new() -> Tar {
        Tar(Writer::new(Vec::new()))
    }
    fn file(self, name: &str, content: &str) -> Tar {
        self.meta(Meta::file(name.as_bytes(), content.len() as u64), content)
    }
    fn dir(self, name: &str, mode: u32) -> Tar {
        let name = format!("{name}/");
        self.meta(Meta { kind: Kind::Dir, mode, ..Meta::file(name.as_bytes(), 0) }, "")
    }
    fn link(self, kind: Kind, name: &str, to: &str) -> Tar {
        self.meta(Meta { kind, link: to.as_bytes(), ..Meta::file(name.as_bytes(), 0) }, "")
    }
    fn meta(mut self, meta: Meta<'_>, content: &str) -> Tar {
        self.0.entry(&meta, &mut content.as_bytes()).unwrap();
        self
    }
    fn bytes(self) -> Vec<u8> {
        self.0.finish().unwrap()
    }
}

fn name(i: usize) -> String {
    format!("{i:064x}")
}

/// Makes a read-only layer of `tar` on top of layer number `parent`.
fn layer(driver: &dyn Driver, i: usize, parent: Option<usize>, tar: Tar) -> u64 {
    let (id, parent) = (name(i), parent.map(name));
    driver.create(&id, parent.as_deref()).unwrap();
    let size = driver.apply_diff(&id, parent.as_deref(), &mut tar.bytes().as_slice()).unwrap();
    driver.sync(&id).unwrap();
    size
}

/// Makes a read-write layer on top of layer number `parent` and mounts it.
fn container(driver: &dyn Driver, i: usize, parent: usize) -> PathBuf {
    driver.create_read_write(&name(i), Some(&name(parent)), &BTreeMap::new()).unwrap();
    driver.get(&name(i), "").unwrap()
}

/// Every path below `root` with what can be seen of it, for comparisons of whole trees.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut inodes: HashMap<u64, PathBuf> = HashMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        let mut names: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        for path in names {
            // overlayfs lists the whiteouts of a directory that has nothing below, but does not find them.
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            let short = path.strip_prefix(root).unwrap().to_path_buf();
            let mut seen =
                format!("{:o} {}:{} {}", meta.mode(), meta.uid(), meta.gid(), meta.mtime());
            let kind = meta.file_type();
            if kind.is_file() {
                seen += &format!(" {:?}", fs::read(&path).unwrap());
            } else if kind.is_symlink() {
                seen += &format!(" -> {}", fs::read_link(&path).unwrap().display());
            } else if kind.is_dir() {
                todo.push(path.clone());
            } else {
                seen += &format!(" {}", meta.rdev());
            }
            for key in xattr::llist(&path).unwrap() {
                let key = String::from_utf8(key).unwrap();
                let ours = key.starts_with("user.") || key == "security.capability";
                if ours && !key.contains("overlay") {
                    seen += &format!(" {key}={:?}", xattr::lget(&path, OsStr::new(&key)).unwrap());
                }
            }
            if !kind.is_dir() && meta.nlink() > 1 {
                let first = inodes.entry(meta.ino()).or_insert_with(|| short.clone());
                seen += &format!(" = {}", first.display());
            }
            found.insert(short, seen);
        }
    }
    found
}

fn changed(list: &[Change]) -> Vec<String> {
    let letter = |kind| match kind {
        ChangeKind::Modify => 'C',
        ChangeKind::Add => 'A',
        ChangeKind::Delete => 'D',
    };
    list.iter().map(|c| format!("{} {}", letter(c.kind), c.path.display())).collect()
}

/// A file capability that the kernel takes: version 2, CAP_NET_BIND_SERVICE.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn rich() -> Tar {
    let xattrs = vec![
        (b"security.capability".to_vec(), CAPABILITY.to_vec()),
        (b"user.note".to_vec(), b"x\0y".to_vec()),
    ];
    let long = "n".repeat(200);
    Tar::new()
        .dir("bin", 0o755)
        .meta(Meta { xattrs, mode: 0o755, ..Meta::file(b"bin/ping", 4) }, "ping")
        .meta(Meta { mode: 0o4755, uid: 1, gid: 2, ..Meta::file(b"bin/su", 2) }, "su")
        .link(Kind::HardLink, "bin/su2", "/bin/su")
        .link(Kind::Symlink, "sh", "/bin/ping")
        .meta(Meta { kind: Kind::Fifo, ..Meta::file(b"pipe", 0) }, "")
        .meta(Meta { kind: Kind::Char, device: (1, 3), ..Meta::file(b"null", 0) }, "")
        .meta(Meta { kind: Kind::Block, device: (7, 300), ..Meta::file(b"loop", 0) }, "")
        .meta(Meta { kind: Kind::Dir, mode: 0o1777, mtime: 77, ..Meta::file(b"tmp/", 0) }, "")
        .file(&format!("tmp/{long}/{long}"), "deep")
        .file("d/a", "a")
        .file("d/b", "b")
        .meta(Meta { mtime: 1_600_000_000, uid: 3_000_000, ..Meta::file(b"etc/passwd", 4) }, "root")
}

#[test]
fn a_layer_shows_what_its_stream_says() {
    each(|driver, _| {
        let size = layer(driver, 1, None, rich());
        assert_eq!(size, 4 + 2 + 9 + 4 + 1 + 1 + 4);
        let root = driver.get(&name(1), "").unwrap();
        let stat = |p: &str| fs::symlink_metadata(root.join(p)).unwrap();
        assert_eq!((stat("bin/su").mode(), stat("bin/su").uid()), (0o104_755, 1));
        assert_eq!(stat("bin/su").ino(), stat("bin/su2").ino());
        assert!(stat("pipe").file_type().is_fifo() && stat("loop").file_type().is_block_device());
        assert_eq!(stat("null").rdev(), nix::sys::stat::makedev(1, 3));
        assert_eq!((stat("tmp").mtime(), stat("tmp").mode() & 0o7777), (77, 0o1777));
        assert_eq!(stat("etc/passwd").uid(), 3_000_000);
        let capability = xattr::lget(&root.join("bin/ping"), OsStr::new("security.capability"));
        assert_eq!(capability.unwrap().unwrap(), CAPABILITY);
        driver.put(&name(1)).unwrap();
        assert!(driver.exists(&name(1)) && !driver.exists(&name(2)));
    });
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_else() {
    each(|driver, _| {
        layer(driver, 1, None, rich());
        let second = Tar::new()
            .file(".wh.sh", "")
            .file("d/.wh..wh..opq", "")
            .file("d/c", "c")
            // A directory in a file's place, and a file in a directory's.
            .file(".wh.null", "")
            .dir("null", 0o700)
            .file("null/x", "x")
            .file("bin", "file")
            // Of names that nobody has.
            .file("no/such/.wh.thing", "")
            .file(".wh.nothing", "");
        layer(driver, 2, Some(1), second);
        let root = driver.get(&name(2), "").unwrap();
        let names: Vec<String> = tree(&root)
            .into_keys()
            .filter(|p| !p.starts_with("tmp"))
            .map(|p| p.display().to_string())
            .collect();
        let expected = [
            "bin",
            "d",
            "d/c",
            "etc",
            "etc/passwd",
            "loop",
            "no",
            "no/such",
            "null",
            "null/x",
            "pipe",
        ];
        assert_eq!(names, expected, "{}", driver.name());
        driver.put(&name(2)).unwrap();
        // What was hidden may come back above.
        layer(
            driver,
            3,
            Some(2),
            Tar::new().dir("bin", 0o755).file("bin/ping", "new").file("d/a", "new"),
        );
        let root = driver.get(&name(3), "").unwrap();
        assert_eq!(fs::read_dir(root.join("bin")).unwrap().count(), 1, "{}", driver.name());
        assert_eq!(fs::read_dir(root.join("d")).unwrap().count(), 2);
        driver.put(&name(3)).unwrap();
    });
}

#[test]
fn a_whiteout_beside_what_replaces_it_hides_only_the_older_in_any_order() {
    let files = |tar: Tar| tar.dir("d", 0o755).file("d/new", "new").file("f", "new");
    let whiteouts = |tar: Tar| tar.file(".wh.d", "").file(".wh.f", "");
    let orders: [Box<dyn Fn() -> Tar>; 4] = [
        Box::new(|| files(whiteouts(Tar::new()))),
        Box::new(|| whiteouts(files(Tar::new()))),
        Box::new(|| Tar::new().file(".wh.d", "").file("d/new", "new").file("f", "new")),
        Box::new(|| Tar::new().file("d/new", "new").file("d/.wh..wh..opq", "").file("f", "new")),
    ];
    for order in orders {
        each(|driver, _| {
            layer(
                driver,
                1,
                None,
                Tar::new().file("d/old", "old").file("d/e/f", "x").file("f", "old"),
            );
            layer(driver, 2, Some(1), order());
            let root = driver.get(&name(2), "").unwrap();
            let names: Vec<_> = tree(&root).into_keys().collect();
            let expected = ["d", "d/new", "f"].map(PathBuf::from);
            assert_eq!(names, expected, "{}", driver.name());
            assert_eq!(fs::read_to_string(root.join("f")).unwrap(), "new");
            driver.put(&name(2)).unwrap();
        });
    }
}

/// Changes of every sort in a mounted root.
fn change(root: &Path) {
    fs::write(root.join("d/a"), "changed").unwrap();
    fs::remove_file(root.join("d/b")).unwrap();
    fs::write(root.join("d/c"), "added").unwrap();
    fs::remove_dir_all(root.join("tmp")).unwrap();
    fs::create_dir(root.join("tmp")).unwrap();
    fs::write(root.join("tmp/only"), "only").unwrap();
    fs::remove_file(root.join("sh")).unwrap();
    fs::create_dir(root.join("sh")).unwrap();
    fs::set_permissions(root.join("bin/ping"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::hard_link(root.join("d/c"), root.join("d/c2")).unwrap();
    symlink("../elsewhere", root.join("etc/link")).unwrap();
    xattr::lset(&root.join("d"), OsStr::new("user.dir"), b"1").unwrap();
    fs::create_dir_all(root.join("x/y/z")).unwrap();
}

#[test]
fn changes_are_those_that_were_made() {
    each(|driver, _| {
        layer(driver, 1, None, rich());
        let root = container(driver, 2, 1);
        let (id, parent) = (name(2), name(1));
        assert_eq!(driver.changes(&id, Some(&parent)).unwrap(), vec![], "{}", driver.name());
        assert_eq!(driver.diff_size(&id, Some(&parent)).unwrap(), 0);
        change(&root);
        // Reading and copying up without a change is no change.
        fs::set_permissions(root.join("bin/su"), fs::Permissions::from_mode(0o4755)).unwrap();
        let long = "n".repeat(200);
        let expected = [
            "C /bin".to_string(),
            "C /bin/ping".into(),
            "C /d".into(),
            "C /d/a".into(),
            "D /d/b".into(),
            "A /d/c".into(),
            "A /d/c2".into(),
            "C /etc".into(),
            "A /etc/link".into(),
            "C /sh".into(),
            "C /tmp".into(),
            format!("D /tmp/{long}"),
            "A /tmp/only".into(),
            "A /x".into(),
            "A /x/y".into(),
            "A /x/y/z".into(),
        ];
        let found = changed(&driver.changes(&id, Some(&parent)).unwrap());
        assert_eq!(found, expected, "{}", driver.name());
        driver.put(&id).unwrap();
        assert_eq!(changed(&driver.changes(&id, Some(&parent)).unwrap()), expected);
    });
}

#[test]
fn a_diff_applied_again_makes_the_same_tree() {
    each(|driver, _| {
        layer(driver, 1, None, rich());
        let root = container(driver, 2, 1);
        change(&root);
        let before = tree(&root);
        let (id, parent) = (name(2), name(1));
        let mut tar = Vec::new();
        driver.diff(&id, Some(&parent), &mut tar).unwrap();
        let mut again = Vec::new();
        driver.diff(&id, Some(&parent), &mut again).unwrap();
        assert!(tar == again, "{}: not deterministic", driver.name());
        driver.put(&id).unwrap();
        // On the same driver and on every other one.
        for def in DRIVERS {
            let other = Scratch::new();
            let driver = other.open(def.name);
            layer(driver.as_ref(), 1, None, rich());
            driver.create(&name(3), Some(&parent)).unwrap();
            driver.apply_diff(&name(3), Some(&parent), &mut tar.as_slice()).unwrap();
            let after = tree(&driver.get(&name(3), "").unwrap());
            assert_eq!(after, before, "{}", def.name);
            driver.put(&name(3)).unwrap();
        }
        // The whole root as one stream.
        let mut whole = Vec::new();
        driver.diff(&id, None, &mut whole).unwrap();
        let mut reader = Reader::new(whole.as_slice());
        let mut names = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            let name = String::from_utf8(entry.name).unwrap();
            names.push(PathBuf::from(name.trim_end_matches('/')));
        }
        names.sort();
        assert_eq!(names, before.into_keys().collect::<Vec<_>>(), "{}", driver.name());
    });
}

#[test]
fn chains_as_long_as_dockers_are_mounted() {
    each(|driver, _| {
        // Copies of copies take long; 120 layers matter where layers are stacked.
        let count = if driver.name() == "vfs" { 20 } else { 127 };
        layer(driver, 0, None, Tar::new().file("all", "0"));
        for i in 1..count {
            let content = i.to_string();
            layer(
                driver,
                i,
                Some(i - 1),
                Tar::new().file("all", &content).file(&format!("f{i}"), "x"),
            );
        }
        let root = container(driver, count, count - 1);
        assert_eq!(fs::read_to_string(root.join("all")).unwrap(), (count - 1).to_string());
        assert_eq!(fs::read_dir(&root).unwrap().count(), count);
        fs::write(root.join("f1"), "written").unwrap();
        driver.put(&name(count)).unwrap();
        let root = container(driver, count + 1, count);
        assert_eq!(fs::read_to_string(root.join("f1")).unwrap(), "written");
        driver.put(&name(count + 1)).unwrap();
        if driver.name() == "overlay2" {
            let e = driver.create(&name(count + 2), Some(&name(count + 1))).unwrap_err();
            assert!(e.to_string().contains("max depth exceeded"), "{e}");
            assert!(!driver.exists(&name(count + 2)));
        }
    });
}

#[test]
fn mounts_are_counted_and_taken_over() {
    each(|driver, root| {
        layer(driver, 1, None, Tar::new().file("f", "x"));
        let path = container(driver, 2, 1);
        assert_eq!(driver.get(&name(2), "").unwrap(), path);
        driver.put(&name(2)).unwrap();
        assert!(path.join("f").exists());
        // The daemon dies; the mount stays; the next daemon uses it and ends it.
        let mounts =
            || mount::table().unwrap().iter().filter(|m| m.target.starts_with(&root.0)).count();
        let before = mounts();
        let next = root.open(driver.name());
        assert_eq!(next.get(&name(2), "").unwrap(), path);
        assert_eq!(mounts(), before);
        next.put(&name(2)).unwrap();
        assert_eq!(mounts(), 0);
        // Or ends it without ever using it.
        next.get(&name(2), "").unwrap();
        let last = root.open(driver.name());
        last.put(&name(2)).unwrap();
        assert_eq!(mounts(), 0);
    });
}

#[test]
fn a_layer_is_removed_while_it_is_mounted_and_open() {
    each(|driver, root| {
        layer(driver, 1, None, Tar::new().file("f", "x"));
        let path = container(driver, 2, 1);
        let open = fs::File::open(path.join("f")).unwrap();
        driver.remove(&name(2)).unwrap();
        assert!(!driver.exists(&name(2)) && !path.exists());
        driver.remove(&name(2)).unwrap();
        drop(open);
        driver.remove(&name(1)).unwrap();
        driver.cleanup().unwrap();
        let home = root.0.join(driver.name());
        let (layers, links) = match driver.name() {
            "vfs" => (home.join("dir"), None),
            _ => (home.clone(), Some(home.join("l"))),
        };
        let known = ["l", ".trash"];
        let left = fs::read_dir(layers).unwrap().flatten();
        assert_eq!(left.filter(|e| !known.contains(&e.file_name().to_str().unwrap())).count(), 0);
        assert!(links.is_none_or(|l| fs::read_dir(l).unwrap().count() == 0));
        assert_eq!(fs::read_dir(home.join(".trash")).unwrap().count(), 0);
    });
}

#[test]
fn what_cannot_be_done_says_why_and_leaves_nothing() {
    each(|driver, _| {
        use crate::base::Kind;
        layer(driver, 1, None, Tar::new().file("f", "x"));
        let e = driver.create(&name(1), None).unwrap_err();
        assert_eq!(e.kind(), Kind::Conflict, "{e}");
        assert!(driver.exists(&name(1)));
        let e = driver.create(&name(2), Some(&name(9))).unwrap_err();
        assert_eq!(e.kind(), Kind::NotFound, "{e}");
        assert!(!driver.exists(&name(2)));
        assert_eq!(driver.get(&name(9), "").unwrap_err().kind(), Kind::NotFound);
        for id in ["", "..", "l", "a/b", "../x", ".trash"] {
            assert_eq!(driver.create(id, None).unwrap_err().kind(), Kind::InvalidParameter, "{id}");
            assert!(driver.remove(id).is_err() && !driver.exists(id), "{id}");
        }
        for (key, value) in [("size", "1G"), ("nosuch", "1")] {
            let options = BTreeMap::from([(key.to_string(), value.to_string())]);
            let e = driver.create_read_write(&name(3), Some(&name(1)), &options).unwrap_err();
            assert_eq!(e.kind(), Kind::InvalidParameter, "{e}");
            assert!(!driver.exists(&name(3)));
        }
    });
}

#[test]
fn overlay2_on_an_overlay_is_refused_and_vfs_taken_instead() {
    let root = Scratch::new();
    let driver = root.open("overlay2");
    layer(driver.as_ref(), 1, None, Tar::new().file("f", "x"));
    let below = container(driver.as_ref(), 2, 1);
    let data = below.join("data");
    fs::create_dir(&data).unwrap();
    let e = super::open("overlay2", &data, &[]).err().unwrap();
    assert!(e.to_string().contains("'overlay2' is not supported over overlayfs"), "{e}");
    assert_eq!(super::open("", &data, &[]).unwrap().name(), "vfs");
    driver.put(&name(2)).unwrap();
}

#[test]
fn a_root_with_awkward_letters_in_its_path_works() {
    let scratch = Scratch::new();
    let root = scratch.0.join("a:b,c\\d \"e");
    fs::create_dir(&root).unwrap();
    let driver = super::open("overlay2", &root, &[]).unwrap();
    layer(driver.as_ref(), 1, None, Tar::new().file("f", "x"));
    let path = container(driver.as_ref(), 2, 1);
    assert_eq!(fs::read_to_string(path.join("f")).unwrap(), "x");
    driver.put(&name(2)).unwrap();
    driver.cleanup().unwrap();
}
