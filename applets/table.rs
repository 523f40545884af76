//! The table of applets, and the way from a command line to one of them.
//!
//! The base name of `argv[0]` decides if it is the name of an applet or of one of its links; else
//! `argv[1]` does. Both are compared exactly: a program that is called `mydocker` is not `docker`.
//! To add an applet: a module in this folder, a line in `main.rs`, a row here.
//!
//! The oldest forms of starting the daemon, `docker daemon` and `docker -d`, lead from the client to
//! the daemon before the client reads anything.

use multi_core::cli::print;
use multi_core::config::daemon::OPTIONS;

/// One role of the executable.
pub(crate) struct Applet {
    /// Name as the first argument of `multi`.
    pub(crate) name: &'static str,
    /// Names of links that lead to it; `multi install` makes those of listed applets.
    pub(crate) links: &'static [&'static str],
    /// What it is, in a few words; empty hides it from the list: started by other applets only.
    pub(crate) about: &'static str,
    /// Runs it; gives the exit code.
    pub(crate) run: fn(&Call) -> u8,
}

/// How an applet was called.
pub(crate) struct Call {
    /// The words that lead to the applet, as its messages should show them: `dockerd`,
    /// `docker daemon`, `multi install`.
    pub(crate) called: String,
    /// What follows.
    pub(crate) args: Vec<String>,
}

/// Every applet, sorted by name.
pub(crate) const APPLETS: &[Applet] = &[
    Applet {
        name: "client",
        links: &["docker"],
        about: "The command line of the engine",
        run: crate::client::applet,
    },
    Applet {
        name: "daemon",
        links: &["dockerd"],
        about: "Container engine that serves the Docker API",
        run: crate::daemon::run,
    },
    Applet {
        name: "help",
        links: &[],
        about: "Show what an applet does and takes",
        run: crate::help::run,
    },
    Applet { name: "init", links: &["docker-init"], about: "", run: crate::init::run },
    Applet {
        name: "install",
        links: &[],
        about: "Make the links that run applets by their own names",
        run: crate::install::run,
    },
    Applet { name: "log-sender", links: &[], about: "", run: crate::log_sender::run },
    Applet { name: "proxy", links: &[], about: "", run: crate::proxy::run },
    Applet {
        name: "registry-pull",
        links: &[],
        about: "Fetch an image without a daemon",
        run: crate::registry_pull::run,
    },
    Applet {
        name: "runtime",
        links: &["multi-runtime"],
        about: "Run containers of OCI bundles, for podman, containerd and others",
        run: crate::runtime::run,
    },
    Applet { name: "shim", links: &[], about: "", run: crate::shim::run },
];

/// Exit code for an applet that does not exist, as a shell has for a command.
const NO_SUCH_APPLET: u8 = 127;

/// What a command line leads to.
enum Way<'a> {
    /// An applet, the words that lead to it, and what follows.
    Applet(&'static Applet, String, &'a [String]),
    /// The list of applets.
    Overview,
    /// The version.
    Version,
    /// Nothing of that name.
    Unknown(&'a str),
}

/// Runs the applet that `words`, a whole command line, asks for.
pub(crate) fn dispatch(words: &[String]) -> u8 {
    match way(words) {
        Way::Applet(applet, called, rest) => run(applet, called, rest),
        Way::Overview => print::out(&crate::help::overview()),
        Way::Version => print::out(&crate::help::version()),
        Way::Unknown(word) => no_such(word),
    }
}

fn way(words: &[String]) -> Way<'_> {
    let program = words.first().map(String::as_str).unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    let rest = words.get(1..).unwrap_or_default();
    if let Some(applet) = find(program) {
        return Way::Applet(applet, program.to_string(), rest);
    }
    match rest.first().map(String::as_str) {
        None | Some("--help" | "-h") => Way::Overview,
        Some("--version" | "-v") => Way::Version,
        Some(word) => match find(word) {
            Some(applet) if applet.links.contains(&word) => {
                Way::Applet(applet, word.to_string(), &rest[1..])
            }
            Some(applet) => Way::Applet(applet, format!("multi {word}"), &rest[1..]),
            None => Way::Unknown(word),
        },
    }
}

