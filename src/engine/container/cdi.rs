//! Devices by name, `vendor.com/class=name`, as vendors describe them in files.
//!
//! The files are read when a container that names a device starts. A device that two directories
//! describe is the one of the later directory. Only JSON is read; a vendor's YAML file is named when a
//! device is not found.
//!
//! Spec: CNCF container-device-interface SPEC.md 1.0.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::devices;
use crate::base::{At, Error, Result, json};
use crate::runtime::spec::{Device, Hook, Mount, Spec};

/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;

crate::wire! {
    /// One file: a kind of devices.
    struct File {
        "cdiVersion" keep version: String,
        "kind" keep kind: String,
        "devices" keep devices: Vec<Named>,
        "containerEdits" keep edits: Edits,
    }
}

crate::wire! {
    /// One device.
    struct Named {
        "name" keep name: String,
        "containerEdits" keep edits: Edits,
    }
}

crate::wire! {
    /// What a container gets.
    struct Edits {
        "env" keep env: Vec<String>,
        "deviceNodes" keep nodes: Vec<Node>,
        "mounts" keep mounts: Vec<Bind>,
        "hooks" keep hooks: Vec<NamedHook>,
        "additionalGids" keep gids: Vec<u32>,
    }
}

crate::wire! {
    /// A device node; what is absent is as on the host.
    struct Node {
        "path" keep path: String,
        "hostPath" keep host_path: String,
        "type" keep kind: String,
        "major" keep major: i64,
        "minor" keep minor: i64,
        "fileMode" keep file_mode: Option<u32>,
        "permissions" keep permissions: String,
        "uid" keep uid: Option<u32>,
        "gid" keep gid: Option<u32>,
    }
}

crate::wire! {
    /// A mount.
    struct Bind {
        "hostPath" keep host_path: String,
        "containerPath" keep container_path: String,
        "type" keep kind: String,
        "options" keep options: Vec<String>,
    }
}

crate::wire! {
    /// A hook by the name of its moment.
    struct NamedHook {
        "hookName" keep name: String,
        "path" keep path: String,
        "args" keep args: Vec<String>,
        "env" keep env: Vec<String>,
        "timeout" keep timeout: Option<i64>,
    }
}

/// Gives the container of `spec` the devices called `names`, as the files in `dirs` describe them.
///
/// # Errors
/// `InvalidParameter` with Docker's text for devices that no file describes, and for what a file asks
/// for and this engine cannot give.
pub fn inject(dirs: &[PathBuf], names: &[String], spec: &mut Spec) -> Result<()> {
    let found = Registry::read(dirs);
    let mut unresolved = Vec::new();
    let mut edits: Vec<&Edits> = Vec::new();
    for name in names {
        match found.devices.get(name.as_str()) {
            Some((file, device)) => {
                let file = &found.files[*file];
                // What all devices of a file share comes once, before them.
                if !edits.iter().any(|known| std::ptr::eq(*known, &file.edits)) {
                    edits.push(&file.edits);
                }
                edits.push(&file.devices[*device].edits);
            }
            None => unresolved.push(name.as_str()),
        }
    }
    if !unresolved.is_empty() {
        let mut text = format!("unresolvable CDI devices {}", unresolved.join(", "));
        for problem in &found.problems {
            text.push_str(&format!("; {problem}"));
        }
        return Err(Error::invalid(text));
    }
    edits.into_iter().try_for_each(|edits| apply(edits, spec))
}

/// All files that could be read, and where each device is: file and place in it.
#[derive(Default)]
struct Registry {
    files: Vec<File>,
    devices: BTreeMap<String, (usize, usize)>,
    problems: Vec<String>,
}

impl Registry {
    fn read(dirs: &[PathBuf]) -> Registry {
        let mut registry = Registry::default();
        for dir in dirs {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths {
                let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
                match extension {
                    "json" => match read_file(&path) {
                        Ok(file) => registry.add(file),
                        Err(e) => registry.problems.push(e.to_string()),
                    },
                    "yaml" | "yml" => registry
                        .problems
                        .push(format!("{} is not read: only JSON files are", path.display())),
                    _ => {}
                }
            }
        }
        registry
    }

    fn add(&mut self, file: File) {
        for (place, device) in file.devices.iter().enumerate() {
            let name = format!("{}={}", file.kind, device.name);
            self.devices.insert(name, (self.files.len(), place));
        }
        self.files.push(file);
    }
}

fn read_file(path: &Path) -> Result<File> {
    let length = fs::metadata(path).at(format_args!("stat {}", path.display()))?.len();
    if length > MAX_FILE {
        return Err(Error::invalid(format_args!("{}: the file is too long", path.display())));
    }
    let bytes = fs::read(path).at(format_args!("reading {}", path.display()))?;
    let file: File = json::parse(&bytes).at(path.display())?;
    let is_kind = file.kind.split_once('/').is_some_and(|(v, c)| !v.is_empty() && !c.is_empty());
    if file.version.is_empty() || !is_kind {
        let text = format!("{}: cdiVersion and kind are needed", path.display());
        return Err(Error::invalid(text));
    }
    Ok(file)
}

