//! Health of containers: when checks are made, and what their results mean.
//!
//! ```text
//!             begin                 a check succeeds
//!   (none) ---------> starting -------------------------> healthy
//!                        |    retries fail in a row         | |
//!                        +------------> unhealthy <---------+ |
//!                                         | ^  stop, pause     |
//!                                         | +------------------+  (no checks are made then)
//!                                         +---- a check succeeds ----> healthy
//! ```
//!
//! Between two checks a container costs one timer of the supervisor; a thread exists only while a check
//! runs. All of it is in memory: nothing is written to disk, and a daemon that finds a running container
//! begins anew with `starting`, as Docker does. A container without a check has nothing of this.
//!
//! Spec: Docker Engine API 1.51, HealthConfig, Health; Dockerfile reference, HEALTHCHECK.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Container, Data, probe};
use crate::base::time::Timestamp;
use crate::base::{Error, Result, worker};
use crate::engine::Engine;
use crate::engine::model::config::{Config, HealthConfig};
use crate::engine::timers::Key;

/// Results that are kept.
const KEPT: usize = 5;
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_START_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_RETRIES: i64 = 3;
/// Shortest duration that may be asked for, in nanoseconds.
const SHORTEST_NS: i64 = 1_000_000;

/// What is known of a container's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// No check has succeeded yet, and too few have failed.
    Starting,
    /// The last check succeeded, or not enough have failed since one did.
    Healthy,
    /// Too many checks in a row have failed, or none are made at present.
    Unhealthy,
}

impl Status {
    /// The word of inspect, filters and events.
    pub fn word(self) -> &'static str {
        match self {
            Status::Starting => "starting",
            Status::Healthy => "healthy",
            Status::Unhealthy => "unhealthy",
        }
    }

    /// The words in the status column of `ps`.
    pub fn shown(self) -> &'static str {
        match self {
            Status::Starting => "health: starting",
            other => other.word(),
        }
    }
}

/// What one check gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// When it was begun.
    pub start: Timestamp,
    /// When its result was there.
    pub end: Timestamp,
    /// The program's exit code; -1 if there is none.
    pub exit_code: i64,
    /// The beginning of what it wrote, or why it could not run.
    pub output: String,
}

/// The health of one container that has a check.
#[derive(Debug)]
pub struct Health {
    /// What the checks say.
    pub status: Status,
    /// Checks that have failed in a row.
    pub failing_streak: i64,
    /// The last results, the oldest first.
    pub log: VecDeque<Outcome>,
    /// Counts the periods in which checks are made: what a check of an earlier one says is of no interest.
    period: u64,
    /// While checks are made: since when the container runs.
    since: Option<Instant>,
    /// The next check.
    timer: Option<Key>,
}

/// Whether `config` asks for checks.
pub fn is_checked(config: &Config) -> bool {
    let test = config.healthcheck.as_ref().and_then(|check| check.test.first());
    test.is_some_and(|kind| matches!(kind.as_str(), "CMD" | "CMD-SHELL"))
}

/// Refuses durations and counts that cannot be meant.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn check(config: &Config) -> Result<()> {
    let Some(check) = &config.healthcheck else { return Ok(()) };
    for (name, value) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if value != 0 && value < SHORTEST_NS {
            return Err(Error::invalid(format_args!(
                "{name} in Healthcheck cannot be less than 1ms"
            )));
        }
    }
    if check.retries < 0 {
        return Err(Error::invalid("Retries in Healthcheck cannot be negative"));
    }
    Ok(())
}

/// Fills what the user left open from the image's check.
pub fn complete(own: &mut Option<HealthConfig>, image: Option<&HealthConfig>) {
    let Some(image) = image else { return };
    let Some(own) = own else {
        *own = Some(image.clone());
        return;
    };
    if own.test.is_empty() {
        own.test.clone_from(&image.test);
    }
    for (value, default) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if *value == 0 {
            *value = default;
        }
    }
}

/// A duration of the configuration; zero means the default.
pub(super) fn duration(ns: i64, default: Duration) -> Duration {
    u64::try_from(ns).ok().filter(|ns| *ns > 0).map_or(default, Duration::from_nanos)
}

