//! The controller in network namespaces of its own: packets that pass and packets that do not.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::sandbox::{self, Sandbox};
use super::testing::TempDir;
use super::*;
use crate::base::{Kind, Result};
use crate::sys::netlink::testing::in_netns;
use crate::sys::netlink::{Batch, Socket, route::Veth};

const SOON: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(5);

/// A daemon's directories and its controller, in the calling thread's namespace.
struct World {
    controller: Controller,
    dir: TempDir,
    serial: std::cell::Cell<u32>,
}

fn config() -> Config {
    Config { userland_proxy: false, ..Config::default() }
}

impl World {
    fn new(config: Config) -> World {
        let world = World::unprepared(config);
        world.controller.prepare().unwrap();
        world
    }

    fn unprepared(config: Config) -> World {
        let mut batch = Batch::new();
        batch.set_up(crate::sys::netlink::route::LOOPBACK);
        Socket::route().unwrap().execute(batch).unwrap();
        let dir = TempDir::new("world");
        let controller = Controller::open(config, dir.path(), dir.path()).unwrap();
        World { controller, dir, serial: 0.into() }
    }

    /// The daemon is killed and another one started: only disk and kernel are kept.
    fn restart(&mut self, config: Config) {
        self.controller = Controller::open(config, self.dir.path(), self.dir.path()).unwrap();
    }

    fn container(&self, ports: &[PortBinding]) -> Result<(Sandbox, Endpoint)> {
        self.serial.set(self.serial.get() + 1);
        let id = format!("{:064x}", u64::from(self.serial.get()) << 8);
        let id = id.chars().rev().collect::<String>();
        let sandbox = self.controller.sandbox(&id)?;
        let request = EndpointRequest {
            container_id: id,
            container_name: "web".into(),
            ports: ports.to_vec(),
            ..EndpointRequest::default()
        };
        let endpoint = self.controller.connect(&sandbox, &request)?;
        Ok((sandbox, endpoint))
    }

    fn remove(&self, sandbox: &Sandbox, endpoint: &Endpoint) {
        self.controller.disconnect(endpoint).unwrap();
        self.controller.remove_sandbox(sandbox.path());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.controller.flush();
        for entry in std::fs::read_dir(self.dir.path().join("netns")).unwrap() {
            sandbox::unbind(&entry.unwrap().path()).unwrap();
        }
        let flags = nix::mount::MntFlags::MNT_DETACH;
        let _ = nix::mount::umount2(&self.dir.path().join("netns"), flags);
    }
}

/// Another host on a wire of its own: 203.0.113.2, we are 203.0.113.1. It has no route back into the
/// containers' subnet, so only translated traffic is answered.
fn outside() -> Sandbox {
    let there = Sandbox::unbound().unwrap();
    let mut host = Socket::route().unwrap();
    let mut batch = Batch::new();
    batch.create_veth(&Veth {
        name: "wire0",
        master: 0,
        mtu: 0,
        alias: "",
        peer_netns: there.netns(),
        peer_name: "wire1",
        peer_mac: [2, 0, 0, 0, 0, 9],
    });
    host.execute(batch).unwrap();
    let end = |socket: &mut Socket, name: &str, address: [u8; 4]| {
        let index = socket.link_index(name).unwrap();
        let mut batch = Batch::new();
        batch.add_address(index, address.into(), 24);
        batch.set_up(index);
        socket.execute(batch).unwrap();
    };
    end(&mut host, "wire0", [203, 0, 113, 1]);
    end(&mut there.socket(), "wire1", [203, 0, 113, 2]);
    there
}

const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

fn tcp(container_port: u16, host_port: u16) -> PortBinding {
    PortBinding {
        protocol: Protocol::Tcp,
        container_port,
        host_ip: None,
        host_port,
        host_port_end: host_port,
    }
}

/// A server inside that answers with the address it sees its client at.
fn serve(sandbox: &Sandbox, port: u16) {
    let listener = sandbox.enter(|| Ok(TcpListener::bind(("0.0.0.0", port))?)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let peer = stream.peer_addr().unwrap().ip().to_string();
            let _ = stream.write_all(peer.as_bytes());
        }
    });
}

fn ask(to: SocketAddr, limit: Duration) -> Result<IpAddr> {
    let mut stream = TcpStream::connect_timeout(&to, limit)?;
    stream.set_read_timeout(Some(LONG))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.parse().unwrap())
}

/// What the server sees the caller in `sandbox` as; an error if nothing comes through.
fn ask_from(sandbox: &Sandbox, to: Ipv4Addr, port: u16, limit: Duration) -> Result<IpAddr> {
    sandbox.enter(|| ask(SocketAddr::from((to, port)), limit))
}

