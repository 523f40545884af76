//! `docker export` and `docker diff`: the container's root as an archive, and what it changed.

use std::io::Write;

use super::Container;
use super::view::View;
use crate::base::Result;
use crate::engine::Engine;
use crate::storage::{Change, tree};

/// Writes the root of `container`, without volumes, as an archive that depends on the files alone. It may
/// run meanwhile; then the archive holds each file as it was at some moment of the export.
///
/// # Errors
/// `Conflict` if it is being removed; `Io`; whatever `out` gives.
pub fn export(engine: &Engine, container: &Container, out: &mut dyn Write) -> Result<()> {
    let view = View::of_root(engine, container)?;
    tree::write(&view.root, out)?;
    engine.container_event(container, "export", &[]);
    Ok(())
}

/// What `container` changed against its image, sorted by path.
///
/// # Errors
/// `Io`.
pub fn changes(engine: &Engine, container: &Container) -> Result<Vec<Change>> {
    engine.store.layers().rw_changes(&container.id)
}
