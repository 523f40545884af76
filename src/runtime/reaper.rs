//! The first process of a container of `run --init`: it passes signals on to the one program and waits
//! for everybody.
//!
//! Signals are taken synchronously (rt_sigtimedwait through a descriptor), so there is no handler and no
//! race: they are blocked before the program is made.

use std::ffi::CString;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, execvp, setpgid, tcsetpgrp};

use super::stages;
use crate::base::{At, Result};
use crate::sys::{clone, pidfd};

/// Runs the program `arguments[0]`, found along `PATH`, and returns its exit code when it has ended;
/// 128 plus the number for a signal. The program leads a process group, in the foreground of the
/// terminal if there is one.
///
/// # Errors
/// `Io` if no process can be made.
pub fn run(arguments: &[CString]) -> Result<u8> {
    // It is executed from a descriptor, whose number would be its name otherwise.
    let _ = nix::sys::prctl::set_name(c"docker-init");
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).at("blocking signals")?;
    let signals = SignalFd::new(&SigSet::all()).at("making a signal descriptor")?;
    let child = match stages::fork_alone()? {
        stages::Fork::Child => become_program(arguments),
        stages::Fork::Parent { child, .. } => child,
    };
    let mut code = None;
    loop {
        let signal = match signals.read_signal() {
            Ok(Some(info)) => info.ssi_signo as i32,
            Ok(None) | Err(Errno::EINTR) => continue,
            Err(e) => return Err(e).at("reading signals"),
        };
        if signal != Signal::SIGCHLD as i32 {
            // It may just have ended; that is told by the next SIGCHLD.
            let _ = pidfd::kill(child, signal);
            continue;
        }
        loop {
            match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) if pid.as_raw() == child => code = Some(status),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw() == child => {
                    code = Some(128 + signal as i32);
                }
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => {}
            }
        }
        if let Some(code) = code {
            return Ok(u8::try_from(code).unwrap_or(u8::MAX));
        }
    }
}

fn become_program(arguments: &[CString]) -> ! {
    // A group of its own, in front of the terminal: keys then send signals to it and not to us. Without a
    // terminal the second call fails, which is as well.
    let own = Pid::from_raw(0);
    let _ = setpgid(own, own);
    let _ = tcsetpgrp(std::io::stdin(), nix::unistd::getpid());
    clone::restore_signals();
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    let Err(errno) = execvp(&arguments[0], arguments);
    // In the words of the docker-init that Docker brings.
    let text = format!(
        "[FATAL tini ({})] exec {} failed: {}\n",
        nix::unistd::getpid(),
        arguments[0].to_string_lossy(),
        errno.desc()
    );
    let _ = nix::unistd::write(std::io::stderr(), text.as_bytes());
    std::process::exit(if errno == Errno::EACCES { 126 } else { 127 })
}