/// Begins the checks of a container that has just been started, or was found running.
pub fn begin(engine: &Engine, container: &Arc<Container>) {
    {
        let mut data = container.data();
        if !is_checked(&data.record.config) {
            return;
        }
        suspend(engine, &mut data);
        let health = data.health.get_or_insert_with(|| {
            Box::new(Health {
                status: Status::Starting,
                failing_streak: 0,
                log: VecDeque::new(),
                period: 0,
                since: None,
                timer: None,
            })
        });
        health.status = Status::Starting;
        health.failing_streak = 0;
    }
    update(engine, container);
}

/// Makes checks if the container runs and is not paused, and none otherwise.
pub fn update(engine: &Engine, container: &Arc<Container>) {
    let mut data = container.data();
    if data.health.is_none() {
        return;
    }
    if !data.record.state.running || data.record.state.paused {
        suspend(engine, &mut data);
        return;
    }
    let ran = data.record.state.started_at.seconds_until(Timestamp::now());
    let Some(health) = data.health.as_mut().filter(|health| health.since.is_none()) else { return };
    health.period += 1;
    let ran = Duration::from_secs(u64::try_from(ran).unwrap_or(0));
    health.since = Some(Instant::now().checked_sub(ran).unwrap_or_else(Instant::now));
    schedule(engine, container, &mut data);
}

/// Ends the checks of a container that does not run any more or is paused.
pub(super) fn suspend(engine: &Engine, data: &mut Data) {
    let Some(health) = data.health.as_mut() else { return };
    if health.since.take().is_none() {
        return;
    }
    health.period += 1;
    // As Docker says it of a container that nobody looks at.
    health.status = Status::Unhealthy;
    if let Some(timer) = health.timer.take() {
        engine.supervisor.cancel(timer);
    }
}

/// Sets the timer of the next check.
fn schedule(engine: &Engine, container: &Arc<Container>, data: &mut Data) {
    let Data { record, health: Some(health), .. } = data else { return };
    let (Some(check), Some(since)) = (&record.config.healthcheck, health.since) else { return };
    let delay = pause(check, health.status, since.elapsed());
    let (target, period) = (Arc::downgrade(container), health.period);
    let job = move |engine: &Arc<Engine>| {
        let Some(container) = target.upgrade() else { return };
        let (worker_engine, target) = (engine.clone(), container.clone());
        let work = move || look(&worker_engine, &target, period);
        if let Err(e) = worker::builder("health").spawn(work) {
            log::warn!("checking the health of container {}: {e}", container.id);
            schedule(engine, &container, &mut container.data());
        }
    };
    health.timer = Some(engine.supervisor.after(delay, Box::new(job)));
}

/// How long to wait before the next check of a container that has run for `ran`.
fn pause(check: &HealthConfig, status: Status, ran: Duration) -> Duration {
    let in_start_period = ran < duration(check.start_period, Duration::ZERO);
    if in_start_period && status == Status::Starting {
        return duration(check.start_interval, DEFAULT_START_INTERVAL);
    }
    duration(check.interval, DEFAULT_INTERVAL)
}

/// Makes one check and notes its result, unless the period it belongs to is over.
fn look(engine: &Arc<Engine>, container: &Arc<Container>, period: u64) {
    let is_current = |data: &Data| data.health.as_ref().is_some_and(|h| h.period == period);
    if !is_current(&container.data()) {
        return;
    }
    let start = Timestamp::now();
    let began = Instant::now();
    let (exit_code, output) = probe::run(engine, container).unwrap_or_else(|e| {
        log::warn!("Health check for container {} error: {e}", container.id);
        (-1, e.to_string())
    });
    let outcome = Outcome { start, end: Timestamp::now(), exit_code, output };
    let changed = {
        let mut data = container.data();
        if !is_current(&data) {
            return;
        }
        let changed = note(&mut data, outcome, began);
        schedule(engine, container, &mut data);
        changed
    };
    if let Some(status) = changed {
        engine.container_event(container, &format!("health_status: {}", status.word()), &[]);
    }
}

