//! Mounting: mount(2) and, where it says something mount(2) cannot, the descriptor-based calls of
//! Linux 5.2 and later (fsopen, fsconfig, fsmount, open_tree, move_mount, mount_setattr).
//!
//! mount(2) is one call and enough for most mounts. The new calls serve where a path must not be
//! resolved twice (bind mounts from and to descriptors), where attributes apply to a whole tree, and
//! where the options are longer than the page mount(2) copies. Each reports ENOSYS as
//! [`Kind::Unsupported`], so that the caller can fall back.
//!
//! Spec: mount(2), umount2(2), fsopen(2), move_mount(2), open_tree(2), mount_setattr(2).

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::{At, Error, Kind, Result};

pub use nix::mount::{MntFlags, MsFlags};

/// Bytes of options that mount(2) takes: a page less the terminating zero.
pub const MAX_OPTIONS_BYTES: usize = 4095;

/// mount(2).
///
/// # Errors
/// `Io` that names the target and the filesystem type.
pub fn mount(
    source: Option<&Path>,
    target: &Path,
    fstype: Option<&str>,
    flags: MsFlags,
    data: Option<&OsStr>,
) -> Result<()> {
    nix::mount::mount(source, target, fstype, flags, data).at(format_args!(
        "mounting {} on {}",
        fstype.unwrap_or(if flags.contains(MsFlags::MS_BIND) { "bind" } else { "flags" }),
        target.display()
    ))
}

/// umount2(2).
///
/// # Errors
/// `Io` that names the target.
pub fn unmount(target: &Path, flags: MntFlags) -> Result<()> {
    nix::mount::umount2(target, flags).at(format_args!("unmounting {}", target.display()))
}

/// mount(2) with relative paths in `data` resolved from `dir`, for option strings that would be too
/// long with absolute paths. A short-lived thread with its own working directory does it, so that no
/// other thread of the process sees a change.
///
/// # Errors
/// As [`mount`].
pub fn mount_from(
    dir: BorrowedFd<'_>,
    source: &str,
    target: &Path,
    fstype: &str,
    flags: MsFlags,
    data: &OsStr,
) -> Result<()> {
    let work = || {
        // A thread shares its working directory with the process until it unshares it.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).at("unsharing working directory")?;
        nix::unistd::fchdir(dir).at("changing directory")?;
        mount(Some(Path::new(source)), target, Some(fstype), flags, Some(data))
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("mount".into())
            .stack_size(64 * 1024)
            .spawn_scoped(scope, work)
            .at("starting thread mount")?
            .join()
            .unwrap_or_else(|_| Err(Error::internal("mounting thread panicked")))
    })
}

fn check(rc: libc::c_long) -> Result<RawFd> {
    if rc >= 0 {
        return Ok(rc as RawFd);
    }
    let e = Error::last_os();
    Err(if e.errno() == Some(libc::ENOSYS) { e.with_kind(Kind::Unsupported) } else { e })
}

/// Takes ownership of a descriptor that a system call returned.
fn owned(rc: libc::c_long) -> Result<OwnedFd> {
    let fd = check(rc)?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn c(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::invalid("a mount option holds a zero byte"))
}

/// A filesystem that is being configured: fsopen(2).
#[derive(Debug)]
pub struct Context(OwnedFd);

