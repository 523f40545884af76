//! Making a container up to the moment before its program.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::state::{START_SOCKET, Status};
use super::{Container, Record, Runtime, check, console};
use crate::base::file::{Durable, write_atomic};
use crate::base::time::Timestamp;
use crate::base::{At, Error, Result};
use crate::cgroup::{self, Cgroup};
use crate::runtime::channel::{self, HOOKS_DONE, IN_CGROUP};
use crate::runtime::defaults;
use crate::runtime::hooks;
use crate::runtime::namespaces::{self, NEW_TIME};
use crate::runtime::process::{Stdio, Way};
use crate::runtime::shim::kind_of;
use crate::runtime::spec::{Linux, LinuxDeviceCgroup, OCI_VERSION, Spec};
use crate::runtime::stages::{self, Fork, Init, PLAIN_TEXTS, Source};
use crate::sys::{listenfds, pidfd, procfs, scm};

/// How a container is to be made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The bundle; the working directory if empty.
    pub bundle: PathBuf,
    /// The configuration in the bundle; `config.json` if empty.
    pub config: PathBuf,
    /// Who gets the master of the terminal.
    pub console_socket: Option<PathBuf>,
    /// Where the number of the first process is written.
    pub pid_file: Option<PathBuf>,
    /// Descriptors from 3 on that the program gets, beside those of `LISTEN_FDS`.
    pub preserve_fds: u32,
    /// Move the root instead of pivot_root.
    pub no_pivot: bool,
    /// Keep the session keyring.
    pub no_new_keyring: bool,
    /// `run` does not wait for the end.
    pub detach: bool,
    /// `run` leaves the container when it has ended.
    pub keep: bool,
}

/// A container whose first process stands before its program.
pub(super) struct Made {
    pub(super) container: Container,
    pub(super) spec: Spec,
    /// Where the process waits for its word, unless it waits at the socket.
    pub(super) channel: OwnedFd,
    /// The master of its terminal.
    pub(super) master: Option<OwnedFd>,
}

/// See [`Runtime::create`].
pub(super) fn create(runtime: &Runtime, id: &str, options: &Options) -> Result<()> {
    make(runtime, id, options, true).map(drop)
}

/// Makes the container; `split`: it waits for the command `start`.
pub(super) fn make(runtime: &Runtime, id: &str, options: &Options, split: bool) -> Result<Made> {
    let preserve = preserved(options.preserve_fds);
    // Where paths are relative they are so to the bundle.
    if !options.bundle.as_os_str().is_empty() {
        nix::unistd::chdir(&options.bundle)
            .at(format_args!("changing to bundle {}", options.bundle.display()))?;
    }
    let bundle = nix::unistd::getcwd().at("finding the bundle's directory")?;
    let config = match options.config.as_os_str().is_empty() {
        true => Path::new("config.json"),
        false => &options.config,
    };
    let text = fs::read(config).at(format_args!("reading {}", config.display()))?;
    let mut spec = check::read(&text).at(format_args!("reading {}", config.display()))?;
    drop(text);
    let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
    console::check(terminal, options.console_socket.as_deref(), split || options.detach)?;
    complete(&mut spec, runtime, id, &bundle, preserve)?;
    let (dir, lock) = runtime.claim(id)?;
    let made = Maker { id, options, spec, bundle, dir: &dir, split, preserve }.make();
    if made.is_err() {
        // The error is what the caller wants to know.
        let _ = fs::remove_dir_all(&dir);
    }
    drop(lock);
    made
}

/// How many descriptors from 3 on the program gets. What is not open there may become ours, which are all
/// closed when the program is executed.
pub(super) fn preserved(more: u32) -> i32 {
    i32::try_from(more).unwrap_or(i32::MAX - 3).saturating_add(listenfds::announced()).min(1 << 20)
}

