//! `multi help`, and what `multi` alone shows.

use multi_core::cli::help::{self, Program, Section};
use multi_core::cli::print;

use crate::pages;
use crate::table::{self, APPLETS, Call};

/// Lists the applets without argument; with the name of one, shows that applet's own help.
pub(crate) fn run(call: &Call) -> u8 {
    let Some(name) = call.args.first().filter(|a| *a != "--help") else {
        return print::out(&overview());
    };
    if name == "--man" {
        return manual(call.args.get(1));
    }
    match table::find(name) {
        None => table::no_such(name),
        Some(applet) if applet.name == "help" => print::out(&overview()),
        Some(applet) => {
            let called = match applet.links.contains(&name.as_str()) {
                true => name.clone(),
                false => format!("multi {name}"),
            };
            let mut args = call.args[1..].to_vec();
            args.push("--help".into());
            (applet.run)(&Call { called, args })
        }
    }
}

/// Lists the files of the manual pages, or prints one.
fn manual(name: Option<&String>) -> u8 {
    let Some(name) = name else {
        return print::out(&pages::all().iter().map(|p| p.file_name() + "\n").collect::<String>());
    };
    match pages::find(name) {
        Some(page) => print::out(&page.render()),
        None => {
            print::err(&format!("multi: no manual page for {name}\n"));
            1
        }
    }
}

/// The list of applets.
pub(crate) fn overview() -> String {
    let shown = APPLETS.iter().filter(|a| !a.about.is_empty());
    let (linked, plain): (Vec<_>, Vec<_>) = shown.partition(|a| !a.links.is_empty());
    let rows = |applets: &[&'static table::Applet]| {
        applets.iter().map(|a| (a.links.first().copied().unwrap_or(a.name), a.about)).collect()
    };
    let mut sections = vec![
        Section { title: "Programs (also by links of these names)", rows: rows(&linked) },
        Section { title: "Applets", rows: rows(&plain) },
    ];
    sections.retain(|s| !s.rows.is_empty());
    help::program(
        &Program {
            usage_line: "multi APPLET [ARG...]",
            about: "A whole container engine in one static executable",
            sections,
            options_title: "Options",
            flags: &[],
            footer: "Run 'multi help APPLET' for more information on an applet.",
        },
        help::width(),
    )
}

/// `multi --version`.
pub(crate) fn version() -> String {
    format!("multi version {}, build {}\n", multi_core::VERSION, multi_core::REVISION)
}
