//! What all commands that prune share: the question before, and filters of the configuration.

use std::io::BufRead;

use multi_core::cli::print;

use super::failure::Failure;
use super::session::Session;

/// One `--filter`, or an empty one.
pub(crate) type Filter = Option<(String, String)>;

/// Shows `warning` and waits for a line. Whatever is not `y` cancels: the failure then says nothing, and
/// the exit code is 0, as with Docker.
///
/// # Errors
/// A silent failure if the answer is no.
pub(crate) fn ask(warning: &str) -> Result<(), Failure> {
    print::out(&format!("{warning} [y/N] "));
    let mut answer = String::new();
    // Input that ends or cannot be read is no answer.
    let _ = std::io::stdin().lock().read_line(&mut answer);
    if answer.trim_end_matches(['\n', '\r']).eq_ignore_ascii_case("y") {
        return Ok(());
    }
    Err(Failure::silent(0))
}

/// The filters of the command line and those of `pruneFilters` that they do not contradict.
pub(crate) fn with_configured(session: &Session, given: &[Filter]) -> Vec<Filter> {
    let has =
        |name: &str, value: &str| given.iter().flatten().any(|(n, v)| n == name && v == value);
    let configured =
        session.config().prune_filters().into_iter().filter(|(name, value)| !match name.as_str() {
            "label" => has("label!", value),
            "label!" => has("label", value),
            _ => false,
        });
    given.iter().cloned().chain(configured.map(Some)).collect()
}
