//! What every command line of the executable shares: Docker's flag dialect, help, manual pages.

pub mod help;
pub mod pflag;
pub mod print;
pub mod values;