/// What [`Context::set`] gives the filesystem.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// An option without a value.
    Flag,
    /// An option with text.
    Text(&'a OsStr),
    /// An option that takes an open file.
    Fd(BorrowedFd<'a>),
}

const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_SET_FD: u32 = 5;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;

impl Context {
    /// Starts a filesystem of this type.
    ///
    /// # Errors
    /// `Unsupported` before Linux 5.2; `Io` with `ENODEV` if the type is unknown.
    pub fn open(fstype: &str) -> Result<Context> {
        let name = c(fstype.as_bytes())?;
        // SAFETY: the name ends in a zero byte and outlives the call.
        let rc = unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), FSOPEN_CLOEXEC) };
        Ok(Context(owned(rc).at(format_args!("opening filesystem {fstype}"))?))
    }

    fn config(
        &self,
        command: u32,
        key: Option<&CStr>,
        value: Option<&CStr>,
        aux: RawFd,
    ) -> Result<()> {
        let pointer = |s: Option<&CStr>| s.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: the strings are null or end in a zero byte, and outlive the call.
        let rc = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.0.as_raw_fd(),
                command,
                pointer(key),
                pointer(value),
                aux,
            )
        };
        check(rc).map(drop).map_err(|e| self.explain(e))
    }

    /// The kernel's own words about a failure, if it left any in the context.
    fn explain(&self, e: Error) -> Error {
        let mut buffer = [0u8; 512];
        let Ok(n) = nix::unistd::read(&self.0, &mut buffer) else { return e };
        let text = String::from_utf8_lossy(&buffer[..n]);
        let text = text.trim_start_matches("e ").trim_start_matches("w ").trim_end();
        if text.is_empty() { e } else { e.at(text) }
    }

    /// Sets one option.
    ///
    /// # Errors
    /// `Io` with what the filesystem says about the option.
    pub fn set(&self, key: &str, value: Value<'_>) -> Result<()> {
        let name = c(key.as_bytes())?;
        match value {
            Value::Flag => self.config(FSCONFIG_SET_FLAG, Some(&name), None, 0),
            Value::Text(text) => {
                let text = c(text.as_bytes())?;
                self.config(FSCONFIG_SET_STRING, Some(&name), Some(&text), 0)
            }
            Value::Fd(fd) => self.config(FSCONFIG_SET_FD, Some(&name), None, fd.as_raw_fd()),
        }
        .at(format_args!("setting mount option {key}"))
    }

    /// Makes the filesystem and a mount of it that is attached nowhere; `attributes` are `MOUNT_ATTR_*`.
    ///
    /// # Errors
    /// `Io` with what the filesystem says.
    pub fn mount(self, attributes: u64) -> Result<OwnedFd> {
        self.config(FSCONFIG_CMD_CREATE, None, None, 0).at("creating filesystem")?;
        let fd = self.0.as_raw_fd();
        // SAFETY: plain numbers only; the descriptor is open.
        let rc = unsafe { libc::syscall(libc::SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes) };
        owned(rc).at("making mount")
    }
}

/// open_tree(2) with `OPEN_TREE_CLONE`: a detached copy of the mount at `path` below `dir`, with what
/// is mounted below it if `recursive`. An empty path means `dir` itself.
///
/// # Errors
/// `Unsupported` before Linux 5.2; `Io` that names the path.
pub fn open_tree(dir: BorrowedFd<'_>, path: &Path, recursive: bool) -> Result<OwnedFd> {
    const OPEN_TREE_CLONE: u32 = 1;
    let mut flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as u32 | libc::AT_EMPTY_PATH as u32;
    if recursive {
        flags |= libc::AT_RECURSIVE as u32;
    }
    let name = c(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends in a zero byte and outlives the call.
    let rc = unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), name.as_ptr(), flags) };
    owned(rc).at(format_args!("copying mount {}", path.display()))
}

/// move_mount(2): attaches the detached `mount` at `path` below `dir` (empty: `dir` itself).
///
/// # Errors
/// `Unsupported` before Linux 5.2; `Io` that names the path.
pub fn move_mount(mount: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: &Path) -> Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
    const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    let name = c(path.as_os_str().as_bytes())?;
    // SAFETY: both paths end in a zero byte and outlive the call.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            dir.as_raw_fd(),
            name.as_ptr(),
            flags,
        )
    };
    check(rc).map(drop).at(format_args!("attaching mount at {}", path.display()))
}

/// The kernel's `struct mount_attr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// One of `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
    /// User namespace for `MOUNT_ATTR_IDMAP`.
    pub userns_fd: u64,
}

