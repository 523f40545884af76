//! Volumes from their creation to their end, with the local driver's mounts, and what the image has in their
//! places.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use crate::support::daemon::Daemon;
use crate::support::images::{self, Layer, Packing, Style, TestImage};
use crate::support::{Scratch, eventually};
use crate::{Cli, daemon, with_both};

/// The names of the volumes that there are.
fn names(cli: &Cli) -> Vec<String> {
    cli.run(&["volume", "ls", "-q"]).lines().map(ToString::to_string).collect()
}

fn data(daemon: &Daemon, name: &str) -> PathBuf {
    daemon.data_root().join("volumes").join(name).join("_data")
}

/// Busybox, a directory with an owner and a mode of its own, and a volume for it.
fn load_filled(daemon: &Daemon) {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, mode, content) in [("data/", 0o2750, ""), ("data/f", 0o640, "of the image\n")] {
        let mut header = tar::Header::new_gnu();
        let is_dir = name.ends_with('/');
        header.set_entry_type(if is_dir {
            tar::EntryType::Directory
        } else {
            tar::EntryType::Regular
        });
        header.set_mode(mode);
        header.set_uid(33);
        header.set_gid(34);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let layers = [images::busybox_tar(), builder.into_inner().unwrap()];
    let layers = layers.map(|tar| Layer::new(tar, Packing::Gzip)).into();
    let run = r#"{"Env":["PATH=/bin"],"Volumes":{"/data":{}}}"#;
    let dir = Scratch::new("filled");
    let layout = TestImage::new(layers, Style::Oci, run).write_layout(&dir.join("layout"));
    daemon.load(&layout, "filled:latest");
}

#[test]
fn volumes_are_made_found_and_removed() {
    with_both(|cli| {
        assert_eq!(
            cli.run(&["volume", "create", "--label", "a=b", "--label", "c", "first"]),
            "first\n"
        );
        cli.run(&["volume", "create", "second10"]);
        cli.run(&["volume", "create", "second9"]);
        let format = "{{.Name}} {{.Driver}} {{.Scope}} {{json .Labels}} {{json .Options}}";
        let shown = cli.run(&["volume", "inspect", "-f", format, "first", "second9"]);
        assert_eq!(
            shown,
            "first local local {\"a\":\"b\",\"c\":\"\"} null\nsecond9 local local null null\n"
        );
        let place = cli.run(&["volume", "inspect", "-f", "{{.Mountpoint}}", "first"]);
        let stat = std::fs::metadata(place.trim_end()).unwrap();
        assert_eq!((stat.mode() & 0o7777, stat.uid()), (0o755, 0));

        let user = ["run", "-d", "--name", "user", "-v", "first:/x", "-v", "/y", "busybox"];
        let id = cli.run(&[&user[..], &["sleep", "600"]].concat());
        let anonymous = cli.inspect("user", "{{range .Mounts}}{{.Name}} {{end}}");
        let anonymous = anonymous.split(' ').find(|name| name.len() == 64).unwrap();
        let list = |filters: &[&str]| {
            let filters: Vec<&str> = filters.iter().flat_map(|f| ["-f", f]).collect();
            let shown = cli.run(&[&["volume", "ls", "-q"][..], &filters].concat());
            shown.lines().collect::<Vec<_>>().join(" ")
        };
        for (filters, want) in [
            (&["dangling=true"][..], "second9 second10"),
            (&["label=a"], "first"),
            (&["label=a=x"], ""),
            (&["name=sec"], "second9 second10"),
            (&["name=^second.$"], "second9"),
            (&["driver=local", "dangling=0", "label=com.docker.volume.anonymous"], anonymous),
            (&["driver=other"], ""),
        ] {
            assert_eq!(list(filters), want, "{filters:?}");
        }
        assert_eq!(
            cli.run(&[
                "volume",
                "ls",
                "-f",
                "name=second9",
                "--format",
                "table {{.Name}}\t{{.Labels}}"
            ]),
            "VOLUME NAME   LABELS\nsecond9       \n"
        );
        let (code, told) = cli.code(&["volume", "rm", "first", "second9", "nosuch"]);
        assert_eq!(code, 1);
        let id = id.trim_end();
        assert!(told.contains(&format!("remove first: volume is in use - [{id}]")), "{told}");
        assert!(told.contains("get nosuch: no such volume"), "{told}");
        assert_eq!(cli.run(&["volume", "rm", "-f", "nosuch"]), "nosuch\n");
        cli.run(&["rm", "-f", "user"]);

        // Nobody uses it, nobody named it. What has a name stays until all are meant.
        let told = cli.run(&["volume", "prune", "-f"]);
        assert!(told.contains(&format!("Deleted Volumes:\n{anonymous}\n\nTotal recl")), "{told}");
        let told = cli.run(&["volume", "prune", "-af", "--filter", "label!=a"]);
        assert!(told.contains("Deleted Volumes:\nsecond10\n"), "{told}");
        assert_eq!(names(cli), ["first"]);
        std::fs::write(PathBuf::from(place.trim_end()).join("file"), "12345").unwrap();
        let told = cli.run(&["volume", "prune", "-af", "--filter", "label=a=b"]);
        assert_eq!(told, "Deleted Volumes:\nfirst\n\nTotal reclaimed space: 5B\n");

        for (words, want) in [
            (
                &["create", "-d", "far", "v1"][..],
                "create v1: error looking up volume plugin far: plugin \"far\" not found",
            ),
            (&["create", "-o", "x=y", "v1"], "create v1: invalid option: \"x\""),
            (&["create", "-o", "size=1g", "v1"], "quota size requested but no quota support"),
            (&["create", "a/b"], "create a/b: \"a/b\" includes invalid characters for a local"),
            (&["create", "--group", "g", "v1"], "This node is not a swarm manager."),
            (&["ls", "-f", "foo=bar"], "invalid filter 'foo'"),
            (&["ls", "-f", "dangling=x"], "invalid filter 'dangling=[x]'"),
            (&["prune", "-f", "--filter", "all=x"], "invalid filter 'all'"),
            (&["prune", "-f", "--filter", "driver=x"], "invalid filter 'driver'"),
        ] {
            let (code, told) = cli.code(&[&["volume"][..], words].concat());
            assert!(code == 1 && told.contains(want), "{words:?}: {code} {told}");
        }
        assert_eq!(names(cli), [""; 0]);
        let told = cli.events_of("volume", "first");
        assert_eq!(told[told.len() - 4..], ["create", "mount", "unmount", "destroy"]);
    });
}

