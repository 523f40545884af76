//! Links: what a container gets of the one it links to, and what becomes of that in both lives.

use crate::support::{eventually, output, text};
use crate::{Cli, daemon};

const SERVE: &str = "mkdir /www; echo page > /www/index.html; exec httpd -f -p 6379 -h /www";

impl Cli<'_> {
    fn address(&self, name: &str) -> String {
        self.inspect(name, "{{.NetworkSettings.Networks.bridge.IPAddress}}")
    }

    /// Whether `from` gets the page of the server that its hosts file calls `name`, or that has that
    /// address. The static busybox cannot look names up by itself.
    fn reaches(&self, from: &str, name: &str) -> bool {
        let script = "ip=$(awk -v n=$0 '$2 == n { print $1 }' /etc/hosts); \
                      printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 ${ip:-$0} 6379";
        let told = output(&mut self.command(&["exec", from, "sh", "-c", script, name]));
        text(&told.stdout).ends_with("\npage\n")
    }

    fn serve(&self, name: &str, options: &[&str]) {
        let words = ["--name", name, "busybox", "sh", "-c", SERVE];
        self.run(&[&["run", "-d", "--expose", "6379"], options, &words[..]].concat());
        eventually("the server", || self.reaches(name, "127.0.0.1").then_some(()));
    }
}

