//! A further process in a container.

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::console::{self, Signals};
use super::create::{preserved, write_pid_file};
use super::state::Status;
use super::{Container, start};
use crate::base::{At, Error, Result, json};
use crate::cgroup::Cgroup;
use crate::runtime::channel::{self, IN_CGROUP};
use crate::runtime::namespaces;
use crate::runtime::process::{Stdio, Way};
use crate::runtime::shim::{ExecRequest, kind_of};
use crate::runtime::spec::{Capabilities, Process, Spec, User};
use crate::runtime::stages::{self, Exec, Fork, Texts};
use crate::sys::{caps, pidfd, scm};

/// What is said before errors.
const TEXTS: Texts = (
    "exec failed: unable to start container process: ",
    "exec failed: unable to start container process: ",
    "",
);

/// How a process is to be run.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// File with the whole process as JSON; the other options of the process count without it only.
    pub process: Option<PathBuf>,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Give it a terminal.
    pub terminal: bool,
    /// Working directory; the container's if empty.
    pub cwd: String,
    /// `KEY=value` beside the container's.
    pub env: Vec<String>,
    /// `uid[:gid]`; the container's if empty.
    pub user: String,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Capabilities beside the container's.
    pub caps: Vec<String>,
    /// Set `no_new_privs`.
    pub no_new_privs: bool,
    /// AppArmor profile; the container's if empty.
    pub apparmor: String,
    /// SELinux label; the container's if empty.
    pub label: String,
    /// Do not wait for its end.
    pub detach: bool,
    /// Who gets the master of the terminal.
    pub console_socket: Option<PathBuf>,
    /// Where its number is written.
    pub pid_file: Option<PathBuf>,
    /// As for a container.
    pub preserve_fds: u32,
    /// Also where the container is paused: it then runs once the container goes on.
    pub ignore_paused: bool,
    /// Cgroup below the container's.
    pub cgroup: String,
}

/// Runs a process in `container`; waits for its end unless it is to be left alone, and gives its exit code.
///
/// # Errors
/// `Conflict` if the container does not run; what keeps the program from running.
pub fn exec(container: &Container, options: &ExecOptions) -> Result<u8> {
    let preserve = preserved(options.preserve_fds);
    match container.status() {
        Status::Created | Status::Running => {}
        Status::Paused if options.ignore_paused => {}
        Status::Paused => return Err(Error::conflict("cannot exec in a paused container")),
        Status::Stopped | Status::Creating => {
            return Err(Error::conflict("cannot exec in a container that is not running"));
        }
    }
    let spec = container.spec()?;
    let process = process(&spec, options)?;
    console::check(process.terminal, options.console_socket.as_deref(), options.detach)?;
    let cgroup = cgroup(container, &options.cgroup)?;
    let signals = if options.detach { None } else { Some(Signals::take()?) };
    let terminal = process.terminal;
    let state = container.state(Status::Running);
    let request = ExecRequest { process, ..ExecRequest::default() };
    namespaces::follow_for_children(container.record.pid)?;
    let (ours, theirs) = scm::pair()?;
    let birthplace = cgroup.as_ref().map(Cgroup::open_dir).transpose()?.flatten();
    let way = Way { is_command_line: true, preserve_fds: preserve, ..Way::default() };
    let work = Exec {
        request: &request,
        init: container.record.pid,
        filter: None,
        cgroup: cgroup.as_ref(),
        container: Some((&spec, &state)),
        stdio: if terminal { Stdio::Terminal } else { Stdio::Inherited },
        channel: theirs,
        parents_end: ours.as_fd(),
        way,
        texts: TEXTS,
    };
    let fork = stages::start_exec(work, birthplace.as_ref().map(AsFd::as_fd))?;
    let Fork::Parent { child, in_cgroup } = fork else {
        return Err(Error::internal("the child came back"));
    };
    let started = || -> Result<_> {
        if let Some(cgroup) = &cgroup
            && !in_cgroup
            && !cgroup.is_joined_from_inside()
        {
            cgroup.join(child)?;
        }
        // A child that failed already says so itself.
        let _ = channel::tell(&ours, IN_CGROUP);
        let master = match channel::receive(&ours, true)? {
            Some((report, fds)) if report.kind == "ready" => {
                fds.into_iter().next().filter(|_| report.terminal)
            }
            Some((report, _)) => {
                return Err(Error::new(kind_of(&report.error_kind), report.message));
            }
            None => return Err(Error::internal("the process ended on its way in").at(TEXTS.0)),
        };
        let master = match (master, &options.console_socket) {
            (Some(master), Some(socket)) => {
                console::hand_over(socket, &master)?;
                None
            }
            (master, _) => master,
        };
        if let Some(file) = &options.pid_file {
            write_pid_file(file, child)?;
        }
        start::go(&ours)?;
        Ok(master)
    };
    let master = started().inspect_err(|_| {
        let _ = pidfd::kill(child, libc::SIGKILL);
        let _ = waitpid(Pid::from_raw(child), None);
    })?;
    match signals {
        Some(signals) => console::wait(child, master, &signals),
        None => Ok(0),
    }
}

