//! Random bytes and ids from the kernel's generator.

use crate::base::hex;

/// Fills `buffer` from getrandom(2) (Linux 3.17).
pub fn fill(buffer: &mut [u8]) {
    let mut done = 0;
    while done < buffer.len() {
        let rest = &mut buffer[done..];
        // SAFETY: the pointer and the length describe `rest`, which is writable for the whole call.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(n) {
            Ok(n) => done += n,
            Err(_) => {
                let e = std::io::Error::last_os_error();
                assert!(e.kind() == std::io::ErrorKind::Interrupted, "getrandom: {e}");
            }
        }
    }
}

/// A new object id: 64 hexadecimal digits. Never all decimal in its short form, which Docker avoids
/// because such a host name looks like a number.
pub fn id() -> String {
    loop {
        let mut bytes = [0u8; 32];
        fill(&mut bytes);
        let id = hex::encode(&bytes);
        if !id[..12].bytes().all(|b| b.is_ascii_digit()) {
            return id;
        }
    }
}

/// A random 64-bit number.
pub fn u64() -> u64 {
    let mut bytes = [0u8; 8];
    fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
