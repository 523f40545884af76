//! Making the place of a mount in the container's root.
//!
//! Links of the image are followed inside the root, also those that lead to something that is not there
//! yet: images have `/var/run -> /run` without a `/run`. The text of such a path is worked out first, link
//! by link; what is then made goes by descriptors and follows no link, so that an image that changes
//! meanwhile can make it fail but not lead it out.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{OFlag, readlinkat};

use crate::base::{Error, Result};
use crate::sys::rootfd::Root;

/// As many links as the kernel follows.
const LINKS_MAX: usize = 40;

/// The directory at `path`, made with all above it where it is missing.
///
/// # Errors
/// `Io`; ENOTDIR when a file is in the way.
pub fn dir(root: &Root, path: &Path) -> Result<OwnedFd> {
    match root.open_at(path, OFlag::O_PATH | OFlag::O_DIRECTORY, 0) {
        Err(e) if e.errno() == Some(libc::ENOENT) => {
            root.create_dir_all(&follow(root, path)?, 0o755, None)
        }
        done => done,
    }
}

/// The file at `path`, made empty where it is missing, with the directories above it.
///
/// # Errors
/// `Io`.
pub fn file(root: &Root, path: &Path) -> Result<OwnedFd> {
    let path = follow(root, path)?;
    if let Some(parent) = path.parent() {
        root.create_dir_all(parent, 0o755, None)?;
    }
    root.open_at(&path, OFlag::O_RDONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW, 0o755)
}

/// `path` without links and `..`, as far as it exists; relative to the root.
///
/// # Errors
/// `Io`: ELOOP for links without end.
pub fn follow(root: &Root, path: &Path) -> Result<PathBuf> {
    let mut out = PathBuf::new();
    let mut todo: VecDeque<OsString> = parts(path);
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            out.pop();
            continue;
        }
        let next = out.join(&part);
        let target = root
            .open_at(&next, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)
            .ok()
            .and_then(|fd| readlinkat(&fd, "").ok());
        match target {
            Some(target) => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Error::from_errno(libc::ELOOP));
                }
                let target = PathBuf::from(target);
                if target.is_absolute() {
                    out = PathBuf::new();
                }
                for part in parts(&target).into_iter().rev() {
                    todo.push_front(part);
                }
            }
            None => out = next,
        }
    }
    Ok(out)
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_that_lead_nowhere_are_followed_inside() {
        let top = std::env::temp_dir().join(format!("multi-target-{}", std::process::id()));
        std::fs::create_dir_all(top.join("var")).unwrap();
        symlink("/run", top.join("var/run")).unwrap();
        symlink("../../../..", top.join("var/up")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        let root = Root::open(&top).unwrap();
        dir(&root, Path::new("/var/run/lock")).unwrap();
        file(&root, Path::new("/var/up/var/run/x/file")).unwrap();
        let looped = dir(&root, Path::new("/loop/x"));
        let made = (top.join("run/lock").is_dir(), top.join("run/x/file").is_file());
        std::fs::remove_dir_all(&top).unwrap();
        assert_eq!(made, (true, true));
        assert!(looped.is_err());
    }
}
