//! Whom a pull believes, and which way it goes: certificates, plain HTTP, mirrors, proxies.
//!
//! Registries on loopback are trusted by themselves, so these have an address that is none, in a
//! network of their own.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use support::authority::Authority;
use support::faulty::{Fault, Faulty};
use support::images::{self, Packing, Style};
use support::namespace::Namespace;
use support::registry::{Registry, Setup};
use support::{MULTI, Scratch, output, run, text};

const ADDRESS: &str = "10.99.0.1";

/// A registry at [`ADDRESS`] with one image, and the place to pull from it.
struct Far {
    namespace: Namespace,
    registry: Registry,
    scratch: Scratch,
}

impl Far {
    fn new(tls: Option<(&Authority, &str)>) -> Far {
        let namespace = Namespace::new();
        run(namespace.command("ip").args(["address", "add", "10.99.0.1/24", "dev", "lo"]));
        let registry = Registry::start(&Setup {
            tls,
            namespace: Some(&namespace),
            listen: Some(ADDRESS),
            ..Setup::default()
        });
        let scratch = Scratch::new("trust");
        let layout = images::small(Style::Oci, Packing::Gzip).write_layout(&scratch.join("source"));
        registry.push(&layout, "app:1");
        Far { namespace, registry, scratch }
    }

    fn pull(&self, options: &[&str]) -> Output {
        let mut command = self.namespace.command(MULTI);
        command.args(["registry-pull", "-q", &self.registry.name("app:1"), "-o"]);
        command.arg(self.scratch.join("out")).env("HOME", self.scratch.path()).args(options);
        output(&mut command)
    }

    /// The error of a pull, with the registry's name taken out.
    fn refused(&self, options: &[&str]) -> String {
        let output = self.pull(options);
        assert_eq!(output.status.code(), Some(1));
        assert!(!self.scratch.join("out").exists());
        text(&output.stderr).trim().replace(&self.registry.address(), "REG")
    }

