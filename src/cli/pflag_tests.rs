//! The dialect against what the Docker CLI 28.2 does with the same words.

use super::*;

/// a command with one flag of each kind
#[derive(argh::FromArgs, argh::ArgsInfo, Debug)]
#[argh(help_triggers("--help"))]
struct Run {
    /// set environment variables
    #[argh(option, short = 'e', arg_name = "list")]
    env: Vec<String>,
    /// container host name
    #[argh(option, short = 'h', arg_name = "string")]
    hostname: Option<String>,
    /// keep STDIN open even if not attached
    #[argh(switch, short = 'i')]
    interactive: bool,
    /// run container in background and print container ID
    #[argh(switch, short = 'd')]
    detach: bool,
    /// memory limit
    #[argh(option, short = 'm', arg_name = "bytes", from_str_fn(values::bytes))]
    memory: Option<i64>,
    /// tune container memory swappiness (0 to 100) (default -1)
    #[argh(option, arg_name = "int")]
    memory_swappiness: Option<i64>,
    /// assign a name to the container
    #[argh(option, arg_name = "string")]
    name: Option<String>,
    /// connect a container to a network
    #[argh(option, arg_name = "network")]
    network: Option<String>,
    /// publish a container's port(s) to the host
    #[argh(option, short = 'p', arg_name = "list")]
    publish: Vec<String>,
    /// automatically remove the container when it exits
    #[argh(switch)]
    rm: bool,
    /// proxy received signals to the process (default true)
    #[argh(option, arg_name = "bool", default = "true")]
    sig_proxy: bool,
    /// allocate a pseudo-TTY
    #[argh(switch, short = 't')]
    tty: bool,
    /// platforms
    #[argh(option, arg_name = "strings")]
    platform: Vec<String>,
    /// time between running the check
    #[argh(option, arg_name = "duration", from_str_fn(values::duration_ns))]
    health_interval: Option<i64>,
    /// image and command
    #[argh(positional, greedy)]
    args: Vec<String>,
}

const RUN: Spec = Spec {
    usage: "IMAGE [COMMAND] [ARG...]",
    about: "Create and run a new container from an image",
    aliases: &["docker container run", "docker run"],
    arity: Arity::AtLeast(1),
    interspersed: false,
    renamed: &[("net", "network", false)],
    lists_help: true,
};

fn run(words: &[&str]) -> Result<Run, Stop> {
    let argv: Vec<String> = words.iter().map(|w| w.to_string()).collect();
    parse(&RUN, "docker run", &argv)
}

fn message(words: &[&str]) -> String {
    let stop = run(words).unwrap_err();
    assert_eq!(stop.code, 125, "{words:?}");
    let (message, rest) = stop.text.split_once("\n\n").unwrap();
    assert_eq!(
        rest,
        "Usage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n\
         Run 'docker run --help' for more information\n"
    );
    message.to_string()
}

#[test]
fn every_spelling_of_a_flag_is_read() {
    let words = "-itd -p80:80 -p 81:81 --name=a --name b --rm -eB=2 -e=C --sig-proxy=false -m512m \
                 -h myhost --net host --health-interval 1m alpine help --help -c -- x";
    let r = run(&words.split_whitespace().collect::<Vec<_>>()).unwrap();
    assert!(r.interactive && r.tty && r.detach && r.rm && !r.sig_proxy);
    assert_eq!(r.publish, ["80:80", "81:81"]);
    assert_eq!(r.name.as_deref(), Some("b"));
    assert_eq!(r.env, ["B=2", "C"]);
    assert_eq!(r.memory, Some(512 << 20));
    assert_eq!(r.hostname.as_deref(), Some("myhost"));
    assert_eq!(r.network.as_deref(), Some("host"));
    assert_eq!(r.health_interval, Some(60_000_000_000));
    assert_eq!(r.args, ["alpine", "help", "--help", "-c", "--", "x"]);
}

#[test]
fn a_later_false_takes_a_switch_back() {
    let r = run(&["--rm", "-t", "--rm=false", "-t=0", "x"]).unwrap();
    assert!(!r.rm && !r.tty);
}

#[test]
fn values_may_look_like_flags_and_be_empty() {
    let r = run(&["--name", "--rm", "-e", "", "--network=", "x"]).unwrap();
    assert_eq!(r.name.as_deref(), Some("--rm"));
    assert_eq!((r.env, r.network.as_deref(), r.rm), (vec![String::new()], Some(""), false));
}

