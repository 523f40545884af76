//! `docker cp`.
//!
//! To a container, the archive is made here with the names it needs; from a container, names are changed
//! while it is unpacked. What is unpacked stays below the destination whatever the container put into the
//! archive.

mod paths;

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use multi_core::api::types::archive::{
    MODE_DEVICE, MODE_DIR, MODE_LINK, PATH_STAT_HEADER, PathStat,
};
use multi_core::base::{At, Error, Result, base64, bytesize, json, pipe, worker};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::{print, term};
use multi_core::http::Headers;
use multi_core::http::client::{Answer, Payload};
use multi_core::storage::archive::apply::Ownership;
use multi_core::storage::archive::apply::extract::{Extract, extract};
use multi_core::storage::archive::write::Writer;
use multi_core::storage::tree;
use multi_core::sys::rootfd::Root;

use super::failure::{Failure, Outcome};
use super::session::Session;
use paths::Info;

pub(crate) const SPEC: Spec = Spec {
    usage: "CONTAINER:SRC_PATH DEST_PATH|-\n\tdocker cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    about: "Copy files/folders between a container and the local filesystem\n\n\
            Use '-' as the source to read a tar archive from stdin\n\
            and extract it to a directory destination in a container.\n\
            Use '-' as the destination to stream a tar archive of a\n\
            container source to stdout.",
    aliases: &["docker container cp", "docker cp"],
    arity: Arity::Exactly(2),
    ..Spec::NEW
};

/// copy files
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// archive mode (copy all uid/gid information)
    #[argh(switch, short = 'a')]
    archive: bool,
    /// always follow symbol link in SRC_PATH
    #[argh(switch, short = 'L')]
    follow_link: bool,
    /// suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached
    #[argh(option, short = 'q', arg_name = "bool")]
    quiet: Option<bool>,
    /// source and destination
    #[argh(positional, greedy)]
    paths: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let [source, destination] = &flags.paths[..] else {
        return Err(Failure::new("two paths are needed"));
    };
    if source.is_empty() {
        return Err(Failure::new("source can not be empty"));
    }
    if destination.is_empty() {
        return Err(Failure::new("destination can not be empty"));
    }
    let copy = Copy {
        session,
        follow_link: flags.follow_link,
        archive: flags.archive,
        quiet: flags.quiet.unwrap_or(!term::stdout_is_terminal()),
    };
    let (from, source) = paths::split_argument(source);
    let (to, destination) = paths::split_argument(destination);
    match (from, to) {
        ("", "") => Err(Failure::new("must specify at least one container source")),
        (container, "") => copy.out_of_container(container, source, destination),
        ("", container) => copy.to_container(source, container, destination),
        _ => Err(Failure::new("copying between containers is not supported")),
    }
}

struct Copy<'a> {
    session: &'a Session,
    follow_link: bool,
    archive: bool,
    quiet: bool,
}

