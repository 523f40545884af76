//! Pulls into the image store, with both drivers that need nothing of the host: nothing is fetched
//! twice, nothing is left of a pull that failed.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::{Arc, Barrier};

use multi_core::base::Result;
use multi_core::base::cancel::Cancel;
use multi_core::base::digest::Digest;
use multi_core::base::progress::{Progress, Silent};
use multi_core::image::Store;
use multi_core::image::pull::Puller;
use multi_core::registry::auth::Credentials;
use multi_core::registry::pull::{Pulled, Request};
use multi_core::registry::reference::Reference;
use multi_core::storage;
use support::Scratch;
use support::faulty::{Fault, Faulty};
use support::images::{self, Layer, Packing, Style, TestImage};
use support::pulling::{Lines, settings};

const DRIVERS: [&str; 2] = ["overlay2", "vfs"];

struct Fixture {
    puller: Puller,
    store: Arc<Store>,
    registry: Faulty,
    driver: &'static str,
    dir: Scratch,
}

impl Fixture {
    fn new(driver: &'static str) -> Fixture {
        let dir = Scratch::new("store");
        let store = Arc::new(open(driver, &dir));
        let puller = Puller::new(store.clone());
        Fixture { puller, store, registry: Faulty::new(), driver, dir }
    }

    fn pull_with(&self, name: &str, progress: &dyn Progress, cancel: &Cancel) -> Result<Pulled> {
        let reference = Reference::parse(&self.registry.name(name))?.or_latest();
        let request = Request {
            settings: &settings(),
            reference: &reference,
            platform: None,
            credentials: &Credentials::default(),
        };
        self.puller.pull(&request, progress, cancel)
    }

    fn pull(&self, name: &str) -> Result<Pulled> {
        self.pull_with(name, &Silent, &Cancel::new())
    }

    /// The bytes that the store gives back for each layer of an image.
    fn layers(&self, id: &Digest) -> Vec<Vec<u8>> {
        let image = self.store.images().get(id).unwrap();
        let mut top = self.store.top_layer(&image).unwrap();
        let mut tars = Vec::new();
        while let Some(layer) = top {
            let mut tar = Vec::new();
            self.store.layers().write_tar(&layer, &mut tar).unwrap();
            tars.insert(0, tar);
            top = layer.parent.and_then(|below| self.store.layers().get(&below).unwrap());
        }
        tars
    }

    /// Whether there is nothing but an empty store.
    fn assert_empty(&self) {
        assert_eq!(self.store.images().list().unwrap(), []);
        assert_eq!(self.store.layers().list().unwrap(), []);
        assert_eq!(self.store.refs().list().unwrap(), []);
        // What was removed is deleted in the background; a store that is opened sees to the rest.
        drop(open(self.driver, &self.dir));
        let root = self.dir.join(self.driver);
        let root = if self.driver == "vfs" { root.join("dir") } else { root };
        support::eventually("the removal of all layers", || {
            let entries = std::fs::read_dir(&root).ok()?.flatten();
            let ids = entries.filter(|e| e.file_name().len() == 64).count();
            (ids == 0).then_some(())
        });
    }
}

fn open(driver: &str, dir: &Scratch) -> Store {
    Store::open(dir.path(), storage::open(driver, dir.path(), &[]).unwrap()).unwrap()
}

fn layer(name: &str, size: usize, seed: u64) -> Layer {
    Layer::new(images::tar(&[("d/", b""), (name, &images::noise(size, seed))]), Packing::Gzip)
}

#[test]
fn a_pulled_image_is_there_with_its_layers_and_names() {
    for driver in DRIVERS {
        for (style, packing) in [
            (Style::Docker, Packing::Gzip),
            (Style::Oci, Packing::Zstd),
            (Style::Oci, Packing::None),
        ] {
            let fixture = Fixture::new(driver);
            let image = images::small(style, packing);
            fixture.registry.add("a/app", "1", &image);
            let pulled = fixture.pull("a/app:1").unwrap();
            assert!(pulled.newer);
            assert_eq!(pulled.config.to_string(), image.id());
            let tars: Vec<Vec<u8>> = image.layers.iter().map(|l| l.tar.clone()).collect();
            assert!(fixture.layers(&pulled.config) == tars, "{driver} {style:?} {packing:?}");
            let name = fixture.registry.name("a/app:1");
            assert_eq!(fixture.store.resolve(&name).unwrap(), pulled.config);
            let pinned = fixture.registry.name(&format!("a/app@{}", image.digest()));
            assert_eq!(fixture.store.resolve(&pinned).unwrap(), pulled.config);
            assert_eq!(fixture.store.refs().list().unwrap().len(), 2);
        }
    }
}

