//! `docker save`.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use multi_core::base::{At, Error, Result, file, json};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::term;
use multi_core::registry::platform::Platform;

use super::failure::{Failure, Outcome};
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "IMAGE [IMAGE...]",
    about: "Save one or more images to a tar archive (streamed to STDOUT by default)",
    aliases: &["docker image save", "docker save"],
    arity: Arity::AtLeast(1),
    ..Spec::NEW
};

/// save images
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// write to a file, instead of STDOUT
    #[argh(option, short = 'o', arg_name = "string", default = "String::new()")]
    output: String,
    /// save only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")
    #[argh(option, arg_name = "string", default = "String::new()")]
    platform: String,
    /// images
    #[argh(positional, greedy)]
    images: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let platform = match flags.platform.as_str() {
        "" => String::new(),
        text => json::to_string(&Platform::parse(text).at("invalid platform")?),
    };
    if flags.output.is_empty() && term::stdout_is_terminal() {
        return Err(Failure::new(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    let output = Output::open(&flags.output)
        .map_err(|e| Failure::new(format_args!("failed to save image: {e}")))?;
    let mut query: Vec<(&str, &str)> =
        flags.images.iter().map(|name| ("names", name.as_str())).collect();
    if !platform.is_empty() {
        query.push(("platform", platform.as_str()));
    }
    let answer = session.get("/images/get", &query)?;
    output.fill(answer, "saving images")?;
    Ok(0)
}

/// Standard output, or a file that appears when it is whole.
pub(super) struct Output {
    path: Option<(PathBuf, PathBuf)>,
    to: Box<dyn Write>,
}

impl Output {
    pub(super) fn open(path: &str) -> Result<Output> {
        if path.is_empty() {
            return Ok(Output { path: None, to: Box::new(io::stdout().lock()) });
        }
        let path = Path::new(path);
        if path.is_dir() {
            return Err(Error::invalid("cannot write to a directory"));
        }
        // Devices and pipes are written directly.
        if path.exists() && !path.is_file() {
            let file = OpenOptions::new().write(true).open(path).at(path.display())?;
            return Ok(Output { path: None, to: Box::new(file) });
        }
        let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::metadata(dir).at(format_args!("invalid output path: stat {}", dir.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let prefix = file::TEMPORARY_PREFIX;
        let temporary = dir.join(format!("{prefix}{name}-{}", std::process::id()));
        let to = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .at(format_args!("open {}", temporary.display()))?;
        Ok(Output { path: Some((temporary, path.to_path_buf())), to: Box::new(to) })
    }

    pub(super) fn fill(mut self, mut from: impl Read, what: &str) -> Result<()> {
        io::copy(&mut from, &mut self.to).and_then(|_| self.to.flush()).at(what)?;
        if let Some((temporary, path)) = self.path.take() {
            fs::rename(&temporary, &path).at(format_args!("renaming to {}", path.display()))?;
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((temporary, _)) = &self.path {
            let _ = fs::remove_file(temporary);
        }
    }
}