#[test]
fn a_double_dash_ends_the_flags() {
    assert_eq!(run(&["-i", "--", "--rm", "y"]).unwrap().args, ["--rm", "y"]);
    assert_eq!(run(&["-", "y"]).unwrap().args, ["-", "y"]);
}

#[test]
fn comma_lists_are_split() {
    let r = run(&["--platform", "linux/amd64,linux/arm64", "--platform=x", "y"]).unwrap();
    assert_eq!(r.platform, ["linux/amd64", "linux/arm64", "x"]);
}

#[test]
fn integers_in_gos_notation_reach_the_field() {
    assert_eq!(run(&["--memory-swappiness", "0x10", "x"]).unwrap().memory_swappiness, Some(16));
}

#[test]
fn errors_have_dockers_words() {
    for (words, text) in [
        (&["--foo", "x"][..], "unknown flag: --foo"),
        (&["--foo=1", "x"], "unknown flag: --foo"),
        (&["-Z", "x"], "unknown shorthand flag: 'Z' in -Z"),
        (&["-itZ", "x"], "unknown shorthand flag: 'Z' in -Z"),
        (&["-itZm", "x"], "unknown shorthand flag: 'Z' in -Zm"),
        (&["--name"], "flag needs an argument: --name"),
        (&["--net"], "flag needs an argument: --net"),
        (&["-e"], "flag needs an argument: 'e' in -e"),
        (&["---x"], "bad flag syntax: ---x"),
        (&["--=x"], "bad flag syntax: --=x"),
        (&["-=x"], "unknown shorthand flag: '=' in -=x"),
        (
            &["--tty=maybe", "x"],
            "invalid argument \"maybe\" for \"-t, --tty\" flag: \
             strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            &["-d=true=x", "y"],
            "invalid argument \"true=x\" for \"-d, --detach\" flag: \
             strconv.ParseBool: parsing \"true=x\": invalid syntax",
        ),
        (
            &["-m", "abc", "x"],
            "invalid argument \"abc\" for \"-m, --memory\" flag: invalid size: 'abc'",
        ),
        (
            &["--memory-swappiness", "abc", "x"],
            "invalid argument \"abc\" for \"--memory-swappiness\" flag: \
             strconv.ParseInt: parsing \"abc\": invalid syntax",
        ),
        (
            &["--health-interval", "x", "y"],
            "invalid argument \"x\" for \"--health-interval\" flag: time: invalid duration \"x\"",
        ),
    ] {
        assert_eq!(message(words), text, "{words:?}");
    }
}

#[test]
fn a_wrong_number_of_arguments_exits_1() {
    let stop = run(&["-e=A"]).unwrap_err();
    assert_eq!(stop.code, 1);
    assert_eq!(
        stop.text,
        "docker: 'docker run' requires at least 1 argument\n\n\
         Usage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n\
         See 'docker run --help' for more information\n"
    );
    let problem = |arity, count| {
        let spec = Spec { arity, ..Spec::NEW };
        check_arity(&spec, "docker x", "docker x", count).unwrap_err().text
    };
    for (arity, count, text) in [
        (Arity::None, 1, "docker: 'docker x' accepts no arguments\n"),
        (Arity::Exactly(1), 2, "docker: 'docker x' requires 1 argument\n"),
        (Arity::Exactly(2), 1, "docker: 'docker x' requires 2 arguments\n"),
        (Arity::AtMost(1), 2, "docker: 'docker x' requires at most 1 argument\n"),
        (Arity::AtLeast(2), 1, "docker: 'docker x' requires at least 2 arguments\n"),
    ] {
        assert!(problem(arity, count).starts_with(text), "{arity:?}");
    }
}

#[test]
fn old_single_dash_forms_are_taken_with_a_notice() {
    let info = Run::get_args_info();
    let scan_of = |words: &[&str]| {
        let argv: Vec<String> = words.iter().map(|w| w.to_string()).collect();
        let scan = scan(info.flags, &RUN, &argv)?;
        let flags: Vec<_> = scan.flags.iter().map(|(f, v)| format!("{}={v}", f.long)).collect();
        Ok::<_, String>((flags.join(" "), scan.notices.concat()))
    };
    let notice = |n: &str| {
        format!("Warning: '-{n}' is deprecated, it will be replaced by '--{n}' soon. See usage.\n")
    };
    assert_eq!(scan_of(&["-rm", "x"]).unwrap(), ("--rm=true".into(), notice("rm")));
    assert_eq!(scan_of(&["-name", "a", "x"]).unwrap(), ("--name=a".into(), notice("name")));
    assert_eq!(
        scan_of(&["-sig-proxy=false", "x"]).unwrap(),
        ("--sig-proxy=false".into(), notice("sig-proxy"))
    );
    assert_eq!(scan_of(&["-net=none", "x"]).unwrap(), ("--network=none".into(), notice("net")));
    assert_eq!(scan_of(&["-tty", "x"]).unwrap(), ("--tty=true".into(), notice("tty")));
    // These words are short flags, as they are for Docker.
    assert_eq!(scan_of(&["-env", "x"]).unwrap(), ("--env=nv".into(), String::new()));
    assert_eq!(scan_of(&["-publish", "x"]).unwrap(), ("--publish=ublish".into(), String::new()));
    assert_eq!(scan_of(&["-rx", "x"]).unwrap_err(), "unknown shorthand flag: 'r' in -rx");
}