/// mount_setattr(2) on the mount at `path` below `dir` (empty: `dir` itself), with what is mounted
/// below it if `recursive`.
///
/// # Errors
/// `Unsupported` before Linux 5.12; `Io` that names the path.
pub fn set_attributes(
    dir: BorrowedFd<'_>,
    path: &Path,
    recursive: bool,
    attributes: &Attributes,
) -> Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let name = c(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends in a zero byte; the struct has the size that is given; both outlive the call.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            name.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<Attributes>(),
        )
    };
    check(rc).map(drop).at(format_args!("changing attributes of mount {}", path.display()))
}

/// Whether this kernel can change a whole tree of mounts at once: mount_setattr(2), since Linux 5.12. A
/// sandbox that forbids the call counts as a kernel without it. Looked at once.
pub fn has_recursive_attributes() -> bool {
    static HAS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *HAS.get_or_init(|| {
        let nothing = Attributes::default();
        // SAFETY: AT_FDCWD needs no descriptor; the empty path without AT_EMPTY_PATH is ENOENT, so nothing
        // is changed; path and struct outlive the call.
        let rc = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                libc::AT_FDCWD,
                c"".as_ptr(),
                0,
                std::ptr::from_ref(&nothing),
                size_of::<Attributes>(),
            )
        };
        rc == 0 || !matches!(Error::last_os().errno(), Some(libc::ENOSYS | libc::EPERM))
    })
}

/// syncfs(2): puts everything of the filesystem that holds `fd` on disk. Reports write-back errors
/// since Linux 5.8.
///
/// # Errors
/// `Io`, also for data that could not be written.
pub fn sync_filesystem(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the descriptor is open.
    let rc = unsafe { libc::syncfs(fd.as_raw_fd()) };
    if rc == 0 { Ok(()) } else { Err(Error::last_os()) }.at("syncing filesystem")
}

/// Magic number of the filesystem that holds `path` (statfs(2)).
///
/// # Errors
/// `Io` that names the path.
pub fn filesystem_magic(path: &Path) -> Result<u64> {
    let stat = nix::sys::statfs::statfs(path)
        .at(format_args!("reading filesystem of {}", path.display()))?;
    // The field is 32 or 64 bits wide and signed or not, by C library and architecture.
    Ok(stat.filesystem_type().0 as u64 & 0xffff_ffff)
}

/// overlayfs.
pub const OVERLAYFS_MAGIC: u64 = 0x794c_7630;
/// ramfs.
pub const RAMFS_MAGIC: u64 = 0x8584_58f6;
/// tmpfs.
pub const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Docker's name of a filesystem, for `docker info`.
pub fn filesystem_name(magic: u64) -> &'static str {
    match magic {
        0x6175_6673 => "aufs",
        0x9123_683e => "btrfs",
        0x28cd_3d45 => "cramfs",
        0xf15f => "ecryptfs",
        0xef53 => "extfs",
        0xf2f5_2010 => "f2fs",
        0x6573_5546 => "fuse",
        0x4750_4653 => "gpfs",
        0x3153_464a => "jfs",
        0x6969 => "nfs",
        OVERLAYFS_MAGIC => "overlayfs",
        RAMFS_MAGIC => "ramfs",
        0x5265_4973 => "reiserfs",
        0xff53_4d42 | 0xfe53_4d42 => "smb",
        0x7371_7368 => "squashfs",
        TMPFS_MAGIC => "tmpfs",
        0x786f_4256 => "vxfs",
        0x5846_5342 => "xfs",
        0x2fc1_2fc1 => "zfs",
        0xe0f5_e1e2 => "erofs",
        _ => "<unknown>",
    }
}

/// One line of /proc/self/mountinfo: what callers here need of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The directory of the filesystem that is the root of this mount.
    pub root: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
    /// Optional fields, such as `shared:1`.
    pub propagation: String,
    /// Filesystem type.
    pub fstype: String,
    /// Source as it was given to mount.
    pub source: String,
    /// Options of the filesystem.
    pub options: String,
}

