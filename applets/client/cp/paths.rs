//! What the two paths of `docker cp` mean: Docker's table of sources and destinations.
//!
//! A trailing slash says that a path is a directory, `/.` that its content is meant. What is copied onto
//! something that exists or not, and of which kind, decides into which directory the archive goes and
//! how its top entry is called; [`prepare`] is that table.
//!
//! Spec: moby `archive/copy.go`; Go `path/filepath`.

use std::fs;
use std::io;

use multi_core::base::{Error, Result};

/// One side of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    /// The path, links resolved as far as was asked for.
    pub(super) path: String,
    pub(super) exists: bool,
    pub(super) is_dir: bool,
    /// The name for the archive's top entry where a link that was followed has another one.
    pub(super) rebase: Option<String>,
}

/// Go's `filepath.Clean`.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".into(),
        (false, path) => path,
    }
}

/// Go's `filepath.Base`.
pub(super) fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    match path.trim_end_matches('/').rsplit('/').next() {
        None | Some("") => "/",
        Some(name) => name,
    }
}

/// Go's `filepath.Dir`.
fn dir(path: &str) -> String {
    clean(path.rfind('/').map_or("", |slash| &path[..=slash]))
}

fn is_current(path: &str) -> bool {
    base(path) == "."
}

/// `clean` with the slash or `/.` at the end that `original` has.
fn keep_end(clean: &str, original: &str) -> String {
    let mut path = clean.to_string();
    if !is_current(&path) && is_current(original) {
        if !path.ends_with('/') {
            path.push('/');
        }
        path.push('.');
    }
    if !path.ends_with('/') && original.ends_with('/') {
        path.push('/');
    }
    path
}

/// Directory and last part; `/x/.` has the last part `.`.
pub(super) fn split(path: &str) -> (String, String) {
    let mut cleaned = clean(path);
    if is_current(path) {
        cleaned.push_str("/.");
    }
    // A cleaned root ends in the only slash it has.
    (dir(&cleaned), base(&cleaned).to_string())
}

/// Container and path of one argument; no container for a path of this machine.
pub(super) fn split_argument(argument: &str) -> (&str, &str) {
    if argument.starts_with('/') {
        return ("", argument);
    }
    match argument.split_once(':') {
        Some((container, path)) if !container.starts_with('.') => (container, path),
        _ => ("", argument),
    }
}

/// The absolute path of a local argument.
pub(super) fn absolute(path: &str) -> Result<String> {
    let joined = match path.starts_with('/') {
        true => path.to_string(),
        false => format!("{}/{path}", std::env::current_dir()?.display()),
    };
    Ok(keep_end(&clean(&joined), path))
}

/// Where the link at `path` leads, with `path`'s end kept, and the name to use for it.
pub(super) fn follow(path: &str, target: &str) -> (String, Option<String>) {
    let mut target = target.to_string();
    if is_current(path) && !is_current(&target) {
        target.push_str("/.");
    }
    if path.ends_with('/') && !target.ends_with('/') {
        target.push('/');
    }
    let rebase = (base(path) != base(&target)).then(|| base(path).to_string());
    (target, rebase)
}

/// What there is to copy at the absolute `path` of this machine.
///
/// # Errors
/// `Io` with Docker's texts.
pub(super) fn local_source(path: &str, follow_link: bool) -> Result<Info> {
    let (path, rebase) = if follow_link {
        follow(path, &real(path)?)
    } else {
        let slash = path.rfind('/').map_or(0, |slash| slash + 1);
        let (upper, name) = path.split_at(slash);
        let resolved = format!("{}/{name}", real(upper)?.trim_end_matches('/'));
        let renamed = path.ends_with('/') && base(path) != base(&resolved);
        (resolved, renamed.then(|| base(path).to_string()))
    };
    let status = fs::symlink_metadata(&path).map_err(|e| lstat(&path, e))?;
    Ok(Info { path, exists: true, is_dir: status.is_dir(), rebase })
}

/// Go's `filepath.EvalSymlinks`.
fn real(path: &str) -> Result<String> {
    let path = if path.is_empty() { "." } else { path };
    match fs::canonicalize(path) {
        Ok(real) => Ok(real.to_string_lossy().into_owned()),
        Err(e) if e.raw_os_error() == Some(libc::ENOTDIR) => Err(Error::invalid("not a directory")),
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => {
            Err(Error::invalid("EvalSymlinks: too many links"))
        }
        Err(e) => Err(lstat(&clean(path), e)),
    }
}

fn lstat(path: &str, e: io::Error) -> Error {
    Error::from(e).at(format_args!("lstat {path}"))
}

/// What is at the absolute `path` of this machine, or is to be made there.
///
/// # Errors
/// `Io` if its directory is missing; Docker's texts.
pub(super) fn local_destination(path: &str) -> Result<Info> {
    let mut info = Info { path: path.to_string(), ..Info::default() };
    for _ in 0..=10 {
        match fs::symlink_metadata(&info.path) {
            Ok(status) if status.is_symlink() => {
                let target = fs::read_link(&info.path)?.to_string_lossy().into_owned();
                info.path = match target.starts_with('/') {
                    true => target,
                    false => clean(&format!("{}/{target}", split(&info.path).0)),
                };
            }
            Ok(status) => {
                (info.exists, info.is_dir) = (true, status.is_dir());
                return Ok(info);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let parent = split(&info.path).0;
                let status = fs::metadata(&parent)
                    .map_err(|e| Error::from(e).at(format_args!("stat {parent}")))?;
                if !status.is_dir() {
                    return Err(Error::invalid("not a directory"));
                }
                return Ok(info);
            }
            Err(e) => return Err(lstat(&info.path, e)),
        }
    }
    Err(Error::invalid(format_args!("too many symlinks in {path}")))
}

