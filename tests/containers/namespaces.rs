//! Namespaces that a container has of its own, borrows from another or shares with the host, by what the
//! kernel says of its process.

use crate::support::{eventually, run};
use crate::{Cli, with_both};

/// The kernel's name of a namespace of a container's first process.
fn namespace(cli: &Cli, container: &str, kind: &str) -> String {
    let pid = cli.inspect(container, "{{.State.Pid}}");
    let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    link.to_string_lossy().into_owned()
}

/// That of the daemon, which is the host to its containers.
fn hosts(cli: &Cli, kind: &str) -> String {
    let link = std::fs::read_link(format!("/proc/{}/ns/{kind}", cli.daemon.pid())).unwrap();
    link.to_string_lossy().into_owned()
}

/// Starts a container that waits.
fn start(cli: &Cli, name: &str, options: &[&str]) {
    cli.run(&[&["run", "-d", "--name", name][..], options, &["busybox", "sleep", "1000"]].concat());
}

#[test]
fn each_namespace_is_the_containers_own_unless_it_asks_for_the_hosts() {
    with_both(|cli| {
        start(cli, "own", &["--cgroupns", "private"]);
        for kind in ["pid", "ipc", "uts", "net", "mnt", "cgroup"] {
            assert_ne!(namespace(cli, "own", kind), hosts(cli, kind), "{kind}");
        }
        let options = ["--pid=host", "--ipc=host", "--uts=host", "--net=host", "--userns=host"];
        start(cli, "host", &[&options[..], &["--cgroupns", "host"]].concat());
        for kind in ["pid", "ipc", "uts", "net", "cgroup", "user"] {
            assert_eq!(namespace(cli, "host", kind), hosts(cli, kind), "{kind}");
        }
        let seen = cli.run(&["exec", "own", "cat", "/proc/self/cgroup"]);
        assert!(seen.lines().all(|line| line.ends_with(":/")), "{seen}");
        let shm = cli.run(&["exec", "host", "stat", "-c", "%d", "/dev/shm"]);
        let own = run(cli.daemon.namespace().command("stat").args(["-c", "%d", "/dev/shm"]));
        assert_eq!(shm, own);
        cli.run(&["rm", "-f", "own", "host"]);
    });
}

#[test]
fn namespaces_of_another_container_are_those_of_its_current_run() {
    with_both(|cli| {
        start(cli, "donor", &["--ipc", "shareable", "-h", "giver"]);
        cli.run(&["exec", "donor", "sh", "-c", "echo hi > /dev/shm/file"]);
        let options = ["--pid=container:donor", "--ipc=container:donor", "--net=container:donor"];
        start(cli, "guest", &options);
        let check = || {
            for kind in ["pid", "ipc", "net"] {
                assert_eq!(namespace(cli, "guest", kind), namespace(cli, "donor", kind), "{kind}");
            }
        };
        check();
        assert_eq!(
            cli.run(&["exec", "guest", "cat", "/dev/shm/file", "/etc/hostname"]),
            "hi\ngiver\n"
        );
        assert_eq!(cli.run(&["exec", "guest", "hostname"]), "giver\n");

        // By its id: a new name changes nothing. A new run has new namespaces.
        cli.run(&["rename", "donor", "giver"]);
        let ended = cli.inspect("giver", "{{.State.Pid}}");
        cli.run(&["kill", "giver"]);
        eventually("the end of the guest, whose first process is not its own", || {
            (cli.inspect("guest", "{{.State.Running}}") == "false").then_some(())
        });
        let (code, told) = cli.code(&["start", "guest"]);
        assert_eq!(code, 1);
        assert!(
            told.contains("failed to join IPC namespace") && told.contains("not running"),
            "{told}"
        );
        cli.run(&["start", "giver"]);
        assert_ne!(cli.inspect("giver", "{{.State.Pid}}"), ended);
        cli.run(&["rename", "giver", "donor"]);
        cli.run(&["start", "guest"]);
        check();
        cli.run(&["rm", "-f", "donor", "guest"]);

        let (code, told) = cli.code(&["run", "--rm", "--pid=container:donor", "busybox", "true"]);
        assert_eq!((code, told.contains("No such container: donor")), (125, true), "{told}");
        let (code, told) = cli.code(&["run", "--rm", "--net=container:donor", "busybox", "true"]);
        assert_eq!(code, 125);
        assert!(
            told.contains("joining network namespace of container: No such container"),
            "{told}"
        );
    });
}

