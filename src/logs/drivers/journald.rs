//! The driver journald: a datagram of fields for each message, or a memfd where it is too long for one.
//!
//! Spec: Docker documentation "Journald logging driver"; systemd "Native Journal Protocol".

use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::base::{Error, Kind, Result, id};
use crate::sys::{memfd, random, scm};

use super::super::options::Map;
use super::super::{Config, Stream};
use super::{ATTRIBUTES, Def, Message, Opens, Remote, unknown};

pub(super) const DEF: Def = Def {
    name: "journald",
    about: "Writes messages to the journal of systemd.",
    options: &[&ATTRIBUTES],
    check,
    opens: Opens::Remote(open),
    default_tag: "{{.ID}}",
};

const SOCKET: &str = "/run/systemd/journal/socket";

fn check(options: &Map) -> Result<()> {
    unknown(options, DEF.options, |key| format!("unknown log opt '{key}' for journald log driver"))
}

fn open(config: &Config) -> Result<Box<dyn Remote>> {
    Ok(Box::new(Journal::connect(config, Path::new(SOCKET))?))
}

struct Journal {
    socket: UnixDatagram,
    /// The fields that all messages have.
    fields: Vec<u8>,
    ordinal: u64,
    out: Vec<u8>,
}

impl Journal {
    fn connect(config: &Config, path: &Path) -> Result<Journal> {
        let socket = UnixDatagram::unbound()?;
        socket
            .connect(path)
            .map_err(|_| Error::new(Kind::Io, "journald is not enabled on this host"))?;
        let container = config.container.clone().unwrap_or_default();
        let mut fields = Vec::new();
        let epoch = random::id();
        let own = [
            ("CONTAINER_ID", id::short(&container.id)),
            ("CONTAINER_ID_FULL", &container.id),
            ("CONTAINER_NAME", container.name.trim_start_matches('/')),
            ("CONTAINER_TAG", &config.tag),
            ("IMAGE_NAME", &container.image_name),
            ("SYSLOG_IDENTIFIER", &config.tag),
            ("CONTAINER_LOG_EPOCH", &epoch),
        ];
        let attrs: Vec<(String, &str)> =
            config.attrs.iter().map(|(key, value)| (field_name(key), value.as_str())).collect();
        for (name, value) in own {
            // The user's choice takes the place of ours.
            if !attrs.iter().any(|(key, _)| key == name) {
                field(&mut fields, name, value.as_bytes());
            }
        }
        for (name, value) in &attrs {
            field(&mut fields, name, value.as_bytes());
        }
        Ok(Journal { socket, fields, ordinal: 0, out: Vec::new() })
    }

    /// The fields of a message, in `self.out`.
    fn write(&mut self, message: &Message<'_>) {
        self.ordinal += 1;
        let out = &mut self.out;
        out.clear();
        let priority = match message.stream {
            Stream::Stdout => "6",
            Stream::Stderr => "3",
        };
        field(out, "PRIORITY", priority.as_bytes());
        field(out, "MESSAGE", message.line);
        out.extend_from_slice(&self.fields);
        field(out, "SYSLOG_TIMESTAMP", message.time.to_string().as_bytes());
        if let Some(partial) = &message.partial {
            field(out, "CONTAINER_PARTIAL_ID", partial.id.as_bytes());
            field(out, "CONTAINER_PARTIAL_ORDINAL", partial.ordinal.to_string().as_bytes());
            field(out, "CONTAINER_PARTIAL_LAST", partial.last.to_string().as_bytes());
            if !partial.last {
                field(out, "CONTAINER_PARTIAL_MESSAGE", b"true");
            }
        }
        field(out, "CONTAINER_LOG_ORDINAL", self.ordinal.to_string().as_bytes());
    }
}

