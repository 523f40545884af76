//! Health checks: what they find, what they cost, and that they go on.

use crate::support::images::{Layer, Packing, Style, TestImage, busybox_tar};
use crate::support::{eventually, text};
use crate::{Cli, daemon, with_both};

impl Cli<'_> {
    /// Waits until the checks of a container say `status`.
    fn until_health(&self, container: &str, status: &str) {
        eventually(&format!("{container} being {status}"), || {
            (self.inspect(container, "{{.State.Health.Status}}") == status).then_some(())
        });
    }

    /// How many processes of a container are a `sleep 601`.
    fn hanging(&self, container: &str) -> usize {
        let table = self.run(&["top", container, "-o", "pid,args"]);
        let hangs = |line: &&str| line.split_ascii_whitespace().skip(1).eq(["sleep", "601"]);
        table.lines().filter(hangs).count()
    }
}

#[test]
fn a_check_decides_by_its_exit_code_and_ends_with_the_container() {
    with_both(|cli| {
        let check = ["--health-cmd", "echo looked; test -e /tmp/well", "--health-retries", "2"];
        let check = [&check[..], &["--health-interval", "20ms"]].concat();
        let words = [&["run", "-d", "--name", "hc"], &check[..], &["busybox", "sleep", "600"]];
        let id = cli.run(&words.concat());
        cli.until_health("hc", "unhealthy");
        assert!(cli.run(&["ps", "--format", "{{.Status}}"]).contains("(unhealthy)"));
        assert_eq!(cli.run(&["ps", "-q", "--filter", "health=healthy"]), "");
        cli.run(&["exec", "hc", "touch", "/tmp/well"]);
        cli.until_health("hc", "healthy");
        let healthy = ["ps", "--filter", "health=healthy", "--format", "{{.Names}} {{.Status}}"];
        assert!(cli.run(&healthy).contains("(healthy)"));
        let log = "{{.State.Health.FailingStreak}} {{len .State.Health.Log}}\
                   {{range .State.Health.Log}} {{.ExitCode}} {{.Output}}{{end}}";
        eventually("five results", || {
            let told = cli.inspect("hc", log);
            (told.starts_with("0 5 ") && told.ends_with(" 0 looked")).then_some(())
        });
        let told = cli.events(id.trim_end());
        let states = told.iter().filter(|action| action.starts_with("health_status"));
        let states: Vec<&String> = states.collect();
        assert_eq!(states, ["health_status: unhealthy", "health_status: healthy"]);
        let command = ": /bin/sh -c echo looked; test -e /tmp/well";
        for action in [format!("exec_create{command}"), format!("exec_start{command}")] {
            assert!(told.contains(&action), "{told:?}");
        }
        assert!(told.contains(&"exec_die".to_string()), "{told:?}");
        // Its results are in memory only.
        let dir = cli.daemon.data_root().join("containers").join(id.trim_end());
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let stored = text(&std::fs::read(entry.path()).unwrap_or_default());
            assert!(!stored.contains("looked\\n"), "{}: {stored}", entry.path().display());
        }
        cli.run(&["stop", "-t", "0", "hc"]);
        assert_eq!(cli.inspect("hc", "{{.State.Health.Status}}"), "unhealthy");
        let after = cli.events(id.trim_end()).len();
        cli.run(&["start", "hc"]);
        assert_eq!(cli.inspect("hc", "{{.State.Health.FailingStreak}}"), "0");
        cli.until_health("hc", "healthy");
        assert!(cli.events(id.trim_end()).len() > after);
        cli.run(&["rm", "-f", "hc"]);
    });
}

