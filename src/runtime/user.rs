//! Who a container's process runs as: `user[:group]` looked up in the image's own account files.
//!
//! The files belong to the image, so they are hostile: they are opened below the root (no symbolic
//! link leads out), must be regular files, and are read line by line with bounds on line and file.
//! A line whose id is not a number in range is skipped. Docker reads such an id as 0, which would make
//! a garbled account root; an id of 4294967295 would mean "unchanged" to setresuid.
//!
//! Spec: passwd(5), group(5); texts and precedence of moby's `sys/user`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

use crate::base::{Error, Kind, Result};

/// Largest id Docker takes.
const MAX_ID: i64 = 0x7fff_ffff;
/// Longest line; Go's scanner stops at the same length.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// Longest file. Longer ones are an error, so that a match is never missed silently.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The outcome of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Name in the passwd file; empty if the id has no entry there.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, the primary group first, as Docker has them since CVE-2022-36109.
    pub groups: Vec<u32>,
    /// Home directory; `/` if none is known. What `HOME` is when the image does not set it.
    pub home: String,
}

/// Looks `spec` up below `root`, a directory descriptor of the container's root filesystem.
/// `additional` are names or numbers of `--group-add`. An empty `spec` is user 0.
///
/// # Errors
/// `Unsupported` with Docker's texts for a name without an entry or an id out of range; `Io` if a file
/// cannot be read to its end. A file that is missing or cannot be opened counts as empty.
pub fn lookup(root: BorrowedFd<'_>, spec: &str, additional: &[String]) -> Result<User> {
    lookup_in(
        spec,
        additional,
        || open_below(root, "passwd").map(BufReader::new),
        || open_below(root, "group").map(BufReader::new),
    )
}

fn lookup_in<R: BufRead>(
    spec: &str,
    additional: &[String],
    passwd: impl Fn() -> Option<R>,
    group: impl Fn() -> Option<R>,
) -> Result<User> {
    let mut parts = spec.split(':');
    let (user_arg, group_arg) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let mut user = find_user(user_arg, passwd())?;
    if group_arg.is_empty() {
        user.groups.push(user.gid);
        if !user.name.is_empty() {
            add_memberships(&mut user, group())?;
        }
    } else {
        user.gid = find_group(group_arg, group())?
            .ok_or_else(|| missing("unable to find group", group_arg, "group"))??;
        user.groups.push(user.gid);
    }
    for name in additional {
        let gid = find_group(name, group())?
            .ok_or_else(|| missing("Unable to find group", name, "group"))??;
        if !user.groups.contains(&gid) {
            user.groups.push(gid);
        }
    }
    Ok(user)
}

fn missing(what: &str, name: &str, file: &str) -> Error {
    Error::new(Kind::Unsupported, format_args!("{what} {name}: no matching entries in {file} file"))
}

fn out_of_range() -> Error {
    Error::new(Kind::Unsupported, format_args!("uids and gids must be in range 0-{MAX_ID}"))
}

fn in_range(id: i64) -> Result<u32> {
    u32::try_from(id).ok().filter(|id| i64::from(*id) <= MAX_ID).ok_or_else(out_of_range)
}

/// An id as Go's Atoi reads it: an optional sign and digits. Digits without end are out of range.
fn number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let numeric = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    numeric.then(|| text.parse().unwrap_or(i64::MAX))
}

/// The id in a file's field, if it is one.
fn id_field(field: Option<&[u8]>) -> Option<u32> {
    in_range(number(std::str::from_utf8(field?).ok()?)?).ok()
}

fn find_user(arg: &str, passwd: Option<impl BufRead>) -> Result<User> {
    let wanted_id = if arg.is_empty() { Some(0) } else { number(arg) };
    let mut found = None;
    each_line(passwd, |line| {
        let mut fields = line.split(|b| *b == b':');
        let name = fields.next().unwrap_or_default();
        let (Some(uid), Some(gid)) = (id_field(fields.nth(1)), id_field(fields.next())) else {
            return true;
        };
        let matches = match wanted_id {
            Some(id) => i64::from(uid) == id,
            None => name == arg.as_bytes(),
        };
        if !matches {
            return true;
        }
        let home = fields.nth(1).filter(|home| !home.is_empty()).unwrap_or(b"/");
        found = Some(User {
            name: String::from_utf8_lossy(name).into_owned(),
            uid,
            gid,
            groups: Vec::new(),
            home: String::from_utf8_lossy(home).into_owned(),
        });
        false
    })
    .map_err(|e| {
        e.at(format_args!("unable to find user {}", if arg.is_empty() { "0" } else { arg }))
    })?;
    match (found, wanted_id) {
        (Some(user), _) => Ok(user),
        (None, Some(id)) => Ok(User {
            name: String::new(),
            uid: in_range(id)?,
            gid: 0,
            groups: Vec::new(),
            home: "/".into(),
        }),
        (None, None) => Err(missing("unable to find user", arg, "passwd")),
    }
}

