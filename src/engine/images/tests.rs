//! Images in a store on disk, with made-up containers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::base::time::Timestamp;
use crate::image::layers::{Layer, Parent};

struct Fixture {
    dir: PathBuf,
    images: Images,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = std::env::temp_dir().join(format!("images-{:x}", crate::sys::random::u64()));
        std::fs::create_dir(&dir).unwrap();
        let driver = crate::storage::open("vfs", &dir, &[]).unwrap();
        let store = Arc::new(image::Store::open(&dir, driver).unwrap());
        let images = Images::new(store, Arc::new(Bus::new()), Settings::default());
        Fixture { dir, images }
    }

    /// A layer with one file of `size` bytes on top of `below`.
    fn layer(&self, below: Option<&Layer>, size: usize) -> Layer {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(size as u64);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        tar.append_data(&mut header, format!("f{size}"), &vec![b'x'; size][..]).unwrap();
        let bytes = tar.into_inner().unwrap();
        let layers = self.images.store.layers();
        let staged =
            layers.unpack(&mut &bytes[..], below.map_or(Parent::Bottom, Parent::On)).unwrap();
        staged.commit(below).unwrap()
    }

    /// An image of `layers` made at `seconds`, with one label.
    fn image(&self, layers: &[&Layer], seconds: i64, label: &str) -> Digest {
        let ids: Vec<String> = layers.iter().map(|l| format!("\"{}\"", l.diff_id)).collect();
        let steps: Vec<String> = layers
            .iter()
            .enumerate()
            .map(|(n, _)| {
                format!(r#"{{"created":"1970-01-01T00:00:0{n}Z","created_by":"step {n}"}}"#)
            })
            .chain([r#"{"created_by":"CMD","empty_layer":true}"#.to_string()])
            .collect();
        let created = Timestamp::from_secs(seconds);
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","created":"{created}","config":{{"Cmd":["sh"],"Labels":{{"who":"{label}"}}}},"rootfs":{{"type":"layers","diff_ids":[{}]}},"history":[{}]}}"#,
            ids.join(","),
            steps.join(",")
        );
        self.images.store.create(text.as_bytes()).unwrap()
    }

    fn name(&self, id: &Digest, name: &str) {
        self.images.store.refs().set(&Reference::parse(name).unwrap(), id).unwrap();
    }

    fn list(&self, filters: &[(&str, &str)]) -> Vec<Row> {
        self.try_list(filters).unwrap()
    }

    fn try_list(&self, filters: &[(&str, &str)]) -> Result<Vec<Row>> {
        let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in filters {
            map.entry((*name).into()).or_default().push((*value).into());
        }
        self.images.list(&ListOptions { filters: map, ..ListOptions::default() }, &[])
    }

    fn remove(&self, name: &str, force: bool, uses: &[Use]) -> Result<Vec<Removed>> {
        let options = RemoveOptions { force, prune: true };
        self.images.remove(name, options, &|| Ok(uses.to_vec()))
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn user(image: Digest, running: bool) -> Use {
    Use { container: "c0ffee".repeat(10) + "c0ff", image, running }
}

fn text(result: Result<Vec<Removed>>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn lists_are_filtered_as_dockers_are() {
    let f = Fixture::new();
    let (base, other) = (f.layer(None, 10), f.layer(None, 20));
    let top = f.layer(Some(&base), 30);
    let old = f.image(&[&base], 100, "me");
    let new = f.image(&[&base, &top], 300, "you");
    let nameless = f.image(&[&other], 200, "me");
    f.name(&old, "debian:11");
    f.name(&new, "debian:12");
    f.name(&new, "localhost:5000/x/y:1");
    f.name(&new, &format!("debian@{new}"));
    let ids = |filters: &[(&str, &str)]| -> Vec<String> {
        f.list(filters).into_iter().map(|row| row.id).collect()
    };
    let (old_id, new_id, nameless_id) = (old.to_string(), new.to_string(), nameless.to_string());
    let all = [new_id.clone(), nameless_id.clone(), old_id.clone()];
    assert_eq!(ids(&[]), all);
    assert_eq!(ids(&[("dangling", "true")]), std::slice::from_ref(&nameless_id));
    assert_eq!(ids(&[("dangling", "false")]), [new_id.clone(), old_id.clone()]);
    assert_eq!(ids(&[("label", "who=me")]), [nameless_id.clone(), old_id.clone()]);
    assert_eq!(ids(&[("label", "who"), ("label", "who=you")]), std::slice::from_ref(&new_id));
    assert_eq!(ids(&[("before", "debian:12")]), [nameless_id.clone(), old_id.clone()]);
    assert_eq!(ids(&[("since", "debian:11")]), [new_id.clone(), nameless_id]);
    assert_eq!(ids(&[("until", "150")]), [old_id]);
    assert_eq!(ids(&[("reference", "debian")]).len(), 2);
    let row = &f.list(&[("reference", "debian:1[2-9]")])[0];
    assert_eq!((row.tags.as_slice(), row.digests.len()), (&["debian:12".to_string()][..], 0));
    let row = &f.list(&[])[0];
    assert_eq!((row.tags.len(), row.digests.len(), row.size), (2, 1, 40));
    assert_eq!(f.try_list(&[("color", "x")]).unwrap_err().to_string(), "invalid filter 'color'");
    assert!(f.try_list(&[("dangling", "maybe")]).is_err());
    assert!(f.try_list(&[("reference", "[")]).is_err());
    assert_eq!(
        f.try_list(&[("before", "nosuch")]).unwrap_err().to_string(),
        "No such image: nosuch:latest"
    );
}

#[test]
fn shared_bytes_and_containers_are_counted() {
    let f = Fixture::new();
    let base = f.layer(None, 10);
    let top = f.layer(Some(&base), 30);
    let first = f.image(&[&base], 1, "a");
    f.image(&[&base, &top], 2, "b");
    let options = ListOptions { shared_size: true, ..ListOptions::default() };
    let rows = f.images.list(&options, &[user(first, true)]).unwrap();
    assert_eq!(rows.iter().map(|r| r.shared_size).collect::<Vec<_>>(), [Some(10), Some(10)]);
    assert_eq!(rows.iter().map(|r| r.containers).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn an_image_is_shown_with_its_names_and_its_making() {
    let f = Fixture::new();
    let base = f.layer(None, 10);
    let top = f.layer(Some(&base), 30);
    let id = f.image(&[&base, &top], 5, "a");
    f.images.tag(&id.hex()[..12], "app", "1").unwrap();
    let shown = f.images.show("app:1", None).unwrap();
    assert_eq!((shown.image.id, shown.size, shown.driver.as_str()), (id, 40, "vfs"));
    assert_eq!(shown.tags, ["app:1"]);
    assert!(!shown.last_tag_time.is_zero());
    let rows = f.images.history("app:1", None).unwrap();
    let seen: Vec<_> = rows.iter().map(|r| (r.created_by.as_str(), r.size)).collect();
    assert_eq!(seen, [("CMD", 0), ("step 1", 30), ("step 0", 10)]);
    assert_eq!((rows[0].id.clone(), rows[1].id.as_str()), (id.to_string(), "<missing>"));
    assert_eq!(rows[0].tags, ["app:1"]);
    assert!(f.images.check_platform("app:1", "linux/amd64").is_ok());
    let e = f.images.check_platform("app:1", "linux/arm64").unwrap_err();
    assert_eq!(
        e.to_string(),
        "image with reference app:1 was found but its platform (linux/amd64) does not match the specified platform (linux/arm64)"
    );
    assert!(f.images.tag("app:1", "APP", "2").is_err());
    assert!(f.images.tag("app:1", "sha256", "2").is_err());
    assert_eq!(f.images.find("nosuch").unwrap_err().to_string(), "No such image: nosuch:latest");
}

#[test]
fn a_name_goes_before_its_image() {
    let f = Fixture::new();
    let base = f.layer(None, 10);
    let chain = base.chain_id.to_string();
    let id = f.image(&[&base], 5, "a");
    drop(base);
    f.name(&id, "a:1");
    f.name(&id, "a:2");
    f.name(&id, &format!("a@{id}"));
    assert_eq!(f.remove("a:1", false, &[]).unwrap(), [Removed::Name("a:1".into())]);
    // The last tag takes the digests of its repository with it, and then the image goes.
    assert_eq!(
        f.remove("a:2", false, &[]).unwrap(),
        [
            Removed::Name("a:2".into()),
            Removed::Name(format!("a@{id}")),
            Removed::Content(id.to_string()),
            Removed::Content(chain),
        ]
    );
    assert_eq!(text(f.remove("a:2", false, &[])), "No such image: a:2");
}

#[test]
fn users_of_an_image_stand_in_the_way() {
    let f = Fixture::new();
    let base = f.layer(None, 10);
    let id = f.image(&[&base], 5, "a");
    f.name(&id, "a:1");
    let short = &id.hex()[..12];
    let (running, stopped) = (user(id, true), user(id, false));
    assert_eq!(
        text(f.remove("a:1", false, std::slice::from_ref(&stopped))),
        format!(
            "conflict: unable to remove repository reference \"a:1\" (must force) - container c0ffeec0ffee is using its referenced image {short}"
        )
    );
    assert_eq!(
        text(f.remove(short, false, std::slice::from_ref(&stopped))),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container c0ffeec0ffee"
        )
    );
    assert_eq!(
        text(f.remove(short, true, std::slice::from_ref(&running))),
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container c0ffeec0ffee"
        )
    );
    // By name and force only the name goes, because the image is still needed.
    let removed = f.remove("a:1", true, std::slice::from_ref(&running)).unwrap();
    assert_eq!(removed, [Removed::Name("a:1".into())]);
    assert!(f.images.find(short).is_ok());
    // A stopped container does not stop force.
    let removed = f.remove(short, true, &[stopped]).unwrap();
    assert_eq!(removed, [Removed::Content(id.to_string())]);
}

#[test]
fn an_id_with_several_repositories_needs_force() {
    let f = Fixture::new();
    let base = f.layer(None, 10);
    let id = f.image(&[&base], 5, "a");
    f.name(&id, "a:1");
    f.name(&id, "b:1");
    let short = &id.hex()[..12];
    assert_eq!(
        text(f.remove(short, false, &[])),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
    );
    assert_eq!(f.remove(short, true, &[]).unwrap().len(), 3);
}

#[test]
fn parents_go_with_their_last_child_unless_named() {
    let f = Fixture::new();
    let base = f.layer(None, 10);
    let top = f.layer(Some(&base), 30);
    let parent = f.image(&[&base], 1, "p");
    let child = f.image(&[&base, &top], 2, "c");
    f.images.store.images().set_parent(&child, &parent).unwrap();
    f.name(&child, "c:1");
    drop((base, top));
    assert_eq!(f.list(&[]).len(), 1);
    let short = &parent.hex()[..12];
    assert_eq!(
        text(f.remove(short, true, &[])),
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image has dependent child images"
        )
    );
    let removed = f.remove("c:1", false, &[]).unwrap();
    assert!(removed.contains(&Removed::Content(parent.to_string())), "{removed:?}");
    assert_eq!(f.images.count().unwrap(), 0);
}
