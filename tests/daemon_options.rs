//! The daemon's options as users give them: addresses, TLS, files, groups, signals, old names.
//!
//! Rows S001-S016, S027-S057, S225-S232 of the documents this engine follows.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::authority::Authority;
use support::daemon::Daemon;
use support::namespace::Namespace;
use support::{MULTI, Process, Scratch, eventually, output, run, text};

/// Options that keep a daemon in a directory of its own.
fn roots(dir: &Path) -> Vec<String> {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_string();
    [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")]
        .iter()
        .flat_map(|(option, name)| [option.to_string(), path(name)])
        .collect()
}

/// A daemon that is expected to refuse to start.
fn refused(namespace: &Namespace, dir: &Path, options: &[&str]) -> (i32, String) {
    let mut command = namespace.command(MULTI);
    let output = output(command.arg("daemon").args(roots(dir)).args(options));
    let told = text(&output.stderr);
    assert!(!output.status.success(), "{options:?} was accepted");
    (output.status.code().unwrap_or(-1), told)
}

fn curl(namespace: &Namespace, words: &[&str]) -> Output {
    output(namespace.command("curl").args(["-s", "-m", "30"]).args(words))
}

fn ping(namespace: &Namespace, words: &[&str], url: &str) -> String {
    text(&curl(namespace, &[words, &[&format!("{url}/_ping")]].concat()).stdout)
}

#[test]
fn several_addresses_are_served_at_the_same_time() {
    let other = Scratch::new("h");
    let socket = other.join("other.sock");
    let unix = format!("unix://{}", socket.display());
    let daemon = Daemon::start_with(&["-H", &unix, "-H", "tcp://127.0.0.1:4243", "-H", ":5555"]);
    let at = |words: &[&str], url: &str| ping(daemon.namespace(), words, url);
    assert_eq!(at(&["--unix-socket", daemon.socket().to_str().unwrap()], "http://d"), "OK");
    assert_eq!(at(&["--unix-socket", socket.to_str().unwrap()], "http://d"), "OK");
    assert_eq!(at(&[], "http://127.0.0.1:4243"), "OK");
    assert_eq!(at(&[], "http://127.0.0.2:4243"), "", "only on the address that was given");
    assert_eq!(at(&[], "http://127.0.0.2:5555"), "OK");
    assert!(daemon.log().contains("--tlsverify is insecure"));
    daemon.stop();
    assert!(!socket.exists(), "the socket is left");
}

#[test]
fn an_address_without_a_port_has_dockers_port() {
    let daemon = Daemon::start_with(&["-H", "tcp://127.0.0.3", "-H", "tcp://"]);
    assert_eq!(ping(daemon.namespace(), &[], "http://127.0.0.3:2375"), "OK");
    assert_eq!(ping(daemon.namespace(), &[], "http://127.0.0.1:2375"), "OK");
    daemon.stop();
}

#[test]
fn an_address_that_is_taken_stops_the_start_and_leaves_nothing() {
    let daemon = Daemon::start_with(&["-H", "tcp://127.0.0.1:4000"]);
    let dir = Scratch::new("t");
    let socket = dir.join("s");
    let unix = format!("unix://{}", socket.display());
    let (code, told) =
        refused(daemon.namespace(), dir.path(), &["-H", &unix, "-H", "127.0.0.1:4000"]);
    assert_eq!(code, 1);
    assert!(told.contains("127.0.0.1:4000") && told.contains("in use"), "{told}");
    assert!(!socket.exists() && !dir.join("pid").exists());
    daemon.stop();
}

/// Starts the daemon as a service manager does, with listening sockets from descriptor 3 on.
fn activated(namespace: &Namespace, dir: &Path, socket: &Path, host: &str) -> Command {
    let mut command = namespace.command("/usr/bin/python3");
    let script = "import os, socket, sys\n\
        s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n\
        os.dup2(s.fileno(), 3); os.set_inheritable(3, True); os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n\
        os.execv(sys.argv[2], sys.argv[2:])";
    command.args(["-c", script]).arg(socket).arg(MULTI).arg("daemon").args(roots(dir));
    command.args(["-H", host]);
    command
}

#[test]
fn sockets_of_the_service_manager_are_served() {
    for host in ["fd://", "fd://3"] {
        let namespace = Namespace::new();
        let dir = Scratch::new("fd");
        let socket = dir.join("s");
        let mut command = activated(&namespace, dir.path(), &socket, host);
        let mut daemon = Process::start(&mut command, "API listen on");
        let words = ["--unix-socket", socket.to_str().unwrap()];
        assert_eq!(ping(&namespace, &words, "http://d"), "OK", "{host}");
        run(Command::new("kill").arg(daemon.pid().to_string()));
        let status = eventually("the end of the daemon", || daemon.child.try_wait().unwrap());
        assert!(status.success());
        assert!(socket.exists(), "the socket belongs to the service manager");
    }
}

#[test]
fn without_a_socket_of_the_service_manager_the_daemon_ends() {
    let namespace = Namespace::new();
    let dir = Scratch::new("fd");
    let (code, told) = refused(&namespace, dir.path(), &["-H", "fd://"]);
    assert_eq!(code, 1, "{told}");
    let mut command = activated(&namespace, dir.path(), &dir.join("s"), "fd://4");
    assert!(!output(&mut command).status.success(), "there is no descriptor 4");
    // A promise that was not kept: descriptor 3 is closed, or will be a file of the daemon.
    let mut command = namespace.command("sh");
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
    command.args(["-c", script, "sh", MULTI, "daemon", "-H", "fd://"]).args(roots(dir.path()));
    let told = output(&mut command);
    assert_eq!(told.status.code(), Some(1), "{}", text(&told.stderr));
    assert!(text(&told.stderr).contains("activated descriptor 3"), "{}", text(&told.stderr));
}

#[test]
fn tlsverify_asks_for_a_certificate_of_the_authority() {
    let ours = Authority::new();
    let others = Authority::new();
    let path = |a: &Authority, name: &str| a.file(name).to_str().unwrap().to_string();
    let (ca, cert, key) =
        (path(&ours, "ca.crt"), path(&ours, "server.crt"), path(&ours, "server.key"));
    let files = ["--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key];
    let url = "https://localhost:2376";
    let identity = |a: &Authority| {
        ["--cert".into(), path(a, "client.crt"), "--key".into(), path(a, "client.key")]
    };

    let daemon =
        Daemon::start_with(&[&["-H", "tcp://127.0.0.1", "--tlsverify"], &files[..]].concat());
    let with = |words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        ping(daemon.namespace(), &[&["--cacert", &ca][..], &words].concat(), url)
    };
    assert_eq!(with(&identity(&ours)), "OK");
    assert_eq!(with(&[]), "", "a client without certificate");
    assert_eq!(with(&identity(&others)), "", "a client of another authority");
    assert_eq!(with(&["--tls-max".into(), "1.1".into()]), "", "old TLS");
    let plain = ping(daemon.namespace(), &[], "http://localhost:2376");
    assert_eq!(plain, "Client sent an HTTP request to an HTTPS server.\n");
    assert!(!daemon.log().contains("is insecure"));
    daemon.stop();

    // `--tls` alone encrypts and asks nobody for a certificate.
    let daemon = Daemon::start_with(&[&["-H", "tcp://127.0.0.1", "--tls"], &files[..]].concat());
    assert_eq!(ping(daemon.namespace(), &["--cacert", &ca], url), "OK");
    assert!(daemon.log().contains("is insecure"));
    daemon.stop();
}

#[test]
fn missing_tls_files_are_named() {
    let namespace = Namespace::new();
    let dir = Scratch::new("tls");
    let (code, told) = refused(
        &namespace,
        dir.path(),
        &["-H", "tcp://127.0.0.1", "--tls", "--tlscert", "/nonexistent/cert.pem"],
    );
    assert_eq!(code, 1);
    assert!(told.contains("/nonexistent/cert.pem"), "{told}");
}

#[test]
fn the_pidfile_names_the_daemon_and_keeps_a_second_one_away() {
    let mut daemon = Daemon::start();
    let file = daemon.dir().join("pid");
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), daemon.pid().to_string());
    let dir = Scratch::new("p");
    let (code, told) = refused(
        daemon.namespace(),
        dir.path(),
        &["-H", "unix:///nonexistent/s", "-p", file.to_str().unwrap()],
    );
    assert_eq!(code, 1);
    assert!(told.contains(file.to_str().unwrap()), "{told}");
    let (code, told) = refused(
        daemon.namespace(),
        dir.path(),
        &["-H", "unix:///nonexistent/s", "-g", daemon.data_root().to_str().unwrap()],
    );
    assert_eq!(code, 1);
    assert!(told.contains(daemon.data_root().to_str().unwrap()), "{told}");
    // A pid that a dead daemon left never blocks the next one.
    daemon.kill();
    assert!(file.exists());
    daemon.start_again();
    daemon.stop();
}