#[test]
fn what_is_there_is_not_fetched_again() {
    for driver in DRIVERS {
        let fixture = Fixture::new(driver);
        let shared = layer("d/a", 50_000, 1);
        let first = TestImage::new(vec![shared.clone(), layer("d/b", 10, 2)], Style::Oci, "{}");
        let second = TestImage::new(vec![shared.clone(), layer("d/c", 10, 3)], Style::Oci, "{}");
        fixture.registry.add("app", "1", &first);
        fixture.registry.add("app", "2", &second);
        fixture.pull("app:1").unwrap();
        let lines = Lines::default();
        assert!(!fixture.pull_with("app:1", &lines, &Cancel::new()).unwrap().newer);
        assert!(lines.has("Status: Image is up to date for"));
        assert_eq!(fixture.registry.requests_for(&first.id()).len(), 1);
        let lines = Lines::default();
        fixture.pull_with("app:2", &lines, &Cancel::new()).unwrap();
        assert!(lines.has("|Already exists"));
        assert_eq!(fixture.registry.requests_for(&shared.digest()).len(), 1);
        // The tag moves.
        fixture.registry.add("app", "1", &second);
        assert!(fixture.pull("app:1").unwrap().newer);
        let name = fixture.registry.name("app:1");
        assert_eq!(fixture.store.resolve(&name).unwrap().to_string(), second.id());
    }
}

#[test]
fn pulls_of_the_same_layers_at_the_same_time_fetch_them_once() {
    for driver in DRIVERS {
        let fixture = Fixture::new(driver);
        let layers: Vec<Layer> = (0..6).map(|n| layer("d/x", 40_000, n)).collect();
        let image = TestImage::new(layers.clone(), Style::Oci, "{}");
        fixture.registry.add("app", "1", &image);
        fixture.registry.add("other", "1", &image);
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for name in ["app:1", "other:1", "app:1", "other:1"] {
                let (fixture, start) = (&fixture, &start);
                scope.spawn(move || {
                    start.wait();
                    fixture.pull(name).unwrap();
                });
            }
        });
        for layer in &layers {
            assert_eq!(fixture.registry.requests_for(&layer.digest()).len(), 1, "{driver}");
        }
        let id = Digest::parse(&image.id()).unwrap();
        assert_eq!(fixture.layers(&id).len(), 6);
        assert_eq!(fixture.store.refs().of(&id).unwrap().len(), 4);
    }
}

#[test]
fn a_pull_that_waits_for_another_that_fails_fetches_itself() {
    for driver in DRIVERS {
        let fixture = Fixture::new(driver);
        let image = TestImage::new(vec![layer("d/x", 40_000, 1)], Style::Oci, "{}");
        fixture.registry.add("first", "1", &image);
        fixture.registry.add("second", "1", &image);
        let blob = format!("/first/blobs/{}", image.layers[0].digest());
        fixture.registry.fault(&blob, Fault::StallAfter(10), usize::MAX);
        let cancel = Cancel::new();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| fixture.pull_with("first:1", &Silent, &cancel));
            support::eventually("the first request", || {
                (!fixture.registry.requests_for(&blob).is_empty()).then_some(())
            });
            let second = scope.spawn(|| fixture.pull("second:1"));
            support::eventually("the second pull to come to the layer", || {
                (!fixture
                    .registry
                    .requests_for(&format!("/second/blobs/{}", image.id()))
                    .is_empty())
                .then_some(())
            });
            cancel.cancel();
            assert!(first.join().unwrap().is_err());
            assert!(second.join().unwrap().is_ok());
        });
        assert_eq!(fixture.layers(&Digest::parse(&image.id()).unwrap()).len(), 1);
    }
}

#[test]
fn nothing_is_left_of_a_pull_that_failed() {
    for driver in DRIVERS {
        for fault in [Fault::WrongBytes, Fault::CutAfter(1000), Fault::Shorter(1), Fault::Endless] {
            let fixture = Fixture::new(driver);
            let layers = vec![layer("d/a", 5000, 1), layer("d/b", 5000, 2), layer("d/c", 5000, 3)];
            let image = TestImage::new(layers, Style::Oci, "{}");
            fixture.registry.add("app", "1", &image);
            fixture.registry.fault(&image.layers[2].digest(), fault.clone(), usize::MAX);
            fixture.pull("app:1").unwrap_err();
            fixture.assert_empty();
        }
    }
}

#[test]
fn a_layer_that_is_no_archive_is_refused() {
    for driver in DRIVERS {
        let fixture = Fixture::new(driver);
        let nonsense = Layer::new(b"this is not a tar archive".repeat(100), Packing::Gzip);
        let image = TestImage::new(vec![nonsense], Style::Oci, "{}");
        fixture.registry.add("app", "1", &image);
        let error = fixture.pull("app:1").unwrap_err().to_string();
        assert!(!error.contains("pipe"), "{error}");
        fixture.assert_empty();
    }
}
