//! Every container by id and by name. Both maps change together under one short lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Container, names};
use crate::base::{Error, Result};

#[derive(Default)]
struct Maps {
    by_id: BTreeMap<String, Arc<Container>>,
    /// Name to id; a name is here from its reservation on, before its container is.
    names: BTreeMap<String, String>,
    /// Names that links give: `web/db` to the id of what `web` knows as `db`.
    links: BTreeMap<String, String>,
}

/// The containers of this daemon.
#[derive(Default)]
pub struct Index(Mutex<Maps>);

impl Index {
    fn lock(&self) -> MutexGuard<'_, Maps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves `wanted`, or a generated name if it is empty, for the container `id`.
    ///
    /// # Errors
    /// `InvalidParameter` for a malformed name; `Conflict` with Docker's text if it is taken.
    pub fn reserve(&self, wanted: &str, id: &str) -> Result<String> {
        let mut maps = self.lock();
        if wanted.is_empty() {
            let name = (0..)
                .map(names::generate)
                .find(|name| !maps.names.contains_key(name))
                .expect("cannot fail: the range has no end");
            maps.names.insert(name.clone(), id.into());
            return Ok(name);
        }
        let name = wanted.strip_prefix('/').unwrap_or(wanted);
        if !names::is_valid(name) {
            return Err(Error::invalid(format_args!(
                "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            )));
        }
        if let Some(owner) = maps.names.get(name) {
            return Err(Error::conflict(format_args!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". \
                 You have to remove (or rename) that container to be able to reuse that name."
            )));
        }
        maps.names.insert(name.into(), id.into());
        Ok(name.into())
    }

    /// Takes a reservation back, if `id` holds it.
    pub fn release(&self, name: &str, id: &str) {
        let mut maps = self.lock();
        if maps.names.get(name).is_some_and(|owner| owner == id) {
            maps.names.remove(name);
        }
    }

    /// Gives the container `child` the further name `parent/alias`; false if that is taken.
    pub fn link(&self, parent: &str, alias: &str, child: &str) -> bool {
        let mut maps = self.lock();
        let full = format!("{parent}/{alias}");
        let is_new = !maps.links.contains_key(&full);
        if is_new {
            maps.links.insert(full, child.into());
        }
        is_new
    }

    /// Forgets the link `parent/alias`.
    pub fn unlink(&self, full: &str) {
        self.lock().links.remove(full);
    }

    /// Name of the parent and alias of every link to `child`.
    pub fn parents(&self, child: &str) -> Vec<(String, String)> {
        let maps = self.lock();
        let to_child = maps.links.iter().filter(|(_, id)| *id == child);
        let parts = to_child.filter_map(|(full, _)| full.split_once('/'));
        parts.map(|(parent, alias)| (parent.into(), alias.into())).collect()
    }

    /// Every name of the container `id`, with slashes in front, in order; `own` is the one it has itself.
    pub fn names_of(&self, id: &str, own: &str) -> Vec<String> {
        let maps = self.lock();
        let linked = maps.links.iter().filter(|(_, owner)| *owner == id);
        let mut names: Vec<String> = linked.map(|(full, _)| format!("/{full}")).collect();
        names.push(own.into());
        names.sort_unstable();
        names
    }

    /// The parent of links has another name.
    pub fn rename_parent(&self, old: &str, new: &str) {
        let mut maps = self.lock();
        let (prefix, mut moved) = (format!("{old}/"), Vec::new());
        maps.links.retain(|full, child| match full.strip_prefix(&prefix) {
            Some(alias) => {
                moved.push((format!("{new}/{alias}"), std::mem::take(child)));
                false
            }
            None => true,
        });
        maps.links.extend(moved);
    }

    /// Adds a container whose name is reserved.
    pub fn insert(&self, container: Arc<Container>) {
        self.lock().by_id.insert(container.id.clone(), container);
    }

    /// Forgets a container, its names and its links. Links to it stay: their parents cannot start without
    /// it, and say so.
    pub fn remove(&self, id: &str) {
        let mut maps = self.lock();
        maps.by_id.remove(id);
        let mut gone = Vec::new();
        maps.names.retain(|name, owner| {
            let stays = owner != id;
            if !stays {
                gone.push(format!("{name}/"));
            }
            stays
        });
        maps.links.retain(|full, _| !gone.iter().any(|prefix| full.starts_with(prefix)));
    }

    /// All containers, in no meaningful order.
    pub fn all(&self) -> Vec<Arc<Container>> {
        self.lock().by_id.values().cloned().collect()
    }

    /// The container of a whole id, a name with or without a slash, or an unambiguous id prefix.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidParameter` for an ambiguous prefix, with Docker's texts.
    pub fn find(&self, reference: &str) -> Result<Arc<Container>> {
        let maps = self.lock();
        if let Some(container) = maps.by_id.get(reference) {
            return Ok(container.clone());
        }
        let name = reference.strip_prefix('/').unwrap_or(reference);
        let named = maps.names.get(name).or_else(|| maps.links.get(name));
        if let Some(container) = named.and_then(|id| maps.by_id.get(id)) {
            return Ok(container.clone());
        }
        let missing = || Error::not_found(format_args!("No such container: {reference}"));
        if reference.is_empty() {
            return Err(missing());
        }
        let mut matches = maps
            .by_id
            .range(reference.to_string()..)
            .take_while(|(id, _)| id.starts_with(reference))
            .map(|(_, container)| container);
        match (matches.next(), matches.next()) {
            (None, _) => Err(missing()),
            (Some(one), None) => Ok(one.clone()),
            (Some(_), Some(_)) => Err(Error::invalid(format_args!(
                "Multiple IDs found with provided prefix: {reference}"
            ))),
        }
    }
}
