//! Files in and out of containers: `cp`, `diff`, `export`.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{eventually, images, output, run, text};
use crate::{Cli, with_both};

/// A directory for one client, with a file, a directory and a link.
fn sources(cli: &Cli) -> PathBuf {
    let dir = cli.daemon.dir().join(format!("cp{}", cli.official));
    fs::create_dir_all(dir.join("d/sub")).unwrap();
    fs::write(dir.join("f"), "file\n").unwrap();
    fs::write(dir.join("d/sub/a"), "deep\n").unwrap();
    symlink("d/sub/a", dir.join("l")).unwrap();
    chown(dir.join("f"), Some(1234), Some(567)).unwrap();
    dir
}

fn at(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_string()
}

/// The names in a tar archive.
fn listed(archive: &[u8]) -> Vec<String> {
    let mut tar = Command::new("tar");
    let mut tar = tar.arg("tP").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = tar.stdin.take().unwrap();
    let archive = archive.to_vec();
    let feed = std::thread::spawn(move || input.write_all(&archive));
    let mut names = String::new();
    tar.stdout.take().unwrap().read_to_string(&mut names).unwrap();
    feed.join().unwrap().unwrap();
    assert!(tar.wait().unwrap().success());
    names.lines().map(ToString::to_string).collect()
}

/// A tar archive with one file whose name has `..` in it, which careful writers refuse.
fn climbing(name: &str) -> Vec<u8> {
    let mut archive = images::tar(&[(&name.replace("..", "zz"), b"x")]);
    archive[..name.len()].copy_from_slice(name.as_bytes());
    archive[148..156].fill(b' ');
    let sum: u32 = archive[..512].iter().map(|b| u32::from(*b)).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive
}

/// Sends a tar archive to `docker cp - CONTAINER:PATH`.
fn send(cli: &Cli, archive: &[u8], to: &str) -> (bool, String) {
    let mut command = cli.command(&["cp", "-", to]);
    let mut child =
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    // A daemon that refuses need not read everything.
    let _ = child.stdin.take().unwrap().write_all(archive);
    let output = child.wait_with_output().unwrap();
    (output.status.success(), text(&output.stderr))
}

#[test]
fn files_go_in_and_out_by_dockers_table() {
    with_both(|cli| {
        let dir = sources(cli);
        let (file, tree, link) = (at(&dir, "f"), at(&dir, "d"), at(&dir, "l"));
        cli.run(&["create", "--name", "box", "-u", "33:44", "busybox", "true"]);
        let to = |source: &str, place: &str| cli.code(&["cp", source, &format!("box:{place}")]);
        let good = (0, String::new());
        assert_eq!(to(&file, "/new"), good);
        assert_eq!(to(&file, "/tmp/"), good);
        assert_eq!(to(&tree, "/first"), good);
        assert_eq!(to(&tree, "/first"), good, "a second time it goes into the directory");
        assert_eq!(to(&format!("{tree}/."), "/second/"), good);
        assert_eq!(to(&link, "/link"), good);
        assert_eq!(cli.code(&["cp", "-L", &link, "box:/followed"]), good);
        assert_eq!(cli.code(&["cp", "-a", &file, "box:/owned"]), good);
        for (source, place, told) in [
            (
                file.as_str(),
                "/none/x",
                "Error response from daemon: Could not find the file /none in container box",
            ),
            (&file, "/none/", "no such directory"),
            (&tree, "/new", "cannot copy directory"),
            ("/tmp/nonexistent", "/x", "lstat /tmp/nonexistent: no such file or directory"),
        ] {
            let (code, said) = to(source, place);
            assert_eq!(code, 1, "{source} {place}");
            assert!(said.trim_end().ends_with(told), "{source} {place}: {said}");
        }
        let changes = cli.run(&["diff", "box"]);
        for path in [
            "/new",
            "/tmp/f",
            "/first/sub/a",
            "/first/d/sub/a",
            "/second/sub/a",
            "/link",
            "/followed",
            "/owned",
        ] {
            assert!(changes.contains(&format!("A {path}\n")), "{path}: {changes}");
        }
        assert!(changes.contains("C /tmp\n"), "{changes}");

        let out = dir.join("out");
        fs::create_dir(&out).unwrap();
        let from = |place: &str, target: &str| {
            cli.code(&["cp", &format!("box:{place}"), &at(&out, target)])
        };
        assert_eq!(from("/new", "copy"), good);
        assert_eq!(from("/first", ""), good);
        assert_eq!(from("/first/.", "content"), good);
        assert_eq!(from("/link", "link"), good);
        assert_eq!(from("/none", ".").0, 1);
        assert_eq!(from("/new", "none/").1, "no such directory\n");
        assert_eq!(fs::read_to_string(out.join("copy")).unwrap(), "file\n");
        assert_eq!(fs::metadata(out.join("copy")).unwrap().uid(), 0, "it is the caller's");
        assert_eq!(fs::read_to_string(out.join("first/d/sub/a")).unwrap(), "deep\n");
        assert_eq!(fs::read_to_string(out.join("content/sub/a")).unwrap(), "deep\n");
        assert!(fs::symlink_metadata(out.join("link")).unwrap().is_symlink());

        // Streams, and the owners that the kernel sees: the sender's, or with -a the container's.
        let stream = output(&mut cli.command(&["cp", "box:/first/.", "-"])).stdout;
        assert_eq!(listed(&stream), ["./", "./d/", "./d/sub/", "./d/sub/a", "./sub/", "./sub/a"]);
        let sent = send(cli, &images::tar(&[("sent", b"x")]), "box:/tmp");
        assert_eq!(sent, (true, String::new()));
        let script = "stat -c '%n %u:%g' /new /owned /tmp/sent";
        cli.run(&["rm", "box"]);
        cli.run(&["run", "-d", "--name", "box", "-u", "33:44", "busybox", "sleep", "600"]);
        assert_eq!(to(&file, "/new"), good);
        assert_eq!(cli.code(&["cp", "-a", &file, "box:/owned"]), good);
        assert!(send(cli, &images::tar(&[("sent", b"x")]), "box:/tmp").0);
        let owners = cli.run(&["exec", "box", "sh", "-c", script]);
        assert_eq!(owners, "/new 1234:567\n/owned 33:44\n/tmp/sent 0:0\n");
        cli.run(&["rm", "-f", "box"]);
    });
}

