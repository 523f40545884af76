//! Storage drivers: how layers and root filesystems are kept on disk.
//!
//! # Vocabulary
//!
//! A **layer** is a directory tree known by an id (64 hexadecimal digits that say nothing of its
//! content, or such an id with `-init`), with at most one **parent**. Its **diff** is what it changes
//! against its parent; its **root** is the whole tree that a container sees: the diffs of the chain laid
//! over each other. A layer is either *read-only*, filled once by [`Driver::apply_diff`], or
//! *read-write*, made for one container and changed through its mounted root.
//!
//! # Life of a layer
//!
//! ```text
//!                create                    apply_diff, sync            (children, mounts)
//!  (nothing) ---------------> empty r/o -----------------> filled r/o ------------------.
//!      |                          |                            |                        |
//!      | create_read_write        | remove                     | remove                 |
//!      v                          v                            v                        |
//!  read-write --get--> mounted --put--> read-write --remove--> (nothing) <--------------'
//! ```
//!
//! * `get` and `put` are counted: the root stays mounted until the last `put`. After a daemon died, the
//!   mounts of running containers are still there; the next `get` adopts such a mount instead of
//!   stacking another on it.
//! * `remove` returns when the name is free again. Deleting the files goes on in the background; what a
//!   crash leaves of that is deleted after the next [`open`].
//! * A driver does not know which layers are in use, which images there are, or whether a parent still
//!   has children: `image` above it does. Removing a parent before its children is the caller's error
//!   and may or may not be noticed.
//! * A driver writes no records about content (digests, sizes); they are kept by `image`, which calls
//!   [`Driver::sync`] before it writes one that names a layer.
//!
//! # Three scenarios
//!
//! *Pull.* For each layer `create(id, parent)`, `apply_diff(id, parent, tar)`, `sync(id)`, then the
//! record. Where [`Driver::independent_layers`] is true, layers are filled at the same time with no
//! parent, and `set_parent` links them in order at the end.
//!
//! *Run.* `create_read_write("<m>-init", image)`, fill it with the few files a container needs, then
//! `create_read_write("<m>", "<m>-init")`, `get("<m>")`; at the end `put`, `remove` both.
//!
//! *Commit.* `diff("<m>", "<m>-init")` gives a tar, which goes the way of a pulled layer.
//!
//! # Threads
//!
//! All calls may come from any thread. Calls for different ids do not wait for each other beyond short
//! critical sections; two calls for the same id are ordered by the driver where it matters (`get`
//! against `put`) and by the caller otherwise.
//!
//! Spec: moby `daemon/graphdriver/driver.go` (behaviour and directory layout).

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::Result;
use crate::sys::rootfd::Root;

pub mod archive;
pub mod changes;
mod choice;
pub mod copy;
pub mod drivers;
pub(crate) mod fault;
pub mod remove;
pub mod trash;
pub mod tree;

pub use choice::open;

/// What happened to a path between a layer and its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It is in both and differs, or is a directory below which something differs. Docker's 0, `C`.
    Modify = 0,
    /// Only the layer has it. Docker's 1, `A`.
    Add = 1,
    /// Only the parent has it. Docker's 2, `D`.
    Delete = 2,
}

/// One changed path, as `docker diff` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Absolute, as seen in the container.
    pub path: PathBuf,
    /// What happened.
    pub kind: ChangeKind,
}

/// Read access to the files that a layer itself brought; see [`Driver::files`].
pub struct Files {
    /// The directory to resolve names below.
    pub root: Root,
    /// Dropped after `root`: gives a mount back, where the driver needed one.
    pub hold: Option<Box<dyn std::any::Any + Send>>,
}

/// A way to keep layers; see the module documentation for the terms and the life of a layer.
///
/// Errors carry the id and the step. Unless a method says otherwise, an error leaves what was there
/// before, or something that `remove` takes away.
pub trait Driver: Send + Sync {
    /// The name that `--storage-driver` takes; also the driver's directory below the data root.
    fn name(&self) -> &'static str;

    /// Rows of `docker info`, in order, such as `("Backing Filesystem", "extfs")`.
    fn status(&self) -> Vec<(String, String)>;

    /// Makes the empty layer `id` on top of `parent`, to be filled by [`Driver::apply_diff`].
    ///
    /// # Errors
    /// `NotFound` if the parent is missing; `Conflict` if `id` exists; `Unsupported` if the chain is
    /// longer than the driver can mount.
    fn create(&self, id: &str, parent: Option<&str>) -> Result<()>;

    /// Makes the layer `id` on top of `parent` to be changed through its mounted root. `options` are the
    /// container's `--storage-opt`, such as `size`.
    ///
    /// This and the following `get` are on the way of every `docker run`.
    ///
    /// # Errors
    /// As [`Driver::create`]; `InvalidParameter` for an option the driver does not have.
    fn create_read_write(
        &self,
        id: &str,
        parent: Option<&str>,
        options: &BTreeMap<String, String>,
    ) -> Result<()>;

