//! Bind mounts that are taken while the process still has the host's ids and privileges.
//!
//! A mount with ids mapped can only be made by who rules its filesystem, and the root of a new user namespace
//! may not even reach the source of an ordinary one. Both are copied before, with their flags, and only
//! attached later.
//!
//! Spec: OCI runtime-spec 1.2 `config.md#posix-platform-mounts`; mount_setattr(2), MOUNT_ATTR_IDMAP
//! (Linux 5.12).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::AT_FDCWD;

use super::super::spec::{IdMapping, Mount, Spec};
use super::super::stages;
use super::mounts;
use super::options::{self, Options};
use crate::base::{Error, Kind, Result};
use crate::sys::mount::{self, Attributes};

/// `MOUNT_ATTR_IDMAP`.
const IDMAP: u64 = 0x0010_0000;

/// Mounts by their number in the list, attached nowhere yet.
#[derive(Default)]
pub(in super::super) struct Early(Vec<(usize, OwnedFd)>);

impl Early {
    /// The mount with this number, if it was taken.
    pub(super) fn take(&mut self, number: usize) -> Option<OwnedFd> {
        let at = self.0.iter().position(|(n, _)| *n == number)?;
        Some(self.0.swap_remove(at).1)
    }
}

/// Takes the mounts with mapped ids, and with `new_user` all bind mounts.
///
/// # Errors
/// `Unsupported` where the kernel or the filesystem cannot map ids; `InvalidParameter`; `Io`.
pub(in super::super) fn take_early(spec: &Spec, new_user: bool) -> Result<Early> {
    let mut early = Early::default();
    let is_mapped = |m: &Mount| {
        !m.uid_mappings.is_empty()
            || !m.gid_mappings.is_empty()
            || m.options.iter().any(|o| o == "idmap" || o == "ridmap")
    };
    if !new_user && !spec.mounts.iter().any(is_mapped) {
        return Ok(early);
    }
    for (number, entry) in spec.mounts.iter().enumerate() {
        let options = options::parse(&entry.options);
        let is_bind = entry.kind == "bind" || options.bind;
        let mapped = is_mapped(entry);
        if mapped && !is_bind {
            let text = format!("mapping ids of {} mounts is not supported", entry.kind);
            return Err(Error::unsupported(text).at(format_args!("mount {}", entry.destination)));
        }
        if !mapped && (!is_bind || !new_user) {
            continue;
        }
        match take(spec, entry, &options, mapped) {
            Ok(tree) => early.0.push((number, tree)),
            // Without the new calls the path has to do, if it can be reached.
            Err(e) if e.kind() == Kind::Unsupported && !mapped => return Ok(early),
            Err(e) => return Err(e.at(format_args!("taking mount {}", entry.destination))),
        }
    }
    Ok(early)
}

fn take(spec: &Spec, entry: &Mount, options: &Options, mapped: bool) -> Result<OwnedFd> {
    let tree = mounts::detached(AT_FDCWD, Path::new(&entry.source), options)?;
    if mapped {
        let (uids, gids) = mappings(spec, entry)?;
        let user = stages::mapping_namespace(uids, gids)?;
        let attributes =
            Attributes { set: IDMAP, userns_fd: user.as_raw_fd() as u64, ..Attributes::default() };
        let recursive = entry.options.iter().any(|o| o == "ridmap");
        mount::set_attributes(tree.as_fd(), Path::new(""), recursive, &attributes).map_err(
            |e| match e.errno() {
                Some(libc::EINVAL) => e
                    .at("the filesystem cannot map ids (needs Linux 5.12 or later)")
                    .with_kind(Kind::Unsupported),
                _ => e.at("mapping ids"),
            },
        )?;
    }
    Ok(tree)
}

/// Its own, or without any those of the container.
fn mappings<'a>(spec: &'a Spec, entry: &'a Mount) -> Result<(&'a [IdMapping], &'a [IdMapping])> {
    let both = (entry.uid_mappings.as_slice(), entry.gid_mappings.as_slice());
    let both = match (both, &spec.linux) {
        (([], []), Some(linux)) => (linux.uid_mappings.as_slice(), linux.gid_mappings.as_slice()),
        _ => both,
    };
    if both.0.is_empty() || both.1.is_empty() {
        return Err(Error::invalid("a mount with mapped ids needs uidMappings and gidMappings"));
    }
    Ok(both)
}
