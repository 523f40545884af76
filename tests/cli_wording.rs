//! The client's help, and its answers to wrong command lines, word for word against Docker's own
//! client 28.
//!
//! The peer is `$DOCKER_CLI`, or `/usr/local/bin/docker`; where neither is a client of version 28 the
//! comparison is left out and says so. No daemon is asked: both are pointed at a socket that is not there.

#![allow(clippy::unwrap_used)]

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Exit code, standard output, standard error.
#[derive(Debug, PartialEq, Eq)]
struct Told(i32, String, String);

fn run(program: &str, words: &[&str]) -> Told {
    let output = Command::new(program)
        .arg0("docker")
        .args(words)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("PATH", "/usr/bin:/bin")
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Told(output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn ours(words: &[&str]) -> Told {
    run(env!("CARGO_BIN_EXE_multi"), words)
}

/// A client of Docker whose wording is the model.
fn peer() -> Option<String> {
    let path = std::env::var("DOCKER_CLI").unwrap_or_else(|_| "/usr/local/bin/docker".into());
    let output = Command::new(&path).arg("--version").output().ok()?;
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    version.starts_with("Docker version 28.").then_some(path)
}

/// Command lines that never reach a daemon.
const LINES: &[&str] = &[
    "run",
    "run --",
    "volume",
    "volume create a b",
    "volume create --foo",
    "volume create --label =x",
    "volume create --limit-bytes x",
    "volume create --name a b",
    "volume ls x",
    "volume ls -f bad",
    "volume inspect",
    "volume prune x",
    "volume prune --filter bad",
    "volume rm",
    "volume rm -Z",
    "volume update",
    "volume foo",
    "run --mount type=bind,target=/a,bind-recursive=no x",
    "run --mount type=tmpfs,target=/a,volume-nocopy=true x",
    "run --mount type=bind,src=/a,target=/a,bind-recursive=readonly x",
    "run --mount type=image,target=/a,tmpfs-size=1m x",
    "run --mount type=tmpfs,target=/a,tmpfs-mode=9 x",
    "run --mount type=tmpfs,target=/a,tmpfs-size=x x",
    "run --mount target=/a,readonly=maybe x",
    "run --mount target=/a,volume-foo=1 x",
    "run --mount type=bind,src=/a x",
    "run --mount type=,target=/a x",
    "run --volume /a::b y",
    "run --volume /a:/b:ro:x y",
    "run --env-file /no/such x",
    "run --label-file /no/such x",
    "run --cidfile",
    "run --volumes-from",
    "run --volume-driver",
    "run --storage-opt bad x",
    "run -e=A",
    "run --foo x",
    "run -Z x",
    "run -itZ x",
    "run -itZm x",
    "run --name",
    "run -e",
    "run -p",
    "run --net",
    "run ---x",
    "run --=x",
    "run -=x",
    "run -h",
    "run --tty=maybe x",
    "run -d=true=x y",
    "run -m abc x",
    "run --memory-swappiness abc x",
    "run --cpus x y",
    "run --cpus 0.0000000001 y",
    "run --health-interval x y",
    "run --ulimit x y",
    "run --ulimit nofile=2:1 y",
    "run --pids-limit x y",
    "run --blkio-weight 70000 y",
    "run --stop-timeout=1.5 y",
    "run --foo --help",
    "run --help --foo",
    "container run",
    "container run --foo",
    "create",
    "create --foo",
    "exec",
    "exec a",
    "exec --foo a b",
    "exec -Z",
    "ps x",
    "ps --foo",
    "ps -n x",
    "ps -n",
    "rm",
    "rm --foo",
    "rename a",
    "rename a b c",
    "tag a",
    "tag a b c",
    "version x",
    "info x",
    "events x",
    "wait",
    "logs",
    "logs a b",
    "logs -n",
    "stop",
    "stop -t x y",
    "start",
    "restart",
    "restart -t 1x y",
    "kill",
    "kill --signal",
    "pause",
    "unpause --foo",
    "stats --foo",
    "update",
    "update x",
    "update -m 5z x",
    "update --cpus x y",
    "update --restart on-failure:x y",
    "update --blkio-weight x y",
    "attach",
    "attach a b",
    "top",
    "inspect",
    "inspect --foo",
    "history",
    "history a b",
    "save",
    "rmi",
    "pull",
    "pull a b",
    "load x",
    "image",
    "container",
    "image tag a",
    "image rm",
    "image inspect",
    "container inspect",
    "container rename a",
    "foo",
    "container foo",
    "image foo",
    "--foo",
    "-Z",
    "-H",
    "--tls=foo ps",
    "--host",
    "port",
    "port --foo",
    "login a b",
    "logout a b",
    "images a b",
    "history --foo",
    "tag --foo a b",
    "load --foo",
    "save --foo",
    "logs --since",
    "events --filter",
    "kill -s",
    "start -Z",
    "wait --foo",
    "attach --foo a",
    "top --foo",
    "run --rm=x y",
    "run -v",
    "run --mount",
    "run --label-file /nonexistent x",
    "run --env-file /nonexistent x",
    "run -p 80:80:80:80 x",
    "run -p abc x",
    "run --mount bad x",
    "run --network",
    "run --restart",
    "run --add-host bad x",
    "run --device",
    "run --expose a-b x",
    "run -a foo x",
    "run --log-opt a=b --log-driver none x",
    "run --cap-add",
    "run --sysctl bad x",
    "run --volume :x y",
    "run --memory 1m --memory-swap -2 x",
    "run --shm-size x y",
    "run --stop-timeout x y",
    "run --health-retries -1 x",
    "run --tmpfs",
    "run --link bad:a:b x",
    "run --mac-address bad x",
    "run --ip bad x",
    "run --entrypoint",
    "run -it=false=x y",
    "run --pull bad x",
    "run --platform",
    "run -e =a x",
    "run --userns bad x",
    "run --uts bad x",
    "run --pid bad x",
    "run --ipc bad x",
    "run --cgroupns bad x",
    "run --detach-keys bad-key x",
    "run --gpus",
    "run --isolation",
    "run --security-opt foo x",
    "run --ulimit core x",
    "exec --detach-keys",
    "exec -it=x a b",
    "create --name",
    "rmi --foo",
    "rmi -Z",
    "pull --foo x",
    "ps --format",
    "ps --filter bad",
    "ps -f bad",
    "images -f bad",
    "events -f bad",
    "inspect --type",
    "inspect -f",
    "image prune x",
    "image prune --filter bad",
    "system df x",
    "system df --foo",
    "commit",
    "commit a b c",
    "commit -p=x a",
    "commit a Bad",
    "commit a b:c:d",
    "import",
    "import /nonexistent",
    "cp",
    "cp a",
    "cp a b",
    "cp a b c",
    "cp a:b c:d",
    "cp --foo a b",
    "cp -q=x a b",
    "diff",
    "diff a b",
    "export",
    "export -o",
    "help foo",
    "-l bogus ps",
    "-H a -H b ps",
    "-H tcp://x --context c ps",
    "ps -h",
    "rm -h",
];

/// Lines where we differ on purpose: the line, and why.
const DIFFERENT: &[(&str, &str)] = &[
    ("image", "lists the commands that there are, on standard output"),
    ("container", "lists the commands that there are, on standard output"),
    ("volume", "lists the commands that there are, on standard output"),
    ("ps -h", "the notice about -h goes to standard error"),
    ("run --ip bad x", "told before the daemon is asked"),
    ("rm -h", "the notice about -h goes to standard error"),
];

#[test]
fn wrong_command_lines_are_told_as_docker_tells_them() {
    let Some(peer) = peer() else {
        eprintln!("skipped: there is no client of Docker 28 to compare with");
        return;
    };
    let mut wrong = Vec::new();
    for line in LINES {
        if DIFFERENT.iter().any(|(l, _)| l == line) {
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let mut theirs = run(&peer, &words);
        // A slip of the pen in version 28: "SRun 'docker ... --help'".
        theirs.2 = theirs.2.replace("\nSRun '", "\nRun '");
        let ours = ours(&words);
        if ours != theirs {
            wrong.push(format!("docker {line}\n  ours:   {ours:?}\n  theirs: {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ\n{}", wrong.len(), LINES.len(), wrong.join("\n"));
}

/// Commands whose help is compared.
#[rustfmt::skip]
const COMMANDS: &[&str] = &[
    "attach", "commit", "cp", "create", "diff", "events", "exec", "export", "history", "image prune", "images", "import", "info",
    "inspect", "kill", "load", "login", "logout", "logs", "pause", "ps", "pull", "rename",
    "restart", "rm", "rmi", "run", "save", "start", "stats", "stop", "system df", "tag", "top", "unpause",
    "update", "version", "volume create", "volume inspect", "volume ls", "volume prune",
    "volume rm", "volume update", "wait",
];

/// Flags of Docker that are not here, and flags that are only here: why.
const OTHER_FLAGS: &[(&str, &str, &str)] = &[
    ("create", "use-api-socket", "experimental"),
    ("images", "tree", "experimental, of another image store"),
    ("run", "use-api-socket", "experimental"),
    ("start", "checkpoint", "experimental"),
    ("create", "cpu-count", "of Windows only"),
    ("create", "cpu-percent", "of Windows only"),
    ("create", "io-max", "of Windows only"),
    ("run", "cpu-count", "of Windows only"),
    ("run", "cpu-percent", "of Windows only"),
    ("run", "io-max", "of Windows only"),
];

/// The help of a command without the lines of the flags in `OTHER_FLAGS`.
fn comparable(command: &str, help: &str) -> Vec<String> {
    let (mut lines, mut left_out) = (Vec::new(), false);
    for line in help.lines() {
        let is_flag = line.starts_with("  -") || line.starts_with("      --");
        if is_flag {
            left_out = OTHER_FLAGS
                .iter()
                .any(|(c, flag, _)| *c == command && line.contains(&format!("--{flag}")));
        } else if !line.starts_with("      ") {
            left_out = false;
        }
        let shifted = OTHER_FLAGS.iter().any(|(c, _, _)| *c == command);
        if left_out {
            continue;
        } else if !shifted {
            lines.push(line.to_string());
        } else if line.starts_with("         ")
            && let Some(last) = lines.last_mut()
        {
            // The column depends on the longest flag: its width is not compared.
            *last += " ";
            *last += line.trim();
        } else {
            lines.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    lines
}

#[test]
fn help_is_dockers_own() {
    let Some(peer) = peer() else {
        eprintln!("skipped: there is no client of Docker 28 to compare with");
        return;
    };
    let mut wrong = Vec::new();
    for command in COMMANDS {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let Told(_, theirs, _) = run(&peer, &words);
        let Told(code, ours, told) = ours(&words);
        assert_eq!((code, told.as_str()), (0, ""), "{command}");
        let (theirs, ours) = (comparable(command, &theirs), comparable(command, &ours));
        let missing = theirs.iter().filter(|l| !ours.contains(l));
        wrong.extend(missing.map(|l| format!("docker {command}: missing: {l}")));
        let extra = ours.iter().filter(|l| !theirs.contains(l));
        wrong.extend(extra.map(|l| format!("docker {command}: only here: {l}")));
        if theirs.len() == ours.len() && theirs != ours {
            wrong.push(format!("docker {command}: another order"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
