//! One image in full, and how it was made.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Images;
use crate::base::Result;
use crate::base::digest::Digest;
use crate::base::time::Timestamp;
use crate::image::config::{Image, Platform, chain_ids};

/// An image with what the store knows of it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The image.
    pub image: Arc<Image>,
    /// Names with tags.
    pub tags: Vec<String>,
    /// Names with digests.
    pub digests: Vec<String>,
    /// The image it was made from here.
    pub parent: Option<Digest>,
    /// Bytes of all its layers.
    pub size: u64,
    /// The storage driver's name.
    pub driver: String,
    /// What the driver says of the topmost layer.
    pub driver_data: Option<BTreeMap<String, String>>,
    /// When it got its last tag here; zero if never.
    pub last_tag_time: Timestamp,
}

/// One step of an image's making, the last first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryRow {
    /// The id of the image after this step, or `<missing>`.
    pub id: String,
    /// When.
    pub created: Option<Timestamp>,
    /// By which command.
    pub created_by: String,
    /// The author's remark.
    pub comment: String,
    /// Bytes that the step added.
    pub size: u64,
    /// Names of the image after this step.
    pub tags: Vec<String>,
}

impl Images {
    /// The image `name` in full.
    ///
    /// # Errors
    /// Those of [`Images::find_for`]; `Io`.
    pub fn show(&self, name: &str, platform: Option<&Platform>) -> Result<Shown> {
        let image = self.find_for(name, platform)?;
        let (tags, digests) = self.names(&image.id)?;
        let driver = self.store.layers().driver();
        let top = self.store.top_layer(&image)?;
        Ok(Shown {
            tags,
            digests,
            parent: self.store.images().parent(&image.id)?,
            size: self.store.size(&image)?,
            driver: driver.name().to_string(),
            driver_data: top.map(|layer| driver.metadata(&layer.cache_id)),
            last_tag_time: self.store.images().last_updated(&image.id)?,
            image,
        })
    }

    /// The steps in which the image `name` was made, the last first.
    ///
    /// # Errors
    /// Those of [`Images::find_for`]; `Io`.
    pub fn history(&self, name: &str, platform: Option<&Platform>) -> Result<Vec<HistoryRow>> {
        let image = self.find_for(name, platform)?;
        let mut chains = chain_ids(&image.diff_ids).into_iter();
        let mut rows = Vec::with_capacity(image.config.history.len());
        for step in &image.config.history {
            let chain = if step.empty_layer { None } else { chains.next() };
            let size = chain.map_or(Ok(0), |chain| self.layer_size(&chain))?;
            rows.push(HistoryRow {
                id: "<missing>".into(),
                created: step.created,
                created_by: step.created_by.clone(),
                comment: step.comment.clone(),
                size,
                tags: Vec::new(),
            });
        }
        rows.reverse();
        // Images made here have a parent for each step; pulled ones only themselves.
        let mut id = Some(image.id);
        for row in &mut rows {
            let Some(present) = id else { break };
            row.id = present.to_string();
            row.tags = self.names(&present)?.0;
            id = self.store.images().parent(&present)?;
        }
        Ok(rows)
    }
}
