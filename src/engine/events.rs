//! What happens in the engine, told to whoever listens.
//!
//! The bus keeps the last 256 events, so that a listener may ask for the recent past, and gives every
//! listener a bounded queue of its own. Publishing never waits: a listener that does not keep up loses
//! its oldest events.
//!
//! Spec: Docker Engine API 1.51, GET /events (filters).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::base::time::Timestamp;
use crate::registry::reference::Reference;

/// Past events that are kept.
pub const KEPT: usize = 256;
/// Events that wait for a slow listener.
const QUEUE: usize = 4096;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `container`, `image`, `network`, `volume`, `daemon`.
    pub kind: String,
    /// `create`, `die`, `exec_start: sh`, ...
    pub action: String,
    /// What it happened to.
    pub id: String,
    /// Name, image, labels, exit code, ...
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub time: Timestamp,
}

/// Where events go.
#[derive(Default)]
pub struct Bus(Mutex<State>);

#[derive(Default)]
struct State {
    past: VecDeque<Arc<Event>>,
    listeners: Vec<Weak<Queue>>,
}

#[derive(Default)]
struct Queue {
    filter: Filter,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Arc<Event>>,
    closed: bool,
}

/// Ends the subscription when the last clone is dropped.
#[derive(Clone)]
pub struct Subscription(Arc<Queue>);

/// What waiting for an event brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// An event.
    Event(Arc<Event>),
    /// The time is over.
    TimedOut,
    /// [`Subscription::close`] was called.
    Closed,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bus {
    /// A bus with no past.
    pub fn new() -> Bus {
        Bus::default()
    }

    /// Tells everyone that `action` happened to the `kind` called `id`, now.
    pub fn publish(
        &self,
        kind: &str,
        action: &str,
        id: &str,
        attributes: BTreeMap<String, String>,
    ) {
        self.tell(Event {
            kind: kind.into(),
            action: action.into(),
            id: id.into(),
            attributes,
            time: Timestamp::now(),
        });
    }

    fn tell(&self, event: Event) {
        let event = Arc::new(event);
        let listeners = {
            let mut state = lock(&self.0);
            if state.past.len() == KEPT {
                state.past.pop_front();
            }
            state.past.push_back(event.clone());
            state.listeners.retain(|l| l.strong_count() > 0);
            // The queues are filled under this lock, so that all listeners see one order.
            state.listeners.iter().filter_map(Weak::upgrade).for_each(|q| q.push(&event));
            state.listeners.len()
        };
        log::trace!("event {} {} {} to {listeners}", event.kind, event.action, event.id);
    }

    /// Listens from now on. The past events between `since` and `until` that match are returned, none
    /// if both are absent; nothing is lost or doubled between them and the subscription.
    pub fn subscribe(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        filter: Filter,
    ) -> (Vec<Arc<Event>>, Subscription) {
        let mut state = lock(&self.0);
        let in_range = |e: &Event| {
            (since.is_some() || until.is_some())
                && since.is_none_or(|t| e.time >= t)
                && until.is_none_or(|t| e.time <= t)
        };
        let past = state.past.iter().filter(|e| in_range(e) && filter.matches(e)).cloned();
        let past = past.collect();
        let queue = Arc::new(Queue { filter, ..Queue::default() });
        state.listeners.push(Arc::downgrade(&queue));
        (past, Subscription(queue))
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        lock(&self.0).listeners.iter().filter(|l| l.strong_count() > 0).count()
    }
}

impl Queue {
    fn push(&self, event: &Arc<Event>) {
        if !self.filter.matches(event) {
            return;
        }
        let mut waiting = lock(&self.waiting);
        if waiting.events.len() == QUEUE {
            waiting.events.pop_front();
        }
        waiting.events.push_back(event.clone());
        self.changed.notify_all();
    }
}

