//! Registries that lie, stall, cut and redirect: each fault gives one clear error or is healed, and
//! leaves nothing behind.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read;
use std::sync::Mutex;
use std::time::Duration;

use multi_core::base::cancel::Cancel;
use multi_core::base::digest::Digest;
use multi_core::base::progress::Silent;
use multi_core::base::{Error, Kind, Result};
use multi_core::registry::auth::Credentials;
use multi_core::registry::pull::{self, Form, Image, Pulled, Sink};
use multi_core::registry::reference::Reference;
use multi_core::registry::{Client, Settings};
use support::faulty::{Fault, Faulty, Guard};
use support::images::{self, Layer, Packing, Style, TestImage};
use support::pulling::{Lines, settings};
use support::registry::{PASSWORD, Registry, Setup, USER};

/// Keeps what was unpacked, and what state each layer is in.
#[derive(Default)]
struct Memory {
    filled: Mutex<Vec<(usize, Vec<u8>)>>,
    committed: Mutex<Vec<usize>>,
    there: usize,
    in_order: bool,
    fail_commit: Option<usize>,
}

impl Sink for Memory {
    fn form(&self) -> Form {
        Form::Tar
    }
    fn in_order(&self) -> bool {
        self.in_order
    }
    fn begin(&self, _image: &Image) -> Result<usize> {
        Ok(self.there)
    }
    fn fill(&self, _image: &Image, index: usize, stream: &mut dyn Read) -> Result<Option<Digest>> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        self.filled.lock().unwrap().push((index, bytes));
        Ok(None)
    }
    fn commit(&self, _image: &Image, index: usize) -> Result<()> {
        if self.fail_commit == Some(index) {
            return Err(Error::internal("disk on fire"));
        }
        self.committed.lock().unwrap().push(index);
        Ok(())
    }
    fn abandon(&self, _image: &Image, index: usize) {
        self.filled.lock().unwrap().retain(|(i, _)| *i != index);
    }
    fn finish(&self, _image: &Image) -> Result<bool> {
        Ok(true)
    }
}

impl Memory {
    fn layer(&self, index: usize) -> Vec<u8> {
        let filled = self.filled.lock().unwrap();
        filled.iter().find(|(i, _)| *i == index).expect("the layer is there").1.clone()
    }

    /// Layers that were filled and neither committed nor given back.
    fn leftovers(&self) -> usize {
        let committed = self.committed.lock().unwrap();
        self.filled.lock().unwrap().iter().filter(|(i, _)| !committed.contains(i)).count()
    }
}

fn pull_as(name: &str, credentials: &Credentials, sink: &Memory) -> Result<Pulled> {
    let reference = Reference::parse(name)?.or_latest();
    let request =
        pull::Request { settings: &settings(), reference: &reference, platform: None, credentials };
    pull::pull(&request, sink, &Silent, &Cancel::new())
}

fn pull(name: &str, sink: &Memory) -> Result<Pulled> {
    pull_as(name, &Credentials::default(), sink)
}

/// A registry that serves the small image as `app:latest`.
fn served() -> (Faulty, TestImage) {
    let (registry, image) = (Faulty::new(), images::small(Style::Oci, Packing::Gzip));
    registry.add("app", "latest", &image);
    (registry, image)
}

fn error_of(fault: Fault, part: impl Fn(&TestImage) -> String) -> String {
    let (registry, image) = served();
    registry.fault(&part(&image), fault, usize::MAX);
    let sink = Memory::default();
    let error = pull(&registry.name("app"), &sink).unwrap_err();
    assert_eq!(sink.leftovers(), 0, "{error}");
    error.to_string().replace(&registry.address(), "REG")
}

fn first_layer(image: &TestImage) -> String {
    image.layers[0].digest()
}

#[test]
fn images_of_both_styles_and_all_packings_are_pulled() {
    for style in [Style::Docker, Style::Oci] {
        for packing in [Packing::None, Packing::Gzip, Packing::Zstd] {
            let (registry, image) = (Faulty::new(), images::small(style, packing));
            registry.add("a/b/c", "1", &image);
            let sink = Memory::default();
            let pulled = pull(&registry.name("a/b/c:1"), &sink).unwrap();
            assert_eq!(pulled.config.to_string(), image.id());
            assert_eq!(pulled.digest.to_string(), image.digest());
            for (i, layer) in image.layers.iter().enumerate() {
                assert!(sink.layer(i) == layer.tar, "{style:?} {packing:?} layer {i}");
            }
            assert_eq!(*sink.committed.lock().unwrap(), [0, 1]);
        }
    }
}

