//! The user's terminal: raw mode that is always undone, its size, and the keys that detach.

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::termios::{LocalFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::base::{At, Error, Result};

/// Whether standard input is a terminal.
pub fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Whether standard output is a terminal.
pub fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Standard input in raw mode; dropping it puts the terminal back as it was.
pub struct Raw {
    fd: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Switches the terminal behind `fd` to raw mode.
    ///
    /// # Errors
    /// `Io` if `fd` is no terminal.
    pub fn enter(fd: BorrowedFd<'_>) -> Result<Raw> {
        let before = tcgetattr(fd).at("reading the mode of the terminal")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(fd, SetArg::TCSANOW, &raw).at("setting the terminal to raw mode")?;
        let fd = fd.try_clone_to_owned().at("duplicating the terminal")?;
        Ok(Raw { fd, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that went away.
        let _ = tcsetattr(self.fd.as_fd(), SetArg::TCSANOW, &self.before);
    }
}

/// A terminal that does not show what is typed; dropping it puts the terminal back as it was.
pub struct NoEcho(#[allow(dead_code, reason = "its drop is its work")] Raw);

impl NoEcho {
    /// Turns the echo of the terminal behind `fd` off.
    ///
    /// # Errors
    /// `Io` if `fd` is no terminal.
    pub fn enter(fd: BorrowedFd<'_>) -> Result<NoEcho> {
        let before = tcgetattr(fd).at("reading the mode of the terminal")?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(fd, SetArg::TCSANOW, &silent).at("turning the terminal's echo off")?;
        let fd = fd.try_clone_to_owned().at("duplicating the terminal")?;
        Ok(NoEcho(Raw { fd, before }))
    }
}

/// The keys that detach unless the user chose others: ctrl-p, ctrl-q.
pub const DEFAULT_DETACH_KEYS: &[u8] = &[16, 17];

/// The bytes of a detach sequence such as `ctrl-p,ctrl-q` or `a,b`.
///
/// # Errors
/// `InvalidParameter`: `Unknown character: 'x'`.
pub fn detach_keys(text: &str) -> Result<Vec<u8>> {
    text.split(',')
        .map(|key| match key.as_bytes() {
            [byte] => Ok(*byte),
            _ => key
                .strip_prefix("ctrl-")
                .and_then(|k| match k.as_bytes() {
                    [c @ b'a'..=b'z'] => Some(c - b'a' + 1),
                    [b'@'] => Some(0),
                    [b'['] => Some(27),
                    [b'\\'] => Some(28),
                    [b']'] => Some(29),
                    [b'^'] => Some(30),
                    [b'_'] => Some(31),
                    _ => None,
                })
                .ok_or_else(|| Error::invalid(format_args!("Unknown character: '{key}'"))),
        })
        .collect()
}

/// Watches typed input for the detach sequence.
pub struct DetachScanner {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachScanner {
    /// Looks for `keys`; none never match.
    pub fn new(keys: Vec<u8>) -> DetachScanner {
        DetachScanner { keys, matched: 0 }
    }

    /// Appends what `input` lets through to `out`; true when the sequence is complete.
    ///
    /// The beginning of a sequence is held back until it is clear that it is none.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        for byte in input {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return true;
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if self.keys.first() == Some(byte) {
                self.matched = 1;
                if self.keys.len() == 1 {
                    return true;
                }
            } else {
                out.push(*byte);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;

    #[test]
    fn raw_mode_is_undone_on_drop() {
        let pty = openpty(None, None).unwrap();
        let echo = || tcgetattr(&pty.slave).unwrap().local_flags.contains(LocalFlags::ECHO);
        assert!(echo());
        let raw = Raw::enter(pty.slave.as_fd()).unwrap();
        assert!(!echo());
        drop(raw);
        assert!(echo());
    }

    #[test]
    fn detach_keys_are_read_as_docker_reads_them() {
        assert_eq!(detach_keys("ctrl-p,ctrl-q").unwrap(), DEFAULT_DETACH_KEYS);
        assert_eq!(detach_keys("a,ctrl-@,ctrl-_").unwrap(), [b'a', 0, 31]);
        assert_eq!(detach_keys("ctrl-?").unwrap_err().to_string(), "Unknown character: 'ctrl-?'");
        assert!(detach_keys("ab").is_err());
    }

    #[test]
    fn sequences_are_found_across_reads() {
        let mut scanner = DetachScanner::new(DEFAULT_DETACH_KEYS.to_vec());
        let mut out = Vec::new();
        assert!(!scanner.feed(b"ab\x10", &mut out));
        assert_eq!(out, b"ab");
        assert!(!scanner.feed(b"c\x10\x10", &mut out));
        assert_eq!(out, b"ab\x10c\x10");
        assert!(scanner.feed(b"\x11z", &mut out));
        assert_eq!(out, b"ab\x10c\x10");
    }
}
