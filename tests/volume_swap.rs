//! Volumes and the containers that use them go from Docker's daemon to ours and back, with labels and options.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use support::daemon::Daemon;
use support::{Scratch, run};

/// Runs a daemon of Docker on `$DIR/root` in namespaces of its own while `$WORK` runs as a script.
const DAEMON: &str = r#"
mount -t tmpfs tmpfs /run
mkdir -p "$DIR/exec"
echo '{}' >"$DIR/daemon.json"
dockerd --config-file "$DIR/daemon.json" --data-root "$DIR/root" --exec-root "$DIR/exec" \
    -H "unix://$DIR/sock" --pidfile "$DIR/pid" --iptables=false --bridge=none -s overlay2 >>"$DIR/log" 2>&1 &
daemon=$!
export DOCKER_HOST="unix://$DIR/sock"
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
mkdir -p fs/bin fs/data
cp /bin/busybox fs/bin/
for name in sh cat touch; do ln -s busybox fs/bin/$name; done
echo 'of the image' >fs/data/f
tar -C fs -c . | docker import -c 'ENV PATH=/bin' -c 'VOLUME /data' - base >/dev/null
docker volume create --label a=b --label c= labelled >/dev/null
docker volume create -o type=tmpfs -o device=tmpfs -o o=size=1m fast >/dev/null
docker volume create --label old=1 again >/dev/null
docker volume create gone >/dev/null
docker create --name c1 --network none -v labelled:/l -v fast:/fast:ro -v "$DIR/fs:/host:ro" \
    --mount type=tmpfs,dst=/t,tmpfs-size=1m base \
    sh -c 'cat /data/f /l/f; echo changed >/l/f; touch /t/x; touch /fast/x || echo refused' >/dev/null
docker run --rm --network none -v labelled:/l base sh -c 'echo new >/l/f'
docker start -a c1
docker volume inspect labelled fast again | grep -v CreatedAt >inspected
docker inspect -f '{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}} {{.Propagation}};{{end}}' c1 >mounts
"#;

const BACK: &str = r#"
docker volume inspect labelled fast ours | grep -v CreatedAt | diff - ours
test "$(docker volume inspect -f '{{.Labels}}' again)" = 'map[]'
test "$(docker volume ls -q -f name=gone)" = ''
test "$(docker start -a c1 2>/dev/null)" = 'of the image
changed
refused'
test "$(docker start -a c2 2>/dev/null)" = 'changed'
test "$(docker volume ls -q -f dangling=true | tr '\n' ' ')" = 'again ours '
docker rm -v c1 c2 >/dev/null
test "$(docker volume ls -q | tr '\n' ' ')" = 'again fast labelled ours '
docker volume rm labelled fast ours again >/dev/null
"#;

fn dockerd(dir: &Scratch, work: &str) -> String {
    run(Command::new("unshare")
        .args(["-mnpf", "--mount-proc", "--propagation", "private", "bash", "-ec", DAEMON])
        .env("DIR", dir.path())
        .env("WORK", work))
}

#[test]
fn volumes_with_labels_and_options_go_from_docker_to_us_and_back() {
    let dir = Scratch::new("volume-swap");
    let told = dockerd(&dir, MAKE);
    assert_eq!(told, "of the image\nnew\nrefused\n");
    let file = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();

    let root = dir.join("root");
    let mut daemon = Daemon::start_with(&["--data-root", root.to_str().unwrap()]);
    let inspect = |daemon: &Daemon, names: &[&str]| -> String {
        let shown = daemon.docker(&[&["volume", "inspect"][..], names].concat());
        let lines = shown.lines().filter(|line| !line.contains("CreatedAt"));
        lines.map(|line| format!("{line}\n")).collect()
    };
    assert_eq!(inspect(&daemon, &["labelled", "fast", "again"]), file("inspected"));
    let format = "{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}} {{.Propagation}};{{end}}";
    let sorted = |text: &str| {
        let mut parts: Vec<String> = text.trim_end().split(';').map(String::from).collect();
        parts.sort();
        parts
    };
    assert_eq!(sorted(&daemon.docker(&["inspect", "-f", format, "c1"])), sorted(&file("mounts")));
    let started = daemon.docker(&["start", "-a", "c1"]);
    assert_eq!(started, "of the image\nchanged\nrefused\n");
    daemon.docker(&["volume", "rm", "gone", "again"]);
    daemon.docker(&["volume", "create", "again"]);
    daemon.docker(&["volume", "create", "--label", "by=us", "ours"]);
    let words =
        ["create", "--name", "c2", "--net", "none", "-v", "labelled:/l", "base", "cat", "/l/f"];
    daemon.docker(&words);
    // A daemon that was killed has told nobody; the one after it does.
    daemon.kill();
    daemon.start_again();
    assert_eq!(daemon.docker(&["volume", "inspect", "-f", "{{.Labels}}", "again"]), "map[]\n");
    std::fs::write(dir.join("ours"), inspect(&daemon, &["labelled", "fast", "ours"])).unwrap();
    daemon.terminate();
    assert_eq!(daemon.leftovers(&[]), Vec::<String>::new());
    drop(daemon);

    dockerd(&dir, BACK);
    let left = std::fs::read_dir(root.join("volumes")).unwrap().flatten();
    let left: Vec<_> = left.filter(|entry| entry.path().is_dir()).map(|e| e.file_name()).collect();
    assert_eq!(left, Vec::<std::ffi::OsString>::new());
}
