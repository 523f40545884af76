//! `multi install --services ROOT`: what starts the daemon at boot, for both kinds of init.
//!
//! The texts lie beside this file; `@dockerd@` in them is the daemon's link. A file that this wrote before
//! is replaced; one of somebody else stops everything before anything is written; the administrator's
//! settings are never touched.
//!
//! Spec: LSB Core 5.0, "Init Script Actions"; systemd.service(5), systemd.socket(5).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use multi_core::base::file::{self, Durable};
use multi_core::base::{At, Error, Result};

/// In every file that is ours to replace.
const MARK: &str = "Written by `multi install --services`";
const LINK: &str = "@dockerd@";

struct Service {
    path: &'static str,
    mode: u32,
    text: &'static str,
}

const SERVICES: &[Service] = &[
    Service { path: "etc/init.d/docker", mode: 0o755, text: include_str!("docker.init") },
    Service {
        path: "etc/systemd/system/docker.service",
        mode: 0o644,
        text: include_str!("docker.service"),
    },
    Service {
        path: "etc/systemd/system/docker.socket",
        mode: 0o644,
        text: include_str!("docker.socket"),
    },
];
const SETTINGS: Service =
    Service { path: "etc/default/docker", mode: 0o644, text: include_str!("docker.default") };

/// The files that were found writable below `root`, for a daemon that is linked in a directory.
pub(super) struct Services {
    root: PathBuf,
    dockerd: String,
}

/// Looks whether the services of the daemon in `dir` can be written below `root`.
///
/// # Errors
/// `Conflict` if a file of another owner has one of the names; `InvalidParameter` for a path that the
/// files cannot hold; `Io`.
pub(super) fn prepare(root: &Path, dir: &Path) -> Result<Services> {
    let root = std::path::absolute(root).at("finding the root")?;
    let dir = std::path::absolute(dir).at("finding the directory")?;
    // In a tree that becomes the root of another system, the daemon has its path of there.
    let inside = dir.strip_prefix(&root).unwrap_or(&dir);
    let dockerd = Path::new("/").join(inside).join("dockerd");
    let quoted = |byte: &u8| !byte.is_ascii_alphanumeric() && !b"/._-+".contains(byte);
    let dockerd = match dockerd.to_str() {
        Some(text) if !text.as_bytes().iter().any(quoted) => text.to_string(),
        _ => {
            return Err(Error::invalid(format_args!(
                "{} has characters that an init script cannot hold",
                dockerd.display()
            )));
        }
    };
    for service in SERVICES {
        let path = root.join(service.path);
        let old = file::read_optional(&path)?;
        if old.is_some_and(|old| !String::from_utf8_lossy(&old).contains(MARK)) {
            return Err(Error::conflict(format_args!(
                "{} exists and was not written by multi; move it away first",
                path.display()
            )));
        }
    }
    Ok(Services { root, dockerd })
}

impl Services {
    /// Writes the files and names them, one a line.
    ///
    /// # Errors
    /// `Io` that names the path.
    pub(super) fn write(&self) -> Result<String> {
        let mut written = String::new();
        let settings = self.root.join(SETTINGS.path).symlink_metadata().is_err();
        for service in SERVICES.iter().chain(settings.then_some(&SETTINGS)) {
            let path = self.root.join(service.path);
            let dir = path.parent().unwrap_or(&self.root);
            fs::create_dir_all(dir).at(format_args!("creating {}", dir.display()))?;
            let text = service.text.replace(LINK, &self.dockerd);
            file::write_atomic(&path, text.as_bytes(), service.mode, Durable::Yes)?;
            // Whatever the umask is: services are started by root and read by everybody.
            fs::set_permissions(&path, fs::Permissions::from_mode(service.mode))
                .at(format_args!("changing mode of {}", path.display()))?;
            written.push_str(&format!("{}\n", path.display()));
        }
        Ok(written)
    }
}
