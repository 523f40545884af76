//! The layers of one image: fetched several at once, committed in order.
//!
//! ```text
//!  Waiting --claim--> (there) -------------------------.
//!     |                                                v
//!     '----> fetch, fill, check diff id --> Filled --commit--> Done      (lowest first)
//!                     |                        |
//!                   error --> all stop         '--abandon (another layer failed)
//! ```

use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Form, Image, Layer, Sink};
use crate::base::cancel::Cancel;
use crate::base::digest::{Digest, HashingReader};
use crate::base::progress::Progress;
use crate::base::{At, Error, Kind, Result, decompress, id, pipe, worker};
use crate::registry::blob::Blob;
use crate::registry::client::Client;

/// A download is reported whenever it got on by so many bytes.
const REPORT_BYTES: u64 = 512 * 1024;

/// What all threads of a pull share.
pub(super) struct Work<'a> {
    pub(super) client: &'a Client,
    pub(super) sink: &'a dyn Sink,
    pub(super) progress: &'a dyn Progress,
    pub(super) image: &'a Image,
    pub(super) stop: &'a Cancel,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    /// Filled by us, not yet committed.
    Filled,
    /// In the store, by us or by somebody else.
    There,
}

struct State {
    /// The next layer that nobody works on.
    next: usize,
    stages: Vec<Stage>,
    /// Layers below this one are all in the store.
    done: usize,
    /// Whether a thread is committing at this moment.
    committing: bool,
    error: Option<Error>,
}

/// Brings all layers of the image into the sink, at most `limit` at a time.
///
/// # Errors
/// The first failure of any layer.
pub(super) fn fetch(work: &Work<'_>, limit: usize) -> Result<()> {
    let image = work.image;
    let there = work.sink.begin(image)?;
    for (i, layer) in image.layers.iter().enumerate() {
        let text = if i < there { "Already exists" } else { "Pulling fs layer" };
        work.progress.message(short(layer), text);
    }
    let left = image.layers.len().saturating_sub(there);
    let threads = if work.sink.in_order() { 1 } else { limit.clamp(1, 32) }.min(left);
    for layer in image.layers.iter().skip(there + threads) {
        work.progress.message(short(layer), "Waiting");
    }
    let mut stages = vec![Stage::There; there.min(image.layers.len())];
    stages.resize(image.layers.len(), Stage::Waiting);
    let state =
        Mutex::new(State { next: there, stages, done: there, committing: false, error: None });
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let body = || drain_queue(work, &state);
            if let Err(e) = worker::builder("pull-layer").spawn_scoped(scope, body) {
                fail(work, &state, Error::from(e).at("starting thread pull-layer"));
            }
        }
    });
    let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = state.error {
        for (i, stage) in state.stages.iter().enumerate() {
            if *stage == Stage::Filled {
                work.sink.abandon(image, i);
            }
        }
        return Err(error);
    }
    Ok(())
}

fn lock<'a>(state: &'a Mutex<State>) -> MutexGuard<'a, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records the first failure and stops everybody.
fn fail(work: &Work<'_>, state: &Mutex<State>, error: Error) {
    lock(state).error.get_or_insert(error);
    work.stop.cancel();
}

/// Works on one layer after the other until there is none left or something failed.
fn drain_queue(work: &Work<'_>, state: &Mutex<State>) {
    loop {
        let index = {
            let mut state = lock(state);
            if state.error.is_some() || state.next == state.stages.len() {
                return;
            }
            state.next += 1;
            state.next - 1
        };
        let outcome = one(work, index);
        match outcome {
            Ok(stage) => lock(state).stages[index] = stage,
            Err(error) => return fail(work, state, error),
        }
        if let Err(error) = commit_ready(work, state) {
            return fail(work, state, error);
        }
    }
}

/// Commits what can be committed, unless another thread is at it and will see our layer as well.
fn commit_ready(work: &Work<'_>, state: &Mutex<State>) -> Result<()> {
    let mut guard = lock(state);
    if guard.committing {
        return Ok(());
    }
    guard.committing = true;
    loop {
        let index = guard.done;
        let stage = guard.stages.get(index).copied();
        match stage {
            Some(Stage::There) => guard.done += 1,
            Some(Stage::Filled) if guard.error.is_none() => {
                // Whatever becomes of it, the sink has it now.
                guard.stages[index] = Stage::There;
                drop(guard);
                work.sink.commit(work.image, index)?;
                work.progress.message(short(&work.image.layers[index]), "Pull complete");
                guard = lock(state);
                guard.done += 1;
            }
            _ => break,
        }
    }
    guard.committing = false;
    Ok(())
}

/// Fetches and fills one layer.
fn one(work: &Work<'_>, index: usize) -> Result<Stage> {
    let layer = &work.image.layers[index];
    if !work.sink.claim(work.image, index, work.stop)? {
        work.progress.message(short(layer), "Already exists");
        return Ok(Stage::There);
    }
    let filled = match work.sink.form() {
        Form::Blob => fill_blob(work, index),
        Form::Tar => fill_tar(work, index),
    };
    match filled {
        Ok(()) => Ok(Stage::Filled),
        Err(error) => {
            work.sink.abandon(work.image, index);
            Err(error)
        }
    }
}

