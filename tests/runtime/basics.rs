//! What a container finds when nothing special is asked for, and what it gets when it is.

use crate::bundle::Bundle;
use multi_core::base::Kind;
use multi_core::runtime::shim::exit_code_of;
use multi_core::runtime::spec::{Mount, Rlimit};

#[test]
fn output_and_exit_code_come_back() {
    let bundle = Bundle::new();
    assert_eq!(bundle.sh("echo hello; echo err >&2; exit 7"), (7, "hello\nerr\n".into()));
    assert_eq!(bundle.sh("kill -9 $$").0, 0, "a first process ignores what it does not handle");
}

#[test]
fn the_process_is_alone_in_its_namespaces() {
    let bundle = Bundle::new();
    let own = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
    let (code, text) = bundle.sh(
        "echo $$; hostname; for n in mnt pid ipc uts net; do readlink /proc/self/ns/$n; done; ps | wc -l",
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((code, lines[0], lines[1]), (0, "1", "box"));
    for (i, name) in ["mnt", "pid", "ipc", "uts", "net"].iter().enumerate() {
        assert_ne!(lines[2 + i], own(name).to_str().unwrap(), "{name}");
    }
    // sh, ps, the head line, and wc if it is there already.
    assert!(["3", "4"].contains(&lines[7].trim()), "{text}");
}

#[test]
fn devices_and_links_are_dockers() {
    let bundle = Bundle::new();
    let (_, text) = bundle.sh(
        "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %a %t:%T' $d; done; \
         for l in fd stdin stdout stderr core ptmx; do echo $l $(readlink $l); done; \
         echo x >null && head -c 3 zero | wc -c; ls; stat -c %a shm mqueue pts",
    );
    let expected = "null 666 1:3\nzero 666 1:5\nfull 666 1:7\nrandom 666 1:8\nurandom 666 1:9\n\
        tty 666 5:0\nfd /proc/self/fd\nstdin /proc/self/fd/0\nstdout /proc/self/fd/1\n\
        stderr /proc/self/fd/2\ncore /proc/kcore\nptmx pts/ptmx\n3\n\
        core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n\
        1777\n1777\n755\n";
    assert_eq!(text, expected);
}

#[test]
fn the_mounts_are_dockers_and_the_hosts_are_gone() {
    let bundle = Bundle::new();
    let (_, text) = bundle.sh("cat /proc/mounts");
    let mounts: Vec<(&str, &str, &str)> = text
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            (fields[1], fields[2], fields[3])
        })
        .collect();
    let find = |path: &str| mounts.iter().filter(|(p, ..)| *p == path).collect::<Vec<_>>();
    assert_eq!(find("/").len(), 1);
    for (path, kind, options) in [
        ("/proc", "proc", "rw,nosuid,nodev,noexec,relatime"),
        ("/dev", "tmpfs", "rw,nosuid,size=65536k,mode=755"),
        ("/sys", "sysfs", "ro,nosuid,nodev,noexec,relatime"),
        ("/dev/mqueue", "mqueue", "rw,nosuid,nodev,noexec,relatime"),
        ("/dev/shm", "tmpfs", "rw,nosuid,nodev,noexec,relatime,size=65536k"),
    ] {
        let (_, found, found_options) = find(path)[0];
        assert_eq!((*found, *found_options), (kind, options), "{path}");
    }
    assert!(find("/dev/pts")[0].2.contains("mode=620,ptmxmode=666"), "{text}");
    // Nothing of the host's tree is left.
    for (path, ..) in &mounts {
        let ours = ["/proc", "/dev", "/sys"].iter().any(|top| path.starts_with(top));
        assert!(*path == "/" || ours, "{path}");
    }
}

