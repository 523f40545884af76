//! The built-in runtime's command line beside crun and runc: the same bundle, in turn.
//!
//! All of it is counted, from the fork of the runtime to its end with the container gone. A host with
//! controllers on both versions of cgroups is shown to crun without the second, which it would refuse.

use std::path::Path;
use std::process::Command;

use crate::peers::{Docker, Multi, multi};
use crate::support::namespace::Namespace;
use crate::support::{Scratch, images, run};
use crate::{median, time};

/// Times `run` of a container that does nothing.
pub(crate) fn runs(_: &Multi, _: &Docker, runs: usize) {
    let (namespace, dir) = (Namespace::new(), Scratch::new("b"));
    let unified = "/sys/fs/cgroup/unified";
    if namespace.mounts().contains(&format!(" {unified} ")) {
        run(namespace.command("umount").arg(unified));
    }
    let root = dir.join("rootfs");
    std::fs::create_dir(&root).expect("the directory is ours");
    std::fs::write(dir.join("root.tar"), images::busybox_tar()).expect("the directory is ours");
    run(Command::new("tar").arg("-xf").arg(dir.join("root.tar")).arg("-C").arg(&root));
    run(Command::new(multi()).args(["runtime", "spec", "-b"]).arg(dir.path()));
    let config = std::fs::read_to_string(dir.join("config.json")).expect("it was just written");
    let config = config
        .replace("\"terminal\": true", "\"terminal\": false")
        .replace("\"sh\"", "\"/bin/busybox\", \"true\"")
        .replace(multi_core::runtime::spec::OCI_VERSION, "1.0.2");
    std::fs::write(dir.join("config.json"), config).expect("the directory is ours");
    let ours = multi();
    let peers = ["/usr/bin/crun", "/usr/sbin/runc"].map(Path::new);
    let all: Vec<&Path> =
        std::iter::once(ours.as_path()).chain(peers.into_iter().filter(|p| p.exists())).collect();
    let mut times = vec![Vec::new(); all.len()];
    for round in 0..=runs {
        for (program, times) in all.iter().zip(&mut times) {
            let mut command = namespace.command(program.to_str().expect("a plain path"));
            if *program == ours {
                command.arg("runtime");
            }
            let state = dir.join(program.file_name().unwrap_or_default());
            command.arg("--root").arg(state).args(["run", "-b"]).arg(dir.path());
            let taken = time(command.arg(format!("multi-bench-{}", std::process::id())));
            // The first round warms caches up and is not counted.
            if round > 0 {
                times.push(taken);
            }
        }
    }
    let times: Vec<f64> = times.into_iter().map(|t| median(t).as_secs_f64() * 1e3).collect();
    for (program, theirs) in all.iter().zip(&times).skip(1) {
        let what =
            format!("{} run, same bundle", program.file_name().unwrap_or_default().display());
        crate::row(&what, times[0], *theirs, "ms");
    }
}
