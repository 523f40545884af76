//! Many clients at once make, start, enter, stop and remove containers of every kind; afterwards the host
//! and the daemon are as they were before.
//!
//! By itself it works for some seconds. `tests/stress MINUTES` lets it work as long as that.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::daemon::Daemon;
use support::raw::ask;
use support::{images, output, run, text};

/// Clients at work at the same time.
const CLIENTS: usize = 200;
/// How long they work when nothing else is said.
const SHORT: Duration = Duration::from_secs(15);

/// What the clients' containers differ in: name, configuration.
const KINDS: &[(&str, &str)] = &[
    ("plain", r#""Cmd":["sleep","600"]"#),
    ("network-none", r#""Cmd":["sleep","600"],"HostConfig":{"NetworkMode":"none"}"#),
    (
        "ports",
        r#""Cmd":["sleep","600"],"HostConfig":{"PortBindings":{"80/tcp":[{}],"53/udp":[{}]}}"#,
    ),
    ("terminal", r#""Cmd":["sh"],"Tty":true,"OpenStdin":true"#),
    ("volumes", r#""Cmd":["sleep","600"],"Volumes":{"/a":{},"/b":{}}"#),
    (
        "limits",
        r#""Cmd":["sleep","600"],"HostConfig":{"Memory":67108864,"PidsLimit":20,"NanoCpus":500000000}"#,
    ),
    ("short", r#""Cmd":["true"]"#),
    ("deaf", r#""Cmd":["sh","-c","trap '' TERM; while :; do sleep 1; done"]"#),
    ("forks", r#""Cmd":["sh","-c","while :; do sleep 600 & done"],"HostConfig":{"PidsLimit":10}"#),
    (
        "floods",
        r#""Cmd":["yes"],"HostConfig":{"LogConfig":{"Type":"json-file","Config":{"max-size":"100k"}}}"#,
    ),
    ("fails", r#""Cmd":["/no/such/program"]"#),
    (
        "restarts",
        r#""Cmd":["false"],"HostConfig":{"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":2}}"#,
    ),
];

/// One container's life; what was answered that should not have been.
fn life(socket: &Path, name: &str, number: u64) -> Result<(), String> {
    let (kind, settings) = KINDS[number as usize % KINDS.len()];
    let step = |method: &str, path: &str, body: &str, allowed: &[u16]| {
        let (status, answer) = ask(socket, method, path, body).ok_or("the daemon is gone")?;
        if allowed.contains(&status) {
            return Ok(answer);
        }
        Err(format!("{kind}: {method} {path}: {status} {answer}"))
    };
    let body = format!(r#"{{"Image":"busybox",{settings}}}"#);
    step("POST", &format!("/containers/create?name={name}"), &body, &[201])?;
    let at = |verb: &str| format!("/containers/{name}{verb}");
    let started: &[u16] = if kind == "fails" { &[400, 404] } else { &[204] };
    step("POST", &at("/start"), "", started)?;
    step("GET", &at("/json"), "", &[200])?;
    // Those that end by themselves may have done so by now.
    let runs = !["short", "fails", "restarts", "forks"].contains(&kind);
    let maybe: &[u16] = if runs { &[200, 201, 204] } else { &[200, 201, 204, 304, 409] };
    match number / KINDS.len() as u64 % 5 {
        0 => {
            step("POST", &at("/stop?t=0"), "", &[204, 304])?;
        }
        1 => {
            step("POST", &at("/kill"), "", maybe)?;
        }
        2 => {
            let exec = r#"{"Cmd":["true"],"AttachStdout":true}"#;
            let answer = ask(socket, "POST", &at("/exec"), exec).ok_or("the daemon is gone")?;
            if answer.0 == 201 {
                let id = answer.1.split('"').nth(3).unwrap_or_default();
                // A container at its limit of processes has no room for another.
                let all: &[u16] = &[200, 400, 409, 500];
                step("POST", &format!("/exec/{id}/start"), r#"{"Detach":true}"#, all)?;
            } else if runs {
                return Err(format!("{kind}: exec: {} {}", answer.0, answer.1));
            }
        }
        3 => {
            step(
                "POST",
                &at("/restart?t=0"),
                "",
                if kind == "fails" { &[400, 404] } else { &[204] },
            )?;
        }
        _ => {
            step("GET", &at("/logs?stdout=1&tail=1"), "", &[200])?;
        }
    }
    step("DELETE", &at("?force=1&v=1"), "", &[204])?;
    step("GET", &at("/json"), "", &[404])?;
    Ok(())
}

/// The cgroups below a parent of the test's own, in every hierarchy.
struct Groups(String);

impl Groups {
    /// The parents and all in them, parents first.
    fn paths(&self) -> Vec<String> {
        let inside = [format!("*/{}", self.0), format!("*/{}/*", self.0)];
        let [parent, below] = inside.each_ref().map(String::as_str);
        let words = ["-type", "d", "(", "-path", parent, "-o", "-path", below, ")"];
        // Groups of others vanish while find looks, which it calls a failure.
        let found = output(std::process::Command::new("find").arg("/sys/fs/cgroup").args(words));
        text(&found.stdout).lines().map(ToString::to_string).collect()
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for path in self.paths().iter().rev() {
            let _ = std::fs::remove_dir(path);
        }
    }
}

/// How much there is of everything that a container could leave behind.
fn measure(daemon: &Daemon, groups: &Groups) -> BTreeMap<String, usize> {
    let count = |path: String| std::fs::read_dir(path).map_or(0, Iterator::count);
    let pid = daemon.pid();
    let lines = |program: &str, args: &[&str]| {
        run(daemon.namespace().command(program).args(args)).lines().count()
    };
    let data = |path: &str| daemon.data_root().join(path).display().to_string();
    let exec = |path: &str| daemon.exec_root().join(path).display().to_string();
    let children = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let children = children
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .map(|text| text.split_ascii_whitespace().count())
        .sum();
    [
        ("descriptors", count(format!("/proc/{pid}/fd"))),
        ("threads", count(format!("/proc/{pid}/task"))),
        ("children", children),
        ("mounts", daemon.namespace().mounts().lines().count()),
        ("interfaces", lines("ip", &["-o", "link"])),
        ("rules", lines("nft", &["list", "ruleset"])),
        ("neighbours", lines("ip", &["neigh", "show", "dev", "docker0", "nud", "permanent"])),
        ("containers", count(data("containers"))),
        ("layers", count(data("overlay2"))),
        ("links of layers", count(data("overlay2/l"))),
        ("trash", count(data("overlay2/.trash"))),
        ("volumes", count(data("volumes"))),
        ("layer records", count(data("image/overlay2/layerdb/mounts"))),
        ("shims", count(exec("shim"))),
        ("network namespaces", count(exec("netns"))),
        ("cgroups", groups.paths().len()),
    ]
    .map(|(name, count)| (name.to_string(), count))
    .into()
}

/// Lets all clients work until `end`; the number of lives and the wrong answers.
fn work(daemon: &Daemon, end: Instant) -> (u64, Vec<String>) {
    let (next, wrong) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let socket = daemon.socket();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (next, wrong, socket) = (&next, &wrong, &socket);
            scope.spawn(move || {
                // Each client has lived at least once.
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if let Err(e) = life(socket, &format!("c{client}-{number}"), number) {
                        wrong.lock().unwrap().push(e);
                    }
                    if Instant::now() >= end {
                        return;
                    }
                }
            });
        }
    });
    (next.into_inner(), wrong.into_inner().unwrap())
}

#[test]
fn two_hundred_clients_leave_no_trace() {
    let minutes = std::env::var("MULTI_STRESS_MINUTES").ok().and_then(|m| m.parse::<f64>().ok());
    let period = minutes.map_or(SHORT, |minutes| Duration::from_secs_f64(minutes * 60.0));
    // Other tests have containers too: the groups of these are found by a name of their own.
    let parent = Groups(format!("stress-{}", std::process::id()));
    let daemon = Daemon::start_with(&["--cgroup-parent", &format!("/{}", parent.0)]);
    daemon.load(&images::busybox(), "busybox:latest");
    // What the first container makes stays for all others.
    for number in 0..KINDS.len() as u64 {
        life(&daemon.socket(), &format!("first{number}"), number).unwrap();
    }
    let before = measure(&daemon, &parent);
    let begin = Instant::now();
    let (lives, wrong) = work(&daemon, begin + period);
    println!("{lives} lives in {:.1} s", begin.elapsed().as_secs_f64());
    assert_eq!(wrong, Vec::<String>::new(), "{}", daemon.log());
    assert!(lives >= CLIENTS as u64);
    let patience = Instant::now() + support::PATIENCE;
    let more: Vec<String> = loop {
        let after = measure(&daemon, &parent);
        let more = after.iter().filter(|(name, count)| **count > before[*name]);
        let more: Vec<_> = more
            .map(|(name, count)| format!("{name}: {} before, {count} after", before[name]))
            .collect();
        if more.is_empty() || Instant::now() > patience {
            break more;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(more, Vec::<String>::new(), "{}", daemon.log());
    daemon.stop();
}