fn links() -> Vec<String> {
    let mut names: Vec<_> =
        Socket::route().unwrap().links().unwrap().into_iter().map(|l| l.name).collect();
    names.retain(|name| name.starts_with("veth"));
    names
}

#[test]
fn containers_reach_each_other_and_the_outside_sees_the_host() {
    in_netns(|| {
        let world = World::new(config());
        let outside = outside();
        let (a, ea) = world.container(&[]).unwrap();
        let (b, eb) = world.container(&[]).unwrap();
        assert_eq!((ea.address.as_str(), eb.address.as_str()), ("172.17.0.2", "172.17.0.3"));
        assert_eq!((ea.gateway.as_str(), ea.prefix), ("172.17.0.1", 16));
        assert_eq!(ea.mac, "02:42:ac:11:00:02");
        serve(&b, 80);
        serve(&outside, 80);
        assert_eq!(ask_from(&a, eb.ip(), 80, LONG).unwrap(), IpAddr::V4(ea.ip()));
        assert_eq!(ask_from(&a, OUTSIDE, 80, LONG).unwrap(), IpAddr::V4(HOST));
        assert!(ask(SocketAddr::from((eb.ip(), 80)), LONG).is_ok(), "the host reaches containers");
        world.remove(&a, &ea);
        world.remove(&b, &eb);
        world.controller.flush();
        assert_eq!(links(), Vec::<String>::new());
    });
}

#[test]
fn a_container_answers_at_once_after_connect() {
    in_netns(|| {
        let world = World::new(config());
        let start = Instant::now();
        for _ in 0..5 {
            let (a, e) = world.container(&[]).unwrap();
            serve(&a, 80);
            ask(SocketAddr::from((e.ip(), 80)), LONG).unwrap();
            world.remove(&a, &e);
            // The same address at once again, though the old interface is still being deleted.
            assert_eq!(e.address, "172.17.0.2");
        }
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    });
}

#[test]
fn a_published_port_is_reached_from_everywhere_and_nothing_else_is() {
    in_netns(|| {
        let world = World::new(config());
        let outside = outside();
        let (a, ea) = world.container(&[tcp(80, 8080)]).unwrap();
        let (b, eb) = world.container(&[]).unwrap();
        serve(&a, 80);
        serve(&a, 81);
        // From another host, with its own address.
        assert_eq!(ask_from(&outside, HOST, 8080, LONG).unwrap(), IpAddr::V4(OUTSIDE));
        // From this host, by its address and by loopback.
        assert!(ask(SocketAddr::from((HOST, 8080)), LONG).is_ok());
        assert!(ask(SocketAddr::from(([127, 0, 0, 1], 8080)), LONG).is_ok());
        // From another container and from itself, by the host's address.
        assert!(ask_from(&b, HOST, 8080, LONG).is_ok());
        assert!(ask_from(&a, HOST, 8080, LONG).is_ok());
        // The container's own address is not for the outside, whichever port.
        let mut batch = Batch::new();
        let index = outside.socket().link_index("wire1").unwrap();
        batch.add_default_route(index, HOST);
        outside.socket().execute(batch).unwrap();
        assert!(ask_from(&outside, ea.ip(), 80, SOON).is_err());
        assert!(ask_from(&outside, ea.ip(), 81, SOON).is_err());
        world.remove(&a, &ea);
        assert!(ask_from(&outside, HOST, 8080, SOON).is_err());
        drop(TcpListener::bind(("0.0.0.0", 8080)).unwrap());
        world.remove(&b, &eb);
    });
}