/// Puts into the configuration what callers may leave out, and what they always mean.
fn complete(
    spec: &mut Spec,
    runtime: &Runtime,
    id: &str,
    bundle: &Path,
    preserve: i32,
) -> Result<()> {
    if let Some(root) = &mut spec.root {
        let path = fs::canonicalize(&root.path)
            .at(format_args!("finding the root file system {}", root.path))?;
        root.path = path.to_string_lossy().into_owned();
    }
    let is_bind = |options: &[String]| options.iter().any(|o| o == "bind" || o == "rbind");
    for mount in &mut spec.mounts {
        if (mount.kind == "bind" || is_bind(&mount.options)) && !mount.source.starts_with('/') {
            mount.source = bundle.join(&mount.source).to_string_lossy().into_owned();
        }
    }
    if let Some(process) = &mut spec.process {
        let listening = listenfds::announced();
        if preserve > 0 && listening > 0 {
            process.env.retain(|e| !e.starts_with("LISTEN_FDS=") && !e.starts_with("LISTEN_PID="));
            process.env.push(format!("LISTEN_FDS={listening}"));
            process.env.push("LISTEN_PID=1".into());
        }
    }
    let linux = spec.linux.get_or_insert_default();
    if !runtime.cgroups {
        linux.cgroups_path.clear();
        linux.resources = None;
        return Ok(());
    }
    if let Err(e) = cgroup::detect() {
        if linux.resources.is_some() || !linux.cgroups_path.is_empty() {
            return Err(e);
        }
        return Ok(());
    }
    if linux.cgroups_path.is_empty() {
        linux.cgroups_path = id.to_string();
    }
    let devices = &mut linux.resources.get_or_insert_default().devices;
    if !devices.is_empty() {
        // The nodes that every container has can be used, whatever else is denied.
        devices.extend(defaults::DEVICE_RULES.iter().filter(|rule| rule.3 == "rwm").map(
            |(kind, major, minor, access)| LinuxDeviceCgroup {
                allow: true,
                kind: (*kind).into(),
                major: *major,
                minor: *minor,
                access: (*access).into(),
            },
        ));
    }
    Ok(())
}

struct Maker<'a> {
    id: &'a str,
    options: &'a Options,
    spec: Spec,
    bundle: PathBuf,
    dir: &'a Path,
    split: bool,
    preserve: i32,
}

/// What a failure takes back.
#[derive(Default)]
struct Undo {
    pid: Option<i32>,
    cgroup: Option<Cgroup>,
    hooks_ran: bool,
}

