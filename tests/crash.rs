//! SIGKILL of the daemon at any moment of its work, and requests that cannot be fulfilled: the next start is
//! clean, what was reported is true, nothing is left behind.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::daemon::Daemon;
use support::images::{self, Packing, Style};
use support::raw::ask;
use support::registry::Registry;
use support::{Scratch, output, run, text};

const KILLS: u32 = 25;
/// No kill follows when the test took this long.
const BUDGET: Duration = Duration::from_secs(60);

/// What the daemon's answers oblige it to.
#[derive(Default)]
struct Known {
    every: BTreeSet<String>,
    exist: BTreeSet<String>,
    run: BTreeSet<String>,
    gone: BTreeSet<String>,
    /// Answers that no client should get, whenever the daemon dies.
    wrong: Vec<String>,
}

/// Makes, starts, stops and removes containers until the daemon is gone.
fn use_containers(socket: &Path, known: &Mutex<Known>, name: &str) {
    for turn in 0.. {
        let ports = if turn % 2 == 0 { r#","PortBindings":{"80/tcp":[{}]}"# } else { "" };
        let body = format!(
            r#"{{"Image":"busybox","Cmd":["sleep","600"],"Volumes":{{"/a":{{}},"/etc":{{}}}},
                "HostConfig":{{"Memory":67108864{ports}}}}}"#
        );
        let path = format!("/containers/create?name={name}-{turn}");
        let Some((status, answer)) = ask(socket, "POST", &path, &body) else { return };
        if status != 201 {
            known.lock().unwrap().wrong.push(format!("create: {status} {answer}"));
            return;
        }
        let id = answer.split('"').nth(3).unwrap().to_string();
        {
            let mut known = known.lock().unwrap();
            known.every.insert(id.clone());
            known.exist.insert(id.clone());
        }
        let step = |method: &str, path: &str| -> Option<()> {
            let (status, answer) = ask(socket, method, &format!("/containers/{id}{path}"), "")?;
            if status != 204 {
                known.lock().unwrap().wrong.push(format!("{method} {path}: {status} {answer}"));
            }
            Some(())
        };
        let turn_of_one = || {
            step("POST", "/start")?;
            known.lock().unwrap().run.insert(id.clone());
            match turn % 4 {
                0 => return Some(()), // It stays.
                1 => {
                    known.lock().unwrap().run.remove(&id);
                    step("POST", "/stop?t=0")?;
                    step("POST", "/start")?;
                    known.lock().unwrap().run.insert(id.clone());
                }
                2 => {
                    known.lock().unwrap().run.remove(&id);
                    step("POST", "/stop?t=0")?;
                }
                _ => {}
            }
            let mut guard = known.lock().unwrap();
            guard.exist.remove(&id);
            guard.run.remove(&id);
            drop(guard);
            step("DELETE", "?force=1&v=1")?;
            known.lock().unwrap().gone.insert(id.clone());
            Some(())
        };
        if turn_of_one().is_none() {
            return;
        }
    }
}

/// Pulls an image and removes it again, until the daemon is gone.
fn use_images(socket: &Path, name: &str) {
    let path = format!("/images/create?fromImage={name}");
    while ask(socket, "POST", &path, "").is_some() {
        if ask(socket, "DELETE", &format!("/images/{name}?force=1"), "").is_none() {
            return;
        }
    }
}

/// Puts an image into the registry whose layers take a while to unpack.
fn push_large(registry: &Registry) -> String {
    let mut files = Vec::new();
    for i in 0..300 {
        files.push((format!("file-{i}"), vec![i as u8; 20_000]));
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, c)| (n.as_str(), &c[..])).collect();
    let layers = vec![
        images::Layer::new(images::tar(&files), Packing::Gzip),
        images::Layer::new(images::tar(&files[..100]), Packing::Zstd),
    ];
    let dir = Scratch::new("large");
    images::TestImage::new(layers, Style::Oci, r#"{"Cmd":["true"]}"#).write_layout(dir.path());
    registry.push_with(dir.path(), "large:1", &[]);
    registry.name("large:1")
}

