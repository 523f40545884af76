//! The route table: every path of the API, which method it takes, and who answers.
//!
//! A pattern has at most one parameter, `{name}`, which stands for one or more path segments, because
//! names of images and networks may have slashes. The first row that fits wins. Rows of what this engine
//! does not have yet answer 501, so that a client can tell them from mistakes.

use super::Call;
use super::handlers::{
    auth, build, containers, disk_usage, exec, images, info, networks, system, unsupported, volumes,
};
use crate::base::Result;
use crate::http::{Request, Response};

/// Answers one request.
pub type Action = fn(&Call<'_>, &mut Request<'_>, &mut Response<'_>) -> Result<()>;

/// One row of the table.
struct Route(&'static str, &'static str, Action);

/// A route that fits a request.
pub struct Found<'a> {
    /// Who answers.
    pub handler: Action,
    /// The name of the pattern's parameter and its value.
    pub parameter: Option<(&'static str, &'a str)>,
}

/// The row for `method` and `path`, which has no version in front.
pub fn find<'a>(method: &str, path: &'a str) -> Option<Found<'a>> {
    if method == "OPTIONS" {
        return Some(Found { handler: system::options, parameter: None });
    }
    ROUTES.iter().filter(|row| row.0 == method).find_map(|Route(_, pattern, handler)| {
        matches(pattern, path).map(|parameter| Found { handler: *handler, parameter })
    })
}

/// Whether `path` fits; the parameter if there is one.
fn matches<'a>(pattern: &'static str, path: &'a str) -> Option<Option<(&'static str, &'a str)>> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return (pattern == path).then_some(None);
    };
    let (name, after) = rest.split_once('}')?;
    let value = path.strip_prefix(before)?.strip_suffix(after)?;
    (!value.is_empty()).then_some(Some((name, value)))
}

