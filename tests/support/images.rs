//! Images made from this machine's Debian: in memory, as OCI layouts, from packages.
//!
//! Expensive ones are kept below cargo's target directory and made once for all tests and runs.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use multi_core::base::digest::Digest;
use multi_core::registry::manifest;

use super::{cache_dir, output, run, text};

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    None,
    Gzip,
    Zstd,
}

/// The media types of a manifest and its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Docker,
    Oci,
}

/// One layer: the tar archive and the blob that it travels as.
#[derive(Clone)]
pub struct Layer {
    pub tar: Vec<u8>,
    pub blob: Vec<u8>,
    pub packing: Packing,
}

impl Layer {
    pub fn new(tar: Vec<u8>, packing: Packing) -> Layer {
        let blob = match packing {
            Packing::None => tar.clone(),
            Packing::Gzip => {
                let level = flate2::Compression::fast();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(&tar).unwrap();
                encoder.finish().unwrap()
            }
            Packing::Zstd => zstd::encode_all(&tar[..], 1).unwrap(),
        };
        Layer { tar, blob, packing }
    }

    pub fn digest(&self) -> String {
        Digest::of(&self.blob).to_string()
    }

    pub fn diff_id(&self) -> String {
        Digest::of(&self.tar).to_string()
    }

    fn media_type(&self, style: Style) -> &'static str {
        match (style, self.packing) {
            (Style::Docker, Packing::None) => "application/vnd.docker.image.rootfs.diff.tar",
            (Style::Docker, Packing::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Style::Docker, Packing::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
            (Style::Oci, Packing::None) => "application/vnd.oci.image.layer.v1.tar",
            (Style::Oci, Packing::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Style::Oci, Packing::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// An image with all its parts in memory.
#[derive(Clone)]
pub struct TestImage {
    pub layers: Vec<Layer>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
    pub style: Style,
}

impl TestImage {
    /// An image for this machine. `run` is the JSON object of the config's `config` member.
    pub fn new(layers: Vec<Layer>, style: Style, run: &str) -> TestImage {
        TestImage::for_platform(layers, style, run, "linux", architecture())
    }

    pub fn for_platform(
        layers: Vec<Layer>,
        style: Style,
        run: &str,
        os: &str,
        architecture: &str,
    ) -> TestImage {
        let diff_ids: Vec<String> = layers.iter().map(|l| format!("\"{}\"", l.diff_id())).collect();
        let history =
            vec![r#"{"created":"2026-01-01T00:00:00Z","created_by":"test"}"#; layers.len()];
        let config = format!(
            r#"{{"created":"2026-01-01T00:00:00Z","architecture":"{architecture}","os":"{os}","config":{run},"rootfs":{{"type":"layers","diff_ids":[{}]}},"history":[{}]}}"#,
            diff_ids.join(","),
            history.join(",")
        )
        .into_bytes();
        let (manifest_type, config_type) = match style {
            Style::Docker => (manifest::DOCKER_MANIFEST, manifest::DOCKER_CONFIG),
            Style::Oci => (manifest::OCI_MANIFEST, manifest::OCI_CONFIG),
        };
        let parts: Vec<String> =
            layers.iter().map(|l| descriptor(l.media_type(style), &l.blob)).collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{manifest_type}","config":{},"layers":[{}]}}"#,
            descriptor(config_type, &config),
            parts.join(",")
        )
        .into_bytes();
        TestImage { layers, config, manifest, style }
    }

    /// The image's id.
    pub fn id(&self) -> String {
        Digest::of(&self.config).to_string()
    }

    /// The digest of the manifest.
    pub fn digest(&self) -> String {
        Digest::of(&self.manifest).to_string()
    }

    pub fn media_type(&self) -> &'static str {
        match self.style {
            Style::Docker => manifest::DOCKER_MANIFEST,
            Style::Oci => manifest::OCI_MANIFEST,
        }
    }

    /// Every blob: the config, then the layers.
    pub fn blobs(&self) -> Vec<&[u8]> {
        std::iter::once(&self.config[..]).chain(self.layers.iter().map(|l| &l.blob[..])).collect()
    }

    /// Writes an OCI layout with this image, tagged `latest`, into the new directory `dir`.
    pub fn write_layout(&self, dir: &Path) -> Layout {
        let blobs = dir.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        for blob in self.blobs().into_iter().chain([&self.manifest[..]]) {
            std::fs::write(blobs.join(Digest::of(blob).hex()), blob).unwrap();
        }
        let mut entry = descriptor(self.media_type(), &self.manifest);
        entry.pop();
        entry += r#","annotations":{"org.opencontainers.image.ref.name":"latest"}}"#;
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
        std::fs::write(dir.join("index.json"), index).unwrap();
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Layout(dir.to_path_buf())
    }
}

/// The JSON of a descriptor.
pub fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    format!(
        r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#,
        Digest::of(bytes),
        bytes.len()
    )
}

/// The JSON of an index of `images`, each with its platform as `os/architecture[/variant]`.
pub fn index(images: &[(&TestImage, &str)]) -> Vec<u8> {
    let entries: Vec<String> = images
        .iter()
        .map(|(image, platform)| {
            let parts: Vec<&str> = platform.split('/').collect();
            let mut entry = descriptor(image.media_type(), &image.manifest);
            entry.pop();
            entry += &format!(r#","platform":{{"os":"{}","architecture":"{}""#, parts[0], parts[1]);
            if let Some(variant) = parts.get(2) {
                entry += &format!(r#","variant":"{variant}""#);
            }
            entry + "}}"
        })
        .collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
        manifest::OCI_INDEX,
        entries.join(",")
    )
    .into_bytes()
}

/// This machine's architecture in Go's words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A tar archive of regular files; names that end in a slash are directories.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        let directory = name.ends_with('/');
        header.set_entry_type(if directory {
            tar::EntryType::Directory
        } else {
            tar::EntryType::Regular
        });
        header.set_mode(if directory { 0o755 } else { 0o644 });
        header.set_size(content.len() as u64);
        header.set_mtime(1_700_000_000);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(length)
    .collect()
}

/// A small image of two layers with a few files.
pub fn small(style: Style, packing: Packing) -> TestImage {
    let lower = tar(&[("etc/", b""), ("etc/motd", b"hello\n"), ("data", &noise(300_000, 1))]);
    let upper = tar(&[("etc/", b""), ("etc/motd", b"hello again\n"), ("bin/", b"")]);
    let layers = vec![Layer::new(lower, packing), Layer::new(upper, packing)];
    TestImage::new(layers, style, r#"{"Env":["A=b"],"Cmd":["/bin/true"]}"#)
}

/// An OCI layout on disk with one image.
pub struct Layout(PathBuf);

impl Layout {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// An image with the statically linked busybox and links for all its programs.
pub fn busybox() -> Layout {
    cached("busybox", |dir| {
        let layer = Layer::new(busybox_tar(), Packing::Gzip);
        let run = r#"{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":["sh"]}"#;
        TestImage::new(vec![layer], Style::Oci, run).write_layout(dir);
    })
}

/// An image with nothing but the program `/probe` and the directories that a container needs.
pub fn probe() -> Layout {
    let program = std::fs::read(probe_program()).unwrap();
    let name = format!("probe-{}", &Digest::of(&program).hex()[..12]);
    cached(&name, |dir| {
        let mut builder = tar::Builder::new(Vec::new());
        let entries: [(&str, u32, &[u8]); 7] = [
            ("dev/", 0o755, b""),
            ("etc/", 0o755, b""),
            ("proc/", 0o755, b""),
            ("sys/", 0o755, b""),
            ("tmp/", 0o1777, b""),
            ("etc/passwd", 0o644, b"root:x:0:0:root:/:/probe\n"),
            ("probe", 0o755, &program),
        ];
        for (name, mode, content) in entries {
            let mut header = tar::Header::new_ustar();
            let directory = name.ends_with('/');
            let kind = if directory { tar::EntryType::Directory } else { tar::EntryType::Regular };
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_size(content.len() as u64);
            header.set_mtime(1_700_000_000);
            builder.append_data(&mut header, name, content).unwrap();
        }
        let layer = Layer::new(builder.into_inner().unwrap(), Packing::Gzip);
        TestImage::new(vec![layer], Style::Oci, r#"{"Entrypoint":["/probe"]}"#).write_layout(dir);
    })
}

/// The program of [`probe`], statically linked.
pub fn probe_program() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/probe/main.rs");
    let name =
        format!("probe-program-{}", &Digest::of(&std::fs::read(&source).unwrap()).hex()[..12]);
    let make = |dir: &Path| {
        let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
        let options =
            ["--edition=2024", "-O", "-Ctarget-feature=+crt-static", "-Cstrip=symbols", "-o"];
        run(Command::new(rustc).args(options).arg(dir.join("probe")).arg(&source));
        // What says that a cached directory is complete.
        std::fs::write(dir.join("index.json"), "{}").unwrap();
    };
    cached(&name, make).path().join("probe")
}

/// A root filesystem with busybox, as a tar archive.
pub fn busybox_tar() -> Vec<u8> {
    let program = std::fs::read("/bin/busybox").expect("the package busybox-static is installed");
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, mode: u32, kind: tar::EntryType, content: &[u8], link: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_mtime(1_700_000_000);
        if link.is_empty() {
            builder.append_data(&mut header, name, content).unwrap();
        } else {
            builder.append_link(&mut header, name, link).unwrap();
        }
    };
    let (dir, file) = (tar::EntryType::Directory, tar::EntryType::Regular);
    for name in [
        "bin/",
        "dev/",
        "etc/",
        "home/",
        "proc/",
        "root/",
        "sys/",
        "usr/",
        "usr/bin/",
        "usr/sbin/",
        "sbin/",
        "var/",
        "var/spool/",
    ] {
        add(name, 0o755, dir, b"", "");
    }
    add("tmp/", 0o1777, dir, b"", "");
    let passwd = b"root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n";
    add("etc/passwd", 0o644, file, passwd, "");
    let group = b"root:x:0:\ndaemon:x:1:\nmail:x:8:daemon\nwww-data:x:33:\nnogroup:x:65534:\n";
    add("etc/group", 0o644, file, group, "");
    add("bin/busybox", 0o755, file, &program, "");
    for name in run(Command::new("/bin/busybox").arg("--list")).lines() {
        if name != "busybox" {
            add(&format!("bin/{name}"), 0o777, tar::EntryType::Symlink, b"", "busybox");
        }
    }
    builder.into_inner().unwrap()
}

/// The smallest Debian with apt, from the sources of this machine.
pub fn debian() -> Layout {
    cached("debian", |dir| {
        let archive = dir.with_extension("tar");
        let made = output(
            Command::new("mmdebstrap")
                .args(["--variant=minbase", "--mode=root", "--quiet", "bookworm"])
                .arg(&archive)
                // It takes the sources of the machine from its standard input when there is no mirror.
                .args(sources()),
        );
        assert!(made.status.success(), "mmdebstrap: {}", text(&made.stderr));
        let layer = Layer::new(std::fs::read(&archive).unwrap(), Packing::Gzip);
        std::fs::remove_file(&archive).unwrap();
        let run = r#"{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":["bash"]}"#;
        TestImage::new(vec![layer], Style::Oci, run).write_layout(dir);
    })
}

/// Apt's sources on this machine, as mmdebstrap takes them.
fn sources() -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> = std::fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "sources" || e == "list"))
        .collect();
    let main = PathBuf::from("/etc/apt/sources.list");
    if std::fs::metadata(&main).is_ok_and(|m| m.len() > 0) {
        list.push(main);
    }
    list.sort();
    list
}