/// The names in a directory; none if it is not there.
fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// What lies in the data root of a daemon that ended although no record names it.
fn unnamed(daemon: &Daemon) -> Vec<String> {
    let root = daemon.data_root();
    let layers = root.join("image/overlay2/layerdb");
    let mut named: BTreeSet<String> = BTreeSet::new();
    let read = |path: PathBuf| std::fs::read_to_string(path).ok();
    for id in names(&layers.join("sha256")) {
        named.extend(read(layers.join("sha256").join(id).join("cache-id")));
    }
    for id in names(&layers.join("mounts")) {
        named.extend(read(layers.join("mounts").join(&id).join("mount-id")));
        named.extend(read(layers.join("mounts").join(&id).join("init-id")));
    }
    let mut found = Vec::new();
    let dirs = names(&root.join("overlay2"));
    let ours = ["l".to_string(), ".trash".to_string()];
    found.extend(dirs.iter().filter(|d| !named.contains(*d) && !ours.contains(d)).cloned());
    found.extend(named.difference(&dirs).map(|id| format!("no layer directory {id}")));
    found.extend(names(&root.join("overlay2/.trash")));
    let links = names(&root.join("overlay2/l")).len();
    if links != named.len() {
        found.push(format!("{links} links to {} layers", named.len()));
    }
    // Anonymous volumes belong to containers, and a test has no others.
    found.extend(names(&root.join("volumes")).difference(&volumes(daemon)).cloned());
    found.extend(names(&layers.join("tmp")));
    found.extend(names(&root.join("tmp")));
    let containers = names(&root.join("containers"));
    let records = names(&layers.join("mounts"));
    found.extend(containers.symmetric_difference(&records).map(|id| format!("half of {id}")));
    let temporary = run(std::process::Command::new("find").arg(&root).args([
        "-path",
        "*/overlay2/*/diff",
        "-prune",
        "-o",
        "(",
        "-name",
        ".creating-*",
        "-o",
        "-name",
        ".removed-*",
        "-o",
        "-name",
        ".tmp*",
        ")",
        "-print",
    ]));
    found.extend(temporary.lines().map(ToString::to_string));
    found
}

/// The names of the volumes in the records of containers.
fn volumes(daemon: &Daemon) -> BTreeSet<String> {
    let containers = daemon.data_root().join("containers");
    let record = |id: String| {
        let text = std::fs::read_to_string(containers.join(id).join("config.v2.json")).ok()?;
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        let points = record["MountPoints"].as_object().unwrap().values().cloned();
        Some(points.map(|point| point["Name"].as_str().unwrap().to_string()).collect::<Vec<_>>())
    };
    names(&containers).into_iter().filter_map(record).flatten().collect()
}

/// Rules and sandboxes of containers.
fn network_traces(daemon: &Daemon) -> Vec<String> {
    let rules = run(daemon.namespace().command("nft").args(["list", "ruleset"]));
    let mut found: Vec<String> =
        rules.lines().filter(|l| l.contains("dnat to")).map(ToString::to_string).collect();
    found.extend(names(&daemon.exec_root().join("netns")));
    found
}

