//! The OCI runtime: containers made, started and ended by one command each, without a daemon or a shim.
//!
//! ```text
//!            create                  start                 the process ends      delete
//!   (none) ---------> created ------------------> running -----------------> stopped ------> (none)
//!                        |                          ^ |  pause, resume
//!                        `-- kill, delete           | v
//!                                                  paused
//! ```
//!
//! The first process waits before its program: it listens on a socket in the container's directory, [`start`]
//! connects to it, says the word and hears of what goes wrong until the program runs. So the socket's presence
//! tells `created` from `running`, and nobody has to stay in between. The stages are the shim's.
//!
//! Below the root each container has a directory: `state.json` ([`state::Record`], replaced atomically),
//! `config.json` (the configuration as it was understood, for exec and hooks), `start.sock` while `created`.
//! A lock on the directory keeps commands that change a container apart.
//!
//! Spec: OCI runtime-spec 1.2, `runtime.md`; the options and texts of runc's command line.

mod accounting;
mod check;
mod console;
mod create;
mod exec;
mod features;
mod signal;
mod start;
pub mod state;
mod template;

use std::path::{Path, PathBuf};

pub use accounting::{oom, stats};
pub use create::Options;
pub use exec::{ExecOptions, exec};
pub use features::features;
pub use signal::{delete, kill};
pub use start::{run, start};
pub use state::{Container, Record, Status};
pub use template::template;

/// Where containers are kept unless the caller says otherwise.
pub const DEFAULT_ROOT: &str = "/run/multi-runtime";

/// The containers below one root.
#[derive(Clone, Debug)]
pub struct Runtime {
    root: PathBuf,
    /// Whether containers get cgroups.
    cgroups: bool,
}

impl Runtime {
    /// The runtime that keeps its state below `root`; `cgroups` is off where somebody else limits.
    pub fn new(root: &Path, cgroups: bool) -> Runtime {
        Runtime { root: root.into(), cgroups }
    }

    /// Makes the container `id` of a bundle, up to the moment before its program.
    ///
    /// # Errors
    /// `Conflict` if there is one of that name; what is wrong with the bundle; nothing is left then.
    pub fn create(&self, id: &str, options: &Options) -> crate::base::Result<()> {
        create::create(self, id, options)
    }
}
