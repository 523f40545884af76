//! Moving a full log out of the way, and compressing what was moved.
//!
//! `log` becomes `log.1`, that becomes `log.2`, and so on; the oldest is removed. Every step is one rename, so that
//! a reader finds each part under exactly one name at any time.
//! `log.1` stays until `log.1.gz` is complete. As in Docker, the gzip header's extra field is a JSON object
//! with the time of the part's last entry, so that a reader can skip or recognise a part unread.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};

use crate::base::time::Timestamp;
use crate::base::{At, Result};

use super::options::Settings;
use super::{Format, parts, records};

/// Rotates one log.
#[derive(Debug)]
pub(super) struct Rotation {
    path: PathBuf,
    format: Format,
    settings: Settings,
}

impl Rotation {
    pub(super) fn new(path: &Path, format: Format, settings: Settings) -> Rotation {
        Rotation { path: path.to_path_buf(), format, settings }
    }

    /// Moves the parts up by one; afterwards there is no file at the path itself.
    ///
    /// # Errors
    /// `Io` if the current file cannot be moved.
    pub(super) fn rotate(&mut self) -> Result<()> {
        let last = self.settings.max_files - 1;
        // Both names: the option may have changed since the parts were made.
        for name in [parts::plain(&self.path, last), parts::gzipped(&self.path, last)] {
            remove(&name);
        }
        for n in (1..last).rev() {
            for name in [parts::plain, parts::gzipped] {
                // Most of them do not exist.
                let _ = fs::rename(name(&self.path, n), name(&self.path, n + 1));
            }
        }
        let first = parts::plain(&self.path, 1);
        fs::rename(&self.path, &first).at(format_args!("rotating {}", self.path.display()))?;
        if self.settings.compress {
            let target = parts::gzipped(&self.path, 1);
            // Here and now: the shim, which is who writes logs, may not have a second thread (it forks),
            // and cannot have one when its children are born in another pid namespace. A part that cannot
            // be compressed stays as it is, which readers take as well.
            if compress(&first, &target, self.format).is_ok() {
                remove(&first);
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) {
    // Nobody can be told; a part that cannot be removed is tried again at the next rotation.
    let _ = fs::remove_file(path);
}

/// Compresses `from` to `to`, which is there only when it is complete.
fn compress(from: &Path, to: &Path, format: Format) -> io::Result<()> {
    let temporary = to.with_extension("gz.tmp");
    let work = || -> io::Result<()> {
        let mut input = File::open(from)?;
        let last = records::last_time(&mut input, format)?.unwrap_or(Timestamp::ZERO);
        let output = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&temporary)?;
        let mut encoder = GzBuilder::new()
            .extra(format!("{{\"lastTime\":\"{last}\"}}"))
            .write(output, Compression::fast());
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match input.read(&mut buffer)? {
                0 => break,
                n => encoder.write_all(&buffer[..n])?,
            }
        }
        encoder.finish()?.sync_data()?;
        fs::rename(&temporary, to)
    };
    work().inspect_err(|_| remove(&temporary))
}
