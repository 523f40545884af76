//! One call on a connection of its own.

use std::os::fd::OwnedFd;

use super::attached::Attached;
use super::external;
use super::message;
use super::protocol::{Call, Reply, VERSION};
use super::server::{Server, failed};
use super::start;
use super::streams::Happened;
use crate::base::{Error, Kind, Result};
use crate::sys::pidfd;

/// Reads the call of `caller` and answers it, at once or, for exec, when the program runs.
pub(super) fn serve(server: &mut Server, caller: OwnedFd) {
    let (call, fds) = match message::receive::<Call>(&caller, false) {
        Ok(Some(call)) => call,
        // It went away, or spoke nonsense.
        Ok(None) => return,
        Err(e) => return Server::answer(&caller, &failed(&e)),
    };
    if call.version > VERSION {
        let text = format!("this shim speaks version {VERSION}, not {}", call.version);
        return Server::answer(&caller, &failed(&Error::unsupported(text)));
    }
    let done = match call.op.as_str() {
        "subscribe" => {
            let state = Some(server.state());
            let reply = Reply { kind: "state".into(), state, ..Reply::default() };
            Server::answer(&caller, &reply);
            return server.subscribe(caller);
        }
        "exec" => match start::exec(server, call, fds) {
            Ok(proc) => return start::add(server, proc, caller),
            Err(e) => Err(e),
        },
        "signal" if call.exec_id.is_empty() && server.header.runtime.is_some() => {
            if server.procs[0].exited.is_some() {
                Err(Error::not_found("the process has ended"))
            } else {
                match external::kill(server, call.signal, caller) {
                    Ok(()) => return,
                    Err((caller, e)) => return Server::answer(&caller, &failed(&e)),
                }
            }
        }
        "attach" => attach(server, call, fds),
        "resize" => resize(server, &call),
        "signal" => signal(server, &call),
        "closeStdin" => server.find(&call.exec_id).map(|proc| proc.streams.close_stdin()),
        op => Err(Error::unsupported(format_args!("this shim does not know the call {op:?}"))),
    };
    let reply = match done {
        Ok(()) => Reply { kind: "ok".into(), ..Reply::default() },
        Err(e) => failed(&e),
    };
    Server::answer(&caller, &reply);
}

fn attach(server: &mut Server, call: Call, fds: Vec<OwnedFd>) -> Result<()> {
    let exec_id = call.exec_id.clone();
    let proc = server.find(&exec_id)?;
    let mut detached = false;
    for (header, stream) in call.attach.into_iter().zip(fds) {
        let happened = proc.streams.add(Attached::new(stream, header));
        detached |= matches!(happened, Happened::Detached);
    }
    if detached {
        server.tell(Reply { kind: "detached".into(), exec_id, ..Reply::default() });
    }
    Ok(())
}

fn resize(server: &mut Server, call: &Call) -> Result<()> {
    let size = call.size.clone().unwrap_or_default();
    let clamp = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
    server.find(&call.exec_id)?.streams.resize(clamp(size.width), clamp(size.height))
}

fn signal(server: &mut Server, call: &Call) -> Result<()> {
    let proc = server.find(&call.exec_id)?;
    if proc.exited.is_some() || proc.pid == 0 {
        return Err(Error::not_found("the process has ended"));
    }
    // It is our child and not yet waited for, so the number is its own.
    pidfd::kill(proc.pid, call.signal).map_err(|e| match e.errno() {
        Some(libc::ESRCH) => e.with_kind(Kind::NotFound),
        Some(libc::EINVAL) => e.with_kind(Kind::InvalidParameter),
        _ => e,
    })
}
