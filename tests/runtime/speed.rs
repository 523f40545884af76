//! How long a start takes, when asked: `BENCH=1 cargo test --test runtime speed -- --nocapture`.

use std::time::{Duration, Instant};

use multi_core::runtime::shim::Shim;

use crate::bundle::{Bundle, exec_request, exit_of};

/// The middle of the values.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
fn starting_and_ending_take_milliseconds() {
    if std::env::var_os("BENCH").is_none() {
        return;
    }
    let bundle = Bundle::new();
    let mut phases: [Vec<Duration>; 5] = Default::default();
    for _ in 0..100 {
        let mut request = bundle.request(&["true"]);
        request.default_seccomp = true;
        request.spec.linux.as_mut().unwrap().cgroups_path = format!("/multi-bench/{}", bundle.id);
        let start = Instant::now();
        let shim = Shim::spawn(&request, None, &[]).unwrap();
        let spawned = Instant::now();
        shim.wait_created().unwrap();
        let created = Instant::now();
        shim.go().unwrap();
        let gone = Instant::now();
        exit_of(&shim);
        let ended = Instant::now();
        for (list, time) in phases.iter_mut().zip([
            spawned - start,
            created - spawned,
            gone - created,
            ended - gone,
            ended - start,
        ]) {
            list.push(time);
        }
    }
    for (name, times) in ["spawn", "created", "go", "end", "all"].iter().zip(phases) {
        println!("{name:8} {:?}", median(times));
    }
    let shim = Shim::spawn(&bundle.request(&["sleep", "1000"]), None, &[]).unwrap();
    shim.wait_created().unwrap();
    shim.go().unwrap();
    let times = (0..100)
        .map(|n| {
            let start = Instant::now();
            shim.exec(&exec_request(&format!("x{n}"), &["true"]), None).unwrap();
            while shim.event().unwrap().is_none() {
                std::hint::spin_loop();
            }
            start.elapsed()
        })
        .collect();
    println!("exec     {:?}", median(times));
    // The shim gives memory back when it has been quiet.
    std::thread::sleep(Duration::from_secs(1));
    let record = std::fs::read(bundle.run_dir().join("run.json")).unwrap();
    let record: multi_core::runtime::shim::RunRecord =
        multi_core::base::json::parse(&record).unwrap();
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", record.shim_pid)).unwrap();
    println!("{text}");
    shim.signal("", libc::SIGKILL).unwrap();
    exit_of(&shim);
}
