//! The userland proxy as the process it is: started from the executable, in a namespace of its own.

#![allow(clippy::unwrap_used)]
#![allow(missing_docs)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use multi_core::net::{
    Config, Controller, Endpoint, EndpointRequest, PortBinding, Protocol, Sandbox, sandbox,
};
use multi_core::sys::netlink::{Batch, Socket, route};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

const LIMIT: Duration = Duration::from_secs(10);

/// A daemon's controller in a network and mount namespace that vanish with the thread.
struct World {
    controller: Controller,
    dir: PathBuf,
}

impl World {
    fn new() -> World {
        let mut batch = Batch::new();
        batch.set_up(route::LOOPBACK);
        Socket::route().unwrap().execute(batch).unwrap();
        let unique = format!("multi-proxy-{:016x}", multi_core::sys::random::u64());
        let dir = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&dir).unwrap();
        let controller = World::controller(&dir);
        World { controller, dir }
    }

    fn controller(dir: &Path) -> Controller {
        let executable = Arc::new(|| Ok(PathBuf::from(env!("CARGO_BIN_EXE_multi"))));
        let config = Config { executable, ..Config::default() };
        let controller = Controller::open(config, dir, dir).unwrap();
        controller.prepare().unwrap();
        controller
    }

    fn container(&self, ports: &[PortBinding]) -> (Sandbox, Endpoint) {
        let id = multi_core::sys::random::id();
        let sandbox = self.controller.sandbox(&id).unwrap();
        let request = EndpointRequest {
            container_id: id,
            container_name: "web".into(),
            ports: ports.to_vec(),
            ..EndpointRequest::default()
        };
        let endpoint = self.controller.connect(&sandbox, &request).unwrap();
        (sandbox, endpoint)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.controller.restore(&[], &[], &|_| None);
        self.controller.flush();
        let netns = self.dir.join("netns");
        for entry in std::fs::read_dir(&netns).unwrap() {
            sandbox::unbind(&entry.unwrap().path()).unwrap();
        }
        umount2(&netns, MntFlags::MNT_DETACH).unwrap();
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

fn in_netns(body: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
        body();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn port(protocol: Protocol, container_port: u16, host_port: u16) -> PortBinding {
    PortBinding { protocol, container_port, host_ip: None, host_port, host_port_end: host_port }
}

/// Whether the process lives; a corpse that waits for its parent does not.
fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

fn wait_for_end(pid: i32) {
    let start = Instant::now();
    while is_alive(pid) {
        assert!(start.elapsed() < LIMIT, "process {pid} is still there");
        std::thread::yield_now();
    }
}

fn listen(sandbox: &Sandbox, port: u16) -> TcpListener {
    sandbox.enter(|| Ok(TcpListener::bind(("0.0.0.0", port))?)).unwrap()
}

/// A server that reads to the end and then sends everything back.
fn echo(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                stream.write_all(&all).unwrap();
            });
        }
    });
}

