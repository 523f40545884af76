//! Limits that are changed while a container runs, and while it does not.

use crate::settings::limit;
use crate::with_both;

#[test]
fn new_limits_are_in_the_control_files_at_once() {
    with_both(|cli| {
        let limits = ["-m", "64m", "--memory-swap", "128m", "--pids-limit", "9"];
        let words = [&["run", "-d", "--name", "grown"][..], &limits, &["busybox", "sleep", "600"]];
        cli.run(&words.concat());
        let pid = cli.inspect("grown", "{{.State.Pid}}");
        let memory = |v1: &str, v2: &str| limit(&pid, "memory", v1, v2);

        let change = ["-m", "96m", "--memory-reservation", "32m", "--cpus", "0.25", "-c", "256"];
        let more = ["--pids-limit", "20", "--cpuset-cpus", "0", "--restart", "on-failure:3"];
        let told = cli.run(&[&["update"][..], &change, &more, &["grown"]].concat());
        assert_eq!(told, "grown\n");
        assert_eq!(memory("memory.limit_in_bytes", "memory.max"), (96 << 20).to_string());
        let sum = memory("memory.memsw.limit_in_bytes", "memory.swap.max");
        assert!([128 << 20, 32 << 20].map(|n| n.to_string()).contains(&sum), "{sum}");
        let soft = memory("memory.soft_limit_in_bytes", "memory.low");
        assert_eq!(soft, (32 << 20).to_string());
        let cpu = limit(&pid, "cpu", "cpu.cfs_quota_us", "cpu.max");
        assert!(["25000", "25000 100000"].contains(&cpu.as_str()), "{cpu}");
        let shares = limit(&pid, "cpu", "cpu.shares", "cpu.weight");
        assert!(["256", "35"].contains(&shares.as_str()), "{shares}");
        assert_eq!(limit(&pid, "pids", "pids.max", "pids.max"), "20");
        assert_eq!(limit(&pid, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
        let policy =
            "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}";
        assert_eq!(cli.inspect("grown", policy), "on-failure 3");

        cli.run(&["update", "--pids-limit", "-1", "--memory-swap", "-1", "grown"]);
        assert_eq!(limit(&pid, "pids", "pids.max", "pids.max"), "max");
        let sum = memory("memory.memsw.limit_in_bytes", "memory.swap.max");
        assert!(sum == "max" || sum.parse::<u64>().unwrap() > 1 << 60, "{sum}");
        let id = cli.inspect("grown", "{{.Id}}");
        assert_eq!(cli.events(&id), ["create", "start", "update", "update"]);

        for (words, error) in [
            (&["update", "grown"][..], "you must provide one or more flags"),
            (&["update", "-m", "1m", "grown"], "Minimum memory limit allowed is 6MB"),
            (&["update", "-m", "200m", "grown"], "update the memoryswap at the same time"),
            (&["update", "--cpu-quota", "5000", "grown"], "as NanoCPUs has already been set"),
            (&["update", "--cpuset-cpus", "4000", "grown"], "Requested CPUs are not available"),
            (&["update", "--restart", "never", "grown"], "restart policy"),
            (&["update", "-c", "5", "nosuch"], "No such container: nosuch"),
        ] {
            let (code, told) = cli.code(words);
            assert!(code == 1 && told.contains(error), "{words:?}: {code} {told}");
        }
        // Nothing of what was refused is recorded.
        assert_eq!(cli.inspect("grown", "{{.HostConfig.Memory}}"), (96 << 20).to_string());
        cli.run(&["rm", "-f", "grown"]);
    });
}

#[test]
fn a_stopped_container_starts_with_its_new_limits() {
    with_both(|cli| {
        cli.run(&["create", "--name", "later", "--rm", "-m", "64m", "busybox", "sleep", "600"]);
        cli.run(&[
            "update",
            "--memory",
            "32m",
            "--memory-swap",
            "48m",
            "--pids-limit",
            "7",
            "later",
        ]);
        let (code, told) = cli.code(&["update", "--restart", "always", "later"]);
        assert!(code == 1 && told.contains("because AutoRemove is enabled"), "{told}");
        cli.run(&["start", "later"]);
        let pid = cli.inspect("later", "{{.State.Pid}}");
        let max = limit(&pid, "memory", "memory.limit_in_bytes", "memory.max");
        assert_eq!(max, (32 << 20).to_string());
        assert_eq!(limit(&pid, "pids", "pids.max", "pids.max"), "7");
        cli.run(&["rm", "-f", "later"]);
    });
}
