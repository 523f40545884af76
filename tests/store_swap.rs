//! A data root goes from Docker's daemon to our store and back, and everything in it works on both sides.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use multi_core::base::digest::{Digest, Hasher};
use multi_core::base::progress::Silent;
use multi_core::image::layers::Parent;
use multi_core::image::{self, Store};
use multi_core::registry::reference::Reference;
use multi_core::storage::{self, ChangeKind};
use support::{Scratch, run};

/// Runs a daemon of Docker on `$ROOT` in namespaces of its own while `$WORK` runs as a script.
const DAEMON: &str = r#"
mount -t tmpfs tmpfs /run
mkdir -p "$DIR/exec"
dockerd --data-root "$ROOT" --exec-root "$DIR/exec" -H "unix://$DIR/sock" --pidfile "$DIR/pid" \
    --iptables=false --bridge=none -s "$DRIVER" >>"$DIR/log" 2>&1 &
daemon=$!
export DOCKER_HOST="unix://$DIR/sock" DOCKER_BUILDKIT=0
until docker version >/dev/null 2>&1; do
    kill -0 $daemon || { tail "$DIR/log" >&2; exit 1; }
    read -rt 0.1 <> <(:) || :
done
cd "$DIR"
bash -ec "$WORK"
kill $daemon
wait $daemon || :
"#;

const MAKE: &str = r#"
mkdir -p fs/bin fs/etc fs/dir ctx
cp "$(command -v busybox)" fs/bin/
for a in sh rm mkdir touch chmod cat; do ln -s busybox fs/bin/$a; done
echo motd >fs/etc/motd; ln fs/etc/motd fs/etc/motd2; echo old >fs/etc/passwd; touch fs/dir/a fs/dir/b
tar -C fs -c . | docker import - base:1 >/dev/null
long=$(printf 'a%.0s' $(seq 150))
cat >ctx/Dockerfile <<X
FROM base:1
RUN rm /etc/motd && rm -r /dir && mkdir /dir && touch /dir/d && chmod 4755 /bin/busybox
RUN mkdir -p /very/long/$long/x && echo hi > "/very/ünïcode"
CMD ["cat", "/etc/motd2"]
X
docker build -q --network none -t app:1 ctx >/dev/null
docker tag app:1 localhost:5000/app:2
docker create --name c1 --network none app:1 sh -c 'cat /etc/passwd; echo changed >/etc/passwd; rm -f /dir/d' >c1
docker start -a c1
docker diff c1 >diff
docker images -q --no-trunc app:1 >id
docker save -o save.tar app:1 base:1
"#;

const BACK: &str = r#"
test "$(docker images -q --no-trunc app:1)" = "$(cat id)"
test "$(docker start -a c1)" = changed
test "$(docker run --rm --network none app:1)" = motd
test "$(docker run --rm --network none ours:1 cat /etc/new)" = new
docker rmi ours:1 >/dev/null
docker load -qi ours.tar
test "$(docker run --rm --network none ours:1 cat /etc/new)" = new
docker rm c1 >/dev/null
docker rmi ours:1 app:1 localhost:5000/app:2 base:1 >/dev/null
test -z "$(docker images -q)"
test "$(ls -A "$ROOT/image/$DRIVER/layerdb/sha256")" = ""
"#;

