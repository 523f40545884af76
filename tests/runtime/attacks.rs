//! What a hostile image or container tries, and what must come of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;

use multi_core::base::digest::Digest;
use multi_core::runtime::shim::Shim;
use multi_core::runtime::spec::{Capabilities, Mount};
use multi_core::sys::caps;

use crate::bundle::{Bundle, exec_request, exit_of, output, read_all};
use crate::support::images;

/// All capabilities this machine has to give.
fn all_capabilities() -> Capabilities {
    let names = caps::current().unwrap().permitted.names();
    Capabilities {
        bounding: names.clone(),
        effective: names.clone(),
        permitted: names,
        ..Capabilities::default()
    }
}

fn hash_of_executable() -> String {
    Digest::of(&fs::read(env!("CARGO_BIN_EXE_multi")).unwrap()).to_string()
}

/// CVE-2019-5736: a container writes to the file that its first process or one of exec runs from.
#[test]
fn the_executable_cannot_be_overwritten_through_proc() {
    let bundle = Bundle::new();
    let before = hash_of_executable();
    let script = "(: >/proc/1/exe) 2>&1; (: >>/proc/1/exe) 2>&1; \
                  dd if=/dev/zero of=/proc/1/exe bs=1 count=1 conv=notrunc 2>&1; \
                  mount -o remount,rw /proc/1/exe 2>&1; (: >/proc/1/exe) 2>&1; echo done";
    let mut request = bundle.request(&["sh", "-c", script]);
    request.init = true;
    request.spec.process.as_mut().unwrap().capabilities = Some(all_capabilities());
    let (_, text) = bundle.run(&request).unwrap();
    assert!(text.contains("can't create /proc/1/exe") && text.ends_with("done\n"), "{text}");
    assert_eq!(hash_of_executable(), before);
    // A program that is the runtime itself: the image links to the file that is being executed.
    symlink("/proc/self/exe", bundle.root().join("bin/evil")).unwrap();
    let done = bundle.run(&bundle.request(&["/bin/evil"]));
    assert!(done.is_ok() || done.is_err());
    assert_eq!(hash_of_executable(), before);
}

/// CVE-2024-21626: a working directory that is a link to a descriptor which leads to the host.
#[test]
fn a_working_directory_cannot_be_a_descriptor_of_the_runtime() {
    let bundle = Bundle::new();
    let shim = Shim::spawn(&bundle.request(&["sleep", "1000"]), None, &[]).unwrap();
    shim.wait_created().unwrap();
    shim.go().unwrap();
    let other = Bundle::new();
    for n in 0..20 {
        let cwd = format!("/proc/self/fd/{n}");
        let script = "pwd; ls -d work/.. /../../tmp/multi-runtime-* 2>/dev/null; ls";
        let mut request = other.request(&["sh", "-c", script]);
        request.spec.process.as_mut().unwrap().cwd = cwd.clone();
        if let Ok((_, text)) = other.run(&request) {
            assert!(!text.contains("multi-runtime"), "{cwd}: {text}");
            assert!(text.starts_with('/') && !text.contains("unreachable"), "{cwd}: {text}");
        }
        let (client, theirs) = UnixStream::pair().unwrap();
        let mut request = exec_request(&format!("x{n}"), &["sh", "-c", script]);
        request.process.cwd = cwd.clone();
        let attach = output(theirs.into());
        if shim.exec(&request, Some(&attach)).is_ok() {
            drop(attach);
            let text = read_all(client);
            assert!(!text.contains("multi-runtime"), "{cwd}: {text}");
        }
    }
    shim.signal("", libc::SIGKILL).unwrap();
    exit_of(&shim);
}

#[test]
fn no_descriptor_is_left_open_in_the_program() {
    let bundle = Bundle::new();
    // One that the daemon forgot to mark.
    let leaked = nix::fcntl::open("/", nix::fcntl::OFlag::O_PATH, nix::sys::stat::Mode::empty());
    let (_, text) = bundle.sh("ls /proc/self/fd | tr '\\n' ' '; readlink /proc/self/fd/0");
    drop(leaked);
    // The fourth is the listed directory itself.
    assert_eq!(text, "0 1 2 3 /dev/null\n");
}

#[test]
fn a_mount_target_that_is_a_link_stays_in_the_image() {
    let bundle = Bundle::new();
    let outside = bundle.dir.join("outside");
    let source = bundle.dir.join("source");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("file"), "x").unwrap();
    symlink(&outside, bundle.root().join("absolute")).unwrap();
    symlink("../../../../../../../../..", bundle.root().join("up")).unwrap();
    symlink("/proc/self/fd", bundle.root().join("magic")).unwrap();
    let bind = |from: &str, to: &str| Mount {
        destination: to.into(),
        kind: "bind".into(),
        source: source.join(from).to_str().unwrap().into(),
        options: vec!["rbind".into(), "rprivate".into()],
        ..Mount::default()
    };
    let inside = format!("/up{}/deep", outside.display());
    let mut request = bundle.request(&["ls", "/absolute/new", &inside]);
    request.spec.mounts.extend([bind("", "/absolute/new"), bind("", &inside)]);
    let (code, text) = bundle.run(&request).unwrap();
    assert_eq!(code, 0, "{text}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was made outside");
    let there = bundle.root().join(outside.strip_prefix("/").unwrap());
    assert!(there.join("new").is_dir() && there.join("deep").is_dir());
    // Through a descriptor of the runtime: refused, whichever it is.
    for n in 0..20 {
        let mut request = bundle.request(&["true"]);
        request.spec.mounts.push(bind("", &format!("/magic/{n}/new")));
        assert!(bundle.run(&request).is_err(), "{n}");
    }
}

