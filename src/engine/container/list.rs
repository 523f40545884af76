//! Which containers a listing shows, and in which order.
//!
//! Spec: Docker Engine API 1.51, GET /containers/json, filters.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::State;
use super::{Container, health};
use crate::base::duration;
use crate::base::regexp::Pattern;
use crate::base::time::Timestamp;
use crate::base::{Error, Result};
use crate::engine::Engine;

/// Filters by name; the values of one name are alternatives, except for labels, which must all match.
pub type Filters = BTreeMap<String, Vec<String>>;

/// The filters that this listing knows.
const KNOWN: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Also those that do not run.
    pub all: bool,
    /// Only this many, the newest first, running or not; 0 is no limit.
    pub limit: usize,
    /// See [`Filters`].
    pub filters: Filters,
}

/// The containers that `options` select, the newest first.
///
/// # Errors
/// `InvalidParameter` with Docker's texts for unknown filters and values.
pub fn list(engine: &Engine, options: &Options) -> Result<Vec<Arc<Container>>> {
    let filters = &options.filters;
    if let Some(unknown) = filters.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(Error::invalid(format_args!("invalid filter '{unknown}'")));
    }
    let matcher = Matcher::new(engine, filters)?;
    let mut containers = engine.containers()?.all();
    containers.sort_by_key(|container| std::cmp::Reverse(container.data().record.created));
    let everything = options.all
        || options.limit > 0
        || ["status", "exited", "before", "since"].iter().any(|name| filters.contains_key(*name));
    let mut found = Vec::new();
    for container in containers {
        if matcher.passed_newer_than(&container) {
            continue;
        }
        if matcher.reached_older_than(&container) {
            break;
        }
        if !everything && !container.data().record.state.running {
            continue;
        }
        if matcher.matches(&container) {
            found.push(container);
            if options.limit > 0 && found.len() == options.limit {
                break;
            }
        }
    }
    Ok(found)
}

struct Matcher<'a> {
    filters: &'a Filters,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    ancestors: Option<Vec<String>>,
    ids: Option<Vec<String>>,
    names: Option<Names>,
    exit_codes: Vec<i64>,
}

/// What names are asked for: the text itself, or an expression that is found in the name or in the name
/// with its slash. What is no expression matches nothing else, and is no error.
pub(in crate::engine) struct Names(Vec<(String, Option<Pattern>)>);

impl Names {
    pub(in crate::engine) fn new(wanted: &[String]) -> Names {
        Names(wanted.iter().map(|text| (text.clone(), Pattern::parse(text).ok())).collect())
    }

    pub(in crate::engine) fn fit(&self, name: &str) -> bool {
        let slashed = format!("/{name}");
        self.0.iter().any(|(text, pattern)| {
            let finds = |name| pattern.as_ref().is_some_and(|pattern| pattern.matches(name));
            text == name || *text == slashed || finds(name) || finds(&slashed)
        })
    }
}

