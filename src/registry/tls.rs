//! Which certificates are believed, and which are shown, when a registry is spoken to over TLS.
//!
//! Roots are the host's bundle (`SSL_CERT_FILE` and `SSL_CERT_DIR` as Go reads them, then the places
//! that distributions use) and, where there is none, Mozilla's list as compiled in. A directory
//! `/etc/docker/certs.d/HOST[:PORT]` adds `*.crt` as roots and `*.cert` with `*.key` as the identity to
//! show, for that registry only.
//!
//! Spec: docs.docker.com "Verify repository client with certificates".

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::verify::Pinned;
use crate::base::{At, Error, Kind, Result};
use crate::http::tls::AnyServer;

const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const DIRECTORIES: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// The TLS settings for a registry. `directory` is its own below `certs.d`, which need not exist.
/// With `verify` false any certificate is taken, as for insecure registries.
///
/// # Errors
/// `Io` that names the file for one of the user's that cannot be used.
pub(super) fn client_config(directory: &Path, verify: bool) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let own = read_directory(directory)?;
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .dangerous();
    let builder = if verify {
        builder.with_custom_certificate_verifier(verifier(&provider, own.roots)?)
    } else {
        builder.with_custom_certificate_verifier(Arc::new(AnyServer::new(&provider)))
    };
    let config = match own.identity {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|e| Error::new(Kind::Io, e))
            .at(format_args!("using the client certificate in {}", directory.display()))?,
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn verifier(
    provider: &Arc<CryptoProvider>,
    extra: Vec<CertificateDer<'static>>,
) -> Result<Arc<Pinned>> {
    let mut store = host_store();
    // A bundle may hold certificates that no chain can end in; Go passes over them as well.
    store.add_parsable_certificates(extra.iter().cloned());
    if store.is_empty() {
        return Err(Error::new(Kind::Io, "no root certificate can be used"));
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
        .build()
        .map_err(Error::internal)?;
    Ok(Arc::new(Pinned { inner, certificates: extra }))
}

/// The authorities that this host believes; Mozilla's where it has none of its own.
pub fn host_store() -> RootCertStore {
    let mut store = RootCertStore::empty();
    let trusted = host_roots();
    if trusted.is_empty() {
        store.roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    store.add_parsable_certificates(trusted);
    store
}

/// The certificates that this host believes.
fn host_roots() -> Vec<CertificateDer<'static>> {
    let file = std::env::var_os("SSL_CERT_FILE").filter(|v| !v.is_empty()).map(PathBuf::from);
    let directories = std::env::var_os("SSL_CERT_DIR").filter(|v| !v.is_empty());
    let mut found = Vec::new();
    match &file {
        Some(file) => found = certificates(file).unwrap_or_default(),
        None => {
            let bundles = BUNDLES.iter().map(|path| certificates(Path::new(path)));
            if let Some(first) = bundles.filter_map(Result::ok).find(|list| !list.is_empty()) {
                found = first;
            }
        }
    }
    let directories: Vec<PathBuf> = match &directories {
        Some(list) => std::env::split_paths(list).collect(),
        None if found.is_empty() => DIRECTORIES.iter().map(PathBuf::from).collect(),
        None => Vec::new(),
    };
    for entry in directories.iter().filter_map(|d| std::fs::read_dir(d).ok()).flatten().flatten() {
        found.extend(certificates(&entry.path()).unwrap_or_default());
    }
    found
}

#[derive(Default)]
struct Own {
    roots: Vec<CertificateDer<'static>>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

fn read_directory(directory: &Path) -> Result<Own> {
    let mut own = Own::default();
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(own),
        Err(e) => return Err(e).at(format_args!("reading {}", directory.display())),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in &paths {
        match path.extension().and_then(|e| e.to_str()) {
            Some("crt") => own.roots.extend(certificates(path)?),
            Some("cert") => {
                let key = path.with_extension("key");
                if !key.exists() {
                    return Err(Error::new(
                        Kind::Io,
                        format_args!(
                            "missing key {} for client certificate {}. CA certificates must use \
                             the extension .crt",
                            key.file_name().unwrap_or_default().to_string_lossy(),
                            path.file_name().unwrap_or_default().to_string_lossy()
                        ),
                    ));
                }
                // TLS shows one identity; the first pair by name is it.
                if own.identity.is_none() {
                    let secret = PrivateKeyDer::from_pem_file(&key)
                        .map_err(|e| Error::new(Kind::Io, e))
                        .at(format_args!("reading {}", key.display()))?;
                    own.identity = Some((certificates(path)?, secret));
                }
            }
            Some("key") if !path.with_extension("cert").exists() => {
                return Err(Error::new(
                    Kind::Io,
                    format_args!(
                        "missing client certificate {} for key {}",
                        path.with_extension("cert")
                            .file_name()
                            .unwrap_or_default()
                            .to_string_lossy(),
                        path.file_name().unwrap_or_default().to_string_lossy()
                    ),
                ));
            }
            _ => {}
        }
    }
    Ok(own)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = std::fs::read(path).at(format_args!("reading {}", path.display()))?;
    CertificateDer::pem_slice_iter(&bytes)
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| Error::new(Kind::Io, e))
        .at(format_args!("reading {}", path.display()))
}