#[test]
fn the_iptables_program_does_the_same() {
    in_netns(|| {
        let firewall_backend = FirewallBackend::Iptables;
        let world = World::new(Config { firewall_backend, icc: false, ..config() });
        assert_eq!(world.controller.firewall_backend(), Some("iptables"));
        let outside = outside();
        let (a, ea) = world.container(&[tcp(80, 8080)]).unwrap();
        let (b, eb) = world.container(&[]).unwrap();
        serve(&a, 80);
        serve(&b, 81);
        serve(&outside, 80);
        assert_eq!(ask_from(&b, OUTSIDE, 80, LONG).unwrap(), IpAddr::V4(HOST));
        assert_eq!(ask_from(&outside, HOST, 8080, LONG).unwrap(), IpAddr::V4(OUTSIDE));
        assert!(ask(SocketAddr::from((HOST, 8080)), LONG).is_ok());
        assert!(ask(SocketAddr::from(([127, 0, 0, 1], 8080)), LONG).is_ok());
        assert!(ask_from(&b, HOST, 8080, LONG).is_ok());
        assert!(ask_from(&a, eb.ip(), 81, SOON).is_err());
        let mut batch = Batch::new();
        let index = outside.socket().link_index("wire1").unwrap();
        batch.add_default_route(index, HOST);
        outside.socket().execute(batch).unwrap();
        assert!(ask_from(&outside, eb.ip(), 81, SOON).is_err());
        world.remove(&a, &ea);
        assert!(ask_from(&outside, HOST, 8080, SOON).is_err());
        // Flushed rules are written again with the next change.
        let flush = std::process::Command::new("iptables").args(["-t", "nat", "-F"]).status();
        assert!(flush.unwrap().success());
        let (_c, ec) = world.container(&[tcp(81, 8081)]).unwrap();
        serve(&_c, 81);
        world.controller.disconnect(&ec).unwrap();
        world.controller.prepare().unwrap();
        assert_eq!(ask_from(&b, OUTSIDE, 80, LONG).unwrap(), IpAddr::V4(HOST));
    });
}

#[test]
fn udp_is_published_too() {
    in_netns(|| {
        let world = World::new(config());
        let outside = outside();
        let port = PortBinding { protocol: Protocol::Udp, ..tcp(53, 5353) };
        let (a, _) = world.container(&[port]).unwrap();
        let server = a.enter(|| Ok(UdpSocket::bind("0.0.0.0:53")?)).unwrap();
        server.set_read_timeout(Some(LONG)).unwrap();
        let client = outside.enter(|| Ok(UdpSocket::bind("0.0.0.0:0")?)).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client.send_to(b"question", (HOST, 5353)).unwrap();
        let mut buffer = [0; 64];
        let (n, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..n], from.ip()), (&b"question"[..], IpAddr::V4(OUTSIDE)));
        server.send_to(b"answer", from).unwrap();
        let (n, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..n], from), (&b"answer"[..], SocketAddr::from((HOST, 5353))));
    });
}

#[test]
fn a_port_that_is_taken_is_refused_in_dockers_words_and_leaves_nothing() {
    in_netns(|| {
        let world = World::new(config());
        let (_a, ea) = world.container(&[tcp(80, 8080)]).unwrap();
        let before = links();
        let e = world.container(&[tcp(81, 9000), tcp(80, 8080)]).unwrap_err();
        let text = e.to_string();
        assert!(
            text.starts_with("driver failed programming external connectivity on endpoint web ("),
            "{text}"
        );
        assert!(
            text.ends_with("): Bind for 0.0.0.0:8080 failed: port is already allocated"),
            "{text}"
        );
        let other = TcpListener::bind("0.0.0.0:8081").unwrap();
        let e = world.container(&[tcp(80, 8081)]).unwrap_err();
        let want =
            "failed to bind host port for 0.0.0.0:8081:172.17.0.3:80/tcp: address already in use";
        assert!(e.to_string().ends_with(want), "{e}");
        drop(other);
        assert_eq!(links(), before);
        // What was refused together with them is free, and so is the address.
        let (_b, eb) = world.container(&[tcp(81, 9000), tcp(80, 8081)]).unwrap();
        assert_eq!(eb.address, "172.17.0.3");
        let (_c, ec) = world.container(&[tcp(80, 0)]).unwrap();
        assert!(ec.ports[0].host_port >= 32768);
        let range = PortBinding { host_port_end: 8083, ..tcp(80, 8080) };
        let (_d, ed) = world.container(&[range]).unwrap();
        assert_eq!(ed.ports[0].host_port, 8082);
        assert_eq!(ea.ports[0].host_ip, "0.0.0.0");
    });
}

#[test]
fn one_address_publishes_there_only() {
    in_netns(|| {
        let world = World::new(config());
        let outside = outside();
        let local = PortBinding { host_ip: Some([127, 0, 0, 1].into()), ..tcp(80, 8080) };
        let wire = PortBinding { host_ip: Some(HOST.into()), ..tcp(80, 8081) };
        let (a, _) = world.container(&[local, wire]).unwrap();
        serve(&a, 80);
        assert!(ask(SocketAddr::from(([127, 0, 0, 1], 8080)), LONG).is_ok());
        assert!(ask_from(&outside, HOST, 8081, LONG).is_ok());
        assert!(ask_from(&outside, HOST, 8080, SOON).is_err());
        assert!(ask(SocketAddr::from(([127, 0, 0, 1], 8081)), SOON).is_err());
        let e = world.container(&[tcp(80, 8081)]).unwrap_err();
        assert!(e.to_string().contains("port is already allocated"), "{e}");
    });
}