#[test]
fn the_socket_belongs_to_the_group() {
    let daemon = Daemon::start_with(&["-G", "adm"]);
    let socket = fs::metadata(daemon.socket()).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o660);
    let groups = fs::read_to_string("/etc/group").unwrap();
    let adm = groups.lines().find_map(|l| l.strip_prefix("adm:x:")?.split(':').next()).unwrap();
    assert_eq!((socket.uid(), socket.gid().to_string().as_str()), (0, adm));
    daemon.stop();

    let daemon = Daemon::start_with(&["--group", "no-such-group"]);
    assert_eq!(fs::metadata(daemon.socket()).unwrap().gid(), 0);
    assert!(daemon.log().contains("no-such-group"), "{}", daemon.log());
    daemon.stop();
}

#[test]
fn old_names_of_the_daemon_start_it() {
    for form in
        [&["docker", "-d", "-D"][..], &["docker", "-D", "-d"], &["docker", "daemon", "--debug"]]
    {
        let namespace = Namespace::new();
        let dir = Scratch::new("o");
        let host = format!("unix://{}", dir.join("s").display());
        let mut command = namespace.command(MULTI);
        command.args(form).args(["-H", &host]).args(roots(dir.path()));
        let mut daemon = Process::start(&mut command, "API listen on");
        let words = ["--unix-socket", &host["unix://".len()..]];
        assert_eq!(ping(&namespace, &words, "http://d"), "OK", "{form:?}");
        run(Command::new("kill").arg(daemon.pid().to_string()));
        let status = eventually("the end of the daemon", || daemon.child.try_wait().unwrap());
        assert!(status.success());
    }
}

