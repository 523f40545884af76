//! eBPF programs as far as device cgroups need them: instructions, loading, attaching.
//!
//! Programs that one cgroup gets by `BPF_F_ALLOW_MULTI` all run, and an access is allowed only if all of
//! them allow it; so a changed rule set must replace the old program, not join it.
//!
//! Spec: bpf(2); linux/bpf.h; Documentation/bpf/standardization/instruction-set.rst.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::base::{At, Result};

/// One instruction, as the kernel reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// A register, `R0` to `R9` by number. `R0` is the result, `R1` the context at the start.
pub type Reg = u8;

impl Insn {
    const fn new(code: u8, dst: Reg, src: Reg, offset: i16, immediate: i32) -> Insn {
        // The bit-field's order follows the byte order of the machine.
        let registers =
            if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src };
        Insn { code, registers, offset, immediate }
    }

    /// `dst = *(u32 *)(src + offset)`.
    pub const fn load_u32(dst: Reg, src: Reg, offset: i16) -> Insn {
        Insn::new(0x61, dst, src, offset, 0)
    }

    /// `dst = src`, 32 bits.
    pub const fn copy(dst: Reg, src: Reg) -> Insn {
        Insn::new(0xbc, dst, src, 0, 0)
    }

    /// `dst = value`.
    pub const fn set(dst: Reg, value: i32) -> Insn {
        Insn::new(0xb7, dst, 0, 0, value)
    }

    /// `dst &= value`, 32 bits.
    pub const fn and(dst: Reg, value: i32) -> Insn {
        Insn::new(0x54, dst, 0, 0, value)
    }

    /// `dst >>= bits`, 32 bits.
    pub const fn shift_right(dst: Reg, bits: i32) -> Insn {
        Insn::new(0x74, dst, 0, 0, bits)
    }

    /// Skips `count` instructions if `dst != value`.
    pub const fn skip_if_not(dst: Reg, value: i32, count: i16) -> Insn {
        Insn::new(0x55, dst, 0, count, value)
    }

    /// Skips `count` instructions if `dst == value`.
    pub const fn skip_if(dst: Reg, value: i32, count: i16) -> Insn {
        Insn::new(0x15, dst, 0, count, value)
    }

    /// Skips `count` instructions if `dst != src`.
    pub const fn skip_if_differs(dst: Reg, src: Reg, count: i16) -> Insn {
        Insn::new(0x5d, dst, src, count, 0)
    }

    /// Returns `R0`.
    pub const fn exit() -> Insn {
        Insn::new(0x95, 0, 0, 0, 0)
    }
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;

/// Most programs looked at on one cgroup; the kernel's own limit.
const MAX_PROGRAMS: usize = 64;

#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    prog_fd: u32,
    attach_type: u32,
    flags: u32,
    replace_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
}

#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

fn bpf<T>(command: libc::c_int, attr: &mut T) -> nix::Result<libc::c_int> {
    let size = size_of::<T>();
    // SAFETY: every attribute struct here is a prefix of the kernel's union bpf_attr for its command,
    // `size` is its length, and the pointers inside it are valid for the call.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size) };
    Errno::result(rc as libc::c_int)
}

fn owned(fd: libc::c_int) -> OwnedFd {
    // SAFETY: bpf(2) returned a new descriptor that nobody else owns; it is close-on-exec by itself.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).expect("cannot fail: open descriptors are not negative")
}

/// Loads a program of the kind that decides on device accesses.
///
/// # Errors
/// `Io`: EPERM without `CAP_SYS_ADMIN` or `CAP_BPF`, EINVAL or EACCES if the verifier refuses it.
pub fn load_device_program(program: &[Insn]) -> Result<OwnedFd> {
    let mut attr = LoadAttr {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..LoadAttr::default()
    };
    attr.name[..13].copy_from_slice(b"multi_devices");
    let loaded = match bpf(PROG_LOAD, &mut attr) {
        // Before 5.11 programs are counted as locked memory of the process.
        Err(Errno::EPERM) if raise_locked_memory() => bpf(PROG_LOAD, &mut attr),
        // Before 4.15 programs have no name.
        Err(Errno::E2BIG) => {
            attr.name = [0; 16];
            bpf(PROG_LOAD, &mut attr)
        }
        other => other,
    };
    loaded.map(owned).at("loading the device program")
}

fn raise_locked_memory() -> bool {
    use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok()
}

