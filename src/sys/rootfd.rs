//! Paths resolved below a directory that is held open, for every path that an image, a client or a
//! container chose.
//!
//! A string join (`root + "/" + path`) is wrong twice: a symbolic link on the way leads out, and the
//! tree may be changed by somebody else between check and use. Here the kernel resolves in one step
//! (openat2, Linux 5.6), or a walker does it component by component through `O_PATH` descriptors where
//! openat2 is missing (older kernels, seccomp profiles that answer ENOSYS or EPERM).
//!
//! Two scopes, with the kernel's words:
//! * [`Scope::InRoot`]: as in a chroot. Absolute links and `..` stay inside; nothing is an error.
//! * [`Scope::Beneath`]: a path or link that would leave the root is `EXDEV`.
//!
//! Magic links (`/proc/self/fd/N`) are never followed (`ELOOP`).
//!
//! Spec: openat2(2), path_resolution(7).

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::{FileStat, Mode, SFlag};

use crate::base::{At, Error, Result};

/// How many symbolic links one resolution may follow; the kernel's own limit.
const MAX_LINKS: usize = 40;

/// What happens to a path that leads out of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The root is the end of `..` and the start of absolute links, as in a chroot.
    InRoot,
    /// Leaving the root is `EXDEV`.
    Beneath,
}

/// A directory that bounds the resolution of paths.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Root {
    /// Opens the directory `path` of the host; its own links are followed.
    ///
    /// # Errors
    /// `Io` that names the path; `ENOTDIR` if it is not a directory.
    pub fn open(path: &Path) -> Result<Root> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty())
            .at(format_args!("opening {}", path.display()))?;
        Ok(Root { fd })
    }

    /// Takes a directory that is open already.
    pub fn from_fd(fd: OwnedFd) -> Root {
        Root { fd }
    }

    /// Gives the descriptor back.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Opens `path` below the root, as [`Scope::InRoot`]. `O_CLOEXEC` is added. Give `O_NOFOLLOW` to
    /// open (or be refused, without `O_PATH`) a final symbolic link itself.
    ///
    /// # Errors
    /// `Io` with the errno and the path as it was given.
    pub fn open_at(&self, path: &Path, flags: OFlag, mode: u32) -> Result<OwnedFd> {
        open(self.fd.as_fd(), path, flags, mode, Scope::InRoot)
    }

    /// Opens `path` below the root, as [`Scope::Beneath`].
    ///
    /// # Errors
    /// As [`Root::open_at`], and `EXDEV` if the path leads out.
    pub fn open_beneath(&self, path: &Path, flags: OFlag, mode: u32) -> Result<OwnedFd> {
        open(self.fd.as_fd(), path, flags, mode, Scope::Beneath)
    }

    /// Opens the directory `path` for use with the `*at` calls.
    ///
    /// # Errors
    /// As [`Root::open_at`].
    pub fn dir(&self, path: &Path) -> Result<OwnedFd> {
        self.open_at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)
    }

    /// The directory that holds the last component of `path`, and that component, so that the caller
    /// can make, remove or stat it with an `*at` call. `path` is [cleaned](clean) first. The root
    /// itself has no parent: `None`.
    ///
    /// # Errors
    /// As [`Root::open_at`].
    pub fn parent(&self, path: &Path) -> Result<Option<(OwnedFd, OsString)>> {
        let path = clean(path);
        let Some(name) = path.file_name() else { return Ok(None) };
        let dir = self.dir(path.parent().unwrap_or(Path::new("")))?;
        Ok(Some((dir, name.to_owned())))
    }

    /// Makes the directory `path` and what is missing above it, owned by `owner`, and opens it.
    /// `path` is [cleaned](clean) first; links on the way are followed inside the root.
    ///
    /// # Errors
    /// As [`Root::open_at`]; `ENOTDIR` if something other than a directory is in the way.
    pub fn create_dir_all(&self, path: &Path, mode: u32, owner: Owner) -> Result<OwnedFd> {
        let path = clean(path);
        match self.dir(&path) {
            Err(e) if e.errno() == Some(libc::ENOENT) => {}
            done => return done,
        }
        // The deepest directory that exists; a dangling link counts as in the way (EEXIST below).
        let components: Vec<&OsStr> = path.iter().collect();
        let mut have = components.len();
        let mut dir = loop {
            have -= 1;
            let upper: PathBuf = components[..have].iter().collect();
            match self.dir(&upper) {
                Err(e) if e.errno() == Some(libc::ENOENT) && have > 0 => {}
                done => break done?,
            }
        };
        for name in &components[have..] {
            let what = || format!("creating directory {}", path.display());
            match nix::sys::stat::mkdirat(&dir, *name, mode_of(mode)) {
                Ok(()) => {
                    if let Some((uid, gid)) = owner {
                        let (uid, gid) = (uid.into(), gid.into());
                        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
                        nix::unistd::fchownat(&dir, *name, Some(uid), Some(gid), flags)
                            .map_err(|e| Error::from(e).at(what()))?;
                    }
                }
                // Made by somebody else in between: the open below tells whether it will do.
                Err(Errno::EEXIST) => {}
                Err(e) => return Err(Error::from(e).at(what())),
            }
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            dir = nix::fcntl::openat(&dir, *name, flags, Mode::empty())
                .map_err(|e| Error::from(e).at(what()))?;
        }
        Ok(dir)
    }

    /// Status of `path` itself, a final link not followed.
    ///
    /// # Errors
    /// As [`Root::open_at`].
    pub fn lstat(&self, path: &Path) -> Result<FileStat> {
        let fd = self.open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)?;
        nix::sys::stat::fstat(&fd).at(format_args!("stat {}", path.display()))
    }

    /// Status of what `path` leads to.
    ///
    /// # Errors
    /// As [`Root::open_at`].
    pub fn stat(&self, path: &Path) -> Result<FileStat> {
        let fd = self.open_at(path, OFlag::O_PATH, 0)?;
        nix::sys::stat::fstat(&fd).at(format_args!("stat {}", path.display()))
    }

    /// The whole of a regular file, but at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Root::open_at`]; `InvalidParameter` if it is longer or not a regular file.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>> {
        use std::io::Read as _;
        // O_NONBLOCK: a fifo in the file's place must not hang the daemon.
        let fd = self.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?;
        let file = std::fs::File::from(fd);
        let meta = file.metadata().at(format_args!("stat {}", path.display()))?;
        if !meta.is_file() || meta.len() > limit {
            let path = path.display();
            return Err(Error::invalid(format_args!(
                "reading {path}: not a file of at most {limit} bytes"
            )));
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).at(format_args!("reading {}", path.display()))?;
        Ok(bytes)
    }
}

