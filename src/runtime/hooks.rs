//! Running the hooks of a configuration.
//!
//! A hook gets the state of the container as JSON on its standard input; what it prints is only seen when
//! it fails. One that takes longer than its timeout is killed. Without an environment of its own it has the
//! runtime's, as with runc and crun.
//!
//! Spec: OCI runtime-spec 1.2, `config.md#posix-platform-hooks`.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::spec::{Hook, State};
use crate::base::{At, Error, Kind, Result, json};
use crate::sys::pidfd;

/// Bytes of a hook's words that its error repeats.
const OUTPUT_MAX: u64 = 4096;

/// Runs `hooks` one after another; the first that fails ends it.
///
/// # Errors
/// `InvalidParameter` for one that cannot be meant; `Io` that names the hook and holds what it said.
pub(super) fn run(kind: &str, hooks: &[Hook], state: &State) -> Result<()> {
    for (i, hook) in hooks.iter().enumerate() {
        one(hook, state).at(format_args!("error running {kind} hook #{i}"))?;
    }
    Ok(())
}

fn one(hook: &Hook, state: &State) -> Result<()> {
    if !hook.path.starts_with('/') {
        return Err(Error::invalid(format_args!("path {:?} is not absolute", hook.path)));
    }
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    if !hook.env.is_empty() {
        command.env_clear();
    }
    command.envs(hook.env.iter().filter_map(|entry| entry.split_once('=')));
    // Files, not pipes: however much it says, it never waits for us to read.
    let output = [said_to()?, said_to()?];
    command.stdin(Stdio::piped());
    command.stdout(output[0].try_clone()?).stderr(output[1].try_clone()?);
    let mut child = command.spawn().at(format_args!("executing {}", hook.path))?;
    let deadline = match hook.timeout {
        Some(seconds) if seconds <= 0 => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::invalid(format_args!("invalid timeout {seconds}")));
        }
        Some(seconds) => Instant::now().checked_add(Duration::from_secs(seconds.unsigned_abs())),
        None => None,
    };
    if let Some(mut input) = child.stdin.take() {
        // A hook need not read it. A state is shorter than a pipe's room, so this does not wait.
        let _ = input.write_all(json::to_string_plain(state).as_bytes());
    }
    let ended = wait(child.id() as i32, deadline);
    if !ended {
        let _ = child.kill();
    }
    let status = child.wait().at(format_args!("waiting for {}", hook.path))?;
    if !ended {
        let text = format!("{}: timeout of {} s", hook.path, hook.timeout.unwrap_or(0));
        return Err(Error::new(Kind::Io, text));
    }
    if status.success() {
        return Ok(());
    }
    let [out, err] = output.map(said);
    let text = format!("{}: {status}, stdout: {out}, stderr: {err}", hook.path);
    Err(Error::new(Kind::Io, text))
}

/// Waits for the end of `pid`; false when `deadline` comes first.
fn wait(pid: i32, deadline: Option<Instant>) -> bool {
    // Before Linux 5.3 the caller's own wait is all there is, without a timeout.
    let (Some(deadline), Ok(process)) = (deadline, pidfd::open(pid)) else { return true };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) if Instant::now() >= deadline => return false,
            Ok(n) if n > 0 => return true,
            _ => {}
        }
    }
}

fn said_to() -> Result<File> {
    Ok(memfd_create(c"hook", MFdFlags::MFD_CLOEXEC).at("creating memfd")?.into())
}

fn said(mut file: File) -> String {
    let mut bytes = Vec::new();
    // What cannot be read is not worth another error.
    let _ = file.rewind().and_then(|()| file.take(OUTPUT_MAX).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str) -> Hook {
        Hook {
            path: "/bin/sh".into(),
            args: vec!["sh".into(), "-c".into(), script.into()],
            env: vec!["A=b".into()],
            timeout: None,
        }
    }

    #[test]
    fn a_hook_gets_the_state_and_its_environment() {
        let state = State { id: "x1".into(), ..State::default() };
        let script = r#"read -r line; case $line in *'"id":"x1"'*) test $A = b;; *) exit 4;; esac"#;
        run("prestart", &[hook(script)], &state).unwrap();
        // One that reads nothing and says much.
        run("prestart", &[hook("exit 0")], &state).unwrap();
    }

    #[test]
    fn a_failing_hook_is_quoted_and_ends_the_list() {
        let file = std::env::temp_dir().join(format!("multi-hook-{}", std::process::id()));
        let hooks =
            [hook("echo out; echo err >&2; exit 3"), hook(&format!(": >{}", file.display()))];
        let e = run("poststart", &hooks, &State::default()).unwrap_err().to_string();
        assert!(e.starts_with("error running poststart hook #0: /bin/sh: exit status: 3"), "{e}");
        assert!(e.ends_with("stdout: out, stderr: err"), "{e}");
        assert!(!file.exists());
    }

    #[test]
    fn a_slow_hook_is_killed() {
        let slow = Hook { timeout: Some(1), ..hook("exec sleep 1000") };
        let e = run("prestart", &[slow], &State::default()).unwrap_err().to_string();
        assert!(e.ends_with("timeout of 1 s"), "{e}");
    }
}