#[test]
fn a_volume_with_options_is_mounted_from_the_first_to_the_last_user() {
    let mut daemon = daemon(&[]);
    let cli = Cli { daemon: &daemon, official: true };
    let options = ["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=7,noexec"];
    cli.run(&[&["volume", "create"][..], &options, &["fast"]].concat());
    let mounted = |daemon: &Daemon| -> Vec<String> {
        let mounts = daemon.namespace().mounts();
        mounts.lines().filter(|l| l.contains("/volumes/")).map(ToString::to_string).collect()
    };
    assert_eq!(mounted(&daemon), [""; 0]);
    for name in ["one", "two"] {
        cli.run(&["run", "-d", "--name", name, "-v", "fast:/x", "busybox", "sleep", "600"]);
    }
    cli.run(&["exec", "one", "sh", "-c", "echo shared > /x/f"]);
    assert_eq!(cli.run(&["exec", "two", "cat", "/x/f"]), "shared\n");
    let table = mounted(&daemon);
    assert_eq!(table.len(), 1);
    assert!(table[0].contains("noexec") && table[0].contains("size=1024k,uid=7"), "{table:?}");

    daemon.kill();
    daemon.start_again();
    let cli = Cli { daemon: &daemon, official: false };
    cli.run(&["rm", "-f", "one"]);
    assert_eq!(cli.run(&["exec", "two", "cat", "/x/f"]), "shared\n");
    assert_eq!(mounted(&daemon).len(), 1);
    // The last user goes while no daemon is there; the next one sees to it.
    let pid = cli.inspect("two", "{{.State.Pid}}");
    daemon.kill();
    crate::support::run(std::process::Command::new("kill").args(["-KILL", &pid]));
    daemon.start_again();
    eventually("the unmount", || mounted(&daemon).is_empty().then_some(()));
    let cli = Cli { daemon: &daemon, official: false };
    cli.run(&["rm", "two"]);

    // A directory of the host, and what cannot be mounted.
    let dir = daemon.dir().join("shown");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("f"), "of the host\n").unwrap();
    let device = format!("device={}", dir.display());
    cli.run(&["volume", "create", "-o", "type=none", "-o", "o=bind,ro", "-o", &device, "shown"]);
    let script = "cat /x/f; touch /x/g || echo refused";
    let told = cli.run(&["run", "--rm", "-v", "shown:/x", "busybox", "sh", "-c", script]);
    assert_eq!(told, "of the host\nrefused\n");
    let mount = "type=volume,src=far,dst=/x,volume-opt=type=nfs,volume-opt=device=:/x,\
                 \"volume-opt=o=addr=no-such-host.invalid,password=hidden\"";
    let (code, told) = cli.code(&["run", "--rm", "--mount", mount, "busybox", "true"]);
    assert_eq!(code, 125, "{told}");
    assert!(told.contains("error resolving passed in network volume address"), "{told}");
    cli.run(&["volume", "create", "-o", "type=nosuchfs", "-o", "device=x", "bad"]);
    let (code, told) = cli.code(&["run", "--rm", "-v", "bad:/x", "busybox", "true"]);
    let path = data(&daemon, "bad");
    let want = format!(
        "error while mounting volume '{0}': failed to mount local volume: mount x:{0}: no such device",
        path.display()
    );
    assert!(code == 125 && told.contains(&want), "{code} {told}");
    assert_eq!(mounted(&daemon), [""; 0]);
    cli.run(&["volume", "rm", "fast", "shown", "far", "bad"]);
    cli.nothing_left();
    daemon.stop();
}

