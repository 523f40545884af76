//! Which OCI runtime makes a container: the built-in one, or a program that the daemon was told of.

use crate::base::{At, Error, Result};
use crate::engine::Engine;
use crate::runtime::shim::{External, StartRequest};
use crate::runtime::spec::Mount;

/// The name of the built-in runtime: what Docker calls its own, so that records can be handed over.
pub const BUILT_IN: &str = "runc";
/// Other names of it.
const ALIASES: &[&str] = &["io.containerd.runc.v2", "io.containerd.runtime.v1.linux"];
/// Where the reaper is in containers of other runtimes.
const INIT: &str = "/sbin/docker-init";

/// The runtime of containers that name none.
pub fn default(engine: &Engine) -> String {
    let name = engine.live().default_runtime;
    if name.is_empty() { BUILT_IN.into() } else { name }
}

/// Whether `name`, which may be empty, is a runtime.
///
/// # Errors
/// `InvalidParameter` with Docker's text.
pub fn check(engine: &Engine, name: &str) -> Result<()> {
    find(engine, name).map(drop)
}

/// Whether `name`, which may be empty, is the built-in runtime.
pub fn is_built_in(name: &str) -> bool {
    name.is_empty() || name == BUILT_IN || ALIASES.contains(&name)
}

/// The program behind `name`; `None` for the built-in runtime.
fn find(engine: &Engine, name: &str) -> Result<Option<crate::engine::settings::Runtime>> {
    if is_built_in(name) {
        return Ok(None);
    }
    engine
        .live()
        .runtimes
        .get(name)
        .cloned()
        .map(Some)
        .ok_or_else(|| Error::invalid(format_args!("unknown or invalid runtime name: {name}")))
}

/// Has the runtime `name` make the container of `request`.
///
/// # Errors
/// `InvalidParameter` for a runtime that the daemon no longer knows.
pub(super) fn choose(engine: &Engine, name: &str, request: &mut StartRequest) -> Result<()> {
    let Some(runtime) = find(engine, name)? else { return Ok(()) };
    let root = engine.settings.exec_root.join(format!("runtime-{name}"));
    request.runtime = Some(External {
        path: runtime.path,
        args: runtime.args,
        root: root.to_string_lossy().into_owned(),
    });
    if std::mem::take(&mut request.init) {
        let exe = std::env::current_exe().at("finding the own executable")?;
        request.spec.mounts.push(Mount {
            destination: INIT.into(),
            kind: "bind".into(),
            source: exe.to_string_lossy().into_owned(),
            options: ["bind", "ro"].map(String::from).into(),
            ..Mount::default()
        });
        if let Some(process) = &mut request.spec.process {
            process.args.splice(0..0, [INIT.to_string(), "--".to_string()]);
        }
    }
    Ok(())
}
