//! What every command line of the executable shares: Docker's flag dialect, help, manual pages,
//! templates, tables, terminals, progress and the parsers of option values.

pub mod help;
pub mod man;
pub mod messages;
pub mod options;
pub mod pflag;
pub mod print;
pub mod progress;
pub mod stdcopy;
pub mod table;
pub mod term;
pub mod values;

pub use crate::base::template;