/// Owner of what is made: user and group id, or what the kernel gives by itself.
pub type Owner = Option<(u32, u32)>;

/// `path` as seen from the root, without a leading slash: `.`, empty parts and `..` are taken out
/// lexically (Go's `filepath.Clean("/" + path)`). The root itself is the empty path.
pub fn clean(path: &Path) -> PathBuf {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.as_os_str().as_bytes().split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    PathBuf::from(OsString::from_vec(parts.join(&b'/')))
}

/// Opens `path` below `root`.
///
/// # Errors
/// `Io` with the errno and the path as it was given.
pub fn open(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlag,
    mode: u32,
    scope: Scope,
) -> Result<OwnedFd> {
    let flags = flags | OFlag::O_CLOEXEC;
    let opened = match openat2(root, path, flags, mode, scope) {
        Some(result) => result,
        None => walk(root, path, flags, mode, scope),
    };
    opened.at(format_args!("opening {}", path.display()))
}

fn mode_of(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o7777)
}

/// 0 unknown, 1 works, 2 not available.
static OPENAT2: AtomicU8 = AtomicU8::new(0);

/// `None` where the system call is not available.
fn openat2(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlag,
    mode: u32,
    scope: Scope,
) -> Option<Result<OwnedFd, Errno>> {
    let known = OPENAT2.load(Ordering::Relaxed);
    if known == 2 {
        return None;
    }
    // openat2 refuses a mode without O_CREAT, and an empty path always.
    let creates = flags.contains(OFlag::O_CREAT);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = match scope {
        Scope::InRoot => ResolveFlag::RESOLVE_IN_ROOT,
        Scope::Beneath => ResolveFlag::RESOLVE_BENEATH,
    } | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new()
        .flags(flags)
        .mode(if creates { mode_of(mode) } else { Mode::empty() })
        .resolve(resolve);
    // EAGAIN: something was renamed while `..` was resolved, so the kernel cannot vouch for the result.
    for _ in 0..64 {
        match nix::fcntl::openat2(root, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(Errno::ENOSYS) => {
                OPENAT2.store(2, Ordering::Relaxed);
                return None;
            }
            // Old seccomp profiles answer EPERM for calls they do not know: one probe decides.
            Err(Errno::EPERM) if known == 0 && !probe(root) => return None,
            result => {
                OPENAT2.store(1, Ordering::Relaxed);
                return Some(result);
            }
        }
    }
    None
}

