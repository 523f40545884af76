//! Starting the container's process and those of exec, up to the moment their programs run.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;

use super::super::channel::{self, GO, IN_CGROUP};
use super::super::namespaces;
use super::super::process::{Stdio, Way};
use super::super::stages::{self, EXEC_TEXTS, Exec, Fork, INIT_TEXTS, Init, Source};
use super::attached::Attached;
use super::end;
use super::external::{self, Done, Helper};
use super::message;
use super::protocol::{
    AttachHeader, Call, MESSAGE_MAX, RUN_RECORD, Reply, RunRecord, StartHeader, VERSION, kind_of,
};
use super::server::{Proc, Server, failed};
use super::streams::Streams;
use crate::base::file::{Durable, write_atomic};
use crate::base::{Error, Kind, Result, json};
use crate::cgroup::{self, Cgroup};
use crate::logs::Sink;
use crate::sys::{memfd, pidfd, procfs, scm};

/// Starts the stages of the container's process. `None`: it failed, and the daemon was told.
pub(super) fn start(starter: OwnedFd, call: Call, mut fds: Vec<OwnedFd>) -> Result<Option<Server>> {
    if call.op != "start" || fds.is_empty() || call.version > VERSION {
        return Err(Error::unsupported("this shim cannot be started by that daemon"));
    }
    let request = fds.remove(0);
    let netns = (call.netns && !fds.is_empty()).then(|| fds.remove(0));
    let header = read_header(&request)?;
    let clients = call.attach.into_iter().zip(fds).collect();
    if header.runtime.is_some() {
        return start_external(starter, header, &request, netns.as_ref(), clients);
    }
    match prepare(starter, header, request, netns, clients) {
        Ok(server) => Ok(Some(server)),
        Err((starter, e)) => {
            let e = match e.message().starts_with(NO_LOG) {
                true => e,
                false => stages::in_dockers_words(e, false),
            };
            Server::answer(&starter, &failed(&e));
            Ok(None)
        }
    }
}

/// How an error of the log starts: it is not one of the runtime.
const NO_LOG: &str = "failed to create task for container: failed to initialize logging driver: ";

fn no_log(e: Error) -> Error {
    Error::new(e.kind(), format_args!("{NO_LOG}{e}"))
}

/// Has another runtime make the container.
fn start_external(
    starter: OwnedFd,
    header: StartHeader,
    request: &OwnedFd,
    netns: Option<&OwnedFd>,
    clients: Vec<(AttachHeader, OwnedFd)>,
) -> Result<Option<Server>> {
    let made = || -> Result<_> {
        let opened = header.log.as_ref().map(Sink::open).transpose();
        let mut log = opened.map_err(no_log)?;
        if let Some(log) = &mut log {
            log.wait_ready(starter.as_fd()).map_err(no_log)?;
        }
        let (proc, cgroup) = external::create(&starter, &header, request, netns, clients)?;
        Ok((proc, cgroup, log))
    };
    match made() {
        Ok((proc, cgroup, log)) => {
            let boot_id = procfs::boot_id()?;
            let mut server = Server::new(starter, header, boot_id, proc, cgroup, log)?;
            created(&mut server);
            Ok(Some(server))
        }
        Err(e) => {
            Server::answer(&starter, &failed(&e));
            Ok(None)
        }
    }
}

/// A call of another runtime has ended.
pub(super) fn helper_ended(server: &mut Server, helper: Helper, status: i32) {
    // 128 and more is a signal, which a runtime that fails by itself does not use.
    let status = std::process::ExitStatus::from_raw(status << 8);
    match external::done(helper, status) {
        Done::Started(Ok(())) => executed(server, 0),
        Done::Started(Err(e)) => stage_failed(server, 0, &e),
        Done::Killed(caller, Ok(())) => {
            Server::answer(&caller, &Reply { kind: "ok".into(), ..Reply::default() });
        }
        Done::Killed(caller, Err(e)) => Server::answer(&caller, &failed(&e)),
        Done::Executed(exec_id, result) => {
            let waits = |p: &Proc| p.exec_id == exec_id && p.pid == 0 && !p.over;
            let Some(i) = server.procs.iter().position(waits) else { return };
            match result {
                Ok((pid, master)) => {
                    server.procs[i].pid = pid;
                    server.procs[i].exited = server.strangers.remove(&pid);
                    if let Some(master) = master {
                        server.procs[i].streams.set_master(master);
                    }
                    executed(server, i);
                }
                Err(e) => stage_failed(server, i, &e),
            }
        }
    }
    if server.helpers.is_empty() {
        server.strangers.clear();
    }
}

