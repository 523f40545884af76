//! One mount that was asked for, checked and turned into a mount point, with Docker's words for what is wrong.
//!
//! Spec: moby `volume/mounts/linux_parser.go`; Docker Engine API 1.51, Mount.

use std::path::{Component, Path};

use super::clean;
use crate::base::{Error, Result};
use crate::engine::container::record::MountPoint;
use crate::engine::model::mount::{BindOptions, DriverConfig, Mount, TmpfsOptions, VolumeOptions};

/// Propagation of bind mounts unless another is asked for.
pub(super) const DEFAULT_PROPAGATION: &str = "rprivate";
const PROPAGATIONS: &[&str] = &["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// The mode of a bind or of `--volumes-from`, word by word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mode<'a> {
    read_only: bool,
    no_copy: bool,
    propagation: Option<&'a str>,
}

/// `ro`, `rw`; `z`, `Z`; a propagation; `nocopy`; `consistent`, `cached`, `delegated`: at most one of each.
/// Labels matter where SELinux is, consistency where a host is not Linux: neither changes anything here.
fn parse_mode(mode: &str) -> Option<Mode<'_>> {
    let mut parsed = Mode::default();
    let mut seen = [false; 5];
    for word in mode.split(',').filter(|_| !mode.is_empty()) {
        let kind = match word {
            "ro" | "rw" => {
                parsed.read_only = word == "ro";
                0
            }
            "z" | "Z" => 1,
            word if PROPAGATIONS.contains(&word) => {
                parsed.propagation = Some(word);
                2
            }
            "nocopy" => {
                parsed.no_copy = true;
                3
            }
            "consistent" | "cached" | "delegated" => 4,
            _ => return None,
        };
        if std::mem::replace(&mut seen[kind], true) {
            return None;
        }
    }
    Some(parsed)
}

fn bad_mode(mode: &str) -> Error {
    Error::invalid(format_args!("invalid mode: {mode}"))
}