#[test]
fn version_and_validation_need_no_daemon() {
    let dir = Scratch::new("v");
    let file = dir.join("daemon.json");
    let daemon = |words: &[&str]| output(Command::new(MULTI).arg("daemon").args(words));
    let version = daemon(&["-v"]);
    let line = text(&version.stdout);
    assert!(line.starts_with("Docker version ") && line.contains(", build "), "{line}");
    assert_eq!(line.lines().count(), 1);
    let validate = |json: &str| {
        fs::write(&file, json).unwrap();
        let output = daemon(&["--validate", "--config-file", file.to_str().unwrap()]);
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    };
    assert_eq!(validate("{\"debug\": true}"), (0, "configuration OK\n".into()));
    let (code, told) = validate("{\"nonsense\": true}");
    assert_eq!(code, 1);
    assert_eq!(
        told,
        format!(
            "unable to configure the Docker daemon with file {}: the following directives don't \
             match any configuration option: nonsense\n",
            file.display()
        )
    );
    assert_eq!(daemon(&["--nonsense"]).status.code(), Some(125));
}

/// `docker info` of the daemon, as JSON.
fn info(daemon: &Daemon) -> String {
    let socket = daemon.socket();
    let words = ["--unix-socket", socket.to_str().unwrap(), "http://d/info"];
    text(&curl(daemon.namespace(), &words).stdout)
}

