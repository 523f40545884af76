//! Tests of the whole store, on both drivers, on a real kernel.

mod faults;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Store;
use super::config::chain_ids;
use super::layers::{Layer, Parent};
use crate::base::Kind;
use crate::base::digest::Digest;
use crate::registry::reference::Reference;
use crate::storage::archive::write::{Meta, Writer};
use crate::storage::{self, ChangeKind, Driver};
use crate::sys::mount::{self, MntFlags};
use crate::sys::random;

/// A data root that is unmounted and removed in the end.
struct Root(PathBuf);

impl Root {
    fn new() -> Root {
        let dir = std::env::temp_dir().join(format!("image-{:016x}", random::u64()));
        fs::create_dir(&dir).unwrap();
        Root(dir)
    }

    fn driver(&self, name: &str) -> Arc<dyn Driver> {
        storage::open(name, &self.0, &[]).unwrap()
    }

    fn store(&self, name: &str) -> Store {
        Store::open(&self.0, self.driver(name)).unwrap()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        for info in mount::table().unwrap() {
            if info.target.starts_with(&self.0) {
                let _ = mount::unmount(&info.target, MntFlags::MNT_DETACH);
            }
        }
        let _ = storage::remove::path(&self.0);
    }
}

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (name, content) in files {
        let meta = Meta::file(name.as_bytes(), content.len() as u64);
        writer.entry(&meta, &mut content.as_bytes()).unwrap();
    }
    let mut bytes = writer.finish().unwrap();
    // Writers pad to whole records; the padding belongs to the digest.
    bytes.resize(bytes.len().next_multiple_of(10240), 0);
    bytes
}

fn layer(store: &Store, parent: Option<&Layer>, files: &[(&str, &str)]) -> Layer {
    let on = parent.map_or(Parent::Bottom, Parent::On);
    let bytes = tar(files);
    let staged = store.layers().unpack(&mut bytes.as_slice(), on).unwrap();
    assert_eq!(staged.diff_id(), Digest::of(&bytes));
    staged.commit(parent).unwrap()
}

fn image(store: &Store, layers: &[&Layer]) -> Digest {
    let diff_ids: Vec<String> = layers.iter().map(|l| format!("\"{}\"", l.diff_id)).collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    store.create(config.as_bytes()).unwrap()
}

const DRIVERS: [&str; 2] = ["overlay2", "vfs"];

#[test]
fn a_layer_gives_its_stream_back_byte_for_byte() {
    for driver in DRIVERS {
        let root = Root::new();
        let store = root.store(driver);
        let bytes = tar(&[("a", "one"), ("dir/b", &"x".repeat(100_000))]);
        let base = layer(&store, None, &[("a", "one"), ("dir/b", &"x".repeat(100_000))]);
        let top = layer(&store, Some(&base), &[("a", "two")]);
        assert_eq!(base.size, 100_003);
        let mut again = Vec::new();
        store.layers().write_tar(&base, &mut again).unwrap();
        assert!(again == bytes, "{driver}");
        assert_eq!(top.chain_id, chain_ids(&[base.diff_id, top.diff_id])[1]);
        assert_eq!(store.layers().chain_size(&top.chain_id).unwrap(), 100_006);
    }
}

#[test]
fn containers_are_made_and_removed() {
    for driver in DRIVERS {
        let root = Root::new();
        let store = root.store(driver);
        let base = layer(&store, None, &[("etc/hosts", "image"), ("bin/sh", "shell")]);
        let id = image(&store, &[&base]);
        let chain = base.chain_id;
        drop(base);
        let layers = store.layers();
        // The second container of an image takes another way than the first.
        for name in ["c1", "c2"] {
            let rw = layers.create_rw(name, Some(&chain), &BTreeMap::new()).unwrap();
            assert_eq!(layers.rw(name).unwrap(), Some(rw));
            let path = layers.mount_rw(name, "").unwrap();
            assert_eq!(fs::read_to_string(path.join("bin/sh")).unwrap(), "shell");
            assert_eq!(fs::read_to_string(path.join("etc/hosts")).unwrap(), "");
            assert_eq!(fs::read_link(path.join("etc/mtab")).unwrap(), Path::new("/proc/mounts"));
            assert!(path.join("dev/shm").is_dir() && path.join(".dockerenv").is_file());
            assert!(layers.rw_changes(name).unwrap().is_empty(), "{driver}");
            fs::write(path.join("etc/new"), "12345").unwrap();
            fs::remove_file(path.join("bin/sh")).unwrap();
            let changes: Vec<_> = layers
                .rw_changes(name)
                .unwrap()
                .into_iter()
                .map(|c| (c.path.to_str().unwrap().to_string(), c.kind))
                .collect();
            let expected = [
                ("/bin", ChangeKind::Modify),
                ("/bin/sh", ChangeKind::Delete),
                ("/etc", ChangeKind::Modify),
                ("/etc/new", ChangeKind::Add),
            ];
            assert_eq!(changes, expected.map(|(p, k)| (p.to_string(), k)), "{driver}");
            assert_eq!(layers.rw_size(name).unwrap(), 5, "{driver}");
            let e = layers.create_rw(name, Some(&chain), &BTreeMap::new()).unwrap_err();
            assert_eq!(e.kind(), Kind::Conflict, "{e}");
            layers.unmount_rw(name).unwrap();
        }
        // The image's layers stay while a container needs them.
        assert!(store.delete(&id).unwrap().is_empty());
        for name in ["c1", "c2"] {
            layers.remove_rw(name).unwrap();
            layers.remove_rw(name).unwrap();
        }
        assert_eq!(store.collect().unwrap(), vec![chain]);
        layers.driver().cleanup().unwrap();
        assert!(layers.rw_list().unwrap().is_empty());
    }
}

