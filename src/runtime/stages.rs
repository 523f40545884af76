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
//! The pid namespace is entered by the shim itself before it forks: its children, also those of exec,
//! are then born in it, and none has to fork once more.
#![allow(unsafe_code)]

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;

use super::channel::{self, IN_CGROUP, Report};
use super::filter::Filter;
use super::process::{Failure, Finish, Pipes, finish};
use super::rootfs::{self, CgroupView};
use super::shim::{ExecRequest, StartRequest};
use super::spec::{Namespace, Spec};
use crate::base::{At, Error, Kind, Result, json};
use crate::cgroup::Cgroup;
use crate::sys::{clone, memfd, pidfd};

pub(super) use clone::Fork;

/// What the first process of a container is made from.
pub(super) struct Init {
    /// The start request as JSON.
    pub(super) request: OwnedFd,
    pub(super) netns: Option<OwnedFd>,
    /// `None`: a terminal.
    pub(super) pipes: Option<Pipes>,
    pub(super) channel: OwnedFd,
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
    /// `None`: a terminal.
    pub(super) pipes: Option<Pipes>,
    pub(super) channel: OwnedFd,
}

/// Forks a process that has one thread by its nature: the reaper, which does nothing else.
///
/// # Errors
/// `Io`.
pub(super) fn fork_alone() -> Result<Fork> {
    // SAFETY: an applet that has started no thread.
    unsafe { clone::fork(None) }
}

/// Makes this process's later children first process or members of the container's pid namespace.
///
/// # Errors
/// `Io`.
pub(super) fn enter_pid_namespace(namespaces: &[Namespace]) -> Result<()> {
    match namespaces.iter().find(|ns| ns.kind == "pid") {
        None => Ok(()),
        Some(ns) if ns.path.is_empty() => {
            unshare(CloneFlags::CLONE_NEWPID).at("making pid namespace")
        }
        Some(ns) => join(&ns.path, CloneFlags::CLONE_NEWPID),
    }
}

/// Forks and runs the stages of the first process in the child.
///
/// # Errors
/// `Io` if the fork fails; later failures come through the channel.
pub(super) fn start_init(init: Init, cgroup: Option<BorrowedFd<'_>>) -> Result<Fork> {
    // SAFETY: the shim has one thread.
    match unsafe { clone::fork(cgroup) }? {
        Fork::Child => {
            let channel = init.channel.try_clone();
            let Err(failure) = run_init(init);
            fail(channel, INIT_TEXTS, failure)
        }
        parent => Ok(parent),
    }
}

/// Forks and runs the stages of an exec process in the child.
///
/// # Errors
/// As [`start_init`].
pub(super) fn start_exec(exec: Exec<'_>, cgroup: Option<BorrowedFd<'_>>) -> Result<Fork> {
    // SAFETY: the shim has one thread.
    match unsafe { clone::fork(cgroup) }? {
        Fork::Child => {
            let channel = exec.channel.try_clone();
            let Err(failure) = run_exec(exec);
            fail(channel, EXEC_TEXTS, failure)
        }
        parent => Ok(parent),
    }
}

/// What Docker says before an error of the program, and before any other.
type Texts = (&'static str, &'static str);

const INIT_TEXTS: Texts = (
    "OCI runtime create failed: runc create failed: unable to start container process: ",
    "OCI runtime create failed: runc create failed: unable to start container process: \
     error during container init: ",
);
const EXEC_TEXTS: Texts = (
    "OCI runtime exec failed: exec failed: unable to start container process: ",
    "OCI runtime exec failed: exec failed: unable to start container process: ",
);

/// Docker's form of an error that happened in the shim itself before there was a child.
pub(super) fn in_dockers_words(e: Error, is_exec: bool) -> Error {
    let texts = if is_exec { EXEC_TEXTS } else { INIT_TEXTS };
    with_texts(e, texts.0)
}

