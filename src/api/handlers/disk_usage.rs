//! `GET /system/df`.

use crate::api::Call;
use crate::api::handlers::{containers, images, volumes};
use crate::api::types::disk_usage::DiskUsage;
use crate::api::types::volume::{UsageData, Volume};
use crate::api::version::Version;
use crate::base::{Error, Result};
use crate::engine::images::ListOptions;
use crate::http::{Request, Response};

/// What may be asked for alone.
const TYPES: [&str; 4] = ["container", "image", "volume", "build-cache"];

/// What is kept on disk, of each kind or, since 1.42, of the kinds that `type` names.
///
/// # Errors
/// `InvalidParameter` for an unknown kind; `Io`.
pub fn show(call: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let engine = call.engine;
    let mut asked: Vec<&str> = request.query.all("type").collect();
    if call.version < Version(1, 42) || asked.is_empty() {
        asked = TYPES.to_vec();
    }
    if let Some(unknown) = asked.iter().find(|kind| !TYPES.contains(kind)) {
        return Err(Error::invalid(format_args!("unknown object type: {unknown}")));
    }
    let mut usage = DiskUsage::default();
    if asked.contains(&"image") {
        let options = ListOptions { shared_size: true, ..ListOptions::default() };
        let rows = engine.images.list(&options, &engine.image_uses()?)?;
        let counted = |row: crate::engine::images::Row| {
            let containers = row.containers as i64;
            let mut shown = images::summary(row, call.version);
            // Here they are counted in every version.
            shown.containers = containers;
            shown
        };
        usage.images = Some(rows.into_iter().map(counted).collect());
        usage.layers_size = size(engine.images.layers_size()?);
    }
    if asked.contains(&"container") {
        usage.containers = Some(containers::list::all_with_sizes(engine)?);
    }
    if asked.contains(&"volume") {
        let rows = engine.volume_usage()?.into_iter().map(|used| Volume {
            usage_data: Some(UsageData {
                ref_count: used.containers as i64,
                size: used.size_bytes.map_or(-1, size),
            }),
            ..volumes::shown(used.volume)
        });
        usage.volumes = Some(rows.collect());
    }
    if asked.contains(&"build-cache") {
        // The classic builder's cache is its images.
        usage.build_cache = Some(Vec::new());
        usage.builder_size = (call.version < Version(1, 42)).then_some(0);
    }
    response.json(200, &usage)
}

fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