/// One scenario for both packet filters; with icc off only the linked ports are open.
fn scenario(cli: &Cli) {
    cli.serve("db", &["-e", "USER_NAME=x y", "-h", "dbhost"]);
    cli.run(&["run", "-d", "--name", "stranger", "busybox", "sleep", "600"]);
    let link = ["run", "-d", "--name", "web", "--link", "db:my-db", "-e", "MY_DB_ENV_OWN=own"];
    cli.run(&[&link[..], &["busybox", "sleep", "600"]].concat());
    let address = cli.address("db");
    let env = cli.run(&["exec", "web", "env"]);
    for line in [
        &format!("MY_DB_PORT=tcp://{address}:6379"),
        &format!("MY_DB_PORT_6379_TCP=tcp://{address}:6379"),
        &format!("MY_DB_PORT_6379_TCP_ADDR={address}"),
        "MY_DB_PORT_6379_TCP_PORT=6379",
        "MY_DB_PORT_6379_TCP_PROTO=tcp",
        "MY_DB_NAME=/web/my-db",
        "MY_DB_ENV_USER_NAME=x y",
        "MY_DB_ENV_OWN=own",
    ] {
        assert!(env.lines().any(|have| have == line), "{line} is not in\n{env}");
    }
    let init = std::fs::read(format!("/proc/{}/environ", cli.inspect("web", "{{.State.Pid}}")));
    assert!(text(&init.unwrap()).contains("MY_DB_NAME=/web/my-db"));
    let hosts = cli.run(&["exec", "web", "cat", "/etc/hosts"]);
    assert!(hosts.contains(&format!("{address}\tmy-db dbhost db\n")), "{hosts}");
    assert_eq!(
        cli.run(&["ps", "--no-trunc", "--filter", "name=db", "--format", "{{.Names}}"]),
        "db,web/my-db\n"
    );
    assert_eq!(cli.inspect("web", "{{json .HostConfig.Links}}"), r#"["/db:/web/my-db"]"#);
    assert_eq!(cli.inspect("/web/my-db", "{{.Name}}"), "/db");

    assert!(cli.reaches("web", "my-db"));
    assert!(!cli.reaches("stranger", &address));

    // The other container comes back with another address.
    cli.run(&["stop", "-t", "0", "db"]);
    cli.run(&["run", "-d", "--name", "between", "busybox", "sleep", "600"]);
    cli.run(&["start", "db"]);
    let moved = cli.address("db");
    assert_ne!(moved, address);
    let hosts = cli.run(&["exec", "web", "cat", "/etc/hosts"]);
    assert!(hosts.contains(&format!("{moved}\tmy-db dbhost db\n")), "{hosts}");
    eventually("the page", || cli.reaches("web", "my-db").then_some(()));
    let at = |ip: &str| format!("MY_DB_PORT_6379_TCP_ADDR={ip}\n");
    assert!(cli.run(&["exec", "web", "env"]).contains(&at(&moved)));

    // Other names do not break it; the record follows.
    cli.run(&["rename", "web", "site"]);
    cli.run(&["rename", "db", "store"]);
    let links = "{{json .HostConfig.Links}}";
    assert_eq!(cli.inspect("site", links), r#"["/store:/site/my-db"]"#);

    cli.run(&["stop", "-t", "0", "store"]);
    let (_, told) = cli.code(&["restart", "-t", "0", "site"]);
    let words = "Cannot restart container site: Cannot link to a non running container: /store AS /site/my-db";
    assert!(told.contains(words), "{told}");
    cli.run(&["start", "store"]);
    cli.run(&["start", "site"]);
    eventually("the page", || cli.reaches("site", "my-db").then_some(()));

    let (_, told) = cli.code(&["rm", "--link", "store"]);
    assert!(told.contains("Conflict, cannot remove the default link name"), "{told}");
    cli.run(&["rm", "--link", "/site/my-db"]);
    assert_eq!(cli.inspect("site", links), "null");
    assert!(!cli.run(&["exec", "site", "cat", "/etc/hosts"]).contains("my-db"));
    assert!(!cli.reaches("site", &cli.address("store")));
    cli.run(&["restart", "-t", "0", "site"]);
    assert!(!cli.run(&["exec", "site", "env"]).contains("MY_DB_NAME"));

    let common = ["run", "--rm", "--link"];
    for (words, error) in [
        (
            &["nosuch:x", "busybox", "true"][..],
            "could not get container for nosuch: No such container: nosuch",
        ),
        (
            &["store", "--net", "host", "busybox", "true"],
            "host type networking can't be used with links",
        ),
        (
            &["store", "--net", "container:store", "busybox", "true"],
            "container type network can't be used with links",
        ),
        (&["a:b:c", "busybox", "true"], "bad format for links: a:b:c"),
    ] {
        let (code, told) = cli.code(&[&common[..], words].concat());
        assert!(code == 125 && told.contains(error), "{words:?}: {code} {told}");
    }
    cli.run(&["rm", "-f", "site", "store", "stranger", "between"]);
}

#[test]
fn a_link_gives_names_variables_and_the_way() {
    for backend in ["nftables", "iptables"] {
        let daemon = daemon(&["--icc=false", &format!("--firewall-backend={backend}")]);
        let cli = Cli { daemon: &daemon, official: backend == "iptables" };
        scenario(&cli);
        cli.nothing_left();
        daemon.stop();
    }
}

#[test]
fn links_are_there_under_the_next_daemon() {
    let mut daemon = daemon(&["--icc=false"]);
    let cli = Cli { daemon: &daemon, official: false };
    cli.serve("db", &["--restart", "always"]);
    let link = ["run", "-d", "--name", "web", "--restart", "always", "--link", "db"];
    cli.run(&[&link[..], &["busybox", "sleep", "600"]].concat());
    daemon.kill();
    daemon.start_again();
    let cli = Cli { daemon: &daemon, official: false };
    assert_eq!(cli.inspect("/web/db", "{{.Name}}"), "/db");
    assert!(cli.reaches("web", "db"));
    // Both start with the daemon: the one that is linked to comes first.
    daemon.terminate();
    daemon.start_again();
    let cli = Cli { daemon: &daemon, official: false };
    eventually("both", || (cli.run(&["ps", "-q"]).lines().count() == 2).then_some(()));
    eventually("the page", || cli.reaches("web", "db").then_some(()));
    assert_eq!(cli.inspect("web", "{{.RestartCount}}{{.State.Error}}"), "0");
    cli.run(&["rm", "-f", "web", "db"]);
    cli.nothing_left();
    daemon.stop();
}