#[test]
fn names_and_ids_find_images() {
    let root = Root::new();
    let store = root.store("vfs");
    let base = layer(&store, None, &[("a", "one")]);
    let id = image(&store, &[&base]);
    let name = Reference::parse("user/app:1").unwrap();
    store.refs().set(&name, &id).unwrap();
    for way in ["user/app:1", &id.to_string(), &id.hex(), &id.hex()[..12], &id.to_string()[..15]] {
        assert_eq!(store.resolve(way).unwrap(), id, "{way}");
    }
    for (way, says) in [
        ("nosuch", "No such image: nosuch:latest"),
        ("user/app", "No such image: user/app:latest"),
        ("ffffffffffff", "No such image: ffffffffffff:latest"),
    ] {
        let e = store.resolve(way).unwrap_err();
        assert_eq!((e.kind(), e.message()), (Kind::NotFound, says));
    }
    assert_eq!(store.resolve("UPPER").unwrap_err().kind(), Kind::InvalidParameter);
}

#[test]
fn layers_go_with_the_last_image_that_names_them() {
    for driver in DRIVERS {
        let root = Root::new();
        let store = root.store(driver);
        let base = layer(&store, None, &[("a", "one")]);
        let one = layer(&store, Some(&base), &[("b", "one")]);
        let two = layer(&store, Some(&base), &[("c", "two")]);
        let (first, second) = (image(&store, &[&base, &one]), image(&store, &[&base, &two]));
        let chains = [base.chain_id, one.chain_id, two.chain_id];
        // Somebody still works with the layer.
        assert!(store.delete(&first).unwrap().is_empty());
        drop((base, one, two));
        assert_eq!(store.collect().unwrap(), vec![chains[1]]);
        assert_eq!(store.delete(&second).unwrap(), vec![chains[2], chains[0]]);
        assert_eq!(store.delete(&second).unwrap_err().kind(), Kind::NotFound);
        assert!(store.layers().list().unwrap().is_empty());
    }
}

#[test]
fn a_layer_that_cannot_be_unpacked_leaves_nothing() {
    for driver in DRIVERS {
        let root = Root::new();
        let store = root.store(driver);
        let whole = tar(&[("a", &"x".repeat(10_000))]);
        for cut in [1, 511, 512, 513, 5000] {
            let mut cut = &whole[..cut];
            let e = store.layers().unpack(&mut cut, Parent::Bottom).err().unwrap();
            assert_eq!(e.kind(), Kind::InvalidParameter, "{e}");
        }
        let mut junk = whole.clone();
        junk[0] ^= 1;
        let e = store.layers().unpack(&mut junk.as_slice(), Parent::Bottom).err().unwrap();
        assert!(e.to_string().contains("checksum"), "{e}");
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("connection reset"))
            }
        }
        let e = store.layers().unpack(&mut Fails, Parent::Bottom).err().unwrap();
        assert!(e.to_string().contains("connection reset"), "{e}");
        let layerdb = store.dir().join("layerdb");
        for name in ["sha256", "tmp"] {
            assert_eq!(fs::read_dir(layerdb.join(name)).unwrap().count(), 0, "{driver}");
        }
    }
}