impl Matcher<'_> {
    fn new<'a>(engine: &Engine, filters: &'a Filters) -> Result<Matcher<'a>> {
        let values = |name: &str| filters.get(name).map(Vec::as_slice).unwrap_or_default();
        let created_of = |name: &str| -> Result<Option<Timestamp>> {
            values(name)
                .first()
                .map(|other| Ok(engine.containers()?.find(other)?.data().record.created))
                .transpose()
        };
        for status in values("status") {
            if !["created", "running", "paused", "restarting", "removing", "exited", "dead"]
                .contains(&status.as_str())
            {
                return Err(Error::invalid(format_args!("invalid filter 'status={status}'")));
            }
        }
        let healths = ["none", "starting", "healthy", "unhealthy"];
        if let Some(health) = values("health").iter().find(|h| !healths.contains(&h.as_str())) {
            return Err(Error::invalid(format_args!(
                "invalid filter 'health={health}': invalid value for health ({health}): must be one of {}",
                healths.join(", ")
            )));
        }
        let exit_codes = values("exited")
            .iter()
            .map(|code| {
                code.parse()
                    .map_err(|_| Error::invalid(format_args!("invalid filter 'exited={code}'")))
            })
            .collect::<Result<_>>()?;
        // An unknown image matches nothing; it is no error.
        let ancestors = filters.contains_key("ancestor").then(|| {
            values("ancestor")
                .iter()
                .filter_map(|name| engine.store.resolve(name).ok())
                .map(|id| id.to_string())
                .collect()
        });
        // As in Docker a beginning that several ids have is none of them.
        let whole = |beginning: &String| {
            let container = engine.containers_now().find(beginning).ok()?;
            container.id.starts_with(beginning.as_str()).then(|| container.id.clone())
        };
        let ids = values("id").iter().filter_map(whole).collect();
        Ok(Matcher {
            filters,
            before: created_of("before")?,
            since: created_of("since")?,
            ancestors,
            ids: filters.get("id").filter(|list| !list.is_empty()).map(|_| ids),
            names: filters.get("name").filter(|list| !list.is_empty()).map(|list| Names::new(list)),
            exit_codes,
        })
    }

    fn passed_newer_than(&self, container: &Container) -> bool {
        self.before.is_some_and(|before| container.data().record.created >= before)
    }

    fn reached_older_than(&self, container: &Container) -> bool {
        self.since.is_some_and(|since| container.data().record.created <= since)
    }

    /// Whether no value is given for `name`, or one of them fits.
    fn any(&self, name: &str, fits: impl Fn(&str) -> bool) -> bool {
        self.filters
            .get(name)
            .is_none_or(|values| values.is_empty() || values.iter().any(|v| fits(v)))
    }

    fn matches(&self, container: &Container) -> bool {
        let data = container.data();
        let (record, host) = (&data.record, &data.host);
        let no_labels = BTreeMap::new();
        let labels = record.config.labels.as_ref().unwrap_or(&no_labels);
        let label_fits = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
            None => labels.contains_key(wanted),
        };
        let port_fits = |wanted: &str, have: &str| {
            let (port, proto) = have.split_once('/').unwrap_or((have, "tcp"));
            let (numbers, wanted_proto) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
            let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
            let number = |text: &str| text.parse::<u16>().ok();
            proto == wanted_proto
                && number(port)
                    .is_some_and(|port| number(first) <= Some(port) && Some(port) <= number(last))
        };
        self.filters.get("label").is_none_or(|all| all.iter().all(label_fits))
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&container.id))
            && self.names.as_ref().is_none_or(|names| names.fit(record.plain_name()))
            && self.any("status", |status| status == record.state.status())
            && (self.exit_codes.is_empty()
                || (!record.state.running
                    && record.has_been_started_before
                    && self.exit_codes.contains(&record.state.exit_code)))
            && self.ancestors.as_ref().is_none_or(|ids| ids.contains(&record.image))
            && self.any("network", |network| {
                record.network.networks.iter().any(|(name, endpoint)| {
                    name == network
                        || (!network.is_empty() && endpoint.network_id.starts_with(network))
                })
            })
            && self.any("volume", |volume| {
                record.mount_points.values().any(|point| {
                    point.name == volume || point.destination == volume || point.source == volume
                })
            })
            && self.any("expose", |port| {
                record.config.exposed_ports.keys().any(|have| port_fits(port, have))
            })
            && self.any("publish", |port| {
                host.port_bindings
                    .iter()
                    .flat_map(|ports| ports.keys())
                    .any(|have| port_fits(port, have))
            })
            && self.any("health", |wanted| {
                wanted == data.health.as_ref().map_or("none", |health| health.status.word())
            })
            && self.any("isolation", |isolation| isolation == "default")
            && self.any("is-task", |task| task == "false")
    }
}

/// The status column: `Up 5 minutes (healthy)`, `Exited (0) About an hour ago`, `Created`.
pub fn describe(state: &State, health: Option<health::Status>, now: Timestamp) -> String {
    let ago = |then: Timestamp| duration::human(then.seconds_until(now).max(0));
    match state.status() {
        "running" => match health {
            Some(health) => format!("Up {} ({})", ago(state.started_at), health.shown()),
            None => format!("Up {}", ago(state.started_at)),
        },
        "paused" => format!("Up {} (Paused)", ago(state.started_at)),
        "restarting" => format!("Restarting ({}) {} ago", state.exit_code, ago(state.finished_at)),
        "removing" => "Removal In Progress".into(),
        "dead" => "Dead".into(),
        "created" => "Created".into(),
        _ if state.finished_at.is_zero() => String::new(),
        _ => format!("Exited ({}) {} ago", state.exit_code, ago(state.finished_at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_regular_expressions_with_and_without_the_slash() {
        for (wanted, fits) in [
            ("web", true),
            ("^web", true),
            ("eb1", true),
            ("^/web1$", true),
            ("/web", true),
            ("^(web|db)[0-9]$", true),
            ("^eb", false),
            ("web$", false),
            ("w.*2", false),
            ("[web", false),
        ] {
            assert_eq!(Names::new(&[wanted.into()]).fit("web1"), fits, "{wanted}");
        }
        assert!(Names::new(&["x".into(), "b1".into()]).fit("web1"));
    }

    #[test]
    fn states_are_described_as_docker_does() {
        let now = Timestamp::from_secs(10_000);
        let mut state = State::default();
        assert_eq!(describe(&state, None, now), "Created");
        state.started_at = Timestamp::from_secs(9_000);
        state.running = true;
        assert_eq!(describe(&state, None, now), "Up 16 minutes");
        let starting = Some(health::Status::Starting);
        assert_eq!(describe(&state, starting, now), "Up 16 minutes (health: starting)");
        state.running = false;
        state.exit_code = 3;
        state.finished_at = Timestamp::from_secs(9_990);
        assert_eq!(describe(&state, starting, now), "Exited (3) 10 seconds ago");
    }
}
