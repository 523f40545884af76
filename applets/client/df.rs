//! `docker system df`.

use multi_core::api::types::container::Summary as Container;
use multi_core::api::types::disk_usage::DiskUsage;
use multi_core::api::types::volume::Volume;
use multi_core::base::bytesize;
use multi_core::base::template::{Object, Template, Value};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::cli::table::{self, Headings};

use super::failure::Outcome;
use super::session::Session;
use super::{images, ps};

pub(crate) const SPEC: Spec =
    Spec { about: "Show docker disk usage", arity: Arity::None, ..Spec::NEW };

/// show disk usage
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    #[argh(
        option,
        arg_name = "string",
        default = "String::new()",
        description = "format output using a custom template:\n'table':            Print output in table format with column headers (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates"
    )]
    format: String,
    /// show detailed information on space usage
    #[argh(switch, short = 'v')]
    verbose: bool,
}

const TABLE: &str = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
const HEADINGS: Headings = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];
const IMAGES: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
const CONTAINERS: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
const VOLUMES: &str = "table {{.Name}}\t{{.Links}}\t{{.Size}}";
const VOLUME_HEADINGS: Headings = &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")];
const CACHE: &str = "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}";
const CACHE_HEADINGS: Headings = &[
    ("ID", "CACHE ID"),
    ("CacheType", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("LastUsedSince", "LAST USED"),
    ("UsageCount", "USAGE"),
    ("Shared", "SHARED"),
];

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let usage: DiskUsage = session.get_json("/system/df", &[])?;
    let format = if flags.format.is_empty() { "table" } else { flags.format.as_str() };
    let text = match (flags.verbose, format) {
        (false, "table") => table::render(TABLE, HEADINGS, totals(&usage))?,
        (false, format) => table::render(format, HEADINGS, totals(&usage))?,
        (true, "table") => detailed(&usage)?,
        (true, format) => {
            let format = if format == "json" { "{{json .}}" } else { format };
            let mut text = String::new();
            Template::parse(format)?.execute(&Value::Object(lists(&usage)), &mut text)?;
            text + "\n"
        }
    };
    Ok(print::out(&text))
}

/// A size with the share of the whole that it is.
fn part(bytes: i64, whole: i64) -> String {
    let shown = bytesize::human(bytes as f64);
    match whole {
        1.. => format!("{shown} ({}%)", i128::from(bytes) * 100 / i128::from(whole)),
        _ => shown,
    }
}

fn total(kind: &str, count: usize, active: usize, size: i64, reclaimable: String) -> Object {
    let mut row = Object::row("*formatter.diskUsageContext");
    row.push("Active", active.to_string());
    row.push("Reclaimable", reclaimable);
    row.push("Size", bytesize::human(size as f64));
    row.push("TotalCount", count.to_string());
    row.push("Type", kind);
    row
}

/// One row for each kind of thing.
fn totals(usage: &DiskUsage) -> Vec<Object> {
    let images = usage.images.as_deref().unwrap_or_default();
    let used: i64 = images
        .iter()
        .filter(|image| image.containers != 0 && image.size != -1 && image.shared_size != -1)
        .map(|image| image.size - image.shared_size)
        .sum();
    let active = images.iter().filter(|image| image.containers > 0).count();
    let size = usage.layers_size;
    let images = total("Images", images.len(), active, size, part(size - used, size));

    let containers = usage.containers.as_deref().unwrap_or_default();
    let is_active = |c: &&Container| {
        ["running", "paused", "restarting"].iter().any(|state| c.state.contains(state))
    };
    let active = containers.iter().filter(is_active).count();
    let size: i64 = containers.iter().map(|c| c.size_rw).sum();
    let free: i64 = containers.iter().filter(|c| !is_active(c)).map(|c| c.size_rw).sum();
    let containers = total("Containers", containers.len(), active, size, part(free, size));

    let volumes = usage.volumes.as_deref().unwrap_or_default();
    let sum = |unused: bool| -> i64 {
        let data = volumes.iter().filter_map(|volume| volume.usage_data.as_ref());
        data.filter(|u| u.size != -1 && (!unused || u.ref_count == 0)).map(|u| u.size).sum()
    };
    let links = |volume: &&Volume| volume.usage_data.as_ref().is_some_and(|u| u.ref_count > 0);
    let active = volumes.iter().filter(links).count();
    let free = part(sum(true), sum(false));
    let volumes = total("Local Volumes", volumes.len(), active, sum(false), free);

    let cache = usage.build_cache.as_deref().unwrap_or_default();
    let size: i64 = cache.iter().map(|entry| entry.size).sum();
    let in_use: i64 = cache.iter().filter(|entry| entry.in_use).map(|entry| entry.size).sum();
    let active = cache.iter().filter(|entry| entry.in_use).count();
    let free = bytesize::human((size - in_use) as f64);
    vec![images, containers, volumes, total("Build Cache", cache.len(), active, size, free)]
}