fn with_texts(e: Error, before: &str) -> Error {
    // A hint of Docker's may follow the last word already.
    let after = if e.message().contains(": unknown: ") { "" } else { ": unknown" };
    Error::new(e.kind(), format_args!("{before}{e}{after}"))
}

fn fail(channel: std::io::Result<OwnedFd>, texts: Texts, failure: Failure) -> ! {
    let e = match failure {
        Failure::Plain(e) => e,
        Failure::Program(e) => with_texts(e, texts.0),
        Failure::Stage(e) => with_texts(e, texts.1),
    };
    if e.kind() != Kind::Cancelled
        && let Ok(channel) = channel
    {
        let report = Report {
            kind: "failed".into(),
            error_kind: super::shim::kind_name(e.kind()).into(),
            message: e.message().into(),
            ..Report::default()
        };
        // Nobody is left to be told if the shim is gone.
        let _ = channel::report(&channel, &report, &[]);
    }
    std::process::exit(1)
}

fn run_init(init: Init) -> std::result::Result<Infallible, Failure> {
    let text = memfd::read_all(init.request, super::shim::MESSAGE_MAX)?;
    let request: StartRequest = json::parse(&text).at("reading start request")?;
    drop(text);
    let spec = &request.spec;
    let Some(process) = &spec.process else {
        return Err(Error::invalid("the configuration has no process").into());
    };
    let linux = spec.linux.clone().unwrap_or_default();
    if let Some(score) = process.oom_score_adj {
        set_oom_score(score);
    }
    let filter = Filter::of(spec, request.default_seccomp)?;
    let mut wanted = Wanted::of(&linux.namespaces)?;
    if let Some(netns) = &init.netns {
        setns(netns, CloneFlags::CLONE_NEWNET).at("joining network namespace")?;
        wanted.make.remove(CloneFlags::CLONE_NEWNET);
    }
    unshare(wanted.make).at("making namespaces")?;
    nix::unistd::setsid().at("setsid")?;
    clone::new_session_keyring();
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
    let mut waits = true;
    let mut cgroup_ready = || {
        if std::mem::take(&mut waits) {
            channel::await_word(&init.channel, IN_CGROUP)?;
            if !linux.cgroups_path.is_empty() {
                join_from_inside(&Cgroup::at(&linux.cgroups_path)?)?;
            }
            if wanted.cgroup {
                // Only now: the namespace's root is the cgroup that the process is in.
                unshare(CloneFlags::CLONE_NEWCGROUP).at("making cgroup namespace")?;
            }
        }
        Ok(CgroupView { private: wanted.cgroup })
    };
    rootfs.fill(spec, &mut cgroup_ready)?;
    cgroup_ready()?;
    set_profiles(&process.apparmor_profile, &process.selinux_label)?;
    let console = rootfs.own_dev();
    rootfs::enter(rootfs, &linux.rootfs_propagation)?;
    finish(Finish {
        process,
        user: &request.user,
        groups: &request.groups,
        pipes: init.pipes,
        channel: init.channel.as_fd(),
        console,
        filter,
        keep_filter: true,
        init: sealed,
    })
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
        Some(kept) if !exec.request.no_seccomp => Some(Filter::from_memfd(kept)?),
        _ => None,
    };
    channel::await_word(&exec.channel, IN_CGROUP)?;
    if let Some(cgroup) = exec.cgroup {
        join_from_inside(cgroup)?;
    }
    join_all(exec.init)?;
    nix::unistd::setsid().at("setsid")?;
    clone::new_session_keyring();
    finish(Finish {
        process,
        user: &exec.request.user,
        groups: &exec.request.groups,
        pipes: exec.pipes,
        channel: exec.channel.as_fd(),
        console: false,
        filter,
        keep_filter: false,
        init: None,
    })
}

/// Joins the cgroup where that is this process's own business; elsewhere the shim has moved it.
fn join_from_inside(cgroup: &Cgroup) -> Result<()> {
    if cgroup.is_joined_from_inside() { cgroup.join_self() } else { Ok(()) }
}

/// Namespaces still to be made; those with a path have been joined.
struct Wanted {
    make: CloneFlags,
    cgroup: bool,
}