#[test]
fn many_layers_are_committed_in_order() {
    let layers: Vec<Layer> = (0..40)
        .map(|n| {
            Layer::new(
                images::tar(&[("f", &images::noise(5000 * (40 - n), n as u64))]),
                Packing::Gzip,
            )
        })
        .collect();
    let image = TestImage::new(layers, Style::Oci, "{}");
    let registry = Faulty::new();
    registry.add("app", "latest", &image);
    for in_order in [false, true] {
        let sink = Memory { in_order, ..Memory::default() };
        pull(&registry.name("app"), &sink).unwrap();
        assert_eq!(*sink.committed.lock().unwrap(), (0..40).collect::<Vec<_>>());
    }
    // What is there is not fetched again.
    let before = registry.requests_for(&image.layers[0].digest()).len();
    let sink = Memory { there: 39, ..Memory::default() };
    pull(&registry.name("app"), &sink).unwrap();
    assert_eq!(*sink.committed.lock().unwrap(), [39]);
    assert_eq!(registry.requests_for(&image.layers[0].digest()).len(), before);
}

#[test]
fn a_failed_commit_gives_the_other_layers_back() {
    let (registry, _) = served();
    let sink = Memory { fail_commit: Some(0), ..Memory::default() };
    let error = pull(&registry.name("app"), &sink).unwrap_err();
    assert_eq!(error.to_string(), "disk on fire");
    assert!(sink.filled.lock().unwrap().iter().all(|(i, _)| *i == 0));
}

#[test]
fn wrong_bytes_are_found() {
    for (fault, part) in [
        (Fault::WrongBytes, "layer"),
        (Fault::WrongBytes, "config"),
        (Fault::WrongBytes, "manifest"),
    ] {
        let text = error_of(fault, |image| match part {
            "layer" => first_layer(image),
            "config" => image.id(),
            _ => "manifests/latest".into(),
        });
        let wanted = match part {
            "layer" | "config" => "filesystem layer verification failed for digest sha256:",
            _ => "manifest verification failed for digest sha256:",
        };
        assert!(text.contains(wanted), "{part}: {text}");
    }
}

#[test]
fn wrong_lengths_are_found() {
    let size = served().1.layers[0].blob.len();
    for (fault, wanted) in [
        (
            Fault::Longer(7),
            format!("the registry sends {} bytes, the manifest says {size}", size + 7),
        ),
        (
            Fault::Shorter(7),
            format!("the registry sends {} bytes, the manifest says {size}", size - 7),
        ),
        (Fault::Endless, format!("the registry sends more than the {size} bytes of the manifest")),
    ] {
        let text = error_of(fault.clone(), first_layer);
        assert!(text.ends_with(&wanted), "{fault:?}: {text}");
    }
    let text = error_of(Fault::Endless, |_| "manifests/latest".into());
    assert!(text.ends_with("is longer than 4194304 bytes"), "{text}");
}

#[test]
fn a_head_without_end_is_given_up() {
    let text = error_of(Fault::EndlessHead, first_layer);
    assert!(text.contains("too many headers") || text.contains("header is too big"), "{text}");
}

#[test]
fn a_cut_blob_goes_on_with_a_closed_range() {
    let (registry, image) = served();
    let digest = first_layer(&image);
    registry.fault(&digest, Fault::CutAfter(100_000), 2);
    let sink = Memory::default();
    pull(&registry.name("app"), &sink).unwrap();
    assert!(sink.layer(0) == image.layers[0].tar);
    let last = image.layers[0].blob.len() - 1;
    let ranges: Vec<String> =
        registry.requests_for(&digest).iter().map(|r| r.header("range").to_string()).collect();
    assert_eq!(ranges, ["", &format!("bytes=100000-{last}"), &format!("bytes=200000-{last}")]);
}

