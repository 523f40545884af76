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

    /// Adds a container whose name is reserved.
    pub fn insert(&self, container: Arc<Container>) {
        self.lock().by_id.insert(container.id.clone(), container);
    }

    /// Forgets a container and its names.
    pub fn remove(&self, id: &str) {
        let mut maps = self.lock();
        maps.by_id.remove(id);
        maps.names.retain(|_, owner| owner != id);
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
        if let Some(container) = maps.names.get(name).and_then(|id| maps.by_id.get(id)) {
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
