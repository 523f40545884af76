//! Logs that Docker's daemon wrote are read here, and it reads what is written here, with rotated and compressed parts.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use multi_core::logs::{self, Format, Options, Settings, Stream, Writer};
use support::{Scratch, run, text};

/// Runs a daemon of Docker on `$DIR/root` in namespaces of its own while `$WORK` runs as a script.
const DAEMON: &str = r#"
mount -t tmpfs tmpfs /run
mkdir -p "$DIR/exec"
echo '{}' >"$DIR/daemon.json"
dockerd --config-file "$DIR/daemon.json" --data-root "$DIR/root" --exec-root "$DIR/exec" \
    -H "unix://$DIR/sock" --pidfile "$DIR/pid" --iptables=false --bridge=none -s vfs >>"$DIR/log" 2>&1 &
daemon=$!
export DOCKER_HOST="unix://$DIR/sock"
until docker version >/dev/null 2>&1; do
    kill -0 $daemon || { tail "$DIR/log" >&2; exit 1; }
    read -rt 0.1 <> <(:) || :
done
cd "$DIR"
tell() {
    docker logs $1 >$1.out 2>$1.err
    docker logs -t $1 >$1.stamps 2>/dev/null
    docker logs --tail 700 $1 >$1.tail 2>/dev/null
}
bash -ec "$(declare -f tell); $WORK"
kill $daemon
wait $daemon || :
"#;

const MAKE: &str = r#"
mkdir -p fs/bin
cp /bin/busybox fs/bin/sh
tar -C fs -c . | docker import - base >/dev/null
script='seq 1 3000; echo oops >&2; head -c 40000 /dev/zero | tr "\0" x; echo; printf "\377<&>end"'
bound="--log-opt max-size=50k --log-opt max-file=4 --log-opt compress=true"
for driver in json-file local; do
    docker run --name $driver --network none --log-driver $driver $bound \
        base sh -c "$script" >/dev/null 2>&1
    tell $driver
done
docker inspect -f '{{.Id}}' json-file >id
docker inspect -f '{{.Id}}' local >>id
"#;

const LOOK: &str = "tell json-file; tell local";

fn dockerd(dir: &Scratch, work: &str) {
    run(Command::new("unshare")
        .args(["-mnpf", "--mount-proc", "--propagation", "private", "bash", "-ec", DAEMON])
        .env("DIR", dir.path())
        .env("WORK", work));
}

/// What `docker logs` shows of a log: everything of one stream, or the last entries with their times.
fn shown(path: &Path, format: Format, stream: Stream, stamps: bool, tail: Option<usize>) -> String {
    let mut out = Vec::new();
    let options = Options { tail, ..Options::default() };
    logs::read(path, format, &options, &mut |entry| {
        if entry.stream == stream {
            if stamps {
                out.extend_from_slice(entry.time.fixed_nanos().as_bytes());
                out.push(b' ');
            }
            out.extend_from_slice(entry.bytes);
        }
        Ok(())
    })
    .unwrap();
    text(&out)
}

fn assert_same(dir: &Scratch, name: &str, path: &Path, format: Format) {
    // The reader of Docker 20.10 forgets the newline of a line that was cut, in this format.
    let even = |out: String| match format {
        Format::Json => out,
        Format::Local => out.replace("xx\n", "xx").replace("yy\n", "yy"),
    };
    let file = |kind: &str| text(&std::fs::read(dir.join(format!("{name}.{kind}"))).unwrap());
    for (kind, stream, stamps, tail) in [
        ("out", Stream::Stdout, false, None),
        ("err", Stream::Stderr, false, None),
        ("stamps", Stream::Stdout, true, None),
        ("tail", Stream::Stdout, false, Some(700)),
    ] {
        let ours = even(shown(path, format, stream, stamps, tail));
        let theirs = even(file(kind));
        let same = theirs.bytes().zip(ours.bytes()).take_while(|(a, b)| a == b).count();
        assert!(
            theirs == ours,
            "{name} {kind}: {} and {} bytes, {:?} and {:?}",
            theirs.len(),
            ours.len(),
            text(&theirs.as_bytes()[same..]),
            text(&ours.as_bytes()[same..])
        );
    }
}

#[test]
fn logs_are_read_and_written_on_with_either_daemon() {
    let dir = Scratch::new("ls");
    dockerd(&dir, MAKE);
    let ids = std::fs::read_to_string(dir.join("id")).unwrap();
    let log =
        |id: &str, name: String| -> PathBuf { dir.join(format!("root/containers/{id}/{name}")) };
    let mut ids = ids.lines();
    let json = ids.next().unwrap();
    let json = log(json, format!("{json}-json.log"));
    let local = log(ids.next().unwrap(), "local-logs/container.log".into());
    for (name, path, format) in
        [("json-file", &json, Format::Json), ("local", &local, Format::Local)]
    {
        assert!(path.exists(), "{}", path.display());
        let out = shown(path, format, Stream::Stdout, false, None);
        assert!(
            out.contains("\n3000\nxxx") && out.ends_with("<&>end"),
            "{name}: {} bytes",
            out.len()
        );
        assert_same(&dir, name, path, format);

        let options = [("max-size", "50k"), ("max-file", "4"), ("compress", "true")];
        let options = options.map(|(k, v)| (k.to_string(), v.to_string())).into();
        let settings = Settings::parse(format, &options).unwrap();
        let mut writer = Writer::open(path, format, settings, &BTreeMap::new()).unwrap();
        for n in 0..2000 {
            writer.write(Stream::Stdout, format!("more {n}\n").as_bytes()).unwrap();
        }
        writer.write(Stream::Stderr, &[&[b'y'; 20_000][..], b"\n"].concat()).unwrap();
        writer.write(Stream::Stdout, b"\xffrest").unwrap();
        writer.finish(Stream::Stdout).unwrap();
    }
    dockerd(&dir, LOOK);
    assert_same(&dir, "json-file", &json, Format::Json);
    assert_same(&dir, "local", &local, Format::Local);
    for name in ["json-file", "local"] {
        let out = text(&std::fs::read(dir.join(format!("{name}.out"))).unwrap());
        assert!(out.contains("\nmore 1999\n") && out.ends_with("rest"), "{name}");
    }
}
