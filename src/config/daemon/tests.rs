//! Flags and file together, against the texts of dockerd 20.10 and 28.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::cli::pflag::Stop;

/// A directory that is removed at the end of the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir()
            .join(format!("multi-config-{name}-{}-{serial}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }
    fn file(&self, text: &str) -> String {
        let path = self.0.join("daemon.json");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn load_words(words: &[&str]) -> Result<Loaded, Stop> {
    let argv: Vec<String> = words.iter().map(|w| w.to_string()).collect();
    load("dockerd", &argv)
}

fn config(words: &[&str]) -> DaemonConfig {
    match load_words(words) {
        Ok(Loaded::Run(config)) => *config,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn error(words: &[&str]) -> (u8, String) {
    let stop = load_words(words).unwrap_err();
    (stop.code, stop.text.split("\n\n").next().unwrap().trim_end().to_string())
}

/// The message about a file, without its head.
fn file_error(text: &str, words: &[&str]) -> String {
    let dir = Dir::new("error");
    let path = dir.file(text);
    let mut all = vec!["--config-file", &path];
    all.extend(words);
    let (code, message) = error(&all);
    assert_eq!(code, 1);
    let head = format!("unable to configure the Docker daemon with file {path}: ");
    message.strip_prefix(&head).unwrap_or(&message).to_string()
}

/// A named empty file, so that no test reads the machine's own.
const NONE: [&str; 2] = ["--config-file", "/dev/null"];

fn with(words: &[&str]) -> DaemonConfig {
    config(&[&NONE, words].concat())
}

#[test]
fn flags_reach_their_fields() {
    let c = with(&[
        "-D",
        "-l",
        "error",
        "-p",
        "/x.pid",
        "-g",
        "/data/",
        "--exec-root=/run/x",
        "-G",
        "adm",
        "--label",
        "a=b",
        "--label=c=d",
        "--live-restore",
        "-r=false",
        "-s",
        "vfs",
        "--storage-opt",
        "k=v",
        "--log-opt",
        "max-size=10k",
        "--log-opt",
        "max-file=2",
        "--default-ulimit",
        "nofile=1:2",
        "--iptables=false",
        "--mtu",
        "1400",
        "--dns",
        "8.8.8.8",
        "-H",
        "unix:///tmp/a",
        "-H",
        ":1",
        "--insecure-registry",
        "https://r:1",
    ]);
    assert!(c.debug && c.live_restore && !c.restart && !c.iptables);
    assert_eq!(c.log().unwrap().0, ::log::LevelFilter::Debug);
    assert_eq!((c.data_root.as_str(), c.exec_root.as_str()), ("/data", "/run/x"));
    assert_eq!(c.labels, ["a=b", "c=d"]);
    assert_eq!(c.hosts, ["unix:///tmp/a", "tcp://0.0.0.0:1"]);
    assert_eq!(c.log_opts["max-size"], "10k");
    assert_eq!((c.default_ulimits["nofile"].soft, c.default_ulimits["nofile"].hard), (1, 2));
    assert_eq!((c.mtu, c.network().unwrap().mtu), (1400, 1400));
    assert_eq!(c.insecure_registries, ["r:1"]);
    assert!(c.warnings.iter().any(|w| w.contains("tcp://0.0.0.0:1")));
}

#[test]
fn graph_and_data_root_are_one_option() {
    for words in [["-g", "/d"], ["--graph", "/d"], ["--data-root", "/d"]] {
        assert_eq!(with(&words).data_root, "/d");
    }
    let dir = Dir::new("graph");
    for key in ["graph", "data-root"] {
        let path = dir.file(&format!("{{\"{key}\":\"/d\"}}"));
        assert_eq!(config(&["--config-file", &path]).data_root, "/d");
    }
    assert!(file_error("{\"graph\":\"/d\",\"data-root\":\"/d\"}", &[]).contains("mean the same"));
    assert_eq!(
        file_error("{\"graph\":\"/d\"}", &["-g", "/e"]),
        "the following directives are specified both as a flag and in the configuration file: \
         data-root: (from flag: /e, from file: /d)"
    );
}

#[test]
fn the_old_names_in_the_table_are_the_renamed_flags() {
    let old: Vec<_> = OPTIONS
        .iter()
        .filter(|o| !o.old.is_empty())
        .map(|o| (o.old, o.flag.trim_start_matches('-'), true))
        .collect();
    assert_eq!(old, super::load::SPEC.renamed);
}

#[test]
fn names_in_the_table_are_unique_and_sorted_lists_are_plural() {
    for (i, o) in OPTIONS.iter().enumerate() {
        for other in &OPTIONS[..i] {
            assert!(o.flag > other.flag, "{} after {}", o.flag, other.flag);
            assert!(o.key.is_empty() || o.key != other.key, "{}", o.key);
            assert!(o.short.is_none() || o.short != other.short, "{}", o.flag);
        }
        let plain = o.key == o.flag.trim_start_matches('-');
        let uncounted = ["--dns", "--dns-search"].contains(&o.flag);
        assert!(o.key.is_empty() || plain != o.repeats() || uncounted, "{}", o.flag);
    }
}

#[test]
fn without_hosts_the_default_socket_is_served() {
    assert_eq!(with(&[]).hosts, ["unix:///var/run/docker.sock"]);
    assert_eq!(with(&["-H", ""]).hosts, ["unix:///var/run/docker.sock"]);
    assert_eq!(with(&["--tls"]).hosts, ["tcp://127.0.0.1:2376"]);
    assert_eq!(with(&["-H", "tcp://h", "--tlsverify"]).hosts, ["tcp://h:2376"]);
}

#[test]
fn verification_implies_tls() {
    assert!(with(&["--tlsverify"]).tls);
    assert!(!with(&["--tls"]).tls_verify);
}

#[test]
fn conflicts_show_both_values() {
    let head =
        "the following directives are specified both as a flag and in the configuration file: ";
    for (file, flags, message) in [
        ("{\"debug\":true}", &["-D"][..], "debug: (from flag: true, from file: true)"),
        (
            "{\"labels\":[\"a=1\"]}",
            &["--label", "b=2"],
            "labels: (from flag: [b=2], from file: [a=1])",
        ),
        (
            "{\"log-opts\":{\"a\":\"1\"}}",
            &["--log-opt", "a=2"],
            "log-opts: (from flag: map[a:2], from file: map[a:1])",
        ),
        (
            "{\"mtu\":1,\"icc\":true}",
            &["--mtu=2", "--icc"],
            "icc: (from flag: true, from file: true), mtu: (from flag: 2, from file: 1)",
        ),
    ] {
        assert_eq!(file_error(file, flags), format!("{head}{message}"));
    }
}

#[test]
fn unknown_keys_are_named_and_singular_ones_are_unknown() {
    let head = "the following directives don't match any configuration option: ";
    assert_eq!(file_error("{\"bogus\":1,\"b2\":2}", &[]), format!("{head}b2, bogus"));
    assert_eq!(file_error("{\"label\":[\"a=b\"]}", &[]), format!("{head}label"));
    assert_eq!(file_error("{\"config-file\":\"x\"}", &[]), format!("{head}config-file"));
    assert_eq!(file_error("{\"\":1}", &[]), head.trim_end());
}

#[test]
fn values_of_the_wrong_type_name_the_key() {
    for (file, message) in [
        ("{\"debug\":\"yes\"}", "debug: expected true or false, found a string"),
        ("{\"labels\":\"a=b\"}", "labels: expected a list of strings, found a string"),
        ("{\"labels\":[1]}", "labels: expected a list of strings, found a list"),
        ("{\"labels\":[\"foo\"]}", "labels: bad attribute format: foo"),
        ("{\"mtu\":1.5}", "mtu: expected a whole number, found a number"),
        ("{\"raw-logs\":1}", "raw-logs: expected true or false, found a number"),
        ("{\"exec-opts\":[\"a=b\"]}", "exec-opts: invalid option: a"),
        ("[]", "the file must hold one JSON object"),
        ("{bad", "key must be a string at line 1 column 2"),
    ] {
        assert_eq!(file_error(file, &[]), message, "{file}");
    }
}

#[test]
fn a_named_file_must_exist_and_an_empty_one_is_fine() {
    assert_eq!(
        error(&["--config-file", "/nonexistent.json"]),
        (
            1,
            "unable to configure the Docker daemon with file /nonexistent.json: \
             open /nonexistent.json: no such file or directory"
                .into()
        )
    );
    let dir = Dir::new("empty");
    for text in ["", " \n", "{}", "\u{feff}{}"] {
        assert!(config(&["--config-file", &dir.file(text)]).icc, "{text:?}");
    }
}

#[test]
fn false_in_the_file_overrides_a_default() {
    let dir = Dir::new("false");
    let path = dir.file(
        r#"{"iptables":false,"hosts":["unix:///a"],"default-ulimits":{"nofile":{"Name":"nofile","Hard":9,"Soft":8}},
            "log-opts":["max-size=1m"],"dns":["1.1.1.1"],"debug":null}"#,
    );
    let c = config(&["--config-file", &path]);
    assert!(!c.iptables && !c.debug);
    assert_eq!(c.hosts, ["unix:///a"]);
    assert_eq!(c.default_ulimits["nofile"].hard, 9);
    assert_eq!(c.log_opts["max-size"], "1m");
}

#[test]
fn wrong_values_of_flags_are_told_as_docker_tells_them() {
    for (words, message) in [
        (
            &["--label", "foo"][..],
            "invalid argument \"foo\" for \"--label\" flag: bad attribute format: foo",
        ),
        (
            &["-H", "foo://x"],
            "invalid argument \"foo://x\" for \"-H, --host\" flag: invalid bind address (foo://x): unsupported proto 'foo'",
        ),
        (&["--foo"], "unknown flag: --foo"),
        (
            &["--mtu", "abc"],
            "invalid argument \"abc\" for \"--mtu\" flag: strconv.ParseInt: parsing \"abc\": invalid syntax",
        ),
        (
            &["--dns", "x"],
            "invalid argument \"x\" for \"--dns\" flag: IP address is not correctly formatted: x",
        ),
        (
            &["--default-ulimit", "x"],
            "invalid argument \"x\" for \"--default-ulimit\" flag: invalid ulimit argument: x",
        ),
    ] {
        assert_eq!(error(words), (125, message.to_string()));
    }
    assert_eq!(error(&["x"]), (1, "dockerd: 'dockerd' accepts no arguments".into()));
    for (words, message) in [
        (&["-l", "bogus"][..], "unable to parse logging level: bogus"),
        (&["--label", "a=1", "--label", "a=2"], "conflict labels for a=2 and a=1"),
        (
            &["--log-opt", "nosuch=1"],
            "failed to set log opts: unknown log opt 'nosuch' for json-file log driver",
        ),
        (
            &["--log-driver", "nosuch"],
            "failed to set log opts: error looking up logging plugin nosuch: plugin \"nosuch\" not found",
        ),
        (&["--max-concurrent-downloads=-1"], "invalid max concurrent downloads: -1"),
        (
            &["--icc=false", "--iptables=false"],
            "You specified --iptables=false with --icc=false. ICC=false uses iptables to \
             function. Please set --icc or --iptables to true",
        ),
    ] {
        assert_eq!(error(&[&NONE, words].concat()), (1, message.to_string()));
    }
}

#[test]
fn old_single_dash_forms_work_where_they_are_no_short_flags() {
    assert!(!with(&["-icc=false"]).icc);
    assert_eq!(with(&["-mtu", "1300"]).mtu, 1300);
    // `-g` takes the rest of the word.
    assert!(with(&["-graph", "-D"]).data_root.ends_with("/raph"));
}

#[test]
fn version_validate_and_help_do_not_run() {
    let version = load_words(&["-v"]).unwrap();
    assert!(
        matches!(version, Loaded::Version(v) if v.starts_with("Docker version ") && v.contains(", build "))
    );
    assert!(matches!(load_words(&[&NONE[..], &["--validate"]].concat()), Ok(Loaded::Valid)));
    assert_eq!(error(&["--validate", "--config-file", "/nonexistent"]).0, 1);
    let help = load_words(&["-h"]).unwrap_err();
    assert_eq!(help.code, 0);
    assert!(help.text.starts_with("Usage:  dockerd [OPTIONS]\n"));
    assert!(help.text.contains("  -H, --host list "));
}

#[test]
fn a_reload_applies_what_may_change_and_nothing_on_error() {
    let dir = Dir::new("reload");
    let path = dir.file(r#"{"labels":["a=1"],"mtu":1400}"#);
    let start = config(&["--config-file", &path, "--live-restore"]);
    dir.file(r#"{"labels":["a=2"],"mtu":1300,"debug":true}"#);
    let (next, changed) = reload(&start).unwrap();
    assert_eq!(changed, ["debug", "labels"]);
    assert_eq!(
        (next.labels.as_slice(), next.debug, next.mtu),
        (&["a=2".to_string()][..], true, 1400)
    );
    assert!(next.live_restore);
    assert!(attributes(&next).contains(&("labels".into(), "[a=2]".into())));
    dir.file(r#"{"labels":["a=3"],"live-restore":true}"#);
    assert!(reload(&next).unwrap_err().to_string().contains("live-restore: (from flag: true"));
    dir.file("{");
    assert!(reload(&next).is_err());
    fs::remove_file(&path).unwrap();
    assert!(reload(&next).is_err());
}

#[test]
fn a_foreign_containerd_is_reported_and_not_used() {
    let c = with(&["--containerd=/run/containerd/containerd.sock"]);
    assert!(c.warnings[0].contains("is ignored"));
}
