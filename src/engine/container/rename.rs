//! Giving a container another name.

use std::sync::Arc;

use super::{Container, links};
use crate::base::{At, Error, Result};
use crate::engine::Engine;

/// Renames `container`.
///
/// # Errors
/// `InvalidParameter` for an empty, malformed or unchanged name, `Conflict` for a taken one, `Io` if the
/// record cannot be written; the old name stays on any error.
pub fn rename(engine: &Engine, container: &Arc<Container>, new_name: &str) -> Result<()> {
    if new_name.trim_start_matches('/').is_empty() {
        return Err(Error::invalid("Neither old nor new names may be empty"));
    }
    let _operation = container.begin();
    let old = container.data().record.plain_name().to_string();
    if old == new_name.trim_start_matches('/') {
        return Err(Error::invalid("Renaming a container with the same name as its current name"));
    }
    let new = engine
        .containers()?
        .reserve(new_name, &container.id)
        .at("Error when allocating new name")?;
    container.data().record.name = format!("/{new}");
    if let Err(e) = container.save() {
        container.data().record.name = format!("/{old}");
        engine.containers()?.release(&new, &container.id);
        return Err(e);
    }
    engine.containers()?.release(&old, &container.id);
    engine.containers()?.rename_parent(&old, &new);
    links::child_renamed(engine, container);
    engine.container_event(container, "rename", &[("oldName", &format!("/{old}"))]);
    Ok(())
}