/// The applet of that name or link.
pub(crate) fn find(name: &str) -> Option<&'static Applet> {
    APPLETS.iter().find(|a| a.name == name || a.links.contains(&name))
}

/// Tells that there is no such applet.
pub(crate) fn no_such(word: &str) -> u8 {
    print::err(&format!("multi: unknown applet: {word}\n\nRun 'multi' for the list of applets\n"));
    NO_SUCH_APPLET
}

fn run(applet: &Applet, called: String, args: &[String]) -> u8 {
    if applet.links.contains(&"docker")
        && let Some((extra, args)) = daemon_form(args)
        && let Some(daemon) = find("daemon")
    {
        return (daemon.run)(&Call { called: format!("{called} {extra}"), args });
    }
    (applet.run)(&Call { called, args: args.to_vec() })
}

/// The arguments of the daemon if a client's command line means it: `docker [FLAGS] daemon ...`, or
/// `-d` (`--daemon`) among the flags before the command.
fn daemon_form(args: &[String]) -> Option<(&'static str, Vec<String>)> {
    let mut i = 0;
    while let Some(word) = args.get(i) {
        let without = || [&args[..i], &args[i + 1..]].concat();
        match word.as_str() {
            "daemon" => return Some(("daemon", without())),
            "-d" | "--daemon" | "-d=true" | "--daemon=true" => return Some(("-d", without())),
            // A flag whose value is the next word.
            flag if flag.starts_with('-') => i += if takes_next(flag) { 2 } else { 1 },
            _ => return None,
        }
    }
    None
}

fn takes_next(word: &str) -> bool {
    OPTIONS.iter().any(|o| {
        let short = o.short.map(|letter| format!("-{letter}"));
        let named = word == o.flag || short.as_deref() == Some(word);
        named && o.word != "bool"
    }) || matches!(word, "-c" | "--context" | "--config")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn the_table_is_sorted_and_names_are_unique() {
        let names: Vec<_> = APPLETS.iter().map(|a| a.name).collect();
        assert!(names.is_sorted());
        for applet in APPLETS {
            for name in [applet.name].iter().chain(applet.links) {
                let owners =
                    APPLETS.iter().filter(|a| a.name == *name || a.links.contains(name)).count();
                assert_eq!(owners, 1, "{name}");
            }
        }
    }

    #[test]
    fn names_are_compared_exactly() {
        assert!(find("install").is_some());
        for name in ["", "inst", "xinstall", "install.sh", "Install"] {
            assert!(find(name).is_none(), "{name}");
        }
        let unknown = |line: &str| match way(&words(line)) {
            Way::Unknown(word) => word.to_string(),
            _ => panic!("{line}"),
        };
        assert_eq!(unknown("multi nonsense"), "nonsense");
        assert_eq!(unknown("/bin/xinstall xinstall"), "xinstall");
        for line in ["multi install x", "/sbin/install x", "anything install x"] {
            let line = words(line);
            let Way::Applet(applet, called, rest) = way(&line) else { panic!("{line:?}") };
            assert_eq!((applet.name, rest), ("install", &words("x")[..]));
            assert_eq!(called.trim_start_matches("multi "), "install");
        }
    }

    #[test]
    fn old_ways_to_the_daemon_are_found() {
        for (line, rest) in [
            ("-d", ""),
            ("-d -D", "-D"),
            ("-D -d -H unix:///s", "-D -H unix:///s"),
            ("daemon -g /x", "-g /x"),
            ("-H unix:///s daemon --debug", "-H unix:///s --debug"),
            ("-l debug -d", "-l debug"),
        ] {
            let (_, args) = daemon_form(&words(line)).expect(line);
            assert_eq!(args, words(rest), "{line}");
        }
        for line in ["run -d x", "-H -d ps", "ps", "", "-D ps -d", "inspect daemon"] {
            assert!(daemon_form(&words(line)).is_none(), "{line}");
        }
    }
}