#[rustfmt::skip]
const ROUTES: &[Route] = &[
    Route("GET", "/_ping", system::ping),
    Route("HEAD", "/_ping", system::ping),
    Route("GET", "/version", system::version),
    Route("GET", "/info", info::info),
    Route("GET", "/events", system::events),
    Route("GET", "/system/df", disk_usage::show),
    Route("POST", "/auth", auth::login),

    Route("GET", "/images/json", images::list),
    Route("GET", "/images/search", unsupported::missing),
    Route("GET", "/images/get", images::save),
    Route("GET", "/images/{name}/get", images::save),
    Route("GET", "/images/{name}/history", images::history),
    Route("GET", "/images/{name}/json", images::inspect),
    Route("POST", "/images/create", images::create),
    Route("POST", "/images/load", images::load),
    Route("POST", "/images/prune", images::prune),
    Route("POST", "/images/{name}/push", unsupported::missing),
    Route("POST", "/images/{name}/tag", images::tag),
    Route("DELETE", "/images/{name}", images::remove),

    Route("GET", "/containers/json", containers::list::list),
    Route("POST", "/containers/create", containers::create::create),
    Route("POST", "/containers/prune", containers::lifecycle::prune),
    Route("GET", "/containers/{name}/json", containers::inspect::inspect),
    Route("GET", "/containers/{name}/top", containers::lifecycle::top),
    Route("GET", "/containers/{name}/logs", containers::streams::logs),
    Route("GET", "/containers/{name}/changes", containers::archive::changes),
    Route("GET", "/containers/{name}/export", containers::archive::export),
    Route("GET", "/containers/{name}/stats", containers::stats::stats),
    Route("GET", "/containers/{name}/attach/ws", containers::websocket::attach),
    Route("HEAD", "/containers/{name}/archive", containers::archive::head),
    Route("GET", "/containers/{name}/archive", containers::archive::get),
    Route("PUT", "/containers/{name}/archive", containers::archive::put),
    Route("POST", "/containers/{name}/start", containers::lifecycle::start),
    Route("POST", "/containers/{name}/stop", containers::lifecycle::stop),
    Route("POST", "/containers/{name}/restart", containers::lifecycle::restart),
    Route("POST", "/containers/{name}/kill", containers::lifecycle::kill),
    Route("POST", "/containers/{name}/pause", containers::resources::pause),
    Route("POST", "/containers/{name}/unpause", containers::resources::unpause),
    Route("POST", "/containers/{name}/wait", containers::lifecycle::wait),
    Route("POST", "/containers/{name}/resize", containers::streams::resize),
    Route("POST", "/containers/{name}/attach", containers::streams::attach),
    Route("POST", "/containers/{name}/rename", containers::lifecycle::rename),
    Route("POST", "/containers/{name}/update", containers::resources::update),
    Route("POST", "/containers/{name}/exec", exec::create),
    Route("DELETE", "/containers/{name}", containers::lifecycle::remove),
    Route("GET", "/exec/{id}/json", exec::inspect),
    Route("POST", "/exec/{id}/start", exec::start),
    Route("POST", "/exec/{id}/resize", exec::resize),
    Route("POST", "/commit", containers::commit::commit),

    Route("GET", "/networks", networks::list),
    Route("POST", "/networks/create", unsupported::missing),
    Route("POST", "/networks/prune", networks::prune),
    Route("GET", "/networks/{id}", networks::inspect),
    Route("POST", "/networks/{id}/connect", unsupported::missing),
    Route("POST", "/networks/{id}/disconnect", unsupported::missing),
    Route("DELETE", "/networks/{id}", unsupported::missing),

    Route("GET", "/volumes", volumes::list),
    Route("POST", "/volumes/create", volumes::create),
    Route("POST", "/volumes/prune", volumes::prune),
    Route("GET", "/volumes/{name}", volumes::inspect),
    Route("PUT", "/volumes/{name}", volumes::update),
    Route("DELETE", "/volumes/{name}", volumes::remove),

    Route("POST", "/build", unsupported::missing),
    Route("POST", "/build/prune", build::prune),
    Route("POST", "/build/cancel", unsupported::missing),
    Route("POST", "/session", unsupported::missing),
    Route("POST", "/grpc", unsupported::missing),
    Route("GET", "/distribution/{name}/json", unsupported::missing),
    Route("GET", "/plugins", unsupported::missing),
    Route("GET", "/plugins/privileges", unsupported::missing),
    Route("GET", "/plugins/{name}/json", unsupported::missing),
    Route("POST", "/plugins/create", unsupported::missing),
    Route("POST", "/plugins/pull", unsupported::missing),
    Route("POST", "/plugins/{name}/enable", unsupported::missing),
    Route("POST", "/plugins/{name}/disable", unsupported::missing),
    Route("POST", "/plugins/{name}/push", unsupported::missing),
    Route("POST", "/plugins/{name}/set", unsupported::missing),
    Route("POST", "/plugins/{name}/upgrade", unsupported::missing),
    Route("DELETE", "/plugins/{name}", unsupported::missing),

    Route("GET", "/swarm", unsupported::no_manager),
    Route("GET", "/swarm/unlockkey", unsupported::no_manager),
    Route("POST", "/swarm/init", unsupported::missing),
    Route("POST", "/swarm/join", unsupported::missing),
    Route("POST", "/swarm/leave", unsupported::no_swarm),
    Route("POST", "/swarm/update", unsupported::no_manager),
    Route("POST", "/swarm/unlock", unsupported::no_manager),
    Route("GET", "/services", unsupported::no_manager),
    Route("GET", "/services/{id}/logs", unsupported::no_manager),
    Route("GET", "/services/{id}", unsupported::no_manager),
    Route("POST", "/services/create", unsupported::no_manager),
    Route("POST", "/services/{id}/update", unsupported::no_manager),
    Route("DELETE", "/services/{id}", unsupported::no_manager),
    Route("GET", "/nodes", unsupported::no_manager),
    Route("GET", "/nodes/{id}", unsupported::no_manager),
    Route("POST", "/nodes/{id}/update", unsupported::no_manager),
    Route("DELETE", "/nodes/{id}", unsupported::no_manager),
    Route("GET", "/tasks", unsupported::no_manager),
    Route("GET", "/tasks/{id}/logs", unsupported::no_manager),
    Route("GET", "/tasks/{id}", unsupported::no_manager),
    Route("GET", "/secrets", unsupported::no_manager),
    Route("POST", "/secrets/create", unsupported::no_manager),
    Route("GET", "/secrets/{id}", unsupported::no_manager),
    Route("POST", "/secrets/{id}/update", unsupported::no_manager),
    Route("DELETE", "/secrets/{id}", unsupported::no_manager),
    Route("GET", "/configs", unsupported::no_manager),
    Route("POST", "/configs/create", unsupported::no_manager),
    Route("GET", "/configs/{id}", unsupported::no_manager),
    Route("POST", "/configs/{id}/update", unsupported::no_manager),
    Route("DELETE", "/configs/{id}", unsupported::no_manager),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(method: &str, path: &'a str) -> Option<&'a str> {
        find(method, path).and_then(|f| f.parameter).map(|(_, value)| value)
    }

    #[test]
    fn names_may_have_slashes() {
        assert_eq!(value("GET", "/images/reg:5000/a/b:t/json"), Some("reg:5000/a/b:t"));
        assert_eq!(value("DELETE", "/images/a/b"), Some("a/b"));
        assert_eq!(value("POST", "/exec/0a/start"), Some("0a"));
        assert!(find("GET", "/images/json").unwrap().parameter.is_none());
    }

    #[test]
    fn what_is_not_in_the_table_is_not_found() {
        for (method, path) in [
            ("GET", "/nowhere"),
            ("GET", "/images//json"),
            ("DELETE", "/images/"),
            ("PATCH", "/info"),
            ("POST", "/info"),
            ("GET", "/infox"),
            ("HEAD", "/info"),
            ("GET", ""),
        ] {
            assert!(find(method, path).is_none(), "{method} {path}");
        }
    }

    #[test]
    fn no_row_hides_another() {
        for (i, Route(method, pattern, _)) in ROUTES.iter().enumerate() {
            let example = pattern.replace("{name}", "x").replace("{id}", "x");
            let first = ROUTES
                .iter()
                .position(|row| row.0 == *method && matches(row.1, &example).is_some());
            assert_eq!(first, Some(i), "{method} {pattern}");
        }
    }
}
