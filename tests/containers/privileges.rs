//! Privileges of a container's processes, by what the kernel says of them.

use crate::support::daemon::Daemon;
use crate::support::{MULTI, images, output, run};
use crate::{Cli, daemon, with_both};

/// Lines of /proc/self/status in a new container with these options, their values only.
fn status(cli: &Cli, options: &[&str], lines: &str) -> Vec<String> {
    let words = [&["run", "--rm", "--net", "none"][..], options].concat();
    let told =
        cli.run(&[&words[..], &["busybox", "grep", "-E", lines, "/proc/self/status"]].concat());
    told.lines().filter_map(|line| line.split_once('\t')).map(|(_, v)| v.trim().into()).collect()
}

#[test]
fn capabilities_are_dockers_whatever_the_order_and_the_spelling() {
    with_both(|cli| {
        let default = "00000000a80425fb";
        let all =
            run(std::process::Command::new("sh").args(["-c", "grep CapBnd /proc/self/status"]));
        let all = u64::from_str_radix(all.split_whitespace().nth(1).unwrap(), 16).unwrap();
        let all_but_chown = format!("{:016x}", all & !1);
        let all = format!("{all:016x}");
        for (options, expected) in [
            (&[][..], default),
            (&["--cap-drop", "all"], "0000000000000000"),
            (&["--cap-add", "ALL"], all.as_str()),
            (&["--cap-add", "all", "--cap-drop", "all"], all.as_str()),
            (&["--cap-drop", "CAP_chown", "--cap-add", "ALL"], all_but_chown.as_str()),
            (&["--cap-drop", "ALL", "--cap-add", "net_admin"], "0000000000001000"),
            (&["--cap-drop", "chown", "--cap-add", "CAP_CHOWN"], default),
            (&["--privileged", "--cap-drop", "all"], all.as_str()),
        ] {
            let found = status(cli, options, "^Cap(Prm|Eff|Bnd)");
            assert_eq!(found, [expected; 3], "{options:?}");
        }
        // Another user has them only to get back.
        assert_eq!(status(cli, &["-u", "7"], "^Cap(Eff|Bnd)"), ["0000000000000000", default]);
    });
}

#[test]
fn security_options_set_the_bits_and_the_filter() {
    with_both(|cli| {
        let profile = cli.daemon.dir().join("profile.json");
        let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"names": ["rmdir"], "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"name": "chmod", "action": "SCMP_ACT_ERRNO", "excludes": {"minKernel": "3.0"}}]}"#;
        std::fs::write(&profile, text).unwrap();
        let profile = format!("seccomp={}", profile.display());
        let bits = "^(NoNewPrivs|Seccomp):";
        for (options, expected) in [
            (&[][..], ["0", "2"]),
            (&["--security-opt", "no-new-privileges"], ["1", "2"]),
            (&["--security-opt", "no-new-privileges:false"], ["0", "2"]),
            (&["--security-opt", "no-new-privileges=1"], ["1", "2"]),
            (&["--security-opt", "seccomp=unconfined"], ["0", "0"]),
            (&["--security-opt", "seccomp=builtin"], ["0", "2"]),
            (&["--security-opt", &profile], ["0", "2"]),
            (&["--privileged"], ["0", "0"]),
            (&["--privileged", "--security-opt", &profile], ["0", "2"]),
        ] {
            assert_eq!(status(cli, options, bits), expected, "{options:?}");
        }
        let script =
            "mkdir /x; mkdir -p /y; rmdir /tmp 2>&1 && echo gone; chmod 700 /etc && echo done";
        let words = ["run", "--rm", "--security-opt", &profile, "busybox", "sh", "-c", script];
        let found = output(&mut cli.command(&words));
        let told = String::from_utf8_lossy(&found.stdout).into_owned();
        assert_eq!(told, "gone\ndone\n");
        assert!(String::from_utf8_lossy(&found.stderr).contains("No space left"), "{found:?}");

        // Without the module of the kernel, Docker does without, and we say so.
        let words = ["run", "--rm", "--security-opt", "label=type:x", "busybox", "true"];
        let (code, told) = cli.code(&words);
        assert_eq!(code, 0);
        assert!(told.contains("label=type:x") || selinux(), "{told}");
        for bad in ["x=y", "no-new-privileges=maybe", "writable-cgroups=x"] {
            let (code, told) = cli.code(&["run", "--rm", "--security-opt", bad, "busybox", "true"]);
            assert_eq!((code, told.contains("invalid --security-opt 2")), (125, true), "{told}");
        }
    });
}

