//! `multi log-sender`: sends the log of one container away; the shim starts it.

use crate::table::Call;

/// Serves one log on the socket that is standard input.
pub(crate) fn run(_call: &Call) -> u8 {
    multi_core::logs::serve_sender()
}
