//! SELinux: whether it is there, and the labels of containers.
//!
//! A label is `user:role:type:level`. All containers have the same but for the level, which holds two
//! categories of its own for each: so they cannot read each other's files.
//!
//! Spec: selinux(8); the policy's `contexts/lxc_contexts`; texts of opencontainers/selinux `label`.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use nix::sys::statfs::statfs;

use super::random;
use crate::base::{At, Error, Result};

/// How many categories a policy has.
const CATEGORIES: u64 = 1024;
/// Type of selinuxfs, from `linux/magic.h`.
const SELINUX_MAGIC: u64 = 0xf97c_ff8c;

/// Whether the kernel enforces or watches a policy; that does not change while it runs.
pub fn is_enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| {
        let mounted = statfs("/sys/fs/selinux")
            .is_ok_and(|found| found.filesystem_type().0 as u64 & 0xffff_ffff == SELINUX_MAGIC);
        // Before a policy was loaded every process is `kernel`.
        let own = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
        mounted && own.trim_end_matches('\0') != "kernel"
    })
}

/// What the policy says of containers: labels without categories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contexts {
    /// Of processes.
    pub process: String,
    /// Of files.
    pub file: String,
}

impl Contexts {
    /// Reads them from the policy that the host uses. Empty if it knows no containers.
    ///
    /// # Errors
    /// `Io` if there is no configuration of SELinux.
    pub fn read() -> Result<Contexts> {
        let config = fs::read_to_string("/etc/selinux/config").at("reading /etc/selinux/config")?;
        let policy = value(&config, "SELINUXTYPE").unwrap_or_else(|| "targeted".into());
        let dir = Path::new("/etc/selinux").join(policy);
        let text = fs::read_to_string(dir.join("contexts/lxc_contexts"));
        Ok(Contexts::parse(&text.unwrap_or_default()))
    }

    fn parse(text: &str) -> Contexts {
        let get = |key| value(text, key).unwrap_or_default();
        Contexts { process: get("process"), file: get("file") }
    }
}

/// `key = "value"` of a file with one a line.
fn value(text: &str, key: &str) -> Option<String> {
    let line = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let found =
        line.filter_map(|line| line.split_once('=')).find(|(name, _)| name.trim() == key)?;
    Some(found.1.trim().trim_matches('"').to_string())
}

/// The labels of a new container: of its processes and of what is mounted for it. `options` are those of
/// `--security-opt label=`; `taken` the process labels that others have.
///
/// # Errors
/// `InvalidParameter` with Docker's text for an option that is none.
pub fn labels(
    contexts: &Contexts,
    options: &[String],
    taken: &[String],
) -> Result<(String, String)> {
    if contexts.process.is_empty() {
        return Ok(Default::default());
    }
    if options.iter().any(|option| option == "disable") {
        // All categories: no confined process may touch its files.
        let level = format!("s0:c0.c{}", CATEGORIES - 1);
        return Ok((String::new(), Label::parse(&contexts.file).with("level", &level).text()));
    }
    let level = free_level(taken)?;
    let mut process = Label::parse(&contexts.process).with("level", &level);
    let mut file = Label::parse(&contexts.file).with("level", &level);
    for option in options {
        let (key, value) = option
            .split_once(':')
            .filter(|(key, _)| ["user", "role", "type", "level", "filetype"].contains(key))
            .ok_or_else(|| {
                Error::invalid(format_args!(
                    "bad label option {option:?}, valid options 'disable' or \n'user, role, level, \
                     type, filetype' followed by ':' and a value"
                ))
            })?;
        if key == "filetype" {
            file = file.with("type", value);
            continue;
        }
        process = process.with(key, value);
        if matches!(key, "level" | "user") {
            file = file.with(key, value);
        }
    }
    Ok((process.text(), file.text()))
}

/// The options that give another container the label `label`; none for no label.
pub fn options_of(label: &str) -> Vec<String> {
    if label.is_empty() {
        return Vec::new();
    }
    let Label { user, role, kind, level } = Label::parse(label);
    let mut options = vec![format!("user:{user}"), format!("role:{role}"), format!("type:{kind}")];
    if !level.is_empty() {
        options.push(format!("level:{level}"));
    }
    options
}

#[derive(Clone)]
struct Label {
    user: String,
    role: String,
    kind: String,
    level: String,
}

impl Label {
    fn parse(text: &str) -> Label {
        let mut parts = text.trim().splitn(4, ':').map(str::to_string);
        let mut next = || parts.next().unwrap_or_default();
        Label { user: next(), role: next(), kind: next(), level: next() }
    }

    fn with(mut self, key: &str, value: &str) -> Label {
        let part = match key {
            "user" => &mut self.user,
            "role" => &mut self.role,
            "type" => &mut self.kind,
            _ => &mut self.level,
        };
        *part = value.into();
        self
    }

    fn text(&self) -> String {
        let Label { user, role, kind, level } = self;
        if level.is_empty() {
            format!("{user}:{role}:{kind}")
        } else {
            format!("{user}:{role}:{kind}:{level}")
        }
    }
}

/// A pair of categories that nobody has.
fn free_level(taken: &[String]) -> Result<String> {
    // There are half a million pairs: some tries are enough unless nearly all are taken.
    for _ in 0..1000 {
        let (a, b) = (random::u64() % CATEGORIES, random::u64() % CATEGORIES);
        let level = format!("s0:c{},c{}", a.min(b), a.max(b));
        if a != b && !taken.iter().any(|label| label.ends_with(&format!(":{level}"))) {
            return Ok(level);
        }
    }
    Err(Error::internal("no SELinux categories are left"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "process = \"system_u:system_r:container_t:s0\"\n\
                        content = \"system_u:object_r:virt_var_lib_t:s0\"\n\
                        file = \"system_u:object_r:container_file_t:s0\"\n";

    fn of(options: &[&str]) -> Result<(String, String)> {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        labels(&Contexts::parse(FILE), &options, &[])
    }

    #[test]
    fn every_container_has_categories_of_its_own() {
        let (process, file) = of(&[]).unwrap();
        let level = process.strip_prefix("system_u:system_r:container_t:s0:c").unwrap();
        assert!(level.contains(",c") && file.ends_with(level), "{process} {file}");
        assert!(file.starts_with("system_u:object_r:container_file_t:s0:c"), "{file}");
        assert_ne!(of(&[]).unwrap(), of(&[]).unwrap());
    }

    #[test]
    fn options_change_the_labels_as_with_docker() {
        let (process, file) = of(&["type:spc_t", "level:s0:c1,c2", "filetype:x_t"]).unwrap();
        assert_eq!(process, "system_u:system_r:spc_t:s0:c1,c2");
        assert_eq!(file, "system_u:object_r:x_t:s0:c1,c2");
        let (process, file) = of(&["disable"]).unwrap();
        assert_eq!((process.as_str(), file.ends_with(":s0:c0.c1023")), ("", true));
        assert!(of(&["x"]).unwrap_err().message().starts_with("bad label option \"x\""));
        assert!(of(&["x:y"]).is_err());
        assert_eq!(labels(&Contexts::default(), &[], &[]).unwrap().0, "");
    }

    #[test]
    fn a_label_can_be_given_to_another_container() {
        let options = options_of("system_u:system_r:container_t:s0:c1,c2");
        assert_eq!(
            options,
            ["user:system_u", "role:system_r", "type:container_t", "level:s0:c1,c2"]
        );
        assert!(options_of("").is_empty());
    }
}