impl Subscription {
    /// The next event; waits until `deadline`, or for ever. What is queued comes before the end.
    pub fn next(&self, deadline: Option<Instant>) -> Next {
        let mut waiting = lock(&self.0.waiting);
        loop {
            if let Some(event) = waiting.events.pop_front() {
                return Next::Event(event);
            }
            if waiting.closed {
                return Next::Closed;
            }
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Next::TimedOut;
            }
            waiting = match left {
                None => self.0.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let result = self.0.changed.wait_timeout(waiting, left);
                    result.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Ends the waiting, from any thread.
    pub fn close(&self) {
        lock(&self.0.waiting).closed = true;
        self.0.changed.notify_all();
    }
}

/// Which events someone wants: for each name any of its values must match; of labels, all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(BTreeMap<String, Vec<String>>);

/// Kinds whose name is a filter that matches their id or name, whole or its beginning.
const OBJECTS: [&str; 9] =
    ["daemon", "container", "plugin", "volume", "network", "node", "service", "secret", "config"];

impl Filter {
    /// From filters as clients send them. Names that mean nothing here are ignored, as in Docker.
    pub fn new(filters: BTreeMap<String, Vec<String>>) -> Filter {
        Filter(filters)
    }

    fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    fn exact(&self, name: &str, text: &str) -> bool {
        let values = self.values(name);
        values.is_empty() || values.iter().any(|v| v == text)
    }

    fn prefix(&self, name: &str, text: &str) -> bool {
        let values = self.values(name);
        values.is_empty() || values.iter().any(|v| text.starts_with(v.as_str()))
    }

    /// Whether `event` is wanted.
    pub fn matches(&self, event: &Event) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let name = event.attributes.get("name").map(String::as_str).unwrap_or_default();
        self.matches_action(&event.action)
            && self.exact("type", &event.kind)
            && self.exact("scope", "local")
            && OBJECTS.iter().all(|k| self.prefix(k, &event.id) || self.prefix(k, name))
            && self.matches_image(event)
            && self.values("label").iter().all(|label| {
                let (key, value) =
                    label.split_once('=').map_or((label.as_str(), None), |(k, v)| (k, Some(v)));
                let found = event.attributes.get(key);
                found.is_some_and(|found| value.is_none_or(|value| value == found))
            })
    }

    fn matches_action(&self, action: &str) -> bool {
        // These carry a detail after a colon; the bare name means all of them.
        const DETAILED: [&str; 3] = ["health_status", "exec_create", "exec_start"];
        if self.values("event").iter().any(|v| DETAILED.contains(&v.as_str())) {
            return self.prefix("event", action);
        }
        self.exact("event", action)
    }

    /// An image is meant by its id or name, with or without its tag; containers count by their image.
    fn matches_image(&self, event: &Event) -> bool {
        if self.values("image").is_empty() {
            return true;
        }
        let attribute = if event.kind == "image" { "name" } else { "image" };
        let name = event.attributes.get(attribute).map(String::as_str).unwrap_or_default();
        [event.id.as_str(), name].iter().any(|text| {
            let bare = Reference::parse(text).map(|r| r.familiar_name());
            self.exact("image", text) || bare.is_ok_and(|bare| self.exact("image", &bare))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(pairs: &[(&str, &str)]) -> Filter {
        let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in pairs {
            map.entry((*name).into()).or_default().push((*value).into());
        }
        Filter::new(map)
    }

    fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    fn event(kind: &str, action: &str, id: &str, pairs: &[(&str, &str)]) -> Event {
        Event {
            kind: kind.into(),
            action: action.into(),
            id: id.into(),
            attributes: attributes(pairs),
            time: Timestamp::from_secs(100),
        }
    }

    #[test]
    fn a_listener_gets_the_past_it_asked_for_and_everything_after() {
        let bus = Bus::new();
        for n in 0..300 {
            let mut e = event("container", "start", &n.to_string(), &[]);
            e.time = Timestamp::from_secs(n);
            bus.tell(e);
        }
        let (past, _) = bus.subscribe(None, None, Filter::default());
        assert!(past.is_empty());
        let (past, _) = bus.subscribe(Some(Timestamp::from_secs(0)), None, Filter::default());
        assert_eq!((past.len(), past[0].id.as_str()), (KEPT, "44"));
        let range = (Some(Timestamp::from_secs(50)), Some(Timestamp::from_secs(52)));
        let (past, listener) = bus.subscribe(range.0, range.1, Filter::default());
        assert_eq!(past.len(), 3);
        bus.publish("network", "connect", "n", BTreeMap::new());
        let Next::Event(e) = listener.next(None) else { panic!("no event") };
        assert_eq!(e.id, "n");
        assert_eq!(listener.next(Some(Instant::now())), Next::TimedOut);
        listener.close();
        assert_eq!(listener.next(None), Next::Closed);
        assert_eq!(bus.listeners(), 1);
        drop(listener);
        assert_eq!(bus.listeners(), 0);
    }

    #[test]
    fn a_slow_listener_loses_the_oldest_and_memory_stays_bounded() {
        let bus = Bus::new();
        let (_, listener) = bus.subscribe(None, None, Filter::default());
        for n in 0..QUEUE + 10 {
            bus.tell(event("image", "pull", &n.to_string(), &[]));
        }
        let Next::Event(first) = listener.next(None) else { panic!("no event") };
        assert_eq!(first.id, "10");
    }

    #[test]
    fn filters_match_as_dockers_do() {
        let die = event(
            "container",
            "die",
            "0123abcd",
            &[("name", "web"), ("image", "debian:12"), ("exitCode", "0"), ("tier", "front")],
        );
        for (pairs, expected) in [
            (&[][..], true),
            (&[("type", "container")], true),
            (&[("type", "image")], false),
            (&[("type", "image"), ("type", "container")], true),
            (&[("event", "die")], true),
            (&[("event", "di")], false),
            (&[("container", "web")], true),
            (&[("container", "0123")], true),
            (&[("container", "db")], false),
            (&[("image", "debian")], true),
            (&[("image", "debian:12")], true),
            (&[("image", "debian:11")], false),
            (&[("label", "tier")], true),
            (&[("label", "tier=front"), ("label", "tier=back")], false),
            (&[("scope", "swarm")], false),
            (&[("unknown", "x")], true),
        ] {
            assert_eq!(filter(pairs).matches(&die), expected, "{pairs:?}");
        }
        let exec = event("container", "exec_start: sh -c x", "0123", &[]);
        assert!(filter(&[("event", "exec_start")]).matches(&exec));
        let pull = event("image", "pull", "debian:12", &[("name", "debian")]);
        assert!(filter(&[("image", "debian")]).matches(&pull));
    }
}