/// Makes `program` the only device program attached to `cgroup` itself (its parents' stay in force).
/// There is no moment without one.
///
/// # Errors
/// `Io` of the step that failed; the programs that were attached before then still are.
pub fn replace_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let old = attached_device_programs(cgroup)?;
    let mut attr = AttachAttr {
        target_fd: raw(cgroup),
        prog_fd: raw(program),
        attach_type: ATTACH_CGROUP_DEVICE,
        flags: F_ALLOW_MULTI,
        ..AttachAttr::default()
    };
    if let [only] = old.as_slice() {
        attr.flags = F_ALLOW_MULTI | F_REPLACE;
        attr.replace_fd = raw(only.as_fd());
        match bpf(PROG_ATTACH, &mut attr) {
            Ok(_) => return Ok(()),
            // Replacing came with 5.6; a program attached without ALLOW_MULTI cannot be replaced so.
            Err(Errno::EINVAL | Errno::EPERM) => {}
            Err(e) => return Err(e).at("replacing the device program"),
        }
        (attr.flags, attr.replace_fd) = (F_ALLOW_MULTI, 0);
    }
    bpf(PROG_ATTACH, &mut attr).at("attaching the device program")?;
    for program in &old {
        let mut attr = AttachAttr {
            target_fd: raw(cgroup),
            prog_fd: raw(program.as_fd()),
            attach_type: ATTACH_CGROUP_DEVICE,
            ..AttachAttr::default()
        };
        bpf(PROG_DETACH, &mut attr).at("detaching the old device program")?;
    }
    Ok(())
}

/// The device programs attached to `cgroup` itself.
///
/// # Errors
/// `Io` of bpf(2).
pub fn attached_device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    let mut ids = [0u32; MAX_PROGRAMS];
    let mut attr = QueryAttr {
        target_fd: raw(cgroup),
        attach_type: ATTACH_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MAX_PROGRAMS as u32,
        ..QueryAttr::default()
    };
    match bpf(PROG_QUERY, &mut attr) {
        Ok(_) => {}
        // Before 4.15 nothing can be asked; a cgroup made by us has none yet.
        Err(Errno::EINVAL) => return Ok(Vec::new()),
        Err(e) => return Err(e).at("reading the device programs"),
    }
    let mut programs = Vec::new();
    for id in ids.iter().take(attr.prog_cnt as usize) {
        match bpf(PROG_GET_FD_BY_ID, &mut IdAttr { id: *id, ..IdAttr::default() }) {
            Ok(fd) => programs.push(owned(fd)),
            // It went away between the two calls.
            Err(Errno::ENOENT) => {}
            Err(e) => return Err(e).at("opening a device program"),
        }
    }
    Ok(programs)
}

/// Runs a program of the instructions above over a context of 32-bit words, for tests.
#[cfg(test)]
pub(crate) fn run(program: &[Insn], context: &[u32]) -> u64 {
    let mut registers = [0u64; 10];
    let mut at = 0;
    loop {
        let insn = program[at];
        let (dst, src) = (usize::from(insn.registers & 15), usize::from(insn.registers >> 4));
        let immediate = insn.immediate as u64;
        let skip = match insn.code {
            0x61 => {
                registers[dst] = u64::from(context[insn.offset as usize / 4]);
                false
            }
            0xbc => {
                registers[dst] = registers[src] & 0xffff_ffff;
                false
            }
            0xb7 => {
                registers[dst] = immediate;
                false
            }
            0x54 => {
                registers[dst] &= immediate & 0xffff_ffff;
                false
            }
            0x74 => {
                registers[dst] = (registers[dst] & 0xffff_ffff) >> immediate;
                false
            }
            0x55 => registers[dst] != immediate,
            0x15 => registers[dst] == immediate,
            0x5d => registers[dst] != registers[src],
            0x95 => return registers[0],
            code => panic!("unknown instruction {code:#x}"),
        };
        at += 1 + if skip { insn.offset as usize } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_have_the_kernels_encoding() {
        let bytes = |i: Insn| {
            let mut out = vec![i.code, i.registers];
            out.extend(i.offset.to_le_bytes());
            out.extend(i.immediate.to_le_bytes());
            out
        };
        assert_eq!(size_of::<Insn>(), 8);
        // r0 = 1; exit, as every disassembler shows it.
        assert_eq!(bytes(Insn::set(0, 1)), [0xb7, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(bytes(Insn::exit()), [0x95, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes(Insn::load_u32(2, 1, 4)), [0x61, 0x12, 4, 0, 0, 0, 0, 0]);
    }
}
