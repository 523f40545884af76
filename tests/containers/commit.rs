//! Images made out of containers and archives: `commit`, `import`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::support::daemon::Daemon;
use crate::support::{eventually, images, output, run, text};
use crate::{Cli, with_both};

/// What a template makes of an image.
fn image(cli: &Cli, name: &str, format: &str) -> String {
    cli.run(&["image", "inspect", "-f", format, name]).trim_end().to_string()
}

#[test]
fn a_commit_holds_the_changes_and_the_configuration() {
    with_both(|cli| {
        let script = "mkdir /made; echo new > /made/file; rm /bin/ls; echo volume > /data/file";
        let words = ["run", "--name", "box", "-e", "X=y", "-l", "a=b", "-v", "/data", "busybox"];
        cli.run(&[&words[..], &["sh", "-c", script]].concat());
        let changes = [
            "CMD [\"cat\",\"/made/file\"]",
            "ENV Q=1 Z=\"x $X\"",
            "EXPOSE 80 90-91/udp",
            "LABEL k=v",
            "USER 33:44",
            "WORKDIR made",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --interval=3s CMD true",
        ];
        let mut commit = vec!["commit", "-a", "me", "-m", "why"];
        changes.iter().for_each(|change| commit.extend(["-c", change]));
        let id = cli.run(&[&commit[..], &["box", "made:1"]].concat());
        assert_eq!(image(cli, "made:1", "{{.Id}}"), id.trim_end());
        for (format, expected) in [
            ("{{.Author}} {{.Comment}}", "me why"),
            ("{{.Config.Env}}", "[X=y PATH"),
            ("{{json .Config.Cmd}}", r#"["cat","/made/file"]"#),
            ("{{json .Config.ExposedPorts}}", r#"{"80/tcp":{},"90/udp":{},"91/udp":{}}"#),
            ("{{json .Config.Labels}}", r#"{"a":"b","k":"v"}"#),
            ("{{.Config.User}} {{.Config.WorkingDir}}", "33:44 /made"),
            ("{{.Config.StopSignal}}", "SIGINT"),
            (
                "{{json .Config.Healthcheck}}",
                r#"{"Test":["CMD-SHELL","true"],"Interval":3000000000}"#,
            ),
            ("{{len .RootFS.Layers}}", "2"),
        ] {
            let told = image(cli, "made:1", format);
            let fits =
                if format.contains("Env") { told.contains("Z=x y") } else { told == expected };
            assert!(fits, "{format}: {told}");
        }
        let history = cli.run(&[
            "history",
            "--no-trunc",
            "--format",
            "{{.CreatedBy}}|{{.Comment}}",
            "made:1",
        ]);
        assert_eq!(history.lines().next().unwrap(), format!("sh -c {script}|why"));
        // The files are there, without what was removed and without volumes; the user is the new one.
        let told = cli.run(&["run", "--rm", "made:1"]);
        assert_eq!(told, "new\n");
        let script = "id -u; test -e /bin/ls || test -e /data/file || echo none";
        assert_eq!(cli.run(&["run", "--rm", "made:1", "sh", "-c", script]), "33\nnone\n");
        assert!(cli.events("box").contains(&"commit".to_string()));

        // What changed nothing has no layer; what cannot be meant leaves nothing.
        cli.run(&["create", "--name", "idle", "busybox", "true"]);
        cli.run(&["commit", "idle", "idle"]);
        assert_eq!(image(cli, "idle", "{{len .RootFS.Layers}}"), "1");
        let images = cli.run(&["images", "-aq"]);
        for (change, told) in [
            ("RUN x", "run is not a valid change command"),
            ("ENV", "ENV requires at least one argument"),
            ("EXPOSE abc", "Invalid containerPort: abc"),
        ] {
            let (code, said) = cli.code(&["commit", "-c", change, "box"]);
            assert_eq!((code, said.contains(told)), (1, true), "{said}");
        }
        assert_eq!(cli.code(&["commit", "box", "Bad:1"]).0, 1);
        assert_eq!(cli.run(&["images", "-aq"]), images);
        if !cli.official {
            cli.run(&["commit", "--run={\"Cmd\":[\"echo\",\"old form\"]}", "box", "old"]);
            assert_eq!(cli.run(&["run", "--rm", "old"]), "old form\n");
            cli.run(&["rmi", "old"]);
        }
        cli.run(&["rm", "-v", "box", "idle"]);
        cli.run(&["rmi", "made:1", "idle"]);
    });
}

#[test]
fn a_running_container_stands_still_for_its_commit_and_goes_on() {
    with_both(|cli| {
        // Two files that are always written one after the other.
        let name = if cli.official { "theirs" } else { "ours" };
        let script = "i=0; while :; do i=$((i+1)); echo $i > /one; echo $i > /two; done";
        cli.run(&["run", "-d", "--name", name, "busybox", "sh", "-c", script]);
        eventually("the files", || cli.run(&["diff", name]).contains("A /two").then_some(()));
        for turn in 0..3 {
            let image = format!("still:{turn}");
            cli.run(&["commit", name, &image]);
            let told = cli.run(&["run", "--rm", "--net", "none", &image, "cat", "/one", "/two"]);
            let numbers: Vec<u64> = told.lines().filter_map(|line| line.parse().ok()).collect();
            assert!(numbers.len() < 2 || numbers[0] - numbers[1] <= 1, "{told}");
            assert_eq!(cli.inspect(name, "{{.State.Status}}"), "running");
            cli.run(&["rmi", &image]);
        }
        let events = cli.events(name);
        assert!(["pause", "unpause"].iter().all(|e| events.contains(&e.to_string())), "{events:?}");
        let before = cli.run(&["exec", name, "cat", "/one"]);
        eventually("its going on", || {
            (cli.run(&["exec", name, "cat", "/one"]) != before).then_some(())
        });
        cli.run(&["commit", "-p=false", name, "moving"]);
        assert_eq!(cli.events(name).iter().filter(|e| *e == "pause").count(), 3);
        cli.run(&["rm", "-f", name]);
        cli.run(&["rmi", "moving"]);
    });
}

#[test]
fn an_export_comes_back_by_import() {
    with_both(|cli| {
        cli.run(&["run", "--name", "box", "busybox", "sh", "-c", "echo kept > /kept"]);
        let dir = cli.daemon.dir().join(format!("import{}", cli.official));
        fs::create_dir(&dir).unwrap();
        let tar = dir.join("x.tar");
        let tar = tar.to_str().unwrap();
        cli.run(&["export", "-o", tar, "box"]);
        cli.run(&["rm", "box"]);
        let import = ["import", "-m", "from here", "-c", "CMD [\"cat\",\"/kept\"]"];
        let id = cli.run(&[&import[..], &[tar, "back:1"]].concat());
        assert_eq!(
            image(cli, "back:1", "{{.Id}} {{.Comment}} {{.Os}}"),
            format!("{} from here linux", id.trim_end())
        );
        assert_eq!(cli.run(&["run", "--rm", "back:1"]), "kept\n");

        // Compressed, from standard input; and from a server, by a detour.
        run(Command::new("gzip").arg(tar));
        let mut command = cli.command(&["import", "-"]);
        let file = fs::File::open(format!("{tar}.gz")).unwrap();
        let told = command.stdin(Stdio::from(file)).output().unwrap();
        let nameless = text(&told.stdout);
        assert_eq!(image(cli, nameless.trim_end(), "{{.Comment}}"), "Imported from -");
        let layers = "{{json .RootFS.Layers}}";
        assert_eq!(image(cli, nameless.trim_end(), layers), image(cli, "back:1", layers));
        let (port, server) = serve(cli.daemon, fs::read(format!("{tar}.gz")).unwrap());
        let url = format!("http://127.0.0.1:{port}/moved");
        let told = cli.run(&["import", &url, "far"]);
        server.join().unwrap();
        assert!(told.contains("Downloading from"), "{told}");
        assert_eq!(image(cli, "far", "{{.Comment}}"), format!("Imported from {url}"));
        assert_eq!(image(cli, "far", layers), image(cli, "back:1", layers));

        let kept = cli.run(&["images", "-aq"]);
        fs::write(tar, b"no archive at all".repeat(100)).unwrap();
        for words in [
            &["import", tar][..],
            &["import", "/nonexistent"],
            &["import", "http://127.0.0.1:1/x"],
            &["import", "-c", "RUN x", tar],
            &["import", "--platform", "windows/amd64", tar],
        ] {
            assert_eq!(cli.code(words).0, 1, "{words:?}");
        }
        assert_eq!(cli.run(&["images", "-aq"]), kept);
        cli.run(&["rmi", "back:1", nameless.trim_end(), "far"]);
    });
}

/// A server in the daemon's network that sends on from every path to another, and there gives `content`.
fn serve(daemon: &Daemon, content: Vec<u8>) -> (u16, std::thread::JoinHandle<()>) {
    let pid = daemon.namespace().pid();
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let network = fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
        nix::sched::setns(&network, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        tell.send(listener.local_addr().unwrap().port()).unwrap();
        for moved in [true, false] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let answer = match moved {
                true => {
                    "HTTP/1.1 302 Found\r\nLocation: /here\r\nContent-Length: 0\r\n".to_string()
                }
                false => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", content.len()),
            };
            stream.write_all(format!("{answer}Connection: close\r\n\r\n").as_bytes()).unwrap();
            if !moved {
                stream.write_all(&content).unwrap();
            }
        }
    });
    (told.recv().unwrap(), thread)
}

#[test]
fn a_daemon_killed_amid_commits_and_imports_leaves_no_trace_and_no_container_standing() {
    let mut daemon = Daemon::start();
    daemon.load(&images::busybox(), "busybox:latest");
    let script =
        "for i in $(seq 300); do head -c 20000 /dev/zero > /f$i; done; echo done; sleep 600";
    daemon.docker(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    eventually("the files", || (daemon.docker(&["logs", "box"]) == "done\n").then_some(()));
    let archive = daemon.dir().join("x.tar");
    daemon.docker(&["export", "-o", archive.to_str().unwrap(), "box"]);
    let archive = fs::read(&archive).unwrap();
    for round in 0..6u64 {
        let socket = daemon.socket();
        std::thread::scope(|scope| {
            let commits = || while ask(&socket, "/commit?container=box", b"") {};
            let imports = || while ask(&socket, "/images/create?fromSrc=-", &archive) {};
            scope.spawn(commits);
            scope.spawn(imports);
            std::thread::sleep(std::time::Duration::from_millis(60 + 70 * round));
            daemon.kill();
        });
        daemon.start_again();
        assert_eq!(daemon.docker(&["inspect", "-f", "{{.State.Status}}", "box"]), "running\n");
        // It answers, so it does not stand still.
        assert_eq!(daemon.docker(&["exec", "box", "echo", "alive"]), "alive\n");
        daemon.docker(&["commit", "box", "last"]);
        let told = daemon.docker(&["run", "--rm", "--net", "none", "last", "wc", "-c", "/f300"]);
        assert_eq!(told, "20000 /f300\n");
    }
    daemon.docker(&["rm", "-f", "box"]);
    let ids = daemon.docker(&["images", "-aq", "--no-trunc"]);
    // Those that were made from another one first.
    for _ in 0..2 {
        for id in ids.lines() {
            let _ = daemon.try_docker(&["rmi", "-f", id]);
        }
    }
    assert_eq!(daemon.docker(&["images", "-aq"]), "");
    daemon.terminate();
    // Layers that were whole when the daemon died are swept with the next start.
    daemon.start_again();
    let layers = daemon.data_root().join("image/overlay2/layerdb");
    let left = || {
        let names = |dir: &str| fs::read_dir(layers.join(dir)).unwrap().count();
        let dirs = fs::read_dir(daemon.data_root().join("overlay2")).unwrap().flatten();
        let dirs = dirs.filter(|e| e.file_name().len() >= 64).count();
        names("tmp") + names("mounts") + names("sha256") + dirs
    };
    eventually("the end of every layer", || (left() == 0).then_some(()));
    daemon.stop();
}

/// Posts `body`; whether there was a whole answer.
fn ask(socket: &std::path::Path, path: &str, body: &[u8]) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).is_err() {
        return false;
    }
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let answer = text(&answer);
    if read.is_err() || answer.is_empty() {
        return false;
    }
    assert!(answer.starts_with("HTTP/1.1 20"), "{path}: {answer}");
    true
}

