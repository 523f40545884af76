//! The same request for several objects, at the same time, with results in order.

use std::sync::mpsc;
use std::thread;

use multi_core::cli::print;

use super::failure::{Failure, Outcome};
use super::session::{Global, Session};

/// Requests that run at the same time.
const PARALLEL: usize = 8;

/// Runs `work` for each name, prints the names that succeeded in their order, and gives the errors of
/// the others together.
///
/// Stopping waits for containers to end: one after the other would add the times up.
pub(crate) fn each(
    session: &Session,
    names: &[String],
    work: &(dyn Fn(&Session, &str) -> Result<(), Failure> + Sync),
) -> Outcome {
    let mut failures = Vec::new();
    let mut tell = |name: &str, result: Result<(), Failure>| match result {
        Ok(()) => drop(print::out(&format!("{name}\n"))),
        Err(failure) => failures.push(failure),
    };
    match names {
        [one] => tell(one, work(session, one)),
        names => {
            for group in names.chunks(PARALLEL) {
                for (name, result) in group.iter().zip(together(session.global(), group, work)) {
                    tell(name, result);
                }
            }
        }
    }
    join(failures)
}

fn together(
    global: &Global,
    names: &[String],
    work: &(dyn Fn(&Session, &str) -> Result<(), Failure> + Sync),
) -> Vec<Result<(), Failure>> {
    thread::scope(|scope| {
        let workers: Vec<_> = names
            .iter()
            .map(|name| {
                let (send, receive) = mpsc::channel();
                let global = global.clone();
                let spawned = thread::Builder::new()
                    .name("request".into())
                    .stack_size(256 << 10)
                    .spawn_scoped(scope, move || {
                        // A receiver always waits.
                        let _ = send.send(work(&Session::new(global), name));
                    });
                (receive, spawned.is_ok())
            })
            .collect();
        workers
            .into_iter()
            .map(|(receive, _)| {
                receive.recv().unwrap_or_else(|_| Err(Failure::new("starting a thread failed")))
            })
            .collect()
    })
}

/// One failure whose text is that of all.
pub(crate) fn join(failures: Vec<Failure>) -> Outcome {
    match failures.len() {
        0 => Ok(0),
        _ => {
            let kind = failures[0].kind;
            let text = failures.into_iter().map(|f| f.text).collect();
            Err(Failure { text, code: 1, kind })
        }
    }
}