#[test]
fn a_renamed_flag_may_tell_its_new_name() {
    let spec = Spec { renamed: &[("label", "name", true)], ..RUN };
    let info = Run::get_args_info();
    let scan = scan(info.flags, &spec, &["--label=3".into()]).unwrap();
    assert_eq!(scan.notices, ["Flag --label has been deprecated, use --name instead\n"]);
}

#[test]
fn flags_may_follow_arguments_where_the_command_allows() {
    let spec = Spec { interspersed: true, ..RUN };
    let argv = ["img", "--rm", "cmd", "--", "-t"].map(String::from);
    let r: Run = parse(&spec, "docker x", &argv).unwrap();
    assert!(r.rm && !r.tty);
    assert_eq!(r.args, ["img", "cmd", "-t"]);
}

#[test]
fn help_wins_over_arguments_but_not_over_errors() {
    let stop = run(&["--help"]).unwrap_err();
    assert_eq!(stop.code, 0);
    assert!(stop.text.starts_with("Usage:  docker run [OPTIONS] IMAGE"));
    assert_eq!(message(&["--help", "--foo"]), "unknown flag: --foo");
    assert_eq!(run(&["--help=false", "x"]).unwrap().args, ["x"]);
    // `h` is a flag of its own here, and help elsewhere.
    assert_eq!(message(&["-h"]), "flag needs an argument: 'h' in -h");
}

#[test]
fn help_has_dockers_layout() {
    let info = Run::get_args_info();
    let expected = "\
Usage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]

Create and run a new container from an image

Aliases:
  docker container run, docker run

Options:
  -d, --detach                     Run container in background and print
                                   container ID
  -e, --env list                   Set environment variables
      --health-interval duration   Time between running the check
      --help                       Print usage
  -h, --hostname string            Container host name
  -i, --interactive                Keep STDIN open even if not attached
  -m, --memory bytes               Memory limit
      --memory-swappiness int      Tune container memory swappiness (0 to
                                   100) (default -1)
      --name string                Assign a name to the container
      --network network            Connect a container to a network
      --platform strings           Platforms
  -p, --publish list               Publish a container's port(s) to the host
      --rm                         Automatically remove the container
                                   when it exits
      --sig-proxy                  Proxy received signals to the process
                                   (default true)
  -t, --tty                        Allocate a pseudo-TTY
";
    assert_eq!(help::command(&RUN, "docker run", info.flags, 80), expected);
    let narrow = help::command(&RUN, "docker run", info.flags, 45);
    assert!(
        narrow.contains("  -d, --detach                     \n                Run container in")
    );
}

/// the format flag of `docker ps`
#[derive(argh::FromArgs, argh::ArgsInfo, Debug)]
#[argh(help_triggers("--help"))]
#[allow(dead_code)]
struct Format {
    #[argh(
        option,
        arg_name = "string",
        description = "format output using a custom template:\n\
            'table':            Print output in table format with column headers (default)\n\
            'table TEMPLATE':   Print output in table format using the given Go template\n\
            'json':             Print in JSON format\n\
            'TEMPLATE':         Print output using the given Go template.\n\
            Refer to https://docs.docker.com/go/formatting/ for more information about \
            formatting output with templates"
    )]
    format: Option<String>,
}

#[test]
fn line_breaks_in_descriptions_are_kept() {
    let text = help::options(Format::get_args_info().flags, false, 80);
    assert_eq!(
        text,
        "      --format string   Format output using a custom template:
                        'table':            Print output in table format
                        with column headers (default)
                        'table TEMPLATE':   Print output in table format
                        using the given Go template
                        'json':             Print in JSON format
                        'TEMPLATE':         Print output using the given
                        Go template.
                        Refer to https://docs.docker.com/go/formatting/
                        for more information about formatting output with
                        templates
"
    );
}
