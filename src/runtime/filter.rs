//! The container's seccomp filter: compiled once by the stages of its first process, kept by the shim in a
//! memfd, loaded again by every exec process.
//!
//! Format of the memfd: the loading flags, then the instructions, all in the byte order of the machine.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::seccomp::{self, Compiled};
use super::spec::{LinuxSyscall, Spec, State};
use crate::base::{At, Error, Result, json};
use crate::sys::caps::Set;
use crate::sys::seccomp::{self as sys, Insn, MAX_INSNS};
use crate::sys::{memfd, scm};

/// A filter ready for the kernel.
pub(super) struct Filter {
    program: Vec<Insn>,
    flags: u32,
}

impl Filter {
    /// The filter a container asks for, if any.
    ///
    /// # Errors
    /// `InvalidParameter` for a bad profile.
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
        let asks = |action: &str| action == "SCMP_ACT_NOTIFY";
        if asks(&config.default_action) {
            return Err(Error::invalid("SCMP_ACT_NOTIFY cannot be used as default action"));
        }
        let sends = |rule: &LinuxSyscall| rule.names.iter().any(|name| name == "sendmsg");
        if config.syscalls.iter().any(|rule| asks(&rule.action) && sends(rule)) {
            // It is the call that hands the descriptor over: nobody could answer it.
            return Err(Error::invalid("SCMP_ACT_NOTIFY cannot be used for sendmsg"));
        }
        let Compiled { program, flags, notifies } = seccomp::compile(config)?;
        debug_assert_eq!(notifies, flags & sys::FLAG_NEW_LISTENER != 0);
        Ok(Some(Filter { program, flags }))
    }

    /// Puts the filter on this process, and tells the agent if it has rules that ask one.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn load(&self, notify: Option<&Notify>) -> Result<()> {
        let listener = sys::load(&self.program, self.flags)?;
        match (listener, notify) {
            (Some(listener), Some(notify)) => {
                scm::send(&notify.agent, notify.text.as_bytes(), &[listener.as_fd()])
                    .at("handing the seccomp descriptor to its agent")
            }
            (Some(_), None) => Err(Error::unsupported(
                "exec in a container whose seccomp filter asks an agent is not supported",
            )),
            (None, _) => Ok(()),
        }
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

/// The agent that decides about system calls of the container.
///
/// Spec: OCI runtime-spec 1.2 `config-linux.md#containerprocessstate`; seccomp_unotify(2).
pub(super) struct Notify {
    agent: OwnedFd,
    metadata: String,
    text: String,
}

crate::wire! {
    /// What comes with the descriptor.
    struct ProcessState {
        "ociVersion" keep oci_version: String,
        "fds" keep fds: Vec<String>,
        "pid" keep pid: i32,
        "metadata" omit metadata: String,
        "state" keep state: State,
    }
}

impl Notify {
    /// Connects to the agent if `filter` asks one; to be called where the host's paths are seen.
    ///
    /// # Errors
    /// `InvalidParameter` without the agent's socket; `Io`.
    pub(super) fn wanted(filter: Option<&Filter>, spec: &Spec) -> Result<Option<Notify>> {
        if filter.is_none_or(|filter| filter.flags & sys::FLAG_NEW_LISTENER == 0) {
            return Ok(None);
        }
        let config = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
        let Some(config) = config.filter(|config| !config.listener_path.is_empty()) else {
            return Err(Error::invalid("SCMP_ACT_NOTIFY needs a listenerPath"));
        };
        let agent = scm::connect_stream(Path::new(&config.listener_path))
            .at("reaching the seccomp agent")?;
        let metadata = config.listener_metadata.clone();
        Ok(Some(Notify { agent, metadata, text: String::new() }))
    }

    /// Writes the message that will be sent; while the host's `/proc` still is there.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn prepare(&mut self, state: &State) -> Result<()> {
        let pid = super::stages::own_pid_of_host()?;
        let message = ProcessState {
            oci_version: state.oci_version.clone(),
            fds: vec!["seccompFd".into()],
            pid,
            metadata: std::mem::take(&mut self.metadata),
            state: State { pid: if state.pid == 0 { pid } else { state.pid }, ..state.clone() },
        };
        self.text = json::to_string_plain(&message);
        Ok(())
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
