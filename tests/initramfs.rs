//! The recipe of the README for an initramfs, followed to the letter, and its archive run as the root of
//! new namespaces: nothing of this machine is there but its kernel.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{MULTI, Scratch, images, run, text};

/// The indented lines after the heading, without their indentation.
fn recipe() -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let section = readme.split("\n## In an initramfs\n").nth(1).unwrap();
    let lines = section.lines().skip_while(|line| !line.starts_with("    "));
    lines.map_while(|line| line.strip_prefix("    ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_recipe_of_the_readme_makes_a_root_that_runs_containers() {
    let dir = Scratch::new("initramfs");
    // The executable under test in the place of a release.
    fs::create_dir(dir.join("tests")).unwrap();
    fs::write(dir.join("tests/build"), format!("#!/bin/sh\necho {MULTI}\n")).unwrap();
    fs::set_permissions(dir.join("tests/build"), fs::Permissions::from_mode(0o755)).unwrap();
    run(Command::new("sh").args(["-euc", &recipe()]).current_dir(dir.path()));
    let size = fs::metadata(dir.join("initramfs.gz")).unwrap().len();
    assert!(size > 1_000_000, "{size} bytes");

    let archive = dir.join("image.tar");
    run(Command::new("skopeo").args(["copy", "-q", "--insecure-policy"]).args([
        format!("oci:{}", images::busybox().path().display()),
        format!("docker-archive:{}:busybox:latest", archive.display()),
    ]));
    // What a kernel does: the archive becomes the root, and its /init the first process.
    let boot = "mount -t tmpfs -o size=200m root new; cd new; gzip -dc ../initramfs.gz | busybox cpio -i; \
                cp ../image.tar .; mkdir old; pivot_root . old; exec bin/busybox chroot . bin/busybox \
                sh -c 'busybox umount -l /old; exec /init'";
    fs::create_dir(dir.join("new")).unwrap();
    let mut machine = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"])
        .args(["--propagation", "private", "sh", "-euc", boot])
        .current_dir(dir.path())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Typed at the shell that /init ends in.
    let session = "export PATH=/bin
        until docker version >/dev/null 2>&1; do busybox sleep 0.1; done
        docker load -q -i /image.tar
        docker run --rm busybox echo from a container
        docker run -d --name server -p 8080:80 busybox sh -c 'echo page >/tmp/index.html; httpd -f -h /tmp'
        busybox sleep 0.1
        until busybox wget -q -O - http://172.17.0.1:8080/; do busybox sleep 0.1; done
        docker exec server hostname -i
        docker rm -f server
        echo left: $(busybox ls /var/lib/docker/containers)
        kill $(busybox cat /var/run/docker.pid)
        while [ -e /var/run/docker.pid ]; do busybox sleep 0.1; done
        echo done
        exit\n";
    machine.stdin.take().unwrap().write_all(session.as_bytes()).unwrap();
    let output = machine.wait_with_output().unwrap();
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.contains(&"from a container"), "{said}\n{told}");
    assert!(lines.contains(&"page"), "{said}\n{told}");
    assert!(lines.contains(&"172.17.0.2"), "{said}\n{told}");
    assert!(lines.contains(&"left:"), "{said}\n{told}");
    assert_eq!(lines.last(), Some(&"done"), "{said}\n{told}");
}
