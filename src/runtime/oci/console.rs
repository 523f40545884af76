//! The terminal of a container: handed to whoever waits at the console socket, or joined to our own.

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::base::{At, Error, Result};
use crate::sys::{pidfd, pty, scm, winsize};

/// How much is carried at once.
const BUFFER_BYTES: usize = 16 * 1024;

/// Whether a terminal and the way it is to be handed over fit together.
///
/// # Errors
/// `InvalidParameter` with runc's texts.
pub(super) fn check(terminal: bool, socket: Option<&Path>, detached: bool) -> Result<()> {
    match (terminal, socket, detached) {
        (true, None, true) => {
            Err(Error::invalid("cannot allocate tty if runtime will detach without console socket"))
        }
        (false, Some(_), _) => Err(Error::invalid(
            "cannot use console socket if runtime will not detach or allocate tty",
        )),
        _ => Ok(()),
    }
}

/// Gives `master` to the listener at `socket`, which must be a stream socket.
///
/// # Errors
/// `Io` that names the path.
pub(super) fn hand_over(socket: &Path, master: &OwnedFd) -> Result<()> {
    let listener = scm::connect_stream(socket).at("console socket")?;
    // The byte carries the descriptor; the text is for those who look.
    scm::send(listener, b"/dev/ptmx", &[master.as_fd()]).at("handing over the terminal")
}

/// Signals taken as they come, instead of by handlers.
pub(super) struct Signals(SignalFd);

impl Signals {
    /// Blocks all signals of this process; what it starts unblocks them.
    pub(super) fn take() -> Result<Signals> {
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).at("blocking signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Signals(SignalFd::with_flags(&SigSet::all(), flags).at("making a signal descriptor")?))
    }
}

/// Waits for the end of `child`, handing signals on to it and, with a `master`, our own standard streams to
/// its terminal. Gives the exit code, 128 plus the number for a signal.
///
/// # Errors
/// `Io`.
pub(super) fn wait(child: i32, master: Option<OwnedFd>, signals: &Signals) -> Result<u8> {
    let mut relay = master.map(Relay::new).transpose()?;
    loop {
        if let Some(code) = ended(child)? {
            if let Some(relay) = &mut relay {
                relay.drain();
            }
            return Ok(code);
        }
        let mut fds = vec![PollFd::new(signals.0.as_fd(), PollFlags::POLLIN)];
        let (input, output) = (std::io::stdin(), relay.as_ref().map(|r| r.master.as_fd()));
        if let Some(relay) = &relay {
            let wants = if relay.pending.is_empty() {
                PollFlags::POLLIN
            } else {
                PollFlags::POLLIN | PollFlags::POLLOUT
            };
            let master = output.unwrap_or(signals.0.as_fd());
            // A terminal without any user reports a hang-up for ever: then only signals count.
            fds.push(PollFd::new(master, if relay.hung_up { PollFlags::empty() } else { wants }));
            if relay.has_input && relay.pending.is_empty() {
                fds.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
            }
            if relay.hung_up {
                fds.remove(1);
            }
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e).at("waiting for the container"),
        }
        while let Ok(Some(info)) = signals.0.read_signal() {
            pass_on(child, info.ssi_signo as i32, relay.as_ref());
        }
        if let Some(relay) = &mut relay {
            relay.carry(input.as_fd());
        }
    }
}

fn ended(child: i32) -> Result<Option<u8>> {
    match waitpid(Pid::from_raw(child), Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(_, code)) => Ok(Some(code as u8)),
        Ok(WaitStatus::Signaled(_, signal, _)) => Ok(Some(128 + signal as u8)),
        Ok(_) | Err(Errno::EINTR) => Ok(None),
        Err(e) => Err(e).at("waiting for the container's process"),
    }
}

fn pass_on(child: i32, signal: i32, relay: Option<&Relay>) {
    let is = |known: Signal| signal == known as i32;
    match relay {
        _ if is(Signal::SIGCHLD) || is(Signal::SIGURG) => {}
        Some(relay) if is(Signal::SIGWINCH) => relay.follow_size(),
        // It may just have ended, which the next round finds.
        _ => drop(pidfd::kill(child, signal)),
    }
}

/// Standard input in raw mode; dropping it puts the terminal back as it was.
struct RawMode(Termios);

impl RawMode {
    fn enter() -> Result<RawMode> {
        let before = tcgetattr(std::io::stdin()).at("reading the mode of the terminal")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw)
            .at("setting the terminal to raw mode")?;
        Ok(RawMode(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that went away.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// Our standard streams and the container's terminal.
struct Relay {
    master: OwnedFd,
    /// Undone when the relay ends.
    _raw: Option<RawMode>,
    has_input: bool,
    hung_up: bool,
    /// Input that the terminal has not taken yet.
    pending: Vec<u8>,
}

impl Relay {
    fn new(master: OwnedFd) -> Result<Relay> {
        let input = std::io::stdin();
        let raw = if input.is_terminal() { Some(RawMode::enter()?) } else { None };
        let relay =
            Relay { master, _raw: raw, has_input: true, hung_up: false, pending: Vec::new() };
        relay.follow_size();
        Ok(relay)
    }

    fn follow_size(&self) {
        if let Some((width, height)) = winsize::size(std::io::stdin().as_fd()) {
            let _ = pty::resize(&self.master, width, height);
        }
    }

    fn carry(&mut self, input: BorrowedFd<'_>) {
        let mut buffer = [0; BUFFER_BYTES];
        self.output(&mut buffer);
        if self.has_input && self.pending.is_empty() && has_input(input) {
            match nix::unistd::read(input, &mut buffer) {
                Ok(0) => {
                    self.has_input = false;
                    // What a user at a terminal types for the end of input.
                    self.pending.push(4);
                }
                Ok(length) => self.pending.extend_from_slice(&buffer[..length]),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => self.has_input = false,
            }
        }
        if !self.pending.is_empty() {
            match nix::unistd::write(&self.master, &self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => self.pending.clear(),
            }
        }
    }

    /// Carries what the terminal says now; false when it says nothing.
    fn output(&mut self, buffer: &mut [u8]) -> bool {
        match nix::unistd::read(&self.master, buffer) {
            Ok(length) if length > 0 => {
                use std::io::Write;
                let mut out = std::io::stdout();
                // Nobody reads: the container goes on, as it would with a closed terminal.
                let _ = out.write_all(&buffer[..length]).and_then(|()| out.flush());
                self.hung_up = false;
                true
            }
            Err(Errno::EAGAIN | Errno::EINTR) => false,
            _ => {
                self.hung_up = true;
                false
            }
        }
    }

    fn drain(&mut self) {
        let mut buffer = [0; BUFFER_BYTES];
        while self.output(&mut buffer) {}
    }
}

fn has_input(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0)
}
