//! Files without a name, and the copy of our own executable that nobody can write.
//!
//! Everything that may run with a container in sight is started from [`sealed_exe`], because a
//! container can reach the file of such a process through `/proc/PID/exe` (CVE-2019-5736). First choice
//! is a detached read-only overlay of the executable's directory: no copy is made and the page cache is
//! shared with our own text. Where that is refused it is a sealed memfd copy.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, openat};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;

use crate::base::{At, Error, Result};
use crate::sys::mount;

/// A memfd that holds `bytes`, at offset 0, sealed against any change.
///
/// # Errors
/// `Io`.
pub fn sealed(name: &CStr, bytes: &[u8]) -> Result<OwnedFd> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
        .at("creating memfd")?;
    let mut file = File::from(fd);
    file.write_all(bytes).at("writing memfd")?;
    seal(&file)?;
    Ok(file.into())
}

fn seal(fd: impl AsFd) -> Result<()> {
    let seals = SealFlag::F_SEAL_SEAL
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE;
    fcntl(fd.as_fd(), FcntlArg::F_ADD_SEALS(seals)).at("sealing memfd")?;
    Ok(())
}

/// Reads a whole file, at most `limit` bytes. The offset is left alone: others may read the same open
/// file at the same time.
///
/// # Errors
/// `Io`; `InvalidParameter` when the file is longer.
pub fn read_all(fd: impl AsFd, limit: u64) -> Result<Vec<u8>> {
    let length = nix::sys::stat::fstat(&fd)?.st_size as u64;
    if length > limit {
        return Err(Error::invalid(format_args!("message of {length} bytes is too long")));
    }
    let mut bytes = vec![0; length as usize];
    let mut done = 0;
    while done < bytes.len() {
        match nix::sys::uio::pread(&fd, &mut bytes[done..], done as libc::off_t) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// Our executable in a form that no container can write.
pub struct SealedExe {
    file: OwnedFd,
}

impl SealedExe {
    /// Seals the file at `path`.
    ///
    /// # Errors
    /// `Io` when the file cannot be read or copied.
    pub fn of(path: &Path) -> Result<SealedExe> {
        // The kernel may refuse the overlay for many reasons (too old, no overlay, a directory that
        // cannot be a layer); the copy always works, so the reason does not matter.
        overlay_clone(path).or_else(|_| copy(path)).map(|file| SealedExe { file })
    }

    /// The path to execute while this value lives; valid in a child before it closes descriptors.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

impl AsFd for SealedExe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

static EXE: Mutex<Option<&'static SealedExe>> = Mutex::new(None);

/// The sealed form of the running executable, made at the first call.
///
/// # Errors
/// Those of [`SealedExe::of`].
pub fn sealed_exe() -> Result<&'static SealedExe> {
    let mut slot = EXE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(exe) = *slot {
        return Ok(exe);
    }
    // Not the link's text: after an upgrade in place it names another file or none.
    let made = SealedExe::of(&std::fs::read_link("/proc/self/exe")?)
        .or_else(|_| copy(Path::new("/proc/self/exe")).map(|file| SealedExe { file }))?;
    // One descriptor for the life of the process.
    Ok(slot.insert(Box::leak(Box::new(made))))
}

/// Whether the running executable cannot be written by a container: it is on a read-only mount, which
/// nobody inside can change, or is a sealed copy.
pub fn is_sealed() -> bool {
    let Ok(exe) = File::open("/proc/self/exe") else { return false };
    if let Ok(stat) = nix::sys::statvfs::fstatvfs(&exe)
        && stat.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY)
    {
        return true;
    }
    let write = SealFlag::F_SEAL_WRITE.bits();
    fcntl(&exe, FcntlArg::F_GET_SEALS).is_ok_and(|seals| seals & write != 0)
}

/// Runs this process's command line again from a sealed executable; returns at once if it does already.
///
/// # Errors
/// Those of [`SealedExe::of`]; `Io` if it cannot be executed.
pub fn go_on_sealed() -> Result<()> {
    if is_sealed() {
        return Ok(());
    }
    let exe = sealed_exe().at("sealing the executable")?;
    let c_strings = |list: Vec<std::ffi::OsString>| -> Vec<std::ffi::CString> {
        use std::os::unix::ffi::OsStringExt;
        // None of them holds a zero byte: the kernel passed them as C strings.
        list.into_iter().filter_map(|s| std::ffi::CString::new(s.into_vec()).ok()).collect()
    };
    let arguments = c_strings(std::env::args_os().collect());
    let environment = c_strings(
        std::env::vars_os()
            .map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                name
            })
            .collect(),
    );
    let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
    match nix::unistd::execveat(exe, c"", &arguments, &environment, flags) {
        Ok(never) => match never {},
        Err(e) => Err(e).at("executing the sealed executable"),
    }
}