#[test]
fn volumes_are_seen_and_what_is_read_only_is_not_written() {
    with_both(|cli| {
        let dir = sources(cli);
        let file = at(&dir, "f");
        let (volume, fixed) = (dir.join("volume"), dir.join("fixed"));
        fs::create_dir(&volume).unwrap();
        fs::create_dir(&fixed).unwrap();
        let writable = format!("{}:/data/volume", volume.display());
        let read_only = format!("{}:/data/volume/fixed:ro", fixed.display());
        let mounts = ["-v", &writable, "-v", &read_only, "--read-only"];
        let program = ["busybox", "sleep", "600"];
        for started in [false, true] {
            let create = [&["create", "--name", "box"][..], &mounts, &program].concat();
            cli.run(&create);
            if started {
                cli.run(&["start", "box"]);
            }
            let _ = fs::remove_file(volume.join("f"));
            let to = |place: &str| cli.code(&["cp", &file, &format!("box:{place}")]);
            assert_eq!(to("/data/volume/"), (0, String::new()));
            assert_eq!(fs::read_to_string(volume.join("f")).unwrap(), "file\n");
            // A link in the volume leads out of it, but not around the protection.
            let _ = symlink("/tmp", volume.join("out"));
            for (place, told) in [
                ("/tmp/x", "container rootfs is marked read-only"),
                ("/data/volume/out/x", "container rootfs is marked read-only"),
                ("/data/volume/fixed/x", "mounted volume is marked read-only"),
            ] {
                let (code, said) = to(place);
                assert_eq!((code, said.contains(told)), (1, true), "{place}: {said}");
            }
            assert_eq!(fs::read_dir(&fixed).unwrap().count(), 0);
            let back = at(&dir, &format!("back{started}"));
            cli.run(&["cp", "box:/data/volume/f", &back]);
            assert_eq!(fs::read_to_string(&back).unwrap(), "file\n");
            cli.run(&["rm", "-f", "box"]);
        }
    });
}