#[test]
fn a_hangup_reads_the_file_again_and_a_bad_file_changes_nothing() {
    let dir = Scratch::new("r");
    let file = dir.join("daemon.json");
    fs::write(&file, "{\"labels\": [\"a=1\"]}").unwrap();
    let daemon = Daemon::start_with(&["--config-file", file.to_str().unwrap(), "--live-restore"]);
    let first = info(&daemon);
    assert!(first.contains("\"a=1\"") && first.contains("\"Debug\":false"), "{first}");
    let socket = daemon.socket();
    let mut events = daemon.namespace().command("curl");
    events.args(["-sN", "--unix-socket", socket.to_str().unwrap()]);
    events.arg("http://d/events?filters=%7B%22event%22%3A%5B%22reload%22%5D%7D&since=1");
    let hangup = |json: &str| {
        fs::write(&file, json).unwrap();
        run(Command::new("kill").args(["-HUP", &daemon.pid().to_string()]));
    };
    hangup("{\"labels\": [\"a=2\"], \"debug\": true}");
    let told = Process::start(&mut events, "\"reload\"");
    drop(told);
    assert!(info(&daemon).contains("\"a=2\"") && info(&daemon).contains("\"Debug\":true"));
    for (json, reason) in [
        ("{", "EOF"),
        ("{\"nonsense\": 1}", "nonsense"),
        ("{\"live-restore\": false}", "live-restore: (from flag: true, from file: false)"),
    ] {
        hangup(json);
        eventually(reason, || daemon.log().contains(reason).then_some(()));
        assert!(info(&daemon).contains("\"a=2\""));
    }
    daemon.stop();
}

#[test]
fn cors_headers_are_sent_only_when_asked_for() {
    let headers = |daemon: &Daemon| {
        let socket = daemon.socket();
        let words = ["-i", "--unix-socket", socket.to_str().unwrap(), "http://d/_ping"];
        text(&curl(daemon.namespace(), &words).stdout).to_ascii_lowercase()
    };
    let daemon = Daemon::start_with(&["--api-cors-header", "http://a.example"]);
    assert!(headers(&daemon).contains("access-control-allow-origin: http://a.example\r\n"));
    daemon.stop();
    let daemon = Daemon::start();
    assert!(!headers(&daemon).contains("access-control"));
    daemon.stop();
}

#[test]
fn nothing_is_written_outside_the_roots_that_were_given() {
    let before = |path: &str| fs::metadata(path).and_then(|m| m.modified()).ok();
    let (data, exec) = (before("/var/lib/docker"), before("/var/run/docker"));
    let daemon = Daemon::start();
    let root = daemon.data_root();
    eventually("a store", || root.join("image").exists().then_some(()));
    daemon.stop();
    assert_eq!((before("/var/lib/docker"), before("/var/run/docker")), (data, exec));
}

#[test]
fn links_may_stand_for_the_data_root() {
    let dir = Scratch::new("l");
    fs::create_dir(dir.join("real")).unwrap();
    std::os::unix::fs::symlink(dir.join("real"), dir.join("link")).unwrap();
    let daemon = Daemon::start_with(&["--data-root", dir.join("link").to_str().unwrap()]);
    eventually("a store", || dir.join("real/image").exists().then_some(()));
    daemon.stop();
}

#[test]
fn debug_lines_are_logged_only_with_debug() {
    let quiet = Daemon::start_with(&["-l", "error"]);
    assert_eq!(quiet.log(), "");
    quiet.stop();
    let loud = Daemon::start_with(&["-D"]);
    let socket = loud.socket();
    ping(loud.namespace(), &["--unix-socket", socket.to_str().unwrap()], "http://d");
    eventually("a debug line", || loud.log().contains("level=debug").then_some(()));
    loud.stop();
}

#[test]
fn wrong_options_do_not_start_a_daemon() {
    let namespace = Namespace::new();
    let dir = Scratch::new("w");
    for (options, code, reason) in [
        (&["--label", "foo"][..], 125, "bad attribute format: foo"),
        (&["-l", "bogus"], 1, "unable to parse logging level: bogus"),
        (&["--config-file", "/nonexistent.json"], 1, "/nonexistent.json"),
        (&["-s", "nosuch"], 1, "nosuch"),
        (&["--storage-opt", "no.such=1"], 1, "no.such"),
        (&["--exec-driver", "lxc"], 125, "lxc"),
        (&["--exec-opt", "isolation=hyperv"], 125, "Windows"),
        (&["-b", "br0", "--bip", "10.0.0.1/24"], 1, "-b & --bip"),
    ] {
        let (actual, told) = refused(&namespace, dir.path(), options);
        assert_eq!(actual, code, "{options:?}: {told}");
        assert!(told.contains(reason), "{options:?}: {told}");
    }
    assert!(!dir.join("pid").exists());
}