#[test]
fn masked_paths_are_empty_and_protected_ones_read_only() {
    let bundle = Bundle::new();
    let (_, text) =
        bundle.sh("for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do \
           test ! -e $f || head -c 1 $f | wc -c; done; \
         ls /sys/firmware | wc -l; (echo 1 >/proc/sys/vm/drop_caches) 2>&1; \
         touch /sys/x 2>&1; touch /sys/firmware/x 2>&1");
    let lines: Vec<&str> = text.lines().collect();
    let (counts, refusals) = lines.split_at(lines.len() - 3);
    assert!(counts.len() >= 2 && counts.iter().all(|count| *count == "0"), "{text}");
    assert_eq!(
        refusals,
        [
            "sh: can't create /proc/sys/vm/drop_caches: Read-only file system",
            "touch: /sys/x: Read-only file system",
            "touch: /sys/firmware/x: Read-only file system",
        ]
    );
}

#[test]
fn capabilities_filter_and_signals_are_set() {
    let bundle = Bundle::new();
    let mut request =
        bundle.request(&["grep", "-E", "^(Cap|Seccomp:|NoNew|Sig(Blk|Ign))", "/proc/self/status"]);
    request.default_seccomp = true;
    let (_, text) = bundle.run(&request).unwrap();
    assert_eq!(
        text.replace('\t', " "),
        "SigBlk: 0000000000000000\nSigIgn: 0000000000000000\n\
         CapInh: 0000000000000000\nCapPrm: 00000000a80425fb\nCapEff: 00000000a80425fb\n\
         CapBnd: 00000000a80425fb\nCapAmb: 0000000000000000\nNoNewPrivs: 0\nSeccomp: 2\n"
    );
    request.spec.process.as_mut().unwrap().no_new_privileges = true;
    let (_, text) = bundle.run(&request).unwrap();
    assert!(text.contains("NoNewPrivs:\t1\nSeccomp:\t2"), "{text}");
    request.default_seccomp = false;
    request.spec.process.as_mut().unwrap().capabilities = Some(Default::default());
    let (_, text) = bundle.run(&request).unwrap();
    assert!(text.contains("CapBnd:\t0000000000000000") && text.contains("Seccomp:\t0"), "{text}");
}

#[test]
fn the_user_is_looked_up_in_the_image() {
    let bundle = Bundle::new();
    let mut request = bundle.request(&["sh", "-c", "id; echo $HOME; echo ok >/dev/stdout"]);
    request.user = "u".into();
    let (_, text) = bundle.run(&request).unwrap();
    assert_eq!(text, "uid=1000(u) gid=1001(u) groups=1001(u),2000(extra)\n/home/u\nok\n");
    request.user = "12:34".into();
    request.groups = vec!["extra".into()];
    let (_, text) = bundle.run(&request).unwrap();
    assert!(text.starts_with("uid=12 gid=34 groups=") && text.contains("2000(extra)"), "{text}");
    request.user = "nobody-here".into();
    let e = bundle.run(&request).unwrap_err();
    assert_eq!(e.message(), "unable to find user nobody-here: no matching entries in passwd file");
}

