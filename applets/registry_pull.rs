//! `multi registry-pull REF -o PATH`: an image from a registry without a daemon, into an OCI layout,
//! an archive file, or an unpacked root filesystem.

mod rootfs;
mod screen;

use std::path::Path;

use argh::{ArgsInfo, FromArgs};
use multi_core::base::cancel::Cancel;
use multi_core::base::{Error, Result};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::config::client::ClientConfig;
use multi_core::config::paths;
use multi_core::registry::Settings;
use multi_core::registry::auth::Credentials;
use multi_core::registry::platform::Platform;
use multi_core::registry::proxy::Proxies;
use multi_core::registry::pull::{self, Pulled, Request, Sink};
use multi_core::registry::reference::{DEFAULT_DOMAIN, Reference};
use multi_core::registry::sinks::{Archive, LayoutDir};

use self::rootfs::RootFs;
use crate::table::Call;

/// fetch an image
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct RegistryPull {
    /// directory or file to write; a name that ends in .tar is an archive
    #[argh(option, short = 'o', arg_name = "string")]
    output: Option<String>,
    /// what to write: "layout" (OCI layout directory), "archive" (tar file that docker and skopeo load)
    /// or "rootfs" (unpacked root filesystem)
    #[argh(option, arg_name = "string", long = "type")]
    kind: Option<String>,
    /// the same as --type rootfs
    #[argh(switch)]
    rootfs: bool,
    /// platform of the image, if the registry has it for several (os/architecture[/variant])
    #[argh(option, arg_name = "string")]
    platform: Option<String>,
    /// talk to this registry over plain HTTP or with a certificate that nobody vouches for
    #[argh(switch)]
    insecure: bool,
    /// name and password for the registry (default from the configuration of docker login)
    #[argh(option, arg_name = "user:password")]
    creds: Option<String>,
    /// directory with a certificate directory for each registry (default "/etc/docker/certs.d")
    #[argh(option, arg_name = "string")]
    certs_dir: Option<String>,
    /// URL to try before Docker Hub
    #[argh(option, arg_name = "list")]
    registry_mirror: Vec<String>,
    /// layers to fetch at the same time (default 3)
    #[argh(option, arg_name = "int")]
    max_concurrent_downloads: Option<usize>,
    /// how often a download is tried (default 5)
    #[argh(option, arg_name = "int")]
    max_download_attempts: Option<u32>,
    /// print only the image's name by digest
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// the image
    #[argh(positional, greedy)]
    image: Vec<String>,
}

pub(crate) const SPEC: Spec = Spec {
    usage: "NAME[:TAG|@DIGEST]",
    about: "Fetch an image without a daemon",
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

pub(crate) fn run(call: &Call) -> u8 {
    let options: RegistryPull = match pflag::parse(&SPEC, &call.called, &call.args) {
        Ok(options) => options,
        Err(stop) => return stop.print(),
    };
    match fetch(&options) {
        Ok((reference, pulled)) => {
            print::out(&format!("{}@{}\n", reference.name_only(), pulled.digest))
        }
        Err(e) => {
            print::err(&format!("{}: {e}\n", call.called));
            1
        }
    }
}

/// What to write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Layout,
    Archive,
    RootFs,
}

fn fetch(options: &RegistryPull) -> Result<(Reference, Pulled)> {
    let reference = Reference::parse(&options.image[0])?.or_latest();
    let output = options.output.as_deref().ok_or_else(|| {
        Error::invalid("where to write the image must be given with --output (-o)")
    })?;
    let path = Path::new(output);
    let kind = match options.kind.as_deref() {
        None | Some("rootfs") if options.rootfs => Output::RootFs,
        Some(_) if options.rootfs => {
            return Err(Error::invalid("--rootfs and --type contradict each other"));
        }
        Some("layout") => Output::Layout,
        Some("archive") => Output::Archive,
        Some("rootfs") => Output::RootFs,
        Some(other) => {
            return Err(Error::invalid(format_args!(
                "unknown type {other:?}: it must be layout, archive or rootfs"
            )));
        }
        None if output.ends_with(".tar") => Output::Archive,
        None => Output::Layout,
    };
    match kind {
        Output::Layout => {
            let sink = LayoutDir::new(path);
            pull_into(options, &reference, &sink).inspect_err(|_| sink.undo())
        }
        Output::Archive => {
            let sink = Archive::new(path);
            pull_into(options, &reference, &sink).inspect_err(|_| sink.undo())
        }
        Output::RootFs => {
            let sink = RootFs::new(path);
            pull_into(options, &reference, &sink).inspect_err(|_| sink.undo())
        }
    }
    .map(|pulled| (reference, pulled))
}

fn pull_into(options: &RegistryPull, reference: &Reference, sink: &dyn Sink) -> Result<Pulled> {
    let settings = settings(options, reference);
    let platform = options.platform.as_deref().map(Platform::parse).transpose()?;
    let credentials = credentials(options, reference)?;
    let request = Request {
        settings: &settings,
        reference,
        platform: platform.as_ref(),
        credentials: &credentials,
    };
    screen::with_progress(options.quiet, |progress| {
        pull::pull(&request, sink, progress, &Cancel::new())
    })
}

fn settings(options: &RegistryPull, reference: &Reference) -> Settings {
    let mut settings = Settings {
        mirrors: options.registry_mirror.clone(),
        proxies: Proxies::from_env(),
        ..Settings::default()
    };
    if options.insecure {
        settings.insecure.push(reference.domain().to_string());
    }
    if let Some(dir) = &options.certs_dir {
        settings.certs_dir = dir.into();
    }
    if let Some(limit) = options.max_concurrent_downloads {
        settings.max_concurrent_downloads = limit.max(1);
    }
    if let Some(attempts) = options.max_download_attempts {
        settings.max_attempts = attempts.max(1);
    }
    settings
}

/// The credentials that were given, else those that `docker login` left.
fn credentials(options: &RegistryPull, reference: &Reference) -> Result<Credentials> {
    if let Some(pair) = &options.creds {
        let (name, password) = pair
            .split_once(':')
            .ok_or_else(|| Error::invalid("--creds must have the form user:password"))?;
        return Ok(Credentials::basic(name, password));
    }
    let (config, warning) = ClientConfig::load(&paths::client_dir());
    warning.iter().for_each(|text| print::err(text));
    let key = match reference.domain() {
        DEFAULT_DOMAIN => "https://index.docker.io/v1/",
        domain => domain,
    };
    Ok(config.credentials(key)?.unwrap_or_default())
}
