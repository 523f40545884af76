//! An archive that is no layer onto a directory: `docker cp` in both directions.
//!
//! * Entries go below [`Extract::at`]; one whose name would leave it is refused. Links on the way are
//!   followed inside the root, so that neither the archive nor the tree leads out of it. The targets of hard
//!   links are taken below `at` as well.
//! * Names that mean something in a layer (`.wh.`) are plain names here.
//! * [`Extract::rename`] gives the top entry another name while it is unpacked, where Docker's client
//!   rewrites the stream.
//!
//! Spec: moby `archive.Unpack` with `NoOverwriteDirNonDir`; its error texts.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::header::{self, Entry};
use super::super::read::Reader;
use super::{Ownership, Target, Whiteouts, is_dir, stat};
use crate::base::{Error, Kind, Result};
use crate::sys::rootfd::{self, Root};

/// Longest name of an entry or link target, in bytes; the kernel takes no longer ones.
const MAX_PATH: usize = 4096;
/// How much of a name is told in errors, in bytes.
const MAX_SHOWN: usize = 256;

/// Where and how an archive is unpacked.
#[derive(Clone, Debug)]
pub struct Extract<'a> {
    /// The directory below the root, without links or `..`.
    pub at: &'a Path,
    /// Whose the files become.
    pub ownership: Ownership,
    /// A directory may not replace something else, nor something else a directory.
    pub keep_kinds: bool,
    /// First name of the entries, and the one to use instead.
    pub rename: Option<(&'a OsStr, &'a OsStr)>,
}

/// Unpacks `tar` below `root` as `how` says.
///
/// # Errors
/// `InvalidParameter` for a stream that is no archive, for names that lead out, and with Docker's texts
/// for what `keep_kinds` forbids; `Io` for what the host refuses. What was unpacked before stays.
pub fn extract(root: &Root, how: &Extract<'_>, tar: &mut dyn Read) -> Result<()> {
    let mut target = Target::new(root, Whiteouts::Literal, how.ownership);
    let mut reader = Reader::new(tar);
    while let Some(mut entry) = reader.next_entry()? {
        let shown = &entry.name[..entry.name.len().min(MAX_SHOWN)];
        let shown = String::from_utf8_lossy(shown).into_owned();
        if entry.name.len().max(entry.link.len()) > MAX_PATH {
            let e = Error::from_errno(libc::ENAMETOOLONG);
            return Err(e.at(format_args!("unpacking {shown:?}...")));
        }
        if entry.kind == header::Kind::Global {
            continue;
        }
        let path = how.place(&entry.name)?;
        if entry.kind == header::Kind::HardLink {
            entry.link = how.place(&entry.link)?.into_os_string().into_encoded_bytes();
        }
        let mut one = || -> Result<()> {
            // The directory itself is there, and keeps its attributes.
            let Some(name) = path.file_name().filter(|_| path != how.at) else { return Ok(()) };
            if how.keep_kinds {
                let dir = target.parent_of(&path)?;
                how.check_kind(&dir, name, &path, &entry)?;
            }
            target.make(&path, name, &entry, &mut reader)
        };
        one().map_err(|e| match e.kind() {
            Kind::Conflict => e.with_kind(Kind::InvalidParameter),
            _ => e.at(format_args!("unpacking {shown:?}")),
        })?;
    }
    target.finish()?;
    // What follows the end mark is the sender's to be rid of.
    reader.finish().map(drop)
}