/// Notes the result of a check that was begun at `began`; the new status if it changed.
fn note(data: &mut Data, outcome: Outcome, began: Instant) -> Option<Status> {
    let Data { record, health: Some(health), .. } = data else { return None };
    let check = record.config.healthcheck.as_ref()?;
    let before = health.status;
    if outcome.exit_code == 0 {
        health.failing_streak = 0;
        health.status = Status::Healthy;
    } else {
        let ran = health.since.map_or(Duration::MAX, |since| began.duration_since(since));
        let forgiven =
            health.status == Status::Starting && ran < duration(check.start_period, Duration::ZERO);
        if !forgiven {
            health.failing_streak += 1;
            let retries = if check.retries > 0 { check.retries } else { DEFAULT_RETRIES };
            if health.failing_streak >= retries {
                health.status = Status::Unhealthy;
            }
        }
    }
    while health.log.len() >= KEPT {
        health.log.pop_front();
    }
    health.log.push_back(outcome);
    (health.status != before).then_some(health.status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::container::record::Record;
    use crate::engine::model::host::HostConfig;

    fn seconds(n: i64) -> i64 {
        n * 1_000_000_000
    }

    fn container(check: HealthConfig, ran: Duration) -> Container {
        let mut record = Record::default();
        record.config.healthcheck = Some(check);
        let container = Container::new("/x".into(), record, HostConfig::default());
        container.data().health = Some(Box::new(Health {
            status: Status::Starting,
            failing_streak: 0,
            log: VecDeque::new(),
            period: 1,
            since: Instant::now().checked_sub(ran),
            timer: None,
        }));
        container
    }

    fn outcome(exit_code: i64) -> Outcome {
        let now = Timestamp::now();
        Outcome { start: now, end: now, exit_code, output: String::new() }
    }

    #[test]
    fn retries_make_unhealthy_and_one_success_healthy() {
        let check = HealthConfig { retries: 2, ..HealthConfig::default() };
        let container = container(check, Duration::ZERO);
        let tell = |code| note(&mut container.data(), outcome(code), Instant::now());
        assert_eq!(tell(1), None);
        assert_eq!(tell(-1), Some(Status::Unhealthy));
        assert_eq!(tell(1), None);
        assert_eq!(tell(0), Some(Status::Healthy));
        for _ in 0..4 {
            tell(0);
        }
        let data = container.data();
        let health = data.health.as_ref().unwrap();
        assert_eq!((health.failing_streak, health.log.len()), (0, KEPT));
    }

    #[test]
    fn failures_of_the_start_period_do_not_count_until_the_first_success() {
        let check =
            HealthConfig { retries: 1, start_period: seconds(60), ..HealthConfig::default() };
        let container = container(check, Duration::from_secs(1));
        let tell = |code| note(&mut container.data(), outcome(code), Instant::now());
        assert_eq!(tell(1), None);
        assert_eq!(tell(0), Some(Status::Healthy));
        assert_eq!(tell(1), Some(Status::Unhealthy));
    }

    #[test]
    fn checks_are_closer_together_while_starting() {
        let check = HealthConfig {
            interval: seconds(20),
            start_period: seconds(60),
            start_interval: seconds(2),
            ..HealthConfig::default()
        };
        let at = |ran| Duration::from_secs(ran);
        assert_eq!(pause(&check, Status::Starting, at(1)), at(2));
        assert_eq!(pause(&check, Status::Healthy, at(1)), at(20));
        assert_eq!(pause(&check, Status::Starting, at(60)), at(20));
        assert_eq!(pause(&HealthConfig::default(), Status::Starting, at(0)), DEFAULT_INTERVAL);
    }

    #[test]
    fn what_the_user_leaves_open_comes_from_the_image() {
        let image = HealthConfig {
            test: vec!["CMD".into(), "true".into()],
            interval: seconds(7),
            retries: 4,
            ..HealthConfig::default()
        };
        let mut own = None;
        complete(&mut own, Some(&image));
        assert_eq!(own.as_ref(), Some(&image));
        let mut own = Some(HealthConfig { retries: 9, ..HealthConfig::default() });
        complete(&mut own, Some(&image));
        let own = own.unwrap();
        assert_eq!((own.retries, own.interval, own.test.len()), (9, seconds(7), 2));
    }

    #[test]
    fn durations_below_a_millisecond_are_refused() {
        let with = |check| Config { healthcheck: Some(check), ..Config::default() };
        let short = HealthConfig { timeout: 999_999, ..HealthConfig::default() };
        let e = check(&with(short)).unwrap_err();
        assert_eq!(e.to_string(), "Timeout in Healthcheck cannot be less than 1ms");
        assert!(check(&with(HealthConfig { retries: -1, ..HealthConfig::default() })).is_err());
        assert!(check(&with(HealthConfig { interval: 0, ..HealthConfig::default() })).is_ok());
    }
}
