//! Options of the local driver: what is mounted in the place of a volume's directory.
//!
//! `opts.json` is Docker's: `{"MountType":"nfs","MountOpts":"addr=host","MountDevice":":/x","Quota":{"Size":0}}`.
//!
//! Spec: moby `volume/local/local_unix.go`; `docker volume create` reference.

use std::path::Path;

use crate::base::file::{Durable, read_optional, write_atomic};
use crate::base::json::{self, TextMap};
use crate::base::{At, Error, Result, bytesize};
use crate::wire;

const FILE: &str = "opts.json";

wire! {
    /// What `opts.json` holds.
    pub struct Options {
        "MountType" keep kind: String,
        "MountOpts" keep options: String,
        "MountDevice" keep device: String,
        "Quota" keep quota: Quota,
    }
}

wire! {
    /// Limits of what a volume may hold.
    pub struct Quota {
        "Size" keep size_bytes: u64,
    }
}

impl json::Empty for Quota {
    fn is_zero(&self) -> bool {
        self.size_bytes == 0
    }
}

impl Options {
    /// Reads options as clients give them: `type`, `o`, `device`, `size`.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's texts.
    pub fn parse(given: &TextMap) -> Result<Options> {
        const KNOWN: &[&str] = &["type", "o", "device", "size"];
        const NEEDS: &[(&str, &str)] =
            &[("device", "type"), ("type", "device"), ("o", "device"), ("o", "type")];
        if let Some(unknown) = given.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(Error::invalid(format_args!("invalid option: \"{unknown}\"")));
        }
        let text = |key: &str| given.get(key).cloned().unwrap_or_default();
        let (kind, device) = (text("type"), text("device"));
        if kind == "cifs" && share_port(&device).is_some() {
            return Err(Error::invalid(
                "port not allowed in CIFS device URL, include 'port' in 'o='",
            ));
        }
        let size_bytes = match given.get("size") {
            Some(size) => bytesize::parse(size)?.try_into().unwrap_or(0),
            None => 0,
        };
        for (option, needed) in NEEDS {
            if given.contains_key(*option) && !given.contains_key(*needed) {
                return Err(Error::invalid(format_args!("missing required option: \"{needed}\"")));
            }
        }
        Ok(Options { kind, options: text("o"), device, quota: Quota { size_bytes } })
    }

    /// The options of the volume in `dir`; those of a volume without any are the default.
    ///
    /// # Errors
    /// `Io`; `InvalidParameter` if the file is damaged: what the volume is cannot be known then.
    pub fn load(dir: &Path) -> Result<Options> {
        let path = dir.join(FILE);
        match read_optional(&path)? {
            Some(bytes) => json::parse(&bytes).at(format_args!("reading {}", path.display())),
            None => Ok(Options::default()),
        }
    }

    /// Writes `opts.json` into `dir`, unless there is nothing to write.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn save(&self, dir: &Path, durable: Durable) -> Result<()> {
        if *self == Options::default() {
            return Ok(());
        }
        write_atomic(&dir.join(FILE), json::to_string(self).as_bytes(), 0o600, durable)
    }

    /// Whether something is to be mounted.
    pub fn needs_mount(&self) -> bool {
        !self.device.is_empty() || !self.kind.is_empty()
    }

    /// The options as a client would give them.
    pub fn as_given(&self) -> TextMap {
        let size = match self.quota.size_bytes {
            0 => String::new(),
            bytes => bytes.to_string(),
        };
        [("type", &self.kind), ("o", &self.options), ("device", &self.device), ("size", &size)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_string(), value.clone()))
            .collect()
    }
}

/// The host of `//host/share` or `//host:port/share`.
pub(super) fn share_host(device: &str) -> Option<&str> {
    let authority = device.strip_prefix("//")?.split('/').next()?;
    let host = authority.rsplit('@').next()?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => host.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

fn share_port(device: &str) -> Option<&str> {
    let authority = device.strip_prefix("//")?.split('/').next()?;
    let (before, port) = authority.rsplit_once(':')?;
    (!port.is_empty() && (!before.contains('[') || before.ends_with(']'))).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> TextMap {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    #[test]
    fn options_become_what_docker_writes() {
        let given = map(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=1000")]);
        let options = Options::parse(&given).unwrap();
        assert!(options.needs_mount());
        assert_eq!(options.as_given(), given);
        assert_eq!(
            json::to_string(&options),
            r#"{"MountType":"tmpfs","MountOpts":"size=1m,uid=1000","MountDevice":"tmpfs","Quota":{"Size":0}}"#
        );
        let quota = Options::parse(&map(&[("size", "1g")])).unwrap();
        assert!(!quota.needs_mount());
        assert_eq!(quota.quota.size_bytes, 1 << 30);
    }

    #[test]
    fn options_that_cannot_be_are_refused_in_dockers_words() {
        for (given, want) in [
            (map(&[("foo", "x")]), "invalid option: \"foo\""),
            (map(&[("device", "x")]), "missing required option: \"type\""),
            (map(&[("type", "x")]), "missing required option: \"device\""),
            (map(&[("o", "x")]), "missing required option: \"device\""),
            (map(&[("size", "x")]), "invalid size: 'x'"),
            (
                map(&[("type", "cifs"), ("device", "//host:445/share")]),
                "port not allowed in CIFS device URL, include 'port' in 'o='",
            ),
        ] {
            assert_eq!(Options::parse(&given).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn hosts_of_shares_are_found() {
        for (device, host) in [
            ("//server/share", Some("server")),
            ("//user@server/share/x", Some("server")),
            ("//[fd00::1]/share", Some("fd00::1")),
            (":/export", None),
            ("//", None),
        ] {
            assert_eq!(share_host(device), host, "{device}");
        }
    }
}
