//! `multi install DIR`: symbolic links in DIR that run applets by their own names, and services if wanted.
//!
//! A link that leads to an executable of the name `multi` is ours and is replaced; anything else of
//! the same name is left alone and told, and then nothing is changed at all.

mod services;

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use argh::{ArgsInfo, FromArgs};
use multi_core::base::{At, Error, Result};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;

use crate::table::{APPLETS, Call};

/// make links to this executable
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Install {
    /// make links relative to the directory
    #[argh(switch, short = 'r')]
    relative: bool,
    /// also write an init script, units of systemd and /etc/default/docker below this root
    #[argh(option, short = 's', arg_name = "string")]
    services: Option<String>,
    /// let the links lead to this path instead of the running executable
    #[argh(option, short = 't', arg_name = "string")]
    target: Option<String>,
    /// the directory
    #[argh(positional, greedy)]
    dir: Vec<String>,
}

pub(crate) const SPEC: Spec = Spec {
    usage: "DIR",
    about: "Make the links that run applets by their own names",
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

pub(crate) fn run(call: &Call) -> u8 {
    let options: Install = match pflag::parse(&SPEC, &call.called, &call.args) {
        Ok(options) => options,
        Err(stop) => return stop.print(),
    };
    match install(&options) {
        Ok(made) => print::out(&made),
        Err(e) => {
            print::err(&format!("{}: {e}\n", call.called));
            1
        }
    }
}

/// # Errors
/// `Conflict` if a file of another owner has one of the names; `Io`.
fn install(options: &Install) -> Result<String> {
    let dir = Path::new(&options.dir[0]);
    let executable = match &options.target {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe().at("finding the running executable")?,
    };
    let target = match options.relative {
        false => std::path::absolute(&executable).at("finding the running executable")?,
        true => relative(
            &fs::canonicalize(&executable).at(format_args!("finding {}", executable.display()))?,
            &fs::canonicalize(dir).at(format_args!("finding {}", dir.display()))?,
        ),
    };
    let links: Vec<PathBuf> = APPLETS
        .iter()
        .filter(|a| !a.about.is_empty())
        .flat_map(|a| a.links)
        .map(|link| dir.join(link))
        .collect();
    // First look at all of them, so that a refusal leaves the directory as it was.
    for link in &links {
        if !replaceable(link, &target)? {
            return Err(Error::conflict(format_args!(
                "{} exists and is not a link to multi; move it away first",
                link.display()
            )));
        }
    }
    let services = options.services.as_ref().map(|root| services::prepare(root.as_ref(), dir));
    let services = services.transpose()?;
    let mut made = String::new();
    for link in &links {
        let temporary = link.with_extension(format!("multi-{}", std::process::id()));
        symlink(&target, &temporary)
            .and_then(|()| fs::rename(&temporary, link))
            .inspect_err(|_| drop(fs::remove_file(&temporary)))
            .at(format_args!("linking {}", link.display()))?;
        made.push_str(&format!("{} -> {}\n", link.display(), target.display()));
    }
    if let Some(services) = services {
        made.push_str(&services.write()?);
    }
    Ok(made)
}

/// Whether nothing is at `link`, or a link that leads to `target` or to another `multi`.
fn replaceable(link: &Path, target: &Path) -> Result<bool> {
    match fs::read_link(link) {
        Ok(old) => Ok(old == target || old.file_name() == Some("multi".as_ref())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        // Not a link.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(false),
        Err(e) => Err(e).at(format_args!("looking at {}", link.display())),
    }
}

/// The path from directory `base` to `path`; both are absolute and without links.
fn relative(path: &Path, base: &Path) -> PathBuf {
    let path: Vec<Component<'_>> = path.components().collect();
    let base: Vec<Component<'_>> = base.components().collect();
    let shared = path.iter().zip(&base).take_while(|(a, b)| a == b).count();
    let up = base[shared..].iter().map(|_| Component::ParentDir);
    up.chain(path[shared..].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_link_leads_from_the_directory_to_the_file() {
        for (path, base, expected) in [
            ("/usr/lib/multi", "/usr/bin", "../lib/multi"),
            ("/usr/bin/multi", "/usr/bin", "multi"),
            ("/multi", "/a/b", "../../multi"),
        ] {
            assert_eq!(relative(path.as_ref(), base.as_ref()), Path::new(expected));
        }
    }
}
