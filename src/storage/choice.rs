//! Which driver is used when none is named, and what is refused.
//!
//! * A name that is given decides; one that is not in the table is an error.
//! * Else a driver that has layers here already: its absence now would hide images. If several have,
//!   the user must say which (`vfs` does not count: it is what is tried last anyway).
//! * Else the first of the table that works in this data root.
//!
//! Spec: moby `graphdriver.New`, `scanPriorDrivers`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{DRIVERS, Def, Driver, Options};
use crate::base::{At, Error, Result};

/// Directories of drivers that Docker has or had; layers there belong to somebody.
const FOREIGN: &[&str] =
    &["aufs", "btrfs", "devicemapper", "fuse-overlayfs", "overlay", "overlay2", "zfs"];

/// Opens the driver `name` (empty: choose) below `data_root`; `options` are `KEY=VALUE` of
/// `--storage-opt`.
///
/// # Errors
/// `InvalidParameter` for an unknown driver, an option the driver does not have, or several drivers with
/// layers; `Unsupported` if the driver cannot work here, with the reason; `Io`.
pub fn open(name: &str, data_root: &Path, options: &[String]) -> Result<Arc<dyn Driver>> {
    choose(DRIVERS, name, data_root, options).at("error initializing graphdriver")
}

fn choose(
    drivers: &[Def],
    name: &str,
    data_root: &Path,
    options: &[String],
) -> Result<Arc<dyn Driver>> {
    let options = parse(options)?;
    if !name.is_empty() {
        return start(find(drivers, name)?, data_root, &options);
    }
    let prior: Vec<&str> =
        FOREIGN.iter().copied().filter(|name| has_content(&data_root.join(name))).collect();
    match prior.as_slice() {
        [] => {}
        [one] => {
            let def = find(drivers, one).at(format_args!(
                "{} holds layers of the storage driver {one}",
                data_root.display()
            ))?;
            return start(def, data_root, &options)
                .at(format_args!("prior storage driver {one} failed"));
        }
        several => {
            return Err(Error::invalid(format_args!(
                "{} contains several valid graphdrivers: {}; cleanup or explicitly choose storage driver (-s <DRIVER>)",
                data_root.display(),
                several.join(", ")
            )));
        }
    }
    let mut reasons = Vec::new();
    for def in drivers {
        fs::create_dir_all(data_root).at(format_args!("creating {}", data_root.display()))?;
        match (def.probe)(data_root) {
            Ok(()) => {
                if !reasons.is_empty() {
                    log::warn!(
                        "using the storage driver {}, which is slow and takes much space, since {}",
                        def.name,
                        reasons.join("; ")
                    );
                }
                return start(def, data_root, &options);
            }
            Err(e) => reasons.push(format!("{} does not work here: {e}", def.name)),
        }
    }
    Err(Error::unsupported(format_args!(
        "no supported storage driver found: {}",
        reasons.join("; ")
    )))
}

fn find<'a>(drivers: &'a [Def], name: &str) -> Result<&'a Def> {
    drivers.iter().find(|def| def.name == name).ok_or_else(|| {
        let known: Vec<&str> = drivers.iter().map(|d| d.name).collect();
        Error::invalid(format_args!(
            "driver not supported: unknown storage driver {name:?} (there are: {})",
            known.join(", ")
        ))
    })
}

fn parse(options: &[String]) -> Result<Options> {
    let mut parsed = BTreeMap::new();
    for option in options {
        let (key, value) = option.split_once('=').ok_or_else(|| {
            Error::invalid(format_args!("unable to parse storage-opt key/value: {option}"))
        })?;
        parsed.insert(key.trim().to_ascii_lowercase(), value.trim().to_string());
    }
    Ok(parsed)
}

fn start(def: &Def, data_root: &Path, options: &Options) -> Result<Arc<dyn Driver>> {
    for key in options.keys() {
        if !def.options.iter().any(|o| o.key == key) {
            return Err(Error::invalid(format_args!("{}: unknown option {key}", def.name)));
        }
    }
    let home = data_root.join(def.name);
    fs::create_dir_all(&home).at(format_args!("creating {}", home.display()))?;
    (def.open)(&home, options)
}

fn has_content(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;
    use crate::sys::random;
    use std::path::PathBuf;

    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn scratch() -> Scratch {
        let dir = std::env::temp_dir().join(format!("choice-{:016x}", random::u64()));
        fs::create_dir(&dir).unwrap();
        Scratch(dir)
    }

    fn broken(name: &'static str) -> Def {
        Def {
            name,
            options: &[],
            probe: |_| Err(Error::unsupported("no such kernel")),
            open: |_, _| Err(Error::unsupported("no such kernel")),
        }
    }

    fn fails(drivers: &[Def], name: &str, root: &Path, options: &[&str]) -> Error {
        let options: Vec<String> = options.iter().map(|o| o.to_string()).collect();
        choose(drivers, name, root, &options).err().unwrap()
    }

    #[test]
    fn the_first_driver_that_works_is_taken() {
        let root = scratch();
        let table = [broken("zfs"), super::super::drivers::vfs::DEF];
        assert_eq!(choose(&table, "", &root.0, &[]).unwrap().name(), "vfs");
        let e = fails(&[broken("zfs")], "", &root.0, &[]);
        assert_eq!(e.kind(), Kind::Unsupported);
        assert!(e.to_string().contains("zfs does not work here: no such kernel"), "{e}");
    }

    #[test]
    fn layers_that_are_here_decide() {
        let root = scratch();
        fs::create_dir_all(root.0.join("overlay2/abc")).unwrap();
        let table = [super::super::drivers::vfs::DEF, broken("overlay2")];
        let e = fails(&table, "", &root.0, &[]);
        assert!(e.to_string().contains("prior storage driver overlay2 failed"), "{e}");
        fs::create_dir_all(root.0.join("aufs/diff")).unwrap();
        let e = fails(&table, "", &root.0, &[]);
        assert!(
            e.to_string().contains("contains several valid graphdrivers: aufs, overlay2"),
            "{e}"
        );
        assert_eq!(choose(&table, "vfs", &root.0, &[]).unwrap().name(), "vfs");
        fs::remove_dir_all(root.0.join("overlay2")).unwrap();
        let e = fails(&table, "", &root.0, &[]);
        assert!(e.to_string().contains("holds layers of the storage driver aufs"), "{e}");
    }

    #[test]
    fn unknown_names_and_foreign_options_are_refused_by_name() {
        let root = scratch();
        let e = fails(DRIVERS, "nosuch", &root.0, &[]);
        assert!(e.to_string().contains("driver not supported") && e.to_string().contains("nosuch"));
        for (name, option) in
            [("vfs", "dm.basesize=10G"), ("vfs", "overlay2.size=1G"), ("overlay2", "zfs.fsname=x")]
        {
            let e = fails(DRIVERS, name, &root.0, &[option]);
            let key = option.split('=').next().unwrap();
            assert_eq!(e.to_string(), format!("{name}: unknown option {key}"));
        }
        assert!(fails(DRIVERS, "vfs", &root.0, &["x"]).to_string().contains("unable to parse"));
        assert_eq!(fs::read_dir(&root.0).unwrap().count(), 0);
    }
}
