//! The life of volumes, and what is left of it after a kill at any step.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::storage::fault::KILL_AT;

pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Scratch {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let serial = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("multi-volume-{name}-{}-{serial}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn map(pairs: &[(&str, &str)]) -> TextMap {
    pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
}

fn create(store: &Store, name: &str, options: &TextMap) -> Result<Created> {
    let labels = map(&[("l", "v")]);
    let durable = Durable::No;
    store.create(&Create { name, driver: "", options, labels: &labels, durable }, None)
}

fn plain(store: &Store, name: &str) -> Result<Created> {
    create(store, name, &TextMap::new())
}

#[test]
fn a_volume_keeps_its_data_until_it_is_removed() {
    let scratch = Scratch::new("life");
    let store = Store::open(&scratch.0).unwrap();
    let made = plain(&store, "data").unwrap();
    assert!(made.is_new);
    fs::write(made.path.join("f"), "content").unwrap();
    assert_eq!(plain(&store, "data").unwrap(), Created { is_new: false, ..made.clone() });
    assert!(made.path.join("f").exists());
    let volume = store.get("data").unwrap();
    assert_eq!(volume.labels, map(&[("l", "v")]));
    assert_eq!(store.size(&volume).unwrap(), 7);
    assert_eq!(store.list().unwrap(), [volume]);
    store.remove("data").unwrap();
    assert!(!made.path.exists());
    let e = store.remove("data").unwrap_err();
    assert_eq!((e.kind(), e.message()), (Kind::NotFound, "get data: no such volume"));
}

#[test]
fn a_volume_without_a_name_is_marked_as_such() {
    let scratch = Scratch::new("anonymous");
    let store = Store::open(&scratch.0).unwrap();
    let name = plain(&store, "").unwrap().name;
    assert_eq!(name.len(), 64);
    assert_eq!(store.get(&name).unwrap().labels, map(&[("l", "v"), (ANONYMOUS_LABEL, "")]));
}

#[test]
fn names_and_drivers_that_cannot_be_are_refused() {
    let scratch = Scratch::new("names");
    let store = Store::open(&scratch.0).unwrap();
    for bad in ["..", "a/b", "a", ".hidden", "a\0b", "-a"] {
        let e = plain(&store, bad).unwrap_err();
        assert_eq!(e.kind(), Kind::InvalidParameter, "{bad:?}");
        assert_eq!(store.get(bad).unwrap_err().kind(), Kind::NotFound);
        assert_eq!(store.remove(bad).unwrap_err().kind(), Kind::NotFound);
    }
    let none = TextMap::new();
    let (options, labels, durable) = (&none, &none, Durable::No);
    let asked = Create { name: "data", driver: "flocker", options, labels, durable };
    let e = store.create(&asked, None).unwrap_err();
    assert_eq!(
        e.to_string(),
        "create data: error looking up volume plugin flocker: plugin \"flocker\" not found"
    );
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn what_is_referred_to_is_not_removed() {
    let scratch = Scratch::new("held");
    let store = Store::open(&scratch.0).unwrap();
    plain(&store, "data").unwrap();
    store.hold("data", "c2");
    store.hold("data", "c1");
    let e = store.remove("data").unwrap_err();
    assert_eq!(e.kind(), Kind::Conflict);
    assert_eq!(e.message(), "remove data: volume is in use - [c1, c2]");
    store.release("data", "c1");
    store.release("data", "c2");
    store.remove("data").unwrap();
}

#[test]
fn a_volume_with_options_is_mounted_while_it_is_used() {
    let scratch = Scratch::new("mounted");
    let store = Store::open(&scratch.0).unwrap();
    let options = map(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=7,noexec")]);
    let path = create(&store, "fast", &options).unwrap().path;
    assert_eq!(store.get("fast").unwrap().options, options);
    let mounted = || mount::is_mount_point(&path).unwrap();
    assert_eq!(store.use_mounted("fast", "c1").unwrap(), path);
    store.use_mounted("fast", "c2").unwrap();
    assert!(mounted());
    assert_eq!(fs::metadata(&path).unwrap().uid(), 7);
    store.unuse("fast", "c1").unwrap();
    assert!(mounted());

    // Another process takes over: who still uses it is told, the others are gone.
    let store = Store::open(&scratch.0).unwrap();
    store.adopt_user("fast", "c2");
    store.sweep();
    assert!(mounted());
    store.unuse("fast", "c2").unwrap();
    assert!(!mounted());
    store.use_mounted("fast", "c3").unwrap();
    Store::open(&scratch.0).unwrap().sweep();
    assert!(!mounted());
    store.remove("fast").unwrap();
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn a_volume_that_cannot_be_mounted_says_why() {
    let scratch = Scratch::new("unmountable");
    let store = Store::open(&scratch.0).unwrap();
    let options = map(&[("type", "nosuchfs"), ("device", "x"), ("o", "ro,password=secret")]);
    let path = create(&store, "bad", &options).unwrap().path;
    let e = store.use_mounted("bad", "c").unwrap_err();
    assert_eq!(
        e.to_string(),
        format!(
            "failed to mount local volume: mount x:{}, flags: 0x1, data: password=********: no such device",
            path.display()
        )
    );
    // Nobody uses it, so it can go.
    store.remove("bad").unwrap();

    plain(&store, "damaged").unwrap();
    fs::write(scratch.0.join("volumes/damaged/opts.json"), "{").unwrap();
    let e = store.use_mounted("damaged", "c").unwrap_err();
    assert!(e.to_string().contains("opts.json: unexpected end of JSON input"), "{e}");
    assert_eq!(store.list().unwrap().len(), 1);
    store.remove("damaged").unwrap();
}

#[test]
fn a_directory_taken_away_by_hand_comes_back_empty() {
    let scratch = Scratch::new("by-hand");
    let store = Store::open(&scratch.0).unwrap();
    let path = plain(&store, "data").unwrap().path;
    fs::remove_dir(&path).unwrap();
    assert!(store.use_mounted("data", "c").unwrap().is_dir());
    store.unuse("data", "c").unwrap();
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let e = store.use_mounted("data", "c").unwrap_err();
    assert_eq!(e.message(), "get data: no such volume");
}

#[test]
fn a_mount_of_somebody_else_is_not_emptied() {
    let scratch = Scratch::new("foreign");
    let store = Store::open(&scratch.0).unwrap();
    let path = plain(&store, "data").unwrap().path;
    mount::mount(None, &path, Some("tmpfs"), mount::MsFlags::empty(), None).unwrap();
    fs::write(path.join("f"), "").unwrap();
    let e = store.remove("data").unwrap_err();
    let is_there = path.join("f").exists();
    mount::unmount(&path, mount::MntFlags::empty()).unwrap();
    assert!(is_there);
    assert_eq!(e.errno(), Some(libc::EBUSY));
    store.remove("data").unwrap();
}

const ROOT: &str = "MULTI_TEST_ROOT";

#[test]
fn a_kill_at_any_step_leaves_a_whole_volume_or_none() {
    let options = map(&[("type", "tmpfs"), ("device", "tmpfs")]);
    if let Ok(root) = std::env::var(ROOT) {
        // This is the process that is killed.
        let store = Store::open(Path::new(&root)).unwrap();
        let made = create(&store, "data", &options).unwrap();
        fault::step();
        store.use_mounted("data", "c").unwrap();
        fault::step();
        fs::write(made.path.join("f"), "x").unwrap();
        store.unuse("data", "c").unwrap();
        fault::step();
        store.remove("data").unwrap();
        return;
    }
    for at in 1..100 {
        let scratch = Scratch::new("kill");
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "volume::tests::a_kill_at_any_step_leaves_a_whole_volume_or_none"])
            .env(ROOT, &scratch.0)
            .env(KILL_AT, at.to_string())
            .output()
            .unwrap();
        let killed = output.status.signal() == Some(libc::SIGKILL);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(killed || output.status.success(), "{at}: {text}");
        let store = Store::open(&scratch.0).unwrap();
        store.sweep();
        for volume in store.list().unwrap() {
            assert_eq!((volume.labels, volume.options), (map(&[("l", "v")]), options.clone()));
            assert!(!mount::is_mount_point(&volume.path).unwrap());
            store.remove(&volume.name).unwrap();
        }
        let left = fs::read_dir(scratch.0.join("volumes")).unwrap();
        assert_eq!(left.map(|e| e.unwrap().file_name()).collect::<Vec<_>>(), [""; 0]);
        if !killed {
            assert!(at > 8, "only {at} steps were reached");
            return;
        }
    }
    panic!("the work does not end");
}