/// `-v`: `source:destination[:mode]`, where the source is a directory of the host or the name of a volume;
/// a destination alone is an anonymous volume, whose `name` is left empty.
///
/// # Errors
/// `InvalidParameter`.
pub(super) fn bind(text: &str, volume_driver: &str) -> Result<MountPoint> {
    let bad = || Error::invalid(format_args!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.splitn(4, ':').collect();
    let (source, target, mode) = match parts[..] {
        ["", ..] => return Err(bad()),
        [target] => ("", target, ""),
        // A destination and a mode without a source.
        [_, target] if parse_mode(target).is_some() => return Err(bad()),
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        _ => return Err(bad()),
    };
    let parsed = parse_mode(mode).ok_or_else(|| bad_mode(mode))?;
    let is_bind = source.starts_with('/');
    let mut asked = Mount {
        kind: if is_bind { "bind" } else { "volume" }.into(),
        source: source.into(),
        target: target.into(),
        read_only: parsed.read_only,
        ..Mount::default()
    };
    if !is_bind && !volume_driver.is_empty() {
        asked.volume_options = Some(VolumeOptions {
            driver_config: Some(DriverConfig { name: volume_driver.into(), ..Default::default() }),
            ..VolumeOptions::default()
        });
    }
    if parsed.no_copy {
        asked.volume_options.get_or_insert_default().no_copy = true;
    }
    if let Some(propagation) = parsed.propagation {
        asked.bind_options =
            Some(BindOptions { propagation: propagation.into(), ..BindOptions::default() });
    }
    let mut point = mount(&asked, false).map_err(|e| e.at(bad()))?;
    point.mode = mode.into();
    Ok(point)
}

/// `--mount`; the source of a bind must exist if `sources_exist`.
///
/// # Errors
/// `InvalidParameter`.
pub(super) fn mount(asked: &Mount, sources_exist: bool) -> Result<MountPoint> {
    check(asked, sources_exist)
        .map_err(|e| e.at(format_args!("invalid mount config for type \"{}\"", asked.kind)))?;
    let mut point = MountPoint {
        destination: clean(&asked.target),
        rw: !asked.read_only,
        kind: asked.kind.clone(),
        spec: asked.clone(),
        ..MountPoint::default()
    };
    match asked.kind.as_str() {
        "volume" => {
            let options = asked.volume_options.clone().unwrap_or_default();
            point.name = asked.source.clone();
            point.driver = options.driver_config.unwrap_or_default().name;
            point.copy_data = !options.no_copy;
        }
        "bind" => {
            point.source = clean(&asked.source);
            let options = asked.bind_options.clone().unwrap_or_default();
            point.propagation = match options.propagation.as_str() {
                "" => DEFAULT_PROPAGATION.into(),
                own => own.into(),
            };
        }
        "image" => {
            point.source = asked.source.clone();
            point.propagation = DEFAULT_PROPAGATION.into();
        }
        _ => {}
    }
    Ok(point)
}

fn check(asked: &Mount, sources_exist: bool) -> Result<()> {
    let missing = |field: &str| Err(Error::invalid(format!("field {field} must not be empty")));
    let extra = |fields: &[(&str, bool)]| match fields.iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(Error::invalid(format!("field {field} must not be specified"))),
        None => Ok(()),
    };
    if asked.target.is_empty() {
        return missing("Target");
    }
    destination(&asked.target)?;
    let bind = ("BindOptions", asked.bind_options.is_some());
    let volume = ("VolumeOptions", asked.volume_options.is_some());
    let image = ("ImageOptions", asked.image_options.is_some());
    match asked.kind.as_str() {
        "bind" => {
            if asked.source.is_empty() {
                return missing("Source");
            }
            let options = asked.bind_options.clone().unwrap_or_default();
            let propagation = options.propagation.as_str();
            if !propagation.is_empty() && !PROPAGATIONS.contains(&propagation) {
                return Err(Error::invalid(format!("invalid propagation mode: {propagation}")));
            }
            extra(&[volume, image])?;
            absolute(&asked.source)?;
            if sources_exist && !options.create_mountpoint && !Path::new(&asked.source).exists() {
                let source = &asked.source;
                return Err(Error::invalid(format!("bind source path does not exist: {source}")));
            }
            read_only_options(asked, &options)
        }
        "volume" => {
            extra(&[bind, image])?;
            let anonymous = asked.source.is_empty();
            let part = asked.volume_options.as_ref().map_or("", |o| o.subpath.as_str());
            if !part.is_empty() && anonymous {
                return Err(Error::invalid("must not set Subpath when using anonymous volumes"));
            }
            subpath(part)?;
            if asked.read_only && anonymous {
                return Err(Error::invalid(
                    "must not set ReadOnly mode when using anonymous volumes",
                ));
            }
            Ok(())
        }
        "tmpfs" => {
            extra(&[bind, image, ("Source", !asked.source.is_empty())])?;
            tmpfs_options(&asked.tmpfs_options.clone().unwrap_or_default(), false).map(drop)
        }
        "image" => {
            extra(&[bind, volume])?;
            if asked.source.is_empty() {
                return missing("Source");
            }
            subpath(asked.image_options.as_ref().map_or("", |o| o.subpath.as_str()))
        }
        _ => Err(Error::invalid("mount type unknown")),
    }
}

fn read_only_options(asked: &Mount, options: &BindOptions) -> Result<()> {
    let (not, force) = (options.read_only_non_recursive, options.read_only_force_recursive);
    let conflict = match (asked.read_only, not, force) {
        (false, true, _) => "!ReadOnly && BindOptions.ReadOnlyNonRecursive",
        (false, _, true) => "!ReadOnly && BindOptions.ReadOnlyForceRecursive",
        (true, true, true) => "ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive",
        _ => return Ok(()),
    };
    Err(Error::invalid(format_args!("mount options conflict: {conflict}")))
}

fn absolute(path: &str) -> Result<()> {
    if path.starts_with('/') {
        return Ok(());
    }
    Err(Error::invalid(format_args!("invalid mount path: '{path}' mount path must be absolute")))
}

/// Checks a place in the container.
///
/// # Errors
/// `InvalidParameter` for the root and for what is not absolute.
pub(super) fn destination(path: &str) -> Result<()> {
    if path.starts_with('/') && clean(path) == "/" {
        return Err(Error::invalid("invalid specification: destination can't be '/'"));
    }
    absolute(path)
}

/// A path that stays below where it starts, whatever is there.
fn subpath(path: &str) -> Result<()> {
    let mut depth = 0;
    let stays = Path::new(path).components().all(|part| {
        match part {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
            Component::CurDir => {}
            _ => return false,
        }
        depth >= 0
    });
    if stays {
        return Ok(());
    }
    Err(Error::invalid("subpath must be a relative path within the volume"))
}