#[test]
fn errors_of_the_program_are_dockers() {
    let bundle = Bundle::new();
    let before =
        "OCI runtime create failed: runc create failed: unable to start container process: ";
    for (program, text, code) in [
        ("nosuch", r#"exec: "nosuch": executable file not found in $PATH"#, 127),
        ("/nosuch", r#"exec: "/nosuch": stat /nosuch: no such file or directory"#, 127),
        ("/etc/passwd", r#"exec: "/etc/passwd": permission denied"#, 126),
        ("/etc", r#"exec: "/etc": is a directory"#, 126),
    ] {
        let e = bundle.run(&bundle.request(&[program])).unwrap_err();
        assert_eq!(e.message(), format!("{before}{text}: unknown"));
        assert_eq!(exit_code_of(&e), code);
    }
    // Known only to execve: the container has started and says so itself, as with runc.
    std::fs::write(bundle.root().join("bin/script"), "#!/nosuch\n").unwrap();
    make_executable(&bundle, "bin/script");
    let done = bundle.run(&bundle.request(&["script"])).unwrap();
    assert_eq!(done, (255, "exec script: no such file or directory\n".into()));
}

fn make_executable(bundle: &Bundle, path: &str) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(bundle.root().join(path), mode).unwrap();
}

#[test]
fn the_working_directory_is_made_and_entered() {
    let bundle = Bundle::new();
    let mut request = bundle.request(&["pwd"]);
    request.spec.process.as_mut().unwrap().cwd = "/new/dir".into();
    assert_eq!(bundle.run(&request).unwrap(), (0, "/new/dir\n".into()));
    request.spec.process.as_mut().unwrap().cwd = "/etc/passwd".into();
    let e = bundle.run(&request).unwrap_err();
    assert!(
        e.message().ends_with(
            r#"chdir to cwd ("/etc/passwd") set in config.json failed: not a directory: unknown"#
        ),
        "{e}"
    );
}

#[test]
fn limits_sysctls_and_a_read_only_root_are_applied() {
    let bundle = Bundle::new();
    let mut request = bundle.request(&[
        "sh",
        "-c",
        "ulimit -n; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced; touch /x 2>&1; umask",
    ]);
    let process = request.spec.process.as_mut().unwrap();
    process.rlimits = vec![Rlimit { kind: "RLIMIT_NOFILE".into(), hard: 200, soft: 100 }];
    let linux = request.spec.linux.as_mut().unwrap();
    linux.sysctl.insert("net.ipv4.ip_forward".into(), "1".into());
    linux.sysctl.insert("kernel.shm_rmid_forced".into(), "1".into());
    request.spec.root.as_mut().unwrap().readonly = true;
    let (_, text) = bundle.run(&request).unwrap();
    assert_eq!(text, "100\n1\n1\ntouch: /x: Read-only file system\n0022\n");
}

#[test]
fn bind_mounts_take_files_directories_and_options() {
    let bundle = Bundle::new();
    let source = bundle.dir.join("source");
    std::fs::create_dir_all(source.join("sub")).unwrap();
    std::fs::write(source.join("file"), "content\n").unwrap();
    let bind = |from: &std::path::Path, to: &str, options: &[&str]| Mount {
        destination: to.into(),
        kind: "bind".into(),
        source: from.to_str().unwrap().into(),
        options: options.iter().map(|s| s.to_string()).collect(),
        ..Mount::default()
    };
    let mut request = bundle.request(&[
        "sh",
        "-c",
        "cat /a/b/file /data/file; touch /data/new /ro/x 2>&1; ls /ro; \
         grep -E ' /(ro|data) ' /proc/self/mountinfo | grep -c -E 'shared|master'; \
         grep ' /ro ' /proc/mounts | grep -c nosuid",
    ]);
    request.spec.mounts.extend([
        bind(&source.join("file"), "/a/b/file", &["rbind", "ro", "rprivate"]),
        bind(&source, "/data", &["rbind", "rprivate"]),
        bind(&source, "/ro", &["rbind", "ro", "nosuid", "rprivate"]),
    ]);
    let (_, text) = bundle.run(&request).unwrap();
    assert_eq!(
        text,
        "content\ncontent\ntouch: /ro/x: Read-only file system\nfile\nnew\nsub\n0\n1\n"
    );
    // A file onto a directory: Docker's hint.
    request.spec.mounts.push(bind(&source.join("file"), "/tmp", &["rbind"]));
    let e = bundle.run(&request).unwrap_err();
    assert!(e.message().contains("Are you trying to mount a directory onto a file"), "{e}");
    // A source that is missing.
    request.spec.mounts.pop();
    request.spec.mounts.push(bind(&source.join("none"), "/tmp", &["rbind"]));
    let e = bundle.run(&request).unwrap_err();
    assert!(e.message().contains("no such file or directory"), "{e}");
    assert_eq!(e.kind(), Kind::Io);
}

#[test]
fn the_first_process_can_be_our_reaper() {
    let bundle = Bundle::new();
    let script = "tr '\\0' ' ' </proc/1/cmdline; echo; (sleep 0.01 &); exit 3";
    let mut request = bundle.request(&["sh", "-c", script]);
    request.init = true;
    let (code, text) = bundle.run(&request).unwrap();
    assert_eq!(code, 3);
    assert!(text.starts_with("/sbin/docker-init -- sh -c "), "{text}");
    let mut request = bundle.request(&["nosuch"]);
    request.init = true;
    assert_eq!(bundle.run(&request).unwrap().0, 127);
}
