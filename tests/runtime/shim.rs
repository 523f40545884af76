//! The shim: clients, exec, terminals, signals, its life without a daemon, its end.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;

use multi_core::base::Kind;
use multi_core::runtime::shim::{self, Attach, Event, Shim};
use multi_core::runtime::spec::ConsoleSize;

use crate::bundle::{
    Bundle, exec_request, exit_of, interactive, next_event, output, read_all, read_until, write,
};

fn pair() -> (UnixStream, OwnedFd) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (ours, theirs.into())
}

/// A container that runs until it is told to end.
fn running(bundle: &Bundle, script: &str) -> Shim {
    let shim = Shim::spawn(&bundle.request(&["sh", "-c", script]), None, &[]).unwrap();
    shim.wait_created().unwrap();
    shim.go().unwrap();
    shim
}

#[test]
fn input_ends_with_the_client_when_it_is_once_only() {
    let bundle = Bundle::new();
    let (mut client, theirs) = pair();
    let mut request = bundle.request(&["cat"]);
    (request.open_stdin, request.stdin_once) = (true, true);
    let attach = Attach { preread: b"before ".to_vec(), ..interactive(theirs) };
    let shim = Shim::spawn(&request, None, &[attach]).unwrap();
    shim.wait_created().unwrap();
    shim.go().unwrap();
    write(&mut client, "and after");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(client), "before and after");
    assert_eq!(exit_of(&shim), 0);
}

