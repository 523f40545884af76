//! The stages of a new process: from the fork in the shim to the program.
//!
//! The child is a copy of the single-threaded shim, so that it may use all of Rust; what it costs is the
//! few pages it touches. It parses the request itself: the shim never holds a whole configuration.
//!
//! ```text
//! first process                             exec
//!   oom score (the host's /proc)              oom score of the first process
//!   namespaces: join, then make               wait for the cgroup
//!   session, keyring, host name, sysctls      join all namespaces of the first process
//!   root file system (waits for the cgroup)   session, keyring
//!   pivot_root
//!   `process::finish`                         `process::finish`
//! ```
//!
//! The pid namespace is entered by the parent itself before it forks: its children, also those of exec,
//! are then born in it, and none has to fork once more. Only where it has to belong to a new user namespace
//! the first process forks again, and tells the number of the child that goes on.
#![allow(unsafe_code)]

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};

use super::channel::{self, HOOKS_DONE, IN_CGROUP, Report};
use super::filter::{Filter, Notify};
use super::hooks;
use super::namespaces::{self, Wanted};
use super::process::{Failure, Finish, Stdio, Way, finish};
use super::rootfs::{self, CgroupView};
use super::shim::{ExecRequest, StartRequest};
use super::spec::{IdMapping, Linux, Spec, State};
use super::validate;
use crate::base::{At, Error, Kind, Result, json};
use crate::cgroup::Cgroup;
use crate::sys::{clone, memfd, pidfd};

pub(super) use clone::Fork;

/// What the first process of a container is made from.
pub(super) struct Init<'a> {
    pub(super) source: Source<'a>,
    pub(super) netns: Option<OwnedFd>,
    pub(super) stdio: Stdio,
    pub(super) channel: OwnedFd,
    /// The parent's end of the channel, which the child closes: its end of file is how the child learns
    /// that the parent was killed.
    pub(super) parents_end: BorrowedFd<'a>,
    pub(super) way: Way,
    /// What is said before errors.
    pub(super) texts: Texts,
}

/// Where the configuration is.
pub(super) enum Source<'a> {
    /// A start request as JSON: the shim never holds a whole configuration.
    Memory(OwnedFd),
    /// A configuration that the caller had to read himself, and the state hooks are told.
    Read(&'a Spec, &'a State),
}

/// What a further process is made from.
pub(super) struct Exec<'a> {
    pub(super) request: &'a ExecRequest,
    /// The container's first process.
    pub(super) init: i32,
    /// Its filter.
    pub(super) filter: Option<BorrowedFd<'a>>,
    /// Its cgroup.
    pub(super) cgroup: Option<&'a Cgroup>,
    /// Its configuration and state, if the caller has them: the filter is made from these then.
    pub(super) container: Option<(&'a Spec, &'a State)>,
    pub(super) stdio: Stdio,
    pub(super) channel: OwnedFd,
    /// The parent's end of the channel, which the child closes: its end of file is how the child learns
    /// that the parent was killed.
    pub(super) parents_end: BorrowedFd<'a>,
    pub(super) way: Way,
    /// What is said before errors.
    pub(super) texts: Texts,
}

/// Forks a process that has one thread by its nature: the reaper, which does nothing else.
///
/// # Errors
/// `Io`.
pub(super) fn fork_alone() -> Result<Fork> {
    // SAFETY: an applet that has started no thread.
    unsafe { clone::fork(None) }
}

/// Forks and runs the stages of the first process in the child.
///
/// # Errors
/// `Io` if the fork fails; later failures come through the channel.
pub(super) fn start_init(init: Init<'_>, cgroup: Option<BorrowedFd<'_>>) -> Result<Fork> {
    // SAFETY: the shim and the runtime's command line have one thread.
    match unsafe { clone::fork(cgroup) }? {
        Fork::Child => {
            let Init { source, netns, stdio, channel, parents_end, way, texts } = init;
            close_copy(parents_end);
            let Err(failure) = run_init(source, netns, stdio, channel.as_fd(), way);
            fail(&channel, texts, failure)
        }
        parent => Ok(parent),
    }
}