impl Extract<'_> {
    /// Where the entry or link target `name` goes, below the root.
    fn place(&self, name: &[u8]) -> Result<PathBuf> {
        let relative = name.iter().position(|b| *b != b'/').map_or(&b""[..], |i| &name[i..]);
        let path = rootfd::clean(&self.at.join(OsStr::from_bytes(relative)));
        let Ok(path) = path.strip_prefix(self.at) else {
            return Err(Error::invalid(format_args!(
                "{:?} is outside of {:?}",
                String::from_utf8_lossy(name),
                Path::new("/").join(self.at).display().to_string()
            )));
        };
        let mut path = path.to_path_buf();
        if let Some((from, to)) = self.rename
            && let Ok(rest) = path.strip_prefix(from)
        {
            // Joining an empty rest would add a slash.
            path = if rest.as_os_str().is_empty() {
                PathBuf::from(to)
            } else {
                Path::new(to).join(rest)
            };
        }
        if path.as_os_str().is_empty() {
            return Ok(self.at.to_path_buf());
        }
        Ok(self.at.join(path))
    }

    /// Refuses an entry that would replace `name` in `dir` by something of another kind.
    fn check_kind(&self, dir: &OwnedFd, name: &OsStr, path: &Path, entry: &Entry) -> Result<()> {
        let Some(there) = stat(dir, name)? else { return Ok(()) };
        let shown = Path::new("/").join(path);
        let at = Path::new("/").join(self.at);
        let (shown, at) = (shown.display().to_string(), at.display().to_string());
        match (is_dir(&there), entry.kind == header::Kind::Dir) {
            (true, false) => Err(Error::conflict(format_args!(
                "cannot overwrite directory {shown:?} with non-directory {at:?}"
            ))),
            (false, true) => Err(Error::conflict(format_args!(
                "cannot overwrite non-directory {shown:?} with directory {at:?}"
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::header::Kind;
    use super::super::super::write::{Meta, Writer};
    use super::*;
    use crate::sys::random;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    struct Tree(PathBuf);

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn tree() -> (Tree, Root) {
        let path = std::env::temp_dir().join(format!("extract-{:x}", random::u64()));
        fs::create_dir_all(path.join("in/dir")).unwrap();
        let root = Root::open(&path.join("in")).unwrap();
        (Tree(path), root)
    }

    fn archive(entries: &[(&str, Kind, &str)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (name, kind, link) in entries {
            let size = if *kind == Kind::File { 1 } else { 0 };
            let mode = if *kind == Kind::Dir { 0o755 } else { 0o640 };
            let meta = Meta {
                kind: *kind,
                link: link.as_bytes(),
                mode,
                uid: 12,
                gid: 34,
                ..Meta::file(name.as_bytes(), size)
            };
            writer.entry(&meta, &mut &b"x"[..]).unwrap();
        }
        writer.finish().unwrap()
    }

    fn unpack(root: &Root, at: &str, entries: &[(&str, Kind, &str)]) -> Result<()> {
        let how = Extract {
            at: Path::new(at),
            ownership: Ownership::AsWritten,
            keep_kinds: true,
            rename: Some((OsStr::new("old"), OsStr::new("new"))),
        };
        extract(root, &how, &mut &archive(entries)[..])
    }

    #[test]
    fn names_and_links_stay_below_the_root() {
        let (tree, root) = tree();
        for name in ["../x", "a/../../x", ".."] {
            let e = unpack(&root, "dir", &[(name, Kind::File, "")]).unwrap_err();
            assert_eq!(e.message(), format!("{name:?} is outside of \"/dir\""));
        }
        fs::write(tree.0.join("secret"), "s").unwrap();
        symlink(tree.0.join("in"), tree.0.join("in/dir/abs")).unwrap();
        symlink("../../..", tree.0.join("in/dir/up")).unwrap();
        // A link out of the archive leads to the root's own top.
        unpack(&root, "dir", &[("up/through", Kind::File, "")]).unwrap();
        unpack(&root, "dir", &[("s", Kind::Symlink, "/../.."), ("s/evil", Kind::File, "")])
            .unwrap();
        assert!(tree.0.join("in/through").exists() && tree.0.join("in/evil").exists());
        unpack(&root, "dir", &[("f", Kind::File, ""), ("h", Kind::HardLink, "../dir/f")]).unwrap();
        for target in ["../secret", "../../secret"] {
            let wrong = unpack(&root, "dir", &[("h", Kind::HardLink, target)]).unwrap_err();
            assert!(wrong.message().contains("outside of"), "{wrong}");
        }
        assert!(unpack(&root, "dir", &[("h", Kind::HardLink, "/up/secret")]).is_err());
        assert_eq!(fs::read_dir(&tree.0).unwrap().count(), 2, "something came out");
    }

    #[test]
    fn kinds_are_kept_and_whiteouts_are_plain_names() {
        let (tree, root) = tree();
        fs::write(tree.0.join("in/file"), "").unwrap();
        let e = unpack(&root, "", &[("file", Kind::Dir, "")]).unwrap_err();
        assert_eq!(e.message(), "cannot overwrite non-directory \"/file\" with directory \"/\"");
        let e = unpack(&root, "", &[("dir", Kind::File, "")]).unwrap_err();
        assert_eq!(e.message(), "cannot overwrite directory \"/dir\" with non-directory \"/\"");
        unpack(&root, "", &[(".wh.file", Kind::File, ""), ("dir/.wh..wh..opq", Kind::File, "")])
            .unwrap();
        assert!(tree.0.join("in/file").exists() && tree.0.join("in/.wh.file").exists());
        assert!(tree.0.join("in/dir/.wh..wh..opq").exists());
    }

    #[test]
    fn the_top_entry_is_renamed_with_its_links() {
        let (tree, root) = tree();
        let entries = [
            ("old/", Kind::Dir, ""),
            ("old/a", Kind::File, ""),
            ("old/b", Kind::HardLink, "old/a"),
            ("older", Kind::File, ""),
        ];
        unpack(&root, "dir", &entries).unwrap();
        let dir = tree.0.join("in/dir");
        let a = fs::metadata(dir.join("new/a")).unwrap();
        assert_eq!((a.uid(), a.gid(), a.nlink()), (12, 34, 2));
        assert_eq!(a.ino(), fs::metadata(dir.join("new/b")).unwrap().ino());
        assert!(dir.join("older").exists() && !dir.join("old").exists());
    }
}
