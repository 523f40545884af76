//! Finding the program of a process along `PATH`, with the words of Docker's error messages.
//!
//! Clients take their exit code (126 or 127) from these texts, so they are those of Go's
//! `exec.LookPath`, which runc uses.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{SFlag, stat};
use nix::unistd::{AccessFlags, faccessat};

use crate::base::{Error, Kind, Result};

/// The path to execute for `name`, as this process sees the files and with its permissions.
///
/// # Errors
/// `exec: "NAME": ...` in Docker's words.
pub(super) fn find(name: &str, env: &[String]) -> Result<PathBuf> {
    if name.contains('/') {
        return match check(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(why) => Err(failed(name, &why)),
        };
    }
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or("");
    for dir in path.split(':') {
        // An empty element is the working directory.
        let dir = if dir.is_empty() { "." } else { dir };
        let file = Path::new(dir).join(name);
        if check(&file).is_ok() {
            if file.is_absolute() {
                return Ok(file);
            }
            let why = "cannot run executable found relative to current directory";
            return Err(failed(name, why));
        }
    }
    Err(failed(name, "executable file not found in $PATH"))
}

fn failed(name: &str, why: &str) -> Error {
    Error::new(Kind::InvalidParameter, format_args!("exec: {name:?}: {why}"))
}

fn check(file: &Path) -> Result<(), String> {
    let found = stat(file).map_err(|e| format!("stat {}: {}", file.display(), words(e)))?;
    if found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() {
        return Err(words(Errno::EISDIR));
    }
    let allowed = match faccessat(AT_FDCWD, file, AccessFlags::X_OK, AtFlags::AT_EACCESS) {
        // The container's filter refuses the call that C libraries make of it (faccessat2, Linux 5.8):
        // then execve has to tell.
        Err(Errno::EPERM | Errno::ENOSYS) => Ok(()),
        allowed => allowed,
    };
    match allowed {
        // The kernel lets root "access" a file that nobody may execute only if some x bit is set.
        Ok(()) if found.st_mode & 0o111 != 0 => Ok(()),
        Ok(()) => Err(words(Errno::EACCES)),
        Err(e) => Err(words(e)),
    }
}

/// The error as Go writes it.
pub(super) fn words(e: Errno) -> String {
    Error::from(e).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_texts_are_dockers() {
        let env = ["PATH=/nowhere:/bin:/usr/bin".to_string()];
        let text = |name| find(name, &env).unwrap_err().to_string();
        assert_eq!(text("nosuch"), r#"exec: "nosuch": executable file not found in $PATH"#);
        assert_eq!(text("/nosuch"), r#"exec: "/nosuch": stat /nosuch: no such file or directory"#);
        assert_eq!(text("/etc"), r#"exec: "/etc": is a directory"#);
        assert_eq!(text("/etc/passwd"), r#"exec: "/etc/passwd": permission denied"#);
        assert_eq!(find("sh", &env).unwrap(), Path::new("/bin/sh"));
        assert!(find("sh", &[]).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_executed_is_passed_over() {
        let dir = std::env::temp_dir().join(format!("multi-lookup-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("sh");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let env = [format!("PATH={}:/bin", dir.display())];
        let found = find("sh", &env);
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(found.unwrap(), Path::new("/bin/sh"));
    }
}