/// Forks and runs the stages of an exec process in the child.
///
/// # Errors
/// As [`start_init`].
pub(super) fn start_exec(exec: Exec<'_>, cgroup: Option<BorrowedFd<'_>>) -> Result<Fork> {
    // SAFETY: the shim and the runtime's command line have one thread.
    match unsafe { clone::fork(cgroup) }? {
        Fork::Child => {
            close_copy(exec.parents_end);
            let channel = exec.channel.try_clone();
            let texts = exec.texts;
            let Err(failure) = run_exec(exec);
            match channel {
                Ok(channel) => fail(&channel, texts, failure),
                Err(_) => std::process::exit(1),
            }
        }
        parent => Ok(parent),
    }
}

/// Closes what the fork has copied; the parent's owner of it does not exist in the child.
fn close_copy(fd: BorrowedFd<'_>) {
    // SAFETY: the child never returns to the frame that owns the descriptor, and nothing else uses it.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// What Docker says before an error of the program, before any other, and after it.
pub(super) type Texts = (&'static str, &'static str, &'static str);

/// Of a container's first process, as Docker's clients see it.
pub(super) const INIT_TEXTS: Texts = (
    "OCI runtime create failed: runc create failed: unable to start container process: ",
    "OCI runtime create failed: runc create failed: unable to start container process: \
     error during container init: ",
    ": unknown",
);
/// Of an exec.
pub(super) const EXEC_TEXTS: Texts = (
    "OCI runtime exec failed: exec failed: unable to start container process: ",
    "OCI runtime exec failed: exec failed: unable to start container process: ",
    ": unknown",
);
/// The end of the first of [`Texts`], which Docker leaves out for errors of the configuration.
const AT_START: &str = "unable to start container process: ";
/// What callers of the command line are told, who put their own words around it.
pub(super) const PLAIN_TEXTS: Texts = (
    "unable to start container process: ",
    "unable to start container process: error during container init: ",
    "",
);

/// Docker's form of an error that happened in the shim itself before there was a child.
pub(super) fn in_dockers_words(e: Error, is_exec: bool) -> Error {
    let texts = if is_exec { EXEC_TEXTS } else { INIT_TEXTS };
    with_texts(e, texts.0, texts.2)
}

fn with_texts(e: Error, before: &str, after: &str) -> Error {
    // A hint of Docker's may follow the last word already.
    let after = if e.message().contains(": unknown: ") { "" } else { after };
    Error::new(e.kind(), format_args!("{before}{e}{after}"))
}

fn fail(channel: &OwnedFd, texts: Texts, failure: Failure) -> ! {
    let e = match failure {
        Failure::Plain(e) => e,
        Failure::Config(e) => with_texts(e, texts.0.trim_end_matches(AT_START), texts.2),
        Failure::Program(e) => with_texts(e, texts.0, texts.2),
        Failure::Stage(e) => with_texts(e, texts.1, texts.2),
    };
    if e.kind() != Kind::Cancelled {
        let report = Report {
            kind: "failed".into(),
            error_kind: super::shim::kind_name(e.kind()).into(),
            message: e.message().into(),
            ..Report::default()
        };
        // Nobody is left to be told if the parent is gone.
        let _ = channel::report(channel, &report, &[]);
    }
    std::process::exit(1)
}

fn run_init(
    source: Source<'_>,
    netns: Option<OwnedFd>,
    stdio: Stdio,
    channel: BorrowedFd<'_>,
    way: Way,
) -> std::result::Result<Infallible, Failure> {
    let request = match source {
        Source::Memory(fd) => {
            let text = memfd::read_all(fd, super::shim::MESSAGE_MAX)?;
            json::parse::<StartRequest>(&text).at("reading start request")?
        }
        Source::Read(spec, state) => {
            let plain = StartRequest { id: state.id.clone(), ..StartRequest::default() };
            return first_process(spec, &plain, state, netns, stdio, channel, way);
        }
    };
    let state = State {
        oci_version: super::spec::OCI_VERSION.into(),
        id: request.id.clone(),
        status: "creating".into(),
        bundle: request.bundle.clone(),
        ..State::default()
    };
    if request.spec.linux.as_ref().is_some_and(|l| l.namespaces.iter().any(|n| n.kind == "user")) {
        return Err(Error::unsupported("user namespaces are not supported").into());
    }
    first_process(&request.spec, &request, &state, netns, stdio, channel, way)
}

fn first_process(
    spec: &Spec,
    request: &StartRequest,
    state: &State,
    netns: Option<OwnedFd>,
    stdio: Stdio,
    channel: BorrowedFd<'_>,
    way: Way,
) -> std::result::Result<Infallible, Failure> {
    let Some(process) = &spec.process else {
        return Err(Error::invalid("the configuration has no process").into());
    };
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    validate::check(spec, linux).map_err(Failure::Config)?;
    if let Some(score) = process.oom_score_adj {
        set_oom_score(score);
    }
    let filter = Filter::of(spec, request.default_seccomp)?;
    // The host's paths are only there now.
    let mut notify = Notify::wanted(filter.as_ref(), spec)?;
    let mut wanted = Wanted::of(&linux.namespaces)?;
    if let Some(netns) = &netns {
        setns(netns, CloneFlags::CLONE_NEWNET).at("joining network namespace")?;
        wanted.make.remove(CloneFlags::CLONE_NEWNET);
    }
    let path = &linux.cgroups_path;
    let mut cgroup = CgroupStep { channel, path, waits: true, private: wanted.cgroup, made: false };
    let early = rootfs::take_early(spec, wanted.user.is_some())?;
    if let Some(user) = wanted.user {
        // Only root of the host may write to the host's cgroups.
        cgroup.enter()?;
        enter_user_namespace(user, linux)?;
        if wanted.pid {
            go_on_in_pid_namespace(channel)?;
        }
    }
    unshare(wanted.make).at("making namespaces")?;
    nix::unistd::setsid().at("setsid")?;
    if !way.no_new_keyring {
        clone::new_session_keyring();
    }
    set_names(spec)?;
    for (key, value) in &linux.sysctl {
        set_sysctl(key, value)?;
    }
    let sealed = if request.init {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        Some(open("/proc/self/exe", flags, Mode::empty()).at("opening our executable")?)
    } else {
        None
    };
    nix::sys::stat::umask(Mode::empty());
    let rootfs = rootfs::prepare(spec)?;
    rootfs.fill(spec, early, &mut || cgroup.view())?;
    cgroup.view()?;
    if let Some(hooks) = &spec.hooks
        && !(hooks.prestart.is_empty()
            && hooks.create_runtime.is_empty()
            && hooks.create_container.is_empty())
    {
        let report = Report { kind: "hooks".into(), ..Report::default() };
        channel::report(channel, &report, &[])?;
        channel::await_word(channel, HOOKS_DONE)?;
        let pid = nix::unistd::getpid().as_raw();
        let state = State { pid, ..state.clone() };
        hooks::run("createContainer", &hooks.create_container, &state)?;
    }
    set_profiles(&process.apparmor_profile, &process.selinux_label)?;
    let console = rootfs.own_dev();
    if let Some(notify) = &mut notify {
        notify.prepare(state)?;
    }
    rootfs::enter(rootfs, &linux.rootfs_propagation, way.no_pivot || request.no_pivot)?;
    finish(Finish {
        process,
        user: &request.user,
        groups: &request.groups,
        stdio,
        channel,
        console,
        filter,
        notify,
        keep_filter: !way.is_command_line,
        init: sealed,
        start_hooks: spec.hooks.as_ref().map_or(&[], |hooks| &hooks.start_container),
        state,
        personality: linux.personality.as_ref(),
        way,
    })
}

/// The step into the cgroup, which the parent makes meanwhile.
struct CgroupStep<'a> {
    channel: BorrowedFd<'a>,
    path: &'a str,
    waits: bool,
    /// A namespace is asked for whose root is the cgroup.
    private: bool,
    /// It was made.
    made: bool,
}

impl CgroupStep<'_> {
    /// Waits for the cgroup and joins it, once.
    fn enter(&mut self) -> Result<()> {
        if std::mem::take(&mut self.waits) {
            channel::await_word(self.channel, IN_CGROUP)?;
            if !self.path.is_empty() {
                join_from_inside(&Cgroup::at(self.path)?)?;
            }
        }
        Ok(())
    }

    /// What mounts of the cgroups have to show. Makes the namespace only now: its root is the cgroup that
    /// the process is in.
    fn view(&mut self) -> Result<CgroupView> {
        self.enter()?;
        if self.private && !std::mem::replace(&mut self.made, true) {
            unshare(CloneFlags::CLONE_NEWCGROUP).at("making cgroup namespace")?;
        }
        Ok(CgroupView { private: self.private })
    }
}

