//! From the command line of the daemon to its configuration.

use std::path::PathBuf;

use super::options::{Flags, OPTIONS};
use super::{DEFAULT_FILE, DaemonConfig, Source, checks, file};
use crate::base::{At, Error, Result};
use crate::cli::help;
use crate::cli::pflag::{self, Arity, Spec, Stop};

/// What the command line asks for.
#[derive(Debug)]
pub enum Loaded {
    /// To run with this configuration.
    Run(Box<DaemonConfig>),
    /// `--version`: to print this line to standard output.
    Version(String),
    /// `--validate`, and the configuration is right.
    Valid,
}

/// The daemon's command line besides its flags.
pub const SPEC: Spec = Spec {
    about: "A self-sufficient runtime for containers.",
    arity: Arity::None,
    renamed: &[("graph", "data-root", true)],
    lists_help: true,
    ..Spec::NEW
};

/// Reads the command line (without the program's name) and the file it names.
///
/// `called` is the name that messages show: `dockerd`, `docker daemon`. Notices about deprecated
/// forms of flags go to standard error.
///
/// # Errors
/// [`Stop`] to be printed: help, a wrong flag (125), a configuration that cannot be used (1).
pub fn load(called: &str, argv: &[String]) -> Result<Loaded, Stop> {
    let descriptions = Flags::new(&DaemonConfig::default());
    let flags = descriptions.infos();
    let usage_line = help::usage_line(&SPEC, called, &flags);
    let stop = |message: &str| Stop::flag(message, &usage_line, called);
    let scan = pflag::scan(&flags, &SPEC, argv).map_err(|m| stop(&m))?;
    scan.notices.iter().for_each(|n| crate::cli::print::err(n));
    if scan.help {
        return Err(Stop { text: help::command(&SPEC, called, &flags, help::width()), code: 0 });
    }
    pflag::check_arity(&SPEC, called, &usage_line, scan.arguments.len())?;
    // Each value is tried alone, so that a wrong one is told as a wrong flag.
    for (flag, value) in &scan.flags {
        let option = OPTIONS.iter().find(|o| o.flag == flag.long);
        if let Some(Err(why)) = option.map(|o| o.set(&mut DaemonConfig::default(), value)) {
            return Err(stop(&pflag::invalid(flag, value, &why)));
        }
    }
    let given: Vec<(String, String)> =
        scan.flags.iter().map(|(f, v)| (f.long.to_string(), v.clone())).collect();
    let last = |name: &str| given.iter().rev().find(|(f, _)| f == name).map(|(_, v)| v.as_str());
    if last("--version") == Some("true") {
        return Ok(Loaded::Version(version()));
    }
    let source = Source {
        file: PathBuf::from(last("--config-file").unwrap_or(DEFAULT_FILE)),
        explicit: last("--config-file").is_some(),
        flags: given.clone(),
    };
    let config = merge(source).map_err(|e| Stop { text: format!("{e}\n"), code: 1 })?;
    Ok(match last("--validate") {
        Some("true") => Loaded::Valid,
        _ => Loaded::Run(Box::new(config)),
    })
}

/// `Docker version X, build Y`, as scripts expect it.
pub(super) fn version() -> String {
    format!("Docker version {}, build {}", crate::VERSION, crate::REVISION)
}

/// Defaults, the file, the flags; checked as a whole.
///
/// # Errors
/// `InvalidParameter` or `NotFound` with Docker's texts.
pub(super) fn merge(source: Source) -> Result<DaemonConfig> {
    let mut config = DaemonConfig::default();
    if std::env::var_os("DOCKER_TLS_VERIFY").is_some_and(|v| !v.is_empty()) {
        config.tls_verify = true;
    }
    let context =
        format!("unable to configure the Docker daemon with file {}", source.file.display());
    let members = file::read(&source.file, source.explicit).at(&context)?;
    let from_file = file::options(&members).at(&context)?;
    let mut conflicts = Vec::new();
    for (option, value) in &from_file {
        let mut given = DaemonConfig::default();
        let mut times = 0;
        for (_, flag_value) in source.flags.iter().filter(|(flag, _)| flag == option.flag) {
            option.set(&mut given, flag_value).map_err(Error::invalid)?;
            times += 1;
        }
        if times > 0 {
            conflicts.push(format!(
                "{}: (from flag: {}, from file: {})",
                option.key,
                option.show(&mut given),
                file::show(value)
            ));
        }
    }
    if !conflicts.is_empty() {
        return Err(Error::invalid(format_args!(
            "{context}: the following directives are specified both as a flag and in the \
             configuration file: {}",
            conflicts.join(", ")
        )));
    }
    for (option, value) in &from_file {
        file::set(option, value, &mut config).at(&context)?;
    }
    for (flag, value) in &source.flags {
        let option = OPTIONS.iter().find(|o| o.flag == flag);
        option.map_or(Ok(()), |o| o.set(&mut config, value)).map_err(Error::invalid)?;
        if flag == "--containerd" {
            config.warnings.push(format!(
                "--containerd={value} is ignored: containers are run by this executable itself"
            ));
        }
    }
    config.source = source;
    checks::complete(&mut config)?;
    Ok(config)
}
