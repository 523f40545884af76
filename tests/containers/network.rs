//! Published ports and the networks of `--net`.

use std::process::Output;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{eventually, output, text};
use crate::{Cli, with_both};

/// What a server at this address answers to a program in the daemon's network.
fn fetch(cli: &Cli, url: &str) -> Output {
    output(cli.daemon.namespace().command("curl").args(["-sS", "-m", "5", url]))
}

/// The network namespace of a process.
fn network_of(pid: &str) -> String {
    std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap().to_str().unwrap().to_string()
}

#[test]
fn a_published_port_is_reached_until_the_container_stops() {
    with_both(|cli| {
        let server = ["busybox", "httpd", "-f", "-p", "80", "-h", "/etc"];
        let words = [&["run", "-d", "--name", "web", "-p", "18080:80"][..], &server].concat();
        cli.run(&words);
        let listed = cli.run(&["ps", "--format", "{{.Ports}}"]);
        assert!(listed.starts_with("0.0.0.0:18080->80/tcp"), "{listed}");
        assert!(cli.run(&["port", "web", "80"]).starts_with("0.0.0.0:18080\n"));

        let address = cli.inspect("web", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
        let gateway = cli.inspect("web", "{{.NetworkSettings.Networks.bridge.Gateway}}");
        let direct = format!("http://{address}/passwd");
        let page = eventually("an answer of the server", || {
            let answer = fetch(cli, &direct);
            answer.status.success().then(|| text(&answer.stdout))
        });
        assert!(page.starts_with("root:x:0:0:"), "{page}");
        for host in ["127.0.0.1", &gateway] {
            let answer = fetch(cli, &format!("http://{host}:18080/passwd"));
            assert_eq!(text(&answer.stdout), page, "{host}: {}", text(&answer.stderr));
        }
        cli.run(&["stop", "-t", "0", "web"]);
        assert!(!fetch(cli, "http://127.0.0.1:18080/passwd").status.success());
        cli.run(&["start", "web"]);
        cli.run(&["rm", "-f", "web"]);
    });
}

#[test]
fn a_port_of_the_daemons_choice_is_told() {
    with_both(|cli| {
        cli.run(&["run", "-d", "--name", "any", "-p", "127.0.0.1::80", "busybox", "sleep", "60"]);
        let told = cli.run(&["port", "any"]);
        let port = told.strip_prefix("80/tcp -> 127.0.0.1:").unwrap_or_else(|| panic!("{told}"));
        let port: u16 = port.trim().parse().unwrap();
        let format = "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}";
        assert_eq!(cli.inspect("any", format), port.to_string());
        cli.run(&["rm", "-f", "any"]);
    });
}

#[test]
fn containers_on_the_bridge_reach_each_other() {
    with_both(|cli| {
        cli.run(&["run", "-d", "--name", "xa", "busybox", "sleep", "600"]);
        let address = cli.inspect("xa", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
        cli.run(&["run", "--rm", "busybox", "ping", "-c", "1", "-W", "5", &address]);
        let own = cli.run(&["exec", "xa", "ip", "-o", "-4", "addr", "show", "eth0"]);
        assert!(own.contains(&format!("inet {address}/16 ")), "{own}");
        cli.run(&["rm", "-f", "xa"]);
    });
}

#[test]
fn networks_of_others_and_none_are_given() {
    with_both(|cli| {
        let net = |kind: &str, name: &str| {
            cli.run(&["run", "-d", "--name", name, "--net", kind, "busybox", "sleep", "600"]);
            network_of(&cli.inspect(name, "{{.State.Pid}}"))
        };
        let host = network_of(&cli.daemon.pid().to_string());
        assert_eq!(net("host", "xh"), host);
        let none = net("none", "xn");
        assert_ne!(none, host);
        let links = cli.run(&["exec", "xn", "ip", "-o", "addr"]);
        assert!(links.contains("127.0.0.1/8") && !links.contains("eth0"), "{links}");
        assert_eq!(cli.run(&["exec", "xn", "ip", "route"]), "");

        let bridge = net("bridge", "xb");
        assert!(bridge != host && bridge != none);
        assert_eq!(net("container:xb", "xc"), bridge);
        let name = |of: &str| cli.run(&["exec", of, "cat", "/etc/hostname"]);
        assert_eq!(name("xc"), name("xb"));
        let files = |of: &str| cli.run(&["exec", of, "cat", "/etc/hosts", "/etc/resolv.conf"]);
        assert_eq!(files("xc"), files("xb"));
        cli.run(&["rm", "-f", "xh", "xn", "xc", "xb"]);

        let (code, told) = cli.code(&["run", "--rm", "--net", "container:xb", "busybox", "true"]);
        assert_eq!(code, 125, "{told}");
        assert!(told.contains("No such container: xb"), "{told}");
    });
}

#[test]
fn listeners_hear_of_networks_between_start_and_end() {
    with_both(|cli| {
        let now = || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
        };
        let told = |since: &str, format: &str| {
            cli.run(&["events", "--since", since, "--until", &now(), "--format", format])
        };
        for (network, driver) in [("bridge", "bridge"), ("none", "null"), ("host", "host")] {
            let begin = now();
            let id = cli.run(&["create", "--net", network, "busybox", "sleep", "600"]);
            let id = id.trim_end();
            cli.run(&["start", id]);
            let format = "{{range .NetworkSettings.Networks}}{{.NetworkID}}{{end}}";
            let network_id = cli.inspect(id, format);
            assert_eq!(network_id.len(), 64, "{network}");
            cli.run(&["rm", "-f", id]);
            let actions = "{{.Type}} {{.Action}}";
            assert_eq!(
                told(&begin, actions).lines().collect::<Vec<_>>(),
                [
                    "container create",
                    "network connect",
                    "container start",
                    "container kill",
                    "container die",
                    "network disconnect",
                    "container destroy",
                ],
                "{network}"
            );
            let format = "{{.Type}} {{.Actor.ID}} {{json .Actor.Attributes}}";
            let attributes =
                format!(r#"{{"container":"{id}","name":"{network}","type":"{driver}"}}"#);
            let line = format!("network {network_id} {attributes}");
            assert_eq!(told(&begin, format).lines().filter(|told| *told == line).count(), 2);
        }
        // One that shares another's stack is in no network; a start that fails leaves what it entered.
        cli.run(&["run", "-d", "--name", "one", "busybox", "sleep", "600"]);
        let begin = now();
        cli.run(&["run", "--rm", "--net", "container:one", "busybox", "true"]);
        assert!(!told(&begin, "{{.Type}}").contains("network"));
        assert_eq!(cli.code(&["run", "--rm", "busybox", "nosuch"]).0, 127);
        let said = told(&begin, "{{.Type}} {{.Action}}");
        let count = |line: &str| said.lines().filter(|told| *told == line).count();
        assert_eq!(count("network connect"), count("network disconnect"), "{said}");
        cli.run(&["rm", "-f", "one"]);
    });
}

#[test]
fn the_networks_of_every_engine_are_seen_with_who_is_in_them() {
    let daemon = crate::daemon(&[]);
    // `docker network` is Docker's own client's here.
    let cli = Cli { daemon: &daemon, official: true };
    let listed = cli.run(&["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"]);
    assert_eq!(listed, "bridge bridge local\nhost host local\nnone null local\n");
    let filtered = ["network", "ls", "-q", "--no-trunc", "--filter"];
    let named = |filter| cli.run(&[&filtered[..], &[filter]].concat()).trim().to_string();
    let id = named("name=bridge");
    assert_eq!(named("driver=bridge"), id);
    assert_eq!(named("type=custom"), "");
    assert!(cli.code(&["network", "ls", "--filter", "nosuch=1"]).1.contains("invalid filter"));

    cli.run(&["run", "-d", "--name", "inside", "busybox", "sleep", "600"]);
    cli.run(&["create", "--name", "outside", "busybox"]);
    let address = cli.inspect("inside", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    let format = "{{range .Containers}}{{.Name}} {{.IPv4Address}},{{end}} \
                  {{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}}";
    let told = cli.run(&["network", "inspect", "-f", format, &id[..12]]);
    assert!(told.starts_with(&format!("inside {address}/16, ")), "{told}");
    // What it says of the subnet is what the kernel has.
    let gateway = told.trim().rsplit(' ').next().unwrap().to_string();
    let mut kernel = daemon.namespace().command("ip");
    let kernel = text(&output(kernel.args(["-o", "-4", "addr", "show", "docker0"])).stdout);
    assert!(kernel.contains(&format!(" {gateway}/16 ")), "{kernel}");
    let missing = cli.code(&["network", "inspect", "nosuch"]);
    assert!(missing.1.contains("network nosuch not found"), "{missing:?}");
    assert_eq!(cli.run(&["network", "prune", "-f"]), "");
    cli.run(&["rm", "-f", "inside", "outside"]);
    cli.nothing_left();
    daemon.stop();
}
