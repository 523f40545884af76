//! Extended attributes. Absence, and a filesystem without them, read as "none".
//!
//! The `l` forms act on a link itself. There is no `*at` form before Linux 6.13, so callers that hold a
//! directory descriptor pass `/proc/self/fd/N/name` (see `rootfd::proc_path`).
//!
//! Spec: xattr(7).

use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::base::{At, Error, Result};

/// Longest value the kernel takes (XATTR_SIZE_MAX).
pub const MAX_VALUE_BYTES: usize = 65_536;

fn c(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::invalid("a name or path holds a zero byte"))
}

/// Runs a call that fills a buffer, growing it when it is too small; absence is `None`.
fn fill(mut call: impl FnMut(*mut libc::c_void, usize) -> isize) -> Result<Option<Vec<u8>>> {
    let mut buffer = vec![0u8; 128];
    loop {
        match usize::try_from(call(buffer.as_mut_ptr().cast(), buffer.len())) {
            Ok(n) => {
                buffer.truncate(n);
                return Ok(Some(buffer));
            }
            Err(_) => {
                let e = Error::last_os();
                match e.errno() {
                    Some(libc::ENODATA | libc::EOPNOTSUPP) => return Ok(None),
                    Some(libc::ERANGE) if buffer.len() < MAX_VALUE_BYTES => {
                        buffer.resize(MAX_VALUE_BYTES, 0);
                    }
                    _ => return Err(e),
                }
            }
        }
    }
}

/// The value of `name` of the file or link at `path`.
///
/// # Errors
/// `Io` that names attribute and path.
pub fn lget(path: &Path, name: &OsStr) -> Result<Option<Vec<u8>>> {
    let (c_path, c_name) = (c(path.as_os_str().as_bytes())?, c(name.as_bytes())?);
    fill(|buffer, len| {
        // SAFETY: both strings end in a zero byte and outlive the call; `buffer` has `len` bytes.
        unsafe { libc::lgetxattr(c_path.as_ptr(), c_name.as_ptr(), buffer, len) }
    })
    .at(format_args!("reading attribute {} of {}", name.display(), path.display()))
}

/// The value of `name` of an open file (not one opened with `O_PATH`).
///
/// # Errors
/// `Io` that names the attribute.
pub fn fget(fd: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Vec<u8>>> {
    let c_name = c(name.as_bytes())?;
    fill(|buffer, len| {
        // SAFETY: the descriptor is open, the name ends in a zero byte, `buffer` has `len` bytes.
        unsafe { libc::fgetxattr(fd.as_raw_fd(), c_name.as_ptr(), buffer, len) }
    })
    .at(format_args!("reading attribute {}", name.display()))
}

/// Sets `name` of the file or link at `path`.
///
/// # Errors
/// `Io` that names attribute and path.
pub fn lset(path: &Path, name: &OsStr, value: &[u8]) -> Result<()> {
    let (c_path, c_name) = (c(path.as_os_str().as_bytes())?, c(name.as_bytes())?);
    let (data, len) = (value.as_ptr().cast(), value.len());
    // SAFETY: both strings end in a zero byte; `data` has `len` bytes; all outlive the call.
    let rc = unsafe { libc::lsetxattr(c_path.as_ptr(), c_name.as_ptr(), data, len, 0) };
    if rc == 0 { Ok(()) } else { Err(Error::last_os()) }.at(format_args!(
        "setting attribute {} of {}",
        name.display(),
        path.display()
    ))
}

/// Sets `name` of an open file (not one opened with `O_PATH`).
///
/// # Errors
/// `Io` that names the attribute.
pub fn fset(fd: BorrowedFd<'_>, name: &OsStr, value: &[u8]) -> Result<()> {
    let c_name = c(name.as_bytes())?;
    let (data, len) = (value.as_ptr().cast(), value.len());
    // SAFETY: the descriptor is open, the name ends in a zero byte, `data` has `len` bytes.
    let rc = unsafe { libc::fsetxattr(fd.as_raw_fd(), c_name.as_ptr(), data, len, 0) };
    if rc == 0 { Ok(()) } else { Err(Error::last_os()) }
        .at(format_args!("setting attribute {}", name.display()))
}

/// The names that the file or link at `path` has, in the kernel's order.
///
/// # Errors
/// `Io` that names the path.
pub fn llist(path: &Path) -> Result<Vec<Vec<u8>>> {
    let c_path = c(path.as_os_str().as_bytes())?;
    let names = fill(|buffer, len| {
        // SAFETY: the path ends in a zero byte; `buffer` has `len` bytes.
        unsafe { libc::llistxattr(c_path.as_ptr(), buffer.cast(), len) }
    })
    .at(format_args!("listing attributes of {}", path.display()))?
    .unwrap_or_default();
    Ok(names.split(|b| *b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect())
}

/// Takes `name` away from the file or link at `path`; absence is no error.
///
/// # Errors
/// `Io` that names attribute and path.
pub fn lremove(path: &Path, name: &OsStr) -> Result<()> {
    let (c_path, c_name) = (c(path.as_os_str().as_bytes())?, c(name.as_bytes())?);
    // SAFETY: both strings end in a zero byte and outlive the call.
    if unsafe { libc::lremovexattr(c_path.as_ptr(), c_name.as_ptr()) } == 0 {
        return Ok(());
    }
    let e = Error::last_os();
    match e.errno() {
        Some(libc::ENODATA | libc::EOPNOTSUPP) => Ok(()),
        _ => Err(e.at(format_args!("removing attribute {} of {}", name.display(), path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_length_come_back() {
        let path = std::env::temp_dir().join(format!("xattr-{}", crate::sys::random::u64()));
        std::fs::write(&path, "x").unwrap();
        let name = OsStr::new("user.test");
        assert_eq!(lget(&path, name).unwrap(), None);
        // ext4 keeps at most one block of attributes a file.
        for len in [0, 1, 128, 129, 3000] {
            let value = vec![7u8; len];
            lset(&path, name, &value).unwrap();
            assert_eq!(lget(&path, name).unwrap(), Some(value));
        }
        assert_eq!(llist(&path).unwrap(), vec![b"user.test".to_vec()]);
        lremove(&path, name).unwrap();
        lremove(&path, name).unwrap();
        assert!(llist(&path).unwrap().is_empty());
        std::fs::remove_file(&path).unwrap();
        assert!(lget(&path, name).is_err());
    }
}