#[test]
fn nothing_in_a_container_leads_a_copy_out_of_it() {
    let daemon = crate::daemon(&[]);
    let cli = Cli { daemon: &daemon, official: false };
    let dir = sources(&cli);
    let secret = dir.join("secret");
    fs::write(&secret, "host\n").unwrap();
    let place = secret.to_str().unwrap();
    // The container swaps a directory for links to the host's, as quickly as it can.
    let script = format!(
        "ln -s {place} /plain; ln -s /../../../../..{} /up; ln -s /proc/1/root /magic; mkdir /dir;
         while :; do mv /dir /kept; ln -s {} /dir; rm /dir; mv /kept /dir; done",
        dir.display(),
        dir.display()
    );
    cli.run(&["run", "-d", "--name", "box", "busybox", "sh", "-c", &script]);
    eventually("the links", || cli.run(&["diff", "box"]).contains("A /magic").then_some(()));
    let below = dir.strip_prefix("/").unwrap().to_str().unwrap();
    for path in ["/plain".to_string(), "/up/secret".into(), format!("/magic/{below}/secret")] {
        for how in [&["cp"][..], &["cp", "-L"]] {
            let source = format!("box:{path}");
            let words = [how, &[&source, "-"]].concat();
            let told = output(&mut cli.command(&words));
            assert!(!text(&told.stdout).contains("host\n"), "{words:?}");
        }
    }
    let evil = images::tar(&[("secret", b"overwritten\n"), ("planted", b"x")]);
    for _ in 0..20 {
        send(&cli, &evil, "box:/dir");
        send(&cli, &evil, "box:/up");
    }
    for name in ["../planted", "../../../planted"] {
        let (good, told) = send(&cli, &climbing(name), "box:/etc");
        assert!(!good && told.contains("is outside of \"/etc\""), "{told}");
    }
    assert_eq!(fs::read_to_string(&secret).unwrap(), "host\n");
    assert!(!dir.join("planted").exists());
    // Names of layers are plain names here, and no archive is too strange to be answered.
    assert!(send(&cli, &images::tar(&[(".wh.passwd", b"")]), "box:/etc").0);
    assert!(cli.run(&["exec", "box", "cat", "/etc/passwd"]).contains("root"));
    let deep = vec!["d".repeat(200); 40].join("/");
    for archive in [images::tar(&[(&deep, b"x")]), b"no archive at all".repeat(100)] {
        let (good, told) = send(&cli, &archive, "box:/tmp");
        assert!(!good && told.len() < 2000, "{told}");
    }
    cli.run(&["rm", "-f", "box"]);
    cli.nothing_left();
    daemon.stop();
}

#[test]
fn an_export_is_the_same_twice_and_a_client_that_leaves_it_leaves_nothing() {
    with_both(|cli| {
        let script =
            "mkdir /x; echo 1 > /x/one; ln /x/one /x/two; mknod /x/null c 1 3; mkfifo /x/pipe;
                      head -c 20000000 /dev/zero > /x/big; rm /bin/ls; echo done; sleep 600";
        cli.run(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
        eventually("the files", || (cli.run(&["logs", "box"]) == "done\n").then_some(()));
        let first = output(&mut cli.command(&["export", "box"])).stdout;
        let second = output(&mut cli.command(&["export", "box"])).stdout;
        assert!(first == second, "two exports differ");
        let names = listed(&first);
        for name in ["x/one", "x/two", "x/null", "x/pipe", ".dockerenv", "etc/hosts", "dev/"] {
            assert!(names.iter().any(|n| n == name), "{name}: {names:?}");
        }
        assert!(!names.iter().any(|n| n == "bin/ls"), "{names:?}");
        let dir = cli.daemon.dir().join(format!("export{}", cli.official));
        fs::create_dir(&dir).unwrap();
        let tar = at(&dir, "x.tar");
        cli.run(&["export", "-o", &tar, "box"]);
        assert!(fs::read(&tar).unwrap() == first);
        run(Command::new("tar").args(["-xf", &tar, "-C"]).arg(&dir));
        let one = fs::metadata(dir.join("x/one")).unwrap();
        assert_eq!(one.ino(), fs::metadata(dir.join("x/two")).unwrap().ino());
        assert_eq!(fs::metadata(dir.join("x/null")).unwrap().rdev(), 0x103);
        let changes = cli.run(&["diff", "box"]);
        let order = ["C /bin\nD /bin/ls\n", "A /x\nA /x/big\nA /x/null\nA /x/one\n"];
        assert!(order.iter().all(|part| changes.contains(part)), "{changes}");

        cli.run(&["kill", "box"]);
        for path in ["export", "archive?path=/"] {
            let mut stream = UnixStream::connect(cli.daemon.socket()).unwrap();
            let request = format!("GET /v1.41/containers/box/{path} HTTP/1.1\r\nHost: d\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            stream.read_exact(&mut [0; 2000]).unwrap();
        }
        let mounted = || cli.daemon.namespace().mounts().contains("/merged ");
        eventually("the end of the mounts", || (!mounted()).then_some(()));
        cli.run(&["rm", "box"]);
    });
}