/// The directory that the archive of `source` is unpacked in so that it becomes `destination`, and the
/// new name of its top entry if it gets one.
///
/// # Errors
/// `InvalidParameter` with Docker's texts for what cannot be.
pub(super) fn prepare(source: &Info, destination: &Info) -> Result<(String, Option<String>)> {
    let (dir, name) = split(&destination.path);
    match destination {
        Info { exists: true, is_dir: true, .. } => Ok((destination.path.clone(), None)),
        Info { exists: true, .. } if source.is_dir => Err(Error::invalid("cannot copy directory")),
        Info { exists: false, path, .. }
            if !source.is_dir && (path.ends_with('/') || is_current(path)) =>
        {
            Err(Error::invalid("no such directory"))
        }
        _ => Ok((dir, Some(name))),
    }
}

/// Refuses a destination that could not be written: in no directory, or a device.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub(super) fn check_output(path: &str) -> Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let parent = dir(&clean(path));
    if let Err(e) = fs::metadata(&parent)
        && e.kind() == io::ErrorKind::NotFound
    {
        return Err(Error::invalid(format_args!(
            "invalid output path: directory {parent:?} does not exist"
        )));
    }
    let kind = match fs::metadata(path) {
        Ok(status) => status.file_type(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::from(e).at(format_args!("stat {path}"))),
    };
    if kind.is_block_device() || kind.is_char_device() {
        return Err(Error::invalid(format_args!(
            "invalid output path: {path:?} must be a directory or a regular file: got a device"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_as_go_does() {
        for (path, cleaned, of_base, parts) in [
            ("/a/b", "/a/b", "b", ("/a", "b")),
            ("/a/b/", "/a/b", "b", ("/a", "b")),
            ("/a/b/.", "/a/b", ".", ("/a/b", ".")),
            ("a", "a", "a", (".", "a")),
            ("/", "/", "/", ("/", "/")),
            ("", ".", ".", (".", ".")),
            (".", ".", ".", (".", ".")),
            ("../x/..", "..", "..", (".", "..")),
            ("/../x//y", "/x/y", "y", ("/x", "y")),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
            assert_eq!(base(path), of_base, "{path}");
            assert_eq!(split(path), (parts.0.into(), parts.1.into()), "{path}");
        }
        assert_eq!(keep_end("/a", "a/./"), "/a/./");
        assert_eq!(keep_end("/a", "a/"), "/a/");
    }

    #[test]
    fn an_argument_names_a_container_unless_it_is_a_path() {
        for (argument, container, path) in [
            ("c:/x", "c", "/x"),
            ("c:", "c", ""),
            ("/a:b", "", "/a:b"),
            ("./a:b", "", "./a:b"),
            ("a", "", "a"),
            ("c:a:b", "c", "a:b"),
        ] {
            assert_eq!(split_argument(argument), (container, path));
        }
    }

    #[test]
    fn the_table_of_docker_holds() {
        let file = Info { path: "/s/f".into(), exists: true, ..Info::default() };
        let dir = Info { path: "/s/d".into(), exists: true, is_dir: true, rebase: None };
        let absent = |path: &str| Info { path: path.into(), ..Info::default() };
        let there = |path: &str, is_dir| Info { exists: true, is_dir, ..absent(path) };
        let good = |to: &str, name: Option<&str>| Ok((to.to_string(), name.map(String::from)));
        let prepared = |source: &Info, destination: &Info| {
            prepare(source, destination).map_err(|e| e.message().to_string())
        };
        assert_eq!(prepared(&file, &absent("/x/new")), good("/x", Some("new")));
        assert_eq!(prepared(&file, &absent("/x/new/")), Err("no such directory".into()));
        assert_eq!(prepared(&file, &there("/x/f", false)), good("/x", Some("f")));
        assert_eq!(prepared(&file, &there("/x/d", true)), good("/x/d", None));
        assert_eq!(prepared(&dir, &absent("/x/new")), good("/x", Some("new")));
        assert_eq!(prepared(&dir, &absent("/x/new/")), good("/x", Some("new")));
        assert_eq!(prepared(&dir, &there("/x/f", false)), Err("cannot copy directory".into()));
        assert_eq!(prepared(&dir, &there("/x/d", true)), good("/x/d", None));
    }

    #[test]
    fn a_link_that_is_followed_keeps_its_name() {
        assert_eq!(follow("/a/l", "/b/t"), ("/b/t".into(), Some("l".into())));
        assert_eq!(follow("/a/l/.", "/b/t"), ("/b/t/.".into(), None));
        assert_eq!(follow("/a/t/", "/b/t"), ("/b/t/".into(), None));
    }
}