    fn pulled(&self, options: &[&str]) {
        let output = self.pull(options);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// Makes a certs.d with `file` of the authority as `ca.crt` of the registry.
    fn trust(&self, authority: &Authority, file: &str) -> String {
        let certs = self.scratch.join("certs.d");
        let own = certs.join(self.registry.address());
        std::fs::create_dir_all(&own).unwrap();
        std::fs::copy(authority.file(file), own.join("ca.crt")).unwrap();
        certs.to_str().unwrap().to_string()
    }
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused_until_it_is_known() {
    let authority = Authority::new();
    let far = Far::new(Some((&authority, "server")));
    assert_eq!(
        far.refused(&[]),
        "multi registry-pull: Get \"https://REG/v2/\": tls: failed to verify certificate: x509: \
         certificate signed by unknown authority; to trust it all the same, start the daemon with \
         --insecure-registry REG"
    );
    let certs = far.trust(&Authority::new(), "ca.crt");
    assert!(far.refused(&["--certs-dir", &certs]).contains("unknown authority"));
    let certs = far.trust(&authority, "ca.crt");
    far.pulled(&["--certs-dir", &certs]);
}

#[test]
fn an_unknown_authority_is_no_matter_for_an_insecure_registry() {
    let authority = Authority::new();
    let far = Far::new(Some((&authority, "server")));
    far.pulled(&["--insecure"]);
}

#[test]
fn a_self_signed_certificate_is_believed_where_it_is_pinned() {
    let authority = Authority::new();
    authority.self_signed("own");
    let far = Far::new(Some((&authority, "own")));
    assert!(far.refused(&[]).contains("x509"));
    let certs = far.trust(&authority, "own.crt");
    far.pulled(&["--certs-dir", &certs]);
}

#[test]
fn a_certificate_for_another_name_or_time_is_refused() {
    let authority = Authority::new();
    authority.sign("other", "subjectAltName=DNS:other.example");
    let far = Far::new(Some((&authority, "other")));
    let certs = far.trust(&authority, "ca.crt");
    let said = far.refused(&["--certs-dir", &certs]);
    assert!(said.contains("x509: certificate not valid for name"), "{said}");
}

#[test]
fn authorities_of_the_host_are_believed() {
    let authority = Authority::new();
    let far = Far::new(Some((&authority, "server")));
    let mut command = far.namespace.command("env");
    command.arg(format!("SSL_CERT_FILE={}", authority.file("ca.crt").display())).arg(MULTI);
    command.args(["registry-pull", "-q", &far.registry.name("app:1"), "-o"]);
    run(command.arg(far.scratch.join("out")));
}

#[test]
fn plain_http_needs_to_be_allowed() {
    let far = Far::new(None);
    assert_eq!(
        far.refused(&[]),
        "multi registry-pull: Get \"https://REG/v2/\": http: server gave HTTP response to HTTPS \
         client; to use it without TLS, start the daemon with --insecure-registry REG"
    );
    far.pulled(&["--insecure"]);
}

/// A pull from this process's network with further options and variables.
fn pull_here(
    scratch: &Scratch,
    name: &str,
    options: &[&str],
    variables: &[(&str, &str)],
) -> Output {
    let mut command = Command::new(MULTI);
    command.args(["registry-pull", "-q", name, "-o"]).arg(scratch.join("out"));
    command.args(options).env("HOME", scratch.path()).envs(variables.iter().copied());
    output(&mut command)
}

#[test]
fn mirrors_of_the_default_registry_are_tried_first() {
    let (scratch, mirror, empty) = (Scratch::new("trust"), Faulty::new(), Faulty::new());
    mirror.add("library/app", "1", &images::small(Style::Oci, Packing::Gzip));
    let url = |registry: &Faulty| format!("--registry-mirror=http://{}", registry.address());
    let output = pull_here(&scratch, "app:1", &[&url(&empty), &url(&mirror)], &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(empty.requests_for("manifests").len(), 1);
    // Name and password are not the mirror's business.
    let other = Scratch::new("trust");
    let creds = ["--creds=me:pw", &url(&mirror)];
    assert!(pull_here(&other, "app:1", &creds, &[]).status.success());
    assert!(mirror.requests().iter().all(|r| r.header("authorization").is_empty()));
    // Other registries have no mirrors.
    let before = mirror.requests().len();
    let output = pull_here(&other, "localhost:1/library/app:1", &creds, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(mirror.requests().len(), before);
}

#[test]
fn a_blob_that_a_mirror_lost_comes_from_the_next() {
    let (scratch, first, second) = (Scratch::new("trust"), Faulty::new(), Faulty::new());
    let image = images::small(Style::Oci, Packing::Gzip);
    first.add("library/app", "1", &image);
    second.add("library/app", "1", &image);
    let gone = Fault::Status(404, vec![], "{}".into());
    first.fault(&image.layers[0].digest(), gone, usize::MAX);
    let url = |registry: &Faulty| format!("--registry-mirror=http://{}", registry.address());
    let output = pull_here(&scratch, "app:1", &[&url(&first), &url(&second)], &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(second.requests_for("blobs").len(), 1);
}

/// Answers CONNECT by a connection to `target`, and keeps the heads of the requests.
fn start_proxy(target: String) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = heads.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (target, kept) = (target.clone(), kept.clone());
            std::thread::spawn(move || drop(tunnel(client, &target, &kept)));
        }
    });
    (port, heads)
}

fn tunnel(mut client: TcpStream, target: &str, kept: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    kept.lock().unwrap().push(head);
    let mut server = TcpStream::connect(target)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
    std::io::copy(&mut reader, &mut server).map(drop)
}

#[test]
fn a_proxy_gets_its_password_and_sees_only_the_names_of_hosts() {
    let (scratch, authority) = (Scratch::new("trust"), Authority::new());
    let registry =
        Registry::start(&Setup { tls: Some((&authority, "server")), ..Setup::default() });
    let layout = images::small(Style::Oci, Packing::Gzip).write_layout(&scratch.join("source"));
    registry.push(&layout, "app:1");
    let own = scratch.join("certs.d/registry.test");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::copy(authority.file("ca.crt"), own.join("ca.crt")).unwrap();
    let (port, heads) = start_proxy(format!("127.0.0.1:{}", registry.port()));
    let proxy = format!("http://user:pass@127.0.0.1:{port}/");
    let certs = scratch.join("certs.d");
    let options = ["--certs-dir", certs.to_str().unwrap()];
    let variables = [("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", "elsewhere.test")];
    let output = pull_here(&scratch, "registry.test/app:1", &options, &variables);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let heads = heads.lock().unwrap();
    assert!(!heads.is_empty());
    for head in heads.iter() {
        assert!(head.starts_with("CONNECT registry.test:443 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"), "{head}");
    }
    drop(heads);
    let variables = [("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", ".test")];
    let other = Scratch::new("trust");
    let output = pull_here(&other, "registry.test/app:1", &options, &variables);
    assert!(text(&output.stderr).contains("lookup registry.test"), "{}", text(&output.stderr));
}
