//! Removing everything that is not used.

use std::io::Write;
use std::process::Stdio;

use crate::support::text;
use crate::{Cli, with_both};

impl Cli<'_> {
    /// Exit code and output of a command that is answered with `answer`.
    fn answered(&self, args: &[&str], answer: &str) -> (i32, String) {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout))
    }
}

#[test]
fn stopped_containers_are_pruned_as_asked() {
    with_both(|cli| {
        let make = |name: &str, label: &str| {
            let words = ["create", "--name", name, "--label", label, "busybox", "true"];
            cli.run(&words).trim_end().to_string()
        };
        cli.run(&["run", "-d", "--name", "runs", "busybox", "sleep", "600"]);
        let kept = make("kept", "keep=yes");
        let other = make("other", "keep=no");
        let names = || cli.run(&["ps", "-a", "--format", "{{.Names}}"]);
        let question = "WARNING! This will remove all stopped containers.\n\
                        Are you sure you want to continue? [y/N] ";
        let (_, told) = cli.answered(&["container", "prune"], "n\n");
        assert!(told.starts_with(question), "{told}");
        assert_eq!(names(), "other\nkept\nruns\n");
        cli.run(&["container", "prune", "-f", "--filter", "until=1h"]);
        assert_eq!(names(), "other\nkept\nruns\n");
        let told = cli.run(&["container", "prune", "-f", "--filter", "label!=keep=yes"]);
        assert_eq!(told, format!("Deleted Containers:\n{other}\n\nTotal reclaimed space: 0B\n"));
        let (code, error) = cli.code(&["container", "prune", "-f", "--filter", "x=y"]);
        assert!(code == 1 && error.contains("invalid filter 'x'"), "{code} {error}");
        let (code, told) = cli.answered(&["container", "prune"], "y\n");
        assert_eq!(code, 0);
        let rest = format!("Deleted Containers:\n{kept}\n\nTotal reclaimed space: 0B\n");
        assert_eq!(told, format!("{question}{rest}"));
        assert_eq!(names(), "runs\n");
        cli.run(&["rm", "-f", "runs"]);
    });
}

#[test]
fn the_system_is_pruned_of_what_nothing_uses() {
    with_both(|cli| {
        let script = "head -c 5000000 /dev/zero > /file";
        cli.run(&["run", "--name", "big", "-v", "/data", "busybox", "sh", "-c", script]);
        cli.run(&["tag", "busybox", "unused:1"]);
        let question = ["system", "prune", "-a", "--volumes", "--filter", "label!=x"];
        let (_, told) = cli.answered(&question, "n\n");
        assert_eq!(
            told,
            "WARNING! This will remove:\n\
             \x20 - all stopped containers\n\
             \x20 - all networks not used by at least one container\n\
             \x20 - all anonymous volumes not used by at least one container\n\
             \x20 - all images without at least one container associated to them\n\
             \x20 - all build cache\n\n\
             \x20 Items to be pruned will be filtered with:\n\
             \x20 - label!=x\n\n\
             Are you sure you want to continue? [y/N] "
        );
        assert_eq!(cli.run(&["ps", "-aq"]).lines().count(), 1);
        let told = cli.run(&["system", "prune", "-f", "--volumes"]);
        assert!(told.starts_with("Deleted Containers:\n"), "{told}");
        assert!(told.contains("\n\nDeleted Volumes:\n"), "{told}");
        assert!(told.ends_with("\n\nTotal reclaimed space: 5MB\n"), "{told}");
        assert_eq!(cli.run(&["volume", "ls", "-q"]), "");
        // Images that have a name go only when all unused ones are meant.
        assert!(cli.run(&["images"]).contains("unused"));
        cli.run(&["rmi", "unused:1"]);
        cli.run(&["run", "-d", "--name", "user", "busybox", "sleep", "600"]);
        let told = cli.run(&["system", "prune", "-a", "-f", "--filter", "until=1h"]);
        assert_eq!(told, "Total reclaimed space: 0B\n");
        cli.run(&["rm", "-f", "user"]);
    });
}
