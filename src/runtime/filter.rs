//! The container's seccomp filter: compiled once by the stages of its first process, kept by the shim in a
//! memfd, loaded again by every exec process.
//!
//! Format of the memfd: the loading flags, then the instructions, all in the byte order of the machine.

use std::os::fd::{AsFd, OwnedFd};

use super::seccomp::{self, Compiled};
use super::spec::Spec;
use crate::base::{Error, Result};
use crate::sys::caps::Set;
use crate::sys::memfd;
use crate::sys::seccomp::{self as sys, Insn, MAX_INSNS};

/// A filter ready for the kernel.
pub(super) struct Filter {
    program: Vec<Insn>,
    flags: u32,
}

impl Filter {
    /// The filter a container asks for, if any.
    ///
    /// # Errors
    /// `InvalidParameter` for a bad profile; `Unsupported` for one that asks another process.
    pub(super) fn of(spec: &Spec, default: bool) -> Result<Option<Filter>> {
        if default {
            let capabilities = spec.process.as_ref().and_then(|p| p.capabilities.as_ref());
            let bounding = match capabilities {
                Some(sets) => Set::parse(&sets.bounding)?,
                None => Set::EMPTY,
            };
            let program = seccomp::compile_default(bounding);
            return Ok(Some(Filter { program, flags: 0 }));
        }
        let Some(config) = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref()) else {
            return Ok(None);
        };
        let Compiled { program, flags, notifies } = seccomp::compile(config)?;
        if notifies {
            return Err(Error::unsupported("seccomp notification is not supported"));
        }
        Ok(Some(Filter { program, flags }))
    }

    /// Puts the filter on this process.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn load(&self) -> Result<()> {
        sys::load(&self.program, self.flags).map(drop)
    }

    /// The filter as a memfd.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn to_memfd(&self) -> Result<OwnedFd> {
        let mut bytes = Vec::with_capacity(4 + self.program.len() * 8);
        bytes.extend_from_slice(&self.flags.to_ne_bytes());
        for insn in &self.program {
            bytes.extend_from_slice(&insn.code.to_ne_bytes());
            bytes.extend_from_slice(&[insn.jt, insn.jf]);
            bytes.extend_from_slice(&insn.k.to_ne_bytes());
        }
        memfd::sealed(c"filter", &bytes)
    }

    /// The inverse of [`Filter::to_memfd`].
    ///
    /// # Errors
    /// `Io`; `Internal` when it is something else.
    pub(super) fn from_memfd(fd: impl AsFd) -> Result<Filter> {
        let bytes = memfd::read_all(fd, (MAX_INSNS * 8 + 4) as u64)?;
        let Some((flags, rest)) = bytes.split_first_chunk::<4>() else {
            return Err(Error::internal("cut filter"));
        };
        let program = rest
            .chunks_exact(8)
            .map(|c| Insn {
                code: u16::from_ne_bytes([c[0], c[1]]),
                jt: c[2],
                jf: c[3],
                k: u32::from_ne_bytes([c[4], c[5], c[6], c[7]]),
            })
            .collect();
        Ok(Filter { program, flags: u32::from_ne_bytes(*flags) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::defaults;

    #[test]
    fn a_filter_survives_its_memfd() {
        let filter = Filter::of(&defaults::spec(), true).unwrap().unwrap();
        let again = Filter::from_memfd(filter.to_memfd().unwrap()).unwrap();
        assert_eq!((filter.program, filter.flags), (again.program, again.flags));
    }
}
