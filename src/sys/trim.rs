//! Giving memory back that a process will not need soon.

use std::ops::Range;

/// Unmaps the program's code and constants from this process: they stay in the page cache, and what is
/// needed again comes back by minor faults. For a process that has done its work and waits.
pub fn release_code() {
    for range in read_only_segments() {
        // SAFETY: the range is whole pages of a private read-only mapping of a file, none of which was
        // ever written: dropping them loses nothing.
        unsafe {
            libc::madvise(range.start as *mut libc::c_void, range.len(), libc::MADV_DONTNEED)
        };
    }
}

/// The loaded parts of the executable that cannot be written, by its program headers.
fn read_only_segments() -> Vec<Range<usize>> {
    // SAFETY: takes an integer and returns one, 0 for an unknown key.
    let (table, count) =
        unsafe { (libc::getauxval(libc::AT_PHDR), libc::getauxval(libc::AT_PHNUM)) };
    let table = table as usize as *const libc::Elf64_Phdr;
    if table.is_null() {
        return Vec::new();
    }
    // SAFETY: the kernel's auxiliary vector names the program headers, which are mapped for good.
    let headers = unsafe { std::slice::from_raw_parts(table, count as usize) };
    // Where the file was put: the headers know their own place in it.
    let Some(own) = headers.iter().find(|header| header.p_type == libc::PT_PHDR) else {
        return Vec::new();
    };
    let base = (table as usize).wrapping_sub(own.p_vaddr as usize);
    const PAGE: usize = 4096;
    headers
        .iter()
        .filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0)
        .map(|header| {
            let start = base.wrapping_add(header.p_vaddr as usize);
            let end = start + header.p_memsz as usize;
            start.next_multiple_of(PAGE)..end / PAGE * PAGE
        })
        .filter(|range| !range.is_empty())
        .collect()
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn released_code_still_runs() {
        let segments = read_only_segments();
        let here = released_code_still_runs as *const () as usize;
        assert!(segments.iter().any(|range| range.contains(&here)), "{segments:x?}");
        release_code();
        assert_eq!(read_only_segments(), segments);
    }
}
