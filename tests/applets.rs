//! The executable as a whole: which applet a name leads to, links, exit codes, closed pipes.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

const MULTI: &str = env!("CARGO_BIN_EXE_multi");

/// A directory that is removed at the end of the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("applets-{}-{serial}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }
    fn link(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        symlink(MULTI, &path).unwrap();
        path
    }
    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
    fn links(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<String> = names.map(|n| n.into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(program: impl AsRef<Path>, args: &[&str]) -> Output {
    Command::new(program.as_ref()).args(args).stdin(Stdio::null()).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn alone_it_lists_the_applets() {
    let output = run(MULTI, &[]);
    assert_eq!(code(&output), 0);
    let listed = text(&output.stdout);
    assert!(listed.starts_with("Usage:  multi APPLET [ARG...]\n"));
    assert!(listed.contains("\n  install "));
    assert!(!listed.contains("shim"), "started by other applets only");
    assert_eq!(run(MULTI, &["help"]).stdout, output.stdout);
    assert_eq!(run(MULTI, &["--help"]).stdout, output.stdout);
}

#[test]
fn help_of_an_applet_is_the_same_both_ways() {
    let output = run(MULTI, &["help", "install"]);
    assert_eq!(code(&output), 0);
    assert!(text(&output.stdout).starts_with("Usage:  multi install [OPTIONS] DIR\n"));
    assert_eq!(run(MULTI, &["install", "--help"]).stdout, output.stdout);
}

#[test]
fn an_unknown_applet_exits_127() {
    let dir = Dir::new();
    for output in [
        run(MULTI, &["nosuch"]),
        run(MULTI, &["help", "nosuch"]),
        run(dir.link("nosuch"), &["nosuch"]),
    ] {
        assert_eq!(code(&output), 127);
        assert_eq!(
            text(&output.stderr),
            "multi: unknown applet: nosuch\n\nRun 'multi' for the list of applets\n"
        );
    }
}

#[test]
fn a_link_is_taken_by_its_exact_name() {
    let dir = Dir::new();
    let output = run(dir.link("install"), &[]);
    assert!(text(&output.stderr).starts_with("install: 'install' requires 1 argument\n"));
    // Any other name is `multi` itself.
    for name in ["myinstall", "install2", "Install"] {
        assert_eq!(code(&run(dir.link(name), &[])), 0, "{name}");
    }
}

#[test]
fn install_makes_links_and_replaces_only_its_own() {
    let dir = Dir::new();
    assert_eq!(code(&run(MULTI, &["install", dir.path()])), 0);
    let made = dir.links();
    for name in &made {
        let target = fs::read_link(dir.0.join(name)).unwrap();
        assert!(target.is_absolute());
        assert_eq!(target.canonicalize().unwrap(), Path::new(MULTI).canonicalize().unwrap());
    }
    // Again, and from an older place.
    assert_eq!(code(&run(MULTI, &["install", dir.path()])), 0);
    for name in &made {
        fs::remove_file(dir.0.join(name)).unwrap();
        symlink("/old/place/multi", dir.0.join(name)).unwrap();
    }
    assert_eq!(code(&run(MULTI, &["install", "--relative", dir.path()])), 0);
    for name in &made {
        let target = fs::read_link(dir.0.join(name)).unwrap();
        assert!(target.is_relative());
        let target = dir.0.join(target).canonicalize().unwrap();
        assert_eq!(target, Path::new(MULTI).canonicalize().unwrap());
    }
    assert_eq!(dir.links(), made);
}

#[test]
fn install_refuses_files_of_others_and_changes_nothing() {
    let full = Dir::new();
    run(MULTI, &["install", full.path()]);
    for foreign in full.links() {
        for is_link in [false, true] {
            let dir = Dir::new();
            let path = dir.0.join(&foreign);
            match is_link {
                true => symlink("/usr/bin/other", &path).unwrap(),
                false => fs::write(&path, "mine").unwrap(),
            }
            let output = run(MULTI, &["install", dir.path()]);
            assert_eq!(code(&output), 1);
            assert!(text(&output.stderr).contains(&format!("{foreign} exists and is not a link")));
            assert_eq!(dir.links(), std::slice::from_ref(&foreign));
        }
    }
    let output = run(MULTI, &["install", "/nonexistent"]);
    assert!(full.links().is_empty() || code(&output) == 1);
}

#[test]
fn install_writes_services_that_name_the_daemon_and_leaves_those_of_others() {
    let root = Dir::new();
    let bin = root.0.join("usr/bin");
    fs::create_dir_all(&bin).unwrap();
    let install = ["install", "--services", root.path(), bin.to_str().unwrap()];
    let output = run(MULTI, &install);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let read = |path: &str| fs::read_to_string(root.0.join(path)).unwrap();
    let service = read("etc/systemd/system/docker.service");
    assert!(service.contains("\nExecStart=/usr/bin/dockerd -H fd:// $DOCKER_OPTS\n"), "{service}");
    assert!(service.contains("\nEnvironmentFile=-/etc/default/docker\n"));
    assert!(read("etc/systemd/system/docker.socket").contains("\nListenStream=/run/docker.sock\n"));
    assert!(read("etc/init.d/docker").contains("\nDOCKERD=/usr/bin/dockerd\n"));
    let shell = run("sh", &["-n", root.0.join("etc/init.d/docker").to_str().unwrap()]);
    assert_eq!(code(&shell), 0, "{}", text(&shell.stderr));
    // What ships is all comments: it changes nothing.
    assert!(read("etc/default/docker").lines().all(|l| l.is_empty() || l.starts_with('#')));

    // Again: the administrator's settings stay, an older script goes, a foreign one is in the way.
    let script = root.0.join("etc/init.d/docker");
    fs::write(root.0.join("etc/default/docker"), "mine").unwrap();
    fs::write(&script, format!("{}\n# older", read("etc/init.d/docker"))).unwrap();
    assert_eq!(code(&run(MULTI, &install)), 0);
    assert_eq!(read("etc/default/docker"), "mine");
    assert!(!read("etc/init.d/docker").contains("# older"));
    fs::write(&script, "#!/bin/sh\n").unwrap();
    fs::remove_file(bin.join("docker")).unwrap();
    let output = run(MULTI, &install);
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).contains("init.d/docker exists and was not written by multi"));
    assert!(!bin.join("docker").exists(), "nothing is changed");
}

#[test]
fn a_closed_pipe_is_quiet_and_a_full_disk_is_not() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(MULTI).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((code(&output), text(&output.stderr)), (0, ""));
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(MULTI).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(code(&output), 1);
    assert_eq!(text(&output.stderr), "writing to standard output: no space left on device\n");
}

#[test]
fn arguments_that_are_not_text_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let output = Command::new(MULTI).arg(std::ffi::OsStr::from_bytes(b"\xff")).output().unwrap();
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).starts_with("multi: argument is not UTF-8: "));
}