#[test]
fn a_killed_daemon_keeps_its_word_and_leaves_nothing() {
    let mut daemon = Daemon::start();
    let registry = daemon.registry();
    let large = push_large(&registry);
    daemon.load(&images::busybox(), "busybox:latest");
    let known = Mutex::new(Known::default());
    let begin = Instant::now();
    let mut seed = 0x2545_f491_u32;
    for round in 0..KILLS {
        if begin.elapsed() > BUDGET {
            break;
        }
        // Moments from right after the start to well within the work; the same in each run.
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let moment = Duration::from_millis(u64::from(seed >> 24) * 3);
        let socket = daemon.socket();
        std::thread::scope(|scope| {
            let (socket, known, large) = (&socket, &known, &large);
            for client in 0..2 {
                let name = format!("c{round}-{client}");
                scope.spawn(move || use_containers(socket, known, &name));
            }
            scope.spawn(move || use_images(socket, large));
            std::thread::sleep(moment);
            daemon.kill();
        });
        daemon.start_again();
        check(&daemon, &mut known.lock().unwrap(), round);
        if round % 5 == 4 {
            remove_all(&daemon);
            let mut known = known.lock().unwrap();
            *known = Known { every: std::mem::take(&mut known.every), ..Known::default() };
        }
    }
    remove_all(&daemon);
    assert_eq!(network_traces(&daemon), Vec::<String>::new(), "{}", daemon.log());
    daemon.terminate();
    assert_eq!(unnamed(&daemon), Vec::<String>::new(), "{}", daemon.log());
    let every: Vec<String> = known.into_inner().unwrap().every.into_iter().collect();
    assert!(every.len() > 10, "only {} containers were made", every.len());
    assert_eq!(daemon.leftovers(&every), Vec::<String>::new(), "{}", daemon.log());

    // The images are whole, and go without a trace as well.
    daemon.start_again();
    daemon.docker(&["pull", "-q", &large]);
    assert_eq!(daemon.docker(&["run", "--rm", "busybox", "echo", "hi"]), "hi\n");
    daemon.docker(&["rmi", "-f", "busybox", &large]);
    daemon.terminate();
    assert_eq!(unnamed(&daemon), Vec::<String>::new(), "{}", daemon.log());
    let left = names(&daemon.data_root().join("overlay2"));
    assert!(left.is_subset(&[".trash".to_string(), "l".to_string()].into()), "{left:?}");
    assert_eq!(names(&daemon.data_root().join("image/overlay2/layerdb/sha256")), BTreeSet::new());
}

/// Holds what a new daemon says against what the last ones answered.
fn check(daemon: &Daemon, known: &mut Known, round: u32) {
    let listed = daemon.docker(&["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}}"]);
    let all: BTreeSet<&str> = listed.lines().filter_map(|l| l.split(' ').next()).collect();
    let running: BTreeSet<&str> =
        listed.lines().filter_map(|l| l.strip_suffix(" running")).collect();
    let log = || daemon.log();
    known.every.extend(all.iter().map(ToString::to_string));
    for id in &known.exist {
        assert!(all.contains(id.as_str()), "kill {round}: {id} is lost\n{listed}\n{}", log());
    }
    for id in &known.run {
        assert!(running.contains(id.as_str()), "kill {round}: {id} ended\n{listed}\n{}", log());
    }
    for id in &known.gone {
        assert!(!all.contains(id.as_str()), "kill {round}: {id} is back\n{listed}\n{}", log());
    }
    assert_eq!(known.wrong, Vec::<String>::new(), "kill {round}: {}", log());
}

fn remove_all(daemon: &Daemon) {
    let all = daemon.docker(&["ps", "-aq"]);
    let ids: Vec<&str> = all.lines().collect();
    if !ids.is_empty() {
        daemon.docker(&[&["rm", "-f", "-v"], &ids[..]].concat());
    }
    assert_eq!(daemon.docker(&["ps", "-aq"]), "");
}

/// Everything that a container could leave: its parts on disk, in the network and in the kernel.
fn traces(daemon: &Daemon) -> Vec<String> {
    let mut found = unnamed(daemon);
    found.extend(names(&daemon.data_root().join("containers")));
    found.extend(names(&daemon.exec_root().join("shim")));
    found.extend(network_traces(daemon));
    let root = daemon.dir().to_str().unwrap().to_string();
    let mounts = daemon.namespace().mounts();
    found.extend(mounts.lines().filter(|l| l.contains(&root)).map(ToString::to_string));
    let links = run(daemon.namespace().command("ip").args(["-o", "link"]));
    found.extend(links.lines().filter(|l| l.contains(": veth")).map(ToString::to_string));
    found.retain(|line| line != "default");
    found
}

