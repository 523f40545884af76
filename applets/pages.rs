//! The manual pages: `multi help --man` lists them, `multi help --man NAME` prints one.

use argh::ArgsInfo;
use multi_core::cli::man::{Page, Part};
use multi_core::config::daemon;

use crate::install::{self, Install};
use crate::registry_pull::{self, RegistryPull};
use crate::table::{self, APPLETS};

/// Makes the pages of one applet.
type Make = fn() -> Vec<Page>;

/// The pages of each applet that users call.
const PAGES: &[(&str, Make)] = &[
    ("client", crate::client::pages::all),
    ("daemon", || vec![dockerd()]),
    ("help", || vec![multi()]),
    ("install", || {
        let flags = Install::get_args_info().flags;
        vec![with_see_also(Page::of_command("multi install", &install::SPEC, flags))]
    }),
    ("registry-pull", || {
        let flags = RegistryPull::get_args_info().flags;
        vec![with_see_also(Page::of_command("multi registry-pull", &registry_pull::SPEC, flags))]
    }),
    ("runtime", || vec![with_see_also(crate::runtime::page())]),
];

/// Every page, sorted by the name of its file.
pub(crate) fn all() -> Vec<Page> {
    let present = PAGES.iter().filter(|(applet, _)| table::find(applet).is_some());
    let mut pages: Vec<Page> = present.flat_map(|(_, make)| make()).collect();
    pages.sort_by_key(Page::file_name);
    pages
}

/// The page with that name, with or without its section.
pub(crate) fn find(name: &str) -> Option<Page> {
    all().into_iter().find(|p| p.name == name || p.file_name() == name)
}

fn with_see_also(page: Page) -> Page {
    Page { see_also: vec!["multi(1)".into()], ..page }
}

fn multi() -> Page {
    let shown = APPLETS.iter().filter(|a| !a.about.is_empty());
    let applets: Vec<(String, &str)> = shown
        .map(|a| match a.links {
            [] => (a.name.to_string(), a.about),
            links => (format!("{}, {}", a.name, links.join(", ")), a.about),
        })
        .collect();
    Page {
        name: "multi".into(),
        section: 1,
        about: "a whole container engine in one static executable".into(),
        synopsis: vec![
            "multi APPLET [ARG...]".into(),
            "multi help [APPLET]".into(),
            "dockerd [OPTIONS]".into(),
            "docker [OPTIONS] COMMAND [ARG...]".into(),
        ],
        parts: vec![
            Part::text(
                "DESCRIPTION",
                "multi is a container engine that speaks Docker's API and command line: daemon, \
                 client, runtime, storage drivers, networking and registry client in one file that \
                 needs no other.\n\nThe name it is called by decides what it is: by a link named \
                 dockerd it is the daemon, by one named docker the client. Else its first argument \
                 names the applet. Names are compared exactly.\n\nmulti install DIR makes the links.",
            ),
            Part::terms("APPLETS", &applets),
            Part::terms(
                "EXIT STATUS",
                &[
                    ("0", "Success."),
                    ("1", "The applet failed, or was called with a wrong number of arguments."),
                    ("125", "A flag was wrong, or the daemon refused to run a container."),
                    ("126, 127", "docker run: the command cannot be invoked, or was not found."),
                    ("127", "multi: there is no such applet."),
                ],
            ),
        ],
        see_also: vec!["dockerd(8)".into(), "docker(1)".into()],
    }
}

