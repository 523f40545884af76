//! `docker-init`: the first process of a container of `run --init`. It starts the program, passes
//! signals on, and waits for every process whose parent has ended.
//!
//! Spec: docker-init (tini) without options: `docker-init -- PROGRAM ARGS`.

use std::ffi::CString;

use multi_core::cli::print;
use multi_core::runtime::reaper;

use crate::table::Call;

/// Exit code when the program cannot be run, as a shell has it.
const CANNOT_RUN: u8 = 127;

/// Runs the program; its exit code is ours.
pub(crate) fn run(call: &Call) -> u8 {
    let words = match call.args.first().map(String::as_str) {
        Some("--") => &call.args[1..],
        _ => &call.args[..],
    };
    let arguments: Result<Vec<CString>, _> =
        words.iter().map(|word| CString::new(word.as_bytes())).collect();
    match arguments {
        Ok(arguments) if !arguments.is_empty() => match reaper::run(&arguments) {
            Ok(code) => code,
            Err(e) => {
                print::err(&format!("docker-init: {e}\n"));
                CANNOT_RUN
            }
        },
        _ => {
            print::err("docker-init: no program given\n");
            CANNOT_RUN
        }
    }
}