/// Joins or makes the user namespace and becomes its root. A child that stays outside writes the maps.
fn enter_user_namespace(user: &super::spec::Namespace, linux: &Linux) -> Result<()> {
    if !user.path.is_empty() {
        namespaces::join(&user.path, CloneFlags::CLONE_NEWUSER)?;
        return namespaces::become_root_inside(linux);
    }
    let (made, told) = nix::unistd::pipe2(OFlag::O_CLOEXEC).at("making a pipe")?;
    let own = own_pid_of_host()?;
    let (error_read, error_write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).at("making a pipe")?;
    // SAFETY: a stage has one thread.
    let writer = match unsafe { clone::fork(None) }? {
        Fork::Child => {
            drop((told, error_read));
            // Its end of file is the word.
            let _ = nix::unistd::read(&made, &mut [0]);
            if let Err(e) = namespaces::write_maps(own, &linux.uid_mappings, &linux.gid_mappings) {
                let _ = nix::unistd::write(&error_write, e.message().as_bytes());
            }
            std::process::exit(0)
        }
        Fork::Parent { child, .. } => child,
    };
    drop(error_write);
    unshare(CloneFlags::CLONE_NEWUSER).at("making user namespace")?;
    drop(told);
    let mut text = [0; 512];
    let length = nix::unistd::read(&error_read, &mut text).at("reading from a pipe")?;
    let writer = nix::unistd::Pid::from_raw(writer);
    while matches!(
        waitpid(writer, None),
        Err(nix::errno::Errno::EINTR) | Ok(WaitStatus::Stopped(..))
    ) {}
    if length > 0 {
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        return Err(Error::new(Kind::Io, text));
    }
    namespaces::become_root_inside(linux)
}

