//! Namespaces of a container: which are joined, which are made, and in what order.
//!
//! Joining by path needs the privileges of the host, so it comes first; a new user namespace comes next, and
//! the others after it, so that they belong to it. A pid namespace takes effect for children only: where it
//! has to belong to a new user namespace the process forks once more (`stages`).
//!
//! The maps of a user namespace must be written by a process outside it. That is a child made for it: its
//! parent then needs nobody else, whoever started it.

use std::fs::File;
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};

use super::spec::{IdMapping, Linux, Namespace, TimeOffset};
use crate::base::{At, Error, Result};
use crate::sys::pidfd;

/// `CLONE_NEWTIME` (Linux 5.6), which nix has no name for.
pub(super) const NEW_TIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

/// Namespaces still to be made; those with a path have been joined, but a user namespace.
pub(super) struct Wanted<'a> {
    /// Made by one unshare, after the user namespace.
    pub(super) make: CloneFlags,
    /// Made once the process is in its cgroup.
    pub(super) cgroup: bool,
    /// The user namespace, new or to be joined.
    pub(super) user: Option<&'a Namespace>,
    /// A pid namespace that belongs to the user namespace.
    pub(super) pid: bool,
}

impl<'a> Wanted<'a> {
    /// Sorts `namespaces` and joins those that have a path.
    ///
    /// # Errors
    /// `Unsupported` for an unknown kind; `InvalidParameter` without a mount namespace; `Io`.
    pub(super) fn of(namespaces: &'a [Namespace]) -> Result<Wanted<'a>> {
        let mut wanted =
            Wanted { make: CloneFlags::empty(), cgroup: false, user: None, pid: false };
        let (mut has_mount, mut mount_path) = (false, None);
        for ns in namespaces {
            let flag = match ns.kind.as_str() {
                // Entered by the parent before it forked, or made with the user namespace.
                "pid" => {
                    wanted.pid = ns.path.is_empty();
                    continue;
                }
                // Entered by the parent: it takes effect for children only.
                "time" => continue,
                "user" => {
                    wanted.user = Some(ns);
                    continue;
                }
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
            if !ns.path.is_empty() && flag == CloneFlags::CLONE_NEWNS {
                mount_path = Some(&ns.path);
            } else if !ns.path.is_empty() {
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
        // Last: the other paths are the host's.
        if let Some(path) = mount_path {
            join(path, CloneFlags::CLONE_NEWNS)?;
        }
        wanted.pid &= wanted.user.is_some();
        Ok(wanted)
    }
}

/// Joins the namespace at `path`.
pub(super) fn join(path: &str, flag: CloneFlags) -> Result<()> {
    let ns = File::open(path).at(format_args!("opening namespace {path}"))?;
    setns(ns, flag).at(format_args!("joining namespace {path}"))
}

/// Makes this process's later children first process or members of the container's pid namespace, and
/// members of its time namespace. One that belongs to a new user namespace is left to the stages.
///
/// # Errors
/// `Io`; `Unsupported` for a time namespace before Linux 5.6.
pub(super) fn enter_for_children(linux_namespaces: &[Namespace]) -> Result<()> {
    let has_user = linux_namespaces.iter().any(|ns| ns.kind == "user");
    match linux_namespaces.iter().find(|ns| ns.kind == "pid") {
        None => {}
        Some(ns) if !ns.path.is_empty() => join(&ns.path, CloneFlags::CLONE_NEWPID)?,
        Some(_) if has_user => {}
        Some(_) => unshare(CloneFlags::CLONE_NEWPID).at("making pid namespace")?,
    }
    Ok(())
}

/// Enters the time namespace of the container, new with its offsets or by path, for this process's later
/// children.
///
/// # Errors
/// `Io`; EINVAL from a kernel without time namespaces (before 5.6).
pub(super) fn enter_time_for_children(linux: &Linux) -> Result<()> {
    match linux.namespaces.iter().find(|ns| ns.kind == "time") {
        None if linux.time_offsets.is_empty() => Ok(()),
        None => Err(Error::invalid("timeOffsets need a new time namespace")),
        Some(ns) if !ns.path.is_empty() => join(&ns.path, NEW_TIME),
        Some(_) => {
            unshare(NEW_TIME).at("making time namespace")?;
            for (clock, TimeOffset { secs, nanosecs }) in &linux.time_offsets {
                if clock != "monotonic" && clock != "boottime" {
                    return Err(Error::invalid(format_args!("unknown clock {clock:?}")));
                }
                std::fs::write("/proc/self/timens_offsets", format!("{clock} {secs} {nanosecs}"))
                    .at(format_args!("setting the offset of clock {clock}"))?;
            }
            Ok(())
        }
    }
}

/// Writes the maps of the user namespace that process `pid` has just made.
///
/// # Errors
/// `InvalidParameter` without any map; `Io`: EPERM for ids that this process may not give away.
pub(super) fn write_maps(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<()> {
    if uids.is_empty() || gids.is_empty() {
        return Err(Error::invalid("a user namespace needs uidMappings and gidMappings"));
    }
    let write = |file: &str, maps: &[IdMapping]| {
        let text: String =
            maps.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect();
        std::fs::write(format!("/proc/{pid}/{file}"), text).at(format_args!("writing {file}"))
    };
    write("uid_map", uids)?;
    write("gid_map", gids)
}

/// Becomes root of the user namespace that this process has come into, where it has one. The ids it had
/// outside mean nothing here.
///
/// # Errors
/// `Io`.
pub(super) fn become_root_inside(linux: &Linux) -> Result<()> {
    let maps_zero = |maps: &[IdMapping]| maps.iter().any(|m| m.container_id == 0 && m.size > 0);
    if maps_zero(&linux.gid_mappings) {
        let gid = nix::unistd::Gid::from_raw(0);
        nix::unistd::setresgid(gid, gid, gid).at("setting group")?;
        // Refused where `setgroups` is denied, as to a user who made the namespace.
        let _ = nix::unistd::setgroups(&[]);
    }
    if maps_zero(&linux.uid_mappings) {
        let uid = nix::unistd::Uid::from_raw(0);
        nix::unistd::setresuid(uid, uid, uid).at("setting user")?;
    }
    Ok(())
}

/// Joins the namespaces of the container's first process, all in one call where pidfds can be used for
/// it (Linux 5.8).
pub(super) fn join_all(init: i32) -> Result<()> {
    let user = differs(init, "user");
    let mut flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    if user {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
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
        ("user", CloneFlags::CLONE_NEWUSER),
    ];
    let mut opened = Vec::new();
    for (name, flag) in names {
        if name == "user" && !user {
            continue;
        }
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

/// Makes this process's later children members of the pid and time namespaces of process `init`.
///
/// # Errors
/// `Io`.
pub(super) fn follow_for_children(init: i32) -> Result<()> {
    for (name, flag) in [("pid", CloneFlags::CLONE_NEWPID), ("time", NEW_TIME)] {
        if differs(init, name) {
            join(&format!("/proc/{init}/ns/{name}"), flag)?;
        }
    }
    Ok(())
}

/// Whether process `pid` is in another namespace of this kind than this process.
fn differs(pid: i32, name: &str) -> bool {
    let of =
        |who: &str| std::fs::read_link(Path::new("/proc").join(who).join("ns").join(name)).ok();
    of(&pid.to_string()) != of("self")
}