/// The layout `name` in the cache; `make` fills its directory if it is not there yet. Tests and
/// processes that need it at the same time wait for the one that makes it.
fn cached(name: &str, make: impl FnOnce(&Path)) -> Layout {
    let dir = cache_dir().join(name);
    let lock = cache_dir().join(format!("{name}.lock"));
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(lock).unwrap();
    exclusive(&lock);
    if !dir.join("index.json").exists() {
        let partial = cache_dir().join(format!("{name}.partial"));
        let _ = std::fs::remove_dir_all(&partial);
        std::fs::create_dir(&partial).unwrap();
        make(&partial);
        std::fs::rename(&partial, &dir).unwrap();
    }
    Layout(dir)
}

/// Waits for the lock of `file`; it is given back when the file is closed.
fn exclusive(file: &File) {
    file.lock().unwrap_or_else(|e| panic!("locking the cache: {e}"));
}

/// An archive for `docker load` with `count` images `many:0`, `many:1`, ... of one shared layer.
pub fn many(count: usize) -> Vec<u8> {
    let layer = tar(&[("etc/", b""), ("etc/motd", b"hello\n")]);
    let diff_id = Layer::new(layer.clone(), Packing::None).diff_id();
    let config = |i: usize| {
        format!(
            r#"{{"architecture":"{}","os":"linux","config":{{"Env":["N={i}"]}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#,
            architecture()
        )
    };
    let row = |i: usize| {
        format!(r#"{{"Config":"{i}.json","RepoTags":["many:{i}"],"Layers":["layer.tar"]}}"#)
    };
    let manifest = format!("[{}]", (0..count).map(row).collect::<Vec<_>>().join(","));
    let configs: Vec<_> = (0..count).map(|i| (format!("{i}.json"), config(i))).collect();
    let mut files: Vec<(&str, &[u8])> =
        vec![("layer.tar", &layer), ("manifest.json", manifest.as_bytes())];
    files.extend(configs.iter().map(|(name, text)| (name.as_str(), text.as_bytes())));
    tar(&files)
}
