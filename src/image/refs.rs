//! The names of images: `repositories.json`.
//!
//! `{"Repositories":{"debian":{"debian:bookworm":"sha256:...","debian@sha256:...":"sha256:..."}}}`, keys
//! in their familiar form. The file is read when a name is first asked for and replaced as a whole at
//! each change, on disk before the call returns.
//!
//! Spec: moby `reference/store.go`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::digest::Digest;
use crate::base::file::{self, Durable};
use crate::base::{At, Error, Result, json};
use crate::registry::reference::Reference;
use crate::wire;

wire! {
    /// The file.
    struct Document {
        "Repositories" keep repositories: BTreeMap<String, BTreeMap<String, String>>,
    }
}

type Names = BTreeMap<Reference, Digest>;

/// The names of images.
pub struct Refs {
    path: PathBuf,
    names: Mutex<Option<Names>>,
}

impl Refs {
    /// The names kept in the file `path`, which need not exist.
    pub(super) fn open(path: &Path) -> Refs {
        Refs { path: path.to_path_buf(), names: Mutex::default() }
    }

    fn lock(&self) -> Result<MutexGuard<'_, Option<Names>>> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.is_none() {
            *names = Some(load(&self.path)?);
        }
        Ok(names)
    }

    fn with<R>(&self, look: impl FnOnce(&Names) -> R) -> Result<R> {
        Ok(look(self.lock()?.get_or_insert_default()))
    }

    /// Changes the names on disk, then in memory.
    fn change<R>(&self, change: impl FnOnce(&mut Names) -> Result<R>) -> Result<R> {
        let mut guard = self.lock()?;
        let mut names = guard.get_or_insert_default().clone();
        let result = change(&mut names)?;
        if guard.as_ref() != Some(&names) {
            save(&self.path, &names)?;
            *guard = Some(names);
        }
        Ok(result)
    }

    /// The image that `name` means: by digest if it has one, else by tag, `latest` if it has none.
    ///
    /// # Errors
    /// `Io` or `InvalidParameter` for a file that cannot be read.
    pub fn get(&self, name: &Reference) -> Result<Option<Digest>> {
        let key = key(name);
        self.with(|names| names.get(&key).copied())
    }

    /// Gives the image `id` the name `name`: a tag (`latest` if none is given), or a digest that names
    /// content of a registry. A tag moves from the image that had it; that one is returned.
    ///
    /// # Errors
    /// `InvalidParameter` for the repository name `sha256`; `Io`.
    pub fn set(&self, name: &Reference, id: &Digest) -> Result<Option<Digest>> {
        if name.familiar_name() == "sha256" {
            return Err(Error::invalid(
                "refusing to create an ambiguous tag using digest algorithm as name",
            ));
        }
        self.change(|names| Ok(names.insert(key(name), *id).filter(|old| old != id)))
    }

    /// Takes the name `name` away; false if no image has it.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove(&self, name: &Reference) -> Result<bool> {
        self.change(|names| Ok(names.remove(&key(name)).is_some()))
    }

    /// Every name of `id`, sorted.
    ///
    /// # Errors
    /// As [`Refs::get`].
    pub fn of(&self, id: &Digest) -> Result<Vec<Reference>> {
        self.with(|n| n.iter().filter(|(_, i)| *i == id).map(|(r, _)| r.clone()).collect())
    }

    /// Every name within the repository of `name`, sorted, with its image.
    ///
    /// # Errors
    /// As [`Refs::get`].
    pub fn in_repository(&self, name: &Reference) -> Result<Vec<(Reference, Digest)>> {
        let same = |r: &Reference| r.domain() == name.domain() && r.path() == name.path();
        self.with(|n| n.iter().filter(|(r, _)| same(r)).map(|(r, i)| (r.clone(), *i)).collect())
    }

    /// All names with their images, sorted by name.
    ///
    /// # Errors
    /// As [`Refs::get`].
    pub fn list(&self) -> Result<Vec<(Reference, Digest)>> {
        self.with(|n| n.iter().map(|(r, i)| (r.clone(), *i)).collect())
    }
}

/// Content that is named by digest is the same whatever the tag beside it says.
fn key(name: &Reference) -> Reference {
    match name.digest() {
        Some(digest) => name.with_digest(digest),
        None => name.clone().or_latest(),
    }
}

fn load(path: &Path) -> Result<Names> {
    let mut names = Names::new();
    let Some(bytes) = file::read_optional(path)? else { return Ok(names) };
    let document: Document = json::parse(&bytes).at(format_args!("reading {}", path.display()))?;
    for (name, id) in document.repositories.into_values().flatten() {
        match (Reference::parse(&name), Digest::parse(&id)) {
            (Ok(name), Ok(id)) => {
                names.insert(name, id);
            }
            _ => log::warn!("{}: ignoring the name {name:?} of {id:?}", path.display()),
        }
    }
    Ok(names)
}

fn save(path: &Path, names: &Names) -> Result<()> {
    let mut document = Document::default();
    for (name, id) in names {
        document
            .repositories
            .entry(name.familiar_name())
            .or_default()
            .insert(name.familiar(), id.to_string());
    }
    file::write_atomic(path, json::to_string(&document).as_bytes(), 0o600, Durable::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_in_dockers_form_and_read_back() {
        let path = std::env::temp_dir().join(format!("refs-{}.json", crate::sys::random::u64()));
        let refs = Refs::open(&path);
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let name = |t: &str| Reference::parse(t).unwrap();
        assert_eq!(refs.get(&name("debian")).unwrap(), None);
        assert_eq!(refs.set(&name("debian"), &a).unwrap(), None);
        assert_eq!(refs.set(&name("localhost:5000/x/y:1"), &a).unwrap(), None);
        assert_eq!(refs.set(&name(&format!("debian@{b}")), &a).unwrap(), None);
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!(
                r#"{{"Repositories":{{"debian":{{"debian:latest":"{a}","debian@{b}":"{a}"}},"localhost:5000/x/y":{{"localhost:5000/x/y:1":"{a}"}}}}}}"#
            )
        );
        let refs = Refs::open(&path);
        assert_eq!(refs.of(&a).unwrap().len(), 3);
        assert_eq!(refs.set(&name("debian:latest"), &b).unwrap(), Some(a));
        assert_eq!(refs.get(&name(&format!("debian:other@{b}"))).unwrap(), Some(a));
        assert_eq!(refs.in_repository(&name("debian")).unwrap().len(), 2);
        assert!(refs.remove(&name("debian")).unwrap());
        assert!(!refs.remove(&name("debian")).unwrap());
        assert!(refs.set(&name("sha256:abc"), &a).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