impl Remote for Journal {
    fn send(&mut self, message: &Message<'_>) -> Result<()> {
        self.write(message);
        let Err(e) = scm::send(&self.socket, &self.out, &[]) else { return Ok(()) };
        if !matches!(e.errno(), Some(libc::EMSGSIZE | libc::ENOBUFS)) {
            return Err(e);
        }
        // Sealed, or the journal would not map it.
        let long = memfd::sealed(c"journal", &self.out)?;
        scm::send(&self.socket, b"", &[long.as_fd()])
    }
}

/// The name of a label or a variable as the journal takes it: capitals, digits and underscores, none at the start.
fn field_name(key: &str) -> String {
    let changed = key.chars().map(|c| match c {
        'a'..='z' => c.to_ascii_uppercase(),
        'A'..='Z' | '0'..='9' => c,
        _ => '_',
    });
    changed.skip_while(|c| *c == '_').collect()
}

/// `NAME=value`, or where the value has several lines, name, length and value.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::super::super::About;
    use super::super::super::split::Partial;
    use super::*;
    use crate::base::time::Timestamp;

    #[test]
    fn fields_are_dockers_and_long_messages_travel_in_a_memfd() {
        let dir = std::env::temp_dir().join(format!("multi-journal-{:x}", random::u64()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let attrs = [("com.x/a-b", "1"), ("__y", "two\nlines"), ("IMAGE_NAME", "mine")];
        let config = Config {
            tag: "t".into(),
            attrs: attrs.map(|(k, v)| (k.to_string(), v.to_string())).into(),
            container: Some(About {
                id: "0123456789abcdef".into(),
                name: "/web".into(),
                image_name: "busybox".into(),
                ..About::default()
            }),
            ..Config::default()
        };
        let mut driver = Journal::connect(&config, &path).unwrap();
        let message = |line, partial| Message {
            time: Timestamp::from_secs(1_767_323_045),
            stream: Stream::Stderr,
            line,
            partial,
        };
        let partial = Some(Partial { id: "abc", ordinal: 2, last: false });
        driver.send(&message(b"he\xffllo", partial)).unwrap();
        let mut buffer = vec![0; 1 << 20];
        let length = journal.recv(&mut buffer).unwrap();
        let got = &buffer[..length];
        assert!(got.starts_with(b"PRIORITY=3\nMESSAGE=he\xffllo\nCONTAINER_ID=0123456789ab\n"));
        let text = String::from_utf8_lossy(got).into_owned();
        for line in [
            "CONTAINER_ID_FULL=0123456789abcdef\n",
            "CONTAINER_NAME=web\n",
            "CONTAINER_TAG=t\n",
            "SYSLOG_IDENTIFIER=t\n",
            "\nIMAGE_NAME=mine\n",
            "\nCOM_X_A_B=1\n",
            "\nY\n\u{9}\0\0\0\0\0\0\0two\nlines\n",
            "SYSLOG_TIMESTAMP=2026-01-02T03:04:05Z\n",
            "CONTAINER_PARTIAL_ID=abc\nCONTAINER_PARTIAL_ORDINAL=2\nCONTAINER_PARTIAL_LAST=false\n",
            "CONTAINER_PARTIAL_MESSAGE=true\n",
            "CONTAINER_LOG_ORDINAL=1\n",
        ] {
            assert!(text.contains(line), "{line:?} in {text:?}");
        }
        assert!(!text.contains("busybox"));

        let long = vec![b'x'; 1 << 20];
        driver.send(&message(&long, None)).unwrap();
        let (length, fds) = scm::receive(&journal, &mut buffer, true).unwrap();
        assert_eq!((length, fds.len()), (0, 1));
        let sent = memfd::read_all(&fds[0], 2 << 20).unwrap();
        assert!(sent.windows(long.len()).any(|part| part == long));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn without_a_journal_there_is_no_log() {
        let gone = Path::new("/nosuch/journal");
        let e = Journal::connect(&Config::default(), gone).err().unwrap();
        assert_eq!(e.to_string(), "journald is not enabled on this host");
        let options = [("max-size".to_string(), "1".to_string())].into();
        let e = check(&options).unwrap_err().to_string();
        assert_eq!(e, "unknown log opt 'max-size' for journald log driver");
    }
}
