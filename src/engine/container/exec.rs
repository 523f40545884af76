//! Running further programs in a container.
//!
//! An exec is made first and started by its own request. It is known until its container's run ends;
//! after that its result can still be read, until the container is removed or started again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Container;
use super::attach::Request;
use crate::base::{Error, Kind, Result};
use crate::engine::Engine;
use crate::runtime::shim::{Attach, ENDED, ExecRequest};

/// What the client asked to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `KEY=value` added to the container's environment.
    pub env: Vec<String>,
    /// User in the container's own words; its configured user if empty.
    pub user: String,
    /// Working directory; the container's own if empty.
    pub working_dir: String,
    /// All capabilities; the container's filter of system calls stays, as with Docker.
    pub privileged: bool,
    /// A terminal of its own.
    pub tty: bool,
    /// Which streams a client may connect.
    pub stdin: bool,
    /// See `stdin`.
    pub stdout: bool,
    /// See `stdin`.
    pub stderr: bool,
    /// The bytes that detach a client of a terminal.
    pub detach_keys: Vec<u8>,
    /// Height and width of the terminal, in characters, if the client knows them.
    pub console_size: Option<(u16, u16)>,
}

/// One exec.
#[derive(Clone, Debug)]
pub struct Exec {
    /// What to run.
    pub options: Options,
    /// Where it is in its life.
    pub status: Status,
    /// When it came there.
    since: Instant,
}

/// The life of an exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Made, not started.
    Created,
    /// Started; the process id on the host.
    Running(i32),
    /// Ended with this exit code.
    Ended(i64),
}

/// Exit code of an exec that was alive when its container ended.
const KILLED: i64 = 137;

/// How long the result of an exec can be read at least, where many are made.
const MEMORY: Duration = Duration::from_secs(300);
/// So few are kept however old they are.
const FEW: usize = 32;

impl Exec {
    /// An exec that has just come to `status`.
    pub fn new(options: Options, status: Status) -> Exec {
        Exec { options, status, since: Instant::now() }
    }

    /// Marks what was still running when the container's first process ended: the kernel killed it.
    pub(in crate::engine) fn ended_with_container(&mut self) {
        if let Status::Running(_) = self.status {
            self.status = Status::Ended(KILLED);
        }
    }
}

/// Makes an exec in the running `container`; returns its id.
///
/// # Errors
/// `Conflict` if the container does not run or is paused; `InvalidParameter` without a command.
pub fn create(engine: &Engine, container: &Arc<Container>, options: Options) -> Result<String> {
    if options.command.is_empty() {
        return Err(Error::invalid("No exec command specified"));
    }
    let id = crate::sys::random::id();
    {
        let mut data = container.data();
        let state = &data.record.state;
        if !state.running {
            return Err(container.not_running());
        }
        if state.paused {
            return Err(Error::conflict(format_args!(
                "container {} is paused, unpause the container before exec",
                container.id
            )));
        }
        forget_old(&mut data.execs);
        data.execs.insert(id.clone(), Exec::new(options.clone(), Status::Created));
    }
    event(engine, container, "exec_create", &id, &options);
    Ok(id)
}

/// Lets go of what ended long ago: a container may see millions of execs in its life.
fn forget_old(execs: &mut BTreeMap<String, Exec>) {
    if execs.len() >= FEW {
        execs.retain(|_, exec| {
            matches!(exec.status, Status::Running(_)) || exec.since.elapsed() < MEMORY
        });
    }
}

/// Finds the container of an exec.
///
/// # Errors
/// `NotFound` with Docker's text.
pub fn find(engine: &Engine, exec_id: &str) -> Result<(Arc<Container>, Exec)> {
    for container in engine.containers()?.all() {
        let found = container.data().execs.get(exec_id).cloned();
        if let Some(exec) = found {
            return Ok((container, exec));
        }
    }
    Err(Error::not_found(format_args!("No such exec instance: {exec_id}")))
}

/// Finds an exec as it is at this moment: a client that has seen the end of its stream asks for the exit
/// code before the end of the process, or of its shim, was heard of.
///
/// # Errors
/// As [`find`].
pub fn settled(engine: &Arc<Engine>, exec_id: &str) -> Result<(Arc<Container>, Exec)> {
    let found = find(engine, exec_id)?;
    if !matches!(found.1.status, Status::Running(_)) {
        return Ok(found);
    }
    engine.supervisor.drain(engine, &found.0);
    let found = find(engine, exec_id)?;
    let shim = found.0.data().shim.clone();
    if let (Status::Running(_), Some(shim)) = (found.1.status, shim)
        && shim.signal(exec_id, 0).is_err_and(|e| e.kind() == Kind::NotFound)
    {
        // The word of its end is on the way, or the end of the connection is.
        shim.wait_event(Duration::from_secs(1));
        engine.supervisor.drain(engine, &found.0);
        return find(engine, exec_id);
    }
    Ok(found)
}

/// Whether the exec may start now, to be asked before the client's head is answered.
///
/// # Errors
/// `NotFound`; `Conflict` if it ran already or the container cannot run it.
pub fn check_start(engine: &Engine, exec_id: &str) -> Result<(Arc<Container>, Exec)> {
    let (container, exec) = find(engine, exec_id)?;
    match exec.status {
        Status::Created => {}
        Status::Running(_) => {
            return Err(Error::conflict(format_args!("exec {exec_id} is already running")));
        }
        Status::Ended(_) => {
            return Err(Error::conflict(format_args!("exec {exec_id} has already run")));
        }
    }
    let paused = container.data().record.state.paused;
    if paused {
        return Err(Error::conflict(format_args!(
            "container {} is paused, unpause the container before exec",
            container.id
        )));
    }
    container.running_shim()?;
    Ok((container, exec))
}