/// Kills the daemon of a pid file, which is nobody's child, when a test fails.
struct PidFile(PathBuf);

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(&self.0) {
            let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
        }
    }
}

#[test]
fn the_init_script_starts_stops_and_tells_with_the_options_of_etc_default() {
    let (namespace, dir, bin) = (Namespace::new(), Scratch::new("init"), Scratch::new("bin"));
    let [root, links] = [dir.path(), bin.path()].map(|path| path.to_str().unwrap());
    let install = ["install", "--services", root, links];
    run(Command::new(MULTI).args(install));
    let script = dir.join("etc/init.d/docker");
    let call = |word: &str| {
        let output = output(namespace.command(&script).arg(word));
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    };
    // The machine's own settings are covered in this namespace.
    run(namespace.command("mount").args(["-t", "tmpfs", "none", "/etc/default"]));
    let settings = format!("/proc/{}/root/etc/default/docker", namespace.pid());
    let (socket, pid, log) = (dir.join("s"), dir.join("pid"), dir.join("log"));
    let lines = format!(
        "DOCKER_OPTS=\"-H unix://{} --config-file /dev/null --data-root {root}/data \
         --exec-root {root}/exec --label=from=settings\"\n\
         DOCKER_PIDFILE={}\nDOCKER_LOGFILE={}\nDOCKER_TMPDIR={root}/temporary\n",
        socket.display(),
        pid.display(),
        log.display()
    );
    fs::write(&settings, lines).unwrap();

    let _guard = PidFile(pid.clone());
    assert_eq!(call("status"), (3, "docker: not running\n".into()));
    assert_eq!(call("stop").0, 0);
    assert_eq!(call("start"), (0, "docker: started\n".into()));
    let first = fs::read_to_string(&pid).unwrap();
    assert_eq!(call("status"), (0, format!("docker: running, process {}\n", first.trim())));
    assert_eq!(call("start"), (0, "docker: already running\n".into()));
    let label = || {
        let mut client = namespace.command(links.to_owned() + "/docker");
        client.args(["-H", &format!("unix://{}", socket.display())]);
        output(client.args(["info", "-f", "{{.Labels}}"]))
    };
    eventually("the daemon's answer", || label().status.success().then_some(()));
    assert_eq!(text(&label().stdout), "[from=settings]\n");
    assert!(dir.join("temporary").is_dir());
    assert_eq!(call("reload").0, 0);
    let told = || fs::read_to_string(&log).unwrap_or_default();
    eventually("the reload", || told().contains("Got signal to reload").then_some(()));
    assert_eq!(call("restart").0, 0);
    assert_ne!(fs::read_to_string(&pid).unwrap(), first);

    // A crash is told from a stop, and does not prevent the next start.
    let second = fs::read_to_string(&pid).unwrap();
    run(Command::new("kill").args(["-KILL", second.trim()]));
    eventually("the end", || (call("status").0 == 1).then_some(()));
    assert_eq!(call("start").0, 0);
    assert_eq!(call("stop"), (0, "docker: stopped\n".into()));
    assert!(!pid.exists() && !socket.exists());
    assert_eq!(call("status").0, 3);
    assert!(told().contains("Daemon shutdown complete"));

    // A daemon that does not come up is a start that failed.
    let broken =
        format!("DOCKER_OPTS=--nonsense\nDOCKER_PIDFILE={root}/pid\nDOCKER_LOGFILE={root}/log\n");
    fs::write(&settings, broken).unwrap();
    let (code, said) = call("start");
    assert_eq!((code, said.contains("did not start; see ")), (1, true), "{said}");
    assert!(told().contains("unknown flag: --nonsense"));
    assert_eq!(call("nonsense").0, 2);
    run(namespace.command("umount").arg("/etc/default"));
}