#[test]
fn independent_layers_are_linked_when_they_are_committed() {
    let root = Root::new();
    let store = root.store("overlay2");
    assert!(store.layers().independent());
    let unpack = |files: &[(&str, &str)]| {
        store.layers().unpack(&mut tar(files).as_slice(), Parent::Later).unwrap()
    };
    let (top, base) = (unpack(&[("b", "top")]), unpack(&[("a", "base")]));
    let base = base.commit(None).unwrap();
    let top = top.commit(Some(&base)).unwrap();
    let id = store.layers().driver().clone();
    let path = id.get(&top.cache_id, "").unwrap();
    assert_eq!(fs::read_to_string(path.join("a")).unwrap(), "base");
    assert_eq!(fs::read_to_string(path.join("b")).unwrap(), "top");
    id.put(&top.cache_id).unwrap();
    // The same layer once more is the one that is there.
    let again = unpack(&[("b", "top")]).commit(Some(&base)).unwrap();
    assert_eq!(again.cache_id, top.cache_id);
}

fn saved(store: &Store, names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
    let mut out = Vec::new();
    super::save(store, &names, &mut out).unwrap();
    out
}

#[test]
fn what_is_saved_loads_again_and_is_the_same() {
    for (from, to) in [("overlay2", "vfs"), ("vfs", "overlay2")] {
        let root = Root::new();
        let store = root.store(from);
        let base = layer(&store, None, &[("a", "one"), ("link/b", "two")]);
        let top = layer(&store, Some(&base), &[(".wh.a", ""), ("c", "three")]);
        let id = image(&store, &[&base, &top]);
        let other = image(&store, &[&base]);
        for name in ["user/app:1", "user/app:2", "localhost:5000/x"] {
            store.refs().set(&Reference::parse(name).unwrap(), &id).unwrap();
        }
        let archive = saved(&store, &["user/app", "localhost:5000/x", &other.hex()]);
        assert!(archive == saved(&store, &["user/app", "localhost:5000/x", &other.hex()]));

        let root = Root::new();
        let store = root.store(to);
        let zipped = zstd::encode_all(archive.as_slice(), 1).unwrap();
        let progress = crate::base::progress::Silent;
        let loaded = super::load(&store, &mut zipped.as_slice(), None, &progress).unwrap();
        let lines: Vec<String> = loaded.iter().flat_map(|l| l.lines()).collect();
        assert_eq!(
            lines,
            [
                "Loaded image: user/app:1".to_string(),
                "Loaded image: user/app:2".into(),
                "Loaded image: localhost:5000/x:latest".into(),
                format!("Loaded image ID: {other}"),
            ]
        );
        assert_eq!(store.resolve("user/app:1").unwrap(), id);
        assert!(saved(&store, &["user/app", "localhost:5000/x", &other.hex()]) == archive);
        assert_eq!(fs::read_dir(store.dir().join("layerdb/tmp")).unwrap().count(), 0);
    }
}

#[test]
fn archives_that_lie_are_refused_and_leave_nothing() {
    let root = Root::new();
    let store = root.store("vfs");
    let base = layer(&store, None, &[("a", "one")]);
    let id = image(&store, &[&base]);
    let config = store.images().raw(&id).unwrap();
    let config = String::from_utf8(config).unwrap();
    store.delete(&id).unwrap();
    drop(base);
    store.collect().unwrap();
    let wrong = String::from_utf8(tar(&[("a", "two")])).unwrap();
    let cases: [(&[(&str, &str)], &str); 7] = [
        (&[], "does not contain a manifest.json"),
        (&[("manifest.json", "null")], "manifest cannot be null"),
        (&[("manifest.json", "{")], "failed to decode manifest.json"),
        (&[("manifest.json", r#"[{"Config":"../../etc/passwd"}]"#)], "no such file"),
        (&[("c", &config), ("manifest.json", r#"[{"Config":"c"}]"#)], "layers length mismatch"),
        (
            &[
                ("c", &config),
                ("l", &wrong),
                ("manifest.json", r#"[{"Config":"c","Layers":["l"]}]"#),
            ],
            "invalid diffID for layer 0",
        ),
        (
            &[("c", &config), ("manifest.json", r#"[{"Config":"c","Layers":["../../dev/zero"]}]"#)],
            "no such file",
        ),
    ];
    for (files, says) in cases {
        let progress = crate::base::progress::Silent;
        let e = super::load(&store, &mut tar(files).as_slice(), None, &progress).unwrap_err();
        assert!(e.to_string().contains(says), "{e}");
    }
    assert!(store.images().list().unwrap().is_empty());
    assert!(store.layers().list().unwrap().is_empty());
    assert_eq!(fs::read_dir(store.dir().join("layerdb/tmp")).unwrap().count(), 0);
}