fn read_header(request: &OwnedFd) -> Result<StartHeader> {
    json::parse(&memfd::read_all(request, MESSAGE_MAX)?)
}

fn prepare(
    starter: OwnedFd,
    header: StartHeader,
    request: OwnedFd,
    netns: Option<OwnedFd>,
    clients: Vec<(AttachHeader, OwnedFd)>,
) -> std::result::Result<Server, (OwnedFd, Error)> {
    let mut made_cgroup = None;
    let mut child = None;
    let mut log = None;
    let made = || -> Result<(Proc, String)> {
        let linux = &header.spec.linux;
        // Before the pid namespace: what is made here later would be born in it.
        let opened = header.log.as_ref().map(Sink::open).transpose();
        log = opened.map_err(no_log)?;
        namespaces::enter_for_children(&linux.namespaces)?;
        let (mut streams, stdio) = streams(header.spec.process.terminal, header.open_stdin)?;
        streams.stdin_once = header.stdin_once;
        for (wants, stream) in clients {
            streams.add(Attached::new(stream, wants));
        }
        let wanted = (!linux.cgroups_path.is_empty()).then(|| Cgroup::at(&linux.cgroups_path));
        let wanted = wanted.transpose()?;
        let (ours, theirs) = scm::pair()?;
        // On v2 the process is born in its cgroup; on v1 the cgroups are made while it works on its root.
        let mut dir = None;
        if let Some(wanted) = &wanted
            && cgroup::detect()?.layout == cgroup::Layout::V2
        {
            made_cgroup = Some(wanted.clone());
            wanted.make(&linux.resources)?;
            dir = wanted.open_dir()?;
        }
        let (source, way) = (Source::Memory(request), Way::default());
        let parents_end = ours.as_fd();
        let texts = INIT_TEXTS;
        let init = Init { source, netns, stdio, channel: theirs, parents_end, way, texts };
        let fork = stages::start_init(init, dir.as_ref().map(AsFd::as_fd))?;
        let Fork::Parent { child: pid, in_cgroup } = fork else {
            return Err(Error::internal("the child came back"));
        };
        child = Some(pid);
        if let Some(wanted) = wanted {
            if made_cgroup.is_none() {
                made_cgroup = Some(wanted.clone());
                wanted.make(&linux.resources)?;
            }
            if !in_cgroup && !wanted.is_joined_from_inside() {
                wanted.join(pid)?;
            }
        }
        // A child that failed already says so itself.
        let _ = channel::tell(&ours, IN_CGROUP);
        if let Some(log) = &mut log {
            log.wait_ready(starter.as_fd()).map_err(no_log)?;
        }
        Ok((new_proc(String::new(), pid, streams, ours), procfs::boot_id()?))
    };
    let finished = match made() {
        Ok((proc, boot_id)) => match starter.try_clone() {
            Ok(kept) => Server::new(starter, header, boot_id, proc, made_cgroup.clone(), log)
                .map_err(|e| (kept, e)),
            Err(e) => Err((starter, e.into())),
        },
        Err(e) => Err((starter, e)),
    };
    finished.map_err(|(starter, e)| {
        if let Some(pid) = child {
            let _ = pidfd::kill(pid, libc::SIGKILL);
            let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
        }
        if let Some(cgroup) = &made_cgroup {
            let _ = cgroup.delete();
        }
        (starter, e)
    })
}

fn streams(terminal: bool, open_stdin: bool) -> Result<(Streams, Stdio)> {
    if terminal {
        return Ok((Streams::default(), Stdio::Terminal));
    }
    let (streams, pipes) = Streams::pipes(open_stdin)?;
    Ok((streams, Stdio::Pipes(pipes)))
}

