//! Prints what the steps of a container's network cost. Run with `cargo bench --bench net`.
#![allow(missing_docs)]

use multi_core::net::{Config, Controller, EndpointRequest, PortBinding, Protocol, Sandbox};
use multi_core::sys::netlink::{Batch, Socket, route::Veth};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

struct Steps(Vec<(String, Vec<f64>)>);

impl Steps {
    fn time<T>(&mut self, name: &str, body: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = body();
        self.record(name, start.elapsed().as_secs_f64() * 1e6);
        result
    }

    fn record(&mut self, name: &str, us: f64) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, all)) => all.push(us),
            None => self.0.push((name.into(), vec![us])),
        }
    }

    fn print(mut self, title: &str) {
        println!("{title}");
        for (name, all) in &mut self.0 {
            all.sort_by(f64::total_cmp);
            let sum: f64 = all.iter().sum();
            println!(
                "  {name:32} median {:7.0} us  mean {:7.0}  max {:7.0}",
                all[all.len() / 2],
                sum / all.len() as f64,
                all[all.len() - 1]
            );
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Teardown {
    DeleteVeth,
    DropNamespace,
    DeleteInBackground,
    DropInBackground,
}

fn primitives(title: &str, gap: Duration, teardown: Teardown) {
    let mut steps = Steps(Vec::new());
    let mut host = Socket::route().expect("netlink");
    let _ = host.execute({
        let mut b = Batch::new();
        b.create_bridge("br0", 1500, [2, 0x42, 1, 2, 3, 4]);
        b
    });
    let bridge = host.link_index("br0").expect("bridge");
    let mut b = Batch::new();
    b.set_up(bridge);
    b.add_address(bridge, [10, 9, 0, 1].into(), 16);
    host.execute(b).expect("bridge up");
    let (send, queue) = std::sync::mpsc::channel::<(String, Sandbox)>();
    let here: OwnedFd = multi_core::net::sandbox::current().expect("here");
    let cleaner = std::thread::spawn(move || {
        nix::sched::setns(here, nix::sched::CloneFlags::CLONE_NEWNET).expect("setns");
        let mut socket = Socket::route().expect("netlink");
        for (name, sandbox) in queue {
            if teardown == Teardown::DeleteInBackground {
                let mut b = Batch::new();
                b.delete_link(&name);
                socket.execute(b).expect("delete");
            }
            drop(sandbox);
        }
    });
    for i in 0..40 {
        let name = format!("veth{i:07x}");
        let whole = Instant::now();
        let sandbox = steps.time("namespace with lo", || Sandbox::unbound().expect("sandbox"));
        steps.time("veth: pair, bridge, up, alias", || {
            let mut b = Batch::new();
            b.create_veth(&Veth {
                name: &name,
                master: bridge,
                mtu: 1500,
                alias: "bench",
                peer_netns: sandbox.netns(),
                peer_name: "eth0",
                peer_mac: [2, 0x42, 10, 9, 0, 2],
            });
            host.execute(b).expect("veth");
        });
        let index =
            steps.time("inside: index", || sandbox.socket().link_index("eth0").expect("eth0"));
        steps.time("inside: address, up, route", || {
            let mut b = Batch::new();
            b.add_address(index, [10, 9, 0, 2].into(), 16);
            b.set_up(index);
            b.add_default_route(index, [10, 9, 0, 1].into());
            sandbox.socket().execute(b).expect("inside");
        });
        let ready = whole.elapsed().as_secs_f64() * 1e6;
        steps.time("(container runs)", || std::thread::sleep(gap));
        steps.time("teardown in front", || match teardown {
            Teardown::DeleteVeth => {
                let mut b = Batch::new();
                b.delete_link(&name);
                host.execute(b).expect("delete");
                drop(sandbox);
            }
            Teardown::DropNamespace => drop(sandbox),
            _ => send.send((name.clone(), sandbox)).expect("cleaner"),
        });
        steps.record("all until ready", ready);
    }
    drop(send);
    cleaner.join().expect("cleaner");
    steps.print(title);
}

/// What the engine does for one container after another; `ports` are published by NAT alone.
fn endpoints(title: &str, gap: Duration, ports: u16) {
    let dir = std::env::temp_dir().join(format!("multi-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("directory");
    let config = Config { userland_proxy: false, ..Config::default() };
    let controller = Controller::open(config, &dir, &dir).expect("controller");
    controller.prepare().expect("bridge");
    let mut steps = Steps(Vec::new());
    for _ in 0..40 {
        let whole = Instant::now();
        let id = multi_core::sys::random::id();
        let sandbox = steps.time("sandbox", || controller.sandbox(&id).expect("sandbox"));
        let binding = |i| PortBinding {
            protocol: Protocol::Tcp,
            container_port: 80,
            host_ip: None,
            host_port: 20000 + i,
            host_port_end: 20000 + i,
        };
        let request = EndpointRequest {
            container_id: id,
            ports: (0..ports).map(binding).collect(),
            ..EndpointRequest::default()
        };
        let connected = || controller.connect(&sandbox, &request).expect("endpoint");
        let endpoint = steps.time("connect", connected);
        let ready = whole.elapsed().as_secs_f64() * 1e6;
        std::thread::sleep(gap);
        steps.time("disconnect", || controller.disconnect(&endpoint).expect("disconnect"));
        steps.time("remove sandbox", || controller.remove_sandbox(sandbox.path()));
        steps.record("all until ready", ready);
    }
    controller.flush();
    drop(controller);
    nix::mount::umount2(&dir.join("netns"), nix::mount::MntFlags::MNT_DETACH).expect("umount");
    std::fs::remove_dir_all(&dir).expect("directory");
    steps.print(title);
}

fn main() {
    use nix::sched::CloneFlags;
    nix::sched::unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("needs root");
    let flags = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .expect("private mounts");
    for gap in [0, 5] {
        for ports in [0, 1, 200] {
            let title = format!("controller, {ports} ports, container runs {gap} ms");
            endpoints(&title, Duration::from_millis(gap), ports);
        }
    }
    for gap in [0, 5] {
        let gap = Duration::from_millis(gap);
        for (name, teardown) in [
            ("delete veth at once", Teardown::DeleteVeth),
            ("drop namespace", Teardown::DropNamespace),
            ("delete veth in background", Teardown::DeleteInBackground),
            ("drop namespace in background", Teardown::DropInBackground),
        ] {
            primitives(&format!("{name}, container runs {gap:?}"), gap, teardown);
        }
    }
}