fn selinux() -> bool {
    std::path::Path::new("/sys/fs/selinux/enforce").exists()
}

#[test]
fn proc_and_sys_are_covered_unless_the_container_is_trusted() {
    with_both(|cli| {
        let sh = |options: &[&str], script: &str| {
            let words = [&["run", "--rm", "--net", "none"][..], options].concat();
            cli.run(&[&words[..], &["busybox", "sh", "-c", script]].concat())
        };
        let covered = "grep -cE ' /proc/[a-z]' /proc/mounts; \
            for d in /sys /sys/fs/cgroup; do grep \" $d \" /proc/mounts | cut -d' ' -f4 | cut -c1-2; done";
        let told = sh(&[], covered);
        assert!(told.ends_with("ro\nro\n") && !told.starts_with("0\n"), "{told}");
        assert_eq!(sh(&["--privileged"], covered), "0\nrw\nrw\n");
        assert_eq!(sh(&["--security-opt", "systempaths=unconfined"], covered), "0\nro\nro\n");
        let told = sh(&["--security-opt", "writable-cgroups=true"], covered);
        assert!(told.ends_with("ro\nrw\n"), "{told}");
        let hosts = std::fs::read_dir("/dev").unwrap().flatten().find(|entry| {
            use std::os::unix::fs::FileTypeExt;
            let usual = ["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"];
            let name = entry.file_name();
            let kind = entry.file_type().unwrap();
            (kind.is_char_device() || kind.is_block_device()) && usual.iter().all(|u| name != *u)
        });
        if let Some(device) = hosts {
            sh(&["--privileged"], &format!("stat /dev/{}", device.file_name().to_str().unwrap()));
        }
        let id = cli.run(&["create", "--privileged", "busybox"]);
        assert_eq!(cli.inspect(id.trim(), "{{.HostConfig.SecurityOpt}}"), "[label=disable]");
        cli.run(&["rm", id.trim()]);
    });
}

#[test]
fn the_user_and_its_groups_are_the_images() {
    with_both(|cli| {
        let who = |options: &[&str]| {
            let words = [&["run", "--rm", "--net", "none"][..], options].concat();
            let script = "grep -E '^(Uid|Gid|Groups)' /proc/self/status | cut -f2";
            let told = cli.run(&[&words[..], &["busybox", "sh", "-c", script]].concat());
            told.lines().map(|line| line.trim().to_string()).collect::<Vec<_>>()
        };
        // The image's root is in no group but its own.
        assert_eq!(who(&[]), ["0", "0", "0"]);
        assert_eq!(who(&["-u", "77:88"]), ["77", "88", "88"]);
        assert_eq!(who(&["-u", ":33"]), ["0", "33", "33"]);
        assert_eq!(who(&["-u", "5", "--group-add", "44", "--group-add", "0"]), ["5", "0", "0 44"]);
        for (options, expected) in [
            (["-u", "nosuch"], "unable to find user nosuch: no matching entries in passwd file"),
            (["-u", "0:nosuch"], "unable to find group nosuch: no matching entries in group file"),
            (["--group-add", "nosuch"], "Unable to find group nosuch: no matching entries"),
            (["-u", "99999999999"], "uids and gids must be in range 0-2147483647"),
        ] {
            let words = [&["run", "--rm"][..], &options, &["busybox", "true"]].concat();
            let (code, told) = cli.code(&words);
            assert_eq!((code, told.contains(expected)), (125, true), "{told}");
        }
    });
}

#[test]
fn an_exec_has_the_confinement_of_its_container() {
    with_both(|cli| {
        let options = ["--security-opt", "no-new-privileges", "--cap-drop", "chown", "-u", "0:5"];
        let words = [&["run", "-d", "--name", "xx"][..], &options, &["busybox", "sleep", "1000"]];
        cli.run(&words.concat());
        let pid = cli.inspect("xx", "{{.State.Pid}}");
        let script = "grep -E '^(Cap|NoNewPrivs|Seccomp|Groups)' /proc/self/status";
        let told = cli.run(&["exec", "xx", "sh", "-c", script]);
        let first = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        for line in told.lines() {
            assert!(first.contains(line), "{line} is not in\n{first}");
        }
        let script = "for n in ipc mnt net pid uts cgroup; do readlink /proc/self/ns/$n; done";
        for line in cli.run(&["exec", "xx", "sh", "-c", script]).lines() {
            let kind = line.split(':').next().unwrap();
            let own = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
            assert_eq!(own.to_string_lossy(), line);
        }
        assert_eq!(
            cli.run(&["exec", "xx", "cat", "/proc/self/cgroup"]),
            std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap()
        );
        // All capabilities; the filter stays, as with Docker.
        let script = "grep -E '^(CapBnd|Seccomp:)' /proc/self/status | cut -f2";
        let told = cli.run(&["exec", "--privileged", "xx", "sh", "-c", script]);
        let bound = std::fs::read_to_string("/proc/self/status").unwrap();
        let bound = bound.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
        assert_eq!(told, format!("{bound}\n2\n"));
        let told = cli.run(&[
            "exec",
            "-u",
            "7:8",
            "-w",
            "/etc",
            "-e",
            "A=b",
            "xx",
            "sh",
            "-c",
            "echo $(id -u):$(id -g) $PWD $A",
        ]);
        assert_eq!(told, "7:8 /etc b\n");
        cli.run(&["rm", "-f", "xx"]);
    });
}