#[test]
fn a_server_that_ignores_ranges_is_read_again_from_its_start() {
    let (registry, image) = served();
    let digest = first_layer(&image);
    registry.fault(&digest, Fault::CutAfter(100_000), 1);
    registry.fault(&digest, Fault::IgnoreRange, 1);
    let sink = Memory::default();
    pull(&registry.name("app"), &sink).unwrap();
    assert!(sink.layer(0) == image.layers[0].tar);
}

#[test]
fn a_server_that_sends_another_range_is_refused() {
    let (registry, image) = served();
    let digest = first_layer(&image);
    registry.fault(&digest, Fault::CutAfter(100_000), 1);
    registry.fault(&digest, Fault::WrongRange, usize::MAX);
    let error = pull(&registry.name("app"), &Memory::default()).unwrap_err().to_string();
    assert!(error.contains("answered with the range \"bytes 100001-"), "{error}");
}

#[test]
fn a_server_that_always_cuts_is_given_up() {
    let text = error_of(Fault::CutAfter(0), first_layer);
    assert!(text.contains("the connection broke after 0 of"), "{text}");
    let text = error_of(Fault::CutHead, |_| "manifests/latest".into());
    assert!(text.starts_with("Get \"http://REG/v2/app/manifests/latest\": "), "{text}");
}

#[test]
fn a_stalled_server_is_given_up() {
    for (fault, part) in [
        (Fault::StallAfter(1000), "layer"),
        (Fault::StallHead, "layer"),
        (Fault::StallHead, "manifests/latest"),
    ] {
        let text =
            error_of(
                fault.clone(),
                |image| {
                    if part == "layer" { first_layer(image) } else { part.into() }
                },
            );
        let known = text.contains("timeout") || text.contains("in time");
        assert!(known, "{fault:?} {part}: {text}");
    }
}

#[test]
fn cancelling_ends_a_stalled_pull_at_once() {
    let (registry, image) = served();
    registry.fault(&first_layer(&image), Fault::StallAfter(1000), usize::MAX);
    let reference = Reference::parse(&registry.name("app")).unwrap().or_latest();
    let settings = Settings { stall: Duration::from_secs(600), ..settings() };
    let request = pull::Request {
        settings: &settings,
        reference: &reference,
        platform: None,
        credentials: &Credentials::default(),
    };
    let (cancel, sink) = (Cancel::new(), Memory::default());
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| pull::pull(&request, &sink, &Silent, &cancel));
        support::eventually("the request for the layer", || {
            (!registry.requests_for(&first_layer(&image)).is_empty()).then_some(())
        });
        cancel.cancel();
        assert_eq!(thread.join().unwrap().unwrap_err().kind(), Kind::Cancelled);
    });
    assert_eq!(sink.leftovers(), 0);
}

