//! What is kept on disk, and giving it back: `system df`, `image prune`.

use crate::with_both;

/// The ids of all images that are listed, in full.
fn images(cli: &crate::Cli) -> Vec<String> {
    let ids = cli.run(&["images", "-aq", "--no-trunc"]);
    ids.lines().map(ToString::to_string).collect()
}

#[test]
fn what_is_used_is_counted_and_what_is_not_goes() {
    with_both(|cli| {
        let script = "head -c 100000 /dev/zero > /own; head -c 5000 /dev/zero > /data/file";
        cli.run(&["run", "--name", "box", "-v", "data:/data", "busybox", "sh", "-c", script]);
        cli.run(&["run", "-d", "--name", "idle", "busybox", "sleep", "600"]);
        // Two images of a layer of their own; one loses its name to the other, one is in use.
        cli.run(&["commit", "box", "made:1"]);
        cli.run(&["run", "--name", "more", "made:1", "sh", "-c", "echo x > /more"]);
        cli.run(&["commit", "-c", "LABEL keep=1", "more", "kept:1"]);
        cli.run(&["commit", "more", "lost:1"]);
        let lost = cli.run(&["images", "-q", "--no-trunc", "lost:1"]).trim_end().to_string();
        cli.run(&["commit", "-m", "newer", "box", "lost:1"]);

        let shown = cli.run(&["system", "df", "--format", "{{.Type}}|{{.TotalCount}}|{{.Active}}"]);
        assert_eq!(shown, "Images|5|2\nContainers|3|1\nLocal Volumes|1|1\nBuild Cache|0|0\n");
        let shown = cli.run(&["system", "df", "--format", "{{.Type}} {{.Size}} {{.Reclaimable}}"]);
        assert!(shown.contains("\nContainers 100kB 100kB (100%)\n"), "{shown}");
        assert!(shown.contains("\nLocal Volumes 5kB 0B (0%)\n"), "{shown}");
        let shown = cli.run(&["system", "df", "-v"]);
        let row = |start: &str| {
            let line = shown.lines().find(|line| line.starts_with(start)).unwrap_or_default();
            line.split_whitespace().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        // Its layer is another one's too.
        assert!(row("made ").ends_with(" 0B 1"), "{shown}");
        assert!(row("kept ").ends_with(" 0B 0"), "{shown}");
        assert_eq!(row("data "), "data 1 5kB", "{shown}");

        let before = images(cli);
        assert_eq!(cli.code(&["image", "prune", "-f", "--filter", "foo=bar"]).0, 1);
        assert_eq!(
            cli.run(&["image", "prune", "-f", "--filter", "until=1h"]),
            "Total reclaimed space: 0B\n"
        );
        // Without -f it asks, and no answer is no.
        assert!(
            cli.run(&["image", "prune"])
                .starts_with("WARNING! This will remove all dangling images.\n")
        );
        assert_eq!(images(cli), before);
        let told = cli.run(&["image", "prune", "-f"]);
        assert!(told.starts_with(&format!("Deleted Images:\ndeleted: {lost}\n")), "{told}");
        assert!(!images(cli).contains(&lost) && images(cli).len() == before.len() - 1);
        let told = cli.run(&["image", "prune", "-a", "-f", "--filter", "label!=keep"]);
        assert!(told.contains("untagged: lost:1\n") && !told.contains("kept"), "{told}");
        let told = cli.run(&["image", "prune", "-a", "-f"]);
        assert!(told.contains("untagged: kept:1\n") && told.ends_with("space: 2B\n"), "{told}");
        // What containers were made from stays.
        let names = cli.run(&["images", "--format", "{{.Repository}}"]);
        let mut names: Vec<&str> = names.lines().collect();
        names.sort_unstable();
        assert_eq!(names, ["busybox", "made"]);
        cli.run(&["rm", "-f", "box", "idle", "more"]);
        let told = cli.run(&["image", "prune", "-af"]);
        assert!(
            told.contains("untagged: made:1\n") && told.contains("untagged: busybox:latest"),
            "{told}"
        );
        assert_eq!(images(cli), Vec::<String>::new());
        cli.run(&["volume", "rm", "data"]);
        cli.daemon.load(&crate::support::images::busybox(), "busybox:latest");
    });
}