fn cgroup(container: &Container, below: &str) -> Result<Option<Cgroup>> {
    let cgroup = container.cgroup().filter(Cgroup::exists);
    match (cgroup, below) {
        (cgroup, "") => Ok(cgroup),
        (Some(cgroup), below) => {
            let inner = cgroup.below(below)?.ok_or_else(|| {
                Error::not_found(format_args!("the container has no cgroup {below:?}"))
            })?;
            Ok(Some(inner))
        }
        (None, _) => Err(Error::unsupported("the container has no cgroup")),
    }
}

fn process(spec: &Spec, options: &ExecOptions) -> Result<Process> {
    if let Some(file) = &options.process {
        let bytes = fs::read(file).at(format_args!("reading {}", file.display()))?;
        let process: Process =
            json::parse(&bytes).at(format_args!("reading {}", file.display()))?;
        if process.args.is_empty() {
            return Err(Error::invalid("process args cannot be empty"));
        }
        if !process.cwd.starts_with('/') {
            return Err(Error::invalid("Cwd must be an absolute path"));
        }
        return Ok(process);
    }
    let mut process = spec.process.clone().unwrap_or_default();
    process.args.clone_from(&options.args);
    process.terminal = options.terminal;
    process.console_size = None;
    for entry in &options.env {
        let key = |e: &str| e.split('=').next().map(str::to_string);
        process.env.retain(|old| key(old) != key(entry));
        process.env.push(entry.clone());
    }
    process.no_new_privileges |= options.no_new_privs;
    if !options.cwd.is_empty() {
        process.cwd.clone_from(&options.cwd);
    }
    if !options.apparmor.is_empty() {
        process.apparmor_profile.clone_from(&options.apparmor);
    }
    if !options.label.is_empty() {
        process.selinux_label.clone_from(&options.label);
    }
    if !options.user.is_empty() {
        let (uid, gid) = options.user.split_once(':').unwrap_or((&options.user, "0"));
        let number = |text: &str| {
            text.parse()
                .map_err(|_| Error::invalid(format_args!("invalid user {:?}", options.user)))
        };
        process.user = User { uid: number(uid)?, gid: number(gid)?, ..process.user };
        process.user.additional_gids.clear();
    }
    process.user.additional_gids.extend(&options.groups);
    if !options.caps.is_empty() {
        // Known names only, in the form of the specification.
        let names = caps::Set::parse(&options.caps)?.names();
        let sets = process.capabilities.get_or_insert_with(Capabilities::default);
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted, &mut sets.ambient]
        {
            set.extend(names.iter().cloned());
        }
        sets.inheritable.extend(names);
    }
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_change_the_containers_process() {
        let spec: Spec = json::parse(
            br#"{"ociVersion":"1.0.2","process":{"terminal":true,"user":{"uid":5,"gid":6,
                "additionalGids":[9]},"args":["a"],"env":["A=1"],"cwd":"/x"}}"#,
        )
        .unwrap();
        let options = ExecOptions {
            args: vec!["b".into()],
            env: vec!["A=2".into()],
            user: "7".into(),
            groups: vec![8],
            caps: vec!["net_raw".into()],
            ..ExecOptions::default()
        };
        let made = process(&spec, &options).unwrap();
        assert_eq!((made.terminal, made.cwd.as_str(), made.args.len()), (false, "/x", 1));
        assert_eq!((made.user.uid, made.user.gid, made.user.additional_gids), (7, 0, vec![8]));
        assert_eq!(made.env, ["A=2"]);
        assert_eq!(made.capabilities.unwrap().effective, ["CAP_NET_RAW"]);
        let bad = ExecOptions { user: "root".into(), ..options };
        assert!(process(&spec, &bad).is_err());
    }
}
