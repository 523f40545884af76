//! Letting the program of a container run: after `create`, or all at once.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::console::{self, Signals};
use super::create::{self, Made};
use super::state::{START_SOCKET, Status};
use super::{Container, Options, Runtime, signal};
use crate::base::{At, Error, Result};
use crate::runtime::channel::{self, GO};
use crate::runtime::hooks;
use crate::runtime::shim::kind_of;
use crate::runtime::spec::Spec;
use crate::sys::scm;

/// Lets the program of a created container run.
///
/// # Errors
/// `Conflict` if it was started before; what keeps the program from running, or a hook's failure, after
/// which there is no such container any more.
pub fn start(container: &Container) -> Result<()> {
    let _lock = container.lock()?;
    match container.status() {
        Status::Created => {}
        Status::Running | Status::Paused => {
            return Err(Error::conflict("cannot start an already running container"));
        }
        Status::Stopped => {
            return Err(Error::conflict("cannot start a container that has stopped"));
        }
        Status::Creating => {
            return Err(Error::conflict("cannot start a container in the creating state"));
        }
    }
    let socket = container.dir.join(START_SOCKET);
    let channel = scm::connect(&socket)?;
    let gone = go(&channel);
    remove(&socket)?;
    gone?;
    after_start(container, &container.spec()?)
}

/// Says the word and waits until the program runs.
pub(super) fn go(channel: &OwnedFd) -> Result<()> {
    channel::tell(channel, GO).at("starting the container's process")?;
    match channel::receive(channel, true)? {
        None => Ok(()),
        Some((report, _)) => Err(Error::new(kind_of(&report.error_kind), report.message)),
    }
}

fn remove(socket: &Path) -> Result<()> {
    fs::remove_file(socket).at(format_args!("removing {}", socket.display()))
}

fn after_start(container: &Container, spec: &Spec) -> Result<()> {
    let Some(hooks) = spec.hooks.as_ref().filter(|hooks| !hooks.poststart.is_empty()) else {
        return Ok(());
    };
    let state = container.state(Status::Running);
    hooks::run("poststart", &hooks.poststart, &state).inspect_err(|_| {
        // The hook's failure is what the caller has to know.
        let _ = signal::kill_and_wait(container).and_then(|()| signal::destroy(container, spec));
    })
}

/// Makes the container `id`, runs it, waits for its end unless it is to be left alone, and removes it. Gives
/// the exit code of its process; 0 at once if it is left alone.
///
/// # Errors
/// As those of create and start; nothing is left then.
pub fn run(runtime: &Runtime, id: &str, options: &Options) -> Result<u8> {
    let signals = if options.detach { None } else { Some(Signals::take()?) };
    let Made { container, spec, channel, master } = create::make(runtime, id, options, false)?;
    let started = go(&channel).and_then(|()| after_start(&container, &spec));
    drop(channel);
    if let Err(e) = started {
        let ended = signal::kill_and_wait(&container);
        if container.dir.exists() {
            let _ = ended.and_then(|()| signal::destroy(&container, &spec));
        }
        return Err(e);
    }
    let Some(signals) = signals else { return Ok(0) };
    let code = console::wait(container.record.pid, master, &signals)?;
    if !options.keep {
        signal::destroy(&container, &spec)?;
    }
    Ok(code)
}