    /// Puts `id`, which was made without a parent, on top of `parent`. Only where
    /// [`Driver::independent_layers`] is true, and before anything is mounted on or stacked over `id`.
    ///
    /// # Errors
    /// As [`Driver::create`]; `Unsupported` where layers are not independent.
    fn set_parent(&self, id: &str, parent: &str) -> Result<()>;

    /// Frees the name `id`; unmounting it, if it is mounted, and deleting its files go on in the
    /// background. Cheaper than `put` and `remove`. No error if it does not exist.
    ///
    /// # Errors
    /// `Io`; the layer may then be half gone, and another `remove` goes on.
    fn remove(&self, id: &str) -> Result<()>;

    /// Mounts the root of `id` if it is not mounted and counts one more user. `mount_label` is an SELinux
    /// context for the mount, or empty. The path stays valid until the matching [`Driver::put`].
    ///
    /// # Errors
    /// `NotFound`; `Io` with the kernel's reason for a refused mount.
    fn get(&self, id: &str, mount_label: &str) -> Result<PathBuf>;

    /// Says that `id` will be removed when its root is given back, so what is written to it need not reach
    /// the disk: unmounting may skip the flush of the whole file system. Forgotten with the process.
    fn will_be_removed(&self, _id: &str) {}

    /// Takes one user away; the last one unmounts. Without a `get` in this process it unmounts a root
    /// that an earlier process left mounted.
    ///
    /// # Errors
    /// `Io` if the kernel refuses; the root is detached lazily rather than kept when it is busy.
    fn put(&self, id: &str) -> Result<()>;

    /// Whether the layer exists.
    fn exists(&self, id: &str) -> bool;

    /// `GraphDriver.Data` of inspect; empty for an unknown id.
    fn metadata(&self, id: &str) -> BTreeMap<String, String>;

    /// Fills `id` from an uncompressed tar stream in Docker's layer format (whiteouts as `.wh.` files),
    /// reading to its end mark and perhaps beyond. Returns the unpacked size in bytes, as `docker history` counts it. Paths stay
    /// below the layer whatever the stream says. Data need not be on disk before [`Driver::sync`].
    ///
    /// # Errors
    /// `InvalidParameter` for a stream that is no valid layer, `Io` for the host's failures and for the
    /// stream's own; the layer is then half filled and good only for `remove`.
    fn apply_diff(&self, id: &str, parent: Option<&str>, tar: &mut dyn Read) -> Result<u64>;

    /// Writes what `id` changes against `parent` as such a tar, in an order that depends on names only.
    /// `parent` must be the layer's own parent or `None` for the whole root.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    fn diff(&self, id: &str, parent: Option<&str>, out: &mut dyn Write) -> Result<()>;

    /// What `id` changes against `parent`, sorted by path; also of a mounted layer.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    fn changes(&self, id: &str, parent: Option<&str>) -> Result<Vec<Change>>;

    /// Bytes of the files that `id` has of its own, hard links counted once.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    fn diff_size(&self, id: &str, parent: Option<&str>) -> Result<u64>;

    /// A directory in which the files that [`Driver::apply_diff`] made for `id` are found under their
    /// names, for giving the original stream back. What else is in it is not specified.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    fn files(&self, id: &str) -> Result<Files>;

    /// The directory where files may be put into the unmounted layer `id` without mounting it, if the
    /// driver has such a place; what is put there hides the same path of the parent. `None` otherwise.
    fn own_dir(&self, id: &str) -> Option<PathBuf>;

    /// Returns when everything of `id` would survive power loss.
    ///
    /// # Errors
    /// `Io`, also for data that the disk did not take.
    fn sync(&self, id: &str) -> Result<()>;

    /// Whether a layer can be filled before its parent is there; see [`Driver::set_parent`].
    fn independent_layers(&self) -> bool;

    /// Unmounts what is still mounted and waits for background removals; for the end of the daemon.
    ///
    /// # Errors
    /// `Io` for the first mount that stays.
    fn cleanup(&self) -> Result<()>;
}

/// Options of the daemon for a driver, `--storage-opt KEY=VALUE`.
pub type Options = BTreeMap<String, String>;

/// One option a driver takes.
#[derive(Debug)]
pub struct OptionDef {
    /// The key, such as `overlay2.size`.
    pub key: &'static str,
    /// A sentence for help and manual.
    pub help: &'static str,
}

/// An entry of the table of drivers.
pub struct Def {
    /// As in [`Driver::name`].
    pub name: &'static str,
    /// Options it takes; all others are refused by name.
    pub options: &'static [OptionDef],
    /// Whether it can work in this directory, which exists; without leaving anything there.
    pub probe: fn(home: &Path) -> Result<()>,
    /// Opens or starts the driver's directory.
    pub open: fn(home: &Path, options: &Options) -> Result<Arc<dyn Driver>>,
}

/// Every driver, in the order in which they are tried when none is named.
pub static DRIVERS: &[Def] = &[drivers::overlay2::DEF, drivers::vfs::DEF];

#[cfg(test)]
mod suite;
