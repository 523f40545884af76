//! Images as they are shown.
//!
//! Spec: Docker Engine API 1.51, ImageSummary, ImageInspect, HistoryResponseItem.

use super::config::{Config, HealthConfig};
use super::container::DriverData;
use super::{Descriptor, Set, TextMap, Words};
use crate::base::time::Timestamp;
use crate::wire;

wire! {
    /// One row of `GET /images/json`. `Containers` and `SharedSize` are -1 when not counted.
    pub struct Summary {
        "Containers" keep containers: i64,
        "Created" keep created: i64,
        "Id" keep id: String,
        "Labels" keep labels: Option<TextMap>,
        "ParentId" keep parent_id: String,
        "Descriptor" omit descriptor: Option<Descriptor>,
        "RepoDigests" keep repo_digests: Vec<String>,
        "RepoTags" keep repo_tags: Vec<String>,
        "SharedSize" keep shared_size: i64,
        "Size" keep size: i64,
        "VirtualSize" omit virtual_size: i64,
    }
}

wire! {
    /// The answer of `GET /images/{name}/json`.
    pub struct InspectResponse {
        "Id" keep id: String,
        "RepoTags" keep repo_tags: Vec<String>,
        "RepoDigests" keep repo_digests: Vec<String>,
        "Parent" keep parent: String,
        "Comment" keep comment: String,
        "Created" omit created: String,
        "Container" omit container: String,
        "ContainerConfig" omit container_config: Option<Config>,
        "DockerVersion" keep docker_version: String,
        "Author" keep author: String,
        "Config" keep config: Option<ImageConfig>,
        "Architecture" keep architecture: String,
        "Variant" omit variant: String,
        "Os" keep os: String,
        "OsVersion" omit os_version: String,
        "Size" keep size: i64,
        "VirtualSize" omit virtual_size: i64,
        "GraphDriver" keep graph_driver: DriverData,
        "RootFS" keep root_fs: RootFs,
        "Metadata" keep metadata: Metadata,
        "Descriptor" omit descriptor: Option<Descriptor>,
    }
}

wire! {
    /// The `Config` of an image: the parts that an image can have, with a container's names. The
    /// optional ones below are always the zero value, and written for clients before 1.50 only.
    pub struct ImageConfig {
        "ArgsEscaped" omit args_escaped: bool,
        "AttachStderr" omit attach_stderr: Option<bool>,
        "AttachStdin" omit attach_stdin: Option<bool>,
        "AttachStdout" omit attach_stdout: Option<bool>,
        "Cmd" keep cmd: Option<Words>,
        "Domainname" omit domainname: Option<String>,
        "Entrypoint" keep entrypoint: Option<Words>,
        "Env" keep env: Option<Vec<String>>,
        "ExposedPorts" omit exposed_ports: Set,
        "Healthcheck" omit healthcheck: Option<HealthConfig>,
        "Hostname" omit hostname: Option<String>,
        "Image" omit image: Option<String>,
        "Labels" keep labels: Option<TextMap>,
        "OnBuild" keep on_build: Option<Vec<String>>,
        "OpenStdin" omit open_stdin: Option<bool>,
        "Shell" omit shell: Option<Words>,
        "StdinOnce" omit stdin_once: Option<bool>,
        "StopSignal" omit stop_signal: String,
        "Tty" omit tty: Option<bool>,
        "User" keep user: String,
        "Volumes" keep volumes: Option<Set>,
        "WorkingDir" keep working_dir: String,
    }
}

wire! {
    /// The layers of an image.
    pub struct RootFs {
        "Type" omit kind: String,
        "Layers" omit layers: Vec<String>,
    }
}

wire! {
    /// What the engine knows of an image beside its content.
    pub struct Metadata { "LastTagTime" keep last_tag_time: Timestamp }
}

wire! {
    /// One row of `GET /images/{name}/history`.
    pub struct HistoryItem {
        "Comment" keep comment: String,
        "Created" keep created: i64,
        "CreatedBy" keep created_by: String,
        "Id" keep id: String,
        "Size" keep size: i64,
        "Tags" keep tags: Option<Vec<String>>,
    }
}

wire! {
    /// One step of a removal: a name or an image that went.
    pub struct DeleteItem {
        "Deleted" omit deleted: String,
        "Untagged" omit untagged: String,
    }
}

wire! {
    /// The answer of `POST /images/prune`.
    pub struct PruneReport {
        "ImagesDeleted" keep images_deleted: Option<Vec<DeleteItem>>,
        "SpaceReclaimed" keep space_reclaimed: u64,
    }
}

wire! {
    /// The answer of `POST /build/prune`.
    pub struct BuildPruneReport {
        "CachesDeleted" keep caches_deleted: Option<Vec<String>>,
        "SpaceReclaimed" keep space_reclaimed: u64,
    }
}
