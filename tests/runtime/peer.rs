//! The same configuration run by runc and crun: a difference is a mistake of ours, or of the test.

use std::fs;
use std::path::Path;
use std::process::Command;

use multi_core::base::json;
use multi_core::runtime::spec::LinuxResources;

use crate::bundle::Bundle;

/// What a container sees, in an order that does not depend on the runtime.
const SCRIPT: &str = "id; pwd; env | grep -v SHLVL; hostname; umask; \
    grep -E '^(Cap|NoNewPrivs|Seccomp:|SigIgn|SigBlk)' /proc/self/status; \
    cd /dev; for d in null zero full random urandom tty; do stat -c '%n %a %t:%T %u:%g' $d; done; \
    for l in fd stdin stdout stderr ptmx; do echo $l $(readlink $l); done; \
    stat -c '%n %a %u:%g' /dev /dev/pts /dev/shm /dev/mqueue /proc /sys; \
    for m in /proc /dev /dev/pts /dev/shm /dev/mqueue /sys /proc/sys /proc/irq /sys/firmware; do \
      grep \" $m \" /proc/mounts | head -1; done; \
    for f in /proc/kcore /proc/keys /proc/timer_list; do test ! -e $f || head -c 1 $f | wc -c; done; \
    (echo 1 >/proc/sys/vm/drop_caches) 2>&1; touch /sys/x /proc/irq/x 2>&1; \
    ls /proc/self/fd; readlink /proc/self/fd/0; ulimit -a; cat /proc/self/oom_score_adj; exit 3";

#[test]
fn a_container_sees_what_it_sees_under_runc_and_crun() {
    for peer in ["runc", "crun"] {
        let bundle = Bundle::new();
        let mut request = bundle.request(&["sh", "-c", SCRIPT]);
        let spec = &mut request.spec;
        // crun 1.8 refuses to read anything newer.
        spec.oci_version = "1.0.2".into();
        let process = spec.process.as_mut().unwrap();
        process.user.uid = 1000;
        process.user.gid = 1001;
        process.user.additional_gids = vec![2000];
        process.cwd = "/tmp".into();
        process.oom_score_adj = Some(100);
        process.env.push("A=b c".into());
        // The cgroups of this machine's peers are not the matter here.
        spec.mounts.retain(|m| m.kind != "cgroup");
        spec.linux.as_mut().unwrap().resources = Some(LinuxResources::default());
        fs::write(bundle.dir.join("config.json"), json::to_string(spec)).unwrap();
        let Some((code, theirs)) = run_peer(peer, &bundle) else {
            eprintln!("skipped: {peer} is not installed or cannot run here");
            continue;
        };
        let ours = bundle.run(&request).unwrap();
        assert_eq!(ours.0, code, "{peer}: {theirs}");
        let differences: Vec<String> = ours
            .1
            .lines()
            .zip(theirs.lines())
            .filter(|(ours, theirs)| ours != theirs && !is_known(ours, theirs))
            .map(|(ours, theirs)| format!("ours:   {ours}\n{peer}:   {theirs}\n"))
            .collect();
        assert!(differences.is_empty(), "{}", differences.concat());
        assert_eq!(ours.1.lines().count(), theirs.lines().count(), "{}\n{theirs}", ours.1);
    }
}

/// Differences that are the peer's own: `run` passes standard input through a pipe, and what glibc ignores
/// for itself in a program that posix_spawn starts stays ignored.
fn is_known(ours: &str, theirs: &str) -> bool {
    (ours == "/dev/null" && theirs.starts_with("pipe:"))
        || (ours == "SigIgn:\t0000000000000000" && theirs.starts_with("SigIgn:\t0000000"))
}

fn run_peer(peer: &str, bundle: &Bundle) -> Option<(i32, String)> {
    if !["/usr/bin", "/usr/sbin"].iter().any(|dir| Path::new(dir).join(peer).exists()) {
        return None;
    }
    let mut command = Command::new(peer);
    if peer == "crun" {
        command.arg("--cgroup-manager=disabled");
    }
    let out = command
        .arg("--root")
        .arg(bundle.dir.join(peer))
        .args(["run", "--bundle"])
        .arg(&bundle.dir)
        .arg(format!("multi-peer-{}", &bundle.id[..12]))
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if text.is_empty() {
        eprintln!("{peer}: {}", String::from_utf8_lossy(&out.stderr));
    }
    (!text.is_empty()).then(|| (out.status.code().unwrap_or(-1), text))
}
