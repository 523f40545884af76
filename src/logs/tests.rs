//! Writer and reader against each other, through rotation, cuts and ends.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::mpsc;

use super::*;
use crate::base::cancel::Cancel;
use crate::base::time::Timestamp;

/// A directory for one log, removed at the end.
struct Dir(PathBuf, Format);

impl Dir {
    fn new() -> Dir {
        Dir::of(Format::Json)
    }

    fn of(format: Format) -> Dir {
        let dir = std::env::temp_dir().join(format!("multi-logs-{:x}", crate::sys::random::u64()));
        fs::create_dir_all(&dir).unwrap();
        Dir(dir, format)
    }

    fn log(&self) -> PathBuf {
        self.0.join("x-json.log")
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn writer(&self, options: &[(&str, &str)]) -> Writer {
        let settings = Settings::parse(self.1, &map(options)).unwrap();
        Writer::open(&self.log(), self.1, settings, &BTreeMap::new()).unwrap()
    }

    fn read(&self, options: &Options) -> Vec<String> {
        let mut lines = Vec::new();
        read(&self.log(), self.1, options, &mut |entry| {
            lines.push(String::from_utf8(entry.bytes.to_vec()).unwrap());
            Ok(())
        })
        .unwrap();
        lines
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("line {n}\n")).collect()
}

fn write_numbered(writer: &mut Writer, range: std::ops::Range<usize>) {
    for line in numbered(range) {
        writer.write(Stream::Stdout, line.as_bytes()).unwrap();
    }
}

#[test]
fn what_is_written_in_pieces_is_read_as_lines() {
    let dir = Dir::new();
    let settings = Settings::parse(Format::Json, &map(&[])).unwrap();
    let attrs = map(&[("tag", "a b"), ("k", "v,=")]);
    let mut writer = Writer::open(&dir.log(), Format::Json, settings, &attrs).unwrap();
    for piece in [&b"hel"[..], b"lo\nwor", b"ld\n\n", b"end"] {
        writer.write(Stream::Stdout, piece).unwrap();
    }
    writer.write(Stream::Stderr, b"oops\n").unwrap();
    writer.finish(Stream::Stdout).unwrap();
    assert_eq!(dir.read(&Options::default()), ["hello\n", "world\n", "\n", "oops\n", "end"]);
    let only_errors = Options { stdout: false, ..Options::default() };
    let mut seen = 0;
    read(&dir.log(), dir.1, &only_errors, &mut |entry| {
        assert_eq!((entry.stream, entry.bytes), (Stream::Stderr, &b"oops\n"[..]));
        assert_eq!(entry.details(), "k=v%2C%3D,tag=a+b");
        seen += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, 1);
    let text = fs::read_to_string(dir.log()).unwrap();
    let first = r#"{"log":"hello\n","stream":"stdout","attrs":{"k":"v,=","tag":"a b"},"time":""#;
    assert!(text.starts_with(first), "{text}");
}

#[test]
fn long_lines_are_cut_at_16_kib_as_docker_cuts_them() {
    let dir = Dir::new();
    let mut writer = dir.writer(&[]);
    let long = "x".repeat(40_000) + "\n";
    for chunk in long.as_bytes().chunks(7001) {
        writer.write(Stream::Stdout, chunk).unwrap();
    }
    writer.write(Stream::Stdout, &[b"y".repeat(16_384), b"\n".to_vec()].concat()).unwrap();
    // A character across the border stays whole.
    let wide = "a".to_string() + &"\u{20ac}".repeat(6000) + "\n";
    writer.write(Stream::Stdout, wide.as_bytes()).unwrap();
    let got = dir.read(&Options::default());
    let lengths: Vec<usize> = got.iter().map(String::len).collect();
    assert_eq!(lengths[..5], [16_384, 16_384, 7233, 16_384, 1]);
    assert_eq!(got[..3].concat(), long);
    assert_eq!(got[5..].concat(), wide);
    let mut times = Vec::new();
    read(&dir.log(), dir.1, &Options { tail: Some(7), ..Options::default() }, &mut |e| {
        times.push(e.time);
        Ok(())
    })
    .unwrap();
    // All pieces of a line have the time of its first.
    assert!(times[0] == times[1] && times[1] == times[2]);
}

#[test]
fn rotation_keeps_the_newest_files_and_tail_reads_across_them() {
    for compress in ["false", "true"] {
        let dir = Dir::new();
        let options = [("max-size", "2k"), ("max-file", "3"), ("compress", compress)];
        let mut writer = dir.writer(&options);
        write_numbered(&mut writer, 0..100);
        drop(writer);
        let suffix = if compress == "true" { ".gz" } else { "" };
        let expected = ["".into(), format!(".1{suffix}"), format!(".2{suffix}")];
        assert_eq!(dir.names(), expected.map(|s| format!("x-json.log{s}")));
        let all = dir.read(&Options::default());
        assert_eq!(all, numbered(100 - all.len()..100), "{compress}");
        assert!(all.len() > 40 && all.len() < 100, "{}", all.len());
        for tail in [0, 1, 5, 30, all.len(), 1000] {
            let got = dir.read(&Options { tail: Some(tail), ..Options::default() });
            assert_eq!(got, all[all.len() - tail.min(all.len())..], "{compress} {tail}");
        }
        // The next writer goes on where this one stopped.
        write_numbered(&mut dir.writer(&options), 100..101);
        assert_eq!(dir.read(&Options { tail: Some(2), ..Options::default() }), numbered(99..101));
    }
}

#[test]
fn one_file_starts_anew_when_it_is_full() {
    let dir = Dir::new();
    let mut writer = dir.writer(&[("max-size", "1k")]);
    write_numbered(&mut writer, 0..100);
    assert_eq!(dir.names(), ["x-json.log"]);
    assert!(fs::metadata(dir.log()).unwrap().len() < 1200);
    assert_eq!(dir.read(&Options::default()).last().unwrap(), "line 99\n");
}

#[test]
fn since_and_until_choose_by_time() {
    let dir = Dir::new();
    let entry = |n: u32| {
        format!(
            "{{\"log\":\"{n}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:{n:02}Z\"}}\n"
        )
    };
    fs::write(dir.log(), (0..10).map(entry).collect::<String>()).unwrap();
    let at = |n: u32| Timestamp::parse(&format!("2026-01-01T00:00:{n:02}Z")).ok();
    let options = Options { since: at(3), until: at(5), ..Options::default() };
    assert_eq!(dir.read(&options), ["3\n", "4\n", "5\n"]);
    let options = Options { tail: Some(2), until: at(8), ..Options::default() };
    assert_eq!(dir.read(&options), ["8\n"]);
}

#[test]
fn a_line_cut_by_a_crash_is_skipped_and_ended_by_the_next_writer() {
    let dir = Dir::new();
    write_numbered(&mut dir.writer(&[]), 0..3);
    let whole = fs::read(dir.log()).unwrap();
    let second_end =
        whole.len() - 1 - whole[..whole.len() - 1].iter().rev().position(|b| *b == b'\n').unwrap();
    for cut in second_end + 1..whole.len() {
        fs::write(dir.log(), &whole[..cut]).unwrap();
        let before = dir.read(&Options::default());
        // All but the newline is a whole entry.
        assert_eq!(before, numbered(0..if cut + 1 == whole.len() { 3 } else { 2 }), "{cut}");
        write_numbered(&mut dir.writer(&[]), 7..8);
        let after = dir.read(&Options::default());
        assert_eq!(after, [before, numbered(7..8)].concat(), "{cut}");
        assert_eq!(dir.read(&Options { tail: Some(1), ..Options::default() }), numbered(7..8));
    }
}

#[test]
fn rubbish_never_panics_and_hides_no_later_line() {
    let dir = Dir::new();
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let pieces: [&[u8]; 9] = [
        b"{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00Z\"}",
        b"\n",
        b"\"",
        b"{",
        b"\\u",
        b"\0\0",
        b"\xff\xfe",
        b"{\"log\":",
        b"time\":\"2026-13-99T99:00:00Z",
    ];
    for _ in 0..300 {
        let mut bytes: Vec<u8> = Vec::new();
        for _ in 0..next() % 30 {
            bytes.extend_from_slice(pieces[(next() % 9) as usize]);
        }
        fs::write(dir.log(), &bytes).unwrap();
        write_numbered(&mut dir.writer(&[]), 1..2);
        assert_eq!(dir.read(&Options::default()).last().unwrap(), "line 1\n");
        let tail = dir.read(&Options { tail: Some(1), ..Options::default() });
        assert_eq!(tail, ["line 1\n"]);
    }
}

/// Follows the log of `dir` on a thread; lines arrive on the channel.
fn follow(dir: &Dir, options: Options) -> (mpsc::Receiver<String>, std::thread::JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel();
    let (path, format) = (dir.log(), dir.1);
    let thread = std::thread::spawn(move || {
        let result = read(&path, format, &options, &mut |entry| {
            let _ = sender.send(String::from_utf8(entry.bytes.to_vec()).unwrap());
            Ok(())
        });
        assert!(result.is_ok() || options.cancel.is_cancelled(), "{result:?}");
    });
    (receiver, thread)
}

#[test]
fn following_gives_every_line_through_rotations_until_the_end() {
    for compress in ["false", "true"] {
        let dir = Dir::new();
        let finished = Cancel::new();
        let options = Options { follow: Some(finished.clone()), ..Options::default() };
        // Followed before the file is there.
        let (lines, thread) = follow(&dir, options.clone());
        let options = [("max-size", "4k"), ("max-file", "4"), ("compress", compress)];
        let mut writer = dir.writer(&options);
        let mut got = Vec::new();
        // The reader keeps within the parts that are kept, as it must to lose nothing.
        for start in (0..2000).step_by(50) {
            write_numbered(&mut writer, start..start + 50);
            while got.len() < start {
                got.push(lines.recv().unwrap());
            }
        }
        writer.write(Stream::Stdout, b"last").unwrap();
        writer.finish(Stream::Stdout).unwrap();
        finished.cancel();
        thread.join().unwrap();
        got.extend(lines.try_iter());
        let mut expected = numbered(0..2000);
        expected.push("last".into());
        assert_eq!(got, expected, "{compress}");
    }
}

#[test]
fn following_starts_at_the_tail_and_survives_truncation() {
    let dir = Dir::new();
    let mut writer = dir.writer(&[("max-size", "1k")]);
    write_numbered(&mut writer, 0..5);
    let finished = Cancel::new();
    let options = Options { follow: Some(finished.clone()), tail: Some(2), ..Options::default() };
    let (lines, thread) = follow(&dir, options);
    assert_eq!(
        (lines.recv().unwrap(), lines.recv().unwrap()),
        ("line 3\n".into(), "line 4\n".into())
    );
    for n in 5..200 {
        write_numbered(&mut writer, n..n + 1);
        assert_eq!(lines.recv().unwrap(), format!("line {n}\n"));
    }
    finished.cancel();
    thread.join().unwrap();
}

#[test]
fn following_waits_for_the_rest_of_a_line_and_ends_when_cancelled() {
    let dir = Dir::new();
    let text = "{\"log\":\"one\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00Z\"}\n";
    let (first, second) = text.split_at(20);
    fs::write(dir.log(), first).unwrap();
    let options = Options { follow: Some(Cancel::new()), ..Options::default() };
    let cancel = options.cancel.clone();
    let (lines, thread) = follow(&dir, options);
    let mut file = OpenOptions::new().append(true).open(dir.log()).unwrap();
    file.write_all(second.as_bytes()).unwrap();
    assert_eq!(lines.recv().unwrap(), "one\n");
    cancel.cancel();
    thread.join().unwrap();
}

#[test]
fn following_ends_by_itself_at_until() {
    let dir = Dir::new();
    write_numbered(&mut dir.writer(&[]), 0..1);
    let until = Timestamp::now().minus_ns(-50_000_000);
    let options = Options { follow: Some(Cancel::new()), until: Some(until), ..Options::default() };
    assert_eq!(dir.read(&options), numbered(0..1));
}

#[test]
fn a_full_disk_loses_lines_but_not_the_log() {
    // /dev/full stands for the disk.
    let settings = Settings::parse(Format::Json, &map(&[])).unwrap();
    let full = std::path::Path::new("/dev/full");
    let mut writer = Writer::open(full, Format::Json, settings, &map(&[])).unwrap();
    let e = writer.write(Stream::Stdout, b"x\n").unwrap_err();
    assert_eq!(e.errno(), Some(libc::ENOSPC));
    assert_eq!(writer.write(Stream::Stdout, b"y\n").unwrap_err().errno(), Some(libc::ENOSPC));
}

#[test]
fn a_log_that_does_not_exist_or_is_no_file_is_empty() {
    let dir = Dir::new();
    assert!(dir.read(&Options::default()).is_empty());
    nix::unistd::mkfifo(&dir.log(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(dir.read(&Options { tail: Some(5), ..Options::default() }).is_empty());
}

#[test]
fn compressed_parts_are_gzip_with_the_time_of_their_last_entry() {
    let dir = Dir::new();
    let mut writer = dir.writer(&[("max-size", "1k"), ("max-file", "2"), ("compress", "true")]);
    write_numbered(&mut writer, 0..20);
    drop(writer);
    let file = fs::File::open(dir.0.join("x-json.log.1.gz")).unwrap();
    let mut head = Vec::new();
    file.take(12 + 50).read_to_end(&mut head).unwrap();
    assert!(String::from_utf8_lossy(&head).contains("{\"lastTime\":\"20"));
    // Nothing of that part is wanted, so it is not even opened.
    let since = Timestamp::now().minus_ns(-1_000_000_000);
    assert!(dir.read(&Options { since: Some(since), ..Options::default() }).is_empty());
}

#[test]
fn the_local_format_is_written_rotated_and_read() {
    for (compress, suffix) in [("false", ""), ("true", ".gz")] {
        let dir = Dir::of(Format::Local);
        let options = [("max-size", "50k"), ("max-file", "3"), ("compress", compress)];
        let mut writer = dir.writer(&options);
        write_numbered(&mut writer, 0..5000);
        let long = "x".repeat(40_000) + "\n";
        writer.write(Stream::Stderr, long.as_bytes()).unwrap();
        writer.write(Stream::Stdout, b"\xff\0end").unwrap();
        writer.finish(Stream::Stdout).unwrap();
        drop(writer);
        let expected = ["".into(), format!(".1{suffix}"), format!(".2{suffix}")];
        assert_eq!(dir.names(), expected.map(|s| format!("x-json.log{s}")));
        let mut all = Vec::new();
        read(&dir.log(), dir.1, &Options::default(), &mut |e| {
            all.push(e.bytes.to_vec());
            Ok(())
        })
        .unwrap();
        assert_eq!(all.last().unwrap(), b"\xff\0end");
        let lines = all.len() - 4;
        assert_eq!(all[lines..lines + 3].concat(), long.as_bytes());
        let mut tail = Vec::new();
        let options = Options { tail: Some(lines + 2), ..Options::default() };
        read(&dir.log(), dir.1, &options, &mut |e| {
            tail.push(e.bytes.to_vec());
            Ok(())
        })
        .unwrap();
        assert_eq!(tail, all[2..], "{compress}");
    }
}

#[test]
fn a_local_record_cut_by_a_crash_is_skipped_and_cut_off_by_the_next_writer() {
    let dir = Dir::of(Format::Local);
    write_numbered(&mut dir.writer(&[]), 0..3);
    let whole = fs::read(dir.log()).unwrap();
    for cut in whole.len() * 2 / 3 + 1..whole.len() {
        fs::write(dir.log(), &whole[..cut]).unwrap();
        assert_eq!(dir.read(&Options::default()), numbered(0..2), "{cut}");
        assert_eq!(dir.read(&Options { tail: Some(1), ..Options::default() }), numbered(1..2));
        write_numbered(&mut dir.writer(&[]), 7..8);
        let expected = [numbered(0..2), numbered(7..8)].concat();
        assert_eq!(dir.read(&Options::default()), expected, "{cut}");
    }
    // A hole in the middle: what is before and behind it is read.
    let mut damaged = whole.clone();
    let third = whole.len() / 3;
    damaged[third..2 * third].fill(0);
    fs::write(dir.log(), &damaged).unwrap();
    let expected = [numbered(0..1), numbered(2..3)].concat();
    assert_eq!(dir.read(&Options::default()), expected);
    assert_eq!(dir.read(&Options { tail: Some(2), ..Options::default() }), expected);
}

#[test]
fn following_the_local_format_gives_every_line_through_rotations() {
    let dir = Dir::of(Format::Local);
    let finished = Cancel::new();
    let (lines, thread) =
        follow(&dir, Options { follow: Some(finished.clone()), ..Options::default() });
    let mut writer = dir.writer(&[("max-size", "4k"), ("max-file", "4")]);
    let mut got = Vec::new();
    for start in (0..2000).step_by(50) {
        write_numbered(&mut writer, start..start + 50);
        while got.len() < start {
            got.push(lines.recv().unwrap());
        }
    }
    finished.cancel();
    thread.join().unwrap();
    got.extend(lines.try_iter());
    assert_eq!(got, numbered(0..2000));
}
