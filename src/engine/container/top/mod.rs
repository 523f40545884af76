//! The processes of a container, read from /proc: the host needs no `ps` program.

mod columns;
mod options;
mod process;

use std::cmp::Ordering;

use super::{Container, pause};
use crate::base::{At, Error, Result};
use crate::engine::Engine;
use options::Options;
use process::{Host, Process};

/// A table of processes: titles and one row each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Column titles.
    pub titles: Vec<String>,
    /// One row a process, as many cells as titles.
    pub rows: Vec<Vec<String>>,
}

/// The processes of the running `container` in the columns that `ps_args` asks for, as `ps` takes them;
/// `-ef` if it is empty. Threads are not shown one by one.
///
/// # Errors
/// `Conflict` if it does not run; `InvalidParameter` with Docker's texts for options that hide the
/// process id or that are not known.
pub fn top(engine: &Engine, container: &Container, ps_args: &str) -> Result<Table> {
    let options = options::parse(ps_args)?;
    {
        let data = container.data();
        let state = &data.record.state;
        if !state.running {
            return Err(container.not_running());
        }
        if state.restarting {
            return Err(Error::conflict(format_args!(
                "container {} is restarting, wait until the container is running",
                container.id
            )));
        }
    }
    let host = Host::look()?;
    let pids = pause::cgroup(engine, container)
        .and_then(|cgroup| cgroup.pids())
        .at(format_args!("listing the processes of container {}", container.id))?;
    let processes = pids
        .iter()
        // A process may end between the list and the look.
        .filter_map(|pid| Process::read(i64::from(*pid), &host))
        .collect();
    Ok(table(&options, processes, &host))
}

fn table(options: &Options, mut processes: Vec<Process>, host: &Host) -> Table {
    if !options.names.is_empty() {
        processes.retain(|process| options.names.contains(&process.name));
    }
    processes.sort_by_key(|process| process.pid);
    for (column, backwards) in options.order.iter().rev() {
        processes.sort_by(|a, b| {
            let order = compare(&(column.cell)(a, host), &(column.cell)(b, host));
            if *backwards { order.reverse() } else { order }
        });
    }
    if options.forest {
        processes = as_forest(processes);
    }
    let row =
        |process: &Process| options.columns.iter().map(|(_, c)| (c.cell)(process, host)).collect();
    Table {
        titles: options.columns.iter().map(|(title, _)| title.clone()).collect(),
        rows: processes.iter().map(row).collect(),
    }
}

/// Numbers by their value, everything else by its letters.
fn compare(a: &str, b: &str) -> Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => a.cmp(b),
    }
}

/// Children after their parents, with the mark that ps gives them.
fn as_forest(mut rest: Vec<Process>) -> Vec<Process> {
    let mut ordered: Vec<Process> = Vec::with_capacity(rest.len());
    let known: Vec<i64> = rest.iter().map(|process| process.pid).collect();
    let (roots, mut children): (Vec<_>, Vec<_>) =
        rest.drain(..).partition(|process| !known.contains(&process.ppid));
    let mut waiting: Vec<Process> = roots.into_iter().rev().collect();
    while let Some(mut process) = waiting.pop() {
        let (own, others): (Vec<_>, Vec<_>) =
            children.into_iter().partition(|child| child.ppid == process.pid);
        children = others;
        waiting.extend(own.into_iter().rev());
        process.command.insert_str(0, "\\_ ");
        process.name.insert_str(0, "\\_ ");
        ordered.push(process);
    }
    // A circle of parents cannot be, but a process may be read before and its parent after a change.
    ordered.extend(children);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i64, ppid: i64, name: &str) -> Process {
        Process { pid, ppid, name: name.into(), command: name.into(), ..Process::default() }
    }

    fn rows(args: &str) -> Vec<Vec<String>> {
        let processes = vec![
            process(30, 10, "c"),
            process(9, 4, "b"),
            process(10, 1, "a"),
            process(4, 10, "b"),
        ];
        table(&options::parse(args).unwrap(), processes, &Host::look().unwrap()).rows
    }

    #[test]
    fn processes_come_in_the_order_that_was_asked_for() {
        let pids =
            |args: &str| rows(args).iter().map(|row| row[0].clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(pids("-o pid"), "4 9 10 30");
        assert_eq!(pids("-o pid --sort=-pid"), "30 10 9 4");
        assert_eq!(pids("-o pid --sort=-comm,pid"), "30 4 9 10");
        assert_eq!(pids("-o pid -C b"), "4 9");
        assert_eq!(rows("-o pid,comm --forest")[1], ["4", "\\_ b"]);
        assert_eq!(pids("-o pid --forest"), "10 4 9 30");
    }
}
