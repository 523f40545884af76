//! One health check: an exec whose output is cut short and whose time is limited.
//!
//! The thread of the check reads the output, so that a check that writes much is not held up, and keeps
//! the beginning of it. A check that takes too long is killed; its end is awaited, so that dying checks
//! do not pile up.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exec::{self, Status};
use super::{Container, health};
use crate::base::{At, Error, Result, duration};
use crate::engine::Engine;
use crate::runtime::shim::Attach;

/// How much of the output is kept, in bytes.
const OUTPUT_BYTES: usize = 4096;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the end of a killed check is waited for.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Runs the check of `container`; its exit code, or -1 if it took too long, and the beginning of its
/// output.
///
/// # Errors
/// What kept it from being run.
pub(super) fn run(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<(i64, String)> {
    let (command, words, limit) = {
        let data = container.data();
        let config = &data.record.config;
        let check = config.healthcheck.clone().unwrap_or_default();
        let mut command: Vec<String> = Vec::new();
        if check.test.first().is_some_and(|kind| kind == "CMD-SHELL") {
            match config.shell.as_ref().filter(|shell| !shell.is_empty()) {
                Some(shell) => command.extend(shell.iter().cloned()),
                None => command.extend(["/bin/sh".into(), "-c".into()]),
            }
        }
        command.extend(check.test.iter().skip(1).cloned());
        let words = check.test.len().saturating_sub(1);
        (command, words, health::duration(check.timeout, DEFAULT_TIMEOUT))
    };
    if words == 0 {
        let text = format!("healthcheck for container {} has no command", container.id);
        return Err(Error::invalid(text));
    }
    let options = exec::Options { command, stdout: true, stderr: true, ..exec::Options::default() };
    let id = exec::create(engine, container, options.clone())?;
    let done = watch(engine, container, &id, &options, limit);
    // Nobody else knows of it, and there may be many in the life of a container.
    container.data().execs.remove(&id);
    done
}

fn watch(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    id: &str,
    options: &exec::Options,
    limit: Duration,
) -> Result<(i64, String)> {
    let (ours, theirs) = UnixStream::pair().at("making a socket pair")?;
    let attach = Attach {
        stream: theirs.into(),
        stdin: false,
        stdout: true,
        stderr: true,
        multiplexed: false,
        detach_keys: Vec::new(),
        preread: Vec::new(),
    };
    exec::run(engine, container, id, options, Some(&attach))?;
    drop(attach);
    let deadline = Instant::now() + limit;
    let mut output = Vec::new();
    let in_time = read(&ours, deadline, &mut output)? && ended(container, id, deadline).is_some();
    if !in_time {
        if let Ok(shim) = container.running_shim() {
            // One that ended at the last moment is no error.
            let _ = shim.signal(id, libc::SIGKILL);
        }
        ended(container, id, Instant::now() + KILL_PATIENCE);
        let text = shown(&output);
        let mut message =
            format!("Health check exceeded timeout ({})", duration::format_ns(nanos(limit)));
        if !text.is_empty() {
            message = format!("{message}: {text}");
        }
        return Ok((-1, message));
    }
    let code = ended(container, id, deadline).ok_or_else(|| {
        Error::internal(format_args!("healthcheck for container {} has no exit code", container.id))
    })?;
    Ok((code, shown(&output)))
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Reads to the end, keeping a bounded part; false if `deadline` passed first.
fn read(mut stream: &UnixStream, deadline: Instant, kept: &mut Vec<u8>) -> Result<bool> {
    let mut buffer = [0; OUTPUT_BYTES];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        stream.set_read_timeout(Some(left)).at("limiting the time of a health check")?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(true),
            // One byte more than is shown tells that something was left out.
            Ok(length) => {
                let room = (OUTPUT_BYTES + 1 - kept.len()).min(length);
                kept.extend_from_slice(&buffer[..room]);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(e) => return Err(e).at("reading the output of a health check"),
        }
    }
}

fn shown(output: &[u8]) -> String {
    match output.len() > OUTPUT_BYTES {
        true => format!("{}...", String::from_utf8_lossy(&output[..OUTPUT_BYTES])),
        false => String::from_utf8_lossy(output).into_owned(),
    }
}

/// The exit code of the exec `id`, waiting for it until `deadline`.
fn ended(container: &Container, id: &str, deadline: Instant) -> Option<i64> {
    let mut data = container.data();
    loop {
        match data.execs.get(id).map(|exec| exec.status) {
            Some(Status::Ended(code)) => return Some(code),
            Some(_) => {}
            // The container was started anew.
            None => return None,
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        data = container.sleep(data, left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn output_is_cut_and_says_so() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&[b'x'; 3 * OUTPUT_BYTES]).unwrap();
        drop(theirs);
        let mut kept = Vec::new();
        assert!(read(&ours, Instant::now() + KILL_PATIENCE, &mut kept).unwrap());
        let text = shown(&kept);
        assert_eq!(text.len(), OUTPUT_BYTES + 3);
        assert!(text.ends_with("x..."));
        assert_eq!(shown(b"ok\n"), "ok\n");
    }

    #[test]
    fn a_check_that_says_nothing_is_given_up() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut kept = Vec::new();
        assert!(!read(&ours, Instant::now() + Duration::from_millis(5), &mut kept).unwrap());
    }
}
