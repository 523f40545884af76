//! What `-v`, `--mount` and `--tmpfs` mount, seen from inside containers and in the host's table.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::daemon::Daemon;
use crate::support::{eventually, run};
use crate::{Cli, daemon, with_both};

/// Mounts with words of mount(8) where the daemon sees it.
fn mount(daemon: &Daemon, words: &[&str]) {
    run(daemon.namespace().command("mount").args(words));
}

fn unmount(daemon: &Daemon, path: &Path) {
    run(daemon.namespace().command("umount").arg(path));
}

/// Standard output of a container that runs a script with these options.
fn sh(cli: &Cli, options: &[&str], script: &str) -> String {
    cli.run(
        &[&["run", "--rm", "--net", "none"][..], options, &["busybox", "sh", "-c", script]]
            .concat(),
    )
}

/// Why a container cannot be made or started.
fn refused(cli: &Cli, options: &[&str]) -> String {
    let (code, told) =
        cli.code(&[&["run", "--rm", "--net", "none"][..], options, &["busybox", "true"]].concat());
    // What is not there is 127 to the clients, as a program would be.
    assert!(code == 125 || code == 127, "{options:?}: {told}");
    told
}

#[test]
fn read_only_binds_are_so_with_all_below_or_as_asked() {
    with_both(|cli| {
        let dir = cli.daemon.dir().join(format!("tree{}", cli.official));
        let below = dir.join("below");
        fs::create_dir_all(&below).unwrap();
        mount(cli.daemon, &["-t", "tmpfs", "tmpfs", below.to_str().unwrap()]);
        let dir = dir.to_str().unwrap();
        let script = "for d in /x /x/below; do \
                      touch $d/f 2>/dev/null && echo written || echo refused; rm -f $d/f; done; \
                      grep -c ' /x/below ' /proc/self/mountinfo; true";
        let bind = |more: &str| {
            let mount = format!("type=bind,src={dir},dst=/x{more}");
            sh(cli, &["--mount", &mount], script)
        };
        let volume = format!("{dir}:/x:ro");
        assert_eq!(sh(cli, &["-v", &volume], script), "refused\nrefused\n1\n");
        assert_eq!(bind(""), "written\nwritten\n1\n");
        assert_eq!(bind(",ro"), "refused\nrefused\n1\n");
        assert_eq!(bind(",ro,bind-recursive=writable"), "refused\nwritten\n1\n");
        let force = ",ro,bind-recursive=readonly,bind-propagation=rprivate";
        assert_eq!(bind(force), "refused\nrefused\n1\n");
        assert_eq!(bind(",bind-recursive=disabled"), "written\nwritten\n0\n");
        // Before the version that brought this, only the mount itself was meant.
        let words = ["run", "--rm", "--net", "none", "-v", &volume, "busybox", "sh", "-c", script];
        let old = run(cli.command(&words).env("DOCKER_API_VERSION", "1.43"));
        assert_eq!(old, "refused\nwritten\n1\n");
        unmount(cli.daemon, &below);
    });
}