#[test]
fn proc_sys_and_dev_that_are_links_do_not_lead_out() {
    for name in ["proc", "sys"] {
        let bundle = Bundle::new();
        fs::remove_dir(bundle.root().join(name)).unwrap();
        symlink("/tmp", bundle.root().join(name)).unwrap();
        let e = bundle.run(&bundle.request(&["true"])).unwrap_err();
        assert!(e.message().contains("must be mounted on ordinary directory"), "{e}");
    }
    let bundle = Bundle::new();
    let outside = bundle.dir.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_dir(bundle.root().join("dev")).unwrap();
    symlink(&outside, bundle.root().join("dev")).unwrap();
    let (code, text) = bundle.sh("ls /dev/null /dev/pts/ptmx");
    assert_eq!((code, text.as_str()), (0, "/dev/null\n/dev/pts/ptmx\n"));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was made outside");
}

/// An account file that leads out of the image must not be read.
#[test]
fn accounts_are_not_read_from_the_host() {
    let bundle = Bundle::new();
    let secret = bundle.dir.join("passwd");
    fs::write(&secret, "spy:x:77:77::/:/bin/sh\n").unwrap();
    fs::remove_file(bundle.root().join("etc/passwd")).unwrap();
    symlink(&secret, bundle.root().join("etc/passwd")).unwrap();
    let mut request = bundle.request(&["id"]);
    request.user = "spy".into();
    assert!(bundle.run(&request).unwrap_err().message().contains("unable to find user spy"));
}

/// A process of the container cannot look into one of exec on its way in: neither its memory nor the
/// host's files that it still has open.
#[test]
fn a_process_on_its_way_in_cannot_be_traced() {
    let bundle = Bundle::new();
    // Opens what it can of everything new, without end.
    let script = "while :; do for p in /proc/[0-9]*; do \
                    test $p = /proc/1 || test $p = /proc/$$ || \
                    case $(readlink $p/exe) in *multi*) \
                      ls $p/cwd/ $p/root/ $p/fd/ >/dev/null 2>&1 && echo LOOKED-IN $p $(readlink $p/exe) $(ls -l $p/fd | wc -l) $(grep Cap $p/status);; esac; \
                  done; done";
    let (client, theirs) = UnixStream::pair().unwrap();
    let request = bundle.request(&["sh", "-c", script]);
    let shim = Shim::spawn(&request, None, &[output(theirs.into())]).unwrap();
    shim.wait_created().unwrap();
    shim.go().unwrap();
    for n in 0..20 {
        shim.exec(&exec_request(&n.to_string(), &["true"]), None).unwrap();
    }
    shim.signal("", libc::SIGKILL).unwrap();
    exit_of(&shim);
    let text = read_all(client);
    assert!(!text.contains("LOOKED-IN"), "{text}");
}

#[test]
fn nothing_of_a_container_is_left_on_the_host() {
    let bundle = Bundle::new();
    bundle.sh("mount -t tmpfs x /tmp; sleep 1000 & exit 0");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&bundle.id[..12]), "{mounts}");
    let left: Vec<_> = fs::read_dir(bundle.run_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        !left.iter().any(|name| name.ends_with(".sock") || name.starts_with(".tmp")),
        "{left:?}"
    );
    let mode = fs::metadata(Path::new(&bundle.run_dir()).join("exit.json")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

/// Where the host's root cannot be put aside: its mounts are gone from the container's namespace, and a
/// process with all capabilities does not get out with chroot.
#[test]
fn nothing_of_the_host_is_reached_without_pivot_root() {
    let bundle = Bundle::new();
    let probe = images::probe_program();
    fs::copy(&probe, bundle.root().join("bin/probe")).unwrap();
    let mut request = bundle.request(&["sleep", "1000"]);
    request.no_pivot = true;
    request.spec.process.as_mut().unwrap().capabilities = Some(all_capabilities());
    let shim = Shim::spawn(&request, None, &[]).unwrap();
    let pid = shim.wait_created().unwrap();
    shim.go().unwrap();
    let root = |request: &mut multi_core::runtime::shim::ExecRequest| {
        request.process.capabilities = Some(all_capabilities());
        let (client, theirs) = UnixStream::pair().unwrap();
        shim.exec(request, Some(&output(theirs.into()))).unwrap();
        read_all(client)
    };
    let marker = bundle.dir.join("marker");
    fs::write(&marker, "").unwrap();
    let text = root(&mut exec_request("e", &["probe", "escape", marker.to_str().unwrap()]));
    assert_eq!(text, "inside\n");
    let mounts = root(&mut exec_request("m", &["cat", "/proc/self/mountinfo"]));
    let own = |line: &&str| line.split(' ').nth(4).unwrap() == "/";
    assert_eq!(mounts.lines().filter(own).count(), 1, "{mounts}");
    // Who may unmount the container's root comes to the host's, as every mount namespace begins there, but
    // to none of its mounts.
    let enter = |words: &[&str]| {
        let mut command = std::process::Command::new("nsenter");
        command.arg(format!("--mount=/proc/{pid}/ns/mnt")).args(words).output().unwrap()
    };
    assert!(enter(&["umount", "-l", "/"]).status.success());
    let seen = enter(&["/bin/ls", "/proc", "/sys", "/dev/pts"]);
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(
        seen.contains("/proc:") && !seen.contains("self") && !seen.contains("kernel"),
        "{seen}"
    );
    shim.signal("", libc::SIGKILL).unwrap();
    exit_of(&shim);
}
