//! The size of a terminal.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Rows and columns of the terminal behind `fd`; `None` if it is no terminal.
pub fn size(fd: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ fills one winsize; `size` lives across the call and `fd` is open.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ as _, &mut size) };
    (rc == 0).then_some((size.ws_row, size.ws_col))
}

/// Columns of the terminal behind `fd`; `None` if it is no terminal or does not know.
pub fn columns(fd: BorrowedFd<'_>) -> Option<usize> {
    size(fd).map(|(_, columns)| usize::from(columns)).filter(|columns| *columns > 0)
}
