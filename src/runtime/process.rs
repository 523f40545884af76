//! The last steps of a process on its way into its program: terminal, limits, user, privileges.
//!
//! It runs in the container's root and namespaces. The order is runc's, for the same reasons: limits
//! before capabilities go (raising one needs CAP_SYS_RESOURCE), the seccomp filter before them unless
//! `no_new_privs` makes it an unprivileged operation, the user inside the change of capabilities.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, SFlag, fstat, major, minor, umask};
use nix::unistd::{Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown};

use super::channel::{self, GO, Report};
use super::filter::{Filter, Notify};
use super::spec::{self, Hook, Personality, Process, State};
use super::{hooks, lookup, rootfs, schedule, user};
use crate::base::{At, Error, Kind, Result};
use crate::sys::caps::{self, Set, Sets};
use crate::sys::{clone, pty, scm};

/// Where a process's standard streams go when it has no terminal.
pub(super) struct Pipes {
    /// Read end; `None` is the null device.
    pub(super) stdin: Option<OwnedFd>,
    /// Write end.
    pub(super) stdout: OwnedFd,
    /// Write end.
    pub(super) stderr: OwnedFd,
}

/// The standard streams of a new process.
pub(super) enum Stdio {
    /// Pipes.
    Pipes(Pipes),
    /// A new terminal of the container.
    Terminal,
    /// Those of the parent.
    Inherited,
}

/// What only callers of the command line ask for.
#[derive(Default)]
pub(super) struct Way {
    /// The parent ends when the process is ready, or waits for its end; it is no shim.
    pub(super) is_command_line: bool,
    /// How many descriptors from 3 on the program gets.
    pub(super) preserve_fds: i32,
    /// Where the word to execute the program comes from; without it, from the channel.
    pub(super) listener: Option<OwnedFd>,
    /// Do not use pivot_root.
    pub(super) no_pivot: bool,
    /// Keep the session keyring.
    pub(super) no_new_keyring: bool,
}

/// Who failed, which decides what Docker says before the error.
pub(super) enum Failure {
    /// Docker says nothing before it: the user does not exist.
    Plain(Error),
    /// The configuration asks for what cannot be.
    Config(Error),
    /// The program cannot be found.
    Program(Error),
    /// Anything else.
    Stage(Error),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        Failure::Stage(e)
    }
}

/// What the last steps need to know.
pub(super) struct Finish<'a> {
    pub(super) process: &'a Process,
    /// `user[:group]` to look up; empty: the numbers in `process`.
    pub(super) user: &'a str,
    pub(super) groups: &'a [String],
    pub(super) stdio: Stdio,
    pub(super) channel: BorrowedFd<'a>,
    /// Make `/dev/console` the terminal.
    pub(super) console: bool,
    /// System call filter.
    pub(super) filter: Option<Filter>,
    /// Who is asked by the filter.
    pub(super) notify: Option<Notify>,
    /// Hand the filter to the shim, for processes of exec.
    pub(super) keep_filter: bool,
    /// Our own executable, to be run as the container's first process before the program.
    pub(super) init: Option<OwnedFd>,
    /// Hooks to run right before the program, and what they are told.
    pub(super) start_hooks: &'a [Hook],
    /// See `start_hooks`.
    pub(super) state: &'a State,
    /// Execution domain.
    pub(super) personality: Option<&'a Personality>,
    /// How it is called.
    pub(super) way: Way,
}