/// A user namespace with these maps and without processes, for mounts that map ids.
///
/// # Errors
/// `Io`.
pub(super) fn mapping_namespace(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd> {
    let (number_read, number_write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).at("making a pipe")?;
    // SAFETY: a stage has one thread.
    let child = match unsafe { clone::fork_into(clone::CLONE_NEWUSER, None) }
        .at("making user namespace")?
    {
        Fork::Child => {
            let number = own_pid_of_host().unwrap_or(0);
            let _ = nix::unistd::write(&number_write, &number.to_ne_bytes());
            loop {
                nix::unistd::pause();
            }
        }
        Fork::Parent { child, .. } => child,
    };
    drop(number_write);
    let open = || -> Result<OwnedFd> {
        let mut number = [0; 4];
        nix::unistd::read(&number_read, &mut number).at("reading from a pipe")?;
        let pid = i32::from_ne_bytes(number);
        namespaces::write_maps(pid, uids, gids)?;
        let path = format!("/proc/{pid}/ns/user");
        open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .at("opening user namespace")
    };
    let opened = open();
    let _ = pidfd::kill(child, libc::SIGKILL);
    let _ = waitpid(nix::unistd::Pid::from_raw(child), None);
    opened
}

/// The number of this process in the pid namespace of the host's `/proc`.
pub(super) fn own_pid_of_host() -> Result<i32> {
    let text = std::fs::read_link("/proc/self").at("reading /proc/self")?;
    let pid = text.to_str().and_then(|text| text.parse().ok());
    pid.ok_or_else(|| Error::internal("/proc/self is not a process id"))
}

/// Forks once more, into a new pid namespace of this process's user namespace. The child is our parent's,
/// who is told its number; this process ends.
fn go_on_in_pid_namespace(channel: BorrowedFd<'_>) -> Result<()> {
    let (told_read, told_write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).at("making a pipe")?;
    // SAFETY: a stage has one thread.
    match unsafe { clone::fork_into(clone::CLONE_PARENT | clone::CLONE_NEWPID, None) }
        .at("making pid namespace")?
    {
        Fork::Child => {
            drop(told_write);
            // The number comes first: at the end of file the other process is gone.
            let _ = nix::unistd::read(&told_read, &mut [0]);
            Ok(())
        }
        Fork::Parent { child, .. } => {
            let report = Report { kind: "pid".into(), pid: child, ..Report::default() };
            let told = channel::report(channel, &report, &[]);
            std::process::exit(if told.is_ok() { 0 } else { 1 })
        }
    }
}

fn run_exec(exec: Exec<'_>) -> std::result::Result<Infallible, Failure> {
    let process = &exec.request.process;
    let score = match process.oom_score_adj {
        Some(score) => Some(score),
        None => std::fs::read_to_string(format!("/proc/{}/oom_score_adj", exec.init))
            .ok()
            .and_then(|text| text.trim().parse().ok()),
    };
    if let Some(score) = score {
        set_oom_score(score);
    }
    set_profiles(&process.apparmor_profile, &process.selinux_label)?;
    let filter = match exec.filter {
        Some(kept) => Some(Filter::from_memfd(kept)?),
        None => None,
    };
    let mut filter = filter;
    let (none, mut notify) = (State::default(), None);
    let state = exec.container.map_or(&none, |(_, state)| state);
    if let Some((spec, _)) = exec.container {
        filter = Filter::of(spec, false)?;
        notify = Notify::wanted(filter.as_ref(), spec)?;
        if let Some(notify) = &mut notify {
            notify.prepare(state)?;
        }
    }
    channel::await_word(&exec.channel, IN_CGROUP)?;
    if let Some(cgroup) = exec.cgroup {
        join_from_inside(cgroup)?;
    }
    let linux = exec.container.and_then(|(spec, _)| spec.linux.as_ref());
    namespaces::join_all(exec.init)?;
    if let Some(linux) = linux
        && linux.namespaces.iter().any(|ns| ns.kind == "user")
    {
        namespaces::become_root_inside(linux)?;
    }
    nix::unistd::setsid().at("setsid")?;
    if !exec.way.no_new_keyring {
        clone::new_session_keyring();
    }
    finish(Finish {
        process,
        user: &exec.request.user,
        groups: &exec.request.groups,
        stdio: exec.stdio,
        channel: exec.channel.as_fd(),
        console: false,
        filter,
        notify,
        keep_filter: false,
        init: None,
        start_hooks: &[],
        state,
        personality: linux.and_then(|linux| linux.personality.as_ref()),
        way: exec.way,
    })
}

/// Joins the cgroup where that is this process's own business; elsewhere the shim has moved it.
fn join_from_inside(cgroup: &Cgroup) -> Result<()> {
    if cgroup.is_joined_from_inside() { cgroup.join_self() } else { Ok(()) }
}

/// Refusal is no reason to end: lowering the score needs CAP_SYS_RESOURCE.
fn set_oom_score(score: i64) {
    let _ = std::fs::write("/proc/self/oom_score_adj", score.to_string());
}

fn set_names(spec: &Spec) -> Result<()> {
    if !spec.hostname.is_empty() {
        nix::unistd::sethostname(&spec.hostname).at("sethostname")?;
    }
    if !spec.domainname.is_empty() {
        // nix has no setdomainname; the file is the same thing.
        std::fs::write("/proc/sys/kernel/domainname", &spec.domainname).at("setdomainname")?;
    }
    Ok(())
}

/// Writes one setting. The host's `/proc/sys` shows the namespaces of whoever looks, so these are already the
/// container's.
fn set_sysctl(key: &str, value: &str) -> Result<()> {
    let file = Path::new("/proc/sys").join(validate::sysctl_file(key)?);
    std::fs::write(&file, value).at(format_args!("open {}", file.display()))
}

/// Asks for a security profile at the next exec, where the kernel has the module.
fn set_profiles(apparmor: &str, selinux: &str) -> Result<()> {
    if !apparmor.is_empty() && apparmor != "unconfined" {
        let text = format!("exec {apparmor}");
        let own = Path::new("/proc/self/attr/apparmor/exec");
        // Since 5.8 each module has a directory of its own.
        let file = if own.exists() { own } else { Path::new("/proc/self/attr/exec") };
        std::fs::write(file, text).at(format_args!(
            "unable to apply apparmor profile: apparmor failed to apply profile: write {}",
            file.display()
        ))?;
    }
    if !selinux.is_empty() {
        std::fs::write("/proc/self/attr/exec", selinux)
            .at(format_args!("unable to set exec label {selinux}"))?;
    }
    Ok(())
}