#[test]
fn mounts_spread_as_asked() {
    with_both(|cli| {
        let dir = cli.daemon.dir().join(format!("spread{}", cli.official));
        for part in ["in", "out"] {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        let path = dir.to_str().unwrap();
        mount(cli.daemon, &["-t", "tmpfs", "tmpfs", path]);
        for part in ["in", "out"] {
            run(cli.daemon.namespace().command("mkdir").arg(dir.join(part)));
        }
        mount(cli.daemon, &["--make-private", path]);
        for (mode, kind) in [("shared", "shared"), ("rslave", "shared or slave")] {
            let told = refused(cli, &["-v", &format!("{path}:/x:{mode}")]);
            let want = format!("path {path} is mounted on {path} but it is not a {kind} mount");
            assert!(told.contains(&want), "{told}");
        }
        mount(cli.daemon, &["--make-shared", path]);
        for (name, mode) in [("both", "rshared"), ("slave", "rslave"), ("none", "rprivate")] {
            let volume = format!("{path}:/x:{mode}");
            let words = ["run", "-d", "--privileged", "--name", name, "-v", &volume, "busybox"];
            cli.run(&[&words[..], &["sleep", "600"]].concat());
            assert_eq!(cli.inspect(name, "{{range .Mounts}}{{.Propagation}}{{end}}"), mode);
        }
        let has = |name: &str, part: &str| {
            let table = cli.run(&["exec", name, "cat", "/proc/self/mountinfo"]);
            table.contains(&format!(" /x/{part} "))
        };
        mount(cli.daemon, &["-t", "tmpfs", "tmpfs", dir.join("in").to_str().unwrap()]);
        assert_eq!(["both", "slave", "none"].map(|name| has(name, "in")), [true, true, false]);
        cli.run(&["exec", "slave", "mount", "-t", "tmpfs", "tmpfs", "/x/out"]);
        let out = dir.join("out");
        let at_host = || cli.daemon.namespace().mounts().contains(&format!(" {} ", out.display()));
        assert!(!at_host());
        cli.run(&["exec", "both", "mount", "-t", "tmpfs", "tmpfs", "/x/out"]);
        assert!(at_host());
        cli.run(&["rm", "-f", "both", "slave", "none"]);
        eventually("mounts of containers that are gone", || {
            let mut umount = cli.daemon.namespace().command("umount");
            umount.arg("-R").arg(&dir).status().unwrap().success().then_some(())
        });
    });
}

#[test]
fn mounts_are_made_from_the_outside_in() {
    with_both(|cli| {
        let dir = cli.daemon.dir().join(format!("order{}", cli.official));
        fs::create_dir_all(dir.join("etc/deep/er")).unwrap();
        fs::write(dir.join("etc/own"), "own\n").unwrap();
        fs::write(dir.join("hosts"), "10.1.2.3 mine\n").unwrap();
        let at = |name: &str, to: &str| format!("{}:{to}", dir.join(name).display());
        let (etc, hosts) = (at("etc", "/etc"), at("hosts", "/etc/hosts"));
        // The container's own files are still seen in a directory that covers theirs.
        let script = "cat /etc/own; grep -c localhost /etc/hosts; cat /etc/hostname";
        assert_eq!(sh(cli, &["-h", "box", "-v", &etc], script), "own\n2\nbox\n");
        let script = "cat /etc/hosts; ls /etc/deep; touch /etc/deep/f /etc/deep/er/f && echo taken";
        let tmpfs =
            ["--tmpfs", "/etc/deep/er", "--mount", "type=tmpfs,dst=/etc/deep", "--read-only"];
        let told = sh(cli, &[&["-v", &hosts, "-v", &etc][..], &tmpfs].concat(), script);
        assert_eq!(told, "10.1.2.3 mine\ner\ntaken\n");
        assert!(!dir.join("etc/deep/f").exists());

        // What -v names is made, what --mount names must be there.
        let missing = dir.join("missing/dir");
        let script = "ls -d /x/ && touch /x/made";
        assert_eq!(sh(cli, &["-v", &at("missing/dir", "/x")], script), "/x/\n");
        assert!(missing.join("made").exists());
        // The working directory is made, in a mount as well.
        assert_eq!(sh(cli, &["-w", "/new/dir"], "pwd; stat -c %u:%a ."), "/new/dir\n0:755\n");
        assert_eq!(sh(cli, &["--tmpfs", "/t", "-w", "/t/dir", "--read-only"], "pwd"), "/t/dir\n");
    });
}

#[test]
fn a_tmpfs_is_as_asked() {
    with_both(|cli| {
        let script = "grep -E ' /(a|b|c) ' /proc/self/mountinfo | cut -d' ' -f5,6,8-; \
                      stat -c '%a %u' /a /b /c /var";
        let options = [
            &["--tmpfs", "/a", "--tmpfs", "/var", "--tmpfs", "/b:exec,rw,size=1m,mode=1750,uid=7"]
                [..],
            &["--mount", "type=tmpfs,dst=/c,tmpfs-size=2m,tmpfs-mode=700,ro"],
        ];
        let told = sh(cli, &options.concat(), script);
        let told: Vec<&str> = told.lines().collect();
        assert_eq!(
            told[..3],
            [
                "/a rw,nosuid,nodev,noexec,relatime tmpfs tmpfs rw",
                "/b rw,nosuid,nodev,relatime tmpfs tmpfs rw,size=1024k,mode=1750,uid=7",
                "/c ro,nosuid,nodev,noexec,relatime tmpfs tmpfs ro,size=2048k,mode=700",
            ]
        );
        assert_eq!(told[3..], ["1777 0", "1750 7", "700 0", "755 0"]);
        let told = refused(cli, &["--tmpfs", "/a:foo=1"]);
        assert!(told.contains("invalid tmpfs option [\"foo\" \"1\"]"), "{told}");
    });
}

#[test]
fn parts_of_volumes_and_images_are_mounted_and_nothing_beside_them() {
    with_both(|cli| {
        let mount =
            |more: &str| ["--mount".to_string(), format!("type=volume,src=parts,dst=/x,{more}")];
        cli.run(&["volume", "create", "parts"]);
        let place = cli.daemon.data_root().join("volumes/parts/_data");
        fs::create_dir_all(place.join("a/b")).unwrap();
        fs::write(place.join("a/file"), "part\n").unwrap();
        symlink("a", place.join("link")).unwrap();
        symlink("/etc", place.join("out")).unwrap();
        symlink("../..", place.join("up")).unwrap();
        for (part, script, want) in [
            ("a", "ls /x", "b\nfile\n"),
            ("link/file", "cat /x", "part\n"),
            ("a/b", "touch /x/f; ls /x; rm /x/f", "f\n"),
        ] {
            let words = mount(&format!("volume-subpath={part}"));
            assert_eq!(sh(cli, &[&words[0], &words[1]], script), want, "{part}");
        }
        for (part, want) in [
            ("out", "path concatenation escapes the base directory"),
            ("up/x", "path concatenation escapes the base directory"),
            ("none", "cannot access path "),
            ("../a", "subpath must be a relative path within the volume"),
        ] {
            let words = mount(&format!("volume-subpath={part}"));
            let told = refused(cli, &[&words[0], &words[1]]);
            assert!(told.contains(want), "{part}: {told}");
        }
        let image = ["--mount", "type=image,src=busybox,dst=/x"];
        let script = "cat /x/etc/group | head -1; touch /x/f || echo refused";
        assert_eq!(sh(cli, &image, script), "root:x:0:\nrefused\n");
        let part = ["--mount", "type=image,src=busybox,dst=/x,image-subpath=etc/group"];
        assert_eq!(sh(cli, &part, "head -1 /x"), "root:x:0:\n");
        let told = refused(cli, &["--mount", "type=image,src=nosuch,dst=/x"]);
        assert!(told.contains("No such image: nosuch"), "{told}");
        // Its layer is the container's, and goes with it.
        cli.run(&["create", "--name", "holder", image[0], image[1], "busybox"]);
        let format = "{{range .Mounts}}{{.Type}} {{.Name}} {{.RW}}{{end}}";
        assert_eq!(cli.inspect("holder", format), "image busybox false");
        let layers = || {
            let dir = cli.daemon.data_root().join("image/overlay2/layerdb/mounts");
            fs::read_dir(dir).unwrap().count()
        };
        assert_eq!(layers(), 2);
        cli.run(&["rm", "holder"]);
        assert_eq!(layers(), 0);
        let places = fs::read_dir(cli.daemon.exec_root().join("subpaths")).unwrap();
        assert_eq!(places.count(), 0);
        cli.run(&["volume", "rm", "parts"]);
    });
}

#[test]
fn a_killed_daemon_leaves_no_mount_of_a_part() {
    let mut daemon = daemon(&[]);
    let place = daemon.exec_root().join("subpaths/left");
    let volume = daemon.dir().join("volume");
    fs::create_dir_all(&place).unwrap();
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("f"), "kept").unwrap();
    let words = ["--bind", volume.to_str().unwrap(), place.to_str().unwrap()];
    mount(&daemon, &words);
    let image =
        ["run", "-d", "--name", "user", "--mount", "type=image,src=busybox,dst=/x", "busybox"];
    daemon.docker(&[&image[..], &["sleep", "600"]].concat());
    daemon.kill();
    daemon.start_again();
    let cli = Cli { daemon: &daemon, official: true };
    assert_eq!(cli.run(&["exec", "user", "head", "-1", "/x/etc/group"]), "root:x:0:\n");
    assert!(!place.exists());
    assert_eq!(fs::read_to_string(volume.join("f")).unwrap(), "kept");
    cli.run(&["rm", "-f", "user"]);
    cli.nothing_left();
    daemon.stop();
}

