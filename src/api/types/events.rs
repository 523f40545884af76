//! What happened, one JSON object each.
//!
//! Spec: Docker Engine API 1.51, GET /events.

use super::TextMap;
use crate::wire;

wire! {
    /// One event. `status`, `id` and `from` are the form of API 1.21 and older, which dockerd writes
    /// for containers and images until today.
    pub struct Message {
        "status" omit status: String,
        "id" omit id: String,
        "from" omit from: String,
        "Type" keep kind: String,
        "Action" keep action: String,
        "Actor" keep actor: Actor,
        "scope" omit scope: String,
        "time" omit time: i64,
        "timeNano" omit time_nano: i64,
    }
}

wire! {
    /// What it happened to.
    pub struct Actor {
        "ID" keep id: String,
        "Attributes" keep attributes: TextMap,
    }
}