#[test]
fn a_check_that_hangs_is_killed_and_its_output_bounded() {
    with_both(|cli| {
        let script = "head -c 100000 /dev/zero | tr '\\0' x; exec sleep 601";
        let check = ["--health-cmd", script, "--health-timeout", "200ms", "--health-retries", "1"];
        let check = [&check[..], &["--health-interval", "20ms"]].concat();
        let words = [&["run", "-d", "--name", "hh"], &check[..], &["busybox", "sleep", "600"]];
        cli.run(&words.concat());
        cli.until_health("hh", "unhealthy");
        let result = "{{with index .State.Health.Log 0}}{{.ExitCode}} {{.Output}}{{end}}";
        let result = cli.inspect("hh", result);
        assert!(result.starts_with("-1 Health check exceeded timeout (200ms): xxx"), "{result}");
        assert!(result.ends_with("x..."), "{result}");
        assert!(result.len() < 4200, "{}", result.len());
        // One after the other, never two at a time.
        for _ in 0..20 {
            assert!(cli.hanging("hh") <= 1);
        }
        cli.run(&["rm", "-f", "hh"]);
    });
}

#[test]
fn the_image_can_bring_a_check_that_the_user_changes_or_leaves_out() {
    let daemon = daemon(&[]);
    let run = r#"{"Cmd":["sleep","600"],"Env":["PATH=/bin"],
        "Healthcheck":{"Test":["CMD","test","-e","/tmp/well"],"Interval":20000000,"Retries":1}}"#;
    let layer = Layer::new(busybox_tar(), Packing::Gzip);
    let layout = TestImage::new(vec![layer], Style::Oci, run).write_layout(&daemon.dir().join("l"));
    daemon.load(&layout, "checked");
    for official in [false, true] {
        let cli = Cli { daemon: &daemon, official };
        cli.run(&["run", "-d", "--name", "plain", "checked"]);
        cli.until_health("plain", "unhealthy");
        cli.run(&["run", "-d", "--name", "none", "--no-healthcheck", "checked"]);
        assert_eq!(cli.inspect("none", "{{if .State.Health}}checked{{end}}"), "");
        let own = ["run", "-d", "--name", "own", "--health-cmd", "true", "checked"];
        cli.run(&own);
        cli.until_health("own", "healthy");
        assert_eq!(cli.inspect("own", "{{json .Config.Healthcheck.Interval}}"), "20000000");
        // In the start period failures do not count; its checks have a pace of their own.
        let patient = ["--health-start-period", "10m", "--health-start-interval", "20ms"];
        let patient = [&patient[..], &["--health-interval", "10m", "checked"]].concat();
        cli.run(&[&["run", "-d", "--name", "patient"][..], &patient].concat());
        let log = "{{.State.Health.Status}} {{len .State.Health.Log}}";
        eventually("checks", || (cli.inspect("patient", log) == "starting 5").then_some(()));
        let none = cli.run(&["ps", "--filter", "health=none", "--format", "{{.Names}}"]);
        assert_eq!(none, "none\n");
        cli.run(&["rm", "-f", "plain", "none", "own", "patient"]);
        cli.nothing_left();
    }
    let short = ["create", "--health-cmd", "true", "--health-interval", "1us", "checked"];
    let refused = Cli { daemon: &daemon, official: true }.code(&short).1;
    assert!(refused.contains("Interval in Healthcheck cannot be less than 1ms"), "{refused}");
    daemon.stop();
}

#[test]
fn checks_go_on_under_the_next_daemon() {
    let mut daemon = daemon(&[]);
    let check = ["--health-cmd", "echo x >> /tmp/log", "--health-interval", "20ms"];
    let words = [&["run", "-d", "--name", "hd"], &check[..], &["busybox", "sleep", "600"]].concat();
    let cli = Cli { daemon: &daemon, official: false };
    cli.run(&words);
    cli.until_health("hd", "healthy");
    daemon.kill();
    daemon.start_again();
    let cli = Cli { daemon: &daemon, official: false };
    cli.until_health("hd", "healthy");
    let lines = |cli: &Cli| cli.run(&["exec", "hd", "wc", "-l", "/tmp/log"]);
    let before = lines(&cli);
    eventually("another check", || (lines(&cli) != before).then_some(()));
    cli.run(&["rm", "-f", "hd"]);
    cli.nothing_left();
    daemon.stop();
}