fn fill_blob(work: &Work<'_>, index: usize) -> Result<()> {
    let layer = &work.image.layers[index];
    let mut source = Reported::new(work, layer)?;
    work.sink.fill(work.image, index, &mut source)?;
    source.finish()
}

/// Two threads: this one unpacks and hashes what was unpacked, the other fetches, hashes and inflates.
fn fill_tar(work: &Work<'_>, index: usize) -> Result<()> {
    let layer = &work.image.layers[index];
    let source = Reported::new(work, layer)?;
    let (writer, reader) = pipe::pipe();
    std::thread::scope(|scope| {
        let producer = worker::builder("pull-fetch")
            .spawn_scoped(scope, move || produce(source, writer))
            .at("starting thread pull-fetch")?;
        let consumed = consume(work, index, reader);
        let produced =
            producer.join().unwrap_or_else(|_| Err(Error::internal("download panicked")));
        // When the reader gave up first, the writer only knows that the pipe broke.
        match (consumed, produced) {
            (Ok(()), produced) => produced,
            (Err(_), Err(e)) if e.kind() != Kind::Cancelled && e.errno() != Some(libc::EPIPE) => {
                Err(e)
            }
            (Err(e), _) => Err(e),
        }
    })
}

fn produce(mut source: Reported<'_>, mut writer: pipe::Writer) -> Result<()> {
    let inflate = |source: &mut Reported<'_>, writer: &mut pipe::Writer| -> Result<()> {
        let mut plain = decompress::open(&mut *source)?;
        let mut buffer = vec![0; pipe::BUFFER_BYTES];
        loop {
            let n = plain.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            if io::Write::write_all(writer, &buffer[..n]).is_err() {
                return Err(Error::from_errno(libc::EPIPE));
            }
        }
    };
    let outcome = match inflate(&mut source, &mut writer) {
        Ok(()) => source.finish(),
        Err(e) if e.errno() == Some(libc::EPIPE) => Err(e),
        // Data that cannot be inflated is mostly not what the manifest promised: that is worth more.
        Err(e) => match io::copy(&mut source, &mut io::sink()) {
            Ok(_) => Err(e.at(format_args!("decompressing {}", source.digest))),
            Err(worse) => Err(worse.into()),
        },
    };
    match outcome {
        Ok(()) => writer.finish().map_err(|_| Error::from_errno(libc::EPIPE)),
        Err(e) => {
            writer.fail(e.clone().into());
            Err(e)
        }
    }
}

fn consume(work: &Work<'_>, index: usize, mut reader: pipe::Reader) -> Result<()> {
    let layer = &work.image.layers[index];
    let found = if work.sink.hashes() {
        let found = work.sink.fill(work.image, index, &mut reader)?;
        // The end of the pipe is where the blob was found right.
        io::copy(&mut reader, &mut io::sink())?;
        found.ok_or_else(|| Error::internal("the layer was not hashed"))?
    } else {
        let mut reader = HashingReader::new(reader);
        work.sink.fill(work.image, index, &mut reader)?;
        io::copy(&mut reader, &mut io::sink())?;
        reader.finish().0
    };
    if found != layer.diff_id {
        return Err(Error::new(
            Kind::Io,
            format_args!(
                "layers from manifest don't match image configuration: layer {} unpacks to {found}, \
                 the configuration says {}",
                layer.digest, layer.diff_id
            ),
        ));
    }
    Ok(())
}

/// A blob that tells how far it is.
struct Reported<'a> {
    blob: Blob<'a>,
    progress: &'a dyn Progress,
    digest: Digest,
    id: &'a str,
    read: u64,
    reported: u64,
}

impl<'a> Reported<'a> {
    fn new(work: &'a Work<'_>, layer: &'a Layer) -> Result<Reported<'a>> {
        let blob = work.client.blob(&work.image.reference, &layer.descriptor)?;
        Ok(Reported {
            blob,
            progress: work.progress,
            digest: layer.digest,
            id: short(layer),
            read: 0,
            reported: 0,
        })
    }

    /// Reads and checks what is left of the blob.
    fn finish(&mut self) -> Result<()> {
        io::copy(self, &mut io::sink())?;
        let size = self.blob.size();
        self.progress.message(self.id, "Verifying Checksum");
        self.progress.message(self.id, "Download complete");
        self.progress.update(self.id, "Extracting", size, size);
        Ok(())
    }
}

impl Read for Reported<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.blob.read(buf)?;
        self.read += n as u64;
        if n > 0 && (self.read >= self.reported + REPORT_BYTES || self.read == self.blob.size()) {
            self.reported = self.read;
            self.progress.update(self.id, "Downloading", self.read, self.blob.size());
        }
        Ok(n)
    }
}

/// The first twelve digits of the blob's digest, by which Docker calls a layer.
fn short(layer: &Layer) -> &str {
    id::short(&layer.descriptor.digest)
}