fn apply(edits: &Edits, spec: &mut Spec) -> Result<()> {
    let process = spec.process.get_or_insert_default();
    for entry in &edits.env {
        let key = entry.split('=').next().unwrap_or_default();
        process.env.retain(|have| have.split('=').next() != Some(key));
        process.env.push(entry.clone());
    }
    for gid in &edits.gids {
        if *gid != 0 && !process.user.additional_gids.contains(gid) {
            process.user.additional_gids.push(*gid);
        }
    }
    for bind in &edits.mounts {
        spec.mounts.retain(|mount| mount.destination != bind.container_path);
        spec.mounts.push(Mount {
            destination: bind.container_path.clone(),
            kind: if bind.kind.is_empty() { "bind".into() } else { bind.kind.clone() },
            source: bind.host_path.clone(),
            options: bind.options.clone(),
            ..Mount::default()
        });
    }
    for node in &edits.nodes {
        add_node(node, spec)?;
    }
    for hook in &edits.hooks {
        add_hook(hook, spec)?;
    }
    Ok(())
}

fn add_node(node: &Node, spec: &mut Spec) -> Result<()> {
    let source = if node.host_path.is_empty() { &node.path } else { &node.host_path };
    let mut device = Device {
        path: node.path.clone(),
        kind: node.kind.clone(),
        major: node.major,
        minor: node.minor,
        ..Device::default()
    };
    if device.kind.is_empty() || (device.major == 0 && device.minor == 0 && device.kind != "p") {
        let meta = fs::metadata(source).at(format_args!("stat {source}"))?;
        device = devices::node(&meta, &node.path)
            .ok_or_else(|| Error::invalid(format_args!("{source}: not a device node")))?;
    }
    device.file_mode = node.file_mode.or(device.file_mode);
    device.uid = node.uid.or(device.uid);
    device.gid = node.gid.or(device.gid);
    let access = if node.permissions.is_empty() { "rwm" } else { &node.permissions };
    let linux = spec.linux.get_or_insert_default();
    if matches!(device.kind.as_str(), "b" | "c") {
        let rule = devices::rule_of(&device, access);
        linux.resources.get_or_insert_default().devices.push(rule);
    }
    linux.devices.retain(|known| known.path != device.path);
    linux.devices.push(device);
    Ok(())
}

fn add_hook(named: &NamedHook, spec: &mut Spec) -> Result<()> {
    let hooks = spec.hooks.get_or_insert_default();
    let list = match named.name.as_str() {
        "prestart" => &mut hooks.prestart,
        "createRuntime" => &mut hooks.create_runtime,
        "createContainer" => &mut hooks.create_container,
        "startContainer" => &mut hooks.start_container,
        "poststart" => &mut hooks.poststart,
        "poststop" => &mut hooks.poststop,
        name => return Err(Error::invalid(format_args!("unknown hook {name:?}"))),
    };
    list.push(Hook {
        path: named.path.clone(),
        args: named.args.clone(),
        env: named.env.clone(),
        timeout: named.timeout,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("cdi-{:x}", crate::sys::random::u64()));
        fs::create_dir(&dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn a_named_device_brings_what_its_file_says() {
        let text = r#"{"cdiVersion":"0.6.0","kind":"a.com/gpu","containerEdits":{"env":["ALL=1"]},
            "devices":[{"name":"0","containerEdits":{"env":["ONE=1"],
              "deviceNodes":[{"path":"/dev/mine","hostPath":"/dev/null","permissions":"rw"}],
              "mounts":[{"hostPath":"/lib","containerPath":"/vendor","options":["ro","bind"]}],
              "hooks":[{"hookName":"createContainer","path":"/bin/true"}]}}]}"#;
        let dir = directory(&[("a.json", text)]);
        let mut spec = Spec::default();
        inject(std::slice::from_ref(&dir), &["a.com/gpu=0".into()], &mut spec).unwrap();
        assert_eq!(spec.process.unwrap().env, ["ALL=1", "ONE=1"]);
        assert_eq!(spec.mounts[0].kind, "bind");
        assert_eq!(spec.hooks.unwrap().create_container[0].path, "/bin/true");
        let linux = spec.linux.unwrap();
        assert_eq!((linux.devices[0].major, linux.devices[0].minor), (1, 3));
        let rules = linux.resources.unwrap().devices;
        assert_eq!((rules[0].access.as_str(), rules[0].major), ("rw", Some(1)));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_device_that_nobody_describes_is_named() {
        let dir = directory(&[("n.yaml", "kind: nvidia.com/gpu"), ("bad.json", "{")]);
        let names = ["nvidia.com/gpu=0".to_string()];
        let e = inject(std::slice::from_ref(&dir), &names, &mut Spec::default())
            .unwrap_err()
            .to_string();
        assert!(e.starts_with("unresolvable CDI devices nvidia.com/gpu=0; "), "{e}");
        assert!(e.contains("n.yaml is not read: only JSON files are"), "{e}");
        assert!(e.contains("bad.json"), "{e}");
        fs::remove_dir_all(dir).unwrap();
    }
}
