//! Where a user's configuration lies.

use std::env;
use std::path::{Path, PathBuf};

/// The home directory: `$HOME`, else the entry of the user in `/etc/passwd`, else `/`.
///
/// The file is read directly: a static executable must not load the host's name service modules.
pub fn home() -> PathBuf {
    match env::var_os("HOME") {
        Some(home) if !home.is_empty() => home.into(),
        _ => {
            let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
            home_in(&passwd, nix::unistd::getuid().as_raw()).unwrap_or_else(|| "/".into())
        }
    }
}

fn home_in(passwd: &str, uid: u32) -> Option<PathBuf> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.len() >= 6 && fields[2] == uid && !fields[5].is_empty())
            .then(|| PathBuf::from(fields[5]))
    })
}

/// The client's configuration directory: `$DOCKER_CONFIG`, else `~/.docker`.
pub fn client_dir() -> PathBuf {
    match env::var_os("DOCKER_CONFIG") {
        Some(dir) if !dir.is_empty() => dir.into(),
        _ => home().join(".docker"),
    }
}

/// The directory of `ca.pem`, `cert.pem` and `key.pem`: `$DOCKER_CERT_PATH`, else [`client_dir`].
pub fn cert_dir() -> PathBuf {
    match env::var_os("DOCKER_CERT_PATH") {
        Some(dir) if !dir.is_empty() => dir.into(),
        _ => client_dir(),
    }
}

/// The three files of TLS in `dir`: authorities, certificate, key.
pub fn tls_files(dir: &Path) -> [PathBuf; 3] {
    ["ca.pem", "cert.pem", "key.pem"].map(|name| dir.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_of_a_user_is_read_from_the_file() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nu:x:1000:1000::/home/u:/bin/sh\n";
        assert_eq!(home_in(passwd, 1000), Some("/home/u".into()));
        assert_eq!(home_in(passwd, 0), Some("/root".into()));
        assert_eq!(home_in(passwd, 5), None);
    }
}
