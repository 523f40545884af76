//! `multi proxy`: the userland proxy of one container, started by the daemon with its orders on
//! standard input. Nobody else has a use for it.

use std::os::fd::AsFd;

use multi_core::cli::print;
use multi_core::net::proxy;

use crate::table::Call;

/// Carries traffic until the container is gone.
pub(crate) fn run(_: &Call) -> u8 {
    let orders = std::io::stdin().as_fd().try_clone_to_owned();
    match orders.map_err(Into::into).and_then(proxy::run) {
        Ok(()) => 0,
        Err(e) => {
            print::err(&format!("multi proxy: {e}\n"));
            1
        }
    }
}