/// Starts an exec, with a client if `request` brings one.
///
/// # Errors
/// As [`check_start`], and what kept the program from running, with Docker's text; the exec has ended
/// then with exit code 126 or 127.
pub fn start(engine: &Engine, exec_id: &str, request: Option<Request>) -> Result<()> {
    let (container, exec) = check_start(engine, exec_id)?;
    let options = exec.options;
    let attach = request.map(|request| Attach {
        stream: request.stream,
        stdin: options.stdin && request.stdin,
        stdout: options.stdout && request.stdout,
        stderr: options.stderr && request.stderr,
        multiplexed: !options.tty,
        detach_keys: if options.tty { options.detach_keys.clone() } else { Vec::new() },
        preread: request.preread,
    });
    run(engine, &container, exec_id, &options, attach.as_ref())
}

/// Starts the exec `exec_id` of `container`, with `attach` as its client.
///
/// # Errors
/// As [`start`].
pub(super) fn run(
    engine: &Engine,
    container: &Arc<Container>,
    exec_id: &str,
    options: &Options,
    attach: Option<&Attach>,
) -> Result<()> {
    let shim = container.running_shim()?;
    let process = super::spec::exec_process(engine, container, options)?;
    claim(container, exec_id)?;
    event(engine, container, "exec_start", exec_id, options);
    let (user, groups) = super::spec::exec_user(container, options);
    let exec_request =
        ExecRequest { exec_id: exec_id.into(), process, user, groups, open_stdin: options.stdin };
    match shim.exec(&exec_request, attach) {
        Ok(pid) => {
            let mut data = container.data();
            if let Some(exec) = data.execs.get_mut(exec_id)
                // It may have ended before we heard that it started.
                && exec.status == Status::Running(0)
            {
                exec.status = Status::Running(pid);
            }
            Ok(())
        }
        Err(e) => {
            let text = e.message().to_ascii_lowercase();
            let not_found = text.contains("no such file or directory")
                || text.contains("executable file not found");
            set_status(container, exec_id, Status::Ended(if not_found { 127 } else { 126 }));
            Err(if e.message() == ENDED { container.not_running() } else { e })
        }
    }
}

/// Marks the exec as running, for the one caller that starts it.
fn claim(container: &Container, exec_id: &str) -> Result<()> {
    let mut data = container.data();
    match data.execs.get_mut(exec_id) {
        Some(exec) if exec.status == Status::Created => {
            exec.status = Status::Running(0);
            Ok(())
        }
        Some(_) => Err(Error::conflict(format_args!("exec {exec_id} is already running"))),
        None => Err(Error::not_found(format_args!("No such exec instance: {exec_id}"))),
    }
}

/// Records the end of an exec.
pub fn ended(engine: &Engine, container: &Arc<Container>, exec_id: &str, code: i64) {
    set_status(container, exec_id, Status::Ended(code));
    container.notify();
    let code = code.to_string();
    engine.container_event(container, "exec_die", &[("execID", exec_id), ("exitCode", &code)]);
}

fn set_status(container: &Container, exec_id: &str, status: Status) {
    if let Some(exec) = container.data().execs.get_mut(exec_id) {
        (exec.status, exec.since) = (status, Instant::now());
    }
}

/// The actions of exec events carry the command line.
fn event(engine: &Engine, container: &Arc<Container>, action: &str, id: &str, options: &Options) {
    // Docker's text: a blank follows the program, whether arguments do or not.
    let (program, arguments) = options.command.split_first().unzip();
    let program = program.map_or("", String::as_str);
    let action = format!("{action}: {program} {}", arguments.unwrap_or_default().join(" "));
    engine.container_event(container, &action, &[("execID", id)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::container::record::Record;
    use crate::engine::model::host::HostConfig;

    #[test]
    fn only_one_caller_starts_an_exec() {
        let container = Container::new("/x".into(), Record::default(), HostConfig::default());
        let exec = Exec::new(Options::default(), Status::Created);
        container.data().execs.insert("e".into(), exec);
        claim(&container, "e").unwrap();
        assert_eq!(claim(&container, "e").unwrap_err().kind(), crate::base::Kind::Conflict);
        set_status(&container, "e", Status::Ended(0));
        assert!(claim(&container, "e").is_err());
        assert_eq!(claim(&container, "f").unwrap_err().kind(), crate::base::Kind::NotFound);
    }

    #[test]
    fn recent_execs_and_running_ones_are_not_forgotten() {
        let old = Instant::now().checked_sub(MEMORY).unwrap();
        let entry = |n: usize, status, since| {
            (n.to_string(), Exec { options: Options::default(), status, since })
        };
        let mut execs: BTreeMap<_, _> = (0..FEW).map(|n| entry(n, Status::Ended(0), old)).collect();
        execs.extend([
            entry(FEW, Status::Running(1), old),
            entry(FEW + 1, Status::Ended(0), Instant::now()),
        ]);
        forget_old(&mut execs);
        assert_eq!(execs.len(), 2);
    }
}