fn dockerd(dir: &Scratch, driver: &str, work: &str) {
    run(Command::new("unshare")
        .args(["-mnpf", "--mount-proc", "--propagation", "private", "bash", "-ec", DAEMON])
        .env("DIR", dir.path())
        .env("ROOT", dir.join("root"))
        .env("DRIVER", driver)
        .env("WORK", work)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"));
}

fn digest_of(write: impl FnOnce(&mut Hasher)) -> Digest {
    let mut hasher = Hasher::new();
    write(&mut hasher);
    hasher.finish()
}

/// What the store makes of the root that Docker left, and what it leaves for Docker.
fn use_root(dir: &Path, driver: &str) {
    let driver = storage::open(driver, &dir.join("root"), &[]).unwrap();
    let store = Store::open(&dir.join("root"), Arc::clone(&driver)).unwrap();
    let id = store.resolve("app:1").unwrap();
    assert_eq!(id.to_string(), fs::read_to_string(dir.join("id")).unwrap().trim());
    let app = store.images().get(&id).unwrap();
    assert_eq!(app.diff_ids.len(), 3);
    assert_eq!(store.names(&id).unwrap().0.len(), 2);
    assert!(store.images().parent(&id).unwrap().is_some());

    // Every layer gives the stream back that Docker took in.
    for chain in store.layers().list().unwrap() {
        let layer = store.layers().get(&chain).unwrap().unwrap();
        let actual = digest_of(|out| store.layers().write_tar(&layer, out).unwrap());
        assert_eq!(actual, layer.diff_id);
    }

    // The container: what Docker saw of it, we see.
    let container = fs::read_to_string(dir.join("c1")).unwrap().trim().to_string();
    assert_eq!(store.layers().rw_list().unwrap(), vec![container.clone()]);
    let mut diff: Vec<String> = Vec::new();
    for change in store.layers().rw_changes(&container).unwrap() {
        let kind = match change.kind {
            ChangeKind::Modify => 'C',
            ChangeKind::Add => 'A',
            ChangeKind::Delete => 'D',
        };
        diff.push(format!("{kind} {}", change.path.display()));
    }
    let mut expected: Vec<String> =
        fs::read_to_string(dir.join("diff")).unwrap().lines().map(str::to_string).collect();
    diff.sort();
    expected.sort();
    assert_eq!(diff, expected);
    let root = store.layers().mount_rw(&container, "").unwrap();
    assert_eq!(fs::read_to_string(root.join("etc/passwd")).unwrap(), "changed\n");
    store.layers().unmount_rw(&container).unwrap();

    // A container and an image of ours on top of Docker's layers.
    let chain = app.chain_id().unwrap();
    store.layers().create_rw("ours", Some(&chain), &BTreeMap::new()).unwrap();
    let root = store.layers().mount_rw("ours", "").unwrap();
    fs::write(root.join("etc/new"), "new\n").unwrap();
    let mut tar = Vec::new();
    store.layers().rw_diff("ours", &mut tar).unwrap();
    store.layers().unmount_rw("ours").unwrap();
    store.layers().remove_rw("ours").unwrap();
    let below = store.top_layer(&app).unwrap().unwrap();
    let staged = store.layers().unpack(&mut tar.as_slice(), Parent::On(&below)).unwrap();
    let top = staged.commit(Some(&below)).unwrap();
    let layers: Vec<String> =
        app.diff_ids.iter().chain([&top.diff_id]).map(|d| format!("\"{d}\"")).collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        layers.join(",")
    );
    let ours = store.create(config.as_bytes()).unwrap();
    store.refs().set(&Reference::parse("ours:1").unwrap(), &ours).unwrap();
    let mut archive = fs::File::create(dir.join("ours.tar")).unwrap();
    image::save(&store, &["ours:1".to_string()], &mut archive).unwrap();
    driver.cleanup().unwrap();
}

/// Docker's own archive, loaded into an empty store, makes the same images.
fn load_archive(dir: &Path, driver: &str) {
    let root = dir.join("second");
    fs::create_dir(&root).unwrap();
    let driver = storage::open(driver, &root, &[]).unwrap();
    let store = Store::open(&root, Arc::clone(&driver)).unwrap();
    let mut archive = fs::File::open(dir.join("save.tar")).unwrap();
    let loaded = image::load(&store, &mut archive, None, &Silent).unwrap();
    assert_eq!(loaded.len(), 2);
    let id = fs::read_to_string(dir.join("id")).unwrap();
    assert_eq!(store.resolve("app:1").unwrap().to_string(), id.trim());

    // Another tool reads what we save, as Docker's archive and as an OCI layout, and we read what it
    // makes of that: compressed layers, no names of Docker's.
    let layers = store.find("app:1").unwrap().diff_ids.clone();
    let mut archive = fs::File::create(dir.join("again.tar")).unwrap();
    image::save(&store, &["app:1".to_string()], &mut archive).unwrap();
    for (from, to) in [("docker-archive", "oci-archive"), ("oci-archive", "docker-archive")] {
        let source = format!("{from}:{}", dir.join("again.tar").display());
        let copy = dir.join(format!("{to}.tar"));
        let target = format!("{to}:{}:example.com/copied:1", copy.display());
        run(Command::new("skopeo").args(["--insecure-policy", "copy", "-q", &source, &target]));
        let root = dir.join(to);
        fs::create_dir(&root).unwrap();
        let driver = storage::open("vfs", &root, &[]).unwrap();
        let store = Store::open(&root, driver).unwrap();
        let mut copy = fs::File::open(&copy).unwrap();
        let loaded = image::load(&store, &mut copy, None, &Silent).unwrap();
        // The tool writes configurations anew where the form changes; layers stay what they are.
        assert_eq!(store.find("example.com/copied:1").unwrap().diff_ids, layers, "{to}");
        assert_eq!(loaded[0].names[0].familiar(), "example.com/copied:1");
    }
    driver.cleanup().unwrap();
}

fn there_and_back(driver: &str) {
    let dir = Scratch::new("swap");
    dockerd(&dir, driver, MAKE);
    use_root(dir.path(), driver);
    load_archive(dir.path(), driver);
    dockerd(&dir, driver, BACK);
}

#[test]
fn an_overlay2_root_goes_from_docker_to_us_and_back() {
    there_and_back("overlay2");
}

#[test]
fn a_vfs_root_goes_from_docker_to_us_and_back() {
    there_and_back("vfs");
}
