//! What the tests of this part share: a directory that goes away.

use std::path::{Path, PathBuf};

/// A fresh directory, removed on drop.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> TempDir {
        let unique = crate::sys::random::u64();
        let path = std::env::temp_dir().join(format!("multi-net-{name}-{unique:016x}"));
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