/// The mounts this process sees, in mount order.
///
/// # Errors
/// `Io` if /proc is not there.
pub fn table() -> Result<Vec<Info>> {
    let file = File::open("/proc/self/mountinfo").at("opening /proc/self/mountinfo")?;
    let mut mounts = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = line.at("reading /proc/self/mountinfo")?;
        mounts.extend(parse(&line));
    }
    Ok(mounts)
}

fn parse(line: &[u8]) -> Option<Info> {
    let mut fields = line.split(|b| *b == b' ');
    let root = PathBuf::from(OsStr::from_bytes(&unescape(fields.nth(3)?)));
    let target = PathBuf::from(OsStr::from_bytes(&unescape(fields.next()?)));
    let _ = fields.next()?;
    let text = |f: &[u8]| String::from_utf8_lossy(&unescape(f)).into_owned();
    let mut propagation = Vec::new();
    loop {
        match fields.next()? {
            b"-" => break,
            field => propagation.push(text(field)),
        }
    }
    let (fstype, source) = (text(fields.next()?), text(fields.next()?));
    let options = text(fields.next()?);
    Some(Info { root, target, propagation: propagation.join(" "), fstype, source, options })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) = (first, tail) {
            out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = &tail[3..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

/// Whether something is mounted exactly at `path`; false if it does not exist.
///
/// # Errors
/// `Io` that names the path.
pub fn is_mount_point(path: &Path) -> Result<bool> {
    let name = c(path.as_os_str().as_bytes())?;
    let mut out = std::mem::MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    // SAFETY: the path ends in a zero byte; `out` is a writable statx of the kernel's layout.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_statx,
            libc::AT_FDCWD,
            name.as_ptr(),
            flags,
            libc::STATX_BASIC_STATS,
            out.as_mut_ptr(),
        )
    };
    let what = || format!("stat {}", path.display());
    if rc != 0 {
        let e = Error::last_os();
        return match e.errno() {
            Some(libc::ENOENT | libc::ENOTDIR) => Ok(false),
            Some(libc::ENOSYS) => listed(path),
            _ => Err(e.at(what())),
        };
    }
    // SAFETY: the call succeeded, and the buffer was zeroed before it.
    let stat = unsafe { out.assume_init() };
    let root = libc::STATX_ATTR_MOUNT_ROOT as u64;
    // Since 5.8 the kernel says it; before, the attribute is not in the mask.
    if stat.stx_attributes_mask & root != 0 {
        return Ok(stat.stx_attributes & root != 0);
    }
    listed(path)
}

fn listed(path: &Path) -> Result<bool> {
    Ok(table()?.iter().any(|m| m.target == path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_with_its_escapes() {
        let info = parse(b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue").unwrap();
        assert_eq!(info.target, Path::new("/mnt 2"));
        assert_eq!(info.propagation, "master:1 shared:2");
        assert_eq!((info.fstype.as_str(), info.options.as_str()), ("ext3", "rw,errors=continue"));
        assert!(parse(b"36 35 98:0 /").is_none());
    }

    #[test]
    fn mount_points_are_told_from_directories() {
        assert!(is_mount_point(Path::new("/proc")).unwrap());
        assert!(!is_mount_point(Path::new("/proc/self/task")).unwrap());
        assert!(!is_mount_point(Path::new("/does/not/exist")).unwrap());
        assert!(listed(Path::new("/proc")).unwrap());
    }

    #[test]
    fn a_bad_option_is_explained_by_the_kernel() {
        let context = Context::open("tmpfs").unwrap();
        let e = context.set("nonsense", Value::Text(OsStr::new("1"))).unwrap_err();
        assert!(e.to_string().contains("nonsense"), "{e}");
        assert_eq!(Context::open("no-such-filesystem").unwrap_err().errno(), Some(libc::ENODEV));
    }
}
