//! Labels and options of volumes, taken over from Docker and left for it.
//!
//! Docker keeps them in `volumes/metadata.db`. At the start, volumes that have no record of ours get one
//! from there; at a clean end the database is written anew from our records, with what Docker knew of
//! volumes of other drivers. `volumes/.handed-over` tells which state of the database is known, so that it is
//! not taken for news: a volume made here under the name of an older one does not inherit its labels.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::metadata::Metadata;
use super::{LOCAL, Volume, bolt};
use crate::base::file::{Durable, read_optional, write_atomic};
use crate::base::{Result, json};

const DATABASE: &str = "metadata.db";
const BUCKET: &str = "volumes";
const KNOWN: &str = ".handed-over";
/// A database that is larger is not Docker's.
const SIZE_MAX: u64 = 256 << 20;

/// Values of the database by the name of the volume.
type Database = BTreeMap<Vec<u8>, Vec<u8>>;

/// Records labels and options that Docker recorded. Failures are logged: a volume works without.
pub(super) fn take_over(dir: &Path) {
    if let Err(e) = try_take_over(dir) {
        log::warn!("reading what Docker recorded of volumes: {e}");
    }
}

fn try_take_over(dir: &Path) -> Result<()> {
    let state = state_of(dir);
    if state.is_empty() || read_optional(&dir.join(KNOWN))?.as_deref() == Some(state.as_bytes()) {
        return Ok(());
    }
    for (name, value) in read(dir)? {
        let Ok(name) = String::from_utf8(name) else { continue };
        let Ok(metadata) = json::parse::<Metadata>(&value) else { continue };
        let place = dir.join(&name);
        if super::check_name(&name).is_ok()
            && is_local(&metadata)
            && place.is_dir()
            && !Metadata::exists(&place)
        {
            metadata.save(&place, Durable::No)?;
        }
    }
    write_atomic(&dir.join(KNOWN), state.as_bytes(), 0o600, Durable::No)
}

/// Leaves the database as Docker would have it. Failures are logged.
pub(super) fn hand_over(dir: &Path, volumes: &[Volume]) {
    if let Err(e) = try_hand_over(dir, volumes) {
        log::warn!("recording volumes for Docker: {e}");
    }
}

fn try_hand_over(dir: &Path, volumes: &[Volume]) -> Result<()> {
    let old = read(dir)?;
    let mut new: Database = old
        .iter()
        .filter(|(_, value)| json::parse::<Metadata>(value).is_ok_and(|known| !is_local(&known)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    for volume in volumes {
        let metadata = Metadata::new(&volume.name, &volume.labels, &volume.options);
        if !metadata.is_empty() {
            new.insert(volume.name.clone().into_bytes(), json::to_string(&metadata).into_bytes());
        }
    }
    if new == old {
        return Ok(());
    }
    let bytes = bolt::write(BUCKET, &new.into_iter().collect())?;
    write_atomic(&dir.join(DATABASE), &bytes, 0o600, Durable::Yes)?;
    write_atomic(&dir.join(KNOWN), state_of(dir).as_bytes(), 0o600, Durable::No)
}

fn is_local(metadata: &Metadata) -> bool {
    matches!(metadata.driver.as_str(), "" | LOCAL)
}

fn read(dir: &Path) -> Result<Database> {
    match read_optional(&dir.join(DATABASE))? {
        Some(bytes) if bytes.len() as u64 <= SIZE_MAX => {
            Ok(bolt::read(&bytes, BUCKET)?.into_iter().collect())
        }
        _ => Ok(Database::new()),
    }
}

/// Tells one state of the database from another; empty if there is none.
fn state_of(dir: &Path) -> String {
    fs::metadata(dir.join(DATABASE)).map_or(String::new(), |stat| {
        format!("{} {}.{:09} {}", stat.ino(), stat.mtime(), stat.mtime_nsec(), stat.size())
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Scratch;
    use super::super::{Create, Store};
    use super::*;
    use crate::base::json::TextMap;

    fn map(key: &str, value: &str) -> TextMap {
        TextMap::from([(key.into(), value.into())])
    }

    #[test]
    fn labels_go_to_the_database_and_come_back_from_it() {
        let scratch = Scratch::new("handover");
        let dir = scratch.0.join("volumes");
        let store = Store::open(&scratch.0).unwrap();
        let (labels, none) = (map("a", "b"), TextMap::new());
        let create = |store: &Store, name: &str, labels: &TextMap| {
            let durable = Durable::No;
            let asked = Create { name, driver: "", options: &none, labels, durable };
            store.create(&asked, None).unwrap();
        };
        create(&store, "labelled", &labels);
        create(&store, "plain", &none);
        store.close();
        let foreign = r#"{"Name":"far","Driver":"other","Labels":null,"Options":null}"#;
        let mut entries: Vec<_> = read(&dir).unwrap().into_iter().collect();
        assert_eq!(entries.len(), 1);
        entries.insert(0, (b"far".to_vec(), foreign.as_bytes().to_vec()));
        let bytes = bolt::write(BUCKET, &entries).unwrap();
        fs::write(dir.join(DATABASE), bytes).unwrap();

        // As if Docker had made it.
        fs::remove_file(dir.join("labelled/metadata.json")).unwrap();
        let store = Store::open(&scratch.0).unwrap();
        assert_eq!(store.get("labelled").unwrap().labels, labels);

        // A new one of that name does not inherit.
        store.remove("labelled").unwrap();
        create(&store, "labelled", &none);
        let store = Store::open(&scratch.0).unwrap();
        assert_eq!(store.get("labelled").unwrap().labels, none);
        store.close();
        let left = read(&dir).unwrap();
        assert_eq!(left.into_keys().collect::<Vec<_>>(), [b"far".to_vec()]);
    }

    #[test]
    fn a_damaged_database_keeps_nobody_from_starting() {
        let scratch = Scratch::new("damaged-db");
        fs::create_dir(scratch.0.join("volumes")).unwrap();
        fs::write(scratch.0.join("volumes").join(DATABASE), "nonsense").unwrap();
        assert_eq!(Store::open(&scratch.0).unwrap().list().unwrap(), []);
    }
}