#[test]
fn mounts_that_cannot_be_are_refused_in_dockers_words() {
    with_both(|cli| {
        let root = cli.daemon.data_root();
        let root = root.display();
        let own = format!("{root}:/x:private");
        for (options, want) in [
            (["-v", "/tmp:/x:bad"], "invalid mode: bad".to_string()),
            (["-v", "/tmp:ro"], "invalid volume specification: '/tmp:ro'".into()),
            (["-v", "/tmp:/"], "invalid specification: destination can't be '/'".into()),
            (["-v", "/tmp:x"], "invalid mount path: 'x' mount path must be absolute".into()),
            (["-v", "data:/x:shared"], "field BindOptions must not be specified".into()),
            (["--tmpfs", "x"], "invalid mount path: 'x' mount path must be absolute".into()),
            (
                ["--mount", "type=bind,src=/no/such,dst=/x"],
                "invalid mount config for type \"bind\": bind source path does not exist: /no/such".into(),
            ),
            (["--mount", "type=volume,dst=/x,ro"], "must not set ReadOnly mode when using".into()),
            (["--mount", "type=npipe,dst=/x"], "mount type unknown".into()),
            (
                ["--mount", "type=bind,src=/tmp,dst=/x,bind-propagation=bad"],
                "invalid propagation mode: bad".into(),
            ),
            (
                ["--mount", "type=volume,src=data,dst=/x,volume-driver=far"],
                "error looking up volume plugin far: plugin \"far\" not found".into(),
            ),
            (
                ["-v", &own],
                "must use either propagation mode \"rslave\" or \"rshared\" when mount source is within \
                 the daemon root"
                    .into(),
            ),
        ] {
            let told = refused(cli, &options);
            assert!(told.contains(&want), "{options:?}: {told}");
        }
        let told = refused(cli, &["-v", "/tmp:/x", "--mount", "type=tmpfs,dst=/x/"]);
        assert!(told.contains("Duplicate mount point: /x"), "{told}");
    });
}