#[test]
fn without_icc_containers_are_strangers() {
    in_netns(|| {
        let world = World::new(Config { icc: false, ..config() });
        let outside = outside();
        let (a, _) = world.container(&[]).unwrap();
        let (b, eb) = world.container(&[tcp(80, 8080)]).unwrap();
        serve(&b, 80);
        serve(&outside, 80);
        assert!(ask_from(&a, eb.ip(), 80, SOON).is_err());
        assert!(ask_from(&a, OUTSIDE, 80, LONG).is_ok());
        assert!(ask_from(&outside, HOST, 8080, LONG).is_ok());
    });
}

#[test]
fn exceptions_open_single_ports_while_icc_is_off() {
    for firewall_backend in [FirewallBackend::Nftables, FirewallBackend::Iptables] {
        in_netns(move || {
            let mut world = World::new(Config { firewall_backend, icc: false, ..config() });
            let (a, ea) = world.container(&[]).unwrap();
            let (b, eb) = world.container(&[]).unwrap();
            let (c, _) = world.container(&[]).unwrap();
            serve(&b, 80);
            serve(&b, 81);
            let set =
                |world: &World, to: &[_]| world.controller.set_exceptions(&ea.id, to).unwrap();
            set(&world, &[(eb.ip(), Protocol::Tcp, 80), (eb.ip(), Protocol::Tcp, 80)]);
            assert!(ask_from(&a, eb.ip(), 80, LONG).is_ok());
            assert!(ask_from(&a, eb.ip(), 81, SOON).is_err());
            assert!(ask_from(&c, eb.ip(), 80, SOON).is_err());
            set(&world, &[(eb.ip(), Protocol::Tcp, 81)]);
            assert!(ask_from(&a, eb.ip(), 80, SOON).is_err());
            assert!(ask_from(&a, eb.ip(), 81, LONG).is_ok());
            // Rules that are written anew hold them too.
            world.controller.prepare().unwrap();
            assert!(ask_from(&a, eb.ip(), 81, LONG).is_ok());
            world.controller.disconnect(&ea).unwrap();
            let rules = match firewall_backend {
                FirewallBackend::Iptables => ("iptables-save", &["-t", "filter"][..]),
                _ => ("nft", &["list", "ruleset"][..]),
            };
            let told = std::process::Command::new(rules.0).args(rules.1).output().unwrap();
            assert!(!String::from_utf8_lossy(&told.stdout).contains("81"));
            world.restart(Config { firewall_backend, icc: false, ..config() });
        });
    }
}

#[test]
fn without_masquerade_the_outside_sees_the_container() {
    in_netns(|| {
        let world = World::new(Config { ip_masq: false, ..config() });
        let outside = outside();
        let mut batch = Batch::new();
        let index = outside.socket().link_index("wire1").unwrap();
        batch.add_default_route(index, HOST);
        outside.socket().execute(batch).unwrap();
        let (a, ea) = world.container(&[]).unwrap();
        serve(&outside, 80);
        assert_eq!(ask_from(&a, OUTSIDE, 80, LONG).unwrap(), IpAddr::V4(ea.ip()));
    });
}

#[test]
fn a_restart_adopts_the_living_and_sweeps_the_rest() {
    in_netns(|| {
        let mut world = World::new(config());
        let (a, ea) = world.container(&[tcp(80, 8080)]).unwrap();
        let (b, eb) = world.container(&[tcp(80, 8081)]).unwrap();
        serve(&a, 80);
        let id = world.controller.network().unwrap().id;
        world.restart(config());
        let kept = world
            .controller
            .restore(std::slice::from_ref(&ea), &[PathBuf::from(&ea.sandbox)], &|_| None)
            .unwrap();
        world.controller.prepare().unwrap();
        world.controller.flush();
        assert_eq!(kept, std::slice::from_ref(&ea));
        assert_eq!(world.controller.network().unwrap().id, id);
        assert_eq!(links(), std::slice::from_ref(&ea.host_interface));
        assert!(a.path().exists() && !b.path().exists());
        assert!(ask(SocketAddr::from(([127, 0, 0, 1], 8080)), LONG).is_ok());
        // The living one's address and port are known to be taken, the dead one's are free.
        let (_c, ec) = world.container(&[tcp(80, 8081)]).unwrap();
        assert_eq!(ec.address, eb.address);
        let e = world.container(&[tcp(80, 8080)]).unwrap_err();
        assert!(e.to_string().contains("already allocated"), "{e}");
        world.controller.disconnect(&ea).unwrap();
        world.controller.disconnect(&ea).unwrap();
        drop(TcpListener::bind("0.0.0.0:8080").unwrap());
    });
}