impl Wanted {
    fn of(namespaces: &[Namespace]) -> Result<Wanted> {
        let mut wanted = Wanted { make: CloneFlags::empty(), cgroup: false };
        let mut has_mount = false;
        for ns in namespaces {
            let flag = match ns.kind.as_str() {
                // Entered by the shim before it forked.
                "pid" => continue,
                "network" => CloneFlags::CLONE_NEWNET,
                "mount" => CloneFlags::CLONE_NEWNS,
                "ipc" => CloneFlags::CLONE_NEWIPC,
                "uts" => CloneFlags::CLONE_NEWUTS,
                "cgroup" => CloneFlags::CLONE_NEWCGROUP,
                kind => {
                    let text = format!("{kind} namespaces are not supported");
                    return Err(Error::unsupported(text));
                }
            };
            has_mount |= flag == CloneFlags::CLONE_NEWNS;
            if !ns.path.is_empty() {
                join(&ns.path, flag)?;
            } else if flag == CloneFlags::CLONE_NEWCGROUP {
                wanted.cgroup = true;
            } else {
                wanted.make |= flag;
            }
        }
        if !has_mount {
            return Err(Error::invalid("a container needs a mount namespace"));
        }
        Ok(wanted)
    }
}

fn join(path: &str, flag: CloneFlags) -> Result<()> {
    let ns = File::open(path).at(format_args!("opening namespace {path}"))?;
    setns(ns, flag).at(format_args!("joining namespace {path}"))
}

/// Joins the namespaces of the container's first process, all in one call where pidfds can be used for
/// it (Linux 5.8).
fn join_all(init: i32) -> Result<()> {
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    if let Ok(process) = pidfd::open(init)
        && setns(process, flags).is_ok()
    {
        return Ok(());
    }
    // All are opened before the first is joined: afterwards `/proc` is the container's.
    let names = [
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("net", CloneFlags::CLONE_NEWNET),
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
        ("mnt", CloneFlags::CLONE_NEWNS),
    ];
    let mut opened = Vec::new();
    for (name, flag) in names {
        match File::open(format!("/proc/{init}/ns/{name}")) {
            Ok(ns) => opened.push((name, ns, flag)),
            // A kernel without this kind (cgroup before 4.6).
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && name == "cgroup" => {}
            Err(e) => return Err(e).at(format_args!("opening {name} namespace of {init}")),
        }
    }
    for (name, ns, flag) in opened {
        setns(ns, flag).at(format_args!("joining {name} namespace of {init}"))?;
    }
    Ok(())
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

/// Writes one `net.ipv4.ip_forward` or `net/ipv4/ip_forward`. The host's `/proc/sys` shows the namespaces
/// of whoever looks, so these are already the container's.
fn set_sysctl(key: &str, value: &str) -> Result<()> {
    let parts: Vec<&str> = key.split(['.', '/']).collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(Error::invalid(format_args!("sysctl {key:?} is not a name")));
    }
    let separator = if key.contains('/') { key.to_string() } else { parts.join("/") };
    std::fs::write(Path::new("/proc/sys").join(separator), value)
        .at(format_args!("writing sysctl {key}"))
}

/// Asks for a security profile at the next exec, where the kernel has the module.
fn set_profiles(apparmor: &str, selinux: &str) -> Result<()> {
    if !apparmor.is_empty() && apparmor != "unconfined" {
        let text = format!("exec {apparmor}");
        let own = Path::new("/proc/self/attr/apparmor/exec");
        // Since 5.8 each module has a directory of its own.
        let file = if own.exists() { own } else { Path::new("/proc/self/attr/exec") };
        std::fs::write(file, text)
            .at(format_args!("unable to apply apparmor profile {apparmor}"))?;
    }
    if !selinux.is_empty() {
        std::fs::write("/proc/self/attr/exec", selinux)
            .at(format_args!("unable to set exec label {selinux}"))?;
    }
    Ok(())
}
