//! Manual pages of the client: one for `docker`, one for each command.

use argh::ArgsInfo;
use multi_core::cli::man::{Page, Part};

use super::{COMMANDS, Command, FAMILIES, GlobalFlags, ROOT};

/// Every page. A command that can be called in two ways has one page, under its short name.
pub(crate) fn all() -> Vec<Page> {
    let is_same =
        |a: &Command, b: &Command| (a.spec.usage, a.spec.about) == (b.spec.usage, b.spec.about);
    let short = |c: &&Command| {
        let mut plain = COMMANDS.iter().filter(|other| other.family.is_empty());
        c.family.is_empty() || !plain.any(|other| is_same(other, c))
    };
    let mut pages = vec![docker()];
    pages.extend(COMMANDS.iter().filter(short).map(|command| {
        let called = [&["docker"][..], &[command.family, command.names[0]]].concat();
        let called: Vec<&str> = called.into_iter().filter(|word| !word.is_empty()).collect();
        let page = Page::of_command(&called.join(" "), command.spec, (command.flags)().flags);
        Page { see_also: vec!["docker(1)".into()], ..page }
    }));
    pages
}

fn docker() -> Page {
    let page = Page::of_command("docker", &ROOT, GlobalFlags::get_args_info().flags);
    let commands: Vec<(&str, &str)> = COMMANDS
        .iter()
        .filter(|c| c.family.is_empty())
        .map(|c| (c.names[0], c.spec.about.lines().next().unwrap_or_default()))
        .collect();
    let families: Vec<(&str, &str)> = FAMILIES.iter().map(|f| (f.name, f.about)).collect();
    let mut parts = page.parts;
    parts.extend([
        Part::terms("COMMANDS", &commands),
        Part::terms("FAMILIES", &families),
        Part::terms(
            "ENVIRONMENT",
            &[
                ("DOCKER_API_VERSION", "API version to use instead of the newest that both know."),
                ("DOCKER_CERT_PATH", "Directory of ca.pem, cert.pem and key.pem."),
                ("DOCKER_CONFIG", "Directory of config.json, instead of ~/.docker."),
                ("DOCKER_CONTEXT", "Name of the context, if no host is given."),
                (
                    "DOCKER_DEFAULT_PLATFORM",
                    "Platform for run, create and pull without --platform.",
                ),
                ("DOCKER_HOST", "Address of the daemon; --host wins."),
                (
                    "DOCKER_TLS, DOCKER_TLS_VERIFY",
                    "If not empty, the same as --tls and --tlsverify.",
                ),
                ("HTTP_PROXY, HTTPS_PROXY, NO_PROXY", "Proxies to a daemon on TCP."),
            ],
        ),
        Part::terms(
            "EXIT STATUS",
            &[
                ("0", "Success."),
                ("1", "The command failed, or had a wrong number of arguments."),
                ("64", "A template of --format is wrong."),
                ("125", "A flag was wrong, or the daemon refused to run a container."),
                ("126", "run: the command cannot be invoked."),
                ("127", "run: the command was not found."),
                ("others", "run, start, exec, attach: the status of the container's command."),
            ],
        ),
        Part::terms(
            "FILES",
            &[
                ("~/.docker/config.json", "Defaults, headers, proxies, credentials."),
                ("/var/run/docker.sock", "Socket of the daemon."),
            ],
        ),
    ]);
    Page {
        about: "a command line for the container engine".into(),
        parts,
        see_also: vec!["multi(1)".into(), "dockerd(8)".into()],
        ..page
    }
}
