//! Tests of what is left when things go wrong: kills at every step, full disks.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use super::{Root, image, layer, tar};
use crate::base::digest::Hasher;
use crate::base::{Error, Kind};
use crate::image::Store;
use crate::image::layers::Parent;
use crate::registry::reference::Reference;
use crate::storage::fault::KILL_AT;
use crate::sys::mount::{self, MsFlags};

const ROOT: &str = "MULTI_TEST_ROOT";
const DRIVER: &str = "MULTI_TEST_DRIVER";
const LIMIT: u64 = 500;

/// Everything that changes the store, once.
fn work(store: &Store) {
    let base = layer(store, None, &[("a", "one"), ("etc/hosts", "x")]);
    let top = layer(store, Some(&base), &[(".wh.a", ""), ("b", "two")]);
    let id = image(store, &[&base, &top]);
    store.refs().set(&Reference::parse("x").unwrap(), &id).unwrap();
    let chain = top.chain_id;
    drop((base, top));
    let layers = store.layers();
    for container in ["c1", "c2"] {
        layers.create_rw(container, Some(&chain), &BTreeMap::new()).unwrap();
        let root = layers.mount_rw(container, "").unwrap();
        fs::write(root.join("new"), "x").unwrap();
    }
    layers.unmount_rw("c1").unwrap();
    layers.remove_rw("c1").unwrap();
    layers.remove_rw("c2").unwrap();
    store.refs().remove(&Reference::parse("x").unwrap()).unwrap();
    store.delete(&id).unwrap();
    layers.driver().cleanup().unwrap();
}

/// Everything that is there is whole; what nobody needs can be removed, and then nothing is left.
fn check(root: &Root, driver: &str) {
    let store = root.store(driver);
    let layers = store.layers();
    let names = |dir: &Path| -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name());
        names.map(|n| n.into_string().unwrap()).collect()
    };
    assert_eq!(names(&store.dir().join("layerdb/tmp")), [""; 0]);
    for chain in layers.list().unwrap() {
        let layer = layers.get(&chain).unwrap().unwrap();
        let mut hasher = Hasher::new();
        layers.write_tar(&layer, &mut hasher).unwrap();
        assert_eq!(hasher.finish(), layer.diff_id);
        assert!(layer.parent.is_none_or(|p| layers.exists(&p)));
    }
    for (_, id) in store.refs().list().unwrap() {
        assert!(store.images().exists(&id));
    }
    for container in layers.rw_list().unwrap() {
        layers.remove_rw(&container).unwrap();
    }
    for id in store.images().list().unwrap() {
        let image = store.images().get(&id).unwrap();
        assert!(store.top_layer(&image).unwrap().is_some());
        store.delete(&id).unwrap();
    }
    store.collect().unwrap();
    layers.driver().cleanup().unwrap();
    let home = root.0.join(driver);
    let (dir, known) = match driver {
        "vfs" => (home.join("dir"), vec![]),
        _ => (home.clone(), vec![".trash", "l"]),
    };
    let mut left = names(&dir);
    left.sort();
    assert_eq!(left, known);
    if driver == "overlay2" {
        assert_eq!(names(&home.join("l")), [""; 0]);
    }
    assert_eq!(names(&home.join(".trash")), [""; 0]);
    assert!(!mount::table().unwrap().iter().any(|m| m.target.starts_with(&root.0)));
}

#[test]
fn a_kill_at_any_step_leaves_nothing_half_done() {
    if let (Ok(root), Ok(driver)) = (std::env::var(ROOT), std::env::var(DRIVER)) {
        // This is the process that is killed.
        let root = Path::new(&root);
        let driver = crate::storage::open(&driver, root, &[]).unwrap();
        work(&Store::open(root, driver).unwrap());
        return;
    }
    for driver in ["overlay2", "vfs"] {
        for at in 1..LIMIT {
            let root = Root::new();
            let output = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "image::tests::faults::a_kill_at_any_step_leaves_nothing_half_done",
                ])
                .env(ROOT, &root.0)
                .env(DRIVER, driver)
                .env(KILL_AT, at.to_string())
                .output()
                .unwrap();
            let killed = output.status.signal() == Some(libc::SIGKILL);
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(killed || output.status.success(), "{driver} {at}: {text}");
            check(&root, driver);
            if !killed {
                assert!(at > 20, "{driver}: only {at} steps were reached");
                break;
            }
            assert!(at < LIMIT - 1, "the work does not end");
        }
    }
}

/// A data root on a small filesystem of its own.
fn small() -> Root {
    let root = Root::new();
    let size = std::ffi::OsStr::new("size=4m,mode=755");
    mount::mount(None, &root.0, Some("tmpfs"), MsFlags::empty(), Some(size)).unwrap();
    root
}

fn is_full(e: &Error) -> bool {
    e.errno() == Some(libc::ENOSPC) && e.to_string().contains("no space left on device")
}

#[test]
fn a_full_disk_stops_what_is_new_and_nothing_else() {
    for driver in ["overlay2", "vfs"] {
        let root = small();
        let store = root.store(driver);
        let layers = store.layers();
        let base = layer(&store, None, &[("a", "one")]);
        let id = image(&store, &[&base]);
        layers.create_rw("old", Some(&base.chain_id), &BTreeMap::new()).unwrap();

        // A layer that does not fit leaves all the room it took.
        let big = "x".repeat(5 << 20);
        let big = tar(&[("big", &big)]);
        for _ in 0..3 {
            let e = layers.unpack(&mut big.as_slice(), Parent::On(&base)).err().unwrap();
            assert!(is_full(&e), "{driver}: {e:?}");
        }
        layers.driver().cleanup().unwrap();
        let small = layer(&store, Some(&base), &[("b", &"x".repeat(1 << 20))]);
        assert_eq!(small.size, 1 << 20);

        // Not a byte is left.
        let fill = root.0.join("fill");
        let e = fs::write(&fill, vec![1; 8 << 20]).unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::ENOSPC));
        let e = layers.create_rw("new", Some(&small.chain_id), &BTreeMap::new()).unwrap_err();
        assert!(is_full(&e), "{driver}: {e:?}");
        assert!(layers.rw("new").unwrap().is_none());
        let e = store.refs().set(&Reference::parse("x").unwrap(), &id).unwrap_err();
        assert!(is_full(&e), "{e:?}");
        assert_eq!(store.refs().list().unwrap(), []);
        // What is there still works, and can be removed.
        let path = layers.mount_rw("old", "").unwrap();
        assert_eq!(fs::read_to_string(path.join("a")).unwrap(), "one");
        layers.unmount_rw("old").unwrap();
        layers.remove_rw("old").unwrap();
        drop((base, small));
        store.delete(&id).unwrap();
        store.collect().unwrap();
        assert_eq!(layers.list().unwrap(), []);
        layers.driver().cleanup().unwrap();
        fs::remove_file(&fill).unwrap();
        drop(store);
        let store = root.store(driver);
        assert_eq!(store.resolve("x").unwrap_err().kind(), Kind::NotFound);
        layer(&store, None, &[("a", "again")]);
    }
}
