//! Log drivers against servers that are played here, and reading back what they were given.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::thread::JoinHandle;

use multi_core::http::tls::{Tls, server_config};
use nix::sched::{CloneFlags, setns};

use crate::support::authority::Authority;
use crate::support::daemon::Daemon;
use crate::support::{PATIENCE, eventually, text};
use crate::{Cli, daemon};

/// Makes something in the network of the daemon, such as a socket.
fn there<T: Send>(daemon: &Daemon, make: impl FnOnce() -> T + Send) -> T {
    let network = File::open(format!("/proc/{}/ns/net", daemon.namespace().pid())).unwrap();
    let made = || {
        setns(&network, CloneFlags::CLONE_NEWNET).unwrap();
        make()
    };
    std::thread::scope(|scope| scope.spawn(made).join().unwrap())
}

fn listener(daemon: &Daemon) -> (TcpListener, u16) {
    let listener = there(daemon, || TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn datagrams(daemon: &Daemon) -> (UdpSocket, u16) {
    let socket = there(daemon, || UdpSocket::bind("127.0.0.1:0").unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// Everything that one client sends.
fn whole(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Runs `script` in a container with a log driver; gives its standard output.
fn run_with(cli: &Cli, name: &str, driver: &str, options: &[&str], script: &str) -> String {
    let mut words = vec!["run", "--net", "none", "--name", name, "--log-driver", driver];
    words.extend(options.iter().flat_map(|option| ["--log-opt", *option]));
    words.extend(["busybox", "sh", "-c", script]);
    cli.run(&words)
}

#[test]
fn syslog_servers_get_every_line_and_logs_come_from_the_cache() {
    let daemon = daemon(&[]);
    let cli = Cli { daemon: &daemon, official: true };
    let script = "echo one; echo; echo two >&2; printf three";

    let (udp, port) = datagrams(&daemon);
    let address = format!("syslog-address=udp://127.0.0.1:{port}");
    let options =
        [&*address, "syslog-format=rfc5424micro", "syslog-facility=local3", "tag={{.Name}}/x"];
    assert_eq!(run_with(&cli, "un", "syslog", &options, script), "one\n\nthree");
    let mut got = BTreeSet::new();
    let mut buffer = [0; 2000];
    for _ in 0..3 {
        let length = udp.recv(&mut buffer).unwrap();
        let words: Vec<String> = text(&buffer[..length]).split(' ').map(String::from).collect();
        assert_eq!(
            (words[3].as_str(), words[5].as_str(), words[6].as_str()),
            ("un/x", "un/x", "-")
        );
        assert_eq!(words[1].len(), "2026-01-02T03:04:05.000000Z".len());
        got.insert((words[0].clone(), words[7].clone()));
    }
    let expected = [("<158>1", "one\n"), ("<155>1", "two\n"), ("<158>1", "three\n")];
    assert_eq!(got, expected.map(|(p, t)| (p.to_string(), t.to_string())).into());
    assert_eq!(cli.run(&["logs", "un"]), "one\n\nthree");
    assert_eq!(cli.run(&["logs", "--tail", "1", "un"]), "three");
    assert_eq!(cli.inspect("un", "{{.LogPath}}"), "");

    let (tcp, port) = listener(&daemon);
    let server = whole(Accepting::tcp(tcp));
    let address = format!("syslog-address=tcp://localhost:{port}");
    run_with(&cli, "tn", "syslog", &[&address, "syslog-format=rfc3164"], "seq 1 5000");
    let got = text(&server.join().unwrap());
    let id = cli.inspect("tn", "{{slice .Id 0 12}}");
    assert_eq!(got.lines().count(), 5000);
    for (n, line) in got.lines().enumerate() {
        assert!(line.starts_with("<30>") && line.contains(&format!(" {id}[")), "{line}");
        assert!(line.ends_with(&format!("]: {}", n + 1)), "{line}");
    }

    let authority = Authority::new();
    let config =
        server_config(&authority.file("server.crt"), &authority.file("server.key"), None).unwrap();
    let (tcp, port) = listener(&daemon);
    let server = std::thread::spawn(move || {
        let session = Tls::accept(tcp.accept().unwrap().0.into(), config).unwrap();
        let (mut bytes, mut buffer) = (Vec::new(), [0; 1000]);
        loop {
            match session.read(&mut buffer).unwrap() {
                0 => return bytes,
                length => bytes.extend_from_slice(&buffer[..length]),
            }
        }
    });
    let address = format!("syslog-address=tcp+tls://localhost:{port}");
    let authority = format!("syslog-tls-ca-cert={}", authority.file("ca.crt").display());
    run_with(&cli, "sn", "syslog", &[&address, &authority, "syslog-format=rfc5424"], "seq 1 100");
    let mut got = BufReader::new(&*server.join().unwrap()).split(b'\n').count();
    assert_eq!(got, 100);

    let path = daemon.dir().join("log.sock");
    let local = UnixDatagram::bind(&path).unwrap();
    let address = format!("syslog-address=unixgram://{}", path.display());
    run_with(&cli, "gn", "syslog", &[&address, "cache-disabled=true"], "echo local >&2");
    got = local.recv(&mut buffer).unwrap();
    assert!(buffer.starts_with(b"<27>") && buffer[..got].ends_with(b"]: local\n"));
    let (code, error) = cli.code(&["logs", "gn"]);
    assert_eq!(code, 1);
    assert!(error.contains("configured logging driver does not support reading"), "{error}");
    cli.run(&["rm", "un", "tn", "sn", "gn"]);
    cli.nothing_left();
    daemon.stop();
}

/// Waits for a client when it is read first.
enum Accepting {
    Tcp(TcpListener, Option<std::net::TcpStream>),
    Unix(UnixListener, Option<std::os::unix::net::UnixStream>),
}

impl Accepting {
    fn tcp(listener: TcpListener) -> Accepting {
        Accepting::Tcp(listener, None)
    }
}

impl Read for Accepting {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Accepting::Tcp(listener, stream) => {
                let stream = match stream {
                    Some(stream) => stream,
                    None => stream.insert(listener.accept()?.0),
                };
                stream.read(buffer)
            }
            Accepting::Unix(listener, stream) => {
                let stream = match stream {
                    Some(stream) => stream,
                    None => stream.insert(listener.accept()?.0),
                };
                stream.read(buffer)
            }
        }
    }
}

#[test]
fn a_log_that_cannot_be_opened_fails_the_start_in_dockers_words() {
    let daemon = daemon(&[]);
    let cli = Cli { daemon: &daemon, official: true };
    let refused = |name: &str, driver: &str, options: &[&str]| {
        let mut words = vec!["run", "--net", "none", "--name", name, "--log-driver", driver];
        words.extend(options.iter().flat_map(|option| ["--log-opt", *option]));
        words.extend(["busybox", "true"]);
        let (code, error) = cli.code(&words);
        assert_eq!(code, 125, "{error}");
        error
    };
    let (free, port) = listener(&daemon);
    drop(free);
    let address = format!("tcp://127.0.0.1:{port}");
    for (driver, option, why) in [
        ("syslog", format!("syslog-address={address}"), "dial tcp 127.0.0.1"),
        ("fluentd", format!("fluentd-address={address}"), "dial tcp 127.0.0.1"),
        (
            "gelf",
            format!("gelf-address={address}"),
            "gelf: cannot connect to GELF endpoint: 127.0.0.1",
        ),
        ("journald", "tag=x".into(), "journald is not enabled on this host"),
        ("local", "max-size=ten".into(), "invalid value for max-size: ten: invalid size: 'ten'"),
        ("json-file", "tag={{.No}}".into(), "template: log-tag:1:2: executing \"log-tag\""),
    ] {
        let error = refused("xn", driver, &[&option]);
        let start = format!(
            "failed to create task for container: failed to initialize logging driver: {why}"
        );
        assert!(error.contains(&start), "{driver}: {error}");
        assert_eq!(cli.inspect("xn", "{{.State.Status}}"), "created");
        cli.run(&["rm", "xn"]);
    }
    for (driver, option, why) in [
        ("awslogs", "a=b", "error looking up logging plugin awslogs: plugin \"awslogs\" not found"),
        ("syslog", "a=b", "unknown log opt 'a' for syslog log driver"),
        ("gelf", "a=b", "gelf-address is a required parameter"),
    ] {
        let error = refused("xn", driver, &[option]);
        assert!(error.contains(&format!("daemon: {why}")), "{error}");
    }
    // A server that is away at the start is no reason to wait where messages may wait.
    let option = format!("fluentd-address={address}");
    let options = [&*option, "fluentd-async=true"];
    assert_eq!(run_with(&cli, "xn", "fluentd", &options, "echo said"), "said\n");
    assert_eq!(cli.run(&["logs", "xn"]), "said\n");
    cli.run(&["rm", "xn"]);
    cli.nothing_left();
    daemon.stop();
}

#[test]
fn gelf_fluentd_splunk_and_journald_tell_of_the_container() {
    let daemon = daemon(&[]);
    let cli = Cli { daemon: &daemon, official: false };
    let (tcp, port) = listener(&daemon);
    let server = whole(Accepting::tcp(tcp));
    let address = format!("gelf-address=tcp://127.0.0.1:{port}");
    let options = [&*address, "env=A", "labels=l", "tag={{.ImageName}}"];
    let words = ["run", "--net", "none", "--name", "gn", "-e", "A=b", "--label", "l=v"];
    let words = [&words[..], &["--log-driver", "gelf"]].concat();
    let options: Vec<&str> = options.iter().flat_map(|o| ["--log-opt", *o]).collect();
    let script = "echo hello >&2; printf '<&>'";
    cli.run(&[&words[..], &options, &["busybox", "sh", "-c", script]].concat());
    let got = text(&server.join().unwrap());
    let id = cli.inspect("gn", "{{.Id}}");
    assert_eq!(got.matches('\0').count(), 2);
    for part in [
        "{\"version\":\"1.1\",\"host\":\"",
        "\"short_message\":\"hello\",\"timestamp\":",
        "\"short_message\":\"\\u003c\\u0026\\u003e\"",
        ",\"level\":3,\"_A\":\"b\",\"_command\":\"sh -c echo hello \\u003e\\u00262;",
        &format!("\"_container_id\":\"{id}\",\"_container_name\":\"gn\",\"_created\":\"20"),
        "\"_image_name\":\"busybox\",\"_l\":\"v\",\"_tag\":\"busybox\"}\0",
    ] {
        assert!(got.contains(part), "{part}\n{got}");
    }

    let path = daemon.dir().join("fluent.sock");
    let server = whole(Accepting::Unix(UnixListener::bind(&path).unwrap(), None));
    let address = format!("fluentd-address=unix://{}", path.display());
    let long = "head -c 20000 /dev/zero | tr '\\0' x; echo";
    run_with(&cli, "fn", "fluentd", &[&address, "fluentd-sub-second-precision=true"], long);
    let got = server.join().unwrap();
    let count = |part: &[u8]| got.windows(part.len()).filter(|w| *w == part).count();
    for (part, times) in [
        (&b"\xaccontainer_id\xd9\x40"[..], 2),
        (b"\xaecontainer_name\xa3/fn", 2),
        (b"\xa3log\xda\x40\x00xxx", 1),
        (b"\xa3log\xda\x0e\x20xxx", 1),
        (b"\xacpartial_last\xa5false", 1),
        (b"\xacpartial_last\xa4true", 1),
        (b"\xafpartial_message\xa4true", 2),
        (b"\xafpartial_ordinal\xa12", 1),
        (b"\xa6source\xa6stdout", 2),
    ] {
        assert_eq!(count(part), times, "{:?}", text(part));
    }
    assert_eq!(cli.run(&["logs", "fn"]).len(), 20_001);

    let (tcp, port) = listener(&daemon);
    let server = std::thread::spawn(move || {
        let mut requests = String::new();
        for _ in 0..2 {
            let (mut stream, _) = tcp.accept().unwrap();
            let mut buffer = [0; 4000];
            while !requests.ends_with("\r\n\r\n") && !requests.ends_with('}') {
                let length = stream.read(&mut buffer).unwrap();
                requests.push_str(&text(&buffer[..length]));
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            requests.push('\n');
        }
        requests
    });
    let url = format!("splunk-url=http://127.0.0.1:{port}");
    let options = [&*url, "splunk-token=secret", "splunk-format=raw", "tag=here"];
    run_with(&cli, "pn", "splunk", &options, "echo collected");
    let got = server.join().unwrap();
    assert!(got.starts_with("OPTIONS /services/collector/event/1.0 HTTP/1.1\r\n"), "{got}");
    assert!(got.contains("\r\nAuthorization: Splunk secret\r\n"), "{got}");
    assert!(got.contains("{\"event\":\"here collected\",\"time\":\""), "{got}");

    let path = daemon.dir().join("journal");
    let journal = UnixDatagram::bind(&path).unwrap();
    let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
                  touch /run/systemd/journal/socket && \
                  mount --bind \"$0\" /run/systemd/journal/socket";
    crate::run(daemon.namespace().command("sh").args(["-c", script]).arg(&path));
    run_with(&cli, "jn", "journald", &["tag=tagged"], "echo noted");
    let mut buffer = [0; 4000];
    let length = journal.recv(&mut buffer).unwrap();
    let got = text(&buffer[..length]);
    let id = cli.inspect("jn", "{{.Id}}");
    assert!(got.starts_with("PRIORITY=6\nMESSAGE=noted\n"), "{got}");
    for field in ["CONTAINER_NAME=jn", "CONTAINER_TAG=tagged", "IMAGE_NAME=busybox"] {
        assert!(got.contains(&format!("\n{field}\n")), "{got}");
    }
    assert!(got.contains(&format!("\nCONTAINER_ID_FULL={id}\n")), "{got}");
    assert_eq!(cli.run(&["logs", "jn"]), "noted\n");
    cli.run(&["rm", "gn", "fn", "pn", "jn"]);
    cli.nothing_left();
    crate::run(daemon.namespace().command("umount").args(["-R", "/run"]));
    daemon.stop();
}

#[test]
fn a_log_goes_on_while_the_daemon_is_away() {
    let mut daemon = daemon(&[]);
    let (udp, port) = datagrams(&daemon);
    let address = format!("syslog-address=udp://127.0.0.1:{port}");
    let out = format!("{}:/out", daemon.dir().display());
    let script = "echo before; while ! [ -e /out/go ]; do usleep 10000; done; echo after; read x";
    let words = [
        &["run", "-di", "--net", "none", "--name", "aw", "-v", &out][..],
        &["--log-driver", "syslog", "--log-opt", &address, "busybox", "sh", "-c", script],
    ];
    daemon.docker(&words.concat());
    let mut buffer = [0; 1000];
    let mut next = || {
        let length = udp.recv(&mut buffer).unwrap();
        text(&buffer[..length]).rsplit(' ').next().unwrap().to_string()
    };
    assert_eq!(next(), "before\n");
    daemon.kill();
    std::fs::write(daemon.dir().join("go"), "").unwrap();
    assert_eq!(next(), "after\n");
    daemon.start_again();
    assert_eq!(daemon.docker(&["logs", "aw"]), "before\nafter\n");
    let mut follower = daemon.client();
    let follower = follower.args(["logs", "-f", "aw"]).stdout(std::process::Stdio::piped());
    let mut follower = follower.spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "before");
    assert_eq!(lines.next().unwrap().unwrap(), "after");
    daemon.docker(&["kill", "aw"]);
    assert!(lines.next().is_none());
    assert!(follower.wait().unwrap().success());
    daemon.docker(&["rm", "aw"]);
    daemon.stop();
}

#[test]
fn a_server_that_does_not_read_stops_only_a_blocking_log() {
    let daemon = daemon(&[]);
    let cli = Cli { daemon: &daemon, official: false };
    // More than all sockets and pipes on the way can hold.
    let script = "yes 0123456789012345678901234567890123456789 | head -n 500000; touch /out/$0";
    let out = format!("{}:/out", daemon.dir().display());
    for mode in ["non-blocking", "blocking"] {
        let mode = format!("mode={mode}");
        let (tcp, port) = listener(&daemon);
        let address = format!("syslog-address=tcp://127.0.0.1:{port}");
        let words = [
            &["run", "-d", "--net", "none", "--name", "bn", "-v", &out][..],
            &["--log-driver", "syslog", "--log-opt", &address, "--log-opt", &mode],
            &["busybox", "sh", "-c", script, &mode],
        ];
        cli.run(&words.concat());
        let (server, _) = tcp.accept().unwrap();
        let done = daemon.dir().join(&mode);
        if mode == "mode=non-blocking" {
            eventually("the end of the script", || done.exists().then_some(()));
        } else {
            // It comes to rest, with a shim that still answers.
            let cached = || cli.run(&["logs", "--tail", "1", "bn"]);
            eventually("the first line", || (!cached().is_empty()).then_some(()));
            let pid = cli.inspect("bn", "{{.State.Pid}}");
            eventually("a full pipe", || {
                let children = format!("/proc/{pid}/task/{pid}/children");
                let children = std::fs::read_to_string(children).unwrap_or_default();
                let waits = |pid: &str| {
                    let stack = std::fs::read_to_string(format!("/proc/{pid}/wchan"));
                    stack.is_ok_and(|at| at.contains("pipe_w"))
                };
                children.split_whitespace().any(waits).then_some(())
            });
            assert!(!done.exists());
            assert_eq!(cli.run(&["exec", "bn", "echo", "alive"]), "alive\n");
        }
        // The server goes: what cannot be sent is lost, the container is not.
        drop((tcp, server));
        if mode == "mode=blocking" {
            cli.run(&["kill", "bn"]);
        }
        eventually("the end", || {
            (cli.inspect("bn", "{{.State.Status}}") == "exited").then_some(())
        });
        cli.run(&["rm", "bn"]);
    }
    let log = daemon.log();
    assert!(log.contains("failed to log messages with driver syslog"), "{log}");
    cli.nothing_left();
    daemon.stop();
}

#[test]
fn a_full_disk_costs_lines_but_neither_the_container_nor_the_daemons_log() {
    let daemon = daemon(&[]);
    let cli = Cli { daemon: &daemon, official: false };
    for driver in ["json-file", "local"] {
        let words = ["create", "--net", "none", "--name", "fd", "--log-driver", driver, "busybox"];
        cli.run(&[&words[..], &["sh", "-c", "seq 1 100000; echo 100001"]].concat());
        let dir = daemon.data_root().join("containers").join(cli.inspect("fd", "{{.Id}}"));
        let dir = if driver == "local" { dir.join("local-logs") } else { dir };
        // What is there already stays in sight, and the room that is left is little.
        let script = "mkdir -p \"$0\" && cp -a \"$0\" \"$0.kept\" && \
                      mount -t tmpfs -o size=128k none \"$0\" && cp -a \"$0.kept/.\" \"$0\"";
        crate::run(daemon.namespace().command("sh").args(["-c", script]).arg(&dir));
        cli.run(&["start", "fd"]);
        assert_eq!(cli.run(&["wait", "fd"]), "0\n");
        let told = cli.run(&["logs", "--tail", "1", "fd"]);
        assert!(told.trim_end().parse::<u32>().is_ok_and(|line| line > 100), "{driver}: {told:?}");
        crate::run(daemon.namespace().command("umount").arg("-l").arg(&dir));
        cli.run(&["rm", "fd"]);
        std::fs::remove_dir_all(dir.with_extension("kept")).ok();
    }
    let log = daemon.log();
    assert_eq!(log.matches(": failed to log messages with driver ").count(), 2, "{log}");
    assert_eq!(log.matches(" writes to the log failed").count(), 2, "{log}");
    assert!(log.contains("no space left on device"), "{log}");
    daemon.stop();
}

#[test]
fn the_daemons_log_options_go_to_containers_and_local_logs_are_followed() {
    let daemon = daemon(&["--log-driver", "local", "--log-opt", "max-size=20k"]);
    let cli = Cli { daemon: &daemon, official: true };
    let told = cli.run(&["info", "-f", "{{.LoggingDriver}} {{.Plugins.Log}}"]);
    assert_eq!(told.trim_end(), "local [fluentd gelf journald json-file local splunk syslog]");
    let script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; read x; echo last";
    cli.run(&["run", "-di", "--net", "none", "--name", "ln", "busybox", "sh", "-c", script]);
    assert_eq!(
        cli.inspect("ln", "{{.HostConfig.LogConfig}} {{.LogPath}}"),
        "{local map[max-size:20k]}"
    );
    let mut follower = cli.command(&["logs", "-f", "--tail", "10", "ln"]);
    eventually("all lines", || {
        (cli.run(&["logs", "--tail", "1", "ln"]) == "line 2999\n").then_some(())
    });
    let mut follower = follower.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "line 2990");
    let mut attach = cli.command(&["attach", "ln"]);
    let attach = attach.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
    let mut attach = attach.spawn().unwrap();
    attach.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert!(attach.wait().unwrap().success());
    assert_eq!(lines.last().unwrap().unwrap(), "last");
    assert!(follower.wait().unwrap().success());
    let id = cli.inspect("ln", "{{.Id}}");
    let dir = daemon.data_root().join("containers").join(id).join("local-logs");
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names[..2], ["container.log", "container.log.1.gz"]);
    assert_eq!(names.len(), 5);
    cli.run(&["rm", "ln"]);
    // Another driver does not get the daemon's options.
    cli.run(&["create", "--log-driver", "json-file", "--name", "jn", "busybox"]);
    assert_eq!(cli.inspect("jn", "{{.HostConfig.LogConfig}}"), "{json-file map[]}");
    cli.run(&["rm", "jn"]);
    cli.nothing_left();
    daemon.stop();
}