impl Copy<'_> {
    fn stat(&self, container: &str, path: &str) -> Result<PathStat, Failure> {
        let answer = self.session.request(
            "HEAD",
            &url(container),
            &[("path", path)],
            &Headers::new(),
            Payload::None,
        )?;
        Ok(stat_of(&answer)?)
    }

    fn out_of_container(&self, container: &str, source: &str, destination: &str) -> Outcome {
        let to_stdout = destination == "-";
        let destination =
            if to_stdout { destination.to_string() } else { paths::absolute(destination)? };
        paths::check_output(&destination)?;
        let mut info = Info { path: source.into(), exists: true, ..Info::default() };
        if self.follow_link
            && let Ok(stat) = self.stat(container, source)
            && stat.mode & MODE_LINK != 0
        {
            (info.path, info.rebase) = paths::follow(source, &target(source, &stat));
        }
        let answer = self.session.get(&url(container), &[("path", &info.path)])?;
        info.is_dir = stat_of(&answer)?.mode & MODE_DIR != 0;
        let mut answer = Counted { inner: answer, bytes: 0 };
        if to_stdout {
            return match io::copy(&mut answer, &mut io::stdout().lock()) {
                Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                    Err(Error::from(e).at("copying to standard output").into())
                }
                _ => Ok(0),
            };
        }
        let place = paths::local_destination(&destination)?;
        let (dir, name) = paths::prepare(&info, &place)?;
        // The name that the entries have, and the one they get.
        let own = match paths::split(&info.path).1 {
            name if name == "." || name == "/" => String::new(),
            name => name,
        };
        let name = name.or(info.rebase);
        let rename = name.as_deref().map(|name| (OsStr::new(&own), OsStr::new(name)));
        let how =
            Extract { at: Path::new(""), ownership: Ownership::Caller, keep_kinds: true, rename };
        extract(&Root::open(Path::new(&dir))?, &how, &mut answer)?;
        self.tell(answer.bytes, &destination);
        Ok(0)
    }

    fn to_container(&self, source: &str, container: &str, destination: &str) -> Outcome {
        let from_stdin = source == "-";
        let source = if from_stdin { source.to_string() } else { paths::absolute(source)? };
        let mut info = Info { path: destination.into(), ..Info::default() };
        let mut stat = self.stat(container, destination);
        if let Ok(link) = &stat
            && link.mode & MODE_LINK != 0
        {
            info.path = target(destination, link);
            stat = self.stat(container, &info.path);
        }
        // A destination that cannot be asked about may still come to be; the daemon has the last word.
        if let Ok(stat) = &stat {
            if stat.mode & MODE_DEVICE != 0 {
                return Err(Failure::new(format_args!(
                    "destination \"{container}:{destination}\" must be a directory or a regular file: got a device"
                )));
            }
            (info.exists, info.is_dir) = (true, stat.mode & MODE_DIR != 0);
        }
        if from_stdin {
            if !info.is_dir {
                return Err(Failure::new(format_args!(
                    "destination \"{container}:{destination}\" must be a directory"
                )));
            }
            let mut stdin = Counted { inner: io::stdin().lock(), bytes: 0 };
            self.put(container, &info.path, &mut stdin)?;
            self.tell(stdin.bytes, &format!("{container}:{}", info.path));
            return Ok(0);
        }
        let from = paths::local_source(&source, self.follow_link)?;
        let (dir, name) = paths::prepare(&from, &info)?;
        let (upper, own) = paths::split(&from.path);
        let name = name.or(from.rebase).unwrap_or_else(|| own.clone());
        let upper = Root::open(Path::new(&upper))?;
        let bytes = std::thread::scope(|scope| -> Result<u64, Failure> {
            let (writer, reader) = pipe::pipe();
            let make = || archive(&upper, &own, &name, writer);
            worker::builder("archive").spawn_scoped(scope, make).at("starting a thread")?;
            // Dropped with this scope, which ends the thread.
            let mut reader = Counted { inner: reader, bytes: 0 };
            self.put(container, &dir, &mut reader)?;
            Ok(reader.bytes)
        })?;
        self.tell(bytes, &format!("{container}:{}", info.path));
        Ok(0)
    }

    fn put(&self, container: &str, dir: &str, content: &mut dyn Read) -> Result<(), Failure> {
        let mut query = vec![("path", dir), ("noOverwriteDirNonDir", "true")];
        if self.archive {
            query.push(("copyUIDGID", "true"));
        }
        let payload = Payload::Stream("application/x-tar", content);
        self.session.request("PUT", &url(container), &query, &Headers::new(), payload)?;
        Ok(())
    }

    fn tell(&self, bytes: u64, to: &str) {
        if !self.quiet {
            let size = bytesize::human_precise(bytes as f64, 3);
            print::err(&format!("Successfully copied {size} to {to}\n"));
        }
    }
}

/// Writes the archive of `own` in `dir`, with `name` as its top entry, into `writer`.
fn archive(dir: &Root, own: &str, name: &str, writer: pipe::Writer) {
    let mut archive = Writer::new(writer);
    match tree::add(&mut archive, dir.as_fd(), OsStr::new(own), name.as_bytes()) {
        // A reader that is gone has an error of its own.
        Ok(()) => drop(archive.finish().map(pipe::Writer::finish)),
        Err(e) => archive.into_inner().fail(e.into()),
    }
}

fn url(container: &str) -> String {
    format!("/containers/{container}/archive")
}

/// Where the link at `path` leads, as a path in the container.
fn target(path: &str, stat: &PathStat) -> String {
    match stat.link_target.starts_with('/') {
        true => stat.link_target.clone(),
        false => paths::clean(&format!("{}/{}", paths::split(path).0, stat.link_target)),
    }
}

fn stat_of(answer: &Answer<'_>) -> Result<PathStat> {
    let header = answer.head.headers.get(PATH_STAT_HEADER).unwrap_or_default();
    let bytes = base64::decode(header).unwrap_or_default();
    json::parse(&bytes).at("unable to decode container path stat header")
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.bytes += n as u64;
        Ok(n)
    }
}