fn new_proc(exec_id: String, pid: i32, streams: Streams, channel: OwnedFd) -> Proc {
    Proc {
        exec_id,
        pid,
        streams,
        channel: Some(channel),
        waiter: None,
        ready: false,
        started: false,
        exited: None,
        deadline: None,
        over: false,
    }
}

/// The starting connection says something, or ends.
pub(super) fn starter_ready(server: &mut Server) {
    let Some(starter) = &server.starter else { return };
    match message::receive::<Call>(starter, false) {
        Ok(Some((call, _))) if call.op == "go" && server.header.runtime.is_some() => {
            if let Err(e) = external::start(server) {
                stage_failed(server, 0, &e);
            }
        }
        Ok(Some((call, _))) if call.op == "go" => {
            if let Some(channel) = &server.procs[0].channel {
                // If it has died meanwhile, the end of its channel says so.
                let _ = channel::tell(channel, GO);
            }
        }
        Ok(Some(_)) => {}
        Err(e) if message::is_would_block(&e) => {}
        // The daemon has died or has changed its mind: nothing was started.
        Ok(None) | Err(_) => {
            server.starter = None;
            abort(server);
        }
    }
}

fn abort(server: &mut Server) {
    let first = &mut server.procs[0];
    if first.exited.is_none() {
        let _ = pidfd::kill(first.pid, libc::SIGKILL);
    }
    first.channel = None;
}

/// Hears all that a process has said which has ended, perhaps before we came to listen.
pub(super) fn hear_out(server: &mut Server, i: usize) {
    while stage_ready(server, i) {}
    if server.procs[i].channel.is_some() {
        executed(server, i);
    }
}

/// A process on its way in says something, or executes its program. False: it said nothing.
pub(super) fn stage_ready(server: &mut Server, i: usize) -> bool {
    let Some(channel) = &server.procs[i].channel else { return false };
    match channel::receive(channel, false) {
        Ok(Some((report, fds))) if report.kind == "ready" => {
            server.procs[i].ready = true;
            let mut fds = fds.into_iter();
            if report.terminal
                && let Some(master) = fds.next()
            {
                server.procs[i].streams.set_master(master);
            }
            if report.filter {
                server.filter = fds.next();
            }
            if i == 0 { created(server) } else { drop(channel::tell(channel_of(server, i), GO)) }
        }
        Ok(Some((report, _))) => {
            let e = Error::new(kind_of(&report.error_kind), report.message);
            stage_failed(server, i, &e);
        }
        Err(e) if message::is_would_block(&e) => return false,
        Ok(None) | Err(_) => executed(server, i),
    }
    true
}

fn channel_of(server: &Server, i: usize) -> &OwnedFd {
    server.procs[i].channel.as_ref().expect("cannot fail: the caller has just read from it")
}

fn created(server: &mut Server) {
    let pid = server.procs[0].pid;
    if let Err(e) = write_run_record(server) {
        let e = stages::in_dockers_words(e, false);
        return stage_failed(server, 0, &e);
    }
    server.procs[0].waiter = None;
    if let Some(starter) = &server.starter {
        Server::answer(starter, &Reply { kind: "created".into(), pid, ..Reply::default() });
    }
}

fn write_run_record(server: &Server) -> Result<()> {
    let pid = server.procs[0].pid;
    let record = RunRecord {
        version: VERSION,
        boot_id: server.boot_id.clone(),
        shim_pid: std::process::id() as i32,
        pid,
        start_time: procfs::start_time(pid)?,
        cgroup: server.cgroup.as_ref().map(Cgroup::record),
        id: server.header.id.clone(),
        runtime: server.header.runtime.clone(),
    };
    let text = json::to_string_plain(&record);
    write_atomic(&server.bundle.join(RUN_RECORD), text.as_bytes(), 0o600, Durable::No)
}