#[test]
fn what_is_missing_is_named() {
    let unknown = r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#;
    let missing = || Fault::Status(404, vec![], unknown.into());
    let text = error_of(missing(), first_layer);
    assert!(text.starts_with("fetching sha256:") && text.ends_with(": unknown blob"), "{text}");
    let text = error_of(missing(), TestImage::id);
    assert!(text.starts_with("error pulling image configuration: "), "{text}");
    let (registry, _) = served();
    let error = pull(&registry.name("app:nosuch"), &Memory::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let text = error.to_string().replace(&registry.address(), "REG");
    assert_eq!(text, "manifest for REG/app:nosuch not found: manifest unknown: manifest unknown");
}

#[test]
fn a_busy_server_is_asked_again() {
    for status in [429, 500, 503] {
        let (registry, image) = served();
        let busy = Fault::Status(status, vec![("Retry-After".into(), "0".into())], "{}".into());
        registry.fault("manifests/latest", busy.clone(), 1);
        registry.fault(&first_layer(&image), busy.clone(), 2);
        pull(&registry.name("app"), &Memory::default()).unwrap();
        registry.fault("manifests/latest", busy, usize::MAX);
        let error = pull(&registry.name("app"), &Memory::default()).unwrap_err().to_string();
        assert!(error.contains(&status.to_string()), "{error}");
    }
}

#[test]
fn redirects_are_followed_without_credentials() {
    let (registry, image) = served();
    let other = Faulty::new();
    image.blobs().into_iter().for_each(|blob| other.add_blob(blob));
    registry.guard(Guard::Token("me".into(), "pw".into()));
    for layer in &image.layers {
        registry.fault(&layer.digest(), Fault::Redirect(format!("http://{}", other.address())), 1);
    }
    let sink = Memory::default();
    pull_as(&registry.name("app"), &Credentials::basic("me", "pw"), &sink).unwrap();
    assert!(sink.layer(0) == image.layers[0].tar);
    assert_eq!(other.requests().len(), 2);
    for request in other.requests() {
        assert_eq!(request.header("authorization"), "", "{request:?}");
    }
    // The token was fetched once for all requests.
    assert_eq!(registry.requests_for("/token").len(), 1);
}

#[test]
fn redirects_without_end_or_to_other_schemes_are_refused() {
    let text = error_of(Fault::Redirect(String::new()), first_layer);
    assert!(text.contains("stopped after 10 redirects"), "{text}");
    for scheme in ["ftp://x", "file://", "gopher://x"] {
        let text = error_of(Fault::Redirect(scheme.into()), first_layer);
        assert!(text.contains("cannot be used"), "{text}");
    }
}

#[test]
fn wrong_credentials_are_refused_by_the_token_server() {
    let (registry, _) = served();
    registry.guard(Guard::Token("me".into(), "pw".into()));
    for credentials in [Credentials::default(), Credentials::basic("me", "wrong")] {
        let error = pull_as(&registry.name("app"), &credentials, &Memory::default()).unwrap_err();
        assert_eq!(error.to_string(), "unauthorized: incorrect username or password");
    }
    // Anonymous tokens for everybody, but not for this repository.
    registry.guard(Guard::Token(String::new(), String::new()));
    let denied = vec![(
        "WWW-Authenticate".to_string(),
        format!(
            "Bearer realm=\"http://{}/token\",service=\"x\",error=\"insufficient_scope\"",
            registry.address()
        ),
    )];
    registry.fault("manifests/", Fault::Status(401, denied, "{}".into()), usize::MAX);
    let error = pull(&registry.name("app"), &Memory::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let text = error.to_string().replace(&registry.address(), "REG");
    assert_eq!(
        text,
        "pull access denied for REG/app, repository does not exist or may require 'docker login': \
         denied: requested access to the resource is denied"
    );
}

#[test]
fn lists_lead_to_the_right_platform() {
    let registry = Faulty::new();
    let here = images::small(Style::Oci, Packing::Gzip);
    let layer = || vec![Layer::new(images::tar(&[("x", b"y")]), Packing::Gzip)];
    let there = TestImage::for_platform(layer(), Style::Oci, "{}", "linux", "s390x");
    let native = format!("linux/{}", images::architecture());
    registry.add("app", "here", &here);
    registry.add("app", "there", &there);
    let list = images::index(&[(&there, "linux/s390x"), (&here, &native)]);
    let kind = multi_core::registry::manifest::OCI_INDEX;
    registry.add_manifest("app", "both", kind, &list);
    let pulled = pull(&registry.name("app:both"), &Memory::default()).unwrap();
    assert_eq!(pulled.config.to_string(), here.id());
    assert_eq!(pulled.digest, Digest::of(&list));
    // By the list's digest as well.
    let by_digest = registry.name(&format!("app@{}", Digest::of(&list)));
    assert_eq!(pull(&by_digest, &Memory::default()).unwrap().config.to_string(), here.id());
    let list = images::index(&[(&there, "linux/s390x")]);
    registry.add_manifest("app", "far", kind, &list);
    let error = pull(&registry.name("app:far"), &Memory::default()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("no matching manifest for {native} in")), "{error}");
    // A list that leads to itself can only be named by a tag; nesting ends all the same.
    let inner = images::index(&[(&here, &native)]);
    let mut outer = inner.clone();
    for _ in 0..5 {
        registry.add_manifest("app", "x", kind, &outer);
        outer = format!(
            r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{}]}}"#,
            images::descriptor(kind, &outer)
        )
        .into_bytes();
    }
    registry.add_manifest("app", "deep", kind, &outer);
    let error = pull(&registry.name("app:deep"), &Memory::default()).unwrap_err().to_string();
    assert!(error.ends_with("are nested too deeply"), "{error}");
}