/// The id of the group `arg`; the inner error is an id out of range, `None` an unknown name.
fn find_group(arg: &str, group: Option<impl BufRead>) -> Result<Option<Result<u32>>> {
    // A number is taken as it is: the file could only confirm it.
    if let Some(id) = number(arg) {
        return Ok(Some(in_range(id)));
    }
    let mut found = None;
    each_line(group, |line| {
        let mut fields = line.split(|b| *b == b':');
        if fields.next() == Some(arg.as_bytes()) {
            found = id_field(fields.nth(1));
        }
        found.is_none()
    })
    .map_err(|e| e.at(format_args!("unable to find group {arg}")))?;
    Ok(found.map(Ok))
}

fn add_memberships(user: &mut User, group: Option<impl BufRead>) -> Result<()> {
    let User { name, groups, .. } = user;
    each_line(group, |line| {
        let mut fields = line.split(|b| *b == b':');
        let gid = id_field(fields.nth(2));
        let members = fields.next().unwrap_or_default();
        if let Some(gid) = gid
            && members.split(|b| *b == b',').any(|member| member == name.as_bytes())
            // The kernel keeps 65536 groups at most (NGROUPS_MAX); more would make setgroups fail.
            && groups.len() < 65_536
        {
            groups.push(gid);
        }
        true
    })
    .map_err(|e| e.at(format_args!("unable to find groups for spec {name}")))
}

/// Calls `visit` with each line that is not blank or a comment until it returns false.
fn each_line(file: Option<impl BufRead>, mut visit: impl FnMut(&[u8]) -> bool) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let mut file = file.take(MAX_FILE_BYTES + 1);
    let (mut line, mut total) = (Vec::new(), 0u64);
    loop {
        line.clear();
        let n = file.by_ref().take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
        if n == 0 {
            return Ok(());
        }
        total += n as u64;
        if total > MAX_FILE_BYTES {
            return Err(Error::new(Kind::Unsupported, "file is longer than 16 MiB"));
        }
        if n > MAX_LINE_BYTES {
            return Err(Error::new(Kind::Unsupported, "line is longer than 64 KiB"));
        }
        let text = line.trim_ascii();
        if !text.is_empty() && text[0] != b'#' && !visit(text) {
            return Ok(());
        }
    }
}

/// Opens `/etc/<name>` below `root`, following links only inside it; `None` unless it is a regular file.
fn open_below(root: BorrowedFd<'_>, name: &str) -> Option<File> {
    // A FIFO must not block the open.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let opened = match openat2(root, format!("etc/{name}").as_str(), how) {
        // Before 5.6, or hidden by a seccomp filter: without links, then.
        Err(Errno::ENOSYS | Errno::EPERM) => open_without_links(root, name, flags),
        other => other,
    };
    let file = File::from(opened.ok()?);
    file.metadata().ok()?.is_file().then_some(file)
}