#[test]
fn what_cannot_be_made_is_named_and_leaves_nothing() {
    let daemon = Daemon::start();
    daemon.load(&images::busybox(), "busybox:latest");
    let before = traces(&daemon);
    for (body, status, named) in [
        (r#"{"Image":["busybox"]}"#, 400, "Image"),
        (r#"{"Image":"busybox","Cmd":{"a":1}}"#, 400, "Cmd"),
        (r#"{"Image":"busybox","Env":"A=b"}"#, 400, "Env"),
        (r#"{"Image":"busybox","Env":[1]}"#, 400, "Env"),
        (r#"{"Image":"busybox","StopTimeout":"1"}"#, 400, "StopTimeout"),
        (r#"{"Image":"busybox","ExposedPorts":["80"]}"#, 400, "ExposedPorts"),
        (r#"{"Image":"busybox","HostConfig":[]}"#, 400, "HostConfig"),
        (r#"{"Image":"busybox","HostConfig":{"Memory":"1g"}}"#, 400, "Memory"),
        (r#"{"Image":"busybox","HostConfig":{"Memory":1.5}}"#, 400, "Memory"),
        (r#"{"Image":"busybox","HostConfig":{"Binds":"/a:/b"}}"#, 400, "Binds"),
        (r#"{"Image":"busybox","HostConfig":{"RestartPolicy":"always"}}"#, 400, "RestartPolicy"),
        (r#"{"Image":"busybox","NetworkingConfig":"host"}"#, 400, "NetworkingConfig"),
        (r#"{"Image":"busybox""#, 400, ""),
        (r#"{"Image":"nosuch"}"#, 404, "No such image: nosuch:latest"),
        (r#"{"Image":"busybox","User":"nosuch","HostConfig":{"Memory":1}}"#, 400, "emory"),
        (r#"{"Image":"busybox","HostConfig":{"RestartPolicy":{"Name":"nosuch"}}}"#, 400, "nosuch"),
        (r#"{"Image":"busybox","HostConfig":{"Binds":["a:b:c:d"]}}"#, 400, "a:b:c:d"),
        (
            r#"{"Image":"busybox","HostConfig":{"PortBindings":{"80/x":[{}]}}}"#,
            400,
            "invalid proto: x",
        ),
        (r#"{"Image":"busybox","WorkingDir":"relative"}"#, 400, "relative"),
    ] {
        let answer = ask(&daemon.socket(), "POST", "/containers/create", body).unwrap();
        assert_eq!(answer.0, status, "{body}: {}", answer.1);
        assert!(answer.1.contains(named), "{body}: {}", answer.1);
        assert!(answer.1.starts_with("{\"message\":\""), "{body}: {}", answer.1);
    }
    assert_eq!(traces(&daemon), before);
    for (method, path) in [
        ("GET", "/containers/nosuch/json"),
        ("POST", "/containers/nosuch/start"),
        ("DELETE", "/containers/nosuch"),
        ("POST", "/containers/nosuch/exec"),
    ] {
        let answer = ask(&daemon.socket(), method, path, r#"{"Cmd":["true"]}"#).unwrap();
        assert_eq!(answer, (404, "{\"message\":\"No such container: nosuch\"}\n".into()), "{path}");
    }

    // What fails at the start leaves nothing but the container, and with --rm not even that.
    daemon.docker(&["run", "-d", "--name", "first", "-p", "7777:80", "busybox", "sleep", "600"]);
    let running = traces(&daemon);
    for (args, code, told) in [
        (&["-p", "7777:81", "busybox", "true"][..], 125, "port is already allocated"),
        (&["--net", "nosuch", "busybox", "true"], 125, "network nosuch not found"),
        (&["--net", "container:nosuch", "busybox", "true"], 125, "No such container: nosuch"),
        (&["-u", "nosuch", "busybox", "true"], 125, "unable to find user nosuch"),
        (&["busybox", "nosuch"], 127, "executable file not found in $PATH"),
        (&["busybox", "/etc"], 126, ""),
        // Docker's client takes the code from these words, whatever is not there.
        (&["-v", "/proc/nosuch/x:/x", "busybox", "true"], 127, "no such file or directory"),
    ] {
        let output = output(daemon.client().args(["run", "--rm"]).args(args));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(told), "{args:?}: {said}");
        support::eventually("the old state", || (traces(&daemon) == running).then_some(()));
    }
    daemon.docker(&["rm", "-f", "first"]);
    support::eventually("the old state", || (traces(&daemon) == before).then_some(()));
    daemon.stop();
}