impl Maker<'_> {
    fn make(self) -> Result<Made> {
        let mut undo = Undo::default();
        match self.steps(&mut undo) {
            Ok((container, channel, master)) => {
                Ok(Made { container, spec: self.spec, channel, master })
            }
            Err(e) => {
                if let Some(pid) = undo.pid {
                    let _ = pidfd::kill(pid, libc::SIGKILL);
                    let _ = waitpid(Pid::from_raw(pid), None);
                }
                if let Some(cgroup) = undo.cgroup {
                    let _ = cgroup.kill_all().and_then(|()| cgroup.delete());
                }
                if undo.hooks_ran
                    && let Some(hooks) = &self.spec.hooks
                {
                    let state = self.container(0).state(Status::Stopped);
                    // As at a removal, whose errors are only warnings.
                    let _ = hooks::run("poststop", &hooks.poststop, &state);
                }
                Err(e)
            }
        }
    }

    fn linux(&self) -> &Linux {
        self.spec.linux.as_ref().expect("cannot fail: `complete` puts one in")
    }

    fn container(&self, pid: i32) -> Container {
        let linux = self.linux();
        Container {
            dir: self.dir.into(),
            record: Record {
                oci_version: OCI_VERSION.into(),
                id: self.id.into(),
                pid,
                bundle: self.bundle.to_string_lossy().into_owned(),
                rootfs: self.spec.root.as_ref().map(|root| root.path.clone()).unwrap_or_default(),
                created: Timestamp::now(),
                owner: nix::unistd::geteuid().as_raw(),
                annotations: self.spec.annotations.clone(),
                own_pids: linux.namespaces.iter().any(|n| n.kind == "pid" && n.path.is_empty()),
                ..Record::default()
            },
        }
    }

    fn steps(&self, undo: &mut Undo) -> Result<(Container, OwnedFd, Option<OwnedFd>)> {
        let linux = self.linux();
        Container::save_spec(self.dir, &self.spec)?;
        let wanted = match linux.cgroups_path.as_str() {
            "" => None,
            path => Some(Cgroup::at(path)?),
        };
        let none = crate::runtime::spec::LinuxResources::default();
        let resources = linux.resources.as_ref().unwrap_or(&none);
        // On v2 the process is born in its cgroup; on v1 the cgroups are made while it works on its root.
        let mut birthplace = None;
        if let Some(wanted) = &wanted
            && cgroup::detect()?.layout == cgroup::Layout::V2
        {
            undo.cgroup = Some(wanted.clone());
            wanted.make(resources)?;
            birthplace = wanted.open_dir()?;
        }
        let listener = match self.split {
            true => Some(scm::listen(&self.dir.join(START_SOCKET))?),
            false => None,
        };
        let mut container = self.container(0);
        container.record.cgroup = wanted.as_ref().map(Cgroup::record);
        let state = container.state(Status::Creating);
        let (ours, theirs) = scm::pair()?;
        let way = Way {
            is_command_line: true,
            preserve_fds: self.preserve,
            listener,
            no_pivot: self.options.no_pivot,
            no_new_keyring: self.options.no_new_keyring,
        };
        let terminal = self.spec.process.as_ref().is_some_and(|process| process.terminal);
        let init = Init {
            source: Source::Read(&self.spec, &state),
            netns: None,
            stdio: if terminal { Stdio::Terminal } else { Stdio::Inherited },
            channel: theirs,
            parents_end: ours.as_fd(),
            way,
            texts: PLAIN_TEXTS,
        };
        let own = OwnNamespaces::before(&self.spec)?;
        namespaces::enter_for_children(&linux.namespaces)?;
        namespaces::enter_time_for_children(linux)?;
        let fork = stages::start_init(init, birthplace.as_ref().map(AsFd::as_fd));
        own.back()?;
        let Fork::Parent { child, in_cgroup } = fork? else {
            return Err(Error::internal("the child came back"));
        };
        undo.pid = Some(child);
        if let Some(wanted) = &wanted {
            if undo.cgroup.is_none() {
                undo.cgroup = Some(wanted.clone());
                wanted.make(resources)?;
            }
            if !in_cgroup && !wanted.is_joined_from_inside() {
                wanted.join(child)?;
            }
        }
        // A child that failed already says so itself.
        let _ = channel::tell(&ours, IN_CGROUP);
        container.record.pid = child;
        let master = self.until_ready(&ours, &mut container, undo)?;
        container.record.start_time = procfs::start_time(container.record.pid)?;
        container.save()?;
        let master = match (master, &self.options.console_socket) {
            (Some(master), Some(socket)) => {
                console::hand_over(socket, &master)?;
                None
            }
            (master, _) => master,
        };
        if let Some(file) = &self.options.pid_file {
            write_pid_file(file, container.record.pid)?;
        }
        Ok((container, ours, master))
    }

    /// Hears the stages until the process stands before its program; gives the master of its terminal.
    fn until_ready(
        &self,
        channel: &OwnedFd,
        container: &mut Container,
        undo: &mut Undo,
    ) -> Result<Option<OwnedFd>> {
        loop {
            let Some((report, fds)) = channel::receive(channel, true)? else {
                return Err(Error::internal("the process ended on its way into the container"));
            };
            match report.kind.as_str() {
                "ready" => return Ok(fds.into_iter().next().filter(|_| report.terminal)),
                "pid" => {
                    let first = undo.pid.replace(report.pid);
                    container.record.pid = report.pid;
                    if let Some(first) = first {
                        let _ = waitpid(Pid::from_raw(first), None);
                    }
                }
                "hooks" => {
                    undo.hooks_ran = true;
                    let Some(hooks) = &self.spec.hooks else { continue };
                    // A hook may ask for the state.
                    container.record.start_time = procfs::start_time(container.record.pid)?;
                    container.save()?;
                    let state = container.state(Status::Creating);
                    hooks::run("prestart", &hooks.prestart, &state)?;
                    hooks::run("createRuntime", &hooks.create_runtime, &state)?;
                    channel::tell(channel, HOOKS_DONE)?;
                }
                _ => return Err(Error::new(kind_of(&report.error_kind), report.message)),
            }
        }
    }
}

/// This process's own namespaces, for hooks that it starts after it has made others for its child.
struct OwnNamespaces(Vec<(File, CloneFlags)>);

impl OwnNamespaces {
    fn before(spec: &Spec) -> Result<OwnNamespaces> {
        let mut own = Vec::new();
        let has = |kind: &str| {
            spec.linux.as_ref().is_some_and(|l| l.namespaces.iter().any(|n| n.kind == kind))
        };
        if spec.hooks.is_some() {
            for (kind, name, flag) in
                [("pid", "pid", CloneFlags::CLONE_NEWPID), ("time", "time", NEW_TIME)]
            {
                if has(kind) {
                    let path = format!("/proc/self/ns/{name}");
                    own.push((File::open(&path).at(format_args!("opening {path}"))?, flag));
                }
            }
        }
        Ok(OwnNamespaces(own))
    }

    fn back(self) -> Result<()> {
        for (namespace, flag) in self.0 {
            setns(namespace, flag).at("returning to the own namespaces")?;
        }
        Ok(())
    }
}

pub(super) fn write_pid_file(file: &Path, pid: i32) -> Result<()> {
    write_atomic(file, pid.to_string().as_bytes(), 0o644, Durable::No)
}