/// Whether openat2 opens the root directory itself, which nothing but a filter can forbid.
fn probe(root: BorrowedFd<'_>) -> bool {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC);
    let works = nix::fcntl::openat2(root, ".", how).err() != Some(Errno::EPERM);
    OPENAT2.store(if works { 1 } else { 2 }, Ordering::Relaxed);
    works
}

/// The same in user space: every component is opened with `O_PATH | O_NOFOLLOW`, links are read from
/// the descriptor that was opened, and `..` goes back to a descriptor that was passed, so that a
/// concurrent rename can make the walk fail but never leave the root.
fn walk(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlag,
    mode: u32,
    scope: Scope,
) -> Result<OwnedFd, Errno> {
    let mut todo: VecDeque<OsString> = VecDeque::new();
    let mut passed: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    let absolute = path.is_absolute();
    if absolute && scope == Scope::Beneath {
        return Err(Errno::EXDEV);
    }
    push_front(&mut todo, path.as_os_str());
    loop {
        let at = passed.last().map_or(root, |fd| fd.as_fd());
        let Some(name) = todo.pop_front() else {
            // The path ended in a directory that is open: once more with the caller's flags.
            let flags = flags - OFlag::O_CREAT - OFlag::O_EXCL;
            return nix::fcntl::openat(at, ".", flags, Mode::empty());
        };
        if name == ".." {
            if passed.pop().is_none() && scope == Scope::Beneath {
                return Err(Errno::EXDEV);
            }
            continue;
        }
        let last = todo.is_empty();
        let step = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = match nix::fcntl::openat(at, name.as_os_str(), step, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) if last && flags.contains(OFlag::O_CREAT) => {
                let flags = flags | OFlag::O_NOFOLLOW;
                return nix::fcntl::openat(at, name.as_os_str(), flags, mode_of(mode));
            }
            Err(e) => return Err(e),
        };
        let stat = nix::sys::stat::fstat(&fd)?;
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        let exclusive = flags.contains(OFlag::O_CREAT | OFlag::O_EXCL);
        if kind == SFlag::S_IFLNK && !(last && (flags.contains(OFlag::O_NOFOLLOW) || exclusive)) {
            links += 1;
            if links > MAX_LINKS || is_procfs(&fd) {
                return Err(Errno::ELOOP);
            }
            let target = nix::fcntl::readlinkat(&fd, "")?;
            if target.as_bytes().starts_with(b"/") {
                if scope == Scope::Beneath {
                    return Err(Errno::EXDEV);
                }
                passed.clear();
            }
            push_front(&mut todo, &target);
        } else if last {
            if flags.contains(OFlag::O_PATH) {
                if flags.contains(OFlag::O_DIRECTORY) && kind != SFlag::S_IFDIR {
                    return Err(Errno::ENOTDIR);
                }
                return Ok(fd);
            }
            let flags = flags | OFlag::O_NOFOLLOW;
            return nix::fcntl::openat(at, name.as_os_str(), flags, mode_of(mode));
        } else if kind != SFlag::S_IFDIR {
            return Err(Errno::ENOTDIR);
        } else {
            passed.push(fd);
        }
    }
}

/// Links of procfs may be magic; refusing all of them is what RESOLVE_NO_MAGICLINKS does nearly.
fn is_procfs(fd: &OwnedFd) -> bool {
    nix::sys::statfs::fstatfs(fd)
        .is_ok_and(|s| s.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC)
}

fn push_front(todo: &mut VecDeque<OsString>, path: &OsStr) {
    for part in path.as_bytes().split(|b| *b == b'/').rev() {
        if !part.is_empty() && part != b"." {
            todo.push_front(OsStr::from_bytes(part).to_owned());
        }
    }
}

