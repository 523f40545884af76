//! The real `docker-registry` of Debian, on a free port of the loopback interface.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::authority::Authority;
use super::images::Layout;
use super::namespace::Namespace;
use super::{Process, Scratch, free_port, namespace, run};

/// The account of registries that want one.
pub const USER: &str = "user";
pub const PASSWORD: &str = "secret";
const HTPASSWD: &str = "user:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// How a registry is to be set up.
#[derive(Default)]
pub struct Setup<'a> {
    /// Serve https with this server certificate; its file names without ending.
    pub tls: Option<(&'a Authority, &'a str)>,
    /// Demand a client certificate signed by the authority.
    pub client_certificate: bool,
    /// Demand [`USER`] and [`PASSWORD`].
    pub basic: bool,
    /// Run there; whoever wants to speak to the registry has to be there too.
    pub namespace: Option<&'a Namespace>,
    /// Listen there instead of 127.0.0.1.
    pub listen: Option<&'a str>,
}

/// A running registry. Its content vanishes with it.
pub struct Registry {
    process: Process,
    dir: Scratch,
    host: String,
    port: u16,
    basic: bool,
    certificates: Option<PathBuf>,
    /// A process in the registry's network namespace, if that is not ours.
    netns: Option<u32>,
}

impl Registry {
    /// Over plain http, open to everybody.
    pub fn plain() -> Registry {
        Registry::start(&Setup::default())
    }

    pub fn start(setup: &Setup<'_>) -> Registry {
        let dir = Scratch::new("reg");
        // Another process may take the port before the registry does.
        for _ in 0..10 {
            let port = free_port();
            let config = dir.join("config.yml");
            std::fs::write(&config, configuration(setup, dir.path(), port)).unwrap();
            std::fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
            let mut command = match setup.namespace {
                Some(namespace) => namespace.command("docker-registry"),
                None => Command::new("docker-registry"),
            };
            command.arg("serve").arg(&config).current_dir(dir.path());
            let started = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                Process::start(&mut command, "listening on")
            }));
            if let Ok(process) = started {
                let certificates = setup.tls.map(|(authority, _)| {
                    let certs = dir.join("certs");
                    std::fs::create_dir_all(&certs).unwrap();
                    for (from, to) in [
                        ("ca.crt", "ca.crt"),
                        ("client.crt", "client.cert"),
                        ("client.key", "client.key"),
                    ] {
                        std::fs::copy(authority.file(from), certs.join(to)).unwrap();
                    }
                    if let Some((_, name)) = setup.tls {
                        // A self-signed server is trusted by its own certificate.
                        std::fs::copy(
                            authority.file(&format!("{name}.crt")),
                            certs.join("own.crt"),
                        )
                        .unwrap();
                    }
                    certs
                });
                let netns = setup.namespace.map(Namespace::pid);
                let host = setup.listen.unwrap_or("localhost").to_string();
                let basic = setup.basic;
                return Registry { process, dir, host, port, basic, certificates, netns };
            }
        }
        panic!("docker-registry did not start");
    }

    /// `localhost:PORT`, unless it listens elsewhere.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The whole name of an image in this registry.
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address())
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where the registry keeps the bytes of a blob, for tests that spoil them.
    pub fn blob_path(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.dir.join("data/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    /// Copies the image of an OCI layout to `image` (`repository:tag`) with skopeo.
    pub fn push(&self, layout: &Layout, image: &str) {
        self.push_with(layout.path(), image, &[]);
    }

    /// The same, with further options for `skopeo copy`, such as `--format v2s2`.
    pub fn push_with(&self, layout: &Path, image: &str, options: &[&str]) {
        let mut command = match self.netns {
            Some(pid) => namespace::enter(pid, "skopeo"),
            None => Command::new("skopeo"),
        };
        command.args(["copy", "-q", "--insecure-policy", "--dest-tls-verify=false"]);
        if self.basic {
            command.arg(format!("--dest-creds={USER}:{PASSWORD}"));
        }
        if let Some(certificates) = &self.certificates {
            command.arg("--dest-cert-dir").arg(certificates);
        }
        command.args(options).arg(format!("oci:{}", layout.display()));
        run(command.arg(format!("docker://{}", self.name(image))));
    }
}

fn configuration(setup: &Setup<'_>, dir: &Path, port: u16) -> String {
    let mut text = format!(
        "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n  \
         delete:\n    enabled: true\nhttp:\n  addr: {}:{port}\n",
        dir.join("data").display(),
        setup.listen.unwrap_or("127.0.0.1")
    );
    if let Some((authority, name)) = setup.tls {
        let file = |ending: &str| authority.file(&format!("{name}.{ending}")).display().to_string();
        write!(text, "  tls:\n    certificate: {}\n    key: {}\n", file("crt"), file("key"))
            .unwrap();
        if setup.client_certificate {
            writeln!(text, "    clientcas:\n      - {}", authority.file("ca.crt").display())
                .unwrap();
        }
    }
    if setup.basic {
        let path = dir.join("htpasswd").display().to_string();
        write!(text, "auth:\n  htpasswd:\n    realm: test\n    path: {path}\n").unwrap();
    }
    text
}
