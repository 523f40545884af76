//! A tiny static program for containers that have nothing else: it tells what it sees.
//!
//! `probe STEP [ARG...]`; see `step`. Failure is exit code 1. Compiled by `images::probe_program`.

use std::fs;
use std::io::{Read, Write};
use std::process::exit;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, args)) = words.split_first() else { exit(0) };
    if let Err(e) = step(name, args) {
        eprintln!("probe: {name}: {e}");
        exit(1);
    }
}

fn step(name: &str, args: &[String]) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let first = args.first().map_or("", String::as_str);
    match name {
        // The arguments, separated by blanks.
        "echo" => writeln!(out, "{}", args.join(" ")),
        // The same on standard error.
        "err" => writeln!(std::io::stderr(), "{}", args.join(" ")),
        "exit" => exit(first.parse().unwrap_or(2)),
        // Dies of a signal of its own making: SIGABRT.
        "abort" => std::process::abort(),
        "env" => std::env::vars().try_for_each(|(k, v)| writeln!(out, "{k}={v}")),
        "cwd" => writeln!(out, "{}", std::env::current_dir()?.display()),
        "cat" if first.is_empty() => std::io::copy(&mut std::io::stdin(), &mut out).map(drop),
        "cat" => std::io::copy(&mut fs::File::open(first)?, &mut out).map(drop),
        "write" => fs::write(first, args.get(1).map_or("", String::as_str)),
        "ls" => {
            let mut names: Vec<_> = fs::read_dir(first)?.flatten().map(|e| e.file_name()).collect();
            names.sort();
            names.iter().try_for_each(|n| writeln!(out, "{}", n.to_string_lossy()))
        }
        "readlink" => writeln!(out, "{}", fs::read_link(first)?.display()),
        // Numbers and targets of the open descriptors, but the one that lists them.
        "fds" => {
            let mut fds: Vec<_> = fs::read_dir("/proc/self/fd")?
                .flatten()
                .filter_map(|e| Some((e.file_name(), fs::read_link(e.path()).ok()?)))
                .filter(|(_, target)| !target.starts_with("/proc/"))
                .collect();
            fds.sort();
            fds.iter()
                .try_for_each(|(fd, to)| writeln!(out, "{} {}", fd.to_string_lossy(), to.display()))
        }
        // A line of /proc/self/status, such as CapEff.
        "status" => {
            let status = fs::read_to_string("/proc/self/status")?;
            let lines = status.lines().filter(|line| line.starts_with(first));
            lines.into_iter().try_for_each(|line| writeln!(out, "{line}"))
        }
        // Touches so many MiB of memory.
        "eat" => {
            let mut memory = vec![0u8; first.parse::<usize>().unwrap_or(0) << 20];
            memory.iter_mut().step_by(4096).for_each(|b| *b = 1);
            writeln!(out, "ate {}", memory.len())
        }
        // So many lines a second, each written by itself, for ever.
        "lines" => {
            let rate = first.parse::<u128>().unwrap_or(1);
            let (start, mut written) = (std::time::Instant::now(), 0);
            let line = b"a line of a log, as long as such lines are: about eighty characters, or so\n";
            let mut out = fs::File::from(std::os::fd::AsFd::as_fd(&out).try_clone_to_owned()?);
            loop {
                while written < start.elapsed().as_nanos() * rate / 1_000_000_000 {
                    out.write_all(line)?;
                    written += 1;
                }
            }
        }
        // Says so and waits for a signal.
        "wait" => {
            writeln!(out, "ready")?;
            out.flush()?;
            loop {
                std::thread::park();
            }
        }
        // Ends when standard input does.
        "hold" => {
            writeln!(out, "ready")?;
            out.flush()?;
            std::io::stdin().read_to_end(&mut Vec::new()).map(drop)
        }
        "connect" => std::net::TcpStream::connect(first).map(drop),
        // Leaves the root with chroot, if that is possible, and says whether this file is there then.
        "escape" => {
            fs::create_dir_all("/jail")?;
            std::env::set_current_dir("/")?;
            std::os::unix::fs::chroot("/jail")?;
            for _ in 0..64 {
                std::env::set_current_dir("..")?;
            }
            std::os::unix::fs::chroot(".")?;
            writeln!(out, "{}", if fs::exists(first)? { "outside" } else { "inside" })
        }
        // Answers every connection to this address with one line.
        "serve" => {
            let listener = std::net::TcpListener::bind(first)?;
            writeln!(out, "ready")?;
            out.flush()?;
            for stream in listener.incoming() {
                let mut stream = stream?;
                writeln!(stream, "hello from {first}")?;
            }
            Ok(())
        }
        other => Err(std::io::Error::other(format!("no such step: {other}"))),
    }
}