#[test]
fn flushed_rules_and_a_removed_bridge_come_back() {
    in_netns(|| {
        let world = World::new(config());
        let (a, ea) = world.container(&[tcp(80, 8080)]).unwrap();
        serve(&a, 80);
        assert!(
            std::process::Command::new("nft")
                .args(["flush", "ruleset"])
                .status()
                .unwrap()
                .success()
        );
        assert!(ask(SocketAddr::from(([127, 0, 0, 1], 8080)), SOON).is_err());
        let (_b, eb) = world.container(&[tcp(80, 8081)]).unwrap();
        assert!(ask(SocketAddr::from(([127, 0, 0, 1], 8080)), LONG).is_ok());
        world.controller.disconnect(&eb).unwrap();
        let mut batch = Batch::new();
        batch.delete_link("docker0");
        Socket::route().unwrap().execute(batch).unwrap();
        let (c, ec) = world.container(&[tcp(80, 8081)]).unwrap();
        serve(&c, 80);
        assert_eq!(ec.gateway, ea.gateway);
        assert!(ask(SocketAddr::from(([127, 0, 0, 1], 8081)), LONG).is_ok());
    });
}

#[test]
fn an_exhausted_subnet_is_an_error_and_leaks_nothing() {
    in_netns(|| {
        let bip = Some(Cidr::parse("10.99.0.1/30").unwrap());
        let world = World::new(Config { bip, ..config() });
        let (a, ea) = world.container(&[]).unwrap();
        assert_eq!(ea.address, "10.99.0.2");
        let e = world.container(&[tcp(80, 8080)]).unwrap_err();
        assert!(e.to_string().starts_with("no available IPv4 addresses"), "{e}");
        drop(TcpListener::bind("0.0.0.0:8080").unwrap());
        world.remove(&a, &ea);
        assert_eq!(world.container(&[]).unwrap().1.address, "10.99.0.2");
    });
}

#[test]
fn bridges_are_chosen_adopted_and_refused_as_the_options_say() {
    in_netns(|| {
        let _outside = outside();
        let mut host = Socket::route().unwrap();
        let mut batch = Batch::new();
        let index = host.link_index("wire0").unwrap();
        batch.add_address(index, [172, 17, 3, 4].into(), 24);
        host.execute(batch).unwrap();
        let mut world = World::new(Config { mtu: 1400, ..config() });
        let network = world.controller.network().unwrap();
        assert_eq!((network.address.to_string().as_str(), network.mtu), ("172.18.0.1/16", 1400));
        let (a, _) = world.container(&[]).unwrap();
        assert_eq!(a.socket().link("eth0").unwrap().unwrap().mtu, 1400);
        // What is there is adopted, whatever the pools say; --bip changes it.
        world.restart(config());
        world.controller.prepare().unwrap();
        assert_eq!(world.controller.network().unwrap().address, network.address);
        let bip = Cidr::parse("10.5.0.1/24").unwrap();
        let fixed = Cidr::parse("10.5.0.128/25").unwrap();
        let gateway = Ipv4Addr::new(10, 5, 0, 254);
        world.restart(Config {
            bip: Some(bip),
            fixed_cidr: Some(fixed),
            default_gateway: Some(gateway),
            ..config()
        });
        world.controller.prepare().unwrap();
        let (b, eb) = world.container(&[]).unwrap();
        assert_eq!((eb.address.as_str(), eb.gateway.as_str()), ("10.5.0.128", "10.5.0.254"));
        drop(b);
        world.restart(Config { bridge: "absent".into(), ..config() });
        let e = world.controller.prepare().unwrap_err();
        assert!(e.to_string().contains("could not find bridge absent"), "{e}");
        world.restart(Config { bridge: "wire0".into(), ..config() });
        assert!(world.controller.prepare().unwrap_err().to_string().contains("not a bridge"));
        world.restart(Config { bridge: "none".into(), ..config() });
        world.controller.prepare().unwrap();
        assert_eq!(world.container(&[]).unwrap_err().kind(), Kind::NotFound);
    });
}

#[test]
fn without_iptables_no_rule_is_written_or_left() {
    in_netns(|| {
        let ruleset = || {
            let out = std::process::Command::new("nft").args(["list", "ruleset"]).output().unwrap();
            String::from_utf8(out.stdout).unwrap()
        };
        let mut world = World::new(config());
        assert!(ruleset().contains("table ip multi-"));
        world.restart(Config { iptables: false, ..config() });
        world.controller.prepare().unwrap();
        world.container(&[tcp(80, 8080)]).unwrap();
        assert_eq!(ruleset(), "");
    });
}
