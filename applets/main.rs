//! The executable: finds the applet by the name it was called with, or by its first argument.
#![deny(unsafe_code)]

fn main() {
    println!("multi {}, build {}", multi_core::VERSION, multi_core::REVISION);
}
