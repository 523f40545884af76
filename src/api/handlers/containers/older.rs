//! What mounts meant before the version of the API that the client speaks, as Docker reads it.
//!
//! Spec: Docker Engine API, version history 1.40 to 1.48.

use crate::api::version::Version;
use crate::base::{Error, Result};
use crate::engine::model::host::HostConfig;
use crate::engine::model::mount::Mount;

/// What is left to say after the adaptation.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Older {
    /// Read-only binds leave what is mounted below them as it is.
    pub plain_read_only: bool,
    /// For the user.
    pub warning: Option<String>,
}

/// Takes out of `host` what `version` did not have, and checks what it had otherwise.
///
/// # Errors
/// `InvalidParameter` with Docker's texts for what must not be ignored.
pub fn adapt(version: Version, host: &mut HostConfig) -> Result<Older> {
    for mount in &mut host.mounts {
        adapt_mount(version, mount)?;
    }
    let by_driver = |mount: &Mount| {
        let options = mount.volume_options.as_ref();
        let driver = options.and_then(|o| o.driver_config.as_ref()).map_or("", |d| &d.name);
        mount.kind == "volume" && driver.is_empty()
    };
    let ignored = version >= Version(1, 48)
        && !host.volume_driver.is_empty()
        && host.mounts.iter().any(by_driver);
    Ok(Older {
        plain_read_only: version < Version(1, 44),
        warning: ignored.then(|| {
            "WARNING: the container-wide volume-driver configuration is ignored for volumes specified \
             via 'mount'. Use '--mount type=volume,volume-driver=...' instead"
                .into()
        }),
    })
}

fn adapt_mount(version: Version, mount: &mut Mount) -> Result<()> {
    let kind = mount.kind.as_str();
    if let Some(options) = &mut mount.bind_options {
        if version < Version(1, 40) {
            options.non_recursive = false;
        }
        if version < Version(1, 42) {
            options.create_mountpoint = false;
        }
        if version < Version(1, 44) && kind == "bind" && options.read_only_force_recursive {
            return Err(Error::invalid(
                "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer",
            ));
        }
    }
    let misplaced = [
        ("VolumeOptions", mount.volume_options.is_some() && kind != "volume"),
        ("BindOptions", mount.bind_options.is_some() && kind != "bind"),
        ("TmpfsOptions", mount.tmpfs_options.is_some() && kind != "tmpfs"),
    ];
    if version >= Version(1, 42) {
        if let Some((field, _)) = misplaced.iter().find(|(_, is)| *is) {
            return Err(Error::invalid(format_args!(
                "{field} must not be specified on mount type \"{kind}\""
            )));
        }
    } else {
        // They were sent, and nobody looked at them.
        if misplaced[0].1 {
            mount.volume_options = None;
        }
        if misplaced[2].1 {
            mount.tmpfs_options = None;
        }
    }
    let has_part = mount.volume_options.as_ref().is_some_and(|o| !o.subpath.is_empty());
    if version < Version(1, 45) && has_part {
        return Err(Error::invalid("VolumeOptions.Subpath needs API v1.45 or newer"));
    }
    if version < Version(1, 48) && mount.kind == "image" {
        return Err(Error::invalid("Mount type \"Image\" needs API v1.48 or newer"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::mount::{BindOptions, TmpfsOptions, VolumeOptions};

    fn host(mount: Mount) -> HostConfig {
        HostConfig { mounts: vec![mount], ..HostConfig::default() }
    }

    fn bind(options: BindOptions) -> HostConfig {
        host(Mount { kind: "bind".into(), bind_options: Some(options), ..Mount::default() })
    }

    #[test]
    fn what_a_version_does_not_have_is_taken_out_or_refused() {
        let force = || bind(BindOptions { read_only_force_recursive: true, ..Default::default() });
        let e = adapt(Version(1, 43), &mut force()).unwrap_err();
        assert_eq!(e.message(), "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer");
        assert!(adapt(Version(1, 44), &mut force()).is_ok());

        let mut old = bind(BindOptions {
            non_recursive: true,
            create_mountpoint: true,
            ..BindOptions::default()
        });
        assert!(adapt(Version(1, 39), &mut old).unwrap().plain_read_only);
        assert_eq!(old.mounts[0].bind_options, Some(BindOptions::default()));

        let part = VolumeOptions { subpath: "x".into(), ..VolumeOptions::default() };
        let part = Mount { kind: "volume".into(), volume_options: Some(part), ..Mount::default() };
        assert!(adapt(Version(1, 44), &mut host(part.clone())).is_err());
        assert!(adapt(Version(1, 45), &mut host(part)).is_ok());
        let image = Mount { kind: "image".into(), ..Mount::default() };
        assert!(adapt(Version(1, 47), &mut host(image.clone())).is_err());
        assert!(adapt(Version(1, 48), &mut host(image)).is_ok());
    }

    #[test]
    fn options_of_another_type_are_ignored_or_refused() {
        let mixed = || {
            let tmpfs_options = Some(TmpfsOptions::default());
            host(Mount { kind: "bind".into(), tmpfs_options, ..Mount::default() })
        };
        let mut old = mixed();
        adapt(Version(1, 41), &mut old).unwrap();
        assert_eq!(old.mounts[0].tmpfs_options, None);
        let e = adapt(Version(1, 42), &mut mixed()).unwrap_err();
        assert_eq!(e.message(), "TmpfsOptions must not be specified on mount type \"bind\"");
    }

    #[test]
    fn a_driver_for_all_does_not_reach_mounts() {
        let volume = Mount { kind: "volume".into(), ..Mount::default() };
        let mut host = HostConfig { volume_driver: "far".into(), ..host(volume) };
        assert!(adapt(Version(1, 47), &mut host).unwrap().warning.is_none());
        assert!(adapt(Version(1, 48), &mut host).unwrap().warning.is_some());
    }
}