/// Makes [`sealed_exe`] another program than the running one: for callers that are not `multi` itself.
///
/// # Errors
/// Those of [`SealedExe::of`]; `Conflict` once a sealed executable exists.
pub fn use_exe(path: &Path) -> Result<()> {
    let mut slot = EXE.lock().unwrap_or_else(PoisonError::into_inner);
    if slot.is_some() {
        return Err(Error::conflict("the sealed executable was made already"));
    }
    *slot = Some(Box::leak(Box::new(SealedExe::of(path)?)));
    Ok(())
}

fn copy(path: &Path) -> Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // MFD_EXEC (since 6.3) is needed where the vm.memfd_noexec sysctl changed the default.
    let exec = MFdFlags::from_bits_retain(0x10);
    let fd = memfd_create(c"multi", flags | exec)
        .or_else(|_| memfd_create(c"multi", flags))
        .at("creating memfd")?;
    let mut target = File::from(fd);
    let mut source = File::open(path).at(format_args!("opening {}", path.display()))?;
    io::copy(&mut source, &mut target).at(format_args!("copying {}", path.display()))?;
    seal(&target)?;
    // A writable description of the file may not stay: execve says ETXTBSY.
    let read_only = format!("/proc/self/fd/{}", target.as_raw_fd());
    Ok(File::open(read_only).at("reopening memfd")?.into())
}

/// `MOUNT_ATTR_RDONLY`, `MOUNT_ATTR_NOSUID` and `MOUNT_ATTR_NODEV`.
const ATTRIBUTES: u64 = 1 | 2 | 4;

/// The executable below a detached read-only overlay mount of its directory (Linux 5.2).
fn overlay_clone(path: &Path) -> Result<OwnedFd> {
    let dir = path.parent().ok_or_else(|| Error::invalid("no directory"))?;
    let name = path.file_name().ok_or_else(|| Error::invalid("no file name"))?;
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let before = nix::sys::stat::stat(path)?;
    let dir = nix::fcntl::open(dir, flags | OFlag::O_DIRECTORY, Mode::empty())?;
    // Overlayfs wants two lower layers where there is no upper one; an empty tmpfs is the other. By
    // descriptor, so that no character of a path needs escaping.
    let empty = mount::Context::open("tmpfs")?.mount(ATTRIBUTES)?;
    let lower = format!("/proc/self/fd/{}:/proc/self/fd/{}", dir.as_raw_fd(), empty.as_raw_fd());
    let overlay = mount::Context::open("overlay")?;
    overlay.set("lowerdir", mount::Value::Text(lower.as_ref()))?;
    let overlay = overlay.mount(ATTRIBUTES)?;
    let file = openat(&overlay, name, flags | OFlag::O_NOFOLLOW, Mode::empty())?;
    let after = nix::sys::stat::fstat(&file)?;
    if (before.st_size, before.st_mtime) != (after.st_size, after.st_mtime) {
        return Err(Error::conflict("the executable was replaced"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writable(path: &Path) -> bool {
        let file = std::fs::OpenOptions::new().write(true).open(path);
        file.and_then(|mut file| file.write_all(b"x")).is_ok()
    }

    #[test]
    fn both_forms_have_the_same_bytes_and_refuse_writing() {
        let path = std::fs::read_link("/proc/self/exe").unwrap();
        let original = std::fs::metadata(&path).unwrap().len();
        let mut forms = vec![copy(&path).unwrap()];
        // Only root may mount; the copy is the form for everybody else.
        if nix::unistd::geteuid().is_root() {
            forms.push(overlay_clone(&path).unwrap());
        }
        for file in forms {
            let exe = SealedExe { file };
            assert_eq!(std::fs::metadata(exe.path()).unwrap().len(), original);
            assert!(!writable(&exe.path()));
        }
    }

    #[test]
    fn a_sealed_message_is_read_back_and_bounded() {
        let fd = sealed(c"m", b"hello").unwrap();
        assert!(nix::unistd::write(&fd, b"x").is_err());
        assert_eq!(read_all(&fd, 5).unwrap(), b"hello");
        assert!(read_all(fd, 4).is_err());
    }
}