pub(super) fn stage_failed(server: &mut Server, i: usize, e: &Error) {
    server.procs[i].channel = None;
    server.procs[i].streams = Streams::default();
    let reply = failed(e);
    if i == 0 {
        // What failed must be gone before the daemon hears of it: it may try again at once.
        abort(server);
        end::remove_cgroup_of_failed(server);
    }
    let waiter = if i == 0 { server.starter.as_ref() } else { server.procs[i].waiter.as_ref() };
    if let Some(waiter) = waiter {
        Server::answer(waiter, &reply);
    }
    server.procs[i].waiter = None;
    if i == 0 {
        server.starter = None;
    } else {
        // Its end is nobody's business any more; the process is waited for all the same.
        server.procs[i].over = true;
    }
}

/// The channel has ended: the program runs, or the process was killed on the way.
fn executed(server: &mut Server, i: usize) {
    let proc = &mut server.procs[i];
    if !proc.ready {
        let e = Error::internal("the process ended on its way into the container");
        return stage_failed(server, i, &stages::in_dockers_words(e, i > 0));
    }
    proc.channel = None;
    proc.started = true;
    proc.streams.started();
    let reply = Reply { kind: "started".into(), pid: proc.pid, ..Reply::default() };
    if i == 0 {
        if let Some(starter) = &server.starter {
            Server::answer(starter, &reply);
        }
        server.promote_starter();
        server.watch_memory();
    } else if let Some(waiter) = proc.waiter.take() {
        Server::answer(&waiter, &reply);
    }
}

/// Starts the stages of an exec process.
///
/// # Errors
/// `Conflict` for an id in use; `NotFound` when the container has ended.
pub(super) fn exec(server: &mut Server, call: Call, fds: Vec<OwnedFd>) -> Result<Proc> {
    let Some(request) = call.exec else {
        return Err(Error::invalid("an exec without a request"));
    };
    if request.exec_id.is_empty() || server.find(&request.exec_id).is_ok() {
        let text = format!("exec id {:?} is in use", request.exec_id);
        return Err(Error::conflict(text));
    }
    let first = server.find("")?;
    if !first.started || first.exited.is_some() {
        return Err(Error::new(Kind::Conflict, "the container is not running"));
    }
    let init = first.pid;
    if server.header.runtime.is_some() {
        return external::exec(server, &request, call.attach.into_iter().zip(fds).collect());
    }
    let (mut streams, stdio) = streams(request.process.terminal, request.open_stdin)?;
    streams.stdin_once = true;
    for (header, stream) in call.attach.into_iter().zip(fds) {
        streams.add(Attached::new(stream, header));
    }
    let (ours, theirs) = scm::pair()?;
    let dir = match &server.cgroup {
        Some(cgroup) => cgroup.open_dir()?,
        None => None,
    };
    let filter = server.filter.as_ref().map(AsFd::as_fd);
    let cgroup = server.cgroup.as_ref();
    let work = Exec {
        request: &request,
        init,
        filter,
        cgroup,
        container: None,
        stdio,
        channel: theirs,
        parents_end: ours.as_fd(),
        way: Way::default(),
        texts: EXEC_TEXTS,
    };
    let fork = stages::start_exec(work, dir.as_ref().map(AsFd::as_fd))
        .map_err(|e| stages::in_dockers_words(e, true))?;
    let Fork::Parent { child: pid, in_cgroup } = fork else {
        return Err(Error::internal("the child came back"));
    };
    if !in_cgroup
        && let Some(cgroup) = &server.cgroup
        && !cgroup.is_joined_from_inside()
        && let Err(e) = cgroup.join(pid)
    {
        let _ = pidfd::kill(pid, libc::SIGKILL);
        return Err(stages::in_dockers_words(e, true));
    }
    let _ = channel::tell(&ours, IN_CGROUP);
    Ok(new_proc(request.exec_id, pid, streams, ours))
}

/// Takes a new exec process in; its caller is answered when the program runs.
pub(super) fn add(server: &mut Server, proc: Proc, caller: OwnedFd) {
    server.procs.push(Proc { waiter: Some(caller), ..proc });
    let last = server.procs.len() - 1;
    if server.watch_channel(last).is_err() {
        let _ = pidfd::kill(server.procs[last].pid, libc::SIGKILL);
    }
}
