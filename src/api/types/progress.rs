//! The messages of pull, push, load and build, as a stream of JSON objects.
//!
//! Spec: Docker Engine API 1.51, POST /images/create, CreateImageInfo.

use crate::wire;

wire! {
    /// One message of a progress stream.
    pub struct Message {
        "stream" omit stream: String,
        "status" omit status: String,
        "progressDetail" omit progress_detail: Option<Detail>,
        "progress" omit progress: String,
        "id" omit id: String,
        "errorDetail" omit error_detail: Option<ErrorDetail>,
        "error" omit error: String,
        "aux" omit aux: Option<Aux>,
    }
}

wire! {
    /// How far an action is.
    pub struct Detail {
        "current" omit current: i64,
        "total" omit total: i64,
        "start" omit start: i64,
        "hidecounts" omit hide_counts: bool,
        "units" omit units: String,
    }
}

wire! {
    /// An error inside a stream that had begun.
    pub struct ErrorDetail {
        "code" omit code: i64,
        "message" omit message: String,
    }
}

wire! {
    /// Data of a message that is meant for programs: the id of a built or the digest of a pushed image.
    pub struct Aux {
        "ID" omit id: String,
        "Tag" omit tag: String,
        "Digest" omit digest: String,
        "Size" omit size: i64,
    }
}
