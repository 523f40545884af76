//! A certificate authority for one test, made by openssl.

use std::path::PathBuf;
use std::process::Command;

use super::{Scratch, run};

/// Names of the servers that certificates are made for.
const NAMES: &str = "DNS:localhost,DNS:registry.test,IP:127.0.0.1,IP:10.99.0.1";

/// A CA, and certificates that it signed for a server of any of [`NAMES`] and for a client.
pub struct Authority {
    dir: Scratch,
}

impl Authority {
    pub fn new() -> Authority {
        let authority = Authority { dir: Scratch::new("ca") };
        authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        ]);
        authority.sign("server", &format!("subjectAltName={NAMES}"));
        authority.sign("client", "extendedKeyUsage=clientAuth");
        authority
    }

    /// Makes `name.key` and `name.crt`, with one X.509 extension.
    pub fn sign(&self, name: &str, extension: &str) {
        let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
        let subject = format!("/CN={name}");
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &request,
        ]);
        let extensions = format!("{name}.ext");
        std::fs::write(self.file(&extensions), extension).unwrap();
        let certificate = format!("{name}.crt");
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            &extensions,
            "-out",
            &certificate,
        ]);
    }

    /// Makes `name.key` and a self-signed `name.crt` for `localhost` that calls itself an authority,
    /// as `openssl req -x509` does unless told otherwise.
    pub fn self_signed(&self, name: &str) {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        self.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            &format!("subjectAltName={NAMES}"),
            "-keyout",
            &key,
            "-out",
            &certificate,
        ]);
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn openssl(&self, args: &[&str]) {
        run(Command::new("openssl").args(args).current_dir(self.dir.path()));
    }
}
