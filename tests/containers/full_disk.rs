//! A data root without room: what is new is refused in clear words and leaves nothing, what exists goes on.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::sys::stat::Mode;

use crate::Cli;
use crate::support::daemon::Daemon;
use crate::support::images::{self, Layer, Packing, Style, TestImage};
use crate::support::registry::Registry;
use crate::support::{MULTI, PATIENCE, Scratch, eventually, output, run, text};

const FULL: &str = "no space left on device";
const MEGABYTE: usize = 1 << 20;
const DISK_MEGABYTES: usize = 24;

/// A daemon whose data root is a small filesystem of its own, which only its namespace sees.
struct Small {
    daemon: Daemon,
    /// The same directory, as seen from here.
    root: PathBuf,
}

impl Small {
    fn new(mount: impl FnOnce(&Daemon)) -> Small {
        let mut daemon = Daemon::new(Path::new(MULTI), &[]);
        fs::create_dir(daemon.data_root()).unwrap();
        mount(&daemon);
        let root =
            format!("/proc/{}/root{}", daemon.namespace().pid(), daemon.data_root().display());
        daemon.start_again();
        Small { daemon, root: root.into() }
    }

    /// Takes every block that is left.
    fn fill(&self) {
        let mut file = File::create(self.root.join("fill")).unwrap();
        for size in [MEGABYTE, 4096, 1] {
            let block = vec![1; size];
            let error = std::iter::repeat_with(|| file.write_all(&block)).find_map(Result::err);
            assert_eq!(error.unwrap().kind(), ErrorKind::StorageFull);
        }
        file.sync_all().unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.root.join("fill")).unwrap();
    }

    /// Every path below the data root but in the containers' own filesystems, and in logs and trash.
    fn paths(&self) -> BTreeSet<String> {
        let mut find = Command::new("find");
        let prune = ["-path", "*/overlay2/*/*", "-prune", "-o", "-name", ".trash", "-o", "-print"];
        let found = run(find.arg(".").args(prune).current_dir(&self.root));
        found.lines().map(ToString::to_string).collect()
    }

    /// Waits until nothing more than `before` is there: what was removed is deleted in the background.
    fn nothing_new(&self, before: &BTreeSet<String>) {
        let mut new = Vec::new();
        let deadline = Instant::now() + PATIENCE / 4;
        loop {
            new.clear();
            new.extend(self.paths().difference(before).cloned());
            if new.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left: {new:?}\n{}", self.daemon.log());
        }
    }
}

