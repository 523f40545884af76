//! Giving memory back that a process will not need soon.

use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Waits until `fd` is readable, with the program's code and constants unmapped from this process: they
/// stay in the page cache, and what is needed again comes back by minor faults. For a process that has done
/// its work and waits.
pub fn wait_without_code(fd: BorrowedFd<'_>) {
    let segments = read_only_segments();
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // Nothing is called between here and the wait but what the wait needs itself.
    for range in &segments {
        // SAFETY: the range is whole pages of a private read-only mapping of a file, none of which was
        // ever written: dropping them loses nothing.
        unsafe {
            libc::madvise(range.start as *mut libc::c_void, range.len(), libc::MADV_DONTNEED)
        };
    }
    // SAFETY: one pollfd, which lives for the whole call. An interruption is as good as an event.
    unsafe { libc::poll(&raw mut poll, 1, -1) };
}

/// The loaded parts of the executable that cannot be written, by its program headers.
fn read_only_segments() -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    // SAFETY: `collect` has the type that is asked for, and `out` lives for the whole call.
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut out).cast()) };
    out
}

/// Takes the first object, which is the executable, and stops.
extern "C" fn collect(
    object: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    out: *mut libc::c_void,
) -> libc::c_int {
    const PAGE: usize = 4096;
    // SAFETY: the C library gives a valid record for the time of the call.
    let object = unsafe { &*object };
    // SAFETY: this is the vector that `read_only_segments` passed, and nobody else uses it meanwhile.
    let out = unsafe { &mut *out.cast::<Vec<Range<usize>>>() };
    // SAFETY: the record names the program headers, which are mapped for good.
    let headers =
        unsafe { std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let start = (object.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
        let end = start + header.p_memsz as usize;
        let pages = start.next_multiple_of(PAGE)..end / PAGE * PAGE;
        if !pages.is_empty() {
            out.push(pages);
        }
    }
    1
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn released_code_still_runs() {
        let segments = read_only_segments();
        let here = released_code_still_runs as *const () as usize;
        assert!(segments.iter().any(|range| range.contains(&here)), "{segments:x?}");
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        nix::unistd::write(&write, b"x").unwrap();
        wait_without_code(read.as_fd());
        assert_eq!(read_only_segments(), segments);
    }
}
