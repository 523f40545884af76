//! `--mount type=...,source=...,target=...`.

use std::path::Path;

use crate::api::types::mount::{
    BindOptions, DriverConfig, ImageOptions, Mount, TmpfsOptions, VolumeOptions,
};
use crate::base::bytesize;
use crate::cli::pflag::go_bool;

/// Reads one value; a source that starts with `.` is below `current_dir`.
///
/// # Errors
/// Docker's texts.
pub fn parse(value: &str, current_dir: &Path) -> Result<Mount, String> {
    let mut mount = Mount { kind: "volume".into(), ..Mount::default() };
    for field in super::csv_fields(value)? {
        one(&mut mount, &field, current_dir)?;
    }
    check(&mount)?;
    Ok(mount)
}

fn one(mount: &mut Mount, field: &str, current_dir: &Path) -> Result<(), String> {
    let (key, value) = match field.split_once('=') {
        Some((key, value)) => (key.to_lowercase(), value),
        None => {
            match field.to_lowercase().as_str() {
                "readonly" | "ro" => mount.read_only = true,
                "volume-nocopy" => volume(mount).no_copy = true,
                "bind-nonrecursive" => bind(mount).non_recursive = true,
                _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
            }
            return Ok(());
        }
    };
    let bad = || format!("invalid value for {key}: {value}");
    match key.as_str() {
        "type" => mount.kind = value.to_lowercase(),
        "source" | "src" => {
            mount.source = match value.starts_with('.') {
                true => super::volume::absolute(value, current_dir),
                false => value.to_string(),
            }
        }
        "target" | "dst" | "destination" => mount.target = value.to_string(),
        "readonly" | "ro" => mount.read_only = go_bool(value).map_err(|_| bad())?,
        "consistency" => mount.consistency = value.to_lowercase(),
        "bind-propagation" => bind(mount).propagation = value.to_lowercase(),
        "bind-nonrecursive" => {
            bind(mount).non_recursive = go_bool(value).map_err(|_| bad())?;
            crate::cli::print::err(
                "WARNING: bind-nonrecursive is deprecated, use bind-recursive=disabled instead\n",
            );
        }
        "bind-recursive" => match value {
            "enabled" => {}
            "disabled" => bind(mount).non_recursive = true,
            "writable" => bind(mount).read_only_non_recursive = true,
            "readonly" => bind(mount).read_only_force_recursive = true,
            _ => {
                return Err(format!(
                    "{} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")",
                    bad()
                ));
            }
        },
        "volume-subpath" => volume(mount).subpath = value.to_string(),
        "volume-nocopy" => volume(mount).no_copy = go_bool(value).map_err(|_| bad())?,
        "volume-label" => {
            if let Some((name, value)) = pair(value) {
                volume(mount).labels.insert(name, value);
            }
        }
        "volume-driver" => driver(mount).name = value.to_string(),
        "volume-opt" => {
            if let Some((name, value)) = pair(value) {
                driver(mount).options.insert(name, value);
            }
        }
        "image-subpath" => {
            mount.image_options.get_or_insert_default().subpath = value.to_string();
        }
        "tmpfs-size" => {
            tmpfs(mount).size_bytes = bytesize::parse(value).map_err(|_| bad())?;
        }
        "tmpfs-mode" => {
            let digits = !value.starts_with(['+', '-']);
            let mode = digits.then(|| u32::from_str_radix(value, 8).ok()).flatten();
            tmpfs(mount).mode = mode.ok_or_else(bad)?;
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_default()
}

fn volume(mount: &mut Mount) -> &mut VolumeOptions {
    let options: &mut VolumeOptions = mount.volume_options.get_or_insert_default();
    options.driver_config.get_or_insert_default();
    options
}

fn driver(mount: &mut Mount) -> &mut DriverConfig {
    volume(mount).driver_config.get_or_insert_default()
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_default()
}

fn pair(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (!name.is_empty()).then(|| (name.to_string(), value.to_string()))
}

fn check(mount: &Mount) -> Result<(), String> {
    let kind = &mount.kind;
    if kind.is_empty() {
        return Err("type is required".into());
    }
    if mount.target.is_empty() {
        return Err("target is required".into());
    }
    let image: Option<&ImageOptions> = mount.image_options.as_ref();
    for (given, of) in [
        (mount.volume_options.is_some(), "volume"),
        (image.is_some(), "image"),
        (mount.bind_options.is_some(), "bind"),
        (mount.tmpfs_options.is_some(), "tmpfs"),
    ] {
        if given && kind != of {
            return Err(format!("cannot mix '{of}-*' options with mount type '{kind}'"));
        }
    }
    let needs = |what: &str, other: &str| {
        Err(format!(
            "option 'bind-recursive={what}' requires '{other}' to be specified in conjunction"
        ))
    };
    match &mount.bind_options {
        Some(b) if b.read_only_non_recursive && !mount.read_only => needs("writable", "readonly"),
        Some(b) if b.read_only_force_recursive && !mount.read_only => needs("readonly", "readonly"),
        Some(b) if b.read_only_force_recursive && b.propagation != "rprivate" => {
            needs("readonly", "bind-propagation=rprivate")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::json::to_string;

    fn one(value: &str) -> Result<String, String> {
        parse(value, Path::new("/home/me")).map(|mount| to_string(&mount))
    }

    #[test]
    fn mounts_become_what_the_api_takes() {
        for (value, want) in [
            (
                "type=bind,src=./a,dst=/b,ro",
                r#"{"Type":"bind","Source":"/home/me/a","Target":"/b","ReadOnly":true}"#,
            ),
            ("target=/b", r#"{"Type":"volume","Target":"/b"}"#),
            (
                "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770",
                r#"{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":1048576,"Mode":1016}}"#,
            ),
            (
                "type=bind,source=/a,target=/b,readonly,bind-propagation=rprivate,bind-recursive=readonly",
                r#"{"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true,"BindOptions":{"Propagation":"rprivate","ReadOnlyForceRecursive":true}}"#,
            ),
            (
                "src=v,target=/b,volume-nocopy,volume-label=a=b,volume-opt=type=nfs",
                r#"{"Type":"volume","Source":"v","Target":"/b","VolumeOptions":{"NoCopy":true,"Labels":{"a":"b"},"DriverConfig":{"Options":{"type":"nfs"}}}}"#,
            ),
        ] {
            assert_eq!(one(value).as_deref(), Ok(want), "{value}");
        }
    }

    #[test]
    fn wrong_mounts_are_refused_in_dockers_words() {
        for (value, want) in [
            ("", "EOF"),
            ("type=bind,source=/a", "target is required"),
            ("type=,target=/a", "type is required"),
            ("target=/a,x", "invalid field 'x' must be a key=value pair"),
            ("target=/a,x=y", "unexpected key 'x' in 'x=y'"),
            ("target=/a,ro=maybe", "invalid value for ro: maybe"),
            (
                "type=bind,target=/a,volume-nocopy=true",
                "cannot mix 'volume-*' options with mount type 'bind'",
            ),
            (
                "type=bind,target=/a,bind-recursive=no",
                "invalid value for bind-recursive: no (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")",
            ),
            (
                "type=bind,source=/a,target=/a,bind-recursive=writable",
                "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
            ),
            ("type=tmpfs,target=/a,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
        ] {
            assert_eq!(one(value).unwrap_err(), want, "{value}");
        }
    }
}