fn exchange(to: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect_timeout(&to, LIMIT).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(data).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn loopback_and_ipv6_reach_the_container_with_half_close() {
    in_netns(|| {
        let world = World::new();
        let (inside, endpoint) = world.container(&[port(Protocol::Tcp, 80, 8080)]);
        let published: Vec<_> = endpoint.ports.iter().map(|p| p.host_ip.as_str()).collect();
        assert_eq!(published, ["0.0.0.0", "::"]);
        echo(listen(&inside, 80));
        // More than all buffers on the way hold, so that both directions stall and go on.
        let data: Vec<u8> =
            (0..8_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert!(exchange(SocketAddr::from(([127, 0, 0, 1], 8080)), &data) == data);
        assert!(exchange("[::1]:8080".parse().unwrap(), &data) == data);
        // Many at once, each with little.
        let threads: Vec<_> = (0..8)
            .map(|n: u8| {
                let here = sandbox::current().unwrap();
                std::thread::spawn(move || {
                    nix::sched::setns(here, CloneFlags::CLONE_NEWNET).unwrap();
                    for i in 0..50u8 {
                        let text = [n, i, 7];
                        let to = SocketAddr::from(([127, 0, 0, 1], 8080));
                        assert_eq!(exchange(to, &text), text);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        world.controller.disconnect(&endpoint).unwrap();
        assert!(!is_alive(endpoint.proxy_pid));
        drop(TcpListener::bind("0.0.0.0:8080").unwrap());
    });
}

#[test]
fn another_container_reaches_a_published_port_by_the_hosts_address() {
    in_netns(|| {
        let world = World::new();
        let (server, _) = world.container(&[port(Protocol::Tcp, 80, 8080)]);
        let (client, _) = world.container(&[]);
        echo(listen(&server, 80));
        let to = SocketAddr::from(([172, 17, 0, 1], 8080));
        assert_eq!(client.enter(|| Ok(exchange(to, b"hello"))).unwrap(), b"hello");
        // And a container itself.
        assert_eq!(server.enter(|| Ok(exchange(to, b"hello"))).unwrap(), b"hello");
    });
}

#[test]
fn a_closed_container_port_closes_the_connection() {
    in_netns(|| {
        let world = World::new();
        let (_inside, endpoint) = world.container(&[port(Protocol::Tcp, 80, 8080)]);
        let to = SocketAddr::from(([127, 0, 0, 1], 8080));
        for _ in 0..3 {
            let mut stream = TcpStream::connect_timeout(&to, LIMIT).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            let read = stream.read(&mut [0; 8]);
            assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        }
        assert!(is_alive(endpoint.proxy_pid));
    });
}

#[test]
fn udp_answers_come_from_the_address_that_was_asked() {
    in_netns(|| {
        let world = World::new();
        let (inside, _) = world.container(&[port(Protocol::Udp, 53, 5353)]);
        let server = inside.enter(|| Ok(UdpSocket::bind("0.0.0.0:53")?)).unwrap();
        server.set_read_timeout(Some(LIMIT)).unwrap();
        for host in ["127.0.0.1:5353", "127.0.0.9:5353", "[::1]:5353"] {
            let to: SocketAddr = host.parse().unwrap();
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let client = UdpSocket::bind(any).unwrap();
            client.set_read_timeout(Some(LIMIT)).unwrap();
            // A connected socket only takes answers from the address it asked.
            client.connect(to).unwrap();
            for question in [&b"one"[..], b"two"] {
                client.send(question).unwrap();
                let mut buffer = [0; 64];
                let (n, from) = server.recv_from(&mut buffer).unwrap();
                assert_eq!(&buffer[..n], question);
                server.send_to(&buffer[..n], from).unwrap();
                let n = client.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..n], question);
            }
        }
    });
}

#[test]
fn a_udp_client_that_keeps_its_port_reaches_the_next_container() {
    in_netns(|| {
        let world = World::new();
        let client = UdpSocket::bind("0.0.0.0:40000").unwrap();
        client.set_read_timeout(Some(LIMIT)).unwrap();
        let gateway = world.controller.network().unwrap().gateway;
        let mut earlier = Vec::new();
        for turn in 0..3u8 {
            let (inside, endpoint) = world.container(&[port(Protocol::Udp, 53, 5353)]);
            let server = inside.enter(|| Ok(UdpSocket::bind("0.0.0.0:53")?)).unwrap();
            server.set_read_timeout(Some(LIMIT)).unwrap();
            client.send_to(&[turn], (gateway, 5353)).unwrap();
            let mut buffer = [0; 8];
            let (n, from) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(buffer[..n], [turn]);
            server.send_to(&[turn + 100], from).unwrap();
            assert_eq!(client.recv_from(&mut buffer).unwrap().0, 1);
            assert_eq!(buffer[0], turn + 100);
            world.controller.disconnect(&endpoint).unwrap();
            // Its address goes to one that nobody asked, so that what is remembered leads astray.
            earlier.push((world.container(&[]), inside, server));
        }
    });
}

#[test]
fn the_proxy_survives_the_daemon_and_ends_with_its_container() {
    in_netns(|| {
        let mut world = World::new();
        let (inside, endpoint) = world.container(&[port(Protocol::Tcp, 80, 8080)]);
        let (other, lost) = world.container(&[port(Protocol::Tcp, 80, 8081)]);
        echo(listen(&inside, 80));
        world.controller = World::controller(&world.dir);
        let to = SocketAddr::from(([127, 0, 0, 1], 8080));
        assert_eq!(exchange(to, b"hello"), b"hello");
        let alive = [PathBuf::from(&endpoint.sandbox)];
        let kept =
            world.controller.restore(std::slice::from_ref(&endpoint), &alive, &|_| None).unwrap();
        assert_eq!(kept, std::slice::from_ref(&endpoint));
        // The one whose container nobody knows ends when its interface is swept.
        wait_for_end(lost.proxy_pid);
        drop(other);
        assert_eq!(exchange(to, b"hello"), b"hello");
        // A proxy that was killed is started again by the next daemon.
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(endpoint.proxy_pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        wait_for_end(endpoint.proxy_pid);
        world.controller = World::controller(&world.dir);
        let (life, end) = std::io::pipe().unwrap();
        let life = |of: &Endpoint| {
            assert_eq!(of.id, endpoint.id);
            Some(life.try_clone().unwrap().into())
        };
        let again =
            world.controller.restore(std::slice::from_ref(&endpoint), &alive, &life).unwrap();
        assert_ne!(again[0].proxy_pid, endpoint.proxy_pid);
        assert_eq!(exchange(to, b"hello"), b"hello");
        // That one ends with its container as well, whoever sees to it.
        drop(end);
        wait_for_end(again[0].proxy_pid);
        world.controller.disconnect(&again[0]).unwrap();
    });
}

#[test]
fn the_proxy_ends_with_the_life_it_was_given() {
    in_netns(|| {
        let world = World::new();
        let id = multi_core::sys::random::id();
        let inside = world.controller.sandbox(&id).unwrap();
        let (life, end) = std::io::pipe().unwrap();
        let request = EndpointRequest {
            container_id: id,
            ports: vec![port(Protocol::Tcp, 80, 8080)],
            life: Some(life.into()),
            ..EndpointRequest::default()
        };
        let endpoint = world.controller.connect(&inside, &request).unwrap();
        assert!(is_alive(endpoint.proxy_pid));
        drop(end);
        wait_for_end(endpoint.proxy_pid);
    });
}

/// Memory of a process that nobody shares, in KiB.
fn private_kib(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let dirty = text.lines().filter(|line| line.starts_with("Private_Dirty"));
    dirty.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// Sends a question through a published udp port and waits for the answer.
fn question(server: &UdpSocket, to: &str) {
    let client = UdpSocket::bind("0.0.0.0:0").unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client.send_to(b"?", to).unwrap();
    let mut buffer = [0; 8];
    let (_, from) = server.recv_from(&mut buffer).unwrap();
    server.send_to(b"!", from).unwrap();
    client.recv(&mut buffer).unwrap();
}

#[test]
fn five_hundred_ports_add_little_to_one_process() {
    in_netns(|| {
        let world = World::new();
        let (one, single) = world.container(&[port(Protocol::Udp, 53, 1999)]);
        let ports: Vec<_> = (0..500).map(|i| port(Protocol::Udp, 1000 + i, 2000 + i)).collect();
        let (many, all) = world.container(&ports);
        // An answer through the last port shows that the process is past its start.
        for (inside, inner, outer) in
            [(&one, 53, "127.0.0.1:1999"), (&many, 1499, "127.0.0.1:2499")]
        {
            let server = inside.enter(|| Ok(UdpSocket::bind(("0.0.0.0", inner))?)).unwrap();
            server.set_read_timeout(Some(LIMIT)).unwrap();
            question(&server, outer);
        }
        let (small, large) = (private_kib(single.proxy_pid), private_kib(all.proxy_pid));
        println!("userland proxy: {small} KiB private with 1 udp port, {large} with 500");
        assert!(large < small + 5 * 1024, "{small} KiB, {large} KiB");
    });
}
