//! The process that sends the messages of one container away, for drivers that keep nothing here.
//!
//! ```text
//!  shim == socket ==> reader --> cache file
//!                       |  blocking: sends itself, so that the shim sees a full socket
//!                       `- non-blocking: bounded queue --> thread that sends
//! ```
//!
//! It ends when the shim ends the log, or is killed: then it sends what it has, for some seconds at most.
//!
//! Decision: a message goes into the cache whether or not it can be sent. Docker writes it there only after it was
//! sent, so that an outage takes it from `logs` as well.

use std::io::{BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::base::time::Timestamp;
use crate::base::{At, Error, Result, json, worker};
use crate::sys::trim;

use super::drivers::{self, Message, Opens, Remote};
use super::options::{self, Settings};
use super::queue::Queue;
use super::split::{Partial, Piece, Splitter};
use super::writer::LogFile;
use super::{Config, Format, Stream, frame};

/// How long sending may go on after the end of the log if the shim is not there to end it.
const ORPHANED: Duration = Duration::from_secs(10);
/// After this time without output memory is given back.
const QUIET_MS: u16 = 500;

/// Runs the sender; standard input is the connection to the shim. Returns the process's exit code.
pub fn serve() -> u8 {
    let Ok(socket) = std::io::stdin().as_fd().try_clone_to_owned() else { return 1 };
    // Standard input must not stay a second reference to the connection.
    if nix::unistd::dup2_stdin(std::io::stdout()).is_err() {
        return 1;
    }
    match run(UnixStream::from(socket)) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// Sends what comes over `socket` until its end.
fn run(mut socket: UnixStream) -> Result<()> {
    let mut input = BufReader::with_capacity(32 * 1024, socket.try_clone()?);
    let mut payload = Vec::new();
    let session = match frame::read(&mut input, &mut payload)? {
        Some(frame::CONFIG) => Session::open(&payload, socket.try_clone()?),
        _ => return Ok(()),
    };
    let mut session = match session {
        Ok(session) => session,
        Err(e) => {
            socket.write_all(&frame::frame(frame::REFUSED, e.message().as_bytes()))?;
            return Err(e);
        }
    };
    socket.write_all(&frame::frame(frame::READY, b""))?;
    loop {
        if input.buffer().is_empty() {
            wait(socket.as_fd())?;
        }
        let Some(kind) = frame::read(&mut input, &mut payload)? else { break };
        let stream = if kind == frame::STDERR { Stream::Stderr } else { Stream::Stdout };
        let Some((nanos, data)) = payload.split_first_chunk() else { continue };
        let nanos = i64::from_le_bytes(*nanos);
        let now = Timestamp {
            secs: nanos.div_euclid(1_000_000_000),
            nanos: nanos.rem_euclid(1_000_000_000) as u32,
        };
        session.write(stream, data, now);
    }
    // A shim that is there waits for our end, and kills us when it has waited enough.
    let watchdog = || {
        std::thread::sleep(ORPHANED);
        std::process::abort()
    };
    worker::builder("log-end").spawn(watchdog).at("starting thread log-end")?;
    session.close();
    Ok(())
}

/// Waits for the shim to say something; after a while without memory that is not needed for that.
fn wait(socket: BorrowedFd<'_>) -> Result<()> {
    let mut fds = [PollFd::new(socket, PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(QUIET_MS)) {
        Ok(0) => trim::wait_without_code(socket),
        Ok(_) | Err(Errno::EINTR) => {}
        Err(e) => return Err(e).at("waiting for output"),
    }
    Ok(())
}

/// Counts failures and tells the shim of the first.
#[derive(Clone)]
struct Failures(Arc<Mutex<(UnixStream, u64)>>);

impl Failures {
    fn add(&self, e: &Error) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 += 1;
        if state.1 == 1 {
            // A shim that was killed needs no telling.
            let _ = state.0.write_all(&frame::frame(frame::COMPLAINT, e.message().as_bytes()));
        }
    }

    fn tell_count(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = state.1.to_le_bytes();
        let _ = state.0.write_all(&frame::frame(frame::FAILURES, &count));
    }
}

/// A message that waits to be sent.
struct Waiting {
    time: Timestamp,
    stream: Stream,
    line: Vec<u8>,
    partial: Option<(String, u32, bool)>,
}

impl Waiting {
    fn message(&self) -> Message<'_> {
        Message {
            time: self.time,
            stream: self.stream,
            line: &self.line,
            partial: self.partial.as_ref().map(|(id, ordinal, last)| Partial {
                id,
                ordinal: *ordinal,
                last: *last,
            }),
        }
    }
}

enum Way {
    Direct(Box<dyn Remote>),
    Queued(Arc<Queue<Waiting>>, JoinHandle<()>),
}

/// One log that is being sent.
struct Session {
    splitter: Splitter,
    cache: Option<LogFile>,
    way: Way,
    failures: Failures,
    /// Cut from one frame, and not sent yet.
    batch: Vec<Waiting>,
}

impl Session {
    fn open(config: &[u8], socket: UnixStream) -> Result<Session> {
        let config: Config = json::parse(config)?;
        let Opens::Remote(open) = drivers::find(&config.driver)?.opens else {
            return Err(Error::internal("a log file needs no sender"));
        };
        let remote = open(&config)?;
        let cache = match config.path.as_str() {
            "" => None,
            path => {
                let settings = Settings::cache(&config.options)?;
                let file = LogFile::open(Path::new(path), Format::Local, settings, &config.attrs);
                Some(file.at("error initializing local log cache driver")?)
            }
        };
        let failures = Failures(Arc::new(Mutex::new((socket, 0))));
        let way = match options::buffer_limit(&config.options)? {
            None => Way::Direct(remote),
            Some(limit) => {
                let queue = Arc::new(Queue::new(limit));
                let (taken, failures) = (queue.clone(), failures.clone());
                let thread = worker::builder("log-send")
                    .spawn(move || send_all(&taken, remote, &failures))
                    .at("starting thread log-send")?;
                Way::Queued(queue, thread)
            }
        };
        Ok(Session { splitter: Splitter::new(true), cache, way, failures, batch: Vec::new() })
    }

    fn write(&mut self, stream: Stream, data: &[u8], now: Timestamp) {
        let (cache, batch, failures) = (&mut self.cache, &mut self.batch, &self.failures);
        let mut take = |piece: &Piece<'_>| keep(piece, cache, batch, failures);
        self.splitter.write(stream, data, now, &mut take);
        self.deliver();
    }

    /// What was kept is in the cache's file before a send may block.
    fn deliver(&mut self) {
        if let Some(cache) = &mut self.cache
            && let Err(e) = cache.flush()
        {
            self.failures.add(&e);
        }
        for waiting in self.batch.drain(..) {
            match &mut self.way {
                Way::Direct(remote) => {
                    if let Err(e) = remote.send(&waiting.message()) {
                        self.failures.add(&e);
                    }
                }
                Way::Queued(queue, _) => {
                    let size = waiting.line.len() as u64;
                    // What does not fit is lost without a word: that is what was asked for.
                    queue.push(waiting, size);
                }
            }
        }
    }

    fn close(mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let (cache, batch, failures) = (&mut self.cache, &mut self.batch, &self.failures);
            let mut take = |piece: &Piece<'_>| keep(piece, cache, batch, failures);
            self.splitter.finish(stream, Timestamp::now(), &mut take);
        }
        self.deliver();
        match self.way {
            Way::Direct(mut remote) => {
                if let Err(e) = remote.close() {
                    self.failures.add(&e);
                }
            }
            Way::Queued(queue, thread) => {
                queue.close();
                // A panic of the thread was reported already.
                let _ = thread.join();
            }
        }
        self.failures.tell_count();
    }
}

/// One message to the cache and to what is to be sent.
fn keep(
    piece: &Piece<'_>,
    cache: &mut Option<LogFile>,
    batch: &mut Vec<Waiting>,
    failures: &Failures,
) {
    if let Some(file) = cache
        && let Err(e) = file.add(piece)
    {
        failures.add(&e);
    }
    batch.push(Waiting {
        time: piece.time,
        stream: piece.stream,
        line: piece.parts.concat(),
        partial: piece.partial.map(|p| (p.id.to_string(), p.ordinal, p.last)),
    });
}

fn send_all(queue: &Queue<Waiting>, mut remote: Box<dyn Remote>, failures: &Failures) {
    while let Some(waiting) = queue.pop() {
        if let Err(e) = remote.send(&waiting.message()) {
            failures.add(&e);
            // As in Docker: at the end one failure is enough to give up.
            if queue.is_closed() {
                break;
            }
        }
    }
    if let Err(e) = remote.close() {
        failures.add(&e);
    }
}
