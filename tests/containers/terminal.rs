//! Standard input and terminals.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use multi_core::sys::pty;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::support::{PATIENCE, text};
use crate::{Cli, with_both};

/// A client on a terminal, which is its controlling one.
struct Terminal {
    master: File,
    child: Child,
    seen: String,
}

impl Terminal {
    fn start(cli: &Cli, args: &[&str]) -> Terminal {
        let (master, _) = pty::open_master(Path::new("/dev/ptmx")).unwrap();
        pty::resize(&master, 90, 30).unwrap();
        let slave = File::from(pty::open_slave(&master).unwrap());
        let inner = cli.command(args);
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            command.env(name, value.unwrap_or(OsStr::new("")));
        }
        command.env("TERM", "xterm");
        command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap());
        let child = command.stderr(slave).spawn().unwrap();
        Terminal { master: master.into(), child, seen: String::new() }
    }

    fn kind(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until `word` has come; what came up to it is gone then. `None` is the terminal's end.
    fn read_until(&mut self, word: Option<&str>) -> String {
        loop {
            if let Some(word) = word
                && let Some(at) = self.seen.find(word)
            {
                return self.seen.drain(..at + word.len()).collect();
            }
            let timeout = PollTimeout::try_from(PATIENCE).unwrap();
            let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, timeout).unwrap();
            assert!(ready > 0, "{word:?} did not come: {}", self.seen);
            let mut buffer = [0; 4096];
            // EIO: nobody has the other side open any more.
            let count = self.master.read(&mut buffer).unwrap_or(0);
            if count == 0 {
                assert!(word.is_none(), "{word:?} did not come: {}", self.seen);
                return std::mem::take(&mut self.seen);
            }
            self.seen.push_str(&text(&buffer[..count]));
        }
    }

    /// Whether `word` comes within `limit`.
    fn comes(&mut self, word: &str, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while !self.seen.contains(word) {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap();
            let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, timeout).unwrap() == 0 {
                return false;
            }
            let mut buffer = [0; 4096];
            let count = self.master.read(&mut buffer).unwrap();
            self.seen.push_str(&text(&buffer[..count]));
        }
        true
    }

    fn expect(&mut self, word: &str) {
        self.read_until(Some(word));
    }

    /// The exit code, once the client has closed the terminal, and what it said at last.
    fn end(mut self) -> (i32, String) {
        let rest = self.read_until(None);
        (self.child.wait().unwrap().code().unwrap(), rest)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn standard_input_goes_in_and_its_end_too() {
    with_both(|cli| {
        let mut command = cli.command(&["run", "--rm", "-i", "busybox", "md5sum"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // More than all the buffers on the way hold.
        let bytes = vec![b'x'; 3 << 20];
        stdin.write_all(&bytes).unwrap();
        drop(stdin);
        let told = child.wait_with_output().unwrap();
        assert!(told.status.success());
        assert_eq!(text(&told.stdout), "c1887f0c970afa48194adf7f5c504696  -\n");
    });
}

#[test]
fn without_i_standard_input_is_empty() {
    with_both(|cli| {
        let mut command = cli.command(&["run", "--rm", "busybox", "cat"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let told = child.wait_with_output().unwrap();
        drop(stdin);
        assert!(told.status.success() && told.stdout.is_empty());
    });
}

#[test]
fn exec_takes_standard_input() {
    with_both(|cli| {
        cli.run(&["run", "-d", "--name", "xe", "busybox", "sleep", "600"]);
        let mut command = cli.command(&["exec", "-i", "xe", "tr", "a-z", "A-Z"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"loud\n").unwrap();
        let told = child.wait_with_output().unwrap();
        assert_eq!((text(&told.stdout).as_str(), told.status.code()), ("LOUD\n", Some(0)));
        cli.run(&["rm", "-f", "xe"]);
    });
}

#[test]
fn a_shell_on_a_terminal_has_its_size_and_follows_it() {
    with_both(|cli| {
        let script = "tty; while read line; do eval \"$line\"; done";
        let words = ["run", "--rm", "-it", "--name", "xt", "busybox", "sh", "-c", script];
        let mut terminal = Terminal::start(cli, &words);
        terminal.expect("/dev/pts/0\r\n");
        // The client tells the size once the container runs, which may be after its first output.
        terminal.kind("until [ \"$(stty size)\" = '30 90' ]; do sleep 0.01; done; echo s''ized\r");
        terminal.expect("sized\r\n");
        terminal
            .kind("until [ \"$(stty size)\" = '41 101' ]; do sleep 0.01; done; echo re''sized\r");
        // Docker's client begins to listen for changes a moment after it has told the first size, and
        // misses one that comes between: the change is made again until it is followed.
        let end = Instant::now() + PATIENCE;
        loop {
            pty::resize(&terminal.master, 100, 40).unwrap();
            pty::resize(&terminal.master, 101, 41).unwrap();
            if terminal.comes("resized\r\n", Duration::from_secs(1)) {
                break;
            }
            assert!(Instant::now() < end, "the new size did not arrive: {}", terminal.seen);
        }
        terminal.expect("resized\r\n");

        let mut second = Terminal::start(cli, &["exec", "-it", "xt", "sh"]);
        second.expect("# ");
        second.kind("tty; exit 3\r");
        second.expect("/dev/pts/1");
        assert_eq!(second.end().0, 3);

        terminal.kind("exit 5\r");
        assert_eq!(terminal.end().0, 5);
    });
}

#[test]
fn detach_keys_leave_the_container_running() {
    with_both(|cli| {
        let mut terminal = Terminal::start(cli, &["run", "-it", "--name", "xd", "busybox", "sh"]);
        terminal.expect("# ");
        terminal.kind("x=kept\r");
        terminal.expect("# ");
        // ctrl-p, ctrl-q
        terminal.kind("\u{10}\u{11}");
        let (code, told) = terminal.end();
        assert_eq!(code, 0, "{told}");
        assert_eq!(cli.inspect("xd", "{{.State.Running}}"), "true");

        let mut terminal = Terminal::start(cli, &["attach", "--detach-keys", "ctrl-a,z", "xd"]);
        terminal.kind("echo $x$x\r");
        terminal.expect("keptkept\r\n");
        terminal.kind("\u{1}z");
        let (_, told) = terminal.end();
        assert!(told.contains("read escape sequence"), "{told}");
        assert_eq!(cli.inspect("xd", "{{.State.Running}}"), "true");

        let mut terminal = Terminal::start(cli, &["attach", "xd"]);
        terminal.kind("exit 8\r");
        assert_eq!(terminal.end().0, 8);
        cli.run(&["rm", "xd"]);
    });
}

#[test]
fn signals_of_the_client_reach_the_container() {
    with_both(|cli| {
        let script = "trap 'exit 6' TERM; echo ready; sleep 600 & wait";
        let mut command = cli.command(&["run", "--rm", "busybox", "sh", "-c", script]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut word = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
        assert_eq!(&word, b"ready\n");
        crate::support::run(Command::new("kill").args(["-TERM", &child.id().to_string()]));
        assert_eq!(child.wait().unwrap().code(), Some(6));
    });
}