fn open_without_links(root: BorrowedFd<'_>, name: &str, flags: OFlag) -> nix::Result<OwnedFd> {
    let dir_flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let etc = openat(root, "etc", dir_flags, Mode::empty())?;
    openat(etc.as_fd(), name, flags | OFlag::O_NOFOLLOW, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const PASSWD: &str = "# comment\n\nroot:x:0:0:root:/root:/bin/sh\nbroken:x:abc:0::/:\n\
        +::::::\n  web:x:33:34:Web:/var/www:/bin/false\nnohome:x:40:40::\nbig:x:4294967295:0::/b:\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,web\nweb:x:34:\naudio:x:29:web\nbad:x:zz:web\n";

    fn find(spec: &str, additional: &[&str]) -> Result<User> {
        let additional: Vec<String> = additional.iter().map(|s| s.to_string()).collect();
        lookup_in(spec, &additional, || Some(PASSWD.as_bytes()), || Some(GROUP.as_bytes()))
    }

    #[test]
    fn every_form_is_resolved_as_docker_resolves_it() {
        for (spec, additional, uid, gid, groups, home) in [
            ("", &[][..], 0, 0, &[0, 10][..], "/root"),
            ("root", &[], 0, 0, &[0, 10], "/root"),
            ("web", &[], 33, 34, &[34, 10, 29], "/var/www"),
            ("33", &[], 33, 34, &[34, 10, 29], "/var/www"),
            ("web:audio", &[], 33, 29, &[29], "/var/www"),
            ("web:77", &["wheel", "29", "wheel"], 33, 77, &[77, 10, 29], "/var/www"),
            ("1000", &[], 1000, 0, &[0], "/"),
            ("1000:1000", &[], 1000, 1000, &[1000], "/"),
            (":audio", &[], 0, 29, &[29], "/root"),
            ("nohome", &[], 40, 40, &[40], "/"),
            ("+5", &[], 5, 0, &[0], "/"),
        ] {
            let user = find(spec, additional).unwrap_or_else(|e| panic!("{spec}: {e}"));
            assert_eq!((user.uid, user.gid), (uid, gid), "{spec}");
            assert_eq!(user.groups, groups, "{spec}");
            assert_eq!(user.home, home, "{spec}");
        }
    }

    #[test]
    fn errors_have_dockers_texts() {
        for (spec, additional, text) in [
            ("foo", &[][..], "unable to find user foo: no matching entries in passwd file"),
            ("web:foo", &[], "unable to find group foo: no matching entries in group file"),
            ("web", &["foo"], "Unable to find group foo: no matching entries in group file"),
            ("-1", &[], "uids and gids must be in range 0-2147483647"),
            ("99999999999999999999", &[], "uids and gids must be in range 0-2147483647"),
            ("0:2147483648", &[], "uids and gids must be in range 0-2147483647"),
            ("broken", &[], "unable to find user broken: no matching entries in passwd file"),
            ("big", &[], "unable to find user big: no matching entries in passwd file"),
        ] {
            assert_eq!(find(spec, additional).unwrap_err().to_string(), text, "{spec}");
        }
    }

    #[test]
    fn files_without_end_are_an_error() {
        let endless = || Some(BufReader::new(std::io::repeat(b'a')));
        let e = lookup_in("foo", &[], endless, endless).unwrap_err();
        assert_eq!(e.to_string(), "unable to find user foo: line is longer than 64 KiB");
        let blank = || Some(BufReader::new(std::io::repeat(b'\n')));
        let e = lookup_in("foo", &[], blank, blank).unwrap_err();
        assert_eq!(e.to_string(), "unable to find user foo: file is longer than 16 MiB");
    }

    #[test]
    fn random_bytes_never_panic_or_make_root_of_a_name() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let alphabet = b"foo:0:-+9\n\n::,#\xff\x00 x";
        for _ in 0..5000 {
            let text: Vec<u8> = (0..next() % 80)
                .map(|_| alphabet[usize::try_from(next() % alphabet.len() as u64).unwrap()])
                .collect();
            let file = || Some(text.as_slice());
            if let Ok(user) = lookup_in("foo", &["o".into()], file, file) {
                assert!(i64::from(user.uid) <= MAX_ID);
                assert!(text.windows(4).any(|w| w == b"foo:"), "{text:?}");
            }
        }
    }

    #[test]
    fn links_stay_below_the_root_and_odd_files_count_as_missing() {
        let dir = std::env::temp_dir().join(format!("multi-user-{:x}", crate::sys::random::u64()));
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        std::fs::write(dir.join("real"), "app:x:7:8::/app:\n").unwrap();
        symlink("/real", dir.join("etc/passwd")).unwrap();
        nix::unistd::mkfifo(&dir.join("etc/group"), Mode::S_IRWXU).unwrap();
        let root = File::open(&dir).unwrap();
        let user = lookup(root.as_fd(), "app", &[]);
        std::fs::remove_file(dir.join("etc/passwd")).unwrap();
        symlink("/../../../../../../../../etc/passwd", dir.join("etc/passwd")).unwrap();
        let escaped = lookup(root.as_fd(), "root", &[]);
        let no_links = open_without_links(root.as_fd(), "passwd", OFlag::O_RDONLY);
        std::fs::remove_dir_all(&dir).unwrap();
        let user = user.unwrap();
        assert_eq!((user.uid, user.gid, user.home.as_str()), (7, 8, "/app"));
        assert!(escaped.is_err());
        assert_eq!(no_links.unwrap_err(), Errno::ELOOP);
    }
}