/// A path of the host that names the open file, for the few calls that take only paths (lsetxattr,
/// mount sources on old kernels). Valid while the descriptor is open; needs /proc.
pub fn proc_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    struct Tree(PathBuf);

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn tree() -> Tree {
        let top = std::env::temp_dir().join(format!("rootfd-{}", crate::sys::random::u64()));
        let root = top.join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(top.join("secret"), "outside").unwrap();
        std::fs::write(root.join("secret"), "inside").unwrap();
        std::fs::write(root.join("a/b/file"), "file").unwrap();
        symlink("/secret", root.join("absolute")).unwrap();
        symlink("../../../../secret", root.join("a/climb")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("/a/b", root.join("dir")).unwrap();
        symlink("/proc/self", root.join("proc")).unwrap();
        Tree(top)
    }

    type Opener =
        fn(BorrowedFd<'_>, &Path, OFlag, u32, Scope) -> std::result::Result<OwnedFd, Errno>;

    fn kernel(
        root: BorrowedFd<'_>,
        path: &Path,
        flags: OFlag,
        mode: u32,
        scope: Scope,
    ) -> std::result::Result<OwnedFd, Errno> {
        openat2(root, path, flags, mode, scope)
            .unwrap_or_else(|| walk(root, path, flags, mode, scope))
    }

    fn read(
        open: Opener,
        root: &Root,
        path: &str,
        scope: Scope,
    ) -> std::result::Result<String, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let fd = open(root.as_fd(), Path::new(path), flags, 0, scope)?;
        Ok(std::io::read_to_string(std::fs::File::from(fd)).unwrap())
    }

    #[test]
    fn kernel_and_walker_agree_and_stay_inside() {
        let tree = tree();
        let root = Root::open(&tree.0.join("root")).unwrap();
        for (name, open) in [("openat2", kernel as Opener), ("walker", walk as Opener)] {
            let inside = |p: &str| read(open, &root, p, Scope::InRoot);
            for path in
                ["absolute", "a/climb", "../secret", "/secret", "a/../../secret", "./secret"]
            {
                assert_eq!(inside(path).as_deref(), Ok("inside"), "{name} {path}");
            }
            assert_eq!(inside("dir/file").as_deref(), Ok("file"), "{name}");
            assert_eq!(inside("dir/../../../secret").as_deref(), Ok("inside"), "{name}");
            assert_eq!(inside("loop"), Err(Errno::ELOOP), "{name}");
            assert_eq!(inside("nothing/x"), Err(Errno::ENOENT), "{name}");
            assert_eq!(inside("secret/x"), Err(Errno::ENOTDIR), "{name}");
            let beneath = |p: &str| read(open, &root, p, Scope::Beneath);
            for path in ["absolute", "a/climb", "../secret", "/secret", "dir/file"] {
                assert_eq!(beneath(path), Err(Errno::EXDEV), "{name} {path}");
            }
            assert_eq!(beneath("a/../secret").as_deref(), Ok("inside"), "{name}");
        }
    }

    #[test]
    fn creating_never_goes_through_a_final_link_when_told_not_to() {
        let tree = tree();
        let root = Root::open(&tree.0.join("root")).unwrap();
        symlink("/new", tree.0.join("root/link")).unwrap();
        for open in [kernel as Opener, walk as Opener] {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
            let made = open(root.as_fd(), Path::new("link"), flags, 0o600, Scope::InRoot);
            assert_eq!(made.err(), Some(Errno::EEXIST));
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
            assert!(open(root.as_fd(), Path::new("link"), flags, 0, Scope::InRoot).is_ok());
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW;
            let refused = open(root.as_fd(), Path::new("link"), flags, 0, Scope::InRoot);
            assert_eq!(refused.err(), Some(Errno::ELOOP));
        }
    }

    #[test]
    fn magic_links_are_refused() {
        let proc = Root::open(Path::new("/proc")).unwrap();
        for open in [kernel as Opener, walk as Opener] {
            let path = Path::new("self/root/etc");
            assert_eq!(
                open(proc.as_fd(), path, OFlag::O_PATH, 0, Scope::InRoot).err(),
                Some(Errno::ELOOP)
            );
        }
    }

    #[test]
    fn directories_are_made_inside_links() {
        let tree = tree();
        let root = Root::open(&tree.0.join("root")).unwrap();
        root.create_dir_all(Path::new("../dir/x/../y/z"), 0o750, Some((7, 8))).unwrap();
        let meta = std::fs::metadata(tree.0.join("root/a/b/y/z")).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (7, 8));
        assert!(root.create_dir_all(Path::new("secret/x"), 0o755, None).is_err());
        assert!(root.parent(Path::new("..")).unwrap().is_none());
    }

    #[test]
    fn cleaning_is_lexical() {
        for (from, to) in
            [("/", ""), ("a//b/./c/", "a/b/c"), ("../../x", "x"), ("a/../..", ""), ("", "")]
        {
            assert_eq!(clean(Path::new(from)), Path::new(to), "{from}");
        }
    }
}
