//! `multi shim`: the process that keeps one container; the daemon starts it.

use crate::table::Call;

/// Serves one container on the socket that is standard input.
pub(crate) fn run(_call: &Call) -> u8 {
    multi_core::runtime::shim::serve()
}