/// Goes all the way to execve and does not come back from there.
///
/// # Errors
/// Why the program cannot be executed.
pub(super) fn finish(mut work: Finish<'_>) -> std::result::Result<Infallible, Failure> {
    let process = work.process;
    let cwd = if process.cwd.is_empty() { "/" } else { &process.cwd };
    if !cwd.starts_with('/') {
        return Err(Failure::Config(Error::invalid("Cwd must be an absolute path")));
    }
    let terminal = match std::mem::replace(&mut work.stdio, Stdio::Inherited) {
        Stdio::Inherited => None,
        Stdio::Pipes(pipes) => {
            connect_pipes(pipes)?;
            None
        }
        Stdio::Terminal => Some(connect_terminal(process, work.console)?),
    };
    schedule::apply(process, work.personality)?;
    for limit in &process.rlimits {
        set_limit(limit)?;
    }
    let who = resolve_user(&work)?;
    own_stdio(who.uid)?;
    if process.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().at("setting no_new_privs")?;
    }
    // Root may enter where the user may not, and the other way round on network filesystems.
    let early = change_dir(cwd);
    let wanted = capability_sets(process)?;
    let kept = match &work.filter {
        Some(filter) if work.keep_filter => Some(filter.to_memfd()?),
        _ => None,
    };
    if !process.no_new_privileges
        && let Some(filter) = &work.filter
    {
        filter.load(work.notify.as_ref())?;
    }
    caps::apply(&wanted, || become_user(&who))?;
    if early.is_err() {
        change_dir(cwd)?;
    }
    let mut env = process.env.clone();
    if !env.iter().any(|entry| entry.strip_prefix("HOME=").is_some_and(|home| !home.is_empty())) {
        env.retain(|entry| !entry.starts_with("HOME="));
        env.push(format!("HOME={}", who.home));
    }
    let name = process.args.first().ok_or_else(|| Error::invalid("args must not be empty"))?;
    let program = match &work.init {
        Some(_) => None,
        None => Some(lookup::find(name, &env).map_err(Failure::Program)?),
    };
    let program = program.map(|path| c_string(path.as_os_str().as_encoded_bytes())).transpose()?;
    let mut arguments = Vec::with_capacity(process.args.len() + 2);
    if work.init.is_some() {
        arguments.extend([c"/sbin/docker-init".to_owned(), c"--".to_owned()]);
    }
    for argument in &process.args {
        arguments.push(c_string(argument.as_bytes())?);
    }
    let env: Vec<CString> = env.iter().map(|e| c_string(e.as_bytes())).collect::<Result<_>>()?;
    umask(Mode::from_bits_truncate(process.user.umask.unwrap_or(0o022)));
    let ready = Report {
        kind: "ready".into(),
        terminal: terminal.is_some(),
        filter: kept.is_some(),
        ..Report::default()
    };
    let fds: Vec<BorrowedFd<'_>> = terminal.iter().chain(&kept).map(|fd| fd.as_fd()).collect();
    channel::report(work.channel, &ready, &fds)?;
    match &work.way.listener {
        Some(listener) => await_start(listener, work.channel)?,
        None => channel::await_word(work.channel, GO)?,
    }
    if !work.start_hooks.is_empty() {
        let pid = nix::unistd::getpid().as_raw();
        let state = State { pid, status: "created".into(), ..work.state.clone() };
        hooks::run("startContainer", work.start_hooks, &state)?;
    }
    clone::close_on_exec_from(3 + work.way.preserve_fds)?;
    reset_signals()?;
    if process.no_new_privileges
        && let Some(filter) = &work.filter
    {
        filter.load(work.notify.as_ref())?;
    }
    let failed = match (&program, &work.init) {
        (Some(path), _) => nix::unistd::execve(path, &arguments, &env),
        (None, Some(exe)) => {
            let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
            nix::unistd::execveat(exe, c"", &arguments, &env, flags)
        }
        (None, None) => Err(Errno::ENOENT),
    };
    let errno = match failed {
        Ok(never) => match never {},
        Err(errno) => errno,
    };
    // The container counts as started; as with runc, its own standard error says why it ended.
    let text = format!("exec {name}: {}\n", lookup::words(errno));
    let _ = nix::unistd::write(std::io::stderr(), text.as_bytes());
    std::process::exit(255);
}

/// Waits for somebody who connects and says so, who from then on is told of errors.
fn await_start(listener: &OwnedFd, channel: BorrowedFd<'_>) -> Result<()> {
    loop {
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e).at("waiting for the start"),
        }
        let Some(caller) = scm::accept(listener)? else { continue };
        // One that was killed before it said it: the next one will.
        if channel::await_word(&caller, GO).is_ok() {
            scm::replace(channel, &caller)?;
            return Ok(());
        }
    }
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::invalid("an argument holds a zero byte"))
}

fn connect_pipes(pipes: Pipes) -> Result<()> {
    match pipes.stdin {
        Some(stdin) => dup2_stdin(stdin).at("connecting standard input")?,
        None => match null_of_container() {
            Some(null) => dup2_stdin(null).at("connecting standard input")?,
            // Standard output still is the null device that the shim was started with.
            None => dup2_stdin(std::io::stdout()).at("connecting standard input")?,
        },
    }
    dup2_stdout(pipes.stdout).at("connecting standard output")?;
    dup2_stderr(pipes.stderr).at("connecting standard error")
}

fn null_of_container() -> Option<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::open("/dev/null", flags, Mode::empty()).ok()?;
    is_null(&fd).then_some(fd)
}

fn is_null(fd: impl AsFd) -> bool {
    fstat(fd).is_ok_and(|stat| {
        stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits()
            && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3)
    })
}

/// Makes a new terminal of the container the controlling one and the standard streams; returns its
/// master.
fn connect_terminal(process: &Process, console: bool) -> Result<OwnedFd> {
    let (master, number) = pty::open_master(Path::new("/dev/pts/ptmx"))?;
    if let Some(size) = &process.console_size {
        let clamp = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
        pty::resize(&master, clamp(size.width), clamp(size.height))?;
    }
    let slave = match pty::open_slave(&master) {
        Ok(slave) => slave,
        Err(_) => {
            let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            nix::fcntl::open(format!("/dev/pts/{number}").as_str(), flags, Mode::empty())
                .at("opening the terminal")?
        }
    };
    if console {
        rootfs::bind_console(number)?;
    }
    pty::set_controlling(&slave)?;
    dup2_stdin(&slave).at("connecting standard input")?;
    dup2_stdout(&slave).at("connecting standard output")?;
    dup2_stderr(&slave).at("connecting standard error")?;
    Ok(master)
}