/// An image whose first layer fits and whose second one does not.
fn push_large(registry: &Registry, name: &str, content: &[u8]) {
    let layers = [("small", &b"x"[..]), ("large", content)];
    let layers = layers.map(|(name, content)| {
        Layer::new(images::tar(&[("d/", b""), (name, content)]), Packing::Gzip)
    });
    let dir = Scratch::new("large");
    let image = TestImage::new(layers.into(), Style::Oci, r#"{"Cmd":["true"]}"#);
    registry.push_with(image.write_layout(dir.path()).path(), name, &[]);
}

fn scenario(free_directories: bool, mount: impl FnOnce(&Daemon)) {
    let mut small = Small::new(mount);
    let daemon = &small.daemon;
    daemon.load(&images::busybox(), "busybox:latest");
    let cli = Cli { daemon, official: false };
    let dir = daemon.dir().to_path_buf();
    let volume = format!("{}:/t", dir.display());
    nix::unistd::mkfifo(&dir.join("say"), Mode::S_IRWXU).unwrap();
    // Whoever writes opens and closes the pipe; the container itself keeps it open.
    let script = "trap 'exit 4' TERM; exec 3<>/t/say; echo begin; \
                  while read x <&3; do echo $x; echo $x >>/t/heard; done";
    cli.run(&["run", "-d", "--name", "talks", "-v", &volume, "busybox", "sh", "-c", script]);
    let say = |line: &str| {
        fs::write(dir.join("say"), format!("{line}\n")).unwrap();
        let heard = || fs::read_to_string(dir.join("heard")).unwrap_or_default();
        eventually("hearing", || heard().ends_with(&format!("{line}\n")).then_some(()));
    };
    say("early");
    let publish = ["-p", "18081:80", "busybox", "echo", "started"];
    cli.run(&[&["create", "--name", "never"][..], &publish].concat());
    cli.run(&[&["run", "--name", "again"][..], &publish].concat());
    cli.run(&["run", "-d", "--name", "idle", "busybox", "sleep", "600"]);

    // Pulls that do not fit: one that unpacks to too much, one that is too much already.
    let registry = daemon.registry();
    push_large(&registry, "zeros:1", &vec![0; 2 * DISK_MEGABYTES * MEGABYTE]);
    push_large(&registry, "noise:1", &images::noise(2 * DISK_MEGABYTES * MEGABYTE, 1));
    push_large(&registry, "fits:1", &images::noise(MEGABYTE, 2));
    let before = small.paths();
    for (name, official) in [("zeros:1", false), ("noise:1", true)] {
        let cli = Cli { daemon, official };
        let output = output(&mut cli.command(&["pull", &registry.name(name)]));
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {told}");
        assert_eq!(told.matches(FULL).count(), 1, "{name}: {told}");
        assert_eq!(told.lines().count(), 1, "{name}: {told}");
        small.nothing_new(&before);
    }
    assert_eq!(cli.run(&["run", "--rm", "busybox", "echo", "fits"]), "fits\n");
    small.nothing_new(&before);

    small.fill();
    for official in [false, true] {
        let cli = Cli { daemon, official };
        let (code, told) = cli.code(&[
            "run", "--rm", "-v", "/anon", "-v", "named:/n", "-p", "18080:80", "busybox", "true",
        ]);
        assert_eq!(code, 125, "{told}");
        assert_eq!(told.matches(FULL).count(), 1, "{told}");
        let (code, told) = cli.code(&["pull", &registry.name("fits:1")]);
        assert_eq!((code, told.matches(FULL).count()), (1, 1), "{told}");
        assert_eq!(cli.run(&["ps", "--format", "{{.Names}}"]), "idle\ntalks\n");
    }
    let mut with_fill = before.clone();
    with_fill.insert("./fill".into());
    small.nothing_new(&with_fill);

    // A line that has no room in the log costs the container nothing.
    for n in 0..2000 {
        fs::write(dir.join("say"), format!("{n} {}\n", "y".repeat(60))).unwrap();
    }
    say("full");
    assert!(cli.run(&["logs", "talks"]).starts_with("begin\nearly\n"));
    assert_eq!(cli.run(&["exec", "talks", "cat", "/etc/hostname"]).len(), 13);
    // The next daemon finds what runs.
    let pids = [cli.inspect("talks", "{{.State.Pid}}"), cli.inspect("idle", "{{.State.Pid}}")];
    small.daemon.kill();
    small.daemon.start_again();
    let daemon = &small.daemon;
    let cli = Cli { daemon, official: false };
    assert_eq!(cli.run(&["ps", "--format", "{{.Names}}"]), "idle\ntalks\n", "{}", daemon.log());
    assert_eq!(
        [cli.inspect("talks", "{{.State.Pid}}"), cli.inspect("idle", "{{.State.Pid}}")],
        pids
    );
    // What ran before starts if the filesystem has directories for nothing, stops, ends with its code, and
    // goes; a first start is new work.
    let refused = |name: &str| {
        let (code, told) = cli.code(&["start", name]);
        assert_eq!((code, told.matches(FULL).count()), (1, 1), "{told}");
        assert!(!cli.inspect(name, "{{.State.Error}}").is_empty());
        assert_eq!(cli.run(&["ps", "--format", "{{.Names}}"]), "idle\ntalks\n");
    };
    refused("never");
    match free_directories {
        false => refused("again"),
        true => {
            cli.run(&["start", "again"]);
            assert_eq!(cli.run(&["wait", "again"]), "0\n");
        }
    }
    cli.run(&["stop", "talks"]);
    assert_eq!(cli.run(&["wait", "talks"]), "4\n");
    assert_eq!(cli.inspect("talks", "{{.State.Status}} {{.State.ExitCode}}"), "exited 4");
    cli.run(&["rm", "-f", "idle"]);
    assert_eq!(cli.run(&["ps", "-a", "--format", "{{.Names}}"]), "again\nnever\ntalks\n");

    // Room again: everything works, the log goes on.
    small.free();
    cli.run(&["pull", "-q", &registry.name("fits:1")]);
    cli.run(&["start", "talks"]);
    say("late");
    eventually("the log", || cli.run(&["logs", "talks"]).ends_with("begin\nlate\n").then_some(()));
    assert_eq!(cli.run(&["run", "--rm", "busybox", "echo", "hi"]), "hi\n");
    cli.run(&["rm", "-f", "talks", "again", "never"]);
    cli.nothing_left();
    let Small { mut daemon, root: _ } = small;
    daemon.terminate();
    let data_root = daemon.data_root();
    run(daemon.namespace().command("umount").arg(&data_root));
    assert_eq!(daemon.leftovers(&[]), Vec::<String>::new());
}

#[test]
fn a_full_tmpfs_stops_what_is_new_and_nothing_else() {
    scenario(true, |daemon| {
        let size = format!("size={DISK_MEGABYTES}m,mode=755");
        let mut mount = daemon.namespace().command("mount");
        run(mount.args(["-t", "tmpfs", "-o", &size, "none"]).arg(daemon.data_root()));
    });
}

#[test]
fn a_full_ext4_stops_what_is_new_and_nothing_else() {
    scenario(false, |daemon| {
        let image = daemon.dir().join("disk");
        File::create(&image).unwrap().set_len((DISK_MEGABYTES * MEGABYTE) as u64).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image));
        let mut mount = daemon.namespace().command("mount");
        run(mount.args(["-o", "loop"]).arg(&image).arg(daemon.data_root()));
    });
}