fn image_rows(usage: &DiskUsage) -> Vec<Object> {
    let images = usage.images.iter().flatten();
    images.flat_map(|image| images::rows(image, true, false, false)).collect()
}

fn container_rows(usage: &DiskUsage) -> Vec<Object> {
    // Only what a container has of its own is told here.
    let own = |c: &Container| ps::row(&Container { size_root_fs: 0, ..c.clone() }, true);
    usage.containers.iter().flatten().map(own).collect()
}

fn volume_rows(usage: &DiskUsage) -> Vec<Object> {
    let row = |volume: &Volume| {
        let mut row = Object::row("*formatter.volumeContext");
        let usage = volume.usage_data.clone();
        row.push("Driver", volume.driver.as_str());
        row.push(
            "Links",
            usage.as_ref().map_or_else(|| "N/A".to_string(), |u| u.ref_count.to_string()),
        );
        row.push("Mountpoint", volume.mountpoint.as_str());
        row.push("Name", volume.name.as_str());
        row.push("Scope", volume.scope.as_str());
        let size = usage.filter(|u| u.size != -1).map(|u| bytesize::human(u.size as f64));
        row.push("Size", size.unwrap_or_else(|| "N/A".into()));
        row
    };
    usage.volumes.iter().flatten().map(row).collect()
}

/// Everything, in lists.
fn lists(usage: &DiskUsage) -> Object {
    let mut all = Object::row("*formatter.diskUsageContext");
    let list = |rows: Vec<Object>| Value::List(rows.into_iter().map(Value::Object).collect());
    all.push("Images", list(image_rows(usage)));
    all.push("Containers", list(container_rows(usage)));
    all.push("Volumes", list(volume_rows(usage)));
    all.push("BuildCache", list(Vec::new()));
    all
}

fn detailed(usage: &DiskUsage) -> multi_core::base::Result<String> {
    let images = table::render(IMAGES, images::HEADINGS, image_rows(usage))?;
    let containers = table::render(CONTAINERS, ps::HEADINGS, container_rows(usage))?;
    let volumes = table::render(VOLUMES, VOLUME_HEADINGS, volume_rows(usage))?;
    let cache = table::render(CACHE, CACHE_HEADINGS, Vec::new())?;
    let size: i64 = usage.build_cache.iter().flatten().map(|entry| entry.size).sum();
    Ok(format!(
        "Images space usage:\n\n{images}\nContainers space usage:\n\n{containers}\n\
         Local Volumes space usage:\n\n{volumes}\nBuild cache usage: {}\n\n{cache}",
        bytesize::human(size as f64)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use multi_core::api::types::image::Summary as Image;
    use multi_core::api::types::volume::UsageData;

    #[test]
    fn totals_are_dockers() {
        let image = |containers, size, shared_size| Image {
            containers,
            size,
            shared_size,
            ..Image::default()
        };
        let container = |state: &str, size_rw| Container {
            state: state.into(),
            size_rw,
            ..Container::default()
        };
        let volume = |ref_count, size| Volume {
            usage_data: Some(UsageData { ref_count, size }),
            ..Volume::default()
        };
        let usage = DiskUsage {
            layers_size: 1_982_438,
            images: Some(vec![image(0, 1_982_408, 1_982_405), image(3, 1_982_405, 1_982_405)]),
            containers: Some(vec![container("exited", 3), container("running", 1)]),
            volumes: Some(vec![volume(1, 3), volume(0, 1), volume(0, -1)]),
            ..DiskUsage::default()
        };
        let text = table::render(TABLE, HEADINGS, totals(&usage)).unwrap();
        assert_eq!(
            text,
            "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n\
             Images          2         1         1.982MB   1.982MB (100%)\n\
             Containers      2         1         4B        3B (75%)\n\
             Local Volumes   3         1         4B        1B (25%)\n\
             Build Cache     0         0         0B        0B\n"
        );
    }
}