#[test]
fn a_layer_that_unpacks_to_something_else_is_refused() {
    let mut image = images::small(Style::Oci, Packing::Gzip);
    let (good, other) = (image.layers[0].diff_id(), image.layers[1].diff_id());
    let config = String::from_utf8(image.config.clone()).unwrap().replace(&good, &other);
    let manifest = String::from_utf8(image.manifest.clone()).unwrap();
    let manifest = manifest.replace(&image.id(), &Digest::of(config.as_bytes()).to_string());
    (image.config, image.manifest) = (config.into_bytes(), manifest.into_bytes());
    let registry = Faulty::new();
    registry.add("app", "latest", &image);
    let sink = Memory::default();
    let error = pull(&registry.name("app"), &sink).unwrap_err().to_string();
    assert!(error.starts_with("layers from manifest don't match image configuration"), "{error}");
    assert_eq!(sink.leftovers(), 0);
}

#[test]
fn damaged_compression_is_an_error() {
    let mut image = images::small(Style::Oci, Packing::Gzip);
    let blob = &mut image.layers[0].blob;
    blob.truncate(blob.len() - 10);
    let layers = image.layers.clone();
    let image = TestImage::new(layers, Style::Oci, "{}");
    let registry = Faulty::new();
    registry.add("app", "latest", &image);
    let sink = Memory::default();
    let error = pull(&registry.name("app"), &sink).unwrap_err().to_string();
    assert!(error.starts_with(&format!("decompressing {}: ", image.layers[0].digest())), "{error}");
    assert_eq!(sink.leftovers(), 0);
}

#[test]
fn nobody_at_the_door_is_said_in_gos_words() {
    let port = support::free_port();
    let error = pull(&format!("localhost:{port}/app"), &Memory::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Get \"http://localhost:{port}/v2/\": dial tcp 127.0.0.1:{port}: connect: connection refused"
        )
    );
    let error = pull("nosuch.invalid/app", &Memory::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Get \"https://nosuch.invalid/v2/\": dial tcp: lookup nosuch.invalid: no such host"
    );
}

#[test]
fn progress_has_dockers_words() {
    let image = TestImage::new(
        vec![Layer::new(images::tar(&[("x", b"y")]), Packing::Gzip)],
        Style::Docker,
        "{}",
    );
    let registry = Faulty::new();
    registry.add("app", "latest", &image);
    let reference = Reference::parse(&registry.name("app")).unwrap().or_latest();
    let request = pull::Request {
        settings: &settings(),
        reference: &reference,
        platform: None,
        credentials: &Credentials::default(),
    };
    let lines = Lines::default();
    pull::pull(&request, &Memory::default(), &lines, &Cancel::new()).unwrap();
    let short = image.layers[0].digest()["sha256:".len()..][..12].to_string();
    assert_eq!(
        lines.all(),
        [
            "latest|Pulling from app".to_string(),
            format!("{short}|Pulling fs layer"),
            format!("{short}|Downloading"),
            format!("{short}|Verifying Checksum"),
            format!("{short}|Download complete"),
            format!("{short}|Extracting"),
            format!("{short}|Pull complete"),
            format!("|Digest: {}", image.digest()),
            format!("|Status: Downloaded newer image for {}", registry.name("app:latest")),
        ]
    );
}

fn login(address: &str, credentials: &Credentials) -> Result<String> {
    Client::new(&settings(), address, credentials, &Cancel::new())?.login()
}

#[test]
fn a_login_asks_the_registry() {
    let (good, bad) = (Credentials::basic(USER, PASSWORD), Credentials::basic(USER, "wrong"));
    let basic = Registry::start(&Setup { basic: true, ..Setup::default() });
    assert_eq!(login(&basic.address(), &good).unwrap(), "");
    let error = login(&basic.address(), &bad).unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    let url = format!("http://{}/v2/", basic.address());
    assert_eq!(
        error.to_string(),
        format!("login attempt to {url} failed with status: 401 Unauthorized")
    );
    let token = Faulty::new();
    token.guard(Guard::Token(USER.into(), PASSWORD.into()));
    assert_eq!(login(&token.address(), &good).unwrap(), "");
    let error = login(&token.address(), &bad).unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    let url = format!("http://{}/v2/", token.address());
    let wanted = format!("Get \"{url}\": unauthorized: incorrect username or password");
    assert_eq!(error.to_string(), wanted);
    let port = support::free_port();
    let error = login(&format!("localhost:{port}"), &good).unwrap_err();
    assert!(error.to_string().ends_with("connect: connection refused"), "{error}");
}