fn dockerd() -> Page {
    let defaults = daemon::DaemonConfig {
        // What they are for everybody, not for the one who reads.
        tls_ca: "~/.docker/ca.pem".into(),
        tls_cert: "~/.docker/cert.pem".into(),
        tls_key: "~/.docker/key.pem".into(),
        storage_driver: String::new(),
        ..daemon::DaemonConfig::default()
    };
    let flags = daemon::options::Flags::new(&defaults);
    let page = Page::of_command("dockerd", &daemon::SPEC, &flags.infos());
    let keys: Vec<(&str, String)> = daemon::OPTIONS
        .iter()
        .filter(|o| !o.key.is_empty())
        .map(|o| {
            let kind = match o.field {
                daemon::Field::Bool(_) => "true or false",
                daemon::Field::Int(_) => "a number",
                daemon::Field::Text(_) => "a string",
                daemon::Field::List(_) => "a list of strings",
                daemon::Field::Map(_) => "an object of strings",
                daemon::Field::Ulimits(_) => "an object of objects with Name, Soft and Hard",
                daemon::Field::Runtimes(_) => "an object of objects with path and runtimeArgs",
                daemon::Field::Special if o.word == "bool" => "true or false",
                daemon::Field::Special => "a list of strings",
            };
            let again = if o.reloadable { "; read again on SIGHUP" } else { "" };
            (o.key, format!("{kind}, as {}{again}.", o.flag))
        })
        .collect();
    let drivers = multi_core::logs::described();
    let mut parts = page.parts;
    parts.extend([
        Part::text(
            "ADDRESSES",
            "The flag --host may be given several times. unix://PATH is a socket at PATH; \
             tcp://HOST:PORT, HOST:PORT and :PORT listen on TCP, the last on all addresses; without \
             a port it is 2375, or 2376 with TLS. fd:// takes all sockets that the service manager \
             passed, fd://N the one with that descriptor. Without --host the daemon listens on \
             /var/run/docker.sock, with --tls or --tlsverify on port 2376 of the loopback.\n\n\
             Who can reach a TCP port without --tlsverify is root on this machine.",
        ),
        Part::text(
            "CONFIGURATION FILE",
            "A JSON object. An option may be set there or by its flag, not by both; keys that are \
             no option are an error. On SIGHUP the file is read again: all of it is checked first, \
             and if anything is wrong nothing changes. Keys that are not read again keep their \
             values until the daemon is restarted.",
        ),
        Part::terms("KEYS", &keys),
        Part::text(
            "LOGS",
            "A container's output goes to its log driver: --log-driver of docker run, else of the \
             daemon, else json-file; none keeps nothing. The daemon's --log-opt are the defaults of \
             containers with the same driver.\n\n\
             Files are bounded: without max-size and max-file they are 5 of 20 MB. max-size alone \
             means one file of json-file, five of local; max-size=-1 means no bound. A full file is \
             renamed to .1 and so on, and compressed with compress=true, which is the default of \
             local.\n\n\
             Drivers that send messages away do so from a process of their own for each container. \
             What they send is kept in a cache as well, in the format of local, which docker logs \
             reads: cache-disabled=true does without it, and cache-max-size, cache-max-file and \
             cache-compress bound it.\n\n\
             With mode=blocking, the default, a container waits when a server does not take its \
             messages; with mode=non-blocking up to max-buffer-size of them wait instead (1 MB by \
             default), and what is more is lost. mode changes nothing for drivers that write files. \
             What could not be written or sent is told in the daemon's log, once for each run of a \
             container, with the number at its end.\n\n\
             tag is a Go template over the container: {{.ID}}, {{.FullID}}, {{.Name}}, {{.ImageID}}, \
             {{.ImageFullID}}, {{.ImageName}}, {{.Command}}, {{.Hostname}}, {{.DaemonName}} and what \
             templates of --format can do. labels and env name labels and variables that go with \
             each message; labels-regex and env-regex choose them by their names.",
        ),
        Part::terms("LOG DRIVERS", &drivers),
        Part::terms(
            "ENVIRONMENT",
            &[
                ("DOCKER_CERT_PATH", "Directory of ca.pem, cert.pem and key.pem."),
                ("DOCKER_CONFIG", "Directory of the same files, if DOCKER_CERT_PATH is not set."),
                (
                    "DOCKER_TMPDIR",
                    "Directory of temporary files, such as archives that are being loaded; else tmp below the data root.",
                ),
                (
                    "DOCKER_RAMDISK",
                    "If not empty, containers are started without pivot_root(2), as on a root in memory, where that is so by itself.",
                ),
                ("DOCKER_DRIVER", "Storage driver, if none is configured."),
                ("DOCKER_TLS_VERIFY", "If not empty, the same as --tlsverify."),
                ("HTTP_PROXY, HTTPS_PROXY, NO_PROXY", "Proxies for requests to registries."),
            ],
        ),
        Part::terms(
            "FILES",
            &[
                ("/etc/docker/daemon.json", "Configuration file that is read if it exists."),
                ("/var/run/docker.sock", "Socket."),
                ("/var/run/docker.pid", "Process id."),
                ("/var/lib/docker", "Images, containers, volumes."),
                ("/var/run/docker", "What does not outlive a boot."),
            ],
        ),
        Part::terms(
            "SIGNALS",
            &[
                ("SIGTERM, SIGINT", "Stop containers, unless --live-restore, and end."),
                ("SIGHUP", "Read the configuration file again."),
            ],
        ),
    ]);
    Page {
        section: 8,
        about: "the daemon of multi".into(),
        synopsis: vec![
            "dockerd [OPTIONS]".into(),
            "docker daemon [OPTIONS]".into(),
            "docker -d [OPTIONS]".into(),
        ],
        parts,
        see_also: vec!["multi(1)".into(), "docker(1)".into()],
        ..page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_applet_that_is_listed_has_a_page() {
        for applet in APPLETS.iter().filter(|a| !a.about.is_empty()) {
            assert!(PAGES.iter().any(|(name, _)| *name == applet.name), "{}", applet.name);
        }
    }
}