#[test]
fn memory_is_lent_only_by_those_who_say_so() {
    with_both(|cli| {
        start(cli, "private", &[]);
        let words = ["run", "--rm", "--ipc=container:private", "busybox", "true"];
        let (code, told) = cli.code(&words);
        assert_eq!(
            (code, told.contains("non-shareable IPC (hint: use Ipc")),
            (125, true),
            "{told}"
        );
        cli.run(&["rm", "-f", "private"]);
        let seen = "test -e /dev/shm || echo none; readlink /proc/self/ns/ipc";
        let told = cli.run(&["run", "--rm", "--ipc=none", "busybox", "sh", "-c", seen]);
        assert!(told.starts_with("none\n") && told.trim_end() != hosts(cli, "ipc"), "{told}");

        // The lender's memory is a mount of the host, and ends with it.
        start(cli, "lender", &["--ipc=shareable", "--shm-size=3m"]);
        let lent = |cli: &Cli| {
            let mounts = cli.daemon.namespace().mounts();
            mounts.lines().filter(|line| line.contains("/mounts/shm tmpfs")).count()
        };
        assert_eq!(lent(cli), 1);
        let told = cli.run(&["exec", "lender", "grep", " /dev/shm ", "/proc/mounts"]);
        assert!(told.contains("nosuid,nodev,noexec") && told.contains("size=3072k"), "{told}");
        cli.run(&["restart", "-t", "0", "lender"]);
        assert_eq!(lent(cli), 1);
        cli.run(&["rm", "-f", "lender"]);
        assert_eq!(lent(cli), 0);
    });
}

#[test]
fn what_does_not_go_with_shared_namespaces_is_refused() {
    with_both(|cli| {
        start(cli, "other", &[]);
        let shared = "--net=container:other";
        let before = hosts(cli, "uts") + &run(&mut std::process::Command::new("hostname"));
        for (options, expected) in [
            (&["--uts=host", "-h", "x"][..], "conflicting options: hostname and the UTS mode"),
            (&[shared, "-h", "x"], "conflicting options: hostname and the network mode"),
            (&[shared, "--dns", "1.1.1.1"], "conflicting options: dns and the network mode"),
            (
                &[shared, "--add-host", "a:1.1.1.1"],
                "custom host-to-IP mapping and the network mode",
            ),
            (&[shared, "-p", "80"], "port publishing and the container type network mode"),
            (&[shared, "-P"], "port publishing and the container type network mode"),
            (&[shared, "--expose", "80"], "port exposing and the container type network mode"),
            (&["--ipc", "x"], "invalid IPC mode: x"),
            (
                &["--net", "host", "--sysctl", "net.ipv4.ip_forward=1"],
                "not allowed in host network",
            ),
            (&["--ipc", "host", "--sysctl", "kernel.sem=1 2 3 4"], "in the hosts ipc namespace"),
            (&["--uts", "host", "--domainname", "x"], "without a private UTS namespace"),
            (&["--annotation", "=x"], "not permitted as an annotation key"),
        ] {
            let words = [&["run", "--rm"][..], options, &["busybox", "true"]].concat();
            let (code, told) = cli.code(&words);
            assert_eq!((code, told.contains(expected)), (125, true), "{options:?}: {told}");
        }
        // The host's own name is what it was.
        assert_eq!(hosts(cli, "uts") + &run(&mut std::process::Command::new("hostname")), before);
        let words = ["--sysctl", "net.ipv4.ip_forward=0", "--sysctl", "kernel.msgmax=1234"];
        let files = ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax"];
        let words = [&["run", "--rm"][..], &words, &["busybox", "cat"], &files].concat();
        assert_eq!(cli.run(&words), "0\n1234\n");
        cli.run(&["rm", "-f", "other"]);
    });
}