#[test]
fn the_daemons_defaults_apply_to_new_containers() {
    let dir = std::env::temp_dir().join(format!("multi-profile-{}", std::process::id()));
    std::fs::write(&dir, r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"mkdir","action":"SCMP_ACT_ERRNO"}]}"#).unwrap();
    let profile = dir.to_str().unwrap().to_string();
    let daemon = daemon(&[
        "--no-new-privileges",
        "--seccomp-profile",
        &profile,
        "--default-ipc-mode=shareable",
        "--default-cgroupns-mode=private",
        "--init",
    ]);
    std::fs::remove_file(&dir).unwrap();
    let cli = Cli { daemon: &daemon, official: true };
    assert_eq!(status(&cli, &[], "^(NoNewPrivs|Seccomp):"), ["1", "2"]);
    let off = ["--security-opt", "no-new-privileges=false", "--security-opt", "seccomp=unconfined"];
    assert_eq!(status(&cli, &off, "^(NoNewPrivs|Seccomp):"), ["0", "0"]);
    let script =
        "mkdir /x 2>/dev/null || echo refused; cat /proc/1/comm; head -1 /proc/self/cgroup";
    let told = cli.run(&["run", "--rm", "busybox", "sh", "-c", script]);
    assert!(told.starts_with("refused\ndocker-init\n") && told.ends_with(":/\n"), "{told}");
    let id = cli.run(&["run", "-d", "--init=false", "busybox", "sleep", "1000"]);
    let ipc = format!("--ipc=container:{}", id.trim());
    assert_eq!(cli.run(&["run", "--rm", &ipc, "busybox", "cat", "/proc/1/comm"]), "docker-init\n");
    assert_eq!(cli.run(&["exec", id.trim(), "cat", "/proc/1/comm"]), "sleep\n");
    assert_eq!(
        cli.run(&["run", "--rm", "--pid=host", "busybox", "sh", "-c", "cat /proc/$$/comm; true"]),
        "sh\n"
    );
    cli.run(&["rm", "-f", id.trim()]);
    let told = cli.run(&["info", "-f", "{{.SecurityOptions}}"]);
    assert!(told.contains(&format!("name=seccomp,profile={profile}")), "{told}");
    assert!(told.contains("name=no-new-privileges"), "{told}");
    daemon.stop();
}

#[test]
fn a_reaper_of_ones_own_and_a_start_without_pivot_root() {
    let path = std::env::temp_dir().join(format!("multi-reaper-{}", std::process::id()));
    std::fs::write(&path, "#!/bin/sh\nshift\necho mine $$\nexec \"$@\"\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).unwrap();
    let options = ["--init-path", path.to_str().unwrap()];
    let mut daemon = Daemon::new(std::path::Path::new(MULTI), &options);
    daemon.set_env("DOCKER_RAMDISK", "1");
    daemon.start_again();
    daemon.load(&images::busybox(), "busybox:latest");
    let told = daemon.docker(&["run", "--rm", "--init", "busybox", "sh", "-c", "echo $$ $0"]);
    assert_eq!(told, "mine 1\n1 sh\n");
    // The first mount of its list is the container's root, whose parent is not to be seen.
    let told = daemon.docker(&["run", "--rm", "busybox", "head", "-1", "/proc/self/mountinfo"]);
    assert!(told.contains(" / / rw"), "{told}");
    let hosts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let told =
        daemon.docker(&["run", "--rm", "--privileged", "busybox", "cat", "/proc/self/mountinfo"]);
    let roots = told.lines().filter(|line| line.split(' ').nth(4) == Some("/")).count();
    assert!(roots == 1 && told.lines().all(|line| !hosts.contains(line)), "{told}");
    std::fs::remove_file(&path).unwrap();
    daemon.stop();
}
