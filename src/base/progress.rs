//! Where long work reports how far it is, without knowing who looks on.
//!
//! The API turns the reports into Docker's JSON stream, a terminal program draws them as lines.
//! Implementations must be quick and must not fail: whoever does the work does not wait for a reader.

/// A listener to the progress of a pull, push, load or build.
pub trait Progress: Send + Sync {
    /// A line of text. `id` names the layer or the tag that it belongs to; empty for the whole.
    fn message(&self, id: &str, text: &str);

    /// `current` of `total` bytes of `action` (such as `Downloading`) on `id`. A `total` of 0 means
    /// that the end is not known.
    fn update(&self, id: &str, action: &str, current: u64, total: u64);
}

/// Nobody looks on.
pub struct Silent;

impl Progress for Silent {
    fn message(&self, _id: &str, _text: &str) {}
    fn update(&self, _id: &str, _action: &str, _current: u64, _total: u64) {}
}