#[test]
fn an_empty_volume_gets_what_the_image_has() {
    let daemon = Daemon::start();
    load_filled(&daemon);
    for official in [false, true] {
        let cli = Cli { daemon: &daemon, official };
        let look = "stat -c '%a %u:%g' /data; cat /data/*";
        let filled = "2750 33:34\nof the image\n";
        let run = |volume: &[&str]| {
            cli.run(&[&["run", "--rm"][..], volume, &["filled", "sh", "-c", look]].concat())
        };
        // The image's own volume goes with the container, named ones stay and keep what they have.
        assert_eq!(run(&[]), filled);
        assert_eq!(names(&cli), [""; 0]);
        assert_eq!(run(&["-v", "named:/data"]), filled);
        std::fs::write(data(&daemon, "named").join("f"), "changed\n").unwrap();
        assert_eq!(run(&["-v", "named:/data"]), "2750 33:34\nchanged\n");
        let (code, _) = cli.code(&[
            "run",
            "--rm",
            "-v",
            "bare:/data:nocopy",
            "filled",
            "sh",
            "-c",
            "ls /data/f",
        ]);
        assert_eq!(code, 1);
        let stat = std::fs::metadata(data(&daemon, "bare")).unwrap();
        assert_eq!((stat.permissions().mode() & 0o7777, stat.uid()), (0o755, 0));
        assert_eq!(names(&cli), ["bare", "named"]);
        for (volume, want) in [
            ("/etc/passwd", "cannot mount volume over existing file, file exists "),
            ("named:/etc/passwd", "/etc/passwd is not directory"),
        ] {
            std::fs::remove_file(data(&daemon, "named").join("f")).ok();
            let (code, told) = cli.code(&["create", "-v", volume, "filled", "true"]);
            assert!(code == 1 && told.contains(want), "{code} {told}");
        }

        // Who removes a container says whether the anonymous ones go; not while others have them.
        let create = |name: &str, more: &[&str]| {
            let words = ["create", "--name", name, "-v", "named:/n"];
            cli.run(&[&words[..], more, &["filled", "cat", "/data/f"]].concat());
        };
        create("first", &["-v", "/more"]);
        create("heir", &["--volumes-from", "first:ro"]);
        create("second", &["--volumes-from", "heir"]);
        let points = "{{range .Mounts}}{{.Destination}} {{.RW}} {{end}}";
        assert_eq!(cli.inspect("heir", points), "/data false /more false /n true");
        assert_eq!(cli.inspect("second", points), "/data false /more false /n true");
        assert_eq!(names(&cli).len(), 4);
        cli.run(&["rm", "-v", "first"]);
        assert_eq!(names(&cli).len(), 4);
        assert_eq!(cli.run(&["start", "-a", "second"]), "of the image\n");
        cli.run(&["rm", "heir"]);
        cli.run(&["rm", "-v", "second"]);
        assert_eq!(names(&cli), ["bare", "named"]);
        let (code, told) = cli.code(&["create", "--volumes-from", "nosuch", "filled", "true"]);
        assert!(code == 1 && told.contains("No such container: nosuch"), "{told}");
        let (code, told) =
            cli.code(&["create", "--volumes-from", "nosuch:shared", "filled", "true"]);
        assert!(code == 1 && told.contains("invalid mode: shared"), "{told}");
        cli.run(&["volume", "rm", "bare", "named"]);
        cli.nothing_left();
    }
    daemon.stop();
}