#[test]
fn a_full_disk_stops_copies_and_nothing_else() {
    let daemon = crate::daemon(&[]);
    let cli = Cli { daemon: &daemon, official: false };
    cli.run(&["run", "-d", "--name", "box", "busybox", "sleep", "600"]);
    let before = cli.run(&["images", "-aq"]);
    // A volume on a small disk: what is copied there does not fit.
    let small = daemon.dir().join("small");
    fs::create_dir(&small).unwrap();
    run(daemon
        .namespace()
        .command("mount")
        .args(["-t", "tmpfs", "-o", "size=100k", "none"])
        .arg(&small));
    let bind = format!("{}:/small", small.display());
    cli.run(&["create", "--name", "full", "-v", &bind, "busybox", "true"]);
    let big = daemon.dir().join("big");
    fs::write(&big, vec![1u8; 1 << 20]).unwrap();
    let (code, told) = cli.code(&["cp", big.to_str().unwrap(), "full:/small/"]);
    assert_eq!((code, told.contains("no space left on device")), (1, true), "{told}");
    let told =
        output(&mut cli.command(&["cp", "full:/bin/busybox", small.join("b").to_str().unwrap()]));
    assert!(!told.status.success());
    assert_eq!(cli.run(&["images", "-aq"]), before);
    assert_eq!(cli.run(&["exec", "box", "echo", "alive"]), "alive\n");
    cli.run(&["rm", "-f", "box", "full"]);
    cli.nothing_left();
    run(daemon.namespace().command("umount").arg(&small));
    daemon.stop();
}
