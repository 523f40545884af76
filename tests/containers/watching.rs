//! Statistics: the numbers of the kernel's own files, told only while somebody listens.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use multi_core::base::json::{self, Value, get_path};

use crate::settings::limit;
use crate::support::{eventually, run};
use crate::{Cli, with_both};

/// The answer of the daemon to a request of statistics.
fn stats(cli: &Cli, container: &str, query: &str) -> Value {
    let url = format!("http://d/v1.51/containers/{container}/stats?{query}");
    let socket = cli.daemon.socket();
    let told =
        run(Command::new("curl").args(["-s", "-m", "60", "--unix-socket"]).arg(socket).arg(url));
    json::parse(told.as_bytes()).unwrap_or_else(|e| panic!("{e}: {told}"))
}

fn number(value: &Value, path: &str) -> u64 {
    match get_path(value, &path.split('.').collect::<Vec<_>>()) {
        Some(Value::Number(n)) => n.to_string().parse().unwrap(),
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn statistics_are_the_numbers_of_the_control_files() {
    with_both(|cli| {
        let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 600";
        let words = ["run", "-d", "--name", "busy", "-m", "64m", "--pids-limit", "9"];
        cli.run(&[&words[..], &["busybox", "sh", "-c", script]].concat());
        let pid = cli.inspect("busy", "{{.State.Pid}}");
        // What stands still is counted the same however often one looks.
        eventually("the sleep", || cli.run(&["top", "busy"]).contains("sleep 600").then_some(()));
        cli.run(&["pause", "busy"]);
        let told = stats(cli, "busy", "stream=false");
        let cpu = match limit(&pid, "cpuacct", "cpuacct.usage", "cpu.stat") {
            text if text.starts_with("usage_usec ") => {
                let line = text.lines().next().unwrap();
                line["usage_usec ".len()..].parse::<u64>().unwrap() * 1000
            }
            text => text.parse().unwrap(),
        };
        assert_eq!(number(&told, "cpu_stats.cpu_usage.total_usage"), cpu);
        assert_eq!(number(&told, "precpu_stats.cpu_usage.total_usage"), cpu);
        let passed = number(&told, "cpu_stats.system_cpu_usage");
        assert!(passed > number(&told, "precpu_stats.system_cpu_usage"));
        let count: u64 = limit(&pid, "pids", "pids.current", "pids.current").parse().unwrap();
        assert_eq!(number(&told, "pids_stats.current"), count);
        assert_eq!(number(&told, "pids_stats.limit"), 9);
        assert_eq!(number(&told, "memory_stats.limit"), 64 << 20);
        // The kernel gives small amounts back when it likes to.
        eventually("equal numbers of used memory", || {
            let told = stats(cli, "busy", "stream=false&one-shot=true");
            let used = limit(&pid, "memory", "memory.usage_in_bytes", "memory.current");
            (number(&told, "memory_stats.usage").to_string() == used).then_some(())
        });
        let stat = limit(&pid, "memory", "memory.stat", "memory.stat");
        let told = stats(cli, "busy", "stream=false&one-shot=true");
        for line in stat.lines().filter(|l| l.starts_with("pgfault ") || l.starts_with("anon ")) {
            let (key, value) = line.split_once(' ').unwrap();
            assert_eq!(number(&told, &format!("memory_stats.stats.{key}")).to_string(), value);
        }
        let counters =
            run(Command::new("nsenter").args(["-t", &pid, "-n", "cat"]).arg("/proc/net/dev"));
        let eth0 = counters.lines().find_map(|l| l.trim().strip_prefix("eth0:")).unwrap();
        let sent: u64 = eth0.split_whitespace().nth(8).unwrap().parse().unwrap();
        assert_eq!(number(&told, "networks.eth0.tx_bytes"), sent);

        let columns = "{{.Name}} {{.PIDs}} {{.CPUPerc}} {{.MemUsage}}";
        let shown = cli.run(&["stats", "--no-stream", "--format", columns, "busy"]);
        assert!(shown.starts_with(&format!("busy {count} 0.00% ")), "{shown}");
        assert!(shown.ends_with("B / 64MiB\n"), "{shown}");
        cli.run(&["rm", "-f", "busy"]);
    });
}

#[test]
fn a_live_table_follows_containers_until_they_are_gone() {
    with_both(|cli| {
        cli.run(&["run", "-d", "--name", "first", "busybox", "sleep", "600"]);
        cli.run(&["create", "--name", "idle", "busybox", "true"]);
        let shown =
            cli.run(&["stats", "--no-stream", "--all", "--format", "{{.Name}} {{.MemUsage}}"]);
        assert!(shown.contains("idle 0B / 0B\n") && shown.contains("first "), "{shown}");
        assert!(!cli.run(&["stats", "--no-stream"]).contains("idle"));
        let (code, told) = cli.code(&["stats", "--no-stream", "nosuch"]);
        assert_eq!(
            (code, told.as_str()),
            (1, "Error response from daemon: No such container: nosuch\n")
        );

        let threads =
            || std::fs::read_dir(format!("/proc/{}/task", cli.daemon.pid())).unwrap().count();
        let before = threads();
        let mut live = cli.command(&["stats", "--format", "{{.Name}};"]);
        let mut live = live.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(live.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("first;")));
        cli.run(&["run", "-d", "--name", "second", "busybox", "sleep", "600"]);
        assert!(lines.any(|line| line.contains("second;")));
        cli.run(&["rm", "-f", "first"]);
        // The names of a whole picture, which begins at the top left.
        let mut picture = String::new();
        let gone = lines.any(|line| {
            let starts = line.contains("\x1b[H");
            let whole = starts && picture.contains("second;") && !picture.contains("first;");
            picture = if starts { line } else { picture.clone() + &line };
            whole
        });
        assert!(gone);
        live.kill().unwrap();
        live.wait().unwrap();
        // Nobody watches any more, and nothing is left of it.
        eventually("the end of the watching threads", || (threads() <= before).then_some(()));
        cli.run(&["rm", "-f", "second", "idle"]);
    });
}

#[test]
fn top_shows_what_ps_shows() {
    with_both(|cli| {
        let words = ["run", "-d", "--name", "shown", "-u", "daemon", "busybox", "sh", "-c"];
        cli.run(&[&words[..], &["sleep 600 & wait"]].concat());
        eventually("the sleep", || cli.run(&["top", "shown"]).contains("sleep 600").then_some(()));
        // What stands still does not change between two looks.
        cli.run(&["pause", "shown"]);
        let lines = |text: String| -> Vec<String> {
            text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
        };
        let pids = lines(cli.run(&["top", "shown", "-o", "pid"]))[1..].join(",");
        assert_eq!(pids.split(',').count(), 2);
        for format in [
            "pid,ppid,pgid,sid,tpgid,uid,user,gid,group,nlwp,ni,pri,cls,tname,vsz,sz,psr,args",
            "ruser,egid,pid,tty,tid,rss,rtprio,cputime,comm",
        ] {
            let ps = run(Command::new("ps").args(["-q", &pids, "-o", format]));
            assert_eq!(lines(cli.run(&["top", "shown", "-o", format])), lines(ps), "{format}");
        }
        for (options, column) in [("-ef", 1), ("aux", 1), ("-l", 3), ("ax", 0), ("-e", 0)] {
            let told = lines(cli.run(&["top", "shown", options]));
            let ps = lines(run(Command::new("ps").args([options, "-q", &pids])));
            let of = |line: &String| line.split(' ').nth(column).unwrap().to_string();
            assert_eq!(told[0], ps[0], "{options}");
            assert!(told.iter().map(of).eq(ps.iter().map(of)), "{options}: {told:?} {ps:?}");
        }
        let (code, told) = cli.code(&["top", "shown", "-o", "comm"]);
        assert!(code == 1 && told.contains("Couldn't find PID field in ps output"), "{told}");
        cli.run(&["rm", "-f", "shown"]);
    });
}