/// `--volumes-from`: the container, and whether it is only to be read.
///
/// # Errors
/// `InvalidParameter`; propagation and copying are those of the other container.
pub(super) fn volumes_from(text: &str) -> Result<(&str, bool)> {
    if text.is_empty() {
        return Err(Error::invalid("volumes-from specification cannot be an empty string"));
    }
    let (container, mode) = text.split_once(':').unwrap_or((text, ""));
    match parse_mode(mode) {
        Some(Mode { propagation: None, no_copy: false, read_only }) => Ok((container, read_only)),
        _ => Err(bad_mode(mode)),
    }
}

/// Mount options of a tmpfs that `--mount` asks for.
///
/// # Errors
/// `InvalidParameter`.
pub(super) fn tmpfs_options(asked: &TmpfsOptions, read_only: bool) -> Result<Vec<String>> {
    let mut words = Vec::new();
    if read_only {
        words.push("ro".to_string());
    }
    if asked.mode != 0 {
        words.push(format!("mode={:o}", asked.mode));
    }
    if asked.size_bytes != 0 {
        words.push(format!("size={}", asked.size_bytes));
    }
    for option in &asked.options {
        match &option[..] {
            [word] | [word, _] if !matches!(word.as_str(), "exec" | "noexec") => {
                return Err(Error::invalid(format_args!("invalid option: {word}")));
            }
            [word] => words.push(word.clone()),
            [word, value] => words.push(format!("{word}={value}")),
            _ => return Err(Error::invalid("invalid option array length")),
        }
    }
    Ok(words)
}

