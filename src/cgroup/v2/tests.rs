//! Version 2 on a directory tree of plain files: which file gets which value.

use std::path::PathBuf;

use super::*;
use crate::cgroup::resources::*;

/// A temporary directory, removed at the end.
struct Tree(PathBuf);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Tree {
        let dir =
            std::env::temp_dir().join(format!("multi-cgroup-{:x}", crate::sys::random::u64()));
        fs::create_dir_all(&dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
        Tree(dir)
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_limit_goes_to_its_file() {
    let names = [
        "memory.max",
        "memory.swap.max",
        "memory.low",
        "memory.high",
        "pids.max",
        "cpu.max",
        "cpu.weight",
        "cpuset.cpus",
        "cpuset.mems",
        "io.weight",
        "io.max",
        "hugetlb.2MB.max",
    ];
    let tree = Tree::new(&names.map(|name| (name, "")));
    let rate = |rate| vec![LinuxThrottleDevice { major: 8, minor: 0, rate }];
    let resources = LinuxResources {
        memory: Some(LinuxMemory {
            limit: Some(100),
            swap: Some(150),
            reservation: Some(50),
            ..LinuxMemory::default()
        }),
        cpu: Some(LinuxCpu {
            shares: Some(1024),
            quota: Some(50_000),
            period: Some(100_000),
            cpus: "0-1".into(),
            mems: "0".into(),
            ..LinuxCpu::default()
        }),
        pids: Some(LinuxPids { limit: 0 }),
        block_io: Some(LinuxBlockIo {
            weight: Some(1000),
            throttle_read_bps_device: rate(1000),
            ..LinuxBlockIo::default()
        }),
        hugepage_limits: vec![LinuxHugepageLimit { page_size: "2MB".into(), limit: 9 }],
        unified: [("memory.high".to_string(), "77".to_string())].into(),
        ..LinuxResources::default()
    };
    limits::apply(&tree.0, &resources).unwrap();
    for (file, value) in [
        ("memory.max", "100"),
        ("memory.swap.max", "50"),
        ("memory.low", "50"),
        ("memory.high", "77"),
        ("pids.max", "max"),
        ("cpu.max", "50000 100000"),
        ("cpu.weight", "100"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("io.weight", "10000"),
        ("io.max", "8:0 rbps=1000"),
        ("hugetlb.2MB.max", "9"),
    ] {
        assert_eq!(tree.text(file), value, "{file}");
    }
    let stats = stats(&tree.0);
    assert_eq!(stats.hugetlb.len(), 0);
}

#[test]
fn what_version_2_lacks_is_an_error() {
    let tree = Tree::new(&[("pids.max", "")]);
    let memory = |memory| LinuxResources { memory: Some(memory), ..LinuxResources::default() };
    let unified = |file: &str| LinuxResources {
        unified: [(file.to_string(), "1".to_string())].into(),
        ..LinuxResources::default()
    };
    for (resources, text) in [
        (
            memory(LinuxMemory { limit: Some(5), ..LinuxMemory::default() }),
            "cannot set memory limit: the memory cgroup controller is not available",
        ),
        (
            memory(LinuxMemory { disable_oom_killer: Some(true), ..LinuxMemory::default() }),
            "cannot disable the OOM killer",
        ),
        (unified("../pids.max"), "must be a file name"),
        (unified("cgroup.procs"), "must be a file name"),
    ] {
        let e = limits::apply(&tree.0, &resources).unwrap_err();
        assert!(e.to_string().contains(text), "{e}");
    }
    // No swap at all is held by a kernel without swap accounting, too.
    let tree = Tree::new(&[("memory.max", "")]);
    let same = LinuxMemory { limit: Some(5), swap: Some(5), ..LinuxMemory::default() };
    limits::apply(&tree.0, &memory(same)).unwrap();
}

#[test]
fn statistics_have_dockers_shape() {
    let tree = Tree::new(&[
        (
            "cpu.stat",
            "usage_usec 30\nuser_usec 10\nsystem_usec 20\nnr_periods 4\nnr_throttled 2\nthrottled_usec 7\n",
        ),
        ("memory.stat", "anon 5\nfile 6\n"),
        ("memory.current", "11\n"),
        ("memory.max", "max\n"),
        ("memory.events", "low 0\nmax 3\noom_kill 1\n"),
        ("pids.current", "2\n"),
        ("pids.max", "max\n"),
        ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n7:0 \n"),
    ]);
    let stats = stats(&tree.0);
    let cpu = stats.cpu.unwrap();
    assert_eq!((cpu.total_ns, cpu.throttled_periods, cpu.throttled_ns), (30_000, 2, 7_000));
    let memory = stats.memory.unwrap();
    assert_eq!((memory.usage, memory.limit, memory.oom_kills), (11, u64::MAX, 1));
    assert_eq!(memory.stat["file"], 6);
    assert_eq!(stats.pids.unwrap().limit, u64::MAX);
    let ops: Vec<_> = stats.block_io.serviced.iter().map(|e| (e.op.as_str(), e.value)).collect();
    assert_eq!(ops, [("read", 3), ("write", 4)]);
}

#[test]
fn controllers_are_enabled_from_the_top_to_the_parent() {
    let tree = Tree::new(&[
        ("cgroup.controllers", "cpu io memory pids perf_event\n"),
        ("cgroup.subtree_control", ""),
    ]);
    let middle = tree.0.join("docker");
    fs::create_dir(&middle).unwrap();
    fs::write(middle.join("cgroup.subtree_control"), "cpu memory").unwrap();
    let group = Group { mountpoint: tree.0.clone(), dir: middle.join("one") };
    group.prepare(&middle).unwrap();
    assert_eq!(tree.text("cgroup.subtree_control"), "+cpu +io +memory +pids");
    assert!(tree.text("docker/cgroup.subtree_control").starts_with("+io +pids"));
}

#[test]
fn processes_of_an_occupied_directory_move_to_a_child() {
    let tree = Tree::new(&[("cgroup.procs", "")]);
    assert!(!vacate(&tree.0).unwrap());
    // Plain files do not lose their lines, so the process is "moved" in every round.
    fs::write(tree.0.join("cgroup.procs"), "41\n").unwrap();
    fs::create_dir(tree.0.join(REFUGE)).unwrap();
    fs::write(tree.0.join("init/cgroup.procs"), "").unwrap();
    assert!(vacate(&tree.0).unwrap());
    assert_eq!(tree.text("init/cgroup.procs"), "41");
}

#[test]
fn a_relative_path_lies_beside_the_own_cgroup() {
    let mountinfo = "1 1 0:1 / /c rw - cgroup2 none rw\n";
    let dir = |own: &str, path: &str| {
        let host = Host::parse(mountinfo, &format!("0::{own}\n")).unwrap();
        Group::at(&host, path).unwrap().dir
    };
    assert_eq!(dir("/system.slice/docker.service", "foo/x"), Path::new("/c/system.slice/foo/x"));
    assert_eq!(dir("/system.slice/docker.service", "/foo/x"), Path::new("/c/foo/x"));
    assert_eq!(dir("/", "foo/x"), Path::new("/c/foo/x"));
}
