//! Settings for pulls in tests, and a listener that keeps what it hears.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_core::base::progress::Progress;
use multi_core::base::{Error, Result};
use multi_core::registry::Settings;
use multi_core::registry::resolve::Resolve;

/// Knows localhost and nothing else, whatever the machine's name servers say.
#[derive(Debug)]
struct OnlyLocalhost;

impl Resolve for OnlyLocalhost {
    fn resolve(&self, host: &str) -> Result<Vec<IpAddr>> {
        match host {
            "localhost" => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
            _ => Err(Error::not_found(format_args!("lookup {host}: no such host"))),
        }
    }
}

/// Impatient settings, independent of the machine's configuration.
pub fn settings() -> Settings {
    Settings {
        resolver: Arc::new(OnlyLocalhost),
        max_attempts: 3,
        pause: Duration::from_millis(1),
        stall: Duration::from_secs(1),
        certs_dir: "/nonexistent".into(),
        ..Settings::default()
    }
}

/// Keeps every report as `id|text` or `id|action`.
#[derive(Default)]
pub struct Lines(Mutex<Vec<String>>);

impl Lines {
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub fn has(&self, part: &str) -> bool {
        self.0.lock().unwrap().iter().any(|line| line.contains(part))
    }
}

impl Progress for Lines {
    fn message(&self, id: &str, text: &str) {
        self.0.lock().unwrap().push(format!("{id}|{text}"));
    }

    fn update(&self, id: &str, action: &str, _current: u64, _total: u64) {
        self.0.lock().unwrap().push(format!("{id}|{action}"));
    }
}