/// Puts the words of `asked` over Docker's defaults of a tmpfs: of each flag and each value the last counts.
///
/// # Errors
/// `InvalidParameter` for what is no option of a tmpfs.
pub(super) fn merge_tmpfs<'a>(asked: impl Iterator<Item = &'a str>) -> Result<Vec<String>> {
    /// Words that mean the same flag, on and off.
    const FLAGS: &[&[&str]] = &[
        &["ro", "rw"],
        &["suid", "nosuid"],
        &["dev", "nodev"],
        &["exec", "noexec"],
        &["sync", "async"],
        &["dirsync"],
        &["remount"],
        &["mand", "nomand"],
        &["atime", "noatime"],
        &["diratime", "nodiratime"],
        &["relatime", "norelatime"],
        &["strictatime", "nostrictatime"],
        &[
            "bind",
            "rbind",
            "unbindable",
            "runbindable",
            "private",
            "rprivate",
            "shared",
            "rshared",
            "slave",
            "rslave",
        ],
    ];
    const VALUES: &[&str] = &["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
    let defaults = ["noexec", "nosuid", "nodev", DEFAULT_PROPAGATION];
    let mut merged: Vec<(usize, String)> = Vec::new();
    for word in defaults.into_iter().chain(asked) {
        let flag = FLAGS.iter().position(|words| words.contains(&word));
        let value = || {
            let key = word.split_once('=')?.0;
            VALUES.iter().position(|known| *known == key).map(|at| FLAGS.len() + at)
        };
        let key = match flag.or_else(value) {
            Some(key) => key,
            None if word == "defaults" => continue,
            None => {
                let parts: Vec<&str> = word.splitn(2, '=').collect();
                return Err(Error::invalid(format_args!(
                    "invalid tmpfs option [\"{}\"]",
                    parts.join("\" \"")
                )));
            }
        };
        merged.retain(|(other, _)| *other != key);
        merged.push((key, word.to_string()));
    }
    Ok(merged.into_iter().map(|(_, word)| word).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    #[test]
    fn binds_are_read_as_docker_reads_them() {
        let point = bind("/host/./dir:/x/../y/:ro,rshared", "").unwrap();
        assert_eq!((point.source.as_str(), point.destination.as_str()), ("/host/dir", "/y"));
        assert_eq!((point.rw, point.propagation.as_str()), (false, "rshared"));
        assert_eq!(bind("/a:/b:Z,delegated", "").unwrap().propagation, "rprivate");
        let volume = bind("name:/x:ro,nocopy", "far").unwrap();
        assert_eq!((volume.kind.as_str(), volume.name.as_str()), ("volume", "name"));
        assert_eq!((volume.rw, volume.copy_data, volume.driver.as_str()), (false, false, "far"));
        let anonymous = bind("/x", "").unwrap();
        assert!(anonymous.name.is_empty() && anonymous.kind == "volume");
    }

    #[test]
    fn binds_that_cannot_be_are_refused_in_dockers_words() {
        let spec = |text: &str| format!("invalid volume specification: '{text}'");
        for (text, want) in [
            (":/a", spec(":/a")),
            ("/a:ro", spec("/a:ro")),
            ("/a:", spec("/a:")),
            ("/a:/b:ro:x", spec("/a:/b:ro:x")),
            ("/a:/b:bad", "invalid mode: bad".into()),
            ("/a:/b:ro,rw", "invalid mode: ro,rw".into()),
            ("/a:/b:z,Z", "invalid mode: z,Z".into()),
            (
                "/a:b",
                spec("/a:b")
                    + ": invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute",
            ),
            (
                "/a:/b/..",
                spec("/a:/b/..")
                    + ": invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
            ),
            (
                "/a:/b:nocopy",
                spec("/a:/b:nocopy")
                    + ": invalid mount config for type \"bind\": field VolumeOptions must not be specified",
            ),
        ] {
            let e = bind(text, "").unwrap_err();
            assert_eq!((e.kind(), e.message()), (Kind::InvalidParameter, want.as_str()), "{text}");
        }
    }

    #[test]
    fn mounts_that_cannot_be_are_refused_in_dockers_words() {
        let asked = |kind: &str, source: &str| Mount {
            kind: kind.into(),
            source: source.into(),
            target: "/t".into(),
            ..Mount::default()
        };
        let part = |path: &str| Mount {
            volume_options: Some(VolumeOptions { subpath: path.into(), ..Default::default() }),
            ..asked("volume", "data")
        };
        for (mount_, want) in [
            (
                Mount { target: String::new(), ..asked("bind", "/a") },
                "field Target must not be empty",
            ),
            (asked("bind", ""), "field Source must not be empty"),
            (asked("bind", "a"), "invalid mount path: 'a' mount path must be absolute"),
            (asked("bind", "/no/such"), "bind source path does not exist: /no/such"),
            (asked("tmpfs", "/a"), "field Source must not be specified"),
            (asked("image", ""), "field Source must not be empty"),
            (asked("npipe", "x"), "mount type unknown"),
            (
                Mount { read_only: true, ..asked("volume", "") },
                "must not set ReadOnly mode when using anonymous volumes",
            ),
            (part("../x"), "subpath must be a relative path within the volume"),
            (part("a/../../x"), "subpath must be a relative path within the volume"),
            (part("/x"), "subpath must be a relative path within the volume"),
            (
                Mount { source: String::new(), ..part("x") },
                "must not set Subpath when using anonymous volumes",
            ),
            (
                Mount { bind_options: Some(BindOptions::default()), ..asked("volume", "data") },
                "field BindOptions must not be specified",
            ),
        ] {
            let e = mount(&mount_, true).unwrap_err();
            let want = format!("invalid mount config for type \"{}\": {want}", mount_.kind);
            assert_eq!((e.kind(), e.message()), (Kind::InvalidParameter, want.as_str()));
        }
        assert!(mount(&part("a/../b"), true).is_ok());
    }

    #[test]
    fn volumes_from_take_access_and_labels_only() {
        assert_eq!(volumes_from("c").unwrap(), ("c", false));
        assert_eq!(volumes_from("c:ro,z").unwrap(), ("c", true));
        for bad in ["", "c:x", "c:rshared", "c:nocopy"] {
            assert!(volumes_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_word_about_a_tmpfs_counts() {
        let merged = |text: &str| merge_tmpfs(text.split(',').filter(|word| !word.is_empty()));
        assert_eq!(merged("").unwrap(), ["noexec", "nosuid", "nodev", "rprivate"]);
        assert_eq!(
            merged("exec,size=1m,ro,defaults,size=2m,uid=7").unwrap(),
            ["nosuid", "nodev", "rprivate", "exec", "ro", "size=2m", "uid=7"]
        );
        for (text, want) in [
            ("foo", "invalid tmpfs option [\"foo\"]"),
            ("foo=1", "invalid tmpfs option [\"foo\" \"1\"]"),
        ] {
            assert_eq!(merged(text).unwrap_err().to_string(), want);
        }
        let options = |list: &[&[&str]]| TmpfsOptions {
            options: list.iter().map(|o| o.iter().map(ToString::to_string).collect()).collect(),
            ..TmpfsOptions::default()
        };
        assert_eq!(tmpfs_options(&options(&[&["exec"]]), true).unwrap(), ["ro", "exec"]);
        for bad in [options(&[&["dev"]]), options(&[&[]]), options(&[&["a", "b", "c"]])] {
            assert!(tmpfs_options(&bad, false).is_err());
        }
    }
}
