//! The executable: finds the applet by the name it was called with, or by its first argument.
#![deny(unsafe_code)]

mod client;
mod daemon;
mod help;
mod init;
mod install;
mod log_sender;
mod pages;
mod proxy;
mod registry_pull;
mod runtime;
mod shim;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = Vec::new();
    for word in std::env::args_os() {
        match word.into_string() {
            Ok(word) => words.push(word),
            Err(word) => {
                let word = word.to_string_lossy();
                multi_core::cli::print::err(&format!("multi: argument is not UTF-8: {word}\n"));
                return ExitCode::from(1);
            }
        }
    }
    ExitCode::from(table::dispatch(&words))
}
