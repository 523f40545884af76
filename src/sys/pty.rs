//! Terminals: making a pair, giving it a size, making it the controlling one.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::base::{At, Error, Result};

/// Opens a new terminal of the devpts instance whose `ptmx` this is: its master and the number of its
/// slave. The master is non-blocking.
///
/// # Errors
/// `Io`; ENOSPC when the instance is full.
pub fn open_master(ptmx: &Path) -> Result<(OwnedFd, u32)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master = open(ptmx, flags, Mode::empty()).at(format_args!("opening {}", ptmx.display()))?;
    let mut number: libc::c_uint = 0;
    // SAFETY: TIOCGPTN writes one unsigned int.
    let done = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN as _, &raw mut number) };
    check(done).at("asking for the terminal's number")?;
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    let done =
        unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK as _, &raw const unlocked) };
    check(done).at("unlocking the terminal")?;
    Ok((master, number))
}

/// Opens the slave of `master` without looking it up by a path (Linux 4.13).
///
/// # Errors
/// `Io`; EINVAL or ENOTTY on older kernels.
pub fn open_slave(master: impl AsFd) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags as an integer.
    let fd = unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTPEER as _, flags) };
    check(fd).at("opening the terminal's slave")?;
    // SAFETY: the kernel just returned this new descriptor; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes `terminal` the controlling terminal of this session, which has none.
///
/// # Errors
/// `Io`.
pub fn set_controlling(terminal: impl AsFd) -> Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    let done = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY as _, 0) };
    check(done).at("setting the controlling terminal")
}

/// Sets the size of a terminal; its foreground processes get SIGWINCH.
///
/// # Errors
/// `Io`; ENOTTY when it is no terminal.
pub fn resize(terminal: impl AsFd, width: u16, height: u16) -> Result<()> {
    let size = libc::winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: TIOCSWINSZ reads one winsize.
    let done = unsafe { libc::ioctl(fd, libc::TIOCSWINSZ as _, &raw const size) };
    check(done).at("setting the terminal's size")
}

fn check(result: libc::c_int) -> Result<()> {
    if result < 0 { Err(Error::last_os()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_to_the_slave_is_read_from_the_master() {
        let (master, _) = open_master(Path::new("/dev/ptmx")).unwrap();
        resize(&master, 100, 40).unwrap();
        let slave = open_slave(&master).unwrap();
        nix::unistd::write(&slave, b"hi\n").unwrap();
        let mut buffer = [0; 8];
        let length = nix::unistd::read(&master, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"hi\r\n");
    }
}
