//! `multi registry-pull` against the real docker-registry in all its variants; skopeo judges the result.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use multi_core::base::digest::Digest;
use multi_core::base::json::{self, Value, ValueExt};
use support::authority::Authority;
use support::faulty::{Fault, Faulty};
use support::images::{self, Layout, Packing, Style};
use support::registry::{PASSWORD, Registry, Setup, USER};
use support::{MULTI, Scratch, output, run, text};

/// Runs `multi registry-pull` with a home directory of its own, so that no configuration interferes.
fn pull(home: &Scratch, args: &[&str]) -> Output {
    let mut command = Command::new(MULTI);
    command.arg("registry-pull").args(args).env("HOME", home.path()).env_remove("DOCKER_CONFIG");
    output(&mut command)
}

fn pulled(home: &Scratch, args: &[&str]) -> String {
    let output = pull(home, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// What the command says when it fails, which it must with exit code 1.
fn refused(home: &Scratch, args: &[&str]) -> String {
    let output = pull(home, args);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    text(&output.stderr).lines().last().unwrap_or_default().to_string()
}

/// The layers and the digest that skopeo sees in `source`.
fn inspected(source: &str) -> (Vec<String>, String) {
    let value: Value =
        json::parse(run(Command::new("skopeo").args(["inspect", source])).as_bytes()).unwrap();
    let layers = value.get("Layers").unwrap().items();
    let layers = layers.iter().map(|l| l.as_str().unwrap().to_string()).collect();
    (layers, value.get("Digest").unwrap().as_str().unwrap().to_string())
}

/// Whether every blob of a layout has the digest that its name says.
fn check_blobs(dir: &Path) -> usize {
    let blobs = std::fs::read_dir(dir.join("blobs/sha256")).unwrap();
    let mut count = 0;
    for blob in blobs.flatten() {
        let bytes = std::fs::read(blob.path()).unwrap();
        assert_eq!(Digest::of(&bytes).hex(), blob.file_name().to_str().unwrap());
        count += 1;
    }
    count
}

fn layout_of(image: &images::TestImage, dir: &Scratch) -> Layout {
    image.write_layout(&dir.join("source"))
}

#[test]
fn a_layout_is_what_skopeo_expects() {
    let (scratch, registry) = (Scratch::new("pull"), Registry::plain());
    for (style, packing, options) in [
        (Style::Oci, Packing::Gzip, vec![]),
        (Style::Oci, Packing::Zstd, vec![]),
        (Style::Oci, Packing::None, vec!["--dest-decompress"]),
        (Style::Docker, Packing::Gzip, vec!["--format", "v2s2"]),
    ] {
        let source = scratch.join(format!("{style:?}{packing:?}"));
        let image = images::small(Style::Oci, packing);
        image.write_layout(&source);
        registry.push_with(&source, "a/app:1", &options);
        let name = registry.name("a/app:1");
        let target = scratch.join(format!("out{style:?}{packing:?}"));
        let out = pulled(&scratch, &[&name, "-o", target.to_str().unwrap()]);
        let (layers, digest) = inspected(&format!("oci:{}:1", target.display()));
        let remote = run(Command::new("skopeo").args([
            "inspect",
            "--tls-verify=false",
            "--format={{.Digest}}",
            &format!("docker://{name}"),
        ]));
        assert_eq!(out, format!("{}@{remote}", registry.name("a/app")));
        // A manifest of Docker's is rewritten, for a layout may not hold it.
        assert_eq!(digest == remote.trim(), style == Style::Oci);
        assert_eq!(layers.len(), 2);
        assert_eq!(check_blobs(&target), 4);
    }
}

#[test]
fn an_archive_is_what_skopeo_expects() {
    let (scratch, registry) = (Scratch::new("pull"), Registry::plain());
    let image = images::small(Style::Oci, Packing::Gzip);
    registry.push(&layout_of(&image, &scratch), "app:1");
    let file = scratch.join("app.tar");
    let name = registry.name("app:1");
    pulled(&scratch, &["-q", &name, "-o", file.to_str().unwrap()]);
    let listed = run(Command::new("tar").arg("-tf").arg(&file));
    assert!(listed.contains("manifest.json") && listed.contains("index.json"), "{listed}");
    for source in ["docker-archive", "oci-archive"] {
        let (layers, _) = inspected(&format!("{source}:{}", file.display()));
        assert_eq!(layers.len(), 2, "{source}");
    }
    let config = run(Command::new("skopeo")
        .args(["inspect", "--config", "--raw"])
        .arg(format!("docker-archive:{}", file.display())));
    assert_eq!(Digest::of(config.as_bytes()).to_string(), image.id());
    // The same image gives the same bytes.
    let again = scratch.join("again.tar");
    pulled(&scratch, &["-q", &name, "-o", again.to_str().unwrap()]);
    assert!(std::fs::read(&file).unwrap() == std::fs::read(&again).unwrap());
}

#[test]
fn a_root_filesystem_can_be_lived_in() {
    let (scratch, registry) = (Scratch::new("pull"), Registry::plain());
    registry.push(&images::busybox(), "busybox:1");
    let target = scratch.join("root");
    let dir = target.to_str().unwrap();
    pulled(&scratch, &["-q", "--rootfs", &registry.name("busybox:1"), "-o", dir]);
    let said =
        run(Command::new("chroot").args([dir, "/bin/sh", "-c", "cat /etc/passwd | head -1"]));
    assert_eq!(said, "root:x:0:0:root:/root:/bin/sh\n");
    let said = refused(&scratch, &["--rootfs", &registry.name("busybox:1"), "-o", dir]);
    assert!(said.ends_with("is not empty"), "{said}");
    assert_eq!(entries(&scratch), ["root"]);
}

#[test]
fn layers_of_a_root_filesystem_hide_what_is_below() {
    let (scratch, registry) = (Scratch::new("pull"), Faulty::new());
    let lower = images::tar(&[("a/", b""), ("a/x", b"1"), ("b/", b""), ("b/y", b"1"), ("c", b"1")]);
    let upper =
        images::tar(&[("a/.wh.x", b""), ("b/.wh..wh..opq", b""), ("b/z", b"2"), ("c", b"2")]);
    let layers = [lower, upper].map(|tar| images::Layer::new(tar, Packing::Gzip)).to_vec();
    let image = images::TestImage::new(layers, Style::Oci, "{}");
    registry.add("app", "1", &image);
    let target = scratch.join("root");
    let dir = target.to_str().unwrap();
    std::fs::create_dir(&target).unwrap();
    pulled(&scratch, &["-q", "--type", "rootfs", &registry.name("app:1"), "-o", dir]);
    let listed = run(Command::new("find").args([dir, "-type", "f", "-printf", "%P\\n"]));
    let mut files: Vec<&str> = listed.lines().collect();
    files.sort_unstable();
    assert_eq!(files, ["b/z", "c"]);
    assert_eq!(std::fs::read_to_string(target.join("c")).unwrap(), "2");
}

#[test]
fn several_images_share_a_layout() {
    let (scratch, registry) = (Scratch::new("pull"), Registry::plain());
    let image = images::small(Style::Oci, Packing::Gzip);
    registry.push(&layout_of(&image, &scratch), "app:1");
    registry.push(&images::busybox(), "busybox:1.36");
    let target = scratch.join("out");
    let target = target.to_str().unwrap();
    pulled(&scratch, &["-q", &registry.name("app:1"), "-o", target]);
    pulled(&scratch, &["-q", &registry.name("busybox:1.36"), "-o", target]);
    // A second time nothing is fetched.
    let output = pull(&scratch, &[&registry.name("app:1"), "-o", target]);
    let said = text(&output.stderr);
    assert_eq!(said.matches("Already exists").count(), 2, "{said}");
    assert!(said.contains("Status: Image is up to date for"), "{said}");
    assert_eq!(inspected(&format!("oci:{target}:1")).0.len(), 2);
    assert_eq!(inspected(&format!("oci:{target}:1.36")).0.len(), 1);
    let index = std::fs::read(Path::new(target).join("index.json")).unwrap();
    let index: Value = json::parse(&index).unwrap();
    assert_eq!(index.get("manifests").unwrap().items().len(), 2);
}

#[test]
fn an_image_is_pulled_by_its_digest() {
    let (scratch, registry) = (Scratch::new("pull"), Registry::plain());
    let image = images::small(Style::Oci, Packing::Gzip);
    registry.push(&layout_of(&image, &scratch), "app:1");
    let target = scratch.join("out");
    let name = registry.name(&format!("app@{}", image.digest()));
    pulled(&scratch, &[&name, "-o", target.to_str().unwrap()]);
    assert_eq!(inspected(&format!("oci:{}", target.display())).1, image.digest());
    let wrong = registry.name(&format!("app@sha256:{}", "0".repeat(64)));
    let said = refused(&scratch, &[&wrong, "-o", scratch.join("x").to_str().unwrap()]);
    assert!(said.contains("not found: manifest unknown"), "{said}");
    assert!(!scratch.join("x").exists());
}

#[test]
fn tls_needs_the_authority_of_the_registry() {
    let (scratch, authority) = (Scratch::new("pull"), Authority::new());
    authority.self_signed("own");
    let image = images::small(Style::Oci, Packing::Gzip);
    let layout = layout_of(&image, &scratch);
    for server in ["server", "own"] {
        let registry =
            Registry::start(&Setup { tls: Some((&authority, server)), ..Setup::default() });
        registry.push(&layout, "app:1");
        // localhost may be insecure, but an address that is not loopback must be vouched for; what
        // certs.d holds for the registry is enough for any.
        let name = registry.name("app:1");
        let target = scratch.join(server);
        pulled(&scratch, &[&name, "-o", target.to_str().unwrap()]);
        assert_eq!(check_blobs(&target), 4);
    }
}

#[test]
fn a_client_certificate_is_shown() {
    let (scratch, authority) = (Scratch::new("pull"), Authority::new());
    let registry = Registry::start(&Setup {
        tls: Some((&authority, "server")),
        client_certificate: true,
        ..Setup::default()
    });
    let image = images::small(Style::Oci, Packing::Gzip);
    registry.push(&layout_of(&image, &scratch), "app:1");
    let name = registry.name("app:1");
    let target = scratch.join("out");
    let target = target.to_str().unwrap();
    let said = refused(&scratch, &[&name, "-o", target]);
    assert!(said.contains("remote error: tls"), "{said}");
    let certs = scratch.join("certs.d");
    let own = certs.join(registry.address());
    std::fs::create_dir_all(&own).unwrap();
    let args = [&name, "-o", target, "--certs-dir", certs.to_str().unwrap()];
    std::fs::copy(authority.file("client.crt"), own.join("client.cert")).unwrap();
    let said = refused(&scratch, &args);
    assert!(said.contains("missing key client.key for client certificate client.cert"), "{said}");
    std::fs::copy(authority.file("client.key"), own.join("client.key")).unwrap();
    pulled(&scratch, &args);
    assert_eq!(check_blobs(Path::new(target)), 4);
}

#[test]
fn name_and_password_are_taken_from_the_flag_or_from_the_login_file() {
    let (scratch, registry) =
        (Scratch::new("pull"), Registry::start(&Setup { basic: true, ..Setup::default() }));
    let image = images::small(Style::Oci, Packing::Gzip);
    registry.push(&layout_of(&image, &scratch), "app:1");
    let name = registry.name("app:1");
    let target = scratch.join("out");
    let target = target.to_str().unwrap();
    let said = refused(&scratch, &[&name, "-o", target]);
    assert!(said.ends_with(": no basic auth credentials"), "{said}");
    let said = refused(&scratch, &[&name, "-o", target, "--creds", "user:wrong"]);
    assert!(said.ends_with("unauthorized: authentication required"), "{said}");
    let pair = format!("{USER}:{PASSWORD}");
    pulled(&scratch, &[&name, "-o", target, "--creds", &pair]);
    let auth = multi_core::base::base64::encode(pair.as_bytes());
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.address());
    std::fs::create_dir(scratch.join(".docker")).unwrap();
    std::fs::write(scratch.join(".docker/config.json"), config).unwrap();
    let other = scratch.join("other");
    pulled(&scratch, &[&name, "-o", other.to_str().unwrap()]);
    assert_eq!(check_blobs(&other), 4);
}

#[test]
fn a_registry_whose_disk_rots_is_found_out() {
    let (scratch, registry) = (Scratch::new("pull"), Registry::plain());
    let image = images::small(Style::Oci, Packing::Gzip);
    registry.push(&layout_of(&image, &scratch), "app:1");
    let path = registry.blob_path(&image.layers[0].digest());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for output in ["out", "out.tar"] {
        let target = scratch.join(output);
        let args = [&registry.name("app:1"), "-o", target.to_str().unwrap()];
        let said = refused(&scratch, &args);
        assert!(said.contains("filesystem layer verification failed for digest sha256:"), "{said}");
    }
    assert_eq!(entries(&scratch), ["source"]);
}

#[test]
fn faults_leave_nothing_behind() {
    let image = images::small(Style::Oci, Packing::Gzip);
    let unknown = r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}"#.to_string();
    for fault in [
        Fault::WrongBytes,
        Fault::Longer(3),
        Fault::Shorter(3),
        Fault::CutAfter(10),
        Fault::Endless,
        Fault::Status(404, vec![], unknown),
    ] {
        for output in ["out", "out.tar", "deep/er/out", "root"] {
            let (scratch, registry) = (Scratch::new("pull"), Faulty::new());
            registry.add("app", "latest", &image);
            registry.fault(&image.layers[1].digest(), fault.clone(), usize::MAX);
            let target = scratch.join(output);
            let args = [
                &registry.name("app"),
                "--max-download-attempts=1",
                "-o",
                target.to_str().unwrap(),
            ];
            if output == "deep/er/out" {
                std::fs::create_dir(scratch.join("deep")).unwrap();
            }
            refused(&scratch, &args);
            let left = if output == "deep/er/out" { vec!["deep"] } else { vec![] };
            assert_eq!(entries(&scratch), left, "{fault:?} {output}");
        }
    }
}

#[test]
fn wrong_use_is_explained() {
    let scratch = Scratch::new("pull");
    for (args, wanted) in [
        (
            vec!["x/Y", "-o", "z"],
            "invalid reference format: repository name (x/Y) must be lowercase",
        ),
        (vec!["x"], "where to write the image must be given with --output (-o)"),
        (
            vec!["x", "-o", "y", "--type", "zip"],
            "unknown type \"zip\": it must be layout, archive or rootfs",
        ),
        (vec!["x", "-o", "y", "--platform", "a/b/c/d"], "cannot parse platform specifier"),
        (
            vec!["localhost:1/x", "-o", "y", "--creds", "me"],
            "--creds must have the form user:password",
        ),
    ] {
        let said = refused(&scratch, &args);
        assert!(said.contains(wanted), "{args:?}: {said}");
    }
    let help = pulled(&scratch, &["--help"]);
    assert!(help.contains("Usage:  multi registry-pull [OPTIONS] NAME[:TAG|@DIGEST]"), "{help}");
}

fn entries(scratch: &Scratch) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(scratch.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