fn set_limit(limit: &spec::Rlimit) -> Result<()> {
    const NAMES: &[(&str, Resource)] = &[
        ("RLIMIT_AS", Resource::RLIMIT_AS),
        ("RLIMIT_CORE", Resource::RLIMIT_CORE),
        ("RLIMIT_CPU", Resource::RLIMIT_CPU),
        ("RLIMIT_DATA", Resource::RLIMIT_DATA),
        ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE),
        ("RLIMIT_LOCKS", Resource::RLIMIT_LOCKS),
        ("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK),
        ("RLIMIT_MSGQUEUE", Resource::RLIMIT_MSGQUEUE),
        ("RLIMIT_NICE", Resource::RLIMIT_NICE),
        ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE),
        ("RLIMIT_NPROC", Resource::RLIMIT_NPROC),
        ("RLIMIT_RSS", Resource::RLIMIT_RSS),
        ("RLIMIT_RTPRIO", Resource::RLIMIT_RTPRIO),
        ("RLIMIT_RTTIME", Resource::RLIMIT_RTTIME),
        ("RLIMIT_SIGPENDING", Resource::RLIMIT_SIGPENDING),
        ("RLIMIT_STACK", Resource::RLIMIT_STACK),
    ];
    let (_, resource) = NAMES
        .iter()
        .find(|(name, _)| *name == limit.kind)
        .ok_or_else(|| Error::invalid(format_args!("invalid rlimit type {}", limit.kind)))?;
    setrlimit(*resource, limit.soft, limit.hard)
        .at(format_args!("error setting rlimit type {}", *resource as i32))
}

/// The ids to run with, and the home directory.
struct Who {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    home: String,
}

fn resolve_user(work: &Finish<'_>) -> std::result::Result<Who, Failure> {
    let root = File::open("/").at("opening /")?;
    let numeric = &work.process.user;
    let text = match work.user {
        "" if work.groups.is_empty() && numeric.uid == 0 && numeric.gid == 0 => "0:0".to_string(),
        "" => format!("{}:{}", numeric.uid, numeric.gid),
        text => text.to_string(),
    };
    let found = user::lookup(root.as_fd(), &text, work.groups).map_err(Failure::Plain)?;
    let groups = if work.user.is_empty() && work.groups.is_empty() {
        numeric.additional_gids.clone()
    } else {
        found.groups
    };
    Ok(Who { uid: found.uid, gid: found.gid, groups, home: found.home })
}

/// Gives pipes and terminal to the user, who otherwise could not open `/dev/stdout`.
fn own_stdio(uid: u32) -> Result<()> {
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for fd in [input.as_fd(), output.as_fd(), error.as_fd()] {
        let stat = fstat(fd).at("stat of a standard stream")?;
        if stat.st_uid == uid || is_null(fd) {
            continue;
        }
        match fchown(fd, Some(Uid::from_raw(uid)), None) {
            // Read-only, or an id that the filesystem does not know: the stream works all the same.
            Ok(()) | Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL) => {}
            Err(e) => return Err(Error::from(e).at("giving a standard stream to the user")),
        }
    }
    Ok(())
}

fn capability_sets(process: &Process) -> Result<Sets> {
    let Some(names) = &process.capabilities else {
        return Ok(Sets::default());
    };
    let parse = |names: &[String]| -> Result<Set> { Set::parse(names) };
    Ok(Sets {
        bounding: parse(&names.bounding)?,
        permitted: parse(&names.permitted)?,
        effective: parse(&names.effective)?,
        inheritable: parse(&names.inheritable)?,
        ambient: parse(&names.ambient)?,
    })
}

fn become_user(who: &Who) -> Result<()> {
    let groups: Vec<Gid> = who.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    nix::unistd::setgroups(&groups).at("setting groups")?;
    let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.gid));
    nix::unistd::setresgid(gid, gid, gid).at("setting group")?;
    nix::unistd::setresuid(uid, uid, uid).at("setting user")
}

/// Changes to the working directory and makes sure that it is inside the container: a link to one of our
/// descriptors, as `/proc/self/fd/7`, would lead out (CVE-2024-21626).
fn change_dir(cwd: &str) -> Result<()> {
    let failed = |e: Errno| {
        Error::from(e).at(format_args!("chdir to cwd ({cwd:?}) set in config.json failed"))
    };
    nix::unistd::chdir(cwd).map_err(failed)?;
    match nix::unistd::getcwd() {
        Ok(path) if path.is_absolute() => Ok(()),
        _ => {
            let text = "current working directory is outside of container mount namespace root -- \
                        possible container breakout detected";
            Err(Error::new(Kind::InvalidParameter, text))
        }
    }
}

/// The program finds the signals as if nobody had touched them; our runtime ignores SIGPIPE.
fn reset_signals() -> Result<()> {
    clone::restore_signals();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).at("unblocking signals")
}