#[test]
fn much_input_and_output_pass_unharmed() {
    let bundle = Bundle::new();
    let (client, theirs) = pair();
    let mut request = bundle.request(&["cat"]);
    (request.open_stdin, request.stdin_once) = (true, true);
    let shim = Shim::spawn(&request, None, &[interactive(theirs)]).unwrap();
    shim.wait_created().unwrap();
    shim.go().unwrap();
    let text: String = (0..200_000).map(|n| format!("{n}\n")).collect();
    let mut writer = client.try_clone().unwrap();
    let sent = text.clone();
    let thread = std::thread::spawn(move || {
        write(&mut writer, &sent);
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    assert!(read_all(client) == text, "what came back is not what was sent");
    thread.join().unwrap();
    assert_eq!(exit_of(&shim), 0);
}

#[test]
fn frames_tell_the_streams_apart() {
    let bundle = Bundle::new();
    let (client, theirs) = pair();
    let attach = Attach { multiplexed: true, ..output(theirs) };
    let request = bundle.request(&["sh", "-c", "echo out; echo error >&2"]);
    let shim = Shim::spawn(&request, None, &[attach]).unwrap();
    shim.wait_created().unwrap();
    shim.go().unwrap();
    let text = read_all(client);
    // Which of the two pipes is read first is nobody's business.
    assert!(text.contains("\u{1}\0\0\0\0\0\0\u{4}out\n"), "{text:?}");
    assert!(text.contains("\u{2}\0\0\0\0\0\0\u{6}error\n"), "{text:?}");
}

#[test]
fn a_stalled_reader_loses_nothing_and_harms_nobody_else() {
    let bundle = Bundle::new();
    let (stalled, theirs) = pair();
    let request = bundle.request(&["sh", "-c", "seq 100000; sleep 1000"]);
    let shim = Shim::spawn(&request, None, &[output(theirs)]).unwrap();
    shim.wait_created().unwrap();
    shim.go().unwrap();
    // The shim still answers while that client does not read.
    assert!(shim.exec(&exec_request("x", &["true"]), None).unwrap() > 1);
    let mut reader = stalled.try_clone().unwrap();
    let text = read_until(&mut reader, "\n100000\n");
    assert_eq!(text, (1..=100_000).map(|n| format!("{n}\n")).collect::<String>());
    shim.signal("", libc::SIGKILL).unwrap();
    assert_eq!(exit_of(&shim), 137);
}

#[test]
fn a_terminal_has_a_size_is_resized_and_controls() {
    let bundle = Bundle::new();
    let (mut client, theirs) = pair();
    let mut request = bundle.request(&["sh"]);
    let process = request.spec.process.as_mut().unwrap();
    process.terminal = true;
    process.console_size = Some(ConsoleSize { width: 91, height: 37 });
    process.env.push("PS1=ready>".into());
    request.open_stdin = true;
    let shim = Shim::spawn(&request, None, &[interactive(theirs)]).unwrap();
    shim.wait_created().unwrap();
    shim.go().unwrap();
    read_until(&mut client, "ready>");
    write(
        &mut client,
        "stty size; ls -l /dev/console /proc/self/fd/0; test -t 0 && echo is-\"tty\"\n",
    );
    let text = read_until(&mut client, "is-tty\r\n");
    assert!(text.contains("37 91\r\n") && text.contains("/dev/pts/0"), "{text}");
    shim.resize("", 50, 20).unwrap();
    write(&mut client, "stty size\n");
    read_until(&mut client, "20 50\r\n");
    // The interrupt key reaches the foreground process by the controlling terminal.
    write(&mut client, "sh -c 'echo started; cat'\n");
    read_until(&mut client, "started\r\n");
    write(&mut client, "\x03");
    read_until(&mut client, "ready>");
    write(&mut client, "echo after-$?\n");
    read_until(&mut client, "after-130\r\n");
    write(&mut client, "exit 5\n");
    assert_eq!(exit_of(&shim), 5);
}

#[test]
fn detach_keys_leave_the_process_alone() {
    let bundle = Bundle::new();
    let (mut client, theirs) = pair();
    let mut request = bundle.request(&["sh"]);
    request.spec.process.as_mut().unwrap().terminal = true;
    request.open_stdin = true;
    let attach = Attach { detach_keys: vec![16, 17], ..interactive(theirs) };
    let shim = Shim::spawn(&request, None, &[attach]).unwrap();
    shim.wait_created().unwrap();
    shim.go().unwrap();
    write(&mut client, "echo one\n");
    read_until(&mut client, "one\r\n");
    write(&mut client, "\x10\x11");
    assert_eq!(next_event(&shim), Event::Detached { exec_id: String::new() });
    read_all(client);
    let (mut client, theirs) = pair();
    shim.attach(&interactive(theirs)).unwrap();
    write(&mut client, "echo two; exit\n");
    assert!(read_all(client).contains("two\r\n"));
    assert_eq!(exit_of(&shim), 0);
}

#[test]
fn exec_runs_beside_the_first_process() {
    let bundle = Bundle::new();
    let shim = running(&bundle, "cd /tmp; sleep 1000");
    let (client, theirs) = pair();
    let mut request = exec_request(
        "one",
        &[
            "sh",
            "-c",
            "cat; id -u; readlink /proc/self/ns/pid; hostname; pwd; ls /proc/self/fd; exit 9",
        ],
    );
    request.open_stdin = true;
    request.user = "u".into();
    request.process.cwd = "/etc".into();
    let attach = Attach { preread: b"input\n".to_vec(), ..interactive(theirs) };
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let pid = shim.exec(&request, Some(&attach)).unwrap();
    assert!(pid > 1);
    drop(attach);
    let text = read_all(client);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines[1]), ("input", "1000"), "{text}");
    // An ordinary user may not look at the first process.
    assert!(lines[2].starts_with("pid:["), "{text}");
    assert_eq!(lines[3..], ["box", "/etc", "0", "1", "2", "3"], "{text}");
    match next_event(&shim) {
        Event::ExecExit { exec_id, status, .. } => {
            assert_eq!((exec_id.as_str(), status), ("one", 9))
        }
        event => panic!("{event:?}"),
    }
    let (mut client, theirs) = pair();
    let attach = output(theirs);
    let e = shim.exec(&exec_request("two", &["nosuch"]), Some(&attach)).unwrap_err();
    // The stream is still good for the daemon to say why.
    nix::unistd::write(&attach.stream, b"why\n").unwrap();
    assert_eq!(read_until(&mut client, "why\n"), "why\n");
    assert_eq!(
        e.message(),
        "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nosuch\": \
         executable file not found in $PATH: unknown"
    );
    assert_eq!(shim.signal("two", 15).unwrap_err().kind(), Kind::NotFound);
    shim.signal("", libc::SIGKILL).unwrap();
    assert_eq!(exit_of(&shim), 137);
    assert_eq!(shim.exec(&exec_request("x", &["true"]), None).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn exec_can_have_a_terminal_and_the_filter_of_the_container() {
    let bundle = Bundle::new();
    let mut request = bundle.request(&["sleep", "1000"]);
    request.default_seccomp = true;
    let shim = Shim::spawn(&request, None, &[]).unwrap();
    shim.wait_created().unwrap();
    shim.go().unwrap();
    let (client, theirs) = pair();
    let mut request =
        exec_request("t", &["sh", "-c", "stty size; grep Seccomp: /proc/self/status"]);
    request.process.terminal = true;
    request.process.console_size = Some(ConsoleSize { width: 70, height: 30 });
    shim.exec(&request, Some(&interactive(theirs))).unwrap();
    assert_eq!(read_all(client), "30 70\r\nSeccomp:\t2\r\n");
    shim.signal("", libc::SIGKILL).unwrap();
    exit_of(&shim);
}

#[test]
fn the_shim_outlives_its_daemon_and_is_found_again() {
    let bundle = Bundle::new();
    let shim = running(&bundle, "cat /dev/null; sleep 1000");
    let pid = shim.state().pid;
    drop(shim);
    let shim = Shim::connect(&bundle.run_dir()).unwrap();
    assert_eq!(shim.state().pid, pid);
    let (client, theirs) = pair();
    shim.exec(&exec_request("x", &["echo", "still here"]), Some(&output(theirs))).unwrap();
    assert_eq!(read_all(client), "still here\n");
    drop(shim);
    // It ends while nobody listens: the record says how.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    let record = loop {
        if let Some(record) = shim::exit_record(&bundle.run_dir()).unwrap() {
            break record;
        }
        std::thread::yield_now();
    };
    assert_eq!((record.status, record.pid, record.oom), (137, pid, false));
    assert_eq!(Shim::connect(&bundle.run_dir()).unwrap_err().kind(), Kind::NotFound);
}

/// Set for a process that only starts a container, says so, and waits to be killed.
const STARTER: &str = "MULTI_TEST_STARTER";

#[test]
fn a_container_lives_on_when_its_starter_is_killed() {
    use std::io::Read;
    if std::env::var_os(STARTER).is_some() {
        let bundle = Bundle::new();
        let shim = running(&bundle, "sleep 1000");
        println!("{} {}.", bundle.dir.display(), shim.state().pid);
        loop {
            std::thread::park();
        }
    }
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "shim::a_container_lives_on_when_its_starter_is_killed", "--nocapture"])
        .env(STARTER, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (mut text, mut byte) = (String::new(), [0]);
    let mut out = starter.stdout.take().unwrap();
    while !text.ends_with('.') || !text.contains("/multi-runtime-") {
        assert_eq!(out.read(&mut byte).unwrap(), 1, "the starter said {text:?}");
        text.push(char::from(byte[0]));
    }
    starter.kill().unwrap();
    starter.wait().unwrap();
    let line = text.lines().last().unwrap();
    let (dir, pid) = line.trim_end_matches('.').rsplit_once(' ').unwrap();
    let dir = std::path::Path::new(&dir[dir.find('/').unwrap()..]);
    let shim = Shim::connect(&dir.join("run")).unwrap();
    assert_eq!(shim.state().pid.to_string(), pid);
    shim.signal("", libc::SIGKILL).unwrap();
    assert_eq!(exit_of(&shim), 137);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn nothing_is_left_when_it_is_dropped_before_it_runs() {
    let bundle = Bundle::new();
    let shim = Shim::spawn(&bundle.request(&["sleep", "1000"]), None, &[]).unwrap();
    let pid = shim.wait_created().unwrap();
    let process = multi_core::sys::pidfd::open(pid).unwrap();
    drop(shim);
    let mut fds = [nix::poll::PollFd::new(process.as_fd(), nix::poll::PollFlags::POLLIN)];
    assert_eq!(nix::poll::poll(&mut fds, 20_000u16), Ok(1));
    assert_eq!(shim::exit_record(&bundle.run_dir()).unwrap(), None);
}

#[test]
fn a_shim_that_was_killed_leaves_a_trail_to_clean_up() {
    let bundle = Bundle::new();
    let shim = running(&bundle, "sleep 1000");
    let process = multi_core::sys::pidfd::open(shim.state().pid).unwrap();
    let text = std::fs::read(bundle.run_dir().join(shim::RUN_RECORD)).unwrap();
    let record: shim::RunRecord = multi_core::base::json::parse(&text).unwrap();
    assert!(
        Command::new("kill").args(["-9", &record.shim_pid.to_string()]).status().unwrap().success()
    );
    assert_eq!(next_event(&shim), Event::Closed);
    shim::kill_leftovers(&bundle.run_dir()).unwrap();
    let mut fds = [nix::poll::PollFd::new(process.as_fd(), nix::poll::PollFlags::POLLIN)];
    assert_eq!(nix::poll::poll(&mut fds, 20_000u16), Ok(1));
}

#[test]
fn cgroups_are_made_joined_and_removed() {
    let bundle = Bundle::new();
    let path = format!("/multi-test/{}", bundle.id);
    let mut request = bundle.request(&["sh", "-c", "cat /proc/self/cgroup; ls /sys/fs/cgroup; cat /sys/fs/cgroup/pids/pids.max; touch /sys/fs/cgroup/pids/x 2>&1; sleep 1000"]);
    let linux = request.spec.linux.as_mut().unwrap();
    linux.cgroups_path = path.clone();
    linux.resources.as_mut().unwrap().pids =
        Some(multi_core::runtime::spec::LinuxPids { limit: 55 });
    let (mut client, theirs) = pair();
    let shim = Shim::spawn(&request, None, &[output(theirs)]).unwrap();
    shim.wait_created().unwrap();
    shim.go().unwrap();
    let text = read_until(&mut client, "Read-only file system\n");
    assert!(text.contains(&format!(":pids:{path}\n")) && text.contains("\n55\n"), "{text}");
    let (exec, theirs) = pair();
    shim.exec(&exec_request("x", &["cat", "/proc/self/cgroup"]), Some(&output(theirs))).unwrap();
    assert!(read_all(exec).contains(&format!(":memory:{path}\n")));
    shim.signal("", libc::SIGKILL).unwrap();
    assert_eq!(exit_of(&shim), 137);
    let cgroup = multi_core::cgroup::Cgroup::at(&path).unwrap();
    assert!(!cgroup.exists());
    for dir in cgroup.dirs() {
        // Others may use it at the same time.
        let _ = std::fs::remove_dir(dir.parent().unwrap());
    }
}

#[test]
fn without_a_pid_namespace_the_cgroup_ends_the_rest() {
    let bundle = Bundle::new();
    let mut request = bundle.request(&["sh", "-c", "sleep 1000 & echo $!; sleep 0.01; exit 4"]);
    let linux = request.spec.linux.as_mut().unwrap();
    linux.namespaces.retain(|ns| ns.kind != "pid");
    linux.cgroups_path = format!("/multi-test-host/{}", bundle.id);
    let cgroup = linux.cgroups_path.clone();
    let (mut client, theirs) = pair();
    let shim = Shim::spawn(&request, None, &[output(theirs)]).unwrap();
    shim.wait_created().unwrap();
    shim.go().unwrap();
    let left: i32 = read_until(&mut client, "\n").trim().parse().unwrap();
    assert_eq!(exit_of(&shim), 4);
    assert!(!std::path::Path::new(&format!("/proc/{left}")).exists());
    for dir in multi_core::cgroup::Cgroup::at(&cgroup).unwrap().dirs() {
        let _ = std::fs::remove_dir(dir.parent().unwrap());
    }
}

#[test]
fn every_line_is_in_the_log_when_the_end_is_told() {
    let bundle = Bundle::new();
    let path = bundle.dir.join("json.log");
    let mut request = bundle.request(&["sh", "-c", "seq 5000; echo error >&2; echo -n rest"]);
    request.log = Some(shim::LogConfig {
        driver: "json-file".into(),
        path: path.to_str().unwrap().into(),
        ..shim::LogConfig::default()
    });
    let shim = Shim::spawn(&request, None, &[]).unwrap();
    shim.wait_created().unwrap();
    shim.go().unwrap();
    assert_eq!(exit_of(&shim), 0);
    let text = std::fs::read_to_string(&path).unwrap();
    let of = |stream: &str| text.lines().filter(|l| l.contains(stream)).collect::<Vec<_>>();
    let (out, error) = (of("\"stream\":\"stdout\""), of("\"stream\":\"stderr\""));
    assert_eq!((out.len(), error.len()), (5001, 1));
    for (n, line) in out[..5000].iter().enumerate() {
        assert!(line.starts_with(&format!("{{\"log\":\"{}\\n\",", n + 1)), "{line}");
    }
    assert!(out[5000].starts_with("{\"log\":\"rest\",") && error[0].contains("error\\n"));
}

#[test]
fn want_of_memory_is_told_and_recorded() {
    let bundle = Bundle::new();
    let path = format!("/multi-test-oom/{}", bundle.id);
    // The child is killed, and the first process with it when it does the same.
    let hungry = "dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null";
    let mut request = bundle.request(&["sh", "-c", &format!("{hungry}; exec {hungry}")]);
    let linux = request.spec.linux.as_mut().unwrap();
    linux.cgroups_path = path.clone();
    let limit = 32 << 20;
    linux.resources.as_mut().unwrap().memory =
        Some(multi_core::runtime::spec::LinuxMemory { limit: Some(limit), ..Default::default() });
    let shim = Shim::spawn(&request, None, &[]).unwrap();
    shim.wait_created().unwrap();
    shim.go().unwrap();
    assert_eq!(next_event(&shim), Event::Oom);
    assert_eq!(exit_of(&shim), 137);
    assert!(shim::exit_record(&bundle.run_dir()).unwrap().unwrap().oom);
    for dir in multi_core::cgroup::Cgroup::at(&path).unwrap().dirs() {
        let _ = std::fs::remove_dir(dir.parent().unwrap());
    }
}
